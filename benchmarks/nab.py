"""The AWS series of the Numenta Anomaly Benchmark, and its score: Lavin & Ahmad, Evaluating Real-time Anomaly Detection Algorithms (2015).

A detection in a window counts by how early it is, 2 / (1 + exp(5 y)) - 1 at position y = -1 (its begin) to 0 (its end), the first one only, over
that of y = -1; one outside costs 0.11 times the same function of its distance from the window before it, at most 0.11; a window without
detection costs 1 (standard profile). The first 15 % of a series are for learning. 0 is a detector that says nothing, 100 a perfect one.

What costwhy is shown: means by the hour, which is the grain of a bill, as `amount`, without a season, since two weeks do not tell a week's
pattern. *told at once*: in each hour it sees only the hours before its end, and a shift counts from the end of the hour in which it is first told; this
is what NAB asks of a detector. *in retrospect*: the start of each shift, the whole series seen. Thresholds of the peers are those that score
best on these very series, as NAB chooses them on its own.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from known import SHARED

from costwhy.arrays import Array
from costwhy.model.levels import levels_of
from costwhy.spikes.shifts import find_shifts

DATA = SHARED / "data" / "nab"
FALSE_ALARM = 0.11
LEARNING = 0.15
PUBLISHED = (
    "ARTime 74.9, HTM 70.5, CAD OSE 69.9, Skyline 58.2, KNN-CAD 58.0, Relative Entropy 54.6, Random Cut Forest 51.7,\n"
    "Twitter ADVec 47.1, Windowed Gaussian 39.6, Bayesian changepoint 17.7, random 11.0 (numenta/NAB, README: standard profile, all 58 series)"
)


@dataclass(frozen=True)
class Series:
    """Values at their own grain of five minutes, windows as first and last row, and the hour of each row."""

    name: str
    values: Array
    hour: np.ndarray  # of each row, counted from the first
    windows: tuple[tuple[int, int], ...]

    @property
    def learning(self) -> int:
        """Rows at the begin that are not scored."""
        return int(min(LEARNING * self.values.size, LEARNING * 5000))

    @property
    def hourly(self) -> Array:
        """Mean of each hour; NaN where there is none."""
        count, total = np.bincount(self.hour), np.bincount(self.hour, self.values)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def first_row(self, hour: int) -> int:
        """First row of this hour, or of the next one that has rows."""
        return int(min(np.searchsorted(self.hour, hour), self.values.size - 1))

    def last_row(self, hour: int) -> int:
        """Last row of this hour."""
        return int(max(0, np.searchsorted(self.hour, hour, side="right") - 1))


def read() -> list[Series]:
    """All of them."""
    windows = json.loads((DATA / "windows.json").read_text())
    return [_series(name, spans) for name, spans in sorted(windows.items())]


def _series(name: str, spans: list[list[str]]) -> Series:
    frame = pl.read_csv(DATA / name, try_parse_dates=True)
    times = frame["timestamp"].cast(pl.Datetime("us")).to_numpy()
    edges = [[np.datetime64(datetime.fromisoformat(text)) for text in span] for span in spans]
    rows = tuple(
        (int(np.searchsorted(times, a)), int(np.searchsorted(times, b, side="right")) - 1)
        for a, b in edges
    )
    hour = (times - times[0].astype("datetime64[h]")) // np.timedelta64(1, "h")
    return Series(
        name.split("/")[1].removesuffix(".csv"),
        frame["value"].to_numpy().astype(float),
        hour.astype(int),
        rows,
    )


# ---------------------------------------------------------------- the score


def _weight(position: float) -> float:
    return -1.0 if position > 3 else float(2 / (1 + np.exp(5 * position)) - 1)


def raw_score(s: Series, rows: list[int]) -> float:
    """NAB's score of one series before it is normalised."""
    scored = sorted({r for r in rows if r >= s.learning})
    score = 0.0
    for first, last in s.windows:
        inside = [r for r in scored if first <= r <= last]
        width = last - first + 1
        score += _weight(-(last - inside[0] + 1) / width) / _weight(-1.0) if inside else -1.0
    for r in (r for r in scored if not any(a <= r <= b for a, b in s.windows)):
        before = [(a, b) for a, b in s.windows if b < r]
        a, b = before[-1] if before else (0, 0)
        score += FALSE_ALARM * (_weight((r - b) / max(b - a, 1)) if before else -1.0)
    return score


def score(series: list[Series], said: list[list[int]]) -> float:
    """0 for silence, 100 for the perfect detector."""
    windows = sum(len(s.windows) for s in series)
    return (
        100
        * (sum(raw_score(s, rows) for s, rows in zip(series, said, strict=True)) + windows)
        / (2 * windows)
    )


def events(series: list[Series], said: list[list[int]]) -> tuple[float, float, int]:
    """Share of windows with a detection, share of detections in a window, detections."""
    hit = total = right = 0
    for s, rows in zip(series, said, strict=True):
        scored = [r for r in set(rows) if r >= s.learning]
        hit += sum(any(a <= r <= b for r in scored) for a, b in s.windows)
        right += sum(any(a <= r <= b for a, b in s.windows) for r in scored)
        total += len(scored)
    return hit / sum(len(s.windows) for s in series), right / max(1, total), total


# ---------------------------------------------------------------- detectors: rows of a series that are told


def _shifts(values: Array) -> list[tuple[int, int | None]]:
    known = values[np.isfinite(values)]
    level = values / (np.abs(known).mean() or 1.0)
    [found] = find_shifts(levels_of("amount", level[None, :], np.ones(1, dtype=bool)))
    return [(shift.start, shift.end) for shift in found]


def in_retrospect(s: Series) -> list[int]:
    """The start of each shift, everything seen."""
    return [s.first_row(start) for start, _ in _shifts(s.hourly)]


def at_five_minutes(s: Series) -> list[int]:
    """The same at the series' own grain, where the method takes five minutes for an hour."""
    return [start for start, _ in _shifts(s.values)]


def told_at_once(s: Series) -> list[int]:
    """The end of each hour in which a shift is told that was not told before."""
    hourly, known, rows = s.hourly, -1, []
    for now in range(24, hourly.size + 1):
        fresh = [
            start
            for start, end in _shifts(hourly[:now])
            if start > known and (end is None or end >= now - 3)
        ]
        if fresh:
            known = now - 1  # what begins later is another shift
            rows.append(s.last_row(now - 1))
    return rows


def rolling_z(s: Series) -> Array:
    """Distance from the mean of the day before, in its standard deviations, at five minutes: what most dashboards do."""
    width, out = 288, np.zeros(s.values.size)
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (s.values, s.values**2))
    t = np.arange(width, s.values.size)
    mean = (sums[t] - sums[t - width]) / width
    spread = np.sqrt(np.maximum((squares[t] - squares[t - width]) / width - mean**2, 0.0))
    out[t] = np.abs(s.values[t] - mean) / np.maximum(spread, 1e-3 * np.abs(s.values).mean() + 1e-12)
    return out


def seasonal_residual(s: Series) -> Array:
    """Residual of a robust STL of the hours with a day's season, in its median absolute deviations; each at its first row."""
    from statsmodels.tsa.seasonal import STL

    hourly = pl.Series(s.hourly).fill_nan(None).forward_fill().to_numpy()
    rest = STL(hourly, period=24, robust=True).fit().resid
    spread = 1.4826 * np.median(np.abs(rest - np.median(rest)))
    out = np.zeros(s.values.size)
    out[[s.first_row(h) for h in range(hourly.size)]] = np.abs(rest) / max(
        float(spread), 1e-3 * float(np.abs(hourly).mean()) + 1e-12
    )
    return out


def change_points(s: Series, penalty: float) -> list[int]:
    """Change points of the hours by PELT (least squares), penalty times log n variances."""
    import ruptures

    hourly = pl.Series(s.hourly).fill_nan(None).forward_fill().to_numpy()
    noise = (
        float(np.median(np.abs(np.diff(hourly)))) * 1.4826 / 2**0.5 or float(hourly.std()) or 1.0
    )
    found = (
        ruptures.Pelt(model="l2", min_size=3, jump=1)
        .fit(hourly / noise)
        .predict(pen=penalty * np.log(hourly.size))
    )
    return [s.first_row(h) for h in found[:-1]]


def best(
    series: list[Series], said: Callable[[float], list[list[int]]], choices: Array
) -> tuple[list[list[int]], float]:
    """What is told at the threshold that scores best here."""
    top = max(choices, key=lambda c: score(series, said(float(c))))
    return said(float(top)), float(top)


def crossings(values: Array, threshold: float) -> list[int]:
    """Rows at which the threshold is crossed upwards: what stays above it is told once."""
    over = values >= threshold
    return np.flatnonzero(over & ~np.concatenate([[False], over[:-1]])).tolist()


def nab() -> None:
    """The table."""
    if not DATA.exists():
        print(f"{DATA} is not here: NAB is not measured")
        return
    series = read()
    z, stl = [rolling_z(s) for s in series], [seasonal_residual(s) for s in series]
    thresholds = np.geomspace(2, 60, 60)
    lines = [
        ("costwhy, told at once, by the hour", "none", [told_at_once(s) for s in series]),
        ("costwhy, in retrospect, by the hour", "none", [in_retrospect(s) for s in series]),
        ("costwhy, in retrospect, five minutes", "none", [at_five_minutes(s) for s in series]),
    ]
    said, top = best(series, lambda c: [crossings(v, c) for v in z], thresholds)
    lines.append(("rolling z-score, at once", f"best here: {top:.1f}", said))
    lines.append(("rolling z-score, at once", "3", [crossings(v, 3.0) for v in z]))
    said, top = best(series, lambda c: [crossings(v, c) for v in stl], thresholds)
    lines.append(("STL residual, in retrospect", f"best here: {top:.1f}", said))
    said, top = best(
        series, lambda c: [change_points(s, c) for s in series], np.geomspace(2, 200, 12)
    )
    lines.append(("ruptures PELT, in retrospect", f"best here: {top:.1f}", said))
    rng = np.random.default_rng(0)
    guesses = [
        np.mean(
            [
                score(series, [crossings(rng.random(s.values.size), 1 - p) for s in series])
                for _ in range(10)
            ]
        )
        for p in (1e-4, 1e-3, 3e-3)
    ]
    print(
        f"NAB's {len(series)} AWS series, {sum(len(s.windows) for s in series)} windows, standard profile"
    )
    print(f"{'detector':38s} {'threshold':18s}  score  recall  precision  told")
    for name, threshold, rows in lines:
        recall, precision, told = events(series, rows)
        print(
            f"{name:38s} {threshold:18s} {score(series, rows):6.1f} {recall:7.1%} {precision:10.1%} {told:5d}"
        )
    print(f"{'random, mean of 10':38s} {'best of 3':18s} {max(guesses):6.1f}")
    print(f"Published, over the whole corpus and not these series alone: {PUBLISHED}")
