"""A spike in money: its dollars by rate, meter and hour; what it costs now, what it will have cost, what kind it is."""

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
from costwhy.spikes.detect import Spike, moved_rates
from costwhy.tables import METER


@dataclass(frozen=True)
class SpikeDollars:
    """A spike's dollars: by reset, meter and hour. `own`: the meters that the spike moved."""

    window: Window
    since: int  # the first hour in which it may have begun
    running: bool
    shape: str
    baselines: tuple[Baseline, ...]  # largest first
    relative_errors: tuple[float, ...]  # relative standard deviation of each reset's dollars
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
    window = spike.window(len(model.observed.hours))
    resets = [baseline(model, e.rate, window, e.baseline_hours) for e in spike.episodes]
    parts = sorted(zip(spike.episodes, resets, split(model, window, resets), strict=True), key=lambda part: -abs(float(part[2].sum())))
    dollars = tuple(part[2] for part in parts)  # largest first: with others a rate has other dollars than alone
    excess = np.asarray(sum(dollars[1:], start=dollars[0]))
    moved = np.abs(excess).sum(axis=1)
    return SpikeDollars(
        window=window,
        since=min([window.start, *(e.shift.since for e in spike.episodes if abs(e.dollars) >= 0.2 * abs(spike.episodes[0].dollars))]),
        running=spike.end is None,
        shape=spike.shape,
        baselines=tuple(reset for _, reset, _ in parts),
        relative_errors=tuple(min(1.0, e.rate.drift / max(abs(e.shift.size), 1e-9)) for e, _, _ in parts),
        dollars=dollars,
        excess=excess,
        moved_meters=tuple(int(m) for m in np.flatnonzero(moved > 1e-4 * max(moved.sum(), 1e-9))),
        billed=_billed(model, window),
        spike=replace(spike, episodes=tuple(episode for episode, _, _ in parts)),
    )


def _billed(model: Model, window: Window) -> int:
    return int(np.clip(model.observed.billed - window.start, 0, window.end - window.start))


def dollars_of_window(model: Model, window: Window, against: Window | None, where: Mapping[str, str]) -> SpikeDollars:
    """The same for any window: against what the hours before it let expect, or by the hour against another window."""
    rows = _selected(model.observed, where)
    resets = moved_rates(model, window, against)
    keep = np.zeros((len(model.meters), 1))
    keep[rows] = 1.0
    dollars = (
        tuple(d * keep for d in split(model, window, resets)) if resets else (np.zeros((len(model.meters), window.end - window.start)),)
    )
    excess = np.asarray(sum(dollars[1:], start=dollars[0]))
    if against is not None:
        excess = (model.cost[:, window.hours] - model.cost[:, against.hours].mean(axis=1, keepdims=True)) * keep
    order = sorted(range(len(resets)), key=lambda k: -abs(float(dollars[k].sum())))
    kept = [k for k in order if abs(float(dollars[k].sum())) >= 0.005]
    running = window.end == len(model.observed.hours)
    return SpikeDollars(
        window,
        window.start,
        running,
        "step" if running else "pulse",
        tuple(resets[k] for k in kept),
        tuple(0.1 for _ in kept),
        tuple(dollars[k] for k in kept),
        excess,
        tuple(rows),
        _billed(model, window),
    )


def _selected(o: Observed, where: Mapping[str, str]) -> list[int]:
    """Meters that have these values. Raises UsageError for an unknown column or where nothing has them."""
    unknown = [name for name in where if name not in METER]
    if unknown:
        raise UsageError(f"--where knows no column {unknown[0]!r}", found=", ".join(METER), todo="use one of these columns")
    match = pl.all_horizontal([pl.lit(value=True), *(pl.col(name) == value for name, value in where.items())])
    rows = o.meters.with_row_index("m").filter(match)["m"].to_list()
    if not rows:
        raise UsageError(
            "no cost row has these values",
            found=json.dumps(dict(where)),
            todo="see the drivers of `costwhy explain` for values that exist",
        )
    return rows
