"""SQL that reads the columns of a billing file; `NULL::...` for absent ones."""

from collections.abc import Mapping, Sequence

from costwhy.errors import SourceError


def require(columns: Mapping[str, str], names: Sequence[str], what: str) -> None:
    """Raises SourceError for the first of these columns that the file lacks."""
    missing = [name for name in names if name not in columns]
    if missing:
        raise SourceError(
            f"column {missing[0]} is missing: this is no {what} file",
            found=(", ".join(list(columns)[:12]) + (", ..." if len(columns) > 12 else "")),
            fix=f"export it with {missing[0]}, or name the right format in costwhy.toml",
        )


def quoted(name: str) -> str:
    """A column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text for SQL."""
    return "'" + value.replace("'", "''") + "'"


def coalesce(parts: Sequence[str]) -> str:
    """The first that is not null; parts that are always null are left out."""
    kept = [part for part in parts if not part.startswith("NULL::")] or [parts[0]]
    return kept[0] if len(kept) == 1 else f"coalesce({', '.join(kept)})"


def text(columns: Mapping[str, str], name: str) -> str:
    """A text column; the empty text and the word NULL are null."""
    if name not in columns:
        return "NULL::VARCHAR"
    value = quoted(name) if columns[name] == "VARCHAR" else f"CAST({quoted(name)} AS VARCHAR)"
    return f"nullif(nullif({value}, ''), 'NULL')"


def number(columns: Mapping[str, str], name: str) -> str:
    """A number as double; null where it is none."""
    if name not in columns:
        return "NULL::DOUBLE"
    if columns[name] == "DOUBLE":
        return quoted(name)
    value = text(columns, name) if columns[name] == "VARCHAR" else quoted(name)
    return f"TRY_CAST({value} AS DOUBLE)"


def time(columns: Mapping[str, str], name: str) -> str:
    """A time in UTC, without zone; a time that has none is UTC."""
    if name not in columns:
        return "NULL::TIMESTAMP"
    kind, column = columns[name], quoted(name)
    if kind == "VARCHAR":
        zone = f"regexp_matches({column}, '(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
        in_utc = f"timezone('UTC', TRY_CAST({column} AS TIMESTAMPTZ))"
        return (
            f"CASE WHEN {zone} AND contains({column}, ':') THEN {in_utc} "
            f"ELSE TRY_CAST({column} AS TIMESTAMP) END"
        )
    return f"timezone('UTC', {column})" if "TIME ZONE" in kind else f"CAST({column} AS TIMESTAMP)"


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
