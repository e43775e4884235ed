"""Messages to an incoming webhook of Slack or Mattermost."""

import re
from itertools import accumulate

import msgspec

from costwhy.config import SlackChannel
from costwhy.watch.channels.message import JSON_HEADERS, LIMITS, Message
from costwhy.watch.channels.webhook import post_json

_MENTION = re.compile(r"(?<![\w.])@(?=\w)")
_HEADER, _SECTION, _WHOLE = 150, 2900, 39_000  # Slack's limits are 150, 3,000 and 40,000 characters


def send_slack(channel: SlackChannel, message: Message) -> None:
    """Raises UnreachableError, ConfigError."""
    body = msgspec.json.encode(_slack(message))
    post_json(channel.name, channel.url_env, lambda: dict(JSON_HEADERS), body, LIMITS)


def _slack(message: Message) -> dict[str, object]:
    """Slack's JSON. `text` repeats it for notifications and Mattermost, which show no blocks."""
    lines = [_slack_text(line) for line in message.lines]
    link = [f"<{message.url.replace('&', '&amp;')}|Open the case>"] if message.url else []
    title = {"type": "plain_text", "text": _heading(message.title), "emoji": False}
    blocks: list[dict[str, object]] = [{"type": "header", "text": title}]
    for text in _packed([*lines, *link]):
        section = {"type": "mrkdwn", "text": text, "verbatim": True}
        blocks.append({"type": "section", "text": section})
    return {
        "text": "\n".join(
            _fitting([_slack_text(message.title), *lines[:-1]], [*lines[-1:], *link])
        ),
        "blocks": blocks,
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
    }


def _heading(title: str) -> str:
    """The title as far as Slack's limit for a heading allows, escapes counted."""
    for end in range(len(title), 0, -1):
        text = _slack_text(title[:end]) + ("…" if end < len(title) else "")
        if len(text) <= _HEADER:
            return text
    return "costwhy"


def _slack_text(text: str) -> str:
    """Text escaped for Slack.

    A zero-width space after @ and inside ]( stops services that read plain text as Markdown.
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@\u200b", escaped).replace("](", "]\u200b(")


def _fitting(lines: list[str], last: list[str]) -> list[str]:
    """As many of the lines as Slack's limit for a whole text allows, and the last ones."""
    most = _WHOLE - sum(len(line) + 1 for line in last)
    fit = sum(end <= most for end in accumulate(len(line) + 1 for line in lines))
    return [*lines[:fit], *(["…"] if fit < len(lines) else []), *last]


def _packed(lines: list[str]) -> list[str]:
    """Whole lines in as few texts as Slack's limit for a section allows."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= _SECTION:
            texts[-1] += "\n" + line
        elif line:
            texts.append(line)
    return texts
