"""Where the bill of each account ends, and where that of all ends."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from costwhy import tables
from costwhy.model.bill_end import AccountEnd, BillEnd, bill_end

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LINES = 5


def account(
    name: str, days: float, *, hours: int = 1, every: int = 1, cost: float = 1.0, last: float = 1.0
) -> pl.DataFrame:
    """Lines of an account from FIRST on. hours: of a charge; every: how many charges are one;
    last: what its newest day has of the others' cost.
    """
    starts = [FIRST + hours * HOUR * k for k in range(0, int(days * 24 / hours), every)]
    newest = starts[-1].replace(hour=0)
    return pl.DataFrame(
        [
            {
                "hour": start,
                "hours": hours,
                "EffectiveCost": cost * (last if start >= newest else 1.0),
                "ProviderName": "AWS",
                "SubAccountId": name,
                "x_UsageType": f"line {line}",
            }
            for start in starts
            for line in range(LINES)
        ]
    )


def end_of(*accounts: pl.DataFrame) -> BillEnd:
    bill = pl.concat(accounts).with_columns(
        series_id=pl.struct("SubAccountId", "x_UsageType").hash().reinterpret(signed=True),
        billing_period=pl.lit("2026-09"),
        rows=pl.lit(1),
        BilledCost="EffectiveCost",
        ListCost="EffectiveCost",
    )
    fit = {t.name: t.fit(bill.select(n for n in t.schema if n in bill.columns)) for t in (tables.HOURLY, tables.SERIES)}  # fmt: skip
    return bill_end(fit["hourly"], fit["series"].unique("series_id"))


def states(found: BillEnd) -> dict[str | None, str]:
    return {one.account: one.state for one in found.accounts}


def test_an_account_that_is_a_day_behind_is_late_and_all_end_where_it_does() -> None:
    found = end_of(account("a", 20), account("b", 19))
    assert states(found) == {"a": "current", "b": "late"}
    assert found.through == FIRST + 19 * DAY


def test_an_account_that_fell_silent_is_closed_and_holds_nobody_back() -> None:
    found = end_of(account("a", 20), account("b", 20), account("gone", 12))
    assert states(found) == {"a": "current", "b": "current", "gone": "closed"}
    assert found.through == FIRST + 20 * DAY
    [gone] = found.closed
    assert (gone.account, gone.end) == ("gone", FIRST + 12 * DAY)


def test_accounts_that_held_most_of_the_cost_are_late_not_closed() -> None:
    found = end_of(account("small", 20), account("all of it", 12, cost=50.0))
    assert states(found) == {"small": "current", "all of it": "late"}
    assert found.through == FIRST + 12 * DAY


@pytest.mark.parametrize("hours", [1, 24])
def test_an_account_that_bills_now_and_then_is_rare(hours: int) -> None:
    found = end_of(account("a", 20, hours=hours), account("tax", 10, hours=24, every=9))
    assert states(found) == {"a": "current", "tax": "rare"}
    assert found.through == FIRST + 20 * DAY


def test_hourly_and_daily_accounts_each_have_their_own_end() -> None:
    found = end_of(account("aws", 20.5), account("azure", 20, hours=24))
    assert {one.account: (one.by_day, one.end) for one in found.accounts} == {
        "aws": (False, FIRST + 20.5 * DAY),
        "azure": (True, FIRST + 20 * DAY),
    }
    assert found.through == FIRST + 20 * DAY


def test_a_newest_day_that_is_short_is_not_over() -> None:
    [whole] = end_of(account("a", 20, hours=24)).accounts
    [cut] = end_of(account("a", 20, hours=24, last=0.4)).accounts
    assert (whole.partial, whole.end) == (False, FIRST + 20 * DAY)
    assert (cut.partial, cut.end) == (True, FIRST + 19 * DAY)


def test_a_fee_of_a_month_does_not_say_until_when_an_account_was_billed() -> None:
    fee = account("a", 30, hours=720).head(1).with_columns(x_UsageType=pl.lit("support"))
    assert end_of(account("a", 20), fee).through == FIRST + 20 * DAY


def test_a_bill_of_fees_alone_has_an_end() -> None:
    found = end_of(account("a", 30, hours=720))
    assert found.through == FIRST + 30 * DAY
    assert [type(one) for one in found.accounts] == [AccountEnd]
