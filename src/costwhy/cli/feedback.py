"""`costwhy say` and `costwhy plan`: what the owners answer."""

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from costwhy.cli.ingest import lake_of
from costwhy.cli.parameters import json_option, split_words, time, who_option, words_argument
from costwhy.cli.terminal import note, one_line_of, out, print_json, show_rows
from costwhy.errors import UsageError
from costwhy.text import iso_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

_HEADINGS = {
    "verdicts": "verdicts, newest first",
    "savings": "savings of fixes; the days of a longer period contain those of a shorter one",
    "plans": "planned cost increases, newest first",
}
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
"""The shown columns of each table, with their headings; --json has all columns."""
_MONEY = frozenset({"excess_per_hour", "saved", "possible", "cost_per_day"})


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
    from costwhy.feedback.savings import savings, savings_table
    from costwhy.feedback.verdicts import say, verdict_table

    place, own = split_words(words, workspace, () if listed else ("SPIKE", "VERDICT"))
    lake = lake_of(place)
    if listed:
        frames = {"verdicts": verdict_table(lake), "savings": savings_table(savings(lake))}
        _show_tables(frames, lake.currency, as_json=as_json)
        return
    made = say(lake, own[0], own[1], why, who or getpass.getuser())
    spike = made.spike.spike_id
    if as_json:
        record = {"spike_id": spike, "verdict": made.verdict, "note": made.note}
        print_json({**record, "who": made.who, "at": made.at})
        return
    out.print(one_line_of(f"{made.who}: {spike} is {made.verdict}"))


@click.command()
@words_argument("SERVICE", "and the service")
@click.option("--reason", default="", metavar="TEXT", help="Why it will cost more.")
@click.option("--from", "start", type=time, metavar="TIME", help="When it begins (default: now).")
@click.option("--until", type=time, metavar="TIME", help="When it ends.")
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
        _show_tables({"plans": plan_table(lake)}, lake.currency, as_json=as_json)
        return
    if until is None or not reason:
        raise UsageError("a plan needs a reason and an end", fix="give --reason and --until")
    window = start or datetime.now(UTC), until
    made = plan(lake, own[0], reason, window, cost_per_day, who or getpass.getuser())
    nearest = nearest_services(lake, made.service)
    if nearest is not None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
        note(f"no signal, bill or catalogue knows the service {made.service!r} yet{hint}")
    if as_json:
        print_json(vars(made))
        return
    end = iso_time(made.until)
    out.print(one_line_of(f"{made.who}: {made.service} may cost more until {end}: {made.reason}"))


def _show_tables(frames: "Mapping[str, pl.DataFrame]", currency: str, *, as_json: bool) -> None:
    """Show tables by name as one JSON document, or each below its heading."""
    if as_json:
        print_json({name: frame.to_dicts() for name, frame in frames.items()})
        return
    for name, frame in frames.items():
        if frame.height:
            out.print(_HEADINGS[name])
        columns = _COLUMNS[name]
        cells = [[_cell(c, row[c], currency) for c in columns] for row in frame.to_dicts()]
        show_rows(tuple(columns.values()), cells, none=f"no {name}")


def _cell(column: str, value: Any, currency: str) -> object:
    """A value as people read it."""
    from costwhy.text import money

    if column == "excess_per_hour" and value == 0:
        return "had ended"
    if column in _MONEY:
        return "any amount" if value is None else money(value, currency)
    if column == "days":
        return f"{value} days"
    return iso_time(value) if isinstance(value, datetime) else value
