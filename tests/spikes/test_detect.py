"""Spikes: what is one incident and what are two, and what is not worth a person's hour.

tests/small_company.py draws the company; it spends about $45 an hour.
"""

from dataclasses import replace

import numpy as np
import pytest
from small_company import ALL, HOURS, Line, SmallCompany, changed, from_hour

from costwhy.model.baseline import Window
from costwhy.model.observe import observe
from costwhy.model.rates import Model, fit
from costwhy.spikes import detect
from costwhy.spikes.detect import Spike, find, moved_rates

ONSET = 700
COMPANY = 45.0  # dollars an hour, nearly


def model_of(company: SmallCompany) -> Model:
    return fit(observe(company.lake()))


def spikes(company: SmallCompany) -> list[Spike]:
    return list(find(model_of(company)))


def kinds(spike: Spike) -> set[str]:
    return {episode.rate.kind for episode in spike.episodes}


def window(start: int, end: int, times: float) -> np.ndarray:
    hour = np.arange(HOURS)
    return np.where((hour >= start) & (hour < end), times, 1.0)


def dearer(company: SmallCompany, line: str, times: np.ndarray) -> None:
    company.lines[line] = changed(company.lines[line], price=company.lines[line].price * times)


def more_usage(company: SmallCompany, line: str, times: np.ndarray) -> None:
    found = company.lines[line]
    company.lines[line] = changed(found, per_call=found.per_call * times, fixed=found.fixed * times)


# ---------------------------------------------------------------- one incident or two


def test_where_nothing_moved_there_is_no_spike():
    assert spikes(SmallCompany()) == []


def test_one_rate_that_moved_is_one_spike():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    [spike] = spikes(company)
    assert (spike.start, spike.end, kinds(spike), spike.shape) == (ONSET, None, {"retries"}, "step")
    assert spike.window(HOURS) == Window(ONSET, HOURS)


def test_two_episodes_of_one_incident_are_one_spike():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    company.fan_out["api", "web"] = company.fan_out["api", "web"] * from_hour(ONSET, 1.5)
    [spike] = spikes(company)
    assert kinds(spike) == {"retries", "fan_out"}
    assert abs(spike.episodes[0].dollars) >= abs(spike.episodes[1].dollars)


@pytest.mark.parametrize(("hours", "count"), [(3, 1), (5, 2)])
def test_what_begins_more_than_three_hours_later_is_another_spike(hours, count):
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    company.fan_out["api", "web"] = company.fan_out["api", "web"] * from_hour(ONSET + hours, 1.5)
    assert len(spikes(company)) == count


def test_services_that_do_not_call_each_other_have_two_spikes():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    more_usage(company, "search", from_hour(ONSET, 2.0))
    found = spikes(company)
    assert [kinds(spike) for spike in found] == [{"retries"}, {"usage_per_call"}]
    dollars = [abs(sum(e.dollars for e in spike.episodes)) for spike in found]
    assert dollars == sorted(dollars, reverse=True)


def test_services_that_call_each_other_have_one_spike():
    company = SmallCompany()
    more_usage(company, "web", from_hour(ONSET, 1.5))
    more_usage(company, "search", from_hour(ONSET, 1.5))
    [spike] = spikes(company)
    assert {e.rate.service for e in spike.episodes} == {"web", "search"}


def test_prices_that_rise_together_are_one_spike_whatever_they_are_of():
    company = SmallCompany()
    for line in ("search", "mobile"):
        dearer(company, line, from_hour(ONSET, 2.0))
    [spike] = spikes(company)
    assert kinds(spike) == {"unit_price"}
    assert len(spike.episodes) == 2


def test_a_small_episode_of_the_same_hours_is_noise():
    company = SmallCompany()
    more_usage(company, "web", from_hour(ONSET, 3.0))  # $10 an hour more
    for times, count in ((1.03, 1), (1.06, 2)):  # $0.18, $0.36 an hour: 1.8 %, 3.6 %
        more_usage(company, "search", from_hour(ONSET, times))
        assert len(spikes(company)[0].episodes) == count
        more_usage(company, "search", from_hour(ONSET, 1 / times))


# ---------------------------------------------------------------- offsetting, falls


def test_a_rise_and_a_fall_that_offset_each_other_are_both_shown():
    company = SmallCompany()
    more_usage(company, "web", from_hour(ONSET, 2.0))  # $5 more
    more_usage(company, "search", from_hour(ONSET, 1 / 6))  # $5 of $6 less
    found = spikes(company)
    assert sorted(np.sign(s.episodes[0].dollars) for s in found) == [-1, 1]


@pytest.mark.parametrize(("usage_type", "count"), [("Search-Units", 0), ("Other-Units", 2)])
def test_usage_that_moved_to_another_line_of_its_type_moved_no_money(usage_type, count):
    company = SmallCompany()
    half = replace(company.lines["search"], per_call=1 - from_hour(ONSET, 0.4), product="Other")
    company.lines["half"] = replace(half, usage_type=usage_type)
    more_usage(company, "search", from_hour(ONSET, 0.4))
    assert len(spikes(company)) == count


def test_a_price_that_falls_is_a_spike_too():
    company = SmallCompany()
    dearer(company, "search", from_hour(ONSET, 0.5))
    [spike] = spikes(company)
    assert spike.episodes[0].dollars < 0


def test_less_traffic_is_nobodys_decision():
    company = SmallCompany()
    company.demand["web"] *= from_hour(ONSET, 0.6)
    assert spikes(company) == []


# ---------------------------------------------------------------- how long, how large


def test_a_spike_that_is_over_has_an_end():
    company = SmallCompany()
    company.retries["db", "api"] *= window(ONSET, ONSET + 30, 2.0)
    [spike] = spikes(company)
    assert (spike.start, spike.end, spike.shape) == (ONSET, ONSET + 30, "pulse")
    assert spike.window(HOURS) == Window(ONSET, ONSET + 30)
    assert spike.episodes[0].hours == 30


def test_a_rise_step_by_step_is_a_ramp():
    company = SmallCompany()
    rise = np.interp(np.arange(HOURS), [ONSET, HOURS], [1.0, 3.0])
    more_usage(company, "search", rise)
    [spike] = spikes(company)
    assert spike.shape == "ramp"


def test_what_is_less_than_a_hundredth_of_the_bill_is_not_shown():
    for share, count in ((0.008, 0), (0.02, 1)):
        company = SmallCompany()
        more_usage(company, "search", from_hour(ONSET, 1 + share * COMPANY / 6))
        assert len(spikes(company)) == count


def test_three_hours_must_be_worth_six():
    for times, count in ((1.12, 0), (1.5, 1)):  # $0.7, $3 an hour; $0.54 is a hundredth
        company = SmallCompany()
        more_usage(company, "search", window(ONSET, ONSET + 3, times))
        assert len(spikes(company)) == count


def test_traffic_must_grow_by_a_tenth_for_a_day():
    for times, hours, count in ((1.07, HOURS, 0), (1.5, 22, 0), (1.5, 40, 1), (1.5, HOURS, 1)):
        company = SmallCompany()
        company.demand["web"] *= window(ONSET, ONSET + hours, times)
        assert len(spikes(company)) == count, (times, hours)


def test_the_first_four_days_have_no_onset():
    for onset, count in ((80, 0), (120, 1)):
        company = SmallCompany()
        more_usage(company, "search", window(onset, onset + 200, 2.0))
        assert len(spikes(company)) == count


def test_cents_are_nobodys_work():
    company = SmallCompany()
    for line in company.lines:
        dearer(company, line, 1e-4 * ALL)
    more_usage(company, "search", window(ONSET, ONSET + 100, 3.0))  # $0.12 in all
    assert spikes(company) == []


def test_a_bill_by_the_month_dates_nothing():
    company = SmallCompany()
    first = np.where(np.arange(HOURS) % 720 == 24, 720.0, 0.0)
    company.lines = {"month": Line(None, "Batch", "Units", 3 * ALL, fixed=first)}
    assert spikes(company) == []


# ---------------------------------------------------------------- what is new, fees, timers


def test_usage_that_did_not_exist_before_is_new():
    company = SmallCompany()
    company.lines["new"] = Line(
        None, "Batch", "Units", 1 * ALL, fixed=8 * (from_hour(ONSET, 2.0) - 1)
    )
    [spike] = spikes(company)
    assert (spike.start, spike.shape, spike.end) == (ONSET, "new", None)
    assert spike.episodes[0].dollars == pytest.approx(8 * (HOURS - ONSET))


def test_what_is_new_and_gone_again_has_an_end():
    company = SmallCompany()
    fixed = 8 * (window(ONSET, ONSET + 50, 2.0) - 1)
    company.lines["new"] = Line(None, "Batch", "Units", 1 * ALL, fixed=fixed)
    [spike] = spikes(company)
    assert (spike.start, spike.end) == (ONSET, ONSET + 50)


def test_a_new_nightly_job_may_have_begun_since_the_night_before():
    company = SmallCompany()
    night = (np.arange(HOURS) % 24 == 2) & (np.arange(HOURS) >= ONSET)
    company.lines["job"] = Line(None, "Batch", "Units", 1 * ALL, fixed=200.0 * night)
    [spike] = spikes(company)
    first = int(np.flatnonzero(night)[0])
    assert (spike.start, spike.episodes[0].shift.since) == (first, first - 23)


def test_what_is_charged_less_often_than_by_the_day_is_a_fee():
    company = SmallCompany()
    fee = (np.arange(HOURS) % 72 == 2) & (np.arange(HOURS) >= ONSET)
    company.lines["fee"] = Line(None, "Fee", "Units", 1 * ALL, fixed=900.0 * fee)
    assert spikes(company) == []


def test_a_timer_that_runs_each_hour_is_dated_by_its_first_unusual_run():
    company = SmallCompany()
    onset = 24 * 30 + 5
    runs = company.runs["report", "schedule:nightly"]
    each = np.where(np.arange(HOURS) >= onset, 40.0, runs)
    company.runs["report", "schedule:nightly"] = each
    [spike] = spikes(company)
    assert (spike.start, spike.end, kinds(spike)) == (onset, None, {"schedule"})


def test_a_timer_that_went_wrong_for_a_while_ends_with_its_last_unusual_run():
    company = SmallCompany()
    onset = 24 * 30 + 5
    hour = np.arange(HOURS)
    runs = company.runs["report", "schedule:nightly"]
    each = np.where((hour >= onset) & (hour < onset + 60), 40.0, runs)
    company.runs["report", "schedule:nightly"] = each
    [spike] = spikes(company)
    assert (spike.start, spike.end) == (onset, onset + 60)


def test_a_price_that_lasts_to_the_end_of_the_bill_goes_on():
    company = SmallCompany()
    company.lag = 12
    dearer(company, "search", from_hour(HOURS - 60, 2.0))
    [spike] = spikes(company)
    assert (spike.start, spike.end) == (HOURS - 60, None)


# ---------------------------------------------------------------- a window that a person picks


def test_the_rates_of_a_window_are_those_that_moved_most():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    more_usage(company, "search", from_hour(ONSET, 1.2))
    moved = moved_rates(model_of(company), Window(ONSET, ONSET + 48), None)
    assert [b.rate.kind for b in moved[:2]] == ["retries", "usage_per_call"]
    assert moved[0].values == pytest.approx(np.full(48, 1.02))


def test_against_another_window_a_baseline_is_its_mean():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    model = model_of(company)
    moved = moved_rates(model, Window(ONSET, ONSET + 24), Window(ONSET - 24, ONSET))
    demand = next(b for b in moved if b.rate.name == ("demand", "mobile", None, None))
    assert demand.values == pytest.approx(
        np.full(24, company.demand["mobile"][ONSET - 24 : ONSET].mean())
    )
    retries = next(b for b in moved if b.rate.kind == "retries")
    assert retries.values == pytest.approx(np.full(24, 1.02))


def test_a_ratio_that_is_not_defined_in_the_other_window_is_left_out():
    company = SmallCompany()
    company.demand["web"][:ONSET] = np.where(
        np.arange(ONSET) < 100, company.demand["web"][:ONSET], 0
    )
    moved = moved_rates(model_of(company), Window(ONSET, ONSET + 24), Window(ONSET - 24, ONSET))
    assert not any(b.rate.kind == "fan_out" and b.rate.caller == "web" for b in moved)
    assert any(b.rate.name == ("demand", "web", None, None) for b in moved)


def test_a_rate_of_a_window_that_moved_some_cents_is_one_of_its_rates():
    company = SmallCompany()
    more_usage(company, "disk", from_hour(ONSET, 1.01))  # 4 cents an hour
    moved = moved_rates(model_of(company), Window(ONSET, ONSET + 10), None)
    assert any(b.rate.usage_type == "TimedStorage-ByteHrs" for b in moved)


def test_of_many_rates_a_first_look_keeps_those_that_moved_most(monkeypatch):
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    more_usage(company, "search", from_hour(ONSET, 1.2))
    model = model_of(company)
    for against in (None, Window(ONSET - 48, ONSET)):
        window = Window(ONSET, ONSET + 48)
        every = [b.rate.name for b in moved_rates(model, window, against)[:2]]
        with monkeypatch.context() as few:
            few.setattr(detect, "MOST_COMPUTED", 6)
            moved = moved_rates(model, window, against)
        assert [b.rate.name for b in moved[:2]] == every
        assert len(moved) <= 6 < len(model.rates)
