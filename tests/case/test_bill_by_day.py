"""Bills by the day, bills of both kinds, and a bill alone: the answers that they allow."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_company import FIRST, Line, MemoryLake, SmallCompany, by_day, from_hour

from costwhy import tables
from costwhy.case.analysis import FoundSpike, LakeAnalysis, analyse
from costwhy.case.bill_facts import bill_facts, is_by_day
from costwhy.case.case import Case
from costwhy.case.investigate import investigate, investigate_window
from costwhy.case.opened import open_case
from costwhy.errors import UsageError
from costwhy.publishing.publish import publish
from costwhy.publishing.verify import verify
from costwhy.show.charts import whole_days

ONSET = 30 * 24 + 9  # 09:00 of day 31
BEGAN = FIRST + timedelta(hours=ONSET)
DAY = timedelta(days=1)


def company(**lines: Line) -> SmallCompany:
    found = SmallCompany()
    found.retries["db", "api"] *= from_hour(ONSET, 2.0)
    found.lines |= lines
    return found


def alone(lake: MemoryLake) -> MemoryLake:
    """The same without signals."""
    frames = {**lake.frames, "signals": tables.SIGNALS.empty()}
    return replace(lake, frames=frames, place=f"{lake.place}:alone")


def only(found: LakeAnalysis) -> FoundSpike:
    [spike] = found.found
    return spike


def case_of(lake: MemoryLake) -> Case:
    """Of its one spike."""
    return investigate(lake, only(analyse(lake)).row.spike_id)


@pytest.fixture(scope="module")
def hourly() -> LakeAnalysis:
    return analyse(company().lake())


@pytest.fixture(scope="module")
def daily() -> LakeAnalysis:
    return analyse(by_day(company().lake()))


def test_a_spike_in_a_bill_by_the_day_has_the_dollars_of_the_hourly_one(hourly, daily) -> None:
    one, other = only(daily).row, only(hourly).row
    assert one.excess_cost == pytest.approx(other.excess_cost, rel=0.03)
    assert (one.title, one.verdict) == (other.title, other.verdict)


def test_its_sums_are_those_of_the_bill(daily) -> None:
    billed = daily.lake.table("hourly")["EffectiveCost"].sum()
    assert daily.observed.cost.sum() == pytest.approx(billed, abs=0.005)


def test_signals_date_its_onset_by_the_hour(daily) -> None:
    assert only(daily).row.start == BEGAN


def test_retries_are_its_first_behaviour_and_the_case_says_that_it_is_by_the_day() -> None:
    case = case_of(by_day(company().lake()))
    assert case.behaviour["kind"][0] == "retries"
    assert case.by_day
    assert not case_of(company().lake()).by_day


def test_without_signals_a_spike_begins_with_a_day() -> None:
    found = analyse(alone(by_day(company().lake())))
    row = only(found).row
    assert row.start in {BEGAN.replace(hour=0), BEGAN.replace(hour=0) + DAY}
    true = only(analyse(company().lake())).row.excess_cost
    assert row.excess_cost == pytest.approx(true, rel=0.15)


@pytest.mark.parametrize("products", [(), ("Amazon DynamoDB",), ("AWS Lambda",)])
def test_nothing_moves_no_alarm(products: tuple[str, ...]) -> None:
    assert analyse(by_day(SmallCompany(seed=5).lake(), products)).found == ()


def test_bills_of_both_kinds_each_have_their_spike() -> None:
    both = SmallCompany()
    both.retries["db", "api"] *= from_hour(ONSET, 2.0)  # billed by the day
    both.lines["web"].per_call = from_hour(24 * 24, 1.5)  # billed by the hour
    found = analyse(by_day(both.lake(), ["Amazon DynamoDB"]))
    web, db = sorted(found.found, key=lambda one: one.row.start)
    assert (web.row.start, db.row.start) == (FIRST + 24 * DAY, BEGAN)
    assert is_by_day(found.observed, db.dollars)
    assert not is_by_day(found.observed, web.dollars)


def test_a_monthly_fee_is_a_fee_and_no_spike() -> None:
    lake = SmallCompany().lake()
    first = lake.frames["hourly"].filter(
        pl.col("hour").dt.day() == 1, pl.col("hour").dt.hour() == 0
    )
    fee = first.head(1).with_columns(
        *(pl.lit(5000.0).alias(n) for n in tables.MEASURE_NAMES[:3]), series_id=pl.lit(77), hours=pl.lit(720),
    )  # fmt: skip
    words = lake.frames["series"].head(1).with_columns(
        series_id=pl.lit(77, pl.Int64), service=pl.lit(None, pl.String), x_UsageType=pl.lit("Support"), ChargeCategory=pl.lit("Purchase"),
    )  # fmt: skip
    frames = {
        **lake.frames,
        "hourly": tables.HOURLY.fit(pl.concat([lake.frames["hourly"], fee], how="diagonal_relaxed")),
        "series": tables.SERIES.fit(pl.concat([lake.frames["series"], words], how="vertical_relaxed")),
    }  # fmt: skip
    assert analyse(replace(lake, frames=frames, place="memory:fee")).found == ()


def test_a_bill_by_the_day_is_estimated_to_the_end_of_its_month() -> None:
    late = company()
    late.lag = 2 * 24
    row = only(analyse(by_day(late.lake()))).row
    whole = only(analyse(company().lake())).row.excess_cost
    assert row.excess_cost + row.nowcast_excess_cost == pytest.approx(whole, rel=0.05)


# ---------------------------------------------------------------- a bill alone


@pytest.mark.parametrize("days", [False, True])
def test_a_bill_alone_names_the_line_that_costs_more_and_what_would_say_more(days: bool) -> None:  # noqa: FBT001
    lake = alone(company().lake())
    case = case_of(by_day(lake) if days else lake)
    assert "db" in case.spike.title
    assert case.behaviour["kind"][0] == "unlinked_usage"
    assert case.unasked == ("signals", "changes")


def test_a_price_that_rose_is_a_price_without_signals_too() -> None:
    dearer = SmallCompany()
    dearer.lines["disk"].price = 2 * from_hour(ONSET, 1.5)
    case = case_of(alone(by_day(dearer.lake())))
    assert case.behaviour["kind"][0] == "unit_price"


def test_the_facts_of_a_bill_are_its_sums() -> None:
    lake = alone(by_day(company().lake()))
    facts = bill_facts(analyse(lake))
    assert facts.cost == pytest.approx(lake.frames["hourly"]["EffectiveCost"].sum())
    assert (facts.first, facts.last, facts.days) == (FIRST, FIRST + 41 * DAY, 42)
    assert (facts.by_day, facts.thin) == (pytest.approx(1.0), 0.0)
    [whole, resolution, signals, changes] = facts.sentences
    assert "42 days (2026-09-07 to 2026-10-18)" in whole
    assert resolution.startswith("It is by the day, not by the hour")
    assert "no [[signals]] source" in signals
    assert "no [[changes]] source" in changes


def test_a_thin_bill_says_that_it_is_too_thin() -> None:
    lake = SmallCompany().lake()
    few = lake.frames["hourly"].filter(pl.col("hour") < FIRST + 3 * DAY)
    found = analyse(
        replace(alone(lake), frames={**alone(lake).frames, "hourly": few}, place="thin")
    )
    assert found.found == ()
    assert any("too thin for a normal" in one for one in bill_facts(found).sentences)


@pytest.mark.parametrize("days", [1, 2, 8])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_short_or_negative_bill_has_no_alarm(days: int, sign: int) -> None:
    lake = by_day(SmallCompany().lake())
    costs = [(sign * pl.col(name)).alias(name) for name in tables.MEASURE_NAMES[:3]]
    few = lake.frames["hourly"].filter(pl.col("hour") < FIRST + days * DAY).with_columns(costs)
    short = replace(alone(lake), frames={**alone(lake).frames, "hourly": few}, place=f"{days} {sign}")  # fmt: skip
    found = analyse(short)
    assert found.found == ()
    assert bill_facts(found).days == days


def test_a_bill_that_turns_daily_in_mid_month_has_no_alarm() -> None:
    lake = SmallCompany().lake()
    hourly, daily = lake.frames["hourly"], by_day(lake).frames["hourly"]
    turn = FIRST + 20 * DAY
    mixed = pl.concat([hourly.filter(pl.col("hour") < turn), daily.filter(pl.col("hour") >= turn)], how="diagonal_relaxed")  # fmt: skip
    turned = replace(
        lake, frames={**lake.frames, "hourly": tables.HOURLY.fit(mixed)}, place="turned"
    )
    assert analyse(turned).found == ()
    assert np.isfinite(analyse(turned).observed.cost).all()


# ---------------------------------------------------------------- shown, published, windows


def test_a_published_case_by_the_day_gives_the_same_numbers(tmp_path: Path) -> None:
    case = case_of(by_day(company().lake()))
    folder = publish(case, tmp_path)
    again = open_case(folder).case
    assert again.by_day
    assert again.spike == case.spike
    assert again.behaviour.equals(case.behaviour)
    verify(folder)  # raises DifferenceError where a number differs


def test_charts_of_it_are_by_the_day() -> None:
    case = case_of(by_day(company().lake()))
    drawn = whole_days(case.timeline)
    assert set(drawn["hour"].dt.hour()) == {0}
    for name in ("actual_cost", "expected_cost"):
        assert drawn[name].sum() == pytest.approx(case.timeline[name].sum())


def test_a_window_beyond_the_end_of_the_bill_is_marked_as_estimated() -> None:
    late = company()
    late.lag = 3 * 24
    lake = by_day(late.lake())
    end = FIRST + 42 * DAY
    case = investigate_window(lake, (end - 2 * DAY, end))
    assert (case.spike.actual_cost, case.spike.nowcast_hours) == (0.0, 48)
    beyond = case.timeline.filter(pl.col("hour") >= end - 2 * DAY)
    assert beyond["estimated"].all()
    assert beyond["actual_cost"].sum() > 1000  # $40 an hour
    with pytest.raises(UsageError, match="no window"):
        investigate_window(lake, (end, end + DAY))


@pytest.mark.parametrize("days", [False, True])
def test_days_that_are_missing_from_a_bill_are_no_fall_and_are_said(days: bool) -> None:  # noqa: FBT001
    lake = SmallCompany(seed=9).lake()
    lake = by_day(lake) if days else lake
    begin, end = FIRST + 20 * DAY, FIRST + 24 * DAY
    rest = lake.frames["hourly"].filter((pl.col("hour") < begin) | (pl.col("hour") >= end))
    found = analyse(replace(lake, frames={**lake.frames, "hourly": rest}, place=f"hole {days}"))
    assert found.found == ()
    assert [(hole.start, hole.end) for hole in bill_facts(found).holes] == [(begin, end)]
    assert any("taken for missing, not for free" in one for one in bill_facts(found).sentences)
    assert bill_facts(analyse(lake)).holes == ()
