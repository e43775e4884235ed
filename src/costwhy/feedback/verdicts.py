"""Verdicts: what owners say of a spike. They are kept in the lake; the newest of a spike counts.

A verdict keeps the key of its spike (known_spike.py), by which it is found again when the spike's
id has moved.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, cast, get_args

import polars as pl

from costwhy import tables
from costwhy.case.analysis import LakeReader, analyse
from costwhy.errors import UsageError
from costwhy.feedback.known_spike import SpikeKey, keys_of_spikes
from costwhy.lake.journal import Journal, Record, name_at
from costwhy.text import one_line, to_utc

VerdictKind = Literal["planned", "accepted", "fixing", "fixed", "not_ours"]
VERDICTS: tuple[str, ...] = get_args(VerdictKind)
# Verdicts after which no message is sent until the spike grows.
ACCEPTING = frozenset({"planned", "accepted"})
MOST_NOTE, MOST_NAME = 1000, 200  # characters


@dataclass(frozen=True)
class Verdict(Record):
    """What somebody said of a spike, and when."""

    spike: SpikeKey
    verdict: VerdictKind
    note: str
    who: str
    at: datetime


def say(
    lake: LakeReader,
    spike_id: str,
    verdict: str,
    note: str,
    who: str,
    when: datetime | None = None,
) -> Verdict:
    """Keep what an owner says of a spike. Raises UsageError for an unknown word or spike."""
    if verdict not in VERDICTS:
        raise UsageError(
            f"there is no verdict {verdict!r}", found=", ".join(VERDICTS), fix="say one of these"
        )
    spikes = {key.spike_id: key for key in keys_of_spikes(analyse(lake))}
    if spike_id not in spikes:
        found = ", ".join(spikes) or "no spike at all"
        raise UsageError(f"there is no spike {spike_id!r}", found=found, fix="see `costwhy spikes`")
    at = to_utc(when or datetime.now(UTC))
    if when is None:  # the newest verdict counts, even on a machine whose clock is slow
        earlier = verdicts_of(lake.place)
        at = max([at, *(verdict.at + timedelta(microseconds=1) for verdict in earlier)])
    kind = cast("VerdictKind", verdict)
    made = Verdict(spikes[spike_id], kind, one_line(note, MOST_NOTE), one_line(who, MOST_NAME), at)
    Journal(lake.place, "verdicts").create(name_at(at), made)
    return made


def verdicts_of(place: str) -> list[Verdict]:
    """All verdicts of a lake, oldest first."""
    return sorted(Journal(place, "verdicts").all(Verdict), key=lambda verdict: verdict.at)


def newest(verdicts: list[Verdict], spike: SpikeKey) -> Verdict | None:
    """The verdict that counts for a spike; None: nobody said anything."""
    return next((one for one in reversed(verdicts) if one.spike.is_same(spike)), None)


def verdict_table(lake: LakeReader) -> pl.DataFrame:
    """All verdicts as `tables.VERDICTS`, newest first."""
    rows = [
        {**vars(one.spike), **vars(one), "excess_per_hour": one.spike.per_hour}
        for one in reversed(verdicts_of(lake.place))
    ]
    return tables.VERDICTS.fit(pl.DataFrame(rows, schema=tables.VERDICTS.schema))
