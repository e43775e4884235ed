"""Levels: the season taken out, the noise from hour to hour and from day to day."""

import numpy as np
import pytest

from costwhy.model.levels import (
    BLOCK,
    WEEK,
    carried,
    hourly_spread,
    levels_of,
    median,
    pattern,
    robust_spread,
)

NAN = np.nan


def level_of(style: str, values: np.ndarray, *, new: bool = False, noisy: bool = False):
    [found] = levels_of(style, values[None, :], np.array([new]), noisy=noisy)
    return found


def test_a_median_is_of_what_is_defined():
    drawn = np.array([[1.0, NAN, 3.0], [4.0, 1.0, 2.0], [NAN, NAN, NAN]])
    assert median(drawn).tolist()[:2] == [2.0, 2.0]
    assert np.isnan(median(drawn)[2])
    assert median(drawn, axis=0).tolist() == [2.5, 1.0, 2.5]
    assert np.isnan(median(np.zeros((2, 0)))).all()


def test_a_robust_spread_does_not_see_one_outlier():
    # distances from 3: 2 1 0 1 97, in the middle 1
    assert robust_spread(np.array([1.0, 2, 3, 4, 100])) == pytest.approx(1.4826)
    assert robust_spread(np.array([NAN, NAN])) == 0.0


def test_an_hourly_spread_is_of_neighbours_that_are_defined():
    # steps of the defined: 1 -1 1 -1, at most 1 from their median 0
    drawn = np.array([[0.0, 1, NAN, 0, 1, NAN, 0], [5.0, NAN, 6.0, NAN, 7.0, NAN, NAN]])
    assert hourly_spread(drawn).tolist() == pytest.approx([1.4826 / 2**0.5, 0.0])


def test_what_is_unknown_is_carried_over():
    drawn = np.array([[NAN, 2.0, NAN, 5.0], [NAN, NAN, NAN, NAN], [1.0, 2.0, 3.0, 4.0]])
    assert carried(drawn).tolist() == [[2, 2, 2, 5], [0, 0, 0, 0], [1, 2, 3, 4]]


def test_a_pattern_is_the_median_week_at_the_median_level():
    week = np.arange(WEEK) - (WEEK - 1) / 2  # median 0
    weeks = np.concatenate([week + 1, week + 2, week + 90])  # one strange week
    weeks[5] = 1000.0  # and one strange hour
    assert pattern(weeks) == pytest.approx(np.tile(week + 2, 3))
    assert pattern(weeks[:400]).shape == (400,)
    assert pattern(np.array([weeks, 2 * weeks]))[1] == pytest.approx(np.tile(2 * week + 4, 3))


def test_a_level_of_traffic_has_no_season_left():
    season = np.sin(np.arange(4 * WEEK) / WEEK * 2 * np.pi)
    assert level_of("flow", season).level == pytest.approx(np.zeros(4 * WEEK))
    assert level_of("amount", season).level == pytest.approx(np.zeros(4 * WEEK))
    assert level_of("ratio", season).level is not season
    assert level_of("ratio", season).level == pytest.approx(season)  # a ratio has none


def test_what_is_new_has_no_season_yet():
    season = np.sin(np.arange(4 * WEEK) / WEEK * 2 * np.pi)
    assert level_of("flow", season, new=True).level == pytest.approx(season)


def test_noise_of_hours_makes_days_wander_by_a_24th_of_its_square():
    noise = np.random.default_rng(1).normal(0, 0.1, 100 * 24)
    found = level_of("ratio", noise)
    assert found.spread == pytest.approx(0.1, rel=0.05)
    assert found.drift == pytest.approx(0.1 / 24**0.5, rel=0.15)


def test_days_that_wander_have_drift_and_no_spread():
    days = np.repeat(np.random.default_rng(1).normal(0, 0.2, 200), 24)
    found = level_of("ratio", days)
    assert found.spread == 0.003  # hours do not move within a day: the least spread
    assert found.drift == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize("style", ["amount", "runs", "flow"])
def test_a_constant_series_has_the_least_spread_of_its_style(style):
    found = level_of(style, np.ones(10 * 24))
    assert (found.spread, found.drift) == (0.01, 0.01 / 24**0.5)


def test_an_amount_that_jumps_now_and_then_has_the_spread_of_its_levels():
    # hardly an hour steps, but two thirds of the hours are 1 from the middle
    drawn = np.arange(30 * 24) // 60 % 3 - 1.0
    assert level_of("amount", drawn, new=True).spread == pytest.approx(1.4826)
    assert level_of("ratio", drawn).spread == 0.003


def test_noisy_usage_drifts_by_what_it_jumps_every_tenth_day():
    days = np.zeros(100)
    days[::8] = 1.0  # two steps of eight
    hours = np.repeat(days, 24)
    assert level_of("ratio", hours, noisy=False).drift == pytest.approx(0.003 / 24**0.5)
    assert level_of("ratio", hours, noisy=True).drift == pytest.approx(1.0)


def test_with_four_days_of_steps_or_fewer_days_tell_nothing():
    days = np.repeat([0.0, 1.0, 0.0, 1.0], 24)
    assert level_of("ratio", days, noisy=True).drift == pytest.approx(0.003 / 24**0.5)
    days = np.repeat([0.0, 1.0, 0.0, 1.0, 0.0], 24)
    # steps 1 -1 1 -1 around 0
    assert level_of("ratio", days).drift == pytest.approx(1.4826 / 2**0.5)


def test_a_day_counts_if_half_of_it_is_defined():
    hours = np.tile([1.0] * 12 + [NAN] * 12, 5)
    hours[24:48] = NAN
    hours[24:35] = 50.0  # eleven hours
    hours[48:72] = 2.0
    # days 1, -, 2, 1, 1: three steps, too few
    assert level_of("ratio", hours, noisy=True).drift == level_of("ratio", hours).drift
    hours[35] = 50.0
    # days 1, 50, 2, 1, 1: steps 49 -48 -1 0; the 90th percentile between 48 and 49
    assert level_of("ratio", hours, noisy=True).drift == pytest.approx(48 + 0.7)


def test_many_series_are_what_each_is_alone():
    values = np.random.default_rng(2).normal(0, 1, (BLOCK + 3, 60))
    found = levels_of("flow", values, np.zeros(len(values), dtype=bool))
    assert len(found) == BLOCK + 3
    for row in (0, BLOCK - 1, BLOCK, BLOCK + 2):
        assert found[row].spread == level_of("flow", values[row]).spread
        assert (found[row].level == level_of("flow", values[row]).level).all()
