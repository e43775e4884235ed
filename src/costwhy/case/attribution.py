"""TODO case/attribution.py"""

from datetime import datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import LakeAnalysis
from costwhy.causes.owners import budget_owner, find_owners
from costwhy.causes.triggers import Onset, RankedTriggers
from costwhy.model.observed import Observed
from costwhy.spikes.dollars import SpikeDollars
from costwhy.spikes.summary import SpikeRow
from costwhy.tables import METER

PLAN_SLACK = 1.25


def new_resources(s: LakeAnalysis, a: SpikeDollars) -> frozenset[str]:
    """Resources on the spike's own meters that were first billed on the day on which it began."""
    own = s.observed.meters[list(a.moved_meters)].unique()
    ids = s.frames["series"].join(own, on=list(METER), how="semi", nulls_equal=True)["series_id"]
    day = s.observed.hours[a.window.start].replace(hour=0)
    rows = s.frames["daily"].filter(pl.col("series_id").is_in(ids.implode()) & pl.col("ResourceId").is_not_null())
    first = rows.group_by("ResourceId").agg(pl.col("day").min())
    return frozenset(first.filter(pl.col("day").is_between(day, day + timedelta(days=1)))["ResourceId"].head(200).to_list())


def onset_of(s: LakeAnalysis, a: SpikeDollars) -> Onset:
    """What a change must explain to have caused this spike."""
    model, o = s.model, s.observed
    weights = [abs(float(d.sum())) for d in a.dollars]
    whole = sum(weights) or 1.0
    callers: dict[str, frozenset[str]] = {}
    for edge in o.edges:
        if edge.internal and edge.caller is not None:
            callers[edge.service] = callers.get(edge.service, frozenset()) | {edge.caller}
    seasonal = bool(a.baselines) and a.baselines[0].rate.kind in SEASONAL
    newborn = frozenset(
        s for k, s in enumerate(o.services) if model.service_first_hour[k] > 72 and abs(model.service_first_hour[k] - a.window.start) <= 6
    )
    accounts = frozenset(x for x in o.meters[list(a.moved_meters)]["SubAccountId"].to_list() if x is not None)
    return Onset(
        tuple((*r.rate.name, w / whole) for r, w in zip(a.baselines, weights, strict=True)),
        o.hours[a.since],
        o.hours[a.window.start],
        timedelta(hours=4 if seasonal else 1),  # traffic swells rather than steps
        None if a.running else o.hours[0] + timedelta(hours=a.window.end),
        callers,
        newborn,
        accounts,
        new_resources(s, a) if s.evidence is None else s.evidence.resources,
    )


def is_planned(weighed: RankedTriggers, row: SpikeRow, hours: int, as_of: datetime) -> bool:
    """The best trigger carries a plan that is still valid and whose expected cost is not exceeded by more than a quarter."""
    if not weighed.triggers.height or weighed.triggers["probability"][0] <= weighed.no_recorded_change:
        return False
    best = weighed.triggers.row(0, named=True)
    if best["planned_reason"] is None or (best["planned_until"] is not None and best["planned_until"] < as_of):
        return False
    if best["planned_cost_per_day"] is None:
        return True
    excess = row.excess_cost + row.nowcast_excess_cost
    return excess / max(hours, 1) * 24 <= PLAN_SLACK * float(best["planned_cost_per_day"])


def owners_of(s: LakeAnalysis, a: SpikeDollars, best: dict[str, object] | None) -> pl.DataFrame:
    """Who runs it and ran it then, who decided, who pays; of a published case the first two are as they were published."""
    start, service = s.observed.hours[a.window.start], _costly_service(s.observed, a)
    found = find_owners(s.directory, service, best, budget_owner(s.observed, a.moved_meters), start)
    if s.evidence is None or s.evidence.owners is None:
        return found
    return pl.concat([tables.OWNERS.fit(s.evidence.owners), found.filter(~pl.col("role").is_in(["owner", "owner_then"]))])


def _costly_service(o: Observed, a: SpikeDollars) -> str | None:
    """The service whose bill the spike moved most."""
    rows = o.meters[list(a.moved_meters)].select("service").with_columns(d=a.excess[list(a.moved_meters)].sum(axis=1)).drop_nulls("service")
    best = rows.group_by("service").agg(pl.col("d").sum()).sort(pl.col("d").abs(), "service", descending=[True, False])
    return best["service"][0] if best.height else None
