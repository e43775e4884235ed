"""How viewers prove who they are, and from which addresses that is believed.

A viewer has a token, a user's password, or is named by a proxy that has logged him in. Addresses
are this machine's own, those of trusted proxies, and the networks of viewers.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from costwhy.errors import UsageError
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
        """token, users, header, or none; `check_auth` refuses two at once."""
        given = {"token": self.token, "users": self.users, "header": self.header}
        return " and ".join(name for name, value in given.items() if value) or "none"


def check_auth(auth: Auth) -> None:
    """Raise UsageError where the record cannot be used; ConfigError where the users' file cannot."""
    ways, length = {"none", "token", "users", "header"}, len(auth.token)
    is_name = auth.header == "" or _HEADER.fullmatch(auth.header)
    checks = (
        (auth.way in ways, "viewers prove who they are in one way", auth.way, "choose one of them"),
        (
            length == 0 or length >= 16,
            "the token can be guessed",
            f"{length} characters",
            "use 16 or more: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        ),
        (
            is_name,
            "not a valid header name",
            repr(auth.header),
            "give one such as X-Forwarded-User",
        ),
        (
            auth.header == "" or auth.proxies,
            f"anybody could send {auth.header}",
            "no proxy is listed",
            "list the addresses of the proxies that set it",
        ),
        (
            0 < auth.hours <= _MOST_HOURS,
            "a login must end",
            f"{auth.hours} hours",
            f"give more than 0 and at most {_MOST_HOURS} hours",
        ),
    )
    for is_right, problem, found, fix in checks:
        if not is_right:
            raise UsageError(problem, found=found, fix=fix)
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


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address; IPv4 mapped into IPv6 becomes IPv4. None where the text is not one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    address = read_address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


@cache
def networks(proxies: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks of the listed proxies.

    Raises UsageError where an entry is not a network, or contains every address.
    """
    try:
        found = [ipaddress.ip_network(text, strict=False) for text in proxies]
    except ValueError as error:
        raise UsageError(
            "a proxy is listed by its address",
            found=str(error),
            fix="give one such as 10.0.0.5 or 10.0.0.0/28",
        ) from error
    if any(network.prefixlen == 0 for network in found):
        raise UsageError(
            "this lists every address as a trusted proxy",
            found=", ".join(proxies),
            fix="list the proxies' own addresses",
        )
    return found


def is_listed(text: str, proxies: tuple[str, ...]) -> bool:
    """Whether the address is one of a listed proxy."""
    address = read_address(text)
    return address is not None and any(address in network for network in networks(proxies))


def network_of(text: str) -> str:
    """The addresses that one person can use: an IPv4 address, or the /64 network of an IPv6 one."""
    address = read_address(text)
    if address is None or address.version == 4:
        return str(address or text)
    return str(ipaddress.ip_network(f"{address}/64", strict=False))
