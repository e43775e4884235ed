"""A journal: small JSON documents beside the tables of a lake, each written once, whole, and never changed.

    LAKE/verdicts/, LAKE/plans/     what owners said (verdicts.py)
    LAKE/watch/                     what was to be told and what was told (watch.py)

LAKE is a folder, where a document is linked into place, or s3://bucket/prefix, where it is put with If-None-Match. Of two
who write the same name at once one is told that he was late. Nothing here belongs to a version of the lake: opinions and
messages are not restated with a bill.
"""

import json
import os
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from costwhy.errors import LakeError
from costwhy.remote.s3 import Store

ENDING = ".json"
T = TypeVar("T")


class Journal:
    """The documents of one folder of a lake (`place`: its folder or s3:// address)."""

    def __init__(self, place: str, folder: str) -> None:
        self.place, self.folder = place, folder
        self._store = Store(place) if place.startswith("s3://") else None

    def names(self) -> list[str]:
        """Names of all documents, in order."""
        if self._store is not None:
            found = self._store.names(self.folder)
        else:
            found = [file.name for file in Path(self.place, self.folder).glob(f"*{ENDING}")]
        return sorted(name.removesuffix(ENDING) for name in found if name.endswith(ENDING))

    def read(self, name: str) -> dict[str, Any]:
        """A document. Raises LakeError where it is gone or is no JSON object."""
        try:
            content = json.loads(self._text(name))
        except (OSError, ValueError) as error:
            fix = "bring it back, or remove the file: what it said is then forgotten"
            raise LakeError(
                f"{self.folder}/{name}{ENDING} in the lake cannot be read",
                found=str(error),
                fix=fix,
            ) from error
        if not isinstance(content, dict):
            raise LakeError(
                f"{self.folder}/{name}{ENDING} in the lake is no document of costwhy",
                found=type(content).__name__,
            )
        return content

    def all(self, become: Callable[[dict[str, Any]], T], kind: str = "") -> list[T]:
        """What all documents (whose names end in `kind`) become, in the order of their names. Raises LakeError where one is no such thing."""
        return [self.read_as(name, become) for name in self.names() if name.endswith(kind)]

    def read_as(self, name: str, become: Callable[[dict[str, Any]], T]) -> T:
        """What a document becomes. Raises LakeError where it is no such thing."""
        content = self.read(name)
        try:
            return become(content)
        except (
            KeyError,
            TypeError,
            ValueError,
            msgspec.MsgspecError,
        ) as error:  # torn, written by hand, or by another version
            problem = f"{self.folder}/{name}{ENDING} in the lake is no document of costwhy"
            fix = "bring it back, or remove the file: what it said is then forgotten"
            raise LakeError(
                problem, found=f"{type(error).__name__}: {error}"[:200], fix=fix
            ) from error

    def create(self, name: str, content: Mapping[str, object]) -> bool:
        """Write a document whole; false: there is one of that name already, and it stays. Raises LakeError, UnreachableError."""
        text = json.dumps(content, indent=1, allow_nan=False)
        if self._store is not None:
            return self._store.put(f"{self.folder}/{name}{ENDING}", text.encode()) is not None
        try:
            return _create(Path(self.place, self.folder, name + ENDING), text)
        except OSError as error:
            fix = "free space or mend the permissions, and run it again"
            raise LakeError(
                f"{self.folder} in the lake {self.place} cannot be written",
                found=str(error),
                fix=fix,
            ) from error

    def clear_drafts(self) -> None:
        """What killed writers left; only where nobody else writes."""
        if self._store is None:
            for draft in Path(self.place, self.folder).glob("*.draft"):
                draft.unlink(missing_ok=True)

    def _text(self, name: str) -> str:
        if self._store is None:
            return Path(self.place, self.folder, name + ENDING).read_text(encoding="utf-8")
        content, etag, _ = self._store.get(f"{self.folder}/{name}{ENDING}")
        if not etag:
            raise FileNotFoundError(f"{self.place}/{self.folder}/{name}{ENDING}")
        return content.decode()


def time_of(text: str) -> datetime:
    """A time of a document; one without a zone is UTC. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _create(file: Path, text: str) -> bool:
    """By a link from a draft that is on disk: complete under its name, or not there at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex[:8]}.draft")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    handle = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return True
