"""Where the level of a noisy series changes.

The method is optimal partitioning (Jackson et al. 2005): of
all ways to cut n values z (in units of their noise) into segments, the one with the least cost

    sum over segments of [ sum (z - mean)^2 + penalty ]

is found segment by segment. Up to a constant, a segment [a, b) costs
penalty - (S_b - S_a)^2 / (b - a), S being the cumulative sum. Cuts are tried only where
neighbouring values differ most, and many series are searched at a time.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import maximum_filter1d

from costwhy.arrays import Array, Ints

NEAR = 3  # values on each side of a possible cut that are compared
AT_A_TIME = 64  # series: one step of the search stays in the processor's cache


# ---------------------------------------------------------------- change points


def change_points(
    series: Sequence[Array],
    spreads: Sequence[float],
    *,
    penalty: float = 25.0,
    shortest: int = 3,
) -> list[list[int]]:
    """Starts of the segments of each series, the first one 0.

    series    finite values, any lengths; each is clipped to within 4 spreads of the median of the
              five around it, so that outliers of one or two values do not count
    spreads   the noise of each
    shortest  a segment has so many values or more
    """
    starts = [[0] for _ in series]
    by_size: dict[int, list[int]] = {}
    for k, values in enumerate(series):
        if values.size >= 2 * shortest:
            by_size.setdefault(values.size, []).append(k)
    for part in (
        members[first : first + AT_A_TIME]
        for members in by_size.values()
        for first in range(0, len(members), AT_A_TIME)
    ):
        spread = np.array([spreads[k] for k in part])[:, None]
        values = np.array([series[k] for k in part])
        padded = np.pad(values, ((0, 0), (2, 2)), mode="edge")
        a, b, c, d, e = (padded[:, k : k + values.shape[1]] for k in range(5))
        low = np.maximum(np.minimum(a, b), np.minimum(d, e))
        high = np.minimum(np.maximum(a, b), np.maximum(d, e))
        median_of_5 = np.maximum(np.minimum(low, high), np.minimum(c, np.maximum(low, high)))
        values = np.clip(values, median_of_5 - 4 * spread, median_of_5 + 4 * spread)
        for k, found in zip(part, _partitions(values / spread, penalty, shortest), strict=True):
            starts[k] = found
    return starts


def _partitions(values: Array, penalty: float, shortest: int) -> list[list[int]]:
    """The cheapest partition of each row (R x n, in units of its spread)."""
    sums = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    # A cut may lie at a local maximum of the difference of means of the NEAR values on either side.
    n, possible = values.shape[1], np.zeros(values.shape, dtype=bool)
    t = np.arange(shortest, n - shortest + 1)
    left, right = np.maximum(t - NEAR, 0), np.minimum(t + NEAR, n)
    here, before, after = sums[:, t], sums[:, left], sums[:, right]
    step = np.abs((after - here) / (right - t) - (here - before) / (t - left))
    possible[:, t] = step >= maximum_filter1d(step, 2 * NEAR - 1, axis=1, mode="nearest")
    counts = possible.sum(axis=1)
    # 0, the possible cuts and the end of each row; in shorter rows then numbers beyond the end.
    cuts = n + np.maximum(np.arange(int(counts.max(initial=0)) + 2) - counts[:, None] - 1, 0)
    row, cut = np.nonzero(possible)
    cuts[row, 1 + np.arange(row.size) - (np.cumsum(counts) - counts)[row]] = cut
    cuts[:, 0] = 0
    at, sums = cuts.astype(float), np.take_along_axis(sums, np.minimum(cuts, n), axis=1)
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
    return [_starts(*row) for row in zip(cuts, back, counts + 1, strict=True)]


def _starts(cuts: Ints, back: Ints, column: int) -> list[int]:
    starts = []
    while column > 0:
        column = int(back[column])
        starts.append(int(cuts[column]))
    return starts[::-1]
