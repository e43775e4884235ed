"""Changes from a long file, CSV, JSON or Parquet: one row a change, the columns of `changes`.

    time, kind, service and, where known, change_id, actor, summary, url, ticket, path, environment,
    resource, account, before, after, planned

`before` and `after` are JSON; so is `planned`: {"reason", "expected_cost_per_day", "until"}.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
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
from costwhy.sources import delimited, packed, records
from costwhy.sources.changes.cloudtrail_actors import kind_of
from costwhy.sources.changes.cloudtrail_calls import short_json
from costwhy.sources.files import JSON_ENDINGS, TABLE_ENDINGS, Columns, Files, bare
from costwhy.sources.format import Format
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Collector, Reading, clean, to_mapping, to_text
from costwhy.sources.times import to_time
from costwhy.sources.wrappings import Text, read_records
from costwhy.tables import CHANGES

NEEDED = ("time", "kind", "service")
TEXTS = ("change_id", "service", "environment", "resource", "account")
JSON = ("before", "after", "planned")
COLUMNS = (*NEEDED, *TEXTS, "actor", "summary", "url", "ticket", "path", *JSON)
_ROWS = 10_000
Row = Mapping[str, Any]


def read(sources: Sequence[Path]) -> Reading:
    """Changes, rows set aside, and rows seen by hour.

    The same row twice is one change; another row under the same `change_id` is set aside.
    """
    collector, unknown = Collector(CHANGES, "changes"), dict[str, None]()

    def read_one(record: Row | Text) -> list[str]:
        fields = _fields(record, unknown)
        row, reasons = _row(fields)
        collector.see(None, row["time"])
        digest = hashlib.sha256(msgspec.json.encode(fields, order="sorted")).digest()
        row["change_id"] = row["change_id"] or f"row-{digest.hex()[:32]}"
        clash = "another row has the same change_id"
        return reasons if collector.keep_once(row, row["change_id"], digest, clash) else []

    for file in sources:
        collector.read_each(file, _rows_of(file), read_one, "change")
    names = ", ".join(clean(name, 60) for name in list(unknown)[: delimited.SHOWN_COLUMNS])
    return replace(
        collector.reading(),
        notes=((f"columns that are not known were left out: {names}",) if unknown else ()),
    )


def _fields(record: Row | Text, unknown: dict[str, None]) -> dict[str, Any]:
    """The known columns that say something; JSON in a text is decoded, the time is in UTC."""
    given: Row = (
        msgspec.json.decode(record, type=dict[str, Any])
        if isinstance(record, bytes | msgspec.Raw)
        else record
    )
    row = dict(zip(delimited.plain_names(list(given)), given.values(), strict=True))
    if delimited.BEYOND in given:
        raise ValueError("the line has more fields than the header")
    unknown.update(dict.fromkeys(name for name in row if name not in COLUMNS))
    fields = {name: row[name] for name in COLUMNS if not delimited.is_null(row.get(name))}
    fields |= {name: _decoded(fields[name]) for name in JSON if name in fields}
    return fields | {"time": to_time(fields.get("time")).isoformat()}


def _decoded(value: object) -> object:
    with suppress(msgspec.DecodeError, RecursionError):
        return msgspec.json.decode(value) if isinstance(value, str) else value
    return value


def _row(fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    kind = to_text(fields.get("kind"))
    if kind is None:
        raise ValueError("there is no kind")
    row, reasons = stated(fields)
    if kind not in CHANGE_KINDS:
        reasons.append(
            f"the kind is none of {', '.join(CHANGE_KINDS)}: the change is kept as `other`"
        )
    return {
        **row,
        **{name: to_text(fields.get(name)) for name in TEXTS},
        **{name: short_json(fields[name]) for name in ("before", "after") if name in fields},
        "time": datetime.fromisoformat(fields["time"]),
        "source": "changes",
        "kind": kind if kind in CHANGE_KINDS else "other",
        "event": kind,
        "path": to_text(fields.get("path")) or row["path"],
        "automated": False,
    }, reasons


# ---------------------------------------------------------------- what people state


def stated(fields: Mapping[str, Any], where: str = "") -> tuple[dict[str, Any], list[str]]:
    """Columns of `changes`, and why parts are left out: a link that is no web address, half a plan.

    where: what the names of the fields begin with, in the reasons.
    """
    actor, url = to_text(fields.get("actor")), to_text(fields.get("url"))
    reasons = []
    if url and not url.startswith(("https://", "http://")):
        reasons.append(f"{where}url is no web address: the change is kept without it")
        url = None
    row = {
        "actor": actor,
        "actor_kind": kind_of(actor),
        "summary": to_text(fields.get("summary")),
        "url": url,
        "ticket": to_text(fields.get("ticket")),
        "path": repository_path(url),
    }
    try:
        row |= _plan(fields.get("planned"))
    except ValueError as error:
        reasons.append(f"{where}planned is incomplete, the change is kept without it: {error}")
    return row, reasons


def _plan(planned: object) -> dict[str, Any]:
    """The plan's columns; none where nothing is planned. Raises ValueError for half a plan."""
    if planned is None:
        return {}
    plan = to_mapping(planned)
    reason, cost = to_text(plan.get("reason")), plan.get("expected_cost_per_day")
    if reason is None:
        raise ValueError("reason is missing")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
        raise ValueError("expected_cost_per_day is no number")
    if plan.get("until") is None:
        raise ValueError("until is missing")
    return {
        "planned_reason": reason,
        "planned_cost_per_day": float(cost),
        "planned_until": to_time(plan["until"]),
    }


# ---------------------------------------------------------------- rows of a file


def _rows_of(file: Path) -> Iterator[tuple[str, Row | Text | None]]:
    """Place and content of each row, by what the file begins with, else by its ending."""
    ending = bare(file.name).rpartition(".")[2]
    head = records.head_of(file)
    if head.startswith(b"PAR1") or (ending == "parquet" and not head.startswith((b"{", b"["))):
        with packed.opened(file) as real:
            yield from _parquet_rows(real)
    elif head.startswith((b"{", b"[")) or ending in {"json", "jsonl", "ndjson"}:
        yield from read_records(file, ("time", "kind"))
    else:
        yield from delimited.read_rows(file, NEEDED)


def _parquet_rows(file: Path) -> Iterator[tuple[str, Row]]:
    try:
        with pq.ParquetFile(file) as opened:
            about = opened.metadata
        size = sum(about.row_group(n).total_byte_size for n in range(about.num_row_groups))
        if size > records.MAX_BYTES:
            raise records.too_large(records.MAX_BYTES)
        frame = pl.scan_parquet(file, glob=False)
        names = frame.collect_schema().names()
        frame = frame.rename(dict(zip(names, delimited.plain_names(names), strict=True)))
        delimited.require_columns(frame.collect_schema(), NEEDED)
        for start in range(0, about.num_rows, _ROWS):
            for number, row in enumerate(
                frame.slice(start, _ROWS).collect().iter_rows(named=True), start=start + 1
            ):
                yield f"row {number}", row
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise SourceError(f"the file cannot be read: {records.first_line(error)}") from error


FORMAT = Format(
    section="changes",
    source="changes",
    files=Files(
        (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet"),
        inside=("table", "json"),
        looks=(*TABLE_ENDINGS, *JSON_ENDINGS),
        columns=Columns(marks=NEEDED, known=("change_id", "actor", "summary"), what="changes"),
    ),
    read=read,
    cannot_show="a change that nobody wrote down",
    titled=True,
)
