"""`costwhy watch`."""

import time
from pathlib import Path

import click

from costwhy.cli.parameters import interval, split_words, words_argument
from costwhy.cli.terminal import complain, errors, one_line_of, out
from costwhy.errors import CostwhyError


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


def _look(workspace: str | Path, url: str | None, *, dry_run: bool) -> None:
    """Run once and show the report. Raises the first error of a channel or a source."""
    from costwhy.config import read_workspace
    from costwhy.text import clock
    from costwhy.watch.watch import watch

    report = watch(read_workspace(workspace), url=url, dry_run=dry_run)
    for event in report.waiting if dry_run else ():
        text = "\n".join(map(one_line_of, (event.message.title, *event.message.lines)))
        out.print(f"{text}\n", soft_wrap=True)
    later = "would be sent" if dry_run else "to be sent later"
    errors.print(f"{len(report.sent)} sent, {len(report.waiting)} {later}")
    for pause in report.pauses:
        text = f"{one_line_of(pause.problem)}; next try {clock(pause.until)}"
        errors.print(f"  waiting: {text}", soft_wrap=True)
    for fault in report.faults[1:]:
        complain(fault)
    if report.faults:
        raise report.faults[0]
