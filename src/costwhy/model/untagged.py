"""Usage that goes on without its tags stays on the meter that had them.

When a tag is removed, the bill shows a tagged meter that ends and an untagged one that begins (or
grows) by as much. No money moved. So the untagged usage is added back to the tagged meter.
"""

from itertools import groupby

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.model.levels import WEEK
from costwhy.model.observed import LostTag
from costwhy.tables import PHYSICAL

LEAST_HOURS = 48  # a tagged meter with fewer billed hours has no successor
SLACK = 3  # hours between the end of the tagged usage and the begin of the untagged one
LEAST_SHARE = 0.5  # of the lost usage that the successor must take up


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
            charged, others = np.flatnonzero(active[meter]), group[untagged[group]]
            if charged.size < LEAST_HOURS or charged[-1] + 1 + SLACK >= billed:
                continue  # hardly charged, or still charged
            end, others = int(charged[-1]) + 1, others[others != meter]
            week = slice(max(0, end - WEEK), end)
            gains = usage[others, end + SLACK : end + 72].mean(axis=1)
            gains -= usage[others, week].mean(axis=1)
            if others.size and gains.max() >= LEAST_SHARE * usage[meter, week].mean():
                lost.append(LostTag(meter, end, int(others[gains == gains.max()][-1])))
    for successor, losers in groupby(
        sorted(lost, key=lambda tag: tag.successor), key=lambda tag: tag.successor
    ):
        _add_back(list(arrays.values()), successor, list(losers))
    return tuple(lost)


def _add_back(arrays: list[Array], successor: int, lost: list[LostTag]) -> None:
    """Moves the successor's new usage back to the meters that lost it; changes the arrays.

    Each meter gets a part in proportion to its usage before. The successor keeps its own usage: the
    mean of the week before.
    """
    usage, first = arrays[0], min(tag.hour for tag in lost)
    whole = usage[successor].copy()
    own = whole[max(0, first - WEEK) : first].mean()
    weights = {t.meter: float(usage[t.meter, max(0, t.hour - WEEK) : t.hour].mean()) for t in lost}
    for tag in lost:
        hours, total = np.arange(tag.hour, whole.size), whole[tag.hour :]
        # Those that share it: all that ended by then, or with this one.
        ended = sum(
            weights[t.meter] * (t.hour <= np.maximum(hours, tag.hour + SLACK)) for t in lost
        )
        new = np.clip(1.0 - own / np.where(total > 0, total, 1.0), 0.0, 1.0)
        share = new * (total > 0) * (weights[tag.meter] / np.where(ended > 0, ended, 1.0))
        for array in arrays:
            array[tag.meter, tag.hour :] += array[successor, tag.hour :] * share
    for array in arrays:
        taken = np.zeros(array.shape[1] - first)
        for tag in lost:
            taken[tag.hour - first :] += array[tag.meter, tag.hour :]
        array[successor, first:] = np.maximum(array[successor, first:] - taken, 0.0)
