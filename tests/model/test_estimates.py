"""Hours that are not billed at a cut-off: what each meter is estimated to use and to cost."""

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed, step

from costwhy.model.estimates import Basis, Cutoff, Estimate, basis_of, estimates
from costwhy.model.meters import learn

HOURS = 14 * 24
BILLED = HOURS - 10
LATE = slice(BILLED, HOURS)
TRAFFIC = day_and_night(HOURS) * np.random.default_rng(1).lognormal(0, 0.05, HOURS)


def basis(*meters: Meter, calls=None, **more) -> Basis:
    o = observed(HOURS, calls or {("web", None): TRAFFIC}, meters, billed=BILLED, **more)
    return basis_of(o, o.handled, learn(o, o.handled))


def estimated(*meters: Meter, **more) -> Estimate:
    known = basis(*meters, **more)
    [estimate] = estimates(known, range(len(meters)), [known.now])
    return estimate


def test_a_cut_off_names_the_hours_after_it_and_those_before():
    assert Cutoff(30, 40).hours == slice(30, 40)
    assert Cutoff(30, 40).last(24) == slice(6, 30)
    assert Cutoff(10, 40).last(24) == slice(0, 10)


def test_prices_are_carried_over_hours_without_usage():
    usage = np.where(np.arange(HOURS) % 5 == 3, 10.0, 0.0)
    price = step(HOURS, 100, 2.0, 3.0)
    found = basis(Meter(None, "Batch", usage, usage * price)).price[0]
    # known from hour 3 on, the new one from hour 103
    assert found == pytest.approx(step(HOURS, 103, 2.0, 3.0))


def test_covered_usage_has_its_own_price_and_lends_it_where_no_other_is_known():
    partly = Meter(None, "Batch", 10.0, 4 * 2.0 + 6 * 0.5, covered=6.0, covered_cost=3.0)
    wholly = Meter(None, "Other", 6.0, 3.0, covered=6.0, covered_cost=3.0)
    nothing = Meter(None, "None", 0.0, 0.0)
    found = basis(partly, wholly, nothing)
    assert found.price[:, 5].tolist() == pytest.approx([2.0, 0.5, 0.0])
    assert found.covered_price[:, 5].tolist() == pytest.approx([0.5, 0.5, 0.0])


def test_usage_by_calls_goes_on_with_the_calls():
    found = estimated(Meter("web", "Request", 2 * TRAFFIC, 6 * TRAFFIC))
    assert found.usage[0] == pytest.approx(2 * TRAFFIC[LATE])
    assert found.cost[0] == pytest.approx(6 * TRAFFIC[LATE])
    assert not found.counted[0]


def test_the_latest_usage_per_call_is_of_the_last_24_hours_from_its_last_step_on():
    drift = 2 + 0.0001 * np.arange(HOURS)
    found = estimated(Meter("web", "Request", drift * TRAFFIC, TRAFFIC))
    day = slice(BILLED - 24, BILLED)
    mean = (drift * TRAFFIC)[day].sum() / TRAFFIC[day].sum()
    assert found.usage[0] == pytest.approx(mean * TRAFFIC[LATE])


def test_a_rare_job_is_known_by_its_last_week():
    runs = np.where(np.arange(HOURS) % 24 == 2, 40.0, 0.0)
    runs[LATE] = 40.0
    per_run = step(HOURS, BILLED - 100, 3.0, 6.0)  # four nights
    job = {("report", "schedule:nightly"): runs}
    found = estimated(Meter("report", "Fargate", per_run * runs, runs), calls=job)
    assert found.usage[0] == pytest.approx(np.full(10, 6 * 40.0))


def test_calls_that_never_cost_anything_cost_nothing():
    usage = np.where(np.arange(HOURS) < 200, 0.0, 2 * TRAFFIC)
    calls = {("new", None): np.where(np.arange(HOURS) < 200, 0.0, TRAFFIC)}
    known = basis(Meter("new", "Request", usage, usage), calls=calls)
    early = estimates(known, [0], [Cutoff(150, 160), Cutoff(230, 240)])
    assert early[0].usage[0].tolist() == [0.0] * 10  # no calls yet
    assert early[1].usage[0] == pytest.approx(2 * TRAFFIC[230:240])


def test_an_autoscalers_instances_follow_the_calls():
    instances = np.maximum(5, np.ceil(TRAFFIC / 137))
    extra = step(HOURS, BILLED - 30, 0.0, 2.0)  # two more than the rule keeps, of late
    found = estimated(Meter("web", "BoxUsage", instances + extra, 1.0, unit="Hrs"))
    assert found.usage[0] == pytest.approx(instances[LATE] + 2)


def test_instances_that_a_signal_counts_need_no_rule():
    instances = np.random.default_rng(2).integers(3, 9, HOURS).astype(float)
    meter = Meter("web", "BoxUsage", 0.5 * instances, instances, unit="Hrs")
    found = estimated(meter, capacity={"web": instances})
    assert found.counted[0]
    assert found.usage[0] == pytest.approx(0.5 * instances[LATE])
    assert found.cost[0] == pytest.approx(instances[LATE])


@pytest.mark.parametrize("fault", ["a gap", "another count", "of another service", "by use"])
def test_a_signal_that_does_not_count_the_meters_instances_is_left(fault):
    rng = np.random.default_rng(2)
    instances = rng.integers(3, 9, HOURS).astype(float)
    meter = Meter("web", "BoxUsage", 0.5 * instances, instances, unit="Hrs")
    shown = instances.copy()
    if fault == "a gap":
        shown[BILLED + 3] = np.nan
    if fault == "another count":
        shown = rng.integers(3, 9, HOURS).astype(float)
    if fault == "by use":
        meter = Meter("web", "Request", 2 * TRAFFIC, TRAFFIC)
    found = estimated(meter, capacity={"api" if fault == "of another service" else "web": shown})
    assert not found.counted[0]


def test_covered_usage_is_as_much_as_the_commitment_of_the_last_day():
    usage = np.full(HOURS, 10.0)
    meter = Meter(None, "Batch", usage, 4 * 2.0 + 6 * 0.5, covered=6.0, covered_cost=3.0)
    found = estimated(meter)
    assert found.covered[0].tolist() == [6.0] * 10
    assert found.cost[0] == pytest.approx(np.full(10, 4 * 2.0 + 6 * 0.5))
    whole = estimated(Meter(None, "Batch", usage, 5.0, covered=10.0, covered_cost=5.0))
    assert whole.covered[0].tolist() == [10.0] * 10  # no limit is known
    assert whole.cost[0] == pytest.approx(np.full(10, 5.0))


# ---------------------------------------------------------------- what follows nothing


def continued(usage: np.ndarray) -> np.ndarray:
    return estimated(Meter(None, "Batch", usage, usage)).usage[0]


def test_a_line_goes_on_but_not_below_zero():
    hour = np.arange(HOURS)
    assert continued(5 + 0.5 * hour) == pytest.approx(5 + 0.5 * hour[LATE])
    falling = np.maximum(0.5 * (BILLED + 4 - hour), 0.5)
    assert continued(falling) == pytest.approx(np.maximum(0.5 * (BILLED + 4 - hour[LATE]), 0.0))


def test_the_same_hours_of_three_days_go_on_at_the_level_of_the_last_six():
    shape = np.where(np.arange(HOURS) % 24 < 12, 2.0, 6.0)
    usage = shape * step(HOURS, BILLED - 6, 1.0, 1.5)
    assert continued(usage) == pytest.approx(1.5 * shape[LATE])
    # five times as much at most
    usage = shape * step(HOURS, BILLED - 6, 1.0, 9.0)
    assert continued(usage) == pytest.approx(5 * shape[LATE])
    days = np.array([1.0, 2.0, 9.0])[np.arange(HOURS) // 24 % 3]
    mean = continued(days * shape) / shape[LATE]
    assert mean.max() - mean.min() < 1e-9  # each hour has the mean of three days: 4
    usual = 4 * shape[BILLED - 6 : BILLED]
    scale = (days * shape)[BILLED - 6 : BILLED].sum() / usual.sum()
    assert mean[0] == pytest.approx(4 * max(scale, 0.2))


def test_what_stopped_is_not_scaled_to_nothing():
    shape = np.where(np.arange(HOURS) % 24 < 12, 2.0, 6.0)
    usage = shape * step(HOURS, BILLED - 6, 1.0, 0.0)
    assert continued(usage) == pytest.approx(shape[LATE])


def test_charges_without_usage_go_on_too():
    found = estimated(Meter(None, None, 0.0, -3.0))
    assert found.cost[0].tolist() == pytest.approx([-3.0] * 10)


def test_at_the_very_first_hour_nothing_is_known():
    known = basis(Meter(None, "Batch", 7.0, 7.0), Meter("web", "Request", TRAFFIC, TRAFFIC))
    [found] = estimates(known, [0, 1], [Cutoff(0, 5)])
    assert found.usage.tolist() == [[0.0] * 5] * 2
    assert found.cost.tolist() == [[0.0] * 5] * 2
