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
    ONCE,
    UNUSED,
    USAGE,
    Lines,
    one_of,
)
from costwhy.sources.cost.exports import bill_files, bill_format
from costwhy.sources.cost.sql import (
    coalesce,
    literal,
    month,
    number,
    quoted,
    require,
    text,
    time,
)
from costwhy.sources.cost.tags import both_notes, find_tags, first_of, tag_note
from costwhy.sources.files import Columns as FileColumns
from costwhy.sources.format import Ask, Bill, Columns, Tags

REQUIRED = (
    "line_item_usage_start_date",
    effective.TYPE,
    effective.UNBLENDED,
    "line_item_currency_code",
)


def _require(columns: Columns) -> None:
    names = _names(columns)
    require(
        {**columns, **{snake: "" for snake in REQUIRED if _plain(snake) in names}},
        REQUIRED,
        "Cost and Usage Report",
    )


def expressions(columns: Columns, tags: Tags, ask: Ask) -> dict[str, str]:
    """SQL for each column that the reduction needs; see `focus.expressions`."""
    _require(columns)
    names = _names(columns)
    words, amount, moment, begins = (
        partial(_column, read, columns, names) for read in (text, number, time, month)
    )
    raw = partial(_column, lambda _columns, name: quoted(name), columns, names)
    lines = Lines(lambda snake: _plain(snake) in names, raw, words, amount, net=False)
    if lines.has(effective.NET):
        has_net = f"SELECT 1 FROM raw WHERE {amount(effective.NET)} IS NOT NULL LIMIT 1"
        lines = replace(lines, net=bool(ask(has_net)))
    places = tuple(names[name] for name in ("resourcetags", "tags") if name in names)
    product = partial(first_of, columns, names.get("product", "product"))
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
        }
        | lines.split
        | find_tags(columns, tags, ask, places)
        | {"note": both_notes(lines.note, tag_note(columns, ask, places))}
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
    once = f"CASE WHEN {lines.upfront} OR {end} > {last} + INTERVAL 1 DAY THEN NULL ELSE {end} END"
    return f"CASE WHEN {one_of(lines.kind, ONCE)} THEN {once} ELSE {end} END"


def _list(lines: Lines) -> str:
    """At list prices: a negation or a discount has none of its own."""
    public = coalesce(
        [lines.amount("pricing_public_on_demand_cost"), lines.amount(effective.UNBLENDED)]
    )
    none = one_of(lines.kind, ("SavingsPlanNegation", *DISCOUNTS))
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


def _splits(columns: Mapping[str, str]) -> str | None:
    name = _names(columns).get(_plain(effective.PARENT))
    return name and f"{text(columns, name)} IS NOT NULL"


COLUMNS = FileColumns(
    marks=REQUIRED[:3],
    known=(REQUIRED[3], "bill_billing_period_start_date", "identity_line_item_id"),
    what="a bill (Cost and Usage Report)",
)
FORMAT = bill_format(bill=Bill(_require, expressions, splits=_splits), files=bill_files(COLUMNS))
