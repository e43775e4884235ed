"""TODO feedback/known_spike.py"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import LakeAnalysis
from costwhy.lake.journal import time_of
from costwhy.spikes.dollars import SpikeDollars
from costwhy.spikes.summary import SpikeRow

GROWTH = 1.25
SAME_SPIKE = timedelta(hours=6)
SAME_LOOSE = timedelta(
    hours=48
)  # the onset of what swells rather than steps is known that well in its first days
DAY = 24
Place = tuple[str | None, str | None, str | None, str | None]
"""kind, service, caller, usage_type of a spike's leading behaviour."""


@dataclass(frozen=True)
class SpikeKey:
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

    def is_same(self, other: "SpikeKey") -> bool:
        """By id, else by what moved and when."""
        near = SAME_LOOSE if self.place[0] in SEASONAL else SAME_SPIKE
        return self.spike_id == other.spike_id or (
            self.place == other.place and abs(self.start - other.start) <= near
        )

    def has_grown(self, since: "SpikeKey") -> bool:
        """By a quarter, beyond what the hours of the day explain."""
        rate = abs(self.per_hour) >= GROWTH * abs(since.per_hour)
        return (
            self.running
            and self.per_hour != 0
            and rate
            and abs(self.share) >= GROWTH * abs(since.share)
        )

    def document(self) -> dict[str, object]:
        """As JSON."""
        said = dict(zip(("kind", "service", "caller", "usage_type"), self.place, strict=True))
        numbers = {"running": self.running, "per_hour": self.per_hour, "share": self.share}
        return {"spike_id": self.spike_id, "start": self.start.isoformat(), **said, **numbers}


def read_spike_key(document: Mapping[str, Any]) -> SpikeKey:
    """From JSON."""
    place = tuple(document[name] for name in ("kind", "service", "caller", "usage_type"))
    start = time_of(document["start"])
    return SpikeKey(
        document["spike_id"],
        start,
        place,
        document["running"],
        document["per_hour"],
        document["share"],
    )


def key_of_spike(s: LakeAnalysis, a: SpikeDollars, row: SpikeRow) -> SpikeKey:
    """A spike of a study."""
    place: Place = a.baselines[0].rate.name if a.baselines else (None, None, None, None)
    hours = a.hourly[-min(DAY, a.hourly.size) :]
    usual = float(
        s.model.cost[list(a.moved_meters), a.window.end - hours.size : a.window.end].sum()
    ) - float(hours.sum())
    share = float(hours.sum()) / max(abs(usual), 0.01 * abs(float(hours.sum())), 1e-9)
    return SpikeKey(
        row.spike_id,
        row.start,
        place,
        a.running,
        round(float(hours.mean()), 4) if a.running else 0.0,
        round(share, 4),
    )


def keys_of_spikes(s: LakeAnalysis) -> list[SpikeKey]:
    """Every spike of a study, in its order."""
    return [key_of_spike(s, a, row) for a, row in s.found]


def to_utc(time: datetime | None) -> datetime:
    if time is None:
        return datetime.now(UTC)
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
