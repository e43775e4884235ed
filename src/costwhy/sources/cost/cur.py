"""AWS Cost and Usage Reports, 2.0 and legacy, mapped to FOCUS columns.

CUR 2.0 has snake_case columns and maps (`resource_tags`, `product`); legacy CUR has `lineItem/UsageStartDate` in CSV and
snake_case with one column for each tag in Parquet. EffectiveCost follows AWS's rules for amortised cost:

    SavingsPlanCoveredUsage              savings plan effective cost
    DiscountedUsage                      reservation effective cost
    SavingsPlanNegation, upfront fees    0
    RIFee, SavingsPlanRecurringFee       the unused part only
    all else                             unblended cost
"""

from collections.abc import Mapping, Sequence

from costwhy.sources.cost.focus import coalesce, first_tag, literal, number, quoted, require, text, time

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


def expressions(columns: Mapping[str, str], tags: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """SQL for each needed column; see `focus.expressions`."""
    names = {_snake(name): name for name in columns}
    require(
        {**columns, **{snake: columns[name] for snake, name in names.items()}},
        ("line_item_usage_start_date", LINE, "line_item_unblended_cost", "line_item_currency_code"),
        "Cost and Usage Report",
    )

    def words(snake: str) -> str:
        return text(columns, names[snake]) if snake in names else "NULL::VARCHAR"

    def amount(snake: str) -> str:
        return number(columns, names[snake]) if snake in names else "NULL::DOUBLE"

    kind = words(LINE)
    covered = f"{kind} IN ('SavingsPlanCoveredUsage', 'DiscountedUsage')"
    usage = f"{kind} IN ('Usage', 'DiscountedUsage', 'SavingsPlanCoveredUsage')"
    cases = " ".join(f"WHEN {literal(k)} THEN {literal(v)}" for k, v in CATEGORY.items())
    product = coalesce(
        [
            words("product_product_name"),
            _product(columns, names, "product_name"),
            words("product_servicename"),
            words("line_item_product_code"),
        ]
    )
    out = {
        "ProviderName": "'AWS'",
        "BillingAccountId": words("bill_payer_account_id"),
        "SubAccountId": words("line_item_usage_account_id"),
        "SubAccountName": words("line_item_usage_account_name"),
        "RegionId": coalesce([words("product_region_code"), words("product_region"), _product(columns, names, "region")]),
        "ServiceCategory": "NULL::VARCHAR",
        "ServiceName": product,
        "x_ServiceCode": coalesce([words("product_servicecode"), words("line_item_product_code")]),
        "x_UsageType": words("line_item_usage_type"),
        "x_Operation": words("line_item_operation"),
        "ChargeCategory": f"CASE {kind} {cases} ELSE 'Adjustment' END",
        "PricingCategory": f"CASE WHEN {covered} THEN 'Committed' WHEN {words('line_item_usage_type')} LIKE '%SpotUsage%' THEN 'Dynamic' WHEN {usage} THEN 'Standard' END",
        "CommitmentDiscountStatus": f"CASE WHEN {covered} THEN 'Used' WHEN {kind} IN ('RIFee', 'SavingsPlanRecurringFee') THEN 'Unused' END",
        "ConsumedUnit": f"CASE WHEN {usage} THEN {words('pricing_unit')} END",
        "ResourceId": words("line_item_resource_id"),
        "BillingCurrency": words("line_item_currency_code"),
        "start": time(columns, names["line_item_usage_start_date"]),
        "period": coalesce(
            [
                time(columns, names["bill_billing_period_start_date"]) if "bill_billing_period_start_date" in names else "NULL::TIMESTAMP",
                time(columns, names["line_item_usage_start_date"]),
            ]
        ),
        "EffectiveCost": _effective(kind, amount),
        "BilledCost": amount("line_item_unblended_cost"),
        "ListCost": f"coalesce({coalesce([amount('pricing_public_on_demand_cost'), amount('line_item_unblended_cost')])}, 0)",
        "ConsumedQuantity": f"CASE WHEN {usage} THEN {amount('line_item_usage_amount')} END",
    }
    return out | {name: _tag(columns, names, keys) for name, keys in tags.items()}


def _snake(name: str) -> str:
    """lineItem/UsageStartDate is line_item_usage_start_date."""
    out = []
    for before, ch in zip(" " + name, name, strict=False):
        if ch in "/:":
            out.append("_")
        elif ch.isupper() and before.islower():
            out.append("_" + ch.lower())
        else:
            out.append(ch.lower())
    return "".join(out)


def _effective(kind: str, amount: object) -> str:
    get = amount
    assert callable(get)
    unused_reserved = f"coalesce({get('reservation_unused_amortized_upfront_fee_for_billing_period')}, 0) + coalesce({get('reservation_unused_recurring_fee')}, 0)"
    unused_plan = (
        f"greatest(coalesce({get('savings_plan_total_commitment_to_date')}, 0) - coalesce({get('savings_plan_used_commitment')}, 0), 0)"
    )
    return (
        f"CASE {kind} WHEN 'SavingsPlanCoveredUsage' THEN coalesce({get('savings_plan_savings_plan_effective_cost')}, 0) "
        f"WHEN 'DiscountedUsage' THEN coalesce({get('reservation_effective_cost')}, 0) WHEN 'SavingsPlanNegation' THEN 0 WHEN 'SavingsPlanUpfrontFee' THEN 0 "
        f"WHEN 'RIFee' THEN {unused_reserved} WHEN 'SavingsPlanRecurringFee' THEN {unused_plan} ELSE {get('line_item_unblended_cost')} END"
    )


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
    parts = [f"nullif({quoted(by_column[_snake(key)])}, '')" for key in keys if _snake(key) in by_column]
    if "resource_tags" in names:
        parts.append(
            first_tag(columns, names["resource_tags"], [variant for key in keys for variant in (key, f"user_{key}", f"user:{key}")])
        )
    return coalesce(parts) if parts else "NULL::VARCHAR"
