"""Split cost allocation: what an instance costs goes to the pods and tasks that ran on it.

A report has the instance whole, and rows that are parts of it, hour by hour. A part is moved from
the instance to its row; the instance keeps what is left, so that every sum stays the bill's. The
two may be in different files of a month, so that all of them are asked first. A bill without such
rows is asked for one column only, and one without the column for nothing.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from costwhy.errors import SourceError
from costwhy.ingest.billing import DUCKDB, keys_in, open_file, reason_aside
from costwhy.sources.cost.sql import literal
from costwhy.sources.format import Bill
from costwhy.text import money

SUMS = pl.Schema({"x_instance": pl.String, "x_start": pl.Datetime("us"), "cost": pl.Float64})


def find_shares(
    files: Sequence[Path], bill: Bill, currency: str, folder: Path
) -> tuple[Path | None, tuple[str, ...]]:
    """How each instance's cost is split in each hour: a Parquet file in `folder`; and messages.

    x_instance, x_start  the instance and the start of the charge period
    x_part               of a part: what of it is moved; less than 1 where the parts are more than
                         the instance costs, 0 where the instance is not in the bill
    x_kept               of the instance: what stays with it

    Null where nothing is split. A file that cannot be read is passed over; its reader says so.
    """
    parts = _sums(files, bill, currency, ("share_of", "share"), "")
    if parts.is_empty():
        return None, ()
    names = folder / "split-names.parquet"
    parts.select("x_instance").unique().write_parquet(names)
    only = f"IN (SELECT x_instance FROM read_parquet({literal(str(names))}))"
    whole = _sums(files, bill, currency, ("instance", "EffectiveCost"), only)
    keys = ["x_instance", "x_start"]
    both = parts.join(whole, on=keys, how="left", suffix="_whole")
    moved = pl.min_horizontal("cost", "cost_whole").clip(0)
    share = moved / pl.col("cost"), 1 - moved / pl.col("cost_whole")
    shares = folder / "split-shares.parquet"
    both.select(
        *keys,
        x_part=pl.when(pl.col("cost") > 0).then(share[0]).otherwise(0).fill_null(0),
        x_kept=pl.when(pl.col("cost_whole") > 0).then(share[1]).otherwise(1).fill_null(1),
    ).write_parquet(shares)
    return shares, _lost(
        both.filter(pl.col("cost_whole").is_null() & (pl.col("cost") != 0)), currency
    )


def _lost(parts: pl.DataFrame, currency: str) -> tuple[str, ...]:
    """What is said of parts whose instance is not in the bill."""
    if parts.is_empty():
        return ()
    cost = money(float(parts["cost"].sum()), currency)
    return (
        f"{parts['x_instance'].n_unique()} instances of pods or tasks are not in the bill: "
        f"their split cost of {cost} is not counted",
    )


def _sums(
    files: Sequence[Path], bill: Bill, currency: str, what: tuple[str, str], only: str
) -> pl.DataFrame:
    """A cost by instance and start of the charge period, over all files.

    what: the instance and the cost, as `bill.expressions` names them
    """
    found = [pl.DataFrame(schema=SUMS)]
    for file in files:
        with suppress(duckdb.Error, SourceError), duckdb.connect(config=DUCKDB) as connection:
            columns = open_file(connection, file)
            if not bill.splits(columns):
                continue
            expr = bill.expressions(columns, {}, partial(keys_in, connection))
            where = f"{expr[what[0]]} IS NOT NULL AND {reason_aside(expr, currency)} IS NULL"
            query = (
                f"SELECT {expr[what[0]]} AS x_instance, {expr['start']} AS x_start, "
                f"fsum({expr[what[1]]}) AS cost FROM raw WHERE {where} GROUP BY ALL"
            )
            some = f"SELECT * FROM ({query}) WHERE x_instance {only}" if only else query
            found.append(connection.sql(some).pl().cast(SUMS))
    return pl.concat(found).group_by("x_instance", "x_start").agg(pl.col("cost").sum())
