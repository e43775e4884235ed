"""Spikes: rates that left their normal, for how long, and for how much money; one incident is one spike.

Cost lines are noisy because traffic is; the rates behind them are not. So spikes are looked for in the rates: each rate's
series is cut into stretches of constant level (shifts.py), a stretch away from normal is an *episode*, an episode that matters in
dollars is part of a spike. Episodes of the same hour on the same services are one spike.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from costwhy.behaviours import ON_EDGES, SCHEDULE, SEASONAL, SHARED, UNIT_PRICE, UNMETERED
from costwhy.model.baseline import Baseline, Window, baseline, mean_rate
from costwhy.model.counterfactual import cost_with
from costwhy.model.levels import pattern
from costwhy.model.rates import Model, Rate
from costwhy.spikes.shifts import SHORTEST, Shift, find_shifts, suspects

SHORTEST_SEASONAL = 12  # hours: a burst of traffic of a few hours is nobody's decision
SAME_START = 3  # hours between episodes of one incident
SMALL_SHARE = 0.02  # of a spike's dollars: smaller rows are noise of the same hours
LEAST_ROW = 0.001  # of the company's cost an hour: a smaller row is not looked at
LEAST_SHARE = 0.012  # of the company's cost an hour: less is not worth a person's hour
LEAST_SHARE_LOOSE = 0.025  # the same for what has a season, and so more noise
LEAST_MONEY = 1.0  # of the currency: a spike of cents is nobody's work, whatever share of a tiny bill it is
LEAST_GROWTH = 0.1  # of calls from outside: traffic wanders by a few per cent without a cause
LEAST_HOURS = 6  # so many hours at LEAST_SHARE are the least worth of a spike
MOST_ROWS = 16  # of a window that a person picks
RARE = 26  # hours from one charge to the next: what is charged less often than by the day is a fee
WARM_UP = 96  # hours before the first onset that can be told


@dataclass(frozen=True)
class Episode:
    """A rate away from its normal. `dollars`: what that alone cost, unbilled hours included."""

    rate: Rate
    shift: Shift
    baseline_hours: np.ndarray  # T, hours that may serve as this rate's normal
    baseline: Baseline
    dollars: float

    @property
    def start(self) -> int:
        """First hour."""
        return self.shift.start

    @property
    def end(self) -> int | None:
        """First hour after it; None: it goes on."""
        return self.shift.end

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
        if lead.rate.first_hour is not None and not lead.baseline.values.any():
            return "new"
        if lead.shift.ramp:
            return "ramp"
        return "step" if self.end is None else "pulse"


def find(model: Model) -> tuple[Spike, ...]:
    """All spikes, rises and falls, largest absolute dollars first."""
    if not _by_the_day(model):
        return ()
    born = [e for rate in model.rates if rate.first_hour is not None for e in _birth(model, rate)]
    rates = [rate for rate in model.rates if rate.first_hour is None]
    suspected = [rates[k] for k in suspects(rates)]
    moved = [e for rate, shifts in zip(suspected, find_shifts(suspected), strict=True) for e in _episodes(model, rate, shifts)]
    episodes = [e for e in (*born, *moved) if _matters(model, e)]
    spikes = [s for group in _groups(model, episodes) for s in _told(model, group)]
    return tuple(sorted(spikes, key=lambda s: -abs(sum(e.dollars for e in s.episodes))))


def _by_the_day(model: Model) -> bool:
    """Whether the bill names days at least: one that names only months cannot tell when anything began."""
    o = model.observed
    named = np.count_nonzero(((o.usage != 0) | (o.cost != 0))[:, : o.billed].any(axis=0))
    return bool(named * RARE >= o.billed)


# ---------------------------------------------------------------- episodes of one rate


def _episodes(model: Model, rate: Rate, shifts: Iterable[Shift]) -> Iterable[Episode]:
    """Stretches of this rate away from its normal."""
    quiet, over = np.ones(rate.level.size, dtype=bool), 0
    for shift in shifts:
        start, end = shift.start, shift.end
        if end is not None and rate.kind in {UNIT_PRICE, UNMETERED} and end >= model.observed.billed:
            end = None
        if rate.kind == SCHEDULE:
            ran = _runs(model, rate, (max(start, over), end), over)
            if ran is None:
                continue
            start, end = ran
            over = len(quiet) if end is None else end
        if start < WARM_UP:
            continue
        quiet[start:end] = False
        episode = episode_of(model, rate, replace(shift, since=min(shift.since, start), start=start, end=end), quiet)
        if episode is not None:
            yield episode


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


def _birth(model: Model, rate: Rate) -> Iterable[Episode]:
    """Something that did not exist before: it is away from its normal, nothing, from its first hour on."""
    active = np.flatnonzero(model.observed.calls[rate.row] > 0) if rate.kind in ON_EDGES else np.flatnonzero(model.usage[rate.row] > 0)
    if not active.size or rate.first_hour is None:
        return
    if active.size > 1 and rate.kind not in ON_EDGES and np.median(np.diff(active)) > RARE:
        return
    last = int(active[-1]) + 1
    end = None if last >= rate.level.size - RARE else last
    since = rate.first_hour if active.size < 2 else max(0, rate.first_hour - max(0, int(np.median(np.diff(active))) - 1))
    episode = episode_of(model, rate, Shift(since, rate.first_hour, end, 1.0, ramp=False), np.ones(rate.level.size, dtype=bool))
    if episode is not None:
        yield episode


def episode_of(model: Model, rate: Rate, shift: Shift, quiet: np.ndarray) -> Episode | None:
    """A shift in dollars, `quiet` (T) being the hours that may serve as its normal; None where it is too short to tell."""
    window = Window(shift.start, shift.end if shift.end is not None else len(model.observed.hours))
    shortest = SHORTEST_SEASONAL if rate.kind in SEASONAL else SHORTEST
    if window.end - window.start < shortest:
        return None
    reset = baseline(model, rate, window, quiet)
    dollars = float((model.cost[:, window.hours] - cost_with(model, window, [reset])).sum())
    return Episode(rate, shift, quiet.copy(), reset, dollars)


def _matters(model: Model, episode: Episode) -> bool:
    """A shift clear of the rate's own noise, and not next to nothing; whether its spike is worth a person's time, the group decides.

    Fewer calls from outside, or less of what follows nothing, are holidays and ends of batches: nobody's decision.
    """
    hours = _length(model, episode)
    rate, company = abs(episode.dollars) / hours, _company(model)
    if episode.rate.kind not in SEASONAL:
        return rate >= LEAST_ROW * company
    if episode.dollars < 0 or (episode.end is not None and hours < 24):
        return False
    if episode.rate.first_hour is None and abs(episode.shift.size) < max(5 * episode.rate.drift, LEAST_GROWTH):
        return False
    if episode.rate.first_hour is None and not episode.shift.ramp and not _steps(episode):
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
    return step >= max(0.4 * abs(episode.shift.size), 3 * 2**0.5 * episode.rate.drift)


def _length(model: Model, episode: Episode) -> int:
    window = episode.window(len(model.observed.hours))
    return window.end - window.start


def _company(model: Model) -> float:
    """What the whole company spends in a billed hour: credits and refunds aside, for what they pay is spent all the same."""
    billed = model.observed.cost[:, : model.observed.billed]
    spent = float(np.maximum(billed, 0.0).sum()) or abs(float(billed.sum()))
    return spent / max(1, model.observed.billed)


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
    if one.shift.since - other.start > SAME_START or other.shift.since - one.start > SAME_START:
        return False
    if one.rate.kind == other.rate.kind and one.rate.kind in SHARED:
        return True
    mine, theirs = ({s for s in (e.rate.service, e.rate.caller) if s is not None} for e in (one, other))
    if mine & theirs:
        return True
    near = {(e.service, e.caller) for e in model.observed.edges if e.internal}
    return any((a, b) in near or (b, a) in near for a in mine for b in theirs)


def _told(model: Model, group: list[Episode]) -> list[Spike]:
    """The group as a spike; where its rises and its falls offset each other, both of them: a flat total hides nothing.

    Usage that only moved from one line to another of its own type (a new tag, another account) moved no money.
    """
    whole = _trimmed(model, group)
    if whole is not None:
        return [whole]
    rises, falls = ([e for e in group if (e.dollars > 0) == up] for up in (True, False))
    if {e.rate.usage_type for e in rises} & {e.rate.usage_type for e in falls} - {None}:
        return []
    return [s for s in (_trimmed(model, part) for part in (rises, falls) if part) if s is not None]


def _trimmed(model: Model, group: list[Episode]) -> Spike | None:
    """The group without rows that are noise beside it; its start and end are those of its largest rows."""
    whole = sum(abs(e.dollars) for e in group)
    kept = sorted((e for e in group if abs(e.dollars) >= SMALL_SHARE * whole), key=lambda e: -abs(e.dollars))
    lead = kept[0]
    whole = abs(sum(e.dollars for e in kept))
    least = max(LEAST_MONEY, LEAST_HOURS * LEAST_SHARE * _company(model))
    if whole < least or whole / _length(model, lead) < LEAST_SHARE * _company(model):
        return None
    start = min(e.start for e in kept if abs(e.dollars) >= 0.2 * abs(lead.dollars) and e.start >= lead.start - 1)
    return Spike(start, lead.end, tuple(kept))


# ---------------------------------------------------------------- any window that a person picks


def moved_rates(model: Model, window: Window, against: Window | None) -> list[Baseline]:
    """The rates that differ most in a window, each with its normal from the hours before, or its mean of another window."""
    found = []
    for rate in model.rates:
        reset = baseline(model, rate, window) if against is None else _as_in(model, rate, window, against)
        if reset is None:
            continue
        dollars = float((model.cost[:, window.hours] - cost_with(model, window, [reset])).sum())
        noise = 0.0 if against is not None else 2.0 * rate.drift * abs(float(model.cost[:, window.hours].sum())) * 0.01
        if abs(dollars) > max(0.01, noise):
            found.append((abs(dollars), reset))
    found.sort(key=lambda x: -x[0])
    return [reset for _, reset in found[:MOST_ROWS]]


def _as_in(model: Model, rate: Rate, window: Window, against: Window) -> Baseline | None:
    """The rate as its mean was in the other window: by the hour for calls and levels, ratio of sums for ratios."""
    calm = np.zeros(len(model.observed.hours), dtype=bool)
    calm[against.hours] = True
    value = mean_rate(model, rate, calm)
    return None if value is None else Baseline(rate, np.full(window.end - window.start, value))
