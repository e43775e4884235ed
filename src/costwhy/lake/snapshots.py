"""Snapshots: numbered JSON documents that say which versions of the tables belong together."""

import json
from typing import Any

from costwhy.errors import LakeError
from costwhy.lake.store import Files

FORMAT = 1
FOLDER = "snapshots"


def known_versions(store: Files) -> list[int]:
    """Versions of a lake, oldest first."""
    stems = [name.removesuffix(".json") for name in store.names(FOLDER) if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isdigit())


def read_snapshot(store: Files, version: int) -> dict[str, Any]:
    """A snapshot, checked. Raises LakeError where it is unreadable or of another format."""
    try:
        content = json.loads(store.read(_name(version)))
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
    head = {"costwhy_lake": FORMAT, "version": version}
    if not store.create(_name(version), json.dumps(head | content, indent=1).encode()):
        raise LakeError(
            "the lake is being written by another costwhy",
            found=f"snapshot {version} is there already",
            fix="run it again",
        )


def _name(version: int) -> str:
    return f"{FOLDER}/{version:012d}.json"
