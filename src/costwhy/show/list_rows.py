"""The rows of a list on a page: which one is shown, which one was picked."""

from collections.abc import Sequence

import polars as pl


def position(shown: str | None, ids: Sequence[str]) -> list[int]:
    """The row of the one that is shown, as a table's selection wants it."""
    return [ids.index(shown)] if shown in ids else []


def picked_id(rows: pl.DataFrame | None, shown: pl.DataFrame, ids: Sequence[str]) -> str | None:
    """The id of the row that was picked. rows: as the browser sends them; shown: the whole list."""
    if rows is None or rows.is_empty():
        return None
    marked = shown.with_columns(id=pl.Series(ids, dtype=pl.String))
    found = marked.join(rows, on=rows.columns, how="semi", nulls_equal=True)["id"]
    return found[0] if found.len() else None
