"""Shifts: where a level leaves its baseline, for how long, and by how much.

A level is cut into segments of constant mean (`model/levels.py`). A run of segments away
from the segment before it is a shift. Then its two edges are put on the hour, and a ramp is told
from a step by which of them leaves less of the level unexplained.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from costwhy.arrays import Array
from costwhy.model.change_points import change_points
from costwhy.model.levels import BLOCK, WEEK, Level, carried

SHORTEST = 3  # hours: what is over sooner is noise
LEAST_DEFINED = 12  # hours of a level
RAMP_BEFORE = 240  # hours before the first visible step in which a ramp may have begun
SHORTEST_RAMP = 24
# Of a level by the day, in days: a base that is shorter is not believed, a ramp is no shorter
LEAST_DAYS, SHORTEST_DAILY_RAMP = 5, 4
RAMP_BETTER = 0.7  # a level and a line leave this share of what one step leaves unexplained
LEAST_SHIFT = 0.02  # of the logarithm, or of the mean


@dataclass(frozen=True)
class Shift:
    """A level away from its baseline in hours [start, end); end None: it goes on.

    since  first hour in which it may have begun: a nightly job shows nothing until its next run
    size   of the level
    ramp   it goes on rising from its start
    """

    since: int
    start: int
    end: int | None
    size: float
    ramp: bool


def suspects(levels: Sequence[Level]) -> list[int]:
    """A cheap look at many levels: those with a stretch as far from the median as a shift is."""
    found: list[int] = []
    for first in range(0, len(levels), BLOCK):
        part = levels[first : first + BLOCK]
        values = carried(np.array([level.level for level in part]))
        values = values - np.median(values, axis=1, keepdims=True)
        sums = np.concatenate([np.zeros((len(part), 1)), np.cumsum(values, axis=1)], axis=1)
        spread, tolerance = np.array([(level.spread, _tolerance(level)) for level in part]).T
        hit = np.zeros(len(part), dtype=bool)
        for width in (w for w in (SHORTEST, 12) if w < values.shape[1]):
            far = 0.8 * tolerance + (3 * spread / width**0.5 if width < 12 else 0.0)
            hit |= np.abs(sums[:, width:] - sums[:, :-width]).max(axis=1) / width > far
        found += [first + int(k) for k in np.flatnonzero(hit)]
    return found


def find_shifts(levels: Sequence[Level]) -> Iterable[list[Shift]]:
    """All shifts of each level, first to last; many levels are cut together, which is faster."""
    for part in (levels[first : first + BLOCK] for first in range(0, len(levels), BLOCK)):
        segments: dict[int, list[int]] = {}
        defined = [level.level[np.isfinite(level.level)] for level in part]
        hourly = [defined[k].size > 0.3 * level.level.size for k, level in enumerate(part)]
        for shortest, often in ((SHORTEST, True), (2, False)):
            long = (k for k, values in enumerate(defined) if values.size >= LEAST_DEFINED)
            members = [k for k in long if hourly[k] is often]
            # Where the level wanders, n hours tell as much as n / 24 days do.
            noise = [
                max(part[k].spread, part[k].drift * ((24 / part[k].step) ** 0.5 if often else 0.0))
                for k in members
            ]
            starts = change_points(
                [defined[k] for k in members], noise, penalty=20.0, shortest=shortest
            )
            segments |= dict(zip(members, starts, strict=True))
        for k, level in enumerate(part):
            yield list(_shifts(level, segments[k])) if len(segments.get(k, ())) > 1 else []


def _shifts(level: Level, starts: list[int]) -> Iterable[Shift]:
    hours = np.flatnonzero(np.isfinite(level.level))
    values = level.level[hours]
    ends = [*starts[1:], values.size]
    means = [float(np.median(values[a:b])) for a, b in zip(starts, ends, strict=True)]
    least = 24 if level.step == 1 else LEAST_DAYS
    for first, last, base in _away(means, starts, ends, _tolerance(level), least):
        start, end = _edges(values, starts[first], ends[last], base, level)
        ramps = level.style in {"ratio", "amount"}
        ramp = _ramp_start(values, start, end, level.step) if ramps else None
        start = ramp or start
        yield Shift(
            since=int(hours[start - 1]) + 1 if start else int(hours[0]),
            start=int(hours[start]),
            end=None if end >= values.size else int(hours[end - 1]) + level.step,
            size=float(np.mean(values[start:end]) - base),
            ramp=ramp is not None,
        )


def _tolerance(level: Level) -> float:
    return max(LEAST_SHIFT, 3.0 * level.drift)


def _away(
    means: list[float], starts: list[int], ends: list[int], tolerance: float, least: int
) -> Iterable[tuple[int, int, float]]:
    """Runs of segments away from the baseline: first and last segment, and the baseline.

    The baseline is the mean of the segment before, or of the longest where the first has fewer than
    `least` values.
    """
    base, k = means[0], 0
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    if lengths[0] < least:
        base = means[int(np.argmax(lengths))]
    while k < len(means):
        shift = means[k] - base
        if abs(shift) <= tolerance:
            base, k = means[k], k + 1
            continue
        first, peak, sign = k, shift, np.sign(shift)
        while k < len(means) and (means[k] - base) * sign > max(tolerance, 0.25 * abs(peak)):
            peak = max(peak, means[k] - base, key=abs)
            k += 1
        while abs(means[first] - base) < 0.12 * abs(peak):
            first += 1
        yield first, k - 1, base


# ---------------------------------------------------------------- the hours of its edges


def _edges(values: Array, start: int, end: int, base: float, level: Level) -> tuple[int, int]:
    """Start and end put where the level steps, with partial hours that stand out included."""
    flow, size = level.style == "flow", values.size
    middle = float(np.median(values[start:end]))
    above = (values - base) * float(np.sign(middle - base))
    clear, last = (1.5 if flow else 3.0) * level.spread, min(size, end + 2)
    if level.style != "ratio" and level.step == 1 and 24 <= start <= size - 6:
        start = _sharpest(values, start, min(end, size))
    if flow:  # the sharpest step of a rise that takes a day is in the middle of that day
        before, earliest = above[max(0, start - 96) : max(1, start - 24)], max(3, start - 24)
        limit = float(np.median(before)) + max(clear, 2 * level.drift)
        while start > earliest and above[start - 3 : start].mean() > limit:
            start -= 1
    first = max(0, start - (5 if flow else 2))
    while start > first and above[start - 1] > clear:
        start -= 1
    while start < end - 1 and above[start] <= min(clear, 0.5 * abs(middle - base)):
        start += 1
    while end < last and above[end] > clear:
        end += 1
    return start, end


def _sharpest(values: Array, start: int, end: int) -> int:
    """Where the level steps: a level that wanders may have left its baseline before that.

    First the one cut of the week before and the stretch that leaves least unexplained, then the
    hour of sharpest contrast near it.
    """
    first = max(0, start - WEEK)
    size, sums = end - first, np.concatenate([[0.0], np.cumsum(values[first:end])])
    cuts = np.arange(24, size - 6)
    if not cuts.size:
        return start
    before, after = sums[cuts] / cuts, (sums[-1] - sums[cuts]) / (size - cuts)
    cut = first + int(cuts[np.argmax(cuts * (size - cuts) * (after - before) ** 2)])
    near = range(max(24, cut - 8), min(end - 6, cut + 9))
    contrast = [
        abs(values[hour : hour + 24].mean() - values[hour - 24 : hour].mean())
        * min(1.0, ((end - hour) / 24) ** 0.5)
        for hour in near
    ]
    return near[int(np.argmax(contrast))] if contrast else cut


def _ramp_start(values: Array, start: int, end: int, apart: int) -> int | None:
    """Where the level begins to rise along a line; None where it steps.

    Least squares for each possible start t: the values before it lie on a level, the others on a
    line from there. That must leave clearly less unexplained than the best step does.
    """
    first = max(0, start - RAMP_BEFORE // apart)
    shortest, before = (SHORTEST_RAMP, 24) if apart == 1 else (SHORTEST_DAILY_RAMP, LEAST_DAYS)
    y, n = values[first:end], end - first
    if end - start < shortest or n - (end - start) < before:
        return None
    t = np.arange(before, n - shortest // 2)
    sums, squares, moments = (
        np.concatenate([[0.0], np.cumsum(v)]) for v in (y, y * y, np.arange(n) * y)
    )
    m = (n - t).astype(float)  # values from t on, at x = 1 ... m
    base, total, square = sums[t] / t, sums[n] - sums[t], squares[n] - squares[t]
    flat = squares[t] - t * base**2  # unexplained before t
    step = flat + square - m * (total / m) ** 2
    xx = m * (m + 1) * (2 * m + 1) / 6
    xy = (moments[n] - moments[t]) - (t - 1) * total - base * m * (m + 1) / 2
    line = flat + square - 2 * base * total + m * base**2 - xy**2 / xx
    best = int(np.argmin(line))
    return first + int(t[best]) if line[best] < RAMP_BETTER * step.min() else None
