"""The lake: Delta tables, and one snapshot over all of them.

    LAKE/tables/NAME/               a Delta table for each table of `tables.LAKE_TABLES`
    LAKE/snapshots/000000000012.json   version 12: which Delta version of each table belongs together

An investigation reads several tables that must agree, so what a reader opens is a snapshot: it is written last, whole, and
only once. A writer that is killed leaves Delta versions that no snapshot names; the next writer takes them back. A reader
keeps the snapshot that it opened, whatever is written meanwhile; older snapshots stay readable.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake import DeltaTable, WriterProperties, write_deltalake

from costwhy import tables
from costwhy.config import FILE_NAME, read_workspace
from costwhy.errors import LakeError

FORMAT = 1
LOCK_WAIT = 10.0  # seconds that a second writer waits
BY_NAME = {table.name: table for table in tables.LAKE_TABLES}
WRITER = WriterProperties(compression="ZSTD")


@dataclass(frozen=True)
class Replacement:
    """New rows of one table, and the deliveries whose former rows they replace."""

    rows: pl.DataFrame
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lake:
    """One version of a lake, read-only."""

    place: str
    version: int
    workspace: str
    currency: str
    created_at: datetime
    _versions: Mapping[str, int] = field(repr=False)

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table of `tables.LAKE_TABLES`. Raises LakeError for another name."""
        return self.scan(name).collect()

    def scan(self, name: str) -> pl.LazyFrame:
        """The same, lazily."""
        if name not in BY_NAME:
            raise LakeError(f"the lake has no table {name!r}", found=", ".join(BY_NAME))
        if name not in self._versions:
            return BY_NAME[name].empty().lazy()
        return pl.scan_delta(_table_path(self.place, name), version=self._versions[name]).select(
            BY_NAME[name].schema.names()
        )

    def files(self, name: str) -> list[str]:
        """The Parquet files of a table in this version, for DuckDB."""
        return (
            list(DeltaTable(_table_path(self.place, name), version=self._versions[name]).file_uris())
            if name in self._versions
            else []
        )

    def versions(self) -> list[int]:
        """All versions that can be opened, oldest first."""
        return _snapshots(self.place)


def open_lake(place: str | Path, version: int | None = None) -> Lake:
    """The lake of a workspace (its folder or costwhy.toml), or a lake's own folder, at its newest or a pinned version.

    Raises LakeError where there is none.
    """
    folder = _lake_folder(Path(place))
    known = _snapshots(folder)
    if not known:
        raise LakeError(f"there is no lake at {place}", found=f"nothing in {folder}", todo="run `costwhy ingest` first")
    if version is not None and version not in known:
        raise LakeError(
            f"the lake has no version {version}", found=f"versions {known[0]} to {known[-1]}", todo="open one of these"
        )
    chosen = version if version is not None else known[-1]
    content = _read_snapshot(folder, chosen)
    return Lake(
        folder,
        chosen,
        content["workspace"],
        content["currency"],
        datetime.fromisoformat(content["created_at"]),
        content["tables"],
    )


def write(place: str | Path, about: tuple[str, str], changes: Mapping[str, Replacement]) -> int:
    """All changes as one new version, or none. about: name and currency of the workspace. Returns the version.

    Raises LakeError where somebody else is writing.
    """
    folder = str(place)
    with _lock(folder):
        known = _snapshots(folder)
        base: dict[str, int] = _read_snapshot(folder, known[-1])["tables"] if known else {}
        _take_back(folder, base)
        versions = dict(base)
        for name, change in changes.items():
            versions[name] = _write_table(folder, name, change, exists=name in base)
            _step(f"after {name}")
        version = (known[-1] if known else 0) + 1
        _step("before the snapshot")
        _write_snapshot(
            folder,
            version,
            {
                "costwhy_lake": FORMAT,
                "version": version,
                "created_at": datetime.now(UTC).isoformat(),
                "workspace": about[0],
                "currency": about[1],
                "tables": versions,
            },
        )
        return version


# ---------------------------------------------------------------- inside


def _lake_folder(place: Path) -> str:
    if place.name == FILE_NAME or (place / FILE_NAME).is_file():
        return read_workspace(place).lake_path
    return str(place.resolve())


def _table_path(folder: str, name: str) -> str:
    return f"{folder}/tables/{name}"


def _snapshots(folder: str) -> list[int]:
    return sorted(int(f.stem) for f in Path(folder, "snapshots").glob("*.json") if f.stem.isdigit())


def _read_snapshot(folder: str, version: int) -> dict[str, Any]:
    file = Path(folder, "snapshots", f"{version:012d}.json")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LakeError(
            f"snapshot {version} of the lake cannot be read",
            found=str(error),
            todo="open an older version, or ingest again",
        ) from error
    if not isinstance(content, dict) or content.get("costwhy_lake") != FORMAT:
        raise LakeError(
            "the lake is of another format",
            found=f"{file} says {content.get('costwhy_lake') if isinstance(content, dict) else content!r}",
            todo=f"this costwhy reads format {FORMAT}; ingest into a new folder",
        )
    return content


def _write_snapshot(folder: str, version: int, content: Mapping[str, object]) -> None:
    """Complete under its name or not there at all, and never over another one."""
    file = Path(folder, "snapshots", f"{version:012d}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(draft, file)
    except FileExistsError as error:
        raise LakeError(
            "somebody else wrote the lake at the same time", found=f"{file} is there", todo="run it again"
        ) from error
    finally:
        draft.unlink()


def _take_back(folder: str, base: Mapping[str, int]) -> None:
    """What a killed writer left beyond the last snapshot."""
    for name in BY_NAME:
        path = _table_path(folder, name)
        if DeltaTable.is_deltatable(path):
            table = DeltaTable(path)
            if name in base and table.version() != base[name]:
                table.restore(base[name])
            elif name not in base:
                table.delete()


def _write_table(folder: str, name: str, change: Replacement, *, exists: bool) -> int:
    table, path = BY_NAME[name], _table_path(folder, name)
    rows = table.fit(change.rows)
    if name == "series" and exists:
        rows = rows.join(pl.scan_delta(path).select("series_id").collect(), on="series_id", how="anti")
    if change.drop and exists:
        listed = ", ".join("'" + d.replace("'", "''") + "'" for d in change.drop)
        write_deltalake(
            path, rows.to_arrow(), mode="overwrite", predicate=f"delivery IN ({listed})", writer_properties=WRITER
        )
    elif rows.height or not exists:
        write_deltalake(path, rows.to_arrow(), mode="append", writer_properties=WRITER)
    return DeltaTable(path).version()


@contextmanager
def _lock(folder: str) -> Iterator[None]:
    """One writer at a time; the operating system frees the lock of a writer that was killed."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Path(folder, "writer.lock").open("a+", encoding="utf-8") as stream:
        until = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise LakeError(
                        "the lake is being written by another costwhy",
                        found=f"a lock on {folder}/writer.lock",
                        todo="wait until it is done, and run it again",
                    ) from error
                time.sleep(0.05)
        yield


def _step(name: str) -> None:
    """Where the tests of recovery kill the writer: COSTWHY_DIE names the step."""
    if os.environ.get("COSTWHY_DIE") == name:
        os._exit(137)
