"""Any bill, in any files that hold parts of it, again and again: the lake has each row once."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

TOML = '[workspace]\nname = "a"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
NAMES = ("a.csv", "b.parquet", "x/2026-09/c.csv", "y/BILLING_PERIOD=2026-09/r/d.csv", "a (1).csv")


def bill(hourly: bool) -> pl.DataFrame:  # noqa: FBT001
    """Three machines, two accounts, four days; the cost of each row is another one."""
    hours = (0, 7, 13) if hourly else (0,)
    rows = [
        {
            "ChargePeriodStart": f"2026-09-{day:02}T{hour:02}:00:00Z",
            "ChargePeriodEnd": f"2026-09-{day:02}T{hour:02}:59:59Z",
            "BillingPeriodStart": "2026-09-01T00:00:00Z",
            "BillingCurrency": "USD",
            "BilledCost": 1.0 + k / 8,
            "EffectiveCost": 0.5 + k / 16,
            "ListCost": 2.0 + k / 4,
            "ServiceName": "Compute",
            "SubAccountId": account,
            "ResourceId": machine,
            "SkuId": "vm",
        }
        for k, (day, hour, account, machine) in enumerate(
            itertools.product(range(1, 5), hours, "pq", ("m", "n", None))
        )
    ]
    return pl.DataFrame(rows)


PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # to shrink files takes minutes


@settings(
    max_examples=30,
    deadline=None,
    phases=PHASES,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    hourly=st.booleans(),
    picks=st.lists(st.sets(st.integers(0, 71), min_size=1), min_size=1, max_size=len(NAMES)),
    order=st.randoms(use_true_random=False),
)
def test_each_row_counts_once(hourly, picks, order):
    count_once(hourly, picks, order)


@pytest.mark.parametrize(
    ("hourly", "picks"),
    [
        (False, [{23}, {16, 2, 11, 12, 21, 3, 23, 20, 15, 6, 1, 14}, {8, 9, 20, 14}]),
        (True, [{0, 43, 60, 55}, {58, 7, 38, 31}, {34, 67, 68, 5}, {4, 38}, {44}]),
        (True, [{59, 20, 5, 23}, {17, 34}, {0, 47, 20, 21, 22, 56}, {16, 19}]),
    ],
)
def test_rows_that_name_no_resource_count_once_if_a_file_has_only_such(hourly, picks):
    count_once(hourly, picks, Random(1))  # noqa: S311


def count_once(hourly: bool, picks: Sequence[set[int]], order: Random) -> None:  # noqa: FBT001
    """Files with these rows of the bill, in any order, have the sums of the rows."""
    whole = bill(hourly)
    held = [sorted(k % whole.height for k in pick) for pick in picks]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "costwhy.toml").write_text(TOML)
        for path, own in zip(NAMES, held, strict=False):
            rows = [*dict.fromkeys(own)]
            order.shuffle(rows)
            file = folder / "billing" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            part = whole[rows]
            part.write_csv(file) if file.suffix == ".csv" else part.write_parquet(file)
        ingest(read_workspace(folder))
        lake = open_lake(folder)
        true = whole[sorted({k for rows in held for k in rows})]
        for cost in ("BilledCost", "EffectiveCost", "ListCost"):
            assert abs(lake.table("hourly")[cost].sum() - true[cost].sum()) < 0.005
        read = {frozenset(rows) for rows in held}  # files of the same rows may be one file
        aside = lake.table("set_aside")["records"].sum()
        kept = lake.table("hourly")["rows"].sum()
        assert kept == true.height
        assert sum(map(len, read)) <= kept + aside <= sum(len(set(rows)) for rows in held)
