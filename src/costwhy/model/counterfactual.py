"""The bill with some rates set back to their baselines, and the dollars of each rate.

With d calls from outside and A calls on an edge for each call that the caller handles (A = fan-out
x retries), calls handled are N = A N + d: the Leontief input-output model with calls in place of
goods. Usage follows N where it is metered by use, an autoscaler's rule of N where it is metered by
time; cost is usage times price.

A rate's dollars are the difference that its baseline makes. Where several rates moved together, the
two polar orders (first to last, last to first) are averaged. That is the structural decomposition
of Dietzenbacher & Los (1998): the rows add up to the whole difference without a remainder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from costwhy.arrays import Array, Ints
from costwhy.behaviours import ENTRIES, LINKED_USAGE, ON_EDGES, UNIT_PRICE, UNMETERED
from costwhy.errors import InputError
from costwhy.model.baseline import Baseline, Window
from costwhy.model.call_graph import Flow, flow_into
from costwhy.model.rates import Model

LEAD = 3  # hours before a window whose instances an autoscaler may still hold


@dataclass(frozen=True)
class _Calls:
    """Calls in a window: ratio of the flow's edges (edges x W), calls handled (S x W)."""

    ratio: Array
    handled: Array


@dataclass(frozen=True)
class _Scope:
    """A window as observed: all that some baselines can reach, prepared once for all uses."""

    model: Model
    window: Window
    flow: Flow
    outside: Array  # S x W: calls that enter the reached services from outside the flow
    meters: Ints  # R, rows of the meters that can move
    use: Ints  # positions in `meters` of those that follow calls
    ruled: tuple[int, ...]  # positions of those that an autoscaler's rule keeps
    cost: Array  # R x W
    edge_calls: Array  # E x W, as they were
    observed_calls: _Calls

    def part(self, series: Array) -> Array:
        """A copy of a series of the model (M x T) for these meters in the window (R x W)."""
        return series[self.meters, self.window.hours]


def calls_with(model: Model, window: Window, baselines: Sequence[Baseline]) -> tuple[Array, Array]:
    """Calls on each edge (E x W) and handled by each service (S x W) with rates at baseline.

    Raises InputError where the calls do not settle (spectral radius of A not under 1).
    """
    scope = _scope(model, window, baselines)
    flow, edge_calls, calls = scope.flow, scope.edge_calls.copy(), _settled(scope, baselines)
    for b in baselines:
        if b.rate.kind in ENTRIES:
            edge_calls[b.rate.row] = b.values
    edge_calls[flow.edges] = calls.ratio * calls.handled[flow.caller] + flow.unrelated
    return edge_calls, calls.handled


def cost_with(model: Model, window: Window, baselines: Sequence[Baseline]) -> Array:
    """Cost of every meter by hour (M x W) with these rates at baseline."""
    scope = _scope(model, window, baselines)
    cost = model.cost[:, window.hours].copy()
    cost[scope.meters] += _change(scope, baselines)
    return cost


def dollars_alone(model: Model, window: Window, baseline: Baseline) -> float:
    """What one rate cost in the window, all others being as they were."""
    return float((model.cost[:, window.hours] - cost_with(model, window, [baseline])).sum())


def split(model: Model, window: Window, baselines: Sequence[Baseline]) -> list[Array]:
    """Dollars of each rate by meter and hour (M x W each); their sum is the whole difference.

    The average of two orders: rates set back first to last, and last to first. A meter that began
    in the window is set back before both: its cost is its own, not that of the calls that used it.
    """
    total = [np.zeros((len(model.meters), window.width)) for _ in baselines]
    is_new = [b.rate.first_hour is not None and b.rate.kind in LINKED_USAGE for b in baselines]
    new, others = ([k for k, begun in enumerate(is_new) if begun is own] for own in (True, False))
    orders = [new + others, new + others[::-1]] if len(others) > 1 else [new + others]
    scope = _scope(model, window, baselines)
    changes = {frozenset[int](): np.zeros_like(scope.cost)}  # both orders share some
    for order in orders:
        for n, k in enumerate(order):
            before, after = frozenset(order[:n]), frozenset(order[: n + 1])
            if after not in changes:
                changes[after] = _change(scope, [baselines[i] for i in order[: n + 1]])
            total[k][scope.meters] += (changes[before] - changes[after]) / len(orders)
    return total


def _scope(model: Model, window: Window, baselines: Sequence[Baseline]) -> _Scope:
    graph, hours = model.observed.graph, window.hours
    calls, handled = model.observed.calls[:, hours], model.handled[:, hours]
    on_edges = [b.rate.row for b in baselines if b.rate.kind in ON_EDGES]
    called = graph.called[np.isin(graph.edges, on_edges)]
    entered = graph.entered[np.isin(graph.entries, on_edges)]
    flow = flow_into(graph, np.concatenate([called, entered]), calls, handled)
    outside = np.zeros(handled.shape)
    into = flow.reached[graph.entered]
    np.add.at(outside, graph.entered[into], calls[graph.entries[into]])
    np.add.at(outside, flow.called, flow.unrelated)
    own = {b.rate.row for b in baselines if b.rate.kind not in ON_EDGES}
    rows = np.flatnonzero(
        [
            row in own or (m.service is not None and bool(flow.reached[m.service]))
            for row, m in enumerate(model.meters)
        ]
    )
    meters = [model.meters[row] for row in rows]
    return _Scope(
        model,
        window,
        flow,
        outside,
        rows,
        use=np.flatnonzero([meter.kind == "use" for meter in meters]),
        ruled=tuple(k for k, meter in enumerate(meters) if meter.rule is not None),
        cost=_cost(
            *(
                s[rows, hours]
                for s in (model.usage, model.covered, model.price, model.covered_price)
            )
        ),
        edge_calls=calls,
        observed_calls=_Calls(flow.ratio, handled),
    )


def _cost(usage: Array, covered: Array, price: Array, covered_price: Array) -> Array:
    """Effective cost: covered usage at its own price, the rest on demand."""
    return np.asarray(np.maximum(usage - covered, 0.0) * price + covered * covered_price)


# ---------------------------------------------------------------- calls


def _settled(scope: _Scope, baselines: Sequence[Baseline]) -> _Calls:
    flow, service_rows = scope.flow, scope.model.observed.service_rows
    outside, ratio = scope.outside.copy(), flow.ratio.copy()
    for b in baselines:
        if b.rate.kind in ENTRIES:
            outside[service_rows[str(b.rate.service)]] += b.values - scope.edge_calls[b.rate.row]
        elif b.rate.kind in ON_EDGES:
            top, bottom = (
                part[scope.window.hours] for part in scope.model.parts(b.rate.kind, b.rate.row)
            )
            now = np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
            ratio[flow.edges == b.rate.row] *= np.divide(
                b.values, now, out=np.ones_like(now), where=now > 0
            )
    return _Calls(ratio, flow.settle(ratio, outside, scope.observed_calls.handled))


# ---------------------------------------------------------------- usage and cost


def _change(scope: _Scope, baselines: Sequence[Baseline]) -> Array:
    """What these rates at baseline change in the cost of the meters that can move (R x W)."""
    model = scope.model
    own = [
        (int(np.searchsorted(scope.meters, b.rate.row)), b)
        for b in baselines
        if b.rate.kind not in ON_EDGES
    ]
    try:
        calls = _settled(scope, baselines)
    except InputError:  # these rates alone make a call cycle diverge
        calls = scope.observed_calls
    usage = _usage(scope, calls, {k: b.values for k, b in own if b.rate.kind != UNIT_PRICE})
    covered, price = np.minimum(scope.part(model.committed), usage), scope.part(model.price)
    for k, b in own:
        if b.rate.of_commitment:
            covered[k] = np.minimum(b.values, usage[k])
        elif b.rate.kind == UNIT_PRICE:
            price[k] = b.values
    change = _cost(usage, covered, price, scope.part(model.covered_price)) - scope.cost
    for k, b in own:
        if b.rate.kind == UNMETERED:
            change[k] = b.values - model.cost[b.rate.row, scope.window.hours]
    return change


def _usage(scope: _Scope, calls: _Calls, own: dict[int, Array]) -> Array:
    """Usage (R x W) with these calls.

    own: by position, the baseline of each rate of usage that is set back
    """
    usage = scope.part(scope.model.usage)
    before, after = _followed(scope, scope.observed_calls), _followed(scope, calls)
    scaled = usage[scope.use] * after / np.where(before > 0, before, 1.0)
    usage[scope.use] = np.where(before > 0, scaled, usage[scope.use])
    followed = dict(zip(scope.use.tolist(), after, strict=True))
    for k in scope.ruled:
        gap = usage[k] - _predicted(scope, scope.observed_calls, k)
        usage[k] = np.maximum(_predicted(scope, calls, k) + own.get(k, gap), 0.0)
    for k, values in own.items():
        if k in followed:
            usage[k] = values * followed[k]
        elif k not in scope.ruled and scope.model.meters[scope.meters[k]].kind != UNMETERED:
            usage[k] = values
    return usage


def _followed(scope: _Scope, calls: _Calls) -> Array:
    flow, meters = scope.flow, [scope.model.meters[row] for row in scope.meters[scope.use]]
    out = calls.handled[[meter.service or 0 for meter in meters]]
    for k, edge in ((k, meter.edge) for k, meter in enumerate(meters) if meter.edge is not None):
        out[k] = scope.edge_calls[edge]
        for row in np.flatnonzero(flow.edges == edge):
            out[k] = calls.ratio[row] * calls.handled[flow.caller[row]] + flow.unrelated[row]
    return out


def _predicted(scope: _Scope, calls: _Calls, position: int) -> Array:
    """What the meter's rule keeps; it may still hold instances of the hours before the window."""
    meter, start = scope.model.meters[scope.meters[position]], scope.window.start
    if meter.rule is None or meter.service is None:
        return np.zeros(scope.window.width)
    lead = min(start, LEAD)
    handled = np.concatenate(
        [scope.model.handled[meter.service, start - lead : start], calls.handled[meter.service]]
    )
    return np.asarray(meter.rule.usage(handled)[lead:])
