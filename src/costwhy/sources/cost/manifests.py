"""Manifests of exports: which files one run wrote, and when.

AWS writes `NAME-Manifest.json` with `dataFiles` (Data Exports) or `reportKeys` (legacy reports),
Azure `manifest.json` with `blobs` and `runInfo`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from costwhy.errors import SourceError
from costwhy.sources.cost.paths import stamp_of
from costwhy.sources.packed import split
from costwhy.sources.records import read_bytes

ENDING = "manifest.json"
# Where a run says when it was, the surest first; the last is only the end of its data
_TIMES = (
    "executionDateTime",
    "submittedTime",
    "completedAt",
    "createdAt",
    "executionId",
    "endDate",
)
_PACKED = re.compile(r"\.(gz|gzip|zip|zst|bz2|xz)$", re.IGNORECASE)


@dataclass(frozen=True)
class Manifest:
    """What one run wrote.

    names   of its files, as in the store: `prefix/export/.../part.csv`
    time    of the run, ISO 8601 in UTC; empty: not known
    export  its scope and name, where the manifest says them
    """

    path: Path
    names: tuple[str, ...]
    time: str = ""
    export: str = ""

    def names_of(self, file: Path) -> str | None:
        """The name that the manifest has for a file: of its path, or of one in its own folder."""
        return self._name_of(file) or self._name_of(split(file)[0])

    def _name_of(self, file: Path) -> str | None:
        own = _unpacked(file.as_posix())
        tail = "/".join(own.split("/")[-3:])
        for name in self.names:
            plain = _unpacked(name)
            beside = file.parent == self.path.parent and own.endswith(
                f"/{PurePosixPath(plain).name}"
            )
            if own.endswith(f"/{plain}") or plain.endswith(f"/{tail}") or plain == tail or beside:
                return name
        return None

    def missing(self, named: Mapping[Path, str]) -> Iterator[Path]:
        """Where the files would be that it names and that are not here: beside the others."""
        folders = {name.rpartition("/")[0]: split(file)[0].parent for file, name in named.items()}
        for name in sorted({*self.names} - {*named.values()}):
            folder, _, last = name.rpartition("/")
            yield folders.get(folder, next(iter(folders.values()))) / last


def _unpacked(name: str) -> str:
    return _PACKED.sub("", name)


def is_manifest(name: str) -> bool:
    """Whether a file, or a key on S3, is a manifest by its name."""
    return name.lower().endswith(ENDING)


def read_manifest(path: Path) -> Manifest | None:
    """The manifest; null where the file is none or names no files. Nothing in it is trusted."""
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError, SourceError):
        return None
    if not isinstance(content, dict):
        return None
    names = tuple(dict.fromkeys(_names(content)))
    run = content.get("runInfo")
    told = {**content, **(run if isinstance(run, dict) else {})}
    config = content.get("exportConfig")
    named = config if isinstance(config, dict) else {}
    export = "/".join(str(named[key]) for key in ("resourceId", "exportName") if named.get(key))
    time = next((t for key in _TIMES if (t := _time(told.get(key)))), "")
    return Manifest(path, names, time, export) if names else None


def _time(value: object) -> str:
    """A date with the time of day; of anything else nothing."""
    moment = stamp_of(Path(str(value)[:100].replace("/", "-")), Path())[0]
    return moment if "T" in moment else ""


def _names(content: Mapping[str, Any]) -> Iterator[str]:
    for key in ("dataFiles", "reportKeys", "blobs"):
        listed = content.get(key)
        for one in listed if isinstance(listed, list) else ():
            name = one.get("blobName") if isinstance(one, dict) else one
            if isinstance(name, str) and name:
                yield name.removeprefix("s3://").split("/", 1)[-1] if "://" in name else name
