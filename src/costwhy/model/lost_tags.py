"""TODO model/lost_tags.py"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.tables import PHYSICAL

HEIR_SLACK = 3  # hours between the end of a tagged line and the begin of its untagged successor
HEIR_LIKENESS = 0.5  # share of the lost usage that the successor must carry


@dataclass(frozen=True)
class LostTag:
    """Usage that went on without its tags: the meter that had them, the first hour without, the meter that took it over."""

    meter: int
    hour: int
    successor: int


def find_successors(meters: pl.DataFrame, arrays: tuple[Array, ...], billed: int) -> tuple[LostTag, ...]:
    """Usage that goes on without its tags stays on its meter: tags lost move no money.

    A tagged meter that ends while an untagged one of the same physical key takes up its usage within
    HEIR_SLACK hours is continued by it; what the successor had used of its own before stays with the successor. Changes the arrays.
    """
    usage, cost = arrays[0], arrays[1]
    active = cost[:, :billed] != 0
    lost_tags: list[LostTag] = []
    groups = meters.with_row_index("m").group_by(PHYSICAL, maintain_order=True).agg("m")["m"].to_list()
    for group in (g for g in groups if len(g) > 1):
        found = [
            (lost, end, successor)
            for lost, end in _ended(meters, active, group, billed)
            for successor in [_successor(lost, end, group, usage[:, :billed], meters)]
            if successor is not None
        ]
        for successor in sorted({h for _, _, h in found}):
            losers = [(lost, end) for lost, end, h in found if h == successor]
            _hand_back(arrays, successor, losers)
        lost_tags += [LostTag(*said) for said in found]
    return tuple(lost_tags)


def _ended(meters: pl.DataFrame, active: np.ndarray, group: list[int], billed: int) -> list[tuple[int, int]]:
    """Tagged meters of a group that were billed for two days or more and then no longer, with their first hour without."""
    out = []
    for m in group:
        seen = np.flatnonzero(active[m])
        tagged = meters["service"][m] is not None or meters["team"][m] is not None
        if tagged and seen.size >= 48 and seen[-1] < billed - HEIR_SLACK:
            out.append((m, int(seen[-1]) + 1))
    return out


def _hand_back(arrays: tuple[Array, ...], successor: int, losers: list[tuple[int, int]]) -> None:
    """The successor's new usage back to the meters that lost it, in proportion to what each had used; its own stays with it."""
    usage = arrays[0].copy()
    first = min(end for _, end in losers)
    own = usage[successor, max(0, first - 168) : first].mean() if first else 0.0
    weights = {lost: float(usage[lost, max(0, end - 168) : end].mean()) for lost, end in losers}
    for lost, end in losers:
        there = [other for other, begin in losers if begin <= end + HEIR_SLACK]
        part = weights[lost] / (sum(weights[o] for o in there) or 1.0)
        whole = np.where(usage[successor, end:] > 0, usage[successor, end:], 1.0)
        share = np.clip(1.0 - own / whole, 0.0, 1.0) * (usage[successor, end:] > 0) * part
        for array in arrays:
            array[lost, end:] += array[successor, end:] * share
    for array in arrays:
        taken = np.zeros(array.shape[1] - first)
        for lost, end in losers:
            taken[end - first :] += array[lost, end:]
        array[successor, first:] = np.maximum(array[successor, first:] - taken, 0.0)


def _successor(lost: int, end: int, group: list[int], usage: Array, meters: pl.DataFrame) -> int | None:
    before = usage[:, max(0, end - 168) : end].mean(axis=1)
    after = usage[:, end + HEIR_SLACK : end + 72].mean(axis=1) if usage.shape[1] > end + HEIR_SLACK else before
    gains = [
        (after[m] - before[m], m)
        for m in group
        if m != lost
        and (meters["service"][m] is None or meters["team"][m] is None)
        and after[m] - before[m] >= HEIR_LIKENESS * before[lost]
    ]
    return max(gains)[1] if gains else None
