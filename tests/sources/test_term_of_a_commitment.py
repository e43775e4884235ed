"""Over its whole term a commitment costs what was paid for it; and each month has its share."""

from calendar import monthrange
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from aws_bill import SPELLINGS, Item, item, write
from places import SPOOL

from costwhy.config import Mapping
from costwhy.ingest.billing import reduce_file
from costwhy.sources.cost import cur

HOURS = 8760  # of 2026
HOURLY = 0.1  # what a commitment costs an hour, upfront and recurring together
UPFRONT = {"all": HOURLY * HOURS, "partial": 0.5 * HOURLY * HOURS, "no": 0.0}
RETURNED = datetime(2026, 7, 1)  # one plan and one reservation are given back


def used(day: datetime) -> int:
    """Hours of a day in which the commitment covered something; idle on Sundays."""
    return 0 if day.weekday() == 6 else 24 - day.day % 5


def common(account: str, day: datetime, hours: int = 24) -> Item:
    return {
        "usage_account_id": account,
        "usage_start_date": day,
        "usage_end_date": day + timedelta(hours=hours),
        "billing_period_start_date": day.replace(day=1),
        "billing_period_end_date": (day.replace(day=1) + timedelta(days=32)).replace(day=1),
    }


def days(until: datetime) -> Iterator[datetime]:
    day = datetime(2026, 1, 1)
    while day < until:
        yield day
        day += timedelta(days=1)


def reservation(account: str, upfront: float, until: datetime) -> Iterator[Item]:
    """Fee and RIFee of a reservation, and the usage that it covers, by the day."""
    arn = {"reservation_reservation_a_r_n": f"arn:aws:ec2:us-east-1:1:reserved-instances/{account}"}
    amortised = upfront / HOURS
    recurring = HOURLY - amortised
    if upfront:
        yield item("Fee", upfront, **arn, **common(account, datetime(2026, 1, 1), HOURS))
    for day in days(until):
        yield item(
            "DiscountedUsage", effective_cost=HOURLY * used(day), **arn, **common(account, day)
        )
        if day.day == 1:
            length = monthrange(2026, day.month)[1]
            idle = sum(24 - used(day + timedelta(days=k)) for k in range(length))
            unused = {
                "unused_amortized_upfront_fee_for_billing_period": amortised * idle,
                "unused_recurring_fee": recurring * idle,
            }
            month = common(account, day, 24 * length)
            yield item("RIFee", recurring * 24 * length, **arn, **unused, **month)


def plan(account: str, upfront: float, until: datetime) -> Iterator[Item]:
    """Fees of a savings plan, and the usage that it covers at half of its price, by the day."""
    arn = {"savings_plan_savings_plan_a_r_n": f"arn:aws:savingsplans::1:savingsplan/{account}"}
    if upfront:
        start = common(account, datetime(2026, 1, 1), HOURS)
        yield item("SavingsPlanUpfrontFee", upfront, **arn, **start)
    for day in days(until):
        cost, at = HOURLY * used(day), common(account, day)
        fee = {"total_commitment_to_date": HOURLY * 24, "used_commitment": cost}
        yield item(
            "SavingsPlanCoveredUsage",
            2 * cost,
            savings_plan_savings_plan_effective_cost=cost,
            **arn,
            **at,
        )
        yield item("SavingsPlanNegation", -2 * cost, **arn, **at)
        yield item("SavingsPlanRecurringFee", 24 * (HOURLY - upfront / HOURS), **fee, **arn, **at)


def bill() -> Iterator[Item]:
    """The twelve bills of 2026: an account for each kind of commitment."""
    end = datetime(2027, 1, 1)
    for kind, upfront in UPFRONT.items():
        yield from reservation(f"ri-{kind}", upfront, end)
        yield from plan(f"sp-{kind}", upfront, end)
    left = UPFRONT["all"] * (end - RETURNED) / (end - datetime(2026, 1, 1))
    yield from reservation("ri-returned", UPFRONT["all"], RETURNED)
    arn = {
        "reservation_reservation_a_r_n": "arn:aws:ec2:us-east-1:1:reserved-instances/ri-returned"
    }
    yield item("Refund", -left, **arn, **common("ri-returned", RETURNED))
    yield from plan("sp-returned", UPFRONT["all"], RETURNED)
    about = {"line_item_line_item_description": "Refund for one-time fee for Savings Plan ID: 7"}
    yield item("Refund", -left, **about, **common("sp-returned", RETURNED))


@pytest.mark.parametrize("spelling", [SPELLINGS[0], SPELLINGS[2]])
def test_the_term_of_a_commitment_costs_what_was_paid(tmp_path: Path, spelling: str) -> None:
    assert cur.FORMAT.bill
    cube = reduce_file(
        write(tmp_path, list(bill()), spelling), cur.FORMAT.bill, Mapping(), "USD", SPOOL
    )
    rows = cube.scan("hourly").collect().join(cube.series, on="series_id")
    assert cube.set_aside.is_empty()
    terms = rows.group_by("SubAccountId").agg(pl.col("EffectiveCost", "BilledCost").sum())
    for account, effective, billed in terms.iter_rows():
        whole = HOURLY * 24 * (181 if "returned" in account else 365)
        assert effective == pytest.approx(whole, abs=0.005), account
        assert billed == pytest.approx(whole, abs=0.005), account
    months = rows.group_by("SubAccountId", "billing_period").agg(pl.col("EffectiveCost").sum())
    for account, month, effective in months.iter_rows():
        days_paid = (
            0
            if "returned" in account and month >= "2026-07"
            else monthrange(2026, int(month[-2:]))[1]
        )
        assert effective == pytest.approx(HOURLY * 24 * days_paid, abs=0.005), (account, month)
    assert (terms.height, months.height) == (8, 8 * 12 - 2 * 5)
