"""TODO watch/channels/sns.py"""

import hashlib

import botocore.config
import msgspec

from costwhy.config import SnsChannel
from costwhy.errors import UnreachableError
from costwhy.remote import aws
from costwhy.text import shown
from costwhy.watch.channels.message import LIMITS, Message, as_json, plain_text


def send_sns(channel: SnsChannel, message: Message) -> None:
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
    attributes = {
        name: {"DataType": "String", "StringValue": value}
        for name, value in _attributes(message).items()
    }
    first_in_first_out = {
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
            MessageAttributes=attributes,
            **(first_in_first_out if channel.topic.endswith(".fifo") else {}),
        )
    except aws.FAULTS as error:
        fix = "check the topic, the credentials and that they allow sns:Publish"
        raise UnreachableError(
            "Amazon SNS did not take the message", found=shown(aws.words(error)), fix=fix
        ) from None


def _attributes(message: Message) -> dict[str, str]:
    """What subscriptions filter by."""
    found = {
        "id": message.id,
        "event": message.event,
        "spike_id": message.spike_id,
        "owner_team": message.owner_team or "",
    }
    return {name: value for name, value in found.items() if value}


def _subject(title: str) -> str:
    """SNS takes up to 99 ASCII characters that begin with a letter, a number or a mark."""
    return title.encode("ascii", "replace").decode()[:99].strip() or "costwhy"
