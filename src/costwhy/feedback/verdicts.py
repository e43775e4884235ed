"""Verdicts and plans: what owners say of a spike, and what they announce before one.

Both are kept in the lake; the newest verdict of a spike counts. A plan says what a service is going
to cost more on purpose.

A verdict keeps the key of its spike, by which it is found again when the spike's id has moved. The
id begins with the spike's first hour, which may move by a few hours as bills and signals arrive. So
a spike is the same by its id, or else by its leading behaviour and a start within six hours; two
days for what swells (traffic, and usage that follows nothing).
"""

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast, get_args

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import FoundSpike, LakeAnalysis, LakeReader, analyse
from costwhy.case.attribution import PLAN_SLACK
from costwhy.errors import UsageError
from costwhy.lake.store import Journal, Record, name_at
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import iso_time, one_line, to_utc

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
        return self.spike_id == other.spike_id or (
            self.behaviour == other.behaviour and abs(self.start - other.start) <= near
        )

    def has_grown(self, since: "SpikeKey") -> bool:
        """By a quarter, beyond what the hours of the day explain."""
        return (
            self.running
            and self.per_hour != 0
            and abs(self.per_hour) >= GROWTH * abs(since.per_hour)
            and abs(self.share) >= GROWTH * abs(since.share)
        )


def key_of_spike(analysis: LakeAnalysis, found: FoundSpike) -> SpikeKey:
    """The key of a spike of this analysis."""
    dollars = found.dollars
    kind, service, caller, usage_type = (
        dollars.baselines[0].rate.name if dollars.baselines else (None, None, None, None)
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
    return tables.VERDICTS.of(
        [
            {**vars(one.spike), **vars(one), "excess_per_hour": one.spike.per_hour}
            for one in reversed(verdicts_of(lake.place))
        ]
    )


@dataclass(frozen=True)
class Plan(Record):
    """What a service is expected to cost more, why, and for how long."""

    service: str
    reason: str
    start: datetime
    until: datetime
    cost_per_day: float | None  # null: whatever it costs
    who: str
    at: datetime

    def covers(self, analysis: LakeAnalysis, dollars: SpikeDollars) -> bool:
        """Whether a spike has this plan's service and time, and at most a quarter more cost."""
        onset = analysis.observed.hours[dollars.window.start]
        most = float("inf") if self.cost_per_day is None else PLAN_SLACK * self.cost_per_day
        return (
            self.start - SAME_SPIKE <= onset < self.until
            and not (dollars.running and analysis.observed.as_of >= self.until)
            and self.service in _services(analysis, dollars)
            and float(dollars.hourly.mean()) * DAY <= most
        )


def plan(
    lake: LakeReader,
    service: str,
    reason: str,
    window: tuple[datetime, datetime],
    cost_per_day: float | None,
    who: str,
) -> Plan:
    """Register a plan, also before anything shows. window: from, until.

    Raises UsageError where the window is empty or the cost is negative.
    """
    start, until = (to_utc(time) for time in window)
    if start >= until:
        raise UsageError(
            "the plan's time is empty",
            found=f"{iso_time(start)} to {iso_time(until)}",
            fix="give a later --until",
        )
    if cost_per_day is not None and not 0 <= cost_per_day < float("inf"):
        raise UsageError(
            "a plan's cost a day is an amount",
            found=str(cost_per_day),
            fix="give what it may cost more a day",
        )
    made = Plan(
        service=one_line(service, MOST_NAME),
        reason=one_line(reason, MOST_NOTE),
        start=start,
        until=until,
        cost_per_day=cost_per_day,
        who=one_line(who, MOST_NAME),
        at=datetime.now(UTC),
    )
    Journal(lake.place, "plans").create(name_at(made.at), made)
    return made


def nearest_services(lake: LakeReader, service: str) -> list[str] | None:
    """Names like that of a service which no signal, bill or catalogue knows; None: it is known."""
    catalog, signals = lake.table("catalog"), lake.table("signals")
    columns = (
        lake.table("series")["service"],
        catalog.filter(pl.col("kind").is_in(["component", "resource", "system"]))["name"],
        signals["service"],
        signals["caller"],
    )
    known = {str(name) for column in columns for name in column.drop_nulls().unique()}
    if service in known:
        return None
    folded = {name.casefold(): name for name in sorted(known) if not name.startswith("schedule:")}
    return [folded[name] for name in difflib.get_close_matches(service.casefold(), folded, 3)]


def plans_of(place: str) -> list[Plan]:
    """All plans of a lake, oldest first."""
    return Journal(place, "plans").all(Plan)


def plan_table(lake: LakeReader) -> pl.DataFrame:
    """All plans as `tables.PLANS`, newest first."""
    return tables.PLANS.of([vars(one) for one in reversed(plans_of(lake.place))])


def _services(analysis: LakeAnalysis, dollars: SpikeDollars) -> set[str]:
    """Services of a spike: of its leading behaviour, and the one whose bill it moved most."""
    names = {name for one in dollars.baselines[:1] for name in (one.rate.service, one.rate.caller)}
    if meters := list(dollars.moved_meters):
        largest = meters[int(np.argmax(np.abs(dollars.excess[meters].sum(axis=1))))]
        names.add(analysis.observed.meters["service"][largest])
    return {name for name in names if name is not None}
