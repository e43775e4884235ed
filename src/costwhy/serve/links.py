"""Signed links: each opens one case until a date, unless it is revoked.

A link is `SITE/link/TEXT`. TEXT says which case, until when, for whom, and the link's id. It is
signed with the server's secret key: its holder can read it, and not change it. It can be opened
often. Revoking it writes its id into a list, which every process reads again when it changes.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from itsdangerous import BadData

from costwhy.errors import UsageError
from costwhy.serve.state import IdList, signer

REVOKED = "revoked-links.txt"
"""Name of the revocation list in the published folder."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


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
    if not _CASE.fullmatch(case):
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
        end = datetime.fromtimestamp(values["u"], UTC)
        return Link(values["i"], values["c"], end, values["n"])
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
    if not _ID.fullmatch(found):
        raise UsageError(
            "not a link of this server, nor the id of one",
            found=repr(link[:12] + "..."),
            fix="give the id, or the link as it was made",
        )
    revoked.add(found)
    return found
