"""Accuracy and speed of `find_drivers` on ../shared/data/drivers, by the scorer that lies there. Prints one table.

    uv run python benchmarks/drivers.py [--cases N]     N: only the first N cases of each family

`exact`: cases in which the drivers and the remainder add up to the whole change to the cent.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from costwhy.drivers import find_drivers

ROOT = Path(__file__).resolve().parent.parent
DATA = next((p / "shared/data/drivers" for p in ROOT.parents if (p / "shared/data").is_dir()), ROOT.parent / "shared/data/drivers")
FAMILIES = ("B0", "B0n", "L", "S", "CX")
VALUES = ("case_id", "actual_cents", "expected_cents")


def predict(rows: pl.DataFrame) -> dict[str, object]:
    """Drivers of one case in the scorer's format."""
    dims = [c for c in rows.columns if c not in VALUES]
    begin = time.perf_counter()
    found = find_drivers(rows, dims, expected="expected_cents", actual="actual_cents")
    spent = time.perf_counter() - begin
    names = ["&".join(f"{n}={r[n]}" for n in dims if r[n] is not None) for r in found.iter_rows(named=True)]
    remainder = int(rows["actual_cents"].sum()) - int(rows["expected_cents"].sum()) - found["cost_change"].sum()
    return {"root_causes": names, "seconds": spent, "effect_cents": found["cost_change"].to_list(), "remainder_cents": remainder}


def predictions(family: str, most: int | None) -> dict[str, dict[str, object]]:
    frame = pl.read_parquet(DATA / f"{family}.parquet")
    cases = frame.partition_by("case_id", as_dict=True, maintain_order=True)
    return {str(case): predict(rows) for (case,), rows in list(cases.items())[:most]}


def score(said: dict[str, dict[str, object]]) -> str:
    """The scorer's table, over the cases that were tried."""
    truth = json.loads((DATA / "truth.json").read_text())
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / "said.json", Path(folder) / "truth.json"]
        files[0].write_text(json.dumps(said))
        files[1].write_text(json.dumps({case: truth[case] for case in said}))
        command = [sys.executable, str(DATA / "score.py"), *map(str, files)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def speed() -> tuple[float, float]:
    """Milliseconds, wall and processor, for 100,000 leaves x 5 dimensions, one value in ten of which rose; best of 10."""
    rng = np.random.default_rng(1)
    grid = np.indices((10,) * 5).reshape(5, -1)
    base = rng.lognormal(3, 1, grid.shape[1])
    moved = np.where(grid[0] == 3, 1.4, 1.0) * rng.normal(1, 0.03, grid.shape[1])
    leaves = pl.DataFrame({name: [f"{name}{value}" for value in values] for name, values in zip("abcde", grid, strict=True)})
    leaves = leaves.with_columns(expected_cost=base, actual_cost=base * moved)
    runs = []
    for _ in range(10):
        begin = time.perf_counter(), time.process_time()
        find_drivers(leaves, list("abcde"))
        runs.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    return 1000 * min(wall for wall, _ in runs), 1000 * min(cpu for _, cpu in runs)


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, help="only the first N cases of each family")
    wish = parser.parse_args()
    if DATA.exists():
        print(score({case: said for family in FAMILIES for case, said in predictions(family, wish.cases).items()}))
    else:
        print(f"{DATA} is not here: no accuracy measured")
    wall, cpu = speed()
    print(f"100,000 leaves x 5 dimensions: {wall:.0f} ms wall, {cpu:.0f} ms processor")


if __name__ == "__main__":
    main()
