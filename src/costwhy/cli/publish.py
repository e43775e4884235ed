"""TODO cli/publish.py"""

import argparse
import json
from pathlib import Path

from costwhy.cli.explain import lake_of
from costwhy.cli.terminal import one_line_of, out, show_rows
from costwhy.errors import UsageError


def run_publish(wish: argparse.Namespace) -> None:
    """costwhy publish"""
    from costwhy.case.investigate import investigate
    from costwhy.publishing.publish import (
        kinds_of,
        preview,
        publish,
    )

    if len(wish.words) > 2:
        raise UsageError("one workspace and one spike", found=" ".join(wish.words), todo="costwhy publish WORKSPACE SPIKE")
    workspace, spike = wish.words if len(wish.words) == 2 else (".", wish.words[0])
    if len(wish.words) == 1 and Path(spike).is_dir():
        raise UsageError(
            "which spike?", found=f"the workspace {spike} alone", todo=f"costwhy publish {spike} SPIKE, see `costwhy spikes {spike}`"
        )
    case, kinds = investigate(lake_of(workspace), spike), kinds_of(wish.redact)
    if wish.preview:
        rows = preview(case, kinds).to_dicts()
        if wish.json:
            print(json.dumps({"spike_id": spike, "redacted": sorted(kinds), "leaves": rows}, indent=1))
            return
        cells = [(f"{row['table']}.{row['column']}", row["values"], row["masked"], row["example"]) for row in rows]
        show_rows(("column", "values", "masked", "example"), cells, none="nothing would leave")
        return
    place = publish(case, wish.to or Path(workspace) / "published", redact=kinds)
    if wish.json:
        print(json.dumps({"case": str(place), "spike_id": place.name, "redacted": sorted(kinds)}, indent=1))
        return
    out.print(one_line_of(place))


def run_postmortem(wish: argparse.Namespace) -> None:
    """costwhy postmortem"""
    from costwhy.publishing.postmortem import write_postmortem

    place = write_postmortem(wish.case, wish.to)
    for file in sorted(place.glob("postmortem.*")):
        out.print(one_line_of(file))


def run_verify(wish: argparse.Namespace) -> None:
    """costwhy verify"""
    from costwhy.publishing.verify import (
        restated,
        verify,
    )

    place = Path(wish.case)
    place = place / "case" if (place / "case" / "case.json").is_file() else place
    checked = verify(place)
    rows = restated(place, lake_of(wish.lake)).to_dicts() if wish.lake else []
    if wish.json:
        print(
            json.dumps(
                {"case": str(place), "values": checked.values, "files": checked.files, "notes": checked.notes, "restated": rows}, indent=1
            )
        )
        return
    out.print(f"the same: {checked.values:,} values, {checked.files} files")
    for note in checked.notes:
        out.print(f"note: {one_line_of(note)}")
    for row in rows:
        out.print(
            f"restated: {one_line_of(row['month'])} {one_line_of(row['ServiceName'])} {one_line_of(row['x_UsageType'])} {row['then']:,.2f} -> {row['now']:,.2f}"
        )
    if wish.lake and not rows:
        out.print("nothing was restated since")
