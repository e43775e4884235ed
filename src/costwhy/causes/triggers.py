"""Recorded changes weighed: which one fits a spike, with a probability, and always *no recorded change* too.

This is argument, not arithmetic: a conditional logit over the changes of the three days before the onset. A change speaks
for itself by when it was made (a cause is mostly minutes away, seldom a day), where (the caller who amplified, the service
whose usage grew, a service further up), by what mechanism (a rule's schedule fits `schedule`, a scaling setting fits
`capacity`), by how rare it is there, and by being taken back when the spike ended. Weights over their sum, that of *no
recorded change* included, are the probabilities. `docs/triggers.md` states the model and how its weights were learnt.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array
from costwhy.behaviours import AMPLIFIED, BY_ACCOUNT, BY_KIND, CAPACITY, CHANGE_KINDS, DEMAND, UNIT_PRICE, UNMETERED
from costwhy.causes.changes import KnownChanges, hour_of

LOOK_BACK = timedelta(hours=72)
SAME_DECISION = timedelta(minutes=20)
UNDOING = (timedelta(hours=3), timedelta(hours=2))  # before and after the end in which a change may have been taken back
LISTED = 8
CANDIDATES = 40  # the heaviest records, from which decisions are made
LEAST = 0.005
STORED = re.compile(r"TimedStorage|ByteHrs|Storage|Snapshot|Backup|VolumeUsage", re.IGNORECASE)

# How well each kind of change fits capacity of stored bytes, see `Behaviour.mechanism`.
STORED_MECHANISM = (0.25, 0.35, 0.10, 0.10, 0.30, 0.05, 0.30, 0.15, 0.01, 1.00, 0.02, 0.01, 0.10)


@dataclass(frozen=True)
class Weights:
    """What each piece of evidence counts, as logarithms; made by `benchmarks/triggers.py --fit`."""

    soon: float = 1.0  # hours in which the belief in a change falls to a third
    slow: float = -4.02  # of causes that act within days, beside those that act at once
    callee: float = -1.51  # places beside the one where the behaviour is
    upstream: float = -4.05
    account: float = -3.51
    elsewhere: float = -6.38
    mechanism: float = 1.17  # times the logarithm of the fit
    rare: float = 0.83  # times the logarithm of how many like it are made there a day, less
    undone: float = 1.5  # taken back when the spike ended
    outside_production: float = -4.01  # made outside production
    planned: float = 4.45  # a plan that says so, of traffic
    none: float = -1.39  # no recorded change
    none_demand: float = -1.31
    none_price: float = 0.39


WEIGHTS = Weights()


@dataclass(frozen=True)
class Onset:
    """What a change must explain: behaviour rows with their share of the dollars, and when they began.

    rows: (kind, service, caller, usage_type, share of the absolute dollars); callers_of: services that call a service;
    newborn: services that began with the spike; resources: those that were first billed when it began.
    """

    rows: tuple[tuple[str, str | None, str | None, str | None, float], ...]
    since: datetime  # the onset lies in [since, start + blur)
    start: datetime
    blur: timedelta
    end: datetime | None  # None: it goes on
    callers_of: dict[str, frozenset[str]]
    newborn: frozenset[str]
    accounts: frozenset[str]
    resources: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RankedTriggers:
    """Triggers (tables.TRIGGERS) and the probability that no recorded change caused the spike."""

    triggers: pl.DataFrame
    no_recorded_change: float


@dataclass(frozen=True)
class Evidence:
    """What speaks for the n changes of the days before the onset. `where`: index into PLACES; `row`: the behaviour row that fits best."""

    near: slice  # of the recorded changes
    lag: Array  # n, hours before the earliest onset; 0: within the hours in which it may have begun
    where: np.ndarray  # rows x n
    fit: Array  # rows x n
    undone: np.ndarray  # n


PLACES = ("there", "resource", "newborn", "callee", "upstream", "account", "elsewhere")


def rank_triggers(recorded: KnownChanges, suspicion: Onset, weights: Weights = WEIGHTS) -> RankedTriggers:
    """Every recorded change before the onset, weighed against what it must explain."""
    e = gather(recorded, suspicion)
    heavy, lead = log_weights(recorded, suspicion, e, weights)
    none = np.exp(log_none(suspicion, weights))
    order = np.argsort(-heavy, kind="stable")[:CANDIDATES]
    rest = float(np.exp(np.delete(heavy, order)).sum())
    scored = [
        (float(np.exp(heavy[k])), row, _reasons(recorded, suspicion, e, (int(k), int(lead[k]))))
        for k, row in zip(order, recorded.rows[e.near][order].iter_rows(named=True), strict=True)
    ]
    decisions = _decisions(scored)
    total = none + rest + sum(weight for weight, *_ in decisions)
    rows = [
        {**{k: v for k, v in row.items() if k in tables.TRIGGERS.schema}, "also": also, "probability": weight / total, "reasons": reasons}
        for weight, row, also, reasons in decisions[:LISTED]
        if weight / total >= LEAST
    ]
    frame = tables.TRIGGERS.fit(pl.DataFrame(rows, schema=tables.TRIGGERS.schema)) if rows else tables.TRIGGERS.empty()
    return RankedTriggers(frame, float(none / total))


# ---------------------------------------------------------------- evidence


def gather(recorded: KnownChanges, s: Onset) -> Evidence:
    """The changes of the days before the onset, and what speaks for each. One after the onset is no evidence."""
    near = recorded.between(s.since - LOOK_BACK, s.start + s.blur)
    lag = np.maximum(0.0, hour_of(s.since) - recorded.hours[near])
    made = _names_new(recorded.rows[near], s.resources)
    where = np.array([_where(recorded, near, row, s, made) for row in s.rows], dtype=np.int64).reshape(len(s.rows), lag.size)
    fit = np.array([_fits(recorded.doing[near], kind, usage) for kind, _, _, usage, _ in s.rows], dtype=float).reshape(
        len(s.rows), lag.size
    )
    return Evidence(near, lag, where, fit, _undone(recorded, near, s))


def _where(
    recorded: KnownChanges, near: slice, row: tuple[str, str | None, str | None, str | None, float], s: Onset, made: np.ndarray
) -> np.ndarray:
    """How close each change is to the place of a behaviour row: the first of PLACES that holds."""
    kind, service, caller, _, _ = row
    touched = recorded.service[near]
    amplified = kind in AMPLIFIED
    there = caller if amplified else service
    upstream = s.callers_of.get(service or "", frozenset()) | s.callers_of.get(caller or "", frozenset())
    unknown = np.array([t is None for t in touched], dtype=bool)
    home = recorded.rows["account"][near].is_in(list(s.accounts)).fill_null(value=False).to_numpy() & (kind in BY_ACCOUNT)
    rules = (
        made,
        _began(recorded, near, s.newborn),
        (touched == there) & ~unknown,
        (touched == (service if amplified else caller)) & ~unknown,
        np.array([t in upstream for t in touched], dtype=bool),
        unknown & home,
    )
    codes = [PLACES.index(name) for name in ("resource", "newborn", "there", "callee", "upstream", "account")]
    return np.select(rules, codes, PLACES.index("elsewhere"))


def _began(recorded: KnownChanges, near: slice, newborn: frozenset[str]) -> np.ndarray:
    """The first changes of services that began with the spike, records of the same minutes too; what came after them changed what was there."""
    out = np.zeros(near.stop - near.start, dtype=bool)
    for service in newborn:
        hits = recorded.service == service
        if hits.any():
            first = recorded.hours[hits][0] + SAME_DECISION / timedelta(hours=1)
            out |= hits[near] & (recorded.hours[near] <= first)
    return out


def _fits(doing: np.ndarray, kind: str, usage_type: str | None) -> Array:
    stored = kind == CAPACITY and STORED.search(usage_type or "")
    mechanism = STORED_MECHANISM if stored else BY_KIND[kind].mechanism
    known = dict(zip(CHANGE_KINDS, mechanism, strict=True))
    return np.array([known.get(d, known["other"]) for d in doing], dtype=float)


def _names_new(rows: pl.DataFrame, resources: frozenset[str]) -> np.ndarray:
    """Which changes name a resource that was first billed when the spike began, by its own name: the last part of an ARN."""
    tails = [tail for tail in (re.split(r"[:/]", r)[-1] for r in sorted(resources)) if len(tail) > 5]
    if not tails or not rows.height:
        return np.zeros(rows.height, dtype=bool)
    texts = rows.select(pl.concat_str("resource", "after", separator=" ", ignore_nulls=True)).to_series()
    return texts.str.contains_any(tails).fill_null(value=False).to_numpy()


def _undone(recorded: KnownChanges, near: slice, s: Onset) -> np.ndarray:
    """Which changes were taken back when the spike ended: a rollback there, or the same call once more."""
    if s.end is None:
        return np.zeros(near.stop - near.start, dtype=bool)
    last = recorded.between(max(s.end - UNDOING[0], s.start + s.blur), s.end + UNDOING[1])
    back = {t for t, d in zip(recorded.service[last], recorded.doing[last], strict=True) if d == "rollback" and t is not None}
    again = {
        (t, c)
        for t, c, d in zip(recorded.service[last], recorded.call[last], recorded.doing[last], strict=True)
        if t is not None and d != "deploy"
    }
    return np.array([t in back or (t, c) in again for t, c in zip(recorded.service[near], recorded.call[near], strict=True)], dtype=bool)


# ---------------------------------------------------------------- weights


def log_weights(recorded: KnownChanges, s: Onset, e: Evidence, w: Weights) -> tuple[Array, np.ndarray]:
    """Logarithm of each change's weight (n), and the behaviour row that it fits best."""
    place = np.array([0.0, 0.0, 0.0, w.callee, w.upstream, w.account, w.elsewhere])
    shares = np.array([max(share, 1e-9) for *_, share in s.rows], dtype=float)
    rows = np.log(shares)[:, None] + place[e.where] + w.mechanism * np.log(e.fit)
    planned = recorded.rows["planned_reason"][e.near].is_not_null().to_numpy()
    demand = np.array([kind == DEMAND for kind, *_ in s.rows], dtype=bool)
    rows = rows + w.planned * demand[:, None] * planned[None, :]
    when = np.logaddexp(-e.lag / w.soon, w.slow - e.lag / 24.0)
    when = np.where(planned, -e.lag / 24.0, when)  # what is announced is awaited: traffic comes when people come
    rarity = -w.rare * np.log(recorded.usual[e.near])
    if not rows.size:
        return np.zeros(0), np.zeros(0, dtype=int)
    heavy = rows.max(axis=0) + when + rarity + w.undone * e.undone + w.outside_production * recorded.outside_production[e.near]
    return heavy, rows.argmax(axis=0)


def log_none(s: Onset, w: Weights) -> float:
    """Logarithm of the weight of *no recorded change*: how often such a behaviour begins without any record."""
    kinds = {DEMAND: w.none_demand, UNIT_PRICE: w.none_price, UNMETERED: w.none_price}
    whole = sum(share for *_, share in s.rows) or 1.0
    return float(np.log(sum(share * np.exp(kinds.get(kind, w.none)) for kind, *_, share in s.rows) / whole)) if s.rows else w.none


# ---------------------------------------------------------------- in words


def _reasons(recorded: KnownChanges, s: Onset, e: Evidence, which: tuple[int, int]) -> list[str]:
    """Sentences with numbers: when, where, by what mechanism, how rare, taken back, planned."""
    k, row = which
    n = e.near.start + k
    kind, service, caller, _, _ = s.rows[row]
    touched, change = recorded.service[n], recorded.rows.row(n, named=True)
    words = kind.replace("_", " ")
    place = {
        "there": f"changed {touched}, the caller whose {'retries' if kind == 'retries' else 'calls'} grew"
        if kind in AMPLIFIED
        else f"changed {touched}, the service whose {words} moved",
        "resource": "touched a resource that was first billed when it began",
        "newborn": f"changed {touched}, which began with the spike",
        "callee": f"changed {touched}, which handles the calls that grew" if touched == service else f"changed {touched}, which calls it",
        "upstream": f"changed {touched}, which calls {service if touched != service else caller}",
        "account": "in the same account, touching no known service",
        "elsewhere": f"changed {touched}, elsewhere" if touched else "elsewhere",
    }[PLACES[e.where[row, k]]]
    out = [_lag(change["time"], s), f"{place}; a {recorded.doing[n]} {_fit_words(e.fit[row, k])} {words}"]
    if e.undone[k]:
        out.append("taken back when the spike ended")
    if recorded.usual[n] < 1 / 14:
        out.append("nothing like it is usual there")
    if change["planned_reason"]:
        out.append(f"planned: {change['planned_reason']}")
    if recorded.outside_production[n]:
        out.append(f"made in {change['environment']}, not in production")
    return out


def _fit_words(fit: float) -> str:
    return "fits" if fit >= 0.3 else "may cause" if fit >= 0.1 else "seldom causes"


def _lag(time: datetime, s: Onset) -> str:
    minutes = round((s.start - time) / timedelta(minutes=1))
    if minutes <= 0:
        return "in the hour of the onset"
    return f"{minutes} min before the onset" if minutes < 120 else f"{minutes / 60:.0f} h before the onset"


# ---------------------------------------------------------------- records of one decision


def _decisions(
    scored: Sequence[tuple[float, dict[str, object], list[str]]],
) -> list[tuple[float, dict[str, object], list[str], list[str]]]:
    """Records of one decision joined: the same service within SAME_DECISION, from different sources; the one that tells more leads."""
    out: list[tuple[float, dict[str, object], list[str], list[str]]] = []
    for weight, row, reasons in sorted(scored, key=lambda x: (-x[0], str(x[1]["change_id"]))):
        twin = next((k for k, (_, lead, _, _) in enumerate(out) if one_decision(lead, row)), None)
        if twin is None:
            out.append((weight, row, [], reasons))
        else:
            lead_weight, lead, also, lead_reasons = out[twin]
            told, other = (row, lead) if _tells_more(row, lead) else (lead, row)
            person = other if told["actor_kind"] != "person" and other["actor_kind"] == "person" else told
            merged = {**told, "actor": person["actor"], "actor_kind": person["actor_kind"]}
            out[twin] = (lead_weight + 0.5 * weight, merged, [*also, str(other["change_id"])], lead_reasons)
    return sorted(out, key=lambda x: -x[0])


def _tells_more(row: dict[str, object], lead: dict[str, object]) -> bool:
    """A deployment event has a title, a link, a ticket; the API call that it left has none."""
    return row["source"] == "cdevents" and lead["source"] != "cdevents"


def one_decision(a: dict[str, object], b: dict[str, object]) -> bool:
    """Two records of one decision: the same service, within minutes, from two sources, not by two people."""
    one, other = a["time"], b["time"]
    assert isinstance(one, datetime)
    assert isinstance(other, datetime)
    same_place = a["service"] is not None and a["service"] == b["service"]
    people = {x["actor"] for x in (a, b) if x["actor_kind"] == "person"}
    return same_place and a["source"] != b["source"] and abs(one - other) <= SAME_DECISION and len(people) <= 1
