"""FOCUS 1.0 to 1.2, as AWS Data Exports and other providers write it: Parquet, CSV, CSV.gz.

`expressions` says for each column that the reduction needs how DuckDB computes it from the file's own columns. Real files
spell nulls as the word NULL, leave the zone off their times (they are UTC), and carry `Tags` as a map, or as JSON text.
"""

from collections.abc import Mapping, Sequence

from costwhy.errors import SourceError
from costwhy.tables import DIMENSION_NAMES

REQUIRED = ("ChargePeriodStart", "BillingCurrency", "EffectiveCost")
TEXT = tuple(name for name in DIMENSION_NAMES if name not in {"service", "team", "budget_owner", "x_UsageType", "ConsumedUnit"})
LACKS = (
    (("BilledCost",), "the effective cost is shown as billed"),
    (("ChargePeriodEnd",), "each charge counts in the hour in which it starts, however long it lasts"),
    (("ServiceName",), "the provider's services are not told apart"),
    (("ChargeCategory",), "tax, credits and fees count as usage"),
    (("ConsumedQuantity", "PricingQuantity"), "a higher price is not told from more usage"),
    (("x_UsageType", "SkuMeter", "SkuId"), "kinds of usage are not told apart"),
    (("SubAccountId",), "accounts are not told apart"),
    (("Tags",), "no row names its service or its team"),
)
"""Columns of which one should be there, and what its absence costs in answers."""
TAG_PREFIXES = ("", "user:", "resourceTags/user:")


def expressions(columns: Mapping[str, str], tags: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """SQL for each needed column. columns: the file's names and DuckDB types; tags: for service, team, budget_owner the tag keys that occur.

    Raises SourceError naming a required column that is missing.
    """
    require(columns, REQUIRED, "FOCUS")
    out = {name: text(columns, name) for name in TEXT}
    out |= {
        "x_UsageType": coalesce([text(columns, name) for name in ("x_UsageType", "SkuMeter", "SkuId")]),
        "ConsumedUnit": coalesce([text(columns, "ConsumedUnit"), text(columns, "PricingUnit")]),
        "ResourceId": text(columns, "ResourceId"),
        "BillingCurrency": text(columns, "BillingCurrency"),
        "start": time(columns, "ChargePeriodStart"),
        "period": coalesce([time(columns, "BillingPeriodStart"), time(columns, "ChargePeriodStart")]),
        "EffectiveCost": number(columns, "EffectiveCost"),
        "BilledCost": coalesce([number(columns, "BilledCost"), number(columns, "EffectiveCost")])
        if "BilledCost" not in columns
        else number(columns, "BilledCost"),
        "ListCost": f"coalesce({number(columns, 'ListCost')}, 0)",
        "ConsumedQuantity": coalesce([number(columns, "ConsumedQuantity"), number(columns, "PricingQuantity")]),
    }
    return out | {name: first_tag(columns, "Tags", keys) for name, keys in tags.items()}


def lacking(columns: Mapping[str, str]) -> tuple[str, ...]:
    """What a file lacks of the columns that it may lack, each with what that costs in answers."""
    return tuple(f"{' or '.join(names)} ({cost})" for names, cost in LACKS if not any(name in columns for name in names))


def require(columns: Mapping[str, str], names: Sequence[str], what: str) -> None:
    """Raises SourceError for the first of these columns that the file lacks."""
    missing = [name for name in names if name not in columns]
    if missing:
        shown = ", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")
        raise SourceError(
            f"column {missing[0]} is missing: this is no {what} file",
            found=shown,
            todo=f"export it with {missing[0]}, or name the right format in costwhy.toml",
        )


def quoted(name: str) -> str:
    """A column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text for SQL."""
    return "'" + value.replace("'", "''") + "'"


def coalesce(parts: Sequence[str]) -> str:
    """The first that is not null; parts that are always null are left out."""
    kept = [part for part in parts if not part.startswith("NULL::")]
    return parts[0] if not kept else kept[0] if len(kept) == 1 else f"coalesce({', '.join(kept)})"


def text(columns: Mapping[str, str], name: str) -> str:
    """A text column; the empty text and the word NULL are null."""
    if name not in columns:
        return "NULL::VARCHAR"
    value = quoted(name) if columns[name] == "VARCHAR" else f"CAST({quoted(name)} AS VARCHAR)"
    return f"nullif(nullif({value}, ''), 'NULL')"


def number(columns: Mapping[str, str], name: str) -> str:
    """A number as double; null where it is none. What cannot be read is told from what is absent by `unreadable`."""
    if name not in columns:
        return "NULL::DOUBLE"
    return (
        quoted(name)
        if columns[name] == "DOUBLE"
        else f"TRY_CAST({text(columns, name) if columns[name] == 'VARCHAR' else quoted(name)} AS DOUBLE)"
    )


def time(columns: Mapping[str, str], name: str) -> str:
    """A time in UTC, without zone; a time that has none is UTC."""
    if name not in columns:
        return "NULL::TIMESTAMP"
    kind, column = columns[name], quoted(name)
    if kind == "VARCHAR":
        zoned = f"regexp_matches({column}, '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$') AND contains({column}, ':')"
        return f"CASE WHEN {zoned} THEN timezone('UTC', TRY_CAST({column} AS TIMESTAMPTZ)) ELSE TRY_CAST({column} AS TIMESTAMP) END"
    return f"timezone('UTC', {column})" if "TIME ZONE" in kind else f"CAST({column} AS TIMESTAMP)"


def tag_keys(columns: Mapping[str, str], name: str) -> str:
    """SQL that lists the keys of a tag column: one list for each row."""
    if name not in columns:
        return "[]"
    return f"map_keys({quoted(name)})" if columns[name].startswith("MAP") else f"json_keys({as_json(columns, name)})"


def as_json(columns: Mapping[str, str], name: str) -> str:
    """A column of JSON text, or a struct, as JSON; null where it is none."""
    if columns[name] == "VARCHAR":
        return f"TRY_CAST({text(columns, name)} AS JSON)"
    return f"to_json({quoted(name)})"


def first_tag(columns: Mapping[str, str], name: str, keys: Sequence[str]) -> str:
    """The value of the first tag that is there and not empty."""
    if name not in columns or not keys:
        return "NULL::VARCHAR"
    if columns[name].startswith("MAP"):
        return coalesce([f"nullif({quoted(name)}[{literal(key)}], '')" for key in keys])
    pointer = [key.replace("~", "~0").replace("/", "~1") for key in keys]
    return coalesce([f"nullif(json_extract_string({as_json(columns, name)}, {literal('/' + key)}), '')" for key in pointer])
