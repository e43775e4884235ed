"""A case: one spike with everything that is known about it, frozen."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl


@dataclass(frozen=True)
class Case:
    """One spike, investigated. Frames are the tables of the same name in `tables.py`; `spike` is one row of `spikes`."""

    workspace: str
    currency: str
    as_of: datetime
    billed_through: datetime
    lake_version: int
    spike: dict[str, object]
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
