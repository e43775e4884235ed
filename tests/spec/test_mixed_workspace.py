"""A workspace with two bills: AWS by the hour as a CUR, Azure by the day as FOCUS; one incident in each."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from small_company import FIRST, MemoryLake, SmallCompany, by_day, from_hour

import costwhy as cw
from costwhy.case.bill_facts import facts_of
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import Lake, open_lake

ONSET = 30 * 24 + 9
DYNAMO = "Amazon DynamoDB"
DAY = timedelta(days=1)
TOML = """
[workspace]
name = "acme"
currency = "USD"
[[cost]]
format = "cur2"
path = "aws/"
[[cost]]
format = "focus"
path = "azure/"
[[signals]]
format = "signals"
path = "signals.csv"
"""


def lines(lake: MemoryLake, *, azure: bool) -> pl.DataFrame:
    of = pl.col("ServiceName") == DYNAMO
    bill = lake.frames["hourly"].join(lake.frames["series"], on="series_id")
    return bill.filter(of if azure else ~of)


def write(lake: MemoryLake, folder: Path) -> None:
    day, hour = timedelta(days=1), timedelta(hours=1)
    azure = lines(by_day(lake, [DYNAMO]), azure=True).select(
        ChargePeriodStart="hour", ChargePeriodEnd=pl.col("hour") + day, BillingPeriodStart=pl.col("hour").dt.truncate("1mo"),
        BilledCost="BilledCost", EffectiveCost="EffectiveCost", ListCost="ListCost", BillingCurrency=pl.lit("USD"),
        ProviderName=pl.lit("Microsoft"), SubAccountId=pl.lit("sub-1"), ServiceName=pl.lit("Cosmos DB"), ChargeCategory=pl.lit("Usage"),
        SkuMeter="x_UsageType", ConsumedQuantity="ConsumedQuantity", ConsumedUnit="ConsumedUnit", Tags=pl.format('"service": "{}"', "service"),  # without braces
    )  # fmt: skip
    aws = lines(lake, azure=False).select(
        line_item_usage_start_date="hour", line_item_usage_end_date=pl.col("hour") + hour, line_item_line_item_type=pl.lit("Usage"),
        bill_billing_period_start_date=pl.col("hour").dt.truncate("1mo"), line_item_currency_code=pl.lit("USD"), line_item_product_code="ServiceName",
        line_item_unblended_cost="BilledCost", pricing_public_on_demand_cost="ListCost", line_item_usage_account_id=pl.lit("42"),
        line_item_usage_type="x_UsageType", line_item_usage_amount="ConsumedQuantity", pricing_unit="ConsumedUnit",
        resource_tags=pl.struct(user_service="service").struct.json_encode(),
    )  # fmt: skip
    for name, frame in (("azure", azure), ("aws", aws)):
        (folder / name).mkdir()
        frame.write_parquet(folder / name / "bill.parquet")
    lake.frames["signals"].select("service", "caller", "metric", "value", time="hour").write_csv(
        folder / "signals.csv"
    )
    (folder / "costwhy.toml").write_text(TOML)


@pytest.fixture(scope="module")
def company() -> SmallCompany:
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)  # what it costs is billed by the day
    company.lines["web"].per_call = from_hour(24 * 24, 1.5)  # by the hour
    return company


@pytest.fixture(scope="module")
def lake(company: SmallCompany, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("mixed")
    write(company.lake(), folder)
    ingest(read_workspace(folder))
    return open_lake(folder)


def test_both_bills_are_read_to_the_cent(lake: Lake, company: SmallCompany) -> None:
    whole = company.lake().frames["hourly"]["EffectiveCost"].sum()
    hourly = lake.table("hourly")
    assert hourly["EffectiveCost"].sum() == pytest.approx(whole, abs=0.005)
    assert set(hourly["hours"]) == {1, 24}


def test_each_incident_is_one_spike_with_its_dollars(lake: Lake, company: SmallCompany) -> None:
    found = cw.find_spikes(lake).sort("start")
    assert found["start"].to_list() == [FIRST + 24 * DAY, FIRST + timedelta(hours=ONSET)]
    cases = [cw.investigate(lake, spike) for spike in found["spike_id"]]
    assert [case.behaviour["kind"][0] for case in cases] == ["usage_per_call", "retries"]
    assert [case.by_day for case in cases] == [False, True]
    for case, line, before in ((cases[0], "web", 1 / 3), (cases[1], "db", 0.5)):
        begin = round((case.spike.start - FIRST) / timedelta(hours=1))
        excess = company.cost(line)[begin:].sum() * before
        assert case.spike.excess_cost == pytest.approx(excess, rel=0.03)


def test_its_facts_tell_both_accounts(lake: Lake) -> None:
    accounts = {one.provider: (one.by_day, one.state) for one in facts_of(lake).accounts}
    assert accounts == {"AWS": (False, "current"), "Microsoft": (True, "current")}
