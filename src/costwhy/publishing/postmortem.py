"""A postmortem: the case, its data, a thin notebook with exact pins, a text for people to write in, and one offline page.

postmortem-NAME/
  postmortem.html    opens from a file without a network; prints; postmortem.pdf beside it where there is Chromium
  postmortem.md      between the marks: made anew each time; the rest: what people write, kept
  postmortem.py      a marimo notebook that makes every number again: `uv run postmortem.py`, `uvx marimo run --sandbox postmortem.py`
  case/              the published case
  *.whl              costwhy itself, as the pins name it
"""

import re
import shutil
import subprocess
import tempfile
from importlib.metadata import distribution, requires, version
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from costwhy.case.case import Case
from costwhy.case.opened import Published, open_case
from costwhy.case.story import headline, sentences
from costwhy.publishing.offline_page import offline_page
from costwhy.publishing.publish import plain_markdown
from costwhy.publishing.verify import verify
from costwhy.publishing.wheel import make_wheel
from costwhy.show.chart_specs import chart_specs
from costwhy.text import clock, money

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 120  # seconds for Chromium to print
HUMAN = {
    "What would have caught it earlier": "- *Write here what would have shown it sooner: an alarm, a limit, a review.*\n",
    "Actions": "| action | owner | due | done |\n|---|---|---|---|\n| | | | |\n",
    "Notes": "*What else belongs here.*\n",
}
NOTEBOOK = """# /// script
# requires-python = ">={python}"
# dependencies = [
{pins}
# ]
# [tool.uv.sources]
# costwhy = {{ path = "{wheel}" }}
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "{marimo}"
app = marimo.App(width="medium", app_title="costwhy postmortem")


@app.cell
def _():
    import marimo as mo

    import costwhy as cw
    from costwhy.show import chart_data, charts, html

    folder = mo.notebook_dir() / "case"
    return chart_data, charts, cw, folder, html, mo


@app.cell
def _(cw, folder):
    # every digest compared, every number made again from the case's own data; a difference stops here
    checked = cw.verify(folder)
    case = cw.investigate_again(folder)
    print(case)
    print(f"{{checked.values}} values and {{checked.files}} files are as they were published")
    return case, checked


@app.cell
def _(case, chart_data, charts, checked, html, mo):
    mo.vstack([
        mo.Html(html.STYLE + html.top(case.workspace, case)),
        mo.Html(html.note(f"{{checked.values}} values and {{checked.files}} files are as they were published")),
        mo.Html(html.section("What happened")), mo.Html(html.story(case)),
        mo.Html(html.section("What moved")), mo.as_html(charts.moved(chart_data.moved(case))), mo.Html(html.behaviours(case)),
        mo.Html(html.section("Timeline")), mo.as_html(charts.timeline(case.timeline, case.spike["start"])),
        mo.as_html(charts.ledger(chart_data.ledger(case), chart_data.axis_of(case))), mo.as_html(charts.changes(chart_data.changes(case), chart_data.axis_of(case), None)),
        mo.Html(html.section("The change and the decision")), mo.Html(html.triggers(case)), mo.Html(html.clocks(case)),
        mo.Html(html.section("Who")), mo.Html(html.chain(case)),
        mo.Html(html.section("What cannot be ruled out")), mo.Html(html.coverage(case)),
    ])
    return


if __name__ == "__main__":
    app.run()
"""


def write_postmortem(place: str | Path, folder: str | Path | None = None) -> Path:
    """The postmortem of a published case, in `folder` (default: postmortem-NAME here). What people wrote in its text is kept.

    Raises InputError where there is no case, DifferenceError where it is not what was published.
    """
    verify(place)
    published = open_case(place)
    out = Path(folder) if folder is not None else Path(f"postmortem-{published.name}")
    out.mkdir(parents=True, exist_ok=True)
    _copy(published.folder, out / "case")
    text = out / "postmortem.md"
    written = text.read_text(encoding="utf-8") if text.is_file() else ""
    text.write_text(merged(written, made_parts(published)), encoding="utf-8")
    for old in out.glob("costwhy-*.whl"):
        old.unlink()
    wheel = make_wheel(out)
    (out / "postmortem.py").write_text(_notebook(wheel.name), encoding="utf-8")
    page = out / "postmortem.html"
    page.write_text(
        offline_page(published.case, chart_specs(published.case), human_parts(text.read_text(encoding="utf-8")), _origin(published)),
        encoding="utf-8",
    )
    print_pdf(page)
    return out


def _copy(source: Path, target: Path) -> None:
    """The case beside the text: an earlier copy is replaced whole."""
    draft = Path(tempfile.mkdtemp(prefix=".case-", dir=target.parent))
    shutil.copytree(source, draft / "case", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(target, ignore_errors=True)
    (draft / "case").rename(target)
    draft.rmdir()


def _origin(published: Published) -> str:
    made = published.about["made_with"]
    hidden = f"; taken out: {', '.join(published.about['redacted'])}" if published.about["redacted"] else ""
    return (
        f"Published {published.about['published_at']} by costwhy {made['costwhy']} from version {published.about['made_from']['lake_version']} "
        f"of the lake of {published.about['workspace']}{hidden}. `costwhy verify case` makes every number again."
    )


# ---------------------------------------------------------------- the text


def made_parts(published: Published) -> dict[str, str]:
    """The parts of the text that costwhy writes, by heading, as Markdown."""
    case = published.case
    rows = [
        f"| {plain_markdown(r['what'])} | {clock(r['happened_at'])} | {clock(r['known_at'])} | {plain_markdown(r['words'])} |"
        for r in case.clocks.iter_rows(named=True)
    ]
    return {
        headline(case): "\n".join(f"- {plain_markdown(s.text)}" for s in sentences(case)),
        "Impact": _impact(case),
        "Timeline": "\n".join(["| what | happened | could be known | |", "|---|---|---|---|", *rows]),
    }


def _impact(case: Case) -> str:
    total, cur = money(case.total, case.currency), case.currency
    lines = [
        f"| {plain_markdown(' '.join(str(x) for x in (r['kind'], r['service'] or r['usage_type'] or '') if x))} | {money(r['cost_change'] + (r['nowcast_change'] or 0.0), cur)} |"
        for r in case.behaviour.iter_rows(named=True)
    ]
    return "\n".join(["| behaviour | cost |", "|---|---|", *lines, f"| **all** | **{total}** |"])


def merged(written: str, parts: dict[str, str]) -> str:
    """The text with costwhy's parts made anew and everything else as people left it."""
    made = [_marked(k, title, body) for k, (title, body) in enumerate(parts.items())]
    if not written.strip():
        human = [f"## {title}\n\n{text}" for title, text in HUMAN.items()]
        return "\n".join([*made, *human])
    for k, part in enumerate(made):
        found = re.search(rf"<!-- costwhy {k} begins.*?<!-- costwhy {k} ends -->\n?", written, re.DOTALL)
        written = written[: found.start()] + part + written[found.end() :] if found else f"{part}\n{written}"
    return written


def _marked(k: int, title: str, body: str) -> str:
    return f"<!-- costwhy {k} begins: made anew, do not write here -->\n{'#' if k == 0 else '##'} {plain_markdown(title)}\n\n{body}\n<!-- costwhy {k} ends -->\n"


def human_parts(text: str) -> dict[str, Markup]:
    """What people wrote, by heading, as HTML; HTML of their own is shown as text."""
    rest = re.sub(r"<!-- costwhy \d+ begins.*?<!-- costwhy \d+ ends -->\n?", "", text, flags=re.DOTALL)
    parts = re.split(r"^## +(.+)$", rest, flags=re.MULTILINE)
    show = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    titled = {title.strip(): show.render(body) for title, body in zip(parts[1::2], parts[2::2], strict=True)}
    return {title: Markup(html) for title, html in titled.items() if html.strip()}  # noqa: S704 -- markdown-it escapes HTML


# ---------------------------------------------------------------- the notebook, and paper


def _notebook(wheel: str) -> str:
    pins = "\n".join(f'#   "{name}=={pinned}",' for name, pinned in exact_pins().items())
    return NOTEBOOK.format(python="3.11", pins=pins, wheel=wheel, marimo=version("marimo"))


def exact_pins() -> dict[str, str]:
    """Every package that costwhy needs, and what these need, as they are installed here."""
    pins: dict[str, str] = {}
    open_names = ["costwhy"]
    while open_names:
        name = open_names.pop()
        if name in pins:
            continue
        pins[name] = distribution(name).version
        for line in requires(name) or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                open_names.append(canonicalize_name(need.name))
    return dict(sorted(pins.items()))


def print_pdf(page: Path) -> Path | None:
    """The page on paper, by Chromium; None where there is none."""
    browser = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if browser is None:
        return None
    out = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        command = [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
        ]
        command += [
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            f"--user-data-dir={profile}",
            "--no-pdf-header-footer",
        ]
        command += ["--virtual-time-budget=15000", f"--print-to-pdf={out}", page.resolve().as_uri()]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
        except (subprocess.SubprocessError, OSError):
            return None
    return out if out.is_file() else None
