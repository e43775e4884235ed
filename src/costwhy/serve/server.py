"""The server of `costwhy serve`, `app` and `demo`: marimo behind the guard, run by uvicorn.

marimo and what the notebook uses are imported where they are used: they take seconds.
"""

import mimetypes
import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import click
import uvicorn
from platformdirs import user_state_path
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp

from costwhy.errors import InputError, UsageError
from costwhy.serve.access_log import AccessLog
from costwhy.serve.auth import Auth, check_address, is_loopback
from costwhy.serve.authenticator import Authenticator
from costwhy.serve.guard import Guard
from costwhy.serve.links import REVOKED, IdList
from costwhy.serve.requests import Site
from costwhy.serve.secret_key import read_secret


@dataclass(frozen=True)
class ServeOptions:
    """Where and for whom the app is served.

    `port`: 0 is a free one. `sites`: addresses that viewers type, such as
    https://costs.example.com; this machine's own are known. `state`: folder of the secret key and
    of cookies logged out, never inside the published folder; None: `default_state()`. `revoked`:
    the revocation list; None: `revoked-links.txt` in the published folder, or in the state folder
    where the published one is on S3. `log`: file of the access log; None: standard error.
    """

    auth: Auth = field(default_factory=Auth)
    host: str = "127.0.0.1"
    port: int = 0
    sites: tuple[str, ...] = ()
    state: Path | None = None
    revoked: Path | None = None
    log: Path | None = None


def default_state() -> Path:
    """`$XDG_STATE_HOME/costwhy`, or `~/.local/state/costwhy`."""
    return user_state_path("costwhy")


def serve(published: str, notebook: Path, options: ServeOptions) -> None:
    """Serve until it is ended. Shows the address on standard error when it answers.

    Raises UsageError where the address, the login, a site or the port cannot be used; InputError
    where the published folder or the notebook is missing, or others may read the secret key;
    ConfigError where the users' file is wrong.
    """
    check_address(options.host, options.auth)
    with listen(options.host, options.port) as listener:
        port = listener.getsockname()[1]
        app = create_app(published, notebook, options, port)
        sites = options.sites or (f"http://{_bracketed(options.host)}:{port}",)
        threading.Thread(target=_open_cases, args=(published,), daemon=True).start()
        run(app, listener, lambda: show_addresses(sites))


def _open_cases(published: str) -> None:
    """What the first viewer would wait for: the notebook's imports, and the cases."""
    from costwhy.show import leadership  # noqa: PLC0415

    with suppress(Exception):  # the notebook says what is wrong
        leadership.open_board(published)


def serve_workspace(
    workspace: Path, notebook: Path, listener: socket.socket, ready: Callable[[], None]
) -> None:
    """Serve the investigation of a workspace to this machine until it is ended.

    Anybody on this machine may look, and no other site's page. The notebook gets the workspace by
    the ASGI scope, see `viewer.read_workspace`. `ready` is called when it answers.
    """
    none, nowhere = Auth(), Path(os.devnull)
    nobody = IdList(nowhere)
    authenticator = Authenticator(none, secrets.token_bytes(32), nobody, nobody)
    sites = read_sites(ServeOptions(none), listener.getsockname()[1])
    site = Site(sites, {"workspace": str(workspace)}, notebook.resolve())
    app = Guard(notebook_app(notebook), site, authenticator, AccessLog(nowhere))
    run(app, listener, ready)


def show_addresses(addresses: Iterable[str]) -> None:
    """Print where the app is."""
    for address in addresses:
        click.echo(f"{click.style(address, bold=True)}  (Ctrl+C ends it)", err=True)


def run(app: Guard, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Run the app on a socket until it is ended. `ready` is called when it answers."""
    server = _Server(config(app))
    server.ready = ready
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()


def create_app(published: str, notebook: Path, options: ServeOptions, port: int) -> Guard:
    """The ASGI app: marimo behind the guard. A process may have several.

    The notebook gets the published folder, the viewer and a link's one case by the ASGI scope, for
    each session: `mo.app_meta().request.meta` is `{"published": str, "case": str | None,
    "who": str}` (see `viewer.read_viewer`), and `.user` is `{"username": who, ...}`. Not by the
    environment or the command line, because one process may serve two folders.
    Raises as `serve`.
    """
    check_address(options.host, options.auth)
    folder = None if "://" in published else Path(published).resolve()  # None: elsewhere, as on S3
    state = options.state or default_state()
    _check_paths(folder, notebook, state)
    revoked = IdList(options.revoked or (folder or state) / REVOKED)
    authenticator = Authenticator(
        options.auth, read_secret(state), revoked, IdList(state / "logged-out.txt")
    )
    site = Site(
        read_sites(options, port), {"published": str(folder or published)}, notebook.resolve()
    )
    packed = GZipMiddleware(notebook_app(notebook))  # it may go over a network
    return Guard(packed, site, authenticator, AccessLog(options.log))


def notebook_app(notebook: Path) -> ASGIApp:
    """A notebook in marimo's run mode."""
    import marimo  # noqa: PLC0415

    mimetypes.add_type("text/javascript", ".js")  # some machines call it text/plain
    builder = marimo.create_asgi_app(
        quiet=True,
        include_code=False,
        skew_protection=True,
        session_ttl=120,  # seconds that marimo keeps a session whose page has gone
        show_tracebacks=False,
    )
    return builder.with_app(path="", root=str(notebook.resolve())).build()


def _check_paths(folder: Path | None, notebook: Path, state: Path) -> None:
    if folder is not None and not folder.is_dir():
        raise InputError(
            "the published folder is missing",
            found=str(folder),
            fix="publish a case, or name the folder",
        )
    if not notebook.is_file():
        raise InputError(
            "the notebook is missing", found=str(notebook), fix="install costwhy again"
        )
    if folder is not None and state.resolve().is_relative_to(folder):
        raise UsageError(
            "the secret key would lie in the published folder",
            found=str(state),
            fix="give a state folder outside it",
        )


def config(app: Guard) -> uvicorn.Config:
    """uvicorn that trusts no proxy (the guard does, the listed ones) and hides its name."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="websockets-sansio",
        ws_max_size=64 * 1024,  # bytes that a page may send by it; it sends its calls by POST
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        limit_concurrency=1000,
        h11_max_incomplete_event_size=32 * 1024,
        timeout_graceful_shutdown=3,
    )


def read_sites(options: ServeOptions, port: int) -> dict[str, str]:
    """Origin by Host: of the sites, and of this machine's own names where it listens for itself.

    Raises UsageError where a site is not `https://name`, is public without a login, or none is
    given for 0.0.0.0.
    """
    own = (
        ["127.0.0.1", "localhost", "[::1]"]
        if is_loopback(options.host)
        else [_bracketed(options.host)]
    )
    if options.host in {"0.0.0.0", "::"}:  # noqa: S104 - compared, not bound
        own = []
    sites = dict(_read_site(f"http://{name}:{port}") for name in own)
    for text in options.sites:
        host, origin = _read_site(text)
        if options.auth.way == "none" and not is_loopback(urlsplit(origin).hostname or ""):
            raise UsageError(
                "a public site, and nobody would be asked who they are",
                found=text,
                fix="give a token, users, or a proxy's header",
            )
        sites[host] = origin
    if not sites:
        raise UsageError(
            "under which name do viewers come?",
            found=f"listening on {options.host}, no site",
            fix="give one such as https://costs.example.com",
        )
    return sites


def _read_site(text: str) -> tuple[str, str]:
    """Host and Origin of a site as browsers write them: lower case, without the usual port."""
    site = re.fullmatch(
        r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?/?", text.lower()
    )
    if site is None:
        raise UsageError(
            "not a valid site",
            found=repr(text),
            fix="give scheme and name, such as https://costs.example.com; a path is not served",
        )
    scheme, name, port = site.groups()
    is_usual = port in {None, {"http": "80", "https": "443"}[scheme]}
    host = name if is_usual else f"{name}:{port}"
    return host, f"{scheme}://{host}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int) -> socket.socket:
    """A socket on this address; `::` takes IPv4 too."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(
            (host, port),
            family=family,
            dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
        )
    except OSError as error:
        raise UsageError(
            "this address cannot be listened on",
            found=f"{host} port {port}: {error.strerror}",
            fix="give an address of this machine, and a free port",
        ) from error
