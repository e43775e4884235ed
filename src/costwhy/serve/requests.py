"""One HTTP request or WebSocket, with what a trusted proxy says about it."""

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from costwhy.serve.addresses import is_listed, read_address
from costwhy.serve.auth import Auth

COOKIE = "costwhy"
_MOST_NAME = 200  # characters of a viewer's name


@dataclass(frozen=True)
class GuardedRequest:
    """What the guard looks at.

    `method`: WEBSOCKET for a WebSocket; `path`: as it was sent, undecoded; `address`: the viewer's;
    `https`: whether the viewer came by HTTPS; `proxy_user`: the viewer's name, by a trusted proxy.
    """

    method: str
    path: str
    query: str
    headers: Headers
    address: str
    https: bool
    cookie: str
    bearer: str
    proxy_user: str | None

    def header(self, name: str) -> str | None:
        """The value of a header that was sent exactly once."""
        return _single(self.headers, name)


def read_request(scope: MutableMapping[str, Any], auth: Auth) -> GuardedRequest:
    """The request of an ASGI scope.

    X-Forwarded-For, X-Forwarded-Proto and the header of `auth` count only where the peer is one of
    `auth.proxies`. The address is then the last one in X-Forwarded-For that is not a proxy's.
    """
    connection = HTTPConnection(scope)
    headers, peer = connection.headers, connection.client.host if connection.client else ""
    trusted = Headers(raw=headers.raw if is_listed(peer, auth.proxies) else [])
    kind, _, credentials = (_single(headers, "authorization") or "").partition(" ")
    schemes = {scope.get("scheme"), _single(trusted, "x-forwarded-proto")}
    return GuardedRequest(
        method=scope.get("method", "WEBSOCKET"),
        path=(scope.get("raw_path") or str(scope["path"]).encode()).decode("latin-1"),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        address=_forwarded(trusted.getlist("x-forwarded-for"), auth.proxies) or peer,
        https=not schemes.isdisjoint({"https", "wss"}),
        cookie=connection.cookies.get(COOKIE, ""),
        bearer=credentials.strip() if kind.lower() == "bearer" else "",
        proxy_user=_user_name(_single(trusted, auth.header)) if auth.header else None,
    )


def _single(headers: Headers, name: str) -> str | None:
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _user_name(value: str | None) -> str | None:
    """The name in the proxy's header: in UTF-8, printable, not empty."""
    try:
        name = (value or "").encode("latin-1").decode("utf-8").strip()
    except UnicodeDecodeError:
        return None
    return name if name.isprintable() and 0 < len(name) <= _MOST_NAME else None


def _forwarded(values: Sequence[str], proxies: tuple[str, ...]) -> str | None:
    """The viewer's address in X-Forwarded-For; None where a hop before it is not an address."""
    hops = [hop.strip() for hop in ",".join(values).split(",")]
    found = next((hop for hop in reversed(hops) if not is_listed(hop, proxies)), "")
    return found if read_address(found) else None
