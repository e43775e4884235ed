"""What the investigation notebook shows: the case's tables in the words and shapes of its charts, and what is picked.

Values that come from a browser (URL, clicks) are checked against what exists before they are used.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from costwhy import tables
from costwhy.case.analysis import Lake
from costwhy.case.case import Case
from costwhy.case.investigate import investigate, investigate_window
from costwhy.errors import CostwhyError
from costwhy.feedback import verdicts
from costwhy.text import clock, money

_WINDOW = re.compile(r"^(\d{8}T\d{2})/(\d{8}T\d{2})$")


def read_shown(value: object, spikes: pl.DataFrame) -> str | None:
    """What a URL asks for: a known spike's id or a window; else the first spike; None where there is none."""
    if isinstance(value, str) and (value in spikes["spike_id"].to_list() or _WINDOW.match(value)):
        return value
    return spikes["spike_id"][0] if spikes.height else None


def case_of(lake: Lake, shown: str | None) -> Case | None:
    """The case of a spike or a window; None where nothing is shown, or the window has no data."""
    if shown is None:
        return None
    window = _WINDOW.match(shown)
    try:
        if window is None:
            return investigate(lake, shown)
        first, last = (datetime.strptime(text, "%Y%m%dT%H").replace(tzinfo=UTC) for text in window.groups())
        return investigate_window(lake, (first, last))
    except (CostwhyError, ValueError):
        return None


def clicked(selections: Mapping[str, Mapping[str, object]] | None, spikes: pl.DataFrame) -> str | None:
    """What was clicked or dragged on the spend chart: a spike's id, or a window as FROM/TO; None for nothing known."""
    picked = ((selections or {}).get("pick") or {}).get("spike_id")
    picked = picked[0] if isinstance(picked, list) and picked else picked
    span = ((selections or {}).get("drag") or {}).get("hour")
    if isinstance(span, Sequence) and len(span) == 2:
        first, last = (_hour(value) for value in span)
        if first is not None and last is not None and last - first >= timedelta(hours=2):
            return f"{first:%Y%m%dT%H}/{last:%Y%m%dT%H}"
    return picked if isinstance(picked, str) and picked in spikes["spike_id"].to_list() else None


def _hour(value: object) -> datetime | None:
    """A whole hour from what a browser sends: milliseconds, or text."""
    try:
        time = datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int | float) else datetime.fromisoformat(str(value))
    except (ValueError, OverflowError, OSError):
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def spike_list(spikes: pl.DataFrame) -> pl.DataFrame:
    """The spikes as a person reads them; times and money as text."""
    rows = [
        {
            "since": clock(r["start"]).removesuffix(" UTC"),
            "what": r["title"],
            "excess": money(r["excess_cost"] + (r["nowcast_excess_cost"] or 0.0)),
            "an hour now": money(r["cost_per_hour_now"]) if r["status"] == "running" else "ended",
            "kind": r["verdict"],
        }
        for r in spikes.iter_rows(named=True)
    ]
    return pl.DataFrame(
        rows,
        schema={
            "since": pl.String,
            "what": pl.String,
            "excess": pl.String,
            "an hour now": pl.String,
            "kind": pl.String,
        },
    )


def position(shown: str | None, spikes: pl.DataFrame) -> list[int]:
    """The row of the list that is shown, for the table's selection."""
    ids = spikes["spike_id"].to_list()
    return [ids.index(shown)] if shown in ids else []


def listed(rows: pl.DataFrame | None, spikes: pl.DataFrame) -> str | None:
    """The spike of the row that was picked in the list."""
    if rows is None or not rows.height:
        return None
    match = spike_list(spikes).with_columns(spike_id=spikes["spike_id"]).join(rows, on=rows.columns, how="semi", nulls_equal=True)
    return match["spike_id"][0] if match.height else None


def neighbour(shown: str | None, spikes: pl.DataFrame, step: int) -> str | None:
    """The spike before or after the one that is shown; at the ends, the other end."""
    ids: list[str] = spikes["spike_id"].to_list()
    if not ids:
        return None
    return ids[(ids.index(shown) + step) % len(ids)] if shown in ids else ids[0]


def is_spike(case: Case) -> bool:
    """Whether the case is a spike of its lake, of which owners can say something, and not a window that was picked."""
    return case.analysis is not None and any(row["spike_id"] == case.spike["spike_id"] for _, row in case.analysis.found)


def say(case: Case, told: Mapping[str, str] | None) -> str:
    """Keep what an owner says of the case; empty where it was kept, else why it was not."""
    if told is None or case.analysis is None:
        return "Only the investigation keeps what owners say."
    if not told["who"].strip():
        return "Nothing was kept: say who says it."
    try:
        verdicts.say(case.analysis.lake, str(case.spike["spike_id"]), told["verdict"], told["note"], told["who"])
    except CostwhyError as error:
        return f"Nothing was kept: {error}"
    return ""


def verdicts_table(case: Case) -> pl.DataFrame:
    """What owners said of the case, newest first, as `tables.VERDICTS`."""
    if case.analysis is None:
        return tables.VERDICTS.empty()
    return verdicts.said(case.analysis.lake).filter(pl.col("spike_id") == case.spike["spike_id"])
