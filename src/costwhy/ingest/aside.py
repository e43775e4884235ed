"""Rows of bills that are set aside, as sentences: how many, how much money, and why."""

from collections.abc import Iterator

import polars as pl

_COSTS = (("EffectiveCost", ""), ("BilledCost", " billed"))
_SHOWN = 20  # reasons


def said(set_aside: pl.DataFrame) -> Iterator[str]:
    """One sentence for each file, reason and currency of a `set_aside` table of bills."""
    sums = [pl.col("records").sum(), pl.col("place").drop_nulls().first()]
    sums += [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name) for name, _ in _COSTS
    ]
    groups = set_aside.group_by("file", "reason", "BillingCurrency", maintain_order=True).agg(sums)
    for row in groups.head(_SHOWN).iter_rows(named=True):
        count, at = row["records"], f" ({row['place']})" if row["place"] else ""
        yield (
            f"{row['file']}: {count} {'row' if count == 1 else 'rows'}, {_money(row)}, "
            f"{'was' if count == 1 else 'were'} set aside: {row['reason']}{at}"
        )
    if groups.height > _SHOWN:
        rest = groups.tail(-_SHOWN)["records"].sum()
        yield f"{rest} more rows were set aside for other reasons: see the table set_aside"


def _money(row: dict[str, object]) -> str:
    """3.21 USD billed; the effective cost where it is known."""
    currency = row["BillingCurrency"] or "of no currency"
    for name, word in _COSTS:
        if row[name] is not None:
            return f"{row[name]:,.2f} {currency}{word}"
    return "of unknown cost"
