"""The Delta tables of a lake: one commit for each change, on top of a pinned version."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError

from costwhy.lake.store import is_remote, storage_options
from costwhy.tables import BY_NAME

WRITER = WriterProperties(compression="ZSTD")
# Old snapshots need the logs of their table versions.
KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
Rows = pl.DataFrame | tuple[pl.LazyFrame, ...]  # in memory, or on disk
CHUNK = 250_000  # rows of what is on disk that are in memory at a time


@dataclass(frozen=True)
class Replacement:
    """New rows of one table. Former rows of their deliveries, and of those in `drop`, go."""

    rows: Rows
    drop: tuple[str, ...] = ()


def write_table(folder: str, name: str, change: Replacement, base: int | None) -> int | None:
    """One Delta commit on top of version `base`; null: no snapshot has the table.

    Returns the new version; null: there was nothing to do.
    """
    path, table = table_path(folder, name), BY_NAME[name]
    if name == "series" and base is not None:
        known = scan_table(path, base).select("series_id").collect()
        change = Replacement(
            pl.concat(_frames(change.rows)).join(known, on="series_id", how="anti")
        )
    names = sorted({*change.drop, *_deliveries(change.rows)})
    replaces = base is not None and bool(names) and _has_any(path, base, names)
    if base is not None and len(change.rows) == 0 and not replaces:
        return None
    _take_back(path, base)
    # Delta refuses new rows that the predicate does not cover, so it names all deliveries.
    quoted = ", ".join("'" + delivery.replace("'", "''") + "'" for delivery in names)
    mode: Any = {"mode": "overwrite", "predicate": f"delivery IN ({quoted})"}
    write_deltalake(
        path,
        pa.RecordBatchReader.from_batches(
            table.empty().to_arrow().schema,
            (
                batch
                for frame in _frames(change.rows)
                for batch in table.fit(frame).to_arrow().to_batches()
            ),
        ),
        **(mode if replaces else {"mode": "append"}),
        schema_mode="merge",  # a table of a former version lacks what was added since
        writer_properties=WRITER,
        post_commithook_properties=KEEP_LOGS,
        storage_options=storage_options(path),
    )
    return delta_table(path).version()


def _take_back(path: str, base: int | None) -> None:
    """Undo what a killed writer left in this table beyond the last snapshot."""
    try:  # `is_deltatable` would block the interpreter while it waits for S3
        table = delta_table(path)
    except TableNotFoundError:
        return
    if base is None:
        table.delete(post_commithook_properties=KEEP_LOGS)
    elif table.version() != base:
        table.restore(base, post_commithook_properties=KEEP_LOGS)


def _frames(rows: Rows) -> Iterator[pl.DataFrame]:
    """The rows; of those on disk no more than CHUNK in memory."""
    if isinstance(rows, pl.DataFrame):
        yield rows
        return
    for frame in rows:
        yield from frame.collect_batches(chunk_size=CHUNK, maintain_order=True)


def _deliveries(rows: Rows) -> set[str]:
    found = set[str]()
    for frame in [rows.lazy()] if isinstance(rows, pl.DataFrame) else rows:
        if "delivery" in frame.collect_schema():
            names = frame.select(pl.col("delivery").unique()).collect(engine="streaming")
            found.update(names["delivery"].drop_nulls())
    return found


def _has_any(path: str, base: int, names: list[str]) -> bool:
    found = (
        scan_table(path, base)
        .select("delivery")
        .join(
            pl.LazyFrame({"delivery": names}, schema={"delivery": pl.String}),
            on="delivery",
            how="semi",
        )
    )
    return found.head(1).collect().height > 0


def scan_table(path: str, version: int) -> pl.LazyFrame:
    """The rows of a version. Polars' own reader finds no folder whose name a URL must quote."""
    quoted = not is_remote(path) and quote(path) != path
    options = storage_options(path)
    return pl.scan_delta(path, version=version, storage_options=options, use_pyarrow=quoted)


def delta_table(path: str, version: int | None = None) -> DeltaTable:
    """The table at a version, by default the newest."""
    return DeltaTable(path, version=version, storage_options=storage_options(path))


def files_of(path: str, version: int) -> list[str]:
    """The Parquet files of a version, for DuckDB."""
    files = delta_table(path, version).file_uris()
    return list(files) if is_remote(path) else list(map(unquote, files))


def reason_of(folder: str, error: Exception) -> str:
    """What went wrong, without credentials."""
    if not is_remote(folder):
        return str(error)
    from costwhy.remote import aws  # noqa: PLC0415 - a folder needs no client of AWS

    return aws.reason_of(error)


def table_path(folder: str, name: str) -> str:
    """Where a table of a lake is."""
    return f"{folder}/tables/{name}"
