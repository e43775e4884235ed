"""Estimates: hours that are not billed yet, from live signals and learned rates.

    metered by use    calls x usage per call of the last day x price
    metered by time   what the autoscaler's rule keeps, or the instances that a signal counts
    all other         the last days' level, or the last day's line

Nothing after the cut-off is known but the signals, so past estimates can be made again as they
would have been made then, and compared with the bill that has come since: the backtest. Meters of
one service err together, so errors are kept by day and added up for each set of meters. With n past
errors, the interval that holds the next one in 80 % of the cases reaches to the 0.8 (n + 1)-th
smallest of their sizes (the order statistics of split conformal prediction, Lei et al. 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array, Ints, Mask
from costwhy.behaviours import UNMETERED
from costwhy.model.change_points import change_points
from costwhy.model.levels import WEEK, carried, hourly_spread
from costwhy.model.meters import MeterModel, on_demand
from costwhy.model.observed import Observed
from costwhy.text import HALF_CENT

STRAIGHT = 0.02  # relative: a day whose hours lie this close to a line goes on along it
LEAST_RATIO_SPREAD = 0.003  # of the logarithm of usage per call
DAYS = 14  # cut-offs: two of each weekday, and 0.8 (14 + 1) is the 12th error
LEAST_HISTORY = 72  # billed hours before a cut-off
COVERAGE = 0.8  # share of the intervals that hold the bill
PRIOR_ERROR = 0.1  # relative half-width without any past error; each missing day has 1/DAYS of it


@dataclass(frozen=True)
class Cutoff:
    """A time in the past, or now: bills are known before hour `billed`, signals before `until`."""

    billed: int
    until: int

    @property
    def hours(self) -> slice:
        return slice(self.billed, self.until)

    def last(self, hours: int) -> slice:
        return slice(max(0, self.billed - hours), self.billed)


@dataclass(frozen=True)
class Basis:
    """What estimates rest on."""

    observed: Observed
    handled: Array  # S x T, calls handled
    meters: tuple[MeterModel, ...]
    price: Array  # M x T, on demand; carried over hours without usage
    covered_price: Array  # M x T, of what a commitment covers

    @property
    def now(self) -> Cutoff:
        return Cutoff(self.observed.billed, len(self.observed.hours))

    def followed(self, meter: int) -> Array:
        """The calls that the meter follows (T): those of its service, or of one edge."""
        model = self.meters[meter]
        if model.edge is not None:
            return np.asarray(self.observed.calls[model.edge])
        return np.zeros(self.now.until) if model.service is None else self.handled[model.service]

    @cached_property
    def predicted_usage(self) -> dict[int, Array]:
        """By meter: what its autoscaler's rule keeps for the calls (T)."""
        return {
            row: model.rule.usage(self.handled[model.service])
            for row, model in enumerate(self.meters)
            if model.rule is not None and model.service is not None
        }


@dataclass(frozen=True)
class Estimate:
    """The hours after a cut-off (R meters x H hours)."""

    usage: Array
    covered: Array
    cost: Array
    counted: Mask  # R, a signal counts what the meter does


def basis_of(observed: Observed, handled: Array, meters: tuple[MeterModel, ...]) -> Basis:
    """What estimates rest on, with prices from the bill."""
    usage, cost = observed.usage - observed.covered, observed.cost - observed.covered_cost
    with np.errstate(divide="ignore", invalid="ignore"):
        price, covered_price = (
            np.where(used > 1e-12, paid / used, np.nan)
            for used, paid in ((usage, cost), (observed.covered, observed.covered_cost))
        )
    # Where all usage is covered, the covered price is the only one known.
    price = np.where(~np.isfinite(price).any(axis=1, keepdims=True), covered_price, price)
    return Basis(observed, handled, meters, carried(price), carried(covered_price))


# ---------------------------------------------------------------- hours after a cut-off


def estimates(basis: Basis, rows: Sequence[int], cutoffs: Sequence[Cutoff]) -> list[Estimate]:
    """The hours after each cut-off of these meters, as they would have been estimated then."""
    telling, index = _telling_hours(basis, rows, cutoffs), np.asarray(rows, dtype=np.int64)
    observed, out = basis.observed, list[Estimate]()
    for cutoff in cutoffs:
        last, counted = max(cutoff.billed - 1, 0), np.zeros(index.size, dtype=bool)
        usage = _continued(observed.usage[index], cutoff)
        for k, row in enumerate(index.tolist()):
            by_signal = _counted(basis, row, cutoff)
            counted[k] = by_signal is not None
            estimate = _from_calls(basis, row, cutoff, telling) if by_signal is None else by_signal
            if estimate is not None:
                usage[k] = estimate
        covered = np.minimum(
            usage, _last_commitment(observed.usage[index], observed.covered[index], cutoff)[:, None]
        )
        price, covered_price = (p[index, last, None] for p in (basis.price, basis.covered_price))
        cost = np.maximum(usage - covered, 0.0) * price + covered * covered_price
        unmetered = [k for k, row in enumerate(rows) if basis.meters[row].kind == UNMETERED]
        cost[unmetered] = _continued(observed.cost[index[unmetered]], cutoff)
        out.append(Estimate(usage, covered, np.asarray(cost), counted))
    return out


def _last_commitment(usage: Array, covered: Array, cutoff: Cutoff) -> Array:
    """The commitment in the last billed hour (R); no limit where all of its day was covered."""
    if not cutoff.billed:
        return np.zeros(len(usage))
    day = cutoff.last(24)
    exact = on_demand(usage[:, day], covered[:, day])
    whole = ~exact.any(axis=1) & (covered[:, day] > 0).any(axis=1)
    return np.where(whole, np.inf, carried(np.where(exact, covered[:, day], np.nan))[:, -1])


def _counted(basis: Basis, row: int, cutoff: Cutoff) -> Array | None:
    observed, model = basis.observed, basis.meters[row]
    if model.kind != "time" or model.service is None or cutoff.billed == cutoff.until:
        return None
    instances, day = observed.capacity.get(observed.services[model.service]), cutoff.last(24)
    known = instances is not None and np.isfinite(instances[day.start : cutoff.until]).all()
    if instances is None or not known or not instances[day].sum() > 0:
        return None
    each = observed.usage[row, day] / np.where(instances[day] > 0, instances[day], np.nan)
    mean = float(np.nanmean(each))
    return instances[cutoff.hours] * mean if np.nanstd(each) <= 0.05 * abs(mean) else None


def _from_calls(
    basis: Basis, row: int, cutoff: Cutoff, telling: dict[tuple[int, int], Ints]
) -> Array | None:
    usage = basis.observed.usage[row]
    if (cutoff.billed, row) in telling:
        calls, hours = basis.followed(row), telling[cutoff.billed, row]
        total = calls[hours].sum()
        return np.asarray(calls[cutoff.hours] * (usage[hours].sum() / total)) if total > 0 else None
    if row in basis.predicted_usage:
        predicted, day = basis.predicted_usage[row], cutoff.last(24)
        gap = float(np.median((usage - predicted)[day])) if cutoff.billed else 0.0
        return np.asarray(np.maximum(predicted[cutoff.hours] + gap, 0.0))
    return None


def _telling_hours(
    basis: Basis, rows: Sequence[int], cutoffs: Sequence[Cutoff]
) -> dict[tuple[int, int], Ints]:
    """By cut-off and meter that follows calls: the hours with its latest usage per call.

    The last 24 hours with usage, from the last step of usage per call on.
    """
    hours: dict[tuple[int, int], Ints] = {}
    recent: dict[tuple[int, int], Ints] = {}
    for row in (row for row in rows if basis.meters[row].kind == "use"):
        called = np.flatnonzero(basis.followed(row) > 0)
        used = called[basis.observed.usage[row][called] > 0]
        for billed in dict.fromkeys(cutoff.billed for cutoff in cutoffs):
            known = used[: np.searchsorted(used, billed)]
            if known.size:
                rare = known.size - np.searchsorted(known, known[-1] - 23) < 12
                start = np.searchsorted(known, known[-1] - (WEEK if rare else 71))
                recent[billed, row] = known[start:]
            else:
                hours[billed, row] = called[: np.searchsorted(called, billed)][-24:]
    ratios = [
        np.log(basis.observed.usage[row, known] / basis.followed(row)[known])
        for (_, row), known in recent.items()
    ]
    spreads, sizes = np.zeros(len(ratios)), np.array([ratio.size for ratio in ratios])
    for members in (np.flatnonzero(sizes == size) for size in np.unique(sizes)):
        spreads[members] = hourly_spread(np.array([ratios[k] for k in members.tolist()]))
    steps = change_points(ratios, np.maximum(spreads, LEAST_RATIO_SPREAD).tolist(), penalty=20.0)
    for (key, known), starts in zip(recent.items(), steps, strict=True):
        hours[key] = known[starts[-1] :][-24:]
    return hours


def _continued(values: Array, cutoff: Cutoff) -> Array:
    """Extrapolates series that follow no calls (R x T -> R x H).

    Linear if the last day is linear; else the mean of the same hours of the last three days, scaled
    to the level of the last six hours.
    """
    day, recent = values[:, cutoff.last(24)], values[:, cutoff.last(6)]
    size = day.shape[1]
    hours = range(cutoff.billed - recent.shape[1], cutoff.until)
    usual = np.zeros((len(values), len(hours)))  # the mean of the same hour of three billed days
    for k, t in enumerate(hours):
        back = range(t - 24, max(-1, t - 24 * 6), -24)
        if billed := [hour for hour in back if 0 <= hour < cutoff.billed][:3]:
            usual[:, k] = values[:, billed].mean(axis=1)
    expected, actual = usual[:, : recent.shape[1]].sum(axis=1), recent.sum(axis=1)
    both = (expected > 0) & (actual > 0)
    scale = np.where(both, np.clip(actual / np.where(both, expected, 1.0), 0.2, 5.0), 1.0)
    out = usual[:, recent.shape[1] :] * scale[:, None]
    if not size:
        return np.asarray(out)
    x = np.arange(size) - (size - 1) / 2
    mean = day.mean(axis=1, keepdims=True)
    slope = (x * day).sum(axis=1, keepdims=True) / ((x * x).sum() if size > 2 else np.inf)
    off = np.abs(day - mean - slope * x).max(axis=1, keepdims=True, initial=0.0)
    line = mean + slope * ((size + 1) / 2 + np.arange(cutoff.until - cutoff.billed))
    floor = np.where(day.min(axis=1, keepdims=True, initial=np.inf) >= 0, 0.0, -np.inf)
    return np.where(off <= STRAIGHT * np.abs(mean), np.maximum(line, floor), out)


# ---------------------------------------------------------------- backtest


@dataclass(frozen=True)
class Backtest:
    """Past estimates and the bill, in dollars (D cut-offs, newest first; R meters)."""

    cutoffs: tuple[Cutoff, ...]
    estimated: Array  # D x R
    billed: Array  # D x R

    @cached_property
    def errors(self) -> Array:
        """Bill over estimate, less 1 (D x R); NaN: the meter did not exist yet."""
        exists = np.abs(self.estimated) > 1e-9
        ratio = self.billed / np.where(exists, self.estimated, 1.0) - 1.0
        return np.where(exists, ratio, np.where(self.billed == 0.0, 0.0, np.nan))

    def half_width(self, dollars: Array, since: int = 0) -> float:
        """Half-width of the COVERAGE interval of an estimate, in dollars.

        dollars  (R) what an error of each meter's usage weighs, as a rule its estimate
        since    cut-offs before this one of the list are not known yet

        A day counts if its errors are known for half of these dollars.
        """
        part, weight = slice(since, since + DAYS), np.abs(dollars)
        known = np.isfinite(self.errors[part]) & (self.estimated[part] != 0.0)
        share = (known * weight).sum(axis=1)
        enough = share >= 0.5 * weight.sum() if weight.any() else np.zeros(len(share), dtype=bool)
        off = (np.where(known, self.errors[part], 0.0) * dollars).sum(axis=1)[enough]
        off = off * weight.sum() / share[enough]
        return half_width(off, PRIOR_ERROR * float(weight.sum()))


def half_width(errors: Array, prior: float, independent: float | None = None) -> float:
    """Half-width of the COVERAGE interval from past errors; each missing day counts as `prior`.

    independent: how many of the errors are independent; None: all
    """
    n = errors.size
    if not n:
        return prior
    telling, share = independent or n, min(1.0, n / DAYS)
    size = float(
        np.interp(COVERAGE * (telling + 1) / telling * n - 1, np.arange(n), np.sort(np.abs(errors)))
    )
    return share * size + (1.0 - share) * prior


def independent_days(errors: Array) -> float:
    """How many independent errors tell as much as these of consecutive days.

    n (1 - r) / (1 + r), r the correlation of neighbours (Bartlett 1935)
    """
    squares = float(np.square(errors).sum())
    r = max(0.0, float((errors[1:] * errors[:-1]).sum()) / squares if squares > 0 else 0.0)
    return max(1.0, errors.size * (1 - r) / (1 + r))


def backtest(basis: Basis, rows: Sequence[int], hours: slice, days: int = DAYS) -> Backtest:
    """The last days' estimates of these hours after the cut-off, at today's delay.

    hours: 0 is the first that is not billed at the cut-off

    A cut-off lies at today's hour of the day, so far back that all it estimated is billed now. How
    meters follow calls is today's knowledge; levels, ratios and prices are those of the cut-off.
    """
    observed, lag = basis.observed, basis.now.until - basis.now.billed
    newest = observed.billed - 24 * -(-lag // 24)
    ends = [newest - 24 * k for k in range(days)] if lag else []
    cutoffs = tuple(Cutoff(end, end + lag) for end in ends if end >= LEAST_HISTORY)
    index, shape = np.asarray(rows, dtype=np.int64), (len(cutoffs), len(rows))
    estimated = [e.cost[:, hours].sum(axis=1) for e in estimates(basis, rows, cutoffs)]
    billed = [observed.cost[index, c.hours][:, hours].sum(axis=1) for c in cutoffs]
    return Backtest(cutoffs, np.array(estimated).reshape(shape), np.array(billed).reshape(shape))


def past_estimates(basis: Basis, rows: Sequence[int]) -> pl.DataFrame:
    """Estimates of the last DAYS days by service, and the bill: `tables.NOWCAST`, newest first.

    Made at today's delay; each day's interval rests on the errors that were known on that day.
    Empty where every hour is billed.

    rows: meters that count
    """
    observed, lag = basis.observed, basis.now.until - basis.now.billed
    past = backtest(basis, rows, slice(None), 2 * DAYS)
    names = (
        observed.meters[list(rows)]
        .select(pl.coalesce("service", "ServiceName", pl.lit("charges")))["service"]
        .to_numpy()
    )
    by_name = {name: names == name for name in sorted(set(names))}
    out: list[dict[str, object]] = []
    for day, cutoff in enumerate(past.cutoffs[:DAYS]):
        for name, members in [(None, np.ones(names.size, dtype=bool)), *by_name.items()]:
            estimated, billed = (
                float(dollars[day, members].sum()) for dollars in (past.estimated, past.billed)
            )
            if not estimated and not billed:
                continue
            width = past.half_width(past.estimated[day] * members, day + -(-lag // 24))
            out.append(
                {
                    "day": observed.hours[cutoff.billed],
                    "hours": lag,
                    "service": name,
                    "estimated_cost": estimated,
                    "billed_cost": billed,
                    "error": estimated - billed,
                    "low": estimated - width,
                    "high": estimated + width,
                    "inside": abs(estimated - billed) <= width + HALF_CENT,
                }
            )
    return tables.NOWCAST.fit(pl.DataFrame(out, schema=tables.NOWCAST.schema))
