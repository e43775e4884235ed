"""TODO cli/app.py"""

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path
from rich.markup import escape

from costwhy.cli.explain import ingest_workspace
from costwhy.cli.terminal import errors
from costwhy.errors import CostwhyError, UsageError

ENDED = (0, -signal.SIGINT, -signal.SIGTERM, 130, 143)  # how the app ends when somebody ends it


def run_app(wish: argparse.Namespace) -> None:
    """costwhy app"""
    from costwhy.lake.lake import has_lake

    if not has_lake(wish.workspace):
        ingest_workspace(wish.workspace)
    _open_app(Path(wish.workspace).resolve(), wish)


def run_demo(wish: argparse.Namespace) -> None:
    """costwhy demo"""
    workspace = demo_workspace()
    report = ingest_workspace(str(workspace))
    if report.read:
        errors.print(f"the sample company is in {escape(str(workspace))}")
    _open_app(workspace, wish)


def demo_workspace() -> Path:
    """A copy of the sample company that a lake can be written beside; a new one where the sample has changed."""
    sample = shipped("data/sample", "_sample")
    digest = _digest(sample)
    cache = user_cache_path("costwhy") / f"demo-{digest}"
    if not (cache / "costwhy.toml").is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_suffix(f".{os.getpid()}")
        shutil.copytree(sample, draft, ignore=shutil.ignore_patterns("lake"))
        try:
            draft.rename(cache)
        except OSError:  # another demo was faster
            shutil.rmtree(draft)
    return cache


def _digest(folder: Path) -> str:
    """The beginning of SHA-256 over names and contents, a lake aside."""
    whole = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder)
        if "lake" not in name.parts:
            whole.update(name.as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:12]


def shipped(in_repository: str, in_wheel: str) -> Path:
    """A folder of the project: in the repository, or inside the installed package."""
    here = Path(__file__).resolve().parent.parent
    places = (here.parent.parent / in_repository, here / in_wheel)
    found = next((p for p in places if p.is_dir()), None)
    if found is None:
        raise UsageError(
            f"{in_repository} is not installed",
            found=f"neither {places[0]} nor {places[1]}",
            todo="install costwhy again",
        )
    return found


def _open_app(workspace: Path, wish: argparse.Namespace) -> None:
    """marimo in run mode on this machine only: nothing editable; no browser where there is no display."""
    notebook = shipped("notebooks", "_notebooks") / "investigate.py"
    port = wish.port or _free_port()
    errors.print(f"[bold]http://127.0.0.1:{port}[/]  (Ctrl+C ends it)")
    headless = wish.headless or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in {"darwin", "win32"})
    command = [
        sys.executable,
        "-m",
        "marimo",
        "-q",
        "run",
        str(notebook),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *(["--headless"] if headless else []),
        "--",
        "--workspace",
        str(workspace),
    ]
    code = _run(command)
    if code not in ENDED:
        found, todo = f"marimo ended with code {code}", f"is port {port} free? try --port"
        raise CostwhyError("the app stopped", found=found, todo=todo)


def _run(command: Sequence[str]) -> int:
    """A program that ends when this one is ended."""
    process = subprocess.Popen(command)
    former = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has told both
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, former)
        if process.poll() is None:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
