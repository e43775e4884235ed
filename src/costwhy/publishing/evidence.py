"""The data that a spike rests on, and its case made again from these few tables alone.

What is kept: the meters that the spike moved, by the hour; the calls of the services from its
cause down to those meters, and the calls into them; calls from outside, which show holidays; the
changes that were weighed; who is asked for; what was covered.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.behaviours import CAPACITY, ON_EDGES, RETRIES
from costwhy.case.analysis import KeptEvidence, LakeAnalysis
from costwhy.case.attribution import resources_of
from costwhy.case.case import Case
from costwhy.case.investigate import case_of
from costwhy.case.leaves import leaves_of
from costwhy.causes.changes import LOOK_BACK, UNDO_AFTER, KnownChanges, hour_of
from costwhy.errors import InputError
from costwhy.model.observed import Edge, Observed
from costwhy.model.rates import Model, Rate, fit
from costwhy.spikes.detect import Episode, Spike, episode_of
from costwhy.spikes.dollars import dollars_of, spike_row
from costwhy.spikes.shifts import Shift
from costwhy.tables import METER
from costwhy.text import currency_code, iso_time

SEVERAL = 6  # hours around the onset in which a service counts as begun with it
SERIES = ("service", "team")
METER_GRIDS = ("usage", "cost", "covered", "covered_cost")  # of Observed: M x T
EDGE_GRIDS = ("calls", RETRIES)  # of Observed: E x T
KEPT_BESIDE = ("doing", "call", "usual", "calm")  # of KnownChanges; calm: outside production
REPORTED = CAPACITY  # the table of instances that were reported


@dataclass(frozen=True)
class Evidence:
    """What was found, apart from its numbers, and the tables that the numbers are made from.

    about      workspace, currency, lake_version, first hour, hours, billed
    spike      start, end, episodes: its window, and the rates that left their baseline
    resources  those that were first billed when it began
    ended      those that were last billed then
    tables     by name: meters, meter_hours, edges, edge_hours, capacity, leaves, recorded,
               changes, catalog, series, seen, owners
    """

    about: dict[str, Any]
    spike: dict[str, Any]
    resources: tuple[str, ...]
    ended: tuple[str, ...]
    tables: dict[str, pl.DataFrame]

    @property
    def all_resources(self) -> tuple[str, ...]:
        """Those that began, and those that ended."""
        return (*self.resources, *self.ended)


def collect_evidence(analysis: LakeAnalysis, spike_id: str) -> Evidence:
    """The evidence of the spike of that id. Raises KeyError where there is none."""
    dollars = {row.spike_id: dollars for dollars, row in analysis.found}[spike_id]
    observed, model, spike = analysis.observed, analysis.model, dollars.spike
    if spike is None:
        raise KeyError(spike_id)
    meters = sorted(
        {
            *np.flatnonzero(np.abs(dollars.excess).sum(axis=1) > 0).tolist(),
            *(e.rate.row for e in spike.episodes if e.rate.kind not in ON_EDGES),
        }
    )
    edges = _edges(model, spike, meters)
    billed = observed.meters["service"][meters].drop_nulls()
    services = {*(observed.edges[e].service for e in edges), *billed}
    resources = resources_of(analysis, dollars)
    return Evidence(
        about={
            "workspace": analysis.lake.workspace,
            "currency": analysis.lake.currency,
            "lake_version": analysis.lake.version,
            "first": iso_time(observed.hours[0]),
            "hours": len(observed.hours),
            "billed": observed.billed,
            **_charges(observed, meters),
        },
        spike={
            "start": spike.start,
            "end": spike.end,
            "episodes": [_episode(observed, episode) for episode in spike.episodes],
        },
        resources=resources.began,
        ended=resources.ended,
        tables={
            **_hours(observed, meters, edges),
            **_context(analysis, spike, services),
            "leaves": leaves_of(analysis, dollars),
            "owners": case_of(analysis, dollars, spike_row(model, dollars)).owners.filter(
                pl.col("role").is_in(["owner", "owner_then"])
            ),
        },
    )


def open_evidence(place: str | Path) -> Evidence:
    """The evidence of a published case. Raises InputError for a currency that is none."""
    folder = Path(place)
    outline = json.loads((folder / "case.json").read_text(encoding="utf-8"))["outline"]
    currency_code(outline["about"]["currency"], folder / "case.json")
    return Evidence(
        outline["about"],
        outline["spike"],
        tuple(outline["resources"]),
        tuple(outline.get("ended", ())),
        {
            file.stem: pl.read_parquet(file)
            for file in sorted((folder / "inputs").glob("*.parquet"))
        },
    )


def rate_place(observed: Observed, rate: Rate) -> dict[str, Any]:
    """Where a rate stands: its edge, or its meter."""
    return (
        {"service": rate.service, "caller": rate.caller}
        if rate.kind in ON_EDGES
        else dict(zip(METER, observed.meters.row(rate.row), strict=True))
    )


def _episode(observed: Observed, episode: Episode) -> dict[str, Any]:
    rate, shift = episode.rate, episode.shift
    busy = np.concatenate([[0], (~episode.baseline_hours).astype(np.int8), [0]])
    return {
        "kind": rate.kind,
        "style": rate.style,
        "place": rate_place(observed, rate),
        "shift": [shift.since, shift.start, shift.end, shift.size, shift.ramp],
        "busy": np.flatnonzero(np.diff(busy)).reshape(-1, 2).tolist(),  # stretches [first, last)
    }


def _edges(model: Model, spike: Spike, meters: list[int]) -> list[int]:
    """Edges into and out of the services from the cause down to the meters, and from outside.

    The services that call one of these count too.
    """
    observed = model.observed
    named = {
        *observed.meters["service"][meters],
        *(name for e in spike.episodes for name in (e.rate.service, e.rate.caller)),
    }
    begun = {
        name
        for name, row in observed.service_rows.items()
        if abs(model.service_first_hour[row] - spike.start) <= SEVERAL
    }
    inside = observed.reach(begun | {name for name in named if name is not None})
    callers = {edge.caller for edge in observed.edges if edge.internal and edge.service in inside}
    return [
        row
        for row, edge in enumerate(observed.edges)
        if edge.service in inside | callers or edge.caller in inside or edge.caller is None
    ]


def _hours(observed: Observed, meters: list[int], edges: list[int]) -> dict[str, pl.DataFrame]:
    pairs = [(observed.edges[e].service, observed.edges[e].caller) for e in edges]
    reported = [
        (service, t, value)
        for service in sorted({service for service, _ in pairs})
        for t, value in enumerate(observed.capacity.get(service, ()))
    ]
    return {
        "meters": observed.meters[meters],
        "meter_hours": _sparse(observed, METER_GRIDS, meters),
        "edges": pl.DataFrame(
            pairs, schema={"service": pl.String, "caller": pl.String}, orient="row"
        ),
        "edge_hours": _sparse(observed, EDGE_GRIDS, edges),
        REPORTED: pl.DataFrame(
            reported,
            schema={"service": pl.String, "t": pl.Int64, REPORTED: pl.Float64},
            orient="row",
        ),
    }


def _sparse(observed: Observed, names: Sequence[str], rows: list[int]) -> pl.DataFrame:
    """(row, t, values) of the hours in which anything is not zero."""
    grids = {name: getattr(observed, name)[rows] for name in names}
    row, t = np.nonzero(np.any([grid != 0 for grid in grids.values()], axis=0))
    return pl.DataFrame(
        {
            "row": row.astype(np.int64),
            "t": t.astype(np.int64),
            **{name: grid[row, t] for name, grid in grids.items()},
        }
    )


def _context(analysis: LakeAnalysis, spike: Spike, services: set[str]) -> dict[str, pl.DataFrame]:
    observed, known, frames = analysis.observed, analysis.known_changes, analysis.frames
    begin = observed.hours[min([spike.start, *(e.shift.since for e in spike.episodes)])]
    first = observed.hours[0]
    end = observed.as_of if spike.end is None else first + timedelta(hours=spike.end)
    part = known.between(begin - LOOK_BACK - timedelta(hours=1), end + UNDO_AFTER)
    shown = frames["changes"].filter(
        pl.col("time").is_between(observed.hours[spike.start] - timedelta(days=7), observed.as_of)
    )
    names = services | {name for name in known.service[part] if name is not None}
    actors = {*known.rows["actor"][part].to_list(), *shown["actor"].to_list()} - {None, ""}
    return {
        "recorded": known.rows[part].with_columns(
            doing=pl.Series(known.doing[part], dtype=pl.String),
            call=pl.Series(known.call[part], dtype=pl.String),
            usual=known.usual[part],
            calm=known.outside_production[part],
        ),
        "changes": shown,
        "catalog": _catalog(frames["catalog"], names, actors),
        "series": frames["series"].filter(pl.col("service").is_in(sorted(names))).select(SERIES),
        "seen": frames["seen"]
        .group_by("source", "hour")
        .agg(pl.col("records").sum())
        .sort("source", "hour"),
    }


def _catalog(catalog: pl.DataFrame, services: set[str], actors: Iterable[str]) -> pl.DataFrame:
    """Entries of these services, of the people among the actors, all groups and path rules."""
    people = [actor.lower() for actor in actors]
    person = pl.any_horizontal(
        pl.col("name").str.to_lowercase().is_in([person.split("@")[0] for person in people]),
        *(pl.col(column).str.to_lowercase().is_in(people) for column in ("email", "title")),
    ).fill_null(value=False)
    return catalog.filter(
        ((pl.col("kind") == "user") & person)
        | pl.col("kind").is_in(["group", "path"])
        | pl.col("name").is_in(sorted(services))
    )


# ---------------------------------------------------------------- the case again


@dataclass(frozen=True)
class _CaseLake:
    """Whose lake it was; its tables are those of the case."""

    workspace: str
    currency: str
    version: int
    place: str
    frames: dict[str, pl.DataFrame]
    config: Mapping[str, Any] = field(default_factory=dict)

    def table(self, name: str, /, columns: Sequence[str] | None = None) -> pl.DataFrame:
        return self.frames[name].select(columns or pl.all())

    def scan(self, name: str, /) -> pl.LazyFrame:
        return self.frames[name].lazy()

    def history(self, _name: str) -> list[tuple[datetime, pl.DataFrame]]:
        return []


def investigate_again(place: str | Path) -> Case:
    """A published case, made again from its own data alone."""
    return recompute(open_evidence(place))


def recompute(evidence: Evidence) -> Case:
    """The case. Raises InputError where a rate of the evidence is not in its tables."""
    about, frames, written = evidence.about, evidence.tables, evidence.spike
    observed = observed_of(evidence)
    model = fit(observed)
    episodes = (_episode_again(model, episode) for episode in written["episodes"])
    spike = Spike(written["start"], written["end"], tuple(filter(None, episodes)))
    dollars = dollars_of(model, spike)
    return case_of(
        LakeAnalysis(
            _CaseLake(about["workspace"], about["currency"], about["lake_version"], "", frames),
            observed,
            model,
            (),
            frames,
            _known_changes(frames["recorded"]),
            KeptEvidence(
                frames["leaves"],
                frozenset(evidence.resources),
                frozenset(evidence.ended),
                frames.get("owners"),
            ),
        ),
        dollars,
        spike_row(model, dollars),
    )


def observed_of(evidence: Evidence) -> Observed:
    """What was observed of this part of the company."""
    about, frames = evidence.about, evidence.tables
    first, width = datetime.fromisoformat(about["first"]), int(about["hours"])
    edges = tuple(Edge(service, caller) for service, caller in frames["edges"].iter_rows())
    return Observed(
        hours=tuple(first + timedelta(hours=k) for k in range(width)),
        billed=int(about["billed"]),
        services=tuple(
            sorted(
                {edge.service for edge in edges}
                | {edge.caller for edge in edges if edge.internal and edge.caller}
            )
        ),
        edges=edges,
        capacity={
            str(service): rows.sort("t")[REPORTED].to_numpy()
            for (service,), rows in frames[REPORTED].partition_by("service", as_dict=True).items()
        },
        meters=frames["meters"],
        **_charges_of(about),
        **_dense(frames["edge_hours"], (len(edges), width), EDGE_GRIDS),
        **_dense(frames["meter_hours"], (frames["meters"].height, width), METER_GRIDS),
    )


def _charges(observed: Observed, meters: list[int]) -> dict[str, list[int]]:
    """Length and begin of the charges of these meters, where some are longer than an hour."""
    if observed.lengths is None or observed.begins is None or (observed.lengths <= 1).all():
        return {}
    return {
        "lengths": observed.lengths[meters].tolist(),
        "begins": observed.begins[meters].tolist(),
    }


def _charges_of(about: dict[str, Any]) -> dict[str, Any]:
    kept = {name: about.get(name) for name in ("lengths", "begins")}
    return {name: np.array(values) for name, values in kept.items() if values is not None}


def _dense(rows: pl.DataFrame, shape: tuple[int, int], names: tuple[str, ...]) -> dict[str, Any]:
    grids = {name: np.zeros(shape) for name in names}
    for name, grid in grids.items():
        grid[rows["row"].to_numpy(), rows["t"].to_numpy()] = rows[name].to_numpy()
    return grids


def _known_changes(rows: pl.DataFrame) -> KnownChanges:
    return KnownChanges(
        rows.drop(KEPT_BESIDE),
        np.array([hour_of(time) for time in rows["time"]], dtype=float),
        usual=rows["usual"].to_numpy(),
        outside_production=rows["calm"].to_numpy(),
        **{name: rows[name].to_numpy().astype(object) for name in ("service", "doing", "call")},
    )


def _episode_again(model: Model, written: dict[str, Any]) -> Episode | None:
    """An episode that is written in the evidence; None where it moves nothing."""
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
