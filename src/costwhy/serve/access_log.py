"""The access log: one JSON line for each request and WebSocket, without a secret.

    {"time": "2026-11-24T15:22:40.120Z", "address": "10.0.0.7", "who": "ada", "method": "GET",
     "path": "/", "status": 200}

The query, the bodies, the cookies and a link's text are not written, nor long pieces of a path,
which may be a link that somebody pasted wrongly. Control characters are replaced. A WebSocket is
written with method `WEBSOCKET`: when it is opened (101), refused (403), and closed by the guard
(3000).
"""

import json
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from costwhy.serve.secret_key import owner_only
from costwhy.text import clean


@dataclass(frozen=True)
class AccessLog:
    """Appends lines to a file that only its owner reads, or to standard error without a file."""

    file: Path | None = None

    def write(
        self, method: str, path: str, status: int, address: str, who: str | None = None
    ) -> None:
        """Append a line. An error goes to standard error; the viewer is served."""
        text = line(datetime.now(UTC), method, path, status, address, who)
        try:
            with (
                open(self.file, "a", encoding="ascii", opener=owner_only)
                if self.file
                else nullcontext(sys.stderr)
            ) as log:
                log.write(f"{text}\n")
        except OSError as error:
            sys.stderr.write(
                f"costwhy: the access log could not be written ({error.strerror}): {text}\n"
            )


def line(time: datetime, method: str, path: str, status: int, address: str, who: str | None) -> str:
    """The entry as one line of JSON in ASCII."""
    return json.dumps(
        {
            "time": f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z",
            "address": clean(address, "?")[:64],
            "who": None if who is None else clean(who, "?")[:100],
            "method": clean(method, "?")[:16],
            "path": harmless_path(path),
            "status": status,
        }
    )


def harmless_path(path: str) -> str:
    """The path without its query and without pieces that may be secrets."""
    pieces = clean(path.partition("?")[0], "?").split("/")
    if "link" in pieces:
        pieces = [*pieces[: pieces.index("link") + 1], "..."]
    # a signed link is longer than 48 characters
    return "/".join(piece if len(piece) <= 48 else "..." for piece in pieces)[:200]
