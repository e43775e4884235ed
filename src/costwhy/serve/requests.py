"""What was asked: one HTTP request or one WebSocket's opening, with what a listed proxy says about it and nobody else."""

import ipaddress
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import Any

from costwhy.serve.visitors import Auth, Proofs, networks

COOKIE = "costwhy"


@dataclass(frozen=True)
class Call:
    """One request; `path` as it was sent, undecoded."""

    method: str
    path: str
    query: str
    headers: Mapping[str, tuple[str, ...]]
    """By name in small letters; twice the same header is two values."""
    address: str
    https: bool
    vouched: str | None
    """Who it is, says a listed proxy."""

    def header(self, name: str) -> str | None:
        """The value of a header that was sent exactly once."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None

    @property
    def proofs(self) -> Proofs:
        """What shows who sent it."""
        kind, _, credentials = (self.header("authorization") or "").partition(" ")
        bearer = credentials.strip() if kind.lower() == "bearer" and credentials else None
        return Proofs(_cookie(self.header("cookie")), bearer, self.vouched, self.address)


def read_call(scope: MutableMapping[str, Any], auth: Auth) -> Call:
    """The call of an ASGI scope.

    X-Forwarded-For, X-Forwarded-Proto and the header of `auth` count only where the peer is one of `auth.proxies`; the address
    is then the last one in X-Forwarded-For that is no listed proxy.
    """
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in scope["headers"]:
        small = name.decode("latin-1").lower()
        headers[small] = (*headers.get(small, ()), value.decode("latin-1"))
    peer = str((scope.get("client") or ("",))[0])
    trusted = _is_listed(peer, auth.proxies)
    address = _forwarded(headers.get("x-forwarded-for", ()), auth.proxies) if trusted else None
    proto = headers.get("x-forwarded-proto", ()) if trusted else ()
    raw = scope.get("raw_path") or str(scope["path"]).encode()
    return Call(
        method=scope.get("method", "WEBSOCKET"),
        path=raw.decode("latin-1"),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        address=address or peer,
        https=scope.get("scheme") in {"https", "wss"} or proto in {("https",), ("wss",)},
        vouched=_vouched(headers.get(auth.header.lower(), ())) if trusted and auth.header else None,
    )


def _vouched(values: Iterable[str]) -> str | None:
    """The name in the proxy's header: given once, in UTF-8, printable, not empty."""
    if len(found := tuple(values)) != 1:
        return None
    try:
        name = found[0].encode("latin-1").decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() and 0 < len(name) <= 200 else None


def _forwarded(values: Iterable[str], proxies: tuple[str, ...]) -> str | None:
    hops = [hop.strip() for value in values for hop in value.split(",")]
    for hop in reversed(hops):
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return None
        if not _is_listed(hop, proxies):
            return hop
    return None


def _is_listed(address: str, proxies: tuple[str, ...]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return any(mapped in network for network in networks(proxies) if network.version == mapped.version)


def _cookie(header: str | None) -> str | None:
    if header is None:
        return None
    try:
        jar = SimpleCookie(header)
    except CookieError:
        return None
    return jar[COOKIE].value if COOKIE in jar else None
