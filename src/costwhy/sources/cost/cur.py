"""AWS Cost and Usage Reports, 2.0 and legacy, mapped to FOCUS columns.

CUR 2.0 has snake_case columns and maps (`resource_tags`, `product`). Legacy CUR has
`lineItem/UsageStartDate` in CSV, and in Parquet snake_case with one column for each tag.
`effective.py` has the rules of cost, for each type of line item.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from costwhy.sources.cost import effective
from costwhy.sources.cost.effective import (
    CATEGORY,
    COVERED,
    DISCOUNTS,
    UNUSED,
    USAGE,
    Lines,
    one_of,
)
from costwhy.sources.cost.exports import bill_files, bill_format
from costwhy.sources.cost.sql import (
    coalesce,
    first_tag,
    literal,
    month,
    number,
    quoted,
    require,
    text,
    time,
)
from costwhy.sources.files import Columns
from costwhy.sources.format import Bill, KeysIn

REQUIRED = (
    "line_item_usage_start_date",
    effective.TYPE,
    effective.UNBLENDED,
    "line_item_currency_code",
)


def expressions(
    columns: Mapping[str, str], tags: Mapping[str, Sequence[str]], keys_in: KeysIn
) -> dict[str, str]:
    """SQL for each column that the reduction needs; see `focus.expressions`."""
    names = _names(columns)
    require(
        {**columns, **{snake: "" for snake in REQUIRED if _plain(snake) in names}},
        REQUIRED,
        "Cost and Usage Report",
    )
    words, amount, moment, begins = (
        partial(_column, read, columns, names) for read in (text, number, time, month)
    )
    lines = Lines(lambda snake: _plain(snake) in names, words, amount, net=False)
    if lines.has(effective.NET):
        has_net = f"[CASE WHEN {amount(effective.NET)} IS NOT NULL THEN 'net' END]"
        lines = replace(lines, net=bool(keys_in(has_net, ["net"])))
    product = partial(first_tag, columns, names.get("product", "product"))
    return (
        _texts(words, product)
        | _kinds(lines)
        | {
            "start": moment("line_item_usage_start_date"),
            "end": _end(lines, moment),
            "period": coalesce(
                [begins("bill_billing_period_start_date"), moment("line_item_usage_start_date")]
            ),
            "EffectiveCost": lines.effective,
            "BilledCost": lines.billed,
            "ListCost": _list(lines),
            "note": lines.note,
        }
        | lines.split
        | {name: _tag(columns, keys) for name, keys in tags.items()}
    )


Sql = Callable[[str], str]  # SQL of a column by its name in snake_case; of an absent one a null


def _column(
    read: Callable[[Mapping[str, str], str], str],
    columns: Mapping[str, str],
    names: Mapping[str, str],
    snake: str,
) -> str:
    return read(columns, names.get(_plain(snake), snake))


def _end(lines: Lines, moment: Sql) -> str:
    """The end of the charge period; of a fee that is paid at once, none.

    A reservation's upfront fee ends with its term, in a year or three: it is a charge of one hour.
    """
    end, last = moment("line_item_usage_end_date"), moment("bill_billing_period_end_date")
    return f"CASE WHEN {lines.upfront} OR {end} > {last} + INTERVAL 1 DAY THEN NULL ELSE {end} END"


def _list(lines: Lines) -> str:
    """At list prices: a negation or a discount has none of its own."""
    public = coalesce(
        [lines.amount("pricing_public_on_demand_cost"), lines.amount(effective.UNBLENDED)]
    )
    none = one_of(lines.kind, ("savingsplannegation", *DISCOUNTS))
    return f"CASE WHEN {none} THEN 0 ELSE coalesce({public}, 0) END"


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


def _kinds(lines: Lines) -> dict[str, str]:
    kind, usage, covered = lines.kind, one_of(lines.kind, USAGE), one_of(lines.kind, COVERED)
    spot = f"{lines.words('line_item_usage_type')} LIKE '%SpotUsage%'"
    cases = " ".join(f"WHEN {literal(k)} THEN {literal(v)}" for k, v in CATEGORY.items())
    used = lines.amount("line_item_usage_amount")
    if lines.split:
        used = coalesce([lines.amount("split_line_item_split_usage"), used])
    return {
        "ChargeCategory": f"CASE {kind} {cases} ELSE 'Adjustment' END",
        "PricingCategory": f"CASE WHEN {covered} THEN 'Committed' WHEN {spot} THEN 'Dynamic' "
        f"WHEN {usage} THEN 'Standard' END",
        "CommitmentDiscountStatus": f"CASE WHEN {covered} THEN 'Used' "
        f"WHEN {one_of(kind, UNUSED)} THEN 'Unused' END",
        "ConsumedUnit": f"CASE WHEN {usage} THEN {lines.words('pricing_unit')} END",
        "ConsumedQuantity": f"CASE WHEN {usage} THEN {used} END",
    }


def _names(columns: Mapping[str, str]) -> dict[str, str]:
    """The columns by their names without case and signs: all spellings of AWS are the same there.

    `reservation/ReservationARN` of CSV, `reservation_reservation_a_r_n` of Parquet, capitals of a
    database. Of two the first.
    """
    return {_plain(name): name for name in reversed(list(columns))}


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _snake(name: str) -> str:
    """A name as AWS writes it in Parquet: lineItem/UsageStartDate is line_item_usage_start_date.

    Every sign but letters and digits is an underscore, another one stands before each capital, and
    doubles go: user:AppID is user_app_i_d.
    """
    spaced = re.sub("([A-Z])", r"_\1", name).lower()
    return re.sub("_+", "_", re.sub("[^a-z0-9]", "_", spaced)).strip("_")


def _tag(columns: Mapping[str, str], keys: Sequence[str]) -> str:
    """The first tag that a row has: in columns of their own (legacy CUR), or in the map."""
    by_column = {
        snake.removeprefix("resource_tags_").removeprefix("user_"): name
        for snake, name in ((_snake(name), name) for name in columns)
        if snake.startswith("resource_tags_")
    }
    own = [by_column[_snake(key)] for key in keys if _snake(key) in by_column]
    variants = [variant for key in keys for variant in (key, f"user_{key}", f"user:{key}")]
    return coalesce(
        [
            *(f"nullif({quoted(column)}, '')" for column in own),
            first_tag(columns, _names(columns).get("resourcetags", "resource_tags"), variants),
        ]
    )


def _splits(columns: Mapping[str, str]) -> bool:
    return _plain(effective.PARENT) in _names(columns)


COLUMNS = Columns(
    marks=REQUIRED[:3],
    known=(REQUIRED[3], "bill_billing_period_start_date", "identity_line_item_id"),
    what="a bill (Cost and Usage Report)",
)
FORMAT = bill_format(bill=Bill(expressions, splits=_splits), files=bill_files(COLUMNS))
