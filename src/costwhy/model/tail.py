"""The tail of a bill: its smallest meters, added up to one for each service and product.

A company's bill has tens of thousands of meters, and most of them cost next to nothing. A meter
counts by the largest part that it ever had of the company's cost of a mean day, so one that becomes
large stands alone, and what is folded can be no incident of its own. A folded meter keeps the
columns of FOLD_BY, and if it is still small those of ALWAYS; the meters that are then the same are
one. Its dollars are the plain sum. Its quantity is a quantity at constant prices (Laspeyres): each
line counts by its mean price over that of all of them, so that a shift from cheap lines to dear
ones is usage and not a price.

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
ALWAYS = tuple(name for name in FOLD_BY if name != "ServiceName")


@dataclass(frozen=True)
class Folding:
    """When a meter is folded.

    few    up to so many meters, none is
    least  share of the company's cost of a mean day under which one is
    by     columns of METER that a folded meter keeps in any case
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
    lines = series.with_columns(folded=pl.lit(value=False), weight=pl.lit(1.0))
    if lines.select(pl.struct(METER).n_unique()).item() <= folding.few:
        return lines
    days = _days(hourly)
    for kept in (FOLD_BY, ALWAYS):
        small = _shares(lines, days).filter(pl.col("share") < folding.least)
        lines = lines.join(small, on="series_id", how="left")
        lines = _without(lines, pl.col("share").is_not_null(), {*kept, *folding.by}, closed)
        lines = lines.drop("share")
    return lines.with_columns(weight=_weights(lines, days))


def _days(hourly: pl.LazyFrame) -> pl.DataFrame:
    """What each line cost and used on each day; of a charge of many days `a_day` is one day's."""
    cost, days = pl.col("EffectiveCost").abs(), (pl.col("hours").fill_null(1) / 24).clip(1.0)
    return (
        hourly.group_by("series_id", day=pl.col("hour").dt.truncate("1d"))
        .agg(cost=cost.sum(), a_day=(cost / days).sum(), usage=pl.col("ConsumedQuantity").sum())
        .collect()
    )


def _shares(lines: pl.DataFrame, days: pl.DataFrame) -> pl.DataFrame:
    """By line: what its meter had on its dearest day of the company's cost of a mean day."""
    mean_day = float(days["cost"].sum()) / max(1, days["day"].n_unique())
    meter = lines.select("series_id", meter=pl.struct(METER).rank("dense"))
    dearest = (
        meter.join(days, on="series_id")
        .group_by("meter", "day")
        .agg(pl.col("a_day").sum())
        .group_by("meter")
        .agg(share=pl.col("a_day").max() / (mean_day or 1.0))
    )
    shares = meter.join(dearest, on="meter", how="left")
    return shares.select("series_id", pl.col("share").fill_null(0.0))


def _without(
    lines: pl.DataFrame, small: pl.Expr, kept: set[str], closed: Sequence[AccountEnd]
) -> pl.DataFrame:
    """The lines; those that are small without the columns that are not kept."""
    over = pl.DataFrame(
        [(one.provider, one.account) for one in closed],
        schema={"ProviderName": pl.String, "SubAccountId": pl.String},
        orient="row",
    )
    ended = pl.struct(over.columns).is_in(over.select(pl.struct(over.columns).implode()).item())
    stays = {"SubAccountId": ~small | ended}
    return lines.with_columns(
        *(pl.when(stays.get(n, ~small)).then(n).alias(n) for n in METER if n not in kept),
        folded=pl.col("folded") | small,
    )


def _weights(lines: pl.DataFrame, days: pl.DataFrame) -> pl.Series:
    """What a unit of each line counts: its mean price over that of its meter; 1 if it is alone."""
    sums = days.group_by("series_id").agg(pl.col("cost", "usage").sum())
    tail = lines.join(sums, on="series_id", how="left", maintain_order="left")
    cost, usage = (pl.when("folded").then(name) for name in ("cost", "usage"))
    weight = (cost / usage) / (cost.sum() / usage.sum()).over(METER)
    return tail.select(
        pl.when(weight.is_finite()).then(weight).otherwise(1.0).fill_null(1.0).alias("weight")
    )["weight"]
