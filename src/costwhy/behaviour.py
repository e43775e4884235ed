"""Which behaviour moved the money: rates set back to normal, and what the bill would then have been.

With d calls from outside, A calls on an edge for each call that the caller handles (A = fan-out x retries), calls handled
are N = A N + d, the Leontief input-output model with calls in place of goods. Usage follows N where it is metered by use,
an autoscaler's rule of N where it is metered by time; cost is usage times price.

A behaviour's dollars are the difference that its rate makes. Where several rates moved together the two polar orders
(first to last, last to first) are averaged, which is the structural decomposition of Dietzenbacher & Los (1998): the rows
add up to the whole difference without a remainder of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from costwhy.errors import InputError
from costwhy.levels import WEEK, pattern
from costwhy.observed import Array
from costwhy.rates import Model, Rate

MAX_ROUNDS = 400  # of the fixed point N = A N + d: enough for a spectral radius of 0.97
CONVERGED = 1e-9
BASE_HOURS = WEEK  # ratios hardly move: their normal is that of the last week before
RECENT = 72
AFTERMATH = 3  # hours after a pulse in which it may still fade


@dataclass(frozen=True)
class Window:
    """Hours [start, end) as indices."""

    start: int
    end: int

    @property
    def hours(self) -> slice:
        """For arrays over the hours."""
        return slice(self.start, self.end)


@dataclass(frozen=True)
class Reset:
    """A rate and what it would normally have been in the window."""

    rate: Rate
    normal: Array  # one value for each hour of the window; its meaning follows the rate's kind


def normal(model: Model, rate: Rate, window: Window, quiet: np.ndarray | None = None) -> Reset:
    """What the rate would have been in the window, from the hours before it. `quiet` (T): hours that may serve as such."""
    o, width = model.observed, window.end - window.start
    calm = np.ones(len(o.hours), dtype=bool) if quiet is None else quiet.copy()
    after = _after(calm, window) if rate.kind == "demand" else np.zeros(0, dtype=int)
    calm[window.start :] = False
    if rate.born is not None and rate.born >= window.start - 24:
        return Reset(rate, np.zeros(width))
    if rate.kind in {"fan_out", "retries"}:
        first = o.calls[rate.row] - o.retries[rate.row]
        top, bottom = (o.calls[rate.row], first) if rate.kind == "retries" else (first, model.handled[o.services.index(rate.caller or "")])
        return Reset(rate, np.full(width, _ratio_before(top, bottom, calm)))
    if rate.kind == "schedule":
        return Reset(rate, np.maximum(pattern(np.where(calm, o.calls[rate.row], np.nan))[window.hours], 0.0))
    if rate.kind == "demand":
        return Reset(rate, _calls_around(model, rate, window, (calm, after)))
    meter = model.meters[rate.row]
    if rate.kind == "unit_price":
        return Reset(rate, _price_before(model, rate, window, calm))
    if rate.kind == "unmetered":
        return Reset(rate, _level_before(o.cost[rate.row], window, calm))
    if meter.kind == "use":
        return Reset(rate, np.full(width, _ratio_before(model.usage[rate.row], model.followed(rate.row), calm)))
    told = _told(model, rate.row, model.handled)
    return Reset(rate, _level_before(model.usage[rate.row] - told, window, calm))


def mean_rate(model: Model, rate: Rate, hours: np.ndarray) -> float | None:
    """The rate over these hours (T, mask): ratio of sums for ratios, mean by the hour for calls and levels; None: not defined there."""
    o = model.observed
    if rate.kind in {"fan_out", "retries"}:
        first = o.calls[rate.row] - o.retries[rate.row]
        top, bottom = (o.calls[rate.row], first) if rate.kind == "retries" else (first, model.handled[o.services.index(rate.caller or "")])
    elif rate.kind in {"demand", "schedule"}:
        return float(o.calls[rate.row][hours].mean())
    elif rate.kind == "unmetered":
        return float(model.cost[rate.row][hours].mean())
    elif rate.kind == "unit_price":
        return float(model.covered[rate.row][hours].mean()) if _is_covered(model, rate) else float(np.median(model.price[rate.row][hours]))
    elif model.meters[rate.row].kind == "use":
        top, bottom = model.usage[rate.row], model.followed(rate.row)
    else:
        return float((model.usage[rate.row] - _told(model, rate.row, model.handled))[hours].mean())
    total = float(bottom[hours].sum())
    return float(top[hours].sum()) / total if total > 0 else None


def _before(calm: np.ndarray, hours: int) -> np.ndarray:
    return np.flatnonzero(calm)[-hours:]


def _ratio_before(top: Array, bottom: Array, calm: np.ndarray) -> float:
    """Ratio of sums over the last week; over four weeks where the last one has little (a nightly job)."""
    for hours in (BASE_HOURS, 4 * WEEK, calm.size):
        index = _before(calm & (bottom > 0), calm.size)
        index = index[index >= index[-1] - hours] if index.size else index
        if index.size >= 24 or (index.size >= 5 and hours > BASE_HOURS) or hours == calm.size:
            total = float(bottom[index].sum())
            return float(top[index].sum()) / total if total > 0 else 0.0
    return 0.0


def _level_before(values: Array, window: Window, calm: np.ndarray) -> Array:
    """The last three days' median; the week's pattern at their level where the hours of the week differ."""
    recent = values[_before(calm, RECENT)]
    level = float(np.median(recent)) if recent.size else 0.0
    history = np.where(calm, values, np.nan)
    week = pattern(history)
    if calm.sum() >= 2 * WEEK and np.std(week) > 0.02 * (abs(level) + 1e-12):
        last = _before(calm, 2 * WEEK)
        scale = float(np.sum(values[last])) / float(np.sum(week[last])) if np.sum(week[last]) > 0 else 1.0
        shape = week[window.hours] * (scale if 0.5 < scale < 2.0 else 1.0)
        if np.mean(np.abs(values[last] - week[last])) < np.mean(np.abs(values[last] - level)):
            return np.asarray(shape)
    return np.full(window.end - window.start, level)


def _after(calm: np.ndarray, window: Window) -> np.ndarray:
    """Hours of the week after the window that are quiet: what wanders is better known from both sides of a pulse."""
    index = np.flatnonzero(calm)
    return index[(index >= window.end + AFTERMATH) & (index < window.end + AFTERMATH + WEEK)]


def _calls_around(model: Model, rate: Rate, window: Window, known: tuple[np.ndarray, np.ndarray]) -> Array:
    """Calls from outside as the same hours of earlier weeks were, at the level and growth of the last ones, less on a holiday.

    known: quiet hours before the window (T, mask), and quiet hours after it (indices): where there are two days of these, the level
    goes from the one to the other.
    """
    calm, after = known
    usual = np.exp(model.holidays[rate.row])
    calls = model.observed.calls[rate.row] / usual
    week = np.exp(pattern(np.where(calm & (calls > 0), np.log(np.where(calls > 0, calls, 1.0)), np.nan)))
    last = _before(calm & (calls > 0), WEEK)
    if last.size < 24:
        return np.full(window.end - window.start, float(calls[last].mean()) if last.size else 0.0)
    growth = _growth(calls, week, calm)
    grown = week * np.exp(growth * (np.arange(week.size) - float(last.mean())))
    level = np.full(window.end - window.start, _level(calls, grown, last))
    if after.size >= 48:
        share = (np.arange(window.start, window.end) - last.mean()) / (after.mean() - last.mean())
        level = level ** (1 - share) * _level(calls, grown, after) ** share
    return np.asarray(grown[window.hours] * level * usual[window.hours])


def _level(calls: Array, grown: Array, index: np.ndarray) -> float:
    """Calls over what was expected, the median over days: one holiday is no lower level."""
    days = index // 24
    return float(np.median([calls[index[days == d]].sum() / grown[index[days == d]].sum() for d in np.unique(days)]))


def _growth(calls: Array, week: Array, calm: np.ndarray) -> float:
    """Relative growth an hour, from the medians of whole days, shrunk towards none where the days disagree."""
    usable = np.flatnonzero(calm & (calls > 0))
    if usable.size < 2 * WEEK:
        return 0.0
    ratio = np.log(calls[usable] / week[usable])
    days = usable // 24
    names = np.unique(days)
    daily = np.array([np.median(ratio[days == d]) for d in names])
    x = names - names.mean()
    slope = float((x * daily).sum() / (x * x).sum())
    error = float(np.sqrt(((daily - daily.mean() - slope * x) ** 2).sum() / max(1, names.size - 2) / (x * x).sum()))
    return slope / 24 * slope**2 / (slope**2 + 4 * error**2) if slope or error else 0.0


def _price_before(model: Model, rate: Rate, window: Window, calm: np.ndarray) -> Array:
    covered = _is_covered(model, rate)
    series = model.covered[rate.row] if covered else model.price[rate.row]
    known = calm & (np.arange(calm.size) < model.observed.billed)
    if covered:
        return _level_before(series, window, known)
    index = _before(known & (model.usage[rate.row] > 0), RECENT)
    return np.full(window.end - window.start, float(np.median(series[index])) if index.size else 0.0)


def _is_covered(model: Model, rate: Rate) -> bool:
    """A `unit_price` rate is either the price on demand or, where it is an amount, the quantity that a commitment covers."""
    return rate.kind == "unit_price" and rate.style == "amount" and bool(model.covered[rate.row].any())


# ---------------------------------------------------------------- the bill with some rates set back


def calls_with(model: Model, window: Window, resets: Sequence[Reset]) -> tuple[Array, Array]:
    """Calls on each edge (E x W) and handled by each service (S x W) with these rates set back.

    Raises InputError where the calls do not settle (spectral radius of A not under 1).
    """
    o, hours = model.observed, window.hours
    calls, handled = o.calls[:, hours].copy(), model.handled[:, hours]
    moved = [r for r in resets if r.rate.kind in {"demand", "schedule", "fan_out", "retries"}]
    if not moved:
        return calls, handled
    inner = [e for e, edge in enumerate(o.edges) if edge.internal]
    index = {name: row for row, name in enumerate(o.services)}
    from_, to = (np.array([index[str(getattr(o.edges[e], side))] for e in inner], dtype=int) for side in ("caller", "service"))
    base_from = handled[from_]
    ratio = np.where(base_from > 0, calls[inner] / np.where(base_from > 0, base_from, 1.0), 0.0)
    loose = np.where(base_from > 0, 0.0, calls[inner])  # calls of an hour in which the caller handled none
    place = {e: k for k, e in enumerate(inner)}
    for reset in moved:
        e = reset.rate.row
        if reset.rate.kind in {"demand", "schedule"}:
            calls[e] = reset.normal
            continue
        current = _edge_ratio(model, reset.rate, hours)
        ratio[place[e]] *= np.where(current > 0, reset.normal / np.where(current > 0, current, 1.0), 1.0)
    outside = np.zeros_like(handled)
    for e, edge in enumerate(o.edges):
        if not edge.internal:
            outside[index[edge.service]] += calls[e]
    into = sparse.csr_matrix((np.ones(len(inner)), (to, np.arange(len(inner)))), shape=(len(o.services), len(inner)))
    outside = outside + into @ loose
    settled = _settle(ratio, from_, into, outside, handled)
    calls[inner] = ratio * settled[from_] + loose
    return calls, settled


def _edge_ratio(model: Model, rate: Rate, hours: slice) -> Array:
    """The rate itself in these hours: first attempts for each handled call, or attempts for each first attempt."""
    o = model.observed
    calls, first = o.calls[rate.row, hours], (o.calls[rate.row] - o.retries[rate.row])[hours]
    top, bottom = (calls, first) if rate.kind == "retries" else (first, model.handled[o.services.index(rate.caller or "")][hours])
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)


def _settle(ratio: Array, from_: np.ndarray, into: sparse.csr_matrix, outside: Array, start: Array) -> Array:
    """N = A N + d by repeated substitution, which converges exactly where the spectral radius of A is under 1."""
    handled = start
    for _ in range(MAX_ROUNDS):
        following = outside + into @ (ratio * handled[from_])
        if np.abs(following - handled).max(initial=0.0) <= CONVERGED * max(1.0, float(following.max(initial=0.0))):
            return np.asarray(following)
        handled = following
    raise InputError(
        "the calls between the services do not settle: each call causes one more, or more than one",
        found="a cycle of calls whose gain is 1 or more (spectral radius of the call matrix not under 1)",
        todo="look for a service that both calls and is called by another in the signals, and whether calls are counted twice",
    )


def _told(model: Model, m: int, handled: Array) -> Array:
    """What the autoscaler's rule keeps for these calls; zero for what does not follow them."""
    meter = model.meters[m]
    if meter.kind == "time" and meter.rule is not None and meter.service is not None:
        return meter.rule.usage(handled[meter.service])
    return np.zeros(handled.shape[1] if handled.size else len(model.observed.hours))


def cost_with(model: Model, window: Window, resets: Sequence[Reset]) -> Array:
    """Cost of every meter by hour (M x W) with these rates set back to normal."""
    hours = window.hours
    calls, handled = calls_with(model, window, resets)
    usage, price, covered, cost = (
        model.usage[:, hours].copy(),
        model.price[:, hours].copy(),
        model.covered[:, hours].copy(),
        model.cost[:, hours].copy(),
    )
    by_meter = {
        (r.rate.kind == "unit_price", r.rate.row): r for r in resets if r.rate.kind not in {"demand", "schedule", "fan_out", "retries"}
    }
    touched = (
        np.flatnonzero(np.abs(handled - model.handled[:, hours]).max(axis=1, initial=0.0) > 0) if handled.size else np.zeros(0, dtype=int)
    )
    for m, meter in enumerate(model.meters):
        own, priced = by_meter.get((False, m)), by_meter.get((True, m))
        moved = meter.service is not None and bool(np.isin(meter.service, touched))
        if own is None and priced is None and not moved:
            continue
        if meter.kind == "unmetered":
            cost[m] = own.normal if own is not None else cost[m]
            continue
        usage[m] = _usage_with(model, window, m, (calls, handled), own)
        if priced is not None and _is_covered(model, priced.rate):
            covered[m] = np.minimum(priced.normal, usage[m])
        elif priced is not None:
            price[m] = priced.normal
        paid = np.maximum(usage[m] - covered[m], 0.0) * price[m] + covered[m] * model.covered_price[m, hours]
        same = (
            np.maximum(model.usage[m, hours] - model.covered[m, hours], 0.0) * model.price[m, hours]
            + model.covered[m, hours] * model.covered_price[m, hours]
        )
        cost[m] += paid - same
    return cost


def _usage_with(model: Model, window: Window, m: int, state: tuple[Array, Array], own: Reset | None) -> Array:
    meter, hours, usage = model.meters[m], window.hours, model.usage[m, window.hours]
    calls, handled = state
    if meter.kind == "use" and meter.service is not None:
        before = model.followed(m)[hours]
        after = calls[meter.edge] if meter.edge is not None else handled[meter.service]
        if own is not None:
            return np.asarray(own.normal * after)
        return np.asarray(np.where(before > 0, usage * after / np.where(before > 0, before, 1.0), usage))
    if meter.kind == "time" and meter.service is not None and meter.rule is not None:
        now = meter.rule.usage(model.handled[meter.service])[hours]
        lead = min(window.start, 3)
        joined = np.concatenate([model.handled[meter.service, window.start - lead : window.start], handled[meter.service]])
        then = meter.rule.usage(joined)[lead:]
        if own is not None:
            return np.asarray(np.maximum(then + own.normal, 0.0))
        return np.asarray(np.maximum(usage + then - now, 0.0))
    return np.asarray(own.normal) if own is not None else np.asarray(usage)


def split(model: Model, window: Window, resets: Sequence[Reset]) -> list[Array]:
    """Dollars of each reset by meter and hour (M x W each); their sum is the whole difference exactly.

    The average of the two polar orders: rates set back first to last, and last to first. A line that began in the
    window is taken out first, whole: what it cost is its own, not that of the calls that happened to use it.
    """
    total = [np.zeros((len(model.meters), window.end - window.start)) for _ in resets]
    new_lines = [
        k for k, r in enumerate(resets) if r.rate.born is not None and r.rate.kind in {"cross_region", "usage_per_call", "capacity"}
    ]
    others = [k for k in range(len(resets)) if k not in new_lines]
    orders = [new_lines + others, new_lines + others[::-1]] if len(others) > 1 else [new_lines + others]
    for order in orders:
        current, done = model.cost[:, window.hours], []
        for k in order:
            done.append(resets[k])
            after = cost_with(model, window, done)
            total[k] += (current - after) / len(orders)
            current = after
    return total
