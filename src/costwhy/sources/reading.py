"""What a reader gives back (`Reading`), and how it collects that by record (`Collector`)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from costwhy.errors import SourceError
from costwhy.sources import records, wrappings
from costwhy.tables import SEEN, SET_ASIDE, Table
from costwhy.text import shortened

REVISION = 2  # Part of every digest: raise it where files that did not change are to be read again
MAX_TEXT = 1000  # Characters that are kept of one text
SHOWN = 300  # Characters that are shown of a record that was set aside
# Records of one file and one reason that get a row each; the last row counts the others
MAX_ALIKE = 20
# Rows of one file that say why a record was set aside; beyond, records are only counted
MAX_ASIDE = 1000
_BATCH = 20_000


@dataclass(frozen=True)
class Reading:
    """What was read, as tables without `delivery`: the source's own, `set_aside` and `seen`.

    complete  false where the source warned that something may be missing; it is asked again
    notes     what whoever runs ingest should know, and what is no fault
    """

    rows: pl.DataFrame
    set_aside: pl.DataFrame
    seen: pl.DataFrame
    complete: bool = True
    notes: tuple[str, ...] = ()

    def by_day(self) -> dict[str, "Reading"]:
        """Signals of each day (YYYY-MM-DD); each has all that was set aside."""
        rows, seen = (
            {
                str(key[0]): part
                for key, part in frame.group_by(pl.col("hour").dt.strftime("%Y-%m-%d").alias("day"))
            }
            for frame in (self.rows, self.seen)
        )
        nothing = self.rows.clear(), self.seen.clear()
        return {
            name: replace(self, rows=rows.get(name, nothing[0]), seen=seen.get(name, nothing[1]))
            for name in sorted(rows.keys() | seen.keys())
        }


class Collector:
    """Collects rows of `table` from `source`; rows go into frames in batches."""

    def __init__(self, table: Table, source: str) -> None:
        self.table, self.source = table, source
        self._frames: list[pl.DataFrame] = []
        self._rows: list[dict[str, Any]] = []
        self._aside: list[dict[str, Any]] = []
        self._alike: Counter[tuple[str, str]] = Counter()
        self._aside_of: Counter[str] = Counter()
        self._last: dict[tuple[str, str], dict[str, Any]] = {}
        self._seen: Counter[tuple[str | None, datetime]] = Counter()
        self._known: dict[object, object] = {}
        self._notes: dict[str, None] = {}

    def read_each(
        self,
        file: Path,
        found: Iterable[tuple[str, object]],
        read: Callable[[Any], Sequence[str] | None],
        kind: str,
    ) -> None:
        """Call `read` with each record; set aside those that it cannot read, with place and reason.

        file   shown in messages
        found  the place of each record, `line 7`, and its text; null: it is too long
        read   may return reasons why parts of a record were left out
        kind   what a record should be: `CloudTrail record`
        """
        too_long = f"the line is longer than {records.MAX_LINE_BYTES // 2**20} MB"
        try:
            for place, record in found:
                try:
                    reasons = (too_long,) if record is None else read(record) or ()
                except msgspec.MsgspecError as error:
                    reasons = (f"no {kind}: {wrappings.name_of(record) or error}",)
                except (ValueError, RecursionError) as error:
                    reasons = (str(error),)
                for reason in reasons:
                    self.set_aside(file, place, reason, record)
        except SourceError as error:
            self.set_aside(file, None, str(error))

    def keep(self, row: dict[str, Any]) -> None:
        """Keep a row; columns that it lacks are null."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self._flush()

    def keep_once(
        self, row: dict[str, Any], key: object, content: object = None, clash: str = ""
    ) -> bool:
        """Keep the first row of a key. Whether this is it.

        Raises ValueError with `clash` where the first one had another content.
        """
        first = key not in self._known
        if self._known.setdefault(key, content) != content:
            raise ValueError(f"{clash}: the first one counts")
        if first:
            self.keep(row)
        return first

    def note(self, text: str) -> None:
        """Tell whoever runs ingest, once, what is no fault."""
        self._notes[text] = None

    def see(self, account: str | None, time: datetime, records: int = 1) -> None:
        """Count records of an hour, whether or not they become rows."""
        self._seen[account, time.replace(minute=0, second=0, microsecond=0)] += records

    def set_aside(
        self, file: Path, place: str | None, reason: str, record: object = None, records: int = 1
    ) -> None:
        """Set a record aside with its reason; many of one file and one reason share a row."""
        name = str(file)
        crowded = self._aside_of[name] >= MAX_ASIDE and (name, reason) not in self._last
        key = (name, "more records that cannot be read" if crowded else reason)
        self._alike[key] += 1
        if self._alike[key] > MAX_ALIKE:
            self._last[key]["records"] += records
            return
        row = {"source": self.source, "file": name, "place": place, "reason": clean(key[1])}
        self._aside_of[name] += 1
        self._last[key] = row | {"record": beginning(record), "records": records}
        self._aside.append(self._last[key])

    def reading(self) -> Reading:
        """What was collected."""
        self._flush()
        return Reading(
            rows=pl.concat(self._frames) if self._frames else fit(self.table, []),
            set_aside=fit(SET_ASIDE, self._aside),
            seen=fit(
                SEEN,
                [
                    {"source": self.source, "account": account, "hour": hour, "records": records}
                    for (account, hour), records in self._seen.items()
                ],
            ).sort("hour", "account"),
            notes=tuple(self._notes),
        )

    def _flush(self) -> None:
        if self._rows:
            self._frames.append(fit(self.table, self._rows))
            self._rows = []


def fit(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the table's columns, without `delivery`: ingest adds it."""
    nothing = _nothing(table)
    return pl.DataFrame(rows, schema=nothing.schema) if rows else nothing


@cache  # of ten thousand small files most set nothing aside
def _nothing(table: Table) -> pl.DataFrame:
    return table.empty().drop("delivery", strict=False)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters of a text, fit for a terminal: unprintable ones are spaces."""
    return shortened(text, limit)


def to_text(value: object) -> str | None:
    """A JSON value as a clean text; null where it is neither a text nor a number, or empty."""
    if isinstance(value, str):
        return clean(value.strip()) or None
    return str(value) if (isinstance(value, int | float) and not isinstance(value, bool)) else None


def to_mapping(value: object) -> dict[str, Any]:
    """A JSON object; an empty one in place of any other value."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}


def beginning(record: object) -> str | None:
    """The first characters of a record, to be shown."""
    if record is None or isinstance(record, str):
        return record and clean(record, SHOWN)
    is_raw = isinstance(record, bytes | memoryview | msgspec.Raw)
    data = memoryview(record) if is_raw else msgspec.json.encode(record)  # type: ignore[arg-type]
    return clean(bytes(data[: 4 * SHOWN]).decode("utf-8", "replace"), SHOWN)
