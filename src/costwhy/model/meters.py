"""Meters: how each of them follows the calls of its service: by use, by time as far as an autoscaler lets it, or not at all."""

from dataclasses import dataclass

import numpy as np

from costwhy.arrays import Array
from costwhy.behaviours import UNMETERED
from costwhy.model.levels import robust_spread
from costwhy.model.observed import Observed

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


def learn(observed: Observed, handled: Array) -> tuple[MeterModel, ...]:
    """How each meter follows the calls that its service handles (S x T), from the billed hours."""
    born = np.array([first_active(row) for row in handled], dtype=float) if handled.size else np.zeros(0)
    return tuple(_learn(observed, handled, born, m) for m in range(observed.meters.height))


def first_active(row: Array) -> int:
    """First hour that has something; 0 where none has."""
    seen = np.flatnonzero(row > 0)
    return int(seen[0]) if seen.size else 0


def _learn(o: Observed, handled: Array, born: Array, m: int) -> MeterModel:
    usage = o.usage[m, : o.billed]
    usage_type, unit, service = (o.meters[name][m] for name in ("x_UsageType", "ConsumedUnit", "service"))
    transfer = any(mark.lower() in (usage_type or "").lower() for mark in TRANSFER_MARKS)
    if not np.any(usage > 0) or o.meters["ChargeCategory"][m] not in {"Usage", None}:
        return MeterModel(UNMETERED, None, None, None, transfer)
    if service not in o.services or not handled[o.services.index(service)].any():
        return MeterModel("unlinked", None, None, None, transfer)
    s = o.services.index(service)
    calls = handled[s, : o.billed]
    timed = any(mark in (unit or "").lower() for mark in TIMED_UNITS) and "lcu" not in (unit or "").lower()
    if born[s] > 48 and first_active(usage) >= born[s] - 24:
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
    if timed and idle.sum() >= 24 and not usage[idle].any() and on.sum() > 0.95 * (usage > 0).sum():
        return noise < USE_NOISE  # the hours of a job's tasks: none while it does not run, as many for each run
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
