"""Shifts: where a level leaves its baseline, on which hours its edges lie, and what is a ramp."""

import numpy as np
import pytest

from costwhy.model.levels import Level
from costwhy.spikes.shifts import Shift, find_shifts, suspects

HOURS = 600
NOISE = np.random.default_rng(1).normal(0, 0.01, HOURS)


def level(values: np.ndarray, style: str = "ratio", drift: float = 0.002) -> Level:
    return Level(style, values, 0.01, drift)


def shifts(values: np.ndarray, style: str = "ratio", drift: float = 0.002) -> list[Shift]:
    [found] = find_shifts([level(values, style, drift)])
    return found


def edges(values: np.ndarray, style: str = "ratio") -> list[tuple[int, int | None]]:
    return [(s.start, s.end) for s in shifts(values, style)]


def pulse(start: int, end: int, size: float, noise: np.ndarray = NOISE) -> np.ndarray:
    hour = np.arange(HOURS)
    return noise + np.where((hour >= start) & (hour < end), size, 0.0)


def pulses(*drawn: tuple[int, int, float]) -> np.ndarray:
    return NOISE + sum(pulse(*one, noise=0 * NOISE) for one in drawn)


# ---------------------------------------------------------------- which shifts there are


def test_noise_alone_has_no_shift():
    for style in ("ratio", "amount", "runs", "flow"):
        assert shifts(NOISE, style) == []


@pytest.mark.parametrize("style", ["ratio", "amount", "flow"])
@pytest.mark.parametrize("size", [0.3, -0.3])
def test_a_step_that_goes_on_has_no_end(style, size):
    [found] = shifts(pulse(400, HOURS, size), style)
    assert (found.start, found.end, found.ramp) == (400, None, False)
    assert found.size == pytest.approx(size, abs=0.005)
    assert found.since == 400


@pytest.mark.parametrize("length", [3, 5, 48, 150])
def test_a_pulse_has_both_of_its_edges(length):
    assert edges(pulse(400, 400 + length, 0.3)) == [(400, 400 + length)]


def test_one_hour_is_noise():
    assert edges(pulse(400, 401, 0.3)) == []


def test_two_pulses_are_two_shifts():
    assert edges(pulses((300, 340, 0.3), (450, 470, -0.4))) == [(300, 340), (450, 470)]


def test_a_shift_of_two_heights_is_one():
    assert edges(pulses((300, 400, 0.3), (300, 340, 0.3))) == [(300, 400)]


def test_what_falls_to_a_quarter_of_its_height_is_over():
    # but for two hours at most in which it still stands out
    assert edges(pulses((300, 340, 0.8), (340, 400, 0.1)))[0] == (300, 342)
    assert edges(pulses((300, 340, 0.8), (340, 400, 0.3))) == [(300, 400)]


def test_what_moves_less_than_two_per_cent_is_no_shift():
    quiet = NOISE / 20
    size = np.where(np.arange(HOURS) >= 400, 1.0, 0.0)
    tight = Level("ratio", quiet + 0.019 * size, 0.001, 0.0001)
    assert list(find_shifts([tight])) == [[]]
    tight = Level("ratio", quiet + 0.022 * size, 0.001, 0.0001)
    assert len(next(iter(find_shifts([tight])))) == 1


def test_what_moves_less_than_three_drifts_is_no_shift():
    assert shifts(pulse(400, 500, 0.25), drift=0.1) == []
    assert len(shifts(pulse(400, 500, 0.35), drift=0.1)) == 1


def test_a_level_that_changed_a_little_is_the_new_baseline():
    # 0.018 is under the tolerance, and 0.3 is counted from there
    [found] = shifts(pulses((200, HOURS, 0.018), (400, 450, 0.3)))
    assert found.size == pytest.approx(0.3, abs=0.02)


def test_a_first_day_that_is_odd_is_no_baseline():
    odd = np.where(np.arange(HOURS) < 20, 0.5, 0.0)
    assert [s for s in shifts(NOISE + odd) if s.start >= 20] == []
    [_, found] = shifts(odd + pulse(400, 450, 0.3))
    assert (found.start, found.end) == (400, 450)


# ---------------------------------------------------------------- hours of its edges


def test_a_part_hour_before_the_step_belongs_to_it():
    values = pulse(400, 450, 0.3)
    values[399] += 0.15
    values[450] += 0.15
    assert edges(values) == [(399, 451)]
    values[399] -= 0.14  # within the noise
    assert edges(values) == [(400, 451)]


def test_an_outlier_two_hours_before_is_not_reached():
    values = pulse(400, 450, 0.3)
    values[398] += 0.15
    assert edges(values) == [(400, 450)]


def test_traffic_that_swells_for_a_day_began_with_the_swelling():
    hour = np.arange(HOURS)
    swell = NOISE + np.interp(hour, [380, 400], [0.0, 0.5])
    [found] = shifts(swell, "flow")
    assert 380 <= found.start <= 388


def test_a_level_that_wanders_before_it_steps_is_dated_by_the_step():
    hour = np.arange(HOURS)
    wander = np.where((hour >= 370) & (hour < 400), 0.05, 0.0)
    [found] = shifts(NOISE + wander + np.where(hour >= 400, 0.6, 0.0), "amount")
    assert 398 <= found.start <= 400  # two hours before it stand out too


def test_a_nightly_job_may_have_changed_since_its_run_before():
    values = np.full(HOURS * 2, np.nan)
    nights = np.arange(2, HOURS * 2, 24)
    values[nights] = np.where(nights < 700, 0.0, 0.5)
    [found] = shifts(values)
    first = int(nights[nights >= 700][0])
    assert (found.since, found.start, found.end) == (first - 23, first, None)


def test_the_last_two_runs_of_a_nightly_job_are_a_shift():
    values = np.full(HOURS * 2, np.nan)
    nights = np.arange(2, HOURS * 2, 24)
    values[nights] = np.where(np.arange(nights.size) >= nights.size - 2, 0.5, 0.0)
    [found] = shifts(values)
    assert (found.start, found.end) == (nights[-2], None)


def test_a_shift_from_the_first_hour_on_may_have_begun_there():
    [found] = [s for s in shifts(pulse(0, 20, 0.5)) if s.start == 0]
    assert (found.since, found.end) == (0, 20)


def test_fewer_than_twelve_defined_hours_have_no_shift():
    values = np.full(HOURS, np.nan)
    values[::54] = [0.0] * 6 + [5.0] * 6
    assert len(shifts(values)) == 1
    values[0] = np.nan
    assert shifts(values) == []


# ---------------------------------------------------------------- ramps


@pytest.mark.parametrize("style", ["ratio", "amount"])
def test_a_ramp_starts_where_it_begins_to_rise(style):
    hour = np.arange(HOURS)
    [found] = shifts(NOISE + np.interp(hour, [400, 600], [0.0, 1.0]), style)
    assert found.ramp
    assert found.start == pytest.approx(400, abs=6)
    assert found.end is None


def test_traffic_and_timers_have_no_ramp():
    hour = np.arange(HOURS)
    for style in ("flow", "runs"):
        rising = shifts(NOISE + np.interp(hour, [400, 600], [0.0, 1.0]), style)
        assert [s.ramp for s in rising] == [False] * len(rising)


def test_a_step_is_no_ramp_however_long():
    assert not shifts(pulse(400, HOURS, 1.0))[0].ramp


def test_less_than_a_day_is_no_ramp():
    hour = np.arange(HOURS)
    rise = np.interp(hour, [580, 600], [0.0, 1.0])
    assert [s.ramp for s in shifts(NOISE + rise)] == [False]


# ---------------------------------------------------------------- suspects


def test_a_shift_is_suspected_and_noise_is_not():
    levels = [level(v) for v in (NOISE, pulse(400, 403, 0.3), pulse(400, 500, -0.05), NOISE)]
    assert suspects(levels) == [1, 2]


def test_what_is_not_defined_makes_no_suspect():
    gaps = NOISE.copy()
    gaps[100:200] = np.nan
    late = NOISE + 5.0
    late[:100] = np.nan
    assert suspects([level(gaps), level(late)]) == []
    gaps[300:] += 0.3
    assert suspects([level(gaps)]) == [0]


def test_a_level_of_three_hours_is_not_looked_at():
    assert suspects([level(np.array([0.0, 5.0, 9.0]))]) == []
