"""One HTTP request or WebSocket, what a trusted proxy says about it, and the site it is sent to."""

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from costwhy.serve.auth import Auth, is_listed, read_address

COOKIE = "costwhy"


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


def read_request(scope: MutableMapping[str, Any], auth: Auth) -> GuardedRequest:
    """The request of an ASGI scope.

    X-Forwarded-For, X-Forwarded-Proto and the header of `auth` count only where the peer is one of
    `auth.proxies`. The address is then the last one in X-Forwarded-For that is not a proxy's.
    """
    connection = HTTPConnection(scope)
    headers, peer = connection.headers, connection.client.host if connection.client else ""
    trusted = Headers(raw=headers.raw if is_listed(peer, auth.proxies) else [])
    kind, _, credentials = (only_value(headers, "authorization") or "").partition(" ")
    hops = map(str.strip, reversed(",".join(trusted.getlist("x-forwarded-for")).split(",")))
    found = next((hop for hop in hops if not is_listed(hop, auth.proxies)), "")
    return GuardedRequest(
        method=scope.get("method", "WEBSOCKET"),
        path=(scope.get("raw_path") or str(scope["path"]).encode()).decode("latin-1"),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        address=found if read_address(found) else peer,  # a hop may be no address
        https=scope.get("scheme") in {"https", "wss"}
        or only_value(trusted, "x-forwarded-proto") in {"https", "wss"},
        cookie=connection.cookies.get(COOKIE, ""),
        bearer=credentials.strip() if kind.lower() == "bearer" else "",
        proxy_user=_user_name(only_value(trusted, auth.header)) if auth.header else None,
    )


def only_value(headers: Headers, name: str) -> str | None:
    """The value of a header that was sent exactly once."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else None


def _user_name(value: str | None) -> str | None:
    """The name in the proxy's header: in UTF-8, printable, not empty, 200 characters at most."""
    # bytes that are not UTF-8 become surrogates, which are not printable
    name = (value or "").encode("latin-1").decode("utf-8", "surrogateescape").strip()
    return name if name.isprintable() and 0 < len(name) <= 200 else None


@dataclass(frozen=True)
class Site:
    """The settings of a guard.

    `origins`: Origin by Host, {"costs.example.com": "https://costs.example.com"}. `shown`: what the
    notebook shows, for `meta` in the scope, {"published": "published"}. `most_bytes`: of a
    request's body; of a login's the 64th part. `patience`: seconds within which a body must
    arrive. `watch`: seconds between two checks of an open page's visitor. `keep`: seconds that a
    session keeps its owner after its last WebSocket, longer than marimo keeps the session.
    """

    origins: Mapping[str, str]
    shown: Mapping[str, str]
    notebook: Path
    most_bytes: int = 256 * 1024
    patience: float = 20.0
    watch: float = 10.0
    keep: float = 300.0

    def is_https(self, request: GuardedRequest) -> bool:
        return request.https or self.origin_of(request).startswith("https:")

    def is_same_origin(self, request: GuardedRequest) -> bool:
        return only_value(request.headers, "origin") == self.origin_of(request) != ""

    def origin_of(self, request: GuardedRequest) -> str:
        """The Origin that belongs to the request's Host; empty where the Host is not ours."""
        return self.origins.get(only_value(request.headers, "host") or "", "")
