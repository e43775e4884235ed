"""Verdicts: what owners say of a spike. They are kept in the lake; the newest of a spike counts.

A verdict keeps the key of its spike, by which it is found again when the spike's id has moved. The
id begins with the spike's first hour, which may move by a few hours as bills and signals arrive. So
a spike is the same by its id, or else by its leading behaviour and a start within six hours; two
days for what swells (traffic, and usage that follows nothing).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast, get_args

import polars as pl

from costwhy import tables
from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import FoundSpike, LakeAnalysis, LakeReader, analyse
from costwhy.errors import UsageError
from costwhy.lake.journal import Journal, Record, name_at
from costwhy.text import one_line, to_utc

VerdictKind = Literal["planned", "accepted", "fixing", "fixed", "not_ours"]
VERDICTS: tuple[str, ...] = get_args(VerdictKind)
# Verdicts after which no message is sent until the spike grows.
ACCEPTING = frozenset({"planned", "accepted"})
MOST_NOTE, MOST_NAME = 1000, 200  # characters
GROWTH = 1.25
SAME_SPIKE = timedelta(hours=6)
# The onset of what swells rather than steps is known that well in its first days.
SAME_SWELL = timedelta(hours=48)
DAY = 24


@dataclass(frozen=True)
class SpikeKey(Record):
    """What a spike is recognised and compared by, whatever its id is on another day.

    kind, service, caller, usage_type
               of its leading behaviour
    per_hour   excess an hour over its last 24 hours (or all, where it is younger; 0: ended), in
               the lake's currency
    share      the same over the usual cost of these hours, so that night and day compare
    """

    spike_id: str
    start: datetime
    kind: str | None
    service: str | None
    caller: str | None
    usage_type: str | None
    running: bool
    per_hour: float
    share: float

    @property
    def behaviour(self) -> tuple[str | None, ...]:
        """The name of its leading behaviour, see `model.rates.Rate.name`."""
        return self.kind, self.service, self.caller, self.usage_type

    def is_same(self, other: "SpikeKey") -> bool:
        """By id, else by what moved and when."""
        near = SAME_SWELL if self.kind in SEASONAL else SAME_SPIKE
        moved_alike = self.behaviour == other.behaviour and abs(self.start - other.start) <= near
        return self.spike_id == other.spike_id or moved_alike

    def has_grown(self, since: "SpikeKey") -> bool:
        """By a quarter, beyond what the hours of the day explain."""
        costs_more = abs(self.per_hour) >= GROWTH * abs(since.per_hour)
        is_larger = costs_more and abs(self.share) >= GROWTH * abs(since.share)
        return is_larger and self.running and self.per_hour != 0


def key_of_spike(analysis: LakeAnalysis, found: FoundSpike) -> SpikeKey:
    """The key of a spike of this analysis."""
    dollars = found.dollars
    none = (None, None, None, None)  # no rate explains it
    kind, service, caller, usage_type = (
        dollars.baselines[0].rate.name if dollars.baselines else none
    )
    hours = dollars.hourly[-DAY:]
    excess = float(hours.sum())
    window = slice(dollars.window.end - hours.size, dollars.window.end)
    usual = float(analysis.model.cost[list(dollars.moved_meters), window].sum()) - excess
    return SpikeKey(
        spike_id=found.row.spike_id,
        start=found.row.start,
        kind=kind,
        service=service,
        caller=caller,
        usage_type=usage_type,
        running=dollars.running,
        per_hour=round(float(hours.mean()), 4) if dollars.running else 0.0,
        share=round(excess / max(abs(usual), 0.01 * abs(excess), 1e-9), 4),
    )


@dataclass(frozen=True)
class Verdict(Record):
    """What somebody said of a spike, and when."""

    spike: SpikeKey
    verdict: VerdictKind
    note: str
    who: str
    at: datetime


def say(
    lake: LakeReader,
    spike_id: str,
    verdict: str,
    note: str,
    who: str,
    when: datetime | None = None,
) -> Verdict:
    """Keep what an owner says of a spike. Raises UsageError for an unknown word or spike."""
    if verdict not in VERDICTS:
        raise UsageError(
            f"there is no verdict {verdict!r}", found=", ".join(VERDICTS), fix="say one of these"
        )
    analysis = analyse(lake)
    spikes = {found.row.spike_id: found for found in analysis.found}
    if spike_id not in spikes:
        raise UsageError(
            f"there is no spike {spike_id!r}",
            found=", ".join(spikes) or "no spike at all",
            fix="see `costwhy spikes`",
        )
    at = to_utc(when or datetime.now(UTC))
    if when is None:  # the newest verdict counts, even on a machine whose clock is slow
        at = max([at, *(one.at + timedelta(microseconds=1) for one in verdicts_of(lake.place))])
    made = Verdict(
        spike=key_of_spike(analysis, spikes[spike_id]),
        verdict=cast("VerdictKind", verdict),
        note=one_line(note, MOST_NOTE),
        who=one_line(who, MOST_NAME),
        at=at,
    )
    Journal(lake.place, "verdicts").create(name_at(at), made)
    return made


def verdicts_of(place: str) -> list[Verdict]:
    """All verdicts of a lake, oldest first."""
    return sorted(Journal(place, "verdicts").all(Verdict), key=lambda verdict: verdict.at)


def newest(verdicts: list[Verdict], spike: SpikeKey) -> Verdict | None:
    """The verdict that counts for a spike; None: nobody said anything."""
    return next((one for one in reversed(verdicts) if one.spike.is_same(spike)), None)


def verdict_table(lake: LakeReader) -> pl.DataFrame:
    """All verdicts as `tables.VERDICTS`, newest first."""
    rows = [
        {**vars(one.spike), **vars(one), "excess_per_hour": one.spike.per_hour}
        for one in reversed(verdicts_of(lake.place))
    ]
    return tables.VERDICTS.fit(pl.DataFrame(rows, schema=tables.VERDICTS.schema))
