"""The changes that somebody may have decided: the service of each, its kind, and how usual it is.

They are prepared once for a lake; the triggers of a spike are then ranked among those of the three
days before it. A change that names no known service belongs to the service that its record names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from costwhy.arrays import Array
from costwhy.text import contains_word

Texts = npt.NDArray[np.object_]
Mask = npt.NDArray[np.bool_]

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
    others = (pl.len().over(*same_place, call) - 0.5) / _days(decided)
    production = pl.col("environment").fill_null("production").is_in(["production", "prod"])
    made = rows.select(
        "service", doing=doing, call=call, usual=others, outside_production=~production
    )
    columns = {column.name: column.to_numpy() for column in made}
    texts = {name: columns.pop(name).astype(object) for name in ("service", "doing", "call")}
    hours = decided["time"].cast(pl.Int64).to_numpy() / 3.6e9
    return KnownChanges(rows, hours, **texts, **columns)


def records_naming(changes: pl.DataFrame, names: Iterable[str]) -> Mask:
    """Which records name one of these resources; names too short to tell are left out."""
    long_names = [name for name in names if len(name) >= NAME_LEAST]
    if not long_names:
        return np.zeros(changes.height, dtype=bool)
    texts = pl.concat_str("resource", "after", separator=" ", ignore_nulls=True)
    named = texts.str.contains_any(long_names).fill_null(value=False)
    return changes.select(named).to_series().to_numpy()


def _days(rows: pl.DataFrame) -> float:
    """Days from the first change to the last, at least one."""
    span = rows.select(pl.col("time").max() - pl.col("time").min()).item() or timedelta(0)
    return max(1.0, span / timedelta(days=1))


def _services(rows: pl.DataFrame, services: frozenset[str]) -> pl.Series:
    """The service of each change: its own if known, else the longest known one that it names."""
    known = sorted(services, key=lambda name: (-len(name), name))
    found = rows["service"].to_list()
    for column in NAMING if known else ():
        texts = rows[column].fill_null("").str.to_lowercase()
        hits = texts.str.extract_many([name.lower() for name in known], overlapping=True)
        for k, names in enumerate(hits.to_list()):
            if names and found[k] not in services:
                found[k] = _first_word(texts[k], known, set(names)) or found[k]
    return pl.Series("service", found, dtype=pl.String)


def _first_word(text: str, known: Sequence[str], names: set[str]) -> str | None:
    candidates = (name for name in known if name.lower() in names)
    return next((name for name in candidates if contains_word(text, name)), None)
