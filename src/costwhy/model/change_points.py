"""Change points: where the level of a noisy series changes.

Optimal partitioning (Jackson et al. 2005): of all ways to cut n values z (in units of their noise)
into segments, the one with the least cost

    sum over segments of [ sum (z - mean)^2 + penalty ]

is found segment by segment. Up to a constant, a segment [a, b) costs
penalty - (S_b - S_a)^2 / (b - a), S being the cumulative sum. Cuts are tried only where
neighbouring values differ most, and many series are searched at a time.
"""

from collections.abc import Sequence

import numpy as np

from costwhy.arrays import Array, Ints, Mask

NEAR = 3  # values on each side of a possible cut that are compared
AT_A_TIME = 64  # series: one step of the search stays in the processor's cache


def change_points(
    series: Sequence[Array],
    spreads: Sequence[float],
    *,
    penalty: float = 25.0,
    shortest: int = 3,
) -> list[list[int]]:
    """Starts of the segments of each series, the first one 0.

    series    finite values, any lengths; outliers of one or two values are clipped to 4 spreads
    spreads   the noise of each
    shortest  a segment has so many values or more
    """
    starts = [[0] for _ in series]
    by_size: dict[int, list[int]] = {}
    for k, values in enumerate(series):
        if values.size >= 2 * shortest:
            by_size.setdefault(values.size, []).append(k)
    for members in by_size.values():
        for first in range(0, len(members), AT_A_TIME):
            part = members[first : first + AT_A_TIME]
            spread = np.array([spreads[k] for k in part])[:, None]
            values = _without_outliers(np.array([series[k] for k in part]), spread)
            for k, found in zip(part, _partitions(values / spread, penalty, shortest), strict=True):
                starts[k] = found
    return starts


def _partitions(values: Array, penalty: float, shortest: int) -> list[list[int]]:
    """The cheapest partition of each row (R x n, in units of its spread)."""
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    cuts, last = _cut_table(_possible_cuts(sums, shortest), values.shape[1])
    at = cuts.astype(float)
    sums = np.take_along_axis(sums, np.minimum(cuts, values.shape[1]), axis=1)
    rows, cost = np.arange(len(values)), np.full(cuts.shape, np.inf)
    back = np.zeros(cuts.shape, dtype=np.int64)  # the column of the cut before
    cost[:, 0] = -penalty
    for k in range(1, cuts.shape[1]):
        total = sums[:, k, None] - sums[:, :k]
        np.multiply(total, total, out=total)
        np.divide(total, at[:, k, None] - at[:, :k], out=total)
        np.subtract(cost[:, :k], total, out=total)
        for near in range(max(0, k - shortest + 1), k):  # only the last cuts can be too near
            total[at[:, k] - at[:, near] < shortest, near] = np.inf
        back[:, k] = total.argmin(axis=1)
        cost[:, k] = total[rows, back[:, k]] + penalty
    return [_starts(*row) for row in zip(cuts, back, last, strict=True)]


def _starts(cuts: Ints, back: Ints, column: int) -> list[int]:
    starts = []
    while column > 0:
        column = int(back[column])
        starts.append(int(cuts[column]))
    return starts[::-1]


def _cut_table(possible: Mask, size: int) -> tuple[Ints, Ints]:
    """0, the possible cuts and the end of each row; and the column of the end.

    Shorter rows are filled with numbers beyond the end.
    """
    counts = possible.sum(axis=1)
    width = int(counts.max(initial=0)) + 2
    cuts = size + np.maximum(np.arange(width) - counts[:, None] - 1, 0)
    row, cut = np.nonzero(possible)
    cuts[row, 1 + np.arange(row.size) - (np.cumsum(counts) - counts)[row]] = cut
    cuts[:, 0] = 0
    return cuts, counts + 1


def _possible_cuts(sums: Array, shortest: int) -> Mask:
    """Where a cut may lie (R x n).

    Local maxima of the difference of means of the NEAR values on either side.
    """
    n = sums.shape[1] - 1
    t = np.arange(shortest, n - shortest + 1)
    left, right = np.maximum(t - NEAR, 0), np.minimum(t + NEAR, n)
    here = sums[:, t]
    step = np.abs((sums[:, right] - here) / (right - t) - (here - sums[:, left]) / (t - left))
    padded = np.pad(step, ((0, 0), (NEAR - 1, NEAR - 1)), constant_values=-1.0)
    highest = step.copy()
    for k in range(2 * NEAR - 1):
        np.maximum(highest, padded[:, k : k + t.size], out=highest)
    possible = np.zeros((len(sums), n), dtype=bool)
    possible[:, t] = step >= highest
    return possible


def _without_outliers(values: Array, spread: Array) -> Array:
    """Each value within 4 spreads of the median of the five around it."""
    padded = np.pad(values, ((0, 0), (2, 2)), mode="edge")
    a, b, c, d, e = (padded[:, k : k + values.shape[1]] for k in range(5))
    low = np.maximum(np.minimum(a, b), np.minimum(d, e))
    high = np.minimum(np.maximum(a, b), np.maximum(d, e))
    middle = np.maximum(np.minimum(low, high), np.minimum(c, np.maximum(low, high)))
    return np.clip(values, middle - 4 * spread, middle + 4 * spread)
