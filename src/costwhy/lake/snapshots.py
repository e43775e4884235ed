"""TODO lake/snapshots.py"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from costwhy.errors import LakeError
from costwhy.lake import checkpoint, on_s3

FORMAT = 1


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


def is_remote(folder: str) -> bool:
    return folder.startswith("s3://")


def snapshots_of(folder: str) -> Snapshots:
    return on_s3.Snapshots(folder) if is_remote(folder) else LocalSnapshots(folder)


def read_snapshot(snapshots: Snapshots, version: int) -> dict[str, Any]:
    """A snapshot, checked. Raises LakeError where it is unreadable or of another format."""
    try:
        content = json.loads(snapshots.text(version))
    except (OSError, ValueError) as error:
        fix = "open an older version, or ingest into a new folder"
        raise LakeError(
            f"snapshot {version} of the lake cannot be read", found=str(error), fix=fix
        ) from error
    form = content.get("costwhy_lake") if isinstance(content, dict) else content
    if form != FORMAT or not isinstance(content, dict):
        fix = f"this costwhy reads format {FORMAT}; ingest into a new folder"
        raise LakeError(
            "the lake is of another format", found=f"snapshot {version} says {form!r}", fix=fix
        )
    return content


class LocalSnapshots:
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
        checkpoint.step("before the link")
        try:
            os.link(draft, file)
        except FileExistsError as error:
            problem = "the lake is being written by another costwhy"
            raise LakeError(
                problem, found=f"{file} is there already", fix="run it again"
            ) from error
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
