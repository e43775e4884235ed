"""Ids that no longer count: revoked links, and cookies that were logged out."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from costwhy.text import iso_time

Version = tuple[int, int, int]


def version_of(file: Path) -> Version:
    """Changes whenever the file changes. Raises OSError where it cannot be read."""
    now = file.stat()
    return now.st_mtime_ns, now.st_size, now.st_ino


@lru_cache(maxsize=16)
def _read(file: Path, _version: Version) -> frozenset[str]:
    lines = file.read_text(encoding="ascii").splitlines()
    return frozenset(line.split()[0] for line in lines if line.strip() and line[0] != "#")


@dataclass(frozen=True)
class IdList:
    """A text file with one id a line, shared by processes, and read again when it changes.

    A missing file is an empty list. An unreadable one lists every id: it fails closed.
    """

    file: Path

    def __contains__(self, name: str) -> bool:
        try:
            return name in _read(self.file, version_of(self.file))
        except FileNotFoundError:
            return False
        except (OSError, UnicodeDecodeError):
            return True

    def add(self, name: str) -> None:
        """Append an id and the time; a missing parent folder is made."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a+b") as handle:  # in append mode every write goes to the end
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - 1))
            gap = b"" if handle.read(1) in {b"", b"\n"} else b"\n"  # an editor left the line open
            handle.write(gap + f"{name} {iso_time(datetime.now(UTC))}\n".encode("ascii"))
