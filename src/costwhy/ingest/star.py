"""The star of the rows that count: their series, and facts by the hour and by the day."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from costwhy import tables
from costwhy.errors import SourceError
from costwhy.ingest.cube import COSTS, spool_file
from costwhy.ingest.duck import Connection
from costwhy.ingest.raw_bill import ROW
from costwhy.lake.charges import LONGEST
from costwhy.sources.cost.columns import literal, quoted
from costwhy.text import HALF_CENT

MEASURES = tables.MEASURE_NAMES
_GOOD = "FROM charges WHERE reason IS NULL"
_PERIOD = "strftime(billing_period, '%Y-%m') AS billing_period"


def series_of(connection: Connection, expr: Mapping[str, str], numbered: str = "") -> pl.DataFrame:
    """The words of each combination of dimensions that counts, its hash `k`, and its series_id.

    expr      SQL of the dimensions in the view `raw`
    numbered  `RawBill.numbered`: the words are those of the first row of each combination. To
              compute them in all rows, a look-up of each tag included, takes twice as long
    """
    dims = ", ".join(map(quoted, tables.DIMENSION_NAMES))
    each = ", ".join(f"{expr[n]} AS {quoted(n)}" for n in tables.DIMENSION_NAMES)
    query = (
        f"SELECT * FROM (SELECT hash({dims}) AS k, * FROM (SELECT DISTINCT {each} FROM raw)) "
        f"WHERE k IN (SELECT k {_GOOD})"
    )
    if numbered:
        first = f'SELECT k AS "its k", min(place) AS "its place" {_GOOD} GROUP BY k'
        query = (
            f'SELECT "its k" AS k, {each} FROM {numbered} '
            f'JOIN ({first}) ON "its place" = {numbered}.{ROW}'
        )
    series: pl.DataFrame = connection.sql(query).pl()
    return series.with_columns(series_id=pl.Series(_ids(series), dtype=pl.Int64))


def _ids(series: pl.DataFrame) -> list[int]:
    """The first 63 bits of SHA-256 over the dimensions."""
    words = (
        "\x1f".join("\x00" if one is None else str(one) for one in row)
        for row in series.select(tables.DIMENSION_NAMES).iter_rows()
    )
    ids = [
        int.from_bytes(digest[:8], "big") >> 1
        for digest in (hashlib.sha256(text.encode()).digest() for text in words)
    ]
    if len(set(ids)) != series.height or series["k"].n_unique() != series.height:
        raise SourceError(
            "two combinations of dimensions have the same hash",
            fix="report this, with the two rows",
        )
    return ids


def write_facts(
    connection: Connection, series: pl.DataFrame, spool: Path
) -> tuple[Path | None, Path | None]:
    """The files of `hourly` and `daily`; null where no row counts. series: as `series_of` says."""
    if series.is_empty():
        return None, None
    connection.register("ids", series.select("k", "series_id"))
    hourly, daily = (spool_file(spool, name) for name in ("hourly", "daily"))
    sums = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
    by_hour = (
        "SELECT billing_period, date_trunc('hour', \"start\") AS hour, k, hours, "
        f"count(*) AS rows, {sums} {_GOOD} GROUP BY ALL"
    )
    _copy(
        connection,
        f"SELECT {_PERIOD}, timezone('UTC', hour) AS hour, series_id, "
        f"{', '.join(MEASURES)}, rows, hours FROM ({by_hour}) JOIN ids USING (k)",
        hourly,
    )
    _copy(
        connection,
        f"SELECT {_PERIOD}, timezone('UTC', day) AS day, series_id, ResourceId, "
        f"{', '.join(MEASURES)} FROM ({_by_day(connection, sums)}) JOIN ids USING (k)",
        daily,
    )
    return hourly, daily


def _by_day(connection: Connection, sums: str) -> str:
    """SQL of the rows of `daily`. A charge of several days is an equal part on each of them."""
    query = (
        "SELECT billing_period, date_trunc('day', \"start\") AS day, k, ResourceId, "
        f"greatest(24, hours) AS hours, {sums} {_GOOD} GROUP BY ALL"
    )
    days = f"least({LONGEST // 24}, (hours + 23) // 24)"
    ((longest,),) = connection.execute(f"SELECT max(hours) {_GOOD}").fetchall()
    if longest <= 24:
        return query
    shares = ", ".join(f"{name} / days AS {name}" for name in MEASURES)
    parts = (
        "SELECT billing_period, day + to_days(CAST(part AS INTEGER)) AS day, k, ResourceId, "
        f"{shares} FROM (SELECT *, {days} AS days, unnest(range({days})) AS part FROM ({query}))"
    )
    return f"SELECT billing_period, day, k, ResourceId, {sums} FROM ({parts}) GROUP BY ALL"


def _copy(connection: Connection, query: str, to: Path) -> None:
    connection.execute(f"COPY ({query}) TO {literal(str(to))} (FORMAT parquet)")


def refuse_lost_cents(totals: pl.DataFrame, hourly: Path | None, file: str) -> None:
    """Raises SourceError where the star's totals are not the file's own, to the cent."""
    if hourly is None:
        return
    star = pl.scan_parquet(hourly).group_by("billing_period").agg(pl.col(COSTS).sum())
    both = totals.join(
        star.collect(engine="streaming"), on="billing_period", how="full", suffix="_star"
    )
    for name in COSTS:
        off = (both[name].fill_null(0) - both[f"{name}_star"].fill_null(0)).abs().max()
        if isinstance(off, float) and off > HALF_CENT:
            raise SourceError(
                f"{file}: the reduction lost money in {name}",
                found=str(both.to_dicts()),
                fix="report this; nothing was written",
            )
