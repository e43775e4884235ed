"""Accuracy and speed of `find_drivers` and of its peers on ../shared/data/drivers, by the scorer that lies there. Prints two tables.

    uv run --group bench python benchmarks/drivers.py [--cases N] [--pizza N]     N: only the first N cases of each family

An element counts only if it equals a true one exactly. `exact`: cases in which the drivers and the remainder add up to the whole change to
the cent; the peers give no dollars. wise-pizza takes so long that it is run on fewer cases (--pizza 0: not at all), at most LONGEST
seconds each; then the others are scored on these cases too.
"""

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import polars as pl
from peers.adtributor import adtributor
from peers.leaves import leaves_of
from peers.pizza import wise_pizza
from peers.riskloc import riskloc

from costwhy.spikes.drivers import find_drivers

ROOT = Path(__file__).resolve().parent.parent
DATA = next(
    (p / "shared/data/drivers" for p in ROOT.parents if (p / "shared/data").is_dir()),
    ROOT.parent / "shared/data/drivers",
)
FAMILIES = ("B0", "B0n", "L", "S", "CX")
VALUES = ("case_id", "actual_cents", "expected_cents")
LONGEST = 120.0  # seconds that a peer may take for a case
Said = dict[str, object]


def ours(rows: pl.DataFrame, dims: list[str]) -> Said:
    """find_drivers, with its dollars."""
    found = find_drivers(rows, dims, expected="expected_cents", actual="actual_cents")
    names = [
        "&".join(f"{n}={r[n]}" for n in dims if r[n] is not None)
        for r in found.iter_rows(named=True)
    ]
    remainder = (
        int(rows["actual_cents"].sum())
        - int(rows["expected_cents"].sum())
        - found["cost_change"].sum()
    )
    return {
        "root_causes": names,
        "effect_cents": found["cost_change"].to_list(),
        "remainder_cents": remainder,
    }


def by_adtributor(rows: pl.DataFrame, dims: list[str]) -> Said:
    """Adtributor."""
    return {"root_causes": adtributor(leaves_of(rows, dims, "expected_cents", "actual_cents"))}


def by_riskloc(rows: pl.DataFrame, dims: list[str]) -> Said:
    """RiskLoc."""
    return {"root_causes": riskloc(leaves_of(rows, dims, "expected_cents", "actual_cents"))}


def by_pizza(rows: pl.DataFrame, dims: list[str]) -> Said:
    """wise-pizza, in a process that can be stopped; nothing where it takes too long or fails."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_sliced, args=(rows, dims, theirs))
    process.start()
    theirs.close()
    try:
        return {"root_causes": mine.recv() if mine.poll(LONGEST) else []}
    except EOFError:
        return {"root_causes": []}
    finally:
        process.kill()
        process.join()


def _sliced(rows: pl.DataFrame, dims: list[str], answer: Connection) -> None:
    answer.send(wise_pizza(rows.to_dict(as_series=False), dims, "expected_cents", "actual_cents"))


METHODS: dict[str, Callable[[pl.DataFrame, list[str]], Said]] = {
    "costwhy": ours,
    "RiskLoc": by_riskloc,
    "Adtributor": by_adtributor,
    "wise-pizza": by_pizza,
}


def said_by(method: str, cases: dict[str, pl.DataFrame]) -> dict[str, Said]:
    """What a method says of each case, with its seconds."""
    out = {}
    for case, rows in cases.items():
        dims = [c for c in rows.columns if c not in VALUES]
        begin = time.perf_counter()
        said = METHODS[method](rows, dims)
        out[case] = said | {"seconds": time.perf_counter() - begin}
    return out


def cases_of(most: int | None) -> dict[str, pl.DataFrame]:
    """The first cases of each family."""
    out = {}
    for family in FAMILIES:
        frame = pl.read_parquet(DATA / f"{family}.parquet")
        parts = frame.partition_by("case_id", as_dict=True, maintain_order=True)
        out |= {str(case): rows for (case,), rows in list(parts.items())[:most]}
    return out


def scored(said: dict[str, Said]) -> dict[str, dict[str, float]]:
    """The scorer's figures by family, over the cases that were tried."""
    truth = json.loads((DATA / "truth.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "said.json", Path(folder) / "truth.json"]
        files[0].write_text(json.dumps(said))
        files[1].write_text(json.dumps({case: truth[case] for case in said}))
        command = [sys.executable, str(DATA / "score.py"), *map(str, files), "--json"]
        return json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )


def exact(said: dict[str, Said], cases: dict[str, pl.DataFrame]) -> str:
    """In how many cases the dollars add up to the cent."""
    right = 0
    for case, answer in said.items():
        if "effect_cents" not in answer:
            return "-"
        change = int(cases[case]["actual_cents"].sum()) - int(cases[case]["expected_cents"].sum())
        right += sum(answer["effect_cents"]) + answer["remainder_cents"] == change  # type: ignore[arg-type, operator]
    return f"{right}/{len(said)}"


def table(methods: list[str], cases: dict[str, pl.DataFrame]) -> None:
    """F1 by family, seconds, exactness."""
    print(
        f"{'method':12s} cases "
        + "".join(f"{f'F1 {family}':>8s}" for family in (*FAMILIES, "all"))
        + "   mean s   max s   exact"
    )
    for method in methods:
        said = said_by(method, cases)
        figures, seconds = scored(said), [float(str(s["seconds"])) for s in said.values()]
        shown = "".join(f"{figures[family]['f1']:8.3f}" for family in (*FAMILIES, "ALL"))
        print(
            f"{method:12s} {len(said):5d} {shown} {np.mean(seconds):8.3f} {max(seconds):7.2f} {exact(said, cases):>7s}",
            flush=True,
        )


def speed() -> tuple[float, float]:
    """Milliseconds, wall and processor, for 100,000 leaves x 5 dimensions, one value in ten of which rose; best of 10."""
    rng = np.random.default_rng(1)
    grid = np.indices((10,) * 5).reshape(5, -1)
    base = rng.lognormal(3, 1, grid.shape[1])
    moved = np.where(grid[0] == 3, 1.4, 1.0) * rng.normal(1, 0.03, grid.shape[1])
    leaves = pl.DataFrame(
        {
            name: [f"{name}{value}" for value in values]
            for name, values in zip("abcde", grid, strict=True)
        }
    )
    leaves = leaves.with_columns(expected_cost=base, actual_cost=base * moved)
    runs = []
    for _ in range(10):
        begin = time.perf_counter(), time.process_time()
        find_drivers(leaves, list("abcde"))
        runs.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return 1000 * min(wall for wall, _ in runs), 1000 * min(cpu for _, cpu in runs)


def main() -> None:
    """Two tables and the speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, help="only the first N cases of each family")
    parser.add_argument(
        "--pizza",
        type=int,
        default=2,
        help="cases of each family on which wise-pizza is run as well",
    )
    wish = parser.parse_args()
    if DATA.exists():
        table(["costwhy", "RiskLoc", "Adtributor"], cases_of(wish.cases))
        if wish.pizza:
            print(f"\nThe first {wish.pizza} of each family; at most {LONGEST:.0f} s a case")
            table(list(METHODS), cases_of(wish.pizza))
    else:
        print(f"{DATA} is not here: no accuracy measured")
    wall, cpu = speed()
    print(f"\n100,000 leaves x 5 dimensions: {wall:.0f} ms wall, {cpu:.0f} ms processor")


if __name__ == "__main__":
    main()
