"""`costwhy app`, `costwhy demo` and `costwhy serve`: the notebooks as apps.

`app` and `demo` open the investigation notebook on this machine. `serve` shows published cases
read-only, and keeps its users and links to single cases.
"""

import getpass
import hashlib
import os
import shutil
import sys
import threading
import warnings
import webbrowser
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from platformdirs import user_cache_path

from costwhy.cli.ingest import ingest_workspace
from costwhy.cli.terminal import (
    errors,
    headless_option,
    one_line_of,
    out,
    port_option,
    split_words,
    time,
    words_argument,
)
from costwhy.errors import UsageError

_LINK_DAYS = 14


@click.command()
@words_argument()
@port_option
@headless_option
def app(*, words: tuple[str, ...], workspace: str | None, port: int, headless: bool) -> None:
    """Open the investigation notebook of a workspace as an app."""
    place, _ = split_words(words, workspace)
    _open_app(Path(place).resolve(), port, headless=headless)


@click.command()
@port_option
@headless_option
def demo(*, port: int, headless: bool) -> None:
    """Open the investigation notebook on the sample company."""
    workspace = demo_workspace()
    errors.print(f"the sample company is in {one_line_of(workspace)}")
    _open_app(workspace, port, headless=headless)


def demo_workspace() -> Path:
    """A copy of the sample company, for its lake; a changed sample gets a new copy."""
    sample, whole = shipped("data/sample", "_sample"), hashlib.sha256()
    for file in sorted(file for file in sample.rglob("*") if file.is_file()):
        name = file.relative_to(sample)
        if "lake" not in name.parts:
            whole.update(name.as_posix().encode() + hashlib.sha256(file.read_bytes()).digest())
    copy = user_cache_path("costwhy") / f"demo-{whole.hexdigest()[:12]}"
    if not (copy / "costwhy.toml").is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(sample, draft, ignore=shutil.ignore_patterns("lake"))
        try:
            draft.rename(copy)
        except OSError:  # another demo was faster
            shutil.rmtree(draft)
    return copy


def shipped(in_repository: str, in_wheel: str) -> Path:
    """A folder of the project: in the repository, or inside the installed package."""
    package = Path(__file__).resolve().parent.parent
    places = package.parent.parent / in_repository, package / in_wheel
    if found := next(filter(Path.is_dir, places), None):
        return found
    raise UsageError(
        f"{in_repository} is not installed",
        found=f"neither {places[0]} nor {places[1]}",
        fix="install costwhy again",
    )


def _open_app(workspace: Path, port: int, *, headless: bool) -> None:
    """Serve the investigation to this machine. No browser where there is no display.

    While bills are read and the server starts, a thread imports what the notebook uses, and then
    makes what it shows first.
    """
    from costwhy.serve import server

    with server.listen("127.0.0.1", port) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        has_lake = threading.Event()
        threading.Thread(target=_prepare, args=(workspace, has_lake), daemon=True).start()
        _ingest_once(workspace)
        has_lake.set()

        def ready() -> None:
            server.show_addresses([address])
            if not headless and _has_display():
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

        notebook = shipped("notebooks", "_notebooks") / "investigate.py"
        server.serve_workspace(workspace, notebook, listener, ready)


def _ingest_once(workspace: Path) -> None:
    from costwhy.lake.lake import has_lake

    if not has_lake(workspace):
        ingest_workspace(str(workspace))


def _prepare(workspace: Path, has_lake: threading.Event) -> None:
    from costwhy.show import investigation

    has_lake.wait()
    with suppress(Exception):  # the notebook says what is wrong
        investigation.prepare(str(workspace))


def _has_display() -> bool:
    return sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )


@click.command()
@click.argument(
    "published",
    default="published",
    metavar="[PUBLISHED]",
    help="The published folder (default: published), or s3://.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    metavar="HOST",
    help="Address to listen on (default: this machine only).",
)
@port_option
@click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="URL",
    help="Address that viewers type, such as https://costs.example.com.",
)
@click.option(
    "--token-env", metavar="NAME", help="Environment variable with one secret for all viewers."
)
@click.option(
    "--users", type=Path, metavar="FILE", help="Users and their scrypt hashes, see --add-user."
)
@click.option(
    "--header",
    default="",
    metavar="NAME",
    help="Request header in which a proxy names the viewer.",
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a trusted proxy.",
)
@click.option(
    "--state",
    type=Path,
    metavar="FOLDER",
    help="Folder of the secret key, outside the published folder.",
)
@click.option("--log", type=Path, metavar="FILE", help="Access log (default: standard error).")
@click.option("--link", metavar="CASE", help="Print a link that opens this case alone, and end.")
@click.option(
    "--until", type=time, metavar="TIME", help=f"End of that link (default: in {_LINK_DAYS} days)."
)
@click.option("--revoke", metavar="LINK", help="Revoke a link, and end.")
@click.option(
    "--add-user", metavar="NAME", help="Ask for a password, add NAME to --users, and end."
)
def serve(
    *,
    published: str,
    host: str,
    port: int,
    sites: tuple[str, ...],
    token_env: str | None,
    users: Path | None,
    header: str,
    proxies: tuple[str, ...],
    state: Path | None,
    log: Path | None,
    link: str | None,
    until: datetime | None,
    revoke: str | None,
    add_user: str | None,
) -> None:
    """Serve published cases, read-only."""
    from costwhy.serve import links, secret_key
    from costwhy.serve.auth import Auth
    from costwhy.serve.server import ServeOptions, default_state, serve

    state = state or default_state()
    if add_user:
        _add_user(add_user, users)
    elif revoke:
        folder = state if "://" in published else Path(published)
        revoked = links.revoke(
            secret_key.read_secret(state), revoke, links.IdList(folder / links.REVOKED)
        )
        out.print(f"revoked: {one_line_of(revoked)}")
    elif link:
        _print_link(link, until, published, secret_key.read_secret(state), sites)
    else:
        _refuse_workspace(published)
        auth = Auth(_token(token_env), users, header, proxies)
        options = ServeOptions(auth, host, port, sites, state, log=log)
        serve(published, shipped("notebooks", "_notebooks") / "leadership.py", options)


def _refuse_workspace(published: str) -> None:
    from costwhy.config import FILE_NAME

    if Path(published, FILE_NAME).is_file():
        raise UsageError(
            f"{published} is a workspace, not a published folder",
            found=f"a {FILE_NAME} in it",
            fix=f"name its published cases: costwhy serve {published}/published",
        )


def _token(variable: str | None) -> str:
    token = os.environ.get(variable, "") if variable else ""
    if variable and not token:
        raise UsageError(
            f"the environment variable {variable} is empty",
            fix="put the token into it; it never belongs on a command line",
        )
    return token


def _print_link(
    case: str, until: datetime | None, published: str, key: bytes, sites: tuple[str, ...]
) -> None:
    from costwhy.serve.links import make_link

    if "://" not in published and not (Path(published) / case / "case.json").is_file():
        raise UsageError(
            f"no case {case!r} is published",
            found=published,
            fix="name a folder of the published folder",
        )
    link, text = make_link(key, case, until or datetime.now(UTC) + timedelta(days=_LINK_DAYS))
    out.print(f"{one_line_of(sites[0].rstrip('/') if sites else 'SITE')}/link/{text}")
    if not sites:
        errors.print("SITE stands for the address that viewers type: give it as --site")
    errors.print(
        f"id {link.id}, until {link.until:%Y-%m-%dT%H:%MZ}; revoke it with "
        f"`costwhy serve {one_line_of(published)} --revoke {link.id}`",
        soft_wrap=True,
    )


def _add_user(name: str, users: Path | None) -> None:
    from costwhy.serve.auth import hash_line
    from costwhy.serve.secret_key import owner_only

    if not users:
        raise UsageError("--add-user needs the users' file", fix="give it: --users users.txt")
    try:
        warnings.simplefilter("ignore", getpass.GetPassWarning)  # it shows lines of Python
        password = getpass.getpass(f"password of {name}: ")
    except EOFError:
        raise UsageError(
            "--add-user asks for a password, and nobody answered",
            found="the end of the input",
            fix="run it in a terminal, and type the password there",
        ) from None
    line = hash_line(name, password)
    with open(users, "a", opener=owner_only) as stream:
        stream.write(f"{line}\n")
