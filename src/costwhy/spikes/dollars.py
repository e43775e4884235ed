"""A spike in money: its dollars by rate, meter and hour."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.errors import UsageError
from costwhy.model.baseline import Baseline, Window, baseline
from costwhy.model.counterfactual import split
from costwhy.model.observed import Observed
from costwhy.model.rates import Model
from costwhy.spikes.detect import LARGE_SHARE, Spike, moved_rates
from costwhy.tables import METER
from costwhy.text import HALF_CENT

LEAST_PART = 1e-4  # of all moved dollars: a meter with less was not moved by the spike
PICKED_ERROR = 0.1  # relative error of a rate in a window that a person picked


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
        usual = model.cost[:, against.hours].mean(axis=1, keepdims=True)
        excess = (model.cost[:, window.hours] - usual) * selected
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
    match = pl.all_horizontal(
        pl.lit(value=True), *(pl.col(name) == value for name, value in where.items())
    )
    rows = observed.meters.with_row_index("m").filter(match)["m"].to_list()
    if not rows:
        raise UsageError(
            "no cost row has these values",
            found=json.dumps(dict(where)),
            fix="see the drivers of `costwhy explain` for values that exist",
        )
    return rows
