"""A published folder of the sample company, with hostile words in it, and `costwhy serve` over it as a real process."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import costwhy as cw
from costwhy.case.opened import Published, case_folders, open_case
from costwhy.cli.main import main
from costwhy.lake.lake import Lake

TOKEN = "a-token-of-these-tests-2718"


def fill(lake: Lake, folder: Path) -> Path:
    """Every spike of the lake, published into the folder."""
    for spike in cw.find_spikes(lake)["spike_id"]:
        cw.publish(cw.investigate(lake, spike), folder)
    return folder


def published_cases(folder: Path) -> list[Published]:
    """All cases of a published folder, newest spike first."""
    found = [open_case(place) for place in case_folders(folder)]
    return sorted(found, key=lambda published: published.case.spike.start, reverse=True)


@dataclass(frozen=True)
class Served:
    """A running `costwhy serve`."""

    address: str
    published: Path
    state: Path

    def run(self, *words: str) -> str:
        """`costwhy serve PUBLISHED ...` that ends by itself: what it printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(["serve", str(self.published), "--state", str(self.state), *words]) == 0
        return printed.getvalue().strip()

    def link(self, case: str) -> str:
        """A link to one case."""
        return self.run("--link", case, "--site", self.address)


@contextmanager
def serving(published: Path, state: Path) -> Iterator[Served]:
    """`costwhy serve` with a token, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "costwhy.cli",
        "serve",
        str(published),
        "--port",
        str(port),
        "--state",
        str(state),
        "--token-env",
        "T",
    ]
    command += ["--log", str(state / "access.log")]
    state.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, "T": TOKEN}
    ) as app:
        try:
            yield _ready(Served(f"http://127.0.0.1:{port}", published, state), app)
        finally:
            app.terminate()
            app.wait(timeout=20)


def _ready(served: Served, app: "subprocess.Popen[bytes]") -> Served:
    for _ in range(300):
        assert app.poll() is None, "costwhy serve ended before it answered"
        try:
            with urllib.request.urlopen(f"{served.address}/health", timeout=5):
                return served
        except OSError:
            time.sleep(0.2)
    raise AssertionError("costwhy serve did not answer in a minute")
