"""A bill as a star (`Cube`): series, hourly facts without resource, daily ones with it.

A charge period may be longer than an hour. `hourly` keeps its length; in `daily` and in the
overview it has an equal part on each day and in each hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from costwhy import tables
from costwhy.ingest.cells import no_cells
from costwhy.lake.charges import spread
from costwhy.text import money, one_line

COSTS = tables.MEASURE_NAMES[:3]
ODD = {"note": pl.String, "n": pl.Int64, "BilledCost": pl.Float64}
DAY_WITH_A_CHANGE_OF_CLOCKS = 25  # hours
SEEN_UP_TO = 48  # hours: a longer charge says nothing about the hours that it covers


@dataclass(frozen=True)
class Cube:
    """Billing files, reduced. Frames are the lake's tables without `delivery`.

    totals   billing_period and the cost columns
    cells    fingerprints of its rows (`cells.py`); empty where it is not compared
    lacking  columns that the file lacks, and what that costs
    odd      what is odd about how rows count (note), with their number (n) and BilledCost
    notes    what whoever runs ingest should know of the files
    """

    series: pl.DataFrame
    hourly: pl.DataFrame
    daily: pl.DataFrame
    set_aside: pl.DataFrame
    totals: pl.DataFrame
    lacking: tuple[str, ...] = ()
    cells: pl.DataFrame = field(default_factory=no_cells)
    odd: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ODD))
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, pl.DataFrame]:
        """The tables that hold the money, and what was seen, which follows from the hours."""
        keys = ["hour", "SubAccountId", "service"]
        wide = spread(
            self.hourly.join(self.series.select("series_id", *keys[1:]), on="series_id"), "hour"
        )
        return {
            "hourly": self.hourly,
            "daily": self.daily,
            "overview": fit_facts(
                tables.OVERVIEW, wide.group_by(keys).agg(pl.col(COSTS).sum()).sort(keys)
            ),
            "seen": fit_facts(
                tables.SEEN,
                wide.filter((pl.col("hours") <= SEEN_UP_TO) | (pl.col("part") == 0))
                .group_by("hour", account="SubAccountId")
                .agg(records=pl.col("rows").sum())
                .sort("hour", "account")
                .with_columns(source=pl.lit("cost")),
            ),
        }


def fit_facts(table: tables.Table, frame: pl.DataFrame) -> pl.DataFrame:
    return table.fit(frame).drop("delivery")


def of_period(cube: Cube, month: str) -> Cube:
    """The part of a cube that belongs to one billing period."""
    return replace(
        cube,
        **{n: getattr(cube, n).filter(billing_period=month) for n in ("hourly", "daily", "totals")},
    )


def merge(cubes: Sequence[Cube]) -> Cube:
    """The files of one delivery together; an hour that is split over files is added up."""
    if len(cubes) == 1:
        return cubes[0]
    return Cube(
        series=pl.concat([c.series for c in cubes]).unique("series_id").sort("series_id"),
        hourly=_added([c.hourly for c in cubes], "billing_period", "hour", "series_id", "hours"),
        daily=_added([c.daily for c in cubes], "billing_period", "day", "series_id", "ResourceId"),
        set_aside=pl.concat([c.set_aside for c in cubes]),
        totals=_added([c.totals for c in cubes], "billing_period"),
        odd=_added([c.odd for c in cubes], "note"),
        lacking=tuple(dict.fromkeys(one for c in cubes for one in c.lacking)),
        notes=tuple(one for c in cubes for one in c.notes),
    )


def told(cube: Cube, currency: str) -> list[str]:
    """What is odd in a cube, with their rows and money."""
    notes = [*cube.odd.sort("note").select(list(ODD)).iter_rows()]
    long = cube.hourly.filter(pl.col("hours") > DAY_WITH_A_CHANGE_OF_CLOCKS)
    if long.height:
        what = "charges longer than a day count in equal parts over their hours"
        notes.insert(0, (what, int(long["rows"].sum()), float(long["BilledCost"].sum())))
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
