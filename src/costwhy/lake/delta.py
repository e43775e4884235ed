"""TODO lake/delta.py"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import TableNotFoundError

from costwhy import tables
from costwhy.lake.snapshots import is_remote
from costwhy.remote import aws
from costwhy.remote.s3 import storage_options
from costwhy.tables import BY_NAME

WRITER = WriterProperties(compression="ZSTD")
KEEP_LOGS = PostCommitHookProperties(
    create_checkpoint=True, cleanup_expired_logs=False
)  # old snapshots need them


@dataclass(frozen=True)
class Replacement:
    """New rows of one table (a frame, or Parquet files); former rows of their deliveries, and of those in `drop`, go."""

    rows: pl.DataFrame | tuple[Path, ...]
    drop: tuple[str, ...] = ()


def write_table(folder: str, name: str, change: Replacement, base: int | None) -> int | None:
    """One Delta commit on top of the pinned version; base null: no snapshot has the table. Null: nothing to do."""
    path = table_path(folder, name)
    if name == "series" and base is not None:
        change = Replacement(_unknown_series(path, base, change.rows))
    names = sorted({*change.drop, *_deliveries(change.rows)})
    held = base is not None and bool(names) and _holds_any(path, base, names)
    empty = change.rows.is_empty() if isinstance(change.rows, pl.DataFrame) else not change.rows
    if base is not None and empty and not held:
        return None
    _take_back(path, base)
    data = _stream(BY_NAME[name], change.rows)
    if held:  # Delta refuses new rows that the predicate does not cover: it names all deliveries
        listed = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        predicate = f"delivery IN ({listed})"
        write_deltalake(
            path,
            data,
            mode="overwrite",
            predicate=predicate,
            writer_properties=WRITER,
            post_commithook_properties=KEEP_LOGS,
            storage_options=_options(path),
        )
    else:
        write_deltalake(
            path,
            data,
            mode="append",
            writer_properties=WRITER,
            post_commithook_properties=KEEP_LOGS,
            storage_options=_options(path),
        )
    return delta_table(path).version()


def _take_back(path: str, base: int | None) -> None:
    """What a killed writer left in this table beyond the last snapshot."""
    try:  # `is_deltatable` holds the interpreter while it waits for S3
        table = delta_table(path)
    except TableNotFoundError:
        return
    if base is None:
        table.delete(post_commithook_properties=KEEP_LOGS)
    elif table.version() != base:
        table.restore(base, post_commithook_properties=KEEP_LOGS)


def _deliveries(rows: pl.DataFrame | tuple[Path, ...]) -> set[str]:
    """Deliveries that rows belong to; none for `series`, which belong to all."""
    frames = (
        (rows,)
        if isinstance(rows, pl.DataFrame)
        else (pl.read_parquet(file, columns=["delivery"]) for file in rows)
    )
    return {
        name
        for frame in frames
        if "delivery" in frame.columns
        for name in frame["delivery"].unique().drop_nulls()
    }


def _holds_any(path: str, base: int, names: list[str]) -> bool:
    """Whether the table has rows of one of the deliveries."""
    wanted = pl.LazyFrame({"delivery": names}, schema={"delivery": pl.String})
    return (
        scan_table(path, base)
        .select("delivery")
        .join(wanted, on="delivery", how="semi")
        .head(1)
        .collect()
        .height
        > 0
    )


def _unknown_series(path: str, base: int, rows: pl.DataFrame | tuple[Path, ...]) -> pl.DataFrame:
    frame = rows if isinstance(rows, pl.DataFrame) else pl.read_parquet(list(rows))
    return frame.join(
        scan_table(path, base).select("series_id").collect(), on="series_id", how="anti"
    )


def _stream(table: tables.Table, rows: pl.DataFrame | tuple[Path, ...]) -> pa.RecordBatchReader:
    """Rows for Delta, no more than one file of them in memory."""
    frames = (rows,) if isinstance(rows, pl.DataFrame) else (pl.read_parquet(file) for file in rows)
    batches = (batch for frame in frames for batch in table.fit(frame).to_arrow().to_batches())
    return pa.RecordBatchReader.from_batches(table.empty().to_arrow().schema, batches)


def scan_table(path: str, version: int) -> pl.LazyFrame:
    return pl.scan_delta(path, version=version, storage_options=_options(path))


def delta_table(path: str, version: int | None = None) -> DeltaTable:
    return DeltaTable(path, version=version, storage_options=_options(path))


def _options(path: str) -> dict[str, str] | None:
    return storage_options() if is_remote(path) else None


def words_of(folder: str, error: Exception) -> str:
    return aws.words(error) if is_remote(folder) else str(error)


def table_path(folder: str, name: str) -> str:
    return f"{folder}/tables/{name}"
