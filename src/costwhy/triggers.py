"""Recorded changes weighed: which one fits a spike, with a probability, and always *no recorded change* too.

This is argument, not arithmetic. Each change before the onset gets a weight: how long before (a cause is mostly minutes
away, seldom a day), where (the caller who amplified, the service whose usage grew, a service further up), and by what
mechanism (a rule's schedule fits `schedule`, a scaling setting fits `capacity`, ...). Weights over their sum, the weight
of *no recorded change* included, are the probabilities. Records of one decision (a deployment event and the API call
that it left) are one trigger. `docs/triggers.md` states the model.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.sources.cloudtrail import match_service

LOOK_BACK = timedelta(hours=72)
SAME_DECISION = timedelta(minutes=20)
LISTED = 8
LEAST = 0.005

# How well a kind of change fits a kind of behaviour: 1 ordinary cause, towards 0 hardly ever. Rows: behaviour; columns: change.
MECHANISM: dict[str, dict[str, float]] = {
    "retries": {
        "deploy": 1.0,
        "config": 1.0,
        "flag": 0.8,
        "rollback": 0.3,
        "scaling": 0.15,
        "create": 0.1,
        "schedule": 0.02,
        "other": 0.1,
    },
    "fan_out": {
        "deploy": 1.0,
        "config": 0.7,
        "flag": 0.9,
        "rollback": 0.3,
        "create": 0.8,
        "scaling": 0.05,
        "schedule": 0.1,
        "other": 0.1,
    },
    "schedule": {
        "schedule": 1.0,
        "deploy": 0.35,
        "config": 0.4,
        "create": 0.3,
        "flag": 0.2,
        "rollback": 0.1,
        "scaling": 0.02,
        "other": 0.1,
    },
    "usage_per_call": {
        "deploy": 1.0,
        "config": 1.0,
        "flag": 0.7,
        "rollback": 0.3,
        "create": 0.3,
        "scaling": 0.1,
        "schedule": 0.05,
        "other": 0.15,
    },
    "capacity": {
        "scaling": 1.0,
        "config": 0.35,
        "deploy": 0.3,
        "create": 0.6,
        "rollback": 0.15,
        "flag": 0.1,
        "delete": 0.3,
        "schedule": 0.1,
        "other": 0.1,
    },
    "cross_region": {
        "deploy": 1.0,
        "create": 0.9,
        "config": 0.7,
        "flag": 0.5,
        "rollback": 0.2,
        "scaling": 0.05,
        "schedule": 0.1,
        "other": 0.2,
    },
    "unit_price": {"commitment": 1.0, "config": 0.1, "scaling": 0.05, "create": 0.05, "deploy": 0.02, "other": 0.02},
    "unlinked_usage": {
        "create": 0.8,
        "config": 0.7,
        "deploy": 0.4,
        "scaling": 0.4,
        "delete": 0.2,
        "schedule": 0.3,
        "other": 0.15,
    },
    "demand": {"deploy": 0.06, "flag": 0.06, "config": 0.02, "create": 0.02, "other": 0.02},
    "unmetered": {"commitment": 0.5, "other": 0.02},
}
# Weight of *no recorded change*: how often such a behaviour begins without any record.
NO_RECORD = {"demand": 0.35, "unit_price": 0.5, "unmetered": 0.6, "unlinked_usage": 0.15, "schedule": 0.04}
NO_RECORD_ELSE = 0.04
# Calls that say who may and what is watched, not what runs: they seldom move usage.
WATCHING = ("iam.", "secretsmanager.", "kms.", "monitoring.", "sts.", "acm.", "sso.", "config.", "cloudtrail.")
WATCHING_FIT = 0.1


@dataclass(frozen=True)
class Suspicion:
    """What a change must explain: behaviour rows with their share of the dollars, and when they began.

    rows: (kind, service, caller, usage_type, share of the absolute dollars); callers_of: services that call a service;
    newborn: services that began with the spike; resources: those that were first billed when it began.
    """

    rows: tuple[tuple[str, str | None, str | None, str | None, float], ...]
    start: datetime
    blur: timedelta  # the onset lies in [start, start + blur)
    services: frozenset[str]
    callers_of: dict[str, frozenset[str]]
    newborn: frozenset[str]
    accounts: frozenset[str]
    resources: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Weighed:
    """Triggers (tables.TRIGGERS) and the probability that no recorded change caused the spike."""

    triggers: pl.DataFrame
    no_recorded_change: float


def weigh(changes: pl.DataFrame, suspicion: Suspicion) -> Weighed:
    """Every recorded change before the onset, weighed against what it must explain."""
    latest = suspicion.start + suspicion.blur
    near = changes.filter(
        (pl.col("time") < latest) & (pl.col("time") >= suspicion.start - LOOK_BACK) & ~pl.col("automated").fill_null(value=False)
    ).unique("change_id", maintain_order=True)
    named = [_named(row, suspicion.services) for row in near.iter_rows(named=True)]
    scored = [(weight, row, reasons) for row in named for weight, reasons in [_weight(row, suspicion)] if weight > 0]
    decisions = _decisions(scored)
    none = _none_weight(suspicion)
    total = none + sum(weight for weight, _, _, _ in decisions)
    rows = [
        {
            **{k: v for k, v in row.items() if k in tables.TRIGGERS.schema},
            "also": also,
            "probability": weight / total,
            "reasons": reasons,
        }
        for weight, row, also, reasons in decisions[:LISTED]
        if weight / total >= LEAST
    ]
    frame = tables.TRIGGERS.fit(pl.DataFrame(rows, schema=tables.TRIGGERS.schema)) if rows else tables.TRIGGERS.empty()
    return Weighed(frame, none / total)


def _none_weight(suspicion: Suspicion) -> float:
    whole = sum(share for *_, share in suspicion.rows) or 1.0
    return sum(share * NO_RECORD.get(kind, NO_RECORD_ELSE) for kind, *_, share in suspicion.rows) / whole


def _named(row: dict[str, object], services: frozenset[str]) -> dict[str, object]:
    """The change with the service that its own record, resource or parameters name."""
    if row["service"] in services:
        return row
    for text in (row["service"], row["resource"], row["after"], row["path"]):
        found = match_service(str(text), services) if text else None
        if found is not None:
            return {**row, "service": found}
    return row


def _weight(row: dict[str, object], s: Suspicion) -> tuple[float, list[str]]:
    time = row["time"]
    assert isinstance(time, datetime)  # noqa: S101  the table's type
    hours = max(0.0, (s.start + s.blur / 2 - time) / timedelta(hours=1))
    when = math.exp(-hours / 2.0) + 0.04 * math.exp(-hours / 24.0)
    if row["planned_reason"]:
        when = math.exp(-hours / 24.0)  # what is announced is awaited: traffic comes when people come
    place, why_place = 0.0, ""
    for kind, service, caller, _, share in s.rows:
        where, why = _place(row, (kind, service, caller), s)
        fit = MECHANISM.get(kind, {}).get(str(row["kind"]), 0.02)
        fit *= WATCHING_FIT if str(row["event"]).startswith(WATCHING) else 1.0
        plan = 40.0 if row["planned_reason"] and kind == "demand" else 1.0
        if share * where * fit * plan > place:
            place, why_place = share * where * fit * plan, f"{why}; a {row['kind']} fits {kind.replace('_', ' ')}"
    calm = 0.02 if row["environment"] not in (None, "production", "prod") else 1.0
    reasons = [_lag_reason(time, s), why_place] if why_place else []
    if row["planned_reason"]:
        reasons.append(f"planned: {row['planned_reason']}")
    if row["environment"] and calm < 1:
        reasons.append(f"made in {row['environment']}, not in production")
    return when * place * calm, reasons


def _place(row: dict[str, object], behaviour: tuple[str, str | None, str | None], s: Suspicion) -> tuple[float, str]:
    """How close the change is to the place of the behaviour, and why in words."""
    kind, service, caller = behaviour
    touched = row["service"]
    made = _resource(row, s.resources)
    if made is not None:
        return 1.0, f"touched {made}, which was first billed when it began"
    if touched is None:
        same_account = row["account"] in s.accounts
        return (
            (0.03, "in the same account, touching no known service")
            if same_account and kind in {"unlinked_usage", "unit_price"}
            else (0.002, "elsewhere")
        )
    if touched in s.newborn:
        return 1.0, f"changed {touched}, which began with the spike"
    if kind in {"retries", "fan_out"}:
        if touched == caller:
            return 1.0, f"changed {touched}, the caller whose {'retries' if kind == 'retries' else 'calls'} grew"
        if touched == service:
            return 0.25, f"changed {touched}, which handles the calls that grew"
    elif touched == service:
        return 1.0, f"changed {touched}, the service whose {kind.replace('_', ' ')} moved"
    if touched == caller and caller is not None:
        return 0.8, f"changed {touched}"
    upstream = s.callers_of.get(service or "", frozenset()) | s.callers_of.get(caller or "", frozenset())
    return (0.04, f"changed {touched}, which calls it") if touched in upstream else (0.004, f"changed {touched}, elsewhere")


def _resource(row: dict[str, object], resources: frozenset[str]) -> str | None:
    """The new resource that a change names, by its own name: the last part of an ARN."""
    text = f"{row['resource'] or ''} {row['after'] or ''}"
    return next((r for r in sorted(resources) if len(tail := re.split(r"[:/]", r)[-1]) > 5 and tail in text), None)


def _lag_reason(time: datetime, s: Suspicion) -> str:
    minutes = round((s.start - time) / timedelta(minutes=1))
    if minutes <= 0:
        return "in the hour of the onset"
    return f"{minutes} min before the onset" if minutes < 120 else f"{minutes / 60:.0f} h before the onset"


def _decisions(
    scored: Sequence[tuple[float, dict[str, object], list[str]]],
) -> list[tuple[float, dict[str, object], list[str], list[str]]]:
    """Records of one decision joined: the same service within SAME_DECISION, from different sources; the heaviest leads."""
    out: list[tuple[float, dict[str, object], list[str], list[str]]] = []
    for weight, row, reasons in sorted(scored, key=lambda x: (-x[0], str(x[1]["change_id"]))):
        twin = next((k for k, (_, lead, _, _) in enumerate(out) if _one_decision(lead, row)), None)
        if twin is None:
            out.append((weight, row, [], reasons))
        else:
            lead_weight, lead, also, lead_reasons = out[twin]
            person = row if lead.get("actor_kind") != "person" and row.get("actor_kind") == "person" else lead
            merged = {**lead, "actor": person["actor"], "actor_kind": person["actor_kind"]}
            out[twin] = (lead_weight + 0.5 * weight, merged, [*also, str(row["change_id"])], lead_reasons)
    return sorted(out, key=lambda x: -x[0])


def _one_decision(a: dict[str, object], b: dict[str, object]) -> bool:
    one, other = a["time"], b["time"]
    assert isinstance(one, datetime)  # noqa: S101
    assert isinstance(other, datetime)  # noqa: S101
    same_place = a["service"] is not None and a["service"] == b["service"]
    people = {x["actor"] for x in (a, b) if x["actor_kind"] == "person"}
    return same_place and a["source"] != b["source"] and abs(one - other) <= SAME_DECISION and len(people) <= 1
