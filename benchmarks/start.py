"""From `costwhy demo` to the first chart drawn in Chromium: without a lake, and with the lake there.

    uv run python benchmarks/start.py [RUNS]

The browser is open before, as a person's is. Wall seconds are counted from the start of the command.
CPU seconds are those of costwhy's process until then; Chromium's own are not in them. The table has
the median of RUNS (3). Python's compiled modules are there, as after an installation.
"""

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

COSTWHY = str(Path(sys.executable).with_name("costwhy"))
CHROMIUM = os.environ.get("COSTWHY_CHROMIUM", "/usr/bin/chromium")
STAGES = (  # what the page shows, in order
    ("page loaded", "#root"),
    ("answer line", ".cw h1"),
    ("first chart", "marimo-vega canvas, marimo-vega svg.marks"),
)
Lap = tuple[str, float, float]


def cpu_seconds(process: int) -> float:
    """User and system time of a process and of its children that ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def start(browser: Browser, cache: Path) -> list[Lap]:
    """One start of the demo; its stages with wall and CPU seconds."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["XDG_CACHE_HOME"] = str(cache)
    begin, laps = time.perf_counter(), []
    with subprocess.Popen(
        [COSTWHY, "demo", "--headless"], stderr=subprocess.PIPE, text=True, env=environment
    ) as demo:

        def lap(name: str) -> None:
            laps.append((name, time.perf_counter() - begin, cpu_seconds(demo.pid)))

        try:
            address = next(filter(None, (re.search(r"http://\S+", line) for line in demo.stderr)))
            lap("address printed, answers")
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(address[0], wait_until="commit")
            for name, selector in STAGES:
                page.wait_for_selector(selector, state="attached", timeout=120_000)
                lap(name)
            page.close()
        finally:
            demo.send_signal(signal.SIGTERM)
    return laps


def median(runs: list[list[Lap]]) -> list[Lap]:
    return [
        (laps[0][0], *(statistics.median(lap[k] for lap in laps) for k in (1, 2)))
        for laps in zip(*runs, strict=True)
    ]


def main() -> None:
    """Measure both, and print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        start(browser, Path(folder, "first"))  # compiles modules
        cold = [start(browser, Path(folder, str(k))) for k in range(runs)]
        warm = [start(browser, Path(folder, "0")) for _ in range(runs)]
        browser.close()
    print(f"{'until':28}{'no lake: wall s':>18}{'CPU s':>8}{'lake: wall s':>16}{'CPU s':>8}")
    for (name, wall, cpu), (_, wall_there, cpu_there) in zip(
        median(cold), median(warm), strict=True
    ):
        print(f"{name:28}{wall:18.1f}{cpu:8.1f}{wall_there:16.1f}{cpu_there:8.1f}")


if __name__ == "__main__":
    main()
