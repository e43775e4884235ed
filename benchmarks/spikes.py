"""Finding spikes: public series with known anomalies, cases and companies with known answers, intervals, speed. One table for each part.

    uv run --group bench python benchmarks/spikes.py [--part nab,cases,coverage,speed] [--seeds 50-59] [--series 100000]

nab       The 17 CloudWatch series of the Numenta Anomaly Benchmark with NAB's windows, scored by NAB's standard profile: see nab.py.
cases     The workspaces of ../shared/cases, by the scorer that lies there.
coverage  Share of the true excess of billed hours within [excess_low, excess_high], which says 80 %.
speed     Series x 60 days by the hour through trace, suspects and find_shifts, two processes.
"""

import argparse
import resource
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from known import Told, cases, companies, told_of_case, told_of_company
from nab import nab

from costwhy.model.levels import levels_of
from costwhy.spikes.shifts import find_shifts, suspects

PARTS = ("nab", "cases", "coverage", "speed")
HOURS = 60 * 24
AT_ONCE = 4096  # series
MIX = {"ratio": 0.83, "amount": 0.16, "flow": 0.01}  # of the rates of a simulated company
STRAY = 0.01  # share of the series that have an incident


def table_of_cases(told: list[Told]) -> None:
    """One line for each case."""
    print(f"{'case':22s} found  fragments  alarms  onset  excess error")
    for t in told:
        s, judged = t.score, t.score["judged"]
        onset, error = (
            max((j[name] for j in judged), default=float("nan"))
            for name in ("onset_hours", "excess_error")
        )
        print(
            f"{t.name:22s} {s['found']}/{s['wanted']} {s['fragments']:9d} {s['alarms']:8d} {onset:5.0f} h {error:12.1%}"
        )


def coverage(told: list[Told]) -> None:
    """By shape of the spike: how many intervals hold the truth, and how wide they are. Incidents of which nothing is billed yet have no interval."""
    rows: dict[str, list[tuple[bool, float, float]]] = defaultdict(list)
    for t in told:
        for spike, incident in t.pairs:
            true = float(incident["excess_cost"])
            if abs(true) > 1:
                low, high = sorted((spike["excess_low"], spike["excess_high"]))
                row = (
                    low <= true <= high,
                    (high - low) / abs(true),
                    abs(spike["excess_cost"] - true) / abs(true),
                )
                rows[incident["behaviour"][0]["kind"] if incident["behaviour"] else "none"].append(
                    row
                )
                rows["all"].append(row)
    print(f"{'behaviour':16s} spikes  inside (nominal 80 %)  width/excess (median)  error (median)")
    for kind in (*sorted(k for k in rows if k != "all"), "all"):
        inside, width, error = (np.array(v) for v in zip(*rows[kind], strict=True))
        print(
            f"{kind:16s} {len(inside):6d} {inside.mean():22.1%} {np.median(width):22.1%} {np.median(error):15.1%}"
        )


# ---------------------------------------------------------------- speed


def drawn(style: str, count: int, seed: int) -> np.ndarray:
    """Series (count x HOURS): noise of 0.3 to 10 % from hour to hour, a day and a week in what has a season, steps in one of a hundred."""
    rng = np.random.default_rng(seed)
    hours = np.arange(HOURS)
    season = (1 + 0.4 * np.sin(2 * np.pi * hours / 24)) * np.where(hours // 24 % 7 >= 5, 0.7, 1.0)
    log = np.exp(rng.uniform(np.log(0.003), np.log(0.1), (count, 1))) * rng.standard_normal(
        (count, HOURS)
    )
    for row in np.flatnonzero(rng.random(count) < STRAY):
        log[row, rng.integers(200, HOURS - 24) :] += rng.choice([-0.4, 0.4])
    if style != "ratio":
        log += np.log(season)
    return np.exp(log - np.log(season.mean())) if style == "amount" else log


def looked_at(job: tuple[str, int, int]) -> tuple[int, int, int, float, float]:
    """One block: series, suspects, shifts, processor seconds of the looking, peak memory of the process in GB."""
    style, count, seed = job
    values = drawn(style, count, seed)
    begin = time.process_time()
    traces = levels_of(style, values, np.zeros(count, dtype=bool))
    chosen = suspects(traces)
    shifts = sum(len(s) for s in find_shifts([traces[k] for k in chosen]))
    spent = time.process_time() - begin
    return (
        count,
        len(chosen),
        shifts,
        spent,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    )


def speed(series: int) -> None:
    """The whole, wall clock, the drawing of the series included."""
    jobs = []
    for style, share in MIX.items():
        left = round(share * series)
        while left:
            jobs.append((style, min(left, AT_ONCE), len(jobs)))
            left -= min(left, AT_ONCE)
    begin = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        results = list(pool.map(looked_at, jobs))
    wall = time.perf_counter() - begin
    counts = np.array([r[:4] for r in results]).sum(axis=0)
    print(
        f"{counts[0]:,.0f} series x {HOURS} hours: {wall:.1f} s wall with two processes, the drawing of the series included;"
    )
    print(
        f"{counts[3]:.1f} processor seconds of looking; {counts[1]:,.0f} suspects, {counts[2]:,.0f} shifts;"
    )
    print(f"peak memory {max(r[4] for r in results):.2f} GB a process")


def main() -> None:
    """Every part that is wished."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default=",".join(PARTS))
    parser.add_argument("--seeds", default="50-59")
    parser.add_argument("--series", type=int, default=100_000)
    wish = parser.parse_args()
    parts = wish.part.split(",")
    if "nab" in parts:
        nab()
    with ProcessPoolExecutor(2) as pool:
        if "cases" in parts:
            print("\nThe cases with known answers")
            table_of_cases(list(pool.map(told_of_case, cases())))
        if "coverage" in parts:
            planned = companies(wish.seeds)
            told = [t for t in pool.map(told_of_company, planned, chunksize=2) if t is not None]
            print(
                f"\nIntervals of {len(told)} simulated companies, seeds {wish.seeds}; {len(planned) - len(told)} had no place for their incident"
            )
            coverage(told)
    if "speed" in parts:
        print("\nSpeed")
        speed(wish.series)


if __name__ == "__main__":
    main()
