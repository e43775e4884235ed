"""A workspace's lake: `costwhy watch`, and what owners answer by `say` and `plan`."""

import getpass
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

import costwhy as cw
from costwhy.cli import terminal
from costwhy.cli.terminal import (
    complain,
    errors,
    json_option,
    note,
    one_line_of,
    out,
    print_json,
    show_rows,
    split_words,
    who_option,
    words_argument,
)
from costwhy.errors import CostwhyError, LakeError, UsageError
from costwhy.text import clock, iso_time, money

_HEADINGS = {
    "verdicts": "verdicts, newest first",
    "savings": "savings of fixes; the days of a longer period contain those of a shorter one",
    "plans": "planned cost increases, newest first",
}
# the shown columns of each table, with their headings; --json has all columns
_COLUMNS = {
    "verdicts": {
        "spike_id": "spike",
        "verdict": "verdict",
        "note": "note",
        "who": "who",
        "at": "at",
        "excess_per_hour": "an hour then",
    },
    "savings": {
        "spike_id": "spike",
        "who": "fixed by",
        "days": "in the first",
        "from": "from",
        "saved": "saved",
        "possible": "of",
        "outcome": "outcome",
    },
    "plans": {
        "service": "service",
        "reason": "reason",
        "start": "from",
        "until": "until",
        "cost_per_day": "a day",
        "who": "who",
        "at": "at",
    },
}


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
    type=terminal.interval,
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


@click.command()
@words_argument("SPIKE VERDICT", "a spike's id, and the verdict")
@click.option("--note", "why", default="", metavar="TEXT", help="Why, in your own words.")
@click.option(
    "--list", "listed", is_flag=True, help="List verdicts and savings: [WORKSPACE] alone."
)
@who_option
@json_option
def say(
    *,
    words: tuple[str, ...],
    workspace: str | None,
    why: str,
    listed: bool,
    who: str | None,
    as_json: bool,
) -> None:
    """Record a verdict on a spike.

    The verdicts: planned, accepted, fixing, fixed, not_ours.
    """
    from costwhy.feedback import savings, verdicts

    place, own = split_words(words, workspace, () if listed else ("SPIKE", "VERDICT"))
    lake = lake_of(place)
    if listed:
        _show_tables(
            {
                "verdicts": verdicts.verdict_table(lake).to_dicts(),
                "savings": savings.savings_table(savings.savings(lake)).to_dicts(),
            },
            lake.currency,
            as_json=as_json,
        )
        return
    made = verdicts.say(lake, own[0], own[1], why, who or getpass.getuser())
    if as_json:
        print_json(
            {
                "spike_id": made.spike.spike_id,
                "verdict": made.verdict,
                "note": made.note,
                "who": made.who,
                "at": made.at,
            }
        )
    else:
        out.print(one_line_of(f"{made.who}: {made.spike.spike_id} is {made.verdict}"))


@click.command()
@words_argument("SERVICE", "and the service")
@click.option("--reason", default="", metavar="TEXT", help="Why it will cost more.")
@click.option(
    "--from", "start", type=terminal.time, metavar="TIME", help="When it begins (default: now)."
)
@click.option("--until", type=terminal.time, metavar="TIME", help="When it ends.")
@click.option(
    "--cost-per-day",
    type=float,
    metavar="AMOUNT",
    help="How much more it may cost a day (default: any amount).",
)
@click.option("--list", "listed", is_flag=True, help="List the plans: [WORKSPACE] alone.")
@who_option
@json_option
def plan(
    *,
    words: tuple[str, ...],
    workspace: str | None,
    reason: str,
    start: datetime | None,
    until: datetime | None,
    cost_per_day: float | None,
    listed: bool,
    who: str | None,
    as_json: bool,
) -> None:
    """Announce a planned increase of a service's cost."""
    from costwhy.feedback.verdicts import nearest_services, plan, plan_table

    place, own = split_words(words, workspace, () if listed else ("SERVICE",))
    lake = lake_of(place)
    if listed:
        _show_tables({"plans": plan_table(lake).to_dicts()}, lake.currency, as_json=as_json)
        return
    if until is None or not reason:
        raise UsageError("a plan needs a reason and an end", fix="give --reason and --until")
    period = (start or datetime.now(UTC), until)
    made = plan(lake, own[0], reason, period, cost_per_day, who or getpass.getuser())
    nearest = nearest_services(lake, made.service)
    if nearest is not None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        note(f"no signal, bill or catalogue knows the service {made.service!r} yet{hint}")
    if as_json:
        print_json(vars(made))
    else:
        out.print(
            one_line_of(
                f"{made.who}: {made.service} may cost more until {iso_time(made.until)}: "
                f"{made.reason}"
            )
        )


def _show_tables(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], currency: str, *, as_json: bool
) -> None:
    if as_json:
        print_json(tables)
        return
    for name, rows in tables.items():
        if rows:
            out.print(_HEADINGS[name])
        show_rows(
            tuple(_COLUMNS[name].values()),
            [[_cell(c, row[c], currency) for c in _COLUMNS[name]] for row in rows],
            none=f"no {name}",
        )


def _cell(column: str, value: Any, currency: str) -> object:
    if column == "excess_per_hour" and value == 0:
        return "had ended"
    if column in {"excess_per_hour", "saved", "possible", "cost_per_day"}:
        return "any amount" if value is None else money(value, currency)
    if column == "days":
        return f"{value} days"
    return iso_time(value) if isinstance(value, datetime) else value
