"""Line items to a star: series, hourly facts without resource, daily facts with it, an overview.

DuckDB reads one file at a time in bounded memory. The dimensions are hashed once for each row, and
facts are grouped by the hash; the words themselves are kept once for each combination. Rows that
cannot be read are set aside with their reason. The star's totals must equal the file's for each
billing period and cost column, to the cent.
"""

import hashlib
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from costwhy import tables
from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.sources.cost.sql import literal
from costwhy.sources.format import Bill
from costwhy.text import HALF_CENT

EXAMPLES = 5  # Rows shown for each reason
COSTS = tables.MEASURE_NAMES[:3]
DUCKDB: dict[str, Any] = {  # of every connection
    "memory_limit": "640MB",
    "threads": 2,
    "preserve_insertion_order": False,
}
_READ_CSV = (
    "all_varchar=true, header=true, delim=',', quote='\"', escape='\"', store_rejects=true, "
    "hive_partitioning=false, max_line_size=8388608"
)


@dataclass(frozen=True)
class FileCube:
    """One billing file, reduced. Frames are the lake's tables without `delivery`.

    totals   billing_period and the cost columns
    lacking  columns that the file lacks, and what that costs
    """

    series: pl.DataFrame
    hourly: pl.DataFrame
    daily: pl.DataFrame
    set_aside: pl.DataFrame
    totals: pl.DataFrame
    lacking: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, pl.DataFrame]:
        """The tables that hold the money, and what was seen, which follows from the hours."""
        keys = ["hour", "SubAccountId", "service"]
        wide = self.hourly.join(self.series.select("series_id", *keys[1:]), on="series_id")
        return {
            "hourly": self.hourly,
            "daily": self.daily,
            "overview": _fit(
                tables.OVERVIEW, wide.group_by(keys).agg(pl.col(COSTS).sum()).sort(keys)
            ),
            "seen": _fit(
                tables.SEEN,
                wide.group_by("hour", account="SubAccountId")
                .agg(records=pl.col("rows").sum())
                .sort("hour", "account")
                .with_columns(source=pl.lit("cost")),
            ),
        }


def _fit(table: tables.Table, frame: pl.DataFrame) -> pl.DataFrame:
    return table.fit(frame).drop("delivery")


Connection = duckdb.DuckDBPyConnection


def reduce_file(file: Path, bill: Bill, mapping: Mapping, currency: str) -> FileCube:
    """The star of one file.

    Raises SourceError where the file cannot be read as a whole, or lacks a column.
    """
    tags = {
        "service": mapping.service_tags,
        "team": mapping.team_tags,
        "budget_owner": mapping.budget_tags,
    }
    name = literal(str(file).replace("[", "[[]"))
    read = (
        f"parquet({name}, hive_partitioning=false)"
        if file.suffix == ".parquet"
        else f"csv({name}, {_READ_CSV})"
    )
    try:
        with duckdb.connect(config=DUCKDB) as connection:
            connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            connection.execute(f"CREATE TEMP VIEW raw AS SELECT * FROM read_{read}")
            columns = {
                str(name): str(kind)
                for name, kind, *_ in connection.execute("DESCRIBE raw").fetchall()
            }
            return replace(
                _star(
                    connection,
                    bill.expressions(columns, tags, partial(_keys_in, connection)),
                    currency,
                    file,
                ),
                lacking=bill.lacking(columns),
            )
    except duckdb.Error as error:
        raise SourceError(
            f"{file.name} cannot be read",
            found=str(error).splitlines()[0],
            fix="deliver the file again; the rest of the lake is as before",
        ) from error


def _keys_in(connection: Connection, keys: str, names: Sequence[str]) -> set[str]:
    found = ", ".join(f"bool_or(list_contains(k, {literal(name)}))" for name in names)
    row = (
        connection.execute(
            f"SELECT {found} FROM (SELECT DISTINCT {keys} AS k FROM raw)"
        ).fetchall()[0]
        if names
        else ()
    )
    return {name for name, occurs in zip(names, row, strict=True) if occurs}


def _star(
    connection: Connection, expr: MappingType[str, str], currency: str, file: Path
) -> FileCube:
    dims = ", ".join(expr[name] for name in tables.DIMENSION_NAMES)
    words = ", ".join(f"any_value({expr[n]}) AS {n}" for n in tables.DIMENSION_NAMES)
    sums = ", ".join(f"sum({expr[name]}) AS {name}" for name in tables.MEASURE_NAMES)
    costs = ", ".join(f"fsum({expr[name]}) AS {name}" for name in COSTS)
    period = f"strftime({expr['period']}, '%Y-%m') AS billing_period"
    hour, day = (f"date_trunc('{unit}', {expr['start']}) AS {unit}" for unit in ("hour", "day"))
    key, resource = f"hash({dims}) AS k", f"{expr['ResourceId']} AS ResourceId"
    reason = _reason(expr, currency)
    good = f"FROM raw WHERE {reason} IS NULL GROUP BY ALL"
    control, series, hourly, daily = (
        connection.sql(query).pl()
        for query in (
            f"SELECT {period}, {reason} AS reason, {costs}, count(*) AS n FROM raw GROUP BY ALL",
            f"SELECT {key}, {words} {good}",
            f"SELECT {period}, {hour}, {key}, {sums}, count(*) AS rows {good}",
            f"SELECT {period}, {day}, {key}, {resource}, {sums} {good}",
        )
    )
    ids = _series_ids(series)
    cube = FileCube(
        series=tables.SERIES.fit(series.join(ids, on="k").drop("k")),
        hourly=_fit(tables.HOURLY, hourly.join(ids, on="k").drop("k").with_columns(_utc("hour"))),
        daily=_fit(tables.DAILY, daily.join(ids, on="k").drop("k").with_columns(_utc("day"))),
        set_aside=_aside(connection, reason, control, file),
        totals=control.filter(pl.col("reason").is_null()).select("billing_period", *COSTS),
    )
    _refuse_lost_cents(cube, file)
    return cube


def _reason(expr: MappingType[str, str], currency: str) -> str:
    finite = " ".join(
        f"WHEN {expr[n]} IS NULL OR NOT isfinite({expr[n]}) THEN '{n} is missing or no number'"
        for n in ("EffectiveCost", "BilledCost")
    )
    unit, other = literal(currency), expr["BillingCurrency"]
    return (
        f"(CASE WHEN {expr['start']} IS NULL OR {expr['period']} IS NULL "
        f"THEN 'the charge period is missing or no time' {finite} "
        f"WHEN coalesce({other}, {unit}) <> {unit} "
        f"THEN 'in ' || {other} || ', the workspace is in {currency}' END)"
    )


def _utc(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _series_ids(series: pl.DataFrame) -> pl.DataFrame:
    """Columns k and series_id: the first 63 bits of SHA-256 over the dimensions."""
    words = (
        "\x1f".join("\x00" if one is None else str(one) for one in row)
        for row in series.select(tables.DIMENSION_NAMES).iter_rows()
    )
    ids = [
        int.from_bytes(digest[:8], "big") >> 1
        for digest in (hashlib.sha256(text.encode()).digest() for text in words)
    ]
    if len(set(ids)) != series.height:
        raise SourceError(
            "two combinations of dimensions have the same hash",
            fix="report this, with the two rows",
        )
    return series.select("k").with_columns(series_id=pl.Series(ids, dtype=pl.Int64))


def _aside(connection: Connection, reason: str, control: pl.DataFrame, file: Path) -> pl.DataFrame:
    counts = (
        control.filter(pl.col("reason").is_not_null())
        .group_by("reason")
        .agg(pl.col("n").sum())
        .sort("reason")
    )
    rows: list[dict[str, object]] = []
    for why, count in counts.iter_rows():
        query = f"SELECT CAST(to_json(raw) AS VARCHAR) FROM raw WHERE {reason} = {literal(why)}"
        record = " | ".join(
            str(text)[:200]
            for (text,) in connection.execute(f"{query} LIMIT {EXAMPLES}").fetchall()
        )
        rows.append({"reason": why, "record": record, "records": count})
    if file.suffix != ".parquet":
        query = "SELECT line, error_message, csv_line FROM reject_errors"
        for line, message, text in connection.execute(query).fetchall()[:1000]:
            why, record = f"not CSV: {str(message).splitlines()[0]}", str(text)[:300]
            rows.append({"place": f"line {line}", "reason": why, "record": record, "records": 1})
    return (
        pl.DataFrame(rows, schema=tables.SET_ASIDE.schema)
        .drop("delivery")
        .with_columns(source=pl.lit("cost"), file=pl.lit(file.name))
    )


def _refuse_lost_cents(cube: FileCube, file: Path) -> None:
    """Raises SourceError where the star's totals are not the file's own, to the cent."""
    both = cube.totals.join(
        cube.hourly.group_by("billing_period").agg(pl.col(COSTS).sum()),
        on="billing_period",
        how="left",
        suffix="_star",
    )
    for name in COSTS:
        off = (both[name] - both[f"{name}_star"]).abs().max()
        if isinstance(off, float) and off > HALF_CENT:
            raise SourceError(
                f"{file.name}: the reduction lost money in {name}",
                found=str(both.to_dicts()),
                fix="report this; nothing was written",
            )


def of_period(cube: FileCube, month: str) -> FileCube:
    """The part of a cube that belongs to one billing period."""
    return replace(
        cube,
        **{n: getattr(cube, n).filter(billing_period=month) for n in ("hourly", "daily", "totals")},
    )


def merge(cubes: Sequence[FileCube]) -> FileCube:
    """The files of one delivery together; an hour that is split over files is added up."""
    if len(cubes) == 1:
        return cubes[0]
    return FileCube(
        series=pl.concat([c.series for c in cubes]).unique("series_id").sort("series_id"),
        hourly=_added([c.hourly for c in cubes], "billing_period", "hour", "series_id"),
        daily=_added([c.daily for c in cubes], "billing_period", "day", "series_id", "ResourceId"),
        set_aside=pl.concat([c.set_aside for c in cubes]),
        totals=_added([c.totals for c in cubes], "billing_period"),
        lacking=tuple(dict.fromkeys(one for c in cubes for one in c.lacking)),
    )


def _added(frames: Sequence[pl.DataFrame], *keys: str) -> pl.DataFrame:
    whole = pl.concat(frames)
    sums = [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
        for name in whole.columns
        if name not in keys
    ]
    return whole.group_by(keys).agg(sums).select(whole.columns).sort(keys)
