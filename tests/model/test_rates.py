"""Rates: which there are, what each is a fraction of, and from which hour on."""

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed, step

from costwhy.model.rates import Model, Rate, fit

HOURS = 28 * 24
TRAFFIC = day_and_night(HOURS) * np.random.default_rng(1).lognormal(0, 0.002, HOURS)
NIGHTLY = np.where(np.arange(HOURS) % 24 == 2, 40.0, 0.0)
CALLS = {
    ("web", None): TRAFFIC,
    ("api", "web"): 2.2 * TRAFFIC,  # 2 first attempts for each call, 1.1 attempts for each
    ("report", "schedule:nightly"): NIGHTLY,
}
RETRIES = {("api", "web"): 0.2 * TRAFFIC}


def model_of(*meters: Meter, calls=CALLS, **more) -> Model:
    return fit(observed(HOURS, calls, meters, retries=RETRIES, **more))


def rates_of(model: Model, kind: str) -> list[Rate]:
    return [rate for rate in model.rates if rate.kind == kind]


def names(model: Model) -> list[tuple]:
    return [rate.name for rate in model.rates]


# ---------------------------------------------------------------- which rates there are


def test_an_edge_has_the_rates_of_its_caller():
    assert names(model_of()) == [
        ("fan_out", "api", "web", None),
        ("retries", "api", "web", None),
        ("schedule", "report", "schedule:nightly", None),
        ("demand", "web", None, None),
    ]


@pytest.mark.parametrize(
    ("meter", "kinds"),
    [
        (Meter("web", "Request", 2 * TRAFFIC, TRAFFIC), ["usage_per_call", "unit_price"]),
        (Meter("web", "Out-Bytes", 2 * TRAFFIC, TRAFFIC), ["cross_region", "unit_price"]),
        (Meter("web", "Storage", 7.0, 7.0, unit="GB-Mo"), ["capacity", "unit_price"]),
        (Meter("web", "xAZ", 7.0, 7.0, unit="GB-Mo"), ["cross_region", "unit_price"]),
        (Meter(None, "Batch", 7.0, 7.0), ["unlinked_usage", "unit_price"]),
        (Meter(None, None, 0.0, -3.0), ["unmetered"]),
        (Meter(None, None, 0.0, np.where(np.arange(HOURS) % 3 == 0, 5.0, 0.0)), []),  # a fee
    ],
)
def test_a_meter_has_the_rate_of_how_it_is_metered_and_its_price(meter, kinds):
    assert [rate.kind for rate in model_of(meter).rates[4:]] == kinds


def test_a_covered_meter_has_a_rate_of_its_commitment():
    meter = Meter("web", "Request", 2 * TRAFFIC, TRAFFIC, covered=500.0, covered_cost=100.0)
    price, commitment = rates_of(model_of(meter), "unit_price")
    assert (price.style, price.of_commitment) == ("ratio", False)
    assert (commitment.style, commitment.of_commitment) == ("amount", True)


def test_charges_without_usage_name_no_service():
    model = model_of(Meter("web", "Support", 0.0, -3.0))
    assert rates_of(model, "unmetered")[0].name == ("unmetered", None, None, None)


# ---------------------------------------------------------------- what each is


def parts(model: Model, kind: str) -> float:
    rate = rates_of(model, kind)[0]
    top, bottom = model.parts(kind, rate.row)
    assert top.shape == bottom.shape == (HOURS,)
    return float(top[10] / bottom[10])


def test_calls_are_over_those_that_made_them():
    model = model_of()
    assert parts(model, "fan_out") == pytest.approx(2.0)
    assert parts(model, "retries") == pytest.approx(1.1)
    assert parts(model, "demand") == pytest.approx(TRAFFIC[10])
    assert parts(model, "schedule") == NIGHTLY[10]


def test_a_level_of_a_ratio_is_its_logarithm():
    model = model_of(Meter("web", "Request", 3 * TRAFFIC, 6 * TRAFFIC))
    for kind, value in (("fan_out", 2), ("retries", 1.1), ("usage_per_call", 3), ("unit_price", 2)):
        assert rates_of(model, kind)[0].level == pytest.approx(np.full(HOURS, np.log(value)))


def test_usage_is_over_the_calls_that_it_follows():
    model = model_of(Meter("api", "Request", 3 * 2.2 * TRAFFIC, TRAFFIC))
    assert parts(model, "usage_per_call") == pytest.approx(3.0)


def test_capacity_is_what_the_rule_does_not_explain():
    instances = np.maximum(5, np.ceil(TRAFFIC / 137))
    extra = step(HOURS, 660, 0.0, 4.0)
    meter = Meter("web", "BoxUsage", instances + extra, instances, unit="Hrs")
    model = model_of(meter)
    [rate] = rates_of(model, "capacity")
    top, _ = model.parts("capacity", rate.row)
    assert top == pytest.approx(extra)
    assert rate.level == pytest.approx(extra / (instances + extra).mean())


def test_a_timers_level_is_its_runs_of_the_last_24_hours_over_their_mean():
    [rate] = rates_of(model_of(calls={**CALLS, ("report", "schedule:nightly"): 40.0}), "schedule")
    assert rate.level == pytest.approx(np.zeros(HOURS))  # 40 x 24 a day always, less the season
    twice = np.where(np.arange(HOURS) < 240, NIGHTLY, 2 * NIGHTLY)
    [rate] = rates_of(model_of(calls={**CALLS, ("report", "schedule:nightly"): twice}), "schedule")
    # 40 runs in the last 24 hours, 80 from the run of hour 242 on; the mean is (10 x 40 + 18 x 80) / 28 = 66
    assert rate.level[241] == pytest.approx(rate.level[230])
    assert rate.level[242] - rate.level[241] == pytest.approx(40 / 66, rel=0.05)


def test_a_price_is_known_where_something_was_bought_on_demand():
    usage = np.where(np.arange(HOURS) % 2 == 0, 600.0, 400.0)
    covered = np.minimum(usage, 500.0)
    cost = (usage - covered) * 3 + covered
    meter = Meter("web", "Request", usage, cost, covered=covered, covered_cost=covered)
    price, commitment = rates_of(model_of(meter), "unit_price")
    assert price.level[::2] == pytest.approx(np.full(HOURS // 2, np.log(3)))
    assert np.isnan(price.level[1::2]).all()
    assert commitment.level == pytest.approx(np.zeros(HOURS))  # 500 each hour, less the season


def test_what_is_not_billed_is_not_known():
    meters = Meter("web", "Request", 2 * TRAFFIC, TRAFFIC), Meter(None, "Batch", 7.0, 7.0)
    model = model_of(*meters, billed=HOURS - 12)
    for kind in ("usage_per_call", "unit_price", "unlinked_usage"):
        for rate in rates_of(model, kind):
            assert np.flatnonzero(np.isnan(rate.level)).tolist() == list(range(HOURS - 12, HOURS))
    assert np.isfinite(rates_of(model, "fan_out")[0].level).all()  # signals are not late


def test_instances_that_a_signal_counts_are_known_before_they_are_billed():
    instances = np.maximum(5, np.ceil(TRAFFIC / 137))
    meter = Meter("web", "BoxUsage", instances, instances, unit="Hrs")
    model = model_of(meter, billed=HOURS - 12, capacity={"web": instances})
    assert np.isfinite(rates_of(model, "capacity")[0].level).all()
    assert model.usage[0] == pytest.approx(instances)


# ---------------------------------------------------------------- what is new

LATE = step(HOURS, 200, 0.0, 1.0)


def test_a_rate_that_begins_after_three_days_has_a_first_hour():
    calls = {**CALLS, ("api", "mobile"): LATE * TRAFFIC, ("mobile", None): TRAFFIC}
    model = model_of(Meter(None, "Batch", 7 * LATE, 7 * LATE), calls=calls)
    first = {rate.name: rate.first_hour for rate in model.rates}
    assert first["fan_out", "api", "mobile", None] == 200
    assert first["retries", "api", "mobile", None] is None  # no calls, no attempts
    assert first["fan_out", "api", "web", None] is None
    assert first["unlinked_usage", None, None, "Batch"] == 200
    early = step(HOURS, 72, 0.0, 1.0)
    model = model_of(Meter(None, "Batch", early, early))
    assert rates_of(model, "unlinked_usage")[0].first_hour is None


def test_a_new_timer_is_counted_by_the_hour():
    calls = {**CALLS, ("report", "schedule:new"): 40.0 * LATE}
    rate = next(r for r in model_of(calls=calls).rates if r.caller == "schedule:new")
    assert rate.first_hour == 200
    # over its mean, without a season: 0, then HOURS / (HOURS - 200)
    assert rate.level[[199, 200]] == pytest.approx([0.0, HOURS / (HOURS - 200)])


def test_calls_and_usage_of_a_new_service_go_with_the_edge_that_calls_it():
    calls = {**CALLS, ("new", "web"): LATE * TRAFFIC, ("api", "new"): 2 * LATE * TRAFFIC}
    usage = 3 * LATE * TRAFFIC
    meters = Meter("new", "Request", usage, usage), Meter("new", "xAZ-Bytes", usage, usage)
    found = names(model_of(*meters, calls=calls))
    assert ("fan_out", "new", "web", None) in found
    assert ("fan_out", "api", "new", None) not in found
    assert ("usage_per_call", "new", None, "Request") not in found
    assert ("cross_region", "new", None, "xAZ-Bytes") in found  # bytes between places stay apart


def test_a_meter_that_begins_a_day_after_its_service_is_its_own():
    calls = {**CALLS, ("new", "web"): LATE * TRAFFIC}
    for begin, own in ((224, False), (225, True)):
        usage = step(HOURS, begin, 0.0, 1.0) * 3 * TRAFFIC
        found = names(model_of(Meter("new", "Request", usage, usage), calls=calls))
        assert (("usage_per_call", "new", None, "Request") in found) == own


# ---------------------------------------------------------------- holidays

SMOOTH = day_and_night(HOURS)


def holidays(*drops: float) -> list[float]:
    """What the ninth day takes off the traffic of each of some entries, which drop so far."""
    day = np.arange(HOURS) // 24 == 8
    calls = {(f"e{k}", None): SMOOTH * np.where(day, np.exp(-d), 1.0) for k, d in enumerate(drops)}
    found = model_of(calls=calls).holidays
    assert (found[:, ~day] == 0).all()
    return found[:, day].mean(axis=1).round(6).tolist()


def test_a_holiday_takes_off_what_it_takes_off_the_others():
    assert holidays(0.3, 0.2, 0.2) == pytest.approx([-0.2, -0.25, -0.25])


def test_one_entry_alone_has_no_holiday():
    assert holidays(0.3) == [0.0]
    assert holidays(0.3, 0.0) == [0.0, 0.0]  # the one drops alone, the other not at all
    assert holidays(0.3, 0.3, 0.0, 0.0) == [0.0] * 4  # a third of the others is no half
    assert holidays(0.3, 0.3, 0.0) == pytest.approx([-0.3, -0.3, 0.0])


def test_a_small_drop_is_no_holiday():
    assert holidays(0.07, 0.07) == [0.0, 0.0]
    assert holidays(0.09, 0.09) == pytest.approx([-0.09, -0.09])


def test_demand_is_without_its_holidays():
    day = np.arange(HOURS) // 24 == 8
    calls = {(f"e{k}", None): SMOOTH * np.where(day, 0.7, 1.0) for k in range(3)}
    for rate in model_of(calls=calls).rates:
        assert rate.level == pytest.approx(np.zeros(HOURS), abs=1e-9)
