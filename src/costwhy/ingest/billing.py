"""One billing file to a star (`cube.py`).

DuckDB reads one file at a time in bounded memory. The dimensions are hashed once for each row, and
facts are grouped by the hash; the words themselves are kept once for each combination. Rows that
cannot be read are set aside with their reason. The star's totals must equal the file's for each
billing period and cost column, to the cent.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from costwhy import tables
from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.cube import COSTS, Cube, fit_facts
from costwhy.ingest.raw_bill import Connection, RawBill, Tags, explained, open_raw
from costwhy.lake.charges import LONGEST, spread
from costwhy.sources.cost.columns import Columns
from costwhy.sources.cost.spelling import find_spelling
from costwhy.sources.cost.sql import is_written, literal, number, quoted, time
from costwhy.sources.cost.tags import KUBERNETES
from costwhy.sources.format import Bill
from costwhy.text import HALF_CENT, shortened

MEASURES = tables.MEASURE_NAMES
EXAMPLES = 5  # Rows shown for each reason
DUCKDB: dict[str, Any] = {  # of every connection
    "memory_limit": "640MB",
    "threads": 2,
    "preserve_insertion_order": False,
}
QUIET = "SET enable_progress_bar = false; SET TimeZone = 'UTC'"  # of every connection
ABSENT = "the charge period is missing or no time"
NO_CURRENCY = "its currency is missing"
_NO_ROW = "no row"  # the reason of rows that are none


class _Unread(Exception):  # noqa: N818 - no fault: the file is read in another way
    """DuckDB did not read each line of a CSV file."""


def reduce_file(
    file: Path, bill: Bill, mapping: Mapping, currency: str, shares: Path | None = None
) -> Cube:
    """The star of one file, or of a member of an archive, `archive.zip/member.csv`.

    shares: how the cost of instances is split among what ran on them (`split.find_shares`)

    Raises SourceError where the file cannot be read as a whole, or lacks a column.
    """
    tags = {
        "service": mapping.service_tags,
        "team": mapping.team_tags,
        "budget_owner": mapping.budget_tags,
        KUBERNETES: mapping.kubernetes_tags,
    }
    with (
        explained(file),
        tempfile.TemporaryDirectory(prefix="costwhy-") as spool,
        duckdb.connect(config=DUCKDB) as connection,
    ):
        connection.execute(QUIET)
        fault: Exception | None = None
        for raw in open_raw(connection, file, bill, Path(spool)):
            try:
                return _reduce(connection, raw, bill, tags, shares, currency)
            except (duckdb.Error, _Unread) as error:
                fault = error
        raise fault if isinstance(fault, duckdb.Error) else duckdb.InvalidInputException(str(fault))


def _join_shares(connection: Connection, expr: MappingType[str, str], shares: Path) -> None:
    """Gives each row of `raw` what is split of its instance and hour: x_part, x_kept."""
    connection.execute("DROP VIEW IF EXISTS whole; ALTER VIEW raw RENAME TO whole")
    connection.execute(
        f"CREATE TEMP VIEW raw AS SELECT whole.*, x_part, x_kept FROM whole "
        f"LEFT JOIN read_parquet({literal(str(shares))}) "
        f"ON x_instance = {expr['instance']} AND x_start = {expr['start']}"
    )


def _split(expr: MappingType[str, str]) -> dict[str, str]:
    """The same, with the cost of instances split as `_join_shares` says."""
    cost, used, is_share = (expr[n] for n in ("EffectiveCost", "ConsumedQuantity", "is_share"))
    kept = f"WHEN NOT ({is_share}) THEN"
    return {
        **expr,
        "EffectiveCost": f"CASE WHEN x_kept IS NULL THEN {cost} {kept} ({cost}) * x_kept "
        f"ELSE ({cost}) + ({expr['share']}) * x_part END",
        "ConsumedQuantity": f"CASE {kept} ({used}) * coalesce(x_kept, 1) ELSE {used} END",
    }


def _reduce(
    connection: Connection, raw: RawBill, bill: Bill, tags: Tags, shares: Path | None, currency: str
) -> Cube:
    def expressions(columns: Columns) -> MappingType[str, str]:
        expr = bill.expressions(columns, tags, partial(asked, connection))
        return _split(expr) if shares else expr

    columns = Columns(raw.kinds)
    shares = shares if bill.splits and bill.splits(columns) else None
    if shares:
        _join_shares(connection, bill.expressions(columns, {}, partial(asked, connection)), shares)
    expr = expressions(columns)
    control = _control(connection, raw, columns, expr, currency)
    if any(control[name].sum() for name in control.columns if name.startswith("unread ")):
        columns = Columns(raw.kinds, find_spelling(partial(_one, connection), columns, raw.place))
        expr = expressions(columns)
        control = _control(connection, raw, columns, expr, currency)
    _refuse_no_currency(control, raw.file, currency)
    cube = _star(connection, raw, expr, control, currency)
    return replace(
        cube,
        lacking=bill.lacking(raw.kinds),
        notes=(*raw.notes, *_unreadable(connection, raw, columns, control)),
    )


def _one(connection: Connection, expressions: str) -> tuple[object, ...]:
    row: tuple[object, ...] = connection.execute(f"SELECT {expressions} FROM raw").fetchall()[0]
    return row


def asked(
    connection: Connection, sql: str, parameters: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a query, for `Bill.expressions`."""
    return connection.execute(sql, parameters).fetchall()


def _control(
    connection: Connection,
    raw: RawBill,
    columns: Columns,
    expr: MappingType[str, str],
    currency: str,
) -> pl.DataFrame:
    """Sums by period, reason and currency, `n` rows; `unread NAME`: of NAME no number or time."""
    reason = reason_aside(expr, currency, raw.empty)
    costs = ", ".join(f"fsum({expr[n]}) FILTER (isfinite({expr[n]})) AS {n}" for n in COSTS)
    unread = "".join(
        f", count(*) FILTER ({read(columns, name)} IS NULL AND {is_written(columns, name)}) "
        f"AS {quoted(f'unread {name}')}"
        for read, names in ((number, columns.asked.numbers), (time, columns.asked.times))
        for name in sorted(names)
        if raw.kinds[name] in {"VARCHAR", "DOUBLE", "FLOAT"}
    )
    frame = _rows(
        connection,
        f"SELECT {_period(expr)}, {reason} AS reason, {expr.get('note', 'NULL::VARCHAR')} AS note, "
        f"CASE WHEN {reason} IS NOT NULL THEN {_currency(expr)} END AS BillingCurrency, "
        f"{costs}, count(*) AS n{unread} FROM raw GROUP BY ALL",
    )
    _refuse_unread(connection, raw)
    return frame


def _refuse_unread(connection: Connection, raw: RawBill) -> None:
    """Raises _Unread where lines of a CSV file were left out."""
    if (
        raw.is_original
        and connection.execute("SELECT count(*) FROM reject_errors").fetchall()[0][0]
    ):
        message = connection.execute("SELECT any_value(error_message) FROM reject_errors")
        raise _Unread(str(message.fetchall()[0][0]))


def _period(expr: MappingType[str, str]) -> str:
    return f"date_trunc('month', {expr['period']}) AS billing_period"


def _rows(connection: Connection, query: str) -> pl.DataFrame:
    """The rows of a query; a billing period is YYYY-MM."""
    frame: pl.DataFrame = connection.sql(query).pl()
    if "billing_period" not in frame.columns:
        return frame
    return frame.with_columns(pl.col("billing_period").dt.strftime("%Y-%m"))


def _currency(expr: MappingType[str, str]) -> str:
    return f"upper(trim({expr['BillingCurrency']}))"


def _refuse_no_currency(control: pl.DataFrame, file: Path, currency: str) -> None:
    """Raises SourceError where no row names its currency."""
    control = control.filter(pl.col("reason").ne_missing(pl.lit(_NO_ROW)))
    without = control.filter(pl.col("BillingCurrency").is_null())
    if (
        control.height
        and without["reason"].is_in([NO_CURRENCY, ABSENT]).fill_null(False).sum()
        == (control.height)
        and (without["reason"] == NO_CURRENCY).any()
    ):
        raise SourceError(
            f"{file.name}: no row names its currency",
            found="the column of the currency is empty",
            fix=f"fill it with the code of the currency, such as {currency}",
        )


def _unreadable(
    connection: Connection, raw: RawBill, columns: Columns, control: pl.DataFrame
) -> Iterator[str]:
    """What is said of amounts that are no numbers, in rows that count."""
    good = control.filter(pl.col("reason").is_null())
    for name in sorted(columns.asked.numbers):
        count = good[f"unread {name}"].sum() if f"unread {name}" in good.columns else 0
        if count:
            words = _one(
                connection,
                f"array_to_string(list_sort(list(DISTINCT CAST({quoted(name)} AS VARCHAR)) FILTER "
                f"({number(columns, name)} IS NULL AND {is_written(columns, name)}))[:3], ', ')",
            )[0]
            examples = shortened(str(words), 60)
            yield (
                f"{raw.file.name}: {count} {'row has' if count == 1 else 'rows have'} no readable "
                f"{name} ({examples}): left out of its sum"
            )


def _star(
    connection: Connection,
    raw: RawBill,
    expr: MappingType[str, str],
    control: pl.DataFrame,
    currency: str,
) -> Cube:
    dims = ", ".join(expr[name] for name in tables.DIMENSION_NAMES)
    words = ", ".join(f"any_value({expr[n]}) AS {n}" for n in tables.DIMENSION_NAMES)
    sums = ", ".join(f"sum({expr[name]}) AS {name}" for name in tables.MEASURE_NAMES)
    hour, day = (f"date_trunc('{unit}', {expr['start']}) AS {unit}" for unit in ("hour", "day"))
    hours, days = _length(expr), f"greatest(24, {_length(expr)}) AS hours"
    hours = f"{hours} AS hours"
    key, resource = f"hash({dims}) AS k", f"{expr['ResourceId']} AS ResourceId"
    reason, period = reason_aside(expr, currency, raw.empty), _period(expr)
    bad = control["reason"].null_count() < control.height
    good = f"FROM raw {f'WHERE {reason} IS NULL ' if bad else ''}GROUP BY ALL"
    series, hourly, daily = (
        _rows(connection, query)
        for query in (
            f"SELECT {key}, {words} {good}",
            f"SELECT {period}, {hour}, {hours}, {key}, {sums}, count(*) AS rows {good}",
            f"SELECT {period}, {day}, {days}, {key}, {resource}, {sums} {good}",
        )
    )
    _refuse_unread(connection, raw)
    ids, good_rows = _series_ids(series), control.filter(pl.col("reason").is_null())
    cube = Cube(
        series=tables.SERIES.fit(series.join(ids, on="k").drop("k")),
        hourly=fit_facts(
            tables.HOURLY, hourly.join(ids, on="k").drop("k").with_columns(_utc("hour"))
        ),
        daily=fit_facts(tables.DAILY, _by_day(daily.join(ids, on="k").drop("k"))),
        set_aside=_aside(connection, raw, reason, control),
        totals=good_rows.group_by("billing_period").agg(pl.col(COSTS).sum()),
        odd=good_rows.filter(pl.col("note").is_not_null())
        .group_by("note")
        .agg(pl.col("n", "BilledCost").sum()),
    )
    _refuse_lost_cents(cube, raw.file)
    return cube


def reason_aside(expr: MappingType[str, str], currency: str, empty: str) -> str:
    """SQL of why a row is set aside; null where it counts. empty: SQL, whether it is no row."""
    finite = " ".join(
        f"WHEN {expr[n]} IS NULL OR NOT isfinite({expr[n]}) THEN '{n} is missing or no number'"
        for n in ("EffectiveCost", "BilledCost")
    )
    unit, other, aside = literal(currency), _currency(expr), expr.get("aside", "NULL")
    return (
        f"(CASE WHEN {expr['start']} IS NULL OR {expr['period']} IS NULL "
        f"THEN CASE WHEN {empty} THEN '{_NO_ROW}' ELSE '{ABSENT}' END {finite} "
        f"WHEN {expr['BillingCurrency']} = {unit} THEN {aside} "
        f"WHEN {other} IS NULL THEN '{NO_CURRENCY}' "
        f"WHEN {other} <> {unit} THEN 'in ' || {other} || ', the workspace is in {currency}' "
        f"ELSE {aside} END)"
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


def _aside(
    connection: Connection, raw: RawBill, reason: str, control: pl.DataFrame
) -> pl.DataFrame:
    """What was set aside, with its money where that can be read, by reason, period, currency."""
    keys = ["reason", "billing_period", "BillingCurrency"]
    bad = (
        control.filter(pl.col("reason").fill_null(_NO_ROW) != _NO_ROW)
        .group_by(keys)
        .agg(
            pl.col("n").sum(),
            *(pl.when(pl.col(c).count() > 0).then(pl.col(c).sum()).alias(c) for c in COSTS),
        )
        .sort(keys)
    )
    examples = {
        why: " | ".join(
            str(text)[:200]
            for (text,) in connection.execute(
                f"SELECT CAST(to_json(raw) AS VARCHAR) FROM raw WHERE {reason} = {literal(why)} "
                f"LIMIT {EXAMPLES}"
            ).fetchall()
        )
        for why in bad["reason"].unique()
    }
    rows = bad.with_columns(
        record=pl.col("reason").replace_strict(examples, return_dtype=pl.String), records="n"
    )
    known = [name for name in tables.SET_ASIDE.schema if name in rows.columns]
    own = tables.SET_ASIDE.fit(rows.select(known))
    return (
        pl.concat([own, *([raw.aside] if raw.aside is not None else [])])
        .drop("delivery")
        .with_columns(source=pl.lit("cost"), file=pl.lit(raw.file.name))
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
