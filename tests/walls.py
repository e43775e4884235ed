"""A wall on a real socket before an app that only notes what reaches it, and a client that sends what no browser would."""

import asyncio
import http.client
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from costwhy.serve.access_log import AccessLog
from costwhy.serve.auth import Auth, hash_line
from costwhy.serve.authenticator import Authenticator, Visitor
from costwhy.serve.guard import Guard
from costwhy.serve.links import REVOKED, IdList
from costwhy.serve.requests import COOKIE, read_request
from costwhy.serve.requests import Site as GuardedSite
from costwhy.serve.secret_key import read_secret
from costwhy.serve.server import config

TOKEN = "a-token-of-the-tests-3141"
PASSWORD = "correct horse battery"
SHOWN = "859-17868-AbCdEfGh.arrow"  # a file that the noting app's pages name
NOTEBOOK = Path(__file__).resolve().parent / "small_notebook.py"


class Noting:
    """An app that notes each scope, answers with things that must not get out, and keeps WebSockets open."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.scopes.append(scope)
        await (self._socket if scope["type"] == "websocket" else self._http)(scope, receive, send)

    async def _http(self, scope: Any, receive: Any, send: Any) -> None:
        self.bodies.append((await receive())["body"])
        status = {b"fail": 500, b"away": 302}.get(scope["query_string"], 200)
        headers = [
            (b"access-control-allow-origin", b"*"),
            (b"set-cookie", b"a=b"),
            (b"server", b"x"),
            (b"location", b"https://evil.example"),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, (b"content-type", b"text/html")],
            }
        )
        await send({"type": "http.response.body", "body": f"<p>{NOTEBOOK}</p>".encode()})

    async def _socket(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send(
            {"type": "websocket.send", "text": f"see ./@file/{SHOWN} of {scope['meta']['case']}"}
        )
        self.open += 1
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self.open -= 1

    @property
    def reached(self) -> list[tuple[str, str]]:
        """Method and path of what came through."""
        return [(scope.get("method", "WEBSOCKET"), scope["path"]) for scope in self.scopes]


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass
class Site:
    """A running wall."""

    port: int
    authenticator: Authenticator
    key: bytes
    revoked: IdList
    log: Path
    app: Noting = field(default_factory=Noting)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def origin(self) -> str:
        return f"http://{self.host}"

    def ask(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send exactly this; Host is the site's own unless given, and an empty one is left out."""
        headers = {"Host": self.host, **(headers or {})}
        if method == "POST":
            headers = {"Origin": self.origin, **headers}
        if body is not None:
            headers = {"Content-Length": str(len(body)), **headers}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                if value:
                    connection.putheader(name, value)
            connection.endheaders(body)
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def recognise(self, headers: dict[str, str]) -> Visitor | None:
        """Who sends these headers."""
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "path": "/", "headers": raw, "client": ("127.0.0.1", 1)}
        return self.authenticator.recognise(read_request(scope, self.authenticator.auth))

    def cookie(self, visitor: Visitor) -> dict[str, str]:
        return {"Cookie": f"{COOKIE}={self.authenticator.cookie(visitor)}"}

    def log_in(self, secret: str, name: str = "", there: str = "/") -> Reply:
        from urllib.parse import urlencode

        body = urlencode({"name": name, "secret": secret, "next": there}).encode()
        return self.ask(
            "POST", "/login", {"Content-Type": "application/x-www-form-urlencoded"}, body
        )

    def viewer(self) -> dict[str, str]:
        """Headers of somebody who has logged in with the token, by a cookie of his own."""
        reply = self.log_in(TOKEN)
        assert reply.status == 303
        return kept_cookie(reply)

    def socket(
        self, query: str, headers: dict[str, str], path: str = "/ws", **wishes: Any
    ) -> ClientConnection:
        wishes = {"origin": self.origin, **wishes}
        return connect(
            f"ws://127.0.0.1:{self.port}{path}?{query}",
            additional_headers=headers,
            proxy=None,
            **wishes,
        )

    def opening(self, query: str, headers: dict[str, str], path: str = "/ws", **wishes: Any) -> int:
        """Status with which a WebSocket is opened (101; it is closed again) or refused."""
        try:
            with self.socket(query, headers, path, **wishes):
                return 101
        except InvalidStatus as refusal:
            return refusal.response.status_code


def kept_cookie(reply: Reply) -> dict[str, str]:
    """What the browser would send from now on."""
    return {"Cookie": str(reply.headers["Set-Cookie"]).partition(";")[0]}


ENDING: deque[threading.Thread] = deque()
"""Walls that were told to end. It takes uvicorn two tenths of a second, which no test waits for."""


@contextmanager
def wall(folder: Path, auth: Auth, **bounds: Any) -> Iterator[Site]:
    """A wall before a noting app, on a port of its own."""
    state, published = folder / "state", folder / "published"
    published.mkdir(exist_ok=True)
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    key, revoked = read_secret(state), IdList(published / REVOKED)
    authenticator = Authenticator(auth, key, revoked, IdList(state / "logged-out.txt"))
    site = Site(port, authenticator, key, revoked, folder / "access.jsonl")
    sites = {site.host: site.origin, "costs.example.com": "https://costs.example.com"}
    bounded = GuardedSite(sites, {"published": str(published)}, NOTEBOOK, **bounds)
    server = uvicorn.Server(config(Guard(site.app, bounded, authenticator, AccessLog(site.log))))

    def serve() -> None:
        with listener:
            asyncio.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        until(lambda: server.started)
        yield site
    finally:
        server.should_exit = True
        ENDING.append(thread)
        await_walls(10)


def await_walls(most: int = 0) -> None:
    """Wait until at most so many walls are ending."""
    while len(ENDING) > most:
        thread = ENDING.popleft()
        thread.join(20)
        assert not thread.is_alive(), "a wall did not end in 20 seconds"


def until(true: Any, seconds: float = 15) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def users_file(folder: Path, *names: str) -> Path:
    """A users' file in which everybody has the same password."""
    file = folder / "users.txt"
    file.write_text(
        "# who may look\n\n" + "".join(hash_line(name, PASSWORD) + "\n" for name in names)
    )
    return file
