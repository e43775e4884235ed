"""A plain copy of a CSV file in any dialect, and what of it is no record."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from costwhy.sources.cost.dialect import Dialect
from costwhy.sources.cost.text_lines import MAX_LINE, TextLines

LONGEST = 200  # lines of a record: more means that a quote was never closed
SHOWN = 5  # lines of a reason that are kept
_SHOWN_CHARACTERS = 300


@dataclass
class Cut:
    """Records that cannot be told apart into fields, of one reason.

    lines: (number, beginning) of the first
    """

    count: int
    lines: list[tuple[int, str]]


@dataclass(frozen=True)
class Copy:
    """What was copied.

    rows     good records
    cut      by reason
    foreign  lines that were not UTF-8
    """

    rows: int
    cut: dict[str, Cut]
    foreign: int
    encoding: str


class _Feed:
    """Lines one after the other; those of a broken record can be given back."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines, self._back = iter(lines), list[str]()
        self.taken, self.number = list[str](), 0

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        if len(self.taken) >= LONGEST or sum(map(len, self.taken[-2:])) > MAX_LINE:
            raise csv.Error("a quote is not closed")
        line = self._back.pop() if self._back else next(self._lines)
        self.number += 1
        self.taken.append(line)
        return f"{line}\n"

    def give_back(self, kept: int) -> None:
        """All lines of the record but the first ones."""
        self._back += reversed(self.taken[kept:])
        self.number -= len(self.taken) - kept
        self.taken = self.taken[:kept]


def plain_copy(file: Path, dialect: Dialect, to: Path) -> Copy:
    """Writes the good records of a file as a plain CSV file without a header.

    Raises SourceError where the file cannot be read to its end.
    """
    source, cut = TextLines(file), dict[str, Cut]()
    with to.open("w", encoding="utf-8", errors="replace", newline="") as stream:
        writer, rows = csv.writer(stream, lineterminator="\n"), 0
        for row in _records(source, dialect, cut):
            writer.writerow(row)
            rows += 1
    return Copy(rows, cut, source.foreign, source.encoding)


def best_copy(file: Path, dialect: Dialect, to: Path) -> Copy:
    """The same; where lines are cut, quotes are tried in the other way too."""
    copy = plain_copy(file, dialect, to)
    if copy.cut:
        other = plain_copy(file, replace(dialect, doubled=not dialect.doubled), to)
        if _total(other) < _total(copy):
            return other
        copy = plain_copy(file, dialect, to)
    return copy


def _total(copy: Copy) -> int:
    return sum(one.count for one in copy.cut.values())


def _records(source: Iterable[str], dialect: Dialect, cut: dict[str, Cut]) -> Iterator[list[str]]:
    width = len(dialect.names)
    feed = _Feed(source if dialect.doubled else _kept_nulls(source, dialect))
    reader = dialect.reader(feed)
    for _ in range(dialect.line):
        next(feed)
    while True:
        feed.taken, row, broken = [], list[str](), ""
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            broken = str(error)
        if len(feed.taken) > 1 and (broken or _hides_records(feed.taken, dialect, width)):
            feed.give_back(1)
            broken = broken or "a quote is not closed"
        elif len(row) == width and not broken:
            yield [cell.strip() for cell in row] if dialect.spaced else row
            continue
        if row or broken:
            _set_aside(cut, _reason(row, width, broken), feed)


def _hides_records(lines: Sequence[str], dialect: Dialect, width: int) -> bool:
    """Whether lines that seem to be within quotes are whole records: the quote was left open."""
    for line in lines[1:]:
        try:
            if len(next(dialect.reader([line]), ())) == width:
                return True
        except csv.Error:
            continue
    return False


def _reason(row: Sequence[str], width: int, broken: str) -> str:
    if row and row[0].lstrip().startswith(("#", "//", "--")) and len(row) < width:
        return "the line is a comment"
    if broken:
        return "the line is no CSV: its quotes do not match"
    return (
        f"the line is cut: {len(row)} fields, the header has {width}"
        if (len(row) < width)
        else f"the line has {len(row)} fields, the header has {width}"
    )


def _set_aside(cut: dict[str, Cut], reason: str, feed: _Feed) -> None:
    one = cut.setdefault(reason, Cut(0, []))
    one.count += 1
    if len(one.lines) < SHOWN:
        number = feed.number - len(feed.taken) + 1
        one.lines.append((number, "\n".join(feed.taken)[:_SHOWN_CHARACTERS]))


def _kept_nulls(lines: Iterable[str], dialect: Dialect) -> Iterator[str]:
    r"""Lines in which `\N`, a null where backslashes escape, is the word NULL."""
    mark = re.escape(dialect.delimiter)
    null = re.compile(rf"(^|{mark})\\N(?={mark}|$)")
    for line in lines:
        yield null.sub(r"\1NULL", line) if "\\N" in line else line
