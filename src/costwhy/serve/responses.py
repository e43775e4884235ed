"""The guard's own pages, the app's responses, and headers that limit what a browser may do."""

import asyncio
import base64
import hashlib
import html
import json
import re
import secrets
import time
from pathlib import Path
from urllib.parse import parse_qs, quote

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope

from costwhy.serve.authenticator import Authenticator, Visitor
from costwhy.serve.requests import COOKIE, GuardedRequest, Site, only_value
from costwhy.templates import environment

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
# headers of the app that are passed on: no CORS, no server, no redirect, no cookie
_KEPT = frozenset(
    {
        "content-type",
        "content-encoding",
        "vary",
        "etag",
        "last-modified",
        "content-range",
        "accept-ranges",
        "content-disposition",
    }
)
# The app's page may load from this site only, and run only inline scripts with these hashes. Vega
# needs `unsafe-eval`: it compiles its expressions.
_APP_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval' 'wasm-unsafe-eval'{scripts}; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src 'self' data: blob:; connect-src 'self'; worker-src 'self' blob:; "
    "manifest-src 'self'; frame-src 'none'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'none'"
)
LINK = re.compile(r"/link/([A-Za-z0-9_.-]{20,2000})")
CLOSE = {"connection": "close"}
_TEMPLATES = environment("costwhy.serve")


class Pages:
    """Responds to the paths that are the guard's own."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._site, self._authenticator = site, authenticator
        self._way = authenticator.auth.way

    async def respond(
        self, request: GuardedRequest, visitor: Visitor | None, receive: Receive
    ) -> Response | None:
        """The response; None where the path is the app's."""
        if request.path == "/login":
            if request.method == "POST":
                return await self._log_in(request, receive)
            target = _next_page(parse_qs(request.query).get("next", ["/"])[-1])
            if self._way == "none" or (visitor is not None and visitor.case is None):
                return RedirectResponse(target, 303)
            if self._way == "header":
                raise HTTPException(401, "the proxy before this server logs you in")
            return _page("login.html", way=self._way, next=target, problem="")
        if request.path == "/logout":
            return self._log_out(request, visitor)
        link = LINK.fullmatch(request.path)
        return self._open_link(request, visitor, link[1]) if link else None

    def ask_to_log_in(self, request: GuardedRequest) -> Response:
        """The way to the login page, and from there back; for the page's parts a refusal."""
        if request.path != "/" or request.method != "GET" or self._way not in {"token", "users"}:
            raise HTTPException(401, "log in first")
        target = _next_page(f"/?{request.query}")
        asked = "" if target in {"/", "/?"} else f"?next={quote(target, safe='')}"
        return RedirectResponse(f"/login{asked}", 303)

    async def _log_in(self, request: GuardedRequest, receive: Receive) -> Response:
        body = await read_body(request, receive, self._site.most_bytes // 64, self._site.patience)
        try:
            form = parse_qs(body.decode("ascii"), max_num_fields=8, errors="strict")
        except ValueError as error:
            raise HTTPException(400) from error
        name, secret, there = (form.get(key, [""])[-1] for key in ("name", "secret", "next"))
        if self._way not in {"token", "users"}:
            raise HTTPException(404)
        wait = self._authenticator.seconds_to_wait(name[:64], request.address)
        if wait > 0:
            raise HTTPException(
                429, "too many attempts; wait some minutes", {"retry-after": str(int(wait) + 1)}
            )
        visitor = await self._authenticator.log_in(name[:64], secret, request.address)
        if visitor is None:
            return _page(
                "login.html",
                401,
                way=self._way,
                next=_next_page(there),
                problem="That is not right. Try again.",
            )
        return self._with_cookie(RedirectResponse(_next_page(there), 303), request, visitor)

    def _log_out(self, request: GuardedRequest, visitor: Visitor | None) -> Response:
        has_cookie = request.cookie and request.proxy_user is None
        own = visitor if visitor and has_cookie and visitor.key not in {"none", "bearer"} else None
        if own and request.method != "POST":
            return _page("logout.html", who=own.who)
        response = RedirectResponse("/login", 303)
        if request.method == "POST":
            response.delete_cookie(COOKIE, httponly=True)
            if own:
                self._authenticator.logged_out.add(own.key)
        return response

    def _open_link(self, request: GuardedRequest, visitor: Visitor | None, text: str) -> Response:
        """A link becomes a cookie for its case. Who may see all cases keeps that right."""
        holder = self._authenticator.open_link(text)
        if holder is None:
            raise HTTPException(
                403,
                "this link opens nothing: it was altered, its date is past, or it was revoked; "
                "ask for a new one",
            )
        response = RedirectResponse(f"/?case={quote(holder.case or '')}", 303)
        sees_all = visitor is not None and visitor.case is None and self._way != "none"
        return response if sees_all else self._with_cookie(response, request, holder)

    def _with_cookie(
        self, response: Response, request: GuardedRequest, visitor: Visitor
    ) -> Response:
        response.set_cookie(
            COOKIE,
            self._authenticator.cookie(visitor),
            max_age=max(0, int(visitor.until - time.time())),
            secure=self._site.is_https(request),
            httponly=True,
        )
        return response


def _next_page(path: str) -> str:
    """Where to go after a login: the page with a query; anything else is the page."""
    is_page = re.fullmatch(r"/(\?[A-Za-z0-9._~%&=+,:@!$'()*;/?-]{0,2000})?", path)
    return path if is_page else "/"


def _page(template: str, status: int = 200, **values: str) -> Response:
    """A page of our own, whose style and script are allowed by a nonce."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    text = _TEMPLATES.get_template(template).render(nonce=nonce, **values)
    return HTMLResponse(text, status, {POLICY: policy})


async def read_body(
    request: GuardedRequest, receive: Receive, most_bytes: int, seconds: float
) -> bytes:
    """The whole body of a request. Raises HTTPException where it is too long or too slow."""
    announced = only_value(request.headers, "content-length") or "0"
    if not announced.isdecimal() or int(announced) > most_bytes:
        raise HTTPException(413, headers=CLOSE)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for part in Request({"type": "http"}, receive).stream():
                body.extend(part)
                if len(body) > most_bytes:
                    raise HTTPException(413, headers=CLOSE)
    except TimeoutError as error:
        raise HTTPException(408, headers=CLOSE) from error
    return bytes(body)


def secure(response: Response, *, https: bool) -> None:
    """Add the security headers that the response does not set itself."""
    for name, value in _SECURITY.items():
        response.headers.setdefault(name, value)
    if https:
        response.headers["strict-transport-security"] = "max-age=31536000"


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
    sent = Headers(raw=start.get("headers", [])).items()
    kept = {name: value for name, value in sent if name in _KEPT}
    return Response(bytes(body), status, kept | {POLICY: _APP_POLICY.format(scripts="")})


def finish_page(response: Response, notebook: Path) -> Response:
    """The app's page without paths of this machine, its inline scripts allowed by their hashes."""
    text = re.sub(
        r'"(rootUri|documentUri)": "[^"]*"', r'"\1": "file:///"', bytes(response.body).decode()
    )
    for path, name in ((notebook, notebook.name), (notebook.parent, "/"), (Path.home(), "~")):
        plain = str(path)
        coded = json.dumps(plain)[1:-1], html.escape(plain), quote(plain, safe=""), quote(plain)
        for form in (plain, *coded) if len(path.parts) > 1 else ():  # `/` itself shows nothing
            text = text.replace(form, name)
    scripts = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", text, re.DOTALL)
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = "".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return HTMLResponse(text, headers={POLICY: _APP_POLICY.format(scripts=hashes)})
