"""What every file source gives back: rows that could be read, rows that could not, and what was seen."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Reading:
    """One delivery, read. `rows`: the source's table without `delivery`; `set_aside` and `seen` likewise."""

    rows: pl.DataFrame
    set_aside: pl.DataFrame
    seen: pl.DataFrame
