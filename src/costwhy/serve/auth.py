"""How viewers prove who they are, and from which addresses that is believed.

A viewer has a token, a user's password, or is named by a proxy that has logged him in. Addresses
are this machine's own, those of trusted proxies, and the networks of viewers.

A line of the users' file is `NAME:scrypt:N:R:P:SALT:HASH`, with N, R and P of scrypt, salt and hash
in base64.
"""

import base64
import hashlib
import hmac
import ipaddress
import re
import secrets
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from costwhy.errors import ConfigError, UsageError

_MOST_HOURS = 24 * 31
# n, r, p of new hashes: 32 MB and about 0.2 s; OWASP's first choice, in less memory
SCRYPT = (2**15, 8, 3)
_MOST_MEMORY = 128 * 2**20  # bytes that a hash of the users' file may ask for; scrypt takes 128 n r
_NAME = re.compile(r"[^\s:\x00-\x1f\x7f]{1,64}")
_LINE = re.compile(
    rf"(?P<name>{_NAME.pattern}):scrypt:"
    r"(?P<n>16384|32768|65536|131072):(?P<r>[89]|[1-9][0-9]):[1-8]:"
    r"(?:[A-Za-z0-9+/]{4}){5,}"  # a salt of 16 bytes or more
    r"[A-Za-z0-9+/]{2}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==):"
    r"[A-Za-z0-9+/]{43}="
)
# compared with for an unknown name, so that it takes as long as a wrong password
NOBODY = ":".join(["nobody", "scrypt", *map(str, SCRYPT), "A" * 22 + "==", "A" * 43 + "="])


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
        ways = (name for name in ("token", "users", "header") if getattr(self, name))
        return " and ".join(ways) or "none"


def check_auth(auth: Auth) -> None:
    """Raise UsageError for a wrong record, ConfigError for a wrong users' file."""
    length = len(auth.token)
    for is_right, problem, found, fix in (
        (
            " and " not in auth.way,
            "viewers prove who they are in one way",
            auth.way,
            "choose one of them",
        ),
        (
            length == 0 or length >= 16,
            "the token can be guessed",
            f"{length} characters",
            "use 16 or more: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        ),
        (
            auth.header == "" or re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{1,63}", auth.header),
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
    ):
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


def hash_line(name: str, password: str) -> str:
    """A line of the users' file: the name, and the hash of the password with a salt of its own.

    Raises UsageError where the name has a space or a colon, or the password is too short.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            "not a valid user name",
            found=repr(name),
            fix="1 to 64 characters without space and colon",
        )
    if len(password) < 10:
        raise UsageError(
            "the password is too short", found=f"{len(password)} characters", fix="use 10 or more"
        )
    return _line(name, password, secrets.token_bytes(16), *SCRYPT)


def _line(name: str, password: str, salt: bytes, n: int, r: int, p: int) -> str:
    digest = hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MOST_MEMORY + 2**20, dklen=32
    )
    texts = (base64.b64encode(part).decode("ascii") for part in (salt, digest))
    return ":".join([name, "scrypt", str(n), str(r), str(p), *texts])


def is_password(line: str, password: str) -> bool:
    """Whether the password belongs to this valid line; compared in constant time."""
    name, _, n, r, p, salt, _ = line.split(":")
    again = _line(name, password, base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(again.encode(), line.encode())


def read_users(file: Path) -> dict[str, str]:
    """Lines by user, without empty lines and those that begin with #.

    Raises ConfigError where the file cannot be read, a line is wrong or a name is there twice (with
    the line's number), or no user is left.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the users' file cannot be read",
            found=f"{file}: {error}",
            fix="give a text file of hash lines",
        ) from error
    users: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        user = _LINE.fullmatch(line)
        if (
            not user
            or user["name"] in users
            or 128 * int(user["n"]) * int(user["r"]) > _MOST_MEMORY
        ):
            raise ConfigError(
                "a line of the users' file is not a user",
                found=f"{file}, line {number}",
                fix="one line a user, as made by `costwhy serve --add-user`",
            )
        users[user["name"]] = line
    if not users:
        raise ConfigError(
            "the users' file has no user",
            found=str(file),
            fix="add one with `costwhy serve --add-user`",
        )
    return users
