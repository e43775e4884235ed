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

import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import distribution, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from costwhy.case.opened import Published, open_case
from costwhy.publishing.case_files import replace_folder
from costwhy.publishing.offline_page import TEMPLATES, offline_page
from costwhy.publishing.postmortem_text import made_parts, merged, written_parts
from costwhy.publishing.verify import verify
from costwhy.publishing.wheel import make_wheel
from costwhy.show.chart_specs import chart_specs

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
)
PATIENCE = 120  # seconds for Chromium to print


def write_postmortem(place: str | Path, folder: str | Path | None = None) -> Path:
    """The postmortem of a published case, in `folder` (default: postmortem-NAME here).

    What people wrote in its text is kept. Raises InputError where there is no case,
    DifferenceError where it is not what was published.
    """
    verify(place)
    published = open_case(place)
    out = Path(folder) if folder is not None else Path(f"postmortem-{published.name}")
    out.mkdir(parents=True, exist_ok=True)
    replace_folder(out / "case", lambda draft: _copy(published.folder, draft))
    text_file = out / "postmortem.md"
    earlier = text_file.read_text(encoding="utf-8") if text_file.is_file() else ""
    text = merged(earlier, made_parts(published.case))
    text_file.write_text(text, encoding="utf-8")
    for old in out.glob("costwhy-*.whl"):
        old.unlink()
    notebook = _notebook(make_wheel(out).name)
    (out / "postmortem.py").write_text(notebook, encoding="utf-8")
    specs = chart_specs(published.case)
    page = offline_page(published.case, specs, written_parts(text), _origin(published))
    (out / "postmortem.html").write_text(page, encoding="utf-8")
    print_pdf(out / "postmortem.html")
    return out


def _copy(source: Path, target: Path) -> None:
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, target, ignore=skip, dirs_exist_ok=True)


def _origin(published: Published) -> str:
    about = published.about
    hidden = f"; taken out: {', '.join(about['redacted'])}" if about["redacted"] else ""
    return (
        f"Published {about['published_at']} by costwhy {about['made_with']['costwhy']} "
        f"from version {about['made_from']['lake_version']} of the lake of "
        f"{about['workspace']}{hidden}. `costwhy verify case` makes every number again."
    )


def _notebook(wheel: str) -> str:
    template = TEMPLATES.get_template("postmortem.py.txt")
    return template.render(pins=exact_pins(), wheel=wheel) + "\n"


def exact_pins() -> dict[str, str]:
    """Every package that costwhy needs, and what these need, as they are installed here."""
    pins: dict[str, str] = {}
    names = ["costwhy"]
    while names:
        name = names.pop()
        if name in pins:
            continue
        pins[name] = distribution(name).version
        for line in requires(name) or ():
            need = Requirement(line)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                names.append(canonicalize_name(need.name))
    return dict(sorted(pins.items()))


def print_pdf(page: Path) -> None:
    """The page on paper, by Chromium where there is one."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        return
    out = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory() as profile:
        paper = ("--no-pdf-header-footer", "--virtual-time-budget=15000", f"--print-to-pdf={out}")
        command = [browser, *QUIET, f"--user-data-dir={profile}", *paper, page.resolve().as_uri()]
        with suppress(subprocess.SubprocessError, OSError):
            subprocess.run(  # noqa: S603 -- a fixed list, no shell
                command, check=True, capture_output=True, timeout=PATIENCE
            )
