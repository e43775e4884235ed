"""One billing file to a star (`cube.py`).

DuckDB reads one file at a time in bounded memory. The dimensions are hashed once for each row, and
facts are grouped by the hash; the words themselves are kept once for each combination. Rows that
cannot be read are set aside with their reason. The star's totals must equal the file's for each
billing period and cost column, to the cent.
"""

import hashlib
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from costwhy import tables
from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.cells import ALONE, Beside, cell_of, cells_of, no_cells
from costwhy.ingest.cube import COSTS, Cube, fit_facts
from costwhy.lake.charges import LONGEST, spread
from costwhy.sources.cost.sql import literal
from costwhy.sources.format import Bill
from costwhy.text import HALF_CENT

MEASURES = tables.MEASURE_NAMES
EXAMPLES = 5  # Rows shown for each reason
DUCKDB: dict[str, Any] = {  # of every connection
    "memory_limit": "640MB",
    "threads": 2,
    "preserve_insertion_order": False,
}
_READ_CSV = (
    "all_varchar=true, header=true, delim=',', quote='\"', escape='\"', store_rejects=true, "
    "hive_partitioning=false, max_line_size=8388608"
)


Connection = duckdb.DuckDBPyConnection


def reduce_file(
    file: Path, bill: Bill, mapping: Mapping, currency: str, beside: Beside = ALONE
) -> Cube:
    """The star of one file.

    beside: what the other files of its part have to do with it

    Raises SourceError where the file cannot be read as a whole, or lacks a column.
    """
    tags = {
        "service": mapping.service_tags,
        "team": mapping.team_tags,
        "budget_owner": mapping.budget_tags,
    }
    try:
        with duckdb.connect(config=DUCKDB) as connection:
            columns = open_file(connection, file)
            expr = bill.expressions(columns, tags, partial(keys_in, connection))
            if beside.shares:
                expr = _split(connection, expr, beside.shares)
            if beside.without is not None:
                reason = reason_aside(expr, currency)
                _leave_out(connection, reason, cell_of(expr, beside.compared), beside.without)
            return replace(
                _star(connection, expr, currency, file),
                lacking=bill.lacking(columns),
                cells=_cells(connection, expr, columns, currency, beside.compared),
            )
    except duckdb.Error as error:
        raise SourceError(
            f"{file.name} cannot be read",
            found=str(error).splitlines()[0],
            fix="deliver the file again; the rest of the lake is as before",
        ) from error


def open_file(connection: Connection, file: Path) -> dict[str, str]:
    """A view `raw` of the file; its columns and their types."""
    name = literal(str(file).replace("[", "[[]"))
    read = (
        f"parquet({name}, hive_partitioning=false)"
        if file.suffix == ".parquet"
        else f"csv({name}, {_READ_CSV})"
    )
    connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
    connection.execute(f"CREATE TEMP VIEW raw AS SELECT * FROM read_{read}")
    return {
        str(name): str(kind) for name, kind, *_ in connection.execute("DESCRIBE raw").fetchall()
    }


def _split(connection: Connection, expr: MappingType[str, str], shares: Path) -> dict[str, str]:
    """The same, with the cost of instances split: each row finds its instance and hour."""
    source = f"read_parquet({literal(str(shares))})"
    key = f"coalesce({expr['share_of']}, {expr['instance']})"
    connection.execute("ALTER VIEW raw RENAME TO whole")
    connection.execute(
        f"CREATE TEMP VIEW raw AS SELECT whole.*, x_part, x_kept FROM whole "
        f"LEFT JOIN {source} ON x_instance = {key} AND x_start = {expr['start']}"
    )
    cost = expr["EffectiveCost"]
    split = (
        f"CASE WHEN x_kept IS NULL THEN {cost} WHEN {expr['share_of']} IS NULL "
        f"THEN {cost} * x_kept ELSE {cost} + {expr['share']} * x_part END"
    )
    return {**expr, "EffectiveCost": split}


def _leave_out(connection: Connection, reason: str, cell: str, without: pl.Series) -> None:
    """Rows of these cells are no more in the view `raw`; what is set aside anyway stays."""
    connection.register("elsewhere", pl.DataFrame({"cell": without}))
    connection.execute("ALTER VIEW raw RENAME TO every_row")
    connection.execute(
        f"CREATE TEMP VIEW raw AS SELECT * FROM every_row WHERE {reason} IS NOT NULL "
        f"OR {cell} NOT IN (SELECT cell FROM elsewhere)"
    )


def _cells(
    connection: Connection,
    expr: MappingType[str, str],
    columns: MappingType[str, str],
    currency: str,
    unit: str,
) -> pl.DataFrame:
    """The fingerprints of the rows that are not set aside, by day or by hour; or none."""
    if not unit:
        return no_cells()
    query = cells_of(expr, columns, unit, _length(expr))
    where = f"WHERE {reason_aside(expr, currency)} IS NULL GROUP BY ALL"
    cells: pl.DataFrame = connection.sql(f"{query} {where}").pl()
    return cells


def keys_in(connection: Connection, keys: str, names: Sequence[str]) -> set[str]:
    """Which of these names are in the lists that `keys` makes of each row."""
    found = ", ".join(f"bool_or(list_contains(k, {literal(name)}))" for name in names)
    row = (
        connection.execute(
            f"SELECT {found} FROM (SELECT DISTINCT {keys} AS k FROM raw)"
        ).fetchall()[0]
        if names
        else ()
    )
    return {name for name, occurs in zip(names, row, strict=True) if occurs}


def _star(connection: Connection, expr: MappingType[str, str], currency: str, file: Path) -> Cube:
    dims = ", ".join(expr[name] for name in tables.DIMENSION_NAMES)
    words = ", ".join(f"any_value({expr[n]}) AS {n}" for n in tables.DIMENSION_NAMES)
    sums = ", ".join(f"sum({expr[name]}) AS {name}" for name in tables.MEASURE_NAMES)
    costs = ", ".join(f"fsum({expr[name]}) AS {name}" for name in COSTS)
    period = f"strftime({expr['period']}, '%Y-%m') AS billing_period"
    hour, day = (f"date_trunc('{unit}', {expr['start']}) AS {unit}" for unit in ("hour", "day"))
    hours, days = _length(expr), f"greatest(24, {_length(expr)}) AS hours"
    hours = f"{hours} AS hours"
    key, resource = f"hash({dims}) AS k", f"{expr['ResourceId']} AS ResourceId"
    reason, note = reason_aside(expr, currency), f"{expr.get('note', 'NULL::VARCHAR')} AS note"
    every, good = (f"FROM raw {which} GROUP BY ALL" for which in ("", f"WHERE {reason} IS NULL"))
    control, series, hourly, daily = (
        connection.sql(query).pl()
        for query in (
            f"SELECT {period}, {reason} AS reason, {note}, {costs}, count(*) AS n {every}",
            f"SELECT {key}, {words} {good}",
            f"SELECT {period}, {hour}, {hours}, {key}, {sums}, count(*) AS rows {good}",
            f"SELECT {period}, {day}, {days}, {key}, {resource}, {sums} {good}",
        )
    )
    ids, good_rows = _series_ids(series), control.filter(pl.col("reason").is_null())
    cube = Cube(
        series=tables.SERIES.fit(series.join(ids, on="k").drop("k")),
        hourly=fit_facts(
            tables.HOURLY, hourly.join(ids, on="k").drop("k").with_columns(_utc("hour"))
        ),
        daily=fit_facts(tables.DAILY, _by_day(daily.join(ids, on="k").drop("k"))),
        set_aside=_aside(connection, reason, control, file),
        totals=good_rows.group_by("billing_period").agg(pl.col(COSTS).sum()),
        notes=good_rows.filter(pl.col("note").is_not_null())
        .group_by("note")
        .agg(pl.col("n", "BilledCost").sum()),
    )
    _refuse_lost_cents(cube, file)
    return cube


def reason_aside(expr: MappingType[str, str], currency: str) -> str:
    """SQL of why a row is set aside; null where it counts."""
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


def _length(expr: MappingType[str, str]) -> str:
    """SQL of the length of the charge period in whole hours, an hour at least."""
    seconds = f"epoch({expr['end']}) - epoch({expr['start']})"
    return f"CAST(greatest(1, least({LONGEST}, ceil(coalesce({seconds}, 0) / 3600))) AS BIGINT)"


def _by_day(daily: pl.DataFrame) -> pl.DataFrame:
    """A charge of several days as an equal part on each of them."""
    keys = ["billing_period", "day", "series_id", "ResourceId"]
    parts = spread(daily.with_columns(_utc("day")), "day").drop("hours", "part")
    if parts.height == daily.height:
        return parts
    sums = [pl.when(pl.col(n).count() > 0).then(pl.col(n).sum()).alias(n) for n in MEASURES]
    return parts.group_by(keys).agg(sums)


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


def _refuse_lost_cents(cube: Cube, file: Path) -> None:
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
