"""The leaves of the bill in a spike's hours: what drivers are looked for in."""

from datetime import timedelta

import numpy as np
import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.lake.charges import LONGEST, spread
from costwhy.model.levels import WEEK
from costwhy.model.observed import HOUR
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import HALF_CENT

DRIVER_DIMENSIONS = (
    *("SubAccountId", "RegionId", "service", "ServiceName", "x_UsageType", "x_Operation"),
)


def leaves_of(analysis: LakeAnalysis, spike: SpikeDollars) -> pl.DataFrame:
    """The cost of all meters in the spike's billed hours, of those that it did not move too.

    A folded meter that it moved is opened: its lines have their own cost, and what is expected of
    them is their share of the cost before the spike.
    """
    model, hours = analysis.model, slice(spike.window.start, spike.window.start + spike.billed)
    actual = model.cost[:, hours].sum(axis=1)
    excess = spike.excess[:, : spike.billed].sum(axis=1)
    leaves = model.observed.meters.select(DRIVER_DIMENSIONS).with_columns(
        actual_cost=actual, expected_cost=actual - excess
    )
    folded = model.observed.folded
    if folded is None:
        return leaves
    moved = set(folded["row"].unique()) & set(np.flatnonzero(np.abs(excess) > HALF_CENT).tolist())
    opened = _opened(analysis, sorted(moved), hours, leaves)
    kept = leaves.with_row_index("row").filter(~pl.col("row").is_in(sorted(moved))).drop("row")
    return pl.concat([kept, opened])


def _opened(
    analysis: LakeAnalysis, meters: list[int], hours: slice, leaves: pl.DataFrame
) -> pl.DataFrame:
    """The lines of these folded meters, as leaves whose sums are those of the meters."""
    lines = analysis.lines_of(meters).join(analysis.frames["series"], on="series_id")
    whole = leaves.select(
        pl.int_range(pl.len()).cast(lines["row"].dtype).alias("row"), "actual_cost", "expected_cost"
    )
    sums = lines.join(_costs(analysis, lines, hours), on="series_id", how="left").join(
        whole, on="row"
    )
    now, before = (pl.col(name).fill_null(0.0) for name in ("now", "before"))
    share = before / before.sum().over("row")
    equal = 1.0 / pl.len().over("row")
    share = pl.when(share.is_finite()).then(share).otherwise(equal)
    # What the meter has beside its lines, the last bits of other sums, goes with the shares.
    beside = (pl.col("actual_cost") - now.sum().over("row")) * share
    return sums.with_columns(
        actual_cost=now + beside, expected_cost=pl.col("expected_cost") * share
    ).select(leaves.columns)


def _costs(analysis: LakeAnalysis, lines: pl.DataFrame, hours: slice) -> pl.DataFrame:
    """What each of these lines cost in the hours (now), and in as many before, at least a week."""
    first, end = (analysis.observed.hours[0] + t * HOUR for t in (hours.start, hours.stop))
    since = first - timedelta(hours=max(hours.stop - hours.start, WEEK))
    hour, cost = pl.col("hour"), pl.col("EffectiveCost")
    charges = (
        analysis.rows["hourly"]
        .filter(hour < end, hour >= since - LONGEST * HOUR)
        .join(lines.lazy().select("series_id"), on="series_id", how="semi")
        .select("series_id", "hour", "hours", "EffectiveCost")
        .collect()
    )
    return (
        spread(charges, "hour")
        .filter(hour >= since, hour < end)
        .group_by("series_id")
        .agg(now=cost.filter(hour >= first).sum(), before=cost.filter(hour < first).sum())
    )
