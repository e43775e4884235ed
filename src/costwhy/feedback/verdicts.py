"""Verdicts: what owners say of a spike, and what they plan before there is one. Kept in the lake for good; the newest counts.

A spike's id begins with its first hour, which may move by a few hours as bills and signals arrive. So a verdict keeps what
the spike was about as well: it is of the spike of that id, else of the one whose leading behaviour is the same and whose
start lies within six hours (two days for what swells: traffic, and usage that follows nothing).
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import polars as pl

from costwhy import tables
from costwhy.case.analysis import Lake, analyse
from costwhy.errors import UsageError
from costwhy.feedback.known_spike import SpikeKey, keys_of_spikes, read_spike_key, to_utc
from costwhy.lake.journal import Journal, time_of
from costwhy.text import one_line

Verdict = Literal["planned", "accepted", "fixing", "fixed", "not_ours"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
QUIET = frozenset({"planned", "accepted"})  # of these nothing more is told until they grow
MOST_NOTE, MOST_NAME = 1000, 200  # characters


# ---------------------------------------------------------------- verdicts


@dataclass(frozen=True)
class Said:
    """One verdict: who said what of which spike, and when."""

    spike: SpikeKey
    verdict: Verdict
    note: str
    who: str
    at: datetime


def say(
    lake: Lake, spike_id: str, verdict: str, note: str, who: str, when: datetime | None = None
) -> Said:
    """Write down what an owner says of a spike. Raises UsageError for an unknown word or spike."""
    if verdict not in VERDICTS:
        raise UsageError(
            f"there is no verdict {verdict!r}", found=", ".join(VERDICTS), fix="say one of these"
        )
    spikes = {x.spike_id: x for x in keys_of_spikes(analyse(lake))}
    if spike_id not in spikes:
        raise UsageError(
            f"there is no spike {spike_id!r}",
            found=", ".join(spikes) or "no spike at all",
            fix="see `costwhy spikes`",
        )
    at = to_utc(when)
    if when is None:  # whose clock is slow still says the newest
        at = max([at, *(x.at + timedelta(microseconds=1) for x in history(lake.place))])
    said = Said(spikes[spike_id], verdict, one_line(note, MOST_NOTE), one_line(who, MOST_NAME), at)  # type: ignore[arg-type]  # checked above
    document = {
        "costwhy": 1,
        "spike": said.spike.document(),
        "verdict": verdict,
        "note": said.note,
        "who": said.who,
        "at": at.isoformat(),
    }
    Journal(lake.place, "verdicts").create(document_name(at), document)
    return said


def history(place: str) -> list[Said]:
    """All verdicts of a lake, oldest first."""
    return sorted(Journal(place, "verdicts").all(_read_said), key=lambda x: x.at)


def _read_said(document: Mapping[str, Any]) -> Said:
    d = document
    return Said(read_spike_key(d["spike"]), d["verdict"], d["note"], d["who"], time_of(d["at"]))


def newest(verdicts: list[Said], spike: SpikeKey) -> Said | None:
    """The one that counts for a spike; None: nobody said anything."""
    mine = [x for x in verdicts if x.spike.is_same(spike)]
    return mine[-1] if mine else None


def said(lake: Lake) -> pl.DataFrame:
    """All verdicts as `tables.VERDICTS`, newest first."""
    rows = [
        {
            "spike_id": x.spike.spike_id,
            "verdict": x.verdict,
            "note": x.note,
            "who": x.who,
            "at": x.at,
            "excess_per_hour": x.spike.per_hour,
        }
        | {"start": x.spike.start}
        | dict(zip(("kind", "service", "caller", "usage_type"), x.spike.place, strict=True))
        for x in reversed(history(lake.place))
    ]
    return tables.VERDICTS.fit(pl.DataFrame(rows)) if rows else tables.VERDICTS.empty()


def document_name(at: datetime) -> str:
    """In order of time, and nobody else's."""
    return f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
