"""The changes that somebody may have decided, and what speaks for each as the cause of a spike.

They are prepared once for a lake: the service of each, its kind, and how usual it is. A change that
names no known service belongs to the service that its record names.

The triggers of a spike are ranked among those of the three days before it. A change after the onset
is no evidence. Where a change was made is compared with the place of each rate that moved
(`PLACES`), its kind with the kind of behaviour (`Behaviour.mechanism`).
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from costwhy.arrays import Array
from costwhy.behaviours import AMPLIFIED, BY_ACCOUNT, BY_KIND, CAPACITY, CHANGE_KINDS
from costwhy.text import arn_tail, contains_word

Texts = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

# Calls about permissions and monitoring: they seldom change usage.
WATCHING = (
    r"^(?:iam|secretsmanager|kms|monitoring|cloudwatch|sts|acm|sso|config|cloudtrail|guardduty"
    r"|securityhub)\."
)
# Calls about how long something is kept, or how often it is copied.
KEEPING = (
    r"Lifecycle|TimeToLive|Retention|Versioning|Replication|Backup|Snapshot|Archive|Compaction"
    r"|Tiering"
)
NAMING = ("service", "resource", "after", "path")  # columns that may name a service
NAME_LEAST = 6  # characters of a resource's name: a shorter one is found in records by chance
LOOK_BACK = timedelta(hours=72)
UNDO_BEFORE, UNDO_AFTER = timedelta(hours=3), timedelta(hours=2)  # around the end of a spike
SAME_DECISION = timedelta(minutes=20)  # between the records of one decision
STORED = re.compile(r"ByteHrs|Storage|Snapshot|Backup|VolumeUsage", re.IGNORECASE)  # usage types

# How well each kind of change fits capacity of stored bytes, see `Behaviour.mechanism`.
STORED_MECHANISM = (0.25, 0.35, 0.10, 0.10, 0.30, 0.05, 0.30, 0.15, 0.01, 1.00, 0.02, 0.01, 0.10)

PLACES = ("resource", "newborn", "moved", "callee", "upstream", "account", "elsewhere")
"""How near a change is to a moved rate, nearest first; the first that holds counts.

resource   it names a resource that was first billed when the spike began
newborn    it is the first change of a service that began with the spike
moved      it touched the service whose rate moved, or the caller that amplified
callee     it touched the service that is called, or the caller of the service whose rate moved
upstream   it touched another service that calls one of these
account    it touched no known service, in an account of the spike, where that may be the cause
elsewhere  anything else
"""


@dataclass(frozen=True)
class KnownChanges:
    """N changes by time; what machines do by themselves is left out."""

    rows: pl.DataFrame  # N rows of `tables.CHANGES`
    hours: Array  # N, time in hours since 1970
    service: Texts  # N; None: no known service
    doing: Texts  # N, kind of change, one of behaviours.CHANGE_KINDS
    call: Texts  # N, the operation: RegisterScalableTarget, or deployed
    usual: Array  # N, other changes like it a day: of the same service and operation
    outside_production: Mask  # N

    def between(self, first: datetime, last: datetime) -> slice:
        """Those at or after `first` and before `last`."""
        low, high = np.searchsorted(self.hours, [hour_of(first), hour_of(last)])
        return slice(int(low), int(high))


def hour_of(time: datetime) -> float:
    """Hours since 1970."""
    return time.timestamp() / 3600


def find_known_changes(changes: pl.DataFrame, services: frozenset[str]) -> KnownChanges:
    """The changes (tables.CHANGES), given the known services. One change_id counts once."""
    decided = changes.filter(~pl.col("automated").fill_null(value=False))
    decided = decided.unique("change_id", maintain_order=True).sort("time", "change_id")
    span = decided.select(pl.col("time").max() - pl.col("time").min()).item() or timedelta(0)
    event = pl.col("event").fill_null("")
    doing = (
        pl.when(event.str.contains(WATCHING))
        .then(pl.lit("watching"))
        .when(event.str.contains(KEEPING))
        .then(pl.lit("keeping"))
        .otherwise(pl.col("kind").fill_null("other"))
    )
    call = event.str.extract(r"([A-Za-z]+)[^:A-Za-z]*$").fill_null("")
    rows = decided.with_columns(service=_services(decided, services))
    same_place = ("service", pl.when(pl.col("service").is_null()).then("account"))
    others = (pl.len().over(*same_place, call) - 0.5) / max(1.0, span / timedelta(days=1))
    production = pl.col("environment").fill_null("production").is_in(["production", "prod"])
    made = rows.select(
        "service", doing=doing, call=call, usual=others, outside_production=~production
    )
    columns = {column.name: column.to_numpy() for column in made}
    texts = {name: columns.pop(name).astype(object) for name in ("service", "doing", "call")}
    return KnownChanges(rows, decided["time"].cast(pl.Int64).to_numpy() / 3.6e9, **texts, **columns)


def records_naming(changes: pl.DataFrame, names: Iterable[str]) -> Mask:
    """Which records name one of these resources; names too short to tell are left out."""
    long_names = [name for name in names if len(name) >= NAME_LEAST]
    if not long_names:
        return np.zeros(changes.height, dtype=bool)
    return (
        changes.select(
            pl.concat_str("resource", "after", separator=" ", ignore_nulls=True)
            .str.contains_any(long_names)
            .fill_null(value=False)
        )
        .to_series()
        .to_numpy()
    )


def _services(rows: pl.DataFrame, services: frozenset[str]) -> pl.Series:
    """The service of each change: its own if known, else the longest known one that it names."""
    known = sorted(services, key=lambda name: (-len(name), name))
    found = rows["service"].to_list()
    for column in NAMING if known else ():
        texts = rows[column].fill_null("").str.to_lowercase()
        for k, hit in enumerate(
            texts.str.extract_many([name.lower() for name in known], overlapping=True).to_list()
        ):
            if hit and found[k] not in services:
                found[k] = next(
                    (n for n in known if n.lower() in hit and contains_word(texts[k], n)), found[k]
                )
    return pl.Series("service", found, dtype=pl.String)


# ---------------------------------------------------------------- what speaks for each


@dataclass(frozen=True)
class MovedRate:
    """A behaviour that a change must explain, with its share of the spike's absolute dollars."""

    kind: str
    service: str | None
    caller: str | None
    usage_type: str | None
    share: float


@dataclass(frozen=True)
class Onset:
    """What a change must explain: R rates that moved, and when: within [since, start + blur).

    end         when the spike ended; null: it goes on
    callers_of  the services that call a service
    newborn     services that began with the spike
    accounts    of the spike's own meters
    resources   first billed when the spike began
    """

    rates: tuple[MovedRate, ...]
    since: datetime
    start: datetime
    blur: timedelta
    end: datetime | None
    callers_of: dict[str, frozenset[str]]
    newborn: frozenset[str]
    accounts: frozenset[str]
    resources: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Evidence:
    """What speaks for the n changes of the days before the onset.

    near    where they are among the known changes
    lag     n, hours before the earliest hour of the onset; 0: in the hours of the onset
    place   R x n, index into PLACES
    fit     R x n, how well its kind fits as the cause, see `Behaviour.mechanism`
    undone  n, whether it was taken back when the spike ended
    """

    near: slice
    lag: Array
    place: Codes
    fit: Array
    undone: Mask


def gather(changes: KnownChanges, onset: Onset) -> Evidence:
    """The changes of the days before the onset, and what speaks for each."""
    near = changes.between(onset.since - LOOK_BACK, onset.start + onset.blur)
    lag = np.maximum(0.0, hour_of(onset.since) - changes.hours[near])
    named = records_naming(changes.rows[near], [arn_tail(name) for name in onset.resources])
    begun = _began(changes, near, onset.newborn)
    shape = (len(onset.rates), lag.size)
    return Evidence(
        near,
        lag,
        np.array(
            [_places(changes, near, rate, onset, named, begun) for rate in onset.rates],
            dtype=np.int64,
        ).reshape(shape),
        np.array([_fits(changes.doing[near], rate) for rate in onset.rates], dtype=float).reshape(
            shape
        ),
        _undone(changes, near, onset),
    )


def _places(
    changes: KnownChanges, near: slice, rate: MovedRate, onset: Onset, named: Mask, begun: Mask
) -> Codes:
    service = changes.service[near]
    ends = (rate.caller, rate.service) if rate.kind in AMPLIFIED else (rate.service, rate.caller)
    rules = {
        "resource": named,
        "newborn": begun,
        "moved": _among(service, {ends[0]}),
        "callee": _among(service, {ends[1]}),
        "upstream": _among(
            service, {caller for name in ends for caller in onset.callers_of.get(name or "", ())}
        ),
        "account": np.array([name is None for name in service], dtype=bool)
        & _among(changes.rows["account"][near].to_numpy().astype(object), onset.accounts)
        & (rate.kind in BY_ACCOUNT),
    }
    return np.select(
        list(rules.values()), [PLACES.index(place) for place in rules], PLACES.index("elsewhere")
    )


def _among(texts: Texts, names: Collection[str | None]) -> Mask:
    return np.isin(texts, [name for name in names if name is not None])


def _began(changes: KnownChanges, near: slice, newborn: frozenset[str]) -> Mask:
    """The first change of each new service, with the records of the same minutes.

    What came later changed a service that was already there.
    """
    out = np.zeros(near.stop - near.start, dtype=bool)
    for service in newborn:
        hits = changes.service == service
        if hits.any():
            first = changes.hours[hits][0] + SAME_DECISION / timedelta(hours=1)
            out |= hits[near] & (changes.hours[near] <= first)
    return out


def _fits(doing: Texts, rate: MovedRate) -> list[float]:
    stored = rate.kind == CAPACITY and STORED.search(rate.usage_type or "")
    mechanism = STORED_MECHANISM if stored else BY_KIND[rate.kind].mechanism
    fit = dict(zip(CHANGE_KINDS, mechanism, strict=True))
    return [fit.get(kind, fit["other"]) for kind in doing]


def _undone(changes: KnownChanges, near: slice, onset: Onset) -> Mask:
    """Which changes were taken back when the spike ended.

    By a rollback of the service, or by the same call on it once more; a second deployment is none.
    """
    if onset.end is None:
        return np.zeros(near.stop - near.start, dtype=bool)
    last = changes.between(
        max(onset.end - UNDO_BEFORE, onset.start + onset.blur), onset.end + UNDO_AFTER
    )
    late = list(zip(changes.service[last], changes.call[last], changes.doing[last], strict=True))
    rolled_back = {service for service, _, kind in late if kind == "rollback"} - {None}
    again = {
        (service, call) for service, call, kind in late if service is not None and kind != "deploy"
    }
    return np.array(
        [
            call[0] in rolled_back or call in again
            for call in zip(changes.service[near], changes.call[near], strict=True)
        ],
        dtype=bool,
    )
