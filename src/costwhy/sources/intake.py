"""The intake of one delivery: rows kept, records set aside with their reason, records seen by hour."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from costwhy.sources.reading import Reading
from costwhy.tables import SEEN, SET_ASIDE, Table
from costwhy.text import shortened

MAX_TEXT = 1000
"""Characters that are kept of one text."""
SHOWN = 300
"""Characters that are shown of a record that was set aside."""
MAX_ALIKE = 20
"""Records of one file set aside for one reason that get a row each; further ones are counted in the last row."""
MAX_ASIDE = 1000
"""Rows of one file that say why a record was set aside; beyond, records are only counted."""
_BATCH = 20_000


class Intake:
    """Collects one delivery of `source` into a Reading; rows go into frames in batches."""

    def __init__(self, table: Table, source: str) -> None:
        self.table, self.source = table, source
        self._frames: list[pl.DataFrame] = []
        self._rows: list[dict[str, Any]] = []
        self._aside: list[dict[str, Any]] = []
        self._alike: Counter[tuple[str, str]] = Counter()
        self._aside_of: Counter[str] = Counter()
        self._last: dict[tuple[str, str], dict[str, Any]] = {}
        self._seen: Counter[tuple[str | None, datetime]] = Counter()

    def keep(self, row: dict[str, Any]) -> None:
        """Keep a row; columns that it lacks are null."""
        self._rows.append(row)
        if len(self._rows) >= _BATCH:
            self._flush()

    def see(self, account: str | None, time: datetime, records: int = 1) -> None:
        """Count records of an hour, whether or not they become rows."""
        self._seen[account, time.replace(minute=0, second=0, microsecond=0)] += records

    def set_aside(self, file: Path, place: str | None, reason: str, record: object = None, records: int = 1) -> None:
        """Set a record aside with its reason; many of one file and one reason share a row."""
        crowded = self._aside_of[str(file)] >= MAX_ASIDE and (str(file), reason) not in self._last
        key = (str(file), "more records that cannot be read" if crowded else reason)
        self._alike[key] += 1
        if self._alike[key] > MAX_ALIKE:
            self._last[key]["records"] += records
            return
        row = {"source": self.source, "file": str(file), "place": place, "reason": clean(key[1], MAX_TEXT)}
        self._aside_of[str(file)] += 1
        self._last[key] = row | {"record": beginning(record), "records": records}
        self._aside.append(self._last[key])

    def reading(self) -> Reading:
        """What was collected."""
        self._flush()
        seen = [(self.source, account, hour, count) for (account, hour), count in self._seen.items()]
        names = ["source", "account", "hour", "records"]
        schema = {name: SEEN.schema[name] for name in names}
        return Reading(
            rows=pl.concat(self._frames) if self._frames else fit(self.table, []),
            set_aside=fit(SET_ASIDE, self._aside),
            seen=pl.DataFrame(seen, schema=schema, orient="row").sort("hour", "account"),
        )

    def _flush(self) -> None:
        if self._rows:
            self._frames.append(fit(self.table, self._rows))
            self._rows = []


def fit(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows as a frame with the table's columns, `delivery` left out: the lake adds it."""
    schema = {name: dtype for name, dtype in table.schema.items() if name != "delivery"}
    return pl.DataFrame(rows, schema=schema)


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text fit for a terminal and a table: without unprintable characters, the end cut off."""
    return shortened(text, limit)


def to_text(value: object) -> str | None:
    """A JSON value as a cleaned text; null where it is no text or number, or empty."""
    if isinstance(value, str):
        return clean(value.strip()) or None
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def beginning(record: object) -> str | None:
    """The first characters of a record, to be shown."""
    if record is None:
        return None
    if isinstance(record, str):
        return clean(record, SHOWN)
    if isinstance(record, bytes | memoryview | msgspec.Raw):
        return clean(bytes(memoryview(record)[: 4 * SHOWN]).decode("utf-8", "replace"), SHOWN)
    return clean(msgspec.json.encode(record).decode(), SHOWN)


def to_time(text: object) -> datetime:
    """An ISO 8601 time in UTC. Raises ValueError with a reason when it is no time, or has no zone."""
    if not isinstance(text, str) or len(text) > 40:
        raise ValueError(f"time {beginning(text)} is not ISO 8601")
    try:
        time = datetime.fromisoformat(text.strip().upper())
        if time.tzinfo is not None:
            return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"time {clean(text)} is not ISO 8601") from error
    raise ValueError(f"time {clean(text)} has no zone: write UTC as a final Z")
