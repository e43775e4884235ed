"""Each part of a page is the golden one, and no text of a case is HTML in it."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import drawn_pages as pages
import polars as pl
import pytest
from drawn_case import drawn_case

from costwhy import templates
from costwhy.case.case import Case
from costwhy.case.opened import FRAMES
from costwhy.publishing.postmortem import offline_page
from costwhy.show import html
from costwhy.show.chart_data import chart_specs

GOLDEN = Path(__file__).parent / "golden"
SOURCE = Path(templates.__file__).parent
HOSTILE = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7 * 7 }}"


def lines(part: str) -> str:
    """A tag a line."""
    return re.sub(r">\s*<", ">\n<", part.strip()) + "\n"


@pytest.mark.parametrize("name", sorted(pages.parts()))
def test_a_part_of_the_page_is_the_golden_one(name: str) -> None:
    """COSTWHY_WRITE_GOLDEN=1 writes them: then read the difference."""
    file, part = GOLDEN / f"{name}.html", lines(pages.parts()[name])
    if os.environ.get("COSTWHY_WRITE_GOLDEN"):
        file.write_text(part, encoding="utf-8")
    assert part == file.read_text(encoding="utf-8")


def test_every_golden_file_is_of_a_part() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == set(pages.parts())


# ---------------------------------------------------------------- hostile texts


def hostile_case() -> Case:
    """Every text of every frame, the title, the workspace and the currency are HTML."""
    case = drawn_case()
    texts = {
        name: frame.with_columns(
            *(
                pl.lit(HOSTILE).alias(c)
                for c, t in frame.schema.items()
                if t == pl.String and c not in {"kind", "where", "role"}
            ),
            *(
                pl.lit([HOSTILE]).alias(c)
                for c, t in frame.schema.items()
                if t == pl.List(pl.String)
            ),
        )
        for name, frame in ((name, getattr(case, name)) for name in FRAMES)
    }
    where = pl.DataFrame(
        {"where": ['{"service": "' + HOSTILE.replace('"', "") + '"}'], "cost_change": [1.0]}
    )
    changes = texts["changes"].with_columns(kind=pl.lit(HOSTILE))
    triggers = texts["triggers"].with_columns(kind=pl.lit(HOSTILE))
    spike = replace(case.spike, title=HOSTILE, status=HOSTILE, spike_id=HOSTILE)
    return replace(
        case,
        workspace=HOSTILE,
        currency=HOSTILE,
        spike=spike,
        headline=HOSTILE,
        **texts | {"drivers": where, "changes": changes, "triggers": triggers},
    )


class Tags(HTMLParser):
    """The tags of a page, and the attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.running: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.running += [name for name, _ in attrs if name.startswith("on")]


def tags(page: str) -> Tags:
    found = Tags()
    found.feed(page)
    return found


@pytest.mark.parametrize("name", sorted(pages.parts()))
def test_no_text_of_a_case_is_html_on_the_page(name: str) -> None:
    """Not its currency either: `<img ...>100` is shown as that."""
    found = tags(pages.parts(hostile_case())[name])
    assert {"img", "script"} & set(found.names) == set()
    assert found.running == []
    assert set(found.names) == set(tags(pages.parts()[name]).names)


def test_no_text_of_a_case_is_html_in_the_offline_page() -> None:
    case = hostile_case()
    page = offline_page(case, chart_specs(case), {HOSTILE: html.note(HOSTILE)}, HOSTILE)
    found = tags(page)
    assert found.names.count("script") == 2, "Vega's, and the one that draws"
    assert "img" not in found.names
    assert found.running == []
    assert "{{ 7 * 7 }}" in page, "a text is no template"


def test_direction_and_control_characters_are_not_shown() -> None:
    assert "\u202e" not in html.note("a\u202eb\x07c")
    assert "a b c" in html.note("a\u202eb\x07c")


# ---------------------------------------------------------------- what is HTML already

SAFE = {  # file: how many values are declared to be HTML, and why that is right
    "show/html.py": 2,  # a filled template; an attribute that was escaped in the line before
    "publishing/postmortem.py": 3,  # Vega's own scripts; JSON without <; Markdown without HTML
}


def test_only_these_values_are_declared_to_be_html() -> None:
    """`|safe` and `autoescape false` in a template, `Markup(...)` of a value in Python."""
    for file in SOURCE.rglob("templates/*"):
        text = file.read_text(encoding="utf-8")
        assert re.search(r"\|\s*safe\b|autoescape", text) is None, file.name
    counted = {
        file.relative_to(SOURCE).as_posix(): len(
            re.findall(r"\bMarkup\((?!\))", file.read_text(encoding="utf-8"))
        )
        for file in SOURCE.rglob("*.py")
    }
    assert {
        name: count for name, count in counted.items() if count and "serve/" not in name
    } == SAFE


def test_templates_escape_and_know_their_names() -> None:
    made = templates.environment("costwhy.show")
    assert made.from_string("{{ text }}").render(text="<b>") == "&lt;b&gt;"
    with pytest.raises(Exception, match="'text' is undefined"):
        made.from_string("{{ text }}").render()


def test_the_style_is_css_alone() -> None:
    assert tags(html.STYLE).names == ["style"]
