"""`costwhy ingest`: read the sources, then show what was read, set aside, and not read."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import costwhy as cw
from costwhy.cli.terminal import (
    aligned,
    errors,
    json_option,
    note,
    one_line_of,
    out,
    print_json,
    split_words,
    with_workspace,
    words_argument,
)
from costwhy.text import clean, exact, size

if TYPE_CHECKING:
    import polars as pl

    from costwhy.ingest.batch import IngestReport
    from costwhy.ingest.reconcile import Reconciliation

_SHOWN = 10  # reasons and files; --json has all
_PERIODS = 12  # of each source
_AMOUNTS = ("BilledCost", "EffectiveCost")
_HEADINGS = ("in the lake", "currency", "", "files", "rows", "billed", "effective")


@click.command()
@words_argument()
@json_option
def ingest(*, words: tuple[str, ...], workspace: str | None, as_json: bool) -> None:
    """Read every source of a workspace into its lake. It is safe to run again.

    Ends with what was read, set aside and not read, by period and currency.
    """
    place, _ = split_words(words, workspace)
    report = ingest_workspace(place)
    from costwhy.ingest.reconcile import reconcile

    lake = cw.open_lake(place)
    found = reconcile(lake)
    for text in found.notes:  # of what was read before
        if text not in report.messages:
            note(text)
    if as_json:
        print_json(_document(report, found, lake))
        return
    new = f", {report.rows:,} rows, {report.rows_set_aside:,} set aside" if report.read else ""
    files = f"{report.read:,} files read, {report.skipped:,} unchanged"
    out.print(f"version {report.version}: {files}{new}")
    more = f"`{with_workspace('costwhy ingest', place)} --json` lists all"
    for line in _table(found.sums, more):
        out.print(escape(line))
    for line in _details(found, more):
        out.print(f"  {one_line_of(line)}")


def ingest_workspace(workspace: str) -> "IngestReport":
    """Ingest with a progress bar and notes on standard error."""
    from costwhy.config import read_workspace
    from costwhy.ingest.ingest import ingest

    with Progress(
        TextColumn("{task.description}"),
        *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,  # it would leave an empty line
    ) as bar:
        task = bar.add_task("reading", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=one_line_of(name[-48:]), completed=done, total=total)

        report = ingest(read_workspace(workspace), show)
    for message in report.messages:
        note(message)
    return report


def _document(
    report: "IngestReport", found: "Reconciliation", lake: "cw.Lake"
) -> dict[str, object]:
    """What --json prints."""
    counts = (
        lake.table("set_aside").select("file", "reason", "records").group_by("file", "reason").sum()
    )
    order = ["records", "file", "reason"]
    return {
        "version": report.version,
        "files_read": report.read,
        "files_skipped": report.skipped,
        "rows": report.rows,
        "rows_set_aside": report.rows_set_aside,
        "totals": report.totals.to_dicts(),
        "messages": report.messages,
        "set_aside": counts.sort(order, descending=[True, False, False]).to_dicts(),
        "reconciliation": found.sums.to_dicts(),
        "set_aside_reasons": found.reasons.to_dicts(),
        "not_read": found.not_read.to_dicts(),
        "notes": found.notes,
    }


# ---------------------------------------------------------------- the table


def _table(sums: "pl.DataFrame", more: str) -> list[str]:
    """The sums as aligned lines, of each source the newest periods. sums: RECONCILIATION."""
    rows = sums.to_dicts()
    periods = [row for row in rows if row["line"] == "period"]
    sources = dict.fromkeys(row["source"] for row in periods)
    lines: list[str | tuple[str, ...]] = [_HEADINGS]
    for source in sources:
        own = [row for row in periods if row["source"] == source]
        lines += [clean(source)] if len(sources) > 1 else []
        lines += [f"  {len(own) - _PERIODS} earlier lines: {more}"] if len(own) > _PERIODS else []
        lines += [cells for row in own[-_PERIODS:] for cells in _cells(row)]
    counts = Counter(row["BillingCurrency"] for row in periods)
    for row in rows:
        if row["line"] == "total" and counts[row["BillingCurrency"]] > 1:
            lines += _cells(row)
    return aligned(lines, right=3)


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A period as read, set aside, and in all, as far as there is something of it."""
    period = "total" if row["line"] == "total" else row["billing_period"] or "unknown"
    first = (period, row["BillingCurrency"] or "")
    aside = [row[f"{name}_set_aside"] for name in _AMOUNTS]
    if row["rows"] or not row["rows_set_aside"]:
        amounts = map(_amount, (row[name] for name in _AMOUNTS))
        yield (*first, "read", f"{row['files']:,}", f"{row['rows']:,}", *amounts)
    if row["rows_set_aside"]:
        yield (*first, "set aside", "", f"{row['rows_set_aside']:,}", *map(_amount, aside))
    if row["rows"] and row["rows_set_aside"]:
        whole = [
            None if part is None or row["rows_of_unknown_cost"] else row[name] + part
            for name, part in zip(_AMOUNTS, aside, strict=True)
        ]
        rows = f"{row['rows'] + row['rows_set_aside']:,}"
        yield (*first, "in the files", "", rows, *map(_amount, whole))


def _amount(value: float | None) -> str:
    return "not known" if value is None else exact(value)


# ---------------------------------------------------------------- what was left out


def _details(found: "Reconciliation", more: str) -> Iterator[str]:
    """Why rows were set aside, and which files were not read: the most of each first."""
    for row in found.reasons.head(_SHOWN).to_dicts():
        known = [value for value in map(row.get, _AMOUNTS) if value is not None]
        money = (
            f" ({exact(known[0])} {row['BillingCurrency'] or ''}".rstrip() + ")" if known else ""
        )
        yield f"set aside: {row['records']:,} of {row['file']}: {row['reason']}{money}"
    rest = found.reasons[_SHOWN:]
    if rest.height:
        yield f"set aside: {rest['records'].sum():,} more: {more}"
    for row in found.not_read.head(_SHOWN).to_dicts():
        weight = "" if row["bytes"] is None else f", {size(row['bytes'])}"
        yield f"not read: {row['file']}{weight}: {row['reason']}"
    if found.not_read.height > _SHOWN:
        yield f"not read: {found.not_read.height - _SHOWN:,} more: {more}"
