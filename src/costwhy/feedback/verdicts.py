"""Verdicts: what owners say of a spike, and what they plan before there is one. Kept in the lake for good; the newest counts.

A spike's id begins with its first hour, which may move by a few hours as bills and signals arrive. So a verdict keeps what
the spike was about as well: it is of the spike of that id, else of the one whose leading behaviour is the same and whose
start lies within six hours (two days for what swells: traffic, and usage that follows nothing).
"""

import difflib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.accounts import Account
from costwhy.case import PLAN_SLACK, Lake, Study, study
from costwhy.errors import UsageError
from costwhy.journal import Journal, time_of
from costwhy.outbound import one_line
from costwhy.spikes import LOOSE

Verdict = Literal["planned", "accepted", "fixing", "fixed", "not_ours"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
QUIET = frozenset({"planned", "accepted"})  # of these nothing more is told until they grow
GROWTH = 1.25
SAME_SPIKE = timedelta(hours=6)
SAME_LOOSE = timedelta(hours=48)  # the onset of what swells rather than steps is known that well in its first days
DAY = 24
MOST_NOTE, MOST_NAME = 1000, 200  # characters
Place = tuple[str | None, str | None, str | None, str | None]
"""kind, service, caller, usage_type of a spike's leading behaviour."""


@dataclass(frozen=True)
class Seen:
    """What a spike is known by and compared by, whatever its id is on another day.

    per_hour   excess an hour over its last 24 hours (all of them where it is younger; 0: ended), in the lake's currency
    share      the same over what was expected: free of the hours of the day
    """

    spike_id: str
    start: datetime
    place: Place
    running: bool
    per_hour: float
    share: float

    def is_same(self, other: "Seen") -> bool:
        """By id, else by what moved and when."""
        near = SAME_LOOSE if self.place[0] in LOOSE else SAME_SPIKE
        return self.spike_id == other.spike_id or (self.place == other.place and abs(self.start - other.start) <= near)

    def has_grown(self, since: "Seen") -> bool:
        """By a quarter, beyond what the hours of the day explain."""
        rate = abs(self.per_hour) >= GROWTH * abs(since.per_hour)
        return self.running and self.per_hour != 0 and rate and abs(self.share) >= GROWTH * abs(since.share)

    def document(self) -> dict[str, object]:
        """As JSON."""
        said = dict(zip(("kind", "service", "caller", "usage_type"), self.place, strict=True))
        numbers = {"running": self.running, "per_hour": self.per_hour, "share": self.share}
        return {"spike_id": self.spike_id, "start": self.start.isoformat(), **said, **numbers}


def read_seen(document: Mapping[str, Any]) -> Seen:
    """From JSON."""
    place = tuple(document[name] for name in ("kind", "service", "caller", "usage_type"))
    start = time_of(document["start"])
    return Seen(document["spike_id"], start, place, document["running"], document["per_hour"], document["share"])


def seen(s: Study, a: Account, row: Mapping[str, object]) -> Seen:
    """A spike of a study."""
    start = row["start"]
    assert isinstance(start, datetime)  # noqa: S101  the table's type
    place: Place = a.resets[0].rate.name if a.resets else (None, None, None, None)
    hours = a.hourly[-min(DAY, a.hourly.size) :]
    usual = float(s.model.cost[list(a.own), a.window.end - hours.size : a.window.end].sum()) - float(hours.sum())
    share = float(hours.sum()) / max(abs(usual), 0.01 * abs(float(hours.sum())), 1e-9)
    return Seen(str(row["spike_id"]), start, place, a.running, round(float(hours.mean()), 4) if a.running else 0.0, round(share, 4))


def all_seen(s: Study) -> list[Seen]:
    """Every spike of a study, in its order."""
    return [seen(s, a, row) for a, row in s.found]


# ---------------------------------------------------------------- verdicts


@dataclass(frozen=True)
class Said:
    """One verdict: who said what of which spike, and when."""

    spike: Seen
    verdict: Verdict
    note: str
    who: str
    at: datetime


def say(lake: Lake, spike_id: str, verdict: str, note: str, who: str, when: datetime | None = None) -> Said:
    """Write down what an owner says of a spike. Raises UsageError for an unknown word or spike."""
    if verdict not in VERDICTS:
        raise UsageError(f"there is no verdict {verdict!r}", found=", ".join(VERDICTS), todo="say one of these")
    spikes = {x.spike_id: x for x in all_seen(study(lake))}
    if spike_id not in spikes:
        raise UsageError(f"there is no spike {spike_id!r}", found=", ".join(spikes) or "no spike at all", todo="see `costwhy spikes`")
    at = _utc(when)
    if when is None:  # whose clock is slow still says the newest
        at = max([at, *(x.at + timedelta(microseconds=1) for x in history(lake.place))])
    said = Said(spikes[spike_id], verdict, one_line(note, MOST_NOTE), one_line(who, MOST_NAME), at)  # type: ignore[arg-type]  # checked above
    document = {"costwhy": 1, "spike": said.spike.document(), "verdict": verdict, "note": said.note, "who": said.who, "at": at.isoformat()}
    Journal(lake.place, "verdicts").create(_name(at), document)
    return said


def history(place: str) -> list[Said]:
    """All verdicts of a lake, oldest first."""
    return sorted(Journal(place, "verdicts").all(_read_said), key=lambda x: x.at)


def _read_said(document: Mapping[str, Any]) -> Said:
    d = document
    return Said(read_seen(d["spike"]), d["verdict"], d["note"], d["who"], time_of(d["at"]))


def newest(verdicts: list[Said], spike: Seen) -> Said | None:
    """The one that counts for a spike; None: nobody said anything."""
    mine = [x for x in verdicts if x.spike.is_same(spike)]
    return mine[-1] if mine else None


def said(lake: Lake) -> pl.DataFrame:
    """All verdicts as `tables.VERDICTS`, newest first."""
    rows = [
        {"spike_id": x.spike.spike_id, "verdict": x.verdict, "note": x.note, "who": x.who, "at": x.at, "excess_per_hour": x.spike.per_hour}
        | {"start": x.spike.start}
        | dict(zip(("kind", "service", "caller", "usage_type"), x.spike.place, strict=True))
        for x in reversed(history(lake.place))
    ]
    return tables.VERDICTS.fit(pl.DataFrame(rows)) if rows else tables.VERDICTS.empty()


# ---------------------------------------------------------------- plans


@dataclass(frozen=True)
class Plan:
    """What a service is expected to cost more, why, and for how long."""

    service: str
    reason: str
    start: datetime
    until: datetime
    cost_per_day: float | None  # null: whatever it costs
    who: str
    at: datetime

    def covers(self, s: Study, a: Account, as_of: datetime) -> bool:
        """Whether a spike is this plan's: of its service, begun in its time, still in time, within a quarter of its cost a day."""
        begun = s.observed.hours[a.window.start]
        if not self.start - SAME_SPIKE <= begun < self.until or (a.running and as_of >= self.until):
            return False
        if self.service not in _services(s, a):
            return False
        return self.cost_per_day is None or float(a.hourly.mean()) * DAY <= PLAN_SLACK * self.cost_per_day


def plan(lake: Lake, service: str, reason: str, window: tuple[datetime, datetime], cost_per_day: float | None, who: str) -> Plan:
    """Register a plan, also before anything shows. window: from, until. Raises UsageError where it is empty or the cost is negative."""
    start, until = (_utc(t) for t in window)
    if start >= until:
        raise UsageError(
            "the plan's time is empty", found=f"{start:%Y-%m-%dT%H:%MZ} to {until:%Y-%m-%dT%H:%MZ}", todo="give a later --until"
        )
    if cost_per_day is not None and not 0 <= cost_per_day < float("inf"):
        raise UsageError("a plan's cost a day is an amount", found=str(cost_per_day), todo="give what it may cost more a day")
    at = datetime.now(UTC)
    made = Plan(one_line(service, MOST_NAME), one_line(reason, MOST_NOTE), start, until, cost_per_day, one_line(who, MOST_NAME), at)
    document = {"costwhy": 1, "service": made.service, "reason": made.reason, "start": start.isoformat(), "until": until.isoformat()}
    Journal(lake.place, "plans").create(_name(at), document | {"cost_per_day": cost_per_day, "who": made.who, "at": at.isoformat()})
    return made


def nearest_services(lake: Lake, service: str) -> list[str] | None:
    """Names that are nearest to that of a service which no signal, bill or catalogue knows; None: it is known."""
    catalog = lake.table("catalog").filter(pl.col("kind").is_in(["component", "resource", "system"]))["name"]
    signals = lake.table("signals")
    columns = (lake.table("series")["service"], catalog, signals["service"], signals["caller"])
    known = {str(name) for column in columns for name in column.drop_nulls().unique()}
    if service in known:
        return None
    folded = {name.casefold(): name for name in sorted(known) if not name.startswith("schedule:")}
    return [folded[name] for name in difflib.get_close_matches(service.casefold(), folded, 3)]


def plans(place: str) -> list[Plan]:
    """All plans of a lake, oldest first."""
    times = ("start", "until", "at")

    def read(document: Mapping[str, Any]) -> Plan:
        row = {**document, **{name: time_of(document[name]) for name in times}}
        return Plan(**{name: row[name] for name in Plan.__dataclass_fields__})

    return Journal(place, "plans").all(read)


def planned(lake: Lake) -> pl.DataFrame:
    """All plans as `tables.PLANS`, newest first."""
    rows = [dict(vars(x)) for x in reversed(plans(lake.place))]
    return tables.PLANS.fit(pl.DataFrame(rows, schema=tables.PLANS.schema)) if rows else tables.PLANS.empty()


def _services(s: Study, a: Account) -> set[str]:
    """Services that a spike is about: that of its leading behaviour and its caller, and the one whose bill it moved most."""
    names = {a.resets[0].rate.service, a.resets[0].rate.caller} if a.resets else set()
    own = list(a.own)
    if own:
        names.add(s.observed.meters["service"][own[int(np.argmax(np.abs(a.excess[own].sum(axis=1))))]])
    return {name for name in names if name is not None}


def _utc(time: datetime | None) -> datetime:
    if time is None:
        return datetime.now(UTC)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _name(at: datetime) -> str:
    """In order of time, and nobody else's."""
    return f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"
