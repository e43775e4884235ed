"""TODO case/analysis.py"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple, Protocol

import polars as pl

from costwhy import tables
from costwhy.causes.changes import KnownChanges, find_known_changes
from costwhy.causes.owners import ORDER, Directory
from costwhy.model.observed import Observed, Tables, observe
from costwhy.model.rates import Model, fit
from costwhy.spikes.detect import find
from costwhy.spikes.dollars import SpikeDollars, dollars_of
from costwhy.spikes.summary import SpikeRow, spike_row

FEW_HOURS = 12  # a charge that occurs in fewer hours is a fee, not spend by the hour
LOG_DELAY = timedelta(minutes=15)  # CloudTrail delivers within it; a log file that holds a whole day is named by its last event


class FoundSpike(NamedTuple):
    """A spike's dollars and its row of `tables.SPIKES`."""

    dollars: SpikeDollars
    row: SpikeRow


@dataclass(frozen=True)
class LakeAnalysis:
    """A lake as of a time, understood: what was observed, the model of it, the spikes."""

    lake: "Lake"
    observed: Observed
    model: Model
    found: "tuple[FoundSpike, ...]"  # largest rise first
    frames: dict[str, pl.DataFrame]
    known_changes: KnownChanges  # changes that somebody may have decided
    evidence: "KeptEvidence | None" = None  # of a published case

    @cached_property
    def directory(self) -> Directory:
        """Who runs what: asked in the order of costwhy.toml, as the lake's snapshot kept it."""
        config = getattr(self.lake, "config", {}).get("mapping", {})
        hourly = self.frames.get("hourly", tables.HOURLY.empty())
        if self.evidence is not None:  # a published case keeps no bill from which tags could be dated
            hourly = tables.HOURLY.empty()
        dated = hourly.filter(pl.col("hour") < self.observed.billed_through)
        order = tuple(config.get("owners", ORDER))
        return Directory(self.frames["catalog"], self.frames["series"], order, self.known_changes.rows, dated, _past(self.lake))


@dataclass(frozen=True)
class KeptEvidence:
    """What a published case keeps of data that it leaves behind."""

    leaves: pl.DataFrame  # the whole bill of the spike's billed hours, by DRIVER_DIMENSIONS: actual_cost, expected_cost
    resources: frozenset[str]  # those that were first billed when the spike began
    owners: pl.DataFrame | None = None  # who ran it, now and then (tables.OWNERS): the bill that dates tags is left behind


class Lake(Tables, Protocol):
    """What an investigation needs of a lake: the tables, and whose they are."""

    @property
    def workspace(self) -> str:
        """Name of the workspace."""
        ...

    @property
    def currency(self) -> str:
        """Its one currency."""
        ...

    @property
    def version(self) -> int:
        """Version of the lake."""
        ...

    @property
    def place(self) -> str:
        """Where the lake is; with the version, what a lake is known by."""
        ...


def _past(lake: "Lake") -> tuple[tuple[datetime, pl.DataFrame], ...]:
    """What the catalogue said, and when each was read; nothing of a lake that keeps no earlier versions."""
    history = getattr(lake, "history", None)
    return tuple(history("catalog")) if history is not None else ()


_STUDIES: OrderedDict[tuple[str, int, datetime | None], LakeAnalysis] = OrderedDict()
_LOCK = threading.Lock()  # viewers of the app are threads of one process: each lake version is understood once


def analyse(lake: Lake, as_of: datetime | None = None) -> LakeAnalysis:
    """The lake understood; kept for the last few lake versions, shared by all viewers."""
    key = (lake.place, lake.version, as_of)
    with _LOCK:
        if key not in _STUDIES:
            observed = observe(lake, as_of)
            model = fit(observed)
            frames = {name: lake.table(name) for name in ("series", "hourly", "daily", "changes", "catalog", "seen", "set_aside")}
            if as_of is not None:
                known = pl.min_horizontal(pl.coalesce("known_at", "time"), pl.col("time") + LOG_DELAY) <= as_of
                frames["changes"] = frames["changes"].filter(known)
            names = frozenset(observed.services) | frozenset(observed.meters["service"].drop_nulls().to_list())
            _STUDIES[key] = LakeAnalysis(lake, observed, model, _found(model), frames, find_known_changes(frames["changes"], names))
            while len(_STUDIES) > 4:
                _STUDIES.popitem(last=False)
        return _STUDIES[key]


def _found(model: Model) -> tuple[FoundSpike, ...]:
    dollars = [dollars_of(model, spike) for spike in find(model)]
    found = [FoundSpike(one, spike_row(model, one)) for one in dollars]
    return tuple(sorted(found, key=lambda spike: -float(spike.dollars.hourly.sum())))
