"""Hours that are not billed yet: how far off, how honest, how soon. One table.

    uv run python benchmarks/nowcast.py [--seeds 120-129] [--sorts retry_loop,fan_out] [--loops 130-139] [--only estimates,soon]

estimates  Of each incident that goes on into unbilled hours: error of their excess, whether [low, high] holds the truth (80 % shall), width.
           What is known to the cent (instances that a rule keeps, prices) is always held; whether an interval is honest shows in the rest.
ledger     The same by costwhy's own account, `nowcast_ledger`: services on past days, without any key.
soon       A retry loop looked at 1, 2, ... hours after the end of the first whole hour in which signals show it, none of it billed:
           hours until it is told.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
from companies import Settings, lake_of, plan, truth_of
from generate import simulate
from known import CASES, Told, cases, scorer, told_of_case

from costwhy.case.investigate import explain, nowcast_ledger

SHOWN = (
    "retry_loop",
    "fan_out",
    "cron_frequency",
    "autoscaler",
    "target",
    "traffic_growth",
    "planned_launch",
)  # in signals
LEDGER = ("(ledger: services)", "(ledger: whole bill)")
HOURS = (1, 2, 3, 4)
CENT = 0.01
Row = tuple[
    str, bool, float, float, bool
]  # sort, held, width and error relative to the true excess, known to the cent


def of_incidents(pairs: Iterable[tuple[dict, dict]]) -> list[Row]:  # type: ignore[type-arg]
    """Each incident with unbilled dollars that was found."""
    rows = []
    for spike, incident in pairs:
        true, said = float(incident["unbilled"]["excess_cost"]), spike["nowcast"]
        if abs(true) > 1 and said is not None:
            held = said["low"] <= true <= said["high"]
            error = abs(said["excess_cost"] - true)
            rows.append(
                (
                    incident["kind"],
                    held,
                    (said["high"] - said["low"]) / abs(true),
                    error / abs(true),
                    error <= CENT,
                )
            )
    return rows


def of_company(settings: Settings) -> list[Row]:
    """One simulated company: its incidents, and its own ledger; nothing where it has no place for the incident."""
    try:
        s = simulate(settings)
    except ValueError:
        return []
    lake = lake_of(s)
    own = [
        (
            LEDGER[r["service"] is None],
            r["inside"],
            (r["high"] - r["low"]) / r["billed_cost"],
            abs(r["error"]) / r["billed_cost"],
            abs(r["error"]) <= CENT,
        )
        for r in nowcast_ledger(lake).iter_rows(named=True)
        if r["billed_cost"] > 1
    ]
    return [*of_incidents(scorer().pair(explain(lake), truth_of(s))[0]), *own]


def of_case(name: str) -> list[Row]:
    """One workspace beside the project."""
    told: Told = told_of_case(name)
    return [(f"{sort} ({name})", *rest) for sort, *rest in of_incidents(told.pairs)]  # type: ignore[misc]


def soon(settings: Settings) -> tuple[int, int | None]:
    """Seed, and how many hours after its signals show it a retry loop is told; None: later than that."""
    s = simulate(settings)
    lake, loop = lake_of(s), s.incidents[0]
    shown = s.first.replace(tzinfo=UTC) + timedelta(hours=loop.start + 1)  # end of its first hour
    for later in HOURS:
        for spike in explain(lake, as_of=shown + timedelta(hours=later))["spikes"]:  # type: ignore[attr-defined]
            start = datetime.fromisoformat(spike["start"])
            if abs(start - shown) <= timedelta(hours=3) and any(
                b["kind"] == "retries" and b["service"] == loop.service for b in spike["behaviour"]
            ):
                return settings.seed, later
    return settings.seed, None


def _range(words: str) -> range:
    first, _, last = words.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> None:
    """Every part that is wished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="120-129")
    parser.add_argument("--sorts", default=",".join(SHOWN))
    parser.add_argument("--loops", default="130-139")
    parser.add_argument("--only", default="estimates,soon")
    wish = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        if "estimates" in wish.only:
            rows: dict[str, list[Row]] = defaultdict(list)
            late = (
                [name for name in cases() if name.startswith("late_bill")] if CASES.is_dir() else []
            )
            told = [
                *pool.map(
                    of_company,
                    plan(_range(wish.seeds), wish.sorts.split(","), 0.2, 0.2),
                    chunksize=2,
                ),
                *map(of_case, late),
            ]
            for row in (row for part in told for row in part):
                rows[row[0]].append(row)
                whole = row[0] if row[0].startswith("(") else "all incidents"
                if whole != row[0]:
                    rows[whole].append(row)
                if not row[4]:
                    rows[f"{whole}, not known to the cent"].append(row)
            print(f"{'unbilled hours of':46s}     n  inside (80 %)  error (median)  width (median)")
            for name, members in sorted(
                rows.items(),
                key=lambda x: (x[0].startswith("("), x[0].startswith("all incidents"), x[0]),
            ):
                inside, width, error = (
                    np.array([m[k] for m in members], dtype=float) for k in (1, 2, 3)
                )
                print(
                    f"{name:46s} {len(members):5d} {inside.mean():14.1%} {np.median(error):15.2%} {np.median(width):15.2%}"
                )
        if "soon" in wish.only:
            found = list(
                pool.map(
                    soon, [Settings(seed, 42, 14, ("retry_loop",)) for seed in _range(wish.loops)]
                )
            )
            counts = ", ".join(
                f"{sum(h == hours for _, h in found)} after {hours} h" for hours in HOURS
            )
            print(
                f"\nretry loops told, none of it billed: {counts}, {sum(h is None for _, h in found)} later, of {len(found)}"
            )


if __name__ == "__main__":
    main()
