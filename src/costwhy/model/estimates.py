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
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.commitments import bought_beside
from costwhy.levels import WEEK, hourly_spread
from costwhy.meters import MeterModel
from costwhy.observed import Array, Observed
from costwhy.segments import boundaries_of

STRAIGHT = 0.02  # a day whose hours lie this close to a line goes on along it
DAYS = 14  # cut-offs that are looked back on: two of each weekday, and 0.8 (14 + 1) is the 12th
LEAST_HISTORY = 72  # hours before a cut-off: less tells nothing
COVERAGE = 0.8  # share of the intervals that shall hold the bill
CLOSED_AFTER = 5  # day of the month until which the provider may restate the month before
CENT = 0.005  # dollars: bills are held against estimates to the cent
PRIOR_ERROR = 0.1  # relative half-width until bills have said otherwise; each day looked back on takes 1/DAYS of its weight


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


def basis(observed: Observed, handled: Array, meters: tuple[MeterModel, ...]) -> Basis:
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
    unmetered = [r for r, m in enumerate(rows) if known.meters[m].kind == "unmetered"]
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


# ---------------------------------------------------------------- how good estimates have been


@dataclass(frozen=True)
class Backtest:
    """Past estimates against the bill: dollars of the same hours after each cut-off (D cut-offs, newest first; R meters)."""

    cutoffs: tuple[Cutoff, ...]
    estimated: Array  # D x R
    billed: Array  # D x R

    @cached_property
    def errors(self) -> Array:
        """How much more was billed than estimated, relative to the estimate (D x R); NaN: the meter was not there yet."""
        there = np.abs(self.estimated) > 1e-9
        ratio = self.billed / np.where(there, self.estimated, 1.0) - 1.0
        return np.where(there, ratio, np.where(self.billed == 0.0, 0.0, np.nan))

    def half_width(self, dollars: Array, since: int = 0) -> float:
        """Dollars to each side of an estimate that hold the bill in COVERAGE of the cases.

        dollars (R): what an error of each meter's usage weighs: its estimate, where nothing else is known. since: cut-offs before this
        one of the list are not known yet. A day counts where it tells of half of these dollars.
        """
        errors, weight = self.errors[since : since + DAYS], np.abs(dollars)
        known = np.isfinite(errors) & (self.estimated[since : since + DAYS] != 0.0)
        told = (known * weight).sum(axis=1)
        days = np.flatnonzero(told >= 0.5 * weight.sum()) if weight.any() else np.zeros(0, dtype=int)
        off = (np.where(known, errors, 0.0) * dollars).sum(axis=1)[days] * weight.sum() / told[days]
        prior = PRIOR_ERROR * float(weight.sum())
        return held_by(off, prior)


def held_by(errors: Array, prior: float, independent: float | None = None) -> float:
    """The size of error that the next one stays under in COVERAGE of the cases, from past ones; each that is missing to DAYS counts as `prior`.

    independent: how many of the errors tell something of their own; None: all.
    """
    n = errors.size
    if not n:
        return prior
    telling, share = independent or n, min(1.0, n / DAYS)
    rank = COVERAGE * (telling + 1) / telling * n - 1
    return share * float(np.interp(rank, np.arange(n), np.sort(np.abs(errors)))) + (1.0 - share) * prior


def independent_days(errors: Array) -> float:
    """How many independent errors tell as much as these of consecutive days: n (1 - r) / (1 + r), r the correlation of neighbours (Bartlett 1935)."""
    squares = float(np.square(errors).sum())
    r = float((errors[1:] * errors[:-1]).sum()) / squares if squares > 0 else 0.0
    return max(1.0, errors.size * (1 - max(r, 0.0)) / (1 + max(r, 0.0)))


def backtest(known: Basis, rows: Sequence[int], hours: slice, days: int = DAYS) -> Backtest:
    """The last days' estimates of these hours after the cut-off (0: the first that is not billed), at today's delay, against the bill.

    A cut-off lies at today's hour of the day, so far back that all it estimated is billed now. How meters follow calls is today's
    knowledge; levels, ratios and prices are those known at the cut-off.
    """
    o, lag = known.observed, known.now.until - known.now.billed
    newest = o.billed - 24 * -(-lag // 24)
    places = [newest - 24 * k for k in range(days) if newest - 24 * k >= LEAST_HISTORY] if lag else []
    cutoffs = tuple(Cutoff(c, c + lag) for c in places)
    index = np.asarray(rows, dtype=np.intp)
    estimated = [e.cost[:, hours].sum(axis=1) for e in estimates(known, rows, cutoffs)]
    billed = [o.cost[index, c.billed : c.until][:, hours].sum(axis=1) for c in cutoffs]
    shape = (len(cutoffs), index.size)
    return Backtest(cutoffs, np.array(estimated).reshape(shape), np.array(billed).reshape(shape))


def ledger(known: Basis, rows: Sequence[int]) -> pl.DataFrame:
    """Estimates of the last DAYS days by service, made at today's delay, against the bill: `tables.NOWCAST`, newest day first.

    Each day's interval rests on the errors that were known on that day. rows: meters that count. Empty where every hour is billed.
    """
    o, lag = known.observed, known.now.until - known.now.billed
    past, later = backtest(known, rows, slice(None), 2 * DAYS), -(-lag // 24)
    names = o.meters[list(rows)].select(pl.coalesce("service", "ServiceName", pl.lit("charges")))["service"].to_numpy()
    sets: dict[str | None, np.ndarray] = {None: np.ones(names.size, dtype=bool)} | {n: names == n for n in sorted(set(names))}
    out: list[dict[str, object]] = []
    for d, cutoff in enumerate(past.cutoffs[:DAYS]):
        for name, members in sets.items():
            estimated, billed = (float(dollars[d, members].sum()) for dollars in (past.estimated, past.billed))
            if not estimated and not billed:
                continue
            width = past.half_width(past.estimated[d] * members, d + later)
            low, high = estimated - width, estimated + width
            row = {"day": o.hours[cutoff.billed], "hours": lag, "service": name, "estimated_cost": estimated, "billed_cost": billed}
            out.append(row | {"error": estimated - billed, "low": low, "high": high, "inside": abs(estimated - billed) <= width + CENT})
    return tables.NOWCAST.fit(pl.DataFrame(out, schema=tables.NOWCAST.schema)) if out else tables.NOWCAST.empty()


def states(o: Observed) -> list[str]:
    """Of each hour: `estimated` where it has no bill, `provisional` where its month is not closed, `final`.

    A month is closed once the next one is older than CLOSED_AFTER days: until then the provider restates it.
    """
    month = o.as_of.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if o.as_of.day <= CLOSED_AFTER:
        month = (month - timedelta(days=1)).replace(day=1)
    return ["estimated" if t >= o.billed else "provisional" if hour >= month else "final" for t, hour in enumerate(o.hours)]
