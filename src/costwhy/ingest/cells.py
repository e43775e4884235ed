"""Fingerprints of a bill's rows, by which files are compared: `overlap.py`.

A *cell* is what one resource used of one kind on one day; or in one hour, where days of two files
agree in part. Its fingerprint tells whether two files have the same rows of it: the sum of a hash
over each row, so that their order is nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from costwhy import tables
from costwhy.sources.cost.sql import coalesce, quoted, text

# What stays when a bill is delivered again: tags and names of accounts may have changed, and a
# commitment may cover now what was on demand
LASTING = (
    "ProviderName", "BillingAccountId", "SubAccountId", "RegionId", "ServiceName", "x_UsageType",
    "x_Operation", "ChargeCategory",
)  # fmt: skip
_RENAMED = {"ProviderName", "SubAccountName"}  # AWS is Amazon Web Services
_ROW_IDS = ("lineitemid", "rowid", "recordid", "chargeid", "usagerecordid")
# `wide` is the cell of a file without resources, `named` is 1 where there is one, `day` begins the
# cell, `bits` has one for each hour of the day with charges, `mark` and `ids` are
# sums over the rows and over their ids; null: the file has no ids
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "billing_period": pl.String,
    "day": pl.Datetime("us"),
    "account": pl.String,
    "cell": pl.UInt64,
    "wide": pl.UInt64,
    "named": pl.Int64,
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


def cell_of(unit: str) -> dict[str, str]:
    """SQL of the cell of a row, and of what tells the rows of a cell apart; unit: day or hour."""
    lasting = [_plain(name) for name in LASTING if name not in _RENAMED]
    below = [f"{name} < 0" for name in ("BilledCost", "EffectiveCost")]  # a credit, a correction
    words = ", ".join([*lasting, *below])
    moment = f"date_trunc('{unit}', \"start\")"
    key = f"date_trunc('month', period), {moment}, {words}"
    kept = [name for name in tables.DIMENSION_NAMES if name not in {*_RENAMED, "RegionId"}]
    row = ", ".join(
        [
            *(f"round({quoted(name)}, 6)" for name in tables.MEASURE_NAMES),
            *map(quoted, ("start", "end", *kept)),
        ]
    )
    return {
        "moment": f"{moment}::TIMESTAMP",
        "account": quoted("SubAccountId"),
        "cell": f"hash({key}, {_plain('ResourceId')})",
        "wide": f"hash({key})",
        "named": 'CAST("ResourceId" IS NOT NULL AS BIGINT)',
        "mark": f"hash({row}) >> 24",
        "id": "row_id",
    }


def _plain(name: str) -> str:
    """SQL of a word in lower case without blanks: `East US` is `eastus`."""
    return f"lower(replace(coalesce({quoted(name)}, ''), ' ', ''))"


def row_ids(columns: Mapping[str, str]) -> str:
    """SQL of a hash of the ids that a row has in the view `raw`; null: it has none."""
    ids = [text(columns, name) for name in columns if _is_row_id(name)]
    if not ids:
        return "NULL::UBIGINT"
    return f"CASE WHEN {coalesce(ids)} IS NOT NULL THEN hash({', '.join(ids)}) >> 24 END"


def cells(rows: Callable[[str], pl.DataFrame]) -> pl.DataFrame:
    """The cells of the rows that count, as SCHEMA. rows: runs a query on the table `charges`"""
    costs = ", ".join(f"sum({name}) AS {name}" for name in ("BilledCost", "EffectiveCost"))
    bits = '((1 << least(24, hours)) - 1) << CAST(hour("start") AS BIGINT)'
    return rows(
        "SELECT billing_period, moment AS day, account, cell, wide, max(named) AS named, "
        "count(*) AS rows, "
        "CAST(sum(mark) AS BIGINT) AS mark, CAST(sum(id) AS BIGINT) AS ids, "
        f"bit_or(({bits}) & 16777215) AS bits, {costs} "
        "FROM charges WHERE reason IS NULL GROUP BY ALL"
    )


def joined(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    """Cells of several files, or of several resources, as one for each value of `key`."""
    return rows.group_by(key).agg(
        pl.col({"billing_period", "day", "account", "cell", "wide", "named"} - {key}).first(),
        pl.col("rows", "mark", "BilledCost", "EffectiveCost").sum(),
        ids=pl.when(pl.col("ids").count() > 0).then(pl.col("ids").sum()),
        bits=pl.col("bits").bitwise_or(),
    )


def leave_out(connection: duckdb.DuckDBPyConnection, without: pl.Series) -> None:
    """Rows of these cells are no more in the table `charges`; what is set aside anyway stays."""
    connection.register("elsewhere", pl.DataFrame({"cell": without}))
    connection.execute(
        "DELETE FROM charges WHERE reason IS NULL AND cell IN (SELECT cell FROM elsewhere)"
    )


def _is_row_id(column: str) -> bool:
    return "".join(filter(str.isalnum, column.lower())).endswith(_ROW_IDS)


def no_cells() -> pl.DataFrame:
    """Cells of a file that is not compared."""
    return pl.DataFrame(schema=SCHEMA)
