"""Signals from Prometheus over HTTP, or from what speaks its API: Thanos, Mimir, VictoriaMetrics, Amazon's managed one.

Each metric has a query whose answer carries the labels `service` and `caller`. The hour [h, h+1) is asked at h+1, where
`increase(...[1h])` and `avg_over_time(...[1h])` look back over just that hour. Series of one service and caller are summed.
"""

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import botocore.session
import httpx2
import msgspec
import polars as pl
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from costwhy.config import SignalSource
from costwhy.errors import ConfigError, SourceError, UnreachableError
from costwhy.remote import http
from costwhy.remote.http import Limits, Post, Reply, TooLargeError
from costwhy.remote.secrets import secret_of_file, secret_of_variable
from costwhy.sources.by_day import HOUR, Window, day_of
from costwhy.sources.intake import Intake, fit
from costwhy.sources.reading import Reading
from costwhy.sources.signals.long_table import MAX_NAME, METRICS
from costwhy.sources.signals.prometheus_presets import PRESETS
from costwhy.tables import COUNT, SIGNALS, TIME
from costwhy.text import shown

DAYS = 35
"""How far back is asked where nothing else is said."""
MOST_POINTS = 10_000
"""Points of a series that are asked for at once; Prometheus refuses more than 11,000."""
LIMITS = Limits(seconds=60.0, bytes=64 * 2**20, attempts=3, repeatable=True)
WARNED = "the answer may be incomplete: "
_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json", "User-Agent": "costwhy"}
_TOO_MUCH = ("too many samples", "timed out", "timeout", "too large", "exceed", "limit")
_LATEST = 4_102_444_800  # 2100; beyond, no calendar may follow
_MOST = 1e18
_TEXT, _NUMBERS = pl.String(), pl.List(pl.Float64)
_SAMPLES = pl.Schema({"service": _TEXT, "caller": _TEXT, "labels": _TEXT, "time": _NUMBERS, "value": _NUMBERS})
_KEY = ["hour", "service", "caller", "metric"]


@dataclass(frozen=True)
class Endpoint:
    """A Prometheus. key: its entry in costwhy.toml; place: host and path, fit to be shown; sign: makes a request's headers."""

    key: str
    url: str = field(repr=False)
    place: str
    sign: Callable[[str, bytes], Mapping[str, str]] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


class _Series(msgspec.Struct):
    metric: dict[str, str] = {}
    values: list[tuple[float, str]] = []
    histograms: list[msgspec.Raw] = []


class _Data(msgspec.Struct):
    result: list[_Series]
    resultType: str = "matrix"


class _Said(msgspec.Struct):
    status: str
    data: _Data | None = None
    errorType: str = ""
    error: str = ""
    warnings: list[str] | None = None


class _TooMuchError(Exception):
    """Prometheus would answer for a shorter window."""

    def __init__(self, error: SourceError | UnreachableError) -> None:
        self.error = error


# ---------------------------------------------------------------- reading


def read(endpoint: Endpoint, queries: Mapping[str, str], window: Window) -> Reading:
    """Signals of the whole hours in `window`, by metric: its query. What makes no sense is set aside.

    Raises UnreachableError where nothing answers, SourceError where a query is refused or names no service.
    """
    start, end = (time.astimezone(UTC) for time in window)
    if any(time.replace(minute=0, second=0, microsecond=0) != time for time in (start, end)):
        raise ValueError(f"a window begins and ends at whole hours, not {start} to {end}")
    intake = Intake(SIGNALS, "signals")
    frames = [rows for metric, query in queries.items() for rows in _read_metric(endpoint, metric, query, (start, end), intake)]
    rows = pl.concat(frames).group_by(_KEY).agg(pl.col("value").sum(), buckets=pl.lit(1, COUNT)) if frames else fit(SIGNALS, [])
    reading = intake.reading()
    return Reading(rows=rows.sort(_KEY), set_aside=reading.set_aside, seen=reading.seen)


def is_whole(reading: Reading) -> bool:
    """Whether Prometheus gave no warning that something is missing."""
    return not reading.set_aside["reason"].str.starts_with(WARNED).any()


def _read_metric(endpoint: Endpoint, metric: str, query: str, window: Window, intake: Intake) -> Iterator[pl.DataFrame]:
    """The rows of a metric, piece by piece; a piece that is too much is halved."""
    pieces = list(reversed(list(_pieces(window))))
    while pieces:
        start, end = pieces.pop()
        try:
            said = _ask(endpoint, metric, query, (start, end))
        except _TooMuchError as error:
            middle = start + (end - start) // HOUR // 2 * HOUR
            if middle == start:
                raise error.error from None
            pieces += [(middle, end), (start, middle)]
            continue
        for warning in said.warnings or ():
            intake.set_aside(_file(endpoint, end - HOUR), metric, WARNED + shown(warning, endpoint.secrets))
        yield _sound(endpoint, metric, _samples(endpoint, metric, said.data.result if said.data else [], (start, end)), intake)


def _pieces(window: Window) -> Iterator[Window]:
    start, end = window
    while start < end:
        stop = min(start + MOST_POINTS * HOUR, end)
        yield start, stop
        start = stop


def _ask(endpoint: Endpoint, metric: str, query: str, window: Window) -> _Said:
    """The answer to one query over one window. Raises _TooMuchError where half the window may work."""
    first, last = (int(time.timestamp()) for time in (window[0] + HOUR, window[1]))
    form = {"query": query, "start": first, "end": last, "step": 3600, "timeout": f"{LIMITS.seconds:.0f}s"}
    url, body = f"{endpoint.url}/api/v1/query_range", urlencode(form).encode()
    try:
        answer = http.post(Post(url, body, lambda: endpoint.sign(url, body), endpoint.secrets), LIMITS)
    except TooLargeError as error:
        raise _TooMuchError(error) from None
    if answer.status in {401, 403}:
        todo = f"check `{endpoint.key}.auth` and what it names"
        found = f"{answer.status}: {shown(_text(answer), endpoint.secrets)}"
        raise UnreachableError(f"{endpoint.place} does not accept the credentials", found=found, todo=todo)
    try:
        said = msgspec.json.decode(answer.body, type=_Said)
    except (msgspec.DecodeError, RecursionError):
        raise _no_prometheus(endpoint, answer) from None
    if said.status == "success" and answer.status == 200:
        if said.data is None or said.data.resultType != "matrix":  # silence would look like services that fell silent
            raise _no_prometheus(endpoint, answer)
        return said
    raise _refused(endpoint, metric, query, said)


def _text(answer: Reply) -> str:
    return answer.body[:2000].decode("utf-8", "replace")


def _no_prometheus(endpoint: Endpoint, answer: Reply) -> UnreachableError:
    found = f"{answer.status}: {shown(_text(answer), endpoint.secrets) or 'nothing'}"
    todo = f"`{endpoint.key}.url` is the address before /api/v1, with its path prefix if it has one"
    return UnreachableError(f"{endpoint.place} does not answer as Prometheus does", found=found, todo=todo)


def _refused(endpoint: Endpoint, metric: str, query: str, said: _Said) -> Exception:
    reason = shown(f"{said.errorType}: {said.error}", endpoint.secrets)
    error = SourceError(
        f"`{endpoint.key}`: {endpoint.place} refused the query of {metric}",
        found=f"{reason}\nQuery: {shown(query)}",
        todo="try the query in Prometheus's own page, and mend it in costwhy.toml",
    )
    too_much = said.errorType == "timeout" or any(mark in said.error.lower() for mark in _TOO_MUCH)
    return _TooMuchError(error) if too_much else error


# ---------------------------------------------------------------- samples


def _samples(endpoint: Endpoint, metric: str, series: list[_Series], window: Window) -> pl.DataFrame:
    """All samples: hour, service, caller, metric, value and the labels as text. Raises SourceError: no series has a service."""
    if any(one.histograms for one in series):
        todo = "ask for a count: histogram_count(increase(...[1h]))"
        raise SourceError(f"`{endpoint.key}`: the query of {metric} answers with histograms", found="no numbers", todo=todo)
    if series and not any(one.metric.get("service") for one in series):
        names = ", ".join(sorted({name for one in series[:100] for name in one.metric})) or "none"
        wrong = f"`{endpoint.key}`: the query of {metric} answers without the label `service`"
        todo = "write sum by (service, caller) (label_replace(...)) around it; docs/prometheus.md"
        raise SourceError(wrong, found=f"labels: {shown(names)}", todo=todo)
    columns = {
        "service": [one.metric.get("service") or None for one in series],
        "caller": [one.metric.get("caller") or None for one in series],
        "labels": [", ".join(f"{k}={v}" for k, v in sorted(one.metric.items())) for one in series],
        "time": [[time for time, _ in one.values] for one in series],
        "value": [[_number(text) for _, text in one.values] for one in series],
    }
    samples = pl.DataFrame(columns, schema=_SAMPLES).filter(pl.col("time").list.len() > 0).explode("time", "value", empty_as_null=True)
    hour = pl.from_epoch((pl.col("time").clip(0, _LATEST) * 1e6).round().cast(pl.Int64), time_unit="us").dt.replace_time_zone(
        "UTC"
    ) - timedelta(hours=1)
    inside = pl.col("hour").is_between(*window, closed="left") & (pl.col("hour").dt.truncate("1h") == pl.col("hour"))
    return samples.with_columns(hour=hour.cast(TIME), metric=pl.lit(metric)).with_columns(inside=inside)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _sound(endpoint: Endpoint, metric: str, samples: pl.DataFrame, intake: Intake) -> pl.DataFrame:
    """The samples that can be used; the others are set aside, one row for each day and reason. All are counted as seen."""
    marked = samples.with_columns(reason=_reason())
    for day, reason, labels, count in _asides(marked).iter_rows():
        intake.set_aside(_file(endpoint, day), metric, reason, labels, count)
    seen = samples.filter("inside").group_by("hour").agg(count=pl.len())
    for hour, count in seen.iter_rows():
        intake.see(None, hour, count)
    good = marked.filter(pl.col("reason").is_null())
    return good.select(*_KEY, pl.col("value").clip(lower_bound=0.0))


def _file(endpoint: Endpoint, time: datetime) -> Path:
    """Where a record was set aside: the Prometheus and the day."""
    return Path(f"{endpoint.place}:{day_of(time)}")


def _asides(marked: pl.DataFrame) -> pl.DataFrame:
    bad = marked.filter(pl.col("reason").is_not_null())
    days = bad.group_by(pl.col("hour").dt.truncate("1d").alias("day"), "reason", maintain_order=True)
    return days.agg(pl.col("labels").first(), records=pl.len())


def _reason() -> pl.Expr:
    odd = pl.any_horizontal(
        pl.col(name).str.contains(r"[\x00-\x1f\x7f]") | (pl.col(name).str.len_bytes() > MAX_NAME) for name in ("service", "caller")
    )
    faults = [
        (~pl.col("inside"), "the time is not one that was asked for"),
        (pl.col("service").is_null(), "there is no service"),
        (odd, f"a name has control characters or more than {MAX_NAME} bytes"),
        (~pl.col("value").is_finite(), "the value is not finite"),
        (pl.col("value") > _MOST, "the value is larger than any count"),
        (pl.col("value") < -1e-6, "the value is negative"),  # less is rounding in a difference
    ]
    return pl.coalesce(pl.when(wrong).then(pl.lit(reason)) for wrong, reason in faults)


# ---------------------------------------------------------------- what costwhy.toml says


def find_queries(entry: SignalSource, key: str) -> dict[str, str]:
    """The query of each metric: the preset's, with those of `queries` in their place. Raises ConfigError."""
    for metric, query in entry.queries.items():
        if metric not in METRICS:
            raise ConfigError(f"`{key}.queries.{shown(metric)}` is no metric", found=shown(metric), todo=f"one of {', '.join(METRICS)}")
        if not query.strip():
            raise ConfigError(f"`{key}.queries.{metric}` is empty", found="no query", todo="write one, or leave the line out")
    queries = dict(PRESETS[entry.preset] if entry.preset else {}) | entry.queries
    if "calls" not in queries:
        todo = f'add a preset ({", ".join(PRESETS)}), or `queries = {{calls = "..."}}`'
        raise ConfigError(f"`{key}` has no query for calls", found=", ".join(queries) or "no query", todo=todo)
    return queries


def find_place(entry: SignalSource, key: str) -> str:
    """Host and path of the Prometheus. Raises ConfigError where `url` is none, or holds a secret."""
    todo = 'write it as url = "https://prometheus.example:9090/prefix"'
    try:
        url = httpx2.URL(entry.url or "")
    except (httpx2.InvalidURL, ValueError):
        raise ConfigError(f"`{key}.url` is no address", found="a malformed address", todo=todo) from None
    if url.scheme not in {"http", "https"} or not url.host:
        found = "an address of another kind" if entry.url else "nothing"  # which may hold a password, where one was mistyped
        raise ConfigError(f"`{key}.url` is missing, or no http address", found=found, todo=todo)
    if url.userinfo or url.query or url.fragment:
        todo = 'leave them out; `auth = "basic"`, `user` and `password_env` name a secret without showing it'
        raise ConfigError(f"`{key}.url` holds a user, a password or a query", found=f"an address at {http.host(str(url))}", todo=todo)
    return http.host(str(url)) + url.path.rstrip("/").removesuffix("/api/v1").rstrip("/")


def find_endpoint(entry: SignalSource, key: str, folder: Path) -> Endpoint:
    """A Prometheus with its credentials, from the environment or from files relative to `folder`. Raises ConfigError."""
    place = find_place(entry, key)
    url = f"{httpx2.URL(entry.url or '').scheme}://{place}"
    _refuse_stray(entry, key)
    if entry.auth == "sigv4":
        return Endpoint(key, url, place, _signer(_region(entry, key, place)))
    if entry.auth == "none":
        return Endpoint(key, url, place, lambda _url, _body: _FORM)
    what = "password" if entry.auth == "basic" else "token"
    secret = _secret(entry, key, what, folder)
    if entry.auth == "bearer":
        header = f"Bearer {secret}"
    elif entry.user and ":" not in entry.user and entry.user.isprintable():
        header = "Basic " + b64encode(f"{entry.user}:{secret}".encode()).decode()
    else:
        raise ConfigError(f"`{key}.user` is missing or wrong", found=shown(entry.user or "no user"), todo="name one, without a colon")
    if not header.isascii():
        raise ConfigError(f"the token of `{key}` is not ASCII", found="a character beyond ASCII", todo="set it again")
    return Endpoint(key, url, place, lambda _url, _body: _FORM | {"Authorization": header}, (secret, header.split(" ", 1)[1]))


def _refuse_stray(entry: SignalSource, key: str) -> None:
    """A password beside `auth = "none"` would never be used: that is a mistake, said at once."""
    meant = {"basic": ("user", "password_env", "password_file"), "bearer": ("token_env", "token_file"), "sigv4": ("region",)}
    for auth, names in meant.items():
        for name in names:
            if auth != entry.auth and getattr(entry, name) is not None:
                raise ConfigError(f"`{key}.{name}` belongs to auth {auth!r}", found=f"auth {entry.auth!r}", todo=f'add `auth = "{auth}"`')


def _secret(entry: SignalSource, key: str, what: str, folder: Path) -> str:
    variable, file = getattr(entry, f"{what}_env"), getattr(entry, f"{what}_file")
    if variable and not file:
        return secret_of_variable(variable, f"{key}.{what}_env")
    if file and not variable:
        return secret_of_file(folder / file, f"{key}.{what}_file")
    found = "both" if file else "neither"
    todo = f"name an environment variable or a file that holds the {what}"
    raise ConfigError(f"`{key}`: one of {what}_env and {what}_file is needed", found=found, todo=todo)


def _region(entry: SignalSource, key: str, place: str) -> str:
    """Where the workspace is: as configured, as its address says, or as the environment says."""
    name = place.split("/", maxsplit=1)[0].split(".")
    region = entry.region or (name[1] if name[0] == "aps-workspaces" and len(name) > 2 else None)
    region = region or botocore.session.get_session().get_config_variable("region")
    if not region:
        raise ConfigError(f"`{key}.region` is missing", found="none in the address or the environment", todo="name the workspace's region")
    return str(region)


def _signer(region: str) -> Callable[[str, bytes], Mapping[str, str]]:
    """Headers signed as Amazon's managed Prometheus wants them, with the credentials that boto3 finds."""
    session = botocore.session.get_session()

    def sign(url: str, body: bytes) -> Mapping[str, str]:
        try:
            credentials = session.get_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
        except BotoCoreError as error:
            raise _no_credentials(type(error).__name__) from None
        if frozen is None:
            raise _no_credentials("none in the environment, the profile or the instance")
        request = AWSRequest(method="POST", url=url, data=body, headers=dict(_FORM))
        SigV4Auth(frozen, "aps", region).add_auth(request)
        return dict(request.headers.items())

    return sign


def _no_credentials(found: str) -> UnreachableError:
    return UnreachableError("there are no AWS credentials to ask Prometheus with", found=found, todo="set them as for the AWS command line")


__all__ = ["Endpoint", "find_endpoint", "find_place", "find_queries", "is_whole", "read"]
