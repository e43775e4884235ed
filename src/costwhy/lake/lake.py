"""The lake: Delta tables, and one snapshot over all of them.

    LAKE/tables/NAME/                  a Delta table for each table of `tables.LAKE_TABLES`
    LAKE/snapshots/000000000012.json   version 12: which Delta version of each table belongs together
    LAKE/writer.lock                   held by the one who writes; the operating system frees it when he dies

LAKE is a folder, or s3://bucket/prefix: there `s3_lake` has objects and a lease in place of files and of the lock.
An investigation reads several tables that must agree, so what a reader opens is a snapshot: it is written last, whole,
and only once. A writer that is killed leaves Delta versions that no snapshot names; the next writer takes them back. A
reader keeps the snapshot that it opened, whatever is written meanwhile; older ones stay readable. docs/decisions/0001.
"""

import fcntl
import functools
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, PostCommitHookProperties, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from costwhy import s3_lake, tables
from costwhy.config import FILE_NAME, read_workspace
from costwhy.errors import LakeError
from costwhy.sources.aws import clients

FORMAT = 1
LOCK_WAIT = 10.0  # seconds that a second writer waits
BY_NAME = {table.name: table for table in tables.LAKE_TABLES}
WRITER = WriterProperties(compression="ZSTD")
KEEP_LOGS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)  # old snapshots need them


@dataclass(frozen=True)
class About:
    """What a snapshot says of itself: the workspace's name, its currency, and the configuration it was read with."""

    workspace: str
    currency: str
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Replacement:
    """New rows of one table (a frame, or Parquet files); former rows of their deliveries, and of those in `drop`, go."""

    rows: pl.DataFrame | tuple[Path, ...]
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Lake:
    """One version of a lake, read-only."""

    place: str
    version: int
    workspace: str
    currency: str
    created_at: datetime
    config: Mapping[str, Any] = field(repr=False)
    _versions: Mapping[str, int] = field(repr=False)

    def table(self, name: str) -> pl.DataFrame:
        """All rows of a table of `tables.LAKE_TABLES`. Raises LakeError for another name, or where files are gone."""
        try:
            return self.scan(name).collect()
        except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
            raise LakeError(
                f"table {name!r} of version {self.version} cannot be read",
                found=_said(self.place, error),
                todo=f"bring back the files below {_table_path(self.place, name)}, or ingest into a new folder",
            ) from (None if _is_remote(self.place) else error)

    def scan(self, name: str) -> pl.LazyFrame:
        """The same, lazily."""
        if name not in BY_NAME:
            raise LakeError(f"the lake has no table {name!r}", found=", ".join(BY_NAME), todo="name one of these")
        if name not in self._versions:
            return BY_NAME[name].empty().lazy()
        return _scan(_table_path(self.place, name), self._versions[name]).select(BY_NAME[name].schema.names())

    def files(self, name: str) -> list[str]:
        """The Parquet files of a table in this version, for DuckDB."""
        if name not in self._versions:
            return []
        return list(_delta(_table_path(self.place, name), self._versions[name]).file_uris())

    def history(self, name: str) -> list[tuple[datetime, pl.DataFrame]]:
        """What a table said in this and the versions before, oldest first, each with the time at which it was written.

        Only versions in which the table differs; those that can no longer be read are left out. For small tables.
        """
        snapshots, out = _snapshots(self.place), []
        known = [version for version in snapshots.known() if version <= self.version]
        for version in _steps(snapshots, known, name):
            earlier = open_lake(self.place, version)
            try:
                out.append((earlier.created_at, earlier.table(name)))
            except LakeError:
                continue
        return out

    def versions(self) -> list[int]:
        """All versions that can be opened, oldest first."""
        return _snapshots(self.place).known()


def open_lake(place: str | Path, version: int | None = None) -> Lake:
    """The lake of a workspace (its folder or costwhy.toml), or a lake's own folder, at its newest or a pinned version.

    Raises LakeError where there is none, or not that version; ConfigError where costwhy.toml is wrong.
    """
    folder = _lake_folder(place)
    snapshots = _snapshots(folder)
    known = snapshots.known()
    if not known:
        raise LakeError(f"there is no lake at {place}", found=f"nothing in {folder}", todo="run `costwhy ingest` first")
    if version is not None and version not in known:
        found = f"versions {known[0]} to {known[-1]}"
        raise LakeError(f"the lake has no version {version}", found=found, todo="open one of these")
    chosen = known[-1] if version is None else version
    content = _read(snapshots, chosen)
    created = datetime.fromisoformat(content["created_at"])
    about = (content["workspace"], content["currency"], created, content.get("config", {}))
    return Lake(folder, chosen, *about, content["tables"])


def _steps(snapshots: "Snapshots", known: list[int], name: str) -> list[int]:
    """Versions in which a table is another than in the one before. Table versions only rise: equal ends have nothing between."""

    @functools.cache
    def at(k: int) -> int | None:
        version: int | None = _read(snapshots, known[k])["tables"].get(name)
        return version

    def between(low: int, high: int) -> list[int]:
        if at(low) == at(high) or high - low < 1:
            return []
        middle = (low + high) // 2
        return [high] if high - low == 1 else between(low, middle) + between(middle, high)

    found = [0, *between(0, len(known) - 1)] if known else []
    return [known[k] for k in found if at(k) is not None]


def has_lake(place: str | Path) -> bool:
    """Whether there is a version to open."""
    return bool(_snapshots(_lake_folder(place)).known())


def write(place: str | Path, about: About, changes: Mapping[str, Replacement]) -> int:
    """All changes as one new version, or none; where nothing differs, the present version stays. Returns the version.

    Rows of `series` are added where their series_id is new; in the other tables a delivery is replaced whole.
    Raises LakeError where somebody else is writing, or the folder cannot be written.
    """
    folder = _lake_folder(place)
    try:
        with _lock(folder) as still_ours:
            return _write(folder, about, changes, still_ours)
    except (DeltaError, OSError) as error:
        todo = "free space or mend the permissions, and run it again"
        cause = None if _is_remote(folder) else error  # what Delta says of S3 may carry more than it should
        raise LakeError(f"the lake {folder} cannot be written", found=_said(folder, error), todo=todo) from cause


@contextmanager
def alone(place: str, folder: str) -> Iterator[Callable[[], None]]:
    """One costwhy at a time acts in a folder beside the tables of a lake (`place`: its folder or address); freed when it dies.

    Yields what raises LakeError where that was lost meanwhile. Raises LakeError where another one stays in there.
    """
    with _lock(f"{place}/{folder}") as still_ours:
        yield still_ours


def _write(folder: str, about: About, changes: Mapping[str, Replacement], still_ours: Callable[[], None]) -> int:
    snapshots = _snapshots(folder)
    snapshots.clear_drafts()
    known = snapshots.known()
    newest = _read(snapshots, known[-1]) if known else {}
    base: dict[str, int] = newest.get("tables", {})
    versions = dict(base)
    for name, change in changes.items():
        written = _write_table(folder, name, change, base.get(name))
        _step(f"after {name}")
        if written is not None:
            versions[name] = written
    said = {"workspace": about.workspace, "currency": about.currency, "config": json.loads(json.dumps(about.config))}
    if known and versions == base and all(newest.get(key) == value for key, value in said.items()):
        return known[-1]
    version = (known[-1] if known else 0) + 1
    _step("before the snapshot")
    still_ours()
    head = {"costwhy_lake": FORMAT, "version": version, "created_at": datetime.now(UTC).isoformat()}
    snapshots.create(version, {**head, **said, "tables": versions})
    return version


# ---------------------------------------------------------------- tables


def _write_table(folder: str, name: str, change: Replacement, base: int | None) -> int | None:
    """One Delta commit on top of the pinned version; base null: no snapshot has the table. Null: nothing to do."""
    path = _table_path(folder, name)
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
            path, data, mode="append", writer_properties=WRITER, post_commithook_properties=KEEP_LOGS, storage_options=_options(path)
        )
    return _delta(path).version()


def _take_back(path: str, base: int | None) -> None:
    """What a killed writer left in this table beyond the last snapshot."""
    try:  # `is_deltatable` holds the interpreter while it waits for S3
        table = _delta(path)
    except TableNotFoundError:
        return
    if base is None:
        table.delete(post_commithook_properties=KEEP_LOGS)
    elif table.version() != base:
        table.restore(base, post_commithook_properties=KEEP_LOGS)


def _deliveries(rows: pl.DataFrame | tuple[Path, ...]) -> set[str]:
    """Deliveries that rows belong to; none for `series`, which belong to all."""
    frames = (rows,) if isinstance(rows, pl.DataFrame) else (pl.read_parquet(file, columns=["delivery"]) for file in rows)
    return {name for frame in frames if "delivery" in frame.columns for name in frame["delivery"].unique().drop_nulls()}


def _holds_any(path: str, base: int, names: list[str]) -> bool:
    """Whether the table has rows of one of the deliveries."""
    wanted = pl.LazyFrame({"delivery": names}, schema={"delivery": pl.String})
    return _scan(path, base).select("delivery").join(wanted, on="delivery", how="semi").head(1).collect().height > 0


def _unknown_series(path: str, base: int, rows: pl.DataFrame | tuple[Path, ...]) -> pl.DataFrame:
    frame = rows if isinstance(rows, pl.DataFrame) else pl.read_parquet(list(rows))
    return frame.join(_scan(path, base).select("series_id").collect(), on="series_id", how="anti")


def _stream(table: tables.Table, rows: pl.DataFrame | tuple[Path, ...]) -> pa.RecordBatchReader:
    """Rows for Delta, no more than one file of them in memory."""
    frames = (rows,) if isinstance(rows, pl.DataFrame) else (pl.read_parquet(file) for file in rows)
    batches = (batch for frame in frames for batch in table.fit(frame).to_arrow().to_batches())
    return pa.RecordBatchReader.from_batches(table.empty().to_arrow().schema, batches)


def _scan(path: str, version: int) -> pl.LazyFrame:
    return pl.scan_delta(path, version=version, storage_options=_options(path))


def _delta(path: str, version: int | None = None) -> DeltaTable:
    return DeltaTable(path, version=version, storage_options=_options(path))


# ---------------------------------------------------------------- places: a folder, or an address on S3


class Snapshots(Protocol):
    """The numbered JSON documents that say which table versions belong together."""

    def known(self) -> list[int]:
        """Versions, oldest first."""

    def text(self, version: int) -> str:
        """The JSON of a version. Raises OSError where it cannot be read."""

    def create(self, version: int, content: Mapping[str, object]) -> None:
        """Complete under its name or not there at all, and never over another one."""

    def clear_drafts(self) -> None:
        """What killed writers left; only under the lock."""


def _is_remote(folder: str) -> bool:
    return folder.startswith("s3://")


def _options(path: str) -> dict[str, str] | None:
    return s3_lake.storage_options() if _is_remote(path) else None


def _said(folder: str, error: Exception) -> str:
    return clients.words(error) if _is_remote(folder) else str(error)


def _snapshots(folder: str) -> Snapshots:
    return s3_lake.Snapshots(folder) if _is_remote(folder) else _Snapshots(folder)


def _read(snapshots: Snapshots, version: int) -> dict[str, Any]:
    """A snapshot, checked. Raises LakeError where it is unreadable or of another format."""
    try:
        content = json.loads(snapshots.text(version))
    except (OSError, ValueError) as error:
        todo = "open an older version, or ingest into a new folder"
        raise LakeError(f"snapshot {version} of the lake cannot be read", found=str(error), todo=todo) from error
    form = content.get("costwhy_lake") if isinstance(content, dict) else content
    if form != FORMAT or not isinstance(content, dict):
        todo = f"this costwhy reads format {FORMAT}; ingest into a new folder"
        raise LakeError("the lake is of another format", found=f"snapshot {version} says {form!r}", todo=todo)
    return content


def _lake_folder(place: str | Path) -> str:
    text = str(place)
    if "://" not in text and (Path(text).name == FILE_NAME or Path(text, FILE_NAME).is_file()):
        text = read_workspace(text).lake_path
    if _is_remote(text):
        return text.rstrip("/")
    if "://" in text:
        todo = "name a folder, or s3://bucket/prefix, as `lake.path`"
        raise LakeError(f"there can be no lake at {text}", found="an address that is not on S3", todo=todo)
    return str(Path(text).resolve())


def _table_path(folder: str, name: str) -> str:
    return f"{folder}/tables/{name}"


class _Snapshots:
    """The numbered JSON files that say which table versions belong together: listed, read, created once."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder, "snapshots")

    def known(self) -> list[int]:
        return sorted(int(file.stem) for file in self.folder.glob("*.json") if file.stem.isdigit())

    def text(self, version: int) -> str:
        return self._file(version).read_text(encoding="utf-8")

    def create(self, version: int, content: Mapping[str, object]) -> None:
        """Complete under its name or not there at all, and never over another one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self._file(version)
        draft = file.with_suffix(f".{os.getpid()}.draft")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        _step("before the link")
        try:
            os.link(draft, file)
        except FileExistsError as error:
            wrong = "the lake is being written by another costwhy"
            raise LakeError(wrong, found=f"{file} is there already", todo="run it again") from error
        finally:
            draft.unlink()
        _sync(self.folder)

    def clear_drafts(self) -> None:
        """What killed writers left; only under the lock."""
        for draft in self.folder.glob("*.draft"):
            draft.unlink()

    def _file(self, version: int) -> Path:
        return self.folder / f"{version:012d}.json"


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _lock(folder: str) -> Iterator[Callable[[], None]]:
    """One writer at a time; the operating system frees the lock of a writer that was killed.

    Yields what raises LakeError where the lock was lost meanwhile: on S3 it may be, in a folder never.
    """
    if _is_remote(folder):
        with s3_lake.lease(folder, LOCK_WAIT) as still_ours:
            yield still_ours
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder, "writer.lock")
    until = time.monotonic() + LOCK_WAIT
    with file.open("a+", encoding="utf-8") as stream:
        while not _locked(stream.fileno()):
            if time.monotonic() > until:
                todo = "wait until it is done, and run it again"
                raise LakeError("the lake is being written by another costwhy", found=f"a lock on {file}", todo=todo)
            time.sleep(0.05)
        yield lambda: None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _step(_name: str) -> None:
    """A point at which the tests of recovery kill the writer; otherwise nothing."""
