"""TODO model/baseline.py"""

from dataclasses import dataclass

import numpy as np

from costwhy.arrays import Array
from costwhy.behaviours import DEMAND, ENTRIES, FAN_OUT, RATIOS, RETRIES, SCHEDULE, UNIT_PRICE, UNMETERED
from costwhy.model.levels import WEEK, pattern
from costwhy.model.rates import Model, Rate

BASE_HOURS = WEEK  # ratios hardly move: their normal is that of the last week before
RECENT = 72
AFTERMATH = 3  # hours after a pulse in which it may still fade
PAST_DAYS = 14  # on which a normal is tried


@dataclass(frozen=True)
class Window:
    """Hours [start, end) as indices."""

    start: int
    end: int

    @property
    def hours(self) -> slice:
        """For arrays over the hours."""
        return slice(self.start, self.end)


@dataclass(frozen=True)
class Baseline:
    """A rate and what it would normally have been in the window."""

    rate: Rate
    values: Array  # one value for each hour of the window; its meaning follows the rate's kind


def baseline(model: Model, rate: Rate, window: Window, quiet: np.ndarray | None = None) -> Baseline:
    """What the rate would have been in the window, from the hours before it. `quiet` (T): hours that may serve as such."""
    o, width = model.observed, window.end - window.start
    calm = np.ones(len(o.hours), dtype=bool) if quiet is None else quiet.copy()
    after = _after(calm, window) if rate.kind == DEMAND else np.zeros(0, dtype=int)
    calm[window.start :] = False
    if rate.first_hour is not None and rate.first_hour >= window.start - 24:
        return Baseline(rate, np.zeros(width))
    if rate.kind in RATIOS:
        first = o.calls[rate.row] - o.retries[rate.row]
        top, bottom = (o.calls[rate.row], first) if rate.kind == RETRIES else (first, model.handled[o.services.index(rate.caller or "")])
        return Baseline(rate, np.full(width, _ratio_before(top, bottom, calm)))
    if rate.kind == SCHEDULE:
        return Baseline(rate, np.maximum(pattern(np.where(calm, o.calls[rate.row], np.nan))[window.hours], 0.0))
    if rate.kind == DEMAND:
        return Baseline(rate, _calls_around(model, rate, window, (calm, after)))
    meter = model.meters[rate.row]
    if rate.kind == UNIT_PRICE:
        return Baseline(rate, _price_before(model, rate, window, calm))
    if rate.kind == UNMETERED:
        return Baseline(rate, _level_before(o.cost[rate.row], window, calm))
    if meter.kind == "use":
        return Baseline(rate, np.full(width, _ratio_before(model.usage[rate.row], model.followed(rate.row), calm)))
    told = predicted_usage(model, rate.row, model.handled)
    return Baseline(rate, _level_before(model.usage[rate.row] - told, window, calm))


def baseline_errors(model: Model, rate: Rate, hours: Window, ahead: int, quiet: np.ndarray) -> Array:
    """How far off the normal of a rate of calls was on earlier days, `ahead` hours (at most a week) after the last that it was learned from.

    hours: those of today that are asked about. Each earlier day gives calls over what the normal let expect, less 1, of the same hours
    of its day, newest first; up to PAST_DAYS of them that lie before the onset and are quiet. quiet (T): hours that may serve as normal.
    """
    onset, width = hours.start - ahead, hours.end - hours.start
    tried, out = min(ahead, WEEK + ahead % 24), list[float]()
    calls, of = calls_of(model, rate)
    runs_on = hours.end == quiet.size  # then nothing after it is known, and nothing after an earlier day may be
    for place in range(hours.start - 24, tried + WEEK, -24):
        then = slice(place, place + width)
        if then.stop <= onset and quiet[then].all() and len(out) < PAST_DAYS:
            known = quiet & (np.arange(quiet.size) < then.stop) if runs_on else quiet
            expected = float((baseline(model, rate, Window(place - tried, then.stop), known).values[tried:] * of[then]).sum())
            out.append(float(calls[then].sum()) / expected - 1.0 if expected > 0 else 0.0)
    return np.array(out)


def calls_of(model: Model, rate: Rate) -> tuple[Array, Array]:
    """Calls that a rate of calls is about, and what the rate is by: calls = rate x the second (T each)."""
    calls = model.observed.calls[rate.row]
    first = calls - model.observed.retries[rate.row]
    if rate.kind == RETRIES:
        return calls, first
    if rate.kind == FAN_OUT:
        return first, model.handled[model.observed.services.index(rate.caller or "")]
    return calls, np.ones(calls.size)


def mean_rate(model: Model, rate: Rate, hours: np.ndarray) -> float | None:
    """The rate over these hours (T, mask): ratio of sums for ratios, mean by the hour for calls and levels; None: not defined there."""
    o = model.observed
    if rate.kind in RATIOS:
        first = o.calls[rate.row] - o.retries[rate.row]
        top, bottom = (o.calls[rate.row], first) if rate.kind == RETRIES else (first, model.handled[o.services.index(rate.caller or "")])
    elif rate.kind in ENTRIES:
        return float(o.calls[rate.row][hours].mean())
    elif rate.kind == UNMETERED:
        return float(model.cost[rate.row][hours].mean())
    elif rate.kind == UNIT_PRICE:
        return float(model.committed[rate.row][hours].mean()) if is_covered(model, rate) else float(np.median(model.price[rate.row][hours]))
    elif model.meters[rate.row].kind == "use":
        top, bottom = model.usage[rate.row], model.followed(rate.row)
    else:
        return float((model.usage[rate.row] - predicted_usage(model, rate.row, model.handled))[hours].mean())
    total = float(bottom[hours].sum())
    return float(top[hours].sum()) / total if total > 0 else None


def _before(calm: np.ndarray, hours: int) -> np.ndarray:
    return np.flatnonzero(calm)[-hours:]


def _ratio_before(top: Array, bottom: Array, calm: np.ndarray) -> float:
    """Ratio of sums over the last week; over four weeks where the last one has little (a nightly job)."""
    for hours in (BASE_HOURS, 4 * WEEK, calm.size):
        index = _before(calm & (bottom > 0), calm.size)
        index = index[index >= index[-1] - hours] if index.size else index
        if index.size >= 24 or (index.size >= 5 and hours > BASE_HOURS) or hours == calm.size:
            total = float(bottom[index].sum())
            return float(top[index].sum()) / total if total > 0 else 0.0
    return 0.0


def _level_before(values: Array, window: Window, calm: np.ndarray) -> Array:
    """The last three days' median; the week's pattern at their level where the hours of the week differ."""
    recent = values[_before(calm, RECENT)]
    level = float(np.median(recent)) if recent.size else 0.0
    history = np.where(calm, values, np.nan)
    week = pattern(history)
    if calm.sum() >= 2 * WEEK and np.std(week) > 0.02 * (abs(level) + 1e-12):
        last = _before(calm, 2 * WEEK)
        scale = float(np.sum(values[last])) / float(np.sum(week[last])) if np.sum(week[last]) > 0 else 1.0
        shape = week[window.hours] * (scale if 0.5 < scale < 2.0 else 1.0)
        if np.mean(np.abs(values[last] - week[last])) < np.mean(np.abs(values[last] - level)):
            return np.asarray(shape)
    return np.full(window.end - window.start, level)


def _after(calm: np.ndarray, window: Window) -> np.ndarray:
    """Hours of the week after the window that are quiet: what wanders is better known from both sides of a pulse."""
    index = np.flatnonzero(calm)
    return index[(index >= window.end + AFTERMATH) & (index < window.end + AFTERMATH + WEEK)]


def _calls_around(model: Model, rate: Rate, window: Window, known: tuple[np.ndarray, np.ndarray]) -> Array:
    """Calls from outside as the same hours of earlier weeks were, at the level and growth of the last ones, less on a holiday.

    known: quiet hours before the window (T, mask), and quiet hours after it (indices): where there are two days of these, the level
    goes from the one to the other.
    """
    calm, after = known
    usual = np.exp(model.holidays[rate.row])
    calls = model.observed.calls[rate.row] / usual
    week = np.exp(pattern(np.where(calm & (calls > 0), np.log(np.where(calls > 0, calls, 1.0)), np.nan)))
    last = _before(calm & (calls > 0), WEEK)
    if last.size < 24:
        return np.full(window.end - window.start, float(calls[last].mean()) if last.size else 0.0)
    growth = _growth(calls, week, calm)
    grown = week * np.exp(growth * (np.arange(week.size) - float(last.mean())))
    level = np.full(window.end - window.start, _level(calls, grown, last))
    if after.size >= 48:
        share = (np.arange(window.start, window.end) - last.mean()) / (after.mean() - last.mean())
        level = level ** (1 - share) * _level(calls, grown, after) ** share
    return np.asarray(grown[window.hours] * level * usual[window.hours])


def _level(calls: Array, grown: Array, index: np.ndarray) -> float:
    """Calls over what was expected, the median over days: one holiday is no lower level."""
    days = index // 24
    return float(np.median([calls[index[days == d]].sum() / grown[index[days == d]].sum() for d in np.unique(days)]))


def _growth(calls: Array, week: Array, calm: np.ndarray) -> float:
    """Relative growth an hour, from the medians of whole days, shrunk towards none where the days disagree."""
    usable = np.flatnonzero(calm & (calls > 0))
    if usable.size < 2 * WEEK:
        return 0.0
    ratio = np.log(calls[usable] / week[usable])
    days = usable // 24
    names = np.unique(days)
    daily = np.array([np.median(ratio[days == d]) for d in names])
    x = names - names.mean()
    slope = float((x * daily).sum() / (x * x).sum())
    error = float(np.sqrt(((daily - daily.mean() - slope * x) ** 2).sum() / max(1, names.size - 2) / (x * x).sum()))
    return slope / 24 * slope**2 / (slope**2 + 4 * error**2) if slope or error else 0.0


def _price_before(model: Model, rate: Rate, window: Window, calm: np.ndarray) -> Array:
    held = is_covered(model, rate)
    series = model.committed[rate.row] if held else model.price[rate.row]
    known = calm & (np.arange(calm.size) < model.observed.billed)
    if held:
        return _level_before(series, window, known)
    index = _before(known & (model.usage[rate.row] > 0), RECENT)
    return np.full(window.end - window.start, float(np.median(series[index])) if index.size else 0.0)


def is_covered(model: Model, rate: Rate) -> bool:
    """A `unit_price` rate is either the price on demand or, where it is an amount, the quantity that a commitment holds."""
    return rate.kind == UNIT_PRICE and rate.style == "amount" and bool(model.covered[rate.row].any())


def predicted_usage(model: Model, m: int, handled: Array) -> Array:
    """What the autoscaler's rule keeps for these calls; zero for what does not follow them."""
    meter = model.meters[m]
    if meter.kind == "time" and meter.rule is not None and meter.service is not None:
        return meter.rule.usage(handled[meter.service])
    return np.zeros(handled.shape[1] if handled.size else len(model.observed.hours))
