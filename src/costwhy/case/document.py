"""The document that `costwhy explain --json` prints; `docs/explain.schema.json` is its schema."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from costwhy.case.analysis import LakeReader, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import case_of, investigate, investigate_window, nobody_owns_of
from costwhy.text import cents, plain_value

TRIGGER = ("change_id", "also", "reasons", "summary", "actor", "service", "kind", "url")
OWNER = ("service", "team", "contact", "source")
DECIDED_BY = ("service", "actor", "team", "contact")


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
    }


def document(case: Case) -> dict[str, object]:
    """One spike of the document."""
    spike = case.spike
    owner, decided_by, budget = case.who
    nowcast = {
        "hours": spike.nowcast_hours,
        "excess_cost": spike.nowcast_excess_cost,
        "low": spike.nowcast_low,
        "high": spike.nowcast_high,
    }
    return {
        "spike_id": spike.spike_id,
        "title": spike.title,
        "start": plain_value(spike.start),
        "end": plain_value(spike.end),
        "status": spike.status,
        "shape": spike.shape,
        "where": json.loads(spike.where),
        "expected_cost": spike.expected_cost,
        "actual_cost": spike.actual_cost,
        "excess_cost": spike.excess_cost,
        "excess_low": spike.excess_low,
        "excess_high": spike.excess_high,
        "nowcast": nowcast if spike.nowcast_hours else None,
        "cost_per_hour_now": spike.cost_per_hour_now,
        "month_end_excess_cost": spike.month_end_excess_cost,
        "drivers": [_plain(row) for row in case.drivers.to_dicts()],
        "drivers_remainder": case.drivers_remainder,
        "behaviour": case.behaviour.to_dicts(),
        "behaviour_remainder": case.behaviour_remainder,
        **({"calendar_cost": case.calendar} if case.calendar is not None else {}),
        "verdict": spike.verdict,
        "planned": case.planned,
        "triggers": [_trigger(row) for row in case.triggers.to_dicts()],
        "no_recorded_change": round(case.no_recorded_change, 4),
        "owner": _named(owner, OWNER),
        "owner_then": _named(case.owner_then, OWNER),
        "decided_by": _named(decided_by, DECIDED_BY),
        "budget_owner": budget and {"name": budget["team"], "source": budget["source"]},
        "coverage": [_plain(row) for row in case.coverage.to_dicts()],
        "dependencies": case.dependencies.to_dicts(),
    }


def _trigger(row: Mapping[str, Any]) -> dict[str, object]:
    also, probability = row["also"] or [], round(row["probability"], 4)
    found = {name: row[name] for name in TRIGGER}
    return found | {"also": also, "time": plain_value(row["time"]), "probability": probability}


def _named(row: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, object] | None:
    return {name: row[name] for name in names} if row else None


def _plain(row: Mapping[str, Any]) -> dict[str, object]:
    """The row with `where` as an object and times as text."""
    return {
        name: json.loads(value) if name == "where" else plain_value(value)
        for name, value in row.items()
    }
