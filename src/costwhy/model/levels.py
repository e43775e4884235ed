"""Levels: hourly series without their season, and how much each moves without a cause.

    level  = series - pattern        pattern: median of each hour of the week, at the median level
    spread = 1.4826 MAD(differences of neighbouring hours) / sqrt(2)     noise from hour to hour
    drift  = 1.4826 MAD(differences of neighbouring days) / sqrt(2)      noise from day to day

MAD is the median absolute deviation; 1.4826 of it is the standard deviation of a normal variable.
Everything takes many series at once (R x T, NaN: not defined in that hour), as a company has a
hundred thousand. Quantiles are written out because NumPy's that skip NaN go row by row.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import median_filter

from costwhy.arrays import Array, Mask

WEEK = 168
SEASON_DAYS = 5  # whose median says how large the season is
BLOCK = 512  # series at a time, so that memory stays small
LEAST_SPREAD = {"ratio": 0.003, "amount": 0.01, "runs": 0.01, "flow": 0.01}


@dataclass(frozen=True)
class Level:
    """One series as a level. Its style says what the level is, and how it moves:

    ratio   logarithm of a ratio, which has no season
    amount  value over its mean, less the pattern: what is constant, or zero at times
    runs    the same of a timer's runs a day, which lag by up to a day
    flow    logarithm of traffic, less the pattern: it wanders, and swells rather than steps
    """

    style: str
    level: Array  # T
    spread: float
    drift: float
    step: int = field(default=1, kw_only=True)  # hours from one value to the next; 24: by the day


def levels_of(
    style: str, values: Array, new: Mask, *, noisy: bool = False, step: int = 1
) -> list[Level]:
    """Series of one style (R x T; amounts and runs in units of their mean) as levels.

    new    (R) series that did not exist from the start; they have no season yet
    noisy  usage tied to no signal: its season grows with its level, and the drift is the 90th
           percentile of its day-to-day changes
    step   24: one value a day, NaN in the other hours
    """
    out: list[Level] = []
    for first in range(0, len(values), BLOCK):
        level = values[first : first + BLOCK]
        if style == "ratio":
            spread = hourly_spread(level)
        else:
            season = _scaled_pattern if noisy else pattern
            level = level - np.where(new[first : first + BLOCK, None], 0.0, season(level))
            if style == "flow":
                spread = np.array([_spread_around_median(row) for row in level])
            else:
                spread = np.maximum(hourly_spread(level), robust_spread(level))
        spread = np.maximum(spread, LEAST_SPREAD[style])
        steps = np.diff(_defined_first(_by_day(level) if step == 1 else level), axis=1)
        enough = np.isfinite(steps).sum(axis=1) >= 4
        drift = np.where(enough, robust_spread(steps) / 2**0.5, 0.0)
        if noisy:
            drift = np.maximum(drift, np.where(enough, _quantile(np.abs(steps), 0.9), 0.0))
        drift = np.maximum(spread * (step / 24) ** 0.5, drift)
        rows = zip(level, spread.tolist(), drift.tolist(), strict=True)
        out += [Level(style, *row, step=step) for row in rows]
    return out


def _by_day(level: Array, least: int = 12) -> Array:
    """Means of whole days (R x days); NaN where fewer hours than `least` are defined."""
    days = level.shape[1] // 24
    hours = level[:, : days * 24].reshape(len(level), days, 24)
    defined = np.isfinite(hours).sum(axis=2)
    return np.where(defined >= least, np.nansum(hours, axis=2) / np.maximum(defined, 1), np.nan)


def median(values: Array, axis: int = -1) -> Array:
    """Median of what is defined; NaN where nothing is."""
    return _quantile(values, 0.5, axis)


def _quantile(values: Array, q: float, axis: int = -1) -> Array:
    if not values.shape[axis]:
        return np.full(np.delete(values.shape, axis), np.nan)
    ordered = np.sort(values, axis=axis)  # NaN comes last
    rank = q * np.maximum(np.isfinite(values).sum(axis=axis, keepdims=True) - 1, 0)
    low, high = np.floor(rank).astype(np.intp), np.ceil(rank).astype(np.intp)
    below, above = (np.take_along_axis(ordered, index, axis) for index in (low, high))
    return np.asarray((below + (above - below) * (rank - low)).squeeze(axis))


def robust_spread(values: Array) -> Array:
    """Standard deviation by the MAD, along the last axis; zero where nothing is defined."""
    return np.asarray(np.nan_to_num(1.4826 * median(np.abs(values - median(values)[..., None]))))


def hourly_spread(levels: Array) -> Array:
    """Noise from one defined hour to the next (R); zero where fewer than four are defined."""
    enough = np.isfinite(levels).sum(axis=-1) > 3
    return np.asarray(
        np.where(enough, robust_spread(np.diff(_defined_first(levels), axis=-1)) / 2**0.5, 0.0)
    )


def _defined_first(values: Array) -> Array:
    return np.take_along_axis(values, np.argsort(np.isnan(values), axis=-1, kind="stable"), axis=-1)


def carried(values: Array) -> Array:
    """The last known value in each hour, the first one before it; zero where none is known."""
    known = np.isfinite(values)
    last = np.maximum.accumulate(np.where(known, np.arange(values.shape[1]), -1), axis=1)
    hour = np.where(last >= 0, last, known.argmax(axis=1)[:, None])  # 0 where none is known
    return np.nan_to_num(np.take_along_axis(values, hour, axis=1))


def _spread_around_median(level: Array) -> float:
    """Noise around the running median of three days.

    Traffic wanders more from day to day than from hour to hour.
    """
    defined, half = level[np.isfinite(level)], 36
    if defined.size > 2 * half:
        defined = defined - median_filter(defined, 2 * half + 1, mode="nearest")
    return float(robust_spread(defined))


def _scaled_pattern(values: Array) -> Array:
    """The week's pattern (R x T), as large as the level of the days around asks for.

    A service that costs twice as much has weekends that are twice as deep. No calls say so where
    usage is tied to no signal; its own days do.
    """
    week = pattern(values)
    level = median(values)[:, None]
    days, of_week = _by_day(values, 1), _by_day(np.where(np.isfinite(values), week, np.nan), 1)
    if days.shape[1] < 2 * SEASON_DAYS:
        return week
    ratio = np.where(of_week > 0, days / np.where(of_week > 0, of_week, 1.0), 1.0)
    ratio = np.clip(np.nan_to_num(ratio, nan=1.0), 0.0, None)
    scale = median_filter(ratio, (1, SEASON_DAYS), mode="nearest")
    hours = np.minimum(np.arange(values.shape[1]) // 24, days.shape[1] - 1)
    return np.asarray(level + (week - level) * scale[:, hours])


def pattern(values: Array) -> Array:
    """The week's pattern, as long as the series (T or R x T, as given).

    For each hour of the week the median over the weeks, at the median level of the weeks.
    """
    rows = np.atleast_2d(values)
    size = rows.shape[1]
    weeks = np.full((len(rows), -(-size // WEEK), WEEK), np.nan)
    weeks.reshape(len(rows), -1)[:, :size] = rows
    weekly = median(weeks)
    profile = median(weeks - weekly[:, :, None], axis=1)
    whole = np.nan_to_num(profile) + np.nan_to_num(median(weekly))[:, None]
    return np.asarray(np.tile(whole, weeks.shape[1])[:, :size].reshape(values.shape))
