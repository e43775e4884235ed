"""What people and pipelines state about a change: who, a link, a ticket, a plan."""

import math
from collections.abc import Mapping
from typing import Any

from costwhy.sources.changes.cloudtrail_actors import kind_of
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import to_mapping, to_text, to_time


def stated(fields: Mapping[str, Any], where: str = "") -> tuple[dict[str, Any], list[str]]:
    """Columns of `changes`, and why parts are left out: a link that is no web address, half a plan.

    where: what the names of the fields begin with, in the reasons.
    """
    actor, url = to_text(fields.get("actor")), to_text(fields.get("url"))
    reasons = []
    if url and not url.startswith(("https://", "http://")):
        reasons.append(f"{where}url is no web address: the change is kept without it")
        url = None
    row = {
        "actor": actor,
        "actor_kind": kind_of(actor),
        "summary": to_text(fields.get("summary")),
        "url": url,
        "ticket": to_text(fields.get("ticket")),
        "path": repository_path(url),
    }
    try:
        row |= _plan(fields.get("planned"))
    except ValueError as error:
        reasons.append(f"{where}planned is incomplete, the change is kept without it: {error}")
    return row, reasons


def _plan(planned: object) -> dict[str, Any]:
    """The plan's columns; none where nothing is planned. Raises ValueError for half a plan."""
    if planned is None:
        return {}
    plan = to_mapping(planned)
    reason, cost = to_text(plan.get("reason")), plan.get("expected_cost_per_day")
    if reason is None:
        raise ValueError("reason is missing")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
        raise ValueError("expected_cost_per_day is no number")
    if plan.get("until") is None:
        raise ValueError("until is missing")
    until = to_time(plan["until"])
    return {"planned_reason": reason, "planned_cost_per_day": float(cost), "planned_until": until}
