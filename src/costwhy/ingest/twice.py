"""Bills that two entries of costwhy.toml may both have: the same account, month and money."""

from collections.abc import Mapping
from itertools import combinations

import polars as pl

from costwhy.lake.lake import Lake
from costwhy.text import CENT, HALF_CENT

MANY = 3  # Accounts and months that are named one by one
_KEYS = ["account", "month"]


def find_twice(lake: Lake, entries: Mapping[str, str]) -> list[str]:
    """Messages: two entries have the same total of an account and a month. Nothing is changed.

    entries: of bills: what the names of their deliveries begin with, by key (`cost[0]`)
    """
    if len(entries) < 2:
        return []
    rows = lake.table("overview").with_columns(
        month=pl.col("hour").dt.strftime("%Y-%m"), account=pl.col("SubAccountId").fill_null("")
    )
    totals = {
        key: rows.filter(
            (pl.col("delivery") == name) | pl.col("delivery").str.starts_with(f"{name}:")
        )
        .group_by(_KEYS)
        .agg(pl.col("BilledCost", "EffectiveCost").sum())
        for key, name in entries.items()
    }
    return [
        text
        for (one, ours), (other, theirs) in combinations(totals.items(), 2)
        for text in _told(f"`{one}` and `{other}`", ours.join(theirs, on=_KEYS), lake.currency)
    ]


def _told(what: str, both: pl.DataFrame, currency: str) -> list[str]:
    same = pl.any_horizontal(
        ((pl.col(name) - pl.col(f"{name}_right")).abs() < HALF_CENT) & (pl.col(name).abs() >= CENT)
        for name in ("BilledCost", "EffectiveCost")
    )
    found = both.filter(same).sort("month", "account")
    if found.is_empty():
        return []
    shown = [
        f"{account or 'no account'} in {month} ({cost:,.2f} {currency})"
        for account, month, cost in found[:MANY].select(*_KEYS, "BilledCost").iter_rows()
    ]
    more = f" and {found.height - MANY} more" if found.height > MANY else ""
    names = f"{', '.join(shown)}{more}"
    return [f"{what} have the same total for {names}: both count; is it one bill? Remove one"]
