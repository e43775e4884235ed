"""Commitments: how much usage a reservation or a savings plan covers each hour.

A bill shows what was covered: the lesser of the usage and the commitment. With on-demand usage in
an hour, covered usage equals the commitment; otherwise it is a lower bound. The commitment is taken
to change as seldom as that allows: a stretch of hours goes on while one quantity fits all of them
(the fewest points that meet all intervals, found first to last). So usage that outgrows a
commitment does not change it, and a commitment that ends does.
"""

import numpy as np

from costwhy.arrays import Array, Ints, Mask

TOLERANCE = 0.02  # relative: one commitment may be metered so far off from hour to hour


def committed(usage: Array, covered: Array) -> Array:
    """The commitment in each hour (M x T, in the meter's unit); zero where nothing is covered.

    usage, covered: M x T, all usage and the part of it that a commitment covered
    """
    out = covered.copy()
    rows = np.flatnonzero((covered > 0).any(axis=1))
    if rows.size:
        out[rows] = _committed(covered[rows], on_demand(usage[rows], covered[rows]))
    return out


def on_demand(usage: Array, covered: Array) -> Mask:
    """Hours in which more was used than covered (of any shape)."""
    return np.asarray(usage - covered > 1e-9 * np.abs(usage))


def _committed(covered: Array, exact: Mask) -> Array:
    """exact: hours in which covered usage equals the commitment."""
    upper = np.where(exact, covered, np.inf)
    stretch = _stretches(covered, upper)
    stretch = (stretch + np.arange(len(covered))[:, None] * (stretch.max() + 1)).ravel()
    least, most = np.zeros(stretch.max() + 1), np.full(stretch.max() + 1, np.inf)
    np.maximum.at(least, stretch, covered.ravel())
    np.minimum.at(most, stretch, upper.ravel())
    one = np.where(np.isfinite(most), most, least)[stretch].reshape(covered.shape)
    return np.where(exact, covered, np.maximum(one, covered))


def _stretches(low: Array, high: Array) -> Ints:
    """The number of each hour's stretch (R x T).

    A new stretch begins where no quantity between low and high fits it and the stretch so far.
    """
    out = np.zeros(low.shape, dtype=np.int64)
    number, least = np.zeros(len(low), dtype=np.int64), np.zeros(len(low))
    most = np.full(len(low), np.inf)
    for t in range(low.shape[1]):
        new = (low[:, t] > most * (1 + TOLERANCE)) | (high[:, t] < least * (1 - TOLERANCE))
        number += new
        least = np.where(new, low[:, t], np.maximum(least, low[:, t]))
        most = np.where(new, high[:, t], np.minimum(most, high[:, t]))
        out[:, t] = number
    return out
