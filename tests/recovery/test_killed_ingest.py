"""An ingest that is killed while it writes leaves the lake as before; run again, it ends where an undisturbed one does."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

KILLED = 137
INGEST = """
import os
from costwhy.lake import lake
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
write_table = lake.write_table
def write_and_die(folder, name, change, base):
    version = write_table(folder, name, change, base)
    if name == "hourly":
        os._exit(137)
    return version
lake.write_table = write_and_die
ingest(read_workspace({place!r}))
"""


def bill(folder: Path, month: str, cost: float) -> None:
    start = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    times = {
        "BillingPeriodStart": start,
        "BillingPeriodEnd": start,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": start,
    }
    costs = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"), cost)
    names = {
        "BillingCurrency": "USD",
        "ServiceName": "AWS Lambda",
        "ChargeCategory": "Usage",
        "SubAccountId": "1",
    }
    tags = {
        "ConsumedQuantity": 1.0,
        "ConsumedUnit": "Requests",
        "Tags": json.dumps({"service": "checkout"}),
    }
    file = folder / f"billing/data/BILLING_PERIOD={month}/acme-00001.snappy.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame([times | costs | names | tags]).write_parquet(file)


def total(folder: Path) -> float:
    return float(open_lake(folder).table("hourly")["EffectiveCost"].sum())


def test_a_killed_ingest_leaves_the_lake_as_before_and_the_next_one_ends_right(tmp_path):
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "a"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    )
    bill(tmp_path, "2026-09", 1.0)
    bill(tmp_path, "2026-10", 10.0)
    ingest(read_workspace(tmp_path))
    bill(tmp_path, "2026-10", 20.0)
    bill(tmp_path, "2026-11", 100.0)
    done = subprocess.run(
        [sys.executable, "-c", INGEST.format(place=str(tmp_path))],
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == KILLED, done.stderr.decode()
    assert (open_lake(tmp_path).version, total(tmp_path)) == (1, 11.0)
    report = ingest(read_workspace(tmp_path))
    assert (report.version, report.read, report.skipped) == (2, 2, 1)
    assert total(tmp_path) == 1.0 + 20.0 + 100.0
    assert ingest(read_workspace(tmp_path)).version == 2
