"""The tables of a case: what moved, where in the bill, hour by hour, and who covered it.

Three sums hold to the cent: the drivers and their remainder are the excess, the behaviours and
theirs are too, and of each hour the ledger is the timeline's actual less expected cost.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array
from costwhy.behaviours import CAPACITY, ON_EDGES, RETRIES  # RETRIES: also the name of a column
from costwhy.case.analysis import LOG_DELAY, LakeAnalysis
from costwhy.case.leaves import DRIVER_DIMENSIONS
from costwhy.errors import InputError
from costwhy.model.baseline import calls_with
from costwhy.model.observed import HOUR, Observed, states
from costwhy.model.rates import Model
from costwhy.sources.registry import format_behind
from costwhy.spikes.dollars import SpikeDollars
from costwhy.spikes.drivers import find_drivers
from costwhy.text import cents, plain_value

SHOWN_AROUND = timedelta(days=7)  # of the timeline, before the spike and after its end
MOST_EDGES = 4  # of the table of calls
MOST_PATHS = 20
LEAST_OF_PATH = 0.01  # share of a behaviour's dollars that a bill line must have
GAP = timedelta(hours=2)  # between records, where each hour should have some
RARE_GAP = timedelta(hours=48)  # where records are rare


def behaviour_table(spike: SpikeDollars, excess: float) -> tuple[pl.DataFrame, float]:
    """The dollars of each behaviour (tables.BEHAVIOUR), largest first, and the remainder."""
    rows = [
        (
            *base.rate.name,
            cents(float(dollars[:, : spike.billed].sum())),
            cents(float(dollars[:, spike.billed :].sum())),
        )
        for base, dollars in zip(spike.baselines, spike.dollars, strict=True)
    ]
    money = pl.col("cost_change", "nowcast_change")
    table = (
        tables.BEHAVIOUR.of(rows)
        .group_by([column.name for column in tables.PLACE], maintain_order=True)
        .agg(money.sum())
        .with_columns(money.round(2) + 0.0)
        .sort((pl.col("cost_change") + pl.col("nowcast_change")).abs(), descending=True)
    )
    return table, cents(excess - float(table["cost_change"].sum()))


def drivers_table(leaves: pl.DataFrame, excess: float) -> tuple[pl.DataFrame, float]:
    """Where in the bill the cost changed (tables.DRIVERS), and the remainder."""
    rows = []
    for driver in find_drivers(leaves, dimensions=list(DRIVER_DIMENSIONS)).to_dicts():
        change = cents(float(driver.pop("cost_change")))
        if change:
            where = {name: value for name, value in driver.items() if value is not None}
            rows.append((json.dumps(where), change))
    return tables.DRIVERS.of(rows), cents(excess - sum(change for _, change in rows))


def shown_hours(observed: Observed, spike: SpikeDollars) -> slice:
    """The hours of the timeline: a week before the spike to a week after its end, or to now."""
    around, window = SHOWN_AROUND // HOUR, spike.window
    return slice(max(0, window.start - around), min(len(observed.hours), window.end + around))


def timeline_table(model: Model, spike: SpikeDollars) -> pl.DataFrame:
    """Cost of the spike's own meters by hour (tables.TIMELINE)."""
    shown = shown_hours(model.observed, spike)
    actual = model.cost[list(spike.moved_meters), shown].sum(axis=0)
    expected = actual.copy()
    expected[spike.window.start - shown.start : spike.window.end - shown.start] -= spike.hourly
    return timeline_of(model.observed, shown, actual, expected)


def timeline_of(observed: Observed, shown: slice, actual: Array, expected: Array) -> pl.DataFrame:
    """Cost by hour, with what is known of each hour's bill."""
    return tables.TIMELINE.fit(
        pl.DataFrame(
            {
                "hour": list(observed.hours[shown]),
                "actual_cost": actual,
                "expected_cost": expected,
                "estimated": np.arange(shown.start, shown.stop) >= observed.billed,
                "state": states(observed)[shown],
            }
        )
    )


def ledger_table(model: Model, spike: SpikeDollars) -> pl.DataFrame:
    """The excess by behaviour and hour (tables.LEDGER)."""
    hours = model.observed.hours[spike.window.hours]
    return tables.LEDGER.of(
        [
            (hour, *base.rate.name, change, nth >= spike.billed)
            for base, dollars in zip(spike.baselines, spike.dollars, strict=True)
            for nth, (hour, change) in enumerate(zip(hours, dollars.sum(axis=0), strict=True))
        ]
    )


def calls_table(model: Model, spike: SpikeDollars) -> pl.DataFrame:
    """Calls and retries by hour (tables.CALLS) on the edges whose rates moved.

    If no rate of an edge moved: on the edges into the service of the largest behaviour.
    """
    observed, shown = model.observed, shown_hours(model.observed, spike)
    edges = sorted({base.rate.row for base in spike.baselines if base.rate.kind in ON_EDGES})
    if not edges and spike.baselines:
        service = spike.baselines[0].rate.service
        edges = [row for row, edge in enumerate(observed.edges) if edge.service == service]
    try:
        usual = calls_with(model, spike.window, spike.baselines)[0] if edges else observed.calls
    except InputError:  # they would not settle: as they were
        usual = observed.calls[:, spike.window.hours]
    frames = [tables.CALLS.empty()]
    for row in edges[:MOST_EDGES]:
        expected = observed.calls[row].copy()
        expected[spike.window.hours] = usual[row]
        columns = {
            "hour": list(observed.hours[shown]),
            "service": observed.edges[row].service,
            "caller": observed.edges[row].caller or "outside",
            "calls": observed.calls[row, shown],
            RETRIES: observed.retries[row, shown],
            "expected_calls": expected[shown],
        }
        frames.append(tables.CALLS.fit(pl.DataFrame(columns)))
    return pl.concat(frames)


def dependencies_table(model: Model, spike: SpikeDollars) -> pl.DataFrame:
    """Paths from the caller that caused the change to the bill lines (tables.DEPENDENCIES)."""
    observed, rows = model.observed, []
    line = ("service", "ServiceName")
    for base, dollars in zip(spike.baselines, spike.dollars, strict=True):
        by_meter = dollars[:, : spike.billed or None].sum(axis=1)  # of all hours if none is billed
        least = LEAST_OF_PATH * max(abs(float(by_meter.sum())), 0.01)
        for service, provider, change in (
            observed.meters.select(line)
            .with_columns(change=by_meter)[list(spike.moved_meters)]
            .group_by(line, maintain_order=True)
            .sum()
            .filter(pl.col("change").abs() >= least)
            .iter_rows()
        ):
            services = _path(observed, base.rate.caller, base.rate.service, service)
            rows.append(([*services, provider or "charges"], cents(change)))
    return (
        tables.DEPENDENCIES.of(rows)
        .sort(pl.col("cost_change").abs(), descending=True)
        .head(MOST_PATHS)
    )


def _path(
    observed: Observed, caller: str | None, service: str | None, billed: str | None
) -> list[str]:
    """The services from the caller over the called service to the one whose bill line it is."""
    head = [name for name in (caller, service) if name is not None]
    if billed is None or billed in head[-1:]:
        return head
    between = observed.path(head[-1], billed) if head else []
    return [*head, *(between[1:] or [billed])]


def coverage_table(analysis: LakeAnalysis, spike: SpikeDollars) -> pl.DataFrame:
    """What each source covered of the week before the spike and of the spike (tables.COVERAGE).

    A gap is START/END without records, between two records that are too far apart.
    """
    seen, observed = analysis.frames["seen"], analysis.observed
    begin = max(observed.hours[0], observed.hours[spike.window.start] - SHOWN_AROUND)
    rows = []
    for source in seen["source"].drop_nulls().unique().sort().to_list():
        hours = seen.filter(pl.col("source") == source)["hour"].unique().sort()
        until = hours[-1] + HOUR
        if source == "cost":  # of all accounts, as everywhere
            until = min(until, observed.billed_through)
        known = format_behind(source)
        least = RARE_GAP if known is None or not known.every_hour else GAP
        gaps = [
            f"{plain_value(first + HOUR)}/{plain_value(last)}"
            for first, last in pairwise(
                hours.filter((hours >= begin) & (hours < observed.as_of)).to_list()
            )
            if last - first >= least
        ]
        rows.append((source, hours.min(), until, gaps, known.cannot_show if known else None))
    return tables.COVERAGE.of(rows)


def clocks_table(
    analysis: LakeAnalysis, spike: SpikeDollars, change: Mapping[str, Any] | None
) -> pl.DataFrame:
    """When things happened, and when each could first be known (tables.CLOCKS).

    The bill of an hour is taken to be as late as the newest bill is now.
    """
    observed, rows = analysis.observed, []
    start = observed.hours[spike.window.start]
    if change is not None:
        time = change["time"]
        known = min(change["known_at"] or time, time + LOG_DELAY)
        minutes = f"{(known - time) / timedelta(minutes=1):.0f} min"
        rows.append(("change", time, known, f"the record of the change arrives {minutes} later"))
    if any(
        base.rate.kind in ON_EDGES
        or (base.rate.kind == CAPACITY and base.rate.service in observed.capacity)
        for base in spike.baselines[:1]
    ):
        words = "the signals show it at the end of its first hour"
        rows.append(("signals", start, start + HOUR, words))
    late = observed.as_of - observed.billed_through
    words = f"the first hour of it is on a bill that comes {late / HOUR:.0f} h later"
    rows.append(("bill", start, start + HOUR + late, words))
    if not spike.running:
        end = observed.hours[0] + spike.window.end * HOUR
        rows.append(("end", end, end, "it ended"))
    return tables.CLOCKS.of(rows)
