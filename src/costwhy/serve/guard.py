"""The wall around the read-only app: a pure ASGI guard that lets through what a page needs to work, and nothing else.

    GET  /health                                everybody; the answer is "ok"
    GET  /login, /logout, /link/TEXT, icons     everybody
    POST /login, /logout                        everybody, from this site's own page
    GET  /, /assets/NAME, /public-files-sw.js   visitors
    GET  /@file/NAME                            the visitor whose page was told of the file
    POST of the three kernel calls              the owner of the session, from this site's own page
    WebSocket /ws                               visitors, from this site's own page; ended when the visitor's right ends

Everything else is 404 or 405; a strange Host, Origin or session is 403. Paths are compared undecoded, so an encoded one is no
path of ours. Bodies are read whole, up to a bound, before the app sees them. The app never sees cookies, credentials or what
proxies said; it gets `user` and `meta` in the ASGI scope. Its CORS headers, redirects, errors and paths do not get out.

WebSockets pass here too, which Starlette's BaseHTTPMiddleware does not see.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote

from costwhy.serve import login_page
from costwhy.serve.access_log import AccessLog, Entry, harmless_path
from costwhy.serve.requests import COOKIE, Call, read_call
from costwhy.serve.responses import Answer, App, Message, Receive, Scope, Send, ask, finish_page, give, go, plain
from costwhy.serve.sessions import SESSION_ID, Session, Sessions, note_files
from costwhy.serve.visitors import Doorkeeper, Visitor

PAGE = "/"
SOCKET = "/ws"
CALLS = frozenset({"/api/kernel/set_ui_element_value", "/api/kernel/set_model_value", "/api/kernel/function_call"})
ICONS = frozenset(
    {"/favicon.ico", "/manifest.json", "/logo.png", "/apple-touch-icon.png", "/android-chrome-192x192.png", "/android-chrome-512x512.png"}
)
OWN = frozenset({"/health", "/login", "/logout"})
WORKER = "/public-files-sw.js"  # the page complains where it is missing; it reads /public, which is closed
_ASSET = re.compile(r"/assets/[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}")
_FILE = re.compile(r"/@file/([0-9]+-[A-Za-z0-9_.-]{1,120})")
_LINK = re.compile(r"/link/([A-Za-z0-9_.-]{20,2000})")
_NEXT = re.compile(r"/(\?[A-Za-z0-9._~%&=+,:@!$'()*;/?-]{0,2000})?")
_INSIDE = frozenset(
    {"host", "accept", "accept-language", "content-type", "content-length", "range", "if-range", "if-none-match", "if-modified-since"}
)
_INSIDE_CALL = frozenset({"marimo-session-id", "marimo-server-token"})
_NOT_ASKED = frozenset({"file", "kiosk", "access_token"})  # which notebook, whose session, marimo's own token: not a viewer's to say
_logger = logging.getLogger("costwhy.serve")
ENDED = 3000  # close code that marimo's page understands as "not authorized", and does not try again


@dataclass(frozen=True)
class Wall:
    """What is served, under which names, within which bounds."""

    sites: Mapping[str, str]
    """Origin by Host: {"costs.example.com": "https://costs.example.com"}."""
    published: str
    notebook: Path
    most_bytes: int = 256 * 1024
    """Of a request's body; of a login's the 64th part."""
    patience: float = 20.0
    """Seconds within which a body must arrive."""
    watch: float = 10.0
    """Seconds between two looks at whether an open page's visitor still is one."""
    keep: float = 300.0
    """Seconds that a session keeps its owner after its last WebSocket; longer than marimo keeps the session."""


class TooMuch(Exception):
    """A body is longer than its bound, or too slow; `status` says which."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(str(status))


class Guard:
    """ASGI app: the wall before another app."""

    def __init__(self, app: App, wall: Wall, keeper: Doorkeeper, log: AccessLog) -> None:
        self._app, self._wall, self._keeper, self._log = app, wall, keeper, log
        self._sessions = Sessions(wall.keep)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's scope."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)

    # ------------------------------------------------------------ HTTP

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = read_call(scope, self._keeper.auth)
        visitor: Visitor | None = None
        answer = self._misplaced(call)
        if answer is None and call.path != "/health":
            visitor = self._keeper.recognise(call.proofs)
        try:
            answer = (
                answer
                or await self._own(call, visitor, receive)
                or self._strange(call, visitor)
                or await self._pass(scope, call, visitor, receive)
            )
        except TooMuch as error:
            answer = plain(error.status).having("connection", "close")
        except Exception:
            _logger.exception("%s %s", call.method, harmless_path(call.path))  # the viewer learns that it failed, not why
            answer = plain(500)
        self._log.write(Entry(call.method, call.path, answer.status, call.address, visitor.who if visitor else None))
        await give(answer, send, https=self._is_https(call), empty=call.method == "HEAD")

    def _is_https(self, call: Call) -> bool:
        return call.https or self._wall.sites.get(call.header("host") or "", "").startswith("https:")

    def _is_from_here(self, call: Call) -> bool:
        """The Origin is the one that belongs to the Host."""
        return call.header("origin") == self._wall.sites.get(call.header("host") or "", "no site")

    def _misplaced(self, call: Call) -> Answer | None:
        """Refuse what no viewer's browser asks for: a strange name, path, method, or site."""
        if call.path == "/health" and call.method in {"GET", "HEAD"}:
            return None  # whoever watches over the server asks for it by its address
        if call.header("host") not in self._wall.sites:
            return plain(403, "this site is not served under that name")
        if "content-length" in call.headers and "transfer-encoding" in call.headers:
            return plain(400).having("connection", "close")  # two lengths: a proxy may have believed the other one
        methods = _methods(call.path)
        if not methods or len(call.query) > 4096 or (call.path == PAGE and _NOT_ASKED & _names(call.query)):
            return plain(404)
        if call.method not in methods:
            return plain(405).having("allow", ", ".join(sorted(methods)))
        if call.method == "POST" and not self._is_from_here(call):
            return plain(403, "asked by another site's page")
        return None

    def _strange(self, call: Call, visitor: Visitor | None) -> Answer | None:
        """Refuse a stranger, and a visitor what is another's."""
        if call.path in ICONS:
            return None
        if visitor is None:
            return self._show_in(call)
        if call.path in CALLS and not self._sessions.owns(call.header("marimo-session-id") or "", visitor.key):
            return plain(403, "no session of yours")
        file = _FILE.fullmatch(call.path)
        if file and not self._sessions.may_read(file[1], visitor.key):
            return plain(404)
        return None

    def _show_in(self, call: Call) -> Answer:
        if call.path == PAGE and call.method == "GET" and self._keeper.auth.way in {"token", "users"}:
            there = f"/?{call.query}" if call.query else "/"
            return go("/login" + (f"?next={quote(there, safe='')}" if call.query and _NEXT.fullmatch(there) else ""))
        return plain(401, "log in first")

    async def _pass(self, scope: Scope, call: Call, visitor: Visitor | None, receive: Receive) -> Answer:
        inside = self._inside(scope, call, visitor)
        if call.method == "POST":
            receive = _replay(await _read_body(call, receive, self._wall.most_bytes, self._wall.patience), receive)
        answer = await ask(self._app, inside, receive)
        if call.path == PAGE and answer.status == 200 and call.method == "GET":
            return finish_page(answer, self._wall.notebook)
        return (
            Answer(answer.status, answer.body, answer.headers, answer.policy, "private, max-age=86400") if _is_fixed(call.path) else answer
        )

    def _inside(self, scope: Scope, call: Call, visitor: Visitor | None) -> Scope:
        """The scope that the app gets: the headers it needs, and who looks."""
        kept = _INSIDE | _INSIDE_CALL if call.method == "POST" else _INSIDE
        if call.path == PAGE:
            kept = kept - {"if-none-match", "if-modified-since"}  # the page's policy belongs to its text: it is always sent whole
        inside = {
            k: v
            for k, v in scope.items()
            if k in {"type", "asgi", "http_version", "method", "scheme", "query_string", "server", "subprotocols"}
        }
        inside |= {"path": call.path, "raw_path": call.path.encode("ascii"), "root_path": "", "client": (call.address, 0), "state": {}}
        inside["headers"] = [(name.encode(), value.encode("latin-1")) for name in sorted(kept) if (value := call.header(name)) is not None]
        if visitor is not None:
            inside["user"] = {"username": visitor.who, "display_name": visitor.who, "is_authenticated": True}
            inside["meta"] = {"case": visitor.case, "who": visitor.who, "published": self._wall.published}
        return inside

    # ------------------------------------------------------------ the wall's own pages

    async def _own(self, call: Call, visitor: Visitor | None, receive: Receive) -> Answer | None:
        if call.path == "/health":
            return plain(200, "ok")
        if call.path == "/login":
            return await self._log_in(call, receive) if call.method == "POST" else self._ask_in(call, visitor)
        if call.path == "/logout":
            return self._log_out(call, visitor)
        link = _LINK.fullmatch(call.path)
        return self._open(call, visitor, link[1]) if link else None

    def _ask_in(self, call: Call, visitor: Visitor | None) -> Answer:
        way, there = self._keeper.auth.way, _next(parse_qs(call.query).get("next", ["/"])[-1])
        if way == "none" or (visitor is not None and visitor.case is None):
            return go(there)
        return (
            plain(401, "the proxy before this server logs you in")
            if way == "header"
            else login_page.login(200, login_page.Form(way, there))
        )

    async def _log_in(self, call: Call, receive: Receive) -> Answer:
        body = await _read_body(call, receive, self._wall.most_bytes // 64, self._wall.patience)
        try:
            fields = {name: values[-1] for name, values in parse_qs(body.decode("ascii"), max_num_fields=8, errors="strict").items()}
        except ValueError:
            return plain(400)
        way, there = self._keeper.auth.way, _next(fields.get("next", "/"))
        if way not in {"token", "users"}:
            return plain(404)
        name = fields.get("name", "")[:64]
        wait = self._keeper.must_wait(name, call.address)
        if wait > 0:
            return plain(429, "too many attempts; wait some minutes").having("retry-after", str(int(wait) + 1))
        visitor = await self._keeper.log_in(name, fields.get("secret", ""), call.address)
        if visitor is None:
            return login_page.login(401, login_page.Form(way, there, "That is not right. Try again."))
        return self._with_cookie(go(there), call, visitor)

    def _log_out(self, call: Call, visitor: Visitor | None) -> Answer:
        mine = visitor if call.proofs.cookie and visitor and visitor.key not in {"none", "bearer"} and call.vouched is None else None
        if call.method != "POST":
            return login_page.logout(mine.who) if mine else go("/login")
        if mine is not None:
            self._keeper.log_out(mine)
        return go("/login").having("set-cookie", f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")

    def _open(self, call: Call, visitor: Visitor | None, text: str) -> Answer:
        """A link becomes a cookie for its case; who may see all cases keeps his own."""
        holder = self._keeper.open_link(text)
        if holder is None:
            return plain(403, "this link opens nothing: it was altered, its date is past, or it was revoked; ask for a new one")
        there = go(f"/?case={quote(holder.case or '')}")
        keeps = visitor is not None and visitor.case is None and self._keeper.auth.way != "none"
        return there if keeps else self._with_cookie(there, call, holder)

    def _with_cookie(self, answer: Answer, call: Call, visitor: Visitor) -> Answer:
        secure = "; Secure" if self._is_https(call) else ""
        seconds = self._keeper.seconds_left(visitor)
        return answer.having(
            "set-cookie", f"{COOKIE}={self._keeper.cookie(visitor)}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        )

    # ------------------------------------------------------------ WebSockets

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = read_call(scope, self._keeper.auth)
        visitor, session = self._admit(call)
        if visitor is None or session is None:
            self._log.write(Entry("WEBSOCKET", call.path, 403, call.address, visitor.who if visitor else None))
            await receive()  # its `websocket.connect`
            await send({"type": "websocket.close", "code": 1008})
            return
        self._log.write(Entry("WEBSOCKET", call.path, 101, call.address, visitor.who))
        outlet = _Outlet(send, session)
        watcher = asyncio.create_task(self._watch(call, visitor, outlet))
        try:
            await self._app(self._inside(scope, call, visitor), receive, outlet.send)
        finally:
            watcher.cancel()
            self._sessions.leave(session)

    def _admit(self, call: Call) -> tuple[Visitor | None, Session | None]:
        """The visitor and the session of a WebSocket; None for what is missing."""
        names = [value for name, value in parse_qsl(call.query, keep_blank_values=True) if name == "session_id"]
        sound = call.path == SOCKET and len(call.query) <= 4096 and not _NOT_ASKED & _names(call.query)
        if not sound or not self._is_from_here(call) or len(names) != 1 or not SESSION_ID.fullmatch(names[0]):
            return None, None
        visitor = self._keeper.recognise(call.proofs)
        return visitor, None if visitor is None else self._sessions.enter(names[0], visitor.key)

    async def _watch(self, call: Call, visitor: Visitor, outlet: "_Outlet") -> None:
        """End the WebSocket when its visitor's right ends."""
        while self._keeper.is_welcome(visitor):
            await asyncio.sleep(self._wall.watch)
        self._log.write(Entry("WEBSOCKET", call.path, ENDED, call.address, visitor.who))
        await outlet.end()


class _Outlet:
    """The way of messages to the page: notes the files that they name, and can be shut."""

    def __init__(self, send: Send, session: Session) -> None:
        self._send, self._session, self._shut = send, session, False

    async def send(self, message: Message) -> None:
        if self._shut:
            return
        if message["type"] == "websocket.send":
            note_files(self._session, message.get("text") or "")
        elif message["type"] == "websocket.accept":
            message = {**message, "headers": []}
        await self._send(message)

    async def end(self) -> None:
        """Close; the app hears of it as a disconnection."""
        self._shut = True
        with contextlib.suppress(OSError, RuntimeError):  # it was just closed from the other side
            await self._send({"type": "websocket.close", "code": ENDED, "reason": "MARIMO_UNAUTHORIZED"})


def _methods(path: str) -> frozenset[str]:
    """The methods that a path of ours has; none for another's."""
    if path in CALLS:
        return frozenset({"POST"})
    if path in {"/login", "/logout"}:
        return frozenset({"GET", "HEAD", "POST"})
    ours = (
        path in {PAGE, WORKER} or path in OWN or path in ICONS or _ASSET.fullmatch(path) or _FILE.fullmatch(path) or _LINK.fullmatch(path)
    )
    return frozenset({"GET", "HEAD"}) if ours else frozenset()


def _is_fixed(path: str) -> bool:
    """Files of marimo, whose names change with their contents."""
    return path in ICONS or path.startswith("/assets/")


def _names(query: str) -> set[str]:
    return {name for name, _ in parse_qsl(query, keep_blank_values=True)}


def _next(path: str) -> str:
    """Where to go after a login: the page with a query; anything else is the page."""
    return path if _NEXT.fullmatch(path) else "/"


async def _read_body(call: Call, receive: Receive, most: int, patience: float) -> bytes:
    """The whole body of a request. Raises TooMuch where it is longer than `most` bytes, or is not there in `patience` seconds."""
    told = call.header("content-length")
    if told is not None and (not told.isdigit() or int(told) > most):
        raise TooMuch(413)
    body = bytearray()
    try:
        async with asyncio.timeout(patience):
            while True:
                message = await receive()
                body.extend(message.get("body", b""))
                if len(body) > most:
                    raise TooMuch(413)
                if message["type"] != "http.request" or not message.get("more_body"):
                    return bytes(body)
    except TimeoutError as error:
        raise TooMuch(408) from error


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once more, and after it what still comes."""
    left = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again
