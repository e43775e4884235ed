"""Bills of AWS for tests: line items by their CUR 2.0 names, written in every spelling."""

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

Item = dict[str, object]
HEADS = ("bill", "identity", "lineItem", "pricing", "product", "reservation", "savingsPlan", "splitLineItem")  # fmt: skip
PLAIN = {"savings_plan": "savingsPlan", "line_item": "lineItem", "split_line_item": "splitLineItem"}
SPELLINGS = ("legacy.csv", "legacy.parquet", "cur2.parquet", "capitals.csv")
LEGACY = {
    "reservation_reservation_a_r_n": "reservation/ReservationARN",
    "savings_plan_savings_plan_a_r_n": "savingsPlan/SavingsPlanARN",
    "pricing_public_on_demand_cost": "pricing/publicOnDemandCost",
    "product_servicecode": "product/servicecode",
    "pricing_unit": "pricing/unit",
}
BASE: Item = {
    "bill_payer_account_id": "1",
    "bill_billing_period_start_date": datetime(2026, 9, 1),
    "bill_billing_period_end_date": datetime(2026, 10, 1),
    "line_item_usage_account_id": "2",
    "line_item_line_item_type": "Usage",
    "line_item_usage_start_date": datetime(2026, 9, 1),
    "line_item_usage_end_date": datetime(2026, 9, 1, 1),
    "line_item_product_code": "AmazonEC2",
    "line_item_usage_type": "BoxUsage:m5.large",
    "line_item_resource_id": None,
    "line_item_usage_amount": 1.0,
    "line_item_currency_code": "USD",
    "line_item_unblended_cost": 0.0,
    "line_item_line_item_description": None,
    "pricing_unit": "Hrs",
    "pricing_public_on_demand_cost": None,
    "reservation_reservation_a_r_n": None,
    "reservation_effective_cost": None,
    "reservation_unused_amortized_upfront_fee_for_billing_period": None,
    "reservation_unused_recurring_fee": None,
    "savings_plan_savings_plan_a_r_n": None,
    "savings_plan_savings_plan_effective_cost": None,
    "savings_plan_total_commitment_to_date": None,
    "savings_plan_used_commitment": None,
}


def item(kind: str, unblended: float | None = 0.0, **columns: object) -> Item:
    """A line item; columns without their heads where that is clear."""
    heads = ("line_item_", "reservation_", "savings_plan_", "split_line_item_", "bill_", "pricing_")
    named = {next((h + k for h in ("", *heads) if h + k in BASE), k): v for k, v in columns.items()}
    return {
        **BASE,
        "line_item_line_item_type": kind,
        "line_item_unblended_cost": unblended,
        **named,
    }


def write(
    folder: Path, items: Sequence[Item], spelling: str = "cur2.parquet", name: str = "cur"
) -> Path:
    """The line items as a file in one of the SPELLINGS."""
    rows = pl.DataFrame(list(items), infer_schema_length=None)
    empty = [n for n, kind in rows.schema.items() if kind == pl.Null]
    rows = rows.with_columns(pl.col(n).cast(_type_of(n)) for n in empty)
    file = folder / f"{name}.{spelling.split('.')[1]}"
    if spelling.endswith(".parquet"):
        rows.write_parquet(file)
        return file
    times = [n for n, kind in rows.schema.items() if kind == pl.Datetime]
    rows = rows.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    spell = str.upper if spelling.startswith("capitals") else legacy
    rows.rename({n: spell(n) for n in rows.columns}).write_csv(file)
    return file


def legacy(name: str) -> str:
    """line_item_usage_start_date is lineItem/UsageStartDate in legacy CSV."""
    if name in LEGACY:
        return LEGACY[name]
    head = next(h for h in (*PLAIN, *HEADS) if name.startswith(f"{h}_"))
    words = name.removeprefix(f"{head}_").split("_")
    return f"{PLAIN.get(head, head)}/{''.join(word.capitalize() for word in words)}"


def _type_of(name: str) -> type[pl.DataType]:
    is_money = re.search("cost|fee|commitment|amount|rate|usage$|ratio", name)
    return pl.Float64 if is_money and not name.endswith(("_a_r_n", "_id")) else pl.String
