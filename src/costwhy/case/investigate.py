"""Questions about a lake: its spikes, a spike as a case, any window as a case, what nobody owns.

Each takes a lake and, if wanted, a time as of which it is answered. Those that end in `_of` take
the analysis of a lake. `explain` answers all of them as the document that `costwhy explain --json`
prints; `docs/explain.schema.json` is its schema.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case import frames
from costwhy.case.analysis import FEW_HOURS, LakeAnalysis, LakeReader, analyse
from costwhy.case.attribution import is_planned, onset_of, owners_of, resources_of
from costwhy.case.bill_facts import bill_document, bill_facts, is_by_day, unasked
from costwhy.case.case import Case
from costwhy.case.leaves import leaves_of
from costwhy.case.story import headline
from costwhy.causes.lost_tags import find_lost_tags
from costwhy.causes.triggers import rank_triggers
from costwhy.causes.unowned import ownership_gap
from costwhy.errors import UsageError
from costwhy.model.baseline import Window
from costwhy.model.estimates import past_estimates
from costwhy.model.observed import HOUR, Observed
from costwhy.spikes.dollars import SpikeDollars, SpikeRow, dollars_of_window, spike_row
from costwhy.text import cents, plain_value

TRIGGER = ("change_id", "also", "reasons", "summary", "actor", "service", "kind", "url")
OWNER = ("service", "team", "contact", "source")
DECIDED_BY = ("service", "actor", "team", "contact")
NOWCAST = ("hours", "excess_cost", "low", "high")
COSTS = ("expected_cost", "actual_cost", "excess_cost", "excess_low", "excess_high")


def find_spikes(lake: LakeReader, as_of: datetime | None = None) -> pl.DataFrame:
    """All spikes (tables.SPIKES): rises first, the largest excess first, then falls."""
    return tables.SPIKES.of([asdict(spike.row) for spike in analyse(lake, as_of).found])


def overview(lake: LakeReader, as_of: datetime | None = None) -> pl.DataFrame:
    """The company's cost by hour, and what it would be without the spikes (tables.TIMELINE).

    Fees that are charged once (tax, support, refunds) are left out: a chart by the hour cannot
    show a month's fee.
    """
    return overview_of(analyse(lake, as_of))


def overview_of(analysis: LakeAnalysis) -> pl.DataFrame:
    """The overview of an analysed lake."""
    meters = _billed_by_hour(analysis.observed)
    actual = analysis.model.cost[meters].sum(axis=0)
    expected = actual.copy()
    for spike, _ in analysis.found:
        expected[spike.window.hours] -= spike.excess[meters].sum(axis=0)
    return frames.timeline_of(analysis.observed, slice(0, actual.size), actual, expected)


def _billed_by_hour(observed: Observed) -> list[int]:
    return np.flatnonzero(np.count_nonzero(observed.cost, axis=1) > FEW_HOURS).tolist()


def nowcast_ledger(lake: LakeReader, as_of: datetime | None = None) -> pl.DataFrame:
    """The errors of past estimates of unbilled hours, by day and service (tables.NOWCAST)."""
    analysis = analyse(lake, as_of)
    return past_estimates(analysis.model, _billed_by_hour(analysis.observed))


def nobody_owns(
    lake: LakeReader, as_of: datetime | None = None
) -> tuple[float, float, pl.DataFrame]:
    """Usage charges of the last 30 billed days that carry neither service nor team.

    Returns their dollars, their share of all usage charges, and the largest items (tables.GAP).
    """
    return nobody_owns_of(analyse(lake, as_of))


def nobody_owns_of(analysis: LakeAnalysis) -> tuple[float, float, pl.DataFrame]:
    """What nobody owns of an analysed lake."""
    return ownership_gap(analysis.observed, analysis.rows, analysis.directory)


def lost_tags(lake: LakeReader, as_of: datetime | None = None) -> pl.DataFrame:
    """Tags that named an owner and are gone, with the change that probably removed them.

    As `tables.LOST_TAGS`, most dollars since first.
    """
    analysis = analyse(lake, as_of)
    return find_lost_tags(analysis.observed, analysis.rows, analysis.known_changes)


def investigate(lake: LakeReader, spike_id: str, as_of: datetime | None = None) -> Case:
    """Everything about one spike. Raises UsageError where no spike has that id."""
    analysis = analyse(lake, as_of)
    by_id = {spike.row.spike_id: spike for spike in analysis.found}
    if spike_id not in by_id:
        raise UsageError(
            f"there is no spike {spike_id!r}",
            found=", ".join(by_id) or "no spike at all",
            fix="see `costwhy spikes`",
        )
    return case_of(analysis, *by_id[spike_id])


def investigate_window(
    lake: LakeReader,
    window: tuple[datetime, datetime],
    *,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> Case:
    """Any window of hours, explained like a spike: against its baseline or against another window.

    Windows of different lengths are compared by the hour: expected is the other window's cost an
    hour, times the hours of this one. `where`: only the lines of the bill with these values.
    Raises UsageError where the window is empty or outside the data.
    """
    analysis = analyse(lake, as_of, tuple(where or ()))
    other = _indices(analysis.observed, against) if against else None
    spike = dollars_of_window(
        analysis.model, _indices(analysis.observed, window), other, where or {}
    )
    row = spike_row(analysis.model, spike)
    case = case_of(analysis, spike, replace(row, where=json.dumps(dict(where))) if where else row)
    if other is None:
        return case
    # the other window's cost an hour, for each hour that this one is longer
    cost = analysis.model.cost[list(spike.moved_meters), other.hours].mean(axis=1).sum()
    return replace(case, calendar=cents(float(cost) * (spike.window.width - other.width)))


def _indices(observed: Observed, window: tuple[datetime, datetime]) -> Window:
    first, last = (round((time.astimezone(UTC) - observed.hours[0]) / HOUR) for time in window)
    if not 0 <= first < last <= len(observed.hours):
        raise UsageError(
            f"no window from {window[0]:%Y-%m-%dT%H:%MZ} to {window[1]:%Y-%m-%dT%H:%MZ}",
            found=(
                f"data from {observed.hours[0]:%Y-%m-%dT%H:%MZ} to {observed.as_of:%Y-%m-%dT%H:%MZ}"
            ),
            fix="pick a window inside the data, first hour before last",
        )
    return Window(first, last)


def case_of(analysis: LakeAnalysis, spike: SpikeDollars, row: SpikeRow) -> Case:
    """Everything about one spike of an analysed lake."""
    observed, model, evidence = analysis.observed, analysis.model, analysis.evidence
    behaviour, behaviour_remainder = frames.behaviour_table(spike, row.excess_cost)
    drivers, drivers_remainder = frames.drivers_table(
        evidence.leaves if evidence else leaves_of(analysis, spike), row.excess_cost
    )
    resources = resources_of(analysis, spike)
    ranked = rank_triggers(analysis.known_changes, onset_of(analysis, spike, resources.began))
    best = next(ranked.triggers.iter_rows(named=True), None)
    probable = best is not None and best["probability"] > ranked.no_recorded_change
    shown = observed.hours[frames.shown_hours(observed, spike)]
    case = Case(
        workspace=analysis.lake.workspace,
        currency=analysis.lake.currency,
        as_of=observed.as_of,
        billed_through=observed.billed_through,
        lake_version=analysis.lake.version,
        spike=row,
        drivers=drivers,
        drivers_remainder=drivers_remainder,
        behaviour=behaviour,
        behaviour_remainder=behaviour_remainder,
        triggers=ranked.triggers,
        no_recorded_change=ranked.no_recorded_change,
        planned=is_planned(ranked, row, spike.hourly.size, observed.as_of),
        owners=owners_of(analysis, spike, best),
        timeline=frames.timeline_table(model, spike),
        ledger=frames.ledger_table(model, spike),
        calls=frames.calls_table(model, spike),
        changes=analysis.frames["changes"].filter(
            pl.col("time").is_between(shown[0], shown[-1] + HOUR)
        ),
        dependencies=frames.dependencies_table(model, spike),
        coverage=frames.coverage_table(analysis, spike),
        clocks=frames.clocks_table(analysis, spike, best if probable else None),
        by_day=is_by_day(observed, spike),
        resources=resources,
        unasked=() if evidence else unasked(analysis),
        analysis=analysis,
    )
    return replace(case, headline=headline(case))


# ---------------------------------------------------------------- as JSON


def explain(
    lake: LakeReader,
    spike_id: str | None = None,
    as_of: datetime | None = None,
    *,
    window: tuple[datetime, datetime] | None = None,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """All spikes of a lake, or one, or a window of hours, and what nobody owns."""
    analysis = analyse(lake, as_of)
    if window is not None:
        cases = [investigate_window(lake, window, against=against, where=where, as_of=as_of)]
    elif spike_id is not None:
        cases = [investigate(lake, spike_id, as_of)]
    else:
        cases = [case_of(analysis, *spike) for spike in analysis.found]
    cost, share, items = nobody_owns_of(analysis)
    return {
        "costwhy": 1,
        "workspace": lake.workspace,
        "currency": lake.currency,
        "as_of": plain_value(analysis.observed.as_of),
        "billed_through": plain_value(analysis.observed.billed_through),
        "spikes": [document(case) for case in cases],
        "ownership_gap": {
            "cost": cents(cost),
            "share": round(share, 6) + 0.0,
            "items": [_plain(item) for item in items.to_dicts()],
        },
        "rows_set_aside": int(analysis.frames["set_aside"]["records"].sum()),
        "bill": bill_document(bill_facts(analysis)),
    }


def document(case: Case) -> dict[str, object]:
    """One spike of the document."""
    spike, who, budget = case.spike, case.who, case.who.get("budget_owner")
    return {
        "spike_id": spike.spike_id,
        "title": spike.title,
        "start": plain_value(spike.start),
        "end": plain_value(spike.end),
        "status": spike.status,
        "shape": spike.shape,
        "where": json.loads(spike.where),
        **{name: getattr(spike, name) for name in COSTS},
        "nowcast": {name: getattr(spike, f"nowcast_{name}") for name in NOWCAST}
        if spike.nowcast_hours
        else None,
        "cost_per_hour_now": spike.cost_per_hour_now,
        "month_end_excess_cost": spike.month_end_excess_cost,
        "drivers": [_plain(row) for row in case.drivers.to_dicts()],
        "drivers_remainder": case.drivers_remainder,
        "behaviour": case.behaviour.to_dicts(),
        "behaviour_remainder": case.behaviour_remainder,
        **({"calendar_cost": case.calendar} if case.calendar is not None else {}),
        "verdict": spike.verdict,
        "planned": case.planned,
        "triggers": [
            {name: row[name] for name in TRIGGER}
            | {
                "also": row["also"] or [],
                "time": plain_value(row["time"]),
                "probability": round(row["probability"], 4),
            }
            for row in case.triggers.to_dicts()
        ],
        "no_recorded_change": round(case.no_recorded_change, 4),
        **{role: _named(who.get(role), OWNER) for role in ("owner", "owner_then")},
        "decided_by": _named(who.get("decided_by"), DECIDED_BY),
        "budget_owner": budget and {"name": budget["team"], "source": budget["source"]},
        "coverage": [_plain(row) for row in case.coverage.to_dicts()],
        "dependencies": case.dependencies.to_dicts(),
    }


def _named(row: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, object] | None:
    return {name: row[name] for name in names} if row else None


def _plain(row: Mapping[str, Any]) -> dict[str, object]:
    return {
        name: json.loads(value) if name == "where" else plain_value(value)
        for name, value in row.items()
    }
