"""What only versions of the past need is removed, so that a lake does not grow for ever.

A version can be read for `keep` after another one replaced it, and as long as somebody has it open;
the newest stays. Files that no such version names go: data, entries of Delta's logs, snapshots,
models, and what killed writers left.
Published cases carry their data and need no version. docs/decisions/0012.

Killed anywhere, it leaves a mark, and the next run goes on:

    LAKE/snapshots/vacuum      a vacuum has begun to remove and has not ended
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from deltalake.exceptions import DeltaError, TableNotFoundError

from costwhy.errors import LakeError
from costwhy.lake.delta import delta_table, files_of, reason_of, table_path
from costwhy.lake.lake import lake_folder
from costwhy.lake.lock import lock
from costwhy.lake.snapshots import (
    FOLDER,
    LASTING,
    find_documents,
    keep_past,
    known_versions,
    read_document,
    read_snapshot,
    snapshot_name,
)
from costwhy.lake.store import Files, is_remote, store_of

MARK = f"{FOLDER}/vacuum"
LOG = "_delta_log/"
MANY_LOGS = 10  # entries before the oldest version that count: a checkpoint costs a file


@dataclass(frozen=True)
class _Kept:
    """Snapshots that go, and those that stay, by version, oldest first."""

    going: Mapping[int, dict[str, Any]]
    staying: Mapping[int, dict[str, Any]]


def vacuum(place: str | Path, keep: timedelta) -> int:
    """Remove what only versions need that were replaced longer than `keep` ago.

    Returns the bytes of tables that were freed. Where nothing is due it asks for one listing and
    one or two snapshots. Raises LakeError where somebody else is writing, or a file cannot be
    removed; whatever was removed by then, the lake is whole.
    """
    folder = lake_folder(place)
    store, until = store_of(folder), datetime.now(UTC) - keep
    if not _find_going(store, until) and PurePosixPath(MARK).name not in store.names(FOLDER):
        return 0
    try:
        with lock(folder) as check_lock:
            # Listed before the lock is checked: what a later writer adds is not in it.
            files = store.sizes("tables")
            kept = _read_kept(store, until)
            check_lock()
            store.create(MARK, b"")
            _remove_snapshots(store, kept)
            gone = list(_find_unnamed(folder, files, kept))
            store.remove([f"tables/{name}" for name in gone])
            _remove_beside(folder, kept)
            store.remove([MARK])
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"old versions of the lake {folder} cannot be removed",
            found=reason_of(folder, error),
            fix="fix the permissions, and run `costwhy ingest` again",
        ) from (None if is_remote(folder) else error)
    return sum(files[name] for name in gone)


# ---------------------------------------------------------------- snapshots


def _find_going(store: Files, until: datetime) -> dict[int, dict[str, Any]]:
    """Snapshots that were replaced before `until`, and that nobody reads."""
    found = {}
    for version, following in pairwise(known_versions(store)):
        replaced_at = datetime.fromisoformat(read_snapshot(store, following)["created_at"])
        if replaced_at > until:
            break
        if store.is_held(snapshot_name(version)):
            continue
        found[version] = read_snapshot(store, version)
    return found


def _read_kept(store: Files, until: datetime) -> _Kept:
    going = _find_going(store, until)
    staying = [version for version in known_versions(store) if version not in going]
    return _Kept(going, {version: read_snapshot(store, version) for version in staying})


def _remove_snapshots(store: Files, kept: _Kept) -> None:
    """From here on nobody opens them. Each catalogue stays, with the time it was first there."""
    documents = find_documents(store)
    past = (read_document(store, v, name) for v, name in documents.items() if v not in kept.going)
    first = min(kept.going, default=0)
    before = {one["tables"].get(LASTING) for one in past if one["version"] < first}
    for version, content in kept.going.items():
        if content["tables"].get(LASTING) not in before | {None}:
            keep_past(store, version, content)
            before.add(content["tables"][LASTING])
    store.remove([snapshot_name(version) for version in kept.going])


# ---------------------------------------------------------------- files


def _find_unnamed(folder: str, files: Mapping[str, int], kept: _Kept) -> Iterator[str]:
    """Files below `tables/` that no version needs; data first, for logs say what there was."""
    tables = defaultdict[str, list[str]](list)
    for name in files:
        table, _, below = name.partition("/")
        tables[table].append(below)
    for table, found in tables.items():
        if table == LASTING:
            continue
        at = (one["tables"].get(table) for one in kept.staying.values())
        versions = {version for version in at if version is not None}
        path = table_path(folder, table)
        named = _find_named(path, versions)
        data = [name for name in found if not name.startswith(LOG)]
        yield from (f"{table}/{name}" for name in data if PurePosixPath(name).name not in named)
        yield from (f"{table}/{name}" for name in _find_old_logs(path, found, versions))


def _find_named(path: str, versions: set[int]) -> set[str]:
    """Names of the data files of these versions, and of Delta's newest, which others may read."""
    newest = set[int]()
    with suppress(TableNotFoundError):  # killed before its first commit
        newest = {delta_table(path).version()}
    return {PurePosixPath(uri).name for one in versions | newest for uri in files_of(path, one)}


def _find_old_logs(path: str, found: list[str], versions: set[int]) -> list[str]:
    """Entries before the oldest version, where they are many; a checkpoint stands for them."""
    numbers = {name: name.removeprefix(LOG)[:20] for name in found if name.startswith(LOG)}
    oldest = min(versions, default=0)
    old = [name for name, n in numbers.items() if n.isdigit() and int(n) < oldest]
    if len(old) < MANY_LOGS:
        return []
    delta_table(path, oldest).create_checkpoint()
    return sorted(old)


def _remove_beside(folder: str, kept: _Kept) -> None:
    """Models of versions that are gone, and drafts of killed writers: older than what stays."""
    if is_remote(folder):
        return  # models of a lake on S3 are in the user's cache, and S3 has no drafts
    oldest = datetime.fromisoformat(kept.staying[min(kept.staying)]["created_at"]).timestamp()
    for file in (*Path(folder).glob("models/*"), *Path(folder).glob("*/*.draft")):
        with suppress(FileNotFoundError):  # its writer ended meanwhile
            if file.stat().st_mtime < oldest:
                file.unlink()
