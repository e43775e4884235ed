"""Signals from Prometheus over HTTP, or from what speaks its API: Thanos, Mimir, VictoriaMetrics.

Each metric has a query whose answer carries the labels `service` and `caller`. The hour [h, h+1) is
asked at h+1, where `increase(...[1h])` and `avg_over_time(...[1h])` look back over just that hour.
Series of one service and caller are summed. docs/prometheus.md
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec
import polars as pl

from costwhy.errors import SourceError, UnreachableError
from costwhy.remote import http
from costwhy.remote.http import Limits, Reply, TooLargeError
from costwhy.sources.format import Live, Request, salt, whole_hour
from costwhy.sources.reading import Collector, Reading, fit
from costwhy.sources.signals import metrics
from costwhy.sources.signals.metrics import KEY, Metric
from costwhy.sources.signals.prometheus_auth import AuthConfig, Endpoint, find_endpoint
from costwhy.sources.signals.prometheus_presets import PRESETS
from costwhy.tables import COUNT, SIGNALS, TIME
from costwhy.text import shown

LIMITS = Limits(seconds=60.0, bytes=64 * 2**20, attempts=3, repeatable=True)
WARNED = "the answer may be incomplete: "
DAYS_AT_ONCE = 7  # What is asked at once, and lost at most when Prometheus goes away
_HOUR = timedelta(hours=1)
_TOO_MUCH = ("too many samples", "timed out", "timeout", "too large", "exceed", "limit")
_LATEST = 4_102_444_800  # 2100; beyond, no calendar may follow
_SAMPLES = {
    **dict.fromkeys(("service", "caller", "labels"), pl.String()),
    **dict.fromkeys(("time", "value"), pl.List(pl.Float64)),
}
Window = tuple[datetime, datetime]


class Config(AuthConfig, frozen=True, kw_only=True):
    """A Prometheus at `url`, asked for the last `days`.

    Its queries are those of `preset`; `queries` has others, or further ones, for each metric.
    """

    days: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 35
    preset: Literal["istio", "envoy", "otel-http", "otel-grpc"] | None = None
    queries: dict[Metric, Annotated[str, msgspec.Meta(pattern=r"\S")]] = msgspec.field(
        default_factory=dict
    )

    @property
    def all_queries(self) -> dict[str, str]:
        """The query of each metric."""
        own = {str(metric): query for metric, query in self.queries.items()}
        return {**PRESETS[self.preset], **own} if self.preset else own

    def __post_init__(self) -> None:
        super().__post_init__()
        if "calls" not in self.all_queries:
            raise ValueError(
                "there is no query for calls: name a `preset`, or write `queries.calls`"
            )


def live(entry: Config, key: str, folder: Path, _tags: Sequence[str]) -> Live:
    """What an entry asks. Raises ConfigError where its address or its credentials are wrong."""
    endpoint, queries = find_endpoint(entry, key, folder), entry.all_queries
    return Live(
        prefix=f"{entry.format}:",
        places=(str(PurePosixPath(endpoint.place)),),
        days=entry.days,
        salt=salt(sorted(queries.items())),
        ask=partial(read_days, endpoint, queries),
        shown=endpoint.place,
        contents=lambda one: (one.rows.write_json() + one.set_aside.write_json()).encode(),
    )


# ---------------------------------------------------------------- reading


def read_days(
    endpoint: Endpoint, queries: Mapping[str, str], request: Request
) -> Iterator[tuple[date, Reading]]:
    """Each day that has rows, with its whole hours."""
    answered: set[str] = set()
    for start, until in request.windows(DAYS_AT_ONCE):
        end = whole_hour(until)
        if start < end:
            reading = read(endpoint, queries, (start, end))
            answered.update(reading.rows["metric"].unique())
            for day, piece in reading.by_day().items():
                aside = reading.set_aside.filter(pl.col("file").str.ends_with(f":{day}"))
                yield date.fromisoformat(day), replace(piece, set_aside=aside)
    request.notes.extend(
        f"{endpoint.place} has no series for {metric}: see `{endpoint.key}.queries`"
        for metric in queries
        if metric not in answered
    )


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    histograms: list[msgspec.Raw] = []


class _Data(msgspec.Struct, rename="camel"):
    result: list[_Series]
    result_type: str = "matrix"


class _Response(msgspec.Struct, rename="camel"):
    status: str
    data: _Data | None = None
    error_type: str = ""
    error: str = ""
    warnings: list[str] | None = None


class _TooMuchError(Exception):
    """Prometheus would answer for a shorter window; with the error where there is none."""


def read(endpoint: Endpoint, queries: Mapping[str, str], window: Window) -> Reading:
    """Signals of the whole hours in `window`. What makes no sense is set aside.

    queries: of each metric

    Raises UnreachableError where nothing answers, SourceError where a query is refused or names no
    service.
    """
    start, end = (time.astimezone(UTC) for time in window)
    if (whole_hour(start), whole_hour(end)) != (start, end):
        raise ValueError(f"a window begins and ends at whole hours, not {start} to {end}")
    collector = Collector(SIGNALS, "signals")
    frames = [fit(SIGNALS, []).drop("buckets")]
    for metric, query in queries.items():
        frames += _read_metric(endpoint, metric, query, (start, end), collector)
    sums = pl.concat(frames).group_by(KEY).agg(pl.col("value").sum(), buckets=pl.lit(1, COUNT))
    reading = collector.reading()
    return replace(
        reading,
        rows=sums.sort(KEY),
        complete=not reading.set_aside["reason"].str.starts_with(WARNED).any(),
    )


def _read_metric(
    endpoint: Endpoint, metric: str, query: str, window: Window, collector: Collector
) -> Iterator[pl.DataFrame]:
    """The rows of a metric; a window that is too much is halved."""
    pieces = [window]
    while pieces:
        start, end = pieces.pop()
        try:
            answer = _ask(endpoint, metric, query, (start, end))
        except _TooMuchError as error:
            middle = start + (end - start) // _HOUR // 2 * _HOUR
            if middle == start:
                raise error.args[0] from None
            pieces += [(middle, end), (start, middle)]
            continue
        for warning in answer.warnings or ():
            collector.set_aside(
                _file(endpoint, end - _HOUR), metric, WARNED + shown(warning, endpoint.secrets)
            )
        series = answer.data.result if answer.data else []
        _refuse_series(endpoint, metric, series)
        yield _sound(endpoint, metric, _samples(metric, series, (start, end)), collector)


def _ask(endpoint: Endpoint, metric: str, query: str, window: Window) -> _Response:
    """The answer to one query. Raises _TooMuchError where half the window may work."""
    body = urlencode(
        {
            "query": query,
            "start": int((window[0] + _HOUR).timestamp()),
            "end": int(window[1].timestamp()),
            "step": 3600,
            "timeout": f"{LIMITS.seconds:.0f}s",
        }
    ).encode()
    url = f"{endpoint.url}/api/v1/query_range"
    try:
        answer = http.post(
            http.Post(url, body, lambda: endpoint.sign(url, body), endpoint.secrets), LIMITS
        )
    except TooLargeError as error:
        raise _TooMuchError(error) from None
    if answer.status in {401, 403}:
        raise UnreachableError(
            f"{endpoint.place} does not accept the credentials",
            found=_shown(endpoint, answer),
            fix=f"check `{endpoint.key}.auth` and what it names",
        )
    try:
        response = msgspec.json.decode(answer.body, type=_Response)
    except (msgspec.DecodeError, RecursionError):
        raise _no_prometheus(endpoint, answer) from None
    if response.status != "success" or answer.status != 200:
        raise _refused(endpoint, metric, query, response)
    if response.data is None or response.data.result_type != "matrix":
        raise _no_prometheus(endpoint, answer)  # silence would look like services that fell silent
    return response


def _shown(endpoint: Endpoint, answer: Reply) -> str:
    text = answer.body[:2000].decode("utf-8", "replace")
    return f"{answer.status}: {shown(text, endpoint.secrets) or 'nothing'}"


def _no_prometheus(endpoint: Endpoint, answer: Reply) -> UnreachableError:
    return UnreachableError(
        f"{endpoint.place} does not answer as Prometheus does",
        found=_shown(endpoint, answer),
        fix=f"`{endpoint.key}.url` is the address before /api/v1, with its path prefix if any",
    )


def _refused(endpoint: Endpoint, metric: str, query: str, response: _Response) -> Exception:
    reason = shown(f"{response.error_type}: {response.error}", endpoint.secrets)
    error = SourceError(
        f"`{endpoint.key}`: {endpoint.place} refused the query of {metric}",
        found=f"{reason}\nQuery: {shown(query)}",
        fix="try the query in Prometheus's own page, and correct it in costwhy.toml",
    )
    marks = any(mark in response.error.lower() for mark in _TOO_MUCH)
    return _TooMuchError(error) if response.error_type == "timeout" or marks else error


# ---------------------------------------------------------------- samples


def _samples(metric: str, series: list[_Series], window: Window) -> pl.DataFrame:
    """All samples: hour, service, caller, metric, value and the labels as text.

    inside: the hour is one that was asked for
    """
    columns = {
        "service": [one.metric.get("service") or None for one in series],
        "caller": [one.metric.get("caller") or None for one in series],
        "labels": [", ".join(f"{k}={v}" for k, v in sorted(one.metric.items())) for one in series],
        "time": [[time for time, _ in one.values] for one in series],
        "value": [[_number(text) for _, text in one.values] for one in series],
    }
    samples = (
        pl.DataFrame(columns, schema=_SAMPLES)
        .filter(pl.col("time").list.len() > 0)
        .explode("time", "value", empty_as_null=True)
    )
    microseconds = (pl.col("time").clip(0, _LATEST) * 1e6).round().cast(pl.Int64)
    asked_at = pl.from_epoch(microseconds, time_unit="us").dt.replace_time_zone("UTC")
    hour = pl.col("hour")
    inside = hour.is_between(*window, closed="left") & (hour.dt.truncate("1h") == hour)
    return samples.with_columns(
        hour=(asked_at - _HOUR).cast(TIME), metric=pl.lit(metric)
    ).with_columns(inside=inside)


def _refuse_series(endpoint: Endpoint, metric: str, series: list[_Series]) -> None:
    if any(one.histograms for one in series):
        raise SourceError(
            f"`{endpoint.key}`: the query of {metric} answers with histograms",
            found="no numbers",
            fix="ask for a count: histogram_count(increase(...[1h]))",
        )
    if series and not any(one.metric.get("service") for one in series):
        names = ", ".join(sorted({name for one in series[:100] for name in one.metric})) or "none"
        raise SourceError(
            f"`{endpoint.key}`: the query of {metric} answers without the label `service`",
            found=f"labels: {shown(names)}",
            fix="write sum by (service, caller) (label_replace(...)); docs/prometheus.md",
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _sound(
    endpoint: Endpoint, metric: str, samples: pl.DataFrame, collector: Collector
) -> pl.DataFrame:
    """The samples that can be used; the others are set aside, a row for each day and reason."""
    value = pl.col("value")
    fault = metrics.first_fault(
        (~pl.col("inside"), "the time is not one that was asked for"),
        *metrics.odd_names(),
        (~value.is_finite(), "the value is not finite"),
        (value > 1e18, "the value is larger than any count"),
        (value < -1e-6, "the value is negative"),  # less is rounding in a difference
    )
    marked = samples.with_columns(reason=fault, day=pl.col("hour").dt.truncate("1d"))
    days = (
        marked.filter(pl.col("reason").is_not_null())
        .group_by("day", "reason", maintain_order=True)
        .agg(pl.first("labels"), records=pl.len())
    )
    for time, reason, labels, count in days.iter_rows():
        collector.set_aside(_file(endpoint, time), metric, reason, labels, count)
    for hour, count in samples.filter("inside").group_by("hour").agg(count=pl.len()).iter_rows():
        collector.see(None, hour, count)
    return marked.filter(pl.col("reason").is_null()).select(
        *KEY, pl.col("value").clip(lower_bound=0.0)
    )


def _file(endpoint: Endpoint, time: datetime) -> Path:
    """Shown in place of a file: the Prometheus and the day."""
    return Path(f"{endpoint.place}:{time:%Y-%m-%d}")


FORMAT = metrics.signals_format(config=Config, live=live)
