"""`costwhy app` and `costwhy demo`: the investigation notebook on this machine."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from platformdirs import user_cache_path

from costwhy.cli.ingest import ingest_workspace
from costwhy.cli.parameters import headless_option, port_option, split_words, words_argument
from costwhy.cli.terminal import errors, one_line_of
from costwhy.errors import CostwhyError, UsageError

_ENDED = (0, -signal.SIGINT, -signal.SIGTERM, 130, 143)
"""Exit codes of an app that somebody stopped."""


@click.command()
@words_argument()
@port_option
@headless_option
def app(*, words: tuple[str, ...], workspace: str | None, port: int, headless: bool) -> None:
    """Open the investigation notebook of a workspace as an app."""
    from costwhy.lake.lake import has_lake

    place, _ = split_words(words, workspace)
    if not has_lake(place):
        ingest_workspace(place)
    _open_app(Path(place).resolve(), port, headless=headless)


@click.command()
@port_option
@headless_option
def demo(*, port: int, headless: bool) -> None:
    """Open the investigation notebook on the sample company."""
    workspace = demo_workspace()
    if ingest_workspace(str(workspace)).read:
        errors.print(f"the sample company is in {one_line_of(workspace)}")
    _open_app(workspace, port, headless=headless)


def demo_workspace() -> Path:
    """A copy of the sample company, for its lake; a changed sample gets a new copy."""
    sample = shipped("data/sample", "_sample")
    copy = user_cache_path("costwhy") / f"demo-{_digest(sample)}"
    if not (copy / "costwhy.toml").is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        draft = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(sample, draft, ignore=shutil.ignore_patterns("lake"))
        try:
            draft.rename(copy)
        except OSError:  # another demo was faster
            shutil.rmtree(draft)
    return copy


def _digest(folder: Path) -> str:
    """The beginning of the SHA-256 of all names and contents, without the lake."""
    whole = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder)
        if "lake" not in name.parts:
            content = hashlib.sha256(file.read_bytes()).digest()
            whole.update(name.as_posix().encode() + b"\0" + content)
    return whole.hexdigest()[:12]


def shipped(in_repository: str, in_wheel: str) -> Path:
    """A folder of the project: in the repository, or inside the installed package."""
    package = Path(__file__).resolve().parent.parent
    places = package.parent.parent / in_repository, package / in_wheel
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise UsageError(
            f"{in_repository} is not installed",
            found=f"neither {places[0]} nor {places[1]}",
            fix="install costwhy again",
        )
    return found


def _open_app(workspace: Path, port: int, *, headless: bool) -> None:
    """Run marimo, read-only, for this machine only. No browser where there is no display."""
    notebook = shipped("notebooks", "_notebooks") / "investigate.py"
    port = port or _free_port()
    errors.print(f"[bold]http://127.0.0.1:{port}[/]  (Ctrl+C ends it)")
    has_display = sys.platform in {"darwin", "win32"} or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    browser = [] if has_display and not headless else ["--headless"]
    marimo = [sys.executable, "-m", "marimo", "-q", "run", str(notebook)]
    address = ["--host", "127.0.0.1", "--port", str(port), *browser]
    code = _run([*marimo, *address, "--", "--workspace", str(workspace)])
    if code not in _ENDED:
        raise CostwhyError(
            "the app stopped",
            found=f"marimo ended with code {code}",
            fix=f"is port {port} free? try --port",
        )


def _run(command: Sequence[str]) -> int:
    """Run a program that ends when this one ends; returns its exit code."""
    process = subprocess.Popen(command)  # noqa: S603 - our own words
    former = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has interrupted both
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, former)
        if process.poll() is None:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
