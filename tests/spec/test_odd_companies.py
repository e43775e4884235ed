"""Odd companies: tiny ones, those that owe nothing, faulty counters, wrong dates. Each is told the truth, or nothing; never nonsense."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from small_company import ALL, FIRST, HOURS, Line, SmallCompany, from_hour, hours

from costwhy import tables
from costwhy.case.investigate import explain, find_spikes, investigate
from costwhy.case.story import sentences


def negative_zeros(value: object, path: str = "") -> Iterator[str]:
    """Places in a document where nothing is written as less than nothing."""
    if isinstance(value, float) and value == 0 and math.copysign(1, value) < 0:
        yield path
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from negative_zeros(part, f"{path}.{key}")
    elif isinstance(value, list):
        for key, part in enumerate(value):
            yield from negative_zeros(part, f"{path}[{key}]")


def at_prices(times: float) -> SmallCompany:
    """The small company with db's usage for each call tripled at hour 800, at other prices."""
    company = SmallCompany()
    company.lines["db"].per_call = 2 * from_hour(800, 3)
    for line in company.lines.values():
        line.price = line.price * times
    return company


# ---------------------------------------------------------------- next to nothing


@pytest.mark.parametrize("times", [1e-12, 1e-9])
def test_a_window_in_which_no_money_moved_is_explained_as_nothing(times: float) -> None:
    window = (FIRST + timedelta(hours=900), FIRST + timedelta(hours=910))
    (told,) = explain(at_prices(times).lake(), window=window)["spikes"]
    assert (
        told["excess_cost"],
        told["behaviour"],
        told["triggers"],
        told["no_recorded_change"],
    ) == (0.0, [], [], 1.0)


def test_a_spike_of_cents_is_told_to_nobody() -> None:
    """db costs $9 an hour; tripled for 208 hours that is some $3,700, at a hundred-thousandth of the prices 4 cents."""
    assert find_spikes(at_prices(1.0).lake())["excess_cost"][0] > 3_000
    assert find_spikes(at_prices(1e-5).lake()).is_empty()


@pytest.mark.parametrize("hour", [400, 801, 900, 1000])
def test_nothing_is_never_written_as_less_than_nothing(hour: int) -> None:
    window = (FIRST + timedelta(hours=hour), FIRST + timedelta(hours=hour + 3))
    document = explain(at_prices(-1.0).lake(), window=window)
    assert list(negative_zeros(document)) == []


# ---------------------------------------------------------------- credits and falls


def test_credits_do_not_make_every_little_move_a_spike() -> None:
    """The company uses some $43 an hour and has credits of $60: search costs 3 % more, 20 cents an hour, which is under 1.2 % of what it uses."""
    company = SmallCompany()
    company.lines["credit"] = Line(
        None, None, "", ALL, flat=-60 * ALL, category="Credit", team=None
    )
    company.lines["search"].per_call = from_hour(700, 1.03)
    assert find_spikes(company.lake()).is_empty()


def test_a_fall_is_told_as_less() -> None:
    company = SmallCompany()
    company.lines["db"].price = 0.00005 * from_hour(700, 0.5)
    lake = company.lake()
    (spike,) = find_spikes(lake).to_dicts()
    billed = sentences(investigate(lake, spike["spike_id"]))[0].text
    assert billed.endswith(" less.")
    assert "−" not in billed


# ---------------------------------------------------------------- signals that cannot be


def test_more_repeats_than_attempts_make_no_fortune_of_the_expected_cost() -> None:
    """From hour 700 on the counter of repeats shows three for each attempt. Taken at its word one call in 10,000 would be a first one."""
    lake = at_prices(1.0).lake()
    broken = (pl.col("metric") == "retries") & (pl.col("hour") >= FIRST + timedelta(hours=700))
    many = (
        pl.when(broken).then(pl.col("value") * 150).otherwise(pl.col("value"))
    )  # 2 % of attempts x 150
    lake.frames["signals"] = lake.frames["signals"].with_columns(value=many)
    spikes = find_spikes(lake)
    assert spikes["expected_cost"].max() < 50 * HOURS
    assert spikes["excess_cost"][0] > 3_000


def test_a_circle_that_would_gain_with_one_rate_set_back_keeps_nothing_from_being_told() -> None:
    """web -> api -> db -> web: at hour 700 db calls web back 80 times as often, api itself 5 times. One rate without the other cannot be."""
    company = SmallCompany()
    company.lines = {
        name: Line(
            name,
            f"Use-{name}",
            "Units",
            0.001 * ALL,
            fixed=10_000 * ALL * from_hour(700, 6 if name == "api" else 1),
        )
        for name in ("web", "api", "db")
    }
    lake, v = company.lake(), company.demand["web"]
    calls = {("web", None): v, ("api", "web"): 2 * v, ("db", "api"): 3 * v, ("web", "db"): v * from_hour(700, 80) / 2, ("api", "api"): 2 * v * from_hour(700, 5)}  # fmt: skip
    frames = [
        pl.DataFrame({"hour": hours(), "value": n}).with_columns(
            metric=pl.lit("calls"), service=pl.lit(s), caller=pl.lit(c, dtype=pl.String), buckets=1
        )
        for (s, c), n in calls.items()
    ]
    lake.frames["signals"] = tables.SIGNALS.fit(pl.concat(frames))
    document = explain(lake)
    (spike,) = document["spikes"]
    whole = sum(b["cost_change"] for b in spike["behaviour"]) + spike["behaviour_remainder"]
    assert whole == pytest.approx(spike["excess_cost"], abs=0.005)
    assert spike["start"] == "2026-10-06T04:00:00Z"  # hour 700


# ---------------------------------------------------------------- dates and granularity


def with_charge(company: SmallCompany, hour: datetime, rows: int = 1) -> object:
    """Its lake with one more charge of $10 at any time."""
    lake = company.lake()
    one = (
        lake.frames["hourly"]
        .head(1)
        .with_columns(
            hour=pl.lit(hour, dtype=pl.Datetime("us", "UTC")), EffectiveCost=10.0, rows=rows
        )
    )
    lake.frames["hourly"] = tables.HOURLY.fit(
        pl.concat([lake.frames["hourly"], one.cast(lake.frames["hourly"].schema)])
    )
    return lake


def test_a_charge_dated_9999_takes_neither_the_memory_nor_the_answer() -> None:
    lake = with_charge(at_prices(1.0), datetime(9999, 12, 1, tzinfo=UTC))
    document = explain(lake)  # type: ignore[arg-type]
    assert document["as_of"] == "2026-10-19T00:00:00Z"
    assert len(document["spikes"]) == 1


def test_fees_of_the_month_before_the_first_hour_make_no_traffic_new() -> None:
    """Two fees dated six days before the bill by the hour begins: what begins then is the data, not the traffic."""
    assert find_spikes(with_charge(SmallCompany(), FIRST - timedelta(days=6), rows=4)).is_empty()  # type: ignore[arg-type]


def test_what_is_charged_once_in_two_weeks_is_a_fee_and_nothing_new() -> None:
    company, on = SmallCompany(), np.zeros(HOURS)
    on[[300, 636, 972]] = 1_000.0
    company.lines["fee"] = Line("db", "Monthly-Units", "Units", 2 * ALL, fixed=on)
    assert find_spikes(company.lake()).is_empty()


def test_a_bill_that_names_only_months_raises_no_alarm() -> None:
    lake = SmallCompany().lake()
    months = [FIRST, datetime(2026, 10, 1, tzinfo=UTC)]
    lake.frames["hourly"] = lake.frames["hourly"].filter(pl.col("hour").is_in(months))
    lake.frames["signals"] = lake.frames["signals"].filter(
        pl.col("hour") >= FIRST + timedelta(hours=144)
    )
    assert find_spikes(lake).is_empty()


def test_what_is_billed_by_the_day_costs_a_day_s_mean_an_hour_now() -> None:
    """db's usage stands in the first hour of each day, three times as much from day 30 on: $9 an hour becomes $27, some $18 more."""
    company, day = SmallCompany(), np.arange(HOURS) % 24 == 0
    company.lines["db"].per_call = np.where(day, 24 * 2.0, 0.0) * from_hour(720, 3)
    spike = find_spikes(company.lake()).row(0, named=True)
    assert spike["cost_per_hour_now"] == pytest.approx(spike["excess_cost"] / 288, rel=0.15)
