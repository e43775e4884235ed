"""AWS Cost and Usage Reports, 2.0 and legacy, mapped to FOCUS columns.

CUR 2.0 has snake_case columns and maps (`resource_tags`, `product`). Legacy CUR has
`lineItem/UsageStartDate` in CSV, and in Parquet snake_case with one column for each tag.
EffectiveCost follows AWS's rules for amortised cost:

    SavingsPlanCoveredUsage              savings plan effective cost
    DiscountedUsage                      reservation effective cost
    SavingsPlanNegation, upfront fees    0
    RIFee, SavingsPlanRecurringFee       the unused part only
    all else                             unblended cost
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from costwhy.sources.cost.exports import bill_format
from costwhy.sources.cost.sql import (
    coalesce,
    literal,
    number,
    require,
    text,
    time,
)
from costwhy.sources.cost.tags import find_tags, first_of, unreadable_tags
from costwhy.sources.format import Ask, Bill, Columns, Note, Tags

LINE = "line_item_line_item_type"
CATEGORY = {
    "Usage": "Usage",
    "DiscountedUsage": "Usage",
    "SavingsPlanCoveredUsage": "Usage",
    "Fee": "Purchase",
    "RIFee": "Purchase",
    "SavingsPlanRecurringFee": "Purchase",
    "SavingsPlanUpfrontFee": "Purchase",
    "Tax": "Tax",
    "Credit": "Credit",
}


REQUIRED = (
    "line_item_usage_start_date",
    LINE,
    "line_item_unblended_cost",
    "line_item_currency_code",
)


def expressions(columns: Columns, tags: Tags, ask: Ask) -> dict[str, str]:
    """SQL for each column that the reduction needs; see `focus.expressions`."""
    names = {_snake(name): name for name in columns}
    require(
        {**columns, **{snake: columns[name] for snake, name in names.items()}},
        REQUIRED,
        "Cost and Usage Report",
    )
    words, amount, moment = (
        partial(_column, read, columns, names) for read in (text, number, time)
    )
    product = partial(first_of, columns, names.get("product", "product"))
    kind = words(LINE)
    return (
        _texts(words, product)
        | _kinds(kind, words, amount)
        | {
            "start": moment("line_item_usage_start_date"),
            "end": moment("line_item_usage_end_date"),
            "period": coalesce(
                [moment("bill_billing_period_start_date"), moment("line_item_usage_start_date")]
            ),
            "EffectiveCost": _effective(kind, amount),
            "BilledCost": amount("line_item_unblended_cost"),
            "ListCost": "coalesce({}, 0)".format(
                coalesce(
                    [amount("pricing_public_on_demand_cost"), amount("line_item_unblended_cost")]
                )
            ),
        }
        | find_tags(columns, tags, ask, _tag_columns(names))
    )


Sql = Callable[[str], str]  # SQL of a column by its name in snake_case; of an absent one a null


def _column(
    read: Callable[[Mapping[str, str], str], str],
    columns: Mapping[str, str],
    names: Mapping[str, str],
    snake: str,
) -> str:
    return read(columns, names.get(snake, snake))


def _texts(words: Sql, product: Callable[[Sequence[str]], str]) -> dict[str, str]:
    return {
        "ProviderName": "'AWS'",
        "BillingAccountId": words("bill_payer_account_id"),
        "SubAccountId": words("line_item_usage_account_id"),
        "SubAccountName": words("line_item_usage_account_name"),
        "RegionId": coalesce(
            [words("product_region_code"), words("product_region"), product(["region"])]
        ),
        "ServiceCategory": "NULL::VARCHAR",
        "ServiceName": coalesce(
            [
                words("product_product_name"),
                product(["product_name"]),
                words("product_servicename"),
                words("line_item_product_code"),
            ]
        ),
        "x_ServiceCode": coalesce([words("product_servicecode"), words("line_item_product_code")]),
        "x_UsageType": words("line_item_usage_type"),
        "x_Operation": words("line_item_operation"),
        "ResourceId": words("line_item_resource_id"),
        "BillingCurrency": words("line_item_currency_code"),
    }


def _kinds(kind: str, words: Sql, amount: Sql) -> dict[str, str]:
    usage = f"{kind} IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')"
    covered = f"{kind} IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')"
    unused = f"{kind} IN ('RIFee', 'SavingsPlanRecurringFee')"
    spot = f"{words('line_item_usage_type')} LIKE '%SpotUsage%'"
    cases = " ".join(f"WHEN {literal(k)} THEN {literal(v)}" for k, v in CATEGORY.items())
    return {
        "ChargeCategory": f"CASE {kind} {cases} ELSE 'Adjustment' END",
        "PricingCategory": f"CASE WHEN {covered} THEN 'Committed' WHEN {spot} THEN 'Dynamic' "
        f"WHEN {usage} THEN 'Standard' END",
        "CommitmentDiscountStatus": f"CASE WHEN {covered} THEN 'Used' "
        f"WHEN {unused} THEN 'Unused' END",
        "ConsumedUnit": f"CASE WHEN {usage} THEN {words('pricing_unit')} END",
        "ConsumedQuantity": f"CASE WHEN {usage} THEN {amount('line_item_usage_amount')} END",
    }


def _effective(kind: str, amount: Sql) -> str:
    def known(name: str) -> str:
        return f"coalesce({amount(name)}, 0)"

    reserved = (
        f"{known('reservation_unused_amortized_upfront_fee_for_billing_period')} "
        f"+ {known('reservation_unused_recurring_fee')}"
    )
    plan = (
        f"greatest({known('savings_plan_total_commitment_to_date')} "
        f"- {known('savings_plan_used_commitment')}, 0)"
    )
    return (
        f"CASE {kind} WHEN 'SavingsPlanCoveredUsage' "
        f"THEN {known('savings_plan_savings_plan_effective_cost')} "
        f"WHEN 'DiscountedUsage' THEN {known('reservation_effective_cost')} "
        f"WHEN 'SavingsPlanNegation' THEN 0 WHEN 'SavingsPlanUpfrontFee' THEN 0 "
        f"WHEN 'RIFee' THEN {reserved} WHEN 'SavingsPlanRecurringFee' THEN {plan} "
        f"ELSE {amount('line_item_unblended_cost')} END"
    )


def _snake(name: str) -> str:
    """lineItem/UsageStartDate is line_item_usage_start_date."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub("[/:]", "_", name)).lower()


def _tag_columns(names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names[name] for name in ("resource_tags", "tags") if name in names)


def notes(columns: Columns, _tags: Tags, ask: Ask) -> tuple[Note, ...]:
    """What else to know of a file."""
    return unreadable_tags(columns, ask, _tag_columns({_snake(name): name for name in columns}))


FORMAT = bill_format(bill=Bill(expressions, notes=notes))
