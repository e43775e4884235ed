"""Spikes: rates that left their baseline, for how long, and for how much money.

Cost lines are noisy because traffic is; the rates behind them are not. So spikes are looked for in
the rates:

    shift     a stretch of a rate away from its baseline (`shifts.py`)
    episode   a shift in dollars, counted if it stands clear of noise
    spike     one incident: the episodes that start together on services that call each other
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from costwhy.arrays import Mask
from costwhy.behaviours import ON_EDGES, SCHEDULE, SEASONAL, SHARED, UNIT_PRICE, UNMETERED
from costwhy.model.baseline import Baseline, Window, baseline, mean_rate
from costwhy.model.counterfactual import dollars_alone
from costwhy.model.levels import pattern
from costwhy.model.rates import Model, Rate
from costwhy.spikes.shifts import SHORTEST, Shift, find_shifts, suspects

SHORTEST_SEASONAL = 12  # hours: traffic has bursts of a few hours without a decision behind them
SAME_START = 3  # hours between episodes of one incident
SMALL_SHARE = 0.02  # of a spike's dollars: smaller episodes are noise of the same hours
LARGE_SHARE = 0.2  # of the largest episode: these date the start of a spike
LEAST_EPISODE = 0.001  # of the company's cost an hour
LEAST_SEASONAL = 0.025  # the same for rates with a season, which have more noise
LEAST_SHARE = 0.012  # of the company's cost an hour: a smaller spike is not worth a person's hour
LEAST_HOURS = 6  # at LEAST_SHARE: the least worth of a spike
LEAST_MONEY = 1.0  # of the currency, however small the bill
LEAST_GROWTH = 0.1  # of a rate with a season: traffic wanders by a few per cent without a cause
MOST_RATES = 16  # of a window that a person picks
DAILY = 26  # hours from one charge to the next: what is charged less often is a fee
WARM_UP = 96  # hours before the first onset that can be found


@dataclass(frozen=True)
class Episode:
    """A rate away from its baseline."""

    rate: Rate
    shift: Shift
    baseline_hours: Mask  # T, hours that may serve for this rate's baseline
    baseline: Baseline
    dollars: float  # of this rate alone, unbilled hours included

    @property
    def hours(self) -> int:
        """How long it is, so far."""
        return self.baseline.values.size


@dataclass(frozen=True)
class Spike:
    """One incident: its episodes, largest first."""

    start: int
    end: int | None
    episodes: tuple[Episode, ...]

    def window(self, now: int) -> Window:
        """Its hours, up to now where it is still running."""
        return Window(self.start, self.end if self.end is not None else now)

    @property
    def shape(self) -> str:
        """new: the rate is new; ramp: it goes on rising; pulse: it is over; step: it goes on."""
        largest = self.episodes[0]
        if largest.rate.first_hour is not None and not largest.baseline.values.any():
            return "new"
        if largest.shift.ramp:
            return "ramp"
        return "step" if self.end is None else "pulse"


def find(model: Model) -> tuple[Spike, ...]:
    """All spikes, rises and falls, largest absolute dollars first."""
    if not _billed_daily(model):
        return ()
    episodes = [e for rate in model.rates for e in _of_new(model, rate)]
    rates = [rate for rate in model.rates if rate.first_hour is None]
    suspected = [rates[k] for k in suspects(rates)]
    for rate, shifts in zip(suspected, find_shifts(suspected), strict=True):
        episodes += _of_shifts(model, rate, shifts)
    company = _cost_an_hour(model)
    groups = _incidents(model, [e for e in episodes if _clear_of_noise(e, company)])
    spikes = [spike for group in groups for spike in _spikes(group, company)]
    return tuple(sorted(spikes, key=lambda s: -abs(sum(e.dollars for e in s.episodes))))


def _billed_daily(model: Model) -> bool:
    """Whether the bill has days at least: one that has only months cannot date anything."""
    observed = model.observed
    charged = ((observed.usage != 0) | (observed.cost != 0))[:, : observed.billed].any(axis=0)
    return bool(np.count_nonzero(charged) * DAILY >= observed.billed)


def _cost_an_hour(model: Model) -> float:
    """What the company spends in a billed hour; credits and refunds do not lower it."""
    billed = model.observed.cost[:, : model.observed.billed]
    spent = float(np.maximum(billed, 0.0).sum()) or abs(float(billed.sum()))
    return spent / max(1, model.observed.billed)


# ---------------------------------------------------------------- episodes of one rate


def _of_shifts(model: Model, rate: Rate, shifts: Iterable[Shift]) -> Iterable[Episode]:
    """Episodes of a rate that existed from the start."""
    usable, over = np.ones(rate.level.size, dtype=bool), 0
    for shift in shifts:
        start, end = shift.start, shift.end
        if rate.kind in {UNIT_PRICE, UNMETERED} and (end or 0) >= model.observed.billed:
            end = None
        if rate.kind == SCHEDULE:
            runs = _unusual_runs(model, rate, max(start, over), end, over)
            if runs is None:
                continue
            start, end = runs
            over = usable.size if end is None else end
        if start < WARM_UP:
            continue
        usable[start:end] = False
        dated = replace(shift, since=min(shift.since, start), start=start, end=end)
        episode = episode_of(model, rate, dated, usable)
        if episode is not None:
            yield episode


def _unusual_runs(
    model: Model, rate: Rate, start: int, end: int | None, over: int
) -> tuple[int, int | None] | None:
    """First and last hour, from hour `over` on, in which a timer ran otherwise than it used to.

    Its level is by the day, and lags by up to a day.
    """
    calls = model.observed.calls[rate.row]
    before = np.where(np.arange(calls.size) < start - 24, calls, np.nan)
    first, last = max(over, start - 24), calls.size if end is None else end
    off = np.abs(calls - np.maximum(pattern(before), 0.0))[first:last]
    unusual = first + np.flatnonzero(off > 0.25 * off.max(initial=0.0))
    if not unusual.size:
        return None
    return int(unusual[0]), None if end is None else int(unusual[-1]) + 1


def _of_new(model: Model, rate: Rate) -> Iterable[Episode]:
    """The episode of a rate that did not exist from the start: it begins with its first hour."""
    if rate.first_hour is None:
        return
    on_edge = rate.kind in ON_EDGES
    series = model.observed.calls if on_edge else model.usage
    active = np.flatnonzero(series[rate.row] > 0)
    apart = np.median(np.diff(active)) if active.size > 1 else 1
    if not active.size or (not on_edge and apart > DAILY):
        return
    last, size = int(active[-1]) + 1, rate.level.size
    since = max(0, rate.first_hour - max(0, int(apart) - 1))
    end = None if last >= size - DAILY else last
    shift = Shift(since, rate.first_hour, end, size=1.0, ramp=False)
    episode = episode_of(model, rate, shift, np.ones(size, dtype=bool))
    if episode is not None:
        yield episode


def episode_of(model: Model, rate: Rate, shift: Shift, baseline_hours: Mask) -> Episode | None:
    """A shift in dollars; None where it is too short.

    baseline_hours: (T) hours that may serve for the rate's baseline
    """
    window = Window(shift.start, shift.end if shift.end is not None else len(model.observed.hours))
    if window.width < (SHORTEST_SEASONAL if rate.kind in SEASONAL else SHORTEST):
        return None
    usual = baseline(model, rate, window, baseline_hours)
    return Episode(rate, shift, baseline_hours.copy(), usual, dollars_alone(model, window, usual))


def _clear_of_noise(episode: Episode, company: float) -> bool:
    """The episode stands clear of the rate's own noise, and costs more than next to nothing.

    company: its cost an hour. A fall of a rate with a season is a holiday or the end of a batch.
    """
    dollars, rate, shift = abs(episode.dollars) / episode.hours, episode.rate, episode.shift
    if rate.kind not in SEASONAL:
        return dollars >= LEAST_EPISODE * company
    if episode.dollars < 0 or (shift.end is not None and episode.hours < 24):
        return False
    if rate.first_hour is None:
        if abs(shift.size) < max(5 * rate.drift, LEAST_GROWTH):
            return False
        if not shift.ramp and not _stepped(episode):
            return False
    return dollars >= LEAST_SEASONAL * company


def _stepped(episode: Episode) -> bool:
    """True if the level stepped at the onset; slow drift is not an incident."""
    level, start = episode.rate.level, episode.shift.start
    parts = (
        level[max(0, start - 72) : start],
        level[start + 4 : start + 28],
        level[start + 20 : start + 44],
    )
    medians = [float(np.nanmedian(part)) for part in parts if np.isfinite(part).sum() >= 8]
    if len(medians) < 2:
        return True
    step = max(abs(median - medians[0]) for median in medians[1:])
    return step >= max(0.4 * abs(episode.shift.size), 3 * 2**0.5 * episode.rate.drift)


# ---------------------------------------------------------------- episodes of one incident


def _incidents(model: Model, episodes: list[Episode]) -> list[list[Episode]]:
    groups: list[list[Episode]] = []
    for episode in sorted(episodes, key=lambda e: -abs(e.dollars)):
        same = (g for g in groups if any(_same_incident(model, episode, e) for e in g))
        group = next(same, None)
        if group is None:
            groups.append([episode])
        else:
            group.append(episode)
    return groups


def _same_incident(model: Model, one: Episode, other: Episode) -> bool:
    """They start together, and are of one SHARED kind, or on services that call each other."""
    apart = max(one.shift.since - other.shift.start, other.shift.since - one.shift.start)
    if apart > SAME_START:
        return False
    if one.rate.kind == other.rate.kind and one.rate.kind in SHARED:
        return True
    ours, theirs = ({e.rate.service, e.rate.caller} - {None} for e in (one, other))
    if ours & theirs:
        return True
    calls = [{e.service, e.caller} for e in model.observed.edges if e.internal]
    return any(pair & ours and pair & theirs for pair in calls)


def _spikes(group: list[Episode], company: float) -> list[Spike]:
    """The incident as a spike; where its rises and falls offset each other, a spike of each.

    Usage that moved from one meter to another of its type (a new tag or account) moved no money.
    """
    whole = _spike(group, company)
    if whole is not None:
        return [whole]
    rises, falls = ([e for e in group if (e.dollars > 0) == up] for up in (True, False))
    if {e.rate.usage_type for e in rises} & {e.rate.usage_type for e in falls} - {None}:
        return []
    parts = (_spike(part, company) for part in (rises, falls) if part)
    return [spike for spike in parts if spike is not None]


def _spike(group: list[Episode], company: float) -> Spike | None:
    """The group without episodes that are noise beside it; None where it is not worth an hour.

    Its start and end are those of its largest episodes.
    """
    least = SMALL_SHARE * sum(abs(e.dollars) for e in group)
    kept = sorted((e for e in group if abs(e.dollars) >= least), key=lambda e: -abs(e.dollars))
    largest = kept[0]
    dollars = abs(sum(e.dollars for e in kept))
    if dollars < max(LEAST_MONEY, LEAST_SHARE * company * max(LEAST_HOURS, largest.hours)):
        return None
    large = [e for e in kept if abs(e.dollars) >= LARGE_SHARE * abs(largest.dollars)]
    start = min(e.shift.start for e in large if e.shift.start >= largest.shift.start - 1)
    return Spike(start, largest.shift.end, tuple(kept))


# ---------------------------------------------------------------- any window that a person picks


def moved_rates(model: Model, window: Window, against: Window | None) -> list[Baseline]:
    """The rates that moved most dollars in a window, largest first, with their baselines.

    A baseline comes from the hours before, or is the mean of another window.
    """
    noise = 0.02 * abs(float(model.cost[:, window.hours].sum()))
    found = []
    for rate in model.rates:
        if against is None:
            usual: Baseline | None = baseline(model, rate, window)
        else:
            usual = _mean_of(model, rate, window, against)
        if usual is None:
            continue
        dollars = abs(dollars_alone(model, window, usual))
        if dollars > max(0.01, rate.drift * noise if against is None else 0.0):
            found.append((dollars, usual))
    found.sort(key=lambda x: -x[0])
    return [usual for _, usual in found[:MOST_RATES]]


def _mean_of(model: Model, rate: Rate, window: Window, against: Window) -> Baseline | None:
    """The rate at its mean of the other window; None where it is not defined there."""
    hours = np.zeros(len(model.observed.hours), dtype=bool)
    hours[against.hours] = True
    value = mean_rate(model, rate, hours)
    return None if value is None else Baseline(rate, np.full(window.width, value))
