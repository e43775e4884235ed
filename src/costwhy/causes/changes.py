"""Recorded changes, ready to be weighed: which service each names, what it did, how usual that is there.

Made once for a lake; each spike then looks at the three days before it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from costwhy.arrays import Array

Texts = npt.NDArray[np.object_]

# Calls that say who may and what is watched, not what runs: they seldom move usage.
WATCHING = r"^(?:iam|secretsmanager|kms|monitoring|cloudwatch|sts|acm|sso|config|cloudtrail|guardduty|securityhub)\."
# Calls that say how long something is kept, or how often it is copied.
KEEPING = r"Lifecycle|TimeToLive|Retention|Versioning|Replication|Backup|Snapshot|Archive|Compaction|Tiering"
NAMING = ("service", "resource", "after", "path")  # columns in which a change that names no service may name one


@dataclass(frozen=True)
class KnownChanges:
    """N changes that somebody may have decided, by time; what machines do by themselves is left out."""

    rows: pl.DataFrame  # N rows of `tables.CHANGES`
    hours: Array  # N, when: hours since 1970
    service: Texts  # N; None: names no known service
    doing: Texts  # N, kind of change; `watching`, `keeping` and `tag` where the call says so
    call: Texts  # N, the operation: RegisterScalableTarget, or deployed
    usual: Array  # N, how many like it, itself aside, are made there a day
    outside_production: npt.NDArray[np.bool_]  # N, made outside production

    def between(self, first: datetime, last: datetime) -> slice:
        """Those at or after `first` and before `last`."""
        low, high = np.searchsorted(self.hours, [hour_of(first), hour_of(last)])
        return slice(int(low), int(high))


def hour_of(time: datetime) -> float:
    """Hours since 1970."""
    return time.timestamp() / 3600


def find_known_changes(changes: pl.DataFrame, services: frozenset[str]) -> KnownChanges:
    """Changes (tables.CHANGES) made ready, given the services that are known. One change_id counts once."""
    kept = changes.filter(~pl.col("automated").fill_null(value=False)).unique("change_id", maintain_order=True).sort("time", "change_id")
    called = kept["event"].fill_null("")
    named = _named(kept, services)
    doing = (
        pl.when(called.str.contains(WATCHING))
        .then(pl.lit("watching"))
        .when(called.str.contains(KEEPING))
        .then(pl.lit("keeping"))
        .otherwise(pl.col("kind").fill_null("other"))
    )
    call = called.str.extract(r"([A-Za-z]+)[^:A-Za-z]*$").fill_null("")
    kept = kept.with_columns(service=named, doing=doing, call=call)
    days = max(1.0, _days(kept))
    like = pl.len().over("service", pl.when(pl.col("service").is_null()).then("account"), "call")
    usual = kept.select((like - 0.5) / days).to_series()
    calm = ~kept["environment"].fill_null("production").is_in(["production", "prod"])
    hours = kept["time"].cast(pl.Int64).to_numpy() / 3.6e9
    texts: list[Texts] = [kept[name].to_numpy().astype(object) for name in ("service", "doing", "call")]
    return KnownChanges(kept.drop("doing", "call"), hours, texts[0], texts[1], texts[2], usual.to_numpy(), calm.to_numpy())


def _days(rows: pl.DataFrame) -> float:
    first, last = rows["time"].min(), rows["time"].max()
    return (last - first) / timedelta(days=1) if isinstance(first, datetime) and isinstance(last, datetime) else 0.0


def _named(rows: pl.DataFrame, services: frozenset[str]) -> pl.Series:
    """The service of each change: its own where it is known, else the longest known one that its record names as a whole word."""
    known = sorted(services, key=lambda name: (-len(name), name))
    out = rows["service"].to_list()
    open_rows = [k for k, name in enumerate(out) if name not in services]
    if not known or not open_rows:
        return pl.Series("service", out, dtype=pl.String)
    words = {name: re.compile(rf"(?<![a-z0-9]){re.escape(name.lower())}(?![a-z0-9])") for name in known}
    part = rows[open_rows]
    for column in NAMING:
        texts = part[column].fill_null("").str.to_lowercase()
        hits = texts.str.extract_many([name.lower() for name in known], overlapping=True).to_list()
        for k, text, found in zip(open_rows, texts, hits, strict=True):
            if found and out[k] not in services:
                out[k] = _whole(text, found, words) or out[k]
    return pl.Series("service", out, dtype=pl.String)


def _whole(text: str, found: Sequence[str], words: dict[str, re.Pattern[str]]) -> str | None:
    candidates = set(found)
    return next((name for name, word in words.items() if name.lower() in candidates and word.search(text)), None)


NAME_LEAST = 6  # letters of a resource's own name that are looked for in records


def records_naming(changes: pl.DataFrame, tails: Sequence[str]) -> pl.DataFrame:
    """Records that name a resource, by the last part of its ARN."""
    texts = pl.concat_str("resource", "after", separator=" ", ignore_nulls=True)
    return changes.filter(texts.str.contains_any(list(tails)).fill_null(value=False)) if tails else changes.head(0)
