"""The leadership app in a real Chromium, behind `costwhy serve`: who reads what, and that words from outside stay words."""

import json
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from shelves import TOKEN, Served, published_cases, serving
from visits import Visit, visiting

from costwhy.case.opened import SUMS, digests
from costwhy.case.story import headline
from costwhy.text import money

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = shutil.copytree(shelf, tmp_path_factory.mktemp("shelf") / "published")
    with serving(folder, tmp_path_factory.mktemp("state")) as running:
        yield running


WIDTHS = [1280, pytest.param(375, marks=pytest.mark.long)]
BOTH = pytest.mark.parametrize("visit", [1280, 375], indirect=True, ids=lambda width: f"{width}px")


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}px")
def visit(request: pytest.FixtureRequest, browser: Browser, served: Served) -> Iterator[Visit]:
    size = {"width": request.param, "height": 900}
    with visiting(browser, served.address, viewport=size) as seen:
        yield seen


def pick(page: Page, box: Locator) -> None:
    """Click until the address follows: a table that is just being drawn anew loses a click."""
    before = page.url
    for _ in range(4):
        box.click()
        with suppress(PlaywrightTimeoutError):
            page.wait_for_function("before => location.href !== before", arg=before, timeout=15_000)
            return
    raise AssertionError(f"no click on a row left {before}")


def heading(page: Page, words: str) -> None:
    """Wait until a heading says this."""
    page.wait_for_function(
        "words => [...document.querySelectorAll('.cw h1')].some(h => h.innerText.includes(words))",
        arg=words,
    )


@BOTH
def test_a_viewer_reads_the_whole_and_every_case_on_a_click(visit: Visit, served: Served) -> None:
    page, cases = visit.page, published_cases(served.published)
    page.goto(f"{served.address}/login#{TOKEN}")
    heading(page, "an hour more than expected")
    facts = page.locator(".cw .facts").first.inner_text()
    open_now = sum(
        float(str(p.case.spike.cost_per_hour_now))
        for p in cases
        if p.case.spike.status == "running"
    )
    assert f"{money(open_now)} an hour" in facts
    assert "Nobody owns" in facts
    names = {headline(p.case) for p in cases}
    shown = set()
    for row in range(len(cases)):
        box = page.get_by_role("checkbox").nth(row)
        if not box.is_checked():
            pick(page, box)
        name = page.url.partition("case=")[2].partition("&")[0] if "case=" in page.url else None
        said = next(headline(p.case) for p in cases if name is None or p.name == name)
        if name is not None:
            heading(page, said)
            shown.add(said)
    assert len(shown) >= len(names) - 1, "the first one is shown without a click"
    assert visit.complaints == []
    assert visit.elsewhere == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "nothing hangs over the edge"
    )


def test_a_link_opens_one_case_and_nothing_of_any_other(visit: Visit, served: Served) -> None:
    mine, other = published_cases(served.published)[:2]
    page = visit.page
    page.goto(served.link(mine.name))
    heading(page, headline(mine.case))
    page.goto(f"{served.address}/?case={other.name}")
    heading(page, headline(mine.case))
    text = page.inner_text("body")
    assert headline(other.case) not in text
    assert other.name not in page.content()
    assert "Nobody owns" not in text, "the company is not theirs to see"
    assert "an hour more than expected" not in text


def test_an_address_of_a_case_that_is_not_published_shows_no_other_one(
    visit: Visit, served: Served
) -> None:
    visit.page.goto(f"{served.address}/login#{TOKEN}")
    heading(visit.page, "an hour more than expected")
    visit.page.goto(f"{served.address}/?case=20260101T00-nothing-of-it")
    visit.page.get_by_role("heading", name="This case is not published here.").wait_for()
    shown = visit.page.locator(".cw h1").all_inner_texts()
    assert [
        words
        for words in shown
        if words in {headline(p.case) for p in published_cases(served.published)}
    ] == []


def test_who_has_neither_token_nor_link_sees_a_login_and_no_word_of_a_case(
    visit: Visit, served: Served
) -> None:
    visit.page.goto(served.address)
    visit.page.get_by_label("Token").wait_for()
    assert all(
        headline(p.case) not in visit.page.content() for p in published_cases(served.published)
    )


def test_a_revoked_link_opens_nothing(visit: Visit, served: Served) -> None:
    mine = published_cases(served.published)[0]
    link = served.link(mine.name)
    served.run("--revoke", link)
    answer = visit.page.goto(link)
    assert answer is not None
    assert answer.status in {401, 403, 404, 410} or "Token" in visit.page.content()
    assert headline(mine.case) not in visit.page.content()


def test_words_from_outside_stay_words(visit: Visit, served: Served) -> None:
    """A service name, a commit title and an actor that are HTML, in a case as it lies in the published folder."""
    place = min(p for p in served.published.iterdir() if p.is_dir())
    file = place / "case.json"
    whole = file.read_text()
    about = json.loads(whole)
    about["spike"]["title"] = HOSTILE
    about["workspace"] = HOSTILE
    file.write_text(json.dumps(about))
    try:
        visit.page.goto(f"{served.address}/login#{TOKEN}")
        heading(visit.page, "an hour more than expected")
        visit.page.goto(f"{served.address}/?case={place.name}")
        visit.page.get_by_text("<script>document.title='owned'</script>").first.wait_for()
        assert visit.page.title() != "owned"
        assert visit.page.locator("img[src=x]").count() == 0
    finally:
        file.write_text(whole)
        (place / SUMS).write_text("".join(f"{d}  {n}\n" for n, d in sorted(digests(place).items())))


def test_the_access_log_knows_no_secret(served: Served) -> None:
    text = Path(served.state / "access.log").read_text()
    assert TOKEN not in text
    assert served.link(published_cases(served.published)[0].name).rpartition("/")[2] not in text
