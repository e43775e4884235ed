"""Meters that are billed by the day: their days spread over the hours by what they follow.

A bill by the day says what a day cost, not when. The signals do: usage that follows the calls of a
service fell in the hours of those calls. Whether it follows them is learned from sums by the day.
So each day's usage and cost are spread in proportion to the calls, or to the instances that were
counted, or evenly where nothing says more. Sums by the day stay as billed, rates (usage a call,
price) are the same in all hours of a day, and the rest of the model needs no second way.
"""

from dataclasses import replace
from typing import Any

import numpy as np

from costwhy.arrays import Array, Ints
from costwhy.model.autoscaler import learn_rule_by_day
from costwhy.model.levels import robust_spread
from costwhy.model.meters import learn_kind
from costwhy.model.observed import MEASURES, Observed, days_of

COUNTED = 0.03  # relative: usage by the day that is counted instances times a constant, up to this
LEAST_DAYS = 5  # with usage, to see what it follows


def follow_signals(observed: Observed) -> Observed:
    """The same with the days of its `by_day` meters spread over their hours, from the signals."""
    rows = np.flatnonzero(observed.by_day)
    if not rows.size or observed.begins is None:
        return observed
    arrays: dict[str, Any] = {name: getattr(observed, name).copy() for name in MEASURES}
    begins, calls = observed.begins[rows], observed.handled
    for begin in np.unique(begins):
        days = days_of(observed.hours, int(begin))
        whole = _summed(observed, days)
        calls_by_day = whole.handled
        for row in rows[begins == begin]:
            shape = _shape(observed, calls, whole, calls_by_day, int(row))
            _spread(arrays, int(row), shape, days, observed.billed)
    return replace(observed, **arrays)


def _summed(observed: Observed, days: Ints) -> Observed:
    """The same by the day: one column for each day that is billed."""
    size = int(days[observed.billed - 1]) + 1 if observed.billed else 0
    starts = np.searchsorted(days, np.arange(size))

    def by_day(values: Array) -> Array:
        known = values[:, : observed.billed]
        return np.add.reduceat(known, starts, axis=1) if size and len(values) else known[:, :size]

    sums: dict[str, Any] = {name: by_day(getattr(observed, name)) for name in MEASURES}
    return replace(
        observed,
        hours=tuple(observed.hours[k] for k in starts),
        billed=size,
        calls=by_day(observed.calls),
        retries=by_day(observed.retries),
        capacity={n: by_day(values[None])[0] for n, values in observed.capacity.items()},
        **sums,
    )


def _shape(
    observed: Observed, handled: Array, whole: Observed, handled_by_day: Array, row: int
) -> Array | None:
    """What the usage of a meter follows from hour to hour (T); None: nothing says.

    handled: S x T; whole, handled_by_day: the same by the day
    """
    if np.count_nonzero(whole.usage[row]) < LEAST_DAYS:
        return None
    model = learn_kind(whole, handled_by_day, row)
    if model.kind == "use" and model.edge is not None:
        return np.asarray(observed.calls[model.edge])
    if model.service is None or model.kind not in {"use", "time"}:
        return None
    if model.kind == "use":
        return np.asarray(handled[model.service])
    counted = observed.services[model.service]
    if _is_counted(whole.usage[row], whole.capacity.get(counted)):
        return np.nan_to_num(observed.capacity[counted])
    billed = slice(0, observed.billed)
    days = days_of(observed.hours[billed], observed.begin_of(row))
    rule = learn_rule_by_day(observed.usage[row, billed], handled[model.service, billed], days)
    return None if rule is None else rule.usage(handled[model.service])


def _is_counted(usage: Array, instances: Array | None) -> bool:
    """Whether the sums by the day are instances times a constant."""
    if instances is None:
        return False
    known = np.isfinite(instances) & (instances > 0) & (usage > 0)
    ratio = np.log(usage[known] / instances[known])
    return ratio.size >= LEAST_DAYS and float(robust_spread(ratio)) < COUNTED


def _spread(
    arrays: dict[str, Array], row: int, shape: Array | None, days: Ints, billed: int
) -> None:
    """Each day's sums in proportion to the shape, evenly where it is zero; changes the arrays."""
    days = days[:billed]
    weight = np.ones(billed) if shape is None else np.maximum(shape[:billed], 0.0)
    total, size = np.bincount(days, weight), np.bincount(days)
    share = np.where(
        total[days] > 0, weight / np.where(total[days] > 0, total[days], 1.0), 1.0 / size[days]
    )
    for values in arrays.values():
        values[row, :billed] = np.bincount(days, values[row, :billed])[days] * share
