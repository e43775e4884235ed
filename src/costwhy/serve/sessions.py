"""Which visitor owns which notebook session, and which files its page was sent.

marimo knows a session by a short id that the browser chooses, and a file with a chart's rows by a
random name that is not made for secrets. Whoever guesses one could take over a session, or read
another case's rows. So each is valid for its owner only.
"""

import re
import time
from collections import deque
from dataclasses import dataclass, field

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{4,64}")
FILES = re.compile(r"@file/([0-9]+-[A-Za-z0-9_.-]{1,120})")
_MOST = 400  # sessions of the process
_MOST_OF_ONE = 40  # sessions of one owner


@dataclass
class Session:
    """A notebook session: its open WebSockets, when the last one closed, its files' names."""

    owner: str
    open: int = 0
    closed: float = 0.0
    files: deque[str] = field(default_factory=lambda: deque(maxlen=2000))


class Sessions:
    """The sessions of this process, kept for `ttl` seconds after their last WebSocket.

    `ttl` is longer than marimo keeps them.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._sessions: dict[str, Session] = {}

    def enter(self, name: str, owner: str) -> Session | None:
        """The session of a new WebSocket; None where it is another's, or there are too many."""
        oldest = time.monotonic() - self._ttl
        self._sessions = {
            n: s for n, s in self._sessions.items() if s.open > 0 or s.closed > oldest
        }
        session = self._sessions.get(name)
        if session is None:
            if len(self._sessions) >= _MOST or len(self._of(owner)) >= _MOST_OF_ONE:
                return None
            session = self._sessions[name] = Session(owner)
        if session.owner != owner:
            return None
        session.open += 1
        return session

    def leave(self, session: Session) -> None:
        session.open -= 1
        session.closed = time.monotonic()

    def owns(self, name: str, owner: str) -> bool:
        return name in self._sessions and self._sessions[name].owner == owner

    def may_read(self, file: str, owner: str) -> bool:
        """Whether a page of this owner was sent the file's name."""
        return any(file in session.files for session in self._of(owner))

    def _of(self, owner: str) -> list[Session]:
        return [session for session in self._sessions.values() if session.owner == owner]
