"""A spike in money: its dollars by rate, meter and hour, and the row that sums them up.

An interval says how far off the excess may be, from its 10 % to its 90 % quantile. It adds up three
errors that are independent of each other:

    baseline    of calls, how far off it was on earlier days; of other rates, their noise
    autoscaler  hours in which a rule kept an instance too many or too few
    estimate    of unbilled hours, how far off such estimates were (`model/estimates.py`)
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.behaviours import BY_KIND, OF_USAGE, ON_EDGES, verdict
from costwhy.errors import UsageError
from costwhy.model.baseline import Baseline, Window, baseline, baseline_errors, split
from costwhy.model.estimates import COVERAGE, backtest, half_width, independent_days
from costwhy.model.levels import WEEK
from costwhy.model.observed import HOUR, Observed
from costwhy.model.rates import Model, Rate
from costwhy.spikes.detect import LARGE_SHARE, Spike, moved_rates
from costwhy.tables import METER
from costwhy.text import HALF_CENT, cents

LEAST_PART = 1e-4  # of all moved dollars: a meter with less was not moved by the spike
PICKED_ERROR = 0.1  # relative error of a rate in a window that a person picked
NOW_HOURS = 3  # the last hours, whose mean is *an hour now*
WHERE_ORDER = ("service", "ServiceName", "x_UsageType", "team", "RegionId", "SubAccountId")
WHERE_SHARE = 0.97  # of the spike's dollars that a value of `where` must hold
QUANTILE_90 = 1.2816  # of a standard normal


@dataclass(frozen=True)
class SpikeDollars:
    """A spike's dollars by rate (R), meter (M) and hour of its window (W)."""

    window: Window
    since: int  # the first hour in which it may have begun
    running: bool
    shape: str
    baselines: tuple[Baseline, ...]  # R, largest dollars first
    relative_errors: tuple[float, ...]  # R, relative standard deviation of each rate's dollars
    dollars: tuple[Array, ...]  # R arrays of M x W
    excess: Array  # M x W; the sum of `dollars`, or the plain difference of two windows
    moved_meters: tuple[int, ...]
    billed: int  # hours of the window that are billed
    spike: Spike | None = None  # None: a window that a person picked

    @property
    def hourly(self) -> Array:
        """W: the whole excess by hour."""
        return np.asarray(self.excess.sum(axis=0))


def dollars_of(model: Model, spike: Spike) -> SpikeDollars:
    """The spike's dollars, split among its rates."""
    window, largest = spike.window(len(model.observed.hours)), spike.episodes[0]
    baselines = [baseline(model, e.rate, window, e.baseline_hours) for e in spike.episodes]
    dollars = split(model, window, baselines)
    order = _largest_first(dollars)  # together with others a rate has other dollars than alone
    excess = np.asarray(sum(dollars[k] for k in order))
    moved = np.abs(excess).sum(axis=1)
    episodes = [spike.episodes[k] for k in order]
    large = [e for e in episodes if abs(e.dollars) >= LARGE_SHARE * abs(largest.dollars)]
    return SpikeDollars(
        window=window,
        since=min([window.start, *(e.shift.since for e in large)]),
        running=spike.end is None,
        shape=spike.shape,
        baselines=tuple(baselines[k] for k in order),
        relative_errors=tuple(
            min(1.0, e.rate.drift / max(abs(e.shift.size), 1e-9)) for e in episodes
        ),
        dollars=tuple(dollars[k] for k in order),
        excess=excess,
        moved_meters=tuple(np.flatnonzero(moved > LEAST_PART * max(moved.sum(), 1e-9)).tolist()),
        billed=_billed(model, window),
        spike=replace(spike, episodes=tuple(episodes)),
    )


def _largest_first(dollars: list[Array]) -> list[int]:
    return sorted(range(len(dollars)), key=lambda k: -abs(float(dollars[k].sum())))


def _billed(model: Model, window: Window) -> int:
    return int(np.clip(model.observed.billed - window.start, 0, window.width))


def dollars_of_window(
    model: Model, window: Window, against: Window | None, where: Mapping[str, str]
) -> SpikeDollars:
    """The same for any window, against the hours before it, or by the hour against another window.

    where: only meters with these values of METER columns
    """
    rows = _selected(model.observed, where)
    selected = np.zeros((len(model.meters), 1))
    selected[rows] = 1.0
    baselines = moved_rates(model, window, against)
    dollars = [d * selected for d in split(model, window, baselines)]
    if against is None:
        excess = sum(dollars, start=np.zeros((len(model.meters), window.width)))
    else:
        excess = (
            model.cost[:, window.hours] - model.cost[:, against.hours].mean(axis=1, keepdims=True)
        ) * selected
    kept = [k for k in _largest_first(dollars) if abs(float(dollars[k].sum())) >= HALF_CENT]
    running = window.end == len(model.observed.hours)
    return SpikeDollars(
        window=window,
        since=window.start,
        running=running,
        shape="step" if running else "pulse",
        baselines=tuple(baselines[k] for k in kept),
        relative_errors=(PICKED_ERROR,) * len(kept),
        dollars=tuple(dollars[k] for k in kept),
        excess=excess,
        moved_meters=tuple(rows),
        billed=_billed(model, window),
    )


def _selected(observed: Observed, where: Mapping[str, str]) -> list[int]:
    """Rows of the meters with these values.

    Raises UsageError for an unknown column, or where no meter has them.
    """
    unknown = [name for name in where if name not in METER]
    if unknown:
        raise UsageError(
            f"--where knows no column {unknown[0]!r}",
            found=", ".join(METER),
            fix="use one of these columns",
        )
    rows = (
        observed.meters.with_row_index("m")
        .filter(*(pl.col(name) == value for name, value in where.items()))["m"]
        .to_list()
    )
    if not rows:
        raise UsageError(
            "no cost row has these values",
            found=json.dumps(dict(where)),
            fix="see the drivers of `costwhy explain` for values that exist",
        )
    return rows


# ---------------------------------------------------------------- the row


@dataclass(frozen=True)
class SpikeRow:
    """One row of `tables.SPIKES`, with its names and order; money in the lake's currency."""

    spike_id: str
    title: str
    start: datetime
    end: datetime | None
    status: str
    shape: str
    where: str
    expected_cost: float
    actual_cost: float
    excess_cost: float
    excess_low: float
    excess_high: float
    nowcast_hours: int
    nowcast_excess_cost: float
    nowcast_low: float
    nowcast_high: float
    cost_per_hour_now: float
    month_end_excess_cost: float
    verdict: str


def spike_row(model: Model, spike: SpikeDollars) -> SpikeRow:
    """The row of `tables.SPIKES`."""
    observed, hourly, billed = model.observed, spike.hourly, spike.billed
    first, largest = spike.window.start, spike.baselines[0].rate if spike.baselines else None
    excess = cents(float(hourly[:billed].sum()))
    actual = cents(float(model.cost[list(spike.moved_meters), first : first + billed].sum()))
    width = excess_half_width(model, spike, 0, billed) if billed else 0.0
    unbilled, unbilled_width = float(hourly[billed:].sum()), unbilled_half_width(model, spike)
    where = _where(observed, spike)
    rows = zip(spike.baselines, spike.dollars, strict=True)
    return SpikeRow(
        spike_id=_spike_id(observed.hours[first], where, largest),
        title=_title(largest, where),
        start=observed.hours[first],
        end=None if spike.running else observed.hours[0] + spike.window.end * HOUR,
        status="running" if spike.running else "ended",
        shape=spike.shape,
        where=json.dumps(where),
        expected_cost=cents(actual - excess),
        actual_cost=actual,
        excess_cost=excess,
        excess_low=cents(excess - width),
        excess_high=cents(excess + width),
        nowcast_hours=int(hourly.size - billed),
        nowcast_excess_cost=cents(unbilled),
        nowcast_low=cents(unbilled - unbilled_width),
        nowcast_high=cents(unbilled + unbilled_width),
        cost_per_hour_now=cents(_cost_now(model, spike) if spike.running else 0.0),
        month_end_excess_cost=cents(_month_end(model, spike)),
        verdict=verdict([(usual.rate.kind, float(d.sum())) for usual, d in rows]),
    )


def _cost_now(model: Model, spike: SpikeDollars) -> float:
    """Excess an hour now: of the last hours, or of the last day where some of them have no cost."""
    last = slice(max(spike.window.start, spike.window.end - NOW_HOURS), spike.window.end)
    charged = (model.cost[list(spike.moved_meters), last] != 0).any(axis=0).all()
    return float(spike.hourly[-(NOW_HOURS if charged else 24) :].mean())


def _month_end(model: Model, spike: SpikeDollars) -> float:
    """Excess from the start to the end of the month of as-of: the mean of whole days goes on.

    A spike of less than a day goes on at its mean, scaled by the week before: the calls of all its
    hours over those of the hours that the spike has had so far.
    """
    hourly, as_of, total = spike.hourly, model.observed.as_of, float(spike.hourly.sum())
    if not spike.running:
        return total
    left = ((as_of.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1) - as_of) / HOUR
    if hourly.size >= 24:
        return total + float(hourly[-24 * min(hourly.size // 24, 7) :].mean()) * left
    services = (model.meters[row].service for row in spike.moved_meters)
    service = next((service for service in services if service is not None), None)
    scale = 1.0
    if service is not None and spike.window.start >= WEEK:
        calls, first = model.handled[service], spike.window.start - WEEK
        same_hours = float(calls[first : spike.window.end - WEEK].mean())
        if same_hours > 0:
            scale = float(np.clip(calls[first : spike.window.start].mean() / same_hours, 0.3, 3.0))
    return total + float(hourly.mean()) * scale * left


def _where(observed: Observed, spike: SpikeDollars) -> dict[str, str]:
    """Values that nearly all dollars of the spike have in common; empty where there are none."""
    meters, where = list(spike.moved_meters), dict[str, str]()
    weight = np.abs(spike.excess).sum(axis=1)[meters]
    rows = observed.meters[meters].with_columns(weight=weight)
    for name in WHERE_ORDER:
        sums = rows.group_by(name).agg(pl.col("weight").sum())
        for value, dollars in sums.sort("weight", name, descending=[True, False])[:1].iter_rows():
            if value is not None and dollars >= WHERE_SHARE * weight.sum():
                where[name] = value
    return where


def _spike_id(start: datetime, where: Mapping[str, str], rate: Rate | None) -> str:
    service = where.get("service") or (rate.service if rate else None)
    usage = where.get("ServiceName") or (rate.usage_type or rate.kind if rate else "window")
    words = [
        "".join(ch if ch.isalnum() else "-" for ch in w.lower()) for w in (service, usage) if w
    ]
    return "-".join([f"{start:%Y%m%dT%H}", *(word.strip("-") for word in words)])[:100]


def _title(rate: Rate | None, where: Mapping[str, str]) -> str:
    name = rate and (rate.service or rate.usage_type or where.get("ServiceName", ""))
    return f"{BY_KIND[rate.kind].title} {name}".strip() if rate else "nothing moved"


# ---------------------------------------------------------------- intervals


def unbilled_half_width(model: Model, spike: SpikeDollars) -> float:
    """Half-width of the interval of the unbilled excess: estimate error and baseline error.

    For rates of usage an estimate error scales with the cost, as their baseline does not depend on
    the estimate; for all other rates it scales with the excess.
    """
    if spike.billed == spike.window.width:
        return 0.0
    begin, meters = spike.window.start + spike.billed, list(spike.moved_meters)
    billed = model.observed.billed
    of_usage = {b.rate.row for b in spike.baselines if b.rate.kind in OF_USAGE}
    weight = np.where(
        [row in of_usage for row in meters],
        model.cost[meters, begin : spike.window.end].sum(axis=1),
        spike.excess[meters, spike.billed :].sum(axis=1),
    )
    estimate = backtest(model, meters, slice(begin - billed, spike.window.end - billed)).half_width(
        weight
    )
    return float(
        np.hypot(estimate, excess_half_width(model, spike, spike.billed, spike.window.width))
    )


def excess_half_width(model: Model, spike: SpikeDollars, first: int, last: int) -> float:
    """Half-width of the interval of the excess in hours [first, last) of the spike."""
    widths = [_of_baseline(model, spike, k, first, last) for k in range(len(spike.baselines))]
    return float(np.sqrt(np.square([*widths, _of_autoscalers(model, spike, last - first)]).sum()))


def _of_baseline(model: Model, spike: SpikeDollars, k: int, first: int, last: int) -> float:
    usual, dollars = spike.baselines[k], float(spike.dollars[k][:, first:last].sum())
    by_noise = QUANTILE_90 * spike.relative_errors[k] * abs(dollars)
    if spike.spike is None or usual.rate.kind not in ON_EDGES:
        return by_noise
    hours = Window(spike.window.start + first, spike.window.start + last)
    calls, of = (part[hours.hours] for part in model.parts(usual.rate.kind, usual.rate.row))
    expected = float((usual.values[first:last] * of).sum())
    more = float(calls.sum()) - expected
    if not expected or not more:
        return by_noise
    errors = baseline_errors(
        model, usual.rate, hours, first, spike.spike.episodes[k].baseline_hours
    )
    return half_width(errors * abs(dollars * expected / more), by_noise, independent_days(errors))


def _of_autoscalers(model: Model, spike: SpikeDollars, hours: int) -> float:
    """The part that is autoscalers' rules: an hour that one gets wrong is one instance off.

    How often a rule is wrong is counted in the week before the spike, plus half an hour. Zero where
    it is likelier than COVERAGE that no hour at all is wrong.
    """
    wrong_hours, variance = 0.0, 0.0
    before = min(spike.since, model.observed.billed)
    rules = ((row, model.meters[row].rule) for row in spike.moved_meters)
    for row, rule in ((row, rule) for row, rule in rules if rule is not None):
        gap = (model.usage[row] - model.predicted_usage[row])[max(0, before - WEEK) : before]
        off = np.abs(gap - np.median(gap)) > rule.per_instance / 2 if gap.size else gap
        problem = hours * (float(off.sum()) + 0.5) / (gap.size + 1)
        wrong_hours += problem
        variance += problem * float(rule.per_instance * model.price[row, spike.window.start]) ** 2
    return QUANTILE_90 * float(np.sqrt(variance)) if np.exp(-wrong_hours) < COVERAGE else 0.0
