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

from costwhy.arrays import Array
from costwhy.behaviours import ENTRIES, LINKED_USAGE, ON_EDGES, RETRIES, UNIT_PRICE, UNMETERED
from costwhy.errors import InputError
from costwhy.model.baseline import Baseline, Window, is_covered
from costwhy.model.call_graph import Flow, flow_into
from costwhy.model.rates import Model, Rate

LEAD = 3  # hours before a window that an autoscaler may still hold


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


def calls_with(model: Model, window: Window, resets: Sequence[Baseline]) -> tuple[Array, Array]:
    """Calls on each edge (E x W) and handled by each service (S x W) with these rates set back.

    Raises InputError where the calls do not settle (spectral radius of A not under 1).
    """
    before = _before_resets(model, window, resets)
    now, flow, calls = _settled(before, resets), before.flow, before.calls.copy()
    for reset in (r for r in resets if r.rate.kind in ENTRIES):
        calls[reset.rate.row] = reset.values
    calls[flow.edges] = now.ratio * now.handled[flow.caller] + flow.loose
    return calls, now.handled


def cost_with(model: Model, window: Window, resets: Sequence[Baseline]) -> Array:
    """Cost of every meter by hour (M x W) with these rates set back to normal."""
    before = _before_resets(model, window, resets)
    cost = model.cost[:, window.hours].copy()
    cost[before.meters] += _change(before, resets)
    return cost


def split(model: Model, window: Window, resets: Sequence[Baseline]) -> list[Array]:
    """Dollars of each reset by meter and hour (M x W each); their sum is the whole difference exactly.

    The average of the two polar orders: rates set back first to last, and last to first. A line that began in the
    window is taken out first, whole: what it cost is its own, not that of the calls that happened to use it.
    """
    total = [np.zeros((len(model.meters), window.end - window.start)) for _ in resets]
    new_lines = [k for k, r in enumerate(resets) if r.rate.first_hour is not None and r.rate.kind in LINKED_USAGE]
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


def _before_resets(model: Model, window: Window, resets: Sequence[Baseline]) -> _Before:
    o, graph, hours = model.observed, model.observed.graph, window.hours
    calls, edges = o.calls[:, hours], [r.rate.row for r in resets if r.rate.kind in ON_EDGES]
    called = (graph.called[np.isin(graph.edges, edges)], graph.entered[np.isin(graph.entries, edges)])
    flow = flow_into(graph, np.concatenate(called), calls, model.handled[:, hours])
    outside, into = np.zeros((len(o.services), window.end - window.start)), flow.reached[graph.entered]
    np.add.at(outside, graph.entered[into], calls[graph.entries[into]])
    np.add.at(outside, flow.called, flow.loose)
    can = np.array([meter.service is not None and bool(flow.reached[meter.service]) for meter in model.meters], dtype=bool)
    can[[r.rate.row for r in resets if r.rate.kind not in ON_EDGES]] = True
    rows = np.flatnonzero(can)
    use = np.flatnonzero([model.meters[m].kind == "use" for m in rows])
    ruled = tuple(k for k, m in enumerate(rows) if model.meters[m].kind == "time" and model.meters[m].rule is not None)
    paid = _paid(*(series[rows, hours] for series in (model.usage, model.covered, model.price, model.covered_price)))
    return _Before(model, window, flow, outside, rows, use, ruled, paid)


def _paid(usage: Array, covered: Array, price: Array, covered_price: Array) -> Array:
    """Effective cost: what a commitment covers at its own price, as far as it is used; what is left of it is no cost of this meter."""
    return np.asarray(np.maximum(usage - covered, 0.0) * price + covered * covered_price)


def _settled(before: _Before, resets: Sequence[Baseline]) -> _Calls:
    """The calls that these rates would have caused."""
    outside, ratio = before.outside.copy(), before.flow.ratio.copy()
    for reset in (r for r in resets if r.rate.kind in ON_EDGES):
        row = reset.rate.row
        if reset.rate.kind in ENTRIES:
            outside[before.model.observed.services.index(str(reset.rate.service))] += reset.values - before.calls[row]
            continue
        current = _edge_ratio(before.model, reset.rate, before.window.hours)
        factor = np.where(current > 0, reset.values / np.where(current > 0, current, 1.0), 1.0)
        ratio[np.flatnonzero(before.flow.edges == row)] *= factor
    return _Calls(ratio, before.flow.settle(ratio, outside, before.handled))


def _settled_or_kept(before: _Before, resets: Sequence[Baseline]) -> _Calls:
    """The same; the calls as they were where some rates of a circle, set back without the others, would make it gain: no such company was possible."""
    try:
        return _settled(before, resets)
    except InputError:
        return _Calls(before.flow.ratio, before.handled)


def _edge_ratio(model: Model, rate: Rate, hours: slice) -> Array:
    """The rate itself in these hours: first attempts for each handled call, or attempts for each first attempt."""
    o = model.observed
    calls, first = o.calls[rate.row, hours], (o.calls[rate.row] - o.retries[rate.row])[hours]
    top, bottom = (calls, first) if rate.kind == RETRIES else (first, model.handled[o.services.index(rate.caller or "")][hours])
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)


def _change(before: _Before, resets: Sequence[Baseline]) -> Array:
    """What these rates, set back, change in the cost of the meters that can move (R x W)."""
    model = before.model
    own = [(before.place(r.rate.row), r) for r in resets if r.rate.kind not in ON_EDGES]
    usage = _usage_with(before, _settled_or_kept(before, resets), {k: r.values for k, r in own if r.rate.kind != UNIT_PRICE})
    covered, price = np.minimum(before.of(model.committed), usage), before.of(model.price)
    for k, reset in own:
        if reset.rate.kind == UNIT_PRICE and is_covered(model, reset.rate):
            covered[k] = np.minimum(reset.values, usage[k])
        elif reset.rate.kind == UNIT_PRICE:
            price[k] = reset.values
    change = _paid(usage, covered, price, before.of(model.covered_price)) - before.paid
    for k, reset in own:
        if model.meters[reset.rate.row].kind == UNMETERED:
            change[k] = reset.values - model.cost[reset.rate.row, before.window.hours]
    return change


def _usage_with(before: _Before, now: _Calls, own: dict[int, Array]) -> Array:
    """Usage (R x W) with these calls; own: the normal of each rate of usage that is set back, by place."""
    model, usage, use = before.model, before.of(before.model.usage), before.use
    then, after = _followed(before, None), _followed(before, now)
    usage[use] = np.where(then > 0, usage[use] * after / np.where(then > 0, then, 1.0), usage[use])
    follows = dict(zip(use.tolist(), after, strict=True))
    for k in before.ruled:
        usage[k] = np.maximum(usage[k] + _predicted_with(before, now, k) - _predicted_with(before, None, k), 0.0)
    for k, value in own.items():
        if k in follows:
            usage[k] = value * follows[k]
        elif k in before.ruled:
            usage[k] = np.maximum(_predicted_with(before, now, k) + value, 0.0)
        elif model.meters[before.meters[k]].kind != UNMETERED:
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


def _predicted_with(before: _Before, now: _Calls | None, k: int) -> Array:
    """What the rule of the meter at this place keeps; it may still hold what the hours before the window had."""
    meter, start = before.model.meters[before.meters[k]], before.window.start
    if meter.rule is None or meter.service is None:
        return np.zeros(before.window.end - start)
    lead = min(start, LEAD)
    calls = before.model.handled[meter.service, start - lead : before.window.end].copy()
    if now is not None:
        calls[lead:] = now.handled[meter.service]
    return np.asarray(meter.rule.usage(calls)[lead:])
