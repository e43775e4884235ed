"""wise-pizza (Apache 2.0, on PyPI): segments found by a lasso over all combinations up to a depth."""

import logging
import warnings

import polars as pl

from peers.leaves import Element


def wise_pizza(frame: pl.DataFrame, dimensions: list[str], expected: str, actual: str) -> list[Element]:
    """At most five segments of at most three constraints; other settings as it comes."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from wise_pizza import explain_changes_in_totals  # noqa: PLC0415  a peer of the group `bench`

    before, after = (
        frame.select(*dimensions, pl.col(value).cast(pl.Float64).alias("total"), size=pl.lit(1.0)).to_pandas() for value in (expected, actual)
    )
    said = explain_changes_in_totals(
        df1=before, df2=after, dims=dimensions, total_name="total", size_name="size", max_segments=5, max_depth=3, how="totals"
    )
    return [{k: str(v) for k, v in s["segment"].items()} for s in said.segments]
