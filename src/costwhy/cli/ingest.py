"""`costwhy ingest`, and how other commands reach a workspace's lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from costwhy.cli.parameters import json_option, split_words, words_argument
from costwhy.cli.terminal import errors, note, one_line_of, out, print_json
from costwhy.errors import LakeError

if TYPE_CHECKING:
    from costwhy.ingest.batch import IngestReport
    from costwhy.lake.lake import Lake

_SHOWN = 10  # reasons of rows set aside; --json has all


@click.command()
@words_argument()
@json_option
def ingest(*, words: tuple[str, ...], workspace: str | None, as_json: bool) -> None:
    """Read every source of a workspace into its lake. It is safe to run again."""
    place, _ = split_words(words, workspace)
    report = ingest_workspace(place)
    totals, aside = report.totals.to_dicts(), _rows_set_aside(place)
    if as_json:
        print_json(
            {
                "version": report.version,
                "files_read": report.read,
                "files_skipped": report.skipped,
                "rows": report.rows,
                "rows_set_aside": report.rows_set_aside,
                "totals": totals,
                "messages": report.messages,
                "set_aside": aside,
            }
        )
        return
    out.print(
        f"version {report.version}: {report.read} files read, {report.skipped} unchanged,"
        f" {report.rows:,} rows, {report.rows_set_aside:,} set aside"
    )
    for row in totals:
        effective, billed = row["EffectiveCost"], row["BilledCost"]
        month = one_line_of(row["billing_period"])
        out.print(f"  {month}  {effective:,.2f} effective, {billed:,.2f} billed")
    for row in aside[:_SHOWN]:
        text = f"set aside: {row['records']:,} of {row['file']}: {row['reason']}"
        out.print(f"  {one_line_of(text)}")
    if len(aside) > _SHOWN:
        more = sum(row["records"] for row in aside[_SHOWN:])
        out.print(f"  set aside: {more:,} more, see --json")


def ingest_workspace(workspace: str) -> "IngestReport":
    """Ingest with a progress bar and notes on standard error."""
    from costwhy.config import read_workspace
    from costwhy.ingest.ingest import ingest

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=errors, transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=one_line_of(name[-48:]), completed=done, total=total)

        report = ingest(read_workspace(workspace), show)
    for message in report.messages:
        note(message)
    return report


def _rows_set_aside(workspace: str) -> list[dict[str, Any]]:
    """Counts of the rows and records that could not be read, by file and reason, largest first."""
    import polars as pl

    from costwhy.lake.lake import open_lake

    rows = open_lake(workspace).table("set_aside").group_by("file", "reason")
    counts = rows.agg(pl.col("records").sum())
    return counts.sort("records", "file", "reason", descending=[True, False, False]).to_dicts()


def lake_of(workspace: str) -> "Lake":
    """A workspace's lake.

    Raises ConfigError where there is no such folder, or no costwhy.toml in it, LakeError where
    nothing was ingested.
    """
    from costwhy.config import FILE_NAME, absent
    from costwhy.lake.lake import has_lake, open_lake

    try:
        return open_lake(workspace)
    except LakeError as error:
        if "://" in workspace or (Path(workspace) / FILE_NAME).is_file() or has_lake(workspace):
            raise
        raise absent(workspace) from error
