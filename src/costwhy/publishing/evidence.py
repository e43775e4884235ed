"""A spike with the data that it rests on, and nothing else: from these few tables every number of the case is made again.

What is kept: the meters that the spike moved, by the hour; the calls of the services from its cause down to those meters,
and into them; calls from outside, which tell holidays; the changes that were weighed; who is asked for; what was covered.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.arrays import Array
from costwhy.behaviours import ON_EDGES
from costwhy.case.analysis import KeptEvidence, LakeAnalysis
from costwhy.case.attribution import new_resources
from costwhy.case.case import Case
from costwhy.case.frames import leaves_of
from costwhy.case.investigate import case_of
from costwhy.causes.changes import KnownChanges, hour_of
from costwhy.causes.triggers import LOOK_BACK, UNDOING
from costwhy.errors import InputError
from costwhy.model.observed import Edge, Observed
from costwhy.model.rates import Model, Rate, fit
from costwhy.spikes.detect import Episode, Spike, episode_of
from costwhy.spikes.dollars import dollars_of
from costwhy.spikes.shifts import Shift
from costwhy.spikes.summary import spike_row
from costwhy.tables import METER

SEVERAL = 6  # hours around the onset in which a service counts as begun with it
SERIES = ("service", "team")
EVIDENCE = ("doing", "call", "usual", "calm")  # of `Recorded`, beside the change itself


@dataclass(frozen=True)
class Outline:
    """What was found, apart from its numbers: JSON of a spike's window and of the rates that left their normal."""

    about: dict[str, Any]  # workspace, currency, lake_version, first hour, hours, billed
    spike: dict[str, Any]  # start, end, episodes
    resources: tuple[str, ...]


@dataclass(frozen=True)
class Frozen:
    """An outline and its tables (name -> frame): meters, meter_hours, edges, edge_hours, capacity, leaves, recorded, changes, catalog, series, seen, owners."""

    outline: Outline
    tables: dict[str, pl.DataFrame]


# ---------------------------------------------------------------- what to keep


def freeze(study: LakeAnalysis, spike_id: str) -> Frozen:
    """The spike of that id with its part of the data. Raises KeyError where there is none."""
    a = next(a for a, row in study.found if row["spike_id"] == spike_id)
    o, spike = study.observed, a.spike
    if spike is None:
        raise KeyError(spike_id)
    touched = np.flatnonzero(np.abs(a.excess).sum(axis=1) > 0).tolist()
    meters = sorted({*touched, *(e.rate.row for e in spike.episodes if e.rate.kind not in ON_EDGES)})
    edges = _edges(study.model, spike, [o.meters["service"][m] for m in meters])
    about = {
        "workspace": study.lake.workspace,
        "currency": study.lake.currency,
        "lake_version": study.lake.version,
        "first": f"{o.hours[0]:%Y-%m-%dT%H:%M:%SZ}",
        "hours": len(o.hours),
        "billed": o.billed,
    }
    outline = Outline(about, _spike(o, spike), tuple(sorted(new_resources(study, a))))
    services = {o.edges[e].service for e in edges} | {o.meters["service"][m] for m in meters}
    owners = case_of(study, a, spike_row(study.model, a)).owners.filter(pl.col("role").is_in(["owner", "owner_then"]))
    whole = {"leaves": leaves_of(study.model, a), "owners": owners}
    return Frozen(outline, _observed_tables(o, meters, edges) | _context(study, spike, services) | whole)


def _edges(model: Model, spike: Spike, services: Iterable[str | None]) -> list[int]:
    """Edges into and out of the services from the cause down to the meters, into their callers, and from outside."""
    o = model.observed
    inside = {s for s in services if s is not None} | {
        s for e in spike.episodes for s in (e.rate.service, e.rate.caller) if s in o.services
    }
    inside |= {s for k, s in enumerate(o.services) if abs(model.service_first_hour[k] - spike.start) <= SEVERAL}
    inside |= o.reach(inside)
    around = inside | {str(edge.caller) for edge in o.edges if edge.internal and edge.service in inside}
    return [e for e, edge in enumerate(o.edges) if edge.service in around or edge.caller in inside or edge.caller is None]


def _spike(o: Observed, spike: Spike) -> dict[str, Any]:
    return {"start": spike.start, "end": spike.end, "episodes": [_episode(o, e) for e in spike.episodes]}


def _episode(o: Observed, e: Episode) -> dict[str, Any]:
    rate, shift = e.rate, e.shift
    place = (
        {"service": rate.service, "caller": rate.caller} if rate.kind in ON_EDGES else dict(zip(METER, o.meters.row(rate.row), strict=True))
    )
    return {
        "kind": rate.kind,
        "style": rate.style,
        "place": place,
        "shift": [shift.since, shift.start, shift.end, shift.size, shift.ramp],
        "busy": _runs(~e.baseline_hours),
    }


def _runs(mask: np.ndarray) -> list[list[int]]:
    """Stretches [first, last) where the mask is true."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [[int(a), int(b)] for a, b in edges.reshape(-1, 2)]


def _observed_tables(o: Observed, meters: list[int], edges: list[int]) -> dict[str, pl.DataFrame]:
    names = sorted({o.edges[e].service for e in edges})
    capacity = [
        pl.DataFrame({"service": [s] * len(o.hours), "t": range(len(o.hours)), "capacity": o.capacity[s]}) for s in names if s in o.capacity
    ]
    empty = pl.DataFrame(schema={"service": pl.String, "t": pl.Int64, "capacity": pl.Float64})
    return {
        "meters": o.meters[meters],
        "meter_hours": _sparse({n: getattr(o, n)[meters] for n in ("usage", "cost", "covered", "covered_cost")}),
        "edges": pl.DataFrame(
            {"service": [o.edges[e].service for e in edges], "caller": [o.edges[e].caller for e in edges]},
            schema={"service": pl.String, "caller": pl.String},
        ),
        "edge_hours": _sparse({"calls": o.calls[edges], "retries": o.retries[edges]}),
        "capacity": pl.concat([empty, *capacity]),
    }


def _sparse(grids: dict[str, Array]) -> pl.DataFrame:
    """Rows (row, t, values) of the hours in which anything is not zero."""
    some = np.any([grid != 0 for grid in grids.values()], axis=0)
    row, t = np.nonzero(some)
    return pl.DataFrame({"row": row.astype(np.int64), "t": t.astype(np.int64), **{n: grid[row, t] for n, grid in grids.items()}})


def _context(study: LakeAnalysis, spike: Spike, services: set[str | None]) -> dict[str, pl.DataFrame]:
    """Changes, catalogue, tags and coverage as far as the case speaks of them."""
    o, r, frames = study.observed, study.known_changes, study.frames
    begin = o.hours[min([spike.start, *(e.shift.since for e in spike.episodes)])]
    end = o.hours[0] + timedelta(hours=spike.end) if spike.end is not None else o.as_of
    part = r.between(begin - LOOK_BACK - timedelta(hours=1), end + UNDOING[1])
    shown = frames["changes"].filter(pl.col("time").is_between(o.hours[spike.start] - timedelta(days=7), o.as_of))
    named = {s for s in r.service[part] if s is not None} | services
    catalog = frames["catalog"]
    actors = [str(x).lower() for x in {*r.rows["actor"][part].to_list(), *shown["actor"].to_list()} if x]
    person = pl.any_horizontal(
        pl.col("name").str.to_lowercase().is_in([x.split("@")[0] for x in actors]),
        *(pl.col(n).str.to_lowercase().is_in(actors) for n in ("email", "title")),
    ).fill_null(value=False)
    wanted = ((pl.col("kind") == "user") & person) | pl.col("kind").is_in(["group", "path"]) | pl.col("name").is_in([s for s in named if s])
    return {
        "recorded": r.rows[part].with_columns(
            doing=pl.Series(r.doing[part], dtype=pl.String),
            call=pl.Series(r.call[part], dtype=pl.String),
            usual=r.usual[part],
            calm=r.outside_production[part],
        ),
        "changes": shown,
        "catalog": catalog.filter(wanted),
        "series": frames["series"].filter(pl.col("service").is_in([s for s in named if s])).select(SERIES),
        "seen": frames["seen"].group_by("source", "hour").agg(records=pl.col("records").sum()).sort("source", "hour"),
    }


# ---------------------------------------------------------------- made again


def investigate_frozen(frozen: Frozen) -> Case:
    """The case, made from its own data alone. Raises InputError where a rate of its outline is not in the data."""
    o, outline, frames = observed_of(frozen), frozen.outline, frozen.tables
    model = fit(o)
    a = dollars_of(model, _spike_again(model, outline.spike))
    kept = KeptEvidence(frames["leaves"], frozenset(outline.resources), frames.get("owners"))
    lake = _About(outline.about["workspace"], outline.about["currency"], outline.about["lake_version"], "", frames)
    study = LakeAnalysis(lake, o, model, (), frames, recorded_of(frames["recorded"]), kept)
    return case_of(study, a, spike_row(model, a))


@dataclass(frozen=True)
class _About:
    """Whose lake it was; its tables are those of the case."""

    workspace: str
    currency: str
    version: int
    place: str
    frames: dict[str, pl.DataFrame]

    def table(self, name: str) -> pl.DataFrame:
        return self.frames[name]


def observed_of(frozen: Frozen) -> Observed:
    """What was observed of this part of the company."""
    about, frames = frozen.outline.about, frozen.tables
    first = datetime.fromisoformat(about["first"])
    width = int(about["hours"])
    hours = tuple(first + timedelta(hours=k) for k in range(width))
    edges = tuple(Edge(service, caller) for service, caller in frames["edges"].iter_rows())
    services = tuple(sorted({e.service for e in edges} | {e.caller for e in edges if e.internal and e.caller}))
    calls = _dense(frames["edge_hours"], (len(edges), width), ("calls", "retries"))
    meters = _dense(frames["meter_hours"], (frames["meters"].height, width), ("usage", "cost", "covered", "covered_cost"))
    capacity = {
        str(name): rows.sort("t")["capacity"].to_numpy()
        for (name,), rows in frames["capacity"].partition_by("service", as_dict=True).items()
    }
    return Observed(hours, int(about["billed"]), services, edges, calls[0], calls[1], capacity, frames["meters"], *meters)


def _dense(rows: pl.DataFrame, shape: tuple[int, int], names: tuple[str, ...]) -> list[Array]:
    grids = [np.zeros(shape) for _ in names]
    for grid, name in zip(grids, names, strict=True):
        grid[rows["row"].to_numpy(), rows["t"].to_numpy()] = rows[name].to_numpy()
    return grids


def recorded_of(rows: pl.DataFrame) -> KnownChanges:
    """Changes with the evidence that was kept beside them."""
    texts = [rows[n].to_numpy().astype(object) for n in ("service", "doing", "call")]
    hours = np.array([hour_of(t) for t in rows["time"]], dtype=float)
    return KnownChanges(rows.drop(EVIDENCE), hours, texts[0], texts[1], texts[2], rows["usual"].to_numpy(), rows["calm"].to_numpy())


def _spike_again(model: Model, told: dict[str, Any]) -> Spike:
    episodes = tuple(e for e in (_episode_again(model, part) for part in told["episodes"]) if e is not None)
    return Spike(told["start"], told["end"], episodes)


def _episode_again(model: Model, told: dict[str, Any]) -> Episode | None:
    rate = next(
        (r for r in model.rates if r.kind == told["kind"] and r.style == told["style"] and _stands_at(model, r, told["place"])), None
    )
    if rate is None:
        raise InputError(
            "the case's data do not have what its outline names",
            found=f"no {told['kind']} rate at {told['place']}",
            todo="publish it again",
        )
    quiet = np.ones(len(model.observed.hours), dtype=bool)
    for first, last in told["busy"]:
        quiet[first:last] = False
    since, start, end, size, ramp = told["shift"]
    episode = episode_of(model, rate, Shift(since, start, end, size, ramp), quiet)
    return replace(episode, baseline_hours=quiet) if episode is not None else None


def _stands_at(model: Model, rate: Rate, place: dict[str, Any]) -> bool:
    if rate.kind in ON_EDGES:
        return {"service": rate.service, "caller": rate.caller} == place
    return dict(zip(METER, model.observed.meters.row(rate.row), strict=True)) == place


def open_frozen(place: str | Path) -> Frozen:
    """The data of a published case, from which its numbers can be made again."""
    folder = Path(place)
    outline = json.loads((folder / "case.json").read_text(encoding="utf-8"))["outline"]
    frames = {file.stem: pl.read_parquet(file) for file in sorted((folder / "inputs").glob("*.parquet"))}
    return Frozen(Outline(outline["about"], outline["spike"], tuple(outline["resources"])), frames)


def investigate_again(place: str | Path) -> Case:
    """The case, made anew from its own data alone."""
    return investigate_frozen(open_frozen(place))
