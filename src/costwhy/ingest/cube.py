"""A bill as a star (`Cube`): series, hourly facts without resource, daily ones with it.

A charge period may be longer than an hour. `hourly` keeps its length; in `daily` and in the
overview it has an equal part on each day and in each hour. Facts lie in Parquet files, since those
of a company are larger than memory should be; what is asked of them is computed as a stream.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import polars as pl

from costwhy import tables
from costwhy.ingest.cells import no_cells
from costwhy.ingest.duck import opened
from costwhy.lake.charges import spread
from costwhy.sources.cost.columns import literal
from costwhy.text import money, one_line

COSTS = tables.MEASURE_NAMES[:3]
ODD = {"note": pl.String, "n": pl.Int64, "BilledCost": pl.Float64}
DAY_WITH_A_CHANGE_OF_CLOCKS = 25  # hours
SEEN_UP_TO = 48  # hours: a longer charge says nothing about the hours that it covers
KEYS = {  # of facts
    "hourly": ("billing_period", "hour", "series_id", "hours"),
    "daily": ("billing_period", "day", "series_id", "ResourceId"),
}


@dataclass(frozen=True)
class Cube:
    """Billing files, reduced. Frames are the lake's tables without `delivery`.

    hourly, daily   Parquet files; null: no row counts
    rows     those that count
    totals   billing_period and the cost columns
    cells    fingerprints of its rows (`cells.py`); empty where it is not compared
    lacking  columns that the file lacks, and what that costs
    odd      what is odd about how rows count (note), with their number (n) and BilledCost
    notes    what whoever runs ingest should know of the files
    """

    series: pl.DataFrame
    hourly: Path | None
    daily: Path | None
    rows: int
    set_aside: pl.DataFrame
    totals: pl.DataFrame
    lacking: tuple[str, ...] = ()
    cells: pl.DataFrame = field(default_factory=no_cells)
    odd: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ODD))
    notes: tuple[str, ...] = ()

    def scan(self, name: str, month: str | None = None) -> pl.LazyFrame:
        """The facts `hourly` or `daily`, of one billing period or of all."""
        file = getattr(self, name)
        if file is None:
            return tables.BY_NAME[name].empty().drop("delivery").lazy()
        rows = pl.scan_parquet(file)
        return rows if month is None else rows.filter(pl.col("billing_period") == month)

    def facts(self, month: str | None = None) -> dict[str, tables.Rows]:
        """The tables that hold the money, and what was seen, which follows from the hours."""
        keys = ["hour", "SubAccountId", "service"]
        hourly = self.scan("hourly", month)
        wide = spread(
            hourly.join(self.series.lazy().select("series_id", *keys[1:]), on="series_id"), "hour"
        )
        overview, seen = pl.collect_all(
            [
                wide.group_by(keys).agg(pl.col(COSTS).sum()).sort(keys),
                wide.filter((pl.col("hours") <= SEEN_UP_TO) | (pl.col("part") == 0))
                .group_by("hour", account="SubAccountId")
                .agg(records=pl.col("rows").sum())
                .sort("hour", "account")
                .with_columns(source=pl.lit("cost")),
            ],
            engine="streaming",
        )
        return {
            "hourly": hourly,
            "daily": self.scan("daily", month),
            "overview": tables.OVERVIEW.fit(overview).drop("delivery"),
            "seen": tables.SEEN.fit(seen).drop("delivery"),
        }


def spool_file(spool: Path, name: str) -> Path:
    """A new file for facts."""
    return spool / f"{name}-{uuid4().hex}.parquet"


def merge(cubes: Sequence[Cube], spool: Path) -> Cube:
    """The files of one delivery together; an hour that is split over files is added up."""
    if len(cubes) == 1:
        return cubes[0]
    return Cube(
        series=pl.concat([c.series for c in cubes]).unique("series_id").sort("series_id"),
        hourly=_merged("hourly", cubes, spool),
        daily=_merged("daily", cubes, spool),
        rows=sum(c.rows for c in cubes),
        set_aside=pl.concat([c.set_aside for c in cubes]),
        totals=_added([c.totals for c in cubes], "billing_period"),
        odd=_added([c.odd for c in cubes], "note"),
        lacking=tuple(dict.fromkeys(one for c in cubes for one in c.lacking)),
        notes=tuple(one for c in cubes for one in c.notes),
    )


def _merged(name: str, cubes: Sequence[Cube], spool: Path) -> Path | None:
    """DuckDB adds them up, since it goes to disk where memory is short."""
    files = [file for cube in cubes if (file := getattr(cube, name))]
    if len(files) < 2:
        return files[0] if files else None
    to, columns = spool_file(spool, name), tables.BY_NAME[name].schema.names()
    words = ", ".join(
        column if column in KEYS[name] else f"sum({column})::{_SUMS.get(column, 'DOUBLE')} {column}"
        for column in columns
        if column != "delivery"
    )
    keys = ", ".join(KEYS[name])
    places = ", ".join(literal(str(file)) for file in files)
    with opened() as (connection, _):
        connection.execute(
            f"COPY (SELECT {words} FROM read_parquet([{places}]) GROUP BY {keys} "
            f"ORDER BY {KEYS[name][1]}) TO {literal(str(to))}"
        )
    return to


_SUMS = {"rows": "BIGINT"}  # the sum of whole numbers is no BIGINT otherwise


def told(cube: Cube, currency: str) -> list[str]:
    """What is odd in a cube, with their rows and money."""
    notes = [*cube.odd.sort("note").select(list(ODD)).iter_rows()]
    long = cube.scan("hourly").filter(pl.col("hours") > DAY_WITH_A_CHANGE_OF_CLOCKS)
    rows, billed = long.select(pl.col("rows", "BilledCost").sum()).collect().row(0)
    if rows:
        what = "charges longer than a day count in equal parts over their hours"
        notes.insert(0, (what, int(rows), float(billed)))
    return [
        f"{one_line(note, 300)}: "
        f"{rows:,} {'row' if rows == 1 else 'rows'}, {money(billed, currency)}"
        for note, rows, billed in notes
    ]


def _added(frames: Sequence[pl.DataFrame], *keys: str) -> pl.DataFrame:
    whole = pl.concat(frames)
    sums = [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
        for name in whole.columns
        if name not in keys
    ]
    return whole.group_by(keys).agg(sums).select(whole.columns).sort(keys)
