"""SQL that reads the columns of a billing file; `NULL::...` for absent ones."""

import re
from collections.abc import Mapping, Sequence

from costwhy.errors import SourceError
from costwhy.sources.cost.columns import ask, literal, quoted, spelling_of
from costwhy.sources.cost.spelling import odd_number, odd_time, odd_wall

__all__ = [
    "as_json", "coalesce", "first_tag", "is_written", "literal", "month", "null_words", "number",
    "quoted", "require", "tag_keys", "text", "time",
]  # fmt: skip
MACHINE_NULLS = ("", "null", "none", "\\n")  # what programs write for nothing, in any case
# The same as usually written, and what people write: in a column of numbers that is told
NULLS = (
    "", "null", "NULL", "Null", "none", "None", "NONE", "\\N", "\\n",
    "n/a", "N/A", "nan", "NaN", "NAN", "-",
)  # fmt: skip
_EXACT = re.compile(r"DECIMAL|U?(HUGE|BIG|SMALL|TINY)?INT(EGER)?$")  # types of whole or fixed point
_OFFSET = r":.*[+-][0-9]{2}(:?[0-9]{2})?$"
_NO_ZONE = r"^[0-9]{4}[-/][0-9]+[-/][0-9]+([T ][0-9:.]*)?$"


def require(columns: Mapping[str, str], names: Sequence[str], what: str) -> None:
    """Raises SourceError for the first of these columns that the file lacks."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise SourceError(
            f"column {missing[0]} is missing: this is no {what} file",
            found=(", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")),
            fix=f"export it with {missing[0]}, or name the right format in costwhy.toml",
        )


def coalesce(parts: Sequence[str]) -> str:
    """The first that is not null; parts that are always null are left out."""
    kept = [part for part in parts if not part.startswith("NULL::")] or [parts[0]]
    return kept[0] if len(kept) == 1 else f"coalesce({', '.join(kept)})"


def null_words(sql: str) -> str:
    """A text whose words for nothing (`NULL`, `None`, `N/A`, `NaN`, `-`, blanks) are null."""
    usual, any_case = (
        ", ".join(map(literal, words)) for words in (NULLS, {word.lower() for word in NULLS})
    )
    return (
        f"CASE WHEN strlen({sql}) <= 4 AND {sql} IN ({usual}) THEN NULL "
        f"WHEN {sql} < '!' AND lower(trim({sql})) IN ({any_case}) THEN NULL ELSE {sql} END"
    )


def text(columns: Mapping[str, str], name: str) -> str:
    """A text column; a word for nothing is null."""
    if name not in columns:
        return "NULL::VARCHAR"
    return null_words(_as_text(columns, name))


def number(columns: Mapping[str, str], name: str) -> str:
    """A number as double; null where it is none, or not finite."""
    if name not in columns:
        return "NULL::DOUBLE"
    ask(columns, "numbers", name)
    kind, value = columns[name], quoted(name)
    if kind in {"DOUBLE", "FLOAT"}:
        return f"CASE WHEN isfinite({value}) THEN CAST({value} AS DOUBLE) END"
    if _EXACT.match(kind):
        return f"CAST({value} AS DOUBLE)"
    spelling = spelling_of(columns)
    if spelling:
        return odd_number(_as_text(columns, name), name in spelling.decimal_comma)
    parsed = f"TRY_CAST({_as_text(columns, name)} AS DOUBLE)"
    return f"CASE WHEN isfinite({parsed}) THEN {parsed} END"


def is_written(columns: Mapping[str, str], name: str) -> str:
    """Whether a row has something in a column of numbers or times, be it readable or not."""
    value = quoted(name)
    if columns[name] != "VARCHAR":
        return f"{value} IS NOT NULL"
    nothing = ", ".join(map(literal, MACHINE_NULLS))
    return f"({value} <> '' AND lower(trim({value})) NOT IN ({nothing}))"


def time(columns: Mapping[str, str], name: str) -> str:
    """A time in UTC, without zone; a time that has none is UTC."""
    if name not in columns:
        return "NULL::TIMESTAMP"
    ask(columns, "times", name)
    kind, value = columns[name], _as_text(columns, name)
    if kind.startswith(("TIMESTAMP", "DATE")):
        column = quoted(name)
        return f"timezone('UTC', {column})" if "ZONE" in kind else f"CAST({column} AS TIMESTAMP)"
    spelling = spelling_of(columns)
    if spelling or kind != "VARCHAR":
        return odd_time(value, spelling.day_first if spelling else None)
    wall = f"TRY_CAST({value} AS TIMESTAMP)"
    return (
        f"CASE WHEN ends_with({value}, 'Z') THEN {wall} "
        f"WHEN regexp_matches({value}, '{_OFFSET}') "
        f"THEN timezone('UTC', TRY_CAST({value} AS TIMESTAMPTZ)) "
        f"WHEN regexp_matches({value}, '{_NO_ZONE}') THEN {wall} END"
    )


def month(columns: Mapping[str, str], name: str) -> str:
    """The month that begins at a time, as its own zone writes it.

    A provider's first of the month, in whatever zone, is from 10:00 UTC of the day before to
    14:00 UTC of the day.
    """
    if name not in columns:
        return "NULL::TIMESTAMP"
    wall, spelling = time(columns, name), spelling_of(columns)
    if spelling or not columns[name].startswith(("VARCHAR", "TIMESTAMP", "DATE")):
        wall = odd_wall(_as_text(columns, name), spelling.day_first if spelling else None)
    elif columns[name] == "VARCHAR":
        wall = f"CASE WHEN {wall} IS NOT NULL THEN TRY_CAST({quoted(name)} AS TIMESTAMP) END"
    return f"date_trunc('month', {wall} + INTERVAL 14 HOUR)"


def _as_text(columns: Mapping[str, str], name: str) -> str:
    return quoted(name) if columns[name] == "VARCHAR" else f"CAST({quoted(name)} AS VARCHAR)"


def tag_keys(columns: Mapping[str, str], name: str) -> str:
    """SQL that lists the keys of a tag column: one list for each row."""
    return (
        f"map_keys({quoted(name)})"
        if columns[name].startswith("MAP")
        else f"json_keys({as_json(columns, name)})"
    )


def as_json(columns: Mapping[str, str], name: str) -> str:
    """A column of JSON text, or a struct, as JSON; null where it is none."""
    return (
        f"TRY_CAST({text(columns, name)} AS JSON)"
        if columns[name] == "VARCHAR"
        else f"to_json({quoted(name)})"
    )


def first_tag(columns: Mapping[str, str], name: str, keys: Sequence[str]) -> str:
    """The value of the first tag that is there and not empty."""
    if name not in columns or not keys:
        return "NULL::VARCHAR"
    if columns[name].startswith("MAP"):
        return coalesce([f"nullif({quoted(name)}[{literal(key)}], '')" for key in keys])
    pointers = [literal("/" + key.replace("~", "~0").replace("/", "~1")) for key in keys]
    values = (f"json_extract_string({as_json(columns, name)}, {pointer})" for pointer in pointers)
    return coalesce([f"nullif({value}, '')" for value in values])
