"""A lake as of a time, analysed once: what was observed, the model of it, and the spikes in it.

Viewers of the app are threads of one process. The last few analyses are shared by all of them;
while one is made, only those who ask for the same one wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import polars as pl

from costwhy.cache import Cache
from costwhy.case.kept import Learned, keep, load
from costwhy.causes.changes import KnownChanges, find_known_changes
from costwhy.causes.owners import ORDER, Directory
from costwhy.model.observe import observe
from costwhy.model.observed import Observed, Tables
from costwhy.model.rates import Model, fit
from costwhy.model.tail import ALWAYS, Folding
from costwhy.spikes.detect import find
from costwhy.spikes.dollars import SpikeDollars, SpikeRow, dollars_of, spike_row
from costwhy.tables import METER

FEW_HOURS = 12  # a charge that occurs in fewer hours is a fee, not spend by the hour
LOG_DELAY = timedelta(minutes=15)  # in which CloudTrail delivers; a whole day's file says less
TABLES = ("series", "changes", "catalog", "seen", "set_aside")
LARGE = ("hourly", "daily")


class FoundSpike(NamedTuple):
    """A spike's dollars and its row of `tables.SPIKES`."""

    dollars: SpikeDollars
    row: SpikeRow


@dataclass(frozen=True)
class LakeAnalysis:
    """What is known of a lake as of a time.

    found          its spikes, largest rise first
    frames         the lake's TABLES; those of LARGE are scanned where they are asked for
    known_changes  those that somebody may have decided
    evidence       of a published case: what stands in for the data that it leaves behind
    """

    lake: "LakeReader"
    observed: Observed
    model: Model
    found: tuple[FoundSpike, ...]
    frames: dict[str, pl.DataFrame]
    known_changes: KnownChanges
    evidence: "KeptEvidence | None" = None

    @property
    def rows(self) -> dict[str, pl.LazyFrame]:
        """The lake's tables, small and large ones, lazily."""
        large = {name: self.lake.scan(name) for name in LARGE}
        return {name: frame.lazy() for name, frame in self.frames.items()} | large

    def lines_of(self, meters: Sequence[int]) -> pl.DataFrame:
        """The series of these meters: series_id and row."""
        observed, series = self.observed, self.frames["series"]
        own = observed.meters.with_row_index("row")[list(meters)]
        folded = observed.folded
        alone = series if folded is None else series.join(folded, on="series_id", how="anti")
        lines = alone.join(own, on=METER, nulls_equal=True).select("series_id", "row")
        if folded is None:
            return lines
        return pl.concat([lines, folded.join(own.select("row"), on="row", how="semi")])

    @cached_property
    def directory(self) -> Directory:
        """Who runs what, by the sources in the order of costwhy.toml.

        Tags are dated by the billed hours; a published case keeps no bill that could date them.
        """
        return Directory(
            self.frames["catalog"],
            self.frames["series"],
            tuple(self.lake.config.get("mapping", {}).get("owners", ORDER)),
            self.known_changes.rows,
            None
            if self.evidence
            else self.rows["hourly"].filter(pl.col("hour") < self.observed.billed_through),
            tuple(self.lake.history("catalog")),
        )


@dataclass(frozen=True)
class KeptEvidence:
    """What a published case keeps in place of data that it leaves behind.

    leaves     the whole bill of the spike's billed hours, see `leaves.leaves_of`
    resources  those that were first billed when the spike began
    ended      those that were last billed then
    owners     who ran it, now and then (tables.OWNERS)
    """

    leaves: pl.DataFrame
    resources: frozenset[str]
    ended: frozenset[str] = frozenset()
    owners: pl.DataFrame | None = None


class LakeReader(Tables, Protocol):
    """What an investigation needs of a lake: the tables, and whose they are."""

    @property
    def workspace(self) -> str:
        """Name of the workspace."""

    @property
    def currency(self) -> str:
        """Its one currency."""

    @property
    def version(self) -> int:
        """Version of the lake."""

    @property
    def place(self) -> str:
        """Where the lake is; with the version, what a lake is known by."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The configuration of its ingest; empty where none is kept."""

    def history(self, name: str, /) -> list[tuple[datetime, pl.DataFrame]]:
        """Earlier versions of a table, oldest first, each with its time of writing."""


_ANALYSES: Cache[LakeAnalysis] = Cache(most=4)


def analyse(
    lake: LakeReader, as_of: datetime | None = None, by: Sequence[str] = ()
) -> LakeAnalysis:
    """The analysis of a lake as of a time; by default of the newest hour of any source.

    by: columns by which it is asked, so that folded lines keep them
    """
    whole = _ANALYSES.get((lake.place, lake.version, as_of), lambda: _analysis(lake, as_of))
    asked = tuple(sorted({*by} & {*METER} - {*ALWAYS}))
    if whole.observed.folded is None or not asked:
        return whole
    key = (lake.place, lake.version, as_of, asked)
    return _ANALYSES.get(key, lambda: _analysis(lake, as_of, asked))


def _analysis(lake: LakeReader, as_of: datetime | None, by: Sequence[str] = ()) -> LakeAnalysis:
    learned = _learned(lake, as_of, by)
    model = learned.model
    observed = model.observed
    frames = {name: lake.table(name) for name in TABLES}
    if as_of is not None:
        frames["changes"] = frames["changes"].filter(
            pl.min_horizontal(pl.coalesce("known_at", "time"), pl.col("time") + LOG_DELAY) <= as_of
        )
    services = frozenset([*observed.services, *observed.meters["service"].drop_nulls()])
    spikes = (dollars_of(model, spike) for spike in learned.spikes)
    largest_first = sorted(spikes, key=lambda spike: -float(spike.hourly.sum()))
    found = tuple(FoundSpike(spike, spike_row(model, spike)) for spike in largest_first)
    return LakeAnalysis(
        lake, observed, model, found, frames, find_known_changes(frames["changes"], services)
    )


def _learned(lake: LakeReader, as_of: datetime | None, by: Sequence[str]) -> Learned:
    """The model and its spikes; of the newest hour they are kept beside the lake."""
    is_whole = as_of is None and not by
    kept = load(lake) if is_whole else None
    if kept is not None:
        return kept
    model = fit(observe(lake, as_of, Folding(by=by)))
    learned = Learned(model, find(model))
    if is_whole:
        keep(lake, learned)
    return learned
