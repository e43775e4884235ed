"""What was found out about files, kept so that files that did not change are not read again.

A file is the same where its size, its time of change and its inode are. One that changed a moment
ago is not remembered: a second change in the same tick of the clock would not show.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import msgspec

TICK = 2_000_000_000  # ns: what is changed less than that ago may change again unseen
Stamp = tuple[int, int, int]  # size, time of change in ns, inode


class Known(msgspec.Struct):
    """What is known of one file, by what was asked."""

    stamp: Stamp
    facts: dict[str, bytes]


class _Memory(msgspec.Struct):
    code: str
    files: dict[str, Known]


class FileMemory:
    """Facts about files. code: of what found them; facts of another code are forgotten."""

    def __init__(self, place: Path, code: str, *, forget: bool = False) -> None:
        self._place, self._code = place, code
        self._old: dict[str, Known] = {} if forget else _read(place, code)
        self._new: dict[str, Known] = {}
        self._is_same = not forget

    def ask(self, file: Path, what: str, find: Callable[[], bytes]) -> bytes:
        """A fact, found where it is not known. Raises what `find` raises."""
        try:
            about = file.stat()
        except OSError:  # a member of an archive, or nothing
            return find()
        stamp, name = (about.st_size, about.st_mtime_ns, about.st_ino), str(file)
        known = self._new.get(name) or self._old.get(name)
        if known is None or known.stamp != stamp:
            known = Known(stamp, {})
        if what not in known.facts:
            known.facts[what] = find()
            self._is_same = False
        if time.time_ns() - about.st_mtime_ns > TICK:
            self._new[name] = known
        return known.facts[what]

    def write(self) -> None:
        """Keeps what was asked for. A folder that cannot be written is read without."""
        if self._is_same and self._new.keys() == self._old.keys():
            return
        draft = self._place.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._place.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(msgspec.msgpack.encode(_Memory(self._code, self._new)))
            draft.replace(self._place)


def _read(place: Path, code: str) -> dict[str, Known]:
    try:
        memory = msgspec.msgpack.decode(place.read_bytes(), type=_Memory)
    except (OSError, ValueError):
        return {}
    return memory.files if memory.code == code else {}


_memory: ContextVar[FileMemory | None] = ContextVar("file_memory", default=None)


@contextmanager
def remembered(memory: FileMemory) -> Iterator[None]:
    """As long as this lasts, facts are asked of the memory; it is written where nothing failed."""
    token = _memory.set(memory)
    try:
        yield
        memory.write()
    finally:
        _memory.reset(token)


def recall(file: Path, what: str, find: Callable[[], bytes]) -> bytes:
    """A fact about a file: remembered, or found. `what` names it and all that it depends on."""
    memory = _memory.get()
    return find() if memory is None else memory.ask(file, what, find)
