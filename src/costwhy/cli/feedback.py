"""`costwhy say` and `costwhy plan`: what the owners answer."""

import getpass
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from costwhy.cli.ingest import lake_of
from costwhy.cli.parameters import json_option, split_words, time, who_option, words_argument
from costwhy.cli.terminal import note, one_line_of, out, print_json, show_rows
from costwhy.errors import UsageError
from costwhy.text import iso_time, money

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
    from costwhy.feedback import savings, verdicts

    place, own = split_words(words, workspace, () if listed else ("SPIKE", "VERDICT"))
    lake = lake_of(place)
    if listed:
        saved = savings.savings_table(savings.savings(lake)).to_dicts()
        rows = {"verdicts": verdicts.verdict_table(lake).to_dicts(), "savings": saved}
        _show_tables(rows, lake.currency, as_json=as_json)
        return
    made = verdicts.say(lake, own[0], own[1], why, who or getpass.getuser())
    if as_json:
        record = {"spike_id": made.spike.spike_id, "verdict": made.verdict, "note": made.note}
        print_json({**record, "who": made.who, "at": made.at})
    else:
        out.print(one_line_of(f"{made.who}: {made.spike.spike_id} is {made.verdict}"))


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
        _show_tables({"plans": plan_table(lake).to_dicts()}, lake.currency, as_json=as_json)
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
    else:
        text = f"{made.service} may cost more until {iso_time(made.until)}: {made.reason}"
        out.print(one_line_of(f"{made.who}: {text}"))


def _show_tables(
    tables: Mapping[str, Sequence[Mapping[str, Any]]], currency: str, *, as_json: bool
) -> None:
    """Show the rows of tables by name, as one JSON document or each below its heading."""
    if as_json:
        print_json(tables)
        return
    for name, rows in tables.items():
        if rows:
            out.print(_HEADINGS[name])
        cells = [[_cell(c, row[c], currency) for c in _COLUMNS[name]] for row in rows]
        show_rows(tuple(_COLUMNS[name].values()), cells, none=f"no {name}")


def _cell(column: str, value: Any, currency: str) -> object:
    if column == "excess_per_hour" and value == 0:
        return "had ended"
    if column in _MONEY:
        return "any amount" if value is None else money(value, currency)
    if column == "days":
        return f"{value} days"
    return iso_time(value) if isinstance(value, datetime) else value
