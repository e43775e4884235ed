"""Usage that is billed by the day, in hours: sums as billed, the shape from what it follows."""

import numpy as np
import polars as pl
import pytest
from small_company import HOURS, SmallCompany, by_day

from costwhy.model.daily import follow_signals
from costwhy.model.observe import observe
from costwhy.model.observed import Observed

PEAK = np.where((np.arange(HOURS) % 24 >= 8) & (np.arange(HOURS) % 24 < 20), 3.0, 1.0)


def both(company: SmallCompany) -> tuple[Observed, Observed]:
    """By the hour, and by the day in hours."""
    lake = company.lake()
    return observe(lake), follow_signals(observe(by_day(lake)))


def usage_of(observed: Observed, usage_type: str) -> np.ndarray:
    [row] = (i for i, name in enumerate(observed.meters["x_UsageType"]) if name == usage_type)
    return observed.usage[row]


def days(values: np.ndarray) -> np.ndarray:
    return values.reshape(-1, 24).sum(axis=1)


@pytest.fixture(scope="module")
def company() -> SmallCompany:
    company = SmallCompany()
    company.demand["web"] = company.demand["web"] * PEAK
    return company


def test_usage_that_follows_calls_has_the_hours_of_the_calls(company: SmallCompany) -> None:
    hourly, daily = both(company)
    for name in ("Request", "ReadRequestUnits", "Search-Units"):
        assert usage_of(daily, name) == pytest.approx(usage_of(hourly, name), rel=0.01)


def test_what_follows_nothing_is_spread_evenly(company: SmallCompany) -> None:
    _, daily = both(company)
    disk = usage_of(daily, "TimedStorage-ByteHrs")
    assert disk == pytest.approx(np.repeat(days(disk) / 24, 24))


def test_sums_by_the_day_stay_as_billed(company: SmallCompany) -> None:
    lake = by_day(company.lake())
    daily = follow_signals(observe(lake))
    billed = lake.frames["hourly"].group_by("hour").agg(pl.col("EffectiveCost").sum())
    billed = billed.sort("hour")["EffectiveCost"]
    assert days(daily.cost.sum(axis=0)) == pytest.approx(billed.to_numpy(), abs=1e-6)


def test_instances_that_an_autoscaler_keeps_have_its_hours() -> None:
    company = SmallCompany()
    company.demand["web"] = company.demand["web"] * PEAK
    load = company.handled("web")
    line = company.lines["web"]
    line.per_call, line.fixed = 0 * load, np.maximum(np.ceil(load / 4_000), 3.0)
    hourly, daily = both(company)
    kept, spread = (usage_of(one, "Lambda-GB-Second") for one in (hourly, daily))
    even = np.repeat(days(spread) / 24, 24)
    assert np.abs(spread - kept).mean() < 0.4 * np.abs(even - kept).mean()
