"""Nowcast: hours that are not billed yet, estimated from live signals and learned rates; and how good such estimates have been.

An hour's estimate is calls x usage per call x price for what is metered by use, the autoscaler's rule or the counted instances for what
is metered by time, and the last days' level for what follows nothing. Nothing that happened after the cut-off is known but the signals.

How far off an estimate is, is measured: on each of the last days the same hours are estimated as they would have been then, and
held against the bill that has come since (`backtest`). Meters of one service err together, so errors are kept day by day and added
up for each set of meters. With n past errors the interval that holds the next one in 80 % of the cases reaches to the
0.8 (n + 1)-th smallest of their sizes (the order statistics of split conformal prediction, Lei et al. 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from costwhy.arrays import Array
from costwhy.behaviours import UNMETERED
from costwhy.model.change_points import boundaries_of
from costwhy.model.commitments import bought_beside
from costwhy.model.levels import WEEK, hourly_spread
from costwhy.model.meters import MeterModel
from costwhy.model.observed import Observed

STRAIGHT = 0.02  # a day whose hours lie this close to a line goes on along it


@dataclass(frozen=True)
class Cutoff:
    """A time in the past, or now: bills are known before hour `billed`, signals before hour `until`."""

    billed: int
    until: int


@dataclass(frozen=True)
class Basis:
    """What estimates rest on: what was observed, calls handled (S x T), each meter's way to follow them, prices (M x T)."""

    observed: Observed
    handled: Array
    meters: tuple[MeterModel, ...]
    price: Array  # on demand, carried over hours without usage
    covered_price: Array  # of what a commitment covers

    @property
    def now(self) -> Cutoff:
        """What is known today."""
        return Cutoff(self.observed.billed, len(self.observed.hours))

    def followed(self, m: int) -> Array:
        """The calls that meter `m` follows (T): those of its service, or of one edge."""
        meter = self.meters[m]
        if meter.edge is not None:
            return np.asarray(self.observed.calls[meter.edge])
        return self.handled[meter.service] if meter.service is not None else np.zeros(len(self.observed.hours))

    @cached_property
    def told(self) -> dict[int, Array]:
        """By meter: what its autoscaler's rule keeps for the calls there were (T)."""
        ruled = ((m, meter) for m, meter in enumerate(self.meters) if meter.kind == "time" and meter.rule and meter.service is not None)
        return {m: meter.rule.usage(self.handled[meter.service]) for m, meter in ruled if meter.rule and meter.service is not None}


@dataclass(frozen=True)
class Estimate:
    """The hours of a cut-off that were not billed then (R meters x H hours). `counted` (R): a signal counts what the meter does."""

    usage: Array
    covered: Array
    cost: Array
    counted: np.ndarray


def basis_of(observed: Observed, handled: Array, meters: tuple[MeterModel, ...]) -> Basis:
    """What estimates rest on, its prices from the bill."""
    standard_usage = observed.usage - observed.covered
    with np.errstate(divide="ignore", invalid="ignore"):
        standard = np.where(standard_usage > 1e-12, (observed.cost - observed.covered_cost) / standard_usage, np.nan)
        covered = np.where(observed.covered > 1e-12, observed.covered_cost / observed.covered, np.nan)
    never = ~np.isfinite(standard).any(axis=1, keepdims=True)  # all of it was covered: that price is the only one known
    return Basis(observed, handled, meters, _carry(np.where(never, covered, standard)), _carry(covered))


def _carry(values: Array) -> Array:
    """The last known value in each hour, the first known one before it; zero where nothing is known."""
    known = np.isfinite(values)
    index = np.where(known, np.arange(values.shape[1])[None, :], -1)
    last = np.maximum.accumulate(index, axis=1)
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)
    filled = np.take_along_axis(values, np.where(last >= 0, last, first[:, None]), axis=1)
    return np.nan_to_num(filled)


# ---------------------------------------------------------------- hours that are not billed at a cut-off


def estimates(known: Basis, rows: Sequence[int], cutoffs: Sequence[Cutoff]) -> list[Estimate]:
    """What is not billed at each cut-off, of these meters, as it would have been estimated then."""
    late = _hours_of_late(known, rows, cutoffs)
    return [_estimate(known, rows, cutoff, late) for cutoff in cutoffs]


def _estimate(known: Basis, rows: Sequence[int], cutoff: Cutoff, late: dict[tuple[int, int], np.ndarray]) -> Estimate:
    o, index = known.observed, np.asarray(rows, dtype=np.intp)
    usage = np.zeros((index.size, cutoff.until - cutoff.billed))
    counted, loose = np.zeros(index.size, dtype=bool), []
    for r, m in enumerate(rows):
        of_signal = _counted(known, m, cutoff)
        counted[r] = of_signal is not None
        estimate = _from_calls(known, m, cutoff, late) if of_signal is None else of_signal
        if estimate is None:
            loose.append(r)
        else:
            usage[r] = estimate
    usage[loose] = _continued(o.usage[index[loose]], cutoff)
    covered = np.minimum(usage, _held_last(o.usage[index], o.covered[index], cutoff.billed)[:, None])
    last = max(cutoff.billed - 1, 0)
    cost = np.maximum(usage - covered, 0.0) * known.price[index, last, None] + covered * known.covered_price[index, last, None]
    unmetered = [r for r, m in enumerate(rows) if known.meters[m].kind == UNMETERED]
    cost[unmetered] = _continued(o.cost[index[unmetered]], cutoff)
    return Estimate(usage, covered, np.asarray(cost), counted)


def _held_last(usage: Array, covered: Array, billed: int) -> Array:
    """What commitments hold at the last of the billed hours (R); no limit where all of the last day was covered."""
    day = slice(max(0, billed - 24), billed)
    told = bought_beside(usage[:, day], covered[:, day])
    whole = ~told.any(axis=1) & (covered[:, day] > 0).any(axis=1)
    return np.where(whole, np.inf, _carry(np.where(told, covered[:, day], np.nan))[:, -1] if billed else 0.0)


def _counted(known: Basis, m: int, cutoff: Cutoff) -> Array | None:
    """Usage as the instances that a signal counts have it; None where no signal counts what this meter does."""
    o, model = known.observed, known.meters[m]
    if model.kind != "time" or model.service is None or cutoff.billed == cutoff.until:
        return None
    instances, recent = o.capacity.get(o.services[model.service]), slice(max(0, cutoff.billed - 24), cutoff.billed)
    if instances is None or not np.isfinite(instances[recent.start : cutoff.until]).all() or not instances[recent].sum() > 0:
        return None
    per = o.usage[m, recent] / np.where(instances[recent] > 0, instances[recent], np.nan)
    mean = float(np.nanmean(per))
    return np.asarray(instances[cutoff.billed : cutoff.until] * mean) if np.nanstd(per) <= 0.05 * abs(mean) else None


def _from_calls(known: Basis, m: int, cutoff: Cutoff, late: dict[tuple[int, int], np.ndarray]) -> Array | None:
    """Usage as the calls have it; None where they tell nothing."""
    o, ahead = known.observed, slice(cutoff.billed, cutoff.until)
    if (cutoff.billed, m) in late:
        calls, index = known.followed(m), late[cutoff.billed, m]
        total = calls[index].sum()
        return np.asarray(calls[ahead] * (o.usage[m][index].sum() / total)) if total > 0 else None
    if m in known.told:
        told, recent = known.told[m], slice(max(0, cutoff.billed - 24), cutoff.billed)
        gap = float(np.median((o.usage[m] - told)[recent])) if cutoff.billed else 0.0
        return np.asarray(np.maximum(told[ahead] + gap, 0.0))
    return None


def _hours_of_late(known: Basis, rows: Sequence[int], cutoffs: Sequence[Cutoff]) -> dict[tuple[int, int], np.ndarray]:
    """By cut-off and meter: the hours that tell that day's usage per call: the last day with calls, from its last step on."""
    out: dict[tuple[int, int], np.ndarray] = {}
    stretches: dict[tuple[int, int], np.ndarray] = {}
    for m in (m for m in rows if known.meters[m].kind == "use" and known.meters[m].service is not None):
        calls, usage = known.followed(m), known.observed.usage[m]
        called = np.flatnonzero(calls > 0)
        both = called[usage[called] > 0]
        for billed in dict.fromkeys(c.billed for c in cutoffs):
            on = both[: np.searchsorted(both, billed)]
            if on.size:
                back = WEEK if on.size - np.searchsorted(on, on[-1] - 23) < 12 else 71
                stretches[billed, m] = on[np.searchsorted(on, on[-1] - back) :]
            else:
                out[billed, m] = called[: np.searchsorted(called, billed)][-24:]
    levels = [np.log(known.observed.usage[m, on] / known.followed(m)[on]) for (_, m), on in stretches.items()]
    for (place, on), starts in zip(stretches.items(), boundaries_of(levels, _spreads(levels), penalty=20.0), strict=True):
        out[place] = on[starts[-1] :][-24:]
    return out


def _spreads(levels: Sequence[Array]) -> list[float]:
    """Noise of each from hour to hour, those of one length together."""
    out, sizes = np.zeros(len(levels)), np.array([level.size for level in levels])
    for size in np.unique(sizes):
        members = np.flatnonzero(sizes == size)
        out[members] = hourly_spread(np.array([levels[k] for k in members.tolist()]))
    return [max(float(spread), 0.003) for spread in out]


def _continued(values: Array, cutoff: Cutoff) -> Array:
    """Later hours of what follows no calls (R x T -> R x H): along the line of the last day where that is one, else as the hours of the last days at today's level."""
    billed, width = cutoff.billed, cutoff.until - cutoff.billed
    day, seen = values[:, max(0, billed - 24) : billed], values[:, max(0, billed - 6) : billed]
    usual = _same_hours(values, np.arange(billed - seen.shape[1], cutoff.until), billed)
    told, was = usual[:, : seen.shape[1]].sum(axis=1), seen.sum(axis=1)
    level = np.where((told > 0) & (was > 0), np.clip(was / np.where(told > 0, told, 1.0), 0.2, 5.0), 1.0)
    out = usual[:, seen.shape[1] :] * level[:, None]
    if not day.shape[1]:
        return np.asarray(out)
    x = np.arange(day.shape[1]) - (day.shape[1] - 1) / 2
    mean = day.mean(axis=1)
    slope = (x * day).sum(axis=1) / (x * x).sum() if day.shape[1] > 2 else np.zeros(len(day))
    straight = np.abs(day - mean[:, None] - slope[:, None] * x).max(axis=1, initial=0.0) <= STRAIGHT * np.abs(mean)
    line = mean[:, None] + slope[:, None] * ((day.shape[1] + 1) / 2 + np.arange(width))
    line = np.maximum(line, np.where(day.min(axis=1, initial=np.inf) >= 0, 0.0, -np.inf)[:, None])
    return np.where(straight[:, None], line, out)


def _same_hours(values: Array, hours: np.ndarray, billed: int) -> Array:
    """What the same hours of the day had, over the last three billed days before each (R x hours)."""
    out = np.zeros((len(values), hours.size))
    for k, t in enumerate(hours):
        back = [h for h in range(int(t) - 24, max(-1, int(t) - 24 * 6), -24) if 0 <= h < billed][:3]
        if back:
            out[:, k] = values[:, back].mean(axis=1)
    return out
