"""The rates behind the bill: demand, fan-out, retries, usage per call, capacity, price: each by the hour, with its normal.

A bill moves because one of its rates moved. Each `Rate` is one term of the identity in DESIGN.md as a series over the
hours: `level` is its logarithm (or its value over its mean, where zeros are ordinary), with the season taken out of
what has one. Shifts of a rate are what `spikes.py` looks for; `behaviour.py` turns a rate set back to normal into money.
"""

from dataclasses import dataclass, replace

import numpy as np

from costwhy.levels import WEEK, Trace, hourly_spread, pattern, robust_spread, trace
from costwhy.observed import Array, Observed
from costwhy.segments import boundaries

Name = tuple[str | None, str | None, str | None]  # service, caller, usage type
FOLLOWS_NOTHING = frozenset({"unlinked_usage", "unmetered"})
TRANSFER_MARKS = (
    "AWS-Out-Bytes",
    "AWS-In-Bytes",
    "DataTransfer",
    "Out-Bytes",
    "In-Bytes",
    "Regional-Bytes",
    "NatGateway-Bytes",
    "VpcEndpoint-Bytes",
    "TransitGateway-Bytes",
    "InterZone",
    "Interregion",
    "Inter-Region",
    "xAZ",
)
TIMED_UNITS = ("hr", "hour", "-mo", "month", "gb-hours", "day")
USE_NOISE = 0.08  # usage per call of what is metered by use hardly moves: relative spread under this
STRAIGHT = 0.02  # a day whose hours lie this close to a line goes on along it
HOLIDAY = 0.08  # traffic from everywhere is less by this or more (logarithm) on a holiday
MOVES = 0.08  # calls that move less than this (relative) cannot tell use from time


@dataclass(frozen=True)
class AutoscalerRule:
    """instances = max(floor, ceil(calls / each)), the highest of the last `hold` + 1 hours; usage = per_instance * instances."""

    floor: float
    each: float
    per_instance: float
    hold: int  # hours for which it waits before it scales in
    match: float  # share of the hours that it tells exactly

    def usage(self, calls: Array) -> Array:
        """Usage that this rule keeps for these calls (T)."""
        return np.asarray(_held(np.maximum(self.floor, np.ceil(calls / self.each - 1e-9)), self.hold) * self.per_instance)


@dataclass(frozen=True)
class MeterModel:
    """How one meter follows the calls of its service.

    kind: `use` (usage = q N), `time` (usage = rule(N), or what it was before), `unlinked` (no signal), `unmetered` (no quantity).
    `edge`: where usage follows the calls of one edge rather than all calls of the service (bytes to one far caller).
    """

    kind: str
    service: int | None
    edge: int | None
    rule: AutoscalerRule | None
    transfer: bool


@dataclass(frozen=True)
class Rate(Trace):
    """One rate over the hours. `row`: its edge (demand, schedule, fan_out, retries) or its meter (the others)."""

    kind: str
    row: int
    service: str | None
    caller: str | None
    usage_type: str | None
    born: int | None  # first hour in which it exists, where it did not exist from the start

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
    born: int | None
    style: str


@dataclass(frozen=True)
class Model:
    """Observed data with unbilled hours estimated, every meter's way to follow the calls, every rate."""

    observed: Observed
    handled: Array  # S x T
    meters: tuple[MeterModel, ...]
    usage: Array  # M x T, estimated after the billed hours
    seen: Array  # M, hours before this index have usage that was billed or counted by a signal
    cost: Array  # M x T, likewise
    price: Array  # M x T, on demand
    covered: Array  # M x T
    covered_price: Array  # M x T
    rates: tuple[Rate, ...]
    service_born: Array  # S, first hour with calls
    holidays: Array  # E x T, what a holiday takes off the logarithm of calls from outside; zero elsewhere

    def followed(self, m: int) -> Array:
        """The calls that meter `m` follows (T): those of its service, or of one edge."""
        meter = self.meters[m]
        if meter.edge is not None:
            return np.asarray(self.observed.calls[meter.edge])
        return self.handled[meter.service] if meter.service is not None else np.zeros(len(self.observed.hours))


def fit(observed: Observed) -> Model:
    """Learn how usage follows calls, estimate the hours that are not billed yet, and lay out every rate."""
    handled = observed.handled
    born = np.array([_first_active(row) for row in handled], dtype=float) if handled.size else np.zeros(0)
    models = tuple(_meter_model(observed, handled, born, m) for m in range(observed.meters.height))
    price, covered_price = _prices(observed)
    usage, covered, seen = _nowcast_usage(observed, handled, models)
    paid = np.maximum(usage - covered, 0.0) * price + covered * covered_price
    cost = observed.cost.copy()
    late = slice(observed.billed, None)
    cost[:, late] = paid[:, late]
    unmetered = [m for m, model in enumerate(models) if model.kind == "unmetered"]
    for m in unmetered:
        cost[m, late] = _continued(observed.cost[m], observed.billed)[late]
    bare = Model(observed, handled, models, usage, seen, cost, price, covered, covered_price, (), born, _holidays(observed))
    return replace(bare, rates=_traced(_edge_rates(bare) + _meter_rates(bare)))


# ---------------------------------------------------------------- how a meter follows the calls


def _first_active(row: Array) -> int:
    seen = np.flatnonzero(row > 0)
    return int(seen[0]) if seen.size else 0


def _meter_model(o: Observed, handled: Array, born: Array, m: int) -> MeterModel:
    usage = o.usage[m, : o.billed]
    usage_type, unit, service = (o.meters[name][m] for name in ("x_UsageType", "ConsumedUnit", "service"))
    transfer = any(mark.lower() in (usage_type or "").lower() for mark in TRANSFER_MARKS)
    if not np.any(usage > 0) or o.meters["ChargeCategory"][m] not in {"Usage", None}:
        return MeterModel("unmetered", None, None, None, transfer)
    if service not in o.services or not handled[o.services.index(service)].any():
        return MeterModel("unlinked", None, None, None, transfer)
    s = o.services.index(service)
    calls = handled[s, : o.billed]
    timed = any(mark in (unit or "").lower() for mark in TIMED_UNITS) and "lcu" not in (unit or "").lower()
    if born[s] > 48 and _first_active(usage) >= born[s] - 24:
        return MeterModel("use", s, None, None, transfer)  # a service that begins brings all of its cost with its calls
    edge = None if timed else _edge_followed(o, usage, calls, s)
    if edge is not None or _follows(usage, calls, timed=timed):
        return MeterModel("use", s, edge, None, transfer)
    return MeterModel("time", s, None, _autoscaler(usage, calls), transfer)


def _edge_followed(o: Observed, usage: Array, calls: Array, s: int) -> int | None:
    """The edge into or out of the service whose calls the usage follows clearly better than all of the service's calls."""
    name, on = o.services[s], usage > 0
    if on.sum() < 24:
        return None

    def noise(series: Array) -> float:
        both = on & (series > 0)
        if both.sum() < 0.9 * max(on.sum(), (series > 0).sum()):
            return np.inf
        return _noise(np.log(usage[both] / series[both]))

    whole = noise(calls)
    if whole < 0.03 or (_noise(np.log(usage[on])) < MOVES and whole < np.inf):
        return None
    near = [(noise(o.calls[e, : o.billed]), e) for e, edge in enumerate(o.edges) if edge.internal and name in {edge.service, edge.caller}]
    best = min(near, default=(np.inf, -1))
    return best[1] if best[0] < 0.6 * whole and best[0] < USE_NOISE else None


def _follows(usage: Array, calls: Array, *, timed: bool) -> bool:
    """Usage follows calls where usage per call hardly moves although the calls do; the unit decides where they do not."""
    on = (calls > 0) & (usage > 0)
    if on.sum() < 3:
        return not timed
    idle = calls == 0
    if idle.any() and (usage[idle] > 0).mean() > 0.5:
        return False
    ratio = np.log(usage[on] / calls[on])
    noise, moves, moved = _noise(ratio), _noise(np.log(calls[on])), _noise(np.log(usage[on]))
    if moves >= MOVES:
        return not timed and (noise < USE_NOISE or noise < moved)
    steps, level = float(np.std(ratio)), float(np.std(np.log(usage[on])))
    if max(steps, level) > 3 * min(steps, level) + 0.02:  # an incident moved one and not the other: that tells
        return steps < level
    return not timed


def _noise(values: Array) -> float:
    return float(robust_spread(values)) if values.size else 0.0


def _held(wanted: Array, hold: int) -> Array:
    """The highest of the last `hold` + 1 hours."""
    out = np.array(wanted, dtype=float)
    for k in range(1, hold + 1):
        out[..., k:] = np.maximum(out[..., k:], wanted[..., :-k])
    return out


def _autoscaler(usage: Array, calls: Array) -> AutoscalerRule | None:
    """The rule that tells most hours exactly; None where usage has no steps or does not move with the calls."""
    levels, counts = np.unique(np.round(usage[usage > 0], 6), return_counts=True)
    common = levels[counts >= max(2, 0.002 * usage.size)]
    if common.size < 2:
        return None
    step = float(np.min(np.diff(common)))
    instances = np.round(usage / step)
    if np.median(np.abs(instances * step - usage)) > 0.01 * step or common[0] < 0.5 * step:
        return None
    best: AutoscalerRule | None = None
    for floor in (f for f in np.unique(instances[instances > 0])[:3] if ((instances > f) & (calls > 0)).sum() >= 10):
        above = (instances > floor) & (calls > 0)
        load = calls[above] / instances[above]
        for hold in (0, 1, 2):
            rule = _best_each(np.quantile(load, np.linspace(0.1, 1.0, 46)), instances, calls, (float(floor), step, hold))
            fine = _best_each(rule.each * np.linspace(0.97, 1.03, 61), instances, calls, (float(floor), step, hold))
            best = max((r for r in (best, rule, fine) if r is not None), key=lambda r: r.match)
    return best if best is not None and best.match >= 0.5 else None


def _best_each(candidates: Array, instances: Array, calls: Array, fixed: tuple[float, float, int]) -> AutoscalerRule:
    floor, step, hold = fixed
    told = _held(np.maximum(floor, np.ceil(calls[None, :] / candidates[:, None] - 1e-9)), hold)
    match = (np.abs(told - instances[None, :]) < 0.5).mean(axis=1)
    ties = np.flatnonzero(match == match.max())
    k = int(ties[ties.size // 2])  # the middle of the interval that tells equally well
    return AutoscalerRule(floor, float(candidates[k]), step, hold, float(match[k]))


# ---------------------------------------------------------------- prices, and the hours that are not billed yet


def _prices(o: Observed) -> tuple[Array, Array]:
    """Price on demand and price of what a commitment covers (M x T); carried over hours without usage."""
    standard_usage = o.usage - o.covered
    with np.errstate(divide="ignore", invalid="ignore"):
        standard = np.where(standard_usage > 1e-12, (o.cost - o.covered_cost) / standard_usage, np.nan)
        covered = np.where(o.covered > 1e-12, o.covered_cost / o.covered, np.nan)
    return _carry(standard), _carry(covered)


def _carry(values: Array) -> Array:
    """The last known value in each hour, the first known one before it; zero where nothing is known."""
    known = np.isfinite(values)
    index = np.where(known, np.arange(values.shape[1])[None, :], -1)
    last = np.maximum.accumulate(index, axis=1)
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)
    filled = np.take_along_axis(values, np.where(last >= 0, last, first[:, None]), axis=1)
    return np.nan_to_num(filled)


def _continued(values: Array, billed: int) -> Array:
    """Later hours of what follows no calls: along the line of the last day where that is one, else as the hours of the last days at today's level."""
    out = values.copy()
    day = values[max(0, billed - 24) : billed]
    x = np.arange(day.size) - (day.size - 1) / 2
    slope = float((x * day).sum() / (x * x).sum()) if day.size > 2 else 0.0
    if day.size and np.abs(day - day.mean() - slope * x).max() <= STRAIGHT * abs(day.mean()):
        out[billed:] = np.maximum(
            day.mean() + slope * ((day.size + 1) / 2 + np.arange(values.size - billed)), 0.0 if day.min() >= 0 else -np.inf
        )
        return out
    usual = _same_hours(values, np.arange(max(0, billed - 6), values.size), billed)
    told, seen = float(usual[: min(6, billed)].sum()), float(values[max(0, billed - 6) : billed].sum())
    level = float(np.clip(seen / told, 0.2, 5.0)) if told > 0 and seen > 0 else 1.0
    out[billed:] = usual[min(6, billed) :] * level
    return out


def _same_hours(values: Array, hours: np.ndarray, billed: int) -> Array:
    """What the same hours of the day had, over the last three billed days before each."""
    out = np.zeros(hours.size)
    for k, t in enumerate(hours):
        back = [h for h in range(int(t) - 24, max(-1, int(t) - 24 * 6), -24) if 0 <= h < billed][:3]
        out[k] = float(np.mean(values[back])) if back else 0.0
    return out


def _nowcast_usage(o: Observed, handled: Array, models: tuple[MeterModel, ...]) -> tuple[Array, Array, Array]:
    """Usage and covered usage with the unbilled hours estimated from the signals; up to which hour each meter's usage is seen."""
    usage, covered, seen = o.usage.copy(), o.covered.copy(), np.full(len(models), o.billed)
    late = slice(o.billed, None)
    for m, model in enumerate(models):
        counted = _counted(o, model, m)
        estimate = _late_usage(o, handled, model, m) if counted is None else counted
        seen[m] = o.billed if counted is None else len(o.hours)
        usage[m, late] = estimate[late]
        recent = o.covered[m, max(0, o.billed - 24) : o.billed]
        covered[m, late] = np.minimum(usage[m, late], float(np.median(recent)) if recent.size else 0.0)
    return usage, covered, seen


def _counted(o: Observed, model: MeterModel, m: int) -> Array | None:
    """Usage as the instances that a signal counts have it; None where no signal counts what this meter does."""
    if model.kind != "time" or model.service is None or o.billed == len(o.hours):
        return None
    instances, recent = o.capacity.get(o.services[model.service]), slice(max(0, o.billed - 24), o.billed)
    if instances is None or not np.isfinite(instances[recent.start :]).all() or not instances[recent].sum() > 0:
        return None
    per = o.usage[m, recent] / np.where(instances[recent] > 0, instances[recent], np.nan)
    return np.asarray(instances * float(np.nanmean(per))) if np.nanstd(per) <= 0.05 * abs(np.nanmean(per)) else None


def _late_usage(o: Observed, handled: Array, model: MeterModel, m: int) -> Array:
    usage, billed = o.usage[m], o.billed
    if model.kind == "use" and model.service is not None:
        calls = handled[model.service] if model.edge is None else o.calls[model.edge]
        index = _of_late(usage[:billed], calls[:billed])
        total = calls[index].sum()
        return np.asarray(calls * (usage[index].sum() / total)) if total > 0 else _continued(usage, billed)
    if model.kind == "time" and model.service is not None and model.rule is not None:
        told = model.rule.usage(handled[model.service])
        gap = float(np.median((usage - told)[max(0, billed - 24) : billed])) if billed else 0.0
        return np.asarray(np.maximum(told + gap, 0.0))
    return _continued(usage, billed)


def _of_late(usage: Array, calls: Array) -> np.ndarray:
    """The hours that tell today's usage per call: the last day with calls, from its last step on."""
    on = np.flatnonzero((usage > 0) & (calls > 0))
    if not on.size:
        return np.flatnonzero(calls > 0)[-24:]
    last = on[on >= on[-1] - WEEK] if on[on >= on[-1] - 23].size < 12 else on[on >= on[-1] - 71]
    level = np.log(usage[last] / calls[last])
    starts = boundaries(level, max(float(hourly_spread(level)), 0.003), penalty=20.0)
    return np.asarray(last[starts[-1] :][-24:])


# ---------------------------------------------------------------- rates as series


def _log_ratio(top: Array, bottom: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((top > 0) & (bottom > 0), np.log(top / np.where(bottom > 0, bottom, 1.0)), np.nan)


def _edge_rates(model: Model) -> list[Raw]:
    o, out = model.observed, []
    for row, edge in enumerate(o.edges):
        calls = o.calls[row]
        begun = _first_active(calls)
        born = begun if begun > 72 else None
        if edge.internal and edge.caller is not None:
            caller = o.services.index(edge.caller)
            if born is not None and model.service_born[caller] > 72 and born - model.service_born[caller] <= 24:
                continue  # a new caller's calls are its own: they go with the edge that calls it
            first = calls - o.retries[row]
            fan_out, retries = _log_ratio(first, model.handled[caller]), _log_ratio(calls, first)
            out.append(_named("fan_out", row, (edge.service, edge.caller, None), fan_out, born))
            out.append(_named("retries", row, (edge.service, edge.caller, None), retries, None))
        elif edge.scheduled:
            out.append(_amount("schedule", row, (edge.service, edge.caller, None), calls if born is not None else _runs_a_day(calls), born))
        else:
            level = _logs(calls) - model.holidays[row]
            out.append(Raw("demand", row, edge.service, None, None, level, born, "flow"))
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
        known = np.where(np.arange(usage.size) < model.seen[m], 1.0, np.nan)
        name = (o.meters["service"][m], None, o.meters["x_UsageType"][m])
        begun = _first_active(o.cost[m, :billed] if meter.kind == "unmetered" else o.usage[m, :billed])
        born = begun if begun > 72 else None
        if meter.kind == "use" and meter.service is not None:
            s = meter.service
            if born is not None and model.service_born[s] > 72 and born <= model.service_born[s] + 24 and not meter.transfer:
                continue  # the line of a new service goes with the edge that calls it
            kind = "cross_region" if meter.transfer else "usage_per_call"
            out.append(_named(kind, m, name, _log_ratio(usage, model.followed(m)) * known, born))
        elif meter.kind == "time" and meter.service is not None:
            kind = "cross_region" if meter.transfer else "capacity"
            told = meter.rule.usage(model.handled[meter.service]) if meter.rule else np.zeros_like(usage)
            out.append(_amount(kind, m, name, (usage - told) * known, born, scale=float(usage[:billed].mean())))
        elif meter.kind == "unlinked":
            out.append(_amount("unlinked_usage", m, name, usage * known, born))
        elif np.count_nonzero(o.cost[m, :billed]) > 0.5 * billed:
            out.append(
                _amount(
                    "unmetered",
                    m,
                    (None, None, None),
                    o.cost[m] * known,
                    born,
                )
            )
        if meter.kind != "unmetered":
            out.extend(_price_rates(model, m, name))
    return out


def _price_rates(model: Model, m: int, name: Name) -> list[Raw]:
    o, billed = model.observed, model.observed.billed
    known = np.where(np.arange(len(o.hours)) < billed, 1.0, np.nan)
    bought = np.where(o.usage[m] - o.covered[m] > 0, 1.0, np.nan)
    out = [_named("unit_price", m, name, _log_ratio(model.price[m], np.ones(len(o.hours))) * known * bought, None)]
    if o.covered[m, :billed].any():
        scale = float(np.max(o.covered[m, :billed]))
        out.append(_amount("unit_price", m, name, o.covered[m] * known, None, scale=scale))
    return out


def _named(kind: str, row: int, name: Name, values: Array, born: int | None) -> Raw:
    return Raw(kind, row, *name, values, born, "ratio")


def _amount(kind: str, row: int, name: Name, values: Array, born: int | None, scale: float | None = None) -> Raw:
    """Over its own mean: for what is zero at times, or constant."""
    defined = values[np.isfinite(values)]
    unit = scale or (float(np.mean(np.abs(defined))) if defined.size else 1.0)
    return Raw(kind, row, *name, values / (unit or 1.0), born, "runs" if kind == "schedule" else "amount")


def _traced(raws: list[Raw]) -> tuple[Rate, ...]:
    """Every rate as a level, those of one style together."""
    out: dict[int, Rate] = {}
    groups: dict[tuple[str, bool], list[int]] = {}
    for k, raw in enumerate(raws):
        groups.setdefault((raw.style, raw.kind in FOLLOWS_NOTHING), []).append(k)
    for (style, loose), members in groups.items():
        fresh = np.array([raws[k].born is not None for k in members])
        traces = trace(style, np.array([raws[k].values for k in members]), fresh, loose=loose)
        for k, t in zip(members, traces, strict=True):
            raw = raws[k]
            out[k] = Rate(t.style, t.level, t.spread, t.drift, raw.kind, raw.row, raw.service, raw.caller, raw.usage_type, raw.born)
    return tuple(out[k] for k in range(len(raws)))
