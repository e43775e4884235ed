"""How far off a spike's excess may be: three errors, each reckoned on its own."""

from dataclasses import replace

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed, step

from costwhy.model.baseline import Baseline, Window, baseline, baseline_errors
from costwhy.model.estimates import backtest, half_width, independent_days
from costwhy.model.rates import Model, fit
from costwhy.spikes.detect import Spike, episode_of
from costwhy.spikes.dollars import (
    QUANTILE_90,
    SpikeDollars,
    dollars_of,
    dollars_of_window,
    excess_half_width,
    unbilled_half_width,
)
from costwhy.spikes.shifts import Shift

HOURS = 35 * 24
ONSET = 28 * 24
TRAFFIC = day_and_night(HOURS) * np.random.default_rng(1).lognormal(0, 0.03, HOURS)


def model_of(*meters: Meter, billed: int = HOURS, calls: np.ndarray = TRAFFIC) -> Model:
    return fit(observed(HOURS, {("web", None): calls}, meters, billed=billed))


def spike_of(
    model: Model, kind: str, drift: float | None = None, size: float = 1.0
) -> SpikeDollars:
    """The rate of that kind as a spike from ONSET on."""
    rate = next(r for r in model.rates if r.kind == kind)
    rate = rate if drift is None else replace(rate, drift=drift)
    usable = np.arange(HOURS) < ONSET
    episode = episode_of(model, rate, Shift(ONSET, ONSET, None, size, ramp=False), usable)
    return dollars_of(model, Spike(ONSET, None, (episode,)))


def batch(billed: int = HOURS) -> Model:
    """$5 an hour before, $8 after; no signal is linked to it."""
    usage = step(HOURS, ONSET, 5.0, 8.0)
    return model_of(Meter(None, "Batch", usage, usage), billed=billed)


# ---------------------------------------------------------------- baselines


def test_a_rate_of_usage_is_as_uncertain_as_its_noise():
    model = batch()
    spike = spike_of(model, "unlinked_usage", drift=0.05, size=0.5)
    # a tenth of $3 x hours, to the 10 % and 90 % quantile
    assert excess_half_width(model, spike, 0, 24) == pytest.approx(QUANTILE_90 * 0.1 * 3 * 24)
    assert excess_half_width(model, spike, 10, 12) == pytest.approx(QUANTILE_90 * 0.1 * 3 * 2)


def test_errors_of_several_rates_add_up_as_squares():
    model = batch()
    one = spike_of(model, "unlinked_usage", drift=0.05, size=0.5)
    two = replace(
        one,
        baselines=one.baselines * 2,
        dollars=one.dollars * 2,
        relative_errors=(0.3, 0.4),
        spike=None,
    )
    assert excess_half_width(model, two, 0, 1) == pytest.approx(QUANTILE_90 * 0.5 * 3)


def test_a_rate_of_calls_is_as_uncertain_as_its_baseline_was_on_earlier_days():
    calls = TRAFFIC * step(HOURS, ONSET, 1.0, 1.5)
    model = model_of(Meter("web", "Request", calls, 2 * calls), calls=calls)
    spike = spike_of(model, "demand", drift=0.05, size=0.5)
    usual = spike.baselines[0]
    day = Window(ONSET, ONSET + 24)
    errors = baseline_errors(model, usual.rate, day, 0, np.arange(HOURS) < ONSET)
    assert errors.size == 14
    # an error of the baseline's calls costs $2 a call
    dollars = errors * 2 * usual.values[:24].sum()
    noise = QUANTILE_90 * 0.1 * abs(spike.hourly[:24].sum())
    expected = half_width(dollars, noise, independent_days(errors))
    assert excess_half_width(model, spike, 0, 24) == pytest.approx(expected, rel=1e-6)


def test_without_a_call_more_or_a_call_expected_noise_is_all():
    model = model_of(Meter("web", "Request", TRAFFIC, TRAFFIC))
    rate = next(r for r in model.rates if r.kind == "demand")
    spike = spike_of(model, "demand")
    for values in (np.zeros(spike.window.width), TRAFFIC[ONSET:]):
        same = replace(
            spike,
            baselines=(Baseline(rate, values),),
            dollars=(np.full((1, spike.window.width), 2.0),),
            relative_errors=(0.1,),
        )
        assert excess_half_width(model, same, 0, 10) == pytest.approx(QUANTILE_90 * 0.1 * 20)


def test_in_a_window_that_a_person_picks_a_rate_is_a_tenth_off():
    model = batch()
    picked = dollars_of_window(model, Window(ONSET, ONSET + 24), None, {"x_UsageType": "Batch"})
    assert [b.rate.kind for b in picked.baselines] == ["unlinked_usage"]
    assert excess_half_width(model, picked, 0, 24) == pytest.approx(QUANTILE_90 * 0.1 * 3 * 24)


# ---------------------------------------------------------------- autoscalers


def scaled(problem: int) -> tuple[Model, SpikeDollars]:
    """An instance for each 137 calls at $2; in so many hours of the week before one too many."""
    instances = np.maximum(5, np.ceil(TRAFFIC / 137))
    instances[ONSET - 2 * problem : ONSET : 2] += 1
    usage = instances + step(HOURS, ONSET, 0.0, 10.0)
    model = model_of(Meter("web", "BoxUsage", usage, 2 * usage, unit="Hrs"))
    assert model.meters[0].rule is not None
    return model, spike_of(model, "capacity", drift=0.0)


@pytest.mark.parametrize("problem", [0, 12])
def test_an_autoscaler_is_as_uncertain_as_its_rule_was_wrong(problem):
    model, spike = scaled(problem)
    # (12 + 0.5) of 169 hours, $2 each: the variance of 48 hours
    hours = 48 * (problem + 0.5) / 169
    expected = QUANTILE_90 * (hours * 2.0**2) ** 0.5 if np.exp(-hours) < 0.8 else 0.0
    assert excess_half_width(model, spike, 0, 48) == pytest.approx(expected, abs=1e-6)
    assert (expected > 0) == (problem > 0)


def test_where_no_wrong_hour_is_likely_nothing_is_added():
    model, spike = scaled(0)
    # 0.5 of 169 hours in 48: 0.14 wrong hours, none with probability 0.87
    assert excess_half_width(model, spike, 0, 48) == pytest.approx(0.0, abs=1e-6)
    # in 120 hours 0.36, none with 0.70
    expected = QUANTILE_90 * (120 * 0.5 / 169 * 4) ** 0.5
    assert excess_half_width(model, spike, 0, 120) == pytest.approx(expected)


# ---------------------------------------------------------------- hours that are not billed


def test_when_all_is_billed_nothing_is_uncertain_about_the_rest():
    model = batch()
    assert unbilled_half_width(model, spike_of(model, "unlinked_usage")) == 0.0


def test_an_estimate_of_usage_is_off_by_the_whole_cost():
    model = batch(billed=HOURS - 12)
    spike = spike_of(model, "unlinked_usage", drift=0.05, size=0.5)
    assert spike.billed == spike.window.width - 12
    # the estimates of 7 days were right; the day of the step and all before it too but one
    noise = QUANTILE_90 * 0.1 * 3 * 12
    width = unbilled_half_width(model, spike)
    assert width == pytest.approx(noise, rel=0.3)
    assert width >= noise


@pytest.mark.parametrize(("kind", "share"), [("usage_per_call", 1.0), ("demand", 1 / 3)])
def test_an_estimates_error_scales_with_cost_for_usage_and_with_excess_for_calls(kind, share):
    more = step(HOURS, ONSET, 1.0, 1.5)
    rng = np.random.default_rng(2)
    wander = np.repeat(rng.lognormal(0, 0.1, HOURS // 12), 12)  # half days, 10 % each
    calls = TRAFFIC * (more if kind == "demand" else 1.0)
    usage = calls * wander * (more if kind == "usage_per_call" else 1.0)
    model = model_of(Meter("web", "Request", usage, usage), billed=HOURS - 12, calls=calls)
    spike = spike_of(model, kind, drift=0.0)
    cost = model.cost[0, HOURS - 12 :].sum()
    excess = spike.hourly[-12:].sum()
    weight = cost if share == 1.0 else excess
    estimate = backtest(model, [0], slice(0, 12)).half_width(np.array([weight]))
    rest = excess_half_width(model, spike, spike.billed, spike.window.width)
    assert unbilled_half_width(model, spike) == pytest.approx(np.hypot(estimate, rest))
    assert excess / cost == pytest.approx(1 / 3, abs=0.15)


def test_a_baseline_knows_only_its_baseline_hours():
    model = batch()
    spike = spike_of(model, "unlinked_usage")
    usable = np.arange(HOURS) < ONSET
    again = baseline(model, spike.baselines[0].rate, spike.window, usable)
    assert spike.baselines[0].values == pytest.approx(again.values)
