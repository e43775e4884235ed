"""The investigation app in a real Chromium: what a person clicks and sees, in two time zones, at two widths."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from places import ROOT
from playwright.sync_api import Browser, Page
from visits import PATIENCE, Visit, visiting

from costwhy.case.investigate import find_spikes
from costwhy.feedback.verdicts import verdict_table
from costwhy.lake.lake import Lake, open_lake
from costwhy.text import money

WAYS = [  # each width and each zone is there by default
    (1440, "UTC"),
    (375, "America/Los_Angeles"),
    pytest.param((1440, "America/Los_Angeles"), marks=pytest.mark.long),
    pytest.param((375, "UTC"), marks=pytest.mark.long),
]
CHART = "marimo-vega canvas, marimo-vega svg.marks"

pytestmark = pytest.mark.browser


@contextmanager
def running(workspace: Path) -> Iterator[str]:
    """The app over a workspace; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "costwhy.cli",
        "app",
        str(workspace),
        "--headless",
        "--port",
        str(port),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as app:
        try:
            yield _ready(f"http://127.0.0.1:{port}", app)
        finally:
            subprocess.run(["pkill", "-TERM", "-s", str(app.pid)], check=False)
            app.wait(timeout=20)


@pytest.fixture(scope="module")
def address(sample_workspace: Path) -> Iterator[str]:
    with running(sample_workspace) as app:
        yield app


def _ready(address: str, app: "subprocess.Popen[bytes]") -> str:
    for _ in range(300):
        assert app.poll() is None, "the app ended before it answered"
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return address
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the app did not answer in a minute")


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]}px-{way[1]}")
def visit(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Visit]:
    width, zone = request.param
    size = {"width": width, "height": 900}
    with visiting(browser, address, viewport=size, timezone_id=zone) as seen:
        seen.page.goto(address)
        seen.page.wait_for_selector(".cw h1")
        seen.page.wait_for_selector(f"{CHART} >> nth=0")  # who picks earlier cuts its data off
        yield seen


def headline_has(page: Page, amount: str) -> None:
    """Wait until the answer line starts with this amount."""
    page.wait_for_function(
        "amount => (document.querySelector('.cw h1')?.innerText || '').startsWith(amount)",
        arg=amount,
    )


def amount(spikes: pl.DataFrame, row: int) -> str:
    """The dollars of the first behaviour, which the answer line begins with; whole dollars are told from 100 on."""
    r = spikes.row(row, named=True)
    return money(r["excess_cost"] + r["nowcast_excess_cost"])


def test_a_spike_is_picked_by_the_list_and_by_the_chart_and_shows_its_own_numbers(
    visit: Visit, sample_lake: Lake
) -> None:
    spikes, page = find_spikes(sample_lake), visit.page
    headline_has(page, amount(spikes, 0))
    _pick_by_list(page, row=3)
    headline_has(page, amount(spikes, 3))
    assert spikes["spike_id"][3] in page.url, "what is shown lives in the URL"
    retries = next(
        k for k, title in enumerate(spikes["title"]) if title.startswith("retries against")
    )
    _pick_by_chart(page, spikes, retries)
    headline_has(page, amount(spikes, retries))
    facts = page.locator(".cw .facts").first.inner_text()
    assert amount(spikes, retries) in facts
    assert "ended" in facts
    assert visit.complaints == []
    assert visit.elsewhere == [], "no request leaves the machine"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "nothing hangs over the edge"
    )


def test_what_was_read_is_folded_away_where_nothing_was_left_out(visit: Visit) -> None:
    part = visit.page.locator("details:has(table.sums)")
    part.scroll_into_view_if_needed()
    assert not part.evaluate("part => part.open")
    part.locator("summary").click()
    last = part.locator("tr").last
    assert last.inner_text().startswith("total USD")
    assert last.is_visible()
    assert part.evaluate("part => part.scrollWidth <= part.clientWidth")


def test_the_url_opens_the_same_spike_again(visit: Visit, sample_lake: Lake) -> None:
    spikes, page = find_spikes(sample_lake), visit.page
    page.goto(re.sub(r"\?.*", "", page.url) + f"?show={spikes['spike_id'][2]}")
    headline_has(page, amount(spikes, 2))
    page.goto(re.sub(r"\?.*", "", page.url) + "?show=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    headline_has(page, amount(spikes, 0))
    assert visit.complaints == []


def test_what_an_owner_says_is_kept_and_without_a_name_it_says_why_not(
    sample_workspace: Path, tmp_path: Path, browser: Browser
) -> None:
    workspace = shutil.copytree(sample_workspace, tmp_path / "marigold")
    with running(workspace) as own, browser.new_context() as context:
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(own)
        say, who = page.get_by_role("button", name="say it"), page.get_by_placeholder("your name")
        say.click()
        page.get_by_text("Nothing was kept: say who says it.").wait_for()
        who.fill("dana <b>oncall</b>")
        who.blur()
        for _ in range(12):  # the name reaches the app a moment after it was typed
            page.wait_for_timeout(500)
            say.click()
            if page.get_by_role("cell", name="dana <b>oncall</b>").count():
                break
        page.get_by_role("cell", name="dana <b>oncall</b>").first.wait_for()
        page.wait_for_function(
            "() => [...document.querySelectorAll('.cw td')].some(cell => cell.innerText === 'fixing')"
        )
        lake = open_lake(workspace)
        assert set(verdict_table(lake).select("spike_id", "verdict", "who").rows()) == {
            (find_spikes(lake)["spike_id"][0], "fixing", "dana <b>oncall</b>")
        }


def _pick_by_list(page: Page, row: int) -> None:
    page.get_by_role("checkbox").nth(row).click()


def _pick_by_chart(page: Page, spikes: pl.DataFrame, row: int) -> None:
    """A click in the middle of the spike's band: the axis goes from the first to the last hour, right of the labels.

    The list's pick draws the chart anew; on a slow machine a click may meet the old one, and is made again, as a person would.
    """
    start, end = spikes["start"][row], spikes["end"][row]
    first, last = _axis()
    middle = (start + (end - start) / 2 - first) / (last - first)
    for _ in range(12):
        page.wait_for_timeout(500)
        box = page.locator(CHART).first.bounding_box()
        if box is None:
            continue
        left, right = box["x"] + 2 + 62, box["x"] + box["width"] - 8
        page.mouse.click(left + middle * (right - left), box["y"] + box["height"] * 0.5)
        for _ in range(20):
            page.wait_for_timeout(250)
            if spikes["spike_id"][row] in page.url:
                return
    pytest.fail("twelve clicks on the band did not pick its spike")


def _axis() -> tuple[object, object]:
    from datetime import datetime, timedelta

    answers = json.loads((ROOT / "data" / "sample-answers.json").read_text())
    last = datetime.fromisoformat(answers["as_of"])
    return last - timedelta(days=56), last - timedelta(hours=1)
