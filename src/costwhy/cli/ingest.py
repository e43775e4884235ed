"""`costwhy ingest`: read the sources, then show what was read, set aside, and not read."""

from collections.abc import Iterator
from dataclasses import astuple
from typing import TYPE_CHECKING

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
from costwhy.text import clean, count_of, size

if TYPE_CHECKING:
    import polars as pl

    from costwhy.ingest.batch import IngestReport
    from costwhy.ingest.reconcile import Reconciliation

_HEADINGS = ("bills", "currency", "", "files", "rows", "billed", "effective")


@click.command()
@words_argument()
@json_option
@click.option(
    "--rehash",
    is_flag=True,
    help="Read every file again to see whether it changed, also where its size and time are the "
    "same.",
)
def ingest(*, words: tuple[str, ...], workspace: str | None, as_json: bool, rehash: bool) -> None:
    """Read every source of a workspace into its lake. It is safe to run again.

    Ends with what was read, set aside and not read, by period and currency.
    """
    place, _ = split_words(words, workspace)
    report = ingest_workspace(place, rehash=rehash)
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
    if report.freed:
        out.print(f"old versions removed: {size(report.freed)} freed")
    more = with_workspace("`costwhy ingest --json` lists all", place)
    for line in _table(found.sums, more):
        out.print(escape(line))
    for line in _details(found, more):
        out.print(f"  {one_line_of(line)}")


def ingest_workspace(workspace: str, *, rehash: bool = False) -> "IngestReport":
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

        report = ingest(read_workspace(workspace), show, rehash=rehash)
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
    from costwhy.ingest.left_out import newest

    found, hidden = newest(sums)
    sources = {line.source for line in found if line.source}
    rows: list[str | tuple[str, ...]] = [_HEADINGS]
    for before, line in zip([None, *found], found, strict=False):
        if len(sources) > 1 and line.source and (not before or before.source != line.source):
            rows.append(clean(line.source))
        rows.append(astuple(line)[1:])
    rows += [f"  {count_of(hidden, 'earlier line')}: {more}"] if hidden else []
    return aligned(rows, right=3)


# ---------------------------------------------------------------- what was left out


def _details(found: "Reconciliation", more: str) -> Iterator[str]:
    """Why rows were set aside, and which files were not read: the most of each first."""
    from costwhy.ingest.left_out import MOST, amounts_of

    for k, row in enumerate(found.reasons.head(MOST).to_dicts()):
        known = ", ".join(filter(None, [amounts_of(found.reasons[k]), row["place"]]))
        reason = f"{row['records']:,} of {row['file']}: {row['reason']}"
        yield f"set aside: {reason}{known and f' ({known})'}"
    rest = found.reasons[MOST:]
    if rest.height:
        yield f"set aside: {rest['records'].sum():,} more: {more}"
    for row in found.not_read.head(MOST).to_dicts():
        weight = "" if row["bytes"] is None else f", {size(row['bytes'])}"
        yield f"not read: {row['file']}{weight}: {row['reason']}"
    if found.not_read.height > MOST:
        yield f"not read: {found.not_read.height - MOST:,} more: {more}"
