"""How a CSV file is written: delimiter, quotes, and the line of its header.

The header is the first line that has the columns which the format needs; titles may stand above it.
A file in UTF-8 with RFC 4180 quotes and its header in the first line is *plain*: DuckDB reads it as
it is. Of any other, `plain_copy.py` makes a plain copy.
"""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from costwhy.errors import SourceError
from costwhy.sources.cost.text_lines import MAX_LINE, TextLines

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 200  # lines: in these the header must be
_LEAST = 3  # fields of a header
# The names of a header, as SQL has them; raises SourceError naming a column that is missing
AsHeader = Callable[[Sequence[str]], tuple[str, ...]]


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    header   its cells, as they are
    names    of its columns, for SQL: each once
    line     of the header, from 1
    doubled  a quote inside quotes is doubled; else a backslash stands before it
    spaced   blanks stand around the fields
    is_utf8  its first lines are
    """

    delimiter: str = ","
    quote: str = '"'
    header: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    line: int = 1
    doubled: bool = True
    spaced: bool = False
    is_utf8: bool = True

    @cached_property
    def is_plain(self) -> bool:
        """Whether DuckDB reads it as it is."""
        rules = self.quote == '"' and self.doubled and not self.spaced
        return rules and self.line == 1 and self.is_utf8

    @property
    def repeated(self) -> tuple[str, ...]:
        """Names that stand twice in the header: the first column of that name counts."""
        counts = Counter(name.strip().casefold() for name in self.header if name.strip())
        return tuple(name for name in self.header if counts[name.strip().casefold()] > 1)

    def reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """The records of lines; raises csv.Error at a broken one, and goes on after it."""
        csv.field_size_limit(MAX_LINE)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=None if self.doubled else "\\",
            skipinitialspace=self.spaced,
            strict=True,
        )


def find_dialect(file: Path, as_header: AsHeader) -> Dialect:
    """How a file is written, by its first lines.

    Raises SourceError where no line has the columns that are needed, or the file cannot be read.
    """
    source = TextLines(file)
    lines = list(islice(source, SAMPLE))
    if not any(line.strip() for line in lines):
        raise SourceError(f"{file.name} is empty", fix="deliver the file again")
    found = [
        one
        for delimiter in DELIMITERS
        for quote in ('"', "'")
        if (one := _with_header(Dialect(delimiter, quote), lines, as_header))
    ]
    if not found:
        as_header(_widest(lines))
        raise SourceError(f"{file.name} has no line that names its columns")
    best = min(found, key=lambda one: one.line)
    best = replace(best, is_utf8=source.encoding == "utf-8" and not source.foreign)
    escaped = replace(best, doubled=False)
    if _broken(escaped, lines) < _broken(best, lines):
        best = escaped
    return _with_width(best, lines)


def _with_header(dialect: Dialect, lines: Sequence[str], as_header: AsHeader) -> Dialect | None:
    for number, line in enumerate(lines, start=1):
        cells = next(_good(dialect, [line]), [])
        if len(cells) < _LEAST:
            continue
        try:
            names = as_header([cell.strip() for cell in cells])
        except SourceError:
            continue
        spaced = any(cell.startswith(" ") for cell in cells)
        return replace(dialect, header=tuple(cells), names=_once(names), line=number, spaced=spaced)
    return None


def _once(names: Sequence[str]) -> tuple[str, ...]:
    """Names of their own for all columns: SQL does not tell `Tags` from `tags`."""
    taken, own = set[str](), list[str]()
    for number, name in enumerate(names, start=1):
        free = name or f"column_{number}"
        while free.casefold() in taken:
            free += "_"
        taken.add(free.casefold())
        own.append(free)
    return tuple(own)


def _good(dialect: Dialect, lines: Iterable[str]) -> Iterator[list[str]]:
    """The records that can be read; a broken one is an empty list."""
    reader = dialect.reader(lines)
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield []


def _widths(dialect: Dialect, lines: Sequence[str]) -> Counter[int]:
    return Counter(map(len, _good(dialect, (f"{line}\n" for line in lines[dialect.line :]))))


def _broken(dialect: Dialect, lines: Sequence[str]) -> int:
    """How many records of the first lines have another number of fields than the header."""
    widths = _widths(dialect, lines)
    return widths.total() - widths[len(dialect.names)]


def _with_width(dialect: Dialect, lines: Sequence[str]) -> Dialect:
    """A delimiter at the end of all records, or of the header alone, is no column."""
    width = len(dialect.names)
    usual = max(_widths(dialect, lines).items(), key=lambda one: one[1], default=(width, 0))[0]
    if usual == width + 1:
        return replace(dialect, names=_once([*dialect.names, ""]))
    if usual == width - 1 and not dialect.header[-1].strip():
        return replace(dialect, names=dialect.names[:-1])
    return dialect


def _widest(lines: Sequence[str]) -> list[str]:
    """The cells of the line that is most likely meant as the header."""
    rows = (row for d in DELIMITERS for row in _good(Dialect(d), lines[:20]))
    return [cell.strip() for cell in max(rows, key=len)]
