"""TODO case/document.py"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from costwhy.case.analysis import Lake, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import case_of, investigate, investigate_window, nobody_owns
from costwhy.text import cents


def explain(
    lake: Lake,
    spike_id: str | None = None,
    as_of: datetime | None = None,
    *,
    window: tuple[datetime, datetime] | None = None,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The document that `costwhy explain --json` prints: see the contract, section 4."""
    s = analyse(lake, as_of)
    if window is not None:
        cases = [investigate_window(lake, window, against=against, where=where, as_of=as_of)]
    elif spike_id is not None:
        cases = [investigate(lake, spike_id, as_of)]
    else:
        cases = [case_of(s, a, row) for a, row in s.found]
    lost, share, items = nobody_owns(lake, as_of)
    return {
        "costwhy": 1,
        "workspace": s.lake.workspace,
        "currency": s.lake.currency,
        "as_of": _time(s.observed.as_of),
        "billed_through": _time(s.observed.billed_through),
        "spikes": [document(case) for case in cases],
        "ownership_gap": {
            "cost": cents(lost),
            "share": round(share, 6) + 0.0,
            "items": [{**r, "where": json.loads(r["where"])} for r in items.iter_rows(named=True)],
        },
        "rows_set_aside": int(s.frames["set_aside"]["records"].sum()),
    }


def document(case: Case) -> dict[str, object]:
    """One spike as the contract writes it."""
    spike = case.spike
    (owner, decided, budget), then = case.who, case.owner_then
    money = ("expected_cost", "actual_cost", "excess_cost")
    return {
        "spike_id": spike.spike_id,
        "title": spike.title,
        "start": _time(spike.start),
        "end": _time(spike.end) if spike.end else None,
        "status": spike.status,
        "shape": spike.shape,
        "where": json.loads(spike.where),
        **{name: spike[name] for name in money},
        "excess_low": spike.excess_low,
        "excess_high": spike.excess_high,
        "nowcast": {
            "hours": spike.nowcast_hours,
            "excess_cost": spike.nowcast_excess_cost,
            "low": spike.nowcast_low,
            "high": spike.nowcast_high,
        }
        if spike.nowcast_hours
        else None,
        "cost_per_hour_now": spike.cost_per_hour_now,
        "month_end_excess_cost": spike.month_end_excess_cost,
        "drivers": [{"where": json.loads(r["where"]), "cost_change": r["cost_change"]} for r in case.drivers.iter_rows(named=True)],
        "drivers_remainder": case.drivers_remainder,
        "behaviour": case.behaviour.to_dicts(),
        "behaviour_remainder": case.behaviour_remainder,
        **({"calendar_cost": case.calendar} if case.calendar is not None else {}),
        "verdict": spike.verdict,
        "planned": case.planned,
        "triggers": [
            {
                **{k: r[k] for k in ("change_id", "also", "reasons", "summary", "actor", "service", "kind", "url")},
                "also": r["also"] or [],
                "time": _time(r["time"]),
                "probability": round(r["probability"], 4),
            }
            for r in case.triggers.iter_rows(named=True)
        ],
        "no_recorded_change": round(case.no_recorded_change, 4),
        "owner": {k: owner[k] for k in ("service", "team", "contact", "source")} if owner else None,
        "owner_then": {k: then[k] for k in ("service", "team", "contact", "source")} if then else None,
        "decided_by": {k: decided[k] for k in ("service", "actor", "team", "contact")} if decided else None,
        "budget_owner": {"name": budget["team"], "source": budget["source"]} if budget else None,
        "coverage": [{**r, "from": _time(r["from"]), "to": _time(r["to"])} for r in case.coverage.iter_rows(named=True)],
        "dependencies": case.dependencies.to_dicts(),
    }


def _time(value: object) -> str | None:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else None
