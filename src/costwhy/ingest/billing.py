"""Line items to a star: series and hourly facts without resource, daily facts with resource, a small table for the first chart.

DuckDB reads one file at a time in bounded memory. The dimensions are hashed once for each row, and facts are grouped by the
hash; the words themselves are kept once for each combination. Rows that cannot be read are set aside with their reason. The
star's totals are held against the file's for each billing period and cost column, to the cent.
"""

import hashlib
from collections.abc import Mapping as MappingType
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import polars as pl

from costwhy import tables
from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.sources.cost import cur, focus
from costwhy.text import HALF_CENT

MEMORY = "640MB"
THREADS = 2
EXAMPLES = 5  # rows shown for each reason
COSTS = tables.MEASURE_NAMES[:3]


@dataclass(frozen=True)
class FileCube:
    """One billing file, reduced. Frames are the lake's tables without `delivery`; `totals`: billing_period and the cost columns."""

    series: pl.DataFrame
    hourly: pl.DataFrame
    daily: pl.DataFrame
    overview: pl.DataFrame
    seen: pl.DataFrame
    set_aside: pl.DataFrame
    totals: pl.DataFrame
    rows: int
    rows_set_aside: int
    lacking: tuple[str, ...] = ()  # columns that the file lacks, and what that costs


def reduce_file(file: Path, form: str, mapping: Mapping, currency: str) -> FileCube:
    """The star of one file. form: focus, cur2 or cur. Raises SourceError where the file cannot be read as a whole, or lacks a column."""
    try:
        with duckdb.connect(config={"memory_limit": MEMORY, "threads": THREADS, "preserve_insertion_order": False}) as connection:
            connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
            rejects = _open(connection, file)
            star = _star(connection, _expressions(connection, form, mapping), currency, (file, rejects))
            return replace(star, lacking=focus.lacking(_columns(connection)) if form == "focus" else ())
    except duckdb.Error as error:
        found = str(error).splitlines()[0]
        raise SourceError(
            f"{file.name} cannot be read", found=found, todo="deliver the file again; the rest of the lake is as before"
        ) from error


def _open(connection: duckdb.DuckDBPyConnection, file: Path) -> bool:
    """A view `raw` over the file; true where lines that are no CSV are kept in a table of rejects."""
    path = focus.literal(str(file).replace("[", "[[]") if any(ch in str(file) for ch in "*?[") else str(file))
    if file.suffix == ".parquet":
        connection.execute(f"CREATE TEMP VIEW raw AS SELECT * FROM read_parquet({path}, hive_partitioning=false)")
        return False
    options = "all_varchar=true, header=true, delim=',', quote='\"', escape='\"', store_rejects=true, hive_partitioning=false, max_line_size=8388608"
    connection.execute(f"CREATE TEMP VIEW raw AS SELECT * FROM read_csv({path}, {options})")
    return True


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return {str(name): str(kind) for name, kind, *_ in connection.execute("DESCRIBE raw").fetchall()}


def _expressions(connection: duckdb.DuckDBPyConnection, form: str, mapping: Mapping) -> dict[str, str]:
    columns = _columns(connection)
    wanted = {"service": mapping.service_tags, "team": mapping.team_tags, "budget_owner": mapping.budget_tags}
    if form == "focus":
        present = _present(connection, columns, [key for keys in wanted.values() for key in keys])
        return focus.expressions(
            columns,
            {name: [p + key for key in keys for p in focus.TAG_PREFIXES if p + key in present] for name, keys in wanted.items()},
        )
    return cur.expressions(columns, wanted)


def _present(connection: duckdb.DuckDBPyConnection, columns: MappingType[str, str], keys: Sequence[str]) -> set[str]:
    """Which of the wanted tag keys occur at all: looking up a key in every row's map is what costs."""
    if "Tags" not in columns:
        return set()
    names = sorted({prefix + key for key in keys for prefix in focus.TAG_PREFIXES})
    listed = ", ".join(f"bool_or(list_contains(k, {focus.literal(name)}))" for name in names)
    row = connection.execute(f"SELECT {listed} FROM (SELECT DISTINCT {focus.tag_keys(columns, 'Tags')} AS k FROM raw)").fetchall()[0]
    return {name for name, found in zip(names, row, strict=True) if found}


def _frame(connection: duckdb.DuckDBPyConnection, query: str) -> pl.DataFrame:
    frame: pl.DataFrame = connection.sql(query).pl()
    return frame


def _star(connection: duckdb.DuckDBPyConnection, expr: MappingType[str, str], currency: str, origin: tuple[Path, bool]) -> FileCube:
    dims = ", ".join(expr[name] for name in tables.DIMENSION_NAMES)
    reason = _reason(expr, currency)
    sums = ", ".join(f"sum({expr[name]}) AS {name}" for name in tables.MEASURE_NAMES)
    period, hour = (
        f"strftime({expr['period']}, '%Y-%m') AS billing_period",
        f"date_trunc('hour', {expr['start']}) AS hour",
    )
    good = f"FROM raw WHERE {reason} IS NULL"
    control = _frame(
        connection,
        f"SELECT {period}, {reason} AS reason, {', '.join(f'fsum({expr[name]}) AS {name}' for name in COSTS)}, count(*) AS n FROM raw GROUP BY ALL",
    )
    series = _frame(
        connection,
        f"SELECT hash({dims}) AS k, {', '.join(f'any_value({expr[n]}) AS {n}' for n in tables.DIMENSION_NAMES)} {good} GROUP BY ALL",
    )
    hourly = _frame(connection, f"SELECT {period}, {hour}, hash({dims}) AS k, {sums}, count(*) AS rows {good} GROUP BY ALL")
    daily = _frame(
        connection,
        f"SELECT {period}, date_trunc('day', {expr['start']}) AS day, hash({dims}) AS k, {expr['ResourceId']} AS ResourceId, {sums} {good} GROUP BY ALL",
    )
    aside = _aside(connection, reason, control, origin)
    ids = _series_ids(series)
    hourly, daily = (frame.join(ids, on="k").drop("k") for frame in (hourly, daily))
    good_rows = control.filter(pl.col("reason").is_null())
    cube = FileCube(
        tables.SERIES.fit(series.join(ids, on="k").drop("k")),
        _utc(hourly, "hour", tables.HOURLY),
        _utc(daily, "day", tables.DAILY),
        tables.OVERVIEW.empty().drop("delivery"),
        tables.SEEN.empty().drop("delivery"),
        aside,
        good_rows.select("billing_period", *COSTS),
        int(control["n"].sum()),
        int(aside["records"].sum()),
    )
    _hold(cube, origin[0])
    return _with_overview(cube)


def _reason(expr: MappingType[str, str], currency: str) -> str:
    """Why a row cannot be read; null for a good one."""
    finite = " ".join(
        f"WHEN {expr[n]} IS NULL OR NOT isfinite({expr[n]}) THEN '{n} is missing or no number'" for n in ("EffectiveCost", "BilledCost")
    )
    other = f"WHEN coalesce({expr['BillingCurrency']}, {focus.literal(currency)}) <> {focus.literal(currency)} THEN 'in ' || {expr['BillingCurrency']} || ', the workspace is in {currency}'"
    return f"(CASE WHEN {expr['start']} IS NULL OR {expr['period']} IS NULL THEN 'the charge period is missing or no time' {finite} {other} END)"


def _utc(frame: pl.DataFrame, column: str, table: tables.Table) -> pl.DataFrame:
    return table.fit(frame.with_columns(pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))).drop("delivery")


def _series_ids(series: pl.DataFrame) -> pl.DataFrame:
    """k and series_id: the first 63 bits of SHA-256 over the dimensions, the same in every delivery and on every machine."""

    def number(row: tuple[object, ...]) -> int:
        words = "\x1f".join("\x00" if value is None else str(value) for value in row)
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1

    ids = [number(row) for row in series.select(tables.DIMENSION_NAMES).iter_rows()]
    if len(set(ids)) != series.height:
        raise SourceError("two combinations of dimensions have the same hash", todo="report this, with the two rows")
    return series.select("k").with_columns(series_id=pl.Series(ids, dtype=pl.Int64))


def _aside(connection: duckdb.DuckDBPyConnection, reason: str, control: pl.DataFrame, origin: tuple[Path, bool]) -> pl.DataFrame:
    file, rejects = origin
    rows = []
    for why, count in control.filter(pl.col("reason").is_not_null()).group_by("reason").agg(pl.col("n").sum()).sort("reason").iter_rows():
        shown = connection.execute(
            f"SELECT CAST(to_json(raw) AS VARCHAR) FROM raw WHERE {reason} = {focus.literal(why)} LIMIT {EXAMPLES}"
        ).fetchall()
        rows.append({"file": file.name, "reason": why, "record": " | ".join(str(r[0])[:200] for r in shown), "records": count})
    if rejects:
        bad = connection.execute("SELECT line, error_message, csv_line FROM reject_errors").fetchall()
        rows += [
            {
                "file": file.name,
                "place": f"line {line}",
                "reason": f"not CSV: {str(message).splitlines()[0]}",
                "record": str(text)[:300],
                "records": 1,
            }
            for line, message, text in bad[:1000]
        ]
    return tables.SET_ASIDE.fit(
        pl.DataFrame(
            rows,
            schema={n: t for n, t in tables.SET_ASIDE.schema.items() if n in {"file", "place", "reason", "record", "records"}},
        ).with_columns(source=pl.lit("cost"))
    ).drop("delivery")


def _hold(cube: FileCube, file: Path) -> None:
    """The star's totals against the file's own, for each period and cost column. Raises SourceError where a cent is lost."""
    star = cube.hourly.group_by("billing_period").agg(pl.col(COSTS).sum())
    both = cube.totals.join(star, on="billing_period", how="left", suffix="_star")
    off = [name for name in COSTS if both.height and (both[name] - both[f"{name}_star"]).abs().max() > HALF_CENT]  # type: ignore[operator]
    if off:
        raise SourceError(
            f"{file.name}: the reduction lost money in {off[0]}",
            found=str(both.to_dicts()),
            todo="report this; nothing was written",
        )


def _with_overview(cube: FileCube) -> FileCube:
    """Adds the small table for the first chart, and the count of rows by account and hour, both from the hourly facts."""
    wide = cube.hourly.join(cube.series.select("series_id", "SubAccountId", "service"), on="series_id")
    overview = wide.group_by("hour", "SubAccountId", "service").agg(pl.col(COSTS).sum()).sort("hour", "SubAccountId", "service")
    seen = (
        wide.group_by("hour", account="SubAccountId")
        .agg(records=pl.col("rows").sum())
        .sort("hour", "account")
        .with_columns(source=pl.lit("cost"))
    )
    return FileCube(
        cube.series,
        cube.hourly,
        cube.daily,
        tables.OVERVIEW.fit(overview).drop("delivery"),
        tables.SEEN.fit(seen).drop("delivery"),
        cube.set_aside,
        cube.totals,
        cube.rows,
        cube.rows_set_aside,
    )


def merge(cubes: Sequence[FileCube]) -> FileCube:
    """The files of one delivery together: partial sums of an hour that is split over files are added."""
    if len(cubes) == 1:
        return cubes[0]

    def added(name: str, keys: list[str]) -> pl.DataFrame:
        frame: pl.DataFrame = pl.concat([getattr(c, name) for c in cubes])
        measures = [c for c in frame.columns if c not in keys]
        absent = [pl.when(pl.col(c).count() > 0).then(pl.col(c).sum()).alias(c) for c in measures]  # a sum over nulls only is null
        return frame.group_by(keys).agg(absent).select(frame.columns).sort(keys)

    return FileCube(
        pl.concat([c.series for c in cubes]).unique("series_id").sort("series_id"),
        added("hourly", ["billing_period", "hour", "series_id"]),
        added("daily", ["billing_period", "day", "series_id", "ResourceId"]),
        added("overview", ["hour", "SubAccountId", "service"]),
        added("seen", ["source", "account", "hour"]),
        pl.concat([c.set_aside for c in cubes]),
        added("totals", ["billing_period"]),
        sum(c.rows for c in cubes),
        sum(c.rows_set_aside for c in cubes),
        tuple(dict.fromkeys(one for c in cubes for one in c.lacking)),
    )
