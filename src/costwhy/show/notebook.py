"""What the notebooks share of marimo's elements."""

import altair as alt
import marimo as mo
from markupsafe import Markup

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


def section(title: str, note: str, *parts: Markup | alt.LayerChart | mo.Html) -> mo.Html:
    """A heading, a line, and what stands under them: finished HTML, charts, controls."""
    shown = [mo.Html(part) if isinstance(part, Markup) else mo.as_html(part) for part in parts]
    return mo.vstack([mo.Html(html.section(title, note)), *shown])
