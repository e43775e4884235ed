"""Delimited text in the dialects in which people have it, for changes and signals.

The header is the first line that has the needed columns, under a comma, semicolon, tab or bar; its
names may be in capitals. Quotes within quotes are doubled, or escaped by a backslash.
"""

import csv
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from costwhy.errors import SourceError
from costwhy.sources import records

BEYOND = "costwhy beyond"  # What a line has beyond the last column
SHOWN_COLUMNS = 20
_DELIMITERS = ",;\t|"
_TITLES = 20  # Lines among which the header is looked for
_BACKSLASHED = re.compile(r'\\"[^",;\t|\s]')
# What stands for nothing, in small letters
NULLS = frozenset({"", "null", "(null)", "<null>", "\\n", "none", "nil", "nan", "n/a", "#n/a", "-"})


@dataclass(frozen=True)
class Header:
    """Where the header is, and its columns.

    line       the number of lines before it
    columns    their names, in small letters, with _ for spaces
    delimiter  between two fields
    """

    line: int
    columns: tuple[str, ...]
    delimiter: str


def find_header(head: str, needed: Sequence[str]) -> Header:
    """The header of a text that begins so. Raises SourceError where no line has `needed`.

    Where nothing is needed it is the first line, under the delimiter that makes most columns.
    """
    lines = head.split("\n")[:_TITLES]
    seen = [
        Header(number, _names(line, delimiter), delimiter)
        for number, line in enumerate(lines)
        for delimiter in _DELIMITERS
        if line.strip()
    ]
    for header in seen:
        if needed and set(needed) <= set(header.columns):
            return header
    if not seen:
        seen = [Header(0, (), ",")]
    if not needed:
        return max((one for one in seen if one.line == seen[0].line), key=lambda h: len(h.columns))
    likest = max(seen, key=lambda header: len({*needed} & {*header.columns}))
    require_columns(dict.fromkeys(likest.columns, pl.String()), needed)
    raise SourceError("the file has no columns")


def _names(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        fields = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return ()
    return plain_names(fields)


def plain_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of columns as costwhy writes them: `Change ID` is `change_id`.

    A name that another column has stays as it was.
    """
    plain: list[str] = []
    for name in names:
        small = re.sub(r"[\s-]+", "_", name.strip().lower())
        plain.append(name if small in plain or (small != name and small in names) else small)
    return tuple(plain)


def require_columns(schema: Mapping[str, pl.DataType], needed: Collection[str]) -> None:
    """Raises SourceError where a table lacks a column, or its column `time` has no zone."""
    for name in needed:
        if name not in schema:
            raise SourceError(
                f"the file has no column {name!r}; "
                f"its columns are {', '.join(list(schema)[:SHOWN_COLUMNS])}"
            )
    time = schema.get("time")
    if time == pl.Datetime and not getattr(time, "time_zone", None):
        raise SourceError("its times have no zone: write `time` as a timestamp in UTC")


def read_rows(file: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Place (`line 7`) and fields of each row; what a line has too much is under BEYOND.

    Raises SourceError where the file has no such columns, or cannot be read further.
    """
    text = records.read_text(file)
    header = find_header(text[: 2**16], needed)
    rest = text.split("\n", header.line)[header.line]
    is_backslashed = _BACKSLASHED.search(rest) is not None
    rows = csv.reader(
        io.StringIO(rest, newline=""),
        delimiter=header.delimiter,
        escapechar="\\" if is_backslashed else None,
    )
    try:
        for number, fields in enumerate(rows):
            if number and fields:
                row = dict(zip(header.columns, fields, strict=False))
                more = {BEYOND: ""} if len(fields) > len(header.columns) else {}
                yield f"line {header.line + rows.line_num}", {**row, **more}
    except csv.Error as error:
        raise SourceError(f"the file cannot be read further: {error}") from error


def is_null(value: object) -> bool:
    """Whether a field says nothing: it is absent, empty, or `null`, `N/A`, `-` and the like."""
    return value is None or (isinstance(value, str) and value.strip().lower() in NULLS)
