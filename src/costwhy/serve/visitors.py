"""Who a viewer is: a token, a user with a password, a name that a proxy vouches for, or a signed link.

    Auth         the one record that says how viewers prove who they are
    Doorkeeper   recognises a visitor by cookie, bearer token or proxy header; logs in; ends what has ended
    Attempts     slows down who guesses

A cookie is signed, readable by its holder, and says: who, which case (a link's holder) or all, until when. It ends at
its time, when it is logged out, when its link is revoked, and when its token or password is changed.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itsdangerous import BadData

from costwhy.errors import ConfigError, UsageError
from costwhy.serve.attempts import Attempts, neighbourhood
from costwhy.serve.links import IdList, read_link, signer
from costwhy.serve.passwords import NOBODY, is_password, read_users

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,63}")


@dataclass(frozen=True)
class Auth:
    """How viewers prove who they are: one of token, users, header; none of them on this machine only."""

    token: str = field(default="", repr=False)
    """One secret for all viewers, 16 characters or more; they paste it once, or open `/login#TOKEN`."""
    users: Path | None = None
    """File with a line of `hash_line` for each user; read again when it changes."""
    header: str = ""
    """Request header in which a proxy that has logged the viewer in says who it is."""
    proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies that are believed: this header, X-Forwarded-For, X-Forwarded-Proto."""
    hours: float = 12
    """How long a login counts."""

    @property
    def way(self) -> str:
        """token, users, header, or none."""
        return "token" if self.token else "users" if self.users else "header" if self.header else "none"


def check_auth(auth: Auth) -> None:
    """Refuse a record that does not say one clear thing.

    Raises UsageError where there are two ways at once, a short token, a header without proxies, or an address that is none;
    ConfigError where the users' file has a wrong line, or no user.
    """
    ways = [name for name, given in (("token", auth.token), ("users", auth.users), ("header", auth.header)) if given]
    if len(ways) > 1:
        raise UsageError("viewers prove who they are in one way", found=" and ".join(ways), todo="choose one of them")
    if auth.token and len(auth.token) < 16:
        raise UsageError(
            "the token can be guessed",
            found=f"{len(auth.token)} characters",
            todo="use 16 or more: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )
    if auth.header and not _HEADER.fullmatch(auth.header):
        raise UsageError("this is no name of a header", found=repr(auth.header), todo="give one such as X-Forwarded-User")
    if auth.header and not auth.proxies:
        raise UsageError(
            f"anybody could send {auth.header}", found="no proxy is listed", todo="list the addresses of the proxies that set it"
        )
    if not 0 < auth.hours <= 24 * 31:
        raise UsageError("a login counts for a time", found=f"{auth.hours} hours", todo="give more than 0 and at most 744 hours")
    networks(auth.proxies)
    if auth.users is not None:
        read_users(auth.users)


def check_address(host: str, auth: Auth) -> None:
    """Refuse to serve everybody in the network without asking who they are.

    Raises UsageError where the address is not this machine's own and viewers cannot prove who they are, and as `check_auth`.
    """
    check_auth(auth)
    if auth.way == "none" and not is_loopback(host):
        raise UsageError(
            f"{host} can be reached by others, and nobody would be asked who they are",
            found="no token, no users, no proxy's header",
            todo="give one of them, or serve on 127.0.0.1",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def networks(proxies: tuple[str, ...]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The listed addresses and networks. Raises UsageError where one is none, or contains every address."""
    found = []
    for text in proxies:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise UsageError(
                "a proxy is listed by its address", found=repr(text), todo="give one such as 10.0.0.5 or 10.0.0.0/28"
            ) from error
        if network.prefixlen == 0:
            raise UsageError("this lists every address as a trusted proxy", found=repr(text), todo="list the proxies' own addresses")
        found.append(network)
    return found


# ---------------------------------------------------------------- visitors


@dataclass(frozen=True)
class Visitor:
    """Who looks, and at what: all cases, or one."""

    who: str
    case: str | None
    key: str
    """Owns the visitor's sessions: two cookies are two owners, also of one person."""
    until: float
    link: str | None = None
    proof: str = ""
    """Fingerprint of the token or password that the login was made with."""


@dataclass(frozen=True)
class Proofs:
    """What a request brings along to show who sent it."""

    cookie: str | None
    bearer: str | None
    header: str | None
    """Of a listed proxy; None from everybody else."""
    address: str


class Doorkeeper:
    """Recognises visitors, lets them in, and says whether they still are."""

    def __init__(self, auth: Auth, key: bytes, revoked: IdList, ended: IdList) -> None:
        self.auth = auth
        self._key, self._revoked, self._ended = key, revoked, ended
        self._by_address, self._by_name = Attempts(30, 300), Attempts(50, 900)  # an office has one address
        self._hashing = asyncio.Semaphore(2)  # of 32 MB each
        self._users: tuple[tuple[int, int, int], Mapping[str, str]] | None = None

    def recognise(self, proofs: Proofs) -> Visitor | None:
        """The visitor whom a listed proxy names, else the cookie's, else the bearer's; None for a stranger.

        Where no way is configured, everybody on this machine is a visitor who sees all cases.
        """
        if proofs.header is not None:
            return self._lasting(proofs.header, f"header {proofs.header}")
        visitor = self._of_cookie(proofs.cookie) if proofs.cookie else None
        if visitor is not None:
            return visitor
        if self.auth.way == "none":
            return self._lasting("this machine", "none")
        if proofs.bearer and self.auth.way == "token" and self._is_token(proofs.bearer, proofs.address):
            return self._lasting("viewer", "bearer")
        return None

    def _lasting(self, who: str, key: str) -> Visitor:
        """Proven anew with each request; an open page asks again after the hours of a login."""
        return Visitor(who, None, key, time.time() + self.auth.hours * 3600, proof=self._proof("") if self.auth.way == "token" else "")

    def _of_cookie(self, text: str) -> Visitor | None:
        try:
            said: Any = signer(self._key, "cookie").loads(text)
            visitor = Visitor(said["w"], said["c"], said["k"], float(said["u"]), said["l"], said["p"])
        except (BadData, KeyError, TypeError, ValueError):
            return None
        return visitor if self.is_welcome(visitor) else None

    def is_welcome(self, visitor: Visitor) -> bool:
        """Whether this visitor is still one: in time, not logged out, the link not revoked, the password unchanged."""
        if visitor.until <= time.time() or visitor.key in self._ended:
            return False
        if visitor.link is not None:
            return visitor.link not in self._revoked
        return hmac.compare_digest(visitor.proof, self._proof(visitor.who))

    def _proof(self, who: str) -> str:
        """Fingerprint, under the server's key, of what this person logs in with now."""
        if self.auth.way == "token":
            return self._fingerprint(self.auth.token)
        if self.auth.way == "users":
            line = self._read_users().get(who)
            return secrets.token_hex() if line is None else self._fingerprint(line)  # of nobody: equals none
        return ""

    def _fingerprint(self, text: str) -> str:
        return hmac.new(self._key, b"proof " + text.encode(), hashlib.sha256).hexdigest()[:32]

    def _read_users(self) -> Mapping[str, str]:
        """Read again when the file changes; nobody where it cannot be read any more."""
        if self.auth.users is None:
            return {}
        try:
            now = self.auth.users.stat()
            stamp = (now.st_mtime_ns, now.st_size, now.st_ino)
            if self._users is None or self._users[0] != stamp:
                self._users = (stamp, read_users(self.auth.users))
        except (OSError, ConfigError):
            return {}
        return self._users[1]

    def _is_token(self, text: str, address: str) -> bool:
        """Guesses are counted by address, so that the token cannot be tried out."""
        place = f"bearer {neighbourhood(address)}"
        if self._by_address.take(place) > 0:
            return False
        right = hmac.compare_digest(text.encode(), self.auth.token.encode())
        if right:
            self._by_address.forget(place)
        return right

    def must_wait(self, name: str, address: str) -> float:
        """Count an attempt to log in; seconds to wait where there were too many from this address or for this name."""
        waits = [self._by_address.take(f"login {neighbourhood(address)}")]
        if self.auth.way == "users" and waits == [0]:
            waits.append(self._by_name.take(name))
        return max(waits)

    async def log_in(self, name: str, password: str, address: str) -> Visitor | None:
        """The visitor that this token, or this user's password, makes; None where it is wrong."""
        if self.auth.way == "token":
            right, who = hmac.compare_digest(password.encode(), self.auth.token.encode()), "viewer"
        elif self.auth.way == "users":
            line = self._read_users().get(name)
            async with self._hashing:
                right = await asyncio.to_thread(is_password, line or NOBODY, password)
            right, who = right and line is not None, name
        else:
            return None
        if not right:
            return None
        self._by_address.forget(f"login {neighbourhood(address)}")
        self._by_name.forget(name)
        return Visitor(who, None, secrets.token_urlsafe(12), time.time() + self.auth.hours * 3600, proof=self._proof(who))

    def open_link(self, text: str) -> Visitor | None:
        """The holder of this link: one case, no longer than the link; None where the link does not count."""
        link = read_link(self._key, text, self._revoked)
        if link is None:
            return None
        until = min(link.until.timestamp(), time.time() + self.auth.hours * 3600)
        return Visitor(f"link: {link.name}", link.case, secrets.token_urlsafe(12), until, link=link.id)

    def seconds_left(self, visitor: Visitor) -> int:
        """Until the visitor's right ends by itself."""
        return max(0, int(visitor.until - time.time()))

    def cookie(self, visitor: Visitor) -> str:
        """The visitor, signed."""
        said = {"w": visitor.who, "c": visitor.case, "k": visitor.key, "u": int(visitor.until), "l": visitor.link, "p": visitor.proof}
        text = signer(self._key, "cookie").dumps(said)
        return text if isinstance(text, str) else text.decode("ascii")

    def log_out(self, visitor: Visitor) -> None:
        """From now on the cookie counts nowhere, also where it was copied to."""
        self._ended.add(visitor.key)
