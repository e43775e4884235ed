"""How cost grows with the bill: CPU, wall time, memory and lake size of each step, beside bare DuckDB in the same run. Prints one table.

    uv run python benchmarks/scale.py [--lines 1000000,10000000] [--folder DIR]

Bills are those of `shape.py`, kept in DIR for the next run (default: a temporary folder). Each step runs in a process of its own.
*bare* is two group-bys over the same keys, the tags looked up in the map, results fetched (`reduce.py`); *polars* (streaming) and *pandas* (`--group bench`, up to a million lines) do the same group-bys. *ingest* is what a user runs,
from the empty folder to a lake; *again* finds nothing new; *model* is the first opening, *opened* the second.
*window* is any day of the bill that somebody drags.
"""

import argparse
import operator
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import reduce
import shape

import costwhy as cw
from costwhy.case.analysis import analyse
from costwhy.case.investigate import investigate_window
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.tables import DIMENSION_NAMES, MEASURE_NAMES


def bare(folder: Path) -> str:
    """Two group-bys of each file."""
    return f"{reduce.bare(_bill(folder)):.2f}"


def by_polars(folder: Path) -> str:
    """The same group-bys by polars, streaming."""
    dims = [name for name in DIMENSION_NAMES if name not in {"service", "team", "budget_owner"}]
    total = 0.0
    for file in _bill(folder):
        rows = pl.scan_parquet(file, hive_partitioning=False).with_columns(
            pl.col("Tags").map.get(key).alias(key) for key in ("service", "team")
        )
        for unit, more in (("1h", []), ("1d", ["ResourceId"])):
            keys = [pl.col("ChargePeriodStart").dt.truncate(unit), *dims, "service", "team", *more]
            sums = rows.group_by(keys).agg(pl.col(MEASURE_NAMES).sum()).collect(engine="streaming")
            total += float(sums["EffectiveCost"].sum()) / 2
    return f"{total:.2f}"


def by_pandas(folder: Path) -> str:
    """The same by pandas, which holds a file whole."""
    dims = [name for name in DIMENSION_NAMES if name not in {"service", "team", "budget_owner"}]
    total = 0.0
    for file in _bill(folder):
        names = ["ChargePeriodStart", "ResourceId", "Tags", *dims, *MEASURE_NAMES]
        table = pq.ParquetFile(file).read(columns=names)
        rows = table.to_pandas(maps_as_pydicts="lossy")
        for key in ("service", "team"):
            rows[key] = rows["Tags"].map(operator.methodcaller("get", key))
        for unit, more in (("h", []), ("D", ["ResourceId"])):
            keys = [rows["ChargePeriodStart"].dt.floor(unit), *dims, "service", "team", *more]
            sums = rows.groupby(keys, dropna=False)[list(MEASURE_NAMES)].sum()
            total += float(sums["EffectiveCost"].sum()) / 2
    return f"{total:.2f}"


def _bill(folder: Path) -> list[Path]:
    return sorted((folder / "bill").rglob("*.parquet"))


def ingested(folder: Path) -> str:
    """A lake, or nothing new."""
    report = ingest(read_workspace(folder))
    return f"{report.rows:,} lines"


def model(folder: Path) -> str:
    """The analysis of the lake, and its spikes."""
    analysis = analyse(cw.open_lake(folder))
    meters = analysis.observed.meters.height
    series = cw.open_lake(folder).scan("series").collect().height
    return f"{series:,} series, {meters:,} meters"


def windows(folder: Path) -> str:
    """Ten windows of a day; the slowest and the median."""
    lake = cw.open_lake(folder)
    last = analyse(lake).observed.hours[-1]
    took = []
    for k in range(10):
        end = last - timedelta(days=2 + 4 * k)
        began = time.process_time()
        investigate_window(lake, (end - timedelta(days=1), end))
        took.append(time.process_time() - began)
    return f"CPU s each: median {sorted(took)[5]:.2f}, most {max(took):.2f}"


MOST_FOR_PANDAS = 1_000_000  # lines: it needs some 3 GB for a million
STEPS: dict[str, Callable[[Path], str]] = {
    "bare": bare,
    "polars": by_polars,
    "pandas": by_pandas,
    "ingest": ingested,
    "again": ingested,
    "model": model,
    "opened": model,
    "windows": windows,
}


def _run(step: str, folder: Path) -> list[str]:
    began = time.perf_counter()
    run = subprocess.run(
        [sys.executable, __file__, "--folder", str(folder), "--step", step],
        capture_output=True,
        text=True,
        check=True,
    )
    return [*run.stdout.strip().split(" ", 2), f"{time.perf_counter() - began:.1f}"]


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _measure(folder: Path, lines: int) -> None:
    shape.make(folder, lines)
    print(f"\n{lines:,} lines, {_megabytes(folder / 'bill'):,.0f} MB")
    print(f"{'step':8s} {'CPU s':>8s} {'to bare':>8s} {'wall s':>7s} {'peak MB':>8s}")
    shutil.rmtree(folder / "lake", ignore_errors=True)
    first = 0.0
    peers = {"pandas"} if lines > MOST_FOR_PANDAS or not find_spec("pandas") else set()
    for step in (step for step in STEPS if step not in peers):
        cpu, peak, said, wall = _run(step, folder)
        first = first or float(cpu)
        print(
            f"{step:8s} {float(cpu):8.1f} {float(cpu) / first:8.2f} {wall:>7s} {peak:>8s}   {said}"
        )
    print(f"lake {_megabytes(folder / 'lake'):,.0f} MB")


def main() -> None:
    """Each size, each step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lines", default="1000000,10000000")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", choices=STEPS)
    wish = parser.parse_args()
    if wish.step:
        said = STEPS[wish.step](wish.folder)
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"{used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss / 1024:.0f} {said}")
        return
    with tempfile.TemporaryDirectory() as spare:
        for lines in map(int, wish.lines.split(",")):
            _measure((wish.folder or Path(spare)) / str(lines), lines)


if __name__ == "__main__":
    main()
