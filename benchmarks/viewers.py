"""Many viewers at once on the served app: real logins, pages and WebSocket sessions through the wall. Prints one table.

    uv run python benchmarks/viewers.py NOTEBOOK PUBLISHED [--viewers 30] [--rounds 5] [--element marimo-dropdown] [--value JSON]

All viewers arrive at once, and then, round by round, all click at once. `page`: from asking for the page until its last cell has
run. `click`: from the click until the page that it changes is complete. The element is the first of its kind on the page, by
default the first that is a drop-down, a button, a table, or a chart; its value by default changes with each round. The viewers
are sessions without a browser: what a browser takes to draw is not in the times.
"""

import argparse
import asyncio
import html
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from websockets.asyncio.client import ClientConnection, connect

TOKEN = "a-token-of-the-benchmark"
SERVE = """
import sys
from pathlib import Path
from costwhy.serve.auth import Auth
from costwhy.serve.server import ServeOptions, serve
published, notebook, state, log, token = sys.argv[1:]
serve(published, Path(notebook), ServeOptions(Auth(token=token), state=Path(state), log=Path(log)))
"""
ELEMENTS = ("marimo-dropdown", "marimo-button", "marimo-table", "marimo-vega")
PATIENCE = 120.0  # seconds that a page or a click may take


@dataclass(frozen=True)
class Wish:
    """What is clicked: the kind of element, and its value, which is None where it changes with the round."""

    element: str | None
    value: str | None


@dataclass
class Viewer:
    """One session: a cookie, a page, a WebSocket."""

    number: int
    http: httpx2.AsyncClient
    page: float = 0.0
    clicks: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    said: str = ""
    token: str = ""
    socket: ClientConnection | None = None

    @property
    def session(self) -> str:
        return f"s_bench{self.number:03}"

    async def arrive(self) -> None:
        """Log in, then time the page until every cell has run."""
        origin = str(self.http.base_url).rstrip("/")
        reply = await self.http.post("/login", data={"secret": TOKEN}, headers={"Origin": origin})
        begin = time.perf_counter()
        text = (await self.http.get("/")).raise_for_status().text
        self.token = re.findall(r'"serverToken": "([^"]*)"', text)[0]
        address = f"{origin.replace('http', 'ws')}/ws?session_id={self.session}"
        cookie = reply.headers["set-cookie"].partition(";")[0]
        self.socket = await connect(
            address, origin=origin, additional_headers={"Cookie": cookie}, proxy=None, max_size=None
        )
        await self._complete()
        self.page = time.perf_counter() - begin

    async def _complete(self) -> None:
        """Read messages until a run is complete."""
        assert self.socket is not None
        async with asyncio.timeout(PATIENCE):
            while True:
                text = str(await self.socket.recv())
                self.said += text
                if "application/vnd.marimo+error" in text:
                    self.errors.append("a cell failed")
                if '"op": "completed-run"' in text or '"op":"completed-run"' in text:
                    return

    async def click(self, wish: Wish, round_: int) -> None:
        """Time one click until its run is complete."""
        name, value = self._aim(wish, round_)
        headers = {
            "Marimo-Session-Id": self.session,
            "Marimo-Server-Token": self.token,
            "Origin": str(self.http.base_url).rstrip("/"),
        }
        begin = time.perf_counter()
        reply = await self.http.post(
            "/api/kernel/set_ui_element_value",
            json={"objectIds": [name], "values": [value]},
            headers=headers,
            timeout=PATIENCE,
        )
        reply.raise_for_status()
        await self._complete()
        self.clicks.append(time.perf_counter() - begin)

    def _aim(self, wish: Wish, round_: int) -> tuple[str, object]:
        """The element's id, and its next value."""
        said = self.said.replace('\\"', '"')
        for element in [wish.element] if wish.element else ELEMENTS:
            found = re.findall(rf"object-id='([^']+)'[^>]*>\s*<{element}\b([^>]*)>", said)
            if found:
                name, attributes = found[0]
                return name, json.loads(wish.value) if wish.value else _value(
                    element, attributes, round_
                )
        raise SystemExit(f"the page has none of {wish.element or ', '.join(ELEMENTS)}")


def _value(element: str, attributes: str, round_: int) -> object:
    if element == "marimo-button":
        return round_ + 1
    if element == "marimo-table":
        return [str(round_ % 3)]
    if element == "marimo-vega":
        return {"round": {"round": [round_]}}
    options = re.findall(r"data-options='([^']*)'", attributes)
    names = json.loads(html.unescape(options[0]).replace("\\\\", "\\")) if options else []
    return [names[(round_ + 1) % len(names)]] if names else []


async def visit(address: str, viewers: int, rounds: int, wish: Wish) -> list[Viewer]:
    """All arrive at once; all click at once, round by round."""
    crowd = [
        Viewer(n, httpx2.AsyncClient(base_url=address, timeout=PATIENCE, trust_env=False))
        for n in range(viewers)
    ]
    await asyncio.gather(*(_noting(viewer, viewer.arrive()) for viewer in crowd))
    for round_ in range(rounds):
        await asyncio.gather(
            *(_noting(viewer, viewer.click(wish, round_)) for viewer in crowd if viewer.page)
        )
    return crowd


async def _noting(viewer: Viewer, step: "asyncio.Future[None] | object") -> None:
    try:
        await step  # type: ignore[misc]
    except (OSError, TimeoutError, httpx2.HTTPError, KeyError, IndexError, EOFError) as error:
        viewer.errors.append(f"{type(error).__name__}: {error}")


async def leave(crowd: list[Viewer]) -> None:
    """Close what is open."""
    for viewer in crowd:
        if viewer.socket is not None:
            await viewer.socket.close()
        await viewer.http.aclose()


def memory(pid: int, kind: str) -> float:
    """MB of a process: VmRSS now, VmHWM at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(rf"{kind}:\s+(\d+) kB", text)[0]) / 1024


def seconds(values: list[float]) -> tuple[str, str, str]:
    """Median, 95th percentile, most."""
    if not values:
        return "-", "-", "-"
    ranked = sorted(values)
    return tuple(
        f"{v:.2f}"
        for v in (
            statistics.median(ranked),
            ranked[max(0, -(-95 * len(ranked) // 100) - 1)],
            ranked[-1],
        )
    )  # type: ignore[return-value]


def started(said: Path, server: "subprocess.Popen[bytes]") -> str:
    """The server's address, once it answers."""
    for _ in range(600):
        found = re.search(r"http://\S+", said.read_text())
        if found:
            try:
                httpx2.get(found[0] + "/health", trust_env=False).raise_for_status()
            except httpx2.HTTPError:
                pass
            else:
                return found[0]
        if server.poll() is not None:
            raise SystemExit(said.read_text())
        time.sleep(0.1)
    raise SystemExit("the server did not answer in a minute")


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("published")
    parser.add_argument("--viewers", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--element", help=f"what is clicked (default: the first of {', '.join(ELEMENTS)})"
    )
    parser.add_argument("--value", help="its value, as JSON")
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "said.txt"
        words = [
            wish.published,
            str(wish.notebook),
            f"{folder}/state",
            f"{folder}/access.jsonl",
            TOKEN,
        ]
        with (
            said.open("wb") as errors,
            subprocess.Popen(
                [sys.executable, "-c", SERVE, *words], stderr=errors, stdout=errors
            ) as server,
        ):
            try:
                address = started(said, server)
                idle = memory(server.pid, "VmRSS")
                asyncio.run(_measured(address, wish, idle, server.pid))
            finally:
                server.terminate()


async def _measured(address: str, wish: argparse.Namespace, idle: float, pid: int) -> None:
    crowd = await visit(address, wish.viewers, wish.rounds, Wish(wish.element, wish.value))
    open_ = memory(pid, "VmRSS")
    await leave(crowd)
    errors = [error for viewer in crowd for error in viewer.errors]
    pages, clicks = [v.page for v in crowd if v.page], [c for v in crowd for c in v.clicks]
    print(
        f"{wish.viewers} viewers at once, {wish.rounds} rounds in which all click at once; {wish.notebook.name}"
    )
    print(f"{'':22}{'count':>8}{'median s':>10}{'p95 s':>8}{'most s':>8}")
    for name, values in (("page complete", pages), ("click answered", clicks)):
        print(
            f"{name:22}{len(values):8}"
            + "".join(
                f"{text:>{width}}" for text, width in zip(seconds(values), (10, 8, 8), strict=True)
            )
        )
    print(f"errors                {len(errors):8}   {'; '.join(sorted(set(errors)))[:200]}")
    print(
        f"server's memory       {idle:.0f} MB idle, {open_:.0f} MB with {len(pages)} open, {memory(pid, 'VmHWM'):.0f} MB at most"
    )


if __name__ == "__main__":
    main()
