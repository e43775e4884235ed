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

from costwhy.errors import InputError
from costwhy.graph import Flow, flow_into
from costwhy.levels import WEEK, pattern
from costwhy.observed import Array
from costwhy.rates import Model, Rate

BASE_HOURS = WEEK  # ratios hardly move: their normal is that of the last week before
RECENT = 72
AFTERMATH = 3  # hours after a pulse in which it may still fade
PAST_DAYS = 14  # on which a normal is tried
LEAD = 3  # hours before a window that an autoscaler may still hold
OF_CALLS = frozenset({"demand", "schedule", "fan_out", "retries"})  # kinds whose row is an edge; the row of the others is a meter
FROM_OUTSIDE = frozenset({"demand", "schedule"})


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


def normal_was_off(model: Model, rate: Rate, hours: Window, ahead: int, quiet: np.ndarray) -> Array:
    """How far off the normal of a rate of calls was on earlier days, `ahead` hours (at most a week) after the last that it was learned from.

    hours: those of today that are asked about. Each earlier day gives calls over what the normal let expect, less 1, of the same hours
    of its day, newest first; up to PAST_DAYS of them that lie before the onset and are quiet. quiet (T): hours that may serve as normal.
    """
    onset, width = hours.start - ahead, hours.end - hours.start
    tried, out = min(ahead, WEEK + ahead % 24), list[float]()
    calls, of = calls_of(model, rate)
    runs_on = hours.end == quiet.size  # then nothing after it is known, and nothing after an earlier day may be
    for place in range(hours.start - 24, tried + WEEK, -24):
        then = slice(place, place + width)
        if then.stop <= onset and quiet[then].all() and len(out) < PAST_DAYS:
            known = quiet & (np.arange(quiet.size) < then.stop) if runs_on else quiet
            expected = float((normal(model, rate, Window(place - tried, then.stop), known).normal[tried:] * of[then]).sum())
            out.append(float(calls[then].sum()) / expected - 1.0 if expected > 0 else 0.0)
    return np.array(out)


def calls_of(model: Model, rate: Rate) -> tuple[Array, Array]:
    """Calls that a rate of calls is about, and what the rate is by: calls = rate x the second (T each)."""
    calls = model.observed.calls[rate.row]
    first = calls - model.observed.retries[rate.row]
    if rate.kind == "retries":
        return calls, first
    if rate.kind == "fan_out":
        return first, model.handled[model.observed.services.index(rate.caller or "")]
    return calls, np.ones(calls.size)


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
        return (
            float(model.committed[rate.row][hours].mean()) if _is_covered(model, rate) else float(np.median(model.price[rate.row][hours]))
        )
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
    held = _is_covered(model, rate)
    series = model.committed[rate.row] if held else model.price[rate.row]
    known = calm & (np.arange(calm.size) < model.observed.billed)
    if held:
        return _level_before(series, window, known)
    index = _before(known & (model.usage[rate.row] > 0), RECENT)
    return np.full(window.end - window.start, float(np.median(series[index])) if index.size else 0.0)


def _is_covered(model: Model, rate: Rate) -> bool:
    """A `unit_price` rate is either the price on demand or, where it is an amount, the quantity that a commitment holds."""
    return rate.kind == "unit_price" and rate.style == "amount" and bool(model.covered[rate.row].any())


# ---------------------------------------------------------------- the bill with some rates set back


@dataclass(frozen=True)
class _Before:
    """A window as it was, prepared once for every way to set these rates back: what they can reach, and the meters that can move (R)."""

    model: Model
    window: Window
    flow: Flow
    outside: Array  # S x W: calls from outside, from timers, and loose ones, of the services that are reached
    meters: np.ndarray  # rows of the meters
    use: np.ndarray  # places in `meters` of those that follow calls
    ruled: tuple[int, ...]  # places of those that an autoscaler's rule keeps
    paid: Array  # R x W

    def of(self, series: Array) -> Array:
        """A copy of a series of the model (M x T) for these meters in the window."""
        return series[self.meters, self.window.hours]

    @property
    def handled(self) -> Array:
        """S x W."""
        return self.model.handled[:, self.window.hours]

    @property
    def calls(self) -> Array:
        """E x W."""
        return self.model.observed.calls[:, self.window.hours]

    def place(self, m: int) -> int:
        """Place of a meter in `meters`."""
        return int(np.searchsorted(self.meters, m))


@dataclass(frozen=True)
class _Calls:
    """Calls with some rates set back: ratios of the flow's edges (places x W), calls handled (S x W)."""

    ratio: Array
    handled: Array


def calls_with(model: Model, window: Window, resets: Sequence[Reset]) -> tuple[Array, Array]:
    """Calls on each edge (E x W) and handled by each service (S x W) with these rates set back.

    Raises InputError where the calls do not settle (spectral radius of A not under 1).
    """
    before = _before_resets(model, window, resets)
    now, flow, calls = _settled(before, resets), before.flow, before.calls.copy()
    for reset in (r for r in resets if r.rate.kind in FROM_OUTSIDE):
        calls[reset.rate.row] = reset.normal
    calls[flow.edges] = now.ratio * now.handled[flow.caller] + flow.loose
    return calls, now.handled


def cost_with(model: Model, window: Window, resets: Sequence[Reset]) -> Array:
    """Cost of every meter by hour (M x W) with these rates set back to normal."""
    before = _before_resets(model, window, resets)
    cost = model.cost[:, window.hours].copy()
    cost[before.meters] += _change(before, resets)
    return cost


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
    before = _before_resets(model, window, resets)
    changes = {frozenset[int](): np.zeros_like(before.paid)}  # both orders end, and often begin, with the same rates set back
    for order in orders:
        for n, k in enumerate(order):
            done, further = frozenset(order[:n]), frozenset(order[: n + 1])
            if further not in changes:
                changes[further] = _change(before, [resets[i] for i in order[: n + 1]])
            total[k][before.meters] += (changes[done] - changes[further]) / len(orders)
    return total


def _before_resets(model: Model, window: Window, resets: Sequence[Reset]) -> _Before:
    o, graph, hours = model.observed, model.observed.graph, window.hours
    calls, edges = o.calls[:, hours], [r.rate.row for r in resets if r.rate.kind in OF_CALLS]
    called = (graph.called[np.isin(graph.edges, edges)], graph.entered[np.isin(graph.entries, edges)])
    flow = flow_into(graph, np.concatenate(called), calls, model.handled[:, hours])
    outside, into = np.zeros((len(o.services), window.end - window.start)), flow.reached[graph.entered]
    np.add.at(outside, graph.entered[into], calls[graph.entries[into]])
    np.add.at(outside, flow.called, flow.loose)
    can = np.array([meter.service is not None and bool(flow.reached[meter.service]) for meter in model.meters], dtype=bool)
    can[[r.rate.row for r in resets if r.rate.kind not in OF_CALLS]] = True
    rows = np.flatnonzero(can)
    use = np.flatnonzero([model.meters[m].kind == "use" for m in rows])
    ruled = tuple(k for k, m in enumerate(rows) if model.meters[m].kind == "time" and model.meters[m].rule is not None)
    paid = _paid(*(series[rows, hours] for series in (model.usage, model.covered, model.price, model.covered_price)))
    return _Before(model, window, flow, outside, rows, use, ruled, paid)


def _paid(usage: Array, covered: Array, price: Array, covered_price: Array) -> Array:
    """Effective cost: what a commitment covers at its own price, as far as it is used; what is left of it is no cost of this meter."""
    return np.asarray(np.maximum(usage - covered, 0.0) * price + covered * covered_price)


def _settled(before: _Before, resets: Sequence[Reset]) -> _Calls:
    """The calls that these rates would have caused."""
    outside, ratio = before.outside.copy(), before.flow.ratio.copy()
    for reset in (r for r in resets if r.rate.kind in OF_CALLS):
        row = reset.rate.row
        if reset.rate.kind in FROM_OUTSIDE:
            outside[before.model.observed.services.index(str(reset.rate.service))] += reset.normal - before.calls[row]
            continue
        current = _edge_ratio(before.model, reset.rate, before.window.hours)
        factor = np.where(current > 0, reset.normal / np.where(current > 0, current, 1.0), 1.0)
        ratio[np.flatnonzero(before.flow.edges == row)] *= factor
    return _Calls(ratio, before.flow.settle(ratio, outside, before.handled))


def _settled_or_kept(before: _Before, resets: Sequence[Reset]) -> _Calls:
    """The same; the calls as they were where some rates of a circle, set back without the others, would make it gain: no such company was possible."""
    try:
        return _settled(before, resets)
    except InputError:
        return _Calls(before.flow.ratio, before.handled)


def _edge_ratio(model: Model, rate: Rate, hours: slice) -> Array:
    """The rate itself in these hours: first attempts for each handled call, or attempts for each first attempt."""
    o = model.observed
    calls, first = o.calls[rate.row, hours], (o.calls[rate.row] - o.retries[rate.row])[hours]
    top, bottom = (calls, first) if rate.kind == "retries" else (first, model.handled[o.services.index(rate.caller or "")][hours])
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)


def _change(before: _Before, resets: Sequence[Reset]) -> Array:
    """What these rates, set back, change in the cost of the meters that can move (R x W)."""
    model = before.model
    own = [(before.place(r.rate.row), r) for r in resets if r.rate.kind not in OF_CALLS]
    usage = _usage_with(before, _settled_or_kept(before, resets), {k: r.normal for k, r in own if r.rate.kind != "unit_price"})
    covered, price = np.minimum(before.of(model.committed), usage), before.of(model.price)
    for k, reset in own:
        if reset.rate.kind == "unit_price" and _is_covered(model, reset.rate):
            covered[k] = np.minimum(reset.normal, usage[k])
        elif reset.rate.kind == "unit_price":
            price[k] = reset.normal
    change = _paid(usage, covered, price, before.of(model.covered_price)) - before.paid
    for k, reset in own:
        if model.meters[reset.rate.row].kind == "unmetered":
            change[k] = reset.normal - model.cost[reset.rate.row, before.window.hours]
    return change


def _usage_with(before: _Before, now: _Calls, own: dict[int, Array]) -> Array:
    """Usage (R x W) with these calls; own: the normal of each rate of usage that is set back, by place."""
    model, usage, use = before.model, before.of(before.model.usage), before.use
    then, after = _followed(before, None), _followed(before, now)
    usage[use] = np.where(then > 0, usage[use] * after / np.where(then > 0, then, 1.0), usage[use])
    follows = dict(zip(use.tolist(), after, strict=True))
    for k in before.ruled:
        usage[k] = np.maximum(usage[k] + _told_with(before, now, k) - _told_with(before, None, k), 0.0)
    for k, value in own.items():
        if k in follows:
            usage[k] = value * follows[k]
        elif k in before.ruled:
            usage[k] = np.maximum(_told_with(before, now, k) + value, 0.0)
        elif model.meters[before.meters[k]].kind != "unmetered":
            usage[k] = value
    return usage


def _followed(before: _Before, now: _Calls | None) -> Array:
    """Calls that the meters in `use` follow; now None: as they were."""
    flow, meters = before.flow, [before.model.meters[m] for m in before.meters[before.use]]
    handled = before.handled if now is None else now.handled
    out = handled[[m.service or 0 for m in meters]]
    for k, edge in ((k, m.edge) for k, m in enumerate(meters) if m.edge is not None):
        place = np.flatnonzero(flow.edges == edge)
        out[k] = before.calls[edge]
        if now is not None and place.size:
            out[k] = (now.ratio[place] * now.handled[flow.caller[place]] + flow.loose[place])[0]
    return out


def _told_with(before: _Before, now: _Calls | None, k: int) -> Array:
    """What the rule of the meter at this place keeps; it may still hold what the hours before the window had."""
    meter, start = before.model.meters[before.meters[k]], before.window.start
    if meter.rule is None or meter.service is None:
        return np.zeros(before.window.end - start)
    lead = min(start, LEAD)
    calls = before.model.handled[meter.service, start - lead : before.window.end].copy()
    if now is not None:
        calls[lead:] = now.handled[meter.service]
    return np.asarray(meter.rule.usage(calls)[lead:])


def _told(model: Model, m: int, handled: Array) -> Array:
    """What the autoscaler's rule keeps for these calls; zero for what does not follow them."""
    meter = model.meters[m]
    if meter.kind == "time" and meter.rule is not None and meter.service is not None:
        return meter.rule.usage(handled[meter.service])
    return np.zeros(handled.shape[1] if handled.size else len(model.observed.hours))
