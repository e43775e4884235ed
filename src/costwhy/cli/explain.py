"""`costwhy spikes` and `costwhy explain`."""

import json
from collections.abc import Sequence
from datetime import datetime

import click
from rich.markup import escape

from costwhy.cli.ingest import lake_of
from costwhy.cli.parameters import (
    is_spike_id,
    json_option,
    key_and_value,
    split_words,
    time,
    words_argument,
)
from costwhy.cli.terminal import out, print_json, show_rows
from costwhy.errors import UsageError
from costwhy.text import clean


@click.command()
@words_argument()
@json_option
def spikes(*, words: tuple[str, ...], workspace: str | None, as_json: bool) -> None:
    """List the spikes, largest excess first."""
    from costwhy.case.investigate import find_spikes
    from costwhy.text import money

    lake = lake_of(split_words(words, workspace)[0])
    found = find_spikes(lake).to_dicts()
    if as_json:
        rows = [{**spike, "where": json.loads(spike["where"])} for spike in found]
        about = {"costwhy": 1, "workspace": lake.workspace, "currency": lake.currency}
        print_json({**about, "spikes": rows})
        return
    cells = [
        (
            spike["spike_id"],
            spike["title"],
            money(spike["excess_cost"] + spike["nowcast_excess_cost"], lake.currency),
            money(spike["cost_per_hour_now"], lake.currency)
            if spike["status"] == "running"
            else "ended",
            spike["verdict"],
        )
        for spike in found
    ]
    show_rows(("spike", "what", "excess", "an hour now", "kind"), cells, none="no spike")


@click.command()
@words_argument("[SPIKE]", "and a spike's id, see `costwhy spikes`")
@click.option(
    "--as-of",
    type=time,
    metavar="TIME",
    help="The answer as it was possible at this time (default: the newest hour of any source).",
)
@click.option("--from", "start", type=time, metavar="TIME", help="Explain a window: its start.")
@click.option("--to", "end", type=time, metavar="TIME", help="Explain a window: its end.")
@click.option(
    "--against",
    nargs=2,
    type=time,
    metavar="FROM TO",
    help="Compare with another window, per hour (default: with the expected cost).",
)
@click.option(
    "--where",
    type=key_and_value,
    multiple=True,
    metavar="KEY=VALUE",
    help="Only cost rows with this value.",
)
@json_option
def explain(
    *,
    words: tuple[str, ...],
    workspace: str | None,
    as_of: datetime | None,
    start: datetime | None,
    end: datetime | None,
    against: tuple[datetime, datetime] | None,
    where: tuple[tuple[str, str], ...],
    as_json: bool,
) -> None:
    """Explain a spike, a window with --from and --to, or all spikes.

    A single word is a spike where it has the form of an id, such as 20261014T03-inventory, and
    the workspace otherwise.
    """
    is_alone = len(words) == 1 and workspace is None
    has_spike = is_spike_id(words[0]) if is_alone else len(words) > 0
    place, named = split_words(words, workspace, ("SPIKE",) if has_spike else ())
    spike = named[0] if named else None
    window = _window(start, end, spike)
    if window is None and (against or where):
        raise UsageError("--against and --where need a window", fix="add --from and --to")
    other = _in_order(against, "--against") if against else None
    from costwhy.case.document import explain
    from costwhy.case.investigate import lost_tags
    from costwhy.case.story import document_lines, gap_lines

    lake = lake_of(place)
    document = explain(lake, spike, as_of, window=window, against=other, where=dict(where))
    if as_json:
        print_json(document)
        return
    shown = document_lines(document)
    if spike is None and window is None:  # the gap is the whole company's
        shown = [*shown, *gap_lines(document, lost_tags(lake, as_of).to_dicts())]
    for line in shown:
        out.print(escape(clean(line)))


def _window(
    start: datetime | None, end: datetime | None, spike: str | None
) -> tuple[datetime, datetime] | None:
    """The window of --from and --to; None where neither is given."""
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise UsageError("--from and --to go together", fix="give both")
    if spike is not None:
        raise UsageError(
            "a spike and a window at once", found=f"{spike} and --from", fix="give one of them"
        )
    return _in_order((start, end), "--from and --to")


def _in_order(times: Sequence[datetime], flag: str) -> tuple[datetime, datetime]:
    start, end = times
    if start >= end:
        raise UsageError(
            f"{flag}: the window is empty",
            found=f"{start} to {end}",
            fix="give the earlier time first",
        )
    return start, end
