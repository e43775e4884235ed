"""From the tables of the lake to arrays by hour (`observed.py`).

A charge longer than an hour counts in equal parts in each of its hours. Of a bill by the day, the
parts then follow the signals that its usage follows (`daily.py`).
"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy.arrays import Array, Ints
from costwhy.behaviours import CAPACITY, RETRIES  # metrics have their names
from costwhy.errors import LakeError
from costwhy.lake.charges import spread
from costwhy.model.bill_end import FEE, BillEnd, bill_end
from costwhy.model.daily import follow_signals
from costwhy.model.observed import DAY, HOUR, MEASURES, Edge, Observed, Tables
from costwhy.model.tail import Folding, fold
from costwhy.model.untagged import restore_lost_tags
from costwhy.tables import METER

READ = {  # of each table the columns that are used; None: all
    "series": None,
    "hourly": ("series_id", "hour", "hours", "rows", "ConsumedQuantity", "EffectiveCost"),
    "signals": ("hour", "service", "caller", "metric", "value", "buckets"),
}
WORDS = ("service", "caller", "metric")  # of signals: numbers in their place are grouped faster

MOST_RETRIES = 0.95  # of all attempts; a counter that shows more counts something else
LONGEST_GAP = timedelta(days=366)  # without a charge: what lies beyond it has a wrong date
BY_DAY_SHARE = 0.1  # of a meter's cost in charges longer than an hour
FEE_SHARE = 0.5  # of a meter's cost in charges longer than two days
ALL_BUT_THE_TAIL = Folding()
TINY = 1e-9  # weight of a row that costs nothing


def observe(
    lake: Tables, as_of: datetime | None = None, folding: Folding = ALL_BUT_THE_TAIL
) -> Observed:
    """Everything in the lake on one axis of hours, as it was known at `as_of`.

    A past `as_of` gets bills with the delay that the newest bills have today.
    Raises LakeError where no billed row is in the lake.
    """
    series, hourly, signals = (lake.table(name, columns) for name, columns in READ.items())
    if hourly.is_empty():
        raise LakeError(
            "there is no billed hour in the lake",
            found="an empty cost table",
            fix="run `costwhy ingest`",
        )
    hourly = _without_stray_dates(hourly)
    bill = bill_end(hourly, series)
    latest = max(one.end for one in bill.accounts)
    signals = signals.filter(pl.col("hour") < latest + LONGEST_GAP).with_columns(
        pl.col(WORDS).cast(pl.Categorical)
    )
    newest = latest
    if signals.height:
        newest = max(latest, signals.select(pl.col("hour").max()).item() + HOUR)
    billed_through = bill.through
    if as_of is not None and as_of < newest:
        billed_through = min(billed_through, as_of - (newest - billed_through))
        if any(one.by_day for one in bill.accounts):  # of a day that is not over nothing is billed
            billed_through = billed_through.replace(hour=bill.through.hour, minute=0)
        newest = as_of
    first = _first_hour(hourly, newest)
    hours = tuple(first + k * HOUR for k in range(max(1, round((newest - first) / HOUR))))
    billed = max(0, round((billed_through - first) / HOUR))
    edges, calls, retries = _calls(signals, hours)
    names = tuple(
        sorted({e.caller for e in edges if e.internal and e.caller} | {e.service for e in edges})
    )
    charges = hourly.filter(pl.col("hour") < hours[0] + max(1, billed) * HOUR).lazy()
    lines = fold(series, charges, bill.closed, folding)
    meters, rows_of = _rows(lines)
    arrays, charged = _arrays(hourly, rows_of, hours[: billed or 1], (meters.height, len(hours)))
    lost = restore_lost_tags(meters, arrays, billed)
    capacity, measures = _capacity(signals, hours), (arrays[name] for name in MEASURES)
    folded = rows_of.filter("folded").select("series_id", "row")
    observed = Observed(
        hours,
        billed,
        names,
        edges,
        calls,
        retries,
        capacity,
        meters,
        *measures,
        lost_tags=lost,
        lengths=charged["length"].to_numpy(),
        begins=charged["begin"].to_numpy(),
        ended=_ended(meters, bill, hours),
        accounts=bill.accounts,
        folded=folded if folded.height else None,
    )
    return follow_signals(observed)


def _ended(meters: pl.DataFrame, bill: BillEnd, hours: tuple[datetime, ...]) -> Ints:
    """M: the hour in which the account of each meter was closed; else the end of the hours."""
    closed = {(one.provider, one.account): one.end for one in bill.closed}
    ends = (closed.get(key) for key in meters.select("ProviderName", "SubAccountId").iter_rows())
    last = len(hours)
    return np.array(
        [last if end is None else min(last, round((end - hours[0]) / HOUR)) for end in ends],
        dtype=np.int64,
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
    keys = sums.filter(metric == "calls").select(edge).unique()
    keys = keys.sort(pl.col(edge).cast(pl.String), nulls_last=False)  # in the order of letters
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


def _rows(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The meters in order; and by series its row, whether a commitment covers it, and its weight.

    lines: of `fold`. What is folded has one price, covered or not.
    """
    meters = lines.select(METER).unique(maintain_order=True).sort(METER)
    covered = (pl.col("PricingCategory") == "Committed").fill_null(value=False)
    rows_of = lines.join(meters.with_row_index("row"), on=METER, nulls_equal=True).select(
        "series_id", "row", "folded", "weight", is_covered=covered & ~pl.col("folded")
    )
    return meters, rows_of


def _arrays(
    hourly: pl.DataFrame,
    rows_of: pl.DataFrame,
    billed: tuple[datetime, ...],
    shape: tuple[int, int],
) -> tuple[dict[str, Array], pl.DataFrame]:
    """Usage, cost, covered and covered_cost (M x T each); length and begin of charges (M)."""
    usage = pl.col("ConsumedQuantity").fill_null(0) * pl.col("weight")
    cost = pl.col("EffectiveCost")
    facts = hourly.with_columns(pl.col("hours").fill_null(1)).join(
        rows_of.drop("folded"), on="series_id"
    )
    sums = (
        _on_axis(spread(facts, "hour"), billed)
        .group_by("row", "t")
        .agg(
            usage=usage.sum(),
            cost=cost.sum(),
            covered=(usage * pl.col("is_covered")).sum(),
            covered_cost=(cost * pl.col("is_covered")).sum(),
        )
    )
    return {name: _grid(sums, "row", name, shape) for name in MEASURES}, _charges(facts, shape[0])


def _charges(facts: pl.DataFrame, meters: int) -> pl.DataFrame:
    """Length of the charges of each meter (M), and the hour (UTC) at which its days begin.

    A meter with some charges of a day (BY_DAY_SHARE of its cost) is one by the day: sums by the day
    of its other charges say no less.
    """
    weight, hours = pl.col("EffectiveCost").abs() + TINY * pl.col("rows"), pl.col("hours")
    is_day = hours.is_between(2, FEE)
    begin = pl.col("hour").filter(is_day).dt.hour().mode().min()
    share_of = {
        name: weight.filter(on).sum() / weight.sum()
        for name, on in (("fees", hours > FEE), ("longer", hours > 1))
    }
    found = facts.group_by("row").agg(begin=begin.cast(pl.Int64), **share_of)
    length = (
        pl.when(pl.col("fees") >= FEE_SHARE)
        .then(FEE + 1)
        .when(pl.col("longer") >= BY_DAY_SHARE)
        .then(24)
        .otherwise(1)
    )
    every = pl.DataFrame({"row": np.arange(meters, dtype=np.uint32)})
    return (
        every.join(found.with_columns(length=length), on="row", how="left")
        .sort("row")
        .select(pl.col("length").fill_null(1).cast(pl.Int64), pl.col("begin").fill_null(0))
    )
