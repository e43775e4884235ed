"""Baselines: what each kind of rate would have been in a window, from the hours before it."""

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed, step

from costwhy.model.baseline import Window, baseline, baseline_errors, mean_rate
from costwhy.model.levels import pattern
from costwhy.model.rates import Model, Rate, fit

WEEK = 168
HOURS = 5 * WEEK
ONSET = 4 * WEEK + 30
WINDOW = Window(ONSET, ONSET + 48)
TRAFFIC = day_and_night(HOURS)
NOW = slice(WINDOW.start, WINDOW.end)
DURING = (np.arange(HOURS) >= ONSET) & (np.arange(HOURS) < ONSET + 48)
NIGHTLY = np.where(np.arange(HOURS) % 24 == 2, 40.0, 0.0)


def model_of(*meters: Meter, calls=None, retries=None, **more) -> Model:
    return fit(observed(HOURS, calls or {("web", None): TRAFFIC}, meters, retries=retries, **more))


def rate_of(model: Model, kind: str, style: str | None = None) -> Rate:
    return next(r for r in model.rates if r.kind == kind and style in {None, r.style})


def usual(model: Model, kind: str, style: str | None = None, hours=None) -> np.ndarray:
    values = baseline(model, rate_of(model, kind, style), WINDOW, hours).values
    assert values.shape == (48,)
    return values


def everywhere(value: float) -> np.ndarray:
    return pytest.approx(np.full(48, value))


# ---------------------------------------------------------------- demand


def test_demand_is_that_of_the_same_hours_of_earlier_weeks():
    model = model_of(calls={("web", None): TRAFFIC * np.where(DURING, 3.0, 1.0)})
    assert usual(model, "demand") == pytest.approx(TRAFFIC[NOW])


def test_demand_goes_on_growing():
    growth = np.exp(0.0002 * np.arange(HOURS))  # 3.4 % a week, 2.2 % from the last week on
    model = model_of(calls={("web", None): TRAFFIC * growth * np.where(DURING, 3.0, 1.0)})
    off = usual(model, "demand") / (TRAFFIC * growth)[NOW] - 1
    assert np.abs(off).max() < 0.014  # a week's own growth is taken for its pattern


def test_one_odd_day_does_not_change_the_level_of_demand():
    odd = np.where(np.arange(HOURS) // 24 == ONSET // 24 - 2, 3.0, 1.0)
    model = model_of(calls={("web", None): TRAFFIC * odd})
    assert usual(model, "demand") == pytest.approx(TRAFFIC[NOW], rel=2e-3)


def test_demand_goes_from_the_level_before_to_the_level_after():
    hour = np.arange(HOURS)
    level = np.where(hour < ONSET, 1.0, np.where(hour < ONSET + 48, 5.0, 1.21))
    model = model_of(calls={("web", None): TRAFFIC * level})
    known = ~DURING
    values = usual(model, "demand", hours=known) / TRAFFIC[NOW]
    # last week before: middle 84 h before the onset; week after: 51 to 138 h after, middle 94.5
    # (only so many hours are left); growth in the logarithm from the one to the other
    share = (84.5 + np.arange(48)) / (84.5 + (51 + 137) / 2)
    assert values == pytest.approx(1.21**share, rel=0.002)
    known[ONSET + 51 + 47 :] = False  # 47 quiet hours after it are too few
    assert usual(model, "demand", hours=known) == pytest.approx(TRAFFIC[NOW])


def test_demand_on_a_holiday_is_less():
    day = (np.arange(HOURS) // 24 == ONSET // 24 + 1) * 1.0
    calls = {(f"e{k}", None): TRAFFIC * np.exp(-0.3 * day) for k in range(3)}
    model = model_of(calls=calls)
    assert usual(model, "demand") == pytest.approx((TRAFFIC * np.exp(-0.3 * day))[NOW])


def test_demand_of_less_than_a_day_is_its_mean():
    calls = np.where(np.arange(HOURS) % 48 == 5, 60.0, 0.0)
    rare = np.where(np.arange(HOURS) >= ONSET - 300, calls, 0.0)
    rare[:72] = 1.0  # so that it is not new
    model = model_of(calls={("web", None): rare})
    known = np.arange(HOURS) >= ONSET - 300
    assert usual(model, "demand", hours=known) == everywhere(60.0)
    assert usual(model, "demand", hours=np.zeros(HOURS, dtype=bool)) == everywhere(0.0)


# ---------------------------------------------------------------- other calls


def test_a_timer_runs_when_it_used_to():
    model = model_of(calls={("report", "schedule:nightly"): NIGHTLY * np.where(DURING, 24.0, 1.0)})
    assert usual(model, "schedule").tolist() == NIGHTLY[NOW].tolist()


def test_fan_out_and_retries_are_ratios_of_the_sums_of_the_last_week():
    fan_out = np.where(np.arange(HOURS) < ONSET - WEEK - 1, 5.0, 2.0) * np.where(DURING, 4.0, 1.0)
    first = TRAFFIC * fan_out
    again = first * np.where(DURING, 0.5, 0.1)
    model = model_of(calls={("web", None): TRAFFIC, ("api", "web"): first + again},
                     retries={("api", "web"): again})  # fmt: skip
    assert usual(model, "fan_out") == everywhere(2.0)
    assert usual(model, "retries") == everywhere(1.1)


def test_hours_that_are_no_baseline_hours_do_not_count():
    fan_out = np.where(np.arange(HOURS) < ONSET - 100, 2.0, 5.0)
    model = model_of(calls={("web", None): TRAFFIC, ("api", "web"): TRAFFIC * fan_out})
    assert usual(model, "fan_out", hours=np.arange(HOURS) < ONSET - 100) == everywhere(2.0)


# ---------------------------------------------------------------- usage


def test_usage_per_call_is_a_ratio_of_sums_not_a_mean_of_ratios():
    per_call = np.where(np.arange(HOURS) % 2 == 0, 2.0, 2.02)
    usage = per_call * TRAFFIC * np.where(DURING, 3.0, 1.0)
    model = model_of(Meter("web", "Request", usage, usage))
    week = slice(ONSET - 1 - WEEK, ONSET)
    expected = (per_call * TRAFFIC)[week].sum() / TRAFFIC[week].sum()
    assert usual(model, "usage_per_call") == everywhere(expected)


def test_usage_of_a_nightly_job_is_a_ratio_of_its_last_four_weeks():
    per_run = np.where(np.arange(HOURS) < ONSET - 4 * WEEK, 9.0, 3.0)
    per_run[: ONSET - 6 * 24] *= 1.04  # six nights are fewer than the 24 hours of a week's ratio
    model = model_of(
        Meter("report", "Fargate", per_run * NIGHTLY, NIGHTLY),
        calls={("report", "schedule:nightly"): NIGHTLY},
    )
    nights = np.flatnonzero(NIGHTLY[:ONSET])
    nights = nights[nights >= nights[-1] - 4 * WEEK]
    assert usual(model, "usage_per_call") == everywhere(per_run[nights].mean())


def test_without_any_call_before_usage_per_call_is_zero():
    model = model_of(Meter("web", "Request", 2 * TRAFFIC, TRAFFIC))
    assert usual(model, "usage_per_call", hours=np.zeros(HOURS, dtype=bool)) == everywhere(0.0)


def test_capacity_is_the_median_of_the_last_three_days():
    usage = np.where(np.arange(HOURS) < ONSET - 72, 4.0, 6.0)
    usage[ONSET - 30 : ONSET - 10] = 50.0  # twenty of 72 hours
    model = model_of(Meter("web", "Storage", usage, usage, unit="GB-Mo"))
    assert usual(model, "capacity") == everywhere(6.0)


def test_an_amount_with_a_week_of_its_own_keeps_it_at_the_latest_level():
    office = np.where((np.arange(HOURS) % 24 < 8) | (np.arange(HOURS) // 24 % 7 > 4), 1.0, 10.0)
    usage = office * np.where(np.arange(HOURS) < ONSET - 2 * WEEK, 1.0, 1.2)
    week = pattern(np.where(np.arange(HOURS) < ONSET, usage, np.nan))
    last = slice(ONSET - 2 * WEEK, ONSET)
    scale = usage[last].sum() / week[last].sum()
    assert 1.05 < scale < 1.2
    model = model_of(Meter(None, "Batch", usage, usage))
    assert usual(model, "unlinked_usage") == pytest.approx(scale * week[NOW])
    # with less than two weeks there is no week to know
    recent = np.arange(HOURS) >= ONSET - 2 * WEEK + 1
    level = np.median(usage[ONSET - 72 : ONSET])
    assert usual(model, "unlinked_usage", hours=recent) == everywhere(level)


def test_a_level_that_is_far_from_that_of_the_week_is_not_scaled():
    office = np.where(np.arange(HOURS) % 24 < 8, 5.0, 10.0)
    usage = office - step(HOURS, ONSET - 2 * WEEK + 24, 0.0, 4.9)
    usage[ONSET - 12 :] = 30.0
    week = pattern(np.where(np.arange(HOURS) < ONSET, usage, np.nan))
    model = model_of(Meter(None, "Batch", usage, usage))
    assert week[NOW].min() > 0
    values = usual(model, "unlinked_usage")
    ratio = usage[ONSET - 2 * WEEK : ONSET].sum() / week[ONSET - 2 * WEEK : ONSET].sum()
    assert values == pytest.approx(week[NOW] * (ratio if 0.5 < ratio < 2 else 1.0))


def test_charges_without_usage_are_at_the_median_of_three_days():
    cost = np.where(DURING, -9.0, -3.0)
    assert usual(model_of(Meter(None, None, 0.0, cost)), "unmetered") == everywhere(-3.0)


# ---------------------------------------------------------------- prices


def test_a_price_is_the_median_of_the_last_hours_with_usage():
    usage = np.where(np.arange(HOURS) % 2 == 0, 10.0, 0.0)
    price = np.where(np.arange(HOURS) < ONSET - 150, 1.0, 2.0) * np.where(DURING, 5.0, 1.0)
    model = model_of(Meter(None, "Batch", usage, usage * price))
    assert usual(model, "unit_price") == everywhere(2.0)
    assert usual(model, "unit_price", hours=np.zeros(HOURS, dtype=bool)) == everywhere(0.0)


def test_a_commitment_is_at_the_median_of_the_last_three_days():
    covered = np.where(DURING, 0.0, 500.0)
    meter = Meter("web", "Request", 700.0, 700.0 - covered / 2, covered=covered,
                  covered_cost=covered / 2)  # fmt: skip
    model = model_of(meter)
    assert usual(model, "unit_price", "amount") == everywhere(500.0)
    assert usual(model, "unit_price", "ratio") == everywhere(1.0)


def test_prices_are_those_of_billed_hours():
    price = np.where(np.arange(HOURS) < ONSET - 50, 1.0, 2.0)
    model = model_of(Meter(None, "Batch", 10.0, 10 * price), billed=ONSET - 24)
    known = np.arange(HOURS) >= ONSET - 60  # ten hours at 1, then 26 at 2, then none billed
    assert usual(model, "unit_price", hours=known) == everywhere(2.0)
    known = (np.arange(HOURS) >= ONSET - 60) & (np.arange(HOURS) < ONSET - 40)
    known |= np.arange(HOURS) >= ONSET - 24  # ten hours at 1, ten at 2, and hours without a bill
    assert usual(model, "unit_price", hours=known) == everywhere(1.5)


# ---------------------------------------------------------------- what is new


def test_what_began_in_the_window_or_a_day_before_was_nothing():
    for begin, value in ((ONSET, 0.0), (ONSET - 24, 0.0), (ONSET - 25, 7.0)):
        usage = step(HOURS, begin, 0.0, 7.0)
        model = model_of(Meter(None, "Batch", usage, usage))
        hours = np.arange(HOURS) >= begin  # the rate's own
        assert usual(model, "unlinked_usage", hours=hours) == everywhere(value)


# ---------------------------------------------------------------- the mean of other hours


def test_the_mean_of_hours_is_a_ratio_of_sums_or_a_mean():
    runs = np.where(DURING, 3.0, 1.0) * NIGHTLY
    calls = {("web", None): TRAFFIC, ("api", "web"): 2.2 * TRAFFIC, ("job", "schedule:n"): runs}
    covered = np.where(DURING, 100.0, 500.0)
    model = model_of(
        Meter("web", "Request", 3 * TRAFFIC, TRAFFIC),
        Meter(None, "Batch", np.where(DURING, 9.0, 7.0), 7.0),
        Meter(None, None, 0.0, np.where(DURING, -9.0, -3.0)),
        Meter("web", "Out-Bytes", 700.0, 2 * (700.0 - covered), unit="GB-Mo", covered=covered),
        calls=calls,
        retries={("api", "web"): 0.2 * TRAFFIC},
    )

    def mean(kind: str, style: str | None = None, row: int | None = None) -> float | None:
        rates = [r for r in model.rates if r.kind == kind and style in {None, r.style}]
        return mean_rate(model, next(r for r in rates if row in {None, r.row}), DURING)

    assert mean("fan_out") == pytest.approx(2.0)
    assert mean("retries") == pytest.approx(1.1)
    assert mean("demand") == pytest.approx(TRAFFIC[NOW].mean())
    assert mean("schedule") == pytest.approx(2 * 120 / 48)  # two nights of 48 hours
    assert mean("usage_per_call") == pytest.approx(3.0)
    assert mean("unlinked_usage") == pytest.approx(9.0)
    assert mean("unmetered") == pytest.approx(-9.0)
    assert mean("unit_price", "amount") == pytest.approx(100.0)
    transfer = rates_row(model, "Out-Bytes")
    assert mean("unit_price", "ratio", transfer) == pytest.approx(2.0)
    assert mean("cross_region", None, transfer) == pytest.approx(700.0)


def rates_row(model: Model, usage_type: str) -> int:
    return model.observed.meters["x_UsageType"].to_list().index(usage_type)


def test_a_ratio_of_hours_without_calls_is_not_defined():
    calls = {("web", None): TRAFFIC * ~DURING, ("api", "web"): 2 * TRAFFIC * ~DURING}
    model = model_of(calls=calls)
    assert mean_rate(model, rate_of(model, "fan_out"), DURING) is None
    assert mean_rate(model, rate_of(model, "demand"), DURING) == 0.0


# ---------------------------------------------------------------- how far off it was


def test_the_errors_of_a_baseline_are_those_of_earlier_days_newest_first():
    traffic = TRAFFIC.copy()
    day = slice(ONSET - 24, ONSET)
    traffic[day] *= 1.1  # the last day before the onset had 10 % more
    model = model_of(calls={("web", None): traffic})
    all_hours = np.ones(HOURS, dtype=bool)
    hours = Window(ONSET, ONSET + 24)
    errors = baseline_errors(model, rate_of(model, "demand"), hours, 0, all_hours)
    assert errors.size == 14
    assert errors[0] == pytest.approx(0.1, abs=0.005)
    assert np.abs(errors[1:]).max() < 0.02


def test_errors_are_of_days_all_of_whose_hours_may_serve():
    model = model_of()
    known = np.ones(HOURS, dtype=bool)
    known[ONSET - 3 * 24 + 5] = False  # one hour of the third day before
    hours = Window(ONSET, ONSET + 24)
    rate = rate_of(model, "demand")
    assert baseline_errors(model, rate, hours, 0, known).size == 14  # one day further back
    # a baseline needs the week before it, and knows nothing from `ahead` hours before a window on
    assert baseline_errors(model, rate, Window(WEEK + 72, WEEK + 96), 0, known).size == 2
    assert baseline_errors(model, rate, Window(WEEK + 72, WEEK + 96), 24, known).size == 0
    assert baseline_errors(model, rate, Window(WEEK + 96, WEEK + 120), 24, known).size == 1


def test_a_day_without_expected_calls_has_no_error():
    model = model_of(calls={("job", "schedule:n"): NIGHTLY})
    rate = rate_of(model, "schedule")
    hours = Window(ONSET - 30 + 26, ONSET - 30 + 28)  # hours 2 and 3 of a day
    assert baseline_errors(model, rate, hours, 0, np.ones(HOURS, dtype=bool)).tolist() == [0.0] * 14
    at_noon = Window(ONSET - 30 + 36, ONSET - 30 + 38)
    errors = baseline_errors(model, rate, at_noon, 0, np.ones(HOURS, dtype=bool))
    assert errors.tolist() == [0.0] * 14
