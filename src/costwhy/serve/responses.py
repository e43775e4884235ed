"""Responses, and the headers that tell the browser what a page may do."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope

POLICY = "content-security-policy"
_SECURITY = {
    "cache-control": "no-store",
    POLICY: "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # `no-referrer` makes the Origin of our own forms `null`
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_KEPT = frozenset(
    {
        "content-type",
        "etag",
        "last-modified",
        "content-range",
        "accept-ranges",
        "content-disposition",
    }
)
"""Headers of the app that are passed on: no CORS, no server, no redirect, no cookie."""
_INLINE = re.compile(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", re.DOTALL)


def secure(response: Response, *, https: bool) -> None:
    """Add the security headers that the response does not set itself."""
    transport = {"strict-transport-security": "max-age=31536000"} if https else {}
    for name, value in (_SECURITY | transport).items():
        response.headers.setdefault(name, value)


async def call_app(app: ASGIApp, scope: Scope, receive: Receive) -> Response:
    """The app's whole response, with the headers that may be passed on.

    Raises HTTPException where it is an error or a redirect: of it only the status is passed on.
    """
    start: Message = {"status": 500}
    body = bytearray()

    async def collect(message: Message) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        elif message["type"] == "http.response.body":
            body.extend(message.get("body", b""))

    await app(scope, receive, collect)
    status = start["status"]
    if status >= 300 and status != 304:
        raise HTTPException(status if status >= 400 else 404)
    sent = (
        (name.decode().lower(), value.decode("latin-1")) for name, value in start.get("headers", ())
    )
    headers = {name: value for name, value in sent if name in _KEPT}
    return Response(bytes(body), status, headers | {POLICY: _app_policy()})


def _app_policy(scripts: str = "") -> str:
    """The app's page may load from this site only, and run only inline scripts with these hashes.

    Vega needs `unsafe-eval`: it compiles its expressions.
    """
    return (
        f"default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'{scripts}; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "media-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; "
        "manifest-src 'self'; frame-src 'none'; object-src 'none'; base-uri 'self'; "
        "form-action 'self'; frame-ancestors 'none'"
    )


def finish_page(response: Response, notebook: Path) -> Response:
    """The app's page without paths of this machine, its inline scripts allowed by their hashes."""
    text = hide_paths(bytes(response.body).decode(), notebook)
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(text))
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return HTMLResponse(text, headers={POLICY: _app_policy(hashes)})


def hide_paths(text: str, notebook: Path) -> str:
    """The text with the notebook's name for its path, without its folder and the server's home."""
    text = re.sub(r'"(rootUri|documentUri)": "[^"]*"', r'"\1": "file:///"', text)
    names = {notebook: notebook.name, notebook.parent: "/", Path.home(): "~"}
    for path, name in names.items():
        plain = str(path)
        if len(path.parts) > 1:  # `/` itself shows nothing
            coded = json.dumps(plain)[1:-1], html.escape(plain), quote(plain, safe="")
            for form in (plain, *coded, quote(plain)):
                text = text.replace(form, name)
    return text
