"""One billing file to a star (`cube.py`).

DuckDB reads one file at a time in bounded memory. The dimensions are hashed once for each row, and
facts are grouped by the hash; the words themselves are kept once for each combination. Rows that
cannot be read are set aside with their reason. The star's totals must equal the file's for each
billing period and cost column, to the cent.
"""

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
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
from costwhy.ingest.cube import COSTS, Cube
from costwhy.ingest.duck import Connection, opened
from costwhy.ingest.raw_bill import ROW, RawBill, Tags, explained, open_raw
from costwhy.ingest.star import MEASURES, refuse_lost_cents, series_of, write_facts
from costwhy.ingest.typed import ABSENT, NO_CURRENCY, NO_ROW, typed, unread
from costwhy.lake.charges import LONGEST
from costwhy.sources.cost.columns import Columns
from costwhy.sources.cost.spelling import find_spelling
from costwhy.sources.cost.sql import is_written, literal, number, quoted
from costwhy.sources.cost.tags import KUBERNETES
from costwhy.sources.format import Bill
from costwhy.text import shortened

EXAMPLES = 5  # Rows shown for each reason


class _Unread(Exception):  # noqa: N818 - no fault: the file is read in another way
    """DuckDB did not read each line of a CSV file."""


def reduce_file(
    file: Path, bill: Bill, mapping: Mapping, currency: str, spool: Path, beside: Beside = ALONE
) -> Cube:
    """The star of one file, or of a member of an archive, `archive.zip/member.csv`.

    spool: a folder for the files of its facts, which stay
    beside: what the other files of its part have to do with it

    Raises SourceError where the file cannot be read as a whole, or lacks a column.
    """
    tags = {
        "service": mapping.service_tags,
        "team": mapping.team_tags,
        "budget_owner": mapping.budget_tags,
        KUBERNETES: mapping.kubernetes_tags,
    }
    with explained(file), opened() as (connection, short):
        fault: Exception | None = None
        for raw in open_raw(connection, file, bill, short):
            try:
                read = _read(connection, raw, bill, tags, beside, currency)
                return _cube(read, bill, beside, spool)
            except (duckdb.Error, _Unread) as error:
                fault = error
        raise fault if isinstance(fault, duckdb.Error) else duckdb.InvalidInputException(str(fault))


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


def _read(
    connection: Connection, raw: RawBill, bill: Bill, tags: Tags, beside: Beside, currency: str
) -> _Read:
    """The table `charges`, by the spelling of the file."""

    def read(columns: Columns) -> _Read:
        expr = bill.expressions(columns, tags, partial(asked, connection))
        shares = beside.shares if bill.splits and bill.splits(columns) else None
        query = partial(typed, expr, raw, currency, shares=shares)
        flags = unread(raw, columns)
        ids = {"row_id": row_ids(columns)} if beside.compared else {}
        cell = cell_of(beside.compared) if beside.compared else {}
        place = {"place": ROW if raw.numbered else "NULL::BIGINT"}
        rows = query(more={**flags, **ids, **place}, view=raw.numbered or "raw")
        _load(connection, rows, [*flags], cell)
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
    return file


def _cube(read: _Read, bill: Bill, beside: Beside, spool: Path) -> Cube:
    return replace(
        _star(read, spool),
        cells=cells(partial(_rows, read.connection)) if beside.compared else no_cells(),
        lacking=bill.lacking(read.raw.kinds),
        notes=(*read.raw.notes, *_unreadable(read)),
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
        *map(quoted, ("place", "ResourceId", *MEASURES, "reason", "note", *flags)),
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


def _star(read: _Read, spool: Path) -> Cube:
    good = read.control.filter(pl.col("reason").is_null())
    series = series_of(read.connection, read.expr, read.raw.numbered)
    hourly, daily = write_facts(read.connection, series, spool)
    totals = good.group_by("billing_period").agg(pl.col(COSTS).sum())
    refuse_lost_cents(totals, hourly, read.raw.file.name)
    return Cube(
        series=tables.SERIES.fit(series.drop("k")),
        hourly=hourly,
        daily=daily,
        rows=int(good["n"].sum()),
        set_aside=_aside(read),
        totals=totals,
        odd=good.filter(pl.col("note").is_not_null())
        .group_by("note")
        .agg(pl.col("n", "BilledCost").sum()),
    )


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
