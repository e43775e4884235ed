"""The secret key, the signed links, and lists of ids that no longer count.

A link is `SITE/link/TEXT` and opens one case. TEXT says which case, until when, for whom, and the
link's id. It is signed with the server's secret key: its holder can read it, and not change it. It
can be opened often. Revoking it writes its id into a list, which every process reads at each use.
Processes share the key and the lists by their state folder.
"""

import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from itsdangerous import BadData

from costwhy.errors import UsageError
from costwhy.serve.secret_key import signer
from costwhy.text import iso_time

REVOKED = "revoked-links.txt"  # name of the revocation list in the published folder


@dataclass(frozen=True)
class IdList:
    """A text file with one id a line, shared by processes, and read at each use.

    A missing file is an empty list. An unreadable one lists every id: it fails closed.
    """

    file: Path

    def __contains__(self, name: str) -> bool:
        try:
            return any(
                line.split()[:1] == [name]
                for line in self.file.read_text(encoding="ascii").splitlines()
            )
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


@dataclass(frozen=True)
class Link:
    """Opens `case` until a time. `name`: for whom; the access log and the page show it."""

    id: str
    case: str
    until: datetime
    name: str


def make_link(key: bytes, case: str, until: datetime, name: str = "link") -> tuple[Link, str]:
    """A new link, and its signed text, which follows `SITE/link/`.

    Raises UsageError where the case has no valid id, or the time has no zone or is past.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", case):
        raise UsageError(
            "a link opens one case, named by its id",
            found=repr(case),
            fix="give the name of the case's folder",
        )
    if until.tzinfo is None or until <= datetime.now(UTC):
        raise UsageError(
            "a link must end later than now",
            found=str(until),
            fix="give a later date, such as 2026-12-31T00:00Z",
        )
    end = until.astimezone(UTC).replace(microsecond=0)
    link = Link(secrets.token_urlsafe(12), case, end, name[:64])
    values = {"i": link.id, "c": case, "u": int(end.timestamp()), "n": link.name}
    return link, str(signer(key, "link").dumps(values))


def read_link(key: bytes, text: str, revoked: IdList) -> Link | None:
    """The link of a signed text; None where it was changed, has ended, or is revoked."""
    link = _read(key, text)
    return link if link and link.until > datetime.now(UTC) and link.id not in revoked else None


def _read(key: bytes, text: str) -> Link | None:
    try:
        values = signer(key, "link").loads(text)
        return Link(values["i"], values["c"], datetime.fromtimestamp(values["u"], UTC), values["n"])
    except (BadData, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def revoke(key: bytes, link: str, revoked: IdList) -> str:
    """Revoke a link, given as its id, its text or its whole address. Returns the id.

    Its cookies end with it, and open pages within half a minute. Raises UsageError where it is no
    link of this server, nor an id.
    """
    text = link.strip().rpartition("/")[2]
    known = _read(key, text)
    found = known.id if known else text
    if not re.fullmatch(r"[A-Za-z0-9_-]{8,64}", found):
        raise UsageError(
            "not a link of this server, nor the id of one",
            found=repr(link[:12] + "..."),
            fix="give the id, or the link as it was made",
        )
    revoked.add(found)
    return found
