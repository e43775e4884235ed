"""Baselines: what a rate would have been in a window, from hours in which nothing moved it.

demand           pattern of the week x growth x level of the last week (Holt-Winters without
                 its smoothing), the level interpolated to that after the window where known
schedule         pattern of the week
ratios           ratio of sums over the last week: a nightly job has no hourly ratio
prices           median of the last three days
other amounts    median of the last three days, or the pattern of the week where that fits
                 the last two weeks better
what is new      zero
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import linregress

from costwhy.arrays import Array, Ints, Mask
from costwhy.behaviours import DEMAND, SCHEDULE, UNIT_PRICE, UNMETERED
from costwhy.model.levels import WEEK, pattern
from costwhy.model.rates import Model, Rate

RECENT = 72  # hours whose median is a level
AFTERMATH = 3  # hours after a window in which its spike may still fade
PAST_DAYS = 14  # on which a baseline is tried
NEW_WITHIN = 24  # hours before a window: a rate that began since then is new


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
        runs = np.where(usable, model.observed.calls[rate.row], np.nan)
        values = np.maximum(pattern(runs)[window.hours], 0.0)
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
        line = linregress(names, [np.median(ratio[days == day]) for day in names])
        slope, error = float(line.slope), float(line.stderr)
        growth = slope / 24 * slope**2 / (slope**2 + 4 * error**2) if slope else 0.0
    grown = week * np.exp(growth * (np.arange(week.size) - float(last.mean())))
    level = np.full(window.width, _level(calls, grown, last))
    if after.size >= 48:
        hours = np.arange(window.start, window.end)
        share = (hours - last.mean()) / (after.mean() - last.mean())
        level = level ** (1 - share) * _level(calls, grown, after) ** share
    return np.asarray(grown[window.hours] * level * holiday[window.hours])


def _level(calls: Array, expected: Array, index: Ints) -> float:
    """Calls over what was expected, the median over days: one odd day does not change it."""
    by_day = (index[index // 24 == day] for day in np.unique(index // 24))
    return float(np.median([calls[hours].sum() / expected[hours].sum() for hours in by_day]))
