"""Plans: what a service is going to cost more on purpose. They may be registered beforehand."""

import difflib
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import LakeAnalysis, LakeReader
from costwhy.case.attribution import PLAN_SLACK
from costwhy.errors import UsageError
from costwhy.feedback.verdicts import DAY, MOST_NAME, MOST_NOTE, SAME_SPIKE
from costwhy.lake.journal import Journal, Record, name_at
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import iso_time, one_line, to_utc


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
        is_over = dollars.running and analysis.observed.as_of >= self.until
        is_planned = self.start - SAME_SPIKE <= onset < self.until and not is_over
        if not is_planned or self.service not in _services(analysis, dollars):
            return False
        cost_per_day = float(dollars.hourly.mean()) * DAY
        return self.cost_per_day is None or cost_per_day <= PLAN_SLACK * self.cost_per_day


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
    entities = catalog.filter(pl.col("kind").is_in(["component", "resource", "system"]))["name"]
    columns = (lake.table("series")["service"], entities, signals["service"], signals["caller"])
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
    rows = [vars(one) for one in reversed(plans_of(lake.place))]
    return tables.PLANS.fit(pl.DataFrame(rows, schema=tables.PLANS.schema))


def _services(analysis: LakeAnalysis, dollars: SpikeDollars) -> set[str]:
    """Services of a spike: of its leading behaviour, and the one whose bill it moved most."""
    rates = [baseline.rate for baseline in dollars.baselines[:1]]
    names = {name for rate in rates for name in (rate.service, rate.caller)}
    if meters := list(dollars.moved_meters):
        largest = meters[int(np.argmax(np.abs(dollars.excess[meters].sum(axis=1))))]
        names.add(analysis.observed.meters["service"][largest])
    return {name for name in names if name is not None}
