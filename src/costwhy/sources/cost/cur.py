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
    first_tag,
    literal,
    number,
    quoted,
    require,
    text,
    time,
)
from costwhy.sources.format import Bill, KeysIn

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


def expressions(
    columns: Mapping[str, str], tags: Mapping[str, Sequence[str]], _keys_in: KeysIn
) -> dict[str, str]:
    """SQL for each column that the reduction needs; see `focus.expressions`."""
    names = {_snake(name): name for name in columns}
    types = {snake: columns[name] for snake, name in names.items()}
    require({**columns, **types}, REQUIRED, "Cost and Usage Report")
    words = partial(_read, text, columns, names, "NULL::VARCHAR")
    amount = partial(_read, number, columns, names, "NULL::DOUBLE")
    moment = partial(_read, time, columns, names, "NULL::TIMESTAMP")
    product = partial(_product, columns, names)
    kind = words(LINE)
    return (
        _texts(words, product)
        | _kinds(kind, words)
        | {
            "start": moment("line_item_usage_start_date"),
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
            "ConsumedQuantity": _where(_usage(kind), amount("line_item_usage_amount")),
        }
        | {name: _tag(columns, names, keys) for name, keys in tags.items()}
    )


Sql = Callable[[str], str]  # SQL of a column by its name in snake_case; of an absent one a null


def _read(
    read: Callable[[Mapping[str, str], str], str],
    columns: Mapping[str, str],
    names: Mapping[str, str],
    absent: str,
    snake: str,
) -> str:
    return read(columns, names[snake]) if snake in names else absent


def _texts(words: Sql, product: Sql) -> dict[str, str]:
    return {
        "ProviderName": "'AWS'",
        "BillingAccountId": words("bill_payer_account_id"),
        "SubAccountId": words("line_item_usage_account_id"),
        "SubAccountName": words("line_item_usage_account_name"),
        "RegionId": coalesce(
            [words("product_region_code"), words("product_region"), product("region")]
        ),
        "ServiceCategory": "NULL::VARCHAR",
        "ServiceName": coalesce(
            [
                words("product_product_name"),
                product("product_name"),
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


def _usage(kind: str) -> str:
    return f"{kind} IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')"


def _where(condition: str, value: str) -> str:
    return f"CASE WHEN {condition} THEN {value} END"


def _kinds(kind: str, words: Sql) -> dict[str, str]:
    """What follows from the kind of the line item."""
    covered = f"{kind} IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')"
    unused = f"{kind} IN ('RIFee', 'SavingsPlanRecurringFee')"
    spot = f"{words('line_item_usage_type')} LIKE '%SpotUsage%'"
    cases = " ".join(f"WHEN {literal(k)} THEN {literal(v)}" for k, v in CATEGORY.items())
    return {
        "ChargeCategory": f"CASE {kind} {cases} ELSE 'Adjustment' END",
        "PricingCategory": f"CASE WHEN {covered} THEN 'Committed' WHEN {spot} THEN 'Dynamic' "
        f"WHEN {_usage(kind)} THEN 'Standard' END",
        "CommitmentDiscountStatus": f"CASE WHEN {covered} THEN 'Used' "
        f"WHEN {unused} THEN 'Unused' END",
        "ConsumedUnit": _where(_usage(kind), words("pricing_unit")),
    }


def _effective(kind: str, amount: Sql) -> str:
    def known(name: str) -> str:
        return f"coalesce({amount(name)}, 0)"

    fee = "reservation_unused_amortized_upfront_fee_for_billing_period"
    reserved = f"{known(fee)} + {known('reservation_unused_recurring_fee')}"
    bought = known("savings_plan_total_commitment_to_date")
    plan = f"greatest({bought} - {known('savings_plan_used_commitment')}, 0)"
    covered = known("savings_plan_savings_plan_effective_cost")
    return (
        f"CASE {kind} WHEN 'SavingsPlanCoveredUsage' THEN {covered} "
        f"WHEN 'DiscountedUsage' THEN {known('reservation_effective_cost')} "
        f"WHEN 'SavingsPlanNegation' THEN 0 WHEN 'SavingsPlanUpfrontFee' THEN 0 "
        f"WHEN 'RIFee' THEN {reserved} WHEN 'SavingsPlanRecurringFee' THEN {plan} "
        f"ELSE {amount('line_item_unblended_cost')} END"
    )


def _snake(name: str) -> str:
    """lineItem/UsageStartDate is line_item_usage_start_date."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", re.sub("[/:]", "_", name)).lower()


def _product(columns: Mapping[str, str], names: Mapping[str, str], key: str) -> str:
    """An entry of CUR 2.0's product map."""
    if "product" not in names:
        return "NULL::VARCHAR"
    return first_tag(columns, names["product"], [key])


def tag_columns(columns: Mapping[str, str]) -> dict[str, str]:
    """Legacy CUR: tag key and the column that has it."""
    found = {}
    for name in columns:
        snake = _snake(name)
        if snake.startswith("resource_tags_"):
            found[snake.removeprefix("resource_tags_").removeprefix("user_")] = name
    return found


def _tag(columns: Mapping[str, str], names: Mapping[str, str], keys: Sequence[str]) -> str:
    by_column = tag_columns(columns)
    own = [by_column[_snake(key)] for key in keys if _snake(key) in by_column]
    parts = [f"nullif({quoted(column)}, '')" for column in own]
    if "resource_tags" in names:
        variants = [variant for key in keys for variant in (key, f"user_{key}", f"user:{key}")]
        parts.append(first_tag(columns, names["resource_tags"], variants))
    return coalesce(parts) if parts else "NULL::VARCHAR"


FORMAT = bill_format(bill=Bill(expressions))
