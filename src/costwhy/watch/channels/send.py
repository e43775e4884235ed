"""Messages to the owners of a spike: Slack, a signed webhook, Amazon SNS, email, standard output.

What a message says comes from strangers (service names, commit titles): in each channel it is text and nothing else. One
line stays one line, no mention notifies anybody, no mark becomes a link, no header can be added. docs/watch-channels.md.
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
from itertools import accumulate
from typing import Any, Literal

import botocore.config
import httpx
import msgspec

from costwhy import outbound
from costwhy.config import Channel, EmailChannel, OutputChannel, SlackChannel, SnsChannel, WebhookChannel
from costwhy.errors import ConfigError, SendError, UnreachableError
from costwhy.outbound import Deadline, Limits, Request, one_line, shown
from costwhy.sources.aws import clients

LIMITS = Limits(seconds=10.0, bytes=2**16, attempts=4)
MAIL_SECONDS = 60.0
"""A mail from greeting to end; many servers let everybody wait for the greeting."""
MOST_LINES = 40
MOST_TEXT = 500
"""Characters of one line."""
_MENTION = re.compile(r"(?<![\w.])@(?=\w)")
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_HEADER, _SECTION, _WHOLE = 150, 2900, 39_000  # Slack's limits are 150, 3,000 and 40,000 characters
_TEMPORARY = frozenset({421, 450, 451, 452, 454})
_JSON = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "costwhy"}


@dataclass(frozen=True)
class Message:
    """One message about one spike.

    id          the same for the same news: who gets it twice can tell; 1 to 128 printable ASCII characters
    event       what happened to the spike
    title       one line; further `lines` of plain text
    url         the case, where it is published
    dollars     excess so far, in `currency`
    owner_team  whose it is; null: nobody's
    """

    id: str
    event: Literal["new", "grown", "ended", "resolved"]
    spike_id: str
    title: str
    lines: tuple[str, ...]
    dollars: float
    currency: str
    url: str | None = None
    owner_team: str | None = None

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"a message's id is 1 to 128 printable ASCII characters, not {self.id!r}")


def send(channel: Channel, message: Message) -> None:
    """Deliver a message, trying a few times where the other side is busy.

    Raises SendError where it could not be delivered, ConfigError where a secret that the channel names is missing.
    """
    sound = _sound(message)
    try:
        match channel:
            case SlackChannel():
                _send_slack(channel, sound)
            case WebhookChannel():
                _send_webhook(channel, sound)
            case SnsChannel():
                _send_sns(channel, sound)
            case EmailChannel():
                _send_email(channel, sound)
            case OutputChannel():
                _write(sound)
    except UnreachableError as error:
        raise SendError(f"channel {channel.name!r}: {error.wrong}", found=error.found, todo=error.todo) from None


def _write(message: Message) -> None:
    """To standard output, an empty line after it; what it cannot show is written as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write((_plain(message) + "\n\n").encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    except OSError as error:
        raise UnreachableError("standard output does not take it", found=str(error), todo="see where it goes: a full disk?") from None


# ---------------------------------------------------------------- text


def _sound(message: Message) -> Message:
    """The message with each of its texts made one line, and without an address that is none."""
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
    """An http address with every odd character encoded; null where it is none."""
    try:
        parsed = httpx.URL(url or "")
    except httpx.InvalidURL:
        return None
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        return None
    return str(parsed).translate({ord(mark): f"%{ord(mark):02X}" for mark in "<>|\"'()[]`*_~ "}) if str(parsed).isascii() else None


def _plain(message: Message) -> str:
    return "\n".join((message.title, *message.lines, *([message.url] if message.url else [])))


def _as_json(message: Message) -> bytes:
    """The message as JSON; <, > and & are written as escapes, so that no page can mistake it for markup."""
    text = msgspec.json.encode({"costwhy": 1} | msgspec.to_builtins(message)).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").encode()


# ---------------------------------------------------------------- Slack


def _send_slack(channel: SlackChannel, message: Message) -> None:
    body = msgspec.json.encode(_slack(message))
    _post(channel.name, channel.url_env, lambda: dict(_JSON), body, LIMITS)


def _slack(message: Message) -> dict[str, object]:
    """Slack's JSON. `text` says all of it again, for what shows no blocks: notifications, and Mattermost."""
    lines = [_slack_text(line) for line in message.lines]
    link = [f"<{message.url.replace('&', '&amp;')}|Open the case>"] if message.url else []
    header = {"type": "header", "text": {"type": "plain_text", "text": _heading(message.title), "emoji": False}}
    sections = [{"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": True}} for text in _packed([*lines, *link])]
    text = "\n".join(_fitting([_slack_text(message.title), *lines[:-1]], [*lines[-1:], *link]))
    return {"text": text, "blocks": [header, *sections], "mrkdwn": False, "parse": "none", "link_names": False, "unfurl_links": False}


def _heading(title: str) -> str:
    """The title as far as Slack's limit for a heading allows, escapes counted."""
    for end in range(len(title), 0, -1):
        text = _slack_text(title[:end]) + ("…" if end < len(title) else "")
        if len(text) <= _HEADER:
            return text
    return "costwhy"


def _slack_text(text: str) -> str:
    """Text as Slack wants it escaped; a zero-width space after @ and between ](, for services that read plain text as marks."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@\u200b", escaped).replace("](", "]\u200b(")


def _fitting(lines: list[str], last: list[str]) -> list[str]:
    """As many of the lines as Slack's limit for a whole text allows, and the last ones."""
    room = _WHOLE - sum(len(line) + 1 for line in last)
    fit = sum(end <= room for end in accumulate(len(line) + 1 for line in lines))
    return [*lines[:fit], *(["…"] if fit < len(lines) else []), *last]


def _packed(lines: list[str]) -> list[str]:
    """Lines in as few texts as Slack's limit for a section allows; a line is never cut in the middle."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= _SECTION:
            texts[-1] += "\n" + line
        elif line:
            texts.append(line)
    return texts


# ---------------------------------------------------------------- webhook


def _send_webhook(channel: WebhookChannel, message: Message) -> None:
    secret = outbound.secret_of_variable(channel.secret_env, f"watch.channels.{channel.name}.secret_env")
    body = _as_json(message)

    def headers() -> dict[str, str]:
        signature = sign(secret, int(time.time()), body)
        return _JSON | {"X-Costwhy-Signature": signature, "Idempotency-Key": message.id}

    _post(channel.name, channel.url_env, headers, body, replace(LIMITS, repeatable=True), (secret,))


def sign(secret: str, at: int, body: bytes) -> str:
    """The signature header: t=seconds since 1970, v1=HMAC-SHA256 in hex over those seconds, a full stop and the body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _post(
    name: str, url_env: str, headers: Callable[[], dict[str, str]], body: bytes, limits: Limits, secrets: tuple[str, ...] = ()
) -> None:
    key = f"watch.channels.{name}.url_env"
    url = outbound.secret_of_variable(url_env, key)
    if not url.startswith(("https://", "http://")) or not outbound.host(url):
        raise ConfigError(f"`{key}` names a variable that holds no http address", found=url_env, todo="set it to https://...")
    secrets += (url, httpx.URL(url).path, httpx.URL(url).raw_path.decode())
    answer = outbound.post(Request(url, body, headers, secrets), limits)
    if not 200 <= answer.status < 300:
        found = f"{answer.status}: {shown(answer.body[:2000].decode('utf-8', 'replace'), secrets) or 'nothing more'}"
        raise UnreachableError(f"{outbound.host(url)} refused the message", found=found, todo=f"check what {url_env} holds")


# ---------------------------------------------------------------- SNS


def _send_sns(channel: SnsChannel, message: Message) -> None:
    config = botocore.config.Config(
        connect_timeout=LIMITS.connect_seconds,
        read_timeout=LIMITS.seconds,
        retries={"max_attempts": LIMITS.attempts, "mode": "standard"},
    )
    texts = {"default": _as_json(message).decode(), "email": _plain(message), "sms": message.title[:140]}
    attributes = {name: {"DataType": "String", "StringValue": value} for name, value in _attributes(message).items()}
    first_in_first_out = {"MessageGroupId": hashlib.sha256(message.spike_id.encode()).hexdigest(), "MessageDeduplicationId": message.id}
    try:
        client = clients.client("sns", channel.topic.split(":")[3], config)
        client.publish(
            TopicArn=channel.topic,
            Subject=_subject(message.title),
            MessageStructure="json",
            Message=msgspec.json.encode(texts).decode(),
            MessageAttributes=attributes,
            **(first_in_first_out if channel.topic.endswith(".fifo") else {}),
        )
    except clients.FAULTS as error:
        todo = "check the topic, the credentials and that they allow sns:Publish"
        raise UnreachableError("Amazon SNS did not take the message", found=shown(clients.words(error)), todo=todo) from None


def _attributes(message: Message) -> dict[str, str]:
    """What subscriptions filter by."""
    found = {"id": message.id, "event": message.event, "spike_id": message.spike_id, "owner_team": message.owner_team or ""}
    return {name: value for name, value in found.items() if value}


def _subject(title: str) -> str:
    """SNS takes up to 99 ASCII characters that begin with a letter, a number or a mark."""
    return title.encode("ascii", "replace").decode()[:99].strip() or "costwhy"


# ---------------------------------------------------------------- email


def _send_email(channel: EmailChannel, message: Message) -> None:
    password = None
    if channel.password_env is not None:
        password = outbound.secret_of_variable(channel.password_env, f"watch.channels.{channel.name}.password_env")
    mail = _mail(channel, message)
    for attempt in range(1, LIMITS.attempts + 1):
        try:
            return _deliver(channel, password, mail)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            if attempt == LIMITS.attempts or not _is_temporary(error, len(channel.to)):
                raise _undelivered(channel, error, password) from None
        outbound.wait(min(LIMITS.first_wait * 2.0 ** (attempt - 1), LIMITS.longest_wait))
    return None


def _mail(channel: EmailChannel, message: Message) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = message.title.replace("=?", "= ?")  # else Python would unpack a stranger's encoded word, line ends and all
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Message-ID"] = f"<{hashlib.sha256(message.id.encode()).hexdigest()[:32]}@{channel.sender.rpartition('@')[2]}>"
    mail["Date"] = datetime.now(UTC)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Costwhy-Event"] = message.event
    mail.set_content(_plain(message) + "\n", cte="quoted-printable")
    return mail


def _deliver(channel: EmailChannel, password: str | None, mail: EmailMessage) -> None:
    context = ssl.create_default_context()
    servers: list[smtplib.SMTP] = []
    with Deadline(MAIL_SECONDS, lambda: servers[0].sock if servers else None), _connected(channel, context, servers) as server:
        if channel.security == "starttls":
            server.starttls(context=context)
        if channel.user is not None and password is not None:
            server.login(channel.user, password)
        refused = server.send_message(mail, from_addr=channel.sender, to_addrs=list(channel.to))
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _connected(channel: EmailChannel, context: ssl.SSLContext, servers: list[smtplib.SMTP]) -> smtplib.SMTP:
    """A mail server that has greeted us. servers: it is there as soon as its socket is, for the greeting may never end."""

    class Plain(smtplib.SMTP):
        def connect(self, *place: Any, **more: Any) -> tuple[int, bytes]:
            servers.append(self)
            return super().connect(*place, **more)

    class Secret(smtplib.SMTP_SSL):
        def connect(self, *place: Any, **more: Any) -> tuple[int, bytes]:
            servers.append(self)
            return super().connect(*place, **more)

    if channel.security == "tls":
        return Secret(channel.host, channel.port, timeout=LIMITS.seconds, context=context)
    return Plain(channel.host, channel.port, timeout=LIMITS.seconds)


def _is_temporary(error: Exception, recipients: int) -> bool:
    """Whether the same mail may be taken a moment later, and nobody has it yet."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return len(error.recipients) == recipients and all(code in _TEMPORARY for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code in _TEMPORARY
    return isinstance(error, ConnectionRefusedError)


def _undelivered(channel: EmailChannel, error: Exception, password: str | None) -> UnreachableError:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        found = f"{len(error.recipients)} of {len(channel.to)} recipients were refused"
    elif isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error
        found = f"{error.smtp_code} {said.decode('utf-8', 'replace') if isinstance(said, bytes) else said}"
    elif isinstance(error, UnicodeError):  # whose text quotes the password
        found = "the host, the user or the password has characters that SMTP does not know"
    else:
        found = str(error) or type(error).__name__
    todo = "check the host, the port, `security` and the account"
    return UnreachableError(f"{channel.host} did not take the mail", found=shown(found, (password,) if password else ()), todo=todo)


__all__ = ["Message", "send", "sign"]
