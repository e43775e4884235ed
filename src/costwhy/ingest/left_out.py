"""The reconciliation of a lake in words: the lines of its table, and what its sums lack."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from costwhy.ingest.reconcile import AMOUNTS, COST, find_not_read, find_reasons
from costwhy.lake.lake import Lake
from costwhy.text import count_of, exact

PERIODS = 12  # shown of each source: the newest
MOST = 10  # shown reasons, and files that were not read


@dataclass(frozen=True)
class Line:
    """A line of the table as text. what: read, set aside, in the files (both together)."""

    source: str
    period: str
    currency: str
    what: str
    files: str
    rows: str
    billed: str
    effective: str

    @property
    def heading(self) -> tuple[str, str, str]:
        """What the lines of one period in one currency have in common."""
        return self.source, self.period, self.currency


def newest(sums: pl.DataFrame) -> tuple[list[Line], int]:
    """The newest periods of each source and the totals of several, and how many are not shown.

    sums: tables.RECONCILIATION
    """
    periods = sums.filter(line="period")
    shown = periods.group_by("source", maintain_order=True).tail(PERIODS)
    several = periods.group_by("BillingCurrency").len().filter(pl.col("len") > 1)
    totals = sums.filter(line="total").join(
        several, on="BillingCurrency", how="semi", nulls_equal=True, maintain_order="left"
    )
    rows = [*shown.to_dicts(), *totals.to_dicts()]
    return [line for row in rows for line in _lines(row)], periods.height - shown.height


def _lines(row: Mapping[str, Any]) -> Iterator[Line]:
    """A period as read, set aside, and both together, as far as there is something of it."""
    period = "total" if row["line"] == "total" else row["billing_period"] or "unknown"
    first = (row["source"] or "", period, row["BillingCurrency"] or "")
    read, aside = row["rows"], row["rows_set_aside"]
    parts = [(row[name], row[f"{name}_set_aside"]) for name in AMOUNTS]
    if read or not aside:
        yield Line(*first, "read", f"{row['files']:,}", f"{read:,}", *(_text(a) for a, _ in parts))
    if aside:
        yield Line(*first, "set aside", "", f"{aside:,}", *(_text(b) for _, b in parts))
    if read and aside:
        whole = (None if row["rows_of_unknown_cost"] or b is None else a + b for a, b in parts)
        yield Line(*first, "in the files", "", f"{read + aside:,}", *map(_text, whole))


def _text(amount: float | None) -> str:
    return "not known" if amount is None else exact(amount)


def left_out(lake: Lake) -> str:
    """What a lake lacks of its sources' files, in one sentence; empty where it lacks nothing.

    12 rows of the bill, 340.10 USD, and 1 other record were set aside; 2 files were not read
    """
    return left_out_words(find_reasons(lake), find_not_read(lake))


def left_out_words(reasons: pl.DataFrame, not_read: pl.DataFrame) -> str:
    """The same of tables.REASONS and tables.NOT_READ."""
    bill, others = reasons.filter(source=COST), reasons.filter(pl.col("source") != COST)
    rows, records = (int(part["records"].sum()) for part in (bill, others))
    files = not_read.height
    money = amounts_of(bill)
    aside = (
        [f"{count_of(rows, 'row')} of the bill" + (f", {money}," if money else "")] if rows else []
    )
    aside += [count_of(records, "other record" if rows else "record")] if records else []
    parts = [f"{' and '.join(aside)} {_were(rows + records)} set aside"] if aside else []
    parts += [f"{count_of(files, 'file')} {_were(files)} not read"] if files else []
    return "; ".join(parts)


def amounts_of(rows: pl.DataFrame) -> str:
    """The money of rows of tables.REASONS, by currency: `340.10 USD and 5.00 EUR`.

    It is what was billed, or where only that is known the effective cost. Empty where neither is.
    """
    amount = pl.coalesce(AMOUNTS).alias("amount")
    known = rows.select(pl.col("BillingCurrency"), amount).drop_nulls("amount")
    sums = known.group_by("BillingCurrency").agg(pl.col("amount").sum()).sort("BillingCurrency")
    return " and ".join(
        f"{exact(a)} {name or 'of unknown currency'}" for name, a in sums.iter_rows()
    )


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
