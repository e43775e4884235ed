"""Make the sample company: `uv run python data/generate.py`. The same settings give the same company.

--seed N          another company
--out DIR         elsewhere (default: data/sample beside this file); the answer key goes beside it, as DIR-answers.json
--days N          how long (default 56)
--services N      how many services (default 15)
--incidents A,B   only these sorts (default: one of each; the company is another one then); `none` for a quiet company
"""

import argparse
import json
import shutil
import sys
import zlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import polars as pl
from company import NAMES, Company, Meter, draw
from formats import (
    CONFIG,
    billing,
    of_incident,
    ordinary,
    signals,
    write_billing,
    write_catalog,
    write_changes,
)
from incidents import (
    GROWN,
    MORE,
    SORTS,
    Incident,
    Noise,
    Run,
    draw_noise,
    run,
    schedule_of,
    with_incident_meters,
)

HERE = Path(__file__).parent
END = datetime(2026, 11, 20, 6)  # noqa: DTZ001  naive UTC, as bills spell it
KINDS = {
    "retry_loop": "retries",
    "fan_out": "fan_out",
    "autoscaler": "capacity",
    "cron_frequency": "schedule",
    "cross_region": "cross_region",
    "commitment_lapse": "unit_price",
    "traffic_growth": "demand",
    "planned_launch": "demand",
    "unowned": "unlinked_usage",
    **dict.fromkeys(GROWN, "usage_per_call"),
    "payload": "cross_region",
    **dict.fromkeys(("nodes", "target", "storage_ramp"), "capacity"),
    "price_rise": "unit_price",
    "credit_end": "unmetered",
}
VERDICTS = {
    "demand": "growth",
    "unit_price": "price",
    "unlinked_usage": "mixed",
    "unmetered": "accounting",
}


@dataclass(frozen=True)
class Settings:
    """What to make. The seed, the size and the sorts of incidents decide everything else: names, graph, prices, place, time and size of each incident."""

    seed: int = 7
    days: int = 56
    services: int = 15  # without the one that an incident brings
    incidents: tuple[str, ...] = SORTS
    recorded: bool = True  # whether the decisions behind the incidents left any record
    untagged: int = (
        1  # services of one team that lose their tags, where tag_loss is among the incidents
    )

    def __post_init__(self) -> None:
        """Only what can be simulated."""
        if unknown := set(self.incidents) - {*SORTS, *MORE}:
            raise ValueError(
                f"no such incident: {', '.join(sorted(unknown))}; there are {', '.join((*SORTS, *MORE))}"
            )
        if not 10 <= self.services <= 30 or self.days < 14:
            raise ValueError("a company has 10 to 30 services and at least 14 days")

    def chance(self, purpose: int) -> np.random.Generator:
        """The random numbers for one purpose; other settings give others."""
        return np.random.default_rng(
            [
                self.seed,
                self.services,
                zlib.crc32(",".join(sorted(self.incidents)).encode()),
                purpose,
            ]
        )


@dataclass(frozen=True)
class Simulation:
    """A company's run and what is true of it."""

    settings: Settings
    company: Company
    incidents: tuple[Incident, ...]
    noise: Noise
    whole: Run
    first: datetime
    hours: int
    billed: int  # hours that every account's bill covers

    def without(self, sort: str) -> Run:
        """The same company on the same random numbers, but for one incident."""
        return run(self.company, tuple(i for i in self.incidents if i.sort != sort), self.noise)


def simulate(settings: Settings = Settings()) -> Simulation:
    """The company by the hour, with all of its incidents."""
    hours = settings.days * 24
    first = END - timedelta(hours=hours)
    name = (
        NAMES[0]
        if settings == Settings()
        else NAMES[(settings.seed + len(settings.incidents)) % len(NAMES)]
    )
    plain = draw(settings.chance(1), settings.services, name)
    incidents = schedule_of(
        plain, hours, (first.hour, settings.untagged), settings.chance(2), settings.incidents
    )
    if not settings.recorded:
        incidents = tuple(replace(i, person=None) for i in incidents)
    company = with_incident_meters(plain, incidents)
    noise = draw_noise(company, hours, (first.weekday(), first.hour), settings.chance(3))
    whole = run(company, incidents, noise)
    made = Simulation(
        settings, company, incidents, noise, whole, first, hours, hours - max(company.lags)
    )
    return replace(
        made,
        incidents=tuple(_foreseen(made, i) if i.sort == "planned_launch" else i for i in incidents),
    )


def _foreseen(s: Simulation, i: Incident) -> Incident:
    """A launch whose plan is honest: it expects what it will cost a day."""
    excess = (s.whole.cost - s.without(i.sort).cost)[:, i.start : i.end].sum()
    return replace(i, dollars=float(excess) / ((i.end or s.hours) - i.start) * 24)


# ---------------------------------------------------------------- what is true


def answers(s: Simulation, bill: pl.DataFrame) -> dict[str, object]:
    """The answer key: each incident's dollars are the whole less the run without it, on the same random numbers."""
    end, billed = s.first + timedelta(hours=s.hours), s.first + timedelta(hours=s.billed)
    lags = zip(s.company.accounts, s.company.lags, strict=True)
    return {
        "seed": s.settings.seed,
        "workspace": s.company.name,
        "currency": "USD",
        "as_of": _iso(end),
        "data_start": _iso(s.first),
        "billed_through": _iso(billed),
        "billed_through_by_account": {
            account: _iso(end - timedelta(hours=lag)) for (account, _), lag in lags
        },
        "rows": bill.height,
        "total_effective_cost": round(float(bill["EffectiveCost"].sum()), 2),
        "total_billed_cost": round(float(bill["BilledCost"].sum()), 2),
        "bursts": [
            {"service": b.service, "start": _at(s, b.start), "end": _at(s, b.end), "times": b.times}
            for b in s.noise.bursts
        ],
        "incidents": [_answer(s, i) for i in s.incidents],
    }


def _answer(s: Simulation, i: Incident) -> dict[str, object]:
    excess = s.whole.cost - s.without(i.sort).cost
    by_meter = excess[:, : s.billed].sum(axis=1)
    events, records, ids = of_incident(s.company, i, s.first)
    rows = rows_of(s.company, i, by_meter)
    made = s.company.service(
        i.caller if i.caller and not i.caller.startswith("schedule:") else i.service
    )
    if i.sort == "cross_region":
        made = s.company.service(s.company.newcomer)
    return {
        "incident_id": i.sort,
        "kind": i.sort,
        "start": _at(s, i.start),
        "effect_time": f"{s.first + timedelta(hours=i.start, minutes=i.minute):%Y-%m-%dT%H:%M:%SZ}",
        "end": None if i.end is None else _at(s, i.end),
        "status": "running" if i.end is None else "ended",
        "excess_cost": round(sum(float(str(r["cost_change"])) for r in rows), 2),
        "unbilled": {
            "hours": s.hours - s.billed,
            "excess_cost": round(float(excess[:, s.billed :].sum()), 2),
        },
        "behaviour": rows,
        "verdict": VERDICTS.get(KINDS[i.sort], "inefficiency") if i.sort in KINDS else None,
        "planned": i.sort == "planned_launch" and i.foreseen == 1.0 and i.person is not None,
        "trigger": {"none": not ids, "change_ids": ids, "records": len(events) + len(records)},
        "owner": _owner(s.company, i, by_meter),
        "decided_by": {
            "service": None if i.sort == "unowned" else made.name,
            "actor": f"{i.person}@{s.company.name}.example",
            "team": _team(s, i),
        }
        if i.person
        else None,
        "touched": _touched(s.company, i),
        "cells": _cells(s.company.meters, by_meter),
    }


def _team(s: Simulation, i: Incident) -> str:
    return dict(s.company.people)[str(i.person)]


def _touched(company: Company, i: Incident) -> dict[str, object] | None:
    """What lost its tags, or what nobody owns: no behaviour of a service says it."""
    if i.sort == "tag_loss":
        return {"team": company.service(i.service).team, "services": sorted({i.service, *i.also})}
    if i.sort == "unowned":
        return {"ResourceId": next(m.resource for m in company.meters if m.only == "unowned")}
    return None


def _owner(company: Company, i: Incident, by_meter: np.ndarray) -> dict[str, str] | None:
    """Who runs what costs more."""
    dollars: dict[str, float] = {}
    for d, m in zip(by_meter, company.meters, strict=True):
        if m.service is not None:
            dollars[m.service] = dollars.get(m.service, 0.0) + float(d)
    if i.sort in {"unowned", "tag_loss", "credit_end"}:
        return None
    most = max(dollars, key=lambda n: abs(dollars[n]))
    return {"service": most, "team": company.service(most).team}


def rows_of(company: Company, i: Incident, by_meter: np.ndarray) -> list[dict[str, object]]:
    """Which behaviour rows the dollars stand on."""
    pairs = [
        (m, float(d)) for m, d in zip(company.meters, by_meter, strict=True) if abs(d) >= 0.005
    ]
    total, kind = round(sum(d for _, d in pairs), 2), KINDS.get(i.sort)

    def row(service: str | None, dollars: float, **more: object) -> dict[str, object]:
        return {
            "kind": kind,
            "service": service,
            "caller": None,
            "usage_type": None,
            "cost_change": round(dollars, 2),
        } | more

    if kind in {"capacity", "unit_price", "usage_per_call"} or i.sort == "payload":
        return sorted(
            (row(m.service, d, usage_type=m.usage_type) for m, d in pairs),
            key=lambda r: -float(str(r["cost_change"])),
        )
    if kind == "unlinked_usage":
        return [row(None, total, usage_type=pairs[0][0].usage_type)]
    if kind == "cross_region":
        line, bytes_ = next((m, d) for m, d in pairs if m.follows == "edge")
        edge = {"kind": "fan_out", "caller": i.caller}
        return [
            row(line.service, bytes_, usage_type=line.usage_type),
            row(company.newcomer, total - round(bytes_, 2), **edge),
        ]
    if kind == "unmetered":
        return [row(None, total)]
    return [row(i.service, total, caller=i.caller)] if kind else []


def _cells(meters: tuple[Meter, ...], by_meter: np.ndarray) -> list[dict[str, object]]:
    """The same dollars by what the bill says, largest first."""
    most = sorted(
        ((float(d), m) for d, m in zip(by_meter, meters, strict=True) if abs(d) >= 1),
        key=lambda x: -abs(x[0]),
    )
    names = ("service", "usage_type", "region", "account")
    columns = ("service", "x_UsageType", "RegionId", "SubAccountId")
    return [
        {c: getattr(m, n) for c, n in zip(columns, names, strict=True)}
        | {"excess_cost": round(d, 2)}
        for d, m in most
    ]


def _at(s: Simulation, hour: int) -> str:
    return _iso(s.first + timedelta(hours=hour))


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:00:00Z}"


# ---------------------------------------------------------------- files


def bill_of(s: Simulation) -> pl.DataFrame:
    """Line items in FOCUS columns."""
    lost = next((i for i in s.incidents if i.sort == "tag_loss"), None)
    return billing(s.company, s.whole, (s.first, s.hours), lost)


def write(s: Simulation, out: Path) -> dict[str, object]:
    """The workspace in the real formats; returns its answer key."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "costwhy.toml").write_text(CONFIG.format(name=s.company.name))
    bill = bill_of(s)
    write_billing(bill, out / "billing", s.company.name)
    _write_signals(signals(s.whole, (s.first, s.hours)), out / "signals")
    events, records = ordinary(s.company, (s.first, s.hours), s.settings.chance(4))
    for i in s.incidents:
        more = of_incident(s.company, i, s.first)
        events, records = events + more[0], records + more[1]
    write_changes(events, records, out)
    write_catalog(s.company, out)
    return answers(s, bill) | {"changes": len(events) + sum(not r["readOnly"] for r in records)}


def _write_signals(frame: pl.DataFrame, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    months = frame.with_columns(month=pl.col("time").dt.strftime("%Y-%m")).partition_by(
        "month", as_dict=True, include_key=False
    )
    for (month,), part in sorted(months.items()):
        ordered = part.sort("metric", "service", "caller", "time")
        ordered.write_parquet(folder / f"{month}.parquet", compression="zstd", compression_level=12)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--out", type=Path, default=HERE / "sample")
    parser.add_argument("--days", type=int, default=Settings.days)
    parser.add_argument("--services", type=int, default=Settings.services)
    parser.add_argument("--incidents", default=",".join(SORTS))
    wish = parser.parse_args()
    sorts = () if wish.incidents == "none" else tuple(wish.incidents.split(","))
    simulation = simulate(Settings(wish.seed, wish.days, wish.services, sorts))
    for name in ("billing", "signals", "changes", "cloudtrail", "catalog"):
        shutil.rmtree(wish.out / name, ignore_errors=True)
    key = write(simulation, wish.out)
    (wish.out.parent / f"{wish.out.name}-answers.json").write_text(json.dumps(key, indent=1) + "\n")


if __name__ == "__main__":
    main()
