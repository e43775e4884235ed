"""The lake: Delta tables, and one snapshot over all of them.

    LAKE/tables/NAME/                  a Delta table for each table of `tables.LAKE_TABLES`
    LAKE/snapshots/000000000012.json   version 12: which Delta version of each table belongs together
    LAKE/writer.lock                   held by the one who writes; the operating system frees it when he dies

LAKE is a folder, or s3://bucket/prefix: there `s3_lake` has objects and a lease in place of files and of the lock.
An investigation reads several tables that must agree, so what a reader opens is a snapshot: it is written last, whole,
and only once. A writer that is killed leaves Delta versions that no snapshot names; the next writer takes them back. A
reader keeps the snapshot that it opened, whatever is written meanwhile; older ones stay readable. docs/decisions/0001.
"""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from costwhy.config import FILE_NAME, read_workspace
from costwhy.errors import LakeError
from costwhy.lake import checkpoint
from costwhy.lake.delta import (
    Replacement,
    delta_table,
    scan_table,
    table_path,
    words_of,
    write_table,
)
from costwhy.lake.lock import lock_folder
from costwhy.lake.snapshots import FORMAT, Snapshots, is_remote, read_snapshot, snapshots_of
from costwhy.tables import BY_NAME
from costwhy.text import currency_code


@dataclass(frozen=True)
class About:
    """What a snapshot says of itself: the workspace's name, its currency, and the configuration it was read with."""

    workspace: str
    currency: str
    config: Mapping[str, object] = field(default_factory=dict)


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
                found=words_of(self.place, error),
                fix=f"bring back the files below {table_path(self.place, name)}, or ingest into a new folder",
            ) from (None if is_remote(self.place) else error)

    def scan(self, name: str) -> pl.LazyFrame:
        """The same, lazily."""
        if name not in BY_NAME:
            raise LakeError(
                f"the lake has no table {name!r}", found=", ".join(BY_NAME), fix="name one of these"
            )
        if name not in self._versions:
            return BY_NAME[name].empty().lazy()
        return scan_table(table_path(self.place, name), self._versions[name]).select(
            BY_NAME[name].schema.names()
        )

    def files(self, name: str) -> list[str]:
        """The Parquet files of a table in this version, for DuckDB."""
        if name not in self._versions:
            return []
        return list(delta_table(table_path(self.place, name), self._versions[name]).file_uris())

    def history(self, name: str) -> list[tuple[datetime, pl.DataFrame]]:
        """What a table said in this and the versions before, oldest first, each with the time at which it was written.

        Only versions in which the table differs; those that can no longer be read are left out. For small tables.
        """
        snapshots, out = snapshots_of(self.place), []
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
        return snapshots_of(self.place).known()


def open_lake(place: str | Path, version: int | None = None) -> Lake:
    """The lake of a workspace (its folder or costwhy.toml), or a lake's own folder, at its newest or a pinned version.

    Raises LakeError where there is none, or not that version; ConfigError where costwhy.toml is wrong.
    """
    folder = _lake_folder(place)
    snapshots = snapshots_of(folder)
    known = snapshots.known()
    if not known:
        raise LakeError(
            f"there is no lake at {place}",
            found=f"nothing in {folder}",
            fix="run `costwhy ingest` first",
        )
    if version is not None and version not in known:
        found = f"versions {known[0]} to {known[-1]}"
        raise LakeError(f"the lake has no version {version}", found=found, fix="open one of these")
    chosen = known[-1] if version is None else version
    content = read_snapshot(snapshots, chosen)
    created = datetime.fromisoformat(content["created_at"])
    currency = currency_code(content["currency"], f"version {chosen} of the lake {folder}")
    about = (content["workspace"], currency, created, content.get("config", {}))
    return Lake(folder, chosen, *about, content["tables"])


def _steps(snapshots: "Snapshots", known: list[int], name: str) -> list[int]:
    """Versions in which a table is another than in the one before. Table versions only rise: equal ends have nothing between."""

    @functools.cache
    def at(k: int) -> int | None:
        version: int | None = read_snapshot(snapshots, known[k])["tables"].get(name)
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
    return bool(snapshots_of(_lake_folder(place)).known())


def write(place: str | Path, about: About, changes: Mapping[str, Replacement]) -> int:
    """All changes as one new version, or none; where nothing differs, the present version stays. Returns the version.

    Rows of `series` are added where their series_id is new; in the other tables a delivery is replaced whole.
    Raises LakeError where somebody else is writing, or the folder cannot be written.
    """
    folder = _lake_folder(place)
    try:
        with lock_folder(folder) as still_ours:
            return _write(folder, about, changes, still_ours)
    except (DeltaError, OSError) as error:
        fix = "free space or mend the permissions, and run it again"
        cause = (
            None if is_remote(folder) else error
        )  # what Delta says of S3 may carry more than it should
        raise LakeError(
            f"the lake {folder} cannot be written", found=words_of(folder, error), fix=fix
        ) from cause


def _write(
    folder: str, about: About, changes: Mapping[str, Replacement], still_ours: Callable[[], None]
) -> int:
    snapshots = snapshots_of(folder)
    snapshots.clear_drafts()
    known = snapshots.known()
    newest = read_snapshot(snapshots, known[-1]) if known else {}
    base: dict[str, int] = newest.get("tables", {})
    versions = dict(base)
    for name, change in changes.items():
        written = write_table(folder, name, change, base.get(name))
        checkpoint.step(f"after {name}")
        if written is not None:
            versions[name] = written
    said = {
        "workspace": about.workspace,
        "currency": about.currency,
        "config": json.loads(json.dumps(about.config)),
    }
    if known and versions == base and all(newest.get(key) == value for key, value in said.items()):
        return known[-1]
    version = (known[-1] if known else 0) + 1
    checkpoint.step("before the snapshot")
    still_ours()
    head = {"costwhy_lake": FORMAT, "version": version, "created_at": datetime.now(UTC).isoformat()}
    snapshots.create(version, {**head, **said, "tables": versions})
    return version


def _lake_folder(place: str | Path) -> str:
    text = str(place)
    if "://" not in text and (Path(text).name == FILE_NAME or Path(text, FILE_NAME).is_file()):
        text = read_workspace(text).lake_path
    if is_remote(text):
        return text.rstrip("/")
    if "://" in text:
        fix = "name a folder, or s3://bucket/prefix, as `lake.path`"
        raise LakeError(
            f"there can be no lake at {text}", found="an address that is not on S3", fix=fix
        )
    return str(Path(text).resolve())
