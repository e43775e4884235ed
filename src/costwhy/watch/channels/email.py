"""TODO watch/channels/email.py"""

import hashlib
import smtplib
import ssl
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from costwhy.config import EmailChannel
from costwhy.errors import UnreachableError
from costwhy.remote import http
from costwhy.remote.http import Deadline
from costwhy.remote.secrets import secret_of_variable
from costwhy.text import shown
from costwhy.watch.channels.message import LIMITS, Message, plain_text

MAIL_SECONDS = 60.0
"""A mail from greeting to end; many servers let everybody wait for the greeting."""
_TEMPORARY = frozenset({421, 450, 451, 452, 454})


def send_email(channel: EmailChannel, message: Message) -> None:
    password = None
    if channel.password_env is not None:
        password = secret_of_variable(
            channel.password_env, f"watch.channels.{channel.name}.password_env"
        )
    mail = _mail(channel, message)
    for attempt in range(1, LIMITS.attempts + 1):
        try:
            return _deliver(channel, password, mail)
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            if attempt == LIMITS.attempts or not _is_temporary(error, len(channel.to)):
                raise _undelivered(channel, error, password) from None
        http.wait(min(LIMITS.first_wait * 2.0 ** (attempt - 1), LIMITS.longest_wait))
    return None


def _mail(channel: EmailChannel, message: Message) -> EmailMessage:
    mail = EmailMessage(policy=SMTP)
    mail["Subject"] = message.title.replace(
        "=?", "= ?"
    )  # else Python would unpack a stranger's encoded word, line ends and all
    mail["From"] = channel.sender
    mail["To"] = ", ".join(channel.to)
    mail["Message-ID"] = (
        f"<{hashlib.sha256(message.id.encode()).hexdigest()[:32]}@{channel.sender.rpartition('@')[2]}>"
    )
    mail["Date"] = datetime.now(UTC)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Costwhy-Event"] = message.event
    mail.set_content(plain_text(message) + "\n", cte="quoted-printable")
    return mail


def _deliver(channel: EmailChannel, password: str | None, mail: EmailMessage) -> None:
    context = ssl.create_default_context()
    servers: list[smtplib.SMTP] = []
    with (
        Deadline(MAIL_SECONDS, lambda: servers[0].sock if servers else None),
        _connected(channel, context, servers) as server,
    ):
        if channel.security == "starttls":
            server.starttls(context=context)
        if channel.user is not None and password is not None:
            server.login(channel.user, password)
        refused = server.send_message(mail, from_addr=channel.sender, to_addrs=list(channel.to))
    if refused:
        raise smtplib.SMTPRecipientsRefused(refused)


def _connected(
    channel: EmailChannel, context: ssl.SSLContext, servers: list[smtplib.SMTP]
) -> smtplib.SMTP:
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
        return len(error.recipients) == recipients and all(
            code in _TEMPORARY for code, _ in error.recipients.values()
        )
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
    fix = "check the host, the port, `security` and the account"
    return UnreachableError(
        f"{channel.host} did not take the mail",
        found=shown(found, (password,) if password else ()),
        fix=fix,
    )
