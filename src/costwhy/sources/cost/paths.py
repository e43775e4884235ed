"""What the path of a billing file says: its period, its run, and which files are one edition.

An *edition* is what one run wrote, in one file or in several parts. Editions of one *family* differ
only in the date or number of their run: the newer may replace the older. Times of modification say
nothing: a copy, an archive or a checkout sets them anew.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from costwhy.sources.packed import ARCHIVES

_MONTH = r"(20\d\d)-?(0[1-9]|1[0-2])"
_DAY = r"(0[1-9]|[12]\d|3[01])"
# The names of folders that say which period lies below them, wherever they stand
_NAMED = re.compile(
    rf"(?:(?:bill_|invoice_|usage_)?(?:(?:billing|report)[_-]?)?(?:period|month)(?:_start(?:_date)?)?)"
    rf"={_MONTH}(?:-?01)?(?:[T ].*)?",
    re.IGNORECASE,
)
_RANGE = re.compile(rf"{_MONTH}-?{_DAY}[-_]{_MONTH}-?{_DAY}")
_BARE = re.compile(_MONTH)  # below the root of the source only
_YEAR = re.compile(r"(?:year=)?(20\d\d)", re.IGNORECASE)
_OF_YEAR = re.compile(r"(?:month=)?(0?[1-9]|1[0-2])", re.IGNORECASE)
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DATE = re.compile(
    rf"(?<!\d){_MONTH}(?:-?{_DAY}"
    r"(?:[T_ ]?([01]\d|2[0-3])[-:.]?([0-5]\d)(?:[-:.]?([0-5]\d))?(?:\.\d+)?"
    r"|-([01]\d|2[0-3])[-:.]([0-5]\d)(?:[-:.]([0-5]\d))?|T([01]\d|2[0-3]))?)?Z?(?!\d)",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"(?<![a-z])(?:v|ver|version|run|rev|revision|exec|execution|attempt|snapshot|job)[-_ =.]?(\d+)"
    r"|^(\d{1,3})$",  # a longer one may be a year or an account
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<!\d)(0[1-9]|[12]\d|3[01])\.(0[1-9]|1[0-2])\.(20\d\d)(?!\d)")
_COPY = re.compile(
    r"^(?:copy|kopie|copie) (?:\(\d+\) )?(?:of|von|de) "
    r"|[ _-]*(?:\(\d+\)|(?<![a-z])(?:copy|kopie|copie)(?:[ _-]?\(?\d+\)?)?)$",
    re.IGNORECASE,
)
_PART = re.compile(
    r"(?<![a-z0-9])((?:part|chunk|split|slice|piece|shard|teil)[-_ .]?)\d+(?:[-_]\d+)*"
    r"|(?<=[-_.])(?:0\d{4,})(?=$|[-_.])|(?<=[-_ .(])\d+[-_ ]?of[-_ ]?\d+",
    re.IGNORECASE,
)
_ANY_PART = re.compile(_PART.pattern + r"|(?<![0-9a-z])\d+(?![0-9a-z])", re.IGNORECASE)
_ENDINGS = re.compile(
    r"(?:\.(?:csv|tsv|txt|parquet|snappy|c000|gz|gzip|bz2|xz|zst|zstd|lz4|zip|tar|tgz))+$",
    re.IGNORECASE,
)
Stamp = tuple[str, int]  # when a run was (ISO 8601, UTC; empty: not known), and its number


@dataclass(frozen=True)
class Period:
    """The folder of a period: `first` to `last` day, and where it stands among a path's parts."""

    first: date
    last: date
    start: int
    end: int

    @property
    def month(self) -> str:
        """The month in which it begins."""
        return f"{self.first:%Y-%m}"


def find_period(file: Path, root: Path) -> Period | None:
    """The innermost folder of a period above a file; null: its path names none.

    root: of the source. A folder that is called `2026-10` is a period below it, not above.
    """
    parts, below = file.parts[:-1], len(root.parts) if file.is_relative_to(root) else 0
    for k in range(len(parts) - 1, -1, -1):
        found = _named(parts[k], (_NAMED, _BARE) if k >= below else (_NAMED,))
        if found:
            return Period(*found, k, k + 1)
        year = _YEAR.fullmatch(parts[k - 1]) if k > below else None
        if year and (of_year := _OF_YEAR.fullmatch(parts[k])):
            return Period(*_month(int(year[1]), int(of_year[1])), k - 1, k + 1)
    return None


def _named(part: str, months: tuple[re.Pattern[str], ...]) -> tuple[date, date] | None:
    if found := next((found for month in months if (found := month.fullmatch(part))), None):
        return _month(int(found[1]), int(found[2]))
    if found := _RANGE.fullmatch(part):
        numbers = [int(text) for text in found.groups()]
        try:
            return date(*numbers[:3]), date(*numbers[3:])
        except ValueError:
            return None
    return None


def _month(year: int, month: int) -> tuple[date, date]:
    return date(year, month, 1), date(year, month, monthrange(year, month)[1])


def export_of(file: Path, period: Period) -> tuple[str, ...]:
    """The folders above the period: the export. `data` and `metadata` lie side by side in it."""
    return tuple(part for part in file.parts[: period.start] if part not in {"data", "metadata"})


def run_of(file: Path, period: Period) -> tuple[str, ...]:
    """The folders between the period and the file that a run made; those of a column are none."""
    return tuple(part for part in file.parts[period.end : -1] if not _is_column(part))


def _is_column(part: str) -> bool:
    return "=" in part and stamp_of_text(part) == ("", 0)


def stamp_of_text(text: str) -> Stamp:
    """The last date with what it has of a time, and the last number of a run."""
    text = _GUID.sub("", _iso(text))
    found, number = [*_DATE.finditer(text)], [*_NUMBER.finditer(text)]
    moment = ""
    if found:
        year, month, day, *clock = (group or "" for group in found[-1].groups())
        given = [group for group in clock if group]
        moment = f"{year}-{month}" + (f"-{day}" if day else "")
        moment += f"T{':'.join([*given, '00', '00'][:3])}" if given else ""
    return moment, int((number[-1][1] or number[-1][2])[:18]) if number and not found else 0


def stamp_of(file: Path, root: Path) -> Stamp:
    """All dates in the folders below the period, or below the root, and in the name; a number.

    Outermost first: `2026-10-05 2026-09-30` is a folder of October with a file of September. Names
    of periods are no dates of runs.
    """
    period = find_period(file, root)
    below = period.end if period else len(root.parts) if file.is_relative_to(root) else 0
    parts = (*file.parts[below:-1], _ENDINGS.sub("", file.name))
    stamps = [stamp_of_text(_COPY.sub("", part)) for part in parts]
    moments, numbers = ([one[k] for one in stamps if one[k]] for k in (0, 1))
    return " ".join(map(str, moments)), int(next(iter(numbers), 0))


def _iso(text: str) -> str:
    """The same with a date like 20.09.2026 as 2026-09-20."""
    return _DOTTED.sub(r"\3-\2-\1", text)


def is_copy(file: Path) -> bool:
    """Whether its name says that it is a copy: `bill (1).csv`, `bill - Copy.csv`."""
    return bool(_COPY.search(_ENDINGS.sub("", file.name)))


def edition_of(file: Path, root: Path) -> str:
    """The same for files that one run wrote as its parts: their rows are never compared.

    `acme-00001.csv.gz` and `acme-00002.csv.gz` in one folder; below the folder of a period any
    number counts as a part's, elsewhere only one that says so: `part-3`, `2of5`, `-00003`. Parts
    may be packed each by itself: `acme-1.csv.zip/acme-1.csv`.
    """
    part = _parts_of(file, root)
    packed = (_unnumbered(n, part) if _is_archive(n) else n for n in file.parts[:-1])
    return "/".join([*packed, _unnumbered(file.name, part)])


def says_part(file: Path) -> bool:
    """Whether its name says that it is a part: `part-3`, `2of5`, `-00003`; a bare `3` does not."""
    return bool(_PART.search(_ENDINGS.sub("", file.name)))


def is_run_id(part: str) -> bool:
    """Whether the name of a folder has the id of a run, as those of AWS and Azure have."""
    return bool(_GUID.search(part))


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _unnumbered(name: str, part: re.Pattern[str]) -> str:
    stem = _ENDINGS.sub("", name)
    return _without_part(_iso(stem), part) + name[len(stem) :].lower()


def _parts_of(file: Path, root: Path) -> re.Pattern[str]:
    """What in a name is the number of a part."""
    return _ANY_PART if find_period(file, root) else _PART


def _without_part(stem: str, part: re.Pattern[str]) -> str:
    copy = _COPY.search(stem)
    base = stem[: copy.start()] if copy and copy.start() else stem
    # what is a date or an id stays as it is
    kept = [*_GUID.finditer(base), *_DATE.finditer(base)]
    out, last = [], 0
    for match in sorted(kept, key=lambda m: m.start()):
        if match.start() >= last:
            out += [_numbers(base[last : match.start()], part), match[0]]
            last = match.end()
    return "".join([*out, _numbers(base[last:], part), stem[len(base) :]])


def _numbers(text: str, part: re.Pattern[str]) -> str:
    return part.sub(lambda match: (match[1] or "") + "#", text)


def family_of(file: Path, root: Path) -> str:
    """The same for editions of which the newer may replace the older.

    What is a date, an id, a number of a run or of a part, or the mark of a copy is left out.
    """
    period = find_period(file, root)
    below = len(root.parts) if file.is_relative_to(root) else 0
    name = _ENDINGS.sub("", file.name)
    name = _without_part(_iso(_COPY.sub("", name)), _parts_of(file, root))
    if period:
        columns = [part for part in file.parts[period.end : -1] if _is_column(part)]
        above = [part for part in file.parts[: period.start] if part not in {"data", "metadata"}]
        return "/".join([*above, "@", *columns, _undated(name)])
    return "/".join(map(_undated, (*file.parts[below:-1], name)))


def _undated(text: str) -> str:
    return _NUMBER.sub("@", _DATE.sub("@", _GUID.sub("@", _iso(text)))).lower()
