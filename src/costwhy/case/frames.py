"""TODO case/frames.py"""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.behaviours import CAPACITY, ON_EDGES
from costwhy.case.analysis import LOG_DELAY, LakeAnalysis
from costwhy.errors import InputError
from costwhy.model.counterfactual import calls_with
from costwhy.model.observed import Observed, states
from costwhy.model.rates import Model
from costwhy.spikes.dollars import SpikeDollars
from costwhy.spikes.drivers import find_drivers
from costwhy.text import cents

SHOWN_BEFORE = timedelta(days=7)  # of the timeline, before the spike
SHOWN_AFTER = timedelta(days=7)  # of the timeline, after its end
DRIVER_DIMENSIONS = ("SubAccountId", "RegionId", "service", "ServiceName", "x_UsageType", "x_Operation")


def behaviour_table(a: SpikeDollars, excess: float) -> tuple[pl.DataFrame, float]:
    rows = [
        (*r.rate.name, cents(float(d[:, : a.billed].sum())), cents(float(d[:, a.billed :].sum())))
        for r, d in zip(a.baselines, a.dollars, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=tables.BEHAVIOUR.schema, orient="row")
    frame = frame.group_by("kind", "service", "caller", "usage_type", maintain_order=True).agg(
        pl.col("cost_change").sum(), pl.col("nowcast_change").sum()
    )
    frame = frame.with_columns(pl.col("cost_change", "nowcast_change").round(2) + 0.0).sort(
        (pl.col("cost_change") + pl.col("nowcast_change")).abs(), descending=True
    )
    return tables.BEHAVIOUR.fit(frame), cents(excess - float(frame["cost_change"].sum()))


def leaves_of(model: Model, a: SpikeDollars) -> pl.DataFrame:
    """All meters in the spike's billed hours, those that it did not move too: what stands still shows what moved."""
    span = slice(a.window.start, a.window.start + a.billed)
    actual = model.cost[:, span].sum(axis=1)
    return model.observed.meters.select(DRIVER_DIMENSIONS).with_columns(
        actual_cost=actual, expected_cost=actual - a.excess[:, : a.billed].sum(axis=1)
    )


def drivers_table(leaves: pl.DataFrame, excess: float) -> tuple[pl.DataFrame, float]:
    """Where in the bill the change sits."""
    found = find_drivers(leaves, dimensions=list(DRIVER_DIMENSIONS))
    rows = [
        (json.dumps({k: row[k] for k in DRIVER_DIMENSIONS if row[k] is not None}), cents(float(row["cost_change"])))
        for row in found.iter_rows(named=True)
    ]
    kept = [row for row in rows if row[1] != 0]
    return pl.DataFrame(kept, schema=tables.DRIVERS.schema, orient="row"), cents(excess - sum(d for _, d in kept))


def shown_hours(o: Observed, a: SpikeDollars) -> slice:
    """The hours of the timeline: a week before the spike to a week after its end, or to now."""
    first = max(0, a.window.start - int(SHOWN_BEFORE / timedelta(hours=1)))
    return slice(first, min(len(o.hours), a.window.end + int(SHOWN_AFTER / timedelta(hours=1))))


def timeline_table(model: Model, a: SpikeDollars) -> pl.DataFrame:
    o, own, shown = model.observed, list(a.moved_meters), shown_hours(model.observed, a)
    actual = model.cost[own, shown].sum(axis=0)
    expected = actual.copy()
    expected[a.window.start - shown.start : a.window.end - shown.start] -= a.hourly
    return tables.TIMELINE.fit(
        pl.DataFrame(
            {
                "hour": list(o.hours[shown]),
                "actual_cost": actual,
                "expected_cost": expected,
                "estimated": np.arange(shown.start, shown.stop) >= o.billed,
                "state": states(o)[shown],
            }
        )
    )


def ledger_table(model: Model, a: SpikeDollars) -> pl.DataFrame:
    hours = list(model.observed.hours[a.window.hours])
    estimated = np.arange(len(hours)) >= a.billed
    if not a.baselines:
        return tables.LEDGER.empty()
    frames = [
        pl.DataFrame({"hour": hours, "cost_change": d.sum(axis=0), "estimated": estimated}).with_columns(
            kind=pl.lit(r.rate.kind),
            service=pl.lit(r.rate.service, dtype=pl.String),
            caller=pl.lit(r.rate.caller, dtype=pl.String),
            usage_type=pl.lit(r.rate.usage_type, dtype=pl.String),
        )
        for r, d in zip(a.baselines, a.dollars, strict=True)
    ]
    return tables.LEDGER.fit(pl.concat(frames))


def calls_table(model: Model, a: SpikeDollars) -> pl.DataFrame:
    """Calls and retries on the edges that the spike's rates stand on, and on those into the services that it moved most."""
    o = model.observed
    edges = sorted({r.rate.row for r in a.baselines if r.rate.kind in ON_EDGES})
    if not edges:
        service = a.baselines[0].rate.service if a.baselines else None
        edges = [e for e, edge in enumerate(o.edges) if edge.service == service]
    if not edges:
        return tables.CALLS.empty()
    shown, frames = shown_hours(o, a), []
    then = _usual_calls(model, a)
    for e in edges[:4]:
        expected = o.calls[e, shown].copy()
        expected[a.window.start - shown.start : a.window.end - shown.start] = then[e]
        frame = pl.DataFrame(
            {"hour": list(o.hours[shown]), "calls": o.calls[e, shown], "retries": o.retries[e, shown], "expected_calls": expected}
        )
        frames.append(frame.with_columns(service=pl.lit(o.edges[e].service), caller=pl.lit(o.edges[e].caller or "outside")))
    return tables.CALLS.fit(pl.concat(frames))


def _usual_calls(model: Model, a: SpikeDollars) -> np.ndarray:
    """Calls on each edge without the spike (E x W); as they were where they would not settle."""
    try:
        return calls_with(model, a.window, a.baselines)[0]
    except InputError:
        return model.observed.calls[:, a.window.hours]


def dependencies_table(model: Model, a: SpikeDollars) -> pl.DataFrame:
    """Paths from the caller who caused it, over the services on the way, to the provider's service whose bill grew."""
    o, rows = model.observed, []
    for reset, dollars in zip(a.baselines, a.dollars, strict=True):
        by_meter = dollars[:, : a.billed].sum(axis=1) if a.billed else dollars.sum(axis=1)
        sums: dict[tuple[str | None, str | None], float] = {}
        for m in a.moved_meters:
            key = (o.meters["service"][m], o.meters["ServiceName"][m])
            sums[key] = sums.get(key, 0.0) + float(by_meter[m])
        head = [p for p in (reset.rate.caller, reset.rate.service) if p is not None]
        for (service, name), value in sums.items():
            if abs(value) >= 0.01 * max(abs(float(by_meter.sum())), 0.01):
                rows.append({"path": [*_path(o, head, service), name or "charges"], "cost_change": cents(value)})
    frame = pl.DataFrame(rows, schema=tables.DEPENDENCIES.schema) if rows else tables.DEPENDENCIES.empty()
    return frame.sort(pl.col("cost_change").abs(), descending=True).head(20)


def _path(o: Observed, head: list[str], service: str | None) -> list[str]:
    """The shortest chain of calls from the end of `head` to the service."""
    if service is None or not head or head[-1] == service:
        return head or ([service] if service else [])
    return [*head[:-1], *(o.path(head[-1], service) or (head[-1], service))]


def coverage_table(s: LakeAnalysis, a: SpikeDollars) -> pl.DataFrame:
    """Which sources covered the week before the spike and the spike, with gaps, and what each would not show."""
    seen, o = s.frames["seen"], s.observed
    begin = max(o.hours[0], o.hours[a.window.start] - SHOWN_BEFORE)
    notes = {
        "cost": "what was used by a resource that the bill does not name",
        "signals": "calls that no signal is recorded for",
        "cloudtrail": "a change made by data-plane calls",
        "cdevents": "a change deployed without the delivery pipeline",
        "autoscaling": None,
    }
    rows = []
    for source in seen["source"].drop_nulls().unique().sort().to_list():
        hours = seen.filter(pl.col("source") == source)["hour"].unique().sort()
        inside = hours.filter((hours >= begin) & (hours < o.as_of))
        usual = source in {"cost", "signals"}
        gaps = _gaps(inside.to_list(), usual=usual)
        until = hours.max() + timedelta(hours=1)  # type: ignore[operator]
        until = min(until, o.billed_through) if source == "cost" else until  # of all accounts, as everywhere
        rows.append((source, hours.min(), until, gaps, notes.get(source)))
    return pl.DataFrame(rows, schema=tables.COVERAGE.schema, orient="row")


def clocks_table(s: LakeAnalysis, a: SpikeDollars, change: Mapping[str, object] | None) -> pl.DataFrame:
    """Two clocks: when each thing happened, and when it could first be known. Bills are as late as the newest one is today."""
    o, hour = s.observed, timedelta(hours=1)
    start = o.hours[a.window.start]
    late = o.as_of - o.billed_through
    rows = [("bill", start, start + hour + late, f"the first hour of it is on a bill that comes {late / hour:.0f} h later")]
    lead = a.baselines[0].rate if a.baselines else None
    if lead is not None and (lead.kind in ON_EDGES or (lead.kind == CAPACITY and lead.service in o.capacity)):
        rows.insert(0, ("signals", start, start + hour, "the signals show it at the end of its first hour"))
    if change is not None:
        time, known = change["time"], change["known_at"]
        assert isinstance(time, datetime)
        known = min(known, time + LOG_DELAY) if isinstance(known, datetime) else time
        rows.insert(0, ("change", time, known, f"the record of the change arrives {(known - time) / timedelta(minutes=1):.0f} min later"))
    if not a.running:
        end = o.hours[0] + timedelta(hours=a.window.end)
        rows.append(("end", end, end, "it ended"))
    return pl.DataFrame(rows, schema=tables.CLOCKS.schema, orient="row")


def _gaps(hours: list[datetime], *, usual: bool) -> list[str]:
    """Stretches without records: any hour where each should have some, two days where records are rare."""
    least = timedelta(hours=2) if usual else timedelta(hours=48)
    return [f"{a + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}/{b:%Y-%m-%dT%H:%M:%SZ}" for a, b in pairwise(hours) if b - a >= least]
