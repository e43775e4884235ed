"""Lost tags: usage that goes on without its tags stays on the meter that had them.

When a tag is removed, the bill shows a tagged meter that ends and an untagged one that begins (or
grows) by as much. No money moved. So the untagged usage is added back to the tagged meter.
"""

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl

from costwhy.arrays import Array, Mask
from costwhy.tables import PHYSICAL

WEEK = 168
LEAST_HOURS = 48  # a tagged meter with fewer billed hours has no successor
SLACK = 3  # hours between the end of the tagged usage and the begin of the untagged one
LEAST_SHARE = 0.5  # of the lost usage that the successor must take up


@dataclass(frozen=True)
class LostTag:
    """Usage that lost its tags.

    meter      the meter that had them
    hour       the first hour without them
    successor  the untagged meter that took over its usage
    """

    meter: int
    hour: int
    successor: int


def restore_lost_tags(
    meters: pl.DataFrame, arrays: dict[str, Array], billed: int
) -> tuple[LostTag, ...]:
    """Adds untagged usage back to the tagged meters that it continues; changes the arrays.

    An untagged meter continues a tagged one of the same PHYSICAL columns if it takes up its usage
    within SLACK hours of its end. Usage that it had before stays with it.

    arrays: usage, cost, covered, covered_cost (M x T each)
    """
    usage, active = arrays["usage"][:, :billed], arrays["cost"][:, :billed] != 0
    has_tag = meters.select(pl.col("service", "team").is_not_null()).to_numpy()
    tagged, untagged = np.any(has_tag, axis=1), ~np.all(has_tag, axis=1)
    rows = meters.with_row_index("m").group_by(PHYSICAL, maintain_order=True).agg("m")["m"]
    lost = []
    for group in (np.array(g) for g in rows.to_list() if len(g) > 1):
        for meter in (m for m in group.tolist() if tagged[m]):
            end = _end(active[meter])
            if end is not None:
                others = group[untagged[group] & (group != meter)]
                lost += [LostTag(meter, end, s) for s in _successor(usage, meter, end, others)]
    by_successor = sorted(lost, key=lambda tag: tag.successor)
    for successor, losers in groupby(by_successor, key=lambda tag: tag.successor):
        _add_back(list(arrays.values()), successor, list(losers))
    return tuple(lost)


def _end(active: Mask) -> int | None:
    """The first hour after a meter's last charge; None where it is still charged, or was hardly."""
    charged = np.flatnonzero(active)
    if charged.size < LEAST_HOURS or charged[-1] + 1 + SLACK >= active.size:
        return None
    return int(charged[-1]) + 1


def _successor(usage: Array, meter: int, end: int, others: np.ndarray) -> list[int]:
    """The one of the others that gained most when the meter ended, if it gained enough."""
    before = usage[:, max(0, end - WEEK) : end].mean(axis=1)
    after = usage[:, end + SLACK : end + 72].mean(axis=1)
    gains = (after - before)[others]
    if not others.size or gains.max() < LEAST_SHARE * before[meter]:
        return []
    return [int(others[gains == gains.max()][-1])]


def _add_back(arrays: list[Array], successor: int, lost: list[LostTag]) -> None:
    """Moves the successor's new usage back to the meters that lost it; changes the arrays.

    Each meter gets a part in proportion to its usage before. The successor keeps its own usage: the
    mean of the week before.
    """
    usage = arrays[0].copy()
    first = min(tag.hour for tag in lost)
    own = usage[successor, max(0, first - WEEK) : first].mean()
    weights = {t.meter: float(usage[t.meter, max(0, t.hour - WEEK) : t.hour].mean()) for t in lost}
    for tag in lost:
        hours, total = np.arange(tag.hour, usage.shape[1]), usage[successor, tag.hour :]
        # Those that share it: all that ended by then, or with this one.
        ended = sum(
            weights[t.meter] * (t.hour <= np.maximum(hours, tag.hour + SLACK)) for t in lost
        )
        new = np.clip(1.0 - own / np.where(total > 0, total, 1.0), 0.0, 1.0)
        part = weights[tag.meter] / np.where(ended > 0, ended, 1.0)
        share = new * (total > 0) * part
        for array in arrays:
            array[tag.meter, tag.hour :] += array[successor, tag.hour :] * share
    for array in arrays:
        taken = np.zeros(array.shape[1] - first)
        for tag in lost:
            taken[tag.hour - first :] += array[tag.meter, tag.hour :]
        array[successor, first:] = np.maximum(array[successor, first:] - taken, 0.0)
