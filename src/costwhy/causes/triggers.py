"""Recorded changes ranked: the probability that each caused a spike, and that none recorded did.

This is argument, not arithmetic: a conditional logit over the changes of the three days before the
onset. The logarithm of a change's weight is a sum of evidence: how long before the onset it was
made, where, whether its kind fits the behaviour, how rare it is there, whether it was taken back
when the spike ended, whether it was planned, and whether it was made outside production.

    probability of a change = its weight / (weight of no recorded change + sum of all weights)

`docs/triggers.md` states the model and how its weights were learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array
from costwhy.behaviours import AMPLIFIED, DEMAND, RETRIES, UNIT_PRICE, UNMETERED
from costwhy.causes.changes import (
    PLACES,
    SAME_DECISION,
    Codes,
    Evidence,
    KnownChanges,
    MovedRate,
    Onset,
    gather,
)
from costwhy.sources.registry import format_behind

LISTED = 8
CANDIDATES = 40  # records with the largest weights, of which decisions are made
LEAST = 0.005  # probability
TWIN_WEIGHT = 0.5  # share of its weight that a second record of a decision adds
RARE = 1 / 14  # changes like it a day


@dataclass(frozen=True)
class Weights:
    """What each piece of evidence counts, as logarithms; made by `benchmarks/triggers.py --fit`."""

    soon: float = 1.0  # hours before the onset in which the weight falls to 1/e
    slow: float = -4.02  # share of causes that take days
    callee: float = -1.51  # the places that are not at the rate, see PLACES
    upstream: float = -4.05
    account: float = -3.51
    elsewhere: float = -6.38
    mechanism: float = 1.17  # times the logarithm of the fit
    rare: float = 0.83  # times the logarithm of how many like it are made there a day, less
    undone: float = 1.5
    outside_production: float = -4.01
    planned: float = 4.45  # of a rate of traffic
    none: float = -1.39  # no recorded change
    none_demand: float = -1.31
    none_price: float = 0.39


WEIGHTS = Weights()
Row = dict[str, Any]
"""A row of `tables.CHANGES` with its `weight`, its `reasons`, and `also`: further records of it."""


@dataclass(frozen=True)
class RankedTriggers:
    """Triggers (tables.TRIGGERS) and the probability that no recorded change caused the spike."""

    triggers: pl.DataFrame
    no_recorded_change: float


def rank_triggers(
    changes: KnownChanges, onset: Onset, weights: Weights = WEIGHTS
) -> RankedTriggers:
    """The changes before the onset as triggers, most probable first."""
    evidence = gather(changes, onset)
    log_weight, best_rate = log_weights(changes, onset, evidence, weights)
    order = np.argsort(-log_weight, kind="stable")[:CANDIDATES]
    near = changes.rows[evidence.near]
    decisions = _joined(
        [
            near.row(nth, named=True)
            | {
                "also": [],
                "weight": float(np.exp(log_weight[nth])),
                "reasons": _reasons(changes, onset, evidence, nth, int(best_rate[nth])),
            }
            for nth in order.tolist()
        ]
    )
    none = np.exp(log_none(onset, weights))
    rest = float(np.exp(np.delete(log_weight, order)).sum())
    total = none + rest + sum(decision["weight"] for decision in decisions)
    triggers = [one | {"probability": one["weight"] / total} for one in decisions[:LISTED]]
    return RankedTriggers(
        tables.TRIGGERS.of(triggers).filter(pl.col("probability") >= LEAST), float(none / total)
    )


def log_weights(
    changes: KnownChanges, onset: Onset, evidence: Evidence, weights: Weights
) -> tuple[Array, Codes]:
    """Logarithm of each change's weight (n), and the rate that it explains best (n)."""
    share = np.array([max(rate.share, 1e-9) for rate in onset.rates], dtype=float)
    place = np.array([getattr(weights, name, 0.0) for name in PLACES])  # 0: at the rate
    by_rate = (
        np.log(share)[:, None] + place[evidence.place] + weights.mechanism * np.log(evidence.fit)
    )
    planned = changes.rows["planned_reason"][evidence.near].is_not_null().to_numpy()
    demand = np.array([rate.kind == DEMAND for rate in onset.rates], dtype=bool)
    by_rate = by_rate + weights.planned * demand[:, None] * planned[None, :]
    if not by_rate.size:
        return np.zeros(0), np.zeros(0, dtype=int)
    days = evidence.lag / 24.0
    when = np.logaddexp(-evidence.lag / weights.soon, weights.slow - days)
    when = np.where(planned, -days, when)  # what is announced may come long before its effect
    rarity = -weights.rare * np.log(changes.usual[evidence.near])
    outside = weights.outside_production * changes.outside_production[evidence.near]
    return (
        by_rate.max(axis=0) + when + rarity + weights.undone * evidence.undone + outside,
        by_rate.argmax(axis=0),
    )


def log_none(onset: Onset, weights: Weights) -> float:
    """Logarithm of the weight of *no recorded change*: the mean weight over the moved rates."""
    price = weights.none_price
    kinds = {DEMAND: weights.none_demand, UNIT_PRICE: price, UNMETERED: price}
    total = sum(rate.share for rate in onset.rates) or 1.0
    mean = sum(rate.share * np.exp(kinds.get(rate.kind, weights.none)) for rate in onset.rates)
    return float(np.log(mean / total)) if onset.rates else weights.none


# ---------------------------------------------------------------- in words


def _reasons(
    changes: KnownChanges, onset: Onset, evidence: Evidence, nth: int, best_rate: int
) -> list[str]:
    row = evidence.near.start + nth
    change, rate = changes.rows.row(row, named=True), onset.rates[best_rate]
    place = _place_words(PLACES[evidence.place[best_rate, nth]], changes.service[row], rate)
    fit = evidence.fit[best_rate, nth]
    fit_words = "fits" if fit >= 0.3 else "may cause" if fit >= 0.1 else "seldom causes"
    minutes = round((onset.start - change["time"]) / timedelta(minutes=1))
    before = f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    reasons = {
        f"{before} before the onset" if minutes > 0 else "in the hour of the onset": True,
        f"{place}; a {changes.doing[row]} {fit_words} {rate.kind.replace('_', ' ')}": True,
        "taken back when the spike ended": evidence.undone[nth],
        "nothing like it is usual there": changes.usual[row] < RARE,
        f"planned: {change['planned_reason']}": change["planned_reason"],
        f"made in {change['environment']}, not in production": changes.outside_production[row],
    }
    return [words for words, holds in reasons.items() if holds]


def _place_words(place: str, service: str | None, rate: MovedRate) -> str:
    moved = f"the service whose {rate.kind.replace('_', ' ')} moved"
    if rate.kind in AMPLIFIED:
        moved = f"the caller whose {RETRIES if rate.kind == RETRIES else 'calls'} grew"
    callee = "which handles the calls that grew" if service == rate.service else "which calls it"
    below = rate.service if service != rate.service else rate.caller
    return {
        "resource": "touched a resource that was first billed when it began",
        "newborn": f"changed {service}, which began with the spike",
        "moved": f"changed {service}, {moved}",
        "callee": f"changed {service}, {callee}",
        "upstream": f"changed {service}, which calls {below}",
        "account": "in the same account, touching no known service",
        "elsewhere": f"changed {service}, elsewhere" if service else "elsewhere",
    }[place]


# ---------------------------------------------------------------- records of one decision


def _joined(records: Sequence[Row]) -> list[Row]:
    out: list[Row] = []
    for record in sorted(records, key=lambda one: (-one["weight"], str(one["change_id"]))):
        twins = [nth for nth, one in enumerate(out) if _is_one_decision(one, record)]
        if twins:
            out[twins[0]] = _join(out[twins[0]], record)
        else:
            out.append(record)
    return sorted(out, key=lambda one: -one["weight"])


def _join(lead: Row, record: Row) -> Row:
    """Two records of one decision: shown is the one that tells more, with the person of either.

    A deployment event has a title, a link, a ticket; the API call that it left has none.
    """
    shown, other = (record, lead) if _is_titled(record) and not _is_titled(lead) else (lead, record)
    who = next((one for one in (shown, other) if one["actor_kind"] == "person"), shown)
    return shown | {
        "actor": who["actor"],
        "actor_kind": who["actor_kind"],
        "also": [*lead["also"], str(other["change_id"])],
        "reasons": lead["reasons"],
        "weight": lead["weight"] + TWIN_WEIGHT * record["weight"],
    }


def _is_titled(row: Row) -> bool:
    found = format_behind(row["source"])
    return found is not None and found.titled


def _is_one_decision(one: Row, other: Row) -> bool:
    return bool(
        one["service"] is not None
        and one["service"] == other["service"]
        and abs(one["time"] - other["time"]) <= SAME_DECISION
        and one["source"] != other["source"]
        and len({row["actor"] for row in (one, other) if row["actor_kind"] == "person"}) <= 1
    )
