"""Shifts: where a level leaves its normal, for how long, and by how much.

A level is cut into stretches of constant mean (segments.py); a stretch away from what came before is a shift.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from costwhy.arrays import Array
from costwhy.model.change_points import boundaries_of
from costwhy.model.levels import BLOCK, WEEK, Level

SHORTEST = 3  # hours: what is over sooner is noise
RAMP_BEFORE = 240  # hours before the first visible step in which a ramp may have begun
SHORTEST_RAMP = 24
RAMP_BETTER = 0.7  # a level and a line leave so much less unexplained than one step
LEAST_SHIFT = 0.02  # of the logarithm, or of the mean


@dataclass(frozen=True)
class Shift:
    """A level away from its normal in hours [start, end); end None: still."""

    since: int  # the first hour in which it may have begun: a nightly job shows nothing before its next run
    start: int
    end: int | None
    size: float  # of the level
    ramp: bool  # it goes on rising from its start


def suspects(traces: Sequence[Level]) -> list[int]:
    """Cheap look at many levels: those with a stretch as far from their middle as a shift must be."""
    found: list[int] = []
    for first in range(0, len(traces), BLOCK):
        part = traces[first : first + BLOCK]
        levels = np.array([t.level for t in part])
        undefined = np.isnan(levels)
        if undefined.any():  # what is not defined is looked at as the last that was
            last = np.maximum.accumulate(np.where(undefined, 0, np.arange(levels.shape[1])), axis=1)
            levels = np.nan_to_num(np.take_along_axis(levels, last, axis=1))
        middle = np.median(levels, axis=1, keepdims=True)
        sums = np.concatenate([np.zeros((len(part), 1)), np.cumsum(levels - middle, axis=1)], axis=1)
        spread, tolerance = (np.array([f(t) for t in part]) for f in (lambda t: t.spread, _tolerance))
        hit = np.zeros(len(part), dtype=bool)
        for width in (w for w in (SHORTEST, 12) if w < levels.shape[1]):
            reach = 0.8 * tolerance + (3 * spread / width**0.5 if width < 12 else 0.0)
            hit |= np.abs(sums[:, width:] - sums[:, :-width]).max(axis=1) / width > reach
        found += [first + int(k) for k in np.flatnonzero(hit)]
    return found


def find_shifts(traces: Sequence[Level]) -> Iterable[list[Shift]]:
    """All shifts of each level, first to last; the levels are cut together, which is many times faster than one by one."""
    for first in range(0, len(traces), BLOCK):
        part = traces[first : first + BLOCK]
        for trace, starts in zip(part, _cut(part), strict=True):
            yield list(_shifts(trace, starts)) if len(starts) > 1 else []


def _cut(traces: Sequence[Level]) -> list[list[int]]:
    """Starts of the stretches of each level among its defined hours; none where too few are defined."""
    out: list[list[int]] = [[] for _ in traces]
    by_shortest: dict[int, list[int]] = {}
    defined = [trace.level[np.isfinite(trace.level)] for trace in traces]
    for k, (trace, level) in enumerate(zip(traces, defined, strict=True)):
        if level.size >= 12:
            by_shortest.setdefault(SHORTEST if _dense(trace, level.size) else 2, []).append(k)
    for shortest, members in by_shortest.items():
        spreads = [_independent(traces[k], defined[k].size) for k in members]
        for k, starts in zip(members, boundaries_of([defined[k] for k in members], spreads, penalty=20.0, shortest=shortest), strict=True):
            out[k] = starts
    return out


def _dense(trace: Level, defined: int) -> bool:
    return defined > 0.3 * trace.level.size


def _independent(trace: Level, defined: int) -> float:
    """The spread that makes hours independent: with noise that wanders, n hours tell as much as n / 24 days do."""
    return max(trace.spread, trace.drift * 24**0.5) if _dense(trace, defined) else trace.spread


def _shifts(trace: Level, starts: list[int]) -> Iterable[Shift]:
    defined = np.flatnonzero(np.isfinite(trace.level))
    level = trace.level[defined]
    ends = [*starts[1:], level.size]
    means = [float(np.median(level[a:b])) for a, b in zip(starts, ends, strict=True)]
    for first, last, base in _away(means, starts, ends, _tolerance(trace)):
        start, end = _edge_hours(level, (starts[first], ends[last]), base, trace)
        risen = _ramp_start(level, start, end) if trace.style in {"ratio", "amount"} else None
        start = start if risen is None else risen
        yield Shift(
            since=int(defined[start - 1]) + 1 if start else int(defined[0]),
            start=int(defined[start]),
            end=None if end >= level.size else int(defined[end - 1]) + 1,
            size=float(np.mean(level[start:end]) - base),
            ramp=risen is not None,
        )


def _tolerance(trace: Level) -> float:
    """How far a level may stray and still be normal."""
    return max(LEAST_SHIFT, 3.0 * trace.drift)


def _away(means: list[float], starts: list[int], ends: list[int], tolerance: float) -> Iterable[tuple[int, int, float]]:
    """Runs of segments away from normal: (first, last, normal level). Normal is what it was before."""
    base, k = means[0], 0
    lengths = [b - a for a, b in zip(starts, ends, strict=True)]
    if lengths[0] < 24 and len(means) > 1:
        base = means[int(np.argmax(lengths))]
    while k < len(means):
        shift = means[k] - base
        if abs(shift) <= tolerance:
            base, k = means[k], k + 1
            continue
        first, peak = k, shift
        while k < len(means) and (means[k] - base) * np.sign(shift) > max(tolerance, 0.25 * abs(peak)):
            peak = max(peak, means[k] - base, key=abs)
            k += 1
        while abs(means[first] - base) < 0.12 * abs(peak):
            first += 1
        yield first, k - 1, base


# ---------------------------------------------------------------- the hours of its edges


def _edge_hours(level: Array, span: tuple[int, int], base: float, trace: Level) -> tuple[int, int]:
    """The span with its edges put where the level steps, part hours that already, or still, stand out included."""
    start, end = span
    flow = trace.style == "flow"
    middle = float(np.median(level[start:end]))
    sign = float(np.sign(middle - base))
    if trace.style != "ratio" and 24 <= start <= level.size - 6:
        start = _sharpest(level, start, min(end, level.size))
    clear = (1.5 if flow else 3.0) * trace.spread
    if flow:
        start = _swell(level, start, max(clear, 2 * trace.drift) * sign)
    left = start - (5 if flow else 2)
    while start > max(0, left) and (level[start - 1] - base) * sign > clear:
        start -= 1
    while start < end - 1 and (level[start] - base) * sign <= min(clear, 0.5 * abs(middle - base)):
        start += 1
    while end < level.size and end - span[1] < 2 and (level[end] - base) * sign > clear:
        end += 1
    return start, end


def _swell(level: Array, start: int, clear: float) -> int:
    """Back to where traffic began to swell: what takes a day to rise has its sharpest step in the middle of that day."""
    before = level[max(0, start - 96) : max(1, start - 24)]
    limit, hour = float(np.median(before)) + clear, start
    while hour > max(3, start - 24) and (level[hour - 3 : hour].mean() - limit) * np.sign(clear) > 0:
        hour -= 1
    return hour


def _sharpest(level: Array, start: int, end: int) -> int:
    """Where the level steps: the one cut of the week before and the stretch that leaves least unexplained, then the hour of sharpest contrast near it.

    A level that wanders may have left its normal before it steps; what is to be dated is the step.
    """
    first = max(0, start - WEEK)
    part = level[first:end]
    sums = np.concatenate([[0.0], np.cumsum(part)])
    cuts = np.arange(24, part.size - 6)
    if not cuts.size:
        return start
    before, after = sums[cuts] / cuts, (sums[-1] - sums[cuts]) / (part.size - cuts)
    cut = first + int(cuts[np.argmax(cuts * (part.size - cuts) * (after - before) ** 2)])
    near = range(max(24, cut - 8), min(end - 6, cut + 9))
    contrast = [abs(level[h : h + 24].mean() - level[h - 24 : h].mean()) * min(1.0, ((end - h) / 24) ** 0.5) for h in near]
    return near[int(np.argmax(contrast))] if contrast else cut


def _ramp_start(level: Array, start: int, end: int) -> int | None:
    """Where the level begins to rise along a line, if a level and a line from there explain it clearly better than one step does."""
    first = max(0, start - RAMP_BEFORE)
    y = level[first:end]
    n = y.size
    if end - start < SHORTEST_RAMP or n - (end - start) < 24:
        return None
    t = np.arange(24, n - SHORTEST_RAMP // 2)  # candidates: values before t lie on the level, the others on the line
    index = np.arange(n)
    sums, squares, moments = (np.concatenate([[0.0], np.cumsum(v)]) for v in (y, y * y, index * y))
    base, m = sums[t] / t, (n - t).astype(float)
    flat = squares[t] - t * base**2
    mean = (sums[n] - sums[t]) / m
    step = flat + squares[n] - squares[t] - m * mean**2
    xx = m * (m + 1) * (2 * m + 1) / 6  # x = 1 .. m after t
    xy = (moments[n] - moments[t]) - (t - 1) * (sums[n] - sums[t]) - base * m * (m + 1) / 2
    rest = (squares[n] - squares[t]) - 2 * base * (sums[n] - sums[t]) + m * base**2
    line = flat + rest - xy**2 / xx
    best = int(np.argmin(line))
    return first + int(t[best]) if line[best] < RAMP_BETTER * step.min() else None
