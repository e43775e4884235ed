"""FOCUS 1.0 to 1.2, as AWS Data Exports and other providers write it: Parquet, CSV, CSV.gz.

`expressions` says how DuckDB computes each column that the reduction needs from the file's own. In
real files a null may be the word NULL, a time may have no zone (it is UTC), and `Tags` is a map or
JSON text.
"""

from collections.abc import Mapping, Sequence
from functools import partial

from costwhy.sources.cost.exports import bill_files, bill_format
from costwhy.sources.cost.sql import (
    coalesce,
    first_tag,
    month,
    number,
    require,
    tag_keys,
    text,
    time,
)
from costwhy.sources.files import Columns
from costwhy.sources.format import Bill, KeysIn
from costwhy.tables import DIMENSION_NAMES

REQUIRED = ("ChargePeriodStart", "BillingCurrency", "EffectiveCost")
TEXT = tuple(
    name
    for name in DIMENSION_NAMES
    if name not in {"service", "team", "budget_owner", "x_UsageType", "ConsumedUnit"}
)
# Columns of which one should be there, and what its absence costs in answers
LACKS = (
    (("BilledCost",), "the effective cost is shown as billed"),
    (
        ("ChargePeriodEnd",),
        "each charge counts in the hour in which it starts, however long it lasts",
    ),
    (("ServiceName",), "the provider's services are not told apart"),
    (("ChargeCategory",), "tax, credits and fees count as usage"),
    (("ConsumedQuantity", "PricingQuantity"), "a higher price is not told from more usage"),
    (("x_UsageType", "SkuMeter", "SkuId"), "kinds of usage are not told apart"),
    (("SubAccountId",), "accounts are not told apart"),
    (("Tags",), "no row names its service or its team"),
)


def expressions(
    columns: Mapping[str, str], tags: Mapping[str, Sequence[str]], keys_in: KeysIn
) -> dict[str, str]:
    """SQL for each column that the reduction needs.

    columns  the file's names and DuckDB types
    tags     the tag keys that name service, team and budget_owner
    keys_in  which keys occur at all: looking up a key in the map of every row is what costs

    Raises SourceError naming a required column that is missing.
    """
    require(columns, REQUIRED, "FOCUS")
    wanted = {
        name: [p + key for key in keys for p in ("", "user:", "resourceTags/user:")]
        for name, keys in tags.items()
    }
    every = sorted({name for names in wanted.values() for name in names})
    present = keys_in(tag_keys(columns, "Tags"), every) if "Tags" in columns else ()
    words, amount = partial(text, columns), partial(number, columns)
    own = {name: words(name) for name in (*TEXT, "ResourceId", "BillingCurrency")}
    computed = {
        "x_UsageType": coalesce([words("x_UsageType"), words("SkuMeter"), words("SkuId")]),
        "ConsumedUnit": coalesce([words("ConsumedUnit"), words("PricingUnit")]),
        "start": time(columns, "ChargePeriodStart"),
        "end": time(columns, "ChargePeriodEnd"),
        "period": coalesce(
            [month(columns, "BillingPeriodStart"), time(columns, "ChargePeriodStart")]
        ),
        "EffectiveCost": amount("EffectiveCost"),
        "BilledCost": amount("BilledCost" if "BilledCost" in columns else "EffectiveCost"),
        "ListCost": f"coalesce({amount('ListCost')}, 0)",
        "ConsumedQuantity": coalesce([amount("ConsumedQuantity"), amount("PricingQuantity")]),
    }
    first = {
        name: first_tag(columns, "Tags", [key for key in keys if key in present])
        for name, keys in wanted.items()
    }
    return own | computed | first


def lacking(columns: Mapping[str, str]) -> tuple[str, ...]:
    """What a file lacks of the columns that it may lack, each with what that costs in answers."""
    return tuple(
        f"{' or '.join(names)} ({cost})"
        for names, cost in LACKS
        if not any(name in columns for name in names)
    )


COLUMNS = Columns(
    marks=("ChargePeriodStart", "ChargePeriodEnd", "EffectiveCost"),
    known=("BillingCurrency", "BilledCost", "BillingPeriodStart", "ChargeCategory", "ListCost"),
    what="a bill (FOCUS)",
)
FORMAT = bill_format(bill=Bill(expressions, lacking), files=bill_files(COLUMNS))
