"""What a spike is recognised by on another day, and whether it has grown since.

A spike's id begins with its first hour, which may move by a few hours as bills and signals arrive.
So a spike is the same by its id, or else by its leading behaviour and a start within six hours; two
days for what swells (traffic, and usage that follows nothing).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from costwhy.behaviours import SEASONAL
from costwhy.case.analysis import FoundSpike, LakeAnalysis
from costwhy.lake.journal import Record

GROWTH = 1.25
SAME_SPIKE = timedelta(hours=6)
# The onset of what swells rather than steps is known that well in its first days.
SAME_SWELL = timedelta(hours=48)
DAY = 24
# kind, service, caller, usage_type.
BehaviourName = tuple[str | None, str | None, str | None, str | None]


@dataclass(frozen=True)
class SpikeKey(Record):
    """What a spike is recognised and compared by, whatever its id is on another day.

    kind, service, caller, usage_type
               of its leading behaviour
    per_hour   excess an hour over its last 24 hours (or all, where it is younger; 0: ended), in
               the lake's currency
    share      the same over the usual cost of these hours, so that night and day compare
    """

    spike_id: str
    start: datetime
    kind: str | None
    service: str | None
    caller: str | None
    usage_type: str | None
    running: bool
    per_hour: float
    share: float

    @property
    def behaviour(self) -> BehaviourName:
        """The name of its leading behaviour."""
        return self.kind, self.service, self.caller, self.usage_type

    def is_same(self, other: "SpikeKey") -> bool:
        """By id, else by what moved and when."""
        if self.spike_id == other.spike_id:
            return True
        near = SAME_SWELL if self.kind in SEASONAL else SAME_SPIKE
        return self.behaviour == other.behaviour and abs(self.start - other.start) <= near

    def has_grown(self, since: "SpikeKey") -> bool:
        """By a quarter, beyond what the hours of the day explain."""
        if not self.running or self.per_hour == 0:
            return False
        costs_more = abs(self.per_hour) >= GROWTH * abs(since.per_hour)
        return costs_more and abs(self.share) >= GROWTH * abs(since.share)


def key_of_spike(analysis: LakeAnalysis, found: FoundSpike) -> SpikeKey:
    """The key of a spike of this analysis."""
    dollars = found.dollars
    behaviour: BehaviourName = (None, None, None, None)
    if dollars.baselines:
        behaviour = dollars.baselines[0].rate.name
    hours = dollars.hourly[-min(DAY, dollars.hourly.size) :]
    excess = float(hours.sum())
    window = slice(dollars.window.end - hours.size, dollars.window.end)
    usual = float(analysis.model.cost[list(dollars.moved_meters), window].sum()) - excess
    per_hour = round(float(hours.mean()), 4) if dollars.running else 0.0
    share = round(excess / max(abs(usual), 0.01 * abs(excess), 1e-9), 4)
    row = found.row
    return SpikeKey(row.spike_id, row.start, *behaviour, dollars.running, per_hour, share)


def keys_of_spikes(analysis: LakeAnalysis) -> list[SpikeKey]:
    """The keys of all spikes of an analysis, in its order."""
    return [key_of_spike(analysis, found) for found in analysis.found]
