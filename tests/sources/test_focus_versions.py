"""FOCUS from 1.0-preview to 1.4 as providers write it: columns that are gone or named in another way, shares of split charges."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
from places import SPOOL

from costwhy.config import Mapping
from costwhy.errors import SourceError
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cube import Cube
from costwhy.sources.cost import focus

HOUR = {"ChargePeriodStart": "2026-09-01T05:00:00Z", "ChargePeriodEnd": "2026-09-01T06:00:00Z", "BillingPeriodStart": "2026-09-01T00:00:00Z",
        "BillingCurrency": "USD", "ChargeCategory": "Usage", "EffectiveCost": 1.0, "BilledCost": 1.0}  # fmt: skip


def read(folder: Path, *rows: dict[str, object], kind: str = "csv") -> Cube:
    frame = pl.DataFrame([{**HOUR, **row} for row in rows], infer_schema_length=None)
    frame = frame.select(pl.exclude([name for name in frame.columns if frame[name].dtype == pl.Null]))  # fmt: skip
    file = folder / f"bill.{kind}"
    frame.write_csv(file) if kind == "csv" else frame.write_parquet(file)
    return reduce_file(file, focus.FORMAT.bill, Mapping(), "USD", SPOOL)


def rows(cube: Cube, *names: str) -> list[tuple[object, ...]]:
    return sorted(
        cube.scan("hourly").collect().join(cube.series, on="series_id").select(names).rows(),
        key=str,
    )


def total(cube: Cube, name: str = "EffectiveCost") -> float:
    return round(float(cube.scan("hourly").collect()[name].sum()), 6)


# ---------------------------------------------------------------- columns


@pytest.mark.parametrize(
    ("columns", "provider"),
    [
        ({"ServiceProviderName": "Databricks", "HostProviderName": "AWS", "InvoiceIssuerName": "AWS"}, "Databricks"),
        ({"HostProviderName": "AWS", "InvoiceIssuerName": "Reseller"}, "AWS"),
        ({"InvoiceIssuerName": "Reseller"}, "Reseller"),
        ({"ProviderName": "AWS", "ServiceProviderName": "Databricks"}, "AWS"),
        ({"Provider": "Oracle", "Publisher": "Oracle"}, "Oracle"),
        ({"providername": "Microsoft"}, "Microsoft"),
        ({"Provider Name": "Microsoft"}, "Microsoft"),
        ({"service_provider_name": "Snowflake"}, "Snowflake"),
    ],
)  # fmt: skip
def test_the_provider_is_found_in_each_version(columns: dict[str, str], provider: str, tmp_path: Path) -> None:  # fmt: skip
    cube = read(tmp_path, columns)
    assert rows(cube, "ProviderName") == [(provider,)]
    assert not any("providers" in one for one in cube.lacking)


def test_that_providers_are_not_told_apart_is_said(tmp_path: Path) -> None:
    assert any("providers are not told apart" in one for one in read(tmp_path, {}).lacking)


def test_the_columns_of_the_preview_are_read_as_those_of_focus_1_0(tmp_path: Path) -> None:
    used = {"Provider": "Microsoft", "Region": "East US", "ChargeSubcategory": "Used Commitment", "PricingCategory": "Commitment-Based",
            "UsageQuantity": 2, "UsageUnit": "Hours", "SkuId": "vm"}  # fmt: skip
    credit = used | {"ChargeCategory": "Adjustment", "ChargeSubcategory": "Credit", "PricingCategory": "On-Demand"}  # fmt: skip
    names = ("ChargeCategory", "CommitmentDiscountStatus", "PricingCategory", "RegionId", "ConsumedQuantity", "ConsumedUnit", "x_UsageType")  # fmt: skip
    assert rows(read(tmp_path, used, credit), *names) == [
        ("Credit", None, "Standard", "East US", 2.0, "Hours", "vm"),
        ("Usage", "Used", "Committed", "East US", 2.0, "Hours", "vm"),
    ]


def test_a_correction_without_a_quantity_is_no_usage(tmp_path: Path) -> None:
    lump = {"ChargeClass": "Correction", "ConsumedQuantity": None, "EffectiveCost": -0.25, "BilledCost": -0.25}  # fmt: skip
    again = {"ChargeClass": "Correction", "ConsumedQuantity": 3.0}
    cube = read(tmp_path, lump, again, {"ChargeClass": None, "ConsumedQuantity": 1.0})
    assert rows(cube, "ChargeCategory", "EffectiveCost") == [("Adjustment", -0.25), ("Usage", 2.0)]


# ---------------------------------------------------------------- money


@pytest.mark.parametrize("empty", ["", "NULL", "N/A", None])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_billed_cost_stands_in_for_an_effective_cost_that_the_whole_file_lacks(empty: str | None, kind: str, tmp_path: Path) -> None:  # fmt: skip
    row = {"EffectiveCost": empty, "BilledCost": 12.5}
    cube = read(tmp_path, row, row, row, kind=kind)
    assert (total(cube), total(cube, "BilledCost"), cube.set_aside.height) == (37.5, 37.5, 0)
    [(note, count, cost)] = cube.odd.rows()
    assert note.startswith("EffectiveCost is empty in the whole file and BilledCost stands in")
    assert (count, cost) == (3, 37.5)


def test_a_single_row_without_effective_cost_is_set_aside_with_what_was_billed(tmp_path: Path) -> None:  # fmt: skip
    cube = read(tmp_path, {}, {"EffectiveCost": None, "BilledCost": 3.21})
    assert (total(cube), cube.odd.height) == (1.0, 0)
    assert cube.set_aside.select("EffectiveCost", "BilledCost", "records").rows() == [(None, 3.21, 1)]  # fmt: skip


def test_a_file_without_any_cost_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ChargePeriodStart,BillingCurrency\n2026-09-01,USD\n")
    with pytest.raises(SourceError, match="column EffectiveCost is missing"):
        reduce_file(tmp_path / "a.csv", focus.FORMAT.bill, Mapping(), "USD", SPOOL)


# ---------------------------------------------------------------- shares of split charges


NODE = {"ResourceId": "node-1", "SkuId": "m5", "ServiceName": "Compute", "AllocatedMethodId": "cpu", "Tags": '{"team": "platform"}'}  # fmt: skip


def share(pod: str, cost: float, ratio: float | None = None, **more: object) -> dict[str, object]:
    details = None if ratio is None else f'{{"Elements": [{{"AllocatedRatio": {ratio}, "UsageUnit": "vCPU"}}]}}'  # fmt: skip
    return NODE | {"AllocatedResourceId": pod, "AllocatedTags": f'{{"app": "{pod}"}}', "AllocatedMethodDetails": details,
                   "EffectiveCost": cost, "BilledCost": cost} | more  # fmt: skip


def rest(cost: float, **more: object) -> dict[str, object]:
    return NODE | {"AllocatedResourceId": None, "AllocatedTags": None, "AllocatedMethodDetails": None,
                   "EffectiveCost": cost, "BilledCost": cost} | more  # fmt: skip


@pytest.mark.parametrize(
    ("bill", "counted", "aside"),
    [
        # what nobody used stands beside the shares, and counts
        ([share("web", 5.0), share("cart", 3.0), rest(2.0)], 10.0, 0),
        # the whole charge is zero, or left out
        ([share("web", 6.0), share("cart", 4.0), rest(0.0)], 10.0, 0),
        ([share("web", 6.0), share("cart", 4.0)], 10.0, 0),
        # the whole charge is not marked as split: it stands beside its shares
        ([share("web", 6.0), share("cart", 4.0), rest(10.0, AllocatedMethodId=None)], 10.0, 1),
        # the ratios say that the shares are the whole
        ([share("web", 6.0, 0.6), share("cart", 4.0, 0.4), rest(10.0)], 10.0, 1),
        # half of the node is unused, as the ratios say
        ([share("web", 3.0, 0.3), share("cart", 2.0, 0.2), rest(5.0)], 10.0, 0),
        # three charges that all equal their shares are whole ones
        ([one for k in "abc" for one in (share("web", 6.0, ResourceId=k), share("cart", 4.0, ResourceId=k), rest(10.0, ResourceId=k))], 30.0, 3),
        # an ordinary charge of the same price, of another resource
        ([share("web", 6.0), share("cart", 4.0), rest(10.0, ResourceId="disk", AllocatedMethodId=None)], 20.0, 0),
    ],
)  # fmt: skip
def test_a_charge_and_its_shares_count_once(bill: list[dict[str, object]], counted: float, aside: int, tmp_path: Path) -> None:  # fmt: skip
    cube = read(tmp_path, *bill)
    assert (total(cube), total(cube, "BilledCost")) == (counted, counted)
    assert cube.set_aside["records"].sum() == aside
    assert cube.set_aside["BilledCost"].sum() == pytest.approx(10.0 * aside)
    assert cube.odd.is_empty()
    assert rows(cube, "service", "team")[0] == ("cart", "platform")


def test_a_charge_that_may_count_twice_is_said_with_its_money(tmp_path: Path) -> None:
    cube = read(tmp_path, share("web", 3.0), share("cart", 2.0), rest(5.0))
    assert total(cube) == 10.0
    [(note, count, cost)] = cube.odd.rows()
    assert "equals the sum of its shares" in note
    assert (count, cost) == (1, 5.0)


def test_a_share_is_a_row_of_its_own_resource(tmp_path: Path) -> None:
    cube = read(tmp_path, share("web", 6.0), rest(4.0))
    found = (
        cube.scan("daily")
        .collect()
        .join(cube.series, on="series_id")
        .select("ResourceId", "service")
        .rows()
    )
    assert sorted(found, key=str) == [("node-1", None), ("web", "web")]


# ---------------------------------------------------------------- exports


def test_the_view_of_google_cloud_in_bigquery_as_parquet(tmp_path: Path) -> None:
    file = tmp_path / "gcp.parquet"
    duckdb.sql(
        f"""COPY (SELECT 'Google Cloud' AS ProviderName, 'Google Cloud' AS PublisherName, 'USD' AS BillingCurrency,
        12.25::DECIMAL(38, 9) AS BilledCost, 12.25::DECIMAL(38, 9) AS EffectiveCost, 14::DECIMAL(38, 9) AS ListCost, 2.0::DOUBLE AS ConsumedQuantity, 'hour' AS ConsumedUnit,
        TIMESTAMPTZ '2026-09-01 05:00:00+00' AS ChargePeriodStart, TIMESTAMPTZ '2026-09-01 06:00:00+00' AS ChargePeriodEnd,
        TIMESTAMPTZ '2026-09-01 07:00:00+00' AS BillingPeriodStart, 'Usage' AS ChargeCategory, 'proj-1' AS SubAccountId, 'us-east1' AS RegionId, 'Compute Engine' AS ServiceName, 'ABCD' AS SkuId,
        [{{'key': 'k8s-namespace', 'value': 'shop', 'x_type': 'label', 'x_inherited': false}}, {{'key': 'team', 'value': 'shop-team', 'x_type': 'label', 'x_inherited': true}}] AS Tags,
        [{{'name': 'credit', 'amount': 0.1}}] AS x_Credits) TO '{file}'"""
    )
    cube = reduce_file(file, focus.FORMAT.bill, Mapping(), "USD", SPOOL)
    assert rows(cube, "ProviderName", "service", "team", "EffectiveCost", "BilledCost", "ListCost") == [
        ("Google Cloud", "shop", "shop-team", 12.25, 12.25, 14.0)
    ]  # fmt: skip
    assert (cube.lacking, cube.odd.height, cube.totals["billing_period"].to_list()) == ((), 0, ["2026-09"])  # fmt: skip


DATA = Path(__file__).parent.parent / "data" / "focus"


@pytest.mark.parametrize(
    ("name", "cost", "services"),
    [
        ("focus_1_3_split/costs.csv", 26.0, {"web": 6.0, "cart": 3.0, None: 17.0}),
        ("focus_1_4_split/costs.csv", 20.0, {"web": 6.0, "cart": 4.0, None: 10.0}),
        ("azure_daily/part_1_0001.csv", 61.5, {"web": 61.5}),
    ],
)
def test_bills_as_they_are_exported(name: str, cost: float, services: dict[str | None, float]) -> None:  # fmt: skip
    cube = reduce_file(DATA / name, focus.FORMAT.bill, Mapping(), "USD", SPOOL)
    assert total(cube) == cost
    by = cube.scan("hourly").collect().join(cube.series, on="series_id").group_by("service").agg(pl.col("EffectiveCost").sum())  # fmt: skip
    assert dict(by.iter_rows()) == services
