"""Changes from a long file, CSV, JSON Lines or Parquet: one row a change, the columns of `changes`.

    time, kind, service and, where known, change_id, actor, summary, url, ticket, path, environment,
    resource, account, before, after, planned

`before` and `after` are JSON; so is `planned`: {"reason", "expected_cost_per_day", "until"}.
"""

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from costwhy.behaviours import CHANGE_KINDS
from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.changes.cloudtrail_calls import short_json
from costwhy.sources.changes.stated import stated
from costwhy.sources.format import Files, Format
from costwhy.sources.reading import Collector, Reading, clean, to_text, to_time
from costwhy.tables import CHANGES

NEEDED = ("time", "kind", "service")
TEXTS = ("change_id", "service", "environment", "resource", "account")
STATED = ("actor", "summary", "url", "ticket", "path")
JSON = ("before", "after", "planned")
COLUMNS = tuple(dict.fromkeys((*NEEDED, *TEXTS, *STATED, *JSON)))
SHOWN_COLUMNS = 20
_ROWS = 10_000
_BEYOND = "costwhy beyond"
Row = Mapping[str, Any]


def read(sources: Sequence[Path]) -> Reading:
    """Changes, rows set aside, and rows seen by hour.

    The same row twice is one change; another row under the same `change_id` is set aside.
    """
    collector, known = Collector(CHANGES, "changes"), dict[str, bytes]()
    unknown: dict[str, None] = {}

    def read_one(record: Row | bytes | None) -> list[str]:
        fields = _fields(record, unknown)
        row, reasons = _row(fields)
        collector.see(None, row["time"])
        digest = hashlib.sha256(msgspec.json.encode(fields, order="sorted")).digest()
        row["change_id"] = row["change_id"] or f"row-{digest.hex()[:32]}"
        first = row["change_id"] not in known
        if known.setdefault(row["change_id"], digest) != digest:
            raise ValueError("another row has the same change_id: the first one counts")
        if first:
            collector.keep(row)
        return reasons if first else []

    for file in sources:
        collector.read_each(file, _rows(file), read_one, "change")
    names = ", ".join(clean(name, 60) for name in list(unknown)[:SHOWN_COLUMNS])
    notes = (f"columns that are not known were left out: {names}",) if unknown else ()
    return replace(collector.reading(), notes=notes)


def _fields(record: Row | bytes | None, unknown: dict[str, None]) -> dict[str, Any]:
    """The known columns that say something; JSON in a text is decoded, the time is in UTC."""
    if not isinstance(record, Mapping):
        record = msgspec.json.decode(files.whole_line(record), type=dict[str, Any])
    if _BEYOND in record:
        raise ValueError("the line has more fields than the header")
    unknown.update(dict.fromkeys(name for name in record if name not in COLUMNS))
    known = {name: record.get(name) for name in COLUMNS}
    fields = {name: value for name, value in known.items() if value not in (None, "")}
    fields |= {name: _decoded(fields[name]) for name in JSON if name in fields}
    return fields | {"time": to_time(fields.get("time")).isoformat()}


def _decoded(value: object) -> object:
    """What a text says as JSON; a text that is no JSON stays one."""
    try:
        return msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.DecodeError, RecursionError):
        return value


def _row(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Columns of `changes`, and why parts of the row are left out."""
    kind = to_text(fields.get("kind"))
    if kind is None:
        raise ValueError("there is no kind")
    row, reasons = stated(fields)
    if kind not in CHANGE_KINDS:
        kinds = ", ".join(CHANGE_KINDS)
        reasons.append(f"the kind is none of {kinds}: the change is kept as `other`")
    row |= {name: to_text(fields.get(name)) for name in TEXTS}
    row |= {name: short_json(fields[name]) for name in ("before", "after") if name in fields}
    return row | {
        "time": datetime.fromisoformat(fields["time"]),
        "source": "changes",
        "kind": kind if kind in CHANGE_KINDS else "other",
        "event": kind,
        "path": to_text(fields.get("path")) or row["path"],
        "automated": False,
    }, reasons


# ---------------------------------------------------------------- rows of the three kinds of file


def _rows(file: Path) -> Iterator[tuple[str, Row | bytes | None]]:
    name = file.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet_rows(file)
    elif name.endswith((".csv", ".csv.gz")):
        yield from _csv_rows(file)
    else:
        yield from files.read_lines(file)


def _csv_rows(file: Path) -> Iterator[tuple[str, Row]]:
    text = io.StringIO(files.read_bytes(file).decode("utf-8-sig", "replace"), newline="")
    rows = csv.DictReader(text, restkey=_BEYOND)
    try:
        _refuse_columns(rows.fieldnames or ())
        for row in rows:
            yield f"line {rows.line_num}", row
    except csv.Error as error:
        raise SourceError(f"the file cannot be read further: {error}") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Row]]:
    try:
        with pq.ParquetFile(file) as opened:
            about = opened.metadata
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if size > files.MAX_BYTES:
            limit = f"{files.MAX_BYTES // 2**20} MB when decompressed"
            raise SourceError(f"the file is larger than {limit}: split it")
        frame = pl.scan_parquet(file, glob=False)
        schema = frame.collect_schema()
        _refuse_columns(schema.names())
        time = schema["time"]
        if isinstance(time, pl.Datetime) and time.time_zone is None:
            raise SourceError("its times have no zone: write `time` as a timestamp in UTC")
        for start in range(0, about.num_rows, _ROWS):
            part = frame.slice(start, _ROWS).collect()
            for number, row in enumerate(part.iter_rows(named=True), start=start + 1):
                yield f"row {number}", row
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise SourceError(f"the file cannot be read: {reason}") from error


def _refuse_columns(names: Sequence[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        shown = clean(", ".join(names[:SHOWN_COLUMNS]))
        raise SourceError(f"the file has no column {missing[0]!r}; its columns are {shown}")


FORMAT = Format(
    section="changes",
    source="changes",
    files=Files(
        (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet"),
    ),
    read=read,
    cannot_show="a change that nobody wrote down",
    titled=True,
)
