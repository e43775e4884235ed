"""What was observed, hour by hour: calls on the edges of the call graph, usage and cost by meter.

A *meter* is one thing that is metered: a combination of the columns of `tables.METER`. Usage on
demand and usage that a commitment covers are the same meter. An *edge* is a caller and the service
that it calls. All arrays have one column for each hour of `hours`.

Usage that goes on without its tags stays on the meter that had them. When a tag is removed, the
bill shows a tagged meter that ends and an untagged one that begins (or grows) by as much. No money
moved. So the untagged usage is added back to the tagged meter.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from itertools import groupby
from typing import Protocol

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.behaviours import CAPACITY, RETRIES  # metrics have their names
from costwhy.errors import LakeError
from costwhy.model.call_graph import CallGraph, call_graph
from costwhy.model.levels import WEEK
from costwhy.tables import METER, PHYSICAL

MEASURES = ("usage", "cost", "covered", "covered_cost")  # of a meter
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MOST_RETRIES = 0.95  # of all attempts; a counter that shows more counts something else
REGULAR_SHARE = 0.5  # an account that bills in this share of its hours is expected in each hour
LONGEST_GAP = timedelta(days=366)  # without a charge: what lies beyond it has a wrong date
CLOSED_AFTER = 5  # day of the month until which the provider may restate the month before
LEAST_HOURS = 48  # a tagged meter with fewer billed hours has no successor
SLACK = 3  # hours between the end of the tagged usage and the begin of the untagged one
LEAST_SHARE = 0.5  # of the lost usage that the successor must take up


class Tables(Protocol):
    """Anything that has the lake's tables: `lake.Lake`, or a published case."""

    def table(self, name: str) -> pl.DataFrame:
        """The table of that name, see `tables.py`."""


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


def observe(lake: Tables, as_of: datetime | None = None) -> Observed:
    """Everything in the lake on one axis of hours, as it was known at `as_of`.

    A past `as_of` gets bills with the delay that the newest bills have today.
    Raises LakeError where no billed row is in the lake.
    """
    series, hourly, signals = (lake.table(name) for name in ("series", "hourly", "signals"))
    if hourly.is_empty():
        raise LakeError(
            "there is no billed hour in the lake",
            found="an empty cost table",
            fix="run `costwhy ingest`",
        )
    hourly = _without_stray_dates(hourly)
    last_hour = pl.col("hour").max()
    latest: datetime = hourly.select(last_hour).item()
    signals = signals.filter(pl.col("hour") <= latest + LONGEST_GAP)
    newest = (
        latest if signals.is_empty() else max(latest, signals.select(last_hour).item())
    ) + HOUR
    billed_through = _billed_through(hourly, series)
    if as_of is not None and as_of < newest:
        billed_through = min(billed_through, as_of - (newest - billed_through))
        newest = as_of
    first = _first_hour(hourly, newest)
    hours = tuple(first + k * HOUR for k in range(max(1, round((newest - first) / HOUR))))
    billed = max(0, round((billed_through - first) / HOUR))
    edges, calls, retries = _calls(signals, hours)
    names = tuple(
        sorted({e.caller for e in edges if e.internal and e.caller} | {e.service for e in edges})
    )
    meters, arrays = _meters(hourly, series, hours[: billed or 1], len(hours))
    lost = restore_lost_tags(meters, arrays, billed)
    capacity, rows = _capacity(signals, hours), (arrays[name] for name in MEASURES)
    return Observed(
        hours, billed, names, edges, calls, retries, capacity, meters, *rows, lost_tags=lost
    )


def _without_stray_dates(hourly: pl.DataFrame) -> pl.DataFrame:
    """The bill without rows that lie years from the rest.

    One charge dated 9999 would make an axis of 70 million hours.
    """
    first, last = (
        hourly.group_by("hour")
        .agg(n=pl.col("rows").sum())
        .sort("hour")
        .with_columns(run=(pl.col("hour").diff() > LONGEST_GAP).fill_null(value=False).cum_sum())
        .group_by("run")
        .agg(pl.col("n").sum(), first=pl.col("hour").min(), last=pl.col("hour").max())
        .sort("n", "last")
        .select("first", "last")
        .row(-1)
    )
    return hourly.filter(pl.col("hour").is_between(first, last))


def _first_hour(hourly: pl.DataFrame, newest: datetime) -> datetime:
    """First hour of regular billing that goes on within a day.

    Fees at the start of a month may be dated before it.
    """
    regular = (
        hourly.filter(pl.col("hour") < newest)
        .group_by("hour")
        .agg(n=pl.col("rows").sum())
        .sort("hour")
        .filter(pl.col("n") >= pl.col("n").median() / 4)
    )
    continued = regular.filter(pl.col("hour").shift(-1) - pl.col("hour") <= DAY)
    value = (continued if continued.height else regular)["hour"].min()
    return value if isinstance(value, datetime) else newest - HOUR


def _billed_through(hourly: pl.DataFrame, series: pl.DataFrame) -> datetime:
    """End of the last hour that every account which bills regularly has delivered."""
    hour = pl.col("hour")
    by_account = (
        hourly.join(series.select("series_id", "SubAccountId"), on="series_id")
        .group_by("SubAccountId")
        .agg(
            hour.max(),
            share=hour.n_unique() / ((hour.max() - hour.min()).dt.total_hours() + 1),
            n=hour.n_unique(),
        )
    )
    regular = by_account.filter(
        (pl.col("share") >= REGULAR_SHARE) & (pl.col("n") >= REGULAR_SHARE * pl.col("n").max())
    )
    last: datetime = (regular if regular.height else by_account).select(pl.col("hour").min()).item()
    return last + HOUR


# ---------------------------------------------------------------- tables as arrays


def _on_axis(frame: pl.DataFrame, hours: tuple[datetime, ...]) -> pl.DataFrame:
    since = pl.col("hour") - pl.lit(hours[0], dtype=pl.Datetime("us", "UTC"))
    frame = frame.with_columns(t=since.dt.total_hours().cast(pl.Int64))
    return frame.filter(pl.col("t").is_between(0, len(hours) - 1))


def _grid(rows: pl.DataFrame, row: str, value: str, shape: tuple[int, int]) -> Array:
    grid = np.zeros(shape)
    grid[rows[row].to_numpy(), rows["t"].to_numpy()] = rows[value].to_numpy()
    return grid


def _calls(
    signals: pl.DataFrame, hours: tuple[datetime, ...]
) -> tuple[tuple[Edge, ...], Array, Array]:
    """Edges, their calls and their retries (E x T each)."""
    edge, metric = ["service", "caller"], pl.col("metric")
    sums = _on_axis(signals, hours).group_by(*edge, "metric", "t").agg(pl.col("value").sum())
    keys = sums.filter(metric == "calls").select(edge).unique().sort(edge, nulls_last=False)
    rows = sums.join(keys.with_row_index("row"), on=edge, how="inner", nulls_equal=True)
    calls, retries = (
        _grid(rows.filter(metric == name), "row", "value", (keys.height, len(hours)))
        for name in ("calls", RETRIES)
    )
    # A faulty counter of retries would leave next to no first attempts.
    retries = np.where(retries <= MOST_RETRIES * calls, retries, 0.0)
    return tuple(Edge(service, caller) for service, caller in keys.iter_rows()), calls, retries


def _capacity(signals: pl.DataFrame, hours: tuple[datetime, ...]) -> dict[str, Array]:
    """Mean instances of each service (T); NaN where they are not reported."""
    means = (
        _on_axis(signals.filter(pl.col("metric") == CAPACITY), hours)
        .group_by("service", "t")
        .agg(value=(pl.col("value") * pl.col("buckets")).sum() / pl.col("buckets").sum())
    )
    capacity = {}
    for (service,), rows in means.partition_by("service", as_dict=True).items():
        capacity[str(service)] = np.full(len(hours), np.nan)
        capacity[str(service)][rows["t"].to_numpy()] = rows["value"].to_numpy()
    return capacity


def _meters(
    hourly: pl.DataFrame, series: pl.DataFrame, billed: tuple[datetime, ...], hours: int
) -> tuple[pl.DataFrame, dict[str, Array]]:
    """Meters, and their usage, cost, covered and covered_cost (M x T each)."""
    keys = series.select(METER).unique(maintain_order=True).sort(METER)
    rows_of = series.join(keys.with_row_index("row"), on=METER, nulls_equal=True).select(
        "series_id",
        "row",
        is_covered=(pl.col("PricingCategory") == "Committed").fill_null(value=False),
    )
    usage, cost = pl.col("ConsumedQuantity").fill_null(0), pl.col("EffectiveCost")
    sums = (
        _on_axis(hourly, billed)
        .join(rows_of, on="series_id")
        .group_by("row", "t")
        .agg(
            usage=usage.sum(),
            cost=cost.sum(),
            covered=(usage * pl.col("is_covered")).sum(),
            covered_cost=(cost * pl.col("is_covered")).sum(),
        )
    )
    return keys, {name: _grid(sums, "row", name, (keys.height, hours)) for name in MEASURES}


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


# ---------------------------------------------------------------- lost tags


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
            before = usage[:, max(0, end - WEEK) : end].mean(axis=1)
            gains = (usage[:, end + SLACK : end + 72].mean(axis=1) - before)[others]
            if others.size and gains.max() >= LEAST_SHARE * before[meter]:
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
    usage, first = arrays[0].copy(), min(tag.hour for tag in lost)
    own = usage[successor, max(0, first - WEEK) : first].mean()
    weights = {t.meter: float(usage[t.meter, max(0, t.hour - WEEK) : t.hour].mean()) for t in lost}
    for tag in lost:
        hours, total = np.arange(tag.hour, usage.shape[1]), usage[successor, tag.hour :]
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
