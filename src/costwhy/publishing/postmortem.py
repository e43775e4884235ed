"""A postmortem: the case, a notebook with exact pins, a text to write in, one offline page.

postmortem-NAME/
  postmortem.html    opens from a file without a network; prints
  postmortem.pdf     where there is Chromium
  postmortem.md      between the marks: made anew each time; the rest: what people write, kept
  postmortem.py      a marimo notebook that makes every number again: `uv run postmortem.py`,
                     `uvx marimo run --sandbox postmortem.py`
  case/              the published case
  *.whl              costwhy itself, as the pins name it
"""

import base64
import functools
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import distribution, requires
from pathlib import Path

import vl_convert
from markdown_it import MarkdownIt
from markupsafe import Markup
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from costwhy.case.case import Case
from costwhy.case.opened import Published, open_case
from costwhy.case.story import behaviour_cost, headline, sentences
from costwhy.publishing.publish import plain_markdown, replace_folder
from costwhy.publishing.verify import verify
from costwhy.show import chart_data, html
from costwhy.show.chart_data import chart_specs
from costwhy.templates import environment
from costwhy.text import clock, money

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-pdf-header-footer",
    "--virtual-time-budget=15000",
)
PATIENCE = 120  # seconds for Chromium to print
TO_WRITE = {  # what people find in a new text, by heading
    "What would have caught it earlier": (
        "- *Write here what would have shown it sooner: an alarm, a limit, a review.*\n"
    ),
    "Actions": "| action | owner | due | done |\n|---|---|---|---|\n| | | | |\n",
    "Notes": "*What else belongs here.*\n",
}
VEGA_LITE = "6.4"
TEMPLATES = environment("costwhy.publishing").overlay(finalize=html.printable)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same file
LEFT_OUT = {"__pycache__", "_sample", "_notebooks"}  # of the wheel


def write_postmortem(place: str | Path, folder: str | Path | None = None) -> Path:
    """The postmortem of a published case, in `folder` (default: postmortem-NAME here).

    What people wrote in its text is kept. Raises InputError where there is no case,
    DifferenceError where it is not what was published.
    """
    verify(place)
    published = open_case(place)
    out = Path(folder) if folder is not None else Path(f"postmortem-{published.name}")
    out.mkdir(parents=True, exist_ok=True)
    replace_folder(
        out / "case",
        lambda draft: shutil.copytree(
            published.folder,
            draft,
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        ),
    )
    text_file = out / "postmortem.md"
    text = merged(
        text_file.read_text(encoding="utf-8") if text_file.is_file() else "",
        made_parts(published.case),
    )
    text_file.write_text(text, encoding="utf-8")
    for old in out.glob("costwhy-*.whl"):
        old.unlink()
    notebook = TEMPLATES.get_template("postmortem.py.txt").render(
        pins=exact_pins(), wheel=make_wheel(out).name
    )
    (out / "postmortem.py").write_text(f"{notebook}\n", encoding="utf-8")
    page = offline_page(
        published.case, chart_specs(published.case), written_parts(text), _origin(published)
    )
    (out / "postmortem.html").write_text(page, encoding="utf-8")
    print_pdf(out / "postmortem.html")
    return out


def _origin(published: Published) -> str:
    about = published.about
    hidden = f"; taken out: {', '.join(about['redacted'])}" if about["redacted"] else ""
    return (
        f"Published {about['published_at']} by costwhy {about['made_with']['costwhy']} "
        f"from version {about['made_from']['lake_version']} of the lake of "
        f"{about['workspace']}{hidden}. `costwhy verify case` makes every number again."
    )


def exact_pins() -> dict[str, str]:
    """Every package that costwhy needs, and what these need, as they are installed here."""
    pins: dict[str, str] = {}
    names = ["costwhy"]
    while names:
        name = names.pop()
        if name not in pins:
            pins[name] = distribution(name).version
            names += [
                canonicalize_name(need.name)
                for need in map(Requirement, requires(name) or ())
                if need.marker is None or need.marker.evaluate({"extra": ""})
            ]
    return dict(sorted(pins.items()))


def make_wheel(folder: Path) -> Path:
    """costwhy as it runs, as a wheel (PEP 427), without notebooks and the sample company.

    It is pure Python, so a zip with records.
    """
    about = distribution("costwhy")
    package = Path(__file__).resolve().parent.parent
    info = f"costwhy-{about.version}.dist-info"
    files = {
        f"costwhy/{f.relative_to(package).as_posix()}": f.read_bytes()
        for f in sorted(package.rglob("*"))
        if f.is_file() and not LEFT_OUT & set(f.parts)
    }
    files[f"{info}/METADATA"] = (about.read_text("METADATA") or "").encode()
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: costwhy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    digests = {
        name: base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        for name, data in files.items()
    }
    files[f"{info}/RECORD"] = "".join(
        [
            *[f"{name},sha256={digests[name]},{len(data)}\n" for name, data in files.items()],
            f"{info}/RECORD,,\n",
        ]
    ).encode()
    out = folder / f"costwhy-{about.version}-py3-none-any.whl"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
    return out


# ---------------------------------------------------------------- the text


def made_parts(case: Case) -> dict[str, str]:
    """The parts that costwhy writes, by heading, as Markdown."""
    clocks = [
        (row["what"], clock(row["happened_at"]), clock(row["known_at"]), row["words"])
        for row in case.clocks.iter_rows(named=True)
    ]
    costs = [
        (
            " ".join(filter(None, (row["kind"], row["service"] or row["usage_type"]))),
            money(behaviour_cost(row), case.currency),
        )
        for row in case.behaviour.iter_rows(named=True)
    ]
    total = plain_markdown(money(case.total, case.currency))
    return {
        headline(case): "\n".join(f"- {plain_markdown(s.text)}" for s in sentences(case)),
        "Impact": f"{_table(('behaviour', 'cost'), costs)}\n| **all** | **{total}** |",
        "Timeline": _table(("what", "happened", "could be known", ""), clocks),
    }


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(
        [
            f"| {' | '.join(head)} |",
            "|---" * len(head) + "|",
            *[f"| {' | '.join(map(plain_markdown, row))} |" for row in rows],
        ]
    )


def merged(written: str, parts: dict[str, str]) -> str:
    """The text with costwhy's parts made anew and everything else as people left it."""
    made = [
        f"<!-- costwhy {number} begins: made anew, do not write here -->\n"
        f"{'##' if number else '#'} {plain_markdown(title)}\n\n{body}\n"
        f"<!-- costwhy {number} ends -->\n"
        for number, (title, body) in enumerate(parts.items())
    ]
    if not written.strip():
        return "\n".join([*made, *(f"## {title}\n\n{text}" for title, text in TO_WRITE.items())])
    for number, part in enumerate(made):
        found = re.search(_mark_pattern(str(number)), written, re.DOTALL)
        if found:
            written = written[: found.start()] + part + written[found.end() :]
        else:
            written = f"{part}\n{written}"
    return written


def _mark_pattern(number: str) -> str:
    return rf"<!-- costwhy {number} begins.*?<!-- costwhy {number} ends -->\n?"


def written_parts(text: str) -> dict[str, Markup]:
    """What people wrote, by heading, as HTML; HTML of their own is shown as text."""
    parts = re.split(
        r"^## +(.+)$", re.sub(_mark_pattern(r"\d+"), "", text, flags=re.DOTALL), flags=re.MULTILINE
    )
    show = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    shown = {
        title.strip(): Markup(show.render(body))  # noqa: S704 -- markdown-it escapes HTML
        for title, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {title: html for title, html in shown.items() if html.strip()}


# ---------------------------------------------------------------- the page


@functools.cache
def chart_scripts() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script, made without a network."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return Markup(script.replace("</script", "<\\/script"))  # noqa: S704 -- our own libraries


def in_script(value: object) -> Markup:
    """JSON that cannot end the script that it stands in; json.dumps writes ASCII alone."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))  # noqa: S704 -- without <


def offline_page(
    case: Case, specs: Mapping[str, str], written: Mapping[str, Markup], origin: str
) -> str:
    """The whole page.

    specs: Vega-Lite by name, as `chart_specs` makes it; written: what people wrote, by heading;
    origin: what the footer says.
    """
    return TEMPLATES.get_template("offline_page.html").render(
        title=f"{case.workspace}: {case.spike.title}, {clock(case.as_of)}",
        case=case,
        part=html,
        edges=[name for name, _ in chart_data.edges(case)],
        written=written,
        origin=origin,
        scripts=chart_scripts(),
        charts=in_script({f"chart-{name}": json.loads(spec) for name, spec in specs.items()}),
    )


def print_pdf(page: Path) -> None:
    """The page on paper, by Chromium where there is one."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return
    with (
        tempfile.TemporaryDirectory() as profile,
        suppress(subprocess.SubprocessError, OSError),
    ):
        subprocess.run(  # noqa: S603 -- a fixed list, no shell
            [
                browser,
                *QUIET,
                f"--user-data-dir={profile}",
                f"--print-to-pdf={page.with_suffix('.pdf')}",
                page.resolve().as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=PATIENCE,
        )
