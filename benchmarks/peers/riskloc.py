"""RiskLoc: Kalander, RiskLoc: Localization of Multi-dimensional Root Causes by Weighted Risk (arXiv 2205.10004, 2022), after the paper's definitions.

Leaves are parted by their deviation at a cut-off that mirrors the calmer side without its five outermost values, and weighted by their distance from
it. Layer by layer, of the elements whose risk is T_RISK or more, the one that explains most of the change is the next root cause;
its leaves are taken out, until what is left explains less than T_PEP. The paper's pruning, which only saves time, is left out; the sums
of all elements of a cuboid are taken at once, so that times here are better than those of its author's code.
"""

from itertools import combinations

import numpy as np
from peers.leaves import Element, Floats, Leaves

T_RISK, T_PEP, OUTLIERS = 0.5, 0.02, 5  # the paper's values


def riskloc(leaves: Leaves) -> list[Element]:
    """Root causes, first found first."""
    deviation = _deviation(leaves.expected, leaves.actual)
    cut = _cut(deviation)
    abnormal = deviation > cut if cut >= 0 else deviation < cut
    weight = np.minimum(np.where(abnormal, np.abs(deviation), np.abs(cut - deviation)), 1.0)
    weight[(leaves.expected == 0) & (leaves.actual == 0)] = 0.0
    sign = -1.0 if (leaves.actual - leaves.expected)[abnormal].sum() < 0 else 1.0
    least = T_PEP * sign * (leaves.actual - leaves.expected)[abnormal].sum()
    found: list[Element] = []
    while leaves.actual.size and sign * (leaves.actual - leaves.expected)[abnormal].sum() >= max(
        least, 1e-9
    ):
        best = _search(leaves, (deviation, weight, abnormal), sign, least)
        if best is None:
            break
        dims, taken = best
        found.append(leaves.element(dims, int(np.flatnonzero(taken)[0])))
        leaves, deviation, weight, abnormal = (
            leaves.without(taken),
            deviation[~taken],
            weight[~taken],
            abnormal[~taken],
        )
    return found


def _deviation(expected: Floats, actual: Floats) -> Floats:
    total = expected + actual
    return 2 * np.divide(expected - actual, total, out=np.zeros_like(total), where=total != 0)


def _cut(deviation: Floats) -> float:
    """The inner of both sides' extremes, after the outermost values, mirrored."""
    values = np.unique(deviation)
    low, high = values[min(OUTLIERS, values.size - 1)], values[max(-OUTLIERS - 1, -values.size)]
    return -float(min(low, high, key=abs))


def _search(
    leaves: Leaves, of_leaves: tuple[Floats, Floats, np.ndarray], sign: float, least: float
) -> tuple[tuple[int, ...], np.ndarray] | None:
    """Dimensions and leaves of the next root cause, from the first layer that has one."""
    for layer in range(1, len(leaves.dimensions) + 1):
        top, best = least, None
        for dims in combinations(range(len(leaves.dimensions)), layer):
            cell = leaves.cells(dims)
            power = sign * np.bincount(cell, leaves.actual - leaves.expected)
            some = (np.bincount(cell, of_leaves[2]) > 0) & (power > top)
            if some.any():
                risk = _risk(leaves, of_leaves, cell)
                power[~some | (risk < T_RISK)] = -np.inf
                if power.max() > top:
                    top, best = float(power.max()), (dims, cell == power.argmax())
        if best is not None:
            return best
    return None


def _risk(leaves: Leaves, of_leaves: tuple[Floats, Floats, np.ndarray], cell: np.ndarray) -> Floats:
    """High risk, the weight of the abnormal leaves, less low risk, what deviates once the element's own change is spread over its leaves (ripple)."""
    deviation, weight, abnormal = of_leaves
    cells = int(cell.max()) + 1
    bad, good = (np.bincount(cell, weight * part, cells) for part in (abnormal, ~abnormal))
    both = (leaves.actual != 0) & (leaves.expected != 0)
    inside = cell[both]
    expected, actual, count = (
        np.bincount(inside, v, cells)
        for v in (leaves.expected[both], leaves.actual[both], np.ones(inside.size))
    )
    factor = np.divide(actual, expected, out=np.zeros(cells), where=expected != 0)
    spread = np.bincount(
        inside,
        np.abs(_deviation(leaves.expected[both] * factor[inside], leaves.actual[both])),
        cells,
    )
    whole = np.bincount(inside, np.abs(deviation[both]), cells)
    low = np.where(count > 0, np.divide(spread, whole, out=np.zeros(cells), where=whole != 0), 0.0)
    return bad / (bad + good + 1) - low
