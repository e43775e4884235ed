"""What the notebooks share of marimo's elements."""

import altair as alt
import marimo as mo

from costwhy.show import html

LIST = {  # of marimo's table: a plain list of which one row is picked
    "selection": "single",
    "pagination": False,
    "show_column_summaries": False,
    "show_data_types": False,
    "show_download": False,
    "show_search": False,
    "max_columns": 8,
}


def element(part: str | alt.LayerChart | mo.Html) -> mo.Html:
    """Finished HTML, a chart or a control as marimo shows it."""
    return mo.Html(str(part)) if isinstance(part, str) else mo.as_html(part)  # no Markup in JSON


def section(title: str, note: str, *parts: str | alt.LayerChart | mo.Html) -> mo.Html:
    """A heading, a line, and what stands under them."""
    return mo.vstack([element(html.section(title, note)), *map(element, parts)])
