"""A case: one spike with everything that is known about it, frozen; and the contract's document over all of them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import FEW_HOURS, Lake, LakeAnalysis, analyse
from costwhy.case.attribution import is_planned, onset_of, owners_of
from costwhy.case.case import Case
from costwhy.case.frames import (
    behaviour_table,
    calls_table,
    clocks_table,
    coverage_table,
    dependencies_table,
    drivers_table,
    leaves_of,
    ledger_table,
    shown_hours,
    timeline_table,
)
from costwhy.case.story import headline
from costwhy.causes.lost_tags import find_lost_tags
from costwhy.causes.triggers import rank_triggers
from costwhy.causes.unowned import ownership_gap
from costwhy.errors import UsageError
from costwhy.model.backtest import past_estimates
from costwhy.model.baseline import Window
from costwhy.model.observed import Observed, states
from costwhy.model.rates import Model
from costwhy.spikes.dollars import SpikeDollars, dollars_of_window
from costwhy.spikes.summary import SpikeRow, spike_row
from costwhy.text import cents

# ---------------------------------------------------------------- the API


def find_spikes(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """All spikes as `tables.SPIKES`: rises by excess, largest first (billed and estimated), then falls."""
    s = analyse(lake, as_of)
    return pl.DataFrame([asdict(spike.row) for spike in s.found], schema=tables.SPIKES.schema)


def overview(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """The company's cost by hour and what it would have been without the spikes: hour, actual_cost, expected_cost, estimated, state.

    Fees that are charged once (tax, support, refunds) are left out: an hour's chart cannot show a month's fee.
    """
    return overview_of(analyse(lake, as_of))


def overview_of(s: LakeAnalysis) -> pl.DataFrame:
    """The same of a study."""
    hourly = np.count_nonzero(s.observed.cost, axis=1) > FEW_HOURS
    actual = s.model.cost[hourly].sum(axis=0)
    expected = actual.copy()
    for a, _ in s.found:
        expected[a.window.hours] -= a.excess[hourly].sum(axis=0)
    return tables.TIMELINE.fit(
        pl.DataFrame(
            {
                "hour": list(s.observed.hours),
                "actual_cost": actual,
                "expected_cost": expected,
                "estimated": np.arange(actual.size) >= s.observed.billed,
                "state": states(s.observed),
            }
        )
    )


def nowcast_ledger(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """How good the estimates of unbilled hours were, day by day and service by service: `tables.NOWCAST`."""
    s = analyse(lake, as_of)
    rows = np.flatnonzero(np.count_nonzero(s.observed.cost, axis=1) > FEW_HOURS)
    return past_estimates(s.model, rows.tolist())


def nobody_owns(lake: Lake, as_of: datetime | None = None) -> tuple[float, float, pl.DataFrame]:
    """Dollars of the last 30 billed days that carry neither service nor team, their share of usage, and the items (`tables.GAP`)."""
    return nobody_owns_of(analyse(lake, as_of))


def nobody_owns_of(s: LakeAnalysis) -> tuple[float, float, pl.DataFrame]:
    """The same of a study."""
    return ownership_gap(s.observed, s.frames, s.directory)


def lost_tags(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """Tags that named an owner and are gone, with the change after which they were, as `tables.LOST_TAGS`; most dollars first."""
    s = analyse(lake, as_of)
    return find_lost_tags(s.observed, s.frames, s.known_changes)


def investigate(lake: Lake, spike_id: str, as_of: datetime | None = None) -> Case:
    """Everything about one spike. Raises UsageError where no spike has that id."""
    s = analyse(lake, as_of)
    by_id = {spike.row.spike_id: spike for spike in s.found}
    if spike_id not in by_id:
        raise UsageError(f"there is no spike {spike_id!r}", found=", ".join(by_id) or "no spike at all", todo="see `costwhy spikes`")
    return case_of(s, *by_id[spike_id])


def investigate_window(
    lake: Lake,
    window: tuple[datetime, datetime],
    *,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> Case:
    """Any window that a person picks, explained like a spike: against what the hours before it let expect, or against another window.

    Windows of unequal length are compared by the hour: expected is the other window's rate times this window's hours.
    Raises UsageError where the window is empty or outside the data.
    """
    s = analyse(lake, as_of)
    a = dollars_of_window(s.model, _indices(s.observed, window), _indices(s.observed, against) if against else None, where or {})
    row = spike_row(s.model, a)
    case = case_of(s, a, replace(row, where=json.dumps(dict(where))) if where else row)
    return case if against is None else replace(case, calendar=_calendar(s.model, a, _indices(s.observed, against)))


def _calendar(model: Model, a: SpikeDollars, against: Window) -> float:
    """What the lengths of two windows make of the difference of their totals: the other window's cost an hour for each hour more."""
    hours = (a.window.end - a.window.start) - (against.end - against.start)
    return cents(float(model.cost[list(a.moved_meters), against.hours].mean(axis=1).sum()) * hours)


def _indices(o: Observed, window: tuple[datetime, datetime]) -> Window:
    first, last = (round((t.astimezone(UTC) - o.hours[0]) / timedelta(hours=1)) for t in window)
    if not 0 <= first < last <= len(o.hours):
        raise UsageError(
            f"no window from {window[0]:%Y-%m-%dT%H:%MZ} to {window[1]:%Y-%m-%dT%H:%MZ}",
            found=f"data from {o.hours[0]:%Y-%m-%dT%H:%MZ} to {o.as_of:%Y-%m-%dT%H:%MZ}",
            todo="pick a window inside the data, first hour before last",
        )
    return Window(first, last)


def case_of(s: LakeAnalysis, a: SpikeDollars, row: SpikeRow) -> Case:
    """Everything about one spike of a study."""
    behaviour, behaviour_remainder = behaviour_table(a, row.excess_cost)
    drivers, drivers_remainder = drivers_table(leaves_of(s.model, a) if s.evidence is None else s.evidence.leaves, row.excess_cost)
    weighed = rank_triggers(s.known_changes, onset_of(s, a))
    best = weighed.triggers.row(0, named=True) if weighed.triggers.height else None
    hours = s.observed.hours[shown_hours(s.observed, a)]
    changes = s.frames["changes"].filter(pl.col("time").is_between(hours[0], hours[-1] + timedelta(hours=1)))
    case = Case(
        s.lake.workspace,
        s.lake.currency,
        s.observed.as_of,
        s.observed.billed_through,
        s.lake.version,
        row,
        drivers,
        drivers_remainder,
        behaviour,
        behaviour_remainder,
        weighed.triggers,
        weighed.no_recorded_change,
        is_planned(weighed, row, a.hourly.size, s.observed.as_of),
        owners_of(s, a, best),
        timeline_table(s.model, a),
        ledger_table(s.model, a),
        calls_table(s.model, a),
        changes,
        dependencies_table(s.model, a),
        coverage_table(s, a),
        clocks_table(s, a, best if best is not None and best["probability"] > weighed.no_recorded_change else None),
        analysis=s,
    )
    return replace(case, headline=headline(case))
