"""Make the sample company: `uv run python data/generate.py`. The same seed gives the same company.

--seed N          another company
--out DIR         elsewhere (default: data/sample beside this file)
--incidents A,B   only these sorts (default: one of each); `none` for a quiet company
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import polars as pl
from company import Company, draw
from formats import CONFIG, billing, of_incident, ordinary, signals, write_billing, write_catalog, write_changes
from incidents import NEW_SERVICE, SORTS, Incident, Noise, Run, draw_noise, run, schedule_of, with_incident_meters

HERE = Path(__file__).parent
END = datetime(2026, 11, 20, 6)  # noqa: DTZ001  naive UTC, as bills spell it
LATE = 11  # hours that are not billed yet
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
}
VERDICTS = {"demand": "growth", "unit_price": "price", "unlinked_usage": "mixed"}


@dataclass(frozen=True)
class Settings:
    """What to make: the seed, the days, and which sorts of incidents happen."""

    seed: int = 7
    days: int = 56
    incidents: tuple[str, ...] = SORTS


@dataclass(frozen=True)
class Simulation:
    """A company's run and what is true of it."""

    company: Company
    incidents: tuple[Incident, ...]
    noise: Noise
    whole: Run
    first: datetime
    hours: int
    billed: int
    answers: dict[str, object]


def simulate(settings: Settings) -> Simulation:
    """The company with all of its incidents, and each incident's dollars: the whole less the run without it."""
    hours = settings.days * 24
    first = END - timedelta(hours=hours)
    plain = draw(settings.seed)
    incidents = schedule_of(plain, hours, settings.seed, settings.incidents)
    company = with_incident_meters(plain, incidents)
    noise = draw_noise(company, hours, first.weekday(), first.hour, settings.seed)
    whole, billed = run(company, incidents, noise), hours - LATE
    answers = {
        "seed": settings.seed,
        "workspace": company.name,
        "as_of": f"{END:%Y-%m-%dT%H:%M:%SZ}",
        "billed_through": f"{END - timedelta(hours=LATE):%Y-%m-%dT%H:%M:%SZ}",
        "incidents": [_answer(company, incidents, i, (whole, noise), (first, billed)) for i in incidents],
    }
    return Simulation(company, incidents, noise, whole, first, hours, billed, answers)


def _answer(
    company: Company, incidents: tuple[Incident, ...], i: Incident, runs: tuple[Run, Noise], axis: tuple[datetime, int]
) -> dict[str, object]:
    (whole, noise), (first, billed) = runs, axis
    excess = whole.cost - run(company, tuple(x for x in incidents if x != i), noise).cost
    by_meter = excess[:, :billed].sum(axis=1)
    total = float(by_meter.sum())
    _, _, ids, actor = of_incident(company, i, first)
    kind = KINDS.get(i.sort)
    lead = max(range(len(by_meter)), key=lambda m: abs(by_meter[m]))
    costly = {s.name: sum(float(d) for d, m in zip(by_meter, company.meters, strict=True) if m.service == s.name) for s in company.services}
    owner = (
        next((s for s in company.services if s.name == max(costly, key=lambda n: abs(costly[n]))), None)
        if abs(total) > 1 and i.sort != "unowned"
        else None
    )
    return {
        "incident_id": i.sort,
        "kind": i.sort,
        "start": _iso(first + timedelta(hours=i.start)),
        "end": None if i.end is None else _iso(first + timedelta(hours=i.end)),
        "status": "running" if i.end is None else "ended",
        "excess_cost": round(total, 2),
        "unbilled_excess_cost": round(float(excess[:, billed:].sum()), 2),
        "behaviour": _rows(company, i, by_meter, lead, kind),
        "verdict": VERDICTS.get(kind or "", "inefficiency"),
        "planned": i.sort == "planned_launch",
        "trigger": {"none": not ids, "change_ids": ids},
        "owner": {"service": owner.name, "team": owner.team} if owner else None,
        "decided_by": {"actor": actor} if actor else None,
    }


def _rows(company: Company, i: Incident, by_meter: "object", lead: int, kind: str | None) -> list[dict[str, object]]:
    """Which behaviour rows the dollars stand on."""
    dollars = list(by_meter)  # type: ignore[call-overload]
    total = float(sum(dollars))
    if kind is None:
        return []
    row = {
        "kind": kind,
        "service": i.service or None,
        "caller": i.caller if kind in {"retries", "fan_out", "schedule"} else None,
        "usage_type": None,
    }
    if kind in {"capacity", "unit_price"}:
        return [
            {**row, "usage_type": m.usage_type, "cost_change": round(float(d), 2)}
            for d, m in zip(dollars, company.meters, strict=True)
            if abs(d) > 0.005
        ]
    if kind == "unlinked_usage":
        return [{**row, "service": None, "usage_type": company.meters[lead].usage_type, "cost_change": round(total, 2)}]
    if kind == "cross_region":
        bytes_ = sum(float(d) for d, m in zip(dollars, company.meters, strict=True) if m.follows == "far")
        line = next(m for m in company.meters if m.follows == "far")
        return [
            {**row, "caller": None, "usage_type": line.usage_type, "cost_change": round(bytes_, 2)},
            {"kind": "fan_out", "service": NEW_SERVICE, "caller": i.caller, "usage_type": None, "cost_change": round(total - bytes_, 2)},
        ]
    return [{**row, "cost_change": round(total, 2)}]


def _iso(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:00:00Z}"


def write(simulation: Simulation, out: Path) -> None:
    """The workspace in the real formats."""
    s = simulation
    out.mkdir(parents=True, exist_ok=True)
    (out / "costwhy.toml").write_text(CONFIG.format(name=s.company.name))
    lost = next((i for i in s.incidents if i.sort == "tag_loss"), None)
    write_billing(billing(s.company, s.whole, (s.first, s.billed), lost), out / "billing")
    frame = signals(s.whole, (s.first, s.hours), {})
    (out / "signals").mkdir(exist_ok=True)
    for (month,), part in sorted(frame.with_columns(m=pl.col("time").dt.strftime("%Y-%m")).partition_by("m", as_dict=True).items()):
        part.drop("m").sort("metric", "service", "caller", "time").write_parquet(
            out / "signals" / f"{month}.parquet", compression="zstd", compression_level=15
        )
    events, records = ordinary(s.company, (s.first, s.hours), s.answers["seed"])  # type: ignore[arg-type]
    for i in s.incidents:
        more = of_incident(s.company, i, s.first)
        events, records = events + more[0], records + more[1]
    write_changes(events, records, out)
    write_catalog(s.company, out)


def main() -> None:
    """Make it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--out", type=Path, default=HERE / "sample")
    parser.add_argument("--incidents", default=",".join(SORTS))
    wish = parser.parse_args()
    sorts = () if wish.incidents == "none" else tuple(wish.incidents.split(","))
    simulation = simulate(Settings(wish.seed, incidents=sorts))
    for name in ("billing", "signals", "changes", "cloudtrail", "catalog"):
        shutil.rmtree(wish.out / name, ignore_errors=True)
    write(simulation, wish.out)
    (wish.out.parent / f"{wish.out.name}-answers.json").write_text(json.dumps(simulation.answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
