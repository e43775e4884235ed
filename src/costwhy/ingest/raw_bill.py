"""A billing file as the view `raw` of a DuckDB connection, in whatever dialect it is written."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb
import polars as pl

from costwhy.errors import SourceError
from costwhy.ingest.duck import Connection
from costwhy.ingest.map_keys import write_map_keys
from costwhy.sources import packed
from costwhy.sources.cost.columns import Columns, literal, quoted
from costwhy.sources.cost.dialect import Dialect, find_dialect
from costwhy.sources.cost.plain_copy import Copy, best_copy
from costwhy.sources.cost.text_lines import TextLines
from costwhy.sources.format import Bill
from costwhy.tables import SET_ASIDE
from costwhy.text import one_line

Tags = Mapping[str, Sequence[str]]
_CHECKED = "store_rejects=true"  # of a file as it is, of which DuckDB may leave lines out
_READ_CSV = (
    "header=false, auto_detect=false, quote='\"', escape='\"', "
    "hive_partitioning=false, max_line_size=8388608"
)
ROW = "file_row_number"  # DuckDB's word
# What DuckDB says of a file that cannot be read, what it means, and what to do
_MEANINGS = (
    ("encrypt", "is encrypted", "export it without encryption"),
    ("memory", "needs more memory than a file may take", "export it in smaller files"),
)


@dataclass(frozen=True)
class RawBill:
    """What the view `raw` holds.

    kinds  names and DuckDB types of its columns
    is_original  a CSV file, of which DuckDB may leave lines out
    empty  SQL: whether a row is none (all its fields are empty, or repeat the header)
    aside  rows of `set_aside` of what is no record
    notes  what whoever runs ingest should know
    numbered  a view with the number of each row besides, `file_row_number`; empty: there is none
    """

    file: Path
    kinds: Columns
    is_csv: bool = False
    is_original: bool = False
    empty: str = "false"
    aside: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()
    numbered: str = ""

    def place(self, value: str) -> str:
        """The file, and the first line of it that has a value."""
        if not self.is_csv:
            return self.file.name
        lines = enumerate(TextLines(self.file), start=1)
        return next((f"{self.file.name}, line {n}" for n, t in lines if value in t), self.file.name)


@contextmanager
def explained(file: Path) -> Iterator[None]:
    """Raises SourceError in place of what DuckDB says of a file that cannot be read."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        found = one_line((str(error).splitlines() or [type(error).__name__])[0], 300)
        for word, meaning, fix in _MEANINGS:
            if word in found.lower():
                raise SourceError(f"{file.name} {meaning}", found=found, fix=fix) from error
        raise SourceError(
            f"{file.name} cannot be read: it is damaged, cut off, or of another kind",
            found=found,
            fix="check the file, and deliver it whole; the rest of the lake is as before",
        ) from error


def open_raw(connection: Connection, file: Path, bill: Bill, spool: Path) -> Iterator[RawBill]:
    """Ways to read a file: as it is, where it is plain, then by a plain copy in `spool`.

    The second is for files of which the first does not read each record.

    Raises SourceError where the file is none that the format can read.
    """
    content = packed.look(file)
    if "parquet" in content.kind.lower():
        yield _parquet(connection, file, packed.put(file, spool))
        return
    if file.suffix.lower() == ".parquet" and content.kind != "text":
        raise SourceError(
            f"{file.name} is no Parquet file, or its beginning is missing",
            found=content.problem or f"its first bytes are {content.head[:4]!r}",
            fix="deliver it whole, or give it the ending of what it is",
        )
    dialect = find_dialect(file, partial(_as_header, bill))
    if dialect.is_plain:
        how = f"delim={literal(dialect.delimiter)}, skip=1, {_CHECKED}"
        yield _csv(connection, file, packed.put(file, spool), dialect, how)
    to = spool / "plain.csv"
    copy = best_copy(file, dialect, to)
    raw = _csv(connection, file, to, dialect, "delim=','")
    yield _with_copy(raw, copy)


def text_columns(file: Path, bill: Bill) -> Columns | None:
    """The columns of a text file, from its first lines; of Parquet null.

    Raises SourceError where the file is none that the format can read.
    """
    if "parquet" in packed.look(file).kind.lower():
        return None
    names = find_dialect(file, partial(_as_header, bill)).names
    return Columns((name, "VARCHAR") for name in names)


def _as_header(bill: Bill, cells: Sequence[str]) -> tuple[str, ...]:
    """The cells, where they are the format's columns; else raises SourceError."""
    bill.require(Columns((name, "VARCHAR") for name in cells))
    return tuple(cells)


def _parquet(connection: Connection, file: Path, real: Path) -> RawBill:
    how = f"{_path(real)}, hive_partitioning=false, binary_as_string=true"
    described = connection.execute(f"DESCRIBE FROM read_parquet({how})").fetchall()
    stripped = [(str(name).strip(), str(kind)) for name, kind, *_ in described]
    names = ", ".join(
        f"{quoted(row[0])} AS {quoted(name)}"
        for (name, _), row in zip(stripped, described, strict=True)
    )
    view = "CREATE OR REPLACE TEMP VIEW"
    connection.execute(f"{view} raw AS SELECT {names} FROM read_parquet({how})")
    write_map_keys(connection, real, dict(stripped))
    if ROW in map(str.lower, dict(stripped)):
        return RawBill(file, Columns(stripped))
    more = f"{names}, {ROW} FROM read_parquet({how}, {ROW}=true)"
    connection.execute(f"{view} numbered AS SELECT {more}")
    return RawBill(file, Columns(stripped), numbered="numbered")


def _csv(connection: Connection, file: Path, read: Path, dialect: Dialect, how: str) -> RawBill:
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in dialect.names)
    connection.execute(
        "CREATE OR REPLACE TEMP VIEW raw AS SELECT * FROM read_csv("
        f"{_path(read)}, columns={{{columns}}}, {how}, {_READ_CSV})"
    )
    cells = [*zip(dialect.names, dialect.header, strict=False)]
    blank = ", ".join(f"nullif(trim({quoted(name)}), '')" for name in dialect.names)
    header = " AND ".join(f"coalesce({quoted(name)}, '') = {literal(cell)}" for name, cell in cells)
    notes = tuple(
        f"{file.name} has the column {name} more than once: the first counts"
        for name in dict.fromkeys(dialect.repeated)
    )
    kinds = Columns((name, "VARCHAR") for name in dialect.names)
    return RawBill(
        file, kinds, True, _CHECKED in how, f"(coalesce({blank}) IS NULL OR {header})", notes=notes
    )


def _path(file: Path) -> str:
    """SQL of a file's name, of which no character is a pattern."""
    return literal(re.sub(r"([\[*?])", r"[\1]", str(file)))


def _with_copy(raw: RawBill, copy: Copy) -> RawBill:
    notes = [*raw.notes]
    if copy.foreign:
        notes.append(
            f"{raw.file.name} is not UTF-8: {copy.foreign} lines were read as Windows-1252"
        )
    comments = copy.cut.pop("the line is a comment", None)
    if comments:
        notes.append(f"{raw.file.name} has {comments.count} lines of comments: they are left out")
    aside = [
        {
            "place": f"line {', '.join(str(number) for number, _ in one.lines)}"
            + (" and others" if one.count > len(one.lines) else ""),
            "reason": reason,
            "record": " | ".join(text for _, text in one.lines),
            "records": one.count,
        }
        for reason, one in sorted(copy.cut.items())
    ]
    frame = pl.DataFrame(aside, schema=SET_ASIDE.schema)
    return replace(raw, aside=frame, notes=tuple(notes))
