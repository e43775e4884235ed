"""Queries for Prometheus, by what exports the metrics: `preset = "istio"` in costwhy.toml.

Each answers with the labels `service` (who handled the calls) and `caller` (who made them; without
it: from outside), as counts of the hour before the moment at which it is asked. docs/prometheus.md
says what each needs, and what it does not see.
"""

from collections.abc import Mapping

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
    summed = f"sum by ({label}) ({vector})"
    named = f'label_replace({summed}, "service", "$1", "{label}", "{pattern}")'
    return f"sum by (service) ({named})"


def _edges(vector: str, service: tuple[str, str], caller: tuple[str, str]) -> str:
    """The sum of a vector by service and caller, each taken from a label by a pattern."""
    vector = f"sum by ({service[0]}, {caller[0]}) ({vector})"
    for name, (label, pattern) in (("service", service), ("caller", caller)):
        vector = f'label_replace({vector}, "{name}", "$1", "{label}", "{pattern}")'
    return (
        f'sum by (service, caller) (label_replace({vector}, "caller", "", "caller", "{_GATEWAY}"))'
    )


def _istio(*vectors: str) -> str:
    labels = (("destination_canonical_service", _WHOLE), ("source_canonical_service", _WHOLE))
    return _edges(_joined(vectors), *labels)


def _envoy(metric: str, more: str = "") -> str:
    return _edges(
        f"increase({metric}{{{_OWN}{more}}}[1h])", ("envoy_cluster_name", _CLUSTER), ("job", _JOB)
    )


def _http(*vectors: str) -> str:
    return _edges(_joined(vectors), ("server_address", _HOST), ("job", _JOB))


def _grpc(vector: str) -> str:
    return _edges(f"increase({vector}[1h])", ("grpc_target", _HOST), ("job", _JOB))


def _joined(vectors: tuple[str, ...]) -> str:
    return " or ".join(f"increase({vector}[1h])" for vector in vectors)


def _total(first: str, second: str) -> str:
    """The sum of two counts that may each be there alone."""
    parts = (
        f'label_replace({v}, "part", "{n}", "service", ".*")'
        for n, v in enumerate((first, second), start=1)
    )
    return f"sum by (service, caller) ({' or '.join(parts)})"


def _beyond(more: str, less: str) -> str:
    """By how much one count exceeds the other, where both are there."""
    return f"clamp_min({more} - {less}, 0)"


def _with_outside(inside: str, handled: str) -> str:
    """Calls between services, and as calls from outside what each handled beyond them."""
    return f"{inside} or clamp_min({handled} - (sum by (service) ({inside}) or {handled} * 0), 0)"


_ISTIO_ATTEMPTS = _istio('istio_requests_total{reporter="destination"}')
_GRPC_ATTEMPTS = _grpc("grpc_client_attempt_started_total")
_GRPC_BYTES = "grpc_client_attempt_{}_total_compressed_message_size_bytes_sum"
_HTTP_CALLS = "http_client_request_duration_seconds_count"
_FAILED = ',envoy_response_code_class="5"'

# Preset: metric: PromQL
PRESETS: Mapping[str, Mapping[str, str]] = {
    "istio": {
        "calls": _ISTIO_ATTEMPTS,
        "retries": _beyond(_ISTIO_ATTEMPTS, _istio('istio_requests_total{reporter="source"}')),
        "errors": _istio(
            'istio_requests_total{reporter="destination",response_code=~"5..|0"}',
            'istio_requests_total{reporter="destination",grpc_response_status!~"0|"}',
        ),
        "bytes": _total(
            _istio('istio_request_bytes_sum{reporter="destination"}'),
            _istio('istio_response_bytes_sum{reporter="destination"}'),
        ),
    },
    "envoy": {
        "calls": _envoy("envoy_cluster_upstream_rq_total"),
        "retries": _envoy("envoy_cluster_upstream_rq_retry"),
        "errors": _total(
            _envoy("envoy_cluster_upstream_rq_xx", _FAILED),
            _envoy("envoy_cluster_retry_upstream_rq_xx", _FAILED),
        ),
        "bytes": _total(
            _envoy("envoy_cluster_upstream_cx_rx_bytes_total"),
            _envoy("envoy_cluster_upstream_cx_tx_bytes_total"),
        ),
    },
    "otel-http": {
        "calls": _with_outside(
            _http(_HTTP_CALLS),
            _handled("increase(http_server_request_duration_seconds_count[1h])", "job", _JOB),
        ),
        "retries": _edges(
            'increase(traces_span_metrics_calls_total{span_kind="SPAN_KIND_CLIENT",'
            'http_request_resend_count=~"[1-9][0-9]*"}[1h])',
            ("server_address", _HOST),
            ("service_name", _WHOLE),
        ),
        "errors": _http(
            f'{_HTTP_CALLS}{{http_response_status_code=~"5.."}}',
            f'{_HTTP_CALLS}{{http_response_status_code="",error_type!=""}}',
        ),
        "bytes": _total(
            _http("http_client_request_body_size_bytes_sum"),
            _http("http_client_response_body_size_bytes_sum"),
        ),
    },
    "otel-grpc": {
        "calls": _with_outside(
            _GRPC_ATTEMPTS, _handled("increase(grpc_server_call_started_total[1h])", "job", _JOB)
        ),
        "retries": _beyond(_GRPC_ATTEMPTS, _grpc("grpc_client_call_duration_seconds_count")),
        "errors": _grpc('grpc_client_attempt_duration_seconds_count{grpc_status!="OK"}'),
        "bytes": _total(_grpc(_GRPC_BYTES.format("sent")), _grpc(_GRPC_BYTES.format("rcvd"))),
    },
}
