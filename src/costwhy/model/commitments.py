"""Commitments: how much of a meter's usage a reservation or a savings plan holds each hour, as far as bills can tell.

A bill says what was covered: the lesser of what was used and what the commitment holds. An hour in which more was bought on demand
tells what it holds; an hour that was covered whole tells only that it holds no less. What is held is taken to have changed as seldom
as that allows: a stretch goes on while one quantity fits all of its hours (the fewest points that meet all intervals, found first to
last). So usage that outgrows a commitment changes nothing that is held, and one that ends does.
"""

import numpy as np

from costwhy.arrays import Array

TOLERANCE = 0.02  # relative: what is held may be counted so far off from hour to hour


def committed(usage: Array, covered: Array) -> Array:
    """What is held each hour (M x T, in the meter's unit), at least what was covered; zero for meters that nothing covers.

    usage, covered: M x T, all that was used and the part of it that a commitment covered.
    """
    out = covered.copy()
    rows = np.flatnonzero((covered > 0).any(axis=1))
    if rows.size:
        out[rows] = _committed(covered[rows], bought_beside(usage[rows], covered[rows]))
    return out


def bought_beside(usage: Array, covered: Array) -> np.ndarray:
    """Hours in which more was used than covered (of any shape)."""
    return np.asarray(usage - covered > 1e-9 * np.abs(usage))


def _committed(covered: Array, told: np.ndarray) -> Array:
    """told: hours that tell exactly what is held."""
    stretch = _stretches(covered, np.where(told, covered, np.inf))
    flat = (stretch + np.arange(len(covered))[:, None] * (stretch.max() + 1)).ravel()
    least, most = np.zeros(flat.max() + 1), np.full(flat.max() + 1, np.inf)
    np.maximum.at(least, flat, covered.ravel())
    np.minimum.at(most, flat, np.where(told, covered, np.inf).ravel())
    one = np.where(np.isfinite(most), most, least)[flat].reshape(covered.shape)
    return np.where(told, covered, np.maximum(one, covered))


def _stretches(low: Array, high: Array) -> np.ndarray:
    """The number of its stretch for each hour (R x T): a new one where no quantity fits both it and the stretch so far."""
    out = np.zeros(low.shape, dtype=np.intp)
    number, least, most = np.zeros(len(low), dtype=np.intp), np.zeros(len(low)), np.full(len(low), np.inf)
    for t in range(low.shape[1]):
        new = (low[:, t] > most * (1 + TOLERANCE)) | (high[:, t] < least * (1 - TOLERANCE))
        number += new
        least = np.where(new, low[:, t], np.maximum(least, low[:, t]))
        most = np.where(new, high[:, t], np.minimum(most, high[:, t]))
        out[:, t] = number
    return out
