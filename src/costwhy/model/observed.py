"""What was observed, hour by hour: calls on the edges of the call graph, usage and cost by meter.

A *meter* is one thing that is metered: a combination of the columns of `tables.METER`. Usage on
demand and usage that a commitment covers are the same meter. An *edge* is a caller and the service
that it calls. All arrays have one column for each hour of `hours`.

`model/observe.py` makes it from the lake.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

import numpy as np
import polars as pl

from costwhy.arrays import Array, Ints, Mask
from costwhy.model.bill_end import FEE, AccountEnd
from costwhy.model.call_graph import CallGraph, call_graph

MEASURES = ("usage", "cost", "covered", "covered_cost")  # of a meter
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLOSED_AFTER = 5  # day of the month until which the provider may restate the month before


class Tables(Protocol):
    """Anything that has the lake's tables: `lake.Lake`, or a published case."""

    def table(self, name: str, /, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The table of that name, see `tables.py`; of large ones only these columns."""

    def scan(self, name: str, /) -> pl.LazyFrame:
        """The same, lazily."""


@dataclass(frozen=True)
class Edge:
    """Calls from `caller` to `service`; caller None: from outside; `schedule:NAME`: a timer."""

    service: str
    caller: str | None

    @property
    def scheduled(self) -> bool:
        return self.caller is not None and self.caller.startswith("schedule:")

    @property
    def internal(self) -> bool:
        return self.caller is not None and not self.scheduled


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


@dataclass(frozen=True)
class Observed:
    """Shapes: E edges, S services, M meters, T hours.

    billed: hours before this index are billed for all accounts
    """

    hours: tuple[datetime, ...]
    billed: int
    services: tuple[str, ...]
    edges: tuple[Edge, ...]
    calls: Array  # E x T, attempts
    retries: Array  # E x T, attempts that repeat an earlier one
    capacity: dict[str, Array]  # by service, T, mean instances; NaN: not reported
    meters: pl.DataFrame  # M rows, the columns of METER
    usage: Array  # M x T, in ConsumedUnit, covered usage included
    cost: Array  # M x T, EffectiveCost
    covered: Array  # M x T, usage that a commitment covers
    covered_cost: Array  # M x T
    lost_tags: tuple[LostTag, ...] = field(default=(), kw_only=True)  # restored in the arrays
    # M, length of a charge in hours: 1, 24 (by the day), longer (a fee); None: an hour everywhere
    lengths: Ints | None = field(default=None, kw_only=True)
    begins: Ints | None = field(default=None, kw_only=True)  # M, hour (UTC) at which its days begin
    ended: Ints | None = field(default=None, kw_only=True)  # M, the hour in which its account ended
    accounts: tuple[AccountEnd, ...] = field(default=(), kw_only=True)
    # series_id and row of the lines that are folded into one meter (`tail.py`); None: none are
    folded: pl.DataFrame | None = field(default=None, kw_only=True)

    @property
    def handled(self) -> Array:
        """S x T: calls that each service handles, retries included."""
        total = np.zeros((len(self.services), len(self.hours)))
        rows = np.array([self.service_rows[edge.service] for edge in self.edges], dtype=np.int64)
        np.add.at(total, rows, self.calls)
        return total

    @cached_property
    def service_rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.services)}

    @cached_property
    def billed_services(self) -> frozenset[str]:
        """Services that a line of the bill names."""
        return frozenset(self.meters["service"].drop_nulls())

    @cached_property
    def by_day(self) -> Mask:
        """M: meters whose charges are a day long. Within a day only its sum is known."""
        return self._longer(1) & ~self.is_fee

    @cached_property
    def is_fee(self) -> Mask:
        """M: meters whose charges are longer than two days: monthly fees, licences, tax."""
        return self._longer(FEE)

    def _longer(self, hours: int) -> Mask:
        lengths = np.ones(self.meters.height) if self.lengths is None else self.lengths
        return np.asarray(lengths > hours)

    def begin_of(self, meter: int) -> int:
        """The hour (UTC) at which the days of a meter begin."""
        return 0 if self.begins is None else int(self.begins[meter])

    def day_begins(self, meter: int) -> Mask:
        """T: the hours in which a day of this meter begins."""
        begin = self.begin_of(meter)
        return np.array([hour.hour == begin for hour in self.hours])

    @cached_property
    def graph(self) -> CallGraph:
        row = {None: -1} | self.service_rows
        pairs = [(e.caller if e.internal else None, e.service) for e in self.edges]
        numbers = np.array([[row[a], row[b]] for a, b in pairs], dtype=np.int64).reshape(-1, 2)
        return call_graph(len(self.services), *numbers.T)

    def reach(self, services: Collection[str]) -> set[str]:
        """Services that these reach by calls, themselves included; unknown ones are left out."""
        rows = (row for name, row in self.service_rows.items() if name in services)
        return {self.services[row] for row in np.flatnonzero(self.graph.reach(rows))}

    def path(self, start: str, end: str) -> list[str]:
        """The shortest chain of calls from one service to another; empty where there is none."""
        rows = self.service_rows
        if start not in rows or end not in rows:
            return []
        return [self.services[row] for row in self.graph.path(rows[start], rows[end])]

    @property
    def as_of(self) -> datetime:
        """End of the newest hour of any source."""
        return self.hours[-1] + HOUR

    @property
    def billed_through(self) -> datetime:
        """End of the last hour whose bill has arrived for all accounts."""
        return self.hours[0] + self.billed * HOUR


def days_of(hours: Sequence[datetime], begin: int) -> Ints:
    """The number of the day to which each hour belongs (T); days begin at hour `begin` (UTC)."""
    into = (hours[0].hour - begin) % 24 if hours else 0
    return np.asarray((np.arange(len(hours)) + into) // 24)


def states(observed: Observed) -> list[str]:
    """The state of each hour: `estimated`, `provisional` or `final`.

    An hour without a bill is estimated. It is provisional until its month is closed: the provider
    may restate a month until day CLOSED_AFTER of the next one.
    """
    month = observed.as_of.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if observed.as_of.day <= CLOSED_AFTER:
        month = (month - DAY).replace(day=1)
    return [
        "estimated" if t >= observed.billed else "provisional" if hour >= month else "final"
        for t, hour in enumerate(observed.hours)
    ]
