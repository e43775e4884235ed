"""What was observed, hour by hour: calls on the edges of the call graph, usage and cost of every meter.

A *meter* is one thing that is metered: a combination of dimensions, pricing categories folded together (what a
commitment covers and what is paid on demand is the same usage). An *edge* is a caller and the service that it calls.
All arrays have one column for each hour of `hours`.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Protocol

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.errors import LakeError
from costwhy.model.call_graph import CallGraph, call_graph
from costwhy.model.lost_tags import LostTag, find_successors
from costwhy.tables import METER

PRICING = ("PricingCategory", "CommitmentDiscountStatus")

MOST_REPEATS = 0.95  # of attempts: clients give up after a few; a counter that says more counts something else
REGULAR_SHARE = 0.5  # an account that bills in half of its hours or more is expected to bill in each
APART = timedelta(days=366)  # without any charge: what lies beyond is dated wrongly, or another bill


class Tables(Protocol):
    """Anything that has the lake's tables: `lake.Lake`, or a published case."""

    def table(self, name: str) -> pl.DataFrame:
        """The table of that name, see `tables.py`."""
        ...


@dataclass(frozen=True)
class Edge:
    """Calls that `service` handles for `caller`; caller None: from outside; `schedule:NAME`: a timer."""

    service: str
    caller: str | None

    @property
    def scheduled(self) -> bool:
        """A timer makes these calls."""
        return self.caller is not None and self.caller.startswith("schedule:")

    @property
    def internal(self) -> bool:
        """Another service makes these calls."""
        return self.caller is not None and not self.scheduled


@dataclass(frozen=True)
class Observed:
    """Shapes: E edges, S services, M meters, T hours. `billed`: hours before this index are billed for all accounts."""

    hours: tuple[datetime, ...]
    billed: int
    services: tuple[str, ...]
    edges: tuple[Edge, ...]
    calls: Array  # E x T, attempts
    retries: Array  # E x T, attempts that repeat an earlier one
    capacity: dict[str, Array]  # by service, T, mean instances; NaN: not reported
    meters: pl.DataFrame  # M rows, the columns of METER
    usage: Array  # M x T, in ConsumedUnit; what a commitment covers included
    cost: Array  # M x T, EffectiveCost
    covered: Array  # M x T, usage that a commitment covers
    covered_cost: Array  # M x T
    lost_tags: tuple[LostTag, ...] = field(default=(), kw_only=True)  # tags that were lost, the usage of which is on the meter that had them

    @property
    def handled(self) -> Array:
        """S x T: calls that each service handles, retries included."""
        total = np.zeros((len(self.services), len(self.hours)))
        index = {name: row for row, name in enumerate(self.services)}
        for row, edge in enumerate(self.edges):
            total[index[edge.service]] += self.calls[row]
        return total

    @cached_property
    def graph(self) -> CallGraph:
        """Who calls whom."""
        row = {name: k for k, name in enumerate(self.services)}
        caller = np.array([row[str(e.caller)] if e.internal else -1 for e in self.edges], dtype=np.int64)
        called = np.array([row[e.service] for e in self.edges], dtype=np.int64)
        return call_graph(len(self.services), (caller, called), np.flatnonzero(caller < 0))

    @property
    def as_of(self) -> datetime:
        """End of the newest hour of any source."""
        return self.hours[-1] + timedelta(hours=1)

    @property
    def billed_through(self) -> datetime:
        """End of the last hour whose bill has arrived for all accounts."""
        return self.hours[0] + timedelta(hours=self.billed)


def observe(lake: Tables, as_of: datetime | None = None) -> Observed:
    """Everything that the lake knows, on one axis of hours, as it was known at `as_of`.

    A past `as_of` sees bills with the delay that the newest bills have today.
    Raises LakeError where no billed row is in the lake.
    """
    series, hourly, signals = lake.table("series"), lake.table("hourly"), lake.table("signals")
    if hourly.is_empty():
        raise LakeError("there is no billed hour in the lake", found="an empty cost table", todo="run `costwhy ingest`")
    hourly = _of_one_time(hourly)
    signals = signals.filter(pl.col("hour") <= hourly["hour"].max() + APART)  # type: ignore[operator]
    newest = max(t for t in (_last(hourly), _last(signals)) if t is not None) + timedelta(hours=1)
    billed_through = _billed_through(hourly, series)
    if as_of is not None and as_of < newest:
        billed_through = min(billed_through, as_of - (newest - billed_through))
        newest = as_of
    first = _first(hourly, newest)
    hours = tuple(first + timedelta(hours=k) for k in range(max(1, round((newest - first) / timedelta(hours=1)))))
    billed = max(0, round((billed_through - first) / timedelta(hours=1)))
    edges, calls, retries, capacity = _signals(signals, hours)
    services = tuple(sorted({edge.service for edge in edges} | {e.caller for e in edges if e.internal and e.caller}))
    meters, arrays = _meters(hourly, series, hours, billed)
    lost_tags = find_successors(meters, arrays, billed)
    return Observed(hours, billed, services, edges, calls, retries, capacity, meters, *arrays, lost_tags=lost_tags)


def _of_one_time(hourly: pl.DataFrame) -> pl.DataFrame:
    """The bill without rows that lie years from it: one charge dated 9999 would make 70 million hours of nothing."""
    hours = hourly.group_by("hour").agg(n=pl.col("rows").sum()).sort("hour")
    hours = hours.with_columns(run=(pl.col("hour").diff() > APART).fill_null(value=False).cum_sum())
    runs = hours.group_by("run").agg(pl.col("n").sum(), first=pl.col("hour").min(), last=pl.col("hour").max())
    most = runs.sort("n", "last").row(-1, named=True)
    return hourly.filter(pl.col("hour").is_between(most["first"], most["last"]))


def _last(frame: pl.DataFrame) -> datetime | None:
    value = frame["hour"].max()
    return value if isinstance(value, datetime) else None


def _first(hourly: pl.DataFrame, newest: datetime) -> datetime:
    """First hour of regular billing, which goes on within a day: month-start fees may be dated before it."""
    rows = hourly.filter(pl.col("hour") < newest).group_by("hour").agg(n=pl.col("rows").sum()).sort("hour")
    floor = float(rows["n"].median() or 0) / 4  # type: ignore[arg-type]
    regular = rows.filter(pl.col("n") >= floor)
    begun = regular.filter(pl.col("hour").shift(-1) - pl.col("hour") <= timedelta(days=1))
    value = (begun if begun.height else regular)["hour"].min()
    return value if isinstance(value, datetime) else newest - timedelta(hours=1)


def _billed_through(hourly: pl.DataFrame, series: pl.DataFrame) -> datetime:
    """End of the last hour that every account which bills regularly has delivered."""
    rows = hourly.join(series.select("series_id", "SubAccountId"), on="series_id")
    by_account = rows.group_by("SubAccountId").agg(
        last=pl.col("hour").max(),
        share=pl.col("hour").n_unique() / ((pl.col("hour").max() - pl.col("hour").min()).dt.total_hours() + 1),
        n=pl.col("hour").n_unique(),
    )
    span = float(by_account["n"].max() or 1)  # type: ignore[arg-type]
    regular = by_account.filter((pl.col("share") >= REGULAR_SHARE) & (pl.col("n") >= REGULAR_SHARE * span))
    last = (regular if regular.height else by_account)["last"].min()
    assert isinstance(last, datetime)
    return last + timedelta(hours=1)


def _place(frame: pl.DataFrame, hours: tuple[datetime, ...]) -> pl.DataFrame:
    """Adds `t`, the index of the hour, and leaves out what lies outside the axis."""
    t = ((pl.col("hour") - pl.lit(hours[0], dtype=pl.Datetime("us", "UTC"))).dt.total_hours()).cast(pl.Int64)
    return frame.with_columns(t=t).filter(pl.col("t").is_between(0, len(hours) - 1))


def _grid(rows: pl.DataFrame, row: str, value: str, shape: tuple[int, int], fill: float = 0.0) -> Array:
    grid = np.full(shape, fill)
    grid[rows[row].to_numpy(), rows["t"].to_numpy()] = rows[value].to_numpy()
    return grid


def _signals(signals: pl.DataFrame, hours: tuple[datetime, ...]) -> tuple[tuple[Edge, ...], Array, Array, dict[str, Array]]:
    placed = _place(signals, hours)
    sums = placed.group_by("service", "caller", "metric", "t").agg(pl.col("value").sum())
    keys = sums.filter(pl.col("metric") == "calls").select("service", "caller").unique().sort("service", "caller", nulls_last=False)
    edges = tuple(Edge(service, caller) for service, caller in keys.iter_rows())
    numbered = sums.join(keys.with_row_index("e"), on=["service", "caller"], how="inner", nulls_equal=True)
    shape = (len(edges), len(hours))
    grids = [_grid(numbered.filter(pl.col("metric") == metric), "e", "value", shape) for metric in ("calls", "retries")]
    retries = np.where(grids[1] <= MOST_REPEATS * grids[0], grids[1], 0.0)  # a faulty counter's first attempts would be next to none
    means = (
        placed.filter(pl.col("metric") == "capacity")
        .group_by("service", "t")
        .agg(value=(pl.col("value") * pl.col("buckets")).sum() / pl.col("buckets").sum())
    )
    capacity = {}
    for (service,), rows in means.partition_by("service", as_dict=True).items():
        grid = np.full(len(hours), np.nan)
        grid[rows["t"].to_numpy()] = rows["value"].to_numpy()
        capacity[str(service)] = grid
    return edges, grids[0], retries, capacity


def _meters(hourly: pl.DataFrame, series: pl.DataFrame, hours: tuple[datetime, ...], billed: int) -> tuple[pl.DataFrame, tuple[Array, ...]]:
    keys = series.select(METER).unique(maintain_order=True).sort(METER)
    numbered = series.join(keys.with_row_index("m"), on=METER, nulls_equal=True)
    covered = (pl.col("PricingCategory") == "Committed").fill_null(value=False)
    rows = _place(hourly, hours[:billed] if billed else hours[:1]).join(
        numbered.select("series_id", "m", is_covered=covered), on="series_id"
    )
    sums = rows.group_by("m", "t").agg(
        usage=pl.col("ConsumedQuantity").fill_null(0).sum(),
        cost=pl.col("EffectiveCost").sum(),
        covered=(pl.col("ConsumedQuantity").fill_null(0) * pl.col("is_covered")).sum(),
        covered_cost=(pl.col("EffectiveCost") * pl.col("is_covered")).sum(),
    )
    shape = (keys.height, len(hours))
    return keys, tuple(_grid(sums, "m", name, shape) for name in ("usage", "cost", "covered", "covered_cost"))


CLOSED_AFTER = 5  # day of the month until which the provider may restate the month before


def states(o: Observed) -> list[str]:
    """Of each hour: `estimated` where it has no bill, `provisional` where its month is not closed, `final`.

    A month is closed once the next one is older than CLOSED_AFTER days: until then the provider restates it.
    """
    month = o.as_of.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    if o.as_of.day <= CLOSED_AFTER:
        month = (month - timedelta(days=1)).replace(day=1)
    return ["estimated" if t >= o.billed else "provisional" if hour >= month else "final" for t, hour in enumerate(o.hours)]
