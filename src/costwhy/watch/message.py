"""A message about a spike, and what all channels do with its text."""

import re
from dataclasses import dataclass, replace
from typing import Literal

import httpx2
import msgspec

from costwhy.remote.http import Limits
from costwhy.text import one_line

LIMITS = Limits(seconds=10.0, bytes=2**16, attempts=4)
MOST_LINES = 40
MOST_TEXT = 500  # characters of one line
EventKind = Literal["new", "grown", "ended", "resolved"]
_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True)
class Message:
    """One message about one spike.

    id          the same for the same news, so that a receiver recognises a second delivery;
                1 to 128 printable ASCII characters
    event       what happened to the spike
    title       one line; further `lines` of plain text
    url         the case, where it is published
    dollars     excess so far, in `currency`
    owner_team  the team that owns it; null: nobody
    """

    id: str
    event: EventKind
    spike_id: str
    title: str
    lines: tuple[str, ...]
    dollars: float
    currency: str
    url: str | None = None
    owner_team: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"a message's id is 1 to 128 printable ASCII characters, not {self.id!r}"
            )


def cleaned(message: Message) -> Message:
    """The message with each of its texts as one line, and without an invalid address."""
    lines = tuple(one_line(line, MOST_TEXT) for line in message.lines[:MOST_LINES])
    if len(message.lines) > MOST_LINES:
        lines += (f"({len(message.lines) - MOST_LINES} more lines)",)
    return replace(
        message,
        spike_id=one_line(message.spike_id, MOST_TEXT),
        title=one_line(message.title, MOST_TEXT),
        lines=lines,
        currency=one_line(message.currency, MOST_TEXT),
        url=_link(message.url),
        owner_team=None if message.owner_team is None else one_line(message.owner_team, MOST_TEXT),
    )


def _link(url: str | None) -> str | None:
    """An http address with every unusual character encoded; null where it is not valid."""
    try:
        parsed = httpx2.URL(url or "")
    except httpx2.InvalidURL:
        return None
    is_web = parsed.scheme in {"http", "https"} and parsed.host and not parsed.userinfo
    if not is_web or not str(parsed).isascii():
        return None
    return str(parsed).translate({ord(mark): f"%{ord(mark):02X}" for mark in "<>|\"'()[]`*_~ "})


def plain_text(message: Message) -> str:
    """The message as lines of text."""
    return "\n".join((message.title, *message.lines, *([message.url] if message.url else [])))


def as_json(message: Message) -> bytes:
    """The message as JSON; <, > and & are escaped, so that no page can mistake it for markup."""
    text = msgspec.json.encode({"costwhy": 1} | msgspec.to_builtins(message)).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()
