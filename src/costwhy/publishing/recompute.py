"""A case made again from its evidence alone: no lake, no bill of the company."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.case.analysis import KeptEvidence, LakeAnalysis
from costwhy.case.case import Case
from costwhy.case.investigate import case_of
from costwhy.causes.changes import KnownChanges, hour_of
from costwhy.errors import InputError
from costwhy.model.observed import Edge, Observed
from costwhy.model.rates import Model, fit
from costwhy.publishing.evidence import (
    EDGE_GRIDS,
    KEPT_BESIDE,
    METER_GRIDS,
    REPORTED,
    Evidence,
    open_evidence,
    rate_place,
)
from costwhy.spikes.detect import Episode, Spike, episode_of
from costwhy.spikes.dollars import dollars_of, spike_row
from costwhy.spikes.shifts import Shift


@dataclass(frozen=True)
class _CaseLake:
    """Whose lake it was; its tables are those of the case."""

    workspace: str
    currency: str
    version: int
    place: str
    frames: dict[str, pl.DataFrame]
    config: Mapping[str, Any] = field(default_factory=dict)

    def table(self, name: str) -> pl.DataFrame:
        return self.frames[name]

    def history(self, _name: str) -> list[tuple[datetime, pl.DataFrame]]:
        return []


def investigate_again(place: str | Path) -> Case:
    """A published case, made again from its own data alone."""
    return recompute(open_evidence(place))


def recompute(evidence: Evidence) -> Case:
    """The case. Raises InputError where a rate of the evidence is not in its tables."""
    about, frames = evidence.about, evidence.tables
    observed = observed_of(evidence)
    model = fit(observed)
    episodes = tuple(_episodes(model, evidence.spike["episodes"]))
    dollars = dollars_of(model, Spike(evidence.spike["start"], evidence.spike["end"], episodes))
    kept = KeptEvidence(frames["leaves"], frozenset(evidence.resources), frames.get("owners"))
    lake = _CaseLake(about["workspace"], about["currency"], about["lake_version"], "", frames)
    known = _known_changes(frames["recorded"])
    analysis = LakeAnalysis(lake, observed, model, (), frames, known, kept)
    return case_of(analysis, dollars, spike_row(model, dollars))


def observed_of(evidence: Evidence) -> Observed:
    """What was observed of this part of the company."""
    about, frames = evidence.about, evidence.tables
    first, width = datetime.fromisoformat(about["first"]), int(about["hours"])
    edges = tuple(Edge(service, caller) for service, caller in frames["edges"].iter_rows())
    callers = {edge.caller for edge in edges if edge.internal and edge.caller}
    calls = _dense(frames["edge_hours"], (len(edges), width), EDGE_GRIDS)
    usage = _dense(frames["meter_hours"], (frames["meters"].height, width), METER_GRIDS)
    reported = frames[REPORTED].partition_by("service", as_dict=True)
    return Observed(
        hours=tuple(first + timedelta(hours=k) for k in range(width)),
        billed=int(about["billed"]),
        services=tuple(sorted({edge.service for edge in edges} | callers)),
        edges=edges,
        capacity={
            str(service): rows.sort("t")[REPORTED].to_numpy()
            for (service,), rows in reported.items()
        },
        meters=frames["meters"],
        calls=calls["calls"],
        retries=calls["retries"],
        usage=usage["usage"],
        cost=usage["cost"],
        covered=usage["covered"],
        covered_cost=usage["covered_cost"],
    )


def _dense(rows: pl.DataFrame, shape: tuple[int, int], names: tuple[str, ...]) -> dict[str, Array]:
    grids = {name: np.zeros(shape) for name in names}
    for name, grid in grids.items():
        grid[rows["row"].to_numpy(), rows["t"].to_numpy()] = rows[name].to_numpy()
    return grids


def _known_changes(rows: pl.DataFrame) -> KnownChanges:
    """Changes with what was kept beside them."""
    hours = np.array([hour_of(time) for time in rows["time"]], dtype=float)
    service, doing, call = (
        rows[name].to_numpy().astype(object) for name in ("service", "doing", "call")
    )
    return KnownChanges(
        rows.drop(KEPT_BESIDE),
        hours,
        service=service,
        doing=doing,
        call=call,
        usual=rows["usual"].to_numpy(),
        outside_production=rows["calm"].to_numpy(),
    )


def _episodes(model: Model, written: list[dict[str, Any]]) -> list[Episode]:
    """The episodes that are written in the evidence; those that move nothing are left out."""
    found = (_episode(model, episode) for episode in written)
    return [episode for episode in found if episode is not None]


def _episode(model: Model, written: dict[str, Any]) -> Episode | None:
    kind, style, place = written["kind"], written["style"], written["place"]
    for rate in model.rates:
        if (rate.kind, rate.style) == (kind, style) and rate_place(model.observed, rate) == place:
            break
    else:
        raise InputError(
            "the case's tables do not have what its case.json names",
            found=f"no {kind} rate at {place}",
            fix="publish it again",
        )
    hours = np.ones(len(model.observed.hours), dtype=bool)
    for first, last in written["busy"]:
        hours[first:last] = False
    episode = episode_of(model, rate, Shift(*written["shift"]), hours)
    return replace(episode, baseline_hours=hours) if episode is not None else None
