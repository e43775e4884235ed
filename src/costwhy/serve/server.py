"""`costwhy serve`: the read-only app over published cases, by marimo in run mode, behind the wall, run by uvicorn."""

import mimetypes
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import marimo
import uvicorn
from platformdirs import user_state_path
from rich.console import Console
from rich.markup import escape

from costwhy.errors import InputError, UsageError
from costwhy.serve.access_log import AccessLog
from costwhy.serve.guard import Guard, Wall
from costwhy.serve.links import REVOKED, IdList, read_secret
from costwhy.serve.visitors import Auth, Doorkeeper, check_address, is_loopback

TTL = 120  # seconds that marimo keeps a session whose page has gone
_LARGEST_MESSAGE = 64 * 1024  # bytes that a page may send over its WebSocket; it sends its calls as POST


@dataclass(frozen=True)
class ServeOptions:
    """Where and for whom the app is served."""

    auth: Auth = field(default_factory=Auth)
    host: str = "127.0.0.1"
    port: int = 0
    """0: a free one."""
    sites: tuple[str, ...] = ()
    """Addresses that viewers type, such as https://costs.example.com; this machine's own are known."""
    state: Path | None = None
    """Folder of the secret key and of cookies logged out; never inside the published folder. None: `default_state()`."""
    revoked: Path | None = None
    """The revocation list; None: `revoked-links.txt` in the published folder, or in the state folder where that is on S3."""
    log: Path | None = None
    """File of the access log; None: standard error."""


def default_state() -> Path:
    """`$XDG_STATE_HOME/costwhy`, or `~/.local/state/costwhy`."""
    return user_state_path("costwhy")


def serve(published: str, notebook: Path, options: ServeOptions) -> None:
    """Serve until it is ended. Prints the address on standard error.

    Raises UsageError where the address, the way to log in, a site or the port cannot be used; InputError where the published
    folder or the notebook is missing, or the secret key is open to others; ConfigError where the users' file is wrong.
    """
    check_address(options.host, options.auth)
    listener = _listen(options.host, options.port)
    with listener:
        port = listener.getsockname()[1]
        app = create_app(published, notebook, options, port)
        _announce(options, port)
        uvicorn.Server(config(app)).run(sockets=[listener])


def create_app(published: str, notebook: Path, options: ServeOptions, port: int) -> Guard:
    """The ASGI app: marimo behind the wall. Its process may hold several.

    The notebook learns of the published folder, of the viewer and of a link's one case from the ASGI scope, by session:
    `mo.app_meta().request.meta` is `{"published": str, "case": str | None, "who": str}` (see `viewer.read_viewer`), and
    `.user` is `{"username": who, ...}`. Not from the environment or the command line: one process may serve two folders, and
    nothing that a browser sends reaches it.
    Raises as `serve`.
    """
    check_address(options.host, options.auth)
    folder, state = _folder(published), options.state or default_state()
    if not notebook.is_file():
        raise InputError("the notebook is missing", found=str(notebook), todo="install costwhy again")
    if folder is not None and state.resolve().is_relative_to(folder):
        raise UsageError("the secret key would lie in the published folder", found=str(state), todo="give a state folder outside it")
    key = read_secret(state)
    revoked = IdList(options.revoked or (state if folder is None else folder) / REVOKED)
    keeper = Doorkeeper(options.auth, key, revoked, IdList(state / "logged-out.txt"))
    wall = Wall(read_sites(options, port), str(folder or published), notebook.resolve())
    mimetypes.add_type("text/javascript", ".js")  # some machines call it text/plain, which browsers refuse under nosniff
    builder = marimo.create_asgi_app(quiet=True, include_code=False, skew_protection=True, session_ttl=TTL, show_tracebacks=False)
    app = builder.with_app(path="", root=str(notebook.resolve())).build()
    return Guard(app, wall, keeper, AccessLog(options.log))


def config(app: Guard) -> uvicorn.Config:
    """uvicorn that believes nothing that a proxy says (the wall does, of listed ones), and says nothing of itself."""
    return uvicorn.Config(
        app,
        http="h11",
        ws="websockets-sansio",
        ws_max_size=_LARGEST_MESSAGE,
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        limit_concurrency=1000,
        h11_max_incomplete_event_size=32 * 1024,
        timeout_graceful_shutdown=3,
    )


def read_sites(options: ServeOptions, port: int) -> dict[str, str]:
    """Origin by Host, for the sites and for this machine's own names where only it is listened to.

    Raises UsageError where a site is no `https://name`, is public while nobody is asked who they are, or none is given for 0.0.0.0.
    """
    own = ["127.0.0.1", "localhost", "[::1]"] if is_loopback(options.host) else [_bracketed(options.host)]
    if options.host in {"0.0.0.0", "::"}:
        own = []
    sites = dict(_read_site(f"http://{name}:{port}") for name in own)
    for text in options.sites:
        host, origin = _read_site(text)
        if options.auth.way == "none" and not is_loopback(urlsplit(origin).hostname or ""):
            raise UsageError(
                "a public site, and nobody would be asked who they are", found=text, todo="give a token, users, or a proxy's header"
            )
        sites[host] = origin
    if not sites:
        raise UsageError(
            "under which name do viewers come?",
            found=f"listening on {options.host}, no site",
            todo="give one such as https://costs.example.com",
        )
    return sites


def _read_site(text: str) -> tuple[str, str]:
    """Host and Origin of a site, as browsers write them: in small letters, without the usual port."""
    try:
        parts = urlsplit(text.lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or parts.path not in {"", "/"}
        or parts.query
        or parts.username is not None
    ):
        raise UsageError(
            "this is no site", found=repr(text), todo="give scheme and name, such as https://costs.example.com; a path is not served"
        )
    usual = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    host = _bracketed(parts.hostname) + ("" if usual else f":{port}")
    return host, f"{parts.scheme}://{host}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _folder(published: str) -> Path | None:
    """The published folder on this machine; None where it is elsewhere, such as on S3."""
    if "://" in published:
        return None
    folder = Path(published)
    if not folder.is_dir():
        raise InputError("the published folder is missing", found=str(folder), todo="publish a case, or name the folder")
    return folder.resolve()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(
            "this address cannot be listened on", found=f"{host}: {error.strerror}", todo="give an address of this machine"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise UsageError(
            "this address cannot be listened on", found=f"{host} port {port}: {error.strerror}", todo="give another port"
        ) from error
    return listener


def _announce(options: ServeOptions, port: int) -> None:
    sites = options.sites or (f"http://{_bracketed(options.host)}:{port}",)
    for site in sites:
        Console(stderr=True, highlight=False).print(f"[bold]{escape(site)}[/]  (Ctrl+C ends it)", soft_wrap=True)
