"""The write-up: opens from a file without a network, keeps what people wrote, and runs again from its own pins."""

import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Browser

import costwhy as cw
from costwhy.case.story import headline
from costwhy.errors import DifferenceError
from costwhy.lake.lake import Lake
from costwhy.publishing.postmortem import exact_pins, merged, offline_page, written_parts
from costwhy.show import html
from costwhy.show.chart_data import chart_specs

LARGEST = 2 * 2**20


@pytest.fixture(scope="module")
def case(sample_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    retries = next(i for i, t in sample_lake_titles(sample_lake) if t.startswith("retries against"))
    return cw.publish(cw.investigate(sample_lake, retries), tmp_path_factory.mktemp("published"))


def sample_lake_titles(lake: Lake) -> list[tuple[str, str]]:
    return list(cw.find_spikes(lake).select("spike_id", "title").iter_rows())


@pytest.fixture(scope="module")
def written(case: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cw.write_postmortem(case, tmp_path_factory.mktemp("write-up") / "postmortem")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375])
def test_the_page_opens_from_a_file_with_the_network_off(
    written: Path, browser: Browser, width: int
) -> None:
    page_file = written / "postmortem.html"
    assert page_file.stat().st_size < LARGEST
    context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
    page, asked, errors = context.new_page(), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.goto(page_file.as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn")
    assert asked == [page_file.as_uri()], "one file, no request"
    assert errors == []
    drawn = page.locator(".chart svg").count()
    assert drawn == page.locator(".chart").count() >= 6
    marks = page.evaluate(
        "[...document.querySelectorAll('.chart svg')].map(s => s.querySelectorAll('path[d]').length)"
    )
    assert min(marks) > 0, "every chart has marks"
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("#chart-timeline svg").scroll_into_view_if_needed()
    box = page.locator("#chart-timeline svg").bounding_box()
    assert box is not None
    for share in (0.4, 0.5, 0.6, 0.7):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.6 * box["height"])
        page.wait_for_timeout(150)
        if page.locator("#vg-tooltip-element.visible").count():
            break
    assert "hour (UTC)" in page.locator("#vg-tooltip-element").inner_text()
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375])
@pytest.mark.parametrize("share", [1.0, 0.14, 0.0])
def test_a_share_stands_on_one_line(case: Path, browser: Browser, width: int, share: float) -> None:
    opened = cw.open_case(case).case
    certain = replace(
        opened,
        triggers=opened.triggers.with_columns(probability=pl.lit(share)),
        no_recorded_change=1.0 - share,
    )
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_content(html.STYLE + html.triggers(certain))
    sizes = page.evaluate(
        "[...document.querySelectorAll('.change b')].map(b => [b.getClientRects().length, b.offsetWidth])"
    )
    page.close()
    assert len(sizes) >= 2
    assert all(lines == 1 and wide <= 60 for lines, wide in sizes), (
        sizes
    )  # within its column of 60 pixels


@pytest.mark.parametrize(
    ("also", "words"), [(["a"], ", with 1 more record<"), (["a", "b"], ", with 2 more records<")]
)
def test_records_of_the_same_decision_are_counted_in_the_right_number(
    case: Path, also: list[str], words: str
) -> None:
    opened = cw.open_case(case).case
    first = opened.triggers.head(1).with_columns(also=pl.Series([also], dtype=pl.List(pl.String)))
    assert words in html.triggers(replace(opened, triggers=first))


@pytest.mark.browser
def test_it_prints(written: Path) -> None:
    assert (written / "postmortem.pdf").read_bytes().startswith(b"%PDF")


def test_what_people_wrote_is_kept_when_it_is_made_again(case: Path, written: Path) -> None:
    text = written / "postmortem.md"
    ours = "We set a limit on retries. *dana, 12 November*"
    text.write_text(text.read_text().replace("*What else belongs here.*", ours))
    cw.write_postmortem(case, written)
    assert ours in text.read_text()
    assert text.read_text().count("costwhy 0 begins") == 1
    assert "We set a limit on retries." in (written / "postmortem.html").read_text()


def test_costwhys_own_parts_are_made_anew_and_the_rest_stays_where_it_was() -> None:
    first = merged("", {"Old headline": "- old", "Impact": "- one"})
    edited = first.replace("## Notes", "## Our notes\n\nkept\n\n## Notes")
    again = merged(edited, {"New headline": "- new", "Impact": "- two"})
    assert "Old headline" not in again
    assert "- old" not in again
    assert again.index("New headline") < again.index("- two") < again.index("## Our notes")
    assert "kept" in written_parts(again)["Our notes"]


def test_html_that_people_or_commits_write_is_shown_as_text(case: Path) -> None:
    told = written_parts(
        "## Notes\n\n<script>alert(1)</script> [x](javascript:alert(1)) ![y](http://elsewhere/z.png)\n"
    )
    assert "<script>" not in told["Notes"]
    assert 'href="javascript' not in told["Notes"]
    assert "<img" not in told["Notes"]
    opened = cw.open_case(case).case
    hostile = opened.triggers.with_columns(
        summary=pl.lit("</script><script>alert(1)</script>"),
        actor=pl.lit("<img src=x onerror=alert(1)>"),
    )
    page = offline_page(
        replace(opened, triggers=hostile),
        chart_specs(opened),
        {},
        "</footer><script>alert(2)</script>",
    )
    assert "<script>alert" not in page
    assert "<img src=x" not in page


def test_a_spoilt_case_is_not_written_up(case: Path, tmp_path: Path) -> None:
    spoilt = shutil.copytree(case, tmp_path / "spoilt")
    (spoilt / "case.md").write_text("nothing happened")
    with pytest.raises(DifferenceError, match="is not what was published"):
        cw.write_postmortem(spoilt, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_pins_are_exact_and_name_the_wheel_beside_them(written: Path) -> None:
    text = (written / "postmortem.py").read_text()
    pins = re.findall(r'^#   "([a-z0-9._-]+)==([^"]+)",$', text, re.MULTILINE)
    assert dict(pins) == exact_pins()
    assert {"costwhy", "marimo", "polars", "numpy", "altair"} <= dict(pins).keys()
    wheel = next(written.glob("costwhy-*.whl"))
    assert f'costwhy = {{ path = "{wheel.name}" }}' in text
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        assert "costwhy/case/case.py" in archive.namelist()


def test_the_notebook_runs_in_a_fresh_environment_of_its_own_pins_and_gives_the_same_numbers(
    written: Path, tmp_path: Path
) -> None:
    if shutil.which("uv") is None:
        pytest.skip("no uv on this machine's path")
    folder = shutil.copytree(written, tmp_path / "elsewhere")
    clean = {
        k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT"}
    }
    done = subprocess.run(
        ["uv", "run", "--no-project", "postmortem.py"],
        cwd=folder,
        env=clean,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if (
        done.returncode
        and re.search(r"[Cc]ould not connect|network|dns error|registry", done.stderr)
        and not os.environ.get("CI")
    ):
        pytest.skip(f"no package registry: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    assert headline(cw.open_case(written / "case").case) in done.stdout
    assert "are as they were published" in done.stdout
