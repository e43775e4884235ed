"""Rows of the view `raw` as a format reads them: each expression is written and computed once.

The expressions of a format are long, and those that say why a row does not count ask for others
several times. Queries stand on each other instead: what the format reads, what the split of an
instance makes of it, why a row is set aside.
"""

from collections.abc import Mapping
from pathlib import Path

from costwhy.ingest.raw_bill import RawBill
from costwhy.sources.cost.columns import Columns, literal, quoted
from costwhy.sources.cost.sql import is_written, number, time

ABSENT = "the charge period is missing or no time"
NO_CURRENCY = "its currency is missing"
NO_ROW = "no row"  # the reason of rows that are none
_FALLBACKS = {"aside": "NULL::VARCHAR", "note": "NULL::VARCHAR"}
# What is split of an instance's cost and quantity: `split.find_shares`
_SPLIT = (
    "CASE WHEN x_kept IS NULL THEN EffectiveCost "
    "WHEN NOT is_share THEN EffectiveCost * x_kept ELSE EffectiveCost + share * x_part END "
    "AS EffectiveCost, "
    "CASE WHEN NOT is_share THEN ConsumedQuantity * coalesce(x_kept, 1) ELSE ConsumedQuantity END "
    "AS ConsumedQuantity"
)


def typed(
    expr: Mapping[str, str],
    raw: RawBill,
    currency: str,
    *,
    shares: Path | None = None,
    more: Mapping[str, str] | None = None,
    view: str = "raw",
) -> str:
    """A query with a row for each row of `raw`: a column for each expression, and the reason.

    expr    SQL of the columns that the format reads (`Bill.expressions`)
    shares  how instances are split (`split.find_shares`)
    more    SQL of other columns
    view    `raw`, or `RawBill.numbered`

    `reason` is why a row is set aside, null where it counts; `unit` is its currency.
    """
    named = {**_FALLBACKS, **expr, "empty": raw.empty, **(more or {})}
    columns = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in named.items())
    query = f"SELECT {columns} FROM {view}"
    if shares:
        query = (
            f"SELECT * REPLACE ({_SPLIT}) FROM ({query}) LEFT JOIN "
            f'read_parquet({literal(str(shares))}) ON x_instance = instance AND x_start = "start"'
        )
    units = f"SELECT *, upper(trim(BillingCurrency)) AS unit FROM ({query})"
    return f"SELECT *, {_reason(currency)} AS reason FROM ({units})"


def _reason(currency: str) -> str:
    finite = " ".join(
        f"WHEN {name} IS NULL OR NOT isfinite({name}) THEN '{name} is missing or no number'"
        for name in ("EffectiveCost", "BilledCost")
    )
    return (
        'CASE WHEN "start" IS NULL OR period IS NULL '
        f"THEN CASE WHEN empty THEN '{NO_ROW}' ELSE '{ABSENT}' END {finite} "
        f"WHEN BillingCurrency = {literal(currency)} THEN aside "
        f"WHEN unit IS NULL THEN '{NO_CURRENCY}' "
        f"WHEN unit <> {literal(currency)} "
        f"THEN 'in ' || unit || ', the workspace is in {currency}' "
        "ELSE aside END"
    )


def unread(raw: RawBill, columns: Columns) -> dict[str, str]:
    """Of each number and time that is written as text: whether it is there and cannot be read."""
    return {
        f"unread {name}": f"({read(columns, name)} IS NULL AND {is_written(columns, name)})"
        for read, names in ((number, columns.asked.numbers), (time, columns.asked.times))
        for name in sorted(names)
        if raw.kinds[name] in {"VARCHAR", "DOUBLE", "FLOAT"}
    }
