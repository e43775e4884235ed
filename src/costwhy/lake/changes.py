"""Changes that several deliveries hold: the same event in two files is one change."""

import polars as pl

KEY = ("source", "change_id", "time")


def each_once(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Rows of `tables.CHANGES`, of each event one, in their order.

    Every delivery keeps its own rows, so that an event stays when one of its files goes. Of several
    the one counts that could be read first, then the one whose delivery comes first by name.
    """
    return (
        rows.with_row_index("costwhy row")
        .sort("known_at", "delivery", nulls_last=True)
        .unique(KEY, keep="first", maintain_order=True)
        .sort("costwhy row")
        .drop("costwhy row")
    )
