"""TODO cli/explain.py"""

import argparse
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from costwhy.cli.terminal import clean, errors, iso_time, one_line_of, out, show_rows
from costwhy.errors import LakeError, UsageError

if TYPE_CHECKING:
    from costwhy.ingest.batch import IngestReport
    from costwhy.lake.lake import Lake


def run_ingest(wish: argparse.Namespace) -> None:
    """costwhy ingest"""
    report = ingest_workspace(wish.workspace)
    totals, aside = report.totals.to_dicts(), _set_aside(wish.workspace)
    if wish.json:
        print(
            json.dumps(
                {
                    "version": report.version,
                    "files_read": report.read,
                    "files_skipped": report.skipped,
                    "rows": report.rows,
                    "rows_set_aside": report.rows_set_aside,
                    "totals": totals,
                    "messages": report.messages,
                    "set_aside": aside,
                },
                indent=1,
                allow_nan=False,
            )
        )
        return
    out.print(
        f"version {report.version}: {report.read} files read, {report.skipped} unchanged, {report.rows:,} rows, {report.rows_set_aside:,} set aside"
    )
    for row in totals:
        out.print(f"  {one_line_of(row['billing_period'])}  {row['EffectiveCost']:,.2f} effective, {row['BilledCost']:,.2f} billed")
    for row in aside[:10]:
        out.print("  " + one_line_of(f"set aside: {row['records']:,} of {row['file']}: {row['reason']}"))
    if len(aside) > 10:
        out.print(f"  set aside: {sum(row['records'] for row in aside[10:]):,} more, see --json")


def _set_aside(workspace: str) -> list[dict[str, Any]]:
    """What the lake holds of rows and records that could not be read, by file and reason, the most first."""
    import polars as pl

    from costwhy.lake.lake import open_lake

    rows = open_lake(workspace).table("set_aside").group_by("file", "reason").agg(pl.col("records").sum())
    return rows.sort("records", "file", "reason", descending=[True, False, False]).to_dicts()


def ingest_workspace(workspace: str) -> "IngestReport":
    """With a progress bar on standard error."""
    from costwhy.config import read_workspace
    from costwhy.ingest.ingest import ingest

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        report = ingest(
            read_workspace(workspace),
            lambda name, done, total: bar.update(task, description=one_line_of(name[-48:]), completed=done, total=total),
        )
    for message in report.messages:
        errors.print(f"[yellow]note:[/] {one_line_of(message)}", soft_wrap=True)
    return report


def lake_of(workspace: str) -> "Lake":
    """A workspace's lake. Raises ConfigError where there is no such folder, or no costwhy.toml in it, LakeError where nothing was ingested."""
    from costwhy.config import (
        FILE_NAME,
        absent,
    )
    from costwhy.lake.lake import (
        has_lake,
        open_lake,
    )

    try:
        return open_lake(workspace)
    except LakeError as error:
        if "://" in workspace or (Path(workspace) / FILE_NAME).is_file() or has_lake(workspace):
            raise
        raise absent(workspace) from error


def run_spikes(wish: argparse.Namespace) -> None:
    """costwhy spikes"""
    from costwhy.case.investigate import find_spikes
    from costwhy.text import money

    lake = lake_of(wish.workspace)
    spikes = find_spikes(lake)
    if wish.json:
        rows = [
            {**r, "where": json.loads(r["where"]), "start": iso_time(r["start"]), "end": iso_time(r["end"])}
            for r in spikes.iter_rows(named=True)
        ]
        print(json.dumps({"costwhy": 1, "workspace": lake.workspace, "currency": lake.currency, "spikes": rows}, indent=1))
        return
    show_rows(
        ("spike", "what", "excess", "an hour now", "kind"),
        [
            (
                r["spike_id"],
                r["title"],
                money(r["excess_cost"] + r["nowcast_excess_cost"], lake.currency),
                money(r["cost_per_hour_now"], lake.currency) if r["status"] == "running" else "ended",
                r["verdict"],
            )
            for r in spikes.iter_rows(named=True)
        ],
        none="no spike",
    )


def run_explain(wish: argparse.Namespace) -> None:
    """costwhy explain"""
    from costwhy.case.document import explain
    from costwhy.case.investigate import lost_tags
    from costwhy.case.story import (
        document_lines,
        gap_lines,
    )

    if (wish.start is None) != (wish.end is None):
        raise UsageError("--from and --to go together", todo="give both")
    if wish.start is None and (wish.against or wish.where):
        raise UsageError("--against and --where explain a window", todo="give --from and --to as well")
    if wish.start is not None and wish.spike is not None:
        raise UsageError("a spike and a window are two questions", found=f"{wish.spike} and --from", todo="ask one of them")
    window = _window((wish.start, wish.end), "--from and --to") if wish.start is not None else None
    against = _window(wish.against, "--against") if wish.against else None
    workspace, spike = _workspace_and_spike(wish.workspace, wish.spike)
    lake = lake_of(workspace)
    document = explain(
        lake,
        spike,
        wish.as_of,
        window=window,
        against=against,
        where=dict(wish.where),
    )
    if wish.json:
        print(json.dumps(document, indent=1, allow_nan=False))
        return
    gap = gap_lines(document, lost_tags(lake, wish.as_of).to_dicts()) if spike is None and window is None else []  # the whole company's
    for line in [*document_lines(document), *gap]:
        out.print(escape(clean(line).replace("\n", " ")))


def _window(times: Sequence[datetime], flag: str) -> tuple[datetime, datetime]:
    start, end = times
    if start >= end:
        raise UsageError(f"{flag}: the window is empty", found=f"{start} to {end}", todo="give the earlier time first")
    return start, end


def _workspace_and_spike(workspace: str, spike: str | None) -> tuple[str, str | None]:
    """`costwhy explain SPIKE` in a workspace's own folder: the one word is the spike."""
    if spike is None and not Path(workspace).exists() and re.match(r"\d{8}T\d{2}-", workspace):
        return ".", workspace
    return workspace, spike
