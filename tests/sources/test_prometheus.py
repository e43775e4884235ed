"""Signals from Prometheus: the real server where the machine has one, and a server of our own for what goes wrong."""

import hashlib
import hmac
import json
import logging
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import httpx2
import msgspec
import polars as pl
import pytest
from loopback import (
    Heard,
    Reply,
    Sample,
    as_json,
    free_port,
    http_server,
    open_metrics,
    prometheus_server,
)
from places import ROOT, SAMPLE

from costwhy.config import read_workspace
from costwhy.errors import ConfigError, SourceError, UnreachableError
from costwhy.ingest.ingest import IngestReport, ingest
from costwhy.lake.lake import open_lake
from costwhy.remote import http
from costwhy.sources.format import Live, Request
from costwhy.sources.reading import Reading
from costwhy.sources.signals import long_table, prometheus, prometheus_auth
from costwhy.sources.signals.prometheus_auth import find_region
from costwhy.sources.signals.prometheus_presets import PRESETS
from costwhy.tables import SIGNALS

HOUR = timedelta(hours=1)
START, END = datetime(2026, 10, 13, tzinfo=UTC), datetime(2026, 10, 16, tzinfo=UTC)
QUARTERS = (0, 900, 1800, 2700)
QUERIES = {
    m: f"sum by (service, caller) (increase({m}_total[1h]))"
    for m in ("calls", "retries", "errors", "bytes")
} | {"capacity": "sum by (service, caller) (avg_over_time(capacity[1h] offset 1ms))"}
SECRET = "correct-horse-battery"
TOKEN = {"auth": "bearer", "token_env": "PROM_TOKEN"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are noted, not waited."""
    pauses: list[float] = []
    monkeypatch.setattr(http, "wait", pauses.append)
    return pauses


@pytest.fixture(scope="session")
def prometheus_is_here() -> None:
    missing = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
    if missing and os.environ.get("COSTWHY_REQUIRE_SERVICES") == "1":
        pytest.fail(f"{missing[0]} is not on this machine, and COSTWHY_REQUIRE_SERVICES=1")
    if missing:
        pytest.skip(f"{missing[0]} is not on this machine: install Debian's package `prometheus`")


@pytest.fixture(scope="session")
def from_files() -> pl.DataFrame:
    """Three days of the sample company's signals, as the files tell them."""
    return long_table.read([SAMPLE / "signals/2026-10.parquet"]).rows.filter(
        pl.col("hour").is_between(START, END, closed="left")
    )


@pytest.fixture(scope="session")
def server(
    request: pytest.FixtureRequest,
    from_files: pl.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The same three days in a real Prometheus."""
    request.getfixturevalue("prometheus_is_here")
    with prometheus_server(
        tmp_path_factory.mktemp("prometheus"), open_metrics(counters(from_files))
    ) as url:
        yield url


def counters(rows: pl.DataFrame) -> Iterator[Sample]:
    """Counters with a sample every quarter of an hour, on the hour too; in each 17th hour the process begins anew at zero.

    With a sample at both ends of the hour `increase` has nothing to extrapolate: it is the difference, resets added.
    """
    for (metric, service, caller), part in rows.group_by("metric", "service", "caller"):
        labels = {"service": str(service)} | ({"caller": str(caller)} if caller is not None else {})
        values = dict(part.select("hour", "value").iter_rows())
        total, points = 0.0, []
        for n in range((END - START) // HOUR):
            value = values.get(START + n * HOUR, 0.0)
            began_anew = n % 17 == 16 and total > value  # a restart shows as a fall
            for quarter, at in enumerate(QUARTERS):
                before = 0.0 if metric == "capacity" or (began_anew and quarter) else total
                within = value if metric == "capacity" else value * quarter / 4
                points.append((int((START + n * HOUR).timestamp()) + at, before + within))
            total = value + (0.0 if began_anew else total)
        points.append((int(END.timestamp()), total))
        yield (metric if metric == "capacity" else f"{metric}_total"), labels, points


def entry_of(**options: object) -> prometheus.Config:
    queries = {} if "preset" in options else {"queries": {"calls": "x"}}
    return msgspec.convert({"format": "prometheus"} | queries | options, prometheus.Config)


def endpoint(url: str, **options: object) -> prometheus.Endpoint:
    return prometheus.find_endpoint(entry_of(url=url, **options), "signals[0]", Path("/nowhere"))


def compared(left: pl.DataFrame, right: pl.DataFrame) -> pl.DataFrame:
    """Both sides by hour, service, caller and metric; a row that one side lacks counts as 0 there."""
    keys = ["hour", "service", "caller", "metric"]
    sides = left.select(*keys, left="value").join(
        right.select(*keys, right="value"), on=keys, how="full", coalesce=True, nulls_equal=True
    )
    return sides.with_columns(pl.col("left", "right").fill_null(0.0))


# ---------------------------------------------------------------- the real server


def test_prometheus_gives_the_same_signals_as_the_file_resets_and_all(
    server: str, from_files: pl.DataFrame
) -> None:
    reading = prometheus.read(endpoint(server), QUERIES, (START, END))
    both = compared(reading.rows, from_files)
    assert both.height >= from_files.height > 8000
    assert both.filter(
        (pl.col("left") - pl.col("right")).abs() > 1e-6 * pl.col("right").abs() + 1e-6
    ).is_empty()
    assert reading.rows["value"].sum() == pytest.approx(from_files["value"].sum(), rel=1e-9)
    assert reading.rows.schema == {
        name: kind for name, kind in SIGNALS.schema.items() if name != "delivery"
    }
    assert reading.set_aside.is_empty()
    assert reading.seen.select(
        pl.col("hour").min(), pl.col("hour").max().alias("last"), pl.len()
    ).row(0) == (START, END - HOUR, 72)


@pytest.mark.usefixtures("prometheus_is_here")
def test_a_query_over_its_sample_limit_is_asked_for_in_halves(
    from_files: pl.DataFrame, tmp_path: Path
) -> None:
    # 72 hours x 37 edges are 2,664 points; the server may hold 1,000 at once, so 72 h -> 36 h -> 18 h (666) go through
    calls = from_files.filter(pl.col("metric") == "calls")
    with prometheus_server(
        tmp_path, open_metrics(counters(calls)), "--query.max-samples=1000"
    ) as url:
        reading = prometheus.read(
            endpoint(url), {"calls": "increase(calls_total[1h])"}, (START, END)
        )
    assert reading.rows["value"].sum() == pytest.approx(calls["value"].sum(), rel=1e-9)


@pytest.mark.usefixtures("prometheus_is_here")
def test_off_the_hour_the_extrapolation_stays_below_half_a_percent(tmp_path: Path) -> None:
    # a scrape every 30 s, 11 s past the minute, of a counter that runs 1/s in one hour and 3/s in the next: 3,600 and 10,800
    first = int(START.timestamp())
    points, total = [], 0.0
    for n in range(4 * 120):
        points.append((first + 11 + 30 * n, total))
        total += 30.0 * (1 if n // 120 % 2 == 0 else 3)
    with prometheus_server(
        tmp_path, open_metrics([("calls_total", {"service": "cart"}, points)])
    ) as url:
        reading = prometheus.read(
            endpoint(url),
            {"calls": "sum by (service) (increase(calls_total[1h]))"},
            (START, START + 4 * HOUR),
        )
    for found, true in zip(reading.rows["value"], (3600, 10800, 3600, 10800), strict=True):
        assert found == pytest.approx(true, rel=5e-3)


@pytest.mark.usefixtures("prometheus_is_here")
def test_hours_in_which_a_series_is_gone_have_no_row_and_no_number_is_set_aside(
    tmp_path: Path,
) -> None:
    first = int(START.timestamp())
    gone = (
        "calls_total",
        {"service": "cart"},
        [(first + 900 * n, 10.0 * n) for n in range(5)],
    )  # one hour, then it ends
    odd = (
        "capacity",
        {"service": "cart"},
        [
            (first + 3600 * n, value)
            for n, value in enumerate((1.0, float("nan"), float("inf"), 2.0))
        ],
    )
    text = open_metrics([gone, odd]).replace("nan", "NaN").replace(" inf ", " +Inf ")
    queries = {
        "calls": "sum by (service) (increase(calls_total[1h]))",
        "capacity": "sum by (service) (capacity)",
    }
    with prometheus_server(tmp_path, text) as url:
        reading = prometheus.read(endpoint(url), queries, (START, START + 5 * HOUR))
    assert reading.rows.select("hour", "metric", "value").rows() == [
        (START, "calls", 40.0),
        (START + 2 * HOUR, "capacity", 2.0),
    ]
    where = f"{url.removeprefix('http://')}:2026-10-13"
    assert reading.set_aside.select("file", "place", "reason", "records").rows() == [
        (where, "capacity", "the value is not finite", 2)
    ]


def test_a_query_that_prometheus_refuses_is_named_with_what_it_said(server: str) -> None:
    with pytest.raises(SourceError) as caught:
        prometheus.read(
            endpoint(server), {"calls": "sum by (service) (increase(calls_total[1h])"}, (START, END)
        )
    assert "`signals[0]`" in caught.value.problem
    assert "refused the query of calls" in caught.value.problem
    assert "parse error: unclosed left parenthesis" in caught.value.found
    assert "Query: sum by (service) (increase(calls_total[1h])" in caught.value.found
    assert caught.value.exit_code == 3


def test_an_answer_without_services_says_which_labels_it_has(server: str) -> None:
    with pytest.raises(
        SourceError,
        match="the query of calls answers without the label `service`\nFound: labels: caller\n",
    ):
        prometheus.read(
            endpoint(server), {"calls": "sum by (caller) (increase(calls_total[1h]))"}, (START, END)
        )


# ---------------------------------------------------------------- presets


def steady(metric: str, per_hour: float, **labels: str) -> Sample:
    """A counter that grows evenly for four hours."""
    first = int(START.timestamp())
    return metric, labels, [(first + 900 * n, 7.0 + per_hour * n / 4) for n in range(17)]


def istio(reporter: str, per_hour: float, source: str, target: str, **more: str) -> Sample:
    labels = {
        "reporter": reporter,
        "source_canonical_service": source,
        "destination_canonical_service": target,
    }
    return steady("istio_requests_total", per_hour, **labels, **more)


COSTS = {"le": "+Inf"}
WORLDS: dict[str, tuple[list[Sample], dict[tuple[str, str | None, str], float]]] = {
    # storefront is called 100 times through the gateway; it calls inventory 60 times and repeats 20: 80 attempts, 25 failed
    "istio": (
        [
            istio("destination", 100, "istio-ingressgateway", "storefront", response_code="200"),
            istio("source", 100, "istio-ingressgateway", "storefront", response_code="200"),
            istio("destination", 55, "storefront", "inventory", response_code="200", grpc_response_status=""),
            istio("destination", 20, "storefront", "inventory", response_code="503"),
            istio("destination", 5, "storefront", "inventory", response_code="200", grpc_response_status="14"),
            istio("source", 60, "storefront", "inventory", response_code="200"),
            steady("istio_request_bytes_sum", 1000, reporter="destination", source_canonical_service="storefront", destination_canonical_service="inventory"),
            steady("istio_response_bytes_sum", 500, reporter="destination", source_canonical_service="storefront", destination_canonical_service="inventory"),
        ],
        {
            ("storefront", None, "calls"): 100, ("storefront", None, "retries"): 0,
            ("inventory", "storefront", "calls"): 80, ("inventory", "storefront", "retries"): 20,
            ("inventory", "storefront", "errors"): 25, ("inventory", "storefront", "bytes"): 1500,
        },
    ),
    "envoy": (
        [
            steady("envoy_cluster_upstream_rq_total", 100, job="front-envoy", envoy_cluster_name="storefront"),
            steady("envoy_cluster_upstream_rq_total", 80, job="mesh/storefront", envoy_cluster_name="outbound|9080||inventory.default.svc.cluster.local"),
            steady("envoy_cluster_upstream_rq_total", 9, job="mesh/storefront", envoy_cluster_name="xds_cluster"),
            steady("envoy_cluster_upstream_rq_retry", 20, job="mesh/storefront", envoy_cluster_name="inventory.default.dc1.internal.consul", instance="a"),
            steady("envoy_cluster_upstream_rq_xx", 5, job="storefront", envoy_cluster_name="inventory", envoy_response_code_class="5"),
            steady("envoy_cluster_upstream_rq_xx", 55, job="storefront", envoy_cluster_name="inventory", envoy_response_code_class="2"),
            steady("envoy_cluster_retry_upstream_rq_xx", 20, job="storefront", envoy_cluster_name="inventory", envoy_response_code_class="5"),
            steady("envoy_cluster_upstream_cx_rx_bytes_total", 1000, job="storefront", envoy_cluster_name="inventory"),
            steady("envoy_cluster_upstream_cx_tx_bytes_total", 500, job="storefront", envoy_cluster_name="inventory"),
        ],
        {
            ("storefront", None, "calls"): 100, ("inventory", "storefront", "calls"): 80, ("inventory", "storefront", "retries"): 20,
            ("inventory", "storefront", "errors"): 25, ("inventory", "storefront", "bytes"): 1500,
        },
    ),
    # storefront handles 100 calls and nobody inside made one; inventory handles 90, of which storefront made 80
    "otel-http": (
        [
            steady("http_server_request_duration_seconds_count", 60, job="shop/storefront", instance="a"),
            steady("http_server_request_duration_seconds_count", 40, job="shop/storefront", instance="b"),
            steady("http_server_request_duration_seconds_count", 90, job="shop/inventory", http_response_status_code="200"),
            steady("http_client_request_duration_seconds_count", 55, job="shop/storefront", server_address="inventory.shop.svc", http_response_status_code="200"),
            steady("http_client_request_duration_seconds_count", 20, job="shop/storefront", server_address="inventory.shop.svc", http_response_status_code="503"),
            steady("http_client_request_duration_seconds_count", 5, job="shop/storefront", server_address="inventory", error_type="timeout"),
            steady("traces_span_metrics_calls_total", 20, service_name="storefront", server_address="inventory", span_kind="SPAN_KIND_CLIENT", http_request_resend_count="1"),
            steady("traces_span_metrics_calls_total", 60, service_name="storefront", server_address="inventory", span_kind="SPAN_KIND_CLIENT"),
            steady("http_client_request_body_size_bytes_sum", 1000, job="shop/storefront", server_address="inventory"),
        ],
        {
            ("storefront", None, "calls"): 100, ("inventory", "storefront", "calls"): 80, ("inventory", None, "calls"): 10,
            ("inventory", "storefront", "retries"): 20, ("inventory", "storefront", "errors"): 25, ("inventory", "storefront", "bytes"): 1000,
        },
    ),
    "otel-grpc": (
        [
            steady("grpc_server_call_started_total", 100, job="storefront", grpc_method="Shop/Buy"),
            steady("grpc_server_call_started_total", 80, job="inventory", grpc_method="Stock/Get"),
            steady("grpc_client_attempt_started_total", 80, job="storefront", grpc_target="dns:///inventory:50051", grpc_method="Stock/Get"),
            steady("grpc_client_call_duration_seconds_count", 60, job="storefront", grpc_target="dns:///inventory:50051", grpc_status="OK"),
            steady("grpc_client_attempt_duration_seconds_count", 55, job="storefront", grpc_target="inventory.shop:50051", grpc_status="OK"),
            steady("grpc_client_attempt_duration_seconds_count", 25, job="storefront", grpc_target="inventory.shop:50051", grpc_status="UNAVAILABLE"),
            steady("grpc_client_attempt_sent_total_compressed_message_size_bytes_sum", 1000, job="storefront", grpc_target="inventory"),
            steady("grpc_client_attempt_rcvd_total_compressed_message_size_bytes_sum", 500, job="storefront", grpc_target="inventory"),
        ],
        {
            ("storefront", None, "calls"): 100, ("inventory", "storefront", "calls"): 80, ("inventory", None, "calls"): 0,
            ("inventory", "storefront", "retries"): 20, ("inventory", "storefront", "errors"): 25, ("inventory", "storefront", "bytes"): 1500,
        },
    ),
}  # fmt: skip
"""Preset: what its exporters would show, and the signals of each hour."""


@pytest.mark.usefixtures("prometheus_is_here")
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_turns_what_its_exporter_shows_into_signals(preset: str, tmp_path: Path) -> None:
    samples, expected = WORLDS[preset]
    with prometheus_server(tmp_path, open_metrics(samples)) as url:
        reading = prometheus.read(endpoint(url), PRESETS[preset], (START, START + 4 * HOUR))
    for hour in range(4):
        rows = (
            reading.rows.filter(pl.col("hour") == START + hour * HOUR)
            .select("service", "caller", "metric", "value")
            .iter_rows()
        )
        assert {row[:3]: row[3] for row in rows} == pytest.approx(expected)
    assert reading.set_aside.is_empty()


# ---------------------------------------------------------------- a server of our own


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]], **more: object) -> Reply:
    found = [{"metric": labels, "values": values} for labels, values in series]
    return as_json({"status": "success", "data": {"resultType": "matrix", "result": found}} | more)


def asked(heard: Heard) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(heard.body.decode()).items()}


def every_hour(heard: Heard) -> Reply:
    """cart was called as often as the hour says, 0 to 23."""
    form = asked(heard)
    moments = range(int(form["start"]), int(form["end"]) + 1, int(form["step"]))
    return matrix(({"service": "cart"}, [(at, str((at // 3600 - 1) % 24)) for at in moments]))


def test_an_hour_is_asked_for_at_its_end_and_a_call_asks_for_a_week_at_most() -> None:
    """Prometheus gives 11,000 points of a series at once; a week has 168 hours."""
    days = tuple(START.date() + timedelta(days=n) for n in range(20))
    with http_server(every_hour) as fake:
        made = endpoint(fake.url)
        read = dict(
            prometheus.read_days(
                made,
                {"calls": "x"},
                Request("p", days, START + timedelta(days=19, hours=5, minutes=9)),
            )
        )
    forms = [asked(heard) for heard in fake.heard]
    points = [(int(form["end"]) - int(form["start"])) // 3600 + 1 for form in forms]
    assert points == [168, 168, 5 * 24 + 5]
    assert int(forms[0]["start"]) == (START + HOUR).timestamp()
    assert int(forms[-1]["end"]) == (START + timedelta(days=19, hours=5)).timestamp()
    assert {form["step"] for form in forms} == {"3600"}
    assert {heard.path for heard in fake.heard} == {"/api/v1/query_range"}
    assert list(read) == list(days)
    rows = pl.concat([reading.rows for reading in read.values()])
    assert rows["hour"].n_unique() == rows.height == 19 * 24 + 5
    assert rows.filter(pl.col("value") != pl.col("hour").dt.hour()).is_empty()


def test_samples_that_make_no_sense_are_set_aside_with_their_reason() -> None:
    at = (START + HOUR).timestamp()
    reply = matrix(
        ({"service": "cart", "caller": ""}, [(at, "5"), (at + 1800, "7"), (at + 7200, "9")]),
        (
            {"service": "cart", "pod": "b"},
            [(at, "2")],
        ),  # a second series of the same service: 5 + 2
        ({"caller": "web"}, [(at, "1")]),
        ({"service": "a\x1bb"}, [(at, "1")]),
        ({"service": "<script>"}, [(at, "-3")]),
        ({"service": "pay"}, [(at, "NaN")]),
        ({"service": "pay", "caller": "x"}, [(at, "+Inf")]),
        ({"service": "pay", "caller": "y"}, [(at, "many")]),
        ({"service": "pay", "caller": "z"}, [(at, "-0.0000000001")]),
    )
    with http_server(lambda _: reply) as fake:
        reading = prometheus.read(endpoint(fake.url), {"calls": "x"}, (START, START + 2 * HOUR))
    assert reading.rows.select("service", "caller", "value").rows() == [
        ("cart", None, 7.0),
        ("pay", "z", 0.0),
    ]
    assert dict(reading.set_aside.select("reason", "records").iter_rows()) == {
        "the time is not one that was asked for": 2,
        "there is no service": 1,
        "a name has control characters or more than 1000 bytes": 1,
        "the value is negative": 1,
        "the value is not finite": 3,
    }
    assert set(reading.set_aside["place"]) == {"calls"}


def test_a_bearer_token_is_sent_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PROM_TOKEN", SECRET + "\n")
    caplog.set_level(logging.DEBUG)
    echo = lambda heard: (401, {}, b"no such token: " + heard.headers["authorization"].encode())
    with http_server(echo) as fake:
        place = endpoint(fake.url, **TOKEN)
        with pytest.raises(UnreachableError) as caught:
            prometheus.read(place, {"calls": "x"}, (START, END))
    assert fake.heard[0].headers["authorization"] == f"Bearer {SECRET}"
    assert len(fake.heard) == 1, "refused credentials are not tried again"
    assert caught.value.exit_code == 4
    assert "does not accept the credentials" in caught.value.problem
    assert "no such token: Bearer (secret)" in caught.value.found
    assert SECRET not in caplog.text + repr(place) + str(caught.value)


def test_basic_authentication_takes_its_password_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(SECRET + "\n")
    basic = {"auth": "basic", "user": "costwhy", "password_file": "password"}
    with http_server(
        lambda heard: (
            200 if "authorization" in heard.headers else 401,
            {},
            b'{"status":"success","data":{"result":[]}}',
        )
    ) as fake:
        place = prometheus.find_endpoint(entry_of(url=fake.url, **basic), "signals[0]", tmp_path)
        assert prometheus.read(place, {"calls": "x"}, (START, END)).rows.is_empty()
    assert (
        httpx2.BasicAuth("costwhy", SECRET)._auth_header == fake.heard[0].headers["authorization"]
    )
    assert SECRET not in repr(place)
    assert fake.heard[0].headers["authorization"].split()[1] not in repr(place)


def test_sigv4_signs_what_is_sent_for_the_workspace_s_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token")
    with http_server(every_hour) as fake:
        place = endpoint(f"{fake.url}/workspaces/ws-1/", auth="sigv4", region="eu-west-1")
        assert prometheus.read(place, {"calls": 'a{b="c d"}'}, (START, END)).rows.height == 72
    heard = fake.heard[0]
    assert heard.path == "/workspaces/ws-1/api/v1/query_range"
    assert heard.headers["authorization"] == aws_signature(heard, "eu-west-1", "aps")
    assert heard.headers["x-amz-security-token"] == "session-token"


def aws_signature(heard: Heard, region: str, service: str) -> str:
    """AWS Signature Version 4 after its specification, written out a second time."""
    moment, names = (
        heard.headers["x-amz-date"],
        heard.headers["authorization"].split("SignedHeaders=")[1].split(",")[0],
    )
    signed = "".join(f"{name}:{heard.headers[name]}\n" for name in names.split(";"))
    request = "\n".join(
        ["POST", heard.path, "", signed, names, hashlib.sha256(heard.body).hexdigest()]
    )
    scope = f"{moment[:8]}/{region}/{service}/aws4_request"
    text = "\n".join(
        ["AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()]
    )
    key = ("AWS4" + SECRET).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders={names}, Signature={signature}"


def test_the_region_of_amazon_s_prometheus_is_read_from_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    entry = entry_of(auth="sigv4")
    assert (
        find_region(entry, "signals[0]", "aps-workspaces.eu-north-1.amazonaws.com/workspaces/ws-1")
        == "eu-north-1"
    )
    with pytest.raises(ConfigError, match=r"`signals\[0\].region` is missing"):
        find_region(entry, "signals[0]", "proxy.example")


def test_a_redirect_is_not_followed_and_nobody_else_sees_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROM_TOKEN", SECRET)
    with (
        http_server(every_hour) as other,
        http_server(lambda _: (302, {"Location": other.url + "/steal?x=1"}, b"")) as fake,
    ):
        with pytest.raises(UnreachableError, match="redirects to another address") as caught:
            prometheus.read(endpoint(fake.url, **TOKEN), {"calls": "x"}, (START, END))
        assert other.heard == []
    assert caught.value.found == f"302 to {other.url.removeprefix('http://')}"


def test_nobody_at_the_address_is_exit_code_4() -> None:
    with pytest.raises(
        UnreachableError, match=r"127.0.0.1:\d+ could not be reached\nFound: .*refused"
    ) as caught:
        prometheus.read(endpoint(f"http://127.0.0.1:{free_port()}"), {"calls": "x"}, (START, END))
    assert caught.value.exit_code == 4


def test_a_busy_server_is_asked_again_as_late_as_it_says(no_pauses: list[float]) -> None:
    replies = [(429, {"Retry-After": "7"}, b""), (503, {}, b"")]
    with http_server(lambda heard: replies.pop(0) if replies else every_hour(heard)) as fake:
        assert prometheus.read(endpoint(fake.url), {"calls": "x"}, (START, END)).rows.height == 72
    assert no_pauses == [7.0, 1.0]


def test_a_page_that_is_no_prometheus_says_so() -> None:
    with (
        http_server(lambda _: (200, {}, b"<html>\x1b[31mGrafana</html>")) as fake,
        pytest.raises(
            UnreachableError,
            match=r"does not answer as Prometheus does\nFound: 200: <html> \[31mGrafana",
        ),
    ):
        prometheus.read(endpoint(fake.url), {"calls": "x"}, (START, END))


def test_an_answer_beyond_the_limit_is_asked_for_in_halves_and_refused_where_an_hour_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        prometheus, "LIMITS", replace(prometheus.LIMITS, bytes=700)
    )  # 72 hours take about 1,600 bytes, 18 about 450
    with http_server(every_hour) as fake:
        assert prometheus.read(endpoint(fake.url), {"calls": "x"}, (START, END)).rows.height == 72
    with (
        http_server(lambda _: as_json({"status": "success", "fill": "x" * 800})) as fake,
        pytest.raises(UnreachableError, match="too large"),
    ):
        prometheus.read(endpoint(fake.url), {"calls": "x"}, (START, END))
    assert len(fake.heard) == 7, "72, 36, 18, 9, 4, 2, 1 hours"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": None}, r"`signals\[0\].url` is missing"),
        ({"url": "ftp://h/"}, r"`signals\[0\].url` is missing, or no http address"),
        (
            {"url": f"http://me:{SECRET}@h:9090/"},
            r"holds a user, a password or a query\nFound: an address at h:9090",
        ),
        ({"auth": "bearer"}, r"one of token_env and token_file is needed"),
        (
            {"auth": "bearer", "token_env": "NOT_SET_ANYWHERE"},
            r"`signals\[0\].token_env` names an environment variable that is not set",
        ),
        (
            {"auth": "bearer", "token_file": "gone"},
            r"`signals\[0\].token_file` names a file that cannot be read",
        ),
        ({"auth": "bearer", "token_env": "TWO_LINES"}, r"is not one line of text"),
        ({"auth": "basic", "password_env": "GOOD"}, r"`signals\[0\].user` is missing"),
    ],
)
def test_a_wrong_entry_is_one_clear_error_without_secrets(
    options: dict, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWO_LINES", f"{SECRET}\nX-Evil: 1")
    monkeypatch.setenv("GOOD", SECRET)
    with pytest.raises(ConfigError, match=said) as caught:
        endpoint(**{"url": "http://h/"} | options)
    assert SECRET not in str(caught.value)


def wrong_entry(lines: str) -> str:
    """What is said of an entry that has these lines."""
    head = '[workspace]\nname = "a"\ncurrency = "USD"\n[[signals]]\nformat = "prometheus"\n'
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "costwhy.toml").write_text(head + lines)
        with pytest.raises(ConfigError) as caught:
            read_workspace(folder)
    return caught.value.found


def test_queries_come_in_place_of_the_preset_s() -> None:
    queries = entry_of(preset="istio", queries={"errors": "mine", "capacity": "other"}).all_queries
    assert (queries["errors"], queries["capacity"], queries["calls"]) == (
        "mine",
        "other",
        PRESETS["istio"]["calls"],
    )
    assert wrong_entry('queries.latency = "x"') == "`signals[0].queries`: 'latency' is not allowed"
    assert "regex" in wrong_entry('queries.calls = " "')
    assert "no query for calls" in wrong_entry('queries.errors = "x"')
    assert (
        wrong_entry('preset = "istio"\ntoken_env = "GOOD"')
        == "`signals[0].token_env` belongs to auth 'bearer', not to 'none'"
    )


# ---------------------------------------------------------------- by day, and the lake


def test_days_that_were_read_are_left_out_but_for_the_newest_two() -> None:
    now = datetime(2026, 10, 20, 6, 40, tzinfo=UTC)
    day = lambda n, hour=0, minute=0: datetime(2026, 10, n, hour, minute, tzinfo=UTC)
    live = Live("prometheus:", ("p",), 10, "s" * 32, lambda _: iter(()))

    def windows(*known: int) -> list[tuple[datetime, datetime]]:
        names = {f"prometheus:p:2026-10-{n}": live.salt + "content" for n in known}
        return list(Request("p", live.wanted_days("prometheus:p:", names, now), now).windows(7))

    assert windows() == [(day(11), day(18)), (day(18), day(20, 6, 40))]
    assert windows(*range(11, 21)) == [(day(19), day(20, 6, 40))]
    assert windows(11, 12, *range(15, 21)) == [(day(13), day(15)), (day(19), day(20, 6, 40))]
    assert windows(*range(11, 17)) == [(day(15), day(20, 6, 40))], (
        "16 October may have been read before it was over"
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A bill of one row."""
    head = "ChargePeriodStart,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost"
    (tmp_path / "billing").mkdir()
    (tmp_path / "billing/a.csv").write_text(
        f"{head}\n2026-10-13T00:00:00Z,2026-10-01T00:00:00Z,USD,1,1\n"
    )
    return tmp_path


def run(folder: Path) -> IngestReport:
    """An ingest on 20 October, 06:40."""
    return ingest(read_workspace(folder), now=datetime(2026, 10, 20, 6, 40, tzinfo=UTC))


def configure(folder: Path, url: str, **options: object) -> Path:
    lines = {"format": "prometheus", "url": url, "queries": {"calls": "x"}, "days": 10} | options
    shown = "\n".join(
        f"{k} = {json.dumps(v)}" if not isinstance(v, dict) else "" for k, v in lines.items()
    )
    queries = "\n".join(f"{k} = {json.dumps(v)}" for k, v in lines["queries"].items())
    head = '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    (folder / "costwhy.toml").write_text(
        f"{head}[[signals]]\n{shown}\n[signals.queries]\n{queries}\n"
    )
    return folder


def test_reading_again_asks_for_the_newest_two_days_only_and_changes_nothing(
    workspace: Path,
) -> None:
    with http_server(every_hour) as fake:
        configure(workspace, fake.url)
        first = run(workspace)
        assert open_lake(workspace).table("signals").height == 9 * 24 + 6
        assert [asked(h)["start"] for h in fake.heard] == [
            f"{datetime(2026, 10, n, 1, tzinfo=UTC).timestamp():.0f}" for n in (11, 18)
        ]
        fake.heard.clear()
        again = run(workspace)
    form = asked(fake.heard[0])
    assert len(fake.heard) == 1
    assert int(form["start"]) == datetime(2026, 10, 19, 1, tzinfo=UTC).timestamp()
    assert int(form["end"]) == datetime(2026, 10, 20, 6, tzinfo=UTC).timestamp()
    assert (again.version, again.rows) == (first.version, 0)
    deliveries = open_lake(workspace).table("deliveries")["delivery"].to_list()
    assert f"prometheus:{fake.url.removeprefix('http://')}:2026-10-14" in deliveries


def test_another_query_asks_for_all_days_again_and_keeps_the_days_that_prometheus_has_forgotten(
    workspace: Path,
) -> None:
    with http_server(every_hour) as fake:
        run(configure(workspace, fake.url))
        oldest = datetime(2026, 10, 16, tzinfo=UTC).timestamp()

        def forgetful(heard: Heard) -> Reply:
            form = asked(heard)
            moments = [
                at for at in range(int(form["start"]), int(form["end"]) + 1, 3600) if at > oldest
            ]
            return (
                matrix(({"service": "cart"}, [(at, "1000") for at in moments]))
                if moments
                else matrix()
            )

        fake.answer = forgetful
        run(configure(workspace, fake.url, queries={"calls": "y"}))
    rows = open_lake(workspace).table("signals").sort("hour")
    assert rows.height == 9 * 24 + 6
    assert set(rows.filter(pl.col("hour") < datetime(2026, 10, 16, tzinfo=UTC))["value"]) == {
        float(n) for n in range(24)
    }
    assert set(rows.filter(pl.col("hour") >= datetime(2026, 10, 16, tzinfo=UTC))["value"]) == {
        1000.0
    }


def test_a_prometheus_that_goes_away_half_way_loses_nothing(workspace: Path) -> None:
    with http_server(every_hour) as fake:
        configure(workspace, fake.url)
        fake.answer = lambda heard: (
            every_hour(heard) if len(fake.heard) == 1 else (404, {}, b"gone")
        )
        report = run(workspace)
        assert (
            "2026-10-17 was the last day that was read, the rest comes next time"
            in report.messages[0]
        )
        assert open_lake(workspace).table("signals").height == 7 * 24
        fake.heard.clear()
        fake.answer = every_hour
        assert not run(workspace).messages
    assert [asked(h)["start"] for h in fake.heard] == [
        f"{datetime(2026, 10, 16, 1, tzinfo=UTC).timestamp():.0f}"
    ]
    assert open_lake(workspace).table("signals").height == 9 * 24 + 6


def test_a_prometheus_that_never_answers_is_said_and_the_rest_goes_on(workspace: Path) -> None:
    configure(workspace, f"http://127.0.0.1:{free_port()}")
    report = run(workspace)
    assert "`signals[0]` could not be reached and stays as it was" in report.messages[0]
    assert open_lake(workspace).table("signals").is_empty()
    assert open_lake(workspace).table("hourly").height > 0


def test_days_of_an_incomplete_answer_are_asked_for_again(workspace: Path) -> None:
    def warning(heard: Heard) -> Reply:
        status, headers, body = every_hour(heard)
        return (
            status,
            headers,
            json.dumps(json.loads(body) | {"warnings": ["store-2 is down"]}).encode(),
        )

    with http_server(warning) as fake:
        run(configure(workspace, fake.url))
        reasons = open_lake(workspace).table("set_aside")["reason"].to_list()
        assert reasons == ["the answer may be incomplete: store-2 is down"] * 2, (
            "one for each of the two windows"
        )
        fake.heard.clear()
        fake.answer = every_hour
        run(workspace)
        assert len(fake.heard) == 2
        assert open_lake(workspace).table("set_aside").is_empty()
        fake.heard.clear()
        run(workspace)
        assert len(fake.heard) == 1


def test_a_metric_without_series_is_said(workspace: Path) -> None:
    with http_server(
        lambda heard: every_hour(heard) if asked(heard)["query"] == "x" else matrix()
    ) as fake:
        report = run(configure(workspace, fake.url, queries={"calls": "x", "retries": "y"}))
    assert ["no series for retries" in m for m in report.messages if "series" in m] == [True]


def test_two_entries_for_one_prometheus_are_refused(workspace: Path) -> None:
    text = configure(workspace, "http://prom:9090").joinpath("costwhy.toml").read_text()
    (workspace / "costwhy.toml").write_text(text + text[text.index("[[signals]]") :])
    with pytest.raises(
        ConfigError,
        match=r"`signals\[0\]` and `signals\[1\]` name the same\nFound: prometheus:prom:9090",
    ):
        run(workspace)


# ---------------------------------------------------------------- the page


def test_every_example_of_the_page_is_a_configuration_that_works() -> None:
    page = (ROOT / "docs/prometheus.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    entries = [entry for example in examples for entry in tomllib.loads(example)["signals"]]
    for entry in entries:
        source = msgspec.convert(entry, prometheus.Config)
        assert prometheus_auth._address(source, "signals[0]").host
        assert "calls" in source.all_queries
    assert {entry.get("preset") for entry in entries} == {*PRESETS, None}


# ---------------------------------------------------------------- what attacks found


def answered(body: bytes) -> Reading:
    """What is read of one answer to the query of calls, over four hours."""
    with http_server(lambda _: (200, {}, body)) as fake:
        return prometheus.read(endpoint(fake.url), {"calls": "c"}, (START, START + 4 * HOUR))


@pytest.mark.parametrize("time", ["1e300", "6e12", "-6e11"])
def test_a_time_of_no_calendar_is_set_aside_and_the_rest_is_read(time: str) -> None:
    first = int((START + HOUR).timestamp())
    series = f'{{"metric":{{"service":"cart"}},"values":[[{time},"1"],[{first},"2"]]}}'
    reading = answered(
        f'{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}'.encode()
    )
    assert reading.rows.select("hour", "value").rows() == [(START, 2.0)]
    assert reading.set_aside["reason"].to_list() == ["the time is not one that was asked for"]


def test_no_sum_of_samples_is_infinite() -> None:
    first = int((START + HOUR).timestamp())
    series = [
        {"metric": {"service": "cart", "pod": pod}, "values": [[first, "1.7e308"]]} for pod in "ab"
    ]
    reading = answered(
        json.dumps(
            {"status": "success", "data": {"resultType": "matrix", "result": series}}
        ).encode()
    )
    assert reading.rows.height == 0
    assert reading.set_aside["reason"].to_list() == ["the value is larger than any count"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"success","data":{"result":[]},"more":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        b'{"status":"success"}',
        b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{"service":"cart"},"value":[1,"1"]}]}}',
    ],
)
def test_an_answer_of_another_shape_is_an_error_not_silence(body: bytes) -> None:
    with pytest.raises(UnreachableError, match="does not answer as Prometheus does"):
        answered(body)


@pytest.mark.parametrize(
    "url",
    [
        f"user:{SECRET}@prometheus:9090",
        f"htps://user:{SECRET}@prometheus",
        f"prometheus?token={SECRET}",
    ],
)
def test_a_mistyped_address_does_not_show_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="no http address") as caught:
        endpoint(url)
    assert SECRET not in str(caught.value)


def test_a_host_whose_name_is_none_is_exit_code_4() -> None:
    with pytest.raises(UnreachableError, match="the host's name is not valid"):
        prometheus.read(
            endpoint("http://prometheus..monitoring:9090"), {"calls": "c"}, (START, END)
        )
