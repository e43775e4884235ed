"""A case: one spike with everything that is known about it, frozen."""

from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.spikes.summary import SpikeRow


@dataclass(frozen=True)
class Case:
    """One spike, investigated. Frames are the tables of the same name in `tables.py`; `spike` is one row of `spikes`."""

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
    headline: str = ""  # the answer in one sentence, see story.headline
    calendar: float | None = None  # of two windows' totals, what their lengths make: dollars; None: no two windows were compared
    analysis: "LakeAnalysis | None" = field(
        default=None, repr=False, compare=False
    )  # what it was made from; None: opened from a published folder

    @property
    def total(self) -> float:
        """Excess of billed and estimated hours together."""
        return self.spike.excess_cost + self.spike.nowcast_excess_cost

    @property
    def a_day(self) -> float:
        """What a day of waiting costs: the excess of the last 24 hours, scaled up where it is younger; 0: ended."""
        if self.spike.status != "running" or not self.ledger.height:
            return 0.0
        hours = self.ledger.group_by("hour").agg(pl.col("cost_change").sum()).sort("hour")["cost_change"].tail(24)
        return float(hours.sum()) * 24 / hours.len()

    @property
    def who(self) -> "tuple[dict[str, str | None] | None, ...]":
        """Rows of owner, decided_by and budget_owner, in this order; None where nobody is known."""
        by_role = {row["role"]: row for row in self.owners.iter_rows(named=True)}
        return tuple(by_role.get(role) for role in ("owner", "decided_by", "budget_owner"))

    @property
    def owner_then(self) -> "dict[str, object] | None":
        """The row of who ran it when it began, where that was another team than now."""
        return next((row for row in self.owners.iter_rows(named=True) if row["role"] == "owner_then"), None)

    def __repr__(self) -> str:
        """The answer in one line."""
        return f"<Case {self.spike.spike_id}: {self.headline}>"
