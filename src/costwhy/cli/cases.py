"""Spikes and their cases: `costwhy spikes`, `explain`, `publish`, `postmortem` and `verify`."""

import json
from datetime import datetime
from pathlib import Path

import click
from rich.markup import escape

import costwhy as cw
from costwhy.cli.terminal import (
    is_spike_id,
    json_option,
    key_and_value,
    one_line_of,
    out,
    print_json,
    show_rows,
    split_words,
    time,
    with_workspace,
    words_argument,
)
from costwhy.cli.workspace import lake_of
from costwhy.errors import UsageError
from costwhy.text import clean, iso_time, money


@click.command()
@words_argument()
@json_option
def spikes(*, words: tuple[str, ...], workspace: str | None, as_json: bool) -> None:
    """List the spikes, largest excess first."""
    from costwhy.case.bill_facts import facts_of

    place, _ = split_words(words, workspace)
    lake = lake_of(place)
    found = cw.find_spikes(lake).to_dicts()
    if as_json:
        print_json(
            {
                "costwhy": 1,
                "workspace": lake.workspace,
                "currency": lake.currency,
                "spikes": [{**spike, "where": json.loads(spike["where"])} for spike in found],
            }
        )
    else:
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
        for sentence in () if found else facts_of(lake).sentences:
            out.print(escape(clean(sentence)))
        _say_what_is_left_out(lake, place)


def _say_what_is_left_out(lake: "cw.Lake", place: str) -> None:
    """One line where the sums lack something that the files have."""
    from costwhy.ingest.left_out import left_out

    if words := left_out(lake):
        out.print(with_workspace(f"{words}: `costwhy ingest` shows them", place), markup=False)


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
    window = _window(start, end, "--from and --to")
    if window and spike is not None:
        raise UsageError(
            "a spike and a window at once", found=f"{spike} and --from", fix="give one of them"
        )
    if window is None and (against or where):
        raise UsageError("--against and --where need a window", fix="add --from and --to")
    from costwhy.case.story import document_lines, gap_lines

    lake = lake_of(place)
    other = against and _window(*against, "--against")
    document = cw.explain(lake, spike, as_of, window=window, against=other, where=dict(where))
    if as_json:
        print_json(document)
        return
    shown = document_lines(document)
    if spike is None and window is None:  # the gap is the whole company's
        shown += gap_lines(document, cw.lost_tags(lake, as_of).to_dicts())
    for line in shown:
        out.print(escape(clean(line)))
    _say_what_is_left_out(lake, place)


def _window(
    start: datetime | None, end: datetime | None, flags: str
) -> tuple[datetime, datetime] | None:
    if start is None and end is None:
        return None
    if start is None or end is None:
        raise UsageError(f"{flags} go together", fix="give both")
    if start >= end:
        raise UsageError(
            f"{flags}: the window is empty",
            found=f"{iso_time(start)} to {iso_time(end)}",
            fix="give the earlier time first",
        )
    return start, end


@click.command()
@words_argument("SPIKE", "and a spike's id")
@click.option(
    "--to",
    type=Path,
    metavar="FOLDER",
    help="The published folder (default: published, in the workspace).",
)
@click.option(
    "--redact",
    multiple=True,
    metavar="KINDS",
    help="Names to take out: accounts, resources, people, or all.",
)
@click.option("--preview", is_flag=True, help="Show what would be published, and write nothing.")
@json_option
def publish(
    *,
    words: tuple[str, ...],
    workspace: str | None,
    to: Path | None,
    redact: tuple[str, ...],
    preview: bool,
    as_json: bool,
) -> None:
    """Write the case of a spike into the published folder."""
    place, [spike] = split_words(words, workspace, ("SPIKE",))
    if not is_spike_id(spike):
        raise UsageError(
            f"{spike!r} is not the id of a spike",
            found=" ".join(words),
            fix="costwhy publish [-w WORKSPACE] SPIKE, with an id that `costwhy spikes` shows",
        )
    from costwhy.publishing import publish as publishing

    case, kinds = cw.investigate(lake_of(place), spike), publishing.kinds_of(redact)
    if preview:
        rows = publishing.preview(case, kinds).to_dicts()
        if as_json:
            print_json({"spike_id": spike, "redacted": sorted(kinds), "leaves": rows})
            return
        show_rows(
            ("column", "values", "masked", "example"),
            [
                (f"{row['table']}.{row['column']}", row["values"], row["masked"], row["example"])
                for row in rows
            ],
            none="nothing",
        )
        return
    folder = cw.publish(case, to or Path(place) / "published", redact=kinds)
    if as_json:
        print_json({"case": str(folder), "spike_id": folder.name, "redacted": sorted(kinds)})
    else:
        out.print(one_line_of(folder))


@click.command()
@click.argument("case", metavar="CASE", help="Folder of a published case.")
@click.option(
    "--to",
    metavar="FOLDER",
    help="Where to write it (default: postmortem-NAME here). What people wrote there is kept.",
)
def postmortem(*, case: str, to: str | None) -> None:
    """Write a self-contained postmortem that can be run again."""
    for file in sorted(cw.write_postmortem(case, to).glob("postmortem.*")):
        out.print(one_line_of(file))


@click.command()
@click.argument("case", type=Path, metavar="CASE", help="Folder of a published case or postmortem.")
@click.option(
    "--lake",
    metavar="WORKSPACE",
    help="Also show what the provider has restated since, by the lake of this workspace.",
)
@json_option
def verify(*, case: Path, lake: str | None, as_json: bool) -> None:
    """Compute a published case again, and compare it.

    Every number and every digest must be the same.
    """
    from costwhy.publishing.verify import restated

    place = case / "case" if (case / "case" / "case.json").is_file() else case
    checked = cw.verify(place)
    rows = restated(place, lake_of(lake)).to_dicts() if lake else []
    if as_json:
        print_json(
            {
                "case": str(place),
                "values": checked.values,
                "files": checked.files,
                "notes": checked.notes,
                "restated": rows,
            }
        )
        return
    out.print(f"the same: {checked.values:,} values, {checked.files} files")
    for note in checked.notes:
        out.print(f"note: {one_line_of(note)}")
    for row in rows:
        names = one_line_of(f"{row['month']} {row['ServiceName']} {row['x_UsageType']}")
        out.print(f"restated: {names} {row['then']:,.2f} -> {row['now']:,.2f}")
    if lake and not rows:
        out.print("nothing was restated since")
