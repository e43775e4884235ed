"""Messages by email."""

import hashlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from functools import partial
from typing import Any

from tenacity import retry_if_exception

from costwhy.config import EmailChannel
from costwhy.errors import UnreachableError
from costwhy.remote.http import deadline, retrying
from costwhy.remote.secrets import secret_of_variable
from costwhy.text import shown
from costwhy.watch.message import LIMITS, Message, plain_text

MAIL_SECONDS = 60.0  # from greeting to end; many servers delay the greeting
_TEMPORARY = frozenset({421, 450, 451, 452, 454})


def send_email(channel: EmailChannel, message: Message) -> None:
    """Raises UnreachableError where the mail was not taken, ConfigError without a password."""
    password = channel.password_env and secret_of_variable(
        channel.password_env, f"watch.channels.{channel.name}.password_env"
    )
    temporary = retry_if_exception(lambda error: _is_temporary(error, len(channel.to)))
    try:
        retrying(LIMITS, temporary)(_deliver, channel, password, _mail(channel, message))
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
        deadline(MAIL_SECONDS, lambda: servers[0].sock if servers else None),
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
    if isinstance(error, smtplib.SMTPResponseException):
        return error.smtp_code in _TEMPORARY
    return isinstance(error, ConnectionRefusedError)


def _undelivered(channel: EmailChannel, error: Exception, password: str | None) -> UnreachableError:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        found = f"{len(error.recipients)} of {len(channel.to)} recipients were refused"
    elif isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
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
