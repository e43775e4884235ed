"""`costwhy ingest` and `costwhy watch`, and how other commands reach a workspace's lake."""

import time
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import costwhy as cw
from costwhy.cli.parameters import interval, json_option, split_words, words_argument
from costwhy.cli.terminal import complain, errors, note, one_line_of, out, print_json
from costwhy.errors import CostwhyError, LakeError
from costwhy.text import clock

if TYPE_CHECKING:
    from costwhy.ingest.batch import IngestReport

_SHOWN = 10  # reasons of rows set aside; --json has all


@click.command()
@words_argument()
@json_option
def ingest(*, words: tuple[str, ...], workspace: str | None, as_json: bool) -> None:
    """Read every source of a workspace into its lake. It is safe to run again."""
    place, _ = split_words(words, workspace)
    report = ingest_workspace(place)
    rows = cw.open_lake(place).table("set_aside").select("file", "reason", "records")
    counts = rows.group_by("file", "reason").sum()
    largest = counts.sort("records", "file", "reason", descending=[True, False, False])
    totals, aside = report.totals.to_dicts(), largest.to_dicts()
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
        costs = f"{row['EffectiveCost']:,.2f} effective, {row['BilledCost']:,.2f} billed"
        out.print(f"  {one_line_of(row['billing_period'])}  {costs}")
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

    with Progress(
        TextColumn("{task.description}"),
        *(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()),
        console=errors,
        transient=True,
    ) as bar:
        task = bar.add_task("reading", total=None)

        def show(name: str, done: int, total: int) -> None:
            bar.update(task, description=one_line_of(name[-48:]), completed=done, total=total)

        report = ingest(read_workspace(workspace), show)
    for message in report.messages:
        note(message)
    return report


def lake_of(workspace: str) -> "cw.Lake":
    """A workspace's lake.

    Raises ConfigError where there is no such folder, or no costwhy.toml in it, LakeError where
    nothing was ingested.
    """
    from costwhy.config import read_workspace
    from costwhy.lake.lake import has_lake

    try:
        return cw.open_lake(workspace)
    except LakeError:
        if "://" not in workspace and not has_lake(workspace):
            read_workspace(workspace)  # names what is missing, where that is costwhy.toml
        raise


@click.command()
@words_argument()
@click.option(
    "--every",
    type=interval,
    metavar="TIME",
    help="Run again and again: 15m, 1h (default: once, for cron).",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would be sent for the lake as it is. Read, write and send nothing.",
)
@click.option("--url", metavar="ADDRESS", help="Address of `costwhy serve`, for links to the case.")
def watch(
    *,
    words: tuple[str, ...],
    workspace: str | None,
    every: float | None,
    dry_run: bool,
    url: str | None,
) -> None:
    """Ingest, find spikes, notify their owners.

    Once, or at an interval with --every.
    """
    place, _ = split_words(words, workspace)
    while True:
        try:
            _look(place, url, dry_run=dry_run)
        except CostwhyError as error:
            if every is None:
                raise
            complain(error)  # the next run may succeed
        if every is None:
            return
        time.sleep(every)


def _look(workspace: str, url: str | None, *, dry_run: bool) -> None:
    """Run once and show the report. Raises the first error of a channel or a source."""
    from costwhy.config import read_workspace
    from costwhy.watch.watch import watch

    report = watch(read_workspace(workspace), url=url, dry_run=dry_run)
    for event in report.waiting if dry_run else ():
        text = "\n".join(map(one_line_of, (event.message.title, *event.message.lines)))
        out.print(f"{text}\n", soft_wrap=True)
    later = "would be sent" if dry_run else "to be sent later"
    errors.print(f"{len(report.sent)} sent, {len(report.waiting)} {later}")
    for pause in report.pauses:
        errors.print(
            f"  waiting: {one_line_of(pause.problem)}; next try {clock(pause.until)}",
            soft_wrap=True,
        )
    for fault in report.faults[1:]:
        complain(fault)
    if report.faults:
        raise report.faults[0]
