"""Queries for Prometheus, by what exports the metrics: `preset = "istio"` in costwhy.toml.

Each answers with the labels `service` (who handled the calls) and `caller` (who made them; without
it: from outside), as counts of the hour before the moment at which it is asked. docs/prometheus.md
says what each needs, and what it does not see.
"""

from collections.abc import Mapping

from costwhy.behaviours import RETRIES

# Callers that stand for the world outside
_GATEWAY = "unknown|(?:.*-)?(?:ingress|gateway|ingressgateway|edge|front-proxy|front-envoy)"
# The service of dns:///inventory:50051, inventory.default.svc.cluster.local:8080 or inventory
_HOST = "(?:[a-z]+://[^/]*/)?(?:dns:|xds:)?([^.:/]+).*"
_JOB = "(?:.*/)?(.+)"  # OpenTelemetry's job is namespace/service
_WHOLE = "(.+)"
# The service of outbound|9080||inventory.default.svc.cluster.local, inventory.default or inventory
_CLUSTER = r"(?:outbound\\|[0-9]*\\|[^|]*\\|)?([^.|]+).*"
# Clusters of Envoy that are no other service
_OWN = (
    'envoy_cluster_name!~"xds.*|local.*|inbound.*|agent|sds-grpc|prometheus_stats|zipkin|'
    '.*BlackHole.*|.*Passthrough.*"'
)


def _handled(vector: str, label: str, pattern: str) -> str:
    """The sum of a vector by service, taken from a label by a pattern."""
    return (
        f"sum by (service) (label_replace(sum by ({label}) ({vector}), "
        f'"service", "$1", "{label}", "{pattern}"))'
    )


Label = tuple[str, str]  # A label and the pattern that takes the name from it
_ISTIO = (("destination_canonical_service", _WHOLE), ("source_canonical_service", _WHOLE))
_ENVOY = (("envoy_cluster_name", _CLUSTER), ("job", _JOB))
_HTTP = (("server_address", _HOST), ("job", _JOB))
_GRPC = (("grpc_target", _HOST), ("job", _JOB))


def _edges(labels: tuple[Label, Label], *counters: str) -> str:
    """What counters counted in the hour, by the labels of the service and of the caller."""
    names = ", ".join(label for label, _ in labels)
    counted = " or ".join(f"increase({counter}[1h])" for counter in counters)
    vector = f"sum by ({names}) ({counted})"
    for name, (label, pattern) in zip(("service", "caller"), labels, strict=True):
        vector = f'label_replace({vector}, "{name}", "$1", "{label}", "{pattern}")'
    return (
        f'sum by (service, caller) (label_replace({vector}, "caller", "", "caller", "{_GATEWAY}"))'
    )


def _total(first: str, second: str) -> str:
    """The sum of two counts that may each be there alone."""
    parts = (
        f'label_replace({v}, "part", "{n}", "service", ".*")'
        for n, v in enumerate((first, second), start=1)
    )
    return f"sum by (service, caller) ({' or '.join(parts)})"


def _with_outside(inside: str, handled: str) -> str:
    """Calls between services, and as calls from outside what each handled beyond them."""
    return f"{inside} or clamp_min({handled} - (sum by (service) ({inside}) or {handled} * 0), 0)"


_ISTIO_ATTEMPTS = _edges(_ISTIO, 'istio_requests_total{reporter="destination"}')
_ISTIO_SENT = _edges(_ISTIO, 'istio_requests_total{reporter="source"}')
_GRPC_CALLS = _edges(_GRPC, "grpc_client_call_duration_seconds_count")
_GRPC_ATTEMPTS = _edges(_GRPC, "grpc_client_attempt_started_total")
_GRPC_BYTES = "grpc_client_attempt_{}_total_compressed_message_size_bytes_sum"
_HTTP_CALLS = "http_client_request_duration_seconds_count"
_FAILED = ',envoy_response_code_class="5"'

# Preset: metric: PromQL
PRESETS: Mapping[str, Mapping[str, str]] = {
    "istio": {
        "calls": _ISTIO_ATTEMPTS,
        RETRIES: f"clamp_min({_ISTIO_ATTEMPTS} - {_ISTIO_SENT}, 0)",
        "errors": _edges(
            _ISTIO,
            'istio_requests_total{reporter="destination",response_code=~"5..|0"}',
            'istio_requests_total{reporter="destination",grpc_response_status!~"0|"}',
        ),
        "bytes": _total(
            _edges(_ISTIO, 'istio_request_bytes_sum{reporter="destination"}'),
            _edges(_ISTIO, 'istio_response_bytes_sum{reporter="destination"}'),
        ),
    },
    "envoy": {
        "calls": _edges(_ENVOY, f"envoy_cluster_upstream_rq_total{{{_OWN}}}"),
        RETRIES: _edges(_ENVOY, f"envoy_cluster_upstream_rq_retry{{{_OWN}}}"),
        "errors": _total(
            _edges(_ENVOY, f"envoy_cluster_upstream_rq_xx{{{_OWN}{_FAILED}}}"),
            _edges(_ENVOY, f"envoy_cluster_retry_upstream_rq_xx{{{_OWN}{_FAILED}}}"),
        ),
        "bytes": _total(
            _edges(_ENVOY, f"envoy_cluster_upstream_cx_rx_bytes_total{{{_OWN}}}"),
            _edges(_ENVOY, f"envoy_cluster_upstream_cx_tx_bytes_total{{{_OWN}}}"),
        ),
    },
    "otel-http": {
        "calls": _with_outside(
            _edges(_HTTP, _HTTP_CALLS),
            _handled("increase(http_server_request_duration_seconds_count[1h])", "job", _JOB),
        ),
        RETRIES: _edges(
            (("server_address", _HOST), ("service_name", _WHOLE)),
            'traces_span_metrics_calls_total{span_kind="SPAN_KIND_CLIENT",'
            'http_request_resend_count=~"[1-9][0-9]*"}',
        ),
        "errors": _edges(
            _HTTP,
            f'{_HTTP_CALLS}{{http_response_status_code=~"5.."}}',
            f'{_HTTP_CALLS}{{http_response_status_code="",error_type!=""}}',
        ),
        "bytes": _total(
            _edges(_HTTP, "http_client_request_body_size_bytes_sum"),
            _edges(_HTTP, "http_client_response_body_size_bytes_sum"),
        ),
    },
    "otel-grpc": {
        "calls": _with_outside(
            _GRPC_ATTEMPTS, _handled("increase(grpc_server_call_started_total[1h])", "job", _JOB)
        ),
        RETRIES: f"clamp_min({_GRPC_ATTEMPTS} - {_GRPC_CALLS}, 0)",
        "errors": _edges(_GRPC, 'grpc_client_attempt_duration_seconds_count{grpc_status!="OK"}'),
        "bytes": _total(
            _edges(_GRPC, _GRPC_BYTES.format("sent")), _edges(_GRPC, _GRPC_BYTES.format("rcvd"))
        ),
    },
}
