"""The lake: Delta tables, and one snapshot over all of them.

    LAKE/tables/NAME/                  a Delta table for each table of `tables.LAKE_TABLES`
    LAKE/snapshots/000000000012.json   version 12: which Delta version of each table belongs to it
    LAKE/writer.lock                   locked by the writer; freed when the writer dies

LAKE is a folder, or s3://bucket/prefix with objects in place of files and a lease in place of the
lock. An investigation reads several tables that must agree, so what a reader opens is a snapshot:
it is written last, whole, and only once. A writer that is killed leaves Delta versions that no
snapshot names; the next writer takes them back. A reader keeps the snapshot that it opened,
whatever is written meanwhile; older ones go once nobody reads them (`vacuum.py`).
docs/decisions/0001, 0012.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from costwhy.config import FILE_NAME, read_workspace
from costwhy.errors import LakeError
from costwhy.lake.changes import each_once
from costwhy.lake.delta import (
    Replacement,
    files_of,
    reason_of,
    scan_table,
    table_path,
    write_table,
)
from costwhy.lake.lock import lock
from costwhy.lake.snapshots import (
    create_snapshot,
    find_documents,
    known_versions,
    read_document,
    read_snapshot,
    snapshot_name,
    was_removed,
)
from costwhy.lake.store import Files, Hold, is_remote, store_of
from costwhy.tables import BY_NAME, CHANGES
from costwhy.text import currency_code


@dataclass(frozen=True)
class SnapshotInfo:
    """What a snapshot says of itself: workspace, currency, and the configuration of its ingest."""

    workspace: str
    currency: str
    config: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Lake:
    """One version of a lake, read-only. place: its folder, or its s3:// address."""

    place: str
    version: int
    workspace: str
    currency: str
    created_at: datetime
    config: Mapping[str, Any] = field(repr=False)
    _versions: Mapping[str, int] = field(repr=False)
    _held: Hold | None = field(default=None, repr=False, compare=False)

    def table(self, name: str, /, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """All rows of a table of `tables.LAKE_TABLES`; of `changes`, each event once.

        columns: only these.

        Raises LakeError for another name, where files are gone, and where the version was removed.
        """
        try:
            rows = self.scan(name)
            return (rows if columns is None else rows.select(columns)).collect()
        except (DeltaError, OSError, pl.exceptions.PolarsError) as error:
            read_snapshot(store_of(self.place), self.version)  # says where it was removed
            raise LakeError(
                f"table {name!r} of version {self.version} cannot be read",
                found=reason_of(self.place, error),
                fix=f"restore the files below {table_path(self.place, name)}, "
                "or ingest into a new folder",
            ) from (None if is_remote(self.place) else error)

    def scan(self, name: str, /) -> pl.LazyFrame:
        """The same, lazily."""
        if name not in BY_NAME:
            raise LakeError(
                f"the lake has no table {name!r}",
                found=", ".join(BY_NAME),
                fix="name one of these",
            )
        if name not in self._versions:
            return BY_NAME[name].empty().lazy()
        read_snapshot(store_of(self.place), self.version)  # whoever reads later cannot say it
        return _rows(self.place, name, self._versions[name])

    def files(self, name: str) -> list[str]:
        """The Parquet files of a table in this version, for DuckDB."""
        read_snapshot(store_of(self.place), self.version)  # says where it was removed
        version, path = self._versions.get(name), table_path(self.place, name)
        return [] if version is None else files_of(path, version)

    def history(self, name: str) -> list[tuple[datetime, pl.DataFrame]]:
        """A table in this and the versions before, oldest first, each with its time of writing.

        Only versions in which the table differs; those that can no longer be read are left out.
        Of a removed version only `snapshots.LASTING` is there. For small tables.
        """
        store = store_of(self.place)
        documents = {v: doc for v, doc in find_documents(store).items() if v <= self.version}
        try:
            changed = _changing(store, documents, name)
        except FileNotFoundError:  # a vacuum removed what was listed a moment ago
            return self.history(name)
        tables = []
        for content in changed:
            with suppress(DeltaError, OSError, pl.exceptions.PolarsError):
                rows = _rows(self.place, name, content["tables"][name]).collect()
                tables.append((datetime.fromisoformat(content["created_at"]), rows))
        return tables

    def versions(self) -> list[int]:
        """All versions that can be opened, oldest first."""
        return known_versions(store_of(self.place))


def _rows(place: str, name: str, version: int) -> pl.LazyFrame:
    rows = scan_table(table_path(place, name), version)
    schema, known = BY_NAME[name].schema, rows.collect_schema()
    rows = rows.select(  # a lake of a former version lacks what was added since
        pl.col(column) if column in known else pl.lit(None, dtype).alias(column)
        for column, dtype in schema.items()
    )
    return each_once(rows) if name == CHANGES.name else rows


def open_lake(place: str | Path, version: int | None = None) -> Lake:
    """The lake of a workspace (its folder or costwhy.toml), or a lake's own folder or address.

    version: by default the newest. Raises LakeError where there is no lake, or not that version;
    ConfigError where costwhy.toml is wrong.
    """
    folder = lake_folder(place)
    store = store_of(folder)
    known = known_versions(store)
    if not known:
        raise LakeError(
            f"there is no lake at {place}",
            found=f"nothing in {folder}",
            fix="run `costwhy ingest` first",
        )
    if version is not None and version not in known:
        if 0 < version < known[-1]:
            raise was_removed(version, known)
        raise LakeError(
            f"the lake has no version {version}",
            found=f"versions {known[0]} to {known[-1]}",
            fix="open one of these",
        )
    chosen = known[-1] if version is None else version
    try:
        held = store.hold(snapshot_name(chosen))
    except FileNotFoundError:  # a vacuum was faster
        if version is None:
            return open_lake(place)
        raise was_removed(chosen, known_versions(store)) from None
    return replace(_lake_of(folder, read_snapshot(store, chosen)), _held=held)


def _lake_of(folder: str, content: dict[str, Any]) -> Lake:
    return Lake(
        place=folder,
        version=content["version"],
        workspace=content["workspace"],
        currency=currency_code(
            content["currency"], f"version {content['version']} of the lake {folder}"
        ),
        created_at=datetime.fromisoformat(content["created_at"]),
        config=content.get("config", {}),
        _versions=content["tables"],
    )


def _changing(store: Files, documents: Mapping[int, str], name: str) -> list[dict[str, Any]]:
    """Snapshots in which a table differs from the version before. Raises FileNotFoundError.

    Versions of a table only rise: where two snapshots have the same one, so have all between.
    """
    known = list(documents)

    @functools.cache
    def read(k: int) -> dict[str, Any]:
        return read_document(store, known[k], documents[known[k]])

    def at(k: int) -> int | None:
        version: int | None = read(k)["tables"].get(name)
        return version

    def between(low: int, high: int) -> list[int]:
        if at(low) == at(high) or high - low < 1:
            return []
        middle = (low + high) // 2
        return [high] if high - low == 1 else between(low, middle) + between(middle, high)

    found = [0, *between(0, len(known) - 1)] if known else []
    return [read(k) for k in found if at(k) is not None]


def has_lake(place: str | Path) -> bool:
    """Whether there is a version to open."""
    return bool(known_versions(store_of(lake_folder(place))))


def write(place: str | Path, info: SnapshotInfo, changes: Mapping[str, Replacement]) -> int:
    """All changes as one new version, or none; returns the version.

    Where nothing differs, the present version stays. Rows of `series` are added where their
    series_id is new; in the other tables a delivery is replaced whole. Raises LakeError where
    somebody else is writing, or the folder cannot be written.
    """
    folder = lake_folder(place)
    store = store_of(folder)
    try:
        with lock(folder) as check_lock:
            known = known_versions(store)
            newest = read_snapshot(store, known[-1]) if known else {}
            base: dict[str, int] = newest.get("tables", {})
            written = {
                name: write_table(folder, name, change, base.get(name))
                for name, change in changes.items()
            }
            tables = base | {name: made for name, made in written.items() if made is not None}
            about = json.loads(json.dumps(vars(info)))
            if known and tables == base and all(newest.get(key) == about[key] for key in about):
                return known[-1]
            version = (known[-1] if known else 0) + 1
            check_lock()
            create_snapshot(
                store,
                version,
                {"created_at": datetime.now(UTC).isoformat(), **about, "tables": tables},
            )
            return version
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"the lake {folder} cannot be written",
            found=reason_of(folder, error),
            fix="free space or fix the permissions, and run it again",
        ) from (None if is_remote(folder) else error)  # Delta's text on S3 may show credentials


def lake_folder(place: str | Path) -> str:
    """Where the lake of a place is: a folder, or an s3:// address. Raises LakeError."""
    text = str(place)
    if "://" not in text and (Path(text).name == FILE_NAME or Path(text, FILE_NAME).is_file()):
        text = read_workspace(text).lake_path
    if is_remote(text):
        return text.rstrip("/")
    if "://" in text:
        raise LakeError(
            f"there can be no lake at {text}",
            found="an address that is not on S3",
            fix="name a folder, or s3://bucket/prefix, as `lake.path`",
        )
    return str(Path(text).resolve())
