"""Charges longer than an hour: the parts of them that fall on each hour or day."""

import polars as pl

from costwhy.tables import MEASURE_NAMES, Frame

LONGEST = 24 * 366  # hours of a charge period


def spread(facts: Frame, unit: str) -> Frame:
    """Rows longer than an hour (`hours`) as equal parts: one for each hour, or day, of theirs.

    unit: the column of their start, `hour` or `day`. Adds `part`, the number of the part.
    """
    size, step = (1, "1h") if unit == "hour" else (24, "1d")
    parts = ((pl.col("hours").fill_null(1) + size - 1) // size).clip(1, LONGEST // size)
    long = facts.with_columns(part=parts).filter(pl.col("part") > 1)
    short = facts.filter(parts <= 1).with_columns(part=pl.lit(0, pl.Int64))
    sums = [name for name in MEASURE_NAMES if name in facts.collect_schema()]
    begin = pl.col(unit).dt.offset_by(pl.col("part").cast(pl.String) + step[1:])
    return pl.concat(
        [
            short,
            long.with_columns(pl.col(sums) / pl.col("part"))
            .with_columns(part=pl.int_ranges(0, pl.col("part")))
            .explode("part")
            .with_columns(begin.alias(unit)),
        ]
    )
