"""SQL that reads the columns of a billing file; `NULL::...` for absent ones."""

from collections.abc import Mapping, Sequence

from costwhy.errors import SourceError

MACHINE_NULLS = ("null", "none", "\\n")  # what programs write for nothing
WRITTEN_NULLS = ("n/a", "nan", "-")  # what people write; in a column of numbers it is told


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


def null_words(sql: str) -> str:
    r"""A text whose words for nothing are null: `NULL`, `None`, `\N`, `N/A`, `NaN`, `-`, blanks."""
    words = ", ".join(literal(word) for word in ("", *MACHINE_NULLS, *WRITTEN_NULLS))
    return (
        f"CASE WHEN (strlen({sql}) <= 4 OR starts_with({sql}, ' ')) "
        f"AND lower(trim({sql})) IN ({words}) THEN NULL ELSE {sql} END"
    )


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
