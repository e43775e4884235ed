"""Baselines: what a rate would have been in a window, and the bill with rates set back to that.

A baseline comes from hours in which nothing moved the rate:

demand           pattern of the week x growth x level of the last week (Holt-Winters without
                 its smoothing), the level interpolated to that after the window where known
schedule         pattern of the week
ratios           ratio of sums over the last week: a nightly job has no hourly ratio
prices           median of the last three days
other amounts    median of the last three days, or the pattern of the week where that fits
                 the last two weeks better
what is new      zero

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

from costwhy.arrays import Array, Ints, Mask
from costwhy.behaviours import (
    DEMAND,
    ENTRIES,
    LINKED_USAGE,
    ON_EDGES,
    SCHEDULE,
    UNIT_PRICE,
    UNMETERED,
)
from costwhy.errors import InputError
from costwhy.model.flow import Flow, flow_into
from costwhy.model.levels import WEEK, pattern
from costwhy.model.rates import Model, Rate

RECENT = 72  # hours whose median is a level
AFTERMATH = 3  # hours after a window in which its spike may still fade
PAST_DAYS = 14  # on which a baseline is tried
NEW_WITHIN = 24  # hours before a window: a rate that began since then is new
LEAD = 3  # hours before a window whose instances an autoscaler may still hold


@dataclass(frozen=True)
class Window:
    """Hours [start, end) as indices."""

    start: int
    end: int

    @property
    def hours(self) -> slice:
        return slice(self.start, self.end)

    @property
    def width(self) -> int:
        """W, the number of hours."""
        return self.end - self.start


@dataclass(frozen=True)
class Baseline:
    """A rate, and what it would have been in the window (W) in the unit of `Model.parts`."""

    rate: Rate
    values: Array


def baseline(
    model: Model, rate: Rate, window: Window, baseline_hours: Mask | None = None
) -> Baseline:
    """What the rate would have been in the window.

    baseline_hours: (T) hours that may serve for that; None: all. Only those before the window do;
    of demand also the week after it, as what wanders is better known from both sides.
    """
    if baseline_hours is None:
        baseline_hours = np.ones(len(model.observed.hours), dtype=bool)
    usable = baseline_hours.copy()
    after = np.flatnonzero(usable[: window.end + AFTERMATH + WEEK])
    usable[window.start :] = False
    if rate.first_hour is not None and rate.first_hour >= window.start - NEW_WITHIN:
        values = np.zeros(window.width)
    elif rate.kind == DEMAND:
        values = _demand(model, rate, window, usable, after[after >= window.end + AFTERMATH])
    elif rate.kind == SCHEDULE:
        values = np.maximum(
            pattern(np.where(usable, model.observed.calls[rate.row], np.nan))[window.hours], 0.0
        )
    elif rate.kind == UNIT_PRICE:
        values = _price(model, rate, window, usable)
    elif rate.kind == UNMETERED:
        values = _amount(model.observed.cost[rate.row], window, usable)
    else:
        top, bottom = model.parts(rate.kind, rate.row)
        amount = rate.style != "ratio"
        values = _amount(top, window, usable) if amount else _ratio(top, bottom, window, usable)
    return Baseline(rate, values)


def baseline_errors(
    model: Model, rate: Rate, hours: Window, ahead: int, baseline_hours: Mask
) -> Array:
    """How far off the baseline of a rate of calls was on the days before, newest first.

    Each error is calls over their baseline, less 1, in the same hours of an earlier day, `ahead`
    hours (at most a week) after the last hour that the baseline knew. Up to PAST_DAYS days whose
    hours are all baseline hours, and lie before the onset.

    hours           those of today that are asked about
    baseline_hours  (T) hours that may serve for a baseline
    """
    lead, errors = min(ahead, WEEK + ahead % 24), list[float]()
    calls, of = model.parts(rate.kind, rate.row)
    for start in range(hours.start - 24, lead + WEEK, -24):
        then = slice(start, start + hours.width)
        if (
            then.stop > hours.start - ahead
            or not baseline_hours[then].all()
            or len(errors) == PAST_DAYS
        ):
            continue
        known = baseline_hours
        # Nothing after today is known, so nothing after an earlier day is.
        if hours.end == known.size:
            known = baseline_hours & (np.arange(known.size) < then.stop)
        values = baseline(model, rate, Window(start - lead, then.stop), known).values[lead:]
        expected = float((values * of[then]).sum())
        errors.append(float(calls[then].sum()) / expected - 1.0 if expected > 0 else 0.0)
    return np.array(errors)


def mean_rate(model: Model, rate: Rate, hours: Mask) -> float | None:
    """The rate over these hours (T): a ratio of sums, or a mean by the hour.

    None where a ratio is not defined there. A price is the median.
    """
    if rate.of_commitment:
        return float(model.committed[rate.row][hours].mean())
    if rate.kind == UNIT_PRICE:
        return float(np.median(model.price[rate.row][hours]))
    if rate.kind == UNMETERED:
        return float(model.cost[rate.row][hours].mean())
    top, bottom = model.parts(rate.kind, rate.row)
    if rate.style != "ratio":
        return float(top[hours].mean())
    total = float(bottom[hours].sum())
    return float(top[hours].sum()) / total if total > 0 else None


# ---------------------------------------------------------------- by kind


def _last(usable: Mask, hours: int) -> Ints:
    return np.flatnonzero(usable)[-hours:]


def _ratio(top: Array, bottom: Array, window: Window, usable: Mask) -> Array:
    """Ratio of sums over the last week; over four weeks, or all, where the last one has little."""
    known = np.flatnonzero(usable & (bottom > 0))
    for hours, least in ((WEEK, 24), (4 * WEEK, 5), (usable.size, 1)):
        index = known[known >= known[-1] - hours] if known.size else known
        if index.size >= least:
            return np.full(window.width, float(top[index].sum()) / float(bottom[index].sum()))
    return np.zeros(window.width)


def _amount(series: Array, window: Window, usable: Mask) -> Array:
    """The median of the last three days, or the pattern of the week where that fits better."""
    recent = series[_last(usable, RECENT)]
    level = float(np.median(recent)) if recent.size else 0.0
    week = pattern(np.where(usable, series, np.nan))
    if usable.sum() >= 2 * WEEK and np.std(week) > 0.02 * (abs(level) + 1e-12):
        actual, by_week = (values[_last(usable, 2 * WEEK)] for values in (series, week))
        if np.mean(np.abs(actual - by_week)) < np.mean(np.abs(actual - level)):
            total = float(np.sum(by_week))
            scale = float(np.sum(actual)) / total if total > 0 else 1.0
            return np.asarray(week[window.hours] * (scale if 0.5 < scale < 2.0 else 1.0))
    return np.full(window.width, level)


def _price(model: Model, rate: Rate, window: Window, usable: Mask) -> Array:
    known = usable & (np.arange(usable.size) < model.observed.billed)
    if rate.of_commitment:
        return _amount(model.committed[rate.row], window, known)
    prices = model.price[rate.row][_last(known & (model.usage[rate.row] > 0), RECENT)]
    return np.full(window.width, float(np.median(prices)) if prices.size else 0.0)


def _demand(model: Model, rate: Rate, window: Window, usable: Mask, after: Ints) -> Array:
    """Calls as in the same hours of earlier weeks, at the latest level and growth.

    after: baseline hours of the week after the window. Where they are two days, the level goes from
    that before to that after it. Holidays are taken out first, and put back.
    """
    holiday = np.exp(model.holidays[rate.row])
    calls = model.observed.calls[rate.row] / holiday
    known = usable & (calls > 0)
    last = _last(known, WEEK)
    if last.size < 24:
        return np.full(window.width, float(calls[last].mean()) if last.size else 0.0)
    week = np.exp(pattern(np.log(calls, out=np.full(calls.size, np.nan), where=known)))
    growth, defined = 0.0, np.flatnonzero(known)
    if defined.size >= 2 * WEEK:  # by the day, shrunk towards 0 where days disagree
        ratio, days = np.log(calls[defined] / week[defined]), defined // 24
        names = np.unique(days)
        by_day = np.array([np.median(ratio[days == day]) for day in names])
        slope, error = _slope(names.astype(float), by_day)
        growth = slope / 24 * slope**2 / (slope**2 + 4 * error**2) if slope else 0.0
    grown = week * np.exp(growth * (np.arange(week.size) - float(last.mean())))
    level = np.full(window.width, _level(calls, grown, last))
    if after.size >= 48:
        share = np.arange(window.start, window.end) - last.mean()
        share /= after.mean() - last.mean()
        level = level ** (1 - share) * _level(calls, grown, after) ** share
    return np.asarray(grown[window.hours] * level * holiday[window.hours])


def _slope(x: Array, y: Array) -> tuple[float, float]:
    """The slope of the line by least squares, and its standard error.

    As `scipy.stats.linregress`, which takes half a second to import.
    """
    (of_x, of_both), (_, of_y) = np.cov(x, y, bias=True)
    spread = np.sqrt(of_x * of_y)
    r = np.clip(of_both / spread, -1, 1) if spread > 0 else 0.0
    return float(of_both / of_x), float(np.sqrt((1 - r**2) * of_y / of_x / (x.size - 2)))


def _level(calls: Array, expected: Array, index: Ints) -> float:
    """Calls over what was expected, the median over days: one odd day does not change it."""
    by_day = (index[index // 24 == day] for day in np.unique(index // 24))
    return float(np.median([calls[hours].sum() / expected[hours].sum() for hours in by_day]))


# ---------------------------------------------------------------- the bill


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
    """What one rate cost in the window, all others being as they were.

    Summed over the meters that it can move: a company has tens of thousands of others.
    """
    return -float(_change(_scope(model, window, [baseline]), [baseline]).sum())


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
    is_own = np.zeros(len(model.meters), dtype=bool)
    is_own[list(own)] = True
    # the last place stands for meters that no service's calls move
    reached = np.append(flow.reached, False)
    rows = np.flatnonzero(is_own | reached[model.moved_by].any(axis=0))
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
    usage[scope.use] = np.where(
        before > 0, usage[scope.use] * after / np.where(before > 0, before, 1.0), usage[scope.use]
    )
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
