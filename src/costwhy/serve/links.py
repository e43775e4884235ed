"""Signed links: whoever holds one sees one case until a date, unless it is revoked.

A link is `SITE/link/TEXT`. TEXT says which case, until when, for whom, and the link's id, and is signed with the server's
secret key: it can be read by its holder, and not altered. It can be opened often until its date. Revoking writes its id
into a list, which every process reads again when it changes; a list that cannot be read refuses all links.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeSerializer

from costwhy.errors import InputError, UsageError
from costwhy.lake.folder import create_once
from costwhy.text import iso_time

ENV = "COSTWHY_SECRET"
REVOKED = "revoked-links.txt"
"""Name of the revocation list in the published folder."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


def read_secret(state: Path) -> bytes:
    """The server's secret key: from COSTWHY_SECRET, or the file `secret` in the state folder, made once with mode 0600.

    Everybody who has it can make cookies and links: the state folder belongs outside the published one.

    Raises UsageError where COSTWHY_SECRET is shorter than 32 characters; InputError where others than the owner may read the
    file, or it is too short.
    """
    told = os.environ.get(ENV, "")
    if told:
        if len(told) < 32:
            raise UsageError(f"{ENV} is too short", found=f"{len(told)} characters", todo="give 32 or more random characters")
        return told.encode()
    file = state / "secret"
    if not file.exists():
        _make_secret(file)
    if file.stat().st_mode & 0o077:
        raise InputError(
            "the secret key can be read by others", found=f"{file}, mode {file.stat().st_mode & 0o777:o}", todo=f"chmod 600 {file}"
        )
    key = file.read_bytes().strip()
    if len(key) < 32:
        raise InputError("the secret key is too short", found=f"{file}, {len(key)} bytes", todo="delete it; the next start makes a new one")
    return key


def _make_secret(file: Path) -> None:
    """Written whole and only then named, so that of two processes that start together both read the same key."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_once(file, f"{secrets.token_urlsafe(48)}\n".encode(), 0o600)


def signer(key: bytes, purpose: str) -> URLSafeSerializer:
    """Signs JSON with HMAC-SHA256; what was signed for one purpose does not count for another."""
    return URLSafeSerializer(key, salt=f"costwhy {purpose}", signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256})


@dataclass(frozen=True)
class Link:
    """Opens one case until a time."""

    id: str
    case: str
    until: datetime
    name: str
    """For whom it was made; the access log and the page call its holder so."""


def make_link(key: bytes, case: str, until: datetime, name: str = "link") -> tuple[Link, str]:
    """A new link, and its signed text, to be put behind `SITE/link/`.

    Raises UsageError where the case's id is none, or the time has no zone or is past.
    """
    if not _CASE.fullmatch(case):
        raise UsageError("a link opens one case, named by its id", found=repr(case), todo="give the name of the case's folder")
    if until.tzinfo is None or until <= datetime.now(UTC):
        raise UsageError(
            "a link ends at a time to come, with its zone", found=str(until), todo="give a later date, such as 2026-12-31T00:00Z"
        )
    link = Link(secrets.token_urlsafe(12), case, until.astimezone(UTC).replace(microsecond=0), name[:64])
    return link, _write(key, link)


def _write(key: bytes, link: Link) -> str:
    text = signer(key, "link").dumps({"i": link.id, "c": link.case, "u": int(link.until.timestamp()), "n": link.name})
    return text if isinstance(text, str) else text.decode("ascii")


def read_link(key: bytes, text: str, revoked: "IdList") -> Link | None:
    """The link that this text is; None where it is altered, past its date, or revoked."""
    link = _read(key, text)
    if link is None or link.until <= datetime.now(UTC) or link.id in revoked:
        return None
    return link


def _read(key: bytes, text: str) -> Link | None:
    try:
        said: Any = signer(key, "link").loads(text)
        return Link(said["i"], said["c"], datetime.fromtimestamp(said["u"], UTC), said["n"])
    except (BadData, KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def revoke(key: bytes, link: str, revoked: "IdList") -> str:
    """Revoke a link, given as its id, its text or its whole address; returns the id.

    Cookies made from it end with it, and open pages within half a minute.

    Raises UsageError where this is no link of this server, nor an id.
    """
    text = link.strip().rpartition("/")[2]
    known = _read(key, text)
    found = known.id if known is not None else text
    if not _ID.fullmatch(found):
        raise UsageError(
            "this is no link of this server, nor the id of one",
            found=repr(link[:12] + "..."),
            todo="give the id, or the link as it was made",
        )
    revoked.add(found)
    return found


class IdList:
    """Ids in a text file, one on a line, that no longer count: revoked links, or cookies logged out.

    Processes share the file: each appends whole lines, and reads it again when it has changed. A missing file is an
    empty list; one that cannot be read contains every id.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._ids: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        try:
            self._refresh()
        except (OSError, UnicodeDecodeError):
            return True
        return name in self._ids

    def _refresh(self) -> None:
        try:
            now = self._file.stat()
        except FileNotFoundError:
            self._stamp, self._ids = None, frozenset()
            return
        stamp = (now.st_mtime_ns, now.st_size, now.st_ino)
        if stamp != self._stamp:
            lines = self._file.read_text(encoding="ascii").splitlines()
            self._ids = frozenset(line.split()[0] for line in lines if line.strip() and not line.startswith("#"))
            self._stamp = stamp

    def add(self, name: str) -> None:
        """Append an id with the time of now; the parent folder is made where it is missing."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.open("a+b") as handle:  # in append mode every write goes to the end
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - 1))
            gap = b"" if handle.read(1) in {b"", b"\n"} else b"\n"  # a person's editor may have left the last line open
            handle.write(gap + f"{name} {iso_time(datetime.now(UTC))}\n".encode("ascii"))
