"""Meters: how the usage of each follows the calls of its service, and what commitments cover.

    use         usage = q x calls: requests, bytes, GB-seconds
    time        usage = what an autoscaler's rule keeps for the calls, or what it was before
    unlinked    no signal counts calls of its service
    unmetered   a charge without a quantity: tax, credits, fees

The autoscaler's rule is learned from the billed hours (`autoscaler.py`).

A reservation or a savings plan covers some usage. A bill shows what was covered: the lesser of the
usage and the commitment. With on-demand usage in an hour, covered usage equals the commitment;
otherwise it is a lower bound. The commitment is taken to change as seldom as that allows: a stretch
of hours goes on while one quantity fits all of them (the fewest points that meet all intervals,
found first to last). So usage that outgrows a commitment does not change it, and a commitment that
ends does.
"""

from dataclasses import dataclass, replace

import numpy as np

from costwhy.arrays import Array, Mask
from costwhy.behaviours import UNMETERED
from costwhy.model.autoscaler import AutoscalerRule, learn_rule, learn_rule_by_day
from costwhy.model.levels import robust_spread
from costwhy.model.observed import Observed, days_of

TRANSFER_MARKS = (  # in a usage type: bytes between places
    *("datatransfer", "out-bytes", "in-bytes", "regional-bytes", "natgateway-bytes"),
    *("vpcendpoint-bytes", "transitgateway-bytes", "interzone", "interregion", "inter-region"),
    "xaz",
)
TIMED_UNITS = ("hr", "hour", "-mo", "month", "gb-hours", "day")
USE_NOISE = 0.08  # usage per call of what is metered by use has a relative spread under this
MOVES = 0.08  # calls with a relative spread under this do not show what usage follows
NEW_AFTER = 48  # hours: a service whose calls begin later than this is new
TOLERANCE = 0.02  # relative: one commitment may be metered so far off from hour to hour


@dataclass(frozen=True)
class MeterModel:
    """How one meter follows the calls of its service.

    kind      use, time, unlinked or unmetered
    transfer  its usage is bytes between places
    service   row of the service whose calls it follows
    edge      row of the edge, where usage follows the calls of one edge (bytes to one far caller)
    rule      of the autoscaler, for `time`
    """

    kind: str
    transfer: bool
    service: int | None = None
    edge: int | None = None
    rule: AutoscalerRule | None = None


def learn(observed: Observed, handled: Array) -> tuple[MeterModel, ...]:
    """How each meter follows the calls that its service handles (S x T), from the billed hours."""
    return tuple(_learn(observed, handled, row) for row in range(observed.meters.height))


def first_active(series: Array) -> int:
    """First hour above zero; 0 where there is none."""
    active = np.flatnonzero(series > 0)
    return int(active[0]) if active.size else 0


def learn_kind(observed: Observed, handled: Array, row: int) -> MeterModel:
    """How one meter follows the calls, without the rule of an autoscaler.

    observed, handled: by the hour, or the sums by the day
    """
    meter, usage = observed.meters.row(row, named=True), observed.usage[row, : observed.billed]
    usage_type, unit = ((meter[name] or "").lower() for name in ("x_UsageType", "ConsumedUnit"))
    transfer = any(mark in usage_type for mark in TRANSFER_MARKS)
    if not np.any(usage > 0) or meter["ChargeCategory"] not in {"Usage", None}:
        return MeterModel(UNMETERED, transfer)
    service = observed.service_rows.get(meter["service"])
    if service is None or not handled[service].any():
        return MeterModel("unlinked", transfer)
    calls, begin = handled[service, : observed.billed], first_active(handled[service])
    timed = any(mark in unit for mark in TIMED_UNITS) and "lcu" not in unit
    if begin > NEW_AFTER and first_active(usage) >= begin - 24:
        return MeterModel("use", transfer, service)  # a new service: all of its cost came with it
    edge = None
    if not timed:
        edge = _edge_paid(observed, usage, calls, service)
        edge = _edge_followed(observed, usage, calls, service) if edge is None else edge
    if edge is not None or _follows(usage, calls, timed=timed):
        return MeterModel("use", transfer, service, edge)
    return MeterModel("time", transfer, service)


def _learn(observed: Observed, handled: Array, row: int) -> MeterModel:
    model = learn_kind(observed, handled, row)
    if model.kind != "time" or model.service is None:
        return model
    billed = slice(0, observed.billed)
    usage, calls = observed.usage[row, billed], handled[model.service, billed]
    rule = learn_rule(usage, calls)
    if rule is None and observed.by_day[row]:
        days = days_of(observed.hours[billed], observed.begin_of(row))
        rule = learn_rule_by_day(usage, calls, days)
    return replace(model, rule=rule)


def _edge_paid(observed: Observed, usage: Array, calls: Array, service: int) -> int | None:
    """The calls to something that has no bill of its own, such as a model, that the usage follows.

    They are billed to the caller: attempts cost, not what the caller was asked for. Incidents tell
    which of the two it is, so the spread here is the one that sees them.
    """
    name, known = observed.services[service], usage > 0
    whole = _steps(usage, calls)
    edges = [
        (_steps(usage, observed.calls[row, : observed.billed]), row)
        for row, edge in enumerate(observed.edges)
        if edge.caller == name
        and not edge.scheduled
        and edge.service not in observed.billed_services
    ]
    least, row = min(edges, default=(np.inf, -1))
    clear = MOVES < whole < np.inf and least < min(0.5 * whole, USE_NOISE)
    return row if clear and known.sum() >= 24 else None


def _steps(usage: Array, calls: Array) -> float:
    """Standard deviation of usage per call (logarithm), incidents too; infinite if often idle."""
    both = (usage > 0) & (calls > 0)
    if both.sum() < 0.9 * max((usage > 0).sum(), (calls > 0).sum()):
        return np.inf
    return float(np.std(np.log(usage[both] / calls[both]))) if both.any() else np.inf


def _edge_followed(observed: Observed, usage: Array, calls: Array, service: int) -> int | None:
    """The edge of the service whose calls the usage follows clearly better than all its calls."""
    name, on = observed.services[service], usage > 0
    if on.sum() < 24:
        return None

    def noise(series: Array) -> float:
        both = on & (series > 0)
        rare = both.sum() < 0.9 * max(on.sum(), (series > 0).sum())
        return np.inf if rare else _noise(usage[both] / series[both])

    whole = noise(calls)
    if whole < 0.03 or (_noise(usage[on]) < MOVES and whole < np.inf):
        return None
    edges = [
        (noise(observed.calls[row, : observed.billed]), row)
        for row, edge in enumerate(observed.edges)
        if edge.internal and name in {edge.service, edge.caller}
    ]
    least, row = min(edges, default=(np.inf, -1))
    return row if least < 0.6 * whole and least < USE_NOISE else None


def _follows(usage: Array, calls: Array, *, timed: bool) -> bool:
    """Usage follows calls where usage per call hardly moves although the calls do.

    Where the calls do not move, the unit decides.
    """
    on, idle = (calls > 0) & (usage > 0), calls == 0
    if on.sum() < 3:
        return not timed
    if idle.any() and (usage[idle] > 0).mean() > 0.5:
        return False
    ratio = usage[on] / calls[on]
    noise, calls_move, usage_moves = _noise(ratio), _noise(calls[on]), _noise(usage[on])
    if timed and idle.sum() >= 24 and not usage[idle].any() and on.sum() > 0.95 * (usage > 0).sum():
        return noise < USE_NOISE  # hours of a job's tasks: none while it does not run
    if calls_move >= MOVES:
        return not timed and (noise < USE_NOISE or noise < usage_moves)
    ratio_steps, usage_steps = float(np.std(np.log(ratio))), float(np.std(np.log(usage[on])))
    # An incident moved one of them and not the other.
    apart = max(ratio_steps, usage_steps) > 3 * min(ratio_steps, usage_steps) + 0.02
    return ratio_steps < usage_steps if apart else not timed


def _noise(values: Array) -> float:
    return float(robust_spread(np.log(values))) if values.size else 0.0


# ---------------------------------------------------------------- commitments


def committed(usage: Array, covered: Array) -> Array:
    """The commitment in each hour (M x T, in the meter's unit); zero where nothing is covered.

    usage, covered: M x T, all usage and the part of it that a commitment covered
    """
    rows = np.flatnonzero((covered > 0).any(axis=1))
    if not rows.size:
        return covered.copy()
    # Exact: covered usage equals the commitment.
    low, exact = covered[rows], on_demand(usage[rows], covered[rows])
    high, out = np.where(exact, low, np.inf), covered.copy()
    stretch = np.zeros(low.shape, dtype=np.int64)
    least, most = np.zeros(rows.size), np.full(rows.size, np.inf)
    for t in range(low.shape[1]):  # a new one begins where no quantity fits this hour too
        new = (low[:, t] > most * (1 + TOLERANCE)) | (high[:, t] < least * (1 - TOLERANCE))
        least = np.where(new, low[:, t], np.maximum(least, low[:, t]))
        most = np.where(new, high[:, t], np.minimum(most, high[:, t]))
        stretch[:, t] = new
    stretch = stretch.cumsum(axis=1)
    stretch = (stretch + np.arange(rows.size)[:, None] * (stretch.max() + 1)).ravel()
    least, most = np.zeros(stretch.max() + 1), np.full(stretch.max() + 1, np.inf)
    np.maximum.at(least, stretch, low.ravel())
    np.minimum.at(most, stretch, high.ravel())
    one = np.where(np.isfinite(most), most, least)[stretch].reshape(low.shape)
    out[rows] = np.where(exact, low, np.maximum(one, low))
    return out


def on_demand(usage: Array, covered: Array) -> Mask:
    """Hours in which more was used than covered (of any shape)."""
    return np.asarray(usage - covered > 1e-9 * np.abs(usage))
