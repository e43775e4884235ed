"""Split cost allocation: what an instance costs goes to the pods and tasks that ran on it.

A report has the instance whole, and rows that are parts of it, hour by hour. A part is moved from
the instance to its row; the instance keeps what is left, so that every sum stays the bill's. The
two may be in different files of a month, so that all of them are asked first. A bill without such
rows is asked for one column only, and one without the column for nothing.
"""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from costwhy.errors import SourceError
from costwhy.ingest.billing import DUCKDB, QUIET, asked, reason_aside
from costwhy.ingest.raw_bill import open_raw
from costwhy.sources.cost.sql import literal
from costwhy.sources.format import Bill
from costwhy.text import money

SUMS: dict[str, pl.DataType] = {
    "x_instance": pl.String(),
    "x_start": pl.Datetime("us"),
    "cost": pl.Float64(),
}


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
    moved = pl.min_horizontal("cost", pl.col("cost_whole").fill_null(0))
    moves = moved > 0
    shares = folder / "split-shares.parquet"
    both.select(
        *keys,
        x_part=pl.when(moves).then(moved / pl.col("cost")).otherwise(0.0),
        x_kept=pl.when(moves).then(1 - moved / pl.col("cost_whole")).otherwise(1.0),
    ).write_parquet(shares)
    return shares, _lost(
        both.filter(pl.col("cost_whole").is_null() & (pl.col("cost") != 0)), currency
    )


def _lost(parts: pl.DataFrame, currency: str) -> tuple[str, ...]:
    """What is said of parts whose instance is not in the bill."""
    if parts.is_empty():
        return ()
    cost, names = money(float(parts["cost"].sum()), currency), parts["x_instance"].n_unique()
    what = f"{names} instances of pods or tasks are not in the bill"
    return (f"{what}: their split cost of {cost} is not counted",)


def _sums(
    files: Sequence[Path], bill: Bill, currency: str, what: tuple[str, str], only: str
) -> pl.DataFrame:
    """A cost by instance and start of the charge period, over all files.

    what: the instance and the cost, as `bill.expressions` names them
    """
    found = [pl.DataFrame(schema=SUMS)]
    for file in files:
        with (
            suppress(duckdb.Error, SourceError, OSError),
            tempfile.TemporaryDirectory(prefix="costwhy-") as spool,
            duckdb.connect(config=DUCKDB) as connection,
        ):
            connection.execute(QUIET)
            raw = next(open_raw(connection, file, bill, Path(spool)))
            if not bill.splits(raw.kinds):
                continue
            expr = bill.expressions(raw.kinds, {}, partial(asked, connection))
            aside = reason_aside(expr, currency, raw.empty)
            query = (
                f"SELECT {expr[what[0]]} AS x_instance, {expr['start']} AS x_start, "
                f"fsum({expr[what[1]]}) AS cost FROM raw "
                f"WHERE {expr[what[0]]} IS NOT NULL AND {aside} IS NULL GROUP BY ALL"
            )
            some = f"SELECT * FROM ({query}) WHERE x_instance {only}" if only else query
            found.append(connection.sql(some).pl().cast(SUMS))
    return pl.concat(found).group_by("x_instance", "x_start").agg(pl.col("cost").sum())
