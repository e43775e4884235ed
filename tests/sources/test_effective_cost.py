"""Amortised cost by AWS's rules: every type of line item, in every spelling of the columns."""

from datetime import datetime
from pathlib import Path

import pytest
from aws_bill import SPELLINGS, Item, item, write
from places import SPOOL

from costwhy.config import Mapping
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cube import Cube, told
from costwhy.sources.cost import cur

RI, SP = "arn:aws:ec2:us-east-1:1:reserved-instances/a", "arn:aws:savingsplans::1:savingsplan/b"


def reduced(file: Path) -> Cube:
    assert cur.FORMAT.bill
    return reduce_file(file, cur.FORMAT.bill, Mapping(), "USD", SPOOL)


def costs(file: Path) -> tuple[float, float]:
    """EffectiveCost and BilledCost."""
    cube = reduced(file)
    assert cube.set_aside.is_empty()
    return tuple(
        round(float(cube.totals[name].sum()), 6) for name in ("EffectiveCost", "BilledCost")
    )  # type: ignore[return-value]


# a row; its effective cost; what it shows
RULES: tuple[tuple[Item, float, str], ...] = (
    (item("Usage", 1.0), 1.0, "on demand"),
    (item("DiscountedUsage", 0.0, reservation_reservation_a_r_n=RI, effective_cost=0.4), 0.4, "reserved"),
    (item("SavingsPlanCoveredUsage", 1.0, savings_plan_savings_plan_effective_cost=0.6), 0.6, "covered"),
    (item("SavingsPlanNegation", -1.0, savings_plan_savings_plan_a_r_n=SP), 0.0, "negation"),
    (item("SavingsPlanUpfrontFee", 43.8, savings_plan_savings_plan_a_r_n=SP), 0.0, "upfront of a plan"),
    (item("SavingsPlanRecurringFee", 3.0, total_commitment_to_date=5.0, used_commitment=4.5), 0.5, "unused part of 5.00: 3.00 is recurring, 2.00 amortised"),
    (item("SavingsPlanRecurringFee", 0.0, total_commitment_to_date=5.0, used_commitment=5.0), 0.0, "all upfront, all used"),
    (item("RIFee", 36.0, reservation_reservation_a_r_n=RI, unused_amortized_upfront_fee_for_billing_period=2.0, unused_recurring_fee=0.25), 2.25, "unused"),
    (item("RIFee", 36.0, reservation_reservation_a_r_n=RI), 0.0, "nothing unused"),
    (item("Fee", 525.6, reservation_reservation_a_r_n=RI), 0.0, "upfront of a reservation"),
    (item("Fee", 10.0, reservation_reservation_a_r_n="arn:aws:ec2:us-east-1:1:reserved-instance-exchange/riex-1"), 0.0, "true-up of an exchange"),
    (item("Fee", 15.0, product_code="AWSSupportBusiness"), 15.0, "support"),
    (item("Fee", 12.0, product_code="AmazonRegistrar"), 12.0, "a domain"),
    (item("FlatRateSubscription", 2.0), 2.0, "a flat rate"),
    (item("Refund", -525.6, reservation_reservation_a_r_n=RI), 0.0, "refund of an upfront fee, by its ARN"),
    (item("Refund", -43.8, savings_plan_savings_plan_a_r_n=SP), 0.0, "of a plan"),
    (item("Refund", -43.8, line_item_line_item_description="Refund for one-time fee for Savings Plan ID: 1"), 0.0, "of a plan that was returned: without its ARN"),
    (item("SavingsPlanRefund", -43.8, savings_plan_savings_plan_a_r_n=SP), 0.0, "the same under its own name"),
    (item("Refund", -8.0, line_item_line_item_description="EDP discount for Compute Savings Plans", product_code="ComputeSavingsPlans"), -8.0, "a discount is no upfront fee"),
    (item("Refund", -8.0, line_item_line_item_description="Refund of hourly fee", reservation_reservation_a_r_n=RI), -8.0, "nor is a recurring fee"),
    (item("Refund", -30.0, line_item_line_item_description="Refund for usage charged in error"), -30.0, "a real refund"),
    (item("Refund", -9.0, line_item_line_item_description="Refund of upfront payment of training"), -9.0, "of something else that was paid upfront"),
    (item("Credit", -4.0), -4.0, "credit"),
    (item("Credit", -4.0, reservation_reservation_a_r_n=RI), -4.0, "a credit is money, whatever it is for"),
    (item("Tax", 2.5), 2.5, "tax"),
    (item("Tax", 2.5, reservation_reservation_a_r_n=RI), 2.5, "tax on an upfront fee is paid once"),
    *((item(kind, -1.5), -1.5, kind) for kind in ("Discount", "BundledDiscount", "DistributorDiscount", "EdpDiscount", "PrivateRateDiscount", "RiVolumeDiscount", "SppDiscount")),
)  # fmt: skip


@pytest.mark.parametrize(("row", "effective", "what"), RULES)
def test_each_type_counts_by_the_book(
    tmp_path: Path, row: Item, effective: float, what: str
) -> None:
    assert costs(write(tmp_path, [row])) == (effective, row["line_item_unblended_cost"]), what


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_spelling_of_the_columns_changes_nothing(tmp_path: Path, spelling: str) -> None:
    rows = [row for row, _, _ in RULES]
    billed = sum(float(str(row["line_item_unblended_cost"])) for row in rows)
    assert costs(write(tmp_path, rows, spelling)) == (
        round(sum(effective for _, effective, _ in RULES), 6),
        round(billed, 6),
    )
    assert reduced(write(tmp_path, rows, spelling)).odd.is_empty()


def test_an_unknown_type_is_named_with_its_rows_and_money(tmp_path: Path) -> None:
    rows = [
        item("Usage", 1.0),
        item("NewThing\x1b[31m", 2.0),
        item("NewThing\x1b[31m", 3.0),
        item("", 4.0),
        item("rifee", 5.0),
    ]
    cube = reduced(write(tmp_path, rows, "legacy.csv"))
    assert cube.totals["EffectiveCost"].sum() == 15.0
    assert told(cube, "USD") == [
        "line item type (none) is not known: as billed: 1 row, $4.00",
        "line item type NewThing [31m is not known: as billed: 2 rows, $5.00",
        "line item type rifee is not known: as billed: 1 row, $5.00",
    ]


def test_without_resource_ids_an_upfront_fee_is_known_by_its_usage_type(tmp_path: Path) -> None:
    # A legacy report without resource ids has no reservation/ReservationARN.
    rows = [item("Fee", 525.6, usage_type="USE1-HeavyUsage:m5.large"), item("Fee", 15.0, usage_type=None), item("DiscountedUsage", effective_cost=0.06)]  # fmt: skip
    bare = [{k: v for k, v in row.items() if not k.endswith("_a_r_n")} for row in rows]
    assert costs(write(tmp_path, bare, "legacy.csv")) == (15.06, 540.6)


def test_a_report_that_cannot_spread_a_commitment_counts_it_as_billed_and_says_so(
    tmp_path: Path,
) -> None:
    rows = [
        item("Fee", 525.6, reservation_reservation_a_r_n=RI),
        item("DiscountedUsage", 0.0, reservation_reservation_a_r_n=RI),
        item("SavingsPlanCoveredUsage", 1.0),
        item("SavingsPlanNegation", -1.0),
        item("SavingsPlanRecurringFee", 0.9),
    ]
    gone = ("effective_cost", "unused_recurring_fee", "unused_amortized_upfront_fee_for_billing_period", "commitment_to_date", "used_commitment")  # fmt: skip
    few = [{k: v for k, v in row.items() if not k.endswith(gone)} for row in rows]
    file = write(tmp_path, few)
    assert costs(file) == (526.5, 526.5)
    notes = told(reduced(file), "USD")
    assert [note.split(",")[0] for note in notes] == [
        "reservations as billed",
        "savings plans as billed",
    ]
    assert "no column savings_plan_total_commitment_to_date" in notes[1]
    assert notes[1].endswith("3 rows, $0.90")


def test_net_columns_have_the_discounts_in_each_row(tmp_path: Path) -> None:
    # 10 % off; the invoice is net, and discounts are in the rows: their own lines add nothing
    # Usage 100 -> 90; plan: fee 5.00 an hour, of which 4.50 used, net 4.50 and 4.05; discount -10.50
    rows = [
        item("Usage", 100.0, line_item_net_unblended_cost=90.0),
        item("SavingsPlanCoveredUsage", 8.0, line_item_net_unblended_cost=8.0, savings_plan_savings_plan_effective_cost=4.5, savings_plan_net_savings_plan_effective_cost=4.05),
        item("SavingsPlanNegation", -8.0, line_item_net_unblended_cost=-8.0),
        item("SavingsPlanRecurringFee", 5.0, line_item_net_unblended_cost=4.5, total_commitment_to_date=5.0, used_commitment=4.5, savings_plan_recurring_commitment_for_billing_period=5.0, savings_plan_net_recurring_commitment_for_billing_period=4.5),
        item("EdpDiscount", -10.5, line_item_net_unblended_cost=None),
        item("PrivateRateDiscount", 0.0, line_item_net_unblended_cost=0.0),
        item("Tax", 1.0, line_item_net_unblended_cost=None),
    ]  # fmt: skip
    net = ("line_item_net_unblended_cost", "savings_plan_net_savings_plan_effective_cost", "savings_plan_net_recurring_commitment_for_billing_period", "savings_plan_recurring_commitment_for_billing_period")  # fmt: skip
    rows = [{**dict.fromkeys(net), **row} for row in rows]
    for spelling in SPELLINGS:
        assert costs(write(tmp_path, rows, spelling)) == (95.5, 95.5), spelling
    # empty net columns, as in CUR 2.0 of an account without discounts: lines of their own count
    assert costs(write(tmp_path, [{**row, net[0]: None} for row in rows]))[1] == 95.5


def test_an_upfront_fee_is_a_charge_of_one_hour_and_a_recurring_fee_of_its_month(
    tmp_path: Path,
) -> None:
    month = {"usage_end_date": datetime(2026, 9, 30, 23)}
    rows = [
        item("Fee", 525.6, reservation_reservation_a_r_n=RI, usage_end_date=datetime(2027, 9, 1)),
        item("Fee", 12.0, usage_end_date=datetime(2027, 9, 1), product_code="AmazonRegistrar"),
        item("RIFee", 36.0, unused_recurring_fee=0.25, **month),
        item("Tax", 2.5, usage_end_date=datetime(2026, 10, 1)),
    ]
    hourly = reduced(write(tmp_path, rows)).scan("hourly").collect()
    assert dict(hourly.select("BilledCost", "hours").iter_rows()) == {525.6: 1, 12.0: 1, 36.0: 719, 2.5: 720}  # fmt: skip


def test_list_cost_counts_covered_usage_once(tmp_path: Path) -> None:
    rows = [
        item("SavingsPlanCoveredUsage", 1.0, savings_plan_savings_plan_effective_cost=0.6, public_on_demand_cost=1.2),
        item("SavingsPlanNegation", -1.0, public_on_demand_cost=-1.2),
        item("DiscountedUsage", 0.0, effective_cost=0.6, public_on_demand_cost=1.2),
        item("EdpDiscount", -0.3),
        item("Usage", 2.0),
    ]  # fmt: skip
    assert reduced(write(tmp_path, rows)).totals["ListCost"].sum() == pytest.approx(4.4)
