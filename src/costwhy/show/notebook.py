"""What the notebooks share of marimo's elements, and the rows that are picked in a list."""

from collections.abc import Sequence

import altair as alt
import marimo as mo
import polars as pl

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


def position(shown: str | None, ids: Sequence[str]) -> list[int]:
    """The row of the one that is shown, as a table's selection wants it."""
    return [ids.index(shown)] if shown in ids else []


def picked_id(rows: pl.DataFrame | None, shown: pl.DataFrame, ids: Sequence[str]) -> str | None:
    """The id of the row that was picked. rows: as the browser sends them; shown: the whole list."""
    if rows is None or rows.is_empty():
        return None
    found = shown.with_columns(id=pl.Series(ids, dtype=pl.String)).join(
        rows, on=rows.columns, how="semi", nulls_equal=True
    )["id"]
    return found[0] if found.len() else None
