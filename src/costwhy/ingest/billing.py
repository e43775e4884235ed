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
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from costwhy import tables
from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.cells import ALONE, Beside, cell_of, cells, leave_out, no_cells, row_ids
from costwhy.ingest.cube import COSTS, Cube, fit_facts
from costwhy.ingest.raw_bill import Connection, RawBill, Tags, explained, open_raw
from costwhy.ingest.typed import ABSENT, NO_CURRENCY, NO_ROW, typed, unread
from costwhy.lake.charges import LONGEST, spread
from costwhy.sources.cost.columns import Columns
from costwhy.sources.cost.spelling import find_spelling
from costwhy.sources.cost.sql import is_written, literal, number, quoted
from costwhy.sources.cost.tags import KUBERNETES
from costwhy.sources.format import Bill
from costwhy.text import HALF_CENT, shortened

MEASURES = tables.MEASURE_NAMES
EXAMPLES = 5  # Rows shown for each reason
DUCKDB: dict[str, Any] = {  # of every connection
    "memory_limit": "640MB",
    "threads": 2,
    "preserve_insertion_order": False,
    # makes a join of each list of words for nothing: a second and 600 MB for a file of ten rows
    "disabled_optimizers": "in_clause",
}


class _Unread(Exception):  # noqa: N818 - no fault: the file is read in another way
    """DuckDB did not read each line of a CSV file."""


def reduce_file(
    file: Path, bill: Bill, mapping: Mapping, currency: str, beside: Beside = ALONE
) -> Cube:
    """The star of one file, or of a member of an archive, `archive.zip/member.csv`.

    beside: what the other files of its part have to do with it

    Raises SourceError where the file cannot be read as a whole, or lacks a column.
    """
    tags = {
        "service": mapping.service_tags,
        "team": mapping.team_tags,
        "budget_owner": mapping.budget_tags,
        KUBERNETES: mapping.kubernetes_tags,
    }
    with explained(file), opened() as (connection, spool):
        fault: Exception | None = None
        for raw in open_raw(connection, file, bill, spool):
            try:
                return _reduce(connection, raw, bill, tags, beside, currency)
            except (duckdb.Error, _Unread) as error:
                fault = error
        raise fault if isinstance(fault, duckdb.Error) else duckdb.InvalidInputException(str(fault))


@contextmanager
def opened() -> Iterator[tuple[Connection, Path]]:
    """A DuckDB of bounded memory, and a folder that is there as long."""
    with (
        tempfile.TemporaryDirectory(prefix="costwhy-") as folder,
        duckdb.connect(config={**DUCKDB, "temp_directory": folder}) as connection,
    ):
        connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        yield connection, Path(folder)


@dataclass(frozen=True)
class _Read:
    """A file, read.

    query    SQL with a row for each of its rows (`typed.typed`)
    control  sums by period, reason and currency, `n` rows; `unread NAME`: of NAME no number or time
    """

    connection: Connection
    raw: RawBill
    columns: Columns
    expr: MappingType[str, str]
    query: str
    control: pl.DataFrame


def _reduce(
    connection: Connection, raw: RawBill, bill: Bill, tags: Tags, beside: Beside, currency: str
) -> Cube:
    def read(columns: Columns) -> _Read:
        expr = bill.expressions(columns, tags, partial(asked, connection))
        shares = beside.shares if bill.splits and bill.splits(columns) else None
        query = partial(typed, expr, raw, currency, shares=shares)
        flags = unread(raw, columns)
        ids = {"row_id": row_ids(columns)} if beside.compared else {}
        cell = cell_of(beside.compared) if beside.compared else {}
        _load(connection, query(more={**flags, **ids}), [*flags], cell)
        _refuse_unread(connection, raw)
        if beside.without is not None:
            leave_out(connection, beside.without)
        control = _control(connection, [*flags])
        return _Read(
            connection, raw, columns, expr, query(more={"record": "to_json(raw)"}), control
        )

    file = read(Columns(raw.kinds))
    if any(file.control[name].sum() for name in file.control.columns if name.startswith("unread ")):
        spelling = find_spelling(partial(_one, connection), file.columns, raw.place)
        file = read(Columns(raw.kinds, spelling))
    _refuse_no_currency(file.control, raw.file, currency)
    return replace(
        _star(file),
        cells=cells(partial(_rows, connection)) if beside.compared else no_cells(),
        lacking=bill.lacking(raw.kinds),
        notes=(*raw.notes, *_unreadable(file)),
    )


def _load(
    connection: Connection, query: str, flags: Sequence[str], cell: MappingType[str, str]
) -> None:
    """A table `charges`: what facts are made of, by row. Words of dimensions are hashed.

    flags: columns of the query that are taken as they are; cell: SQL of others, by name
    """
    dims = ", ".join(map(quoted, tables.DIMENSION_NAMES))
    length = 'ceil(coalesce(epoch("end") - epoch("start"), 0) / 3600)'
    columns = [
        "date_trunc('month', period)::TIMESTAMP AS billing_period",
        '"start"',
        f"CAST(greatest(1, least({LONGEST}, {length})) AS BIGINT) AS hours",
        f"hash({dims}) AS k",
        *map(quoted, ("ResourceId", *MEASURES, "reason", "note", *flags)),
        "CASE WHEN reason IS NOT NULL THEN unit END AS BillingCurrency",
        *(f"{sql} AS {name}" for name, sql in cell.items()),
    ]
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE charges AS SELECT {', '.join(columns)} FROM ({query})"
    )


def _one(connection: Connection, expressions: str) -> tuple[object, ...]:
    row: tuple[object, ...] = connection.execute(f"SELECT {expressions} FROM raw").fetchall()[0]
    return row


def asked(
    connection: Connection, sql: str, parameters: Sequence[object] = ()
) -> list[tuple[Any, ...]]:
    """All rows of a query, for `Bill.expressions`."""
    return connection.execute(sql, parameters).fetchall()


def _control(connection: Connection, flags: Sequence[str]) -> pl.DataFrame:
    costs = [f"fsum({n}) FILTER (isfinite({n})) AS {n}" for n in COSTS]
    odd = [f"count(*) FILTER ({quoted(name)}) AS {quoted(name)}" for name in flags]
    return _rows(
        connection,
        "SELECT billing_period, reason, note, BillingCurrency, "
        f"{', '.join([*costs, *odd])}, count(*) AS n FROM charges GROUP BY ALL",
    )


def _refuse_unread(connection: Connection, raw: RawBill) -> None:
    """Raises _Unread where lines of a CSV file were left out."""
    if (
        raw.is_original
        and connection.execute("SELECT count(*) FROM reject_errors").fetchall()[0][0]
    ):
        message = connection.execute("SELECT any_value(error_message) FROM reject_errors")
        raise _Unread(str(message.fetchall()[0][0]))


def _rows(connection: Connection, query: str) -> pl.DataFrame:
    """The rows of a query; a billing period is YYYY-MM."""
    frame: pl.DataFrame = connection.sql(query).pl()
    if "billing_period" not in frame.columns:
        return frame
    return frame.with_columns(pl.col("billing_period").dt.strftime("%Y-%m"))


def _refuse_no_currency(control: pl.DataFrame, file: Path, currency: str) -> None:
    """Raises SourceError where no row names its currency."""
    control = control.filter(pl.col("reason").ne_missing(pl.lit(NO_ROW)))
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


def _unreadable(read: _Read) -> Iterator[str]:
    """What is said of amounts that are no numbers, in rows that count."""
    good, columns = read.control.filter(pl.col("reason").is_null()), read.columns
    for name in sorted(columns.asked.numbers):
        count = good[f"unread {name}"].sum() if f"unread {name}" in good.columns else 0
        if count:
            words = _one(
                read.connection,
                f"array_to_string(list_sort(list(DISTINCT CAST({quoted(name)} AS VARCHAR)) FILTER "
                f"({number(columns, name)} IS NULL AND {is_written(columns, name)}))[:3], ', ')",
            )[0]
            examples = shortened(str(words), 60)
            yield (
                f"{read.raw.file.name}: {count} {'row has' if count == 1 else 'rows have'} no "
                f"readable {name} ({examples}): left out of its sum"
            )


def _star(read: _Read) -> Cube:
    hour, day = (f"date_trunc('{unit}', \"start\") AS {unit}" for unit in ("hour", "day"))
    sums = ", ".join(f"sum({name}) AS {name}" for name in MEASURES)
    good = "FROM charges WHERE reason IS NULL GROUP BY ALL"
    hourly, daily = (
        _rows(read.connection, f"SELECT billing_period, k, {query}, {sums} {good}")
        for query in (
            f"{hour}, hours, count(*) AS rows",
            f"{day}, greatest(24, hours) AS hours, ResourceId",
        )
    )
    series = _series(read).join(hourly, on="k", how="semi")
    ids, good_rows = _series_ids(series), read.control.filter(pl.col("reason").is_null())
    cube = Cube(
        series=tables.SERIES.fit(series.join(ids, on="k").drop("k")),
        hourly=fit_facts(
            tables.HOURLY, hourly.join(ids, on="k").drop("k").with_columns(_utc("hour"))
        ),
        daily=fit_facts(tables.DAILY, _by_day(daily.join(ids, on="k").drop("k"))),
        set_aside=_aside(read),
        totals=good_rows.group_by("billing_period").agg(pl.col(COSTS).sum()),
        odd=good_rows.filter(pl.col("note").is_not_null())
        .group_by("note")
        .agg(pl.col("n", "BilledCost").sum()),
    )
    _refuse_lost_cents(cube, read.raw.file)
    return cube


def _series(read: _Read) -> pl.DataFrame:
    """The words of each combination of dimensions, by its hash."""
    dims = ", ".join(map(quoted, tables.DIMENSION_NAMES))
    words = ", ".join(f"any_value({quoted(n)}) AS {quoted(n)}" for n in tables.DIMENSION_NAMES)
    each = ", ".join(f"{read.expr[n]} AS {quoted(n)}" for n in tables.DIMENSION_NAMES)
    return _rows(
        read.connection,
        f"SELECT hash({dims}) AS k, {words} FROM (SELECT {each} FROM raw) GROUP BY ALL",
    )


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


def _aside(read: _Read) -> pl.DataFrame:
    """What was set aside, with its money where that can be read, by reason, period, currency."""
    keys = ["reason", "billing_period", "BillingCurrency"]
    bad = (
        read.control.filter(pl.col("reason").fill_null(NO_ROW) != NO_ROW)
        .group_by(keys)
        .agg(
            pl.col("n").sum(),
            *(pl.when(pl.col(c).count() > 0).then(pl.col(c).sum()).alias(c) for c in COSTS),
        )
        .sort(keys)
    )
    examples = {why: " | ".join(_examples(read, why)) for why in bad["reason"].unique()}
    rows = bad.with_columns(
        record=pl.col("reason").replace_strict(examples, return_dtype=pl.String), records="n"
    )
    known = [name for name in tables.SET_ASIDE.schema if name in rows.columns]
    own = tables.SET_ASIDE.fit(rows.select(known))
    return (
        pl.concat([own, *([read.raw.aside] if read.raw.aside is not None else [])])
        .drop("delivery")
        .with_columns(source=pl.lit("cost"), file=pl.lit(read.raw.file.name))
    )


def _examples(read: _Read, reason: str) -> Iterator[str]:
    rows = read.connection.execute(
        f"SELECT CAST(record AS VARCHAR) FROM ({read.query}) WHERE reason = {literal(reason)} "
        f"LIMIT {EXAMPLES}"
    )
    return (str(text)[:200] for (text,) in rows.fetchall())


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
