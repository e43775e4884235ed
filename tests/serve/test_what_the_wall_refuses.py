"""Attempts on the wall: each is refused, and nothing of it reaches the app."""

import json
import re
import socket
from collections.abc import Sequence

import pytest
from marimo._server.api.router import build_routes
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from walls import NOTEBOOK, SHOWN, TOKEN, Site, until

from costwhy.serve.guard import CALLS, ICONS

SESSION = "session_id=s_abc123"
CALL = "/api/kernel/set_ui_element_value"


def test_a_logged_in_viewer_comes_through(site: Site) -> None:
    """Without this the refusals below would show nothing."""
    cookie = site.viewer()
    assert site.ask("GET", "/", cookie).status == 200
    with site.socket(SESSION, cookie) as page:
        assert page.recv() == f"see ./@file/{SHOWN} of None"
        assert site.ask("GET", f"/@file/{SHOWN}", cookie).status == 200
        assert (
            site.ask("POST", CALL, {**cookie, "Marimo-Session-Id": "s_abc123"}, b'{"a": 1}').status
            == 200
        )
    assert site.app.reached == [
        ("GET", "/"),
        ("WEBSOCKET", "/ws"),
        ("GET", f"/@file/{SHOWN}"),
        ("POST", CALL),
    ]
    assert site.app.bodies[-1] == b'{"a": 1}'


def test_a_stranger_gets_the_login_page_and_nothing_else(site: Site) -> None:
    reply = site.ask("GET", "/?case=alpha")
    assert (reply.status, reply.headers["Location"]) == (303, "/login?next=%2F%3Fcase%3Dalpha")
    for path in ("/assets/index.js", "/public-files-sw.js", f"/@file/{SHOWN}"):
        assert site.ask("GET", path).status == 401
    assert site.ask("POST", CALL, {"Marimo-Session-Id": "s_abc123"}, b"{}").status == 401
    assert site.app.reached == []


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:1",
        "costs.example.com.evil.example",
        "costs.example.com:8443",
        "",
        "user@costs.example.com",
    ],
)
@pytest.mark.parametrize("path", ["/", "/login", "/assets/index.js"])
def test_a_forged_host_is_refused(site: Site, host: str, path: str) -> None:
    assert site.ask("GET", path, {**site.viewer(), "Host": host}).status in {400, 403}
    assert site.app.reached == []


def test_two_hosts_or_a_whole_address_as_target_are_refused(site: Site) -> None:
    cookie = site.viewer()["Cookie"]
    both = f"GET / HTTP/1.1\r\nHost: {site.host}\r\nHost: evil.example\r\nCookie: {cookie}\r\n\r\n"
    whole = f"GET http://{site.host}/ HTTP/1.1\r\nHost: {site.host}\r\nCookie: {cookie}\r\n\r\n"
    for request in (both, whole):
        with socket.create_connection(("127.0.0.1", site.port), timeout=10) as line:
            line.sendall(request.encode())
            assert line.recv(12).split()[1] in {b"400", b"403", b"404"}
    assert site.app.reached == []


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd",
        "/assets/../index.html",
        "/assets/..%2f..%2fetc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/%252e%252e%252fetc%252fpasswd",
        "/assets/..\\..\\etc\\passwd",
        "/assets/..%5c..%5cetc%5cpasswd",
        "/assets//etc/passwd",
        "/assets/%00index.js",
        "/assets/..",
        "/assets/.hidden",
        "//",
        "//evil.example/",
        "/./",
        "/%2e",
        "/assets",
        "/assets/",
        "/@file/..%2f..%2fetc",
        "/@file/10-../../etc/passwd",
        "/%40file/859-17868-AbCdEfGh.arrow",
        "/public/secret.csv",
        "/public/../small_notebook.py",
        "/small_notebook.py",
        "/index.html",
        "/CLAUDE.md",
        "/login/",
        "/health/",
        "/link/../",
        "/?file=/etc/passwd",
        "/?kiosk=true",
        "/?access_token=x",
        "/?case=" + "a" * 5000,
    ],
)
def test_no_path_leads_elsewhere(site: Site, path: str) -> None:
    assert site.ask("GET", path, site.viewer()).status == 404
    assert site.app.reached == []


def _marimo_routes(routes: Sequence[BaseRoute], before: str = "") -> set[tuple[str, str]]:
    """Method and path of each route of the installed marimo, also of those that a newer one adds."""
    found: set[tuple[str, str]] = set()
    for route in routes:
        assert isinstance(route, Mount | Route | WebSocketRoute), (
            f"marimo has a new kind of route: {route}"
        )
        path = before + re.sub(r"\{[^}]*\}", "1-x", route.path)
        if isinstance(route, Mount):
            found |= {("GET", path + "/x/y"), *_marimo_routes(route.routes or [], path)}
        elif isinstance(route, WebSocketRoute):
            found.add(("WEBSOCKET", path))
        else:
            found |= {(method, path) for method in route.methods or {"GET", "POST"}}
    return found


def test_of_all_routes_of_marimo_only_what_a_page_needs_reaches_it(site: Site) -> None:
    routes, cookie = _marimo_routes(build_routes()), site.viewer()
    assert len(routes) > 80, "the walk sees marimo's routes"
    assert {
        ("POST", CALL),
        ("WEBSOCKET", "/ws"),
        ("POST", "/api/kernel/execute"),
        ("GET", "/sse"),
    } <= routes
    with site.socket(SESSION, cookie):
        for method, path in sorted(routes):
            _try(site, method, path, {**cookie, "Marimo-Session-Id": "s_abc123"})
    needed = {
        *(("POST", path) for path in CALLS),
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/public-files-sw.js"),
        ("HEAD", "/public-files-sw.js"),
        ("WEBSOCKET", "/ws"),
    }
    assert set(site.app.reached) - needed == set()


def _try(site: Site, method: str, path: str, headers: dict[str, str]) -> None:
    if method == "WEBSOCKET":
        assert site.opening(SESSION, headers, path=path) == (101 if path == "/ws" else 403)
        return
    reply = site.ask(
        method, path, headers, b"{}" if method in {"POST", "PUT", "PATCH", "DELETE"} else None
    )
    fine = path in {"/", "/health", "/public-files-sw.js", *CALLS}
    assert reply.status == 200 if fine else reply.status in {403, 404, 405}, (
        f"{method} {path} is answered with {reply.status}"
    )


def test_the_icons_are_marimos_and_the_only_files_for_strangers(site: Site) -> None:
    for path in sorted(ICONS):
        assert site.ask("GET", path).status == 200
    assert {path for _, path in site.app.reached} == ICONS
    assert all("user" not in scope and "meta" not in scope for scope in site.app.scopes)


@pytest.mark.parametrize(
    "method",
    ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "POST", "QUERY"],
)
def test_a_page_is_only_got(site: Site, method: str) -> None:
    for headers in ({}, {"X-HTTP-Method-Override": "GET"}):
        assert site.ask(
            method, "/", {**site.viewer(), "Origin": site.origin, **headers}
        ).status in {400, 405}
    assert site.ask("GET", CALL, {**site.viewer(), "X-HTTP-Method-Override": "POST"}).status == 405
    assert site.app.reached == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "http://127.0.0.1",
        "https://costs.example.com",
        "http://localhost.evil.example",
    ],
)
def test_another_sites_page_calls_nothing(site: Site, origin: str) -> None:
    cookie = site.viewer()
    with site.socket(SESSION, cookie):
        for path in (*sorted(CALLS), "/login", "/logout"):
            assert (
                site.ask(
                    "POST",
                    path,
                    {**cookie, "Origin": origin, "Marimo-Session-Id": "s_abc123"},
                    b"{}",
                ).status
                == 403
            )
    assert site.app.reached == [("WEBSOCKET", "/ws")]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        None,
        "http://127.0.0.1",
        "https://costs.example.com",
        "file://",
    ],
)
def test_a_websocket_from_another_site_or_from_nowhere_is_refused(
    site: Site, origin: str | None
) -> None:
    assert site.opening(SESSION, site.viewer(), origin=origin) == 403
    assert site.app.reached == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/ws/",
        "/ws_sync",
        "/terminal/ws",
        "/lsp/pylsp",
        "/%77s",
        "//ws",
        "/api/kernel/ws",
        "/sse",
    ],
)
def test_only_the_pages_own_websocket_is_opened(site: Site, path: str) -> None:
    assert site.opening(SESSION, site.viewer(), path=path) == 403
    assert site.app.reached == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "session_id=",
        "session_id=../x",
        "session_id=s_abc123&session_id=s_other1",
        SESSION + "&file=/etc/passwd",
        SESSION + "&kiosk=true",
        SESSION + "&x=" + "a" * 5000,
    ],
)
def test_a_websocket_has_one_session_and_chooses_no_notebook(site: Site, query: str) -> None:
    assert site.opening(query, site.viewer()) == 403
    assert site.app.reached == []


def test_a_websocket_without_a_login_is_refused(site: Site) -> None:
    for headers in (
        {},
        {"Cookie": "costwhy=made.up"},
        {"Authorization": "Bearer wrong-token-wrong-token"},
    ):
        assert site.opening(SESSION, headers) == 403
    assert site.app.reached == []


def test_the_session_of_another_is_neither_taken_over_nor_clicked_in(site: Site) -> None:
    ada, eve = site.viewer(), site.viewer()
    with site.socket(SESSION, ada):
        assert site.opening(SESSION, eve) == 403
        for session in ("s_abc123", "s_unknown", "", "s_abc123\t"):
            assert (
                site.ask("POST", CALL, {**eve, "Marimo-Session-Id": session}, b"{}").status == 403
            )
    assert (
        site.opening(SESSION, eve) == 403
    )  # also after ada has gone: marimo keeps the session a while
    assert site.app.reached == [("WEBSOCKET", "/ws")]


def test_a_file_of_anothers_page_is_not_read(site: Site) -> None:
    ada, eve = site.viewer(), site.viewer()
    with site.socket(SESSION, ada) as page, site.socket("session_id=s_other1", eve, path="/ws"):
        page.recv()
        assert site.ask("GET", f"/@file/{SHOWN}", ada).status == 200
        assert site.ask("GET", "/@file/859-17868-AbCdEfGx.arrow", eve).status == 404
        assert site.ask("GET", "/@file/1-empty.txt", ada).status == 404


def test_one_viewer_cannot_take_all_sessions(site: Site) -> None:
    cookie = site.viewer()
    for number in range(40):
        assert site.opening(f"session_id=s_{number:06}", cookie) == 101
    assert site.opening("session_id=s_one_more", cookie) == 403
    assert site.opening("session_id=s_of_ada", site.viewer()) == 101


def test_a_body_over_its_bound_is_refused(site: Site) -> None:
    cookie = {**site.viewer(), "Marimo-Session-Id": "s_abc123"}
    with site.socket(SESSION, cookie):
        assert site.ask("POST", CALL, cookie, b"x" * (256 * 1024)).status == 200
        assert (
            site.ask("POST", CALL, {**cookie, "Content-Length": "262145"}).status == 413
        )  # 256 KiB and a byte, only announced
        chunks = (
            b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(17)) + b"0\r\n\r\n"
        )  # 17 x 16 KiB
        assert (
            site.ask(
                "POST",
                CALL,
                {**cookie, "Transfer-Encoding": "chunked", "Content-Length": ""},
                chunks,
            ).status
            == 413
        )
        assert site.ask("POST", "/login", {"Content-Length": "4097"}).status == 413
    assert site.app.reached == [("WEBSOCKET", "/ws"), ("POST", CALL)]


def test_a_body_that_does_not_come_is_not_waited_for(site: Site) -> None:
    cookie = {**site.viewer(), "Marimo-Session-Id": "s_abc123"}
    with site.socket(SESSION, cookie):
        assert site.ask("POST", CALL, {**cookie, "Content-Length": "100"}, b"").status == 408
    assert site.app.reached == [("WEBSOCKET", "/ws")]


def test_a_request_hidden_in_another_is_no_request(site: Site) -> None:
    """Content-Length and Transfer-Encoding together: whichever of them a proxy believed, here it is refused and the line is closed."""
    head = f"POST /login HTTP/1.1\r\nHost: {site.host}\r\nOrigin: {site.origin}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    hidden = (
        f"0\r\n\r\nGET / HTTP/1.1\r\nHost: {site.host}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as line:
        line.sendall((head + hidden).encode())
        answers = b"".join(iter(lambda: line.recv(65536), b""))
    assert answers.startswith(b"HTTP/1.1 400")
    assert answers.count(b"HTTP/1.1") == 1
    assert site.app.reached == []


def test_nothing_of_the_app_gets_out_but_its_page(site: Site) -> None:
    cookie = site.viewer()
    page = site.ask("GET", "/", {**cookie, "Origin": "https://evil.example"})
    assert page.body == f"<p>{NOTEBOOK.name}</p>".encode(), "no path of this machine"
    assert not {"access-control-allow-origin", "set-cookie", "server", "location"} & {
        name.lower() for name in page.headers
    }
    failed = site.ask("GET", "/?fail", cookie)
    assert (failed.status, failed.body) == (500, b"Internal Server Error\n")
    assert site.ask("GET", "/?away", cookie).status == 404


def test_no_secret_reaches_the_app(site: Site) -> None:
    sent = {
        **site.viewer(),
        "Authorization": f"Bearer {TOKEN}",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-User": "root",
        "X-Forwarded-Prefix": "/x",
    }
    site.ask("GET", "/", {**sent, "Accept-Language": "de", "X-Notebook-Id": "%2Fetc%2Fpasswd"})
    with site.socket(SESSION, sent):
        pass
    for scope in site.app.scopes:
        assert {name for name, _ in scope["headers"]} <= {b"host", b"accept-language"}
        assert scope["meta"]["case"] is None
        assert scope["meta"]["who"] == "viewer"
        assert scope["user"] == {
            "username": "viewer",
            "display_name": "viewer",
            "is_authenticated": True,
        }


@pytest.mark.parametrize("path", ["/", "/login", "/health", "/nowhere", "/assets/index.js"])
def test_every_answer_carries_its_policy(site: Site, path: str) -> None:
    headers = site.ask("GET", path, site.viewer()).headers
    policy = str(headers["Content-Security-Policy"])
    assert "frame-ancestors 'none'" in policy
    assert "'unsafe-inline'" not in policy.replace("style-src 'self' 'unsafe-inline'", "")
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"], headers["Server"]) == (
        "nosniff",
        "same-origin",
        None,
    )
    assert "no-store" in headers["Cache-Control"] or path == "/assets/index.js"


def test_health_is_open_and_says_only_ok(site: Site) -> None:
    reply = site.ask("GET", "/health", {"Host": "10.0.0.9:8080"})
    assert (reply.status, reply.body) == (200, b"ok\n")
    assert site.ask("POST", "/health", {}, b"").status == 405
    assert site.ask("GET", "/healthz").status == 404


def test_refusals_are_in_the_access_log_and_secrets_are_not(site: Site) -> None:
    cookie = site.viewer()
    site.ask("GET", f"/?token={TOKEN}", cookie)
    site.ask("GET", f"/api/files/{TOKEN}?x={TOKEN}" + "y" * 60, cookie)
    assert site.opening(SESSION + "&x=1", cookie, origin="https://evil.example") == 403
    with site.socket(SESSION, cookie):
        until(lambda: site.log.read_text().count("WEBSOCKET") == 2)
    text = site.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["method"], line["path"], line["status"], line["who"]) for line in lines] == [
        ("POST", "/login", 303, None),
        ("GET", "/", 200, "viewer"),
        ("GET", f"/api/files/{TOKEN}", 404, None),
        ("WEBSOCKET", "/ws", 403, None),
        ("WEBSOCKET", "/ws", 101, "viewer"),
    ]
    assert text.count(TOKEN) == 1, "only where somebody made it a path"
    assert cookie["Cookie"].removeprefix("costwhy=") not in text
    assert {line["address"] for line in lines} == {"127.0.0.1"}
