"""Holes in a bill: days in the middle of which nothing of a whole account is billed.

A delivery that is missing looks like an account that costs nothing. An account that bills in most
hours does not stop for days and go on: its charges are missing, and no fall is told from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from costwhy.arrays import Mask
from costwhy.model.bill_end import REGULAR_SHARE
from costwhy.model.observed import Observed

LEAST_HOURS = 24
MOSTLY = 0.8  # of a fall's hours


@dataclass(frozen=True)
class Hole:
    """Hours of an account that are missing from the bill, `start` to before `end`."""

    provider: str | None
    account: str | None
    start: datetime
    end: datetime


def find_holes(observed: Observed) -> tuple[Hole, ...]:
    """All holes, by account and time."""
    rows: dict[tuple[str | None, str | None], list[int]] = {}
    for row, key in enumerate(observed.meters.select("ProviderName", "SubAccountId").iter_rows()):
        if not observed.is_fee[row]:
            rows.setdefault(key, []).append(row)
    return tuple(
        Hole(provider, account, observed.hours[first], observed.hours[last])
        for (provider, account), own in rows.items()
        for first, last in _runs(observed, own)
    )


def _runs(observed: Observed, rows: list[int]) -> Iterator[tuple[int, int]]:
    """First hour of each run without a charge, and the hour in which charges go on."""
    billed = slice(0, observed.billed)
    active = np.flatnonzero(
        ((observed.usage[rows, billed] != 0) | (observed.cost[rows, billed] != 0)).any(axis=0)
    )
    if active.size < REGULAR_SHARE * (np.ptp(active) + 1 if active.size else 1):
        return
    for k in np.flatnonzero(np.diff(active) > LEAST_HOURS):
        yield int(active[k]) + 1, int(active[k + 1])


def in_hole(observed: Observed, holes: tuple[Hole, ...], row: int, hours: Mask) -> bool:
    """Whether most of these hours (T) are in a hole of the account of a meter."""
    meter = observed.meters.row(row, named=True)
    key = (meter["ProviderName"], meter["SubAccountId"])
    missing = np.zeros(len(observed.hours), dtype=bool)
    for hole in holes:
        if (hole.provider, hole.account) == key:
            missing |= np.array([hole.start <= hour < hole.end for hour in observed.hours])
    return bool((missing & hours).sum() > MOSTLY * max(1, hours.sum()))
