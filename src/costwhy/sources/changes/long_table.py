"""Changes from a long file, CSV, JSON Lines or Parquet: one row a change, the columns of `changes`.

    time, kind, service and, where known, change_id, actor, summary, url, ticket, path, environment,
    resource, account, before, after, planned

`before` and `after` are JSON; so is `planned`: {"reason", "expected_cost_per_day", "until"}.
"""

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
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
from costwhy.sources.files import Files
from costwhy.sources.format import Format
from costwhy.sources.reading import Collector, Reading, clean, to_text, to_time
from costwhy.tables import CHANGES

NEEDED = ("time", "kind", "service")
TEXTS = ("change_id", "service", "environment", "resource", "account")
STATED = ("actor", "summary", "url", "ticket", "path")
JSON = ("before", "after", "planned")
COLUMNS = tuple(dict.fromkeys((*NEEDED, *TEXTS, *STATED, *JSON)))
_ROWS = 10_000
_BEYOND = "costwhy beyond"
Row = Mapping[str, Any]
Reader = Callable[[Path], Iterator[tuple[str, Row | bytes | None]]]


def read(sources: Sequence[Path]) -> Reading:
    """Changes, rows set aside, and rows seen by hour.

    The same row twice is one change; another row under the same `change_id` is set aside.
    """
    collector, unknown = Collector(CHANGES, "changes"), dict[str, None]()

    def read_one(record: Row | bytes) -> list[str]:
        fields = _fields(record, unknown)
        row, reasons = _row(fields)
        collector.see(None, row["time"])
        digest = hashlib.sha256(msgspec.json.encode(fields, order="sorted")).digest()
        row["change_id"] = row["change_id"] or f"row-{digest.hex()[:32]}"
        clash = "another row has the same change_id"
        return reasons if collector.keep_once(row, row["change_id"], digest, clash) else []

    readers: Mapping[str, Reader] = {"parquet": _parquet_rows, "csv": _csv_rows}
    for file in sources:
        ending = file.name.lower().removesuffix(".gz").rpartition(".")[2]
        rows = readers.get(ending, files.read_lines)(file)
        collector.read_each(file, rows, read_one, "change")
    names = ", ".join(clean(name, 60) for name in list(unknown)[: files.SHOWN_COLUMNS])
    notes = (f"columns that are not known were left out: {names}",) if unknown else ()
    return replace(collector.reading(), notes=notes)


def _fields(record: Row | bytes, unknown: dict[str, None]) -> dict[str, Any]:
    """The known columns that say something; JSON in a text is decoded, the time is in UTC."""
    row = record
    if isinstance(row, bytes):
        row = msgspec.json.decode(row, type=dict[str, Any])
    if _BEYOND in row:
        raise ValueError("the line has more fields than the header")
    unknown.update(dict.fromkeys(name for name in row if name not in COLUMNS))
    known = {name: row.get(name) for name in COLUMNS}
    fields = {name: value for name, value in known.items() if value not in (None, "")}
    fields |= {name: _decoded(fields[name]) for name in JSON if name in fields}
    return fields | {"time": to_time(fields.get("time")).isoformat()}


def _decoded(value: object) -> object:
    """What a text says as JSON; a text that is no JSON stays one."""
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(value) if isinstance(value, str) else value
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
    values = {name: short_json(fields[name]) for name in ("before", "after") if name in fields}
    return {
        **row,
        **{name: to_text(fields.get(name)) for name in TEXTS},
        **values,
        "time": datetime.fromisoformat(fields["time"]),
        "source": "changes",
        "kind": kind if kind in CHANGE_KINDS else "other",
        "event": kind,
        "path": to_text(fields.get("path")) or row["path"],
        "automated": False,
    }, reasons


# ---------------------------------------------------------------- rows of CSV and Parquet


def _csv_rows(file: Path) -> Iterator[tuple[str, Row]]:
    text = io.StringIO(files.read_bytes(file).decode("utf-8-sig", "replace"), newline="")
    rows = csv.DictReader(text, restkey=_BEYOND)
    try:
        files.require_columns(dict.fromkeys(rows.fieldnames or (), pl.String()), NEEDED)
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
            raise files.too_large()
        frame = pl.scan_parquet(file, glob=False)
        files.require_columns(frame.collect_schema(), NEEDED)
        for start in range(0, about.num_rows, _ROWS):
            part = frame.slice(start, _ROWS).collect()
            for number, row in enumerate(part.iter_rows(named=True), start=start + 1):
                yield f"row {number}", row
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise SourceError(f"the file cannot be read: {files.first_line(error)}") from error


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
