"""Spikes: rates that left their normal, for how long, and for how much money; one incident is one spike.

Cost lines are noisy because traffic is; the rates behind them are not. So spikes are looked for in the rates: each rate's
series is cut into stretches of constant level, a stretch away from normal is an *episode*, an episode that matters in
dollars is part of a spike. Episodes of the same hour on the same services are one spike.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from costwhy.behaviour import Reset, Window, cost_with, mean_rate, normal
from costwhy.observed import Array
from costwhy.rates import WEEK, Model, Rate, pattern
from costwhy.segments import boundaries

SHORTEST = 3  # hours: what is over sooner is noise
SHORTEST_SEASONAL = 12  # hours: a burst of traffic of a few hours is nobody's decision
SAME_START = 3  # hours between episodes of one incident
SMALL_SHARE = 0.02  # of a spike's dollars: smaller rows are noise of the same hours
LOOSE = frozenset({"demand", "unlinked_usage", "unmetered"})  # what has noise of its own that wanders
LEAST_ROW = 0.001  # of the company's cost an hour: a smaller row is not looked at
LEAST_SHARE = 0.012  # of the company's cost an hour: less is not worth a person's hour
LEAST_SHARE_LOOSE = 0.025  # the same for what has a season, and so more noise
LEAST_GROWTH = 0.1  # of calls from outside: traffic wanders by a few per cent without a cause
LEAST_HOURS = 6  # so many hours at LEAST_SHARE are the least worth of a spike
MOST_ROWS = 16  # of a window that a person picks
RAMP_BEFORE = 240  # hours before the first visible step in which a ramp may have begun
SHORTEST_RAMP = 24
RAMP_BETTER = 0.7  # a level and a line leave so much less unexplained than one step
WARM_UP = 96  # hours before the first onset that can be told


@dataclass(frozen=True)
class Episode:
    """A rate away from its normal in hours [start, end); end None: still. `dollars`: what that alone cost, unbilled hours included."""

    rate: Rate
    start: int
    end: int | None
    shift: float  # of the level: logarithm, or share of the mean
    ramp: bool
    quiet: np.ndarray  # T, hours that may serve as this rate's normal
    reset: Reset
    dollars: float
    since: int  # the first hour in which it may have begun: a nightly job shows nothing before its next run

    def window(self, now: int) -> Window:
        """Its hours, up to now where it is still running."""
        return Window(self.start, self.end if self.end is not None else now)


@dataclass(frozen=True)
class Spike:
    """One incident: the episodes of one start, largest first."""

    start: int
    end: int | None
    episodes: tuple[Episode, ...]

    def window(self, now: int) -> Window:
        """Its hours, up to now where it is still running."""
        return Window(self.start, self.end if self.end is not None else now)

    @property
    def shape(self) -> str:
        """new: what it runs on began with it; ramp: it rose step by step; pulse: it is over; step: it goes on."""
        lead = self.episodes[0]
        if lead.rate.born is not None and not lead.reset.normal.any():
            return "new"
        if lead.ramp:
            return "ramp"
        return "step" if self.end is None else "pulse"


def find(model: Model) -> tuple[Spike, ...]:
    """All spikes, rises and falls, largest absolute dollars first."""
    episodes = [e for rate in model.rates for e in _episodes(model, rate) if _matters(model, e)]
    spikes = [_trimmed(model, group) for group in _groups(model, episodes)]
    return tuple(sorted((s for s in spikes if s is not None), key=lambda s: -abs(sum(e.dollars for e in s.episodes))))


# ---------------------------------------------------------------- episodes of one rate


def _episodes(model: Model, rate: Rate) -> Iterable[Episode]:
    """Stretches of this rate away from its normal."""
    defined = np.flatnonzero(np.isfinite(rate.level))
    if rate.born is not None:
        yield from _birth(model, rate)
        return
    if defined.size < 12 or not _screen(rate, rate.level[defined]):
        return
    level = rate.level[defined]
    dense = defined.size > 0.3 * rate.level.size
    # with noise that wanders, n hours tell as much as n / 24 days do: the spread that makes hours independent
    spread = max(rate.spread, rate.drift * 24**0.5) if dense else rate.spread
    starts = boundaries(level, spread, penalty=20.0, shortest=SHORTEST if dense else 2)
    ends = [*starts[1:], level.size]
    means = [float(np.median(level[a:b])) for a, b in zip(starts, ends, strict=True)]
    quiet, over = np.ones(rate.level.size, dtype=bool), 0
    for first, last, base in _away(means, starts, ends, rate):
        start, end = _edge_hours(level, (starts[first], ends[last]), base, rate)
        running = end >= level.size
        risen = None if rate.kind in {"demand", "schedule"} else _ramp_start(level, start, end)
        start = start if risen is None else risen
        hour, after = int(defined[start]), (None if running else int(defined[end - 1]) + 1)
        if after is not None and rate.kind in {"unit_price", "unmetered"} and after >= model.observed.billed:
            after = None
        if rate.kind == "schedule":
            ran = _runs(model, rate, (max(hour, over), after), over)
            if ran is None:
                continue
            hour, after = ran
            over = len(quiet) if after is None else after
        if hour < WARM_UP:
            continue
        quiet[hour:after] = False
        since = int(defined[start - 1]) + 1 if start else hour
        episode = _episode(
            model, rate, (min(since, hour), hour, after), float(np.mean(level[start:end]) - base), quiet=quiet, ramp=risen is not None
        )
        if episode is not None:
            yield episode


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


def _runs(model: Model, rate: Rate, span: tuple[int, int | None], over: int) -> tuple[int, int | None] | None:
    """First and last hour in which the timer ran otherwise than it used to, from hour `over` on: its level by the day lags behind by up to a day."""
    calls = model.observed.calls[rate.row]
    before = np.ones(calls.size, dtype=bool)
    before[max(0, span[0] - 24) :] = False
    usual = np.maximum(pattern(np.where(before, calls, np.nan)), 0.0)
    first, last = max(over, span[0] - 24), calls.size if span[1] is None else span[1]
    if first >= last:
        return None
    off = np.abs(calls[first:last] - usual[first:last])
    strange = np.flatnonzero(off > 0.25 * off.max(initial=0.0)) + first
    if not strange.size:
        return None
    return int(strange[0]), None if span[1] is None else int(strange[-1]) + 1


def _screen(rate: Rate, level: Array) -> bool:
    """Cheap look: is any stretch of half a day, or of the last hours, as far from the middle as an episode must be?"""
    middle, least = float(np.median(level)), 0.8 * _tolerance(rate)
    sums = np.concatenate([[0.0], np.cumsum(level)])
    for width in (w for w in (3, 12) if w < level.size):
        means = (sums[width:] - sums[:-width]) / width
        reach = least + (3 * rate.spread / width**0.5 if width < 12 else 0.0)
        if np.abs(means - middle).max() > reach:
            return True
    return False


def _tolerance(rate: Rate) -> float:
    """How far a level may stray and still be normal."""
    return max(0.02, 3.0 * rate.drift)


def _away(means: list[float], starts: list[int], ends: list[int], rate: Rate) -> Iterable[tuple[int, int, float]]:
    """Runs of segments away from normal: (first, last, normal level). Normal is what it was before."""
    base, k = means[0], 0
    lengths = [b - a for a, b in zip(starts, ends, strict=True)]
    if lengths[0] < 24 and len(means) > 1:
        base = means[int(np.argmax(lengths))]
    tolerance = _tolerance(rate)
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


def _edge_hours(level: Array, span: tuple[int, int], base: float, rate: Rate) -> tuple[int, int]:
    """The span with its edges put where the level steps, part hours that already, or still, stand out included."""
    start, end = span
    middle = float(np.median(level[start:end]))
    sign = np.sign(middle - base)
    if rate.seasonal and 24 <= start <= level.size - 6:
        start = _sharpest(level, start, min(end, level.size))
    clear = (1.5 if rate.kind == "demand" else 3.0) * rate.spread
    if rate.kind == "demand":
        start = _swell(level, start, max(clear, 2 * rate.drift) * sign)
    left = start - (5 if rate.kind == "demand" else 2)
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


def _birth(model: Model, rate: Rate) -> Iterable[Episode]:
    """Something that did not exist before: it is away from its normal, nothing, from its first hour on."""
    active = (
        np.flatnonzero(model.observed.calls[rate.row] > 0)
        if rate.kind in {"demand", "schedule", "fan_out", "retries"}
        else np.flatnonzero(model.usage[rate.row] > 0)
    )
    if not active.size or rate.born is None:
        return
    last = int(active[-1]) + 1
    end = None if last >= rate.level.size - 26 else last
    since = rate.born if rate.born < WARM_UP or active.size < 2 else max(0, rate.born - max(0, int(np.median(np.diff(active))) - 1))
    episode = _episode(model, rate, (since, rate.born, end), 1.0, quiet=np.ones(rate.level.size, dtype=bool), ramp=False)
    if episode is not None:
        yield episode


def _episode(model: Model, rate: Rate, span: tuple[int, int, int | None], shift: float, *, quiet: np.ndarray, ramp: bool) -> Episode | None:
    """span: first hour in which it may have begun, start, end."""
    since, start, end = span
    window = Window(start, end if end is not None else len(model.observed.hours))
    shortest = SHORTEST_SEASONAL if rate.kind in LOOSE else SHORTEST
    if window.end - window.start < shortest:
        return None
    reset = normal(model, rate, window, quiet)
    dollars = float((model.cost[:, window.hours] - cost_with(model, window, [reset])).sum())
    return Episode(rate, start, end, shift, ramp, quiet.copy(), reset, dollars, since)


def _matters(model: Model, episode: Episode) -> bool:
    """A shift clear of the rate's own noise, and not next to nothing; whether its spike is worth a person's time, the group decides.

    Fewer calls from outside, or less of what follows nothing, are holidays and ends of batches: nobody's decision.
    """
    hours = _length(model, episode)
    rate, company = abs(episode.dollars) / hours, _company(model)
    if episode.rate.kind not in LOOSE:
        return rate >= LEAST_ROW * company
    if episode.dollars < 0 or (episode.end is not None and hours < 24):
        return False
    if episode.rate.born is None and abs(episode.shift) < max(5 * episode.rate.drift, LEAST_GROWTH):
        return False
    if episode.rate.born is None and not episode.ramp and not _steps(episode):
        return False
    return rate >= LEAST_SHARE_LOOSE * company


def _steps(episode: Episode) -> bool:
    """The day after the onset stands off the three days before it by more than days do: what only drifted there was not done by anything."""
    level, start = episode.rate.level, episode.start
    before, days = level[max(0, start - 72) : start], (level[start + 4 : start + 28], level[start + 20 : start + 44])
    middles = [float(np.nanmedian(part)) for part in (before, *days) if np.isfinite(part).sum() >= 8]
    if len(middles) < 2:
        return True
    step = max(abs(middle - middles[0]) for middle in middles[1:])
    return step >= max(0.4 * abs(episode.shift), 3 * 2**0.5 * episode.rate.drift)


def _length(model: Model, episode: Episode) -> int:
    window = episode.window(len(model.observed.hours))
    return window.end - window.start


def _company(model: Model) -> float:
    """What the whole company spends in a billed hour."""
    return float(model.observed.cost[:, : model.observed.billed].sum()) / max(1, model.observed.billed)


# ---------------------------------------------------------------- episodes of one incident


def _groups(model: Model, episodes: list[Episode]) -> list[list[Episode]]:
    """Episodes that start together on services that have to do with each other."""
    groups: list[list[Episode]] = []
    for episode in sorted(episodes, key=lambda e: -abs(e.dollars)):
        home = next((g for g in groups if any(_together(model, episode, other) for other in g)), None)
        if home is None:
            groups.append([episode])
        else:
            home.append(episode)
    return groups


def _together(model: Model, one: Episode, other: Episode) -> bool:
    if one.since - other.start > SAME_START or other.since - one.start > SAME_START:
        return False
    if one.rate.kind == other.rate.kind and one.rate.kind in {"demand", "unit_price", "unmetered"}:
        return True
    mine, theirs = ({s for s in (e.rate.service, e.rate.caller) if s is not None} for e in (one, other))
    if mine & theirs:
        return True
    near = {(e.service, e.caller) for e in model.observed.edges if e.internal}
    return any((a, b) in near or (b, a) in near for a in mine for b in theirs)


def _trimmed(model: Model, group: list[Episode]) -> Spike | None:
    """The group without rows that are noise beside it; its start and end are those of its largest rows."""
    whole = sum(abs(e.dollars) for e in group)
    kept = sorted((e for e in group if abs(e.dollars) >= SMALL_SHARE * whole), key=lambda e: -abs(e.dollars))
    lead = kept[0]
    whole = abs(sum(e.dollars for e in kept))
    if whole < LEAST_HOURS * LEAST_SHARE * _company(model) or whole / _length(model, lead) < LEAST_SHARE * _company(model):
        return None
    start = min(e.start for e in kept if abs(e.dollars) >= 0.2 * abs(lead.dollars) and e.start >= lead.start - 1)
    return Spike(start, lead.end, tuple(kept))


# ---------------------------------------------------------------- any window that a person picks


def moved_rates(model: Model, window: Window, against: Window | None) -> list[Reset]:
    """The rates that differ most in a window, each with its normal from the hours before, or its mean of another window."""
    found = []
    for rate in model.rates:
        reset = normal(model, rate, window) if against is None else _as_in(model, rate, window, against)
        if reset is None:
            continue
        dollars = float((model.cost[:, window.hours] - cost_with(model, window, [reset])).sum())
        noise = 0.0 if against is not None else 2.0 * rate.drift * abs(float(model.cost[:, window.hours].sum())) * 0.01
        if abs(dollars) > max(0.01, noise):
            found.append((abs(dollars), reset))
    found.sort(key=lambda x: -x[0])
    return [reset for _, reset in found[:MOST_ROWS]]


def _as_in(model: Model, rate: Rate, window: Window, against: Window) -> Reset | None:
    """The rate as its mean was in the other window: by the hour for calls and levels, ratio of sums for ratios."""
    calm = np.zeros(len(model.observed.hours), dtype=bool)
    calm[against.hours] = True
    value = mean_rate(model, rate, calm)
    return None if value is None else Reset(rate, np.full(window.end - window.start, value))
