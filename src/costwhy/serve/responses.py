"""What the wall answers: a status, headers, a body; and the headers that tell the browser what the page may do."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CLOSED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""The policy of plain answers."""
_KEPT = {b"content-type", b"etag", b"last-modified", b"content-range", b"accept-ranges", b"content-disposition"}
"""Headers of the app that get out: no CORS, no server, no redirect, no cookie."""
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """One whole answer."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"text/plain; charset=utf-8"),)
    policy: str = CLOSED
    cache: str = "no-store"

    def having(self, name: str, value: str) -> "Answer":
        """With one more header."""
        return replace(self, headers=(*self.headers, (name.encode("ascii"), value.encode("latin-1"))))


def plain(status: int, words: str = "") -> Answer:
    """A status with a line of text; without words its usual phrase."""
    return Answer(status, (words or HTTPStatus(status).phrase).encode() + b"\n")


def go(path: str) -> Answer:
    """Sends the browser to another path of this site."""
    return Answer(303, headers=((b"location", path.encode("ascii")),))


def page(status: int, text: str, policy: str) -> Answer:
    """A page of the wall's own."""
    return Answer(status, text.encode(), ((b"content-type", b"text/html; charset=utf-8"),), policy)


async def give(answer: Answer, send: Send, *, https: bool, empty: bool) -> None:
    """Send the answer with the security headers; `empty`: only its headers, for HEAD."""
    headers = [
        *answer.headers,
        (b"cache-control", answer.cache.encode()),
        (b"content-security-policy", answer.policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"same-origin"),  # `no-referrer` would make the Origin of our own forms `null`
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ]
    if answer.status != 304:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    if https:
        headers.append((b"strict-transport-security", b"max-age=31536000"))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if empty else answer.body})


async def ask(app: App, scope: Scope, receive: Receive) -> Answer:
    """The app's whole answer, with the headers that may get out; an error of the app's says no more than its status."""
    status, headers, body = 500, [], bytearray()

    async def take(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, take)
    if status >= 300 and status != 304:
        return plain(status if status >= 400 else 404)
    return Answer(status, bytes(body), tuple((n, v) for n, v in headers if n.lower() in _KEPT), app_policy())


def app_policy(scripts: str = "") -> str:
    """What the app's page may do: load from this site only, be framed by nobody. `scripts`: hashes of its inline scripts.

    `unsafe-eval` is Vega's, which compiles its expressions; inline scripts that are not the page's own do not run.
    """
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'{scripts}; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; "
        "manifest-src 'self'; frame-src 'none'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )


def finish_page(answer: Answer, notebook: Path) -> Answer:
    """The app's page without paths of this machine, its inline scripts allowed by their hashes."""
    text = hide_paths(answer.body.decode(), notebook)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _INLINE.findall(text)]
    headers = tuple((n, v) for n, v in answer.headers if n.lower() == b"content-type")
    return replace(answer, body=text.encode(), headers=headers, policy=app_policy("".join(f" 'sha256-{h}'" for h in hashes)))


def hide_paths(text: str, notebook: Path) -> str:
    """The text with the notebook's name in place of its path, and without its folder and the server's home."""
    text = re.sub(r'"(rootUri|documentUri)": "[^"]*"', r'"\1": "file:///"', text)
    for path, name in ((notebook, notebook.name), (notebook.parent, "/"), (Path.home(), "~")):
        if len(path.parts) == 1:  # `/` itself tells nothing
            continue
        for form in (
            str,
            lambda p: json.dumps(str(p))[1:-1],
            lambda p: html.escape(str(p)),
            lambda p: quote(str(p), safe=""),
            lambda p: quote(str(p)),
        ):
            text = text.replace(form(path), name)
    return text
