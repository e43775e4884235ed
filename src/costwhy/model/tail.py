"""The tail of a bill: its smallest meters, added up to one for each service and product.

A company's bill has tens of thousands of meters, and most of them cost next to nothing. A meter
counts by the largest part that it ever had of the company's cost of a mean day, so one that becomes
large stands alone, and what is folded can be no incident of its own. A folded meter keeps the
columns of FOLD_BY; the meters that are then the same are one. Its dollars are the plain sum. Its
quantity is a quantity at constant prices (Laspeyres): each line counts by its mean price over that
of all of them, so that a shift from cheap lines to dear ones is usage and not a price.

The lines themselves stay in the lake, where drivers and `where` find them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from costwhy.model.bill_end import AccountEnd
from costwhy.tables import METER

FEW = 2000  # meters: up to so many all stand alone
LEAST = 0.0005  # of the company's cost of a mean day; an episode needs twice as much
FOLD_BY = (
    *("ProviderName", "ServiceName", "ChargeCategory", "ConsumedUnit"),
    *("service", "team", "budget_owner"),
)


@dataclass(frozen=True)
class Folding:
    """When a meter is folded.

    few    up to so many meters, none is
    least  share of the company's cost of a mean day under which one is
    by     columns of METER that a folded meter keeps beside FOLD_BY
    """

    few: int = FEW
    least: float = LEAST
    by: Sequence[str] = ()


def fold(
    series: pl.DataFrame, hourly: pl.LazyFrame, closed: Sequence[AccountEnd], folding: Folding
) -> pl.DataFrame:
    """The series by meter: METER as it counts, `folded`, and `weight` of a unit of usage.

    hourly: charges of the hours that are looked at. Of closed accounts what is folded stays by
    account, as nothing follows from their silence.
    """
    plain = series.with_columns(folded=pl.lit(value=False), weight=pl.lit(1.0))
    meters = series.select(METER).unique(maintain_order=True).with_row_index("meter")
    if meters.height <= folding.few:
        return plain
    lines = _lines(series.join(meters, on=METER, nulls_equal=True), hourly)
    small = pl.col("share").fill_null(0.0).max().over("meter") < folding.least
    tail = _as_one(lines.with_columns(folded=small).filter("folded"), closed, folding.by)
    alone = plain.join(tail, on="series_id", how="anti")
    return pl.concat([alone, tail.select(alone.columns)])


def _lines(series: pl.DataFrame, hourly: pl.LazyFrame) -> pl.DataFrame:
    """The series with their cost and usage, and the share of the dearest day of their meter.

    Of a charge of many days each day has its part.
    """
    meter, cost = series.lazy().select("series_id", "meter"), pl.col("EffectiveCost").abs()
    days = (pl.col("hours").fill_null(1) / 24).clip(1.0)
    by_day = (
        hourly.group_by("series_id", day=pl.col("hour").dt.truncate("1d"))
        .agg(cost=cost.sum(), a_day=(cost / days).sum(), usage=pl.col("ConsumedQuantity").sum())
        .join(meter, on="series_id")
    )
    sums, dearest = pl.collect_all(
        [
            by_day.group_by("series_id").agg(pl.col("cost", "usage").sum()),
            by_day.group_by("meter", "day").agg(pl.col("cost", "a_day").sum()),
        ]
    )
    mean_day = float(dearest["cost"].sum()) / max(1, dearest["day"].n_unique())
    dearest = dearest.group_by("meter").agg(share=pl.col("a_day").max() / (mean_day or 1.0))
    return series.join(sums, on="series_id", how="left").join(dearest, on="meter", how="left")


def _as_one(tail: pl.DataFrame, closed: Sequence[AccountEnd], by: Sequence[str]) -> pl.DataFrame:
    """The folded lines, without the columns that they do not keep, and with their weights."""
    over = pl.DataFrame(
        [(one.provider, one.account) for one in closed],
        schema={"ProviderName": pl.String, "SubAccountId": pl.String},
        orient="row",
    )
    kept = {*FOLD_BY, *by}
    ended = pl.struct(over.columns).is_in(over.select(pl.struct(over.columns).implode()).item())
    account = pl.when(ended).then("SubAccountId").alias("SubAccountId")
    none = [pl.lit(None, pl.String).alias(c) for c in METER if c not in {*kept, "SubAccountId"}]
    tail = tail.with_columns(*none, *([] if "SubAccountId" in kept else [account]))
    price, mean = pl.col("cost") / pl.col("usage"), pl.col("cost").sum() / pl.col("usage").sum()
    weight = (price / mean.over(METER)).fill_nan(1.0).fill_null(1.0)
    return tail.with_columns(weight=pl.when(weight.is_finite()).then(weight).otherwise(1.0))
