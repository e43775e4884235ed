"""Send a message to its channel: Slack, a webhook, Amazon SNS, email, or standard output.

Its text comes from outside (service names, commit titles): in each channel it is text and nothing
else. One line stays one line, no mention notifies anybody, no character becomes a link, no header
can be added. docs/watch-channels.md.
"""

import hashlib
import hmac
import re
import smtplib
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from itertools import accumulate
from typing import Any, Literal

import botocore.config
import httpx2
import msgspec
from tenacity import retry_if_exception

from costwhy.config import (
    Channel,
    EmailChannel,
    OutputChannel,
    SlackChannel,
    SnsChannel,
    WebhookChannel,
)
from costwhy.errors import ConfigError, SendError, UnreachableError
from costwhy.remote import aws, http
from costwhy.remote.http import secret_of_variable
from costwhy.text import one_line, shown

MAIL_SECONDS = 60.0  # from greeting to end; many servers delay the greeting
_TEMPORARY = frozenset({421, 450, 451, 452, 454})
_JSON = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "costwhy"}
_HEADER, _SECTION, _WHOLE = 150, 2900, 39_000  # Slack's limits are 150, 3,000 and 40,000 characters

LIMITS = http.Limits(seconds=10.0, bytes=2**16, attempts=4)
MOST_LINES = 40
MOST_TEXT = 500  # characters of one line
EventKind = Literal["new", "grown", "ended", "resolved"]


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
        if not re.fullmatch(r"[\x21-\x7e]{1,128}", self.id):
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
    return (
        msgspec.json.encode({"costwhy": 1} | msgspec.to_builtins(message))
        .decode()
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .encode()
    )


def send(channel: Channel, message: Message) -> None:
    """Deliver a message, with a few attempts where the other side is busy.

    Raises SendError where it could not be delivered, ConfigError where a secret that the channel
    names is missing.
    """
    message = cleaned(message)
    try:
        match channel:
            case SlackChannel():
                _post(channel, msgspec.json.encode(_slack(message)), lambda: _JSON, LIMITS)
            case WebhookChannel():
                _send_webhook(channel, message)
            case SnsChannel():
                _send_sns(channel, message)
            case EmailChannel():
                _send_email(channel, message)
            case OutputChannel():
                _write(message)
    except UnreachableError as error:
        raise SendError(
            f"channel {channel.name!r}: {error.problem}", found=error.found, fix=error.fix
        ) from None


def _slack(message: Message) -> dict[str, object]:
    """JSON for Slack or Mattermost. `text` is for what shows no blocks: notifications, Mattermost.

    It keeps the last lines; those before are cut at Slack's limit.
    """
    lines = [_slack_text(line) for line in message.lines]
    link = [f"<{message.url.replace('&', '&amp;')}|Open the case>"] if message.url else []
    first, last = [_slack_text(message.title), *lines[:-1]], [*lines[-1:], *link]
    most = _WHOLE - sum(len(line) + 1 for line in last)
    fit = sum(end <= most for end in accumulate(len(line) + 1 for line in first))
    sections = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}}
        for text in _sections([*lines, *link])
    ]
    return {
        "text": "\n".join([*first[:fit], *(["…"] if fit < len(first) else []), *last]),
        "blocks": [
            {
                "type": "header",
                "text": {"type": "plain_text", "text": _heading(message.title), "emoji": False},
            },
            *sections,
        ],
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
    }


def _heading(title: str) -> str:
    return next(
        (
            text
            for text in (
                _slack_text(title),
                *(f"{_slack_text(title[:end])}…" for end in range(len(title) - 1, 0, -1)),
            )
            if 0 < len(text) <= _HEADER
        ),
        "costwhy",
    )


def _slack_text(text: str) -> str:
    """Text escaped for Slack.

    A zero-width space after @ and inside ]( stops services that read plain text as Markdown.
    """
    return re.sub(
        r"(?<![\w.])@(?=\w)",
        "@\u200b",
        text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    ).replace("](", "]\u200b(")


def _sections(lines: list[str]) -> list[str]:
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= _SECTION:
            texts[-1] += "\n" + line
        elif line:
            texts.append(line)
    return texts


def _send_webhook(channel: WebhookChannel, message: Message) -> None:
    """Signed: X-Costwhy-Signature is t=SECONDS,v1=DIGEST.

    SECONDS are those since 1970; DIGEST is the HMAC-SHA256 in hex over them, a full stop and the
    body.
    """
    secret = secret_of_variable(channel.secret_env, f"watch.channels.{channel.name}.secret_env")
    body = as_json(message)

    def headers() -> dict[str, str]:
        at = int(time.time())
        digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
        return _JSON | {
            "X-Costwhy-Signature": f"t={at},v1={digest}",
            "Idempotency-Key": message.id,
        }

    _post(channel, body, headers, replace(LIMITS, repeatable=True), (secret,))


def _post(
    channel: SlackChannel | WebhookChannel,
    body: bytes,
    headers: Callable[[], dict[str, str]],
    limits: http.Limits,
    secrets: tuple[str, ...] = (),
) -> None:
    """Post JSON to the channel's address, which is a secret too."""
    key = f"watch.channels.{channel.name}.url_env"
    url = secret_of_variable(channel.url_env, key)
    if not url.startswith(("https://", "http://")) or not http.host(url):
        raise ConfigError(
            f"`{key}` names a variable without an http address",
            found=channel.url_env,
            fix="set it to https://...",
        )
    secrets += (url, httpx2.URL(url).path, httpx2.URL(url).raw_path.decode())
    reply = http.post(http.Post(url, body, headers, secrets), limits)
    if not 200 <= reply.status < 300:
        text = shown(reply.body[:2000].decode("utf-8", "replace"), secrets)
        raise UnreachableError(
            f"{http.host(url)} refused the message",
            found=f"{reply.status}: {text or 'nothing more'}",
            fix=f"check the address in {channel.url_env}",
        )


def _send_sns(channel: SnsChannel, message: Message) -> None:
    """To an Amazon SNS topic. Subscriptions filter by the message's attributes."""
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
        aws.client("sns", channel.topic.split(":")[3], config).publish(
            TopicArn=channel.topic,
            # SNS takes up to 99 ASCII characters that begin with a letter, a number or a mark
            Subject=message.title.encode("ascii", "replace").decode()[:99].strip() or "costwhy",
            MessageStructure="json",
            Message=msgspec.json.encode(texts).decode(),
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value}
                for name in ("id", "event", "spike_id", "owner_team")
                if (value := getattr(message, name))
            },
            **(fifo if channel.topic.endswith(".fifo") else {}),
        )
    except aws.FAULTS as error:
        raise UnreachableError(
            "Amazon SNS did not take the message",
            found=shown(aws.reason_of(error)),
            fix="check the topic, the credentials and that they allow sns:Publish",
        ) from None


def _send_email(channel: EmailChannel, message: Message) -> None:
    password = channel.password_env and secret_of_variable(
        channel.password_env, f"watch.channels.{channel.name}.password_env"
    )
    temporary = retry_if_exception(lambda error: _is_temporary(error, len(channel.to)))
    try:
        http.retrying(LIMITS, temporary)(_deliver, channel, password, _mail(channel, message))
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        raise _undelivered(channel, error, password) from None


def _mail(channel: EmailChannel, message: Message) -> EmailMessage:
    digest, domain = hashlib.sha256(message.id.encode()), channel.sender.rpartition("@")[2]
    headers = {
        # Python would decode an encoded word in a title from outside, line ends included.
        "Subject": message.title.replace("=?", "= ?"),
        "From": channel.sender,
        "To": ", ".join(channel.to),
        "Message-ID": f"<{digest.hexdigest()[:32]}@{domain}>",
        "Date": datetime.now(UTC),
        "Auto-Submitted": "auto-generated",
        "X-Costwhy-Event": message.event,
    }
    mail = EmailMessage(policy=SMTP)
    for name, value in headers.items():
        mail[name] = value
    mail.set_content(plain_text(message) + "\n", cte="quoted-printable")
    return mail


def _deliver(channel: EmailChannel, password: str | None, mail: EmailMessage) -> None:
    context = ssl.create_default_context()
    servers: list[smtplib.SMTP] = []  # the deadline needs it before its greeting begins

    class Plain(smtplib.SMTP):
        def connect(self, *address: Any, **more: Any) -> tuple[int, bytes]:
            servers.append(self)
            return super().connect(*address, **more)

    class Encrypted(Plain, smtplib.SMTP_SSL):
        """The same, over TLS from the first byte."""

    connect = partial(Encrypted, context=context) if channel.security == "tls" else Plain
    with (
        http.deadline(MAIL_SECONDS, lambda: servers[0].sock if servers else None),
        connect(channel.host, channel.port, timeout=LIMITS.seconds) as server,
    ):
        if channel.security == "starttls":
            server.starttls(context=context)
        if channel.user is not None and password is not None:
            server.login(channel.user, password)
        refused = server.send_message(mail, from_addr=channel.sender, to_addrs=list(channel.to))
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _is_temporary(error: BaseException, recipients: int) -> bool:
    """Whether the same mail may be taken a moment later, and nobody has it yet."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        return len(codes) == recipients and _TEMPORARY.issuperset(codes)
    return (
        error.smtp_code in _TEMPORARY
        if isinstance(error, smtplib.SMTPResponseException)
        else isinstance(error, ConnectionRefusedError)
    )


def _undelivered(channel: EmailChannel, error: Exception, password: str | None) -> UnreachableError:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        found = f"{len(error.recipients)} of {len(channel.to)} recipients were refused"
    elif isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        text = text if isinstance(text, str) else text.decode("utf-8", "replace")
        found = f"{error.smtp_code} {text}"
    elif isinstance(error, UnicodeError):  # its text quotes the password
        found = "the host, the user or the password has characters that SMTP does not know"
    else:
        found = str(error) or type(error).__name__
    return UnreachableError(
        f"{channel.host} did not take the mail",
        found=shown(found, (password,) if password else ()),
        fix="check the host, the port, `security` and the account",
    )


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
