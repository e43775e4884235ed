"""The data that a spike rests on: from these few tables every number of its case is made again.

What is kept: the meters that the spike moved, by the hour; the calls of the services from its
cause down to those meters, and the calls into them; calls from outside, which show holidays; the
changes that were weighed; who is asked for; what was covered.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.behaviours import ON_EDGES
from costwhy.case.analysis import LakeAnalysis
from costwhy.case.attribution import new_resources
from costwhy.case.frames import leaves_of
from costwhy.case.investigate import case_of
from costwhy.causes.evidence import LOOK_BACK, UNDO_AFTER
from costwhy.model.observed import Observed
from costwhy.model.rates import Model, Rate
from costwhy.spikes.detect import Episode, Spike
from costwhy.spikes.dollars import spike_row
from costwhy.tables import METER
from costwhy.text import currency_code, iso_time

SEVERAL = 6  # hours around the onset in which a service counts as begun with it
SERIES = ("service", "team")
METER_GRIDS = ("usage", "cost", "covered", "covered_cost")  # of Observed: M x T
EDGE_GRIDS = ("calls", "retries")  # of Observed: E x T
KEPT_BESIDE = ("doing", "call", "usual", "calm")  # of KnownChanges; calm: outside production
REPORTED = "capacity"  # the table of instances that were reported


@dataclass(frozen=True)
class Evidence:
    """What was found, apart from its numbers, and the tables that the numbers are made from.

    about      workspace, currency, lake_version, first hour, hours, billed
    spike      start, end, episodes: its window, and the rates that left their baseline
    resources  those that were first billed when it began
    tables     by name: meters, meter_hours, edges, edge_hours, capacity, leaves, recorded,
               changes, catalog, series, seen, owners
    """

    about: dict[str, Any]
    spike: dict[str, Any]
    resources: tuple[str, ...]
    tables: dict[str, pl.DataFrame]

    @property
    def outline(self) -> dict[str, Any]:
        """What case.json has of it; the tables are files of their own."""
        return {"about": self.about, "spike": self.spike, "resources": self.resources}


def collect_evidence(analysis: LakeAnalysis, spike_id: str) -> Evidence:
    """The evidence of the spike of that id. Raises KeyError where there is none."""
    dollars = {row.spike_id: dollars for dollars, row in analysis.found}[spike_id]
    observed, model, spike = analysis.observed, analysis.model, dollars.spike
    if spike is None:
        raise KeyError(spike_id)
    touched = np.flatnonzero(np.abs(dollars.excess).sum(axis=1) > 0).tolist()
    own = (e.rate.row for e in spike.episodes if e.rate.kind not in ON_EDGES)
    meters = sorted({*touched, *own})
    edges = _edges(model, spike, meters)
    services = {observed.edges[e].service for e in edges}
    services |= set(observed.meters["service"][meters].drop_nulls().to_list())
    owners = case_of(analysis, dollars, spike_row(model, dollars)).owners
    return Evidence(
        about={
            "workspace": analysis.lake.workspace,
            "currency": analysis.lake.currency,
            "lake_version": analysis.lake.version,
            "first": iso_time(observed.hours[0]),
            "hours": len(observed.hours),
            "billed": observed.billed,
        },
        spike={
            "start": spike.start,
            "end": spike.end,
            "episodes": [_episode(observed, episode) for episode in spike.episodes],
        },
        resources=tuple(sorted(new_resources(analysis, dollars))),
        tables={
            **_hours(observed, meters, edges),
            **_context(analysis, spike, services),
            "leaves": leaves_of(model, dollars),
            "owners": owners.filter(pl.col("role").is_in(["owner", "owner_then"])),
        },
    )


def open_evidence(place: str | Path) -> Evidence:
    """The evidence of a published case. Raises InputError for a currency that is none."""
    folder = Path(place)
    outline = json.loads((folder / "case.json").read_text(encoding="utf-8"))["outline"]
    currency_code(outline["about"]["currency"], folder / "case.json")
    files = sorted((folder / "inputs").glob("*.parquet"))
    return Evidence(
        outline["about"],
        outline["spike"],
        tuple(outline["resources"]),
        {file.stem: pl.read_parquet(file) for file in files},
    )


def rate_place(observed: Observed, rate: Rate) -> dict[str, Any]:
    """Where a rate stands: its edge, or its meter."""
    if rate.kind in ON_EDGES:
        return {"service": rate.service, "caller": rate.caller}
    return dict(zip(METER, observed.meters.row(rate.row), strict=True))


def _episode(observed: Observed, episode: Episode) -> dict[str, Any]:
    rate, shift = episode.rate, episode.shift
    return {
        "kind": rate.kind,
        "style": rate.style,
        "place": rate_place(observed, rate),
        "shift": [shift.since, shift.start, shift.end, shift.size, shift.ramp],
        "busy": _stretches(~episode.baseline_hours),
    }


def _stretches(mask: np.ndarray) -> list[list[int]]:
    """Stretches [first, last) where the mask is true."""
    ends = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [[int(first), int(last)] for first, last in ends.reshape(-1, 2)]


def _edges(model: Model, spike: Spike, meters: list[int]) -> list[int]:
    """Edges into and out of the services from the cause down to the meters, and from outside.

    The services that call one of these count too.
    """
    observed = model.observed
    named = {name for e in spike.episodes for name in (e.rate.service, e.rate.caller)}
    named |= set(observed.meters["service"][meters].to_list())
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
    """Usage, cost, calls and reported capacity, by the hour."""
    pairs = [(observed.edges[e].service, observed.edges[e].caller) for e in edges]
    columns = {"service": pl.String, "t": pl.Int64, REPORTED: pl.Float64}
    reported = [
        (service, t, value)
        for service in sorted({service for service, _ in pairs})
        for t, value in enumerate(observed.capacity.get(service, ()))
    ]
    named = {"service": pl.String, "caller": pl.String}
    return {
        "meters": observed.meters[meters],
        "meter_hours": _sparse(observed, METER_GRIDS, meters),
        "edges": pl.DataFrame(pairs, schema=named, orient="row"),
        "edge_hours": _sparse(observed, EDGE_GRIDS, edges),
        REPORTED: pl.DataFrame(reported, schema=columns, orient="row"),
    }


def _sparse(observed: Observed, names: Sequence[str], rows: list[int]) -> pl.DataFrame:
    """(row, t, values) of the hours in which anything is not zero."""
    grids = {name: getattr(observed, name)[rows] for name in names}
    row, t = np.nonzero(np.any([grid != 0 for grid in grids.values()], axis=0))
    values = {name: grid[row, t] for name, grid in grids.items()}
    return pl.DataFrame({"row": row.astype(np.int64), "t": t.astype(np.int64), **values})


def _context(analysis: LakeAnalysis, spike: Spike, services: set[str]) -> dict[str, pl.DataFrame]:
    """Changes, catalogue, tags and coverage as far as the case uses them."""
    observed, known, frames = analysis.observed, analysis.known_changes, analysis.frames
    begin = observed.hours[min([spike.start, *(e.shift.since for e in spike.episodes)])]
    end = observed.as_of
    if spike.end is not None:
        end = observed.hours[0] + timedelta(hours=spike.end)
    part = known.between(begin - LOOK_BACK - timedelta(hours=1), end + UNDO_AFTER)
    week_before = observed.hours[spike.start] - timedelta(days=7)
    shown = frames["changes"].filter(pl.col("time").is_between(week_before, observed.as_of))
    names = services | {name for name in known.service[part] if name is not None}
    actors = {*known.rows["actor"][part].to_list(), *shown["actor"].to_list()} - {None, ""}
    seen = frames["seen"].group_by("source", "hour").agg(pl.col("records").sum())
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
        "seen": seen.sort("source", "hour"),
    }


def _catalog(catalog: pl.DataFrame, services: set[str], actors: Iterable[str]) -> pl.DataFrame:
    """Entries of these services, of the people among the actors, all groups and path rules."""
    people = [actor.lower() for actor in actors]
    names = [person.split("@")[0] for person in people]
    person = pl.any_horizontal(
        pl.col("name").str.to_lowercase().is_in(names),
        *(pl.col(column).str.to_lowercase().is_in(people) for column in ("email", "title")),
    ).fill_null(value=False)
    user = (pl.col("kind") == "user") & person
    rule = pl.col("kind").is_in(["group", "path"])
    return catalog.filter(user | rule | pl.col("name").is_in(sorted(services)))
