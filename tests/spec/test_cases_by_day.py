"""The cases with known answers, their bills summed to the day: what lasts days is found all the same."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from places import CASES, SHARED

PLACE = SHARED / "cases"
SUMS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ConsumedQuantity", "PricingQuantity")  # fmt: skip
SOME = ["retry_loop-1001", "autoscaler-1002", "seasonal_only-1008"]


def summed(company: Path, to: Path) -> Path:
    """A copy of a workspace whose bill is by the day; charges of a month stay as they are."""
    shutil.copytree(company, to)
    for file in (to / "billing").rglob("*.parquet"):
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            source = f"read_parquet('{file}', hive_partitioning = false)"
            names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()]  # fmt: skip
            whole = "ChargePeriodEnd - ChargePeriodStart > INTERVAL 1 DAY"
            day = "date_trunc('day', ChargePeriodStart)"
            special = {
                "ChargePeriodStart": f"CASE WHEN {whole} THEN ChargePeriodStart ELSE {day} END",
                "ChargePeriodEnd": f"CASE WHEN {whole} THEN ChargePeriodEnd ELSE {day} + INTERVAL 1 DAY END",
                **{name: f'sum("{name}")' for name in SUMS},
            }
            select = ", ".join(f'{special.get(n, chr(34) + n + chr(34))} AS "{n}"' for n in names)
            made = file.with_suffix(".days")
            connection.execute(f"COPY (SELECT {select} FROM {source} GROUP BY ALL) TO '{made}' (FORMAT parquet)")  # fmt: skip
        made.replace(file)
    return to


def score(
    names: list[str], answer_of: Callable[[Path], dict[str, Any]], folder: Path
) -> dict[str, float]:
    for part in ("cases", "answers"):
        (folder / part).mkdir()
    for name in names:
        shutil.copyfile(PLACE / f"{name}.truth.json", folder / "cases" / f"{name}.truth.json")
        answer = answer_of(summed(PLACE / name, folder / f"{name}-by-day"))
        (folder / "answers" / f"{name}.json").write_text(json.dumps(answer))
        shutil.rmtree(folder / f"{name}-by-day")
    command = [sys.executable, PLACE / "score.py", folder / "cases", folder / "answers", "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)["table"]


@pytest.mark.external
@pytest.mark.parametrize(
    "names", [SOME, pytest.param(list(CASES), marks=pytest.mark.long)], ids=["some", "all"]
)
def test_by_the_day_all_are_found_and_none_that_did_not_happen(
    names: list[str], answer_of: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    table = score(names, answer_of, tmp_path)
    right = ("found", "behaviour_place", "sums_exact")
    assert {name: table[name] for name in right} == dict.fromkeys(right, 1.0)
    assert table["alarms_per_month"] == 0.0
    assert table["excess_error_median"] < 0.08
    assert table["behaviour_dollars"] > 0.9
