"""A case: one spike with everything that is known about it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.spikes.dollars import SpikeRow


@dataclass(frozen=True)
class Resources:
    """Ids of resources on the lines that moved."""

    began: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """One spike, investigated. Each frame is the table of the same name in `tables.py`.

    headline  the answer in one sentence, see `story.headline`
    calendar  dollars of two windows' difference that their lengths make; null: no second window
    by_day    most of what it moved is billed by the day: hours are parts of days
    resources that came or went with it
    unasked   sections of costwhy.toml without a record: what they would say is not known
    analysis  what it was made from; null: opened from a published folder
    """

    workspace: str
    currency: str
    as_of: datetime
    billed_through: datetime
    lake_version: int
    spike: SpikeRow
    drivers: pl.DataFrame
    drivers_remainder: float
    behaviour: pl.DataFrame
    behaviour_remainder: float
    triggers: pl.DataFrame
    no_recorded_change: float
    planned: bool
    owners: pl.DataFrame
    timeline: pl.DataFrame
    ledger: pl.DataFrame
    calls: pl.DataFrame
    changes: pl.DataFrame
    dependencies: pl.DataFrame
    coverage: pl.DataFrame
    clocks: pl.DataFrame
    headline: str = ""
    calendar: float | None = None
    by_day: bool = False
    resources: Resources = Resources()
    unasked: tuple[str, ...] = ()
    analysis: LakeAnalysis | None = field(default=None, repr=False, compare=False)

    @property
    def total(self) -> float:
        """Excess of billed and estimated hours together."""
        return self.spike.excess_cost + self.spike.nowcast_excess_cost

    @property
    def a_day(self) -> float:
        """Excess of the last 24 hours, scaled up where it is younger: a day's delay; 0: ended."""
        if self.spike.status != "running" or not self.ledger.height:
            return 0.0
        hours = (
            self.ledger.group_by("hour")
            .agg(pl.col("cost_change").sum())
            .sort("hour")["cost_change"]
            .tail(24)
        )
        return float(hours.sum()) * 24 / hours.len()

    @property
    def who(self) -> dict[str, dict[str, Any]]:
        """Rows of owner, owner_then, decided_by and budget_owner, by role; not of the unknown.

        owner_then: who ran it when it began, where that was another team than now.
        """
        return {row["role"]: row for row in self.owners.to_dicts()}

    def __repr__(self) -> str:
        return f"<Case {self.spike.spike_id}: {self.headline}>"
