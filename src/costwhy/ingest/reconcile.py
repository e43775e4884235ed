"""The reconciliation of a lake: what was read, what was set aside, and what was not read.

For each source, billing period and currency of the bills:

    rows in the files = rows that count + rows set aside

It is about the lake as it is now, whatever the last ingest read or skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from costwhy.ingest.batch import UNREADABLE, source_name
from costwhy.lake.lake import Lake
from costwhy.tables import NOT_READ, REASONS, RECONCILIATION

COST = "cost"  # `source` of the rows of a bill in the table `set_aside`
AMOUNTS = ("BilledCost", "EffectiveCost")
_ASIDE = tuple(f"{name}_set_aside" for name in AMOUNTS)
_COUNTS = ("rows", "rows_set_aside", "rows_of_unknown_cost")
_KEYS = ("source", "billing_period", "BillingCurrency")


@dataclass(frozen=True)
class Reconciliation:
    """What a lake holds of its sources' files, and what it does not.

    sums      tables.RECONCILIATION; the last lines are the totals, one for each currency
    reasons   tables.REASONS: why rows and records were set aside
    not_read  tables.NOT_READ
    notes     what to know of what was read, such as columns that are missing
    """

    sums: pl.DataFrame
    reasons: pl.DataFrame
    not_read: pl.DataFrame
    notes: tuple[str, ...]


def reconcile(lake: Lake) -> Reconciliation:
    """The reconciliation of a version of a lake. Of a former one, amounts may be not known."""
    return Reconciliation(
        find_sums(lake), find_reasons(lake), find_not_read(lake), find_notes(lake)
    )


# ---------------------------------------------------------------- rows and money


def find_sums(lake: Lake) -> pl.DataFrame:
    """Rows and money by source, period and currency, then the totals (tables.RECONCILIATION)."""
    read = (
        lake.scan("hourly")
        .group_by("delivery", "billing_period")
        .agg(pl.col("rows", *AMOUNTS).sum())
        .collect()
        .with_columns(BillingCurrency=pl.lit(lake.currency))
    )
    files = lake.table("deliveries").select("delivery", file="files").explode("file")
    aside = _rows_aside(lake).filter(source=COST)
    unknown = pl.all_horizontal(pl.col(AMOUNTS).is_null())
    lines = pl.concat(
        [
            read,
            read.select("delivery", *_KEYS[1:]).join(files, on="delivery"),
            aside.select(
                "delivery",
                *_KEYS[1:],
                *(pl.col(name).alias(f"{name}_set_aside") for name in AMOUNTS),
                rows_set_aside="records",
                rows_of_unknown_cost=pl.when(unknown).then("records").otherwise(0),
            ),
        ],
        how="diagonal",
    ).with_columns(_source_of(lake))
    first = pl.col("BillingCurrency").ne_missing(lake.currency)  # the workspace's own
    return pl.concat(
        [
            _added(lines, "period", _KEYS).sort(
                "source", "billing_period", first, "BillingCurrency", nulls_last=True
            ),
            _added(lines, "total", _KEYS[2:]).sort(first, "BillingCurrency", nulls_last=True),
        ]
    )


def _added(lines: pl.DataFrame, line: str, keys: Sequence[str]) -> pl.DataFrame:
    """One row for each value of the keys, in cents. An amount of no row is 0."""
    none = dict.fromkeys(AMOUNTS, pl.col("rows") == 0)
    none |= dict.fromkeys(_ASIDE, pl.col("rows_set_aside") == 0)
    found = lines.group_by(keys).agg(
        pl.col("file").drop_nulls().n_unique().alias("files"),
        pl.col(_COUNTS).sum(),
        *map(_known_sum, (*AMOUNTS, *_ASIDE)),
    )
    return RECONCILIATION.fit(
        found.with_columns(
            pl.lit(line).alias("line"),
            *(pl.when(~nothing).then(n).otherwise(0.0).alias(n) for n, nothing in none.items()),
        )
    )


def _known_sum(name: str) -> pl.Expr:
    """The sum of the amounts that are known, in cents; null: none is. Zero is never negative."""
    known = pl.col(name).filter(pl.col(name).is_finite())
    cents = known.sum().round(2)
    return pl.when(known.len() > 0).then(pl.when(cents != 0).then(cents).otherwise(0.0)).alias(name)


def _source_of(lake: Lake) -> pl.Expr:
    """The entry of costwhy.toml that a delivery belongs to, as `format:path`."""
    entries = [(one["format"], one.get("path", "")) for one in lake.config.get("sources", ())]
    names = sorted((source_name(*entry) for entry in entries), key=len, reverse=True)
    own = pl.col("delivery").str.strip_suffix(UNREADABLE)
    known = [
        pl.when((own == name) | own.str.starts_with(f"{name}:")).then(pl.lit(name))
        for name in names
    ]
    return pl.coalesce(*known, own).alias("source")


# ---------------------------------------------------------------- what was left out


def find_reasons(lake: Lake) -> pl.DataFrame:
    """Why rows and records were set aside (tables.REASONS)."""
    found = (
        _rows_aside(lake)
        .group_by("source", "file", "reason", "BillingCurrency", maintain_order=True)
        .agg(
            pl.col("place").drop_nulls().first(),
            pl.col("records").sum(),
            *map(_known_sum, AMOUNTS),
        )
    )
    order = ["records", "file", "reason", "BillingCurrency"]
    return REASONS.fit(found.sort(order, descending=[True, False, False, False]))


def find_not_read(lake: Lake) -> pl.DataFrame:
    """Files below the sources that were not read (tables.NOT_READ)."""
    files = lake.table("files").filter(state="not read")
    known = files["file"].implode()
    faults = (
        lake.table("set_aside")
        .filter(pl.col("delivery").str.ends_with(UNREADABLE), ~pl.col("file").is_in(known))
        .with_columns(_source_of(lake))
    )
    columns = "source", "file", "reason"
    found = pl.concat(
        [NOT_READ.fit(files.select(*columns, "bytes")), NOT_READ.fit(faults.select(columns))]
    )
    return found.unique().sort("bytes", "file", descending=[True, False], nulls_last=True)


def _rows_aside(lake: Lake) -> pl.DataFrame:
    """Rows of `set_aside`; files that were not read are no rows."""
    return lake.table("set_aside").filter(~pl.col("delivery").str.ends_with(UNREADABLE))


def find_notes(lake: Lake) -> tuple[str, ...]:
    """What to know of what was read, such as columns that are missing; each once."""
    notes = lake.table("deliveries")["notes"].explode().drop_nulls().to_list()
    files = lake.table("files").filter(pl.col("state") == "read", pl.col("reason").is_not_null())
    told = (f"{file}: {reason}" for file, reason in files.select("file", "reason").iter_rows())
    return tuple(dict.fromkeys([*notes, *told]))
