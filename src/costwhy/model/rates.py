"""The rates behind the bill: demand, fan-out, retries, usage per call, capacity, price: each by the hour, with its normal.

A bill moves because one of its rates moved. Each `Rate` is one term of the identity in DESIGN.md as a series over the
hours: `level` is its logarithm (or its value over its mean, where zeros are ordinary), with the season taken out of
what has one. Shifts of a rate are what `spikes.py` looks for; `behaviour.py` turns a rate set back to normal into money.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from costwhy.arrays import Array
from costwhy.behaviours import (
    CAPACITY,
    CROSS_REGION,
    DEMAND,
    FAN_OUT,
    RETRIES,
    SCHEDULE,
    UNIT_PRICE,
    UNLINKED,
    UNLINKED_USAGE,
    UNMETERED,
    USAGE_PER_CALL,
)
from costwhy.model.commitments import bought_beside, committed
from costwhy.model.estimates import Basis, basis_of, estimates
from costwhy.model.levels import Level, level_of, pattern
from costwhy.model.meters import MeterModel, first_active, learn
from costwhy.model.observed import Observed

Name = tuple[str | None, str | None, str | None]  # service, caller, usage type
HOLIDAY = 0.08  # traffic from everywhere is less by this or more (logarithm) on a holiday


@dataclass(frozen=True)
class Rate(Level):
    """One rate over the hours. `row`: its edge (demand, schedule, fan_out, retries) or its meter (the others)."""

    kind: str
    row: int
    service: str | None
    caller: str | None
    usage_type: str | None
    first_hour: int | None  # first hour in which it exists, where it did not exist from the start

    @property
    def name(self) -> tuple[str, str | None, str | None, str | None]:
        """What the contract calls it: kind, service, caller, usage_type."""
        return self.kind, self.service, self.caller, self.usage_type


@dataclass(frozen=True)
class Raw:
    """A rate before its season and noise are known: the values that `levels.trace` takes."""

    kind: str
    row: int
    service: str | None
    caller: str | None
    usage_type: str | None
    values: Array  # T
    first_hour: int | None
    style: str


@dataclass(frozen=True)
class Model:
    """Observed data with unbilled hours estimated, every meter's way to follow the calls, every rate."""

    observed: Observed
    handled: Array  # S x T
    meters: tuple[MeterModel, ...]
    usage: Array  # M x T, estimated after the billed hours
    known_until: Array  # M, hours before this index have usage that was billed or counted by a signal
    cost: Array  # M x T, likewise
    price: Array  # M x T, on demand
    covered: Array  # M x T
    covered_price: Array  # M x T
    rates: tuple[Rate, ...]
    service_first_hour: Array  # S, first hour with calls
    holidays: Array  # E x T, what a holiday takes off the logarithm of calls from outside; zero elsewhere

    @cached_property
    def basis(self) -> Basis:
        """What its estimates rest on."""
        return Basis(self.observed, self.handled, self.meters, self.price, self.covered_price)

    @cached_property
    def committed(self) -> Array:
        """What a commitment holds of each meter (M x T)."""
        return committed(self.usage, self.covered)

    def followed(self, m: int) -> Array:
        """The calls that meter `m` follows (T): those of its service, or of one edge."""
        return self.basis.followed(m)


def fit(observed: Observed) -> Model:
    """Learn how usage follows calls, estimate the hours that are not billed yet, and lay out every rate."""
    handled = observed.handled
    first_hour = np.array([first_active(row) for row in handled], dtype=float) if handled.size else np.zeros(0)
    known = basis_of(observed, handled, learn(observed, handled))
    [late] = estimates(known, range(observed.meters.height), [known.now])
    usage, covered, cost = (series.copy() for series in (observed.usage, observed.covered, observed.cost))
    for series, estimate in ((usage, late.usage), (covered, late.covered), (cost, late.cost)):
        series[:, observed.billed :] = estimate
    seen = np.where(late.counted, len(observed.hours), observed.billed)
    bare = Model(
        observed, handled, known.meters, usage, seen, cost, known.price, covered, known.covered_price, (), first_hour, _holidays(observed)
    )
    return replace(bare, rates=_traced(_edge_rates(bare) + _meter_rates(bare)))


# ---------------------------------------------------------------- rates as series


def _log_ratio(top: Array, bottom: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((top > 0) & (bottom > 0), np.log(top / np.where(bottom > 0, bottom, 1.0)), np.nan)


def _edge_rates(model: Model) -> list[Raw]:
    o, out = model.observed, []
    for row, edge in enumerate(o.edges):
        calls = o.calls[row]
        begun = first_active(calls)
        first_hour = begun if begun > 72 else None
        if edge.internal and edge.caller is not None:
            caller = o.services.index(edge.caller)
            if first_hour is not None and model.service_first_hour[caller] > 72 and first_hour - model.service_first_hour[caller] <= 24:
                continue  # a new caller's calls are its own: they go with the edge that calls it
            first = calls - o.retries[row]
            fan_out, retries = _log_ratio(first, model.handled[caller]), _log_ratio(calls, first)
            out.append(_named(FAN_OUT, row, (edge.service, edge.caller, None), fan_out, first_hour))
            out.append(_named(RETRIES, row, (edge.service, edge.caller, None), retries, None))
        elif edge.scheduled:
            out.append(_amount(SCHEDULE, row, (edge.service, edge.caller, None), calls if first_hour is not None else _runs_a_day(calls), first_hour))
        else:
            level = _logs(calls) - model.holidays[row]
            out.append(Raw(DEMAND, row, edge.service, None, None, level, first_hour, "flow"))
    return out


def _logs(calls: Array) -> Array:
    return np.where(calls > 0, np.log(np.where(calls > 0, calls, 1.0)), np.nan)


def _holidays(o: Observed) -> Array:
    """What whole days took off the traffic of all other entries alike (E x T, logarithm): each entry's own fall is no evidence for itself."""
    out = np.zeros_like(o.calls)
    day = np.array([int(h.timestamp()) // 86400 for h in o.hours])
    names = np.unique(day)
    entries = [e for e, edge in enumerate(o.edges) if edge.caller is None and (o.calls[e] > 0).mean() > 0.9]
    if len(entries) < 2 or names.size < 8:
        return out
    levels = [_logs(o.calls[e]) for e in entries]
    dips = np.array([_dips(level - pattern(level), day, names) for level in levels])
    for k, e in enumerate(entries):
        others = np.delete(dips[:, 0], k, axis=0)
        dipped = np.where(others < -HOLIDAY, others, np.nan)
        common = np.isfinite(dipped).mean(axis=0) >= 0.5
        dipped[:, ~common] = 0.0
        off = np.where(common & (dips[k, 1] < -HOLIDAY / 2), np.nanmedian(dipped, axis=0), 0.0)
        out[e] = off[np.searchsorted(names, day)]
    return out


def _dips(level: Array, day: np.ndarray, names: np.ndarray) -> Array:
    """How far each day lies under the lower (row 0) and the higher (row 1) of the three days before it and the three after it."""
    medians = np.array([np.nanmedian(level[day == d]) if np.isfinite(level[day == d]).any() else 0.0 for d in names])
    out = np.zeros((2, names.size))
    for k in range(1, names.size):
        sides = [float(np.median(part)) for part in (medians[max(0, k - 3) : k], medians[k + 1 : k + 4]) if part.size]
        out[:, k] = medians[k] - min(sides), medians[k] - max(sides)
    return out


def _runs_a_day(calls: Array) -> Array:
    """Runs of a timer in the last 24 hours: a nightly job has a level by the day, none by the hour."""
    sums = np.concatenate([[0.0], np.cumsum(calls)])
    t = np.arange(1, calls.size + 1)
    begin = np.maximum(t - 24, 0)
    return np.asarray((sums[t] - sums[begin]) * 24 / (t - begin))


def _meter_rates(model: Model) -> list[Raw]:
    o, out = model.observed, []
    for m, meter in enumerate(model.meters):
        usage, billed = model.usage[m], o.billed
        known = np.where(np.arange(usage.size) < model.known_until[m], 1.0, np.nan)
        name = (o.meters["service"][m], None, o.meters["x_UsageType"][m])
        begun = first_active(o.cost[m, :billed] if meter.kind == UNMETERED else o.usage[m, :billed])
        first_hour = begun if begun > 72 else None
        if meter.kind == "use" and meter.service is not None:
            s = meter.service
            if first_hour is not None and model.service_first_hour[s] > 72 and first_hour <= model.service_first_hour[s] + 24 and not meter.transfer:
                continue  # the line of a new service goes with the edge that calls it
            kind = CROSS_REGION if meter.transfer else USAGE_PER_CALL
            out.append(_named(kind, m, name, _log_ratio(usage, model.followed(m)) * known, first_hour))
        elif meter.kind == "time" and meter.service is not None:
            kind = CROSS_REGION if meter.transfer else CAPACITY
            told = meter.rule.usage(model.handled[meter.service]) if meter.rule else np.zeros_like(usage)
            out.append(_amount(kind, m, name, (usage - told) * known, first_hour, scale=float(usage[:billed].mean())))
        elif meter.kind == "unlinked":
            out.append(_amount(UNLINKED_USAGE, m, name, usage * known, first_hour))
        elif np.count_nonzero(o.cost[m, :billed]) > 0.5 * billed:
            out.append(
                _amount(
                    UNMETERED,
                    m,
                    (None, None, None),
                    o.cost[m] * known,
                    first_hour,
                )
            )
        if meter.kind != UNMETERED:
            out.extend(_price_rates(model, m, name))
    return out


def _price_rates(model: Model, m: int, name: Name) -> list[Raw]:
    o, billed = model.observed, model.observed.billed
    known = np.where(np.arange(len(o.hours)) < billed, 1.0, np.nan)
    bought = np.where(bought_beside(o.usage[m], o.covered[m]), 1.0, np.nan)
    out = [_named(UNIT_PRICE, m, name, _log_ratio(model.price[m], np.ones(len(o.hours))) * known * bought, None)]
    if o.covered[m, :billed].any():
        held = model.committed[m]
        out.append(_amount(UNIT_PRICE, m, name, held * known, None, scale=float(np.max(held[:billed]))))
    return out


def _named(kind: str, row: int, name: Name, values: Array, first_hour: int | None) -> Raw:
    return Raw(kind, row, *name, values, first_hour, "ratio")


def _amount(kind: str, row: int, name: Name, values: Array, first_hour: int | None, scale: float | None = None) -> Raw:
    """Over its own mean: for what is zero at times, or constant."""
    defined = values[np.isfinite(values)]
    unit = scale or (float(np.mean(np.abs(defined))) if defined.size else 1.0)
    return Raw(kind, row, *name, values / (unit or 1.0), first_hour, "runs" if kind == SCHEDULE else "amount")


def _traced(raws: list[Raw]) -> tuple[Rate, ...]:
    """Every rate as a level, those of one style together."""
    out: dict[int, Rate] = {}
    groups: dict[tuple[str, bool], list[int]] = {}
    for k, raw in enumerate(raws):
        groups.setdefault((raw.style, raw.kind in UNLINKED), []).append(k)
    for (style, loose), members in groups.items():
        fresh = np.array([raws[k].first_hour is not None for k in members])
        traces = level_of(style, np.array([raws[k].values for k in members]), fresh, loose=loose)
        for k, t in zip(members, traces, strict=True):
            raw = raws[k]
            out[k] = Rate(t.style, t.level, t.spread, t.drift, raw.kind, raw.row, raw.service, raw.caller, raw.usage_type, raw.first_hour)
    return tuple(out[k] for k in range(len(raws)))
