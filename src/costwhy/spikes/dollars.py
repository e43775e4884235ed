"""A spike in money: its dollars by rate, meter and hour; what it costs now, what it will have cost, what kind it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy.behaviour import OF_CALLS, Reset, Window, calls_of, normal, normal_was_off, split
from costwhy.errors import UsageError
from costwhy.levels import WEEK
from costwhy.nowcast import COVERAGE, backtest, held_by, independent_days
from costwhy.observed import METER, Array, Observed
from costwhy.rates import Model, Rate
from costwhy.spikes import Spike, moved_rates

NOW_HOURS = 3  # the last hours, whose mean is *an hour now*
WHERE_ORDER = ("service", "ServiceName", "x_UsageType", "team", "RegionId", "SubAccountId")
WHERE_SHARE = 0.97  # of the spike's dollars that a value of `where` must hold
VERDICT_SHARE = 0.6  # of the positive change, by the contract
OF_USAGE = frozenset({"usage_per_call", "capacity", "cross_region", "unlinked_usage", "unmetered"})  # rates of a meter's own amount
INEFFICIENT = frozenset({"schedule", "fan_out", "retries", "usage_per_call", "capacity", "cross_region"})
QUANTILE_90 = 1.2816


@dataclass(frozen=True)
class Account:
    """A spike's dollars: by reset, meter and hour. `own`: the meters that the spike moved."""

    window: Window
    since: int  # the first hour in which it may have begun
    running: bool
    shape: str
    resets: tuple[Reset, ...]  # largest first
    doubts: tuple[float, ...]  # relative standard deviation of each reset's dollars
    dollars: tuple[Array, ...]  # R arrays of M x W
    excess: Array  # M x W; the sum of `dollars`, or the plain difference of two windows
    own: tuple[int, ...]
    billed: int  # hours of the window that are billed
    spike: Spike | None = None  # None: a window that a person picked

    @property
    def hourly(self) -> Array:
        """W: the whole excess by hour."""
        return np.asarray(self.excess.sum(axis=0))


def account(model: Model, spike: Spike) -> Account:
    """The spike's dollars, split among its rates."""
    window = spike.window(len(model.observed.hours))
    resets = [normal(model, e.rate, window, e.quiet) for e in spike.episodes]
    parts = sorted(zip(spike.episodes, resets, split(model, window, resets), strict=True), key=lambda part: -abs(float(part[2].sum())))
    dollars = tuple(part[2] for part in parts)  # largest first: with others a rate has other dollars than alone
    excess = np.asarray(sum(dollars[1:], start=dollars[0]))
    moved = np.abs(excess).sum(axis=1)
    return Account(
        window=window,
        since=min([window.start, *(e.shift.since for e in spike.episodes if abs(e.dollars) >= 0.2 * abs(spike.episodes[0].dollars))]),
        running=spike.end is None,
        shape=spike.shape,
        resets=tuple(reset for _, reset, _ in parts),
        doubts=tuple(min(1.0, e.rate.drift / max(abs(e.shift.size), 1e-9)) for e, _, _ in parts),
        dollars=dollars,
        excess=excess,
        own=tuple(int(m) for m in np.flatnonzero(moved > 1e-4 * max(moved.sum(), 1e-9))),
        billed=_billed(model, window),
        spike=replace(spike, episodes=tuple(episode for episode, _, _ in parts)),
    )


def _billed(model: Model, window: Window) -> int:
    return int(np.clip(model.observed.billed - window.start, 0, window.end - window.start))


def account_window(model: Model, window: Window, against: Window | None, where: Mapping[str, str]) -> Account:
    """The same for any window: against what the hours before it let expect, or by the hour against another window."""
    rows = _selected(model.observed, where)
    resets = moved_rates(model, window, against)
    keep = np.zeros((len(model.meters), 1))
    keep[rows] = 1.0
    dollars = (
        tuple(d * keep for d in split(model, window, resets)) if resets else (np.zeros((len(model.meters), window.end - window.start)),)
    )
    excess = np.asarray(sum(dollars[1:], start=dollars[0]))
    if against is not None:
        excess = (model.cost[:, window.hours] - model.cost[:, against.hours].mean(axis=1, keepdims=True)) * keep
    order = sorted(range(len(resets)), key=lambda k: -abs(float(dollars[k].sum())))
    kept = [k for k in order if abs(float(dollars[k].sum())) >= 0.005]
    running = window.end == len(model.observed.hours)
    return Account(
        window,
        window.start,
        running,
        "step" if running else "pulse",
        tuple(resets[k] for k in kept),
        tuple(0.1 for _ in kept),
        tuple(dollars[k] for k in kept),
        excess,
        tuple(rows),
        _billed(model, window),
    )


def _selected(o: Observed, where: Mapping[str, str]) -> list[int]:
    """Meters that have these values. Raises UsageError for an unknown column or where nothing has them."""
    unknown = [name for name in where if name not in METER]
    if unknown:
        raise UsageError(f"--where knows no column {unknown[0]!r}", found=", ".join(METER), todo="use one of these columns")
    match = pl.all_horizontal([pl.lit(value=True), *(pl.col(name) == value for name, value in where.items())])
    rows = o.meters.with_row_index("m").filter(match)["m"].to_list()
    if not rows:
        raise UsageError(
            "no cost row has these values",
            found=json.dumps(dict(where)),
            todo="see the drivers of `costwhy explain` for values that exist",
        )
    return rows


def cents(amount: float) -> float:
    """Money as it is told: to the cent, and nothing is never negative."""
    return round(amount, 2) + 0.0


def spike_row(model: Model, a: Account) -> dict[str, object]:
    """The row of `tables.SPIKES`."""
    o, hours, billed = model.observed, a.hourly, a.billed
    own = list(a.own)
    excess = cents(float(hours[:billed].sum()))
    actual = cents(float(model.cost[own, a.window.start : a.window.start + billed].sum()))
    late, late_width = float(hours[billed:].sum()), _late_width(model, a)
    running = a.running
    now = _now(model, a) if running else 0.0
    where = _where(o, a)
    start = o.hours[a.window.start]
    lead = a.resets[0].rate if a.resets else None
    spread = _width(model, a, (0, billed)) if billed else 0.0
    return {
        "spike_id": _spike_id(start, where, lead),
        "title": _title(lead, where),
        "start": start,
        "end": None if running else o.hours[0] + timedelta(hours=a.window.end),
        "status": "running" if running else "ended",
        "shape": a.shape,
        "where": json.dumps(where),
        "expected_cost": cents(actual - excess),
        "actual_cost": actual,
        "excess_cost": excess,
        "excess_low": cents(excess - spread),
        "excess_high": cents(excess + spread),
        "nowcast_hours": int(hours.size - billed),
        "nowcast_excess_cost": cents(late),
        "nowcast_low": cents(late - late_width),
        "nowcast_high": cents(late + late_width),
        "cost_per_hour_now": cents(now),
        "month_end_excess_cost": cents(_month_end(model, a)),
        "verdict": _verdict(a),
    }


def _now(model: Model, a: Account) -> float:
    """Dollars an hour now: of the last hours, of the last day where the bill does not name each of these hours."""
    last = slice(max(a.window.start, a.window.end - NOW_HOURS), a.window.end)
    named = (model.cost[list(a.own), last] != 0).any(axis=0).all()
    return float(a.hourly[-(NOW_HOURS if named else 24) :].mean())


def _late_width(model: Model, a: Account) -> float:
    """From the estimated excess of the hours that are not billed yet to its 10 % and its 90 % quantile.

    Part is the estimate of these hours, as far off as such estimates were on the last days; part is each rate's normal. A rate of the
    usage itself is set back to a normal that the estimate does not move: an error there weighs as the whole cost, elsewhere as the excess.
    """
    if a.billed == a.hourly.size:
        return 0.0
    begin = a.window.start + a.billed
    ahead = slice(begin - model.observed.billed, a.window.end - model.observed.billed)
    own = list(a.own)
    of_usage = {r.rate.row for r in a.resets if r.rate.kind in OF_USAGE}
    cost, excess = model.cost[own, begin : a.window.end].sum(axis=1), a.excess[own, a.billed :].sum(axis=1)
    weighs = np.where([m in of_usage for m in own], cost, excess)
    return float(np.hypot(backtest(model.known, own, ahead).half_width(weighs), _width(model, a, (a.billed, a.hourly.size))))


def _normal_width(model: Model, a: Account, k: int, part: tuple[int, int]) -> float:
    """The part of a width which is the normal of the `k`-th rate: of calls by how far off it was on earlier days, else by its noise.

    part: hours [first, last) of the spike that are asked about.
    """
    inside = slice(*part)
    reset, dollars = a.resets[k], float(a.dollars[k][:, inside].sum())
    by_noise = QUANTILE_90 * a.doubts[k] * abs(dollars)
    if a.spike is None or reset.rate.kind not in OF_CALLS:
        return by_noise
    window = Window(a.window.start + part[0], a.window.start + part[1])
    calls, of = calls_of(model, reset.rate)
    usual = float((reset.normal[inside] * of[window.hours]).sum())
    more = float(calls[window.hours].sum()) - usual
    if not usual or not more:
        return by_noise
    off = normal_was_off(model, reset.rate, window, part[0], a.spike.episodes[k].quiet)
    return held_by(off * abs(dollars * usual / more), by_noise, independent_days(off))  # traffic that is high today is high tomorrow


def _width(model: Model, a: Account, part: tuple[int, int]) -> float:
    """From the excess of these hours of the spike to its 10 % and its 90 % quantile: every rate's normal, and what autoscalers would have kept."""
    normals = [_normal_width(model, a, k, part) for k in range(len(a.resets))]
    return float(np.sqrt(np.square([*normals, _steps_width(model, a, part)]).sum()))


def _steps_width(model: Model, a: Account, part: tuple[int, int]) -> float:
    """The part of a width which is autoscalers' rules: an hour that one tells wrong is a step of instances too many or too few.

    How often a rule tells wrong is seen in the week before the spike; nothing seen counts as half an hour. Nothing is added where it is
    likelier than COVERAGE that no hour at all is told wrong.
    """
    missed, square = 0.0, 0.0
    for m in a.own:
        rule, service = model.meters[m].rule, model.meters[m].service
        if rule is None or service is None:
            continue
        week = slice(max(0, min(a.since, model.observed.billed) - WEEK), min(a.since, model.observed.billed))
        gap = model.usage[m, week] - rule.usage(model.handled[service])[week]
        wrong = float((np.abs(gap - np.median(gap)) > rule.per_instance / 2).sum()) + 0.5 if gap.size else 0.5
        hours = (part[1] - part[0]) * wrong / (gap.size + 1)
        missed += hours
        square += hours * float(rule.per_instance * model.price[m, a.window.start]) ** 2
    return QUANTILE_90 * float(np.sqrt(square)) if np.exp(-missed) < COVERAGE else 0.0


def _month_end(model: Model, a: Account) -> float:
    """Excess from the start to the end of the month of as-of if nothing is done: the rate of whole days goes on."""
    whole = float(a.hourly.sum())
    if not a.running:
        return whole
    o = model.observed
    end = (o.as_of.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
    left = (end - o.as_of) / timedelta(hours=1)
    size = a.hourly.size
    if size >= 24:
        days = min(size // 24, 7) * 24
        return whole + float(a.hourly[-days:].mean()) * left
    service = next((m.service for m in (model.meters[k] for k in a.own) if m.service is not None), None)
    if service is None:
        return whole + float(a.hourly.mean()) * left
    weight = model.handled[service]
    week, inside = (
        weight[max(0, a.window.start - WEEK) : a.window.start],
        weight[max(0, a.window.start - WEEK) : max(1, a.window.end - WEEK)],
    )
    usual = float(week.mean()) / float(inside.mean()) if inside.size and inside.mean() > 0 and week.size >= WEEK else 1.0
    return whole + float(a.hourly.mean()) * float(np.clip(usual, 0.3, 3.0)) * left


def _where(o: Observed, a: Account) -> dict[str, str]:
    """What the spike's rows have in common, values exact; empty where they have nothing."""
    cost = np.abs(a.excess).sum(axis=1)[list(a.own)]
    rows = o.meters[list(a.own)].with_columns(weight=cost)
    where: dict[str, str] = {}
    for name in WHERE_ORDER:
        by_value = rows.group_by(name).agg(pl.col("weight").sum()).sort("weight", name, descending=[True, False])
        if by_value.height and by_value[name][0] is not None and by_value["weight"][0] >= WHERE_SHARE * cost.sum():
            where[name] = by_value[name][0]
    return where


def _spike_id(start: datetime, where: Mapping[str, str], rate: Rate | None) -> str:
    parts = [
        where.get("service") or (rate.service if rate else None) or "",
        where.get("ServiceName") or (rate.usage_type or rate.kind if rate else "window"),
    ]
    words = ["".join(ch if ch.isalnum() else "-" for ch in part.lower()).strip("-") for part in parts if part]
    return "-".join([f"{start:%Y%m%dT%H}", *words])[:100]


def _title(rate: Rate | None, where: Mapping[str, str]) -> str:
    if rate is None:
        return "nothing moved"
    words = {
        "demand": "traffic to",
        "schedule": "runs of",
        "fan_out": "calls to",
        "retries": "retries against",
        "usage_per_call": "usage per call of",
        "capacity": "capacity of",
        "cross_region": "bytes between regions from",
        "unit_price": "price of",
        "unlinked_usage": "usage of",
        "unmetered": "charges",
    }
    return f"{words[rate.kind]} {rate.service or rate.usage_type or where.get('ServiceName', '')}".strip()


def _verdict(a: Account) -> str:
    return verdict([(r.rate.kind, float(d.sum())) for r, d in zip(a.resets, a.dollars, strict=True)])


def verdict(rows: Sequence[tuple[str, float]]) -> str:
    """The contract's word for what moved the money: 60 % of the positive change (of the negative, for a fall)."""
    sign = 1.0 if sum(d for _, d in rows) >= 0 else -1.0
    gains = [(kind, max(0.0, sign * d)) for kind, d in rows]
    whole = sum(d for _, d in gains) or 1.0
    share = {
        name: sum(d for kind, d in gains if kind in kinds) / whole
        for name, kinds in (
            ("growth", {"demand"}),
            ("price", {"unit_price"}),
            ("accounting", {"unmetered"}),
            ("inefficiency", INEFFICIENT),
        )
    }
    return next((name for name, value in share.items() if value >= VERDICT_SHARE), "mixed")
