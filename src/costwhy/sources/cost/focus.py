"""FOCUS 1.0 to 1.4, as AWS Data Exports and other providers write it: Parquet, CSV, CSV.gz.

`expressions` says how DuckDB computes each column that the reduction needs from the file's own. In
real files a null may be the word NULL, a time may have no zone (it is UTC), and `Tags` has many
shapes (`tags.py`). A column is found in any case, by its display name (`Billed Cost`), and by the
name that it had before FOCUS 1.0: docs/focus.md.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from costwhy.sources.cost.exports import bill_files, bill_format
from costwhy.sources.cost.shares import SHARE, SPLIT, whole_charges
from costwhy.sources.cost.sql import coalesce, literal, month, number, require, text, time
from costwhy.sources.cost.tags import NOTHING, both_notes, find_tags, own_columns, tag_note
from costwhy.sources.files import Columns as FileColumns
from costwhy.sources.format import Ask, Bill, Columns, Tags
from costwhy.tables import DIMENSION_NAMES

TEXT = tuple(name for name in DIMENSION_NAMES if name not in {"service", "team", "budget_owner"})
PLACES = ("AllocatedTags", "Tags")  # of a pod's share its own tags before those of its node
# What stands in for a column that is absent or empty in a row: the first that it has
INSTEAD = {
    "ProviderName": (
        *("ServiceProviderName", "Provider", "PublisherName", "Publisher"),
        *("HostProviderName", "HostProvider", "InvoiceIssuerName", "InvoiceIssuer"),
    ),
    "RegionId": ("Region", "RegionName"),
    "ChargeCategory": ("ChargeType",),
    "EffectiveCost": ("AmortizedCost",),
    "BillingCurrency": ("BilledCurrency",),
    "ConsumedQuantity": ("UsageQuantity", "PricingQuantity"),
    "ConsumedUnit": ("UsageUnit", "PricingUnit"),
    "x_UsageType": ("SkuMeter", "SkuId"),
    "BillingPeriodStart": ("ChargePeriodStart",),
    "ChargePeriodEnd": (),
    "BilledCost": (),
    "ListCost": (),
    "ChargeClass": (),
    "ChargeSubcategory": (),
}
KNOWN = frozenset(
    {*TEXT, *INSTEAD, *PLACES, *SPLIT, *(name for more in INSTEAD.values() for name in more)}
)
# Columns of which one should be there, and what its absence costs in answers
LACKS = (
    ("BilledCost", "the effective cost is shown as billed"),
    (
        "ChargePeriodEnd",
        "the length of a charge is not known: each counts in the hour in which it starts",
    ),
    ("ServiceName", "the provider's services are not told apart"),
    ("ChargeCategory", "tax, credits and fees count as usage"),
    ("ConsumedQuantity or PricingQuantity", "a higher price is not told from more usage"),
    ("x_UsageType or SkuMeter or SkuId", "kinds of usage are not told apart"),
    ("SubAccountId", "accounts are not told apart"),
    ("ProviderName or ServiceProviderName", "providers are not told apart"),
    ("Tags", "no row names its service or its team"),
)
STANDS_IN = (
    "EffectiveCost is empty in the whole file and BilledCost stands in for it, so that what a "
    "commitment costs is where it was billed"
)
# Words of FOCUS 1.0-preview, as those of 1.0
PRICING = {"On-Demand": "Standard", "Commitment-Based": "Committed"}
STATUS = {"Used Commitment": "Used", "Unused Commitment": "Unused"}


def expressions(columns: Columns, tags: Tags, ask: Ask) -> dict[str, str]:
    """SQL for each column that the reduction needs.

    columns  the file's names and DuckDB types
    tags     the tag keys that name service, team and budget_owner
    ask      runs SQL on the file

    Raises SourceError naming a required column that is missing.
    """
    require_columns(columns)
    names = _names(columns)
    places = _places(names)
    words, amount, moment = (partial(_first, read, columns, names) for read in (text, number, time))
    costs, note = _costs(columns, names, amount, ask)
    aside, doubt = whole_charges(columns, names, ask)
    return (
        {name: words(name) for name in (*TEXT, "BillingCurrency")}
        | _kinds(words, amount)
        | costs
        | {
            "ResourceId": coalesce([words(SHARE), words("ResourceId")]),
            "start": moment("ChargePeriodStart"),
            "end": moment("ChargePeriodEnd"),
            "period": coalesce(
                [_first(month, columns, names, "BillingPeriodStart"), moment("ChargePeriodStart")]
            ),
            "ListCost": f"coalesce({amount('ListCost')}, 0)",
            "ConsumedQuantity": amount("ConsumedQuantity"),
        }
        | find_tags(columns, tags, ask, places)
        | {"aside": aside, "note": both_notes(note, doubt, tag_note(columns, ask, places))}
    )


def lacking(columns: Columns) -> tuple[str, ...]:
    """What a file lacks of the columns that it may lack, each with what that costs in answers."""
    names = _names(columns)
    tagged = "AllocatedTags" in names or own_columns(columns, _places(names))
    return tuple(
        f"{shown} ({cost})"
        for shown, cost in LACKS
        if not any(name in names for name in _stand_ins(shown.split()[0]))
        and not (shown == "Tags" and tagged)
    )


# ---------------------------------------------------------------- which column is meant


def _names(columns: Columns) -> dict[str, str]:
    """The file's own name of each FOCUS column that it has."""
    own: dict[str, str] = {}
    for name in sorted(columns):
        own.setdefault(re.sub("[ _]", "", name).lower(), name)
    found = {
        name: name if name in columns else own.get(name.replace("_", "").lower()) for name in KNOWN
    }
    return {name: column for name, column in found.items() if column}


def _stand_ins(name: str) -> tuple[str, ...]:
    return (name, *INSTEAD.get(name, ()))


def _places(names: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(names[name] for name in PLACES if name in names)


def _first(
    read: Callable[[Columns, str], str], columns: Columns, names: Mapping[str, str], name: str
) -> str:
    """SQL of a column, or of the first that stands in for it."""
    return coalesce([read(columns, names.get(one, one)) for one in _stand_ins(name)])


def require_columns(columns: Columns) -> None:
    """Raises SourceError where a column is missing without which there is no bill."""
    names = _names(columns)
    cost = next((n for n in ("EffectiveCost", "AmortizedCost", "BilledCost") if n in names), None)
    currency = next((n for n in _stand_ins("BillingCurrency") if n in names), "BillingCurrency")
    for name in ("ChargePeriodStart", currency, cost or "EffectiveCost"):
        require(columns, [names.get(name, name)], "FOCUS")


# ---------------------------------------------------------------- money


def _costs(
    columns: Columns, names: Mapping[str, str], amount: Callable[[str], str], ask: Ask
) -> tuple[dict[str, str], str]:
    """EffectiveCost and BilledCost, and a note where the one stands in for the other.

    It does in a file that has only one of them. A single row without one is set aside.
    """
    effective, billed = amount("EffectiveCost"), amount("BilledCost")
    written = _first(text, columns, names, "EffectiveCost")
    if "BilledCost" in names and not ask(f"SELECT 1 FROM raw WHERE {written} IS NOT NULL LIMIT 1"):
        return {"EffectiveCost": billed, "BilledCost": billed}, literal(STANDS_IN)
    costs = {"EffectiveCost": effective, "BilledCost": billed}
    return costs | ({} if "BilledCost" in names else {"BilledCost": effective}), NOTHING


# ---------------------------------------------------------------- kinds of charges


def _kinds(words: Callable[[str], str], amount: Callable[[str], str]) -> dict[str, str]:
    """Categories by the words of FOCUS 1.0; a correction without a quantity is no usage."""
    kind, sub, klass = (words(n) for n in ("ChargeCategory", "ChargeSubcategory", "ChargeClass"))
    quantity = amount("ConsumedQuantity")
    category = (
        f"CASE WHEN {kind} = 'Adjustment' AND {sub} = 'Credit' THEN 'Credit' "
        f"WHEN {kind} = 'Usage' AND {klass} = 'Correction' AND {quantity} IS NULL "
        f"THEN 'Adjustment' ELSE {kind} END"
    )
    return {
        "ChargeCategory": category,
        "PricingCategory": _renamed(words("PricingCategory"), PRICING),
        "CommitmentDiscountStatus": coalesce(
            [
                words("CommitmentDiscountStatus"),
                *([] if sub.startswith("NULL::") else [_renamed(sub, STATUS, keep=False)]),
            ]
        ),
    }


def _renamed(sql: str, words: Mapping[str, str], *, keep: bool = True) -> str:
    if sql.startswith("NULL::"):
        return sql
    cases = " ".join(f"WHEN {literal(old)} THEN {literal(new)}" for old, new in words.items())
    return f"CASE {sql} {cases} {f'ELSE {sql} ' if keep else ''}END"


COLUMNS = FileColumns(
    marks=("ChargePeriodStart", "ChargePeriodEnd", "EffectiveCost"),
    known=("BillingCurrency", "BilledCost", "BillingPeriodStart", "ChargeCategory", "ListCost"),
    what="a bill (FOCUS)",
)
FORMAT = bill_format(bill=Bill(require_columns, expressions, lacking), files=bill_files(COLUMNS))
