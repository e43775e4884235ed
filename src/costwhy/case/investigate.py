"""A case: one spike with everything that is known about it, frozen; and the contract's document over all of them."""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.accounts import Account, account, account_window, cents, spike_row
from costwhy.behaviour import Window, calls_with
from costwhy.drivers import find_drivers
from costwhy.errors import InputError, UsageError
from costwhy.nowcast import ledger, states
from costwhy.observed import METER, Observed, Tables, observe
from costwhy.owners import ORDER, Directory, budget_owner, find_lost_tags, find_owners, ownership_gap
from costwhy.rates import Model, fit
from costwhy.recorded import Recorded, find_recorded
from costwhy.spikes import find
from costwhy.triggers import Suspicion, Weighed, weigh

SHOWN_BEFORE = timedelta(days=7)  # of the timeline, before the spike
SHOWN_AFTER = timedelta(days=7)  # of the timeline, after its end
FEW_HOURS = 12  # a charge that occurs in fewer hours is a fee, not spend by the hour
LOG_DELAY = timedelta(minutes=15)  # CloudTrail delivers within it; a log file that holds a whole day is named by its last event
DRIVER_DIMENSIONS = ("SubAccountId", "RegionId", "service", "ServiceName", "x_UsageType", "x_Operation")
PLAN_SLACK = 1.25
ON_SIGNALS = frozenset({"demand", "schedule", "fan_out", "retries"})  # what calls show; capacity where it is reported


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
    clocks: pl.DataFrame
    calendar: float | None = None  # of two windows' totals, what their lengths make: dollars; None: no two windows were compared
    study: "Study | None" = field(default=None, repr=False, compare=False)  # what it was made from; None: opened from a published folder

    @property
    def total(self) -> float:
        """Excess of billed and estimated hours together."""
        return float(str(self.spike["excess_cost"])) + float(str(self.spike["nowcast_excess_cost"]))

    @property
    def a_day(self) -> float:
        """What a day of waiting costs: the excess of the last 24 hours, scaled up where it is younger; 0: ended."""
        if self.spike["status"] != "running" or not self.ledger.height:
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
        from costwhy.story import headline  # noqa: PLC0415  story reads cases; a case only borrows its first sentence

        return f"<Case {self.spike['spike_id']}: {headline(self)}>"


@dataclass(frozen=True)
class Study:
    """A lake as of a time, understood: what was observed, the model of it, the spikes."""

    lake: "Lake"
    observed: Observed
    model: Model
    found: "tuple[tuple[Account, dict[str, object]], ...]"  # each spike in money, with its row; largest rise first
    frames: dict[str, pl.DataFrame]
    recorded: Recorded  # changes that somebody may have decided
    kept: "Kept | None" = None  # of a published case

    @cached_property
    def directory(self) -> Directory:
        """Who runs what: asked in the order of costwhy.toml, as the lake's snapshot kept it."""
        config = getattr(self.lake, "config", {}).get("mapping", {})
        hourly = self.frames.get("hourly", tables.HOURLY.empty())
        if self.kept is not None:  # a published case keeps no bill from which tags could be dated
            hourly = tables.HOURLY.empty()
        dated = hourly.filter(pl.col("hour") < self.observed.billed_through)
        order = tuple(config.get("owners", ORDER))
        return Directory(self.frames["catalog"], self.frames["series"], order, self.recorded.rows, dated, _past(self.lake))


@dataclass(frozen=True)
class Kept:
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


_STUDIES: OrderedDict[tuple[str, int, datetime | None], Study] = OrderedDict()
_LOCK = threading.Lock()  # viewers of the app are threads of one process: each lake version is understood once


def study(lake: Lake, as_of: datetime | None = None) -> Study:
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
            _STUDIES[key] = Study(lake, observed, model, _found(model), frames, find_recorded(frames["changes"], names))
            while len(_STUDIES) > 4:
                _STUDIES.popitem(last=False)
        return _STUDIES[key]


def _found(model: Model) -> "tuple[tuple[Account, dict[str, object]], ...]":
    found = [(a, spike_row(model, a)) for a in (account(model, spike) for spike in find(model))]
    return tuple(sorted(found, key=lambda x: -float(x[0].hourly.sum())))


# ---------------------------------------------------------------- the tables of a case


def _behaviour(a: Account, excess: float) -> tuple[pl.DataFrame, float]:
    rows = [
        (*r.rate.name, cents(float(d[:, : a.billed].sum())), cents(float(d[:, a.billed :].sum())))
        for r, d in zip(a.resets, a.dollars, strict=True)
    ]
    frame = pl.DataFrame(rows, schema=tables.BEHAVIOUR.schema, orient="row")
    frame = frame.group_by("kind", "service", "caller", "usage_type", maintain_order=True).agg(
        pl.col("cost_change").sum(), pl.col("nowcast_change").sum()
    )
    frame = frame.with_columns(pl.col("cost_change", "nowcast_change").round(2) + 0.0).sort(
        (pl.col("cost_change") + pl.col("nowcast_change")).abs(), descending=True
    )
    return tables.BEHAVIOUR.fit(frame), cents(excess - float(frame["cost_change"].sum()))


def leaves_of(model: Model, a: Account) -> pl.DataFrame:
    """All meters in the spike's billed hours, those that it did not move too: what stands still shows what moved."""
    span = slice(a.window.start, a.window.start + a.billed)
    actual = model.cost[:, span].sum(axis=1)
    return model.observed.meters.select(DRIVER_DIMENSIONS).with_columns(
        actual_cost=actual, expected_cost=actual - a.excess[:, : a.billed].sum(axis=1)
    )


def _drivers(leaves: pl.DataFrame, excess: float) -> tuple[pl.DataFrame, float]:
    """Where in the bill the change sits."""
    found = find_drivers(leaves, dimensions=list(DRIVER_DIMENSIONS))
    rows = [
        (json.dumps({k: row[k] for k in DRIVER_DIMENSIONS if row[k] is not None}), cents(float(row["cost_change"])))
        for row in found.iter_rows(named=True)
    ]
    kept = [row for row in rows if row[1] != 0]
    return pl.DataFrame(kept, schema=tables.DRIVERS.schema, orient="row"), cents(excess - sum(d for _, d in kept))


def _shown(o: Observed, a: Account) -> slice:
    """The hours of the timeline: a week before the spike to a week after its end, or to now."""
    first = max(0, a.window.start - int(SHOWN_BEFORE / timedelta(hours=1)))
    return slice(first, min(len(o.hours), a.window.end + int(SHOWN_AFTER / timedelta(hours=1))))


def _timeline(model: Model, a: Account) -> pl.DataFrame:
    o, own, shown = model.observed, list(a.own), _shown(model.observed, a)
    actual = model.cost[own, shown].sum(axis=0)
    expected = actual.copy()
    expected[a.window.start - shown.start : a.window.end - shown.start] -= a.hourly
    return tables.TIMELINE.fit(
        pl.DataFrame(
            {
                "hour": list(o.hours[shown]),
                "actual_cost": actual,
                "expected_cost": expected,
                "estimated": np.arange(shown.start, shown.stop) >= o.billed,
                "state": states(o)[shown],
            }
        )
    )


def _ledger(model: Model, a: Account) -> pl.DataFrame:
    hours = list(model.observed.hours[a.window.hours])
    estimated = np.arange(len(hours)) >= a.billed
    if not a.resets:
        return tables.LEDGER.empty()
    frames = [
        pl.DataFrame({"hour": hours, "cost_change": d.sum(axis=0), "estimated": estimated}).with_columns(
            kind=pl.lit(r.rate.kind),
            service=pl.lit(r.rate.service, dtype=pl.String),
            caller=pl.lit(r.rate.caller, dtype=pl.String),
            usage_type=pl.lit(r.rate.usage_type, dtype=pl.String),
        )
        for r, d in zip(a.resets, a.dollars, strict=True)
    ]
    return tables.LEDGER.fit(pl.concat(frames))


def _calls(model: Model, a: Account) -> pl.DataFrame:
    """Calls and retries on the edges that the spike's rates stand on, and on those into the services that it moved most."""
    o = model.observed
    edges = sorted({r.rate.row for r in a.resets if r.rate.kind in {"demand", "schedule", "fan_out", "retries"}})
    if not edges:
        service = a.resets[0].rate.service if a.resets else None
        edges = [e for e, edge in enumerate(o.edges) if edge.service == service]
    if not edges:
        return tables.CALLS.empty()
    shown, frames = _shown(o, a), []
    then = _usual_calls(model, a)
    for e in edges[:4]:
        expected = o.calls[e, shown].copy()
        expected[a.window.start - shown.start : a.window.end - shown.start] = then[e]
        frame = pl.DataFrame(
            {"hour": list(o.hours[shown]), "calls": o.calls[e, shown], "retries": o.retries[e, shown], "expected_calls": expected}
        )
        frames.append(frame.with_columns(service=pl.lit(o.edges[e].service), caller=pl.lit(o.edges[e].caller or "outside")))
    return tables.CALLS.fit(pl.concat(frames))


def _usual_calls(model: Model, a: Account) -> np.ndarray:
    """Calls on each edge without the spike (E x W); as they were where they would not settle."""
    try:
        return calls_with(model, a.window, a.resets)[0]
    except InputError:
        return model.observed.calls[:, a.window.hours]


def _dependencies(model: Model, a: Account) -> pl.DataFrame:
    """Paths from the caller who caused it, over the services on the way, to the provider's service whose bill grew."""
    o, rows = model.observed, []
    for reset, dollars in zip(a.resets, a.dollars, strict=True):
        by_meter = dollars[:, : a.billed].sum(axis=1) if a.billed else dollars.sum(axis=1)
        sums: dict[tuple[str | None, str | None], float] = {}
        for m in a.own:
            key = (o.meters["service"][m], o.meters["ServiceName"][m])
            sums[key] = sums.get(key, 0.0) + float(by_meter[m])
        head = [p for p in (reset.rate.caller, reset.rate.service) if p is not None]
        for (service, name), value in sums.items():
            if abs(value) >= 0.01 * max(abs(float(by_meter.sum())), 0.01):
                rows.append({"path": [*_path(o, head, service), name or "charges"], "cost_change": cents(value)})
    frame = pl.DataFrame(rows, schema=tables.DEPENDENCIES.schema) if rows else tables.DEPENDENCIES.empty()
    return frame.sort(pl.col("cost_change").abs(), descending=True).head(20)


def _path(o: Observed, head: list[str], service: str | None) -> list[str]:
    """The shortest chain of calls from the end of `head` to the service."""
    if service is None or not head or head[-1] == service:
        return head or ([service] if service else [])
    ways, seen = [[head[-1]]], {head[-1]}
    while ways:
        way = ways.pop(0)
        for edge in o.edges:
            if edge.caller == way[-1] and edge.service not in seen:
                if edge.service == service:
                    return [*head[:-1], *way, service]
                seen.add(edge.service)
                ways.append([*way, edge.service])
    return [*head, service]


def new_resources(s: Study, a: Account) -> frozenset[str]:
    """Resources on the spike's own meters that were first billed on the day on which it began."""
    own = s.observed.meters[list(a.own)].unique()
    ids = s.frames["series"].join(own, on=list(METER), how="semi", nulls_equal=True)["series_id"]
    day = s.observed.hours[a.window.start].replace(hour=0)
    rows = s.frames["daily"].filter(pl.col("series_id").is_in(ids.implode()) & pl.col("ResourceId").is_not_null())
    first = rows.group_by("ResourceId").agg(pl.col("day").min())
    return frozenset(first.filter(pl.col("day").is_between(day, day + timedelta(days=1)))["ResourceId"].head(200).to_list())


def suspicion_of(s: Study, a: Account) -> Suspicion:
    """What a change must explain to have caused this spike."""
    model, o = s.model, s.observed
    weights = [abs(float(d.sum())) for d in a.dollars]
    whole = sum(weights) or 1.0
    callers: dict[str, frozenset[str]] = {}
    for edge in o.edges:
        if edge.internal and edge.caller is not None:
            callers[edge.service] = callers.get(edge.service, frozenset()) | {edge.caller}
    seasonal = bool(a.resets) and a.resets[0].rate.kind in {"demand", "unlinked_usage", "unmetered"}
    newborn = frozenset(
        s for k, s in enumerate(o.services) if model.service_born[k] > 72 and abs(model.service_born[k] - a.window.start) <= 6
    )
    accounts = frozenset(x for x in o.meters[list(a.own)]["SubAccountId"].to_list() if x is not None)
    return Suspicion(
        tuple((*r.rate.name, w / whole) for r, w in zip(a.resets, weights, strict=True)),
        o.hours[a.since],
        o.hours[a.window.start],
        timedelta(hours=4 if seasonal else 1),  # traffic swells rather than steps
        None if a.running else o.hours[0] + timedelta(hours=a.window.end),
        callers,
        newborn,
        accounts,
        new_resources(s, a) if s.kept is None else s.kept.resources,
    )


def _planned(weighed: Weighed, row: Mapping[str, object], hours: int, as_of: datetime) -> bool:
    """The best trigger carries a plan that is still valid and whose expected cost is not exceeded by more than a quarter."""
    if not weighed.triggers.height or weighed.triggers["probability"][0] <= weighed.no_recorded_change:
        return False
    best = weighed.triggers.row(0, named=True)
    if best["planned_reason"] is None or (best["planned_until"] is not None and best["planned_until"] < as_of):
        return False
    if best["planned_cost_per_day"] is None:
        return True
    excess = float(str(row["excess_cost"])) + float(str(row["nowcast_excess_cost"]))
    return excess / max(hours, 1) * 24 <= PLAN_SLACK * float(best["planned_cost_per_day"])


def _coverage(s: Study, a: Account) -> pl.DataFrame:
    """Which sources covered the week before the spike and the spike, with gaps, and what each would not show."""
    seen, o = s.frames["seen"], s.observed
    begin = max(o.hours[0], o.hours[a.window.start] - SHOWN_BEFORE)
    notes = {
        "cost": "what was used by a resource that the bill does not name",
        "signals": "calls that no signal is recorded for",
        "cloudtrail": "a change made by data-plane calls",
        "cdevents": "a change deployed without the delivery pipeline",
        "autoscaling": None,
    }
    rows = []
    for source in seen["source"].drop_nulls().unique().sort().to_list():
        hours = seen.filter(pl.col("source") == source)["hour"].unique().sort()
        inside = hours.filter((hours >= begin) & (hours < o.as_of))
        usual = source in {"cost", "signals"}
        gaps = _gaps(inside.to_list(), usual=usual)
        until = hours.max() + timedelta(hours=1)  # type: ignore[operator]
        until = min(until, o.billed_through) if source == "cost" else until  # of all accounts, as everywhere
        rows.append((source, hours.min(), until, gaps, notes.get(source)))
    return pl.DataFrame(rows, schema=tables.COVERAGE.schema, orient="row")


def _clocks(s: Study, a: Account, change: Mapping[str, object] | None) -> pl.DataFrame:
    """Two clocks: when each thing happened, and when it could first be known. Bills are as late as the newest one is today."""
    o, hour = s.observed, timedelta(hours=1)
    start = o.hours[a.window.start]
    late = o.as_of - o.billed_through
    rows = [("bill", start, start + hour + late, f"the first hour of it is on a bill that comes {late / hour:.0f} h later")]
    lead = a.resets[0].rate if a.resets else None
    if lead is not None and (lead.kind in ON_SIGNALS or (lead.kind == "capacity" and lead.service in o.capacity)):
        rows.insert(0, ("signals", start, start + hour, "the signals show it at the end of its first hour"))
    if change is not None:
        time, known = change["time"], change["known_at"]
        assert isinstance(time, datetime)  # noqa: S101  the table's type
        known = min(known, time + LOG_DELAY) if isinstance(known, datetime) else time
        rows.insert(0, ("change", time, known, f"the record of the change arrives {(known - time) / timedelta(minutes=1):.0f} min later"))
    if not a.running:
        end = o.hours[0] + timedelta(hours=a.window.end)
        rows.append(("end", end, end, "it ended"))
    return pl.DataFrame(rows, schema=tables.CLOCKS.schema, orient="row")


def _gaps(hours: list[datetime], *, usual: bool) -> list[str]:
    """Stretches without records: any hour where each should have some, two days where records are rare."""
    least = timedelta(hours=2) if usual else timedelta(hours=48)
    return [f"{a + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}/{b:%Y-%m-%dT%H:%M:%SZ}" for a, b in pairwise(hours) if b - a >= least]


# ---------------------------------------------------------------- the API


def find_spikes(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """All spikes as `tables.SPIKES`: rises by excess, largest first (billed and estimated), then falls."""
    s = study(lake, as_of)
    rows = [row for _, row in s.found]
    return pl.DataFrame(rows, schema=tables.SPIKES.schema) if rows else tables.SPIKES.empty()


def overview(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """The company's cost by hour and what it would have been without the spikes: hour, actual_cost, expected_cost, estimated, state.

    Fees that are charged once (tax, support, refunds) are left out: an hour's chart cannot show a month's fee.
    """
    return overview_of(study(lake, as_of))


def overview_of(s: Study) -> pl.DataFrame:
    """The same of a study."""
    hourly = np.count_nonzero(s.observed.cost, axis=1) > FEW_HOURS
    actual = s.model.cost[hourly].sum(axis=0)
    expected = actual.copy()
    for a, _ in s.found:
        expected[a.window.hours] -= a.excess[hourly].sum(axis=0)
    return tables.TIMELINE.fit(
        pl.DataFrame(
            {
                "hour": list(s.observed.hours),
                "actual_cost": actual,
                "expected_cost": expected,
                "estimated": np.arange(actual.size) >= s.observed.billed,
                "state": states(s.observed),
            }
        )
    )


def nowcast_ledger(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """How good the estimates of unbilled hours were, day by day and service by service: `tables.NOWCAST`."""
    s = study(lake, as_of)
    rows = np.flatnonzero(np.count_nonzero(s.observed.cost, axis=1) > FEW_HOURS)
    return ledger(s.model.known, rows.tolist())


def nobody_owns(lake: Lake, as_of: datetime | None = None) -> tuple[float, float, pl.DataFrame]:
    """Dollars of the last 30 billed days that carry neither service nor team, their share of usage, and the items (`tables.GAP`)."""
    return nobody_owns_of(study(lake, as_of))


def nobody_owns_of(s: Study) -> tuple[float, float, pl.DataFrame]:
    """The same of a study."""
    return ownership_gap(s.observed, s.frames, s.directory)


def lost_tags(lake: Lake, as_of: datetime | None = None) -> pl.DataFrame:
    """Tags that named an owner and are gone, with the change after which they were, as `tables.LOST_TAGS`; most dollars first."""
    s = study(lake, as_of)
    return find_lost_tags(s.observed, s.frames, s.recorded)


def investigate(lake: Lake, spike_id: str, as_of: datetime | None = None) -> Case:
    """Everything about one spike. Raises UsageError where no spike has that id."""
    s = study(lake, as_of)
    by_id = {str(row["spike_id"]): (a, row) for a, row in s.found}
    if spike_id not in by_id:
        raise UsageError(f"there is no spike {spike_id!r}", found=", ".join(by_id) or "no spike at all", todo="see `costwhy spikes`")
    return case_of(s, *by_id[spike_id])


def investigate_window(
    lake: Lake,
    window: tuple[datetime, datetime],
    *,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
    as_of: datetime | None = None,
) -> Case:
    """Any window that a person picks, explained like a spike: against what the hours before it let expect, or against another window.

    Windows of unequal length are compared by the hour: expected is the other window's rate times this window's hours.
    Raises UsageError where the window is empty or outside the data.
    """
    s = study(lake, as_of)
    a = account_window(s.model, _indices(s.observed, window), _indices(s.observed, against) if against else None, where or {})
    row = spike_row(s.model, a)
    case = case_of(s, a, {**row, "where": json.dumps(dict(where))} if where else row)
    return case if against is None else replace(case, calendar=_calendar(s.model, a, _indices(s.observed, against)))


def _calendar(model: Model, a: Account, against: Window) -> float:
    """What the lengths of two windows make of the difference of their totals: the other window's cost an hour for each hour more."""
    hours = (a.window.end - a.window.start) - (against.end - against.start)
    return cents(float(model.cost[list(a.own), against.hours].mean(axis=1).sum()) * hours)


def _indices(o: Observed, window: tuple[datetime, datetime]) -> Window:
    first, last = (round((t.astimezone(UTC) - o.hours[0]) / timedelta(hours=1)) for t in window)
    if not 0 <= first < last <= len(o.hours):
        raise UsageError(
            f"no window from {window[0]:%Y-%m-%dT%H:%MZ} to {window[1]:%Y-%m-%dT%H:%MZ}",
            found=f"data from {o.hours[0]:%Y-%m-%dT%H:%MZ} to {o.as_of:%Y-%m-%dT%H:%MZ}",
            todo="pick a window inside the data, first hour before last",
        )
    return Window(first, last)


def case_of(s: Study, a: Account, row: dict[str, object]) -> Case:
    """Everything about one spike of a study."""
    excess = float(str(row["excess_cost"]))
    behaviour, behaviour_remainder = _behaviour(a, excess)
    drivers, drivers_remainder = _drivers(leaves_of(s.model, a) if s.kept is None else s.kept.leaves, excess)
    weighed = weigh(s.recorded, suspicion_of(s, a))
    best = weighed.triggers.row(0, named=True) if weighed.triggers.height else None
    hours = s.observed.hours[_shown(s.observed, a)]
    changes = s.frames["changes"].filter(pl.col("time").is_between(hours[0], hours[-1] + timedelta(hours=1)))
    return Case(
        s.lake.workspace,
        s.lake.currency,
        s.observed.as_of,
        s.observed.billed_through,
        s.lake.version,
        row,
        drivers,
        drivers_remainder,
        behaviour,
        behaviour_remainder,
        weighed.triggers,
        weighed.no_recorded_change,
        _planned(weighed, row, a.hourly.size, s.observed.as_of),
        _owners(s, a, best),
        _timeline(s.model, a),
        _ledger(s.model, a),
        _calls(s.model, a),
        changes,
        _dependencies(s.model, a),
        _coverage(s, a),
        _clocks(s, a, best if best is not None and best["probability"] > weighed.no_recorded_change else None),
        study=s,
    )


def _owners(s: Study, a: Account, best: dict[str, object] | None) -> pl.DataFrame:
    """Who runs it and ran it then, who decided, who pays; of a published case the first two are as they were published."""
    start, service = s.observed.hours[a.window.start], _costly_service(s.observed, a)
    found = find_owners(s.directory, service, best, budget_owner(s.observed, a.own), start)
    if s.kept is None or s.kept.owners is None:
        return found
    return pl.concat([tables.OWNERS.fit(s.kept.owners), found.filter(~pl.col("role").is_in(["owner", "owner_then"]))])


def _costly_service(o: Observed, a: Account) -> str | None:
    """The service whose bill the spike moved most."""
    rows = o.meters[list(a.own)].select("service").with_columns(d=a.excess[list(a.own)].sum(axis=1)).drop_nulls("service")
    best = rows.group_by("service").agg(pl.col("d").sum()).sort(pl.col("d").abs(), "service", descending=[True, False])
    return best["service"][0] if best.height else None


# ---------------------------------------------------------------- the contract's document


def explain(
    lake: Lake,
    spike_id: str | None = None,
    as_of: datetime | None = None,
    *,
    window: tuple[datetime, datetime] | None = None,
    against: tuple[datetime, datetime] | None = None,
    where: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """The document that `costwhy explain --json` prints: see the contract, section 4."""
    s = study(lake, as_of)
    if window is not None:
        cases = [investigate_window(lake, window, against=against, where=where, as_of=as_of)]
    elif spike_id is not None:
        cases = [investigate(lake, spike_id, as_of)]
    else:
        cases = [case_of(s, a, row) for a, row in s.found]
    lost, share, items = nobody_owns(lake, as_of)
    return {
        "costwhy": 1,
        "workspace": s.lake.workspace,
        "currency": s.lake.currency,
        "as_of": _time(s.observed.as_of),
        "billed_through": _time(s.observed.billed_through),
        "spikes": [document(case) for case in cases],
        "ownership_gap": {
            "cost": cents(lost),
            "share": round(share, 6) + 0.0,
            "items": [{**r, "where": json.loads(r["where"])} for r in items.iter_rows(named=True)],
        },
        "rows_set_aside": int(s.frames["set_aside"]["records"].sum()),
    }


def document(case: Case) -> dict[str, object]:
    """One spike as the contract writes it."""
    s = case.spike
    (owner, decided, budget), then = case.who, case.owner_then
    money = ("expected_cost", "actual_cost", "excess_cost")
    return {
        "spike_id": s["spike_id"],
        "title": s["title"],
        "start": _time(s["start"]),
        "end": _time(s["end"]) if s["end"] else None,
        "status": s["status"],
        "shape": s["shape"],
        "where": json.loads(str(s["where"])),
        **{name: s[name] for name in money},
        "excess_low": s["excess_low"],
        "excess_high": s["excess_high"],
        "nowcast": {
            "hours": s["nowcast_hours"],
            "excess_cost": s["nowcast_excess_cost"],
            "low": s["nowcast_low"],
            "high": s["nowcast_high"],
        }
        if s["nowcast_hours"]
        else None,
        "cost_per_hour_now": s["cost_per_hour_now"],
        "month_end_excess_cost": s["month_end_excess_cost"],
        "drivers": [{"where": json.loads(r["where"]), "cost_change": r["cost_change"]} for r in case.drivers.iter_rows(named=True)],
        "drivers_remainder": case.drivers_remainder,
        "behaviour": case.behaviour.to_dicts(),
        "behaviour_remainder": case.behaviour_remainder,
        **({"calendar_cost": case.calendar} if case.calendar is not None else {}),
        "verdict": s["verdict"],
        "planned": case.planned,
        "triggers": [
            {
                **{k: r[k] for k in ("change_id", "also", "reasons", "summary", "actor", "service", "kind", "url")},
                "also": r["also"] or [],
                "time": _time(r["time"]),
                "probability": round(r["probability"], 4),
            }
            for r in case.triggers.iter_rows(named=True)
        ],
        "no_recorded_change": round(case.no_recorded_change, 4),
        "owner": {k: owner[k] for k in ("service", "team", "contact", "source")} if owner else None,
        "owner_then": {k: then[k] for k in ("service", "team", "contact", "source")} if then else None,
        "decided_by": {k: decided[k] for k in ("service", "actor", "team", "contact")} if decided else None,
        "budget_owner": {"name": budget["team"], "source": budget["source"]} if budget else None,
        "coverage": [{**r, "from": _time(r["from"]), "to": _time(r["to"])} for r in case.coverage.iter_rows(named=True)],
        "dependencies": case.dependencies.to_dicts(),
    }


def _time(value: object) -> str | None:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else None
