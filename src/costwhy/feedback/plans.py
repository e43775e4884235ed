"""TODO feedback/plans.py"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import Lake, LakeAnalysis
from costwhy.case.attribution import PLAN_SLACK
from costwhy.errors import UsageError
from costwhy.feedback.known_spike import DAY, SAME_SPIKE, to_utc
from costwhy.feedback.verdicts import MOST_NAME, MOST_NOTE, document_name
from costwhy.lake.journal import Journal, time_of
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import one_line


@dataclass(frozen=True)
class Plan:
    """What a service is expected to cost more, why, and for how long."""

    service: str
    reason: str
    start: datetime
    until: datetime
    cost_per_day: float | None  # null: whatever it costs
    who: str
    at: datetime

    def covers(self, s: LakeAnalysis, a: SpikeDollars, as_of: datetime) -> bool:
        """Whether a spike is this plan's: of its service, begun in its time, still in time, within a quarter of its cost a day."""
        begun = s.observed.hours[a.window.start]
        if not self.start - SAME_SPIKE <= begun < self.until or (a.running and as_of >= self.until):
            return False
        if self.service not in _services(s, a):
            return False
        return (
            self.cost_per_day is None
            or float(a.hourly.mean()) * DAY <= PLAN_SLACK * self.cost_per_day
        )


def plan(
    lake: Lake,
    service: str,
    reason: str,
    window: tuple[datetime, datetime],
    cost_per_day: float | None,
    who: str,
) -> Plan:
    """Register a plan, also before anything shows. window: from, until. Raises UsageError where it is empty or the cost is negative."""
    start, until = (to_utc(t) for t in window)
    if start >= until:
        raise UsageError(
            "the plan's time is empty",
            found=f"{start:%Y-%m-%dT%H:%MZ} to {until:%Y-%m-%dT%H:%MZ}",
            fix="give a later --until",
        )
    if cost_per_day is not None and not 0 <= cost_per_day < float("inf"):
        raise UsageError(
            "a plan's cost a day is an amount",
            found=str(cost_per_day),
            fix="give what it may cost more a day",
        )
    at = datetime.now(UTC)
    made = Plan(
        one_line(service, MOST_NAME),
        one_line(reason, MOST_NOTE),
        start,
        until,
        cost_per_day,
        one_line(who, MOST_NAME),
        at,
    )
    document = {
        "costwhy": 1,
        "service": made.service,
        "reason": made.reason,
        "start": start.isoformat(),
        "until": until.isoformat(),
    }
    Journal(lake.place, "plans").create(
        document_name(at),
        document | {"cost_per_day": cost_per_day, "who": made.who, "at": at.isoformat()},
    )
    return made


def nearest_services(lake: Lake, service: str) -> list[str] | None:
    """Names that are nearest to that of a service which no signal, bill or catalogue knows; None: it is known."""
    catalog = lake.table("catalog").filter(
        pl.col("kind").is_in(["component", "resource", "system"])
    )["name"]
    signals = lake.table("signals")
    columns = (lake.table("series")["service"], catalog, signals["service"], signals["caller"])
    known = {str(name) for column in columns for name in column.drop_nulls().unique()}
    if service in known:
        return None
    folded = {name.casefold(): name for name in sorted(known) if not name.startswith("schedule:")}
    return [folded[name] for name in difflib.get_close_matches(service.casefold(), folded, 3)]


def plans(place: str) -> list[Plan]:
    """All plans of a lake, oldest first."""
    times = ("start", "until", "at")

    def read(document: Mapping[str, Any]) -> Plan:
        row = {**document, **{name: time_of(document[name]) for name in times}}
        return Plan(**{name: row[name] for name in Plan.__dataclass_fields__})

    return Journal(place, "plans").all(read)


def planned(lake: Lake) -> pl.DataFrame:
    """All plans as `tables.PLANS`, newest first."""
    rows = [dict(vars(x)) for x in reversed(plans(lake.place))]
    return (
        tables.PLANS.fit(pl.DataFrame(rows, schema=tables.PLANS.schema))
        if rows
        else tables.PLANS.empty()
    )


def _services(s: LakeAnalysis, a: SpikeDollars) -> set[str]:
    """Services that a spike is about: that of its leading behaviour and its caller, and the one whose bill it moved most."""
    names = {a.baselines[0].rate.service, a.baselines[0].rate.caller} if a.baselines else set()
    own = list(a.moved_meters)
    if own:
        names.add(
            s.observed.meters["service"][own[int(np.argmax(np.abs(a.excess[own].sum(axis=1))))]]
        )
    return {name for name in names if name is not None}
