"""Where the level of a noisy series changes: optimal partitioning (Jackson et al. 2005), cuts tried where neighbours differ most."""

import numpy as np

from costwhy.observed import Array

NEAR = 3  # values on each side of a possible cut that are held against each other


def boundaries(values: Array, spread: float, *, penalty: float = 25.0, shortest: int = 3) -> list[int]:
    """Starts of the segments of constant mean, the first one 0. Cost of a segment: squares over `spread`, plus `penalty`.

    values: finite. Outliers of one or two values are clipped to their neighbours' median, so that they make no segment.
    """
    n = values.size
    if n < 2 * shortest:
        return [0]
    z = _clipped(values, spread) / spread
    sums, squares = np.concatenate([[0.0], np.cumsum(z)]), np.concatenate([[0.0], np.cumsum(z * z)])
    ends = np.append(_possible(sums, shortest), n)
    starts = np.concatenate([[0], ends])
    best, back = np.full(starts.size, np.inf), np.zeros(starts.size, dtype=np.int64)
    best[0] = -penalty
    for k, end in enumerate(ends, start=1):
        open_ = np.flatnonzero(end - starts[:k] >= shortest)
        gap = sums[end] - sums[starts[open_]]
        whole = best[open_] - squares[starts[open_]] - gap * gap / (end - starts[open_])
        if whole.size:
            i = int(whole.argmin())
            best[k], back[k] = whole[i] + squares[end] + penalty, open_[i]
    cuts, k = [], starts.size - 1
    while k > 0:
        k = int(back[k])
        cuts.append(int(starts[k]))
    return cuts[::-1]


def _possible(sums: Array, shortest: int) -> np.ndarray:
    """Where a cut may lie: the difference of the means of the NEAR values on both sides is as large as any within NEAR - 1 of it."""
    n = sums.size - 1
    t = np.arange(shortest, n - shortest + 1)
    left, right = np.maximum(t - NEAR, 0), np.minimum(t + NEAR, n)
    step = np.abs((sums[right] - sums[t]) / (right - t) - (sums[t] - sums[left]) / (t - left))
    padded = np.pad(step, NEAR - 1, constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEAR - 1).max(axis=1)
    return np.asarray(t[step >= highest])


def _clipped(values: Array, spread: float) -> Array:
    padded = np.pad(values, 2, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return np.clip(values, middle - 4 * spread, middle + 4 * spread)
