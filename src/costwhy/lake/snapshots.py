"""The snapshots of a lake: small documents, each created once, whole, and never changed.

    LAKE/snapshots/000000000012.json           version 12: the Delta version of each table
    LAKE/snapshots/000000000012.catalog.json   version 12 was removed: that of its catalogue alone

A catalogue of the past says who owned what then, so all catalogues stay.
"""

import json
from typing import Any

from costwhy.errors import LakeError
from costwhy.lake.store import Files
from costwhy.tables import CATALOG

FORMAT = 1
FOLDER, PAST = "snapshots", f".{CATALOG.name}.json"
LASTING = CATALOG.name  # the table of which every version stays


def known_versions(store: Files) -> list[int]:
    """Versions of a lake, oldest first."""
    stems = [name.removesuffix(".json") for name in store.names(FOLDER) if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def find_documents(store: Files) -> dict[int, str]:
    """Version and name of each snapshot, and of what stays of removed ones; oldest first."""
    names = [name for name in store.names(FOLDER) if name.endswith((".json", PAST))]
    parts = {name: name.split(".")[0] for name in sorted(names)}  # a snapshot comes after its rest
    return {int(stem): f"{FOLDER}/{name}" for name, stem in parts.items() if stem.isdigit()}


def read_snapshot(store: Files, version: int) -> dict[str, Any]:
    """A snapshot, checked.

    Raises LakeError where it was removed, is unreadable or of another format.
    """
    try:
        return read_document(store, version, snapshot_name(version))
    except FileNotFoundError:
        raise was_removed(version, known_versions(store)) from None


def read_document(store: Files, version: int, name: str) -> dict[str, Any]:
    """A document of `find_documents`. Raises FileNotFoundError; LakeError as `read_snapshot`."""
    try:
        content = json.loads(store.read(name))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise LakeError(
            f"snapshot {version} of the lake cannot be read",
            found=str(error),
            fix="open an older version, or ingest into a new folder",
        ) from error
    form = content.get("costwhy_lake") if isinstance(content, dict) else content
    if form != FORMAT or not isinstance(content, dict):
        raise LakeError(
            "the lake is of another format",
            found=f"snapshot {version} says {form!r}",
            fix=f"this costwhy reads format {FORMAT}; ingest into a new folder",
        )
    return content


def create_snapshot(store: Files, version: int, content: dict[str, object]) -> None:
    """Complete under its number or not there at all, and never over another one."""
    content = {"costwhy_lake": FORMAT, "version": version} | content
    if not store.create(snapshot_name(version), json.dumps(content, indent=1).encode()):
        raise LakeError(
            "the lake is being written by another costwhy",
            found=f"snapshot {version} is there already",
            fix="run it again",
        )


def keep_past(store: Files, version: int, content: dict[str, Any]) -> None:
    """What stays of a snapshot that is about to be removed."""
    lasting = {name: at for name, at in content["tables"].items() if name == LASTING}
    text = json.dumps(content | {"tables": lasting}, indent=1)
    store.create(f"{FOLDER}/{version:012d}{PAST}", text.encode())


def was_removed(version: int, known: list[int]) -> LakeError:
    """The error for a version that was there."""
    return LakeError(
        f"version {version} of the lake was removed",
        found=f"versions {known[0]} to {known[-1]}" if known else "no version",
        fix="open one of these; a longer `keep` in [lake] of costwhy.toml keeps versions longer",
    )


def snapshot_name(version: int) -> str:
    """Where a snapshot is in its lake."""
    return f"{FOLDER}/{version:012d}.json"
