"""CPU and memory of the reduction against a bare DuckDB group-by over the same keys, in one run. Prints one table.

    uv run python benchmarks/reduce.py [--rows 30000000] [--folder DIR]

FOCUS-like rows are made as Parquet files in DIR (kept for the next run; default: a temporary folder). Each way runs in a
process of its own, one file after the other. *Bare* is what the reduction must at least do: for each file the two group-bys
(hour x dimensions, day x dimensions x resource) over the same columns, the tags looked up in the map, results fetched; without
checks, set-aside rows, control totals, hashes and ids.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb

from costwhy.config import Mapping
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.duck import DUCKDB
from costwhy.sources.cost import focus
from costwhy.sources.cost.sql import literal
from costwhy.tables import DIMENSION_NAMES, MEASURE_NAMES

FILE_ROWS = 5_000_000


def make(folder: Path, rows: int) -> list[Path]:
    """Files of FILE_ROWS rows: 60 days by the hour, 20 accounts, 8 regions, 120 services, some 200 resources each."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k in range(max(1, rows // FILE_ROWS)):
        file = folder / f"focus-{k:02d}-{min(rows, FILE_ROWS)}.parquet"
        if not file.exists():
            with duckdb.connect(config={"threads": DUCKDB["threads"]}) as connection:
                connection.execute("SET enable_progress_bar = false")
                connection.execute(f"SELECT setseed(0.{k + 1})").fetchall()
                connection.execute(
                    f"COPY ({_rows(min(rows, FILE_ROWS), k)}) TO {literal(str(file))} (FORMAT parquet, COMPRESSION zstd)"
                ).fetchall()
        files.append(file)
    return files


def _rows(count: int, k: int) -> str:
    days = 60 // 6
    return f"""SELECT TIMESTAMP '2026-09-01' + to_hours(CAST({k * days * 24} + floor(i * {days * 24} / {count}) AS INTEGER)) AS ChargePeriodStart,
        date_trunc('month', ChargePeriodStart) AS BillingPeriodStart, 'USD' AS BillingCurrency, 'AWS' AS ProviderName, '104729331806' AS BillingAccountId,
        CAST(200000000000 + s % 20 AS VARCHAR) AS SubAccountId, 'account-' || (s % 20) AS SubAccountName, 'region-' || (s % 8) AS RegionId, 'Compute' AS ServiceCategory,
        'Service ' || (s % 30) AS ServiceName, 'Code' || (s % 30) AS x_ServiceCode, 'Usage-' || (s % 30) || '-' || u AS x_UsageType, 'Operation' || u AS x_Operation,
        'Usage' AS ChargeCategory, 'Standard' AS PricingCategory, CAST(NULL AS VARCHAR) AS CommitmentDiscountStatus, 'Hrs' AS ConsumedUnit,
        'arn:aws:thing:' || s || '/' || CAST(floor(random() * 200) AS INTEGER) AS ResourceId, MAP {{'service': 'service-' || s, 'team': 'team-' || (s % 12), 'env': 'prod'}} AS Tags,
        q AS ConsumedQuantity, round(q * 0.0412, 10) AS EffectiveCost, EffectiveCost AS BilledCost, EffectiveCost AS ListCost
        FROM (SELECT i, round(random() * 3, 6) AS q, CAST(floor(random() * 120) AS INTEGER) AS s, CAST(floor(random() * 4) AS INTEGER) AS u FROM range({count}) t(i))"""


def ours(files: list[Path]) -> float:
    """Total EffectiveCost by the reduction."""
    with tempfile.TemporaryDirectory() as spool:
        cubes = (
            reduce_file(file, focus.FORMAT.bill, Mapping(), "USD", Path(spool)) for file in files
        )
        return sum(float(cube.totals["EffectiveCost"].sum()) for cube in cubes)


def bare(files: list[Path]) -> float:
    """The same by two bare group-bys."""
    dims = ", ".join(
        {
            "service": "Tags['service'] AS service",
            "team": "Tags['team'] AS team",
            "budget_owner": "NULL AS budget_owner",
        }.get(n, n)
        for n in DIMENSION_NAMES
    )
    sums = ", ".join(f"sum({n}) AS {n}" for n in MEASURE_NAMES)
    total = 0.0
    for file in files:
        with duckdb.connect(config=DUCKDB) as connection:
            connection.execute("SET enable_progress_bar = false")
            source = f"FROM read_parquet({literal(str(file))})"
            hourly = connection.sql(
                f"SELECT date_trunc('hour', ChargePeriodStart) AS hour, {dims}, {sums} {source} GROUP BY ALL"
            ).pl()
            connection.sql(
                f"SELECT date_trunc('day', ChargePeriodStart) AS day, ResourceId, {dims}, {sums} {source} GROUP BY ALL"
            ).pl()
            total += float(hourly["EffectiveCost"].sum())
    return total


def main() -> None:
    """Make the rows, run both ways, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=30_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--way", choices=["ours", "bare"])
    wish = parser.parse_args()
    with tempfile.TemporaryDirectory() as spare:
        folder = wish.folder or Path(spare)
        files = make(folder, wish.rows)
        if wish.way:
            total = {"ours": ours, "bare": bare}[wish.way](files)
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(f"{used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss / 1024:.0f} {total:.2f}")
            return
        said = {}
        for way in ("bare", "ours"):
            run = subprocess.run(
                [
                    sys.executable,
                    __file__,
                    "--rows",
                    str(wish.rows),
                    "--folder",
                    folder,
                    "--way",
                    way,
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            said[way] = [float(x) for x in run.stdout.split()]
        print(
            f"{'way':6s} {'CPU s':>8s} {'ratio':>6s} {'peak MB':>8s} {'EffectiveCost':>16s}   ({wish.rows:,} rows, {sum(f.stat().st_size for f in files) / 1e6:,.0f} MB)"
        )
        for way, (cpu, peak, total) in said.items():
            print(f"{way:6s} {cpu:8.1f} {cpu / said['bare'][0]:6.2f} {peak:8.0f} {total:16.2f}")


if __name__ == "__main__":
    main()
