"""Where the level of a noisy series changes: optimal partitioning (Jackson et al. 2005; pruned as in PELT, Killick et al. 2012)."""

import numpy as np

from costwhy.observed import Array


def boundaries(values: Array, spread: float, *, penalty: float = 25.0, shortest: int = 3) -> list[int]:
    """Starts of the segments of constant mean, the first one 0. Cost of a segment: squares over `spread`, plus `penalty`.

    values: finite. Outliers of one or two values are clipped to their neighbours' median, so that they make no segment.
    """
    n = values.size
    if n < 2 * shortest:
        return [0]
    z = _clipped(values, spread) / spread
    sums, squares = np.concatenate([[0.0], np.cumsum(z)]), np.concatenate([[0.0], np.cumsum(z * z)])
    best, back = np.full(n + 1, np.inf), np.zeros(n + 1, dtype=np.int64)
    best[0] = -penalty
    alive, fixed = np.array([0]), np.array([-penalty])  # candidates s, and best[s] - squares[s]
    for t in range(shortest, n + 1):
        gap = sums[t] - sums[alive]
        whole = fixed - gap * gap / (t - alive)
        k = whole.argmin()
        best[t], back[t] = whole[k] + squares[t] + penalty, alive[k]
        if t >= 2 * shortest - 1:
            keep = whole <= whole[k] + penalty
            new = t - shortest + 1
            alive, fixed = np.append(alive[keep], new), np.append(fixed[keep], best[new] - squares[new])
    starts, t = [], n
    while t > 0:
        t = int(back[t])
        starts.append(t)
    return starts[::-1]


def _clipped(values: Array, spread: float) -> Array:
    padded = np.pad(values, 2, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return np.clip(values, middle - 4 * spread, middle + 4 * spread)
