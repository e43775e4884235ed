"""The guard of the read-only app: pure ASGI that passes what a page needs, and nothing else.

    GET  /health                                everybody; the answer is "ok"
    GET  /login, /logout, /link/TEXT, icons     everybody
    POST /login, /logout                        everybody, from this site's own page
    GET  /, /assets/NAME, /public-files-sw.js   visitors
    GET  /@file/NAME                            the visitor whose page was sent the file's name
    POST of the three kernel calls              the session's owner, from this site's own page
    WebSocket /ws                               visitors, from this site's own page, until they
                                                may not look any more

Everything else is 404 or 405; a wrong Host, Origin or session is 403. Paths are compared undecoded,
so an encoded path matches none. Bodies are read whole, up to a bound, before the app gets them. The
app gets no cookie, credentials or forwarded headers, but `user` and `meta` in the ASGI scope. Its
CORS headers, redirects, errors and paths are not passed on.

It is not Starlette's BaseHTTPMiddleware, which does not see WebSockets.

marimo knows a session by a short id that the browser chooses, and a file with a chart's rows by a
random name that is not made for secrets. Whoever guesses one could take over a session, or read
another case's rows. So each is valid for its owner only.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections import deque
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from costwhy.serve.access_log import AccessLog, harmless_path
from costwhy.serve.authenticator import Authenticator, Visitor
from costwhy.serve.requests import GuardedRequest, Site, only_value, read_request
from costwhy.serve.responses import (
    CLOSE,
    LINK,
    Pages,
    call_app,
    finish_page,
    read_body,
    secure,
)

PAGE = "/"
CALLS = frozenset(
    f"/api/kernel/{name}" for name in ("set_ui_element_value", "set_model_value", "function_call")
)
ICONS = frozenset(
    f"/{name}"
    for name in (
        "favicon.ico",
        "manifest.json",
        "logo.png",
        "apple-touch-icon.png",
        "android-chrome-192x192.png",
        "android-chrome-512x512.png",
    )
)
_READABLE = re.compile(
    r"/|/health"
    r"|/public-files-sw\.js"  # the page complains without it; it reads /public, which is closed
    r"|/assets/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}"
    r"|/@file/[0-9]+-[A-Za-z0-9_.-]{1,120}"
    rf"|{LINK.pattern}"
)
_READ, _SEND = frozenset({"GET", "HEAD"}), frozenset({"POST"})
_METHODS = {
    **dict.fromkeys(CALLS, _SEND),
    **dict.fromkeys(ICONS, _READ),
    **dict.fromkeys(("/login", "/logout"), _READ | _SEND),
}
_SCOPE = frozenset(
    {"type", "asgi", "http_version", "method", "scheme", "query_string", "server", "subprotocols"}
)
_HEADERS = frozenset({"host", "accept", "accept-language", "content-type", "content-length"})
_HASHED = re.compile(r"-[A-Za-z0-9_-]{8}\.[a-z0-9]+$")  # such a name changes with its contents
_FOR_EVER, _FOR_A_DAY = "public, max-age=31536000, immutable", "private, max-age=86400"
_CLOSED = 3000  # a code that marimo's page takes for "not authorized", and does not try again
_FILES = re.compile(r"@file/([0-9]+-[A-Za-z0-9_.-]{1,120})")
_MOST_SESSIONS, _MOST_OF_ONE = 400, 40  # of the process, and of one owner
_logger = logging.getLogger("costwhy.serve")


@dataclass
class Session:
    """A notebook session: its open WebSockets, when the last one closed, its files' names."""

    owner: str
    open: int = 0
    closed: float = 0.0
    files: deque[str] = field(default_factory=lambda: deque(maxlen=2000))


class Sessions:
    """The sessions of this process, kept for `ttl` seconds after their last WebSocket.

    `ttl` is longer than marimo keeps them.
    """

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._sessions: dict[str, Session] = {}

    def enter(self, name: str, owner: str) -> Session | None:
        """The session of a new WebSocket; None where it is another's, or there are too many."""
        self._sessions = {
            known: session
            for known, session in self._sessions.items()
            if session.open > 0 or session.closed > time.monotonic() - self._ttl
        }
        is_full = len(self._sessions) >= _MOST_SESSIONS or len(self._of(owner)) >= _MOST_OF_ONE
        if name not in self._sessions and is_full:
            return None
        session = self._sessions.setdefault(name, Session(owner))
        if session.owner != owner:
            return None
        session.open += 1
        return session

    def leave(self, session: Session) -> None:
        session.open -= 1
        session.closed = time.monotonic()

    def owns(self, name: str, owner: str) -> bool:
        return name in self._sessions and self._sessions[name].owner == owner

    def may_read(self, file: str, owner: str) -> bool:
        """Whether a page of this owner was sent the file's name."""
        return any(file in session.files for session in self._of(owner))

    def _of(self, owner: str) -> list[Session]:
        return [session for session in self._sessions.values() if session.owner == owner]


class Guard:
    """ASGI app in front of another app."""

    def __init__(
        self, app: ASGIApp, site: Site, authenticator: Authenticator, log: AccessLog
    ) -> None:
        self._app, self._site, self._authenticator, self._log = app, site, authenticator, log
        self._pages = Pages(site, authenticator)
        self._sessions = Sessions(site.keep)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serve = {"http": self._http, "websocket": self._websocket, "lifespan": self._app}
        await serve[scope["type"]](scope, receive, send)

    def _note(self, request: GuardedRequest, status: int, visitor: Visitor | None) -> None:
        self._log.write(
            request.method,
            request.path,
            status,
            request.address,
            visitor.who if visitor else None,
        )

    # ------------------------------------------------------------ HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = read_request(scope, self._authenticator.auth)
        visitor: Visitor | None = None
        try:
            if request.path == "/health" and request.method in _READ:
                response: Response = PlainTextResponse("ok\n")  # under any name, for monitoring
            else:
                self._check(request)
                visitor = self._authenticator.recognise(request)
                own = await self._pages.respond(request, visitor, receive)
                response = own or await self._pass(scope, request, visitor, receive)
        except HTTPException as error:
            response = PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)
        except ClientDisconnect:
            response = PlainTextResponse(status_code=400)
        except Exception:  # the viewer learns that it failed, not why
            _logger.exception("%s %s", request.method, harmless_path(request.path))
            response = PlainTextResponse("Internal Server Error\n", 500)
        self._note(request, response.status_code, visitor)
        secure(response, https=self._site.is_https(request))
        await response(scope, receive, send)

    def _check(self, request: GuardedRequest) -> None:
        """Refuse what no viewer's browser sends: a wrong name, path, method, or site."""
        allowed = methods(request.path)
        refusals: tuple[tuple[bool, int, str | None, dict[str, str]], ...] = (
            (not self._site.origin_of(request), 403, "this site is not served under that name", {}),
            # a proxy may have used the other length
            ({"content-length", "transfer-encoding"} <= set(request.headers), 400, None, CLOSE),
            (
                not allowed or not _is_sound(request.query, is_page=request.path == PAGE),
                404,
                None,
                {},
            ),
            (request.method not in allowed, 405, None, {"allow": ", ".join(sorted(allowed))}),
            (
                request.method == "POST" and not self._site.is_same_origin(request),
                403,
                "sent by another site's page",
                {},
            ),
        )
        for is_refused, status, detail, headers in refusals:
            if is_refused:
                raise HTTPException(status, detail, headers)

    async def _pass(
        self, scope: Scope, request: GuardedRequest, visitor: Visitor | None, receive: Receive
    ) -> Response:
        path, owner = request.path, visitor.key if visitor else ""
        if visitor is None and path not in ICONS:
            return self._pages.ask_to_log_in(request)
        session = only_value(request.headers, "marimo-session-id")
        if path in CALLS and not self._sessions.owns(session or "", owner):
            raise HTTPException(403, "not your session")
        file = path.removeprefix("/@file/")
        if file != path and not self._sessions.may_read(file, owner):
            raise HTTPException(404)
        if request.method == "POST":
            body = await read_body(request, receive, self._site.most_bytes, self._site.patience)
            receive = _replay(body, receive)
        response = await call_app(self._app, self._inner_scope(scope, request, visitor), receive)
        if path == PAGE and response.status_code == 200 and request.method == "GET":
            return finish_page(response, self._site.notebook)
        if path.startswith("/assets/"):
            response.headers["cache-control"] = _FOR_EVER if _HASHED.search(path) else _FOR_A_DAY
        elif path in ICONS:
            response.headers["cache-control"] = _FOR_A_DAY
        return response

    def _inner_scope(self, scope: Scope, request: GuardedRequest, visitor: Visitor | None) -> Scope:
        """The scope that the app gets: the headers it needs, and who looks."""
        cache = {"range", "if-range", "if-none-match", "if-modified-since"}
        names = _HEADERS if request.path == PAGE else _HEADERS | cache  # its policy is its text's
        if request.method == "POST":
            names |= {"marimo-session-id", "marimo-server-token"}
        elif request.path.startswith("/assets/") and "range" not in request.headers:
            names |= {"accept-encoding"}  # nothing else: the length of what is packed can tell
        sent = ((name, only_value(request.headers, name)) for name in sorted(names))
        inner = {name: value for name, value in scope.items() if name in _SCOPE} | {
            "path": request.path,
            "raw_path": request.path.encode("ascii"),
            "headers": [(n.encode(), v.encode("latin-1")) for n, v in sent if v is not None],
            "root_path": "",
            "client": (request.address, 0),
            "state": {},
        }
        if visitor is None:
            return inner
        who = visitor.who
        return inner | {
            "user": {"username": who, "display_name": who, "is_authenticated": True},
            "meta": {"case": visitor.case, "who": who, **self._site.shown},
        }

    # ------------------------------------------------------------ WebSockets

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = read_request(scope, self._authenticator.auth)
        name = self._session_name(request)
        visitor = self._authenticator.recognise(request) if name else None
        session = self._sessions.enter(name, visitor.key) if visitor else None
        self._note(request, 101 if session else 403, visitor)
        if visitor is None or session is None:
            await receive()  # its `websocket.connect`
            await send({"type": "websocket.close", "code": 1008})
            return
        outlet = _Outlet(send, session)
        watcher = asyncio.create_task(self._watch(request, visitor, outlet))
        try:
            await self._app(self._inner_scope(scope, request, visitor), receive, outlet.send)
        finally:
            watcher.cancel()
            self._sessions.leave(session)

    def _session_name(self, request: GuardedRequest) -> str:
        """The session of a WebSocket; empty where no page of this site would open it so."""
        names = parse_qs(request.query, keep_blank_values=True).get("session_id", [])
        is_ours = (
            request.path == "/ws"
            and self._site.is_same_origin(request)
            and len(names) == 1
            and re.fullmatch(r"[A-Za-z0-9_-]{4,64}", names[0])
            and _is_sound(request.query, is_page=True)
        )
        return names[0] if is_ours else ""

    async def _watch(self, request: GuardedRequest, visitor: Visitor, outlet: "_Outlet") -> None:
        while self._authenticator.is_valid(visitor):  # noqa: ASYNC110 - files have no event
            await asyncio.sleep(self._site.watch)
        self._note(request, _CLOSED, visitor)
        await outlet.close()


class _Outlet:
    """Sends messages to the page, notes the files that they name, and can be closed."""

    def __init__(self, send: Send, session: Session) -> None:
        self._send, self._session, self._is_closed = send, session, False

    async def send(self, message: Message) -> None:
        if self._is_closed:
            return
        if message["type"] == "websocket.send":
            names, known = _FILES.findall(message.get("text") or ""), self._session.files
            known.extend(name for name in dict.fromkeys(names) if name not in known)
        elif message["type"] == "websocket.accept":
            message = {**message, "headers": []}
        await self._send(message)

    async def close(self) -> None:
        self._is_closed = True
        with contextlib.suppress(OSError, RuntimeError):  # the other side has just closed it
            await self._send(
                {"type": "websocket.close", "code": _CLOSED, "reason": "MARIMO_UNAUTHORIZED"}
            )


def methods(path: str) -> frozenset[str]:
    """The methods that a path has; none where it is not served."""
    return _METHODS.get(path, _READ if _READABLE.fullmatch(path) else frozenset())


def _is_sound(query: str, *, is_page: bool) -> bool:
    """Whether a query is short and, for the page, has none of the names that marimo obeys.

    By them it chooses the notebook, another's session, and its own token.
    """
    names = parse_qs(query, keep_blank_values=True).keys() if is_page else set()
    return len(query) <= 4096 and names.isdisjoint({"file", "kiosk", "access_token"})


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again
