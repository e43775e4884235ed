"""Messages to an Amazon SNS topic."""

import hashlib

import botocore.config
import msgspec

from costwhy.config import SnsChannel
from costwhy.errors import UnreachableError
from costwhy.remote import aws
from costwhy.text import shown
from costwhy.watch.channels.message import LIMITS, Message, as_json, plain_text


def send_sns(channel: SnsChannel, message: Message) -> None:
    """Raises UnreachableError."""
    config = botocore.config.Config(
        connect_timeout=LIMITS.connect_seconds,
        read_timeout=LIMITS.seconds,
        retries={"max_attempts": LIMITS.attempts, "mode": "standard"},
    )
    texts = {
        "default": as_json(message).decode(),
        "email": plain_text(message),
        "sms": message.title[:140],
    }
    fifo = {
        "MessageGroupId": hashlib.sha256(message.spike_id.encode()).hexdigest(),
        "MessageDeduplicationId": message.id,
    }
    try:
        client = aws.client("sns", channel.topic.split(":")[3], config)
        client.publish(
            TopicArn=channel.topic,
            Subject=_subject(message.title),
            MessageStructure="json",
            Message=msgspec.json.encode(texts).decode(),
            MessageAttributes=_attributes(message),
            **(fifo if channel.topic.endswith(".fifo") else {}),
        )
    except aws.FAULTS as error:
        raise UnreachableError(
            "Amazon SNS did not take the message",
            found=shown(aws.reason_of(error)),
            fix="check the topic, the credentials and that they allow sns:Publish",
        ) from None


def _attributes(message: Message) -> dict[str, dict[str, str]]:
    """What subscriptions filter by."""
    values = {name: getattr(message, name) for name in ("id", "event", "spike_id", "owner_team")}
    return {
        name: {"DataType": "String", "StringValue": value}
        for name, value in values.items()
        if value
    }


def _subject(title: str) -> str:
    """SNS takes up to 99 ASCII characters that begin with a letter, a number or a mark."""
    return title.encode("ascii", "replace").decode()[:99].strip() or "costwhy"
