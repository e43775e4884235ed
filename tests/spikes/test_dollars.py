"""A spike in money: what adds up, what is shared, and what a window that a person picks costs."""

from dataclasses import replace

import numpy as np
import pytest
from small_company import HOURS, SmallCompany, changed, from_hour

from costwhy.errors import UsageError
from costwhy.model.baseline import Window
from costwhy.model.observe import observe
from costwhy.model.rates import Model, fit
from costwhy.spikes.detect import find
from costwhy.spikes.dollars import SpikeDollars, dollars_of, dollars_of_window

ONSET, LAG = 900, 12


def two_rates() -> SmallCompany:
    """db's retries double ($9 an hour, with api's share), and api calls db half as often again."""
    company = SmallCompany()
    company.lag = LAG
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    company.fan_out["db", "api"] = company.fan_out["db", "api"] * from_hour(ONSET + 1, 1.5)
    return company


@pytest.fixture(scope="module")
def model() -> Model:
    return fit(observe(two_rates().lake()))


@pytest.fixture(scope="module")
def spike(model: Model) -> SpikeDollars:
    [found] = find(model)
    return dollars_of(model, found)


def rows(model: Model, *usage_types: str) -> tuple[int, ...]:
    return tuple(model.observed.meters["x_UsageType"].to_list().index(u) for u in usage_types)


# ---------------------------------------------------------------- a spike


def test_the_dollars_of_the_rates_are_the_whole_excess(spike):
    assert len(spike.baselines) == len(spike.dollars) == len(spike.relative_errors) == 2
    assert sum(spike.dollars) == pytest.approx(spike.excess)
    assert spike.hourly == pytest.approx(spike.excess.sum(axis=0))
    assert spike.excess.shape[1] == spike.hourly.size == spike.window.width


def test_the_excess_is_what_the_db_cost_beyond_one_call_in_three(spike):
    # db's usage is 2 x 1.5 of what it was from the second hour on: two thirds are excess
    company = two_rates()
    cost = company.cost("db")[ONSET:]
    expected = cost * np.where(np.arange(cost.size) < 1, 1 / 2, 2 / 3)
    assert spike.hourly == pytest.approx(expected, rel=0.01)


def test_the_largest_rate_is_first_and_its_episode_with_it(spike):
    sums = [abs(part.sum()) for part in spike.dollars]
    assert sums == sorted(sums, reverse=True)
    kinds = [b.rate.kind for b in spike.baselines]
    assert kinds == ["retries", "fan_out"]
    assert [e.rate.kind for e in spike.spike.episodes] == kinds


def test_a_spike_knows_its_hours_and_how_many_are_billed(spike):
    assert (spike.window, spike.since) == (Window(ONSET, HOURS), ONSET)
    assert (spike.billed, spike.running, spike.shape) == (HOURS - ONSET - LAG, True, "step")


def test_only_the_meters_that_it_moved_are_moved(model, spike):
    assert spike.moved_meters == rows(model, "ReadRequestUnits")


def test_a_clear_rate_has_a_small_relative_error(spike):
    # drift of 0.3 % / sqrt(24), over the logarithm of two
    assert spike.relative_errors[0] == pytest.approx(0.003 / 24**0.5 / np.log(2), rel=0.05)


def test_a_relative_error_is_at_most_one(model):
    [found] = find(model)
    noisy = tuple(replace(e, rate=replace(e.rate, drift=9.0)) for e in found.episodes)
    assert dollars_of(model, replace(found, episodes=noisy)).relative_errors == (1.0, 1.0)


def test_a_spike_may_have_begun_as_early_as_its_large_episodes(model):
    [found] = find(model)
    first, second = found.episodes
    early = replace(second, shift=replace(second.shift, since=ONSET - 20))
    assert dollars_of(model, replace(found, episodes=(first, early))).since == ONSET - 20
    small = replace(early, dollars=0.1 * first.dollars)
    assert dollars_of(model, replace(found, episodes=(first, small))).since == ONSET


def test_a_spike_that_is_not_billed_at_all_has_no_billed_hour():
    company = SmallCompany()
    company.lag = 24
    company.retries["db", "api"] *= from_hour(HOURS - 20, 3.0)
    model = fit(observe(company.lake()))
    [found] = find(model)
    assert dollars_of(model, found).billed == 0


# ---------------------------------------------------------------- any window


def test_a_window_is_counted_against_the_hours_before_it(model):
    found = dollars_of_window(model, Window(ONSET + 24, ONSET + 48), None, {})
    assert found.hourly == pytest.approx(sum(found.dollars).sum(axis=0), abs=0.01)
    assert (found.running, found.shape, found.spike) == (False, "pulse", None)
    assert (found.since, found.billed) == (ONSET + 24, 24)
    assert len(found.moved_meters) == len(model.meters)
    assert found.relative_errors == (0.1,) * len(found.baselines)


def test_a_window_up_to_now_is_running(model):
    found = dollars_of_window(model, Window(ONSET, HOURS), None, {})
    assert (found.running, found.shape) == (True, "step")
    assert found.billed == HOURS - LAG - ONSET
    sums = [abs(float(d.sum())) for d in found.dollars]
    assert sums == sorted(sums, reverse=True)
    assert min(sums) >= 0.005


def test_window_against_window_is_the_plain_difference(model):
    window, against = Window(ONSET, ONSET + 48), Window(ONSET - 48, ONSET)
    found = dollars_of_window(model, window, against, {})
    usual = model.cost[:, against.hours].mean(axis=1).sum()
    assert found.hourly == pytest.approx(model.cost[:, window.hours].sum(axis=0) - usual)


def test_a_window_of_some_meters_has_only_their_dollars(model):
    [db] = rows(model, "ReadRequestUnits")
    window = Window(ONSET, ONSET + 48)
    found = dollars_of_window(model, window, None, {"x_UsageType": "ReadRequestUnits"})
    assert found.moved_meters == (db,)
    assert np.flatnonzero(np.abs(found.excess).sum(axis=1)).tolist() == [db]
    other = dollars_of_window(model, window, Window(0, 48), {"service": "search"})
    assert np.flatnonzero(np.abs(other.excess).sum(axis=1)).tolist() == list(
        rows(model, "Search-Units")
    )
    both = {"service": "db", "x_UsageType": "TimedStorage-ByteHrs"}
    found = dollars_of_window(model, window, None, both)
    assert found.moved_meters == rows(model, "TimedStorage-ByteHrs")
    assert found.dollars == ()
    assert found.hourly == pytest.approx(np.zeros(48), abs=0.01)


def test_where_nothing_is_selected_is_an_error(model):
    window = Window(ONSET, ONSET + 48)
    with pytest.raises(UsageError, match="no column 'colour'"):
        dollars_of_window(model, window, None, {"service": "db", "colour": "red"})
    with pytest.raises(UsageError, match="no cost row"):
        dollars_of_window(model, window, None, {"service": "nobody"})


def test_a_window_in_which_nothing_moved_has_no_rate():
    company = SmallCompany()
    company.lines = {"disk": changed(company.lines["disk"])}
    model = fit(observe(company.lake()))
    found = dollars_of_window(model, Window(800, 824), None, {})
    assert (found.baselines, found.dollars) == ((), ())
    assert found.hourly.tolist() == [0.0] * 24
