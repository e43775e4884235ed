"""Where the level of a noisy series changes: optimal partitioning (Jackson et al. 2005), cuts tried where neighbours differ most."""

from collections.abc import Sequence

import numpy as np

from costwhy.arrays import Array

NEAR = 3  # values on each side of a possible cut that are held against each other
TOGETHER = 64  # series at a time: what one step of the search compares stays in the processor's cache


def boundaries(values: Array, spread: float, *, penalty: float = 25.0, shortest: int = 3) -> list[int]:
    """Starts of the segments of constant mean, the first one 0. Cost of a segment: squares over `spread`, plus `penalty`.

    values: finite. Outliers of one or two values are clipped to their neighbours' median, so that they make no segment.
    """
    return boundaries_of([values], [spread], penalty=penalty, shortest=shortest)[0]


def boundaries_of(series: Sequence[Array], spreads: Sequence[float], *, penalty: float = 25.0, shortest: int = 3) -> list[list[int]]:
    """The same for many series, of any lengths: those of one length are searched together."""
    out = [[0] for _ in series]
    by_size: dict[int, list[int]] = {}
    for k, values in enumerate(series):
        if values.size >= 2 * shortest:
            by_size.setdefault(values.size, []).append(k)
    for members in by_size.values():
        for first in range(0, len(members), TOGETHER):
            part = members[first : first + TOGETHER]
            spread = np.array([spreads[k] for k in part])[:, None]
            found = _partitions(_clipped(np.array([series[k] for k in part]), spread) / spread, penalty, shortest)
            for k, starts in zip(part, found, strict=True):
                out[k] = starts
    return out


def _partitions(z: Array, penalty: float, shortest: int) -> list[list[int]]:
    """The cheapest partition of each row (R x n, in units of its spread)."""
    sums, squares = _summed(z), _summed(z * z)
    cuts, counts = _places(_possible(sums, shortest), z.shape[1])
    inside = np.minimum(cuts, z.shape[1])
    s, q, at = np.take_along_axis(sums, inside, axis=1), np.take_along_axis(squares, inside, axis=1), cuts.astype(float)
    rows, open_ = np.arange(len(z)), np.full(cuts.shape, np.inf)  # open_: cost up to a cut, less the squares before it
    back = np.zeros(cuts.shape, dtype=np.int64)
    open_[:, 0] = -penalty
    for k in range(1, cuts.shape[1]):
        gap = s[:, k, None] - s[:, :k]
        np.multiply(gap, gap, out=gap)
        np.divide(gap, at[:, k, None] - at[:, :k], out=gap)
        np.subtract(open_[:, :k], gap, out=gap)
        for near in range(max(0, k - shortest + 1), k):  # only the last cuts can be too near
            gap[at[:, k] - at[:, near] < shortest, near] = np.inf
        back[:, k] = gap.argmin(axis=1)
        open_[:, k] = gap[rows, back[:, k]] + q[:, k] + penalty - q[:, k]
    return [_followed_back(*row) for row in zip(cuts, back, counts, strict=True)]


def _followed_back(cuts: np.ndarray, back: np.ndarray, last: int) -> list[int]:
    out, k = [], last
    while k > 0:
        k = int(back[k])
        out.append(int(cuts[k]))
    return out[::-1]


def _places(possible: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """0, the possible cuts and the end of each row, then places beyond it that fill the table; and which column is the end."""
    counts = possible.sum(axis=1)
    width = int(counts.max(initial=0)) + 2
    cuts = size + np.maximum(np.arange(width) - counts[:, None] - 1, 0)
    row, cut = np.nonzero(possible)
    cuts[row, 1 + np.arange(row.size) - (np.cumsum(counts) - counts)[row]] = cut
    cuts[:, 0] = 0
    return cuts, counts + 1


def _summed(values: Array) -> Array:
    return np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)


def _possible(sums: Array, shortest: int) -> np.ndarray:
    """Where a cut may lie (R x n): the difference of the means of the NEAR values on both sides is as large as any within NEAR - 1 of it."""
    n = sums.shape[1] - 1
    t = np.arange(shortest, n - shortest + 1)
    left, right = np.maximum(t - NEAR, 0), np.minimum(t + NEAR, n)
    here = sums[:, t]
    step = np.abs((sums[:, right] - here) / (right - t) - (here - sums[:, left]) / (t - left))
    padded = np.pad(step, ((0, 0), (NEAR - 1, NEAR - 1)), constant_values=-1.0)
    highest = step.copy()
    for k in range(2 * NEAR - 1):
        np.maximum(highest, padded[:, k : k + t.size], out=highest)
    out = np.zeros((len(sums), n), dtype=bool)
    out[:, t] = step >= highest
    return out


def _clipped(values: Array, spread: Array) -> Array:
    """Each value within 4 spreads of the median of the five around it."""
    padded = np.pad(values, ((0, 0), (2, 2)), mode="edge")
    a, b, c, d, e = (padded[:, k : k + values.shape[1]] for k in range(5))
    f, g = np.maximum(np.minimum(a, b), np.minimum(d, e)), np.minimum(np.maximum(a, b), np.maximum(d, e))
    middle = np.maximum(np.minimum(f, g), np.minimum(c, np.maximum(f, g)))
    return np.clip(values, middle - 4 * spread, middle + 4 * spread)
