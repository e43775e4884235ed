"""Split cost allocation: what an instance costs goes to the pods and tasks that ran on it.

A report has the instance whole, and rows that are parts of it, hour by hour. A part is moved from
the instance to its row; the instance keeps what is left, so that every sum stays the bill's. The
two may be in different files of a month, so that all of them are asked first. A bill without such
rows is asked for one column only, and one without the column for nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from costwhy.errors import SourceError
from costwhy.ingest.billing import asked
from costwhy.ingest.duck import Connection, opened
from costwhy.ingest.raw_bill import RawBill, open_raw, text_columns
from costwhy.ingest.typed import typed
from costwhy.sources.cost.sql import literal
from costwhy.sources.format import Bill
from costwhy.text import money

UNREADABLE = (duckdb.Error, SourceError, OSError)
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
    split = [file for file in files if _is_split(file, bill)] if bill.splits else []
    if not split:
        return None, ()
    parts = _sums(split, bill, currency, ("share", "is_share"))
    names = folder / "split-names.parquet"
    parts.select("x_instance").unique().write_parquet(names)
    named = f"instance IN (SELECT x_instance FROM read_parquet({literal(str(names))}))"
    whole = _sums(files, bill, currency, ("EffectiveCost", f"NOT is_share AND {named}"))
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
    what = (
        "1 instance of pods or tasks is"
        if names == 1
        else f"{names} instances of pods or tasks are"
    )
    return (f"{what} not in the bill: their split cost of {cost} is not counted",)


@contextmanager
def _opened(file: Path, bill: Bill) -> Iterator[tuple[Connection, RawBill]]:
    with opened() as (connection, spool):
        yield connection, next(open_raw(connection, file, bill, spool))


def _is_split(file: Path, bill: Bill) -> bool:
    with suppress(*UNREADABLE):
        columns = text_columns(file, bill)
        if bill.splits and (columns is None or bill.splits(columns)):
            with _opened(file, bill) as (connection, raw):
                part = bill.splits(raw.kinds)
                some = f"SELECT 1 FROM raw WHERE {part} LIMIT 1"
                return bool(part and connection.execute(some).fetchall())
    return False


def _sums(files: Sequence[Path], bill: Bill, currency: str, what: tuple[str, str]) -> pl.DataFrame:
    """A cost by instance and start of the charge period, over all files.

    what: the cost, as `bill.expressions` names it, and the rows that count
    """
    found = [pl.DataFrame(schema=SUMS)]
    for file in files:
        with suppress(*UNREADABLE), _opened(file, bill) as (connection, raw):
            expr = bill.expressions(raw.kinds, {}, partial(asked, connection))
            if "instance" not in expr:
                continue
            query = (
                f'SELECT instance AS x_instance, "start" AS x_start, fsum({what[0]}) AS cost '
                f"FROM ({typed(expr, raw, currency)}) WHERE {what[1]} AND reason IS NULL "
                "GROUP BY ALL"
            )
            found.append(connection.sql(query).pl().cast(SUMS))
    return pl.concat(found).group_by("x_instance", "x_start").agg(pl.col("cost").sum())
