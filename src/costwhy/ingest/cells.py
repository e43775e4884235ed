"""Fingerprints of a bill's rows, by which files are compared: `overlap.py`.

A *cell* is what one resource used of one kind on one day; or in one hour, where days of two files
agree in part. Its fingerprint tells whether two files have the same rows of it: the sum of a hash
over each row, so that their order is nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from costwhy import tables
from costwhy.sources.cost.sql import coalesce, text

# What stays when a bill is delivered again: tags and names of accounts may have changed, and a
# commitment may cover now what was on demand
LASTING = (
    "ProviderName", "BillingAccountId", "SubAccountId", "RegionId", "ServiceName", "x_UsageType",
    "x_Operation", "ChargeCategory",
)  # fmt: skip
_ROW_IDS = ("lineitemid", "rowid", "recordid", "chargeid", "usagerecordid")
# `day` begins the cell, `bits` has one for each hour of the day with charges, `mark` and `ids` are
# sums over the rows and over their ids; null: the file has no ids
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "billing_period": pl.String,
    "day": pl.Datetime("us"),
    "account": pl.String,
    "cell": pl.UInt64,
    "rows": pl.Int64,
    "mark": pl.Int64,
    "ids": pl.Int64,
    "bits": pl.Int64,
    "BilledCost": pl.Float64,
    "EffectiveCost": pl.Float64,
}


@dataclass(frozen=True)
class Beside:
    """What the other files of a part have to do with one of them.

    shares    how the cost of instances is split among what ran on them (`split.find_shares`)
    compared  they may have its rows: its cells are asked for, by `day` or by `hour`; empty: not
    without   cells of it that another file has, and that do not count
    """

    shares: Path | None = None
    compared: str = ""
    without: pl.Series | None = None


ALONE = Beside()


def cell_of(expr: Mapping[str, str], unit: str) -> str:
    """SQL of the cell of a row, a hash; unit: day or hour."""
    words = ", ".join(f"coalesce({expr[name]}, '')" for name in (*LASTING, "ResourceId"))
    start = f"date_trunc('{unit}', {expr['start']})"
    return f"hash(date_trunc('month', {expr['period']}), {start}, {words})"


def cells_of(expr: Mapping[str, str], columns: Mapping[str, str], unit: str, length: str) -> str:
    """SQL of the cells of the view `raw`, in the columns of SCHEMA, without WHERE and GROUP BY.

    columns: of the file, with their types; length: SQL of the whole hours of a charge
    """
    row = [f"round({expr[name]}, 6)" for name in tables.MEASURE_NAMES]
    row += [expr["start"], expr["end"], *(expr[name] for name in tables.DIMENSION_NAMES)]
    ids = [text(columns, name) for name in columns if _is_row_id(name)]
    own = _sum(ids, coalesce(ids)) if ids else "NULL::BIGINT"
    bits = f"((1 << least(24, {length})) - 1) << CAST(hour({expr['start']}) AS BIGINT)"
    costs = ", ".join(f"sum({expr[name]}) AS {name}" for name in ("BilledCost", "EffectiveCost"))
    return (
        f"SELECT date_trunc('month', {expr['period']}) AS billing_period, "
        f"date_trunc('{unit}', {expr['start']})::TIMESTAMP AS day, "
        f"{expr['SubAccountId']} AS account, {cell_of(expr, unit)} AS cell, count(*) AS rows, "
        f"{_sum(row)} AS mark, {own} AS ids, bit_or(({bits}) & 16777215) AS bits, {costs} FROM raw"
    )


def leave_out(
    connection: duckdb.DuckDBPyConnection, reason: str, cell: str, without: pl.Series
) -> None:
    """Rows of these cells are no more in the view `raw`; what is set aside anyway stays.

    reason, cell: SQL of why a row is set aside, and of its cell
    """
    connection.register("elsewhere", pl.DataFrame({"cell": without}))
    connection.execute(
        "DROP VIEW IF EXISTS every_row; ALTER VIEW raw RENAME TO every_row; "
        f"CREATE TEMP VIEW raw AS SELECT * FROM every_row WHERE {reason} IS NOT NULL "
        f"OR {cell} NOT IN (SELECT cell FROM elsewhere)"
    )


def _is_row_id(column: str) -> bool:
    return "".join(filter(str.isalnum, column.lower())).endswith(_ROW_IDS)


def _sum(values: Sequence[str], known: str = "true") -> str:
    each = f"CASE WHEN {known} IS NOT NULL THEN hash({', '.join(values)}) >> 24 END"
    return f"CAST(sum({each}) AS BIGINT)"


def no_cells() -> pl.DataFrame:
    """Cells of a file that is not compared."""
    return pl.DataFrame(schema=SCHEMA)
