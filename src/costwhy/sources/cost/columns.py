"""The columns of a billing file, found in any case, and how the file spells numbers and times."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spelling:
    """How a file writes what the usual way of reading does not read.

    decimal_comma  columns that write 1.234,50
    day_first      01/09/2026 is the first of September; null: no such times
    """

    decimal_comma: frozenset[str] = frozenset()
    day_first: bool | None = None


@dataclass(frozen=True)
class Asked:
    """The columns that a format reads as numbers, and as times."""

    numbers: set[str] = field(default_factory=set)
    times: set[str] = field(default_factory=set)


class Columns(dict[str, str]):
    """Names and DuckDB types; a name is found in any case, as SQL does.

    spelling  null: numbers with a point, times as ISO 8601
    asked     filled by `sql.number` and `sql.time`
    """

    def __init__(
        self,
        columns: Mapping[str, str] | Iterable[tuple[str, str]],
        spelling: Spelling | None = None,
    ) -> None:
        super().__init__(columns)
        self.spelling, self.asked = spelling, Asked()
        self._names = {name.casefold(): name for name in reversed(self)}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.casefold() in self._names

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(self._names.get(name.casefold(), name))

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return super().get(self._names.get(name.casefold(), name), default)


def spelling_of(columns: Mapping[str, str]) -> Spelling | None:
    """How the file spells numbers and times; null: in the usual way."""
    return columns.spelling if isinstance(columns, Columns) else None


def ask(columns: Mapping[str, str], kind: str, name: str) -> None:
    """Notes that a column is read as `numbers` or `times`."""
    if isinstance(columns, Columns):
        getattr(columns.asked, kind).add(name)


def is_map(kind: str) -> bool:
    """Whether a DuckDB type is a map of plain values."""
    return bool(re.fullmatch(r"MAP\([A-Z]+, [A-Z]+\)", kind))


def quoted(name: str) -> str:
    """A column's name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """A text for SQL."""
    return "'" + value.replace("'", "''") + "'"
