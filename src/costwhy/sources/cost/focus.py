"""FOCUS 1.0 to 1.2, as AWS Data Exports and other providers write it: Parquet, CSV, CSV.gz.

`expressions` says how DuckDB computes each column that the reduction needs from the file's own. In
real files a null may be the word NULL, a time may have no zone (it is UTC), and `Tags` is a map or
JSON text.
"""

from collections.abc import Mapping, Sequence

from costwhy.sources.cost.exports import bill_format
from costwhy.sources.cost.sql import coalesce, first_tag, number, require, tag_keys, text, time
from costwhy.sources.format import Bill, KeysIn
from costwhy.tables import DIMENSION_NAMES

REQUIRED = ("ChargePeriodStart", "BillingCurrency", "EffectiveCost")
_COMPUTED = {"service", "team", "budget_owner", "x_UsageType", "ConsumedUnit"}
TEXT = tuple(name for name in DIMENSION_NAMES if name not in _COMPUTED)
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
TAG_PREFIXES = ("", "user:", "resourceTags/user:")


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
    wanted = {name: [p + key for key in keys for p in TAG_PREFIXES] for name, keys in tags.items()}
    present = (
        keys_in(
            tag_keys(columns, "Tags"), sorted({name for group in wanted.values() for name in group})
        )
        if "Tags" in columns
        else set()
    )
    effective, billed = number(columns, "EffectiveCost"), number(columns, "BilledCost")
    usage_types = [text(columns, name) for name in ("x_UsageType", "SkuMeter", "SkuId")]
    units = [text(columns, name) for name in ("ConsumedUnit", "PricingUnit")]
    return (
        {name: text(columns, name) for name in TEXT}
        | {
            "x_UsageType": coalesce(usage_types),
            "ConsumedUnit": coalesce(units),
            "ResourceId": text(columns, "ResourceId"),
            "BillingCurrency": text(columns, "BillingCurrency"),
            "start": time(columns, "ChargePeriodStart"),
            "period": coalesce(
                [time(columns, name) for name in ("BillingPeriodStart", "ChargePeriodStart")]
            ),
            "EffectiveCost": effective,
            "BilledCost": billed if "BilledCost" in columns else effective,
            "ListCost": f"coalesce({number(columns, 'ListCost')}, 0)",
            "ConsumedQuantity": coalesce(
                [number(columns, name) for name in ("ConsumedQuantity", "PricingQuantity")]
            ),
        }
        | {
            name: first_tag(columns, "Tags", [key for key in keys if key in present])
            for name, keys in wanted.items()
        }
    )


def lacking(columns: Mapping[str, str]) -> tuple[str, ...]:
    """What a file lacks of the columns that it may lack, each with what that costs in answers."""
    absent = ((names, cost) for names, cost in LACKS if not any(name in columns for name in names))
    return tuple(f"{' or '.join(names)} ({cost})" for names, cost in absent)


FORMAT = bill_format(bill=Bill(expressions, lacking))
