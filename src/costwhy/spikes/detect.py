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
from costwhy.model.baseline import Baseline, Window, baseline, dollars_alone, mean_rate
from costwhy.model.holes import Hole, find_holes, in_hole
from costwhy.model.levels import BLOCK, WEEK, pattern
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
MOST_COMPUTED = 400  # of its rates; the others moved least by a first look
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
    billed = model.observed.billed
    usage, cost = (array[:, :billed] for array in (model.observed.usage, model.observed.cost))
    if np.count_nonzero(((usage != 0) | (cost != 0)).any(axis=0)) * DAILY < billed:
        return ()  # a bill that has only months cannot date anything
    episodes = [_of_new(model, rate) for rate in model.rates if rate.first_hour is not None]
    rates = [rate for rate in model.rates if rate.first_hour is None]
    suspected = [rates[k] for k in suspects(rates)]
    for rate, shifts in zip(suspected, find_shifts(suspected), strict=True):
        episodes += _of_shifts(model, rate, shifts)
    # What the company spends in a billed hour; credits and refunds do not lower it.
    company = (float(np.maximum(cost, 0.0).sum()) or abs(float(cost.sum()))) / max(1, billed)
    holes = find_holes(model.observed)
    clear = (
        e
        for e in episodes
        if e is not None
        and _clear_of_noise(e, company)
        and not (holes and _is_hole(e, model, holes))
    )
    groups: list[list[Episode]] = []
    for episode in sorted(clear, key=lambda e: -abs(e.dollars)):
        group = next((g for g in groups if any(_same_incident(model, episode, e) for e in g)), [])
        if not group:
            groups.append(group)
        group.append(episode)
    spikes = [spike for group in groups for spike in _spikes(group, company)]
    return tuple(sorted(spikes, key=lambda s: -abs(sum(e.dollars for e in s.episodes))))


# ---------------------------------------------------------------- episodes of one rate


def _of_shifts(model: Model, rate: Rate, shifts: Iterable[Shift]) -> Iterable[Episode | None]:
    """Episodes of a rate that existed from the start.

    The level of a timer is by the day, and lags by up to a day. So the first and the last hour are
    looked for in which it ran otherwise than it used to.
    """
    usable, over = np.ones(rate.level.size, dtype=bool), 0
    for shift in shifts:
        start, end = shift.start, shift.end
        if rate.kind in {UNIT_PRICE, UNMETERED} and (end or 0) >= model.observed.billed:
            end = None
        if rate.kind == SCHEDULE:
            calls, before = model.observed.calls[rate.row], max(start, over) - 24
            past = np.where(np.arange(calls.size) < before, calls, np.nan)
            first = max(over, before)
            off = np.abs(calls - np.maximum(pattern(past), 0.0))[first:end]
            unusual = first + np.flatnonzero(off > 0.25 * off.max(initial=0.0))
            if not unusual.size:
                continue
            start, end = int(unusual[0]), None if end is None else int(unusual[-1]) + 1
            over = usable.size if end is None else end
        if start < WARM_UP:
            continue
        usable[start:end] = False
        yield episode_of(
            model, rate, replace(shift, since=min(shift.since, start), start=start, end=end), usable
        )


def _of_new(model: Model, rate: Rate) -> Episode | None:
    """The episode of a rate that did not exist from the start: it begins with its first hour."""
    active = np.flatnonzero(
        (model.observed.calls if rate.kind in ON_EDGES else model.usage)[rate.row] > 0
    )
    if active.size <= rate.step > 1 and active[-1] + 1 < model.observed.billed:
        return None  # a single day of a bill by the day, and it did not go on
    apart = np.median(np.diff(active)) if active.size > 1 else 1
    if rate.first_hour is None or not active.size or (rate.kind not in ON_EDGES and apart > DAILY):
        return None
    last, size = int(active[-1]) + 1, rate.level.size
    shift = Shift(
        max(0, rate.first_hour - max(0, int(apart) - 1)),
        rate.first_hour,
        None if last >= size - DAILY else last,
        size=1.0,
        ramp=False,
    )
    return episode_of(model, rate, shift, np.ones(size, dtype=bool))


def episode_of(model: Model, rate: Rate, shift: Shift, baseline_hours: Mask) -> Episode | None:
    """A shift in dollars; None where it is too short.

    baseline_hours: (T) hours that may serve for the rate's baseline
    """
    window = Window(shift.start, shift.end if shift.end is not None else len(model.observed.hours))
    if window.width < (SHORTEST_SEASONAL if rate.kind in SEASONAL else SHORTEST):
        return None
    usual = baseline(model, rate, window, baseline_hours)
    return Episode(rate, shift, baseline_hours.copy(), usual, dollars_alone(model, window, usual))


def _is_hole(episode: Episode, model: Model, holes: tuple[Hole, ...]) -> bool:
    """Whether the bill of these hours is missing: that is no fall."""
    if episode.dollars > 0 or episode.rate.kind in ON_EDGES:
        return False
    shift, hours = episode.shift, np.zeros(len(model.observed.hours), dtype=bool)
    hours[shift.start : shift.end] = True
    return in_hole(model.observed, holes, episode.rate.row, hours)


def _clear_of_noise(episode: Episode, company: float) -> bool:
    """The episode stands clear of the rate's own noise, and costs more than next to nothing.

    company: its cost an hour. A fall of a rate with a season is a holiday or the end of a batch.
    """
    dollars, rate, shift = abs(episode.dollars) / episode.hours, episode.rate, episode.shift
    if rate.kind not in SEASONAL:
        return dollars >= LEAST_EPISODE * company
    if episode.dollars < 0 or (shift.end is not None and episode.hours < 24):
        return False
    grew = rate.first_hour is not None or (
        abs(shift.size) >= max(5 * rate.drift, LEAST_GROWTH) and (shift.ramp or _stepped(episode))
    )
    return grew and dollars >= LEAST_SEASONAL * company


def _stepped(episode: Episode) -> bool:
    """True if the level stepped at the onset; slow drift is not an incident."""
    level, start = episode.rate.level, episode.shift.start
    parts = (
        level[max(0, start - 72) : start],
        level[start + 4 : start + 28],
        level[start + 20 : start + 44],
    )
    medians = [float(np.nanmedian(part)) for part in parts if np.isfinite(part).sum() >= 8]
    return len(medians) < 2 or max(abs(m - medians[0]) for m in medians[1:]) >= max(
        0.4 * abs(episode.shift.size), 3 * 2**0.5 * episode.rate.drift
    )


# ---------------------------------------------------------------- episodes of one incident


def _same_incident(model: Model, one: Episode, other: Episode) -> bool:
    """They start together, and are of one SHARED kind, or on services that call each other."""
    if max(one.shift.since - other.shift.start, other.shift.since - one.shift.start) > SAME_START:
        return False
    if one.rate.kind == other.rate.kind and one.rate.kind in SHARED:
        return True
    ours, theirs = ({e.rate.service, e.rate.caller} - {None} for e in (one, other))
    calls = ({e.service, e.caller} for e in model.observed.edges if e.internal)
    return bool(ours & theirs) or any(pair & ours and pair & theirs for pair in calls)


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
    if abs(sum(e.dollars for e in kept)) < max(
        LEAST_MONEY, LEAST_SHARE * company * max(LEAST_HOURS, largest.hours)
    ):
        return None
    start = min(
        e.shift.start
        for e in kept
        if abs(e.dollars) >= LARGE_SHARE * abs(largest.dollars)
        and e.shift.start >= largest.shift.start - 1
    )
    return Spike(start, largest.shift.end, tuple(kept))


# ---------------------------------------------------------------- any window that a person picks


def _candidates(model: Model, window: Window, before: Window) -> list[Rate]:
    """The rates worth a baseline: of many those whose levels moved most, times what they cost.

    The baseline of a rate takes milliseconds, its level none. What begins in the window counts
    whole.
    """
    rates = [*model.rates]
    if len(rates) <= MOST_COMPUTED:
        return rates
    cost = np.abs(model.cost[:, window.hours]).sum(axis=1)
    moved_by, services = model.moved_by, len(model.observed.service_rows)
    of_service = np.zeros(services + 1)  # the last: of no service
    for rows in (moved_by[0], np.where(moved_by[1] == moved_by[0], -1, moved_by[1])):
        np.add.at(of_service, rows, cost)
    worth = np.zeros(len(rates))
    hours = slice(max(before.start, before.end - WEEK), before.end)
    for first in range(0, len(rates), BLOCK):
        part = rates[first : first + BLOCK]
        now, past = (
            np.ma.masked_invalid([rate.level[h] for rate in part]) for h in (window.hours, hours)
        )
        move = np.ma.filled(np.abs(now.mean(axis=1) - past.mean(axis=1)), 1.0)
        worth[first : first + BLOCK] = move * [
            of_service[model.observed.service_rows[str(rate.service)]]
            if rate.kind in ON_EDGES
            else cost[rate.row]
            for rate in part
        ]
    return [rates[k] for k in np.sort(np.argsort(-worth, kind="stable")[:MOST_COMPUTED])]


def moved_rates(model: Model, window: Window, against: Window | None) -> list[Baseline]:
    """The rates that moved most dollars in a window, largest first, with their baselines.

    A baseline comes from the hours before, or is the mean of another window.
    """
    noise = 0.02 * abs(float(model.cost[:, window.hours].sum()))
    found, hours = [], np.zeros(len(model.observed.hours), dtype=bool)
    hours[(against or window).hours] = True
    for rate in _candidates(model, window, against or Window(0, window.start)):
        if against is None:
            usual = baseline(model, rate, window)
        else:
            mean = mean_rate(model, rate, hours)
            if mean is None:
                continue
            usual = Baseline(rate, np.full(window.width, mean))
        dollars = abs(dollars_alone(model, window, usual))
        if dollars > max(0.01, rate.drift * noise if against is None else 0.0):
            found.append((dollars, usual))
    return [usual for _, usual in sorted(found, key=lambda pair: -pair[0])[:MOST_RATES]]
