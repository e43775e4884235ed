"""Which viewer owns which notebook session, and which files its page was told of.

marimo knows a session by a short id that the browser chooses, and a file of a chart's rows by a name from a generator that is not
made for secrets. Whoever guessed one could take over a session or read another case's rows; so each counts for its owner only.
"""

import re
import time
from collections import deque
from dataclasses import dataclass, field

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{4,64}")
_FILES = re.compile(r"@file/([0-9]+-[A-Za-z0-9_.-]{1,120})")


@dataclass
class Session:
    """A notebook session, open or not long closed."""

    owner: str
    open: int = 0
    closed: float = 0.0
    files: deque[str] = field(default_factory=lambda: deque(maxlen=2000))


class Sessions:
    """The sessions of this process, kept `ttl` seconds after their last WebSocket has ended: longer than marimo keeps them."""

    def __init__(self, ttl: float, most: int = 400, most_of_one: int = 40) -> None:
        self._ttl, self._most, self._most_of_one = ttl, most, most_of_one
        self._sessions: dict[str, Session] = {}

    def enter(self, name: str, owner: str) -> Session | None:
        """The session for a new WebSocket; None where it is another's, or there are too many."""
        self._forget_old()
        session = self._sessions.get(name)
        if session is None:
            if len(self._sessions) >= self._most or len(self._of(owner)) >= self._most_of_one:
                return None
            session = self._sessions[name] = Session(owner)
        if session.owner != owner:
            return None
        session.open += 1
        return session

    def leave(self, session: Session) -> None:
        """A WebSocket has ended."""
        session.open -= 1
        session.closed = time.monotonic()

    def owns(self, name: str, owner: str) -> bool:
        """Whether the session is there and this viewer's."""
        session = self._sessions.get(name)
        return session is not None and session.owner == owner

    def may_read(self, file: str, owner: str) -> bool:
        """Whether a page of this viewer was told of the file."""
        return any(file in session.files for session in self._of(owner))

    def _of(self, owner: str) -> list[Session]:
        return [session for session in self._sessions.values() if session.owner == owner]

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._sessions = {n: s for n, s in self._sessions.items() if s.open > 0 or now - s.closed < self._ttl}


def note_files(session: Session, text: str) -> None:
    """Remember the files that a message to the page names."""
    if "@file/" in text:
        session.files.extend(name for name in dict.fromkeys(_FILES.findall(text)) if name not in session.files)
