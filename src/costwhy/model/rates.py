"""The rates behind the bill by the hour: demand, fan-out, retries, usage per call, price.

A bill moves because one of its rates moved. With N calls handled, each rate is a fraction:

    demand, schedule              calls / 1                           calls from outside, of a timer
    fan_out                       first attempts / calls handled by the caller
    retries                       attempts / first attempts
    usage_per_call, cross_region  usage / calls that the meter follows
    capacity, cross_region        (usage - what the autoscaler's rule keeps) / 1
    unit_price                    cost / usage on demand; or the committed usage
    unlinked_usage, unmetered     usage / 1, cost / 1

`spikes/shifts.py` finds where a rate leaves its baseline (`baseline.py`), and `baseline.py`
computes the bill without that.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from costwhy.arrays import Array, Ints
from costwhy.behaviours import (
    CAPACITY,
    CROSS_REGION,
    DEMAND,
    FAN_OUT,
    ON_EDGES,
    RETRIES,
    SCHEDULE,
    UNIT_PRICE,
    UNLINKED,
    UNLINKED_USAGE,
    UNMETERED,
    USAGE_PER_CALL,
)
from costwhy.model.estimates import Basis, basis_of, estimates
from costwhy.model.levels import Level, levels_of, pattern
from costwhy.model.meters import committed, first_active, learn, on_demand
from costwhy.model.observed import Observed

HOLIDAY = 0.08  # the logarithm of traffic everywhere falls by this or more on a holiday
NEW_AFTER = 72  # hours: what begins later did not exist from the start


@dataclass(frozen=True)
class Rate(Level):
    """One rate over the hours. `level` is its logarithm, or its value over its mean.

    row         of its edge (ON_EDGES), or of its meter (the other kinds)
    first_hour  in which it exists, where it did not exist from the start
    """

    kind: str
    row: int
    service: str | None
    caller: str | None
    usage_type: str | None
    first_hour: int | None

    @property
    def name(self) -> tuple[str, str | None, str | None, str | None]:
        """Kind, service, caller, usage_type: what identifies it in the JSON."""
        return self.kind, self.service, self.caller, self.usage_type

    @property
    def of_commitment(self) -> bool:
        """A `unit_price` rate is the on-demand price, or the usage that a commitment covers."""
        return self.kind == UNIT_PRICE and self.style == "amount"


@dataclass(frozen=True)
class Model(Basis):
    """Observed data with unbilled hours estimated, and every rate."""

    usage: Array  # M x T, estimated after the billed hours
    cost: Array  # M x T, likewise
    covered: Array  # M x T, likewise
    known_until: Ints  # M, usage before this hour was billed, or counted by a signal
    service_first_hour: Array  # S, first hour with calls
    holidays: Array  # E x T, what a holiday takes off the logarithm of calls from outside
    rates: tuple[Rate, ...] = ()

    @cached_property
    def committed(self) -> Array:
        """Usage that a commitment would cover (M x T)."""
        return committed(self.usage, self.covered)

    @cached_property
    def moved_by(self) -> Ints:
        """Rows of the services whose calls may move a meter (2 x M); -1: none.

        Its own service, and the one that its edge calls.
        """
        observed = self.observed
        called = [-1 if m.edge is None else observed.edges[m.edge].service for m in self.meters]
        return np.array(
            [
                [-1 if m.service is None else m.service for m in self.meters],
                [-1 if c == -1 else observed.service_rows[str(c)] for c in called],
            ],
            dtype=np.intp,  # of no meters too
        )

    def parts(self, kind: str, row: int) -> tuple[Array, Array]:
        """Numerator and denominator of a rate of calls or usage (T each)."""
        observed, one = self.observed, np.ones(len(self.observed.hours))
        if kind in ON_EDGES:
            calls = observed.calls[row]
            first = calls - observed.retries[row]
            if kind == FAN_OUT:
                return first, self.handled[observed.service_rows[str(observed.edges[row].caller)]]
            return calls, first if kind == RETRIES else one
        if self.meters[row].kind == "use":
            return self.usage[row], self.followed(row)
        return self.usage[row] - self.predicted_usage.get(row, 0.0), one


def fit(observed: Observed) -> Model:
    """Learns how usage follows calls, estimates the unbilled hours, and lays out every rate."""
    handled = observed.handled
    basis = basis_of(observed, handled, learn(observed, handled))
    [late] = estimates(basis, range(observed.meters.height), [basis.now])
    usage, cost, covered = (
        np.concatenate([getattr(observed, name)[:, : observed.billed], getattr(late, name)], axis=1)
        for name in ("usage", "cost", "covered")
    )
    model = Model(
        **{field.name: getattr(basis, field.name) for field in fields(basis)},
        usage=usage,
        cost=cost,
        covered=covered,
        known_until=np.where(late.counted, len(observed.hours), observed.billed),
        service_first_hour=np.array([first_active(row) for row in handled], dtype=float),
        holidays=_holidays(observed),
    )
    rates = [*_on_edges(model), *_on_meters(model)]
    groups = [(rate.style, rate.kind in UNLINKED, rate.step) for rate in rates]
    for style, noisy, step in set(groups):  # season and noise, those of one style together
        members = [k for k, group in enumerate(groups) if group == (style, noisy, step)]
        new = np.array([rates[k].first_hour is not None for k in members])
        values = np.array([rates[k].level for k in members])
        levels = levels_of(style, values, new, noisy=noisy, step=step)
        for k, level in zip(members, levels, strict=True):
            rates[k] = replace(rates[k], **vars(level))
    return replace(model, rates=tuple(rates))


# ---------------------------------------------------------------- rates as series


def _on_edges(model: Model) -> Iterable[Rate]:
    observed = model.observed
    for row, edge in enumerate(observed.edges):
        calls = observed.calls[row]
        first_hour = _first_hour(calls)
        if edge.scheduled:
            runs = calls if first_hour is not None else _runs_a_day(calls)
            yield _amount(observed, SCHEDULE, row, runs, first_hour)
        elif edge.internal:
            begin = model.service_first_hour[observed.service_rows[str(edge.caller)]]
            if first_hour is not None and begin > NEW_AFTER and first_hour - begin <= 24:
                continue  # calls of a new service go with the edge that calls it
            for kind, since in ((FAN_OUT, first_hour), (RETRIES, None)):
                yield _rate(
                    observed, kind, row, "ratio", _log_ratio(*model.parts(kind, row)), since
                )
        else:
            traffic = _log_ratio(calls, np.ones(calls.size)) - model.holidays[row]
            yield _rate(observed, DEMAND, row, "flow", traffic, first_hour)


def _on_meters(model: Model) -> Iterable[Rate]:
    observed, hours = model.observed, np.arange(len(model.observed.hours))
    billed, is_billed = observed.billed, hours < observed.billed
    for row, meter in enumerate(model.meters):
        if observed.is_fee[row]:
            continue  # a month has one value: nothing can leave its level
        known = _known(model, row)
        of_cost = meter.kind == UNMETERED
        first_hour = _first_hour((observed.cost if of_cost else observed.usage)[row, :billed])
        values, of = model.parts(USAGE_PER_CALL, row)
        if meter.kind == "use" and meter.service is not None:
            begin = model.service_first_hour[meter.service]
            new = first_hour is not None and begin > NEW_AFTER and first_hour <= begin + 24
            if new and not meter.transfer:
                continue  # a meter of a new service goes with the edge that calls it
            kind = CROSS_REGION if meter.transfer else USAGE_PER_CALL
            yield _rate(observed, kind, row, "ratio", _log_ratio(values, of) * known, first_hour)
        elif meter.kind == "time":
            kind = CROSS_REGION if meter.transfer else CAPACITY
            unit = float(model.usage[row, :billed].mean())
            yield _amount(observed, kind, row, values * known, first_hour, unit)
        elif meter.kind == "unlinked":
            yield _amount(observed, UNLINKED_USAGE, row, values * known, first_hour)
        elif np.count_nonzero(observed.cost[row, :billed]) > 0.5 * billed:
            cost = observed.cost[row] * known
            yield _amount(observed, UNMETERED, row, cost, first_hour)
        if of_cost:
            continue
        bought = is_billed & on_demand(observed.usage[row], observed.covered[row])
        price = _log_ratio(model.price[row], np.where(bought, 1.0, np.nan)) * known
        yield _rate(observed, UNIT_PRICE, row, "ratio", price)
        if observed.covered[row, :billed].any():
            usage, unit = model.committed[row], float(np.max(model.committed[row, :billed]))
            usage = np.where(is_billed, usage, np.nan) * known
            yield _amount(observed, UNIT_PRICE, row, usage, None, unit)


def _known(model: Model, row: int) -> Array:
    """1 in hours in which the usage of a meter is known, NaN in others (T).

    By the day it is known once a day. Nothing follows from the silence of a closed account.
    """
    observed, hours = model.observed, np.arange(len(model.observed.hours))
    last = model.known_until[row]
    known = hours < (last if observed.ended is None else min(last, observed.ended[row]))
    if observed.by_day[row]:
        known &= observed.day_begins(row)
    return np.where(known, 1.0, np.nan)


def _first_hour(series: Array) -> int | None:
    begin = first_active(series)
    return begin if begin > NEW_AFTER else None


def _log_ratio(top: Array, bottom: Array) -> Array:
    ratio: Array = np.divide(
        top, bottom, out=np.full(top.shape, np.nan), where=(top > 0) & (bottom > 0)
    )
    return np.log(ratio)


def _amount(
    observed: Observed,
    kind: str,
    row: int,
    values: Array,
    first_hour: int | None,
    unit: float | None = None,
) -> Rate:
    """Values over a unit, by default their mean: for what is constant, or zero at times."""
    if not unit:
        defined = values[np.isfinite(values)]
        unit = float(np.mean(np.abs(defined))) if defined.size else 1.0
    style = "runs" if kind == SCHEDULE else "amount"
    return _rate(observed, kind, row, style, values / (unit or 1.0), first_hour)


def _runs_a_day(calls: Array) -> Array:
    """Runs of a timer in the last 24 hours: a nightly job has a level by the day only."""
    sums, end = np.concatenate([[0.0], np.cumsum(calls)]), np.arange(1, calls.size + 1)
    begin = np.maximum(end - 24, 0)
    return np.asarray((sums[end] - sums[begin]) * 24 / (end - begin))


def _rate(
    observed: Observed,
    kind: str,
    row: int,
    style: str,
    values: Array,
    first_hour: int | None = None,
) -> Rate:
    """A rate of these values (T), its season and noise not known yet."""
    service = caller = usage_type = None
    if kind in ON_EDGES:
        service, caller = observed.edges[row].service, observed.edges[row].caller
    elif kind != UNMETERED:
        service, usage_type = observed.meters.select("service", "x_UsageType").row(row)
    names = (kind, row, service, caller, usage_type, first_hour)
    step = 24 if kind not in ON_EDGES and observed.by_day[row] else 1
    return Rate(style, values, 0.0, 0.0, *names, step=step)


# ---------------------------------------------------------------- holidays


def _holidays(observed: Observed) -> Array:
    """What whole days took off the traffic of all entries alike (E x T, logarithm).

    Leave-one-out: a day is a holiday for an entry if half of the other entries dropped too.
    """
    day = np.array([int(hour.timestamp()) // 86400 for hour in observed.hours])
    out, days = np.zeros_like(observed.calls), np.unique(day)
    entries = [
        row
        for row, edge in enumerate(observed.edges)
        if edge.caller is None and (observed.calls[row] > 0).mean() > 0.9
    ]
    if len(entries) < 2 or days.size < 8:
        return out
    levels = [_log_ratio(observed.calls[row], np.ones(day.size)) for row in entries]
    drops = np.array([_drops(level - pattern(level), day, days) for level in levels])
    for k, row in enumerate(entries):
        others = np.delete(drops[:, 0], k, axis=0)
        dropped = np.where(others < -HOLIDAY, others, np.nan)
        common = np.isfinite(dropped).mean(axis=0) >= 0.5
        dropped[:, ~common] = 0.0
        out[row] = np.where(
            common & (drops[k, 1] < -HOLIDAY / 2), np.nanmedian(dropped, axis=0), 0.0
        )[np.searchsorted(days, day)]
    return out


def _drops(level: Array, day: Ints, days: Ints) -> Array:
    """Each day's median less that of the three days before it and of the three after it (2 x days).

    Row 0: less the lower of both; row 1: less the higher.
    """
    of_days = [level[(day == d) & np.isfinite(level)] for d in days]
    medians = np.array([np.median(values) if values.size else 0.0 for values in of_days])
    out = np.zeros((2, days.size))
    for k in range(1, days.size):
        near = (medians[max(0, k - 3) : k], medians[k + 1 : k + 4])
        sides = [float(np.median(part)) for part in near if part.size]
        out[:, k] = medians[k] - min(sides), medians[k] - max(sides)
    return out
