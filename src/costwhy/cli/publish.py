"""`costwhy publish`, `costwhy postmortem` and `costwhy verify`."""

from pathlib import Path

import click

from costwhy.cli.ingest import lake_of
from costwhy.cli.parameters import is_spike_id, json_option, split_words, words_argument
from costwhy.cli.terminal import one_line_of, out, print_json, show_rows
from costwhy.errors import UsageError


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
            "which spike?",
            found=spike,
            fix="costwhy publish [-w WORKSPACE] SPIKE, with an id that `costwhy spikes` shows",
        )
    from costwhy.case.investigate import investigate
    from costwhy.publishing.publish import kinds_of, publish
    from costwhy.publishing.publish import preview as preview_of

    case, kinds = investigate(lake_of(place), spike), kinds_of(redact)
    if preview:
        rows = preview_of(case, kinds).to_dicts()
        if as_json:
            print_json({"spike_id": spike, "redacted": sorted(kinds), "leaves": rows})
            return
        cells = [
            (f"{row['table']}.{row['column']}", row["values"], row["masked"], row["example"])
            for row in rows
        ]
        show_rows(("column", "values", "masked", "example"), cells, none="nothing")
        return
    folder = publish(case, to or Path(place) / "published", redact=kinds)
    if as_json:
        print_json({"case": str(folder), "spike_id": folder.name, "redacted": sorted(kinds)})
        return
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
    from costwhy.publishing.postmortem import write_postmortem

    for file in sorted(write_postmortem(case, to).glob("postmortem.*")):
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
    from costwhy.publishing.verify import restated, verify

    place = case / "case" if (case / "case" / "case.json").is_file() else case
    checked = verify(place)
    rows = restated(place, lake_of(lake)).to_dicts() if lake else []
    if as_json:
        counts = {"values": checked.values, "files": checked.files, "notes": checked.notes}
        print_json({"case": str(place), **counts, "restated": rows})
        return
    out.print(f"the same: {checked.values:,} values, {checked.files} files")
    for note in checked.notes:
        out.print(f"note: {one_line_of(note)}")
    for row in rows:
        names = one_line_of(f"{row['month']} {row['ServiceName']} {row['x_UsageType']}")
        out.print(f"restated: {names} {row['then']:,.2f} -> {row['now']:,.2f}")
    if lake and not rows:
        out.print("nothing was restated since")
