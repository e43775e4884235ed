"""What the notebooks take from marimo: its messages hold plain text, which `Markup` is not."""

import marimo as mo
import pytest
from drawn_case import START, drawn_case

from costwhy.show import charts, html
from costwhy.show.notebook import LIST, element, section


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_finished_html_reaches_marimo_as_plain_text() -> None:
    for shown in (element(html.note("a < b")), element(html.STYLE + html.note("x"))):
        assert type(shown.text) is str
    assert "a &lt; b" in element(html.note("a < b")).text


def test_a_section_holds_html_charts_and_controls() -> None:
    chart = charts.timeline(drawn_case().timeline, START)
    text = section("A title", "a line", html.note("note"), chart, mo.ui.button(label="go")).text
    assert type(text) is str
    for part in ("A title", "a line", "note", "marimo-button"):
        assert part in text


def test_a_list_is_a_table_of_which_one_row_is_picked() -> None:
    assert mo.ui.table([{"a": 1}], **LIST).value is not None
