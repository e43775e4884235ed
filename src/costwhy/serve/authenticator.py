"""Recognises visitors by cookie, bearer token or proxy header, logs them in and out.

A cookie is signed and readable by its holder. It says who, which case (of a link's holder) or all,
and until when. It ends at its time, when it is logged out, when its link is revoked, and when its
token or password changes.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from itsdangerous import BadData

from costwhy.errors import ConfigError
from costwhy.serve.auth import NOBODY, Auth, is_password, network_of, read_users
from costwhy.serve.links import IdList, read_link
from costwhy.serve.rate_limit import RateLimit
from costwhy.serve.requests import GuardedRequest
from costwhy.serve.secret_key import signer


@dataclass(frozen=True)
class Visitor:
    """Who looks, and at what.

    `case`: the one case, or None for all. `key`: the owner of notebook sessions; two cookies are
    two owners, also of one person. `link`: the id of a link. `proof`: the fingerprint of the token
    or password of the login.
    """

    who: str
    case: str | None
    key: str
    until: float
    link: str | None = None
    proof: str = ""


class Authenticator:
    """Says who sends a request, and whether a visitor may still look."""

    def __init__(self, auth: Auth, key: bytes, revoked: IdList, logged_out: IdList) -> None:
        self.auth, self.logged_out = auth, logged_out
        self._key, self._revoked = key, revoked
        self._by_address = RateLimit(30, 300)  # an office has one address
        self._by_name = RateLimit(50, 900)
        self._hashing = asyncio.Semaphore(2)  # each takes 32 MB

    def recognise(self, request: GuardedRequest) -> Visitor | None:
        """The visitor whom a trusted proxy names, else the cookie's, else the bearer token's.

        Where no login is configured, everybody on this machine may see all cases.
        """
        if request.proxy_user is not None:
            return self._visitor(request.proxy_user, f"header {request.proxy_user}")
        with suppress(BadData, TypeError):
            visitor = Visitor(**signer(self._key, "cookie").loads(request.cookie))
            if self.is_valid(visitor):
                return visitor
        if self.auth.way == "none":
            return self._visitor("this machine", "none")
        return self._visitor("viewer", "bearer") if self._is_bearer(request) else None

    def _visitor(self, who: str, key: str) -> Visitor:
        until = time.time() + self.auth.hours * 3600
        return Visitor(who, None, key, until, proof=self._proof(who))

    def cookie(self, visitor: Visitor) -> str:
        return str(signer(self._key, "cookie").dumps(asdict(visitor)))

    def is_valid(self, visitor: Visitor) -> bool:
        """Whether the login has not ended, nor the link been revoked, nor the password changed."""
        if visitor.until <= time.time() or visitor.key in self.logged_out:
            return False
        if visitor.link is not None:
            return visitor.link not in self._revoked
        return hmac.compare_digest(visitor.proof, self._proof(visitor.who))

    def _proof(self, who: str) -> str:
        """Fingerprint, under the server's key, of the token or password that is valid now."""
        if self.auth.way not in {"token", "users"}:
            return ""
        # for a user who is no longer there: a fingerprint that equals no cookie's
        secret = self.auth.token or self._users().get(who) or secrets.token_hex()
        return hmac.new(self._key, b"proof " + secret.encode(), hashlib.sha256).hexdigest()[:32]

    def _users(self) -> Mapping[str, str]:
        with suppress(ConfigError):  # a file that cannot be read any more has no users
            return read_users(self.auth.users) if self.auth.users else {}
        return {}

    def _is_token(self, secret: str) -> bool:
        return hmac.compare_digest(secret.encode(), self.auth.token.encode())

    def _is_bearer(self, request: GuardedRequest) -> bool:
        """Whether the request carries the token. Attempts are limited by address."""
        attempts = f"bearer {network_of(request.address)}"
        if not request.bearer or self.auth.way != "token" or self._by_address.take(attempts) > 0:
            return False
        if is_right := self._is_token(request.bearer):
            self._by_address.reset(attempts)
        return is_right

    def seconds_to_wait(self, name: str, address: str) -> float:
        """Count an attempt to log in; 0 allows it. Limited by address and by name."""
        wait = self._by_address.take(f"login {network_of(address)}")
        return self._by_name.take(name) if wait == 0 and self.auth.way == "users" else wait

    async def log_in(self, name: str, secret: str, address: str) -> Visitor | None:
        """The visitor with this token, or this user's password; None where it is wrong."""
        if self.auth.way == "token":
            who, is_right = "viewer", self._is_token(secret)
        else:
            who, line = name, self._users().get(name)
            async with self._hashing:  # also for an unknown name, so that it takes as long
                matches = await asyncio.to_thread(is_password, line or NOBODY, secret)
            is_right = matches and line is not None
        if not is_right:
            return None
        self._by_address.reset(f"login {network_of(address)}")
        self._by_name.reset(name)
        return self._visitor(who, secrets.token_urlsafe(12))

    def open_link(self, text: str) -> Visitor | None:
        """The holder of a link; None where the link is not valid."""
        link = read_link(self._key, text, self._revoked)
        if link is None:
            return None
        until = min(link.until.timestamp(), time.time() + self.auth.hours * 3600)
        key = secrets.token_urlsafe(12)
        return Visitor(f"link: {link.name}", link.case, key, until, link=link.id)
