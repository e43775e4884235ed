"""The access log: one JSON line for each request and WebSocket, without a secret.

    {"time": "2026-11-24T15:22:40.120Z", "address": "10.0.0.7", "who": "ada", "method": "GET",
     "path": "/", "status": 200}

The query, the bodies, the cookies and a link's text are not written, nor long pieces of a path,
which may be a link that somebody pasted wrongly. Control characters are replaced. A WebSocket is
written with method `WEBSOCKET`: when it is opened (101), refused (403), and closed by the guard
(3000).
"""

import json
import os
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from costwhy.text import clean

_LONGEST_PIECE = 48  # of a path; a signed link is longer
_LONGEST_PATH = 200


@dataclass(frozen=True)
class Entry:
    """Who asked for what, and the status of the response."""

    method: str
    path: str
    status: int
    address: str
    who: str | None = None


@dataclass(frozen=True)
class AccessLog:
    """Appends lines to a file that only its owner reads, or to standard error without a file."""

    file: Path | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def write(self, entry: Entry) -> None:
        """Append a line. An error goes to standard error; the viewer is served."""
        text = line(entry, datetime.now(UTC))
        with self._lock:
            try:
                self._append(text + "\n")
            except OSError as error:
                problem = f"the access log could not be written ({error.strerror})"
                sys.stderr.write(f"costwhy: {problem}: {text}\n")

    def _append(self, text: str) -> None:
        if self.file is None:
            sys.stderr.write(text)
            return
        descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as log:
            log.write(text)


def line(entry: Entry, time: datetime) -> str:
    """The entry as one line of JSON in ASCII."""
    return json.dumps(
        {
            "time": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z",
            "address": clean(entry.address, "?")[:64],
            "who": None if entry.who is None else clean(entry.who, "?")[:100],
            "method": clean(entry.method, "?")[:16],
            "path": harmless_path(entry.path),
            "status": entry.status,
        }
    )


def harmless_path(path: str) -> str:
    """The path without its query and without pieces that may be secrets."""
    pieces = clean(path.partition("?")[0], "?").split("/")
    if "link" in pieces:
        pieces = [*pieces[: pieces.index("link") + 1], "..."]
    shown = (piece if len(piece) <= _LONGEST_PIECE else "..." for piece in pieces)
    return "/".join(shown)[:_LONGEST_PATH]
