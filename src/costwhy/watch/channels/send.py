"""Send a message to a channel.

Its text comes from outside (service names, commit titles): in each channel it is text and nothing
else. One line stays one line, no mention notifies anybody, no character becomes a link, no header
can be added. docs/watch-channels.md.
"""

import sys

from costwhy.config import (
    Channel,
    EmailChannel,
    OutputChannel,
    SlackChannel,
    SnsChannel,
    WebhookChannel,
)
from costwhy.errors import SendError, UnreachableError
from costwhy.watch.channels.email import send_email
from costwhy.watch.channels.message import Message, cleaned, plain_text
from costwhy.watch.channels.slack import send_slack
from costwhy.watch.channels.sns import send_sns
from costwhy.watch.channels.webhook import send_webhook


def send(channel: Channel, message: Message) -> None:
    """Deliver a message, with a few attempts where the other side is busy.

    Raises SendError where it could not be delivered, ConfigError where a secret that the channel
    names is missing.
    """
    message = cleaned(message)
    try:
        match channel:
            case SlackChannel():
                send_slack(channel, message)
            case WebhookChannel():
                send_webhook(channel, message)
            case SnsChannel():
                send_sns(channel, message)
            case EmailChannel():
                send_email(channel, message)
            case OutputChannel():
                _write(message)
    except UnreachableError as error:
        raise SendError(
            f"channel {channel.name!r}: {error.problem}", found=error.found, fix=error.fix
        ) from None


def _write(message: Message) -> None:
    """To standard output, with an empty line after it; what it cannot show is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    text = (plain_text(message) + "\n\n").encode(encoding, "backslashreplace").decode(encoding)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        raise UnreachableError(
            "standard output does not take it",
            found=str(error),
            fix="see where it goes: a full disk?",
        ) from None
