"""What a spike asks of its causes: what a change must explain, who owns it, and was it planned."""

from collections.abc import Collection
from datetime import datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import LakeAnalysis
from costwhy.case.case import Resources
from costwhy.causes.changes import MovedRate, Onset
from costwhy.causes.owners import budget_owner, find_owners
from costwhy.causes.triggers import RankedTriggers
from costwhy.model.observed import HOUR
from costwhy.spikes.dollars import SpikeDollars, SpikeRow

PLAN_SLACK = 1.25  # excess over the planned cost from which a spike is not the planned one
NEW_AFTER = 72  # hours: a service whose first calls come earlier was there from the start
NEW_WITHIN = 6  # hours between a service's first calls and the start of the spike
MOST_RESOURCES = 200


def resources_of(analysis: LakeAnalysis, spike: SpikeDollars) -> Resources:
    """Resources on the spike's own meters that were first, or last, billed when it began."""
    kept = analysis.evidence
    if kept:
        return Resources(tuple(sorted(kept.resources)), tuple(sorted(kept.ended)))
    lines = analysis.lines_of(spike.moved_meters)
    day = analysis.observed.hours[spike.window.start].replace(hour=0)
    days = (
        analysis.rows["daily"]
        .join(lines.lazy(), on="series_id", how="semi")
        .drop_nulls("ResourceId")
        .group_by("ResourceId")
        .agg(first=pl.col("day").min(), last=pl.col("day").max())
        .sort("ResourceId")
        .collect()
    )
    near = timedelta(days=1)
    over = pl.col("last") < analysis.observed.billed_through - 2 * near  # late lines are not over
    began = pl.col("first").is_between(day, day + near)
    ended = pl.col("last").is_between(day - near, day) & over
    names = (days.filter(on)["ResourceId"].head(MOST_RESOURCES) for on in (began, ended))
    return Resources(*(tuple(found) for found in names))


def onset_of(
    analysis: LakeAnalysis, spike: SpikeDollars, began: Collection[str] | None = None
) -> Onset:
    """What a change must explain to have caused this spike. began: see `resources_of`."""
    observed, first_hours = analysis.observed, analysis.model.service_first_hour
    sizes = [abs(float(dollars.sum())) for dollars in spike.dollars]
    whole = sum(sizes) or 1.0
    callers: dict[str, frozenset[str]] = {}
    for edge in observed.edges:
        if edge.internal and edge.caller is not None:
            callers[edge.service] = callers.get(edge.service, frozenset()) | {edge.caller}
    swells = bool(spike.baselines) and spike.baselines[0].rate.kind in SEASONAL
    meters = observed.meters[list(spike.moved_meters)]
    return Onset(
        tuple(
            MovedRate(*base.rate.name, size / whole)
            for base, size in zip(spike.baselines, sizes, strict=True)
        ),
        since=observed.hours[spike.since],
        start=observed.hours[spike.window.start],
        blur=timedelta(hours=4 if swells else 1),
        end=None if spike.running else observed.hours[0] + spike.window.end * HOUR,
        callers_of=callers,
        newborn=frozenset(
            service
            for service, hour in zip(observed.services, first_hours, strict=True)
            if hour > NEW_AFTER and abs(hour - spike.window.start) <= NEW_WITHIN
        ),
        accounts=frozenset(meters["SubAccountId"].drop_nulls()),
        resources=frozenset(resources_of(analysis, spike).began if began is None else began),
    )


def is_planned(ranked: RankedTriggers, row: SpikeRow, hours: int, as_of: datetime) -> bool:
    """Whether the best trigger carries a plan that is valid and covers the excess.

    The trigger must be more probable than no recorded change. A plan without a cost covers any
    excess, another one up to a quarter more than its cost a day.
    """
    best = next(ranked.triggers.iter_rows(named=True), None)
    if best is None or best["probability"] <= ranked.no_recorded_change:
        return False
    valid = best["planned_reason"] is not None and (best["planned_until"] or as_of) >= as_of
    planned = best["planned_cost_per_day"]
    excess_a_day = (row.excess_cost + row.nowcast_excess_cost) / max(hours, 1) * 24
    return valid and (planned is None or excess_a_day <= PLAN_SLACK * planned)


def owners_of(
    analysis: LakeAnalysis, spike: SpikeDollars, best: dict[str, object] | None
) -> pl.DataFrame:
    """Who runs it and ran it then, who decided, who pays (tables.OWNERS).

    Asked for is the service whose bill the spike moved most.
    """
    own, observed = list(spike.moved_meters), analysis.observed
    costly = (
        observed.meters[own]
        .select("service", excess=spike.excess[own].sum(axis=1))
        .drop_nulls()
        .group_by("service")
        .sum()
        .sort(pl.col("excess").abs(), "service", descending=[True, False])
    )
    found = find_owners(
        analysis.directory,
        next(iter(costly["service"]), None),
        best,
        budget_owner(observed, spike.moved_meters),
        observed.hours[spike.window.start],
    )
    kept = analysis.evidence.owners if analysis.evidence else None
    if kept is None:
        return found
    running = pl.col("role").is_in(["owner", "owner_then"])  # of a published case: as published
    return pl.concat([tables.OWNERS.fit(kept), found.filter(~running)])
