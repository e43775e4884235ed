"""Billing files: FOCUS of several providers, CUR 2.0 and legacy CUR, and which deliveries count."""

import json
from pathlib import Path

import polars as pl
import pytest
from places import DATA, SHARED, SPOOL, external

from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cube import merge
from costwhy.sources.cost import cur, focus
from costwhy.sources.inventory import find_files

# file; rows by provider; by category; dollars billed; effective
FOCUS = (
    (
        DATA / "focus/focus_1_0_sample.csv",
        {"AWS": 55, "Microsoft": 11, "Oracle": 7},
        {"Usage": 70, "Adjustment": 2, "Credit": 1},
        (1.82810256338, 0.56804992225),
    ),
    (
        SHARED / "data/focus/focus_1_0_sample_1000.csv",
        {"AWS": 942, "Microsoft": 51, "Oracle": 7},
        {"Usage": 997, "Adjustment": 2, "Credit": 1},
        (20.52022672899003, 14.976514185860003),
    ),
)
CUR = (
    (DATA / "cur/legacy_report.csv", 45),
    (SHARED / "data/cur/sample-anonymous-aws-export-dataset.csv", 1281),
)


def own_and_shared(own: tuple[object, ...], shared: tuple[object, ...]) -> list[object]:
    return [pytest.param(*own, id="own"), external(*shared, id="shared")]


@pytest.mark.parametrize(("file", "providers", "categories", "dollars"), own_and_shared(*FOCUS))
def test_the_public_focus_sample_is_read_whole(
    file: Path,
    providers: dict[str, int],
    categories: dict[str, int],
    dollars: tuple[float, float],
) -> None:
    cube = reduce_file(
        file, focus.FORMAT.bill, Mapping(service_tags=("application",)), "USD", SPOOL
    )
    assert (cube.scan("hourly").collect()["rows"].sum(), cube.set_aside.height) == (
        sum(providers.values()),
        0,
    )
    assert cube.totals["BilledCost"].sum() == pytest.approx(dollars[0], abs=1e-9)
    assert cube.totals["EffectiveCost"].sum() == pytest.approx(dollars[1], abs=1e-9)
    rows = (
        cube.scan("hourly")
        .collect()
        .join(cube.series, on="series_id")
        .group_by("ProviderName")
        .agg(pl.col("rows").sum())
    )
    assert dict(rows.iter_rows()) == providers
    kinds = (
        cube.scan("hourly")
        .collect()
        .join(cube.series, on="series_id")
        .group_by("ChargeCategory")
        .agg(pl.col("rows").sum())
    )
    assert dict(kinds.iter_rows()) == categories
    assert cube.series.filter(pl.col("service") == "BrightPathMatrix").height > 0, (
        "tags in JSON text"
    )
    assert "NULL" not in cube.series["RegionId"].to_list(), "the word NULL is null"


@pytest.mark.parametrize(("file", "rows"), own_and_shared(*CUR))
def test_the_public_legacy_report_is_read_whole(file: Path, rows: int) -> None:
    cube = reduce_file(file, cur.FORMAT.bill, Mapping(), "USD", SPOOL)
    assert (cube.scan("hourly").collect()["rows"].sum(), cube.set_aside.height) == (rows, 0)
    assert cube.totals["billing_period"].to_list() == ["2023-11"]
    raw = pl.read_csv(file, infer_schema=False)["lineItem/UnblendedCost"].cast(pl.Float64)
    assert cube.totals["BilledCost"].sum() == pytest.approx(raw.sum(), abs=1e-9)


def cur2(tmp_path: Path, **columns: list[object]) -> Path:
    """CUR 2.0 rows: what is not given is the same for all."""
    size = len(next(iter(columns.values())))
    base = {"line_item_usage_start_date": "2026-10-01T03:00:00Z", "bill_billing_period_start_date": "2026-10-01T00:00:00Z", "line_item_currency_code": "USD",
            "line_item_usage_account_id": "1", "line_item_unblended_cost": 1.0, "line_item_usage_amount": 2.0, "line_item_usage_type": "BoxUsage"}  # fmt: skip
    frame = pl.DataFrame({**{k: [v] * size for k, v in base.items()}, **columns})
    frame.write_parquet(tmp_path / "cur.parquet")
    return tmp_path / "cur.parquet"


def test_effective_cost_follows_the_rules_of_amortised_cost(tmp_path: Path) -> None:
    # type                      unblended  plan or reservation   effective
    # Usage                     1.00                             1.00
    # SavingsPlanCoveredUsage   1.00       0.60                  0.60
    # SavingsPlanNegation      -1.00                             0
    # DiscountedUsage           0.00       0.40                  0.40
    # RIFee                     5.00       0.25 unused           0.25
    # SavingsPlanRecurringFee   3.00       1.00 of 0.90 used     0.10
    file = cur2(
        tmp_path,
        line_item_line_item_type=["Usage", "SavingsPlanCoveredUsage", "SavingsPlanNegation", "DiscountedUsage", "RIFee", "SavingsPlanRecurringFee"],
        line_item_unblended_cost=[1.0, 1.0, -1.0, 0.0, 5.0, 3.0], savings_plan_savings_plan_effective_cost=[None, 0.6, None, None, None, None],
        reservation_effective_cost=[None, None, None, 0.4, None, None], reservation_unused_recurring_fee=[None, None, None, None, 0.25, None],
        savings_plan_total_commitment_to_date=[None, None, None, None, None, 1.0], savings_plan_used_commitment=[None, None, None, None, None, 0.9],
    )  # fmt: skip
    cube = reduce_file(file, cur.FORMAT.bill, Mapping(), "USD", SPOOL)
    rows = cube.scan("hourly").collect().join(cube.series, on="series_id")
    assert cube.totals["EffectiveCost"].sum() == pytest.approx(1.0 + 0.6 + 0.4 + 0.25 + 0.10)
    by_kind = rows.group_by("ChargeCategory", "PricingCategory", "CommitmentDiscountStatus").agg(
        pl.col("EffectiveCost").sum().round(9)
    )
    assert set(by_kind.iter_rows()) == {("Usage", "Standard", None, 1.0), ("Usage", "Committed", "Used", 1.0), ("Adjustment", None, None, 0.0),
                                        ("Purchase", None, "Unused", 0.35)}  # fmt: skip


def test_the_same_combination_has_the_same_id_in_every_file(tmp_path: Path) -> None:
    cubes = [
        reduce_file(
            cur2(tmp_path, line_item_line_item_type=["Usage"] * n),
            cur.FORMAT.bill,
            Mapping(),
            "USD",
            SPOOL,
        )
        for n in (1, 3)
    ]
    assert cubes[0].series.equals(cubes[1].series)
    both = merge(cubes, SPOOL)
    assert (
        both.series.height,
        both.scan("hourly").collect().height,
        both.scan("hourly").collect()["rows"].sum(),
        both.scan("hourly").collect()["EffectiveCost"].sum(),
    ) == (1, 1, 4, 4.0)


def test_only_the_newest_delivery_of_a_period_counts(tmp_path: Path) -> None:
    data, metadata = (tmp_path / part / "BILLING_PERIOD=2026-10" for part in ("data", "metadata"))
    for execution in ("2026-10-05T04", "2026-10-09T04"):
        (data / execution).mkdir(parents=True)
        (data / execution / "x-00001.csv").write_text("a\n")
    metadata.mkdir(parents=True)
    (metadata / "x-Manifest.json").write_text(
        json.dumps(
            {"dataFiles": ["s3://bucket/data/BILLING_PERIOD=2026-10/2026-10-05T04/x-00001.csv"]}
        )
    )
    assert [f.parent.name for f in find_files(".", tmp_path, focus.FORMAT.files)] == [
        "2026-10-05T04"
    ], "the manifest says which"
    (metadata / "x-Manifest.json").unlink()
    assert [f.parent.name for f in find_files(".", tmp_path, focus.FORMAT.files)] == [
        "2026-10-09T04"
    ], "without one, the newest folder"


def test_files_of_no_known_layout_are_parts_of_one_whole(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.gz", "c.parquet", "readme.txt"):
        (tmp_path / name).write_text("")
    assert [f.name for f in find_files(".", tmp_path, focus.FORMAT.files)] == [
        "a.csv",
        "b.csv.gz",
        "c.parquet",
    ]
    with pytest.raises(SourceError, match="nothing to read"):
        find_files("*.orc", tmp_path, focus.FORMAT.files)
