"""The README's pictures, in headless Chromium.

The investigation, the leadership app and a postmortem of the sample company.

uv run python docs/pictures.py          (or: make pictures)
"""

import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import costwhy as cw
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest

DOCS = Path(__file__).resolve().parent
SAMPLE = DOCS.parent / "data" / "sample"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTH = 1200


@contextmanager
def running(*words: str) -> Iterator[str]:
    """`costwhy WORDS --port N` until the block ends; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "costwhy.cli", *words, "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as app:
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield address
        finally:
            app.terminate()
            app.wait(timeout=20)


def picture(browser: Browser, address: str, file: Path, height: int) -> None:
    """The top of a page, once its charts are drawn."""
    context = browser.new_context(
        viewport={"width": WIDTH, "height": height}, device_scale_factor=1.5, color_scheme="light"
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector(".cw h1")
    page.wait_for_selector("canvas, svg.marks, .chart svg")
    page.wait_for_timeout(4000)  # charts settle one after the other
    page.screenshot(path=file)
    context.close()
    print(file)


def main() -> None:
    """Make all three."""
    with tempfile.TemporaryDirectory() as place:
        workspace = Path(
            shutil.copytree(SAMPLE, Path(place) / "marigold", ignore=shutil.ignore_patterns("lake"))
        )
        ingest(read_workspace(workspace))
        lake, published = cw.open_lake(workspace), Path(place) / "published"
        spikes = cw.find_spikes(lake)
        cases = [cw.publish(cw.investigate(lake, spike), published) for spike in spikes["spike_id"]]
        retries = next(
            k for k, title in enumerate(spikes["title"]) if title.startswith("retries against")
        )
        written = cw.write_postmortem(cases[retries], Path(place) / "postmortem")
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            with running("app", str(workspace), "--headless") as address:
                picture(
                    browser,
                    f"{address}/?show={spikes['spike_id'][retries]}",
                    DOCS / "investigate.png",
                    1500,
                )
            with running("serve", str(published), "--state", str(Path(place) / "state")) as address:
                picture(browser, address, DOCS / "leadership.png", 1250)
            picture(browser, (written / "postmortem.html").as_uri(), DOCS / "postmortem.png", 1350)
            browser.close()


if __name__ == "__main__":
    main()
