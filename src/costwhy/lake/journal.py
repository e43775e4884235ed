"""A journal: small JSON documents beside the tables of a lake, each written once and never changed.

    LAKE/verdicts/, LAKE/plans/     what owners said and planned (feedback)
    LAKE/watch/                     messages, and what became of them (watch)

LAKE is a folder, or s3://bucket/prefix. Of two who write the same name at once, one succeeds.
Documents belong to no version of the lake: verdicts and messages are not restated with a bill.
"""

import json
import uuid
from datetime import datetime
from typing import TypeVar

import msgspec

from costwhy.errors import LakeError
from costwhy.lake.store import store_of
from costwhy.text import shown, to_utc

ENDING = ".json"


class Record:
    """Base of the frozen dataclasses that documents hold; times without a zone are UTC."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, datetime):
                object.__setattr__(self, name, to_utc(value))


R = TypeVar("R", bound=Record)


def name_at(at: datetime) -> str:
    """A name in order of time that nobody else uses."""
    return f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"


class Journal:
    """The documents of one folder of a lake (`place`: its folder or s3:// address)."""

    def __init__(self, place: str, folder: str) -> None:
        self.place, self.folder = place, folder
        self._store = store_of(place)

    def names(self) -> list[str]:
        """Names of all documents, in order."""
        files = self._store.names(self.folder)
        return sorted(name.removesuffix(ENDING) for name in files if name.endswith(ENDING))

    def all(self, record: type[R], ending: str = "") -> list[R]:
        """The records whose names end so, in the order of their names. Raises LakeError."""
        return [self.read(name, record) for name in self.names() if name.endswith(ending)]

    def read(self, name: str, record: type[R]) -> R:
        """A record. Raises LakeError where its document cannot be read, or is another one."""
        try:
            return msgspec.json.decode(self._store.read(self._path(name)), type=record)
        except OSError as error:
            problem, found = "cannot be read", str(error)
        except (ValueError, msgspec.MsgspecError) as error:  # torn, or written by somebody else
            problem, found = "is no document of costwhy", shown(str(error))
        raise LakeError(
            f"{self._path(name)} in the lake {problem}",
            found=found,
            fix="restore the file, or delete it to discard this record",
        )

    def create(self, name: str, record: Record) -> bool:
        """Write a record whole; false: there is one of that name already, and it stays.

        Raises LakeError, UnreachableError.
        """
        content = {"costwhy": 1} | msgspec.to_builtins(record, builtin_types=(datetime,))
        text = json.dumps(content, indent=1, allow_nan=False, default=datetime.isoformat)
        try:
            return self._store.create(self._path(name), text.encode())
        except OSError as error:
            raise LakeError(
                f"{self.folder} in the lake {self.place} cannot be written",
                found=str(error),
                fix="free space or fix the permissions, and run it again",
            ) from error

    def clear_drafts(self) -> None:
        """Remove what killed writers left; only where nobody else writes."""
        self._store.clear_drafts(self.folder)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}{ENDING}"
