"""Adtributor: Bhagwan et al., Adtributor: Revenue Debugging in Advertising Systems (NSDI 2014), written from the paper.

Each dimension by itself: elements in the order of their surprise, the Jensen-Shannon divergence between their share of the expected and
of the actual sum, are taken where each explains T_EEP of the change, until together they explain T_EP of it. The dimension whose elements are
the most surprising together is the answer (the paper shows the three best dimensions to a person; a score needs one).
"""

import numpy as np
from peers.leaves import Element, Floats, Leaves

T_EEP, T_EP = 0.1, 0.67  # the paper's values


def adtributor(leaves: Leaves) -> list[Element]:
    """Elements of one dimension."""
    best: tuple[float, list[Element]] = (0.0, [])
    for k, values in enumerate(leaves.values):
        before, after = (
            np.bincount(leaves.codes[k], v, len(values)) for v in (leaves.expected, leaves.actual)
        )
        chosen, surprise = _dimension(before, after)
        if surprise > best[0]:
            best = surprise, [{leaves.dimensions[k]: values[c]} for c in chosen]
    return best[1]


def _dimension(before: Floats, after: Floats) -> tuple[list[int], float]:
    """The elements that explain enough, and their surprise; none and zero where they do not."""
    change = after.sum() - before.sum()
    if not change or not before.sum() or not after.sum():
        return [], 0.0
    surprise, power = (
        _surprise(before / before.sum(), after / after.sum()),
        (after - before) / change,
    )
    chosen: list[int] = []
    for c in np.argsort(-surprise, kind="stable"):
        if power[c] > T_EEP:
            chosen.append(int(c))
            if power[chosen].sum() > T_EP:
                return chosen, float(surprise[chosen].sum())
    return [], 0.0


def _surprise(p: Floats, q: Floats) -> Floats:
    both = np.where(p + q > 0, p + q, 1.0)
    terms = [np.where(x > 0, x * np.log(2 * np.where(x > 0, x, 1.0) / both), 0.0) for x in (p, q)]
    return 0.5 * (terms[0] + terms[1])
