"""How viewers prove who they are: a token, a user's password, or the word of a proxy."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from costwhy.errors import UsageError
from costwhy.serve.addresses import is_loopback, networks
from costwhy.serve.passwords import read_users

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,63}")
_MOST_HOURS = 24 * 31


@dataclass(frozen=True)
class Auth:
    """One of token, users and header. None of them: everybody on this machine, and nobody else.

    `token`: one secret for all viewers, 16 characters or more; they enter it once, or open
    `/login#TOKEN`. `users`: a file with a line of `hash_line` for each user, read again when it
    changes. `header`: the request header in which a proxy names the viewer whom it has logged in.
    `proxies`: addresses or networks of the trusted proxies; only they may send this header,
    X-Forwarded-For and X-Forwarded-Proto. `hours`: how long a login lasts.
    """

    token: str = field(default="", repr=False)
    users: Path | None = None
    header: str = ""
    proxies: tuple[str, ...] = ()
    hours: float = 12

    @property
    def way(self) -> str:
        """token, users, header, or none."""
        given = {"token": self.token, "users": self.users, "header": self.header}
        return next((name for name, value in given.items() if value), "none")


def check_auth(auth: Auth) -> None:
    """Raise UsageError where the record cannot be used; ConfigError where the users' file cannot."""
    given = (("token", auth.token), ("users", auth.users), ("header", auth.header))
    ways = [name for name, value in given if value]
    if len(ways) > 1:
        raise UsageError(
            "viewers prove who they are in one way",
            found=" and ".join(ways),
            fix="choose one of them",
        )
    if auth.token and len(auth.token) < 16:
        raise UsageError(
            "the token can be guessed",
            found=f"{len(auth.token)} characters",
            fix="use 16 or more: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if auth.header and not _HEADER.fullmatch(auth.header):
        raise UsageError(
            "not a valid header name",
            found=repr(auth.header),
            fix="give one such as X-Forwarded-User",
        )
    if auth.header and not auth.proxies:
        raise UsageError(
            f"anybody could send {auth.header}",
            found="no proxy is listed",
            fix="list the addresses of the proxies that set it",
        )
    if not 0 < auth.hours <= _MOST_HOURS:
        raise UsageError(
            "a login must end",
            found=f"{auth.hours} hours",
            fix=f"give more than 0 and at most {_MOST_HOURS} hours",
        )
    networks(auth.proxies)
    if auth.users is not None:
        read_users(auth.users)


def check_address(host: str, auth: Auth) -> None:
    """Refuse to serve other machines without a login. Raises UsageError, and as `check_auth`."""
    check_auth(auth)
    if auth.way == "none" and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached by others, and nobody would be asked who they are",
            found="no token, no users, no proxy's header",
            fix="give one of them, or serve on 127.0.0.1",
        )
