"""What the investigation notebook shows, and what is picked in it.

Values that come from a browser (URL, clicks) are checked against what exists before they are used.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.case.analysis import LakeReader
from costwhy.case.bill_facts import facts_of
from costwhy.case.case import Case
from costwhy.case.investigate import find_spikes, investigate, investigate_window
from costwhy.errors import CostwhyError
from costwhy.feedback import verdicts
from costwhy.lake.lake import open_lake
from costwhy.show.notebook import picked_id
from costwhy.text import clock, money, to_utc

_WINDOW = re.compile(r"^(\d{8}T\d{2})/(\d{8}T\d{2})$")
LEAST_WINDOW = timedelta(hours=2)  # a shorter drag on the chart is a click


def prepare(place: str) -> None:
    """Make what the notebook asks for first; the analysis of the lake is kept for all viewers."""
    lake = open_lake(place)
    case_of(lake, read_shown(None, find_spikes(lake)))
    facts_of(lake)


def read_shown(value: object, spikes: pl.DataFrame) -> str | None:
    """What a URL asks for: the id of a spike, or a window as FROM/TO; else the first spike."""
    known = spikes["spike_id"].to_list()
    if isinstance(value, str) and (value in known or _WINDOW.match(value)):
        return value
    return known[0] if known else None


def case_of(lake: LakeReader, shown: str | None) -> Case | None:
    """The case of a spike or a window; None where nothing is shown, or the window has no data."""
    window = _WINDOW.match(shown or "")
    try:
        if window is None:
            return investigate(lake, shown) if shown is not None else None
        first, last = (
            datetime.strptime(text, "%Y%m%dT%H").replace(tzinfo=UTC) for text in window.groups()
        )
        return investigate_window(lake, (first, last))
    except (CostwhyError, ValueError):
        return None


def clicked(
    selections: Mapping[str, Mapping[str, object]] | None, spikes: pl.DataFrame
) -> str | None:
    """What was picked on the spend chart: a window as FROM/TO that was dragged, else a spike's id.

    selections: as the chart of `charts.spend` sends them. None for what is not known.
    """
    sent = selections or {}
    span = (sent.get("drag") or {}).get("hour")
    if isinstance(span, Sequence) and len(span) == 2:
        first, last = (_hour(value) for value in span)
        if first is not None and last is not None and last - first >= LEAST_WINDOW:
            return f"{first:%Y%m%dT%H}/{last:%Y%m%dT%H}"
    picked = (sent.get("pick") or {}).get("spike_id")
    picked = picked[0] if isinstance(picked, list) and picked else picked
    return picked if isinstance(picked, str) and picked in spikes["spike_id"].to_list() else None


def _hour(value: object) -> datetime | None:
    try:
        if isinstance(value, int | float):
            time = datetime.fromtimestamp(value / 1000, UTC)
        else:
            time = datetime.fromisoformat(str(value))
        return to_utc(time).replace(minute=0, second=0, microsecond=0)
    except (ValueError, OverflowError, OSError):
        return None


def spike_list(spikes: pl.DataFrame) -> pl.DataFrame:
    """The spikes as a person reads them; times and money as text."""
    return pl.DataFrame(
        [
            (
                clock(row["start"]).removesuffix(" UTC"),
                row["title"],
                money(row["excess_cost"] + (row["nowcast_excess_cost"] or 0.0)),
                money(row["cost_per_hour_now"]) if row["status"] == "running" else "ended",
                row["verdict"],
            )
            for row in spikes.iter_rows(named=True)
        ],
        schema=dict.fromkeys(("since", "what", "excess", "an hour now", "kind"), pl.String),
        orient="row",
    )


def listed(rows: pl.DataFrame | None, spikes: pl.DataFrame) -> str | None:
    """The spike of the row that was picked in the list."""
    return picked_id(rows, spike_list(spikes), spikes["spike_id"].to_list())


def neighbour(shown: str | None, spikes: pl.DataFrame, step: int) -> str | None:
    """The spike before or after the one that is shown; at the ends, the other end."""
    ids: list[str] = spikes["spike_id"].to_list()
    return ids[(ids.index(shown) + step) % len(ids)] if shown in ids else next(iter(ids), None)


# ---------------------------------------------------------------- what owners say


def is_spike(case: Case) -> bool:
    """Whether the case is a spike of its lake, on which owners can give a verdict; not a window."""
    found = case.analysis.found if case.analysis is not None else ()
    return any(row.spike_id == case.spike.spike_id for _, row in found)


def say(case: Case, verdict: Mapping[str, str] | None) -> str:
    """Keep an owner's verdict (verdict, note, who). Returns why it was not kept, or nothing."""
    if verdict is None or case.analysis is None:
        return "Only the investigation keeps what owners say."
    if not verdict["who"].strip():
        return "Nothing was kept: say who says it."
    try:
        verdicts.say(
            case.analysis.lake,
            case.spike.spike_id,
            verdict["verdict"],
            verdict["note"],
            verdict["who"],
        )
    except CostwhyError as error:
        return f"Nothing was kept: {error}"
    return ""


def verdicts_table(case: Case) -> pl.DataFrame:
    """What owners said of the case, newest first, as `tables.VERDICTS`."""
    return (
        tables.VERDICTS.empty()
        if case.analysis is None
        else verdicts.verdict_table(case.analysis.lake).filter(
            pl.col("spike_id") == case.spike.spike_id
        )
    )
