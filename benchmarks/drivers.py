"""Accuracy and speed of `find_drivers` on ../shared/data/drivers, by its own scorer. Prints one table.

uv run python benchmarks/drivers.py [--cases N]     N: only the first N cases of each family
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

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "drivers"
FAMILIES = ("B0", "B0n", "L", "S", "CX")
VALUES = ("case_id", "actual_cents", "expected_cents")


def predict(family: str, most: int | None) -> tuple[dict[str, list[str]], float, bool]:
    """Predictions of one family, seconds a case, and whether every sum was exact."""
    frame = pl.read_parquet(DATA / f"{family}.parquet")
    dims = [c for c in frame.columns if c not in VALUES]
    said, spent, exact = {}, 0.0, True
    for (case,), whole in list(frame.partition_by("case_id", as_dict=True, maintain_order=True).items())[:most]:
        rows = whole.select([c for c in dims if whole[c].null_count() < whole.height] + list(VALUES[1:]))
        begin = time.perf_counter()
        found = find_drivers(rows, [c for c in rows.columns if c in dims], expected="expected_cents", actual="actual_cents")
        spent += time.perf_counter() - begin
        names = [c for c in found.columns if c != "cost_change"]
        said[str(case)] = ["&".join(f"{n}={r[n]}" for n in names if r[n] is not None) for r in found.iter_rows(named=True)]
        exact = exact and abs(found["cost_change"].sum() - round(found["cost_change"].sum())) < 1e-6
    return said, spent / max(1, len(said)), exact


def speed() -> float:
    """Milliseconds for 100,000 leaves x 5 dimensions."""
    rng = np.random.default_rng(1)
    leaves = pl.DataFrame({name: rng.integers(0, 10, 100_000).astype(str) for name in "abcde"}).unique(maintain_order=True)
    base = rng.lognormal(3, 1, leaves.height)
    moved = np.where(leaves["a"].to_numpy() == "3", 1.4, 1.0) * rng.normal(1, 0.03, leaves.height)
    leaves = leaves.with_columns(expected_cost=base, actual_cost=base * moved)
    best = np.inf
    for _ in range(5):
        begin = time.perf_counter()
        find_drivers(leaves, list("abcde"))
        best = min(best, time.perf_counter() - begin)
    return 1000 * float(best)


def main() -> None:
    """One table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int)
    wish = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} is not here: nothing to measure")
    said: dict[str, list[str]] = {}
    for family in FAMILIES:
        found, seconds, exact = predict(family, wish.cases)
        said |= found
        print(f"{family:4s} {len(found):4d} cases  {1000 * seconds:7.1f} ms a case  sums exact: {exact}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        truth = {k: v for k, v in json.loads((DATA / "truth.json").read_text()).items() if k in said}
        (Path(folder) / "said.json").write_text(json.dumps(said))
        (Path(folder) / "truth.json").write_text(json.dumps(truth))
        print(
            subprocess.run(
                [sys.executable, DATA / "score.py", f"{folder}/said.json", f"{folder}/truth.json"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout
        )
    print(f"100,000 leaves x 5 dimensions: {speed():.0f} ms")


if __name__ == "__main__":
    main()
