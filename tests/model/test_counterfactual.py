"""The bill with rates set back, and the dollars of each: small bills reckoned by hand."""

import numpy as np
import pytest
from drawn import Meter, observed

from costwhy.model.autoscaler import AutoscalerRule
from costwhy.model.baseline import Baseline, Window, calls_with, cost_with, dollars_alone, split
from costwhy.model.levels import Level
from costwhy.model.meters import MeterModel
from costwhy.model.rates import Model, Rate

HOURS = 8
WINDOW = Window(4, 8)


def model_of(calls, meters, kinds=None, retries=None) -> Model:
    """A model whose meters follow the calls as they are said to: nothing is learned."""
    o = observed(HOURS, calls, meters, retries=retries)
    usage = o.usage - o.covered
    price = np.divide(o.cost - o.covered_cost, usage, out=np.zeros_like(usage), where=usage > 0)
    covered_price = np.divide(
        o.covered_cost, o.covered, out=np.zeros_like(usage), where=o.covered > 0
    )
    by_use = [MeterModel("use", False, o.service_rows.get(m.service)) for m in meters]
    return Model(
        observed=o,
        handled=o.handled,
        meters=tuple(kinds or by_use),
        price=price,
        covered_price=covered_price,
        usage=o.usage,
        cost=o.cost,
        covered=o.covered,
        known_until=np.full(len(meters), HOURS),
        service_first_hour=np.zeros(len(o.services)),
        holidays=np.zeros_like(o.calls),
    )


def at(model: Model, kind: str, row: int, value: float, *, style="ratio", first=None) -> Baseline:
    """A rate's baseline: one value for all hours of the window."""
    level = Level(style, np.zeros(HOURS), 0.0, 0.0)
    edge = model.observed.edges[row] if row < len(model.observed.edges) else None
    service, caller = (edge.service, edge.caller) if edge else (None, None)
    rate = Rate(**vars(level), kind=kind, row=row, service=service, caller=caller,
                usage_type=None, first_hour=first)  # fmt: skip
    return Baseline(rate, np.full(4, value))


def total(array: np.ndarray) -> float:
    return round(float(array.sum()), 6)


# web: 100 calls from outside; api: 3 calls for each, of which a third are retries
CALLS = {("web", None): 100.0, ("api", "web"): 300.0}
RETRIES = {("api", "web"): 100.0}
WEB = Meter("web", "Request", 100.0, 50.0)  # 1 unit a call, $0.50 a unit
API = Meter("api", "Request", 600.0, 60.0)  # 2 units a call, $0.10 a unit
EDGE = {"api": 0, "web": 1}  # rows of the edges, by name


def shop(**more) -> Model:
    return model_of(CALLS, [WEB, API], retries=RETRIES, **more)


def test_what_is_set_back_to_what_it_was_changes_nothing():
    model = shop()
    same = [at(model, "demand", EDGE["web"], 100.0), at(model, "fan_out", EDGE["api"], 2.0),
            at(model, "retries", EDGE["api"], 1.5)]  # fmt: skip
    assert cost_with(model, WINDOW, same) == pytest.approx(model.cost[:, 4:])
    assert cost_with(model, WINDOW, []) == pytest.approx(model.cost[:, 4:])
    assert split(model, WINDOW, []) == []


def test_less_demand_costs_less_all_the_way_down():
    model = shop()
    # 80 calls: web 80 x $0.50 = $40, api 240 x 2 x $0.10 = $48
    cost = cost_with(model, WINDOW, [at(model, "demand", EDGE["web"], 80.0)])
    assert cost.tolist() == [[pytest.approx(40.0)] * 4, [pytest.approx(48.0)] * 4]
    calls, handled = calls_with(model, WINDOW, [at(model, "demand", EDGE["web"], 80.0)])
    assert calls[:, 0].tolist() == pytest.approx([240.0, 80.0])
    assert handled[:, 0].tolist() == pytest.approx([240.0, 80.0])


def test_without_retries_only_the_called_service_costs_less():
    model = shop()
    # 200 first attempts: api 200 x 2 x $0.10 = $40 instead of $60
    cost = cost_with(model, WINDOW, [at(model, "retries", EDGE["api"], 1.0)])
    assert cost.tolist() == [[pytest.approx(50.0)] * 4, [pytest.approx(40.0)] * 4]
    assert dollars_alone(model, WINDOW, at(model, "retries", EDGE["api"], 1.0)) == pytest.approx(80)


def test_two_rates_that_moved_together_share_what_both_made():
    model = shop()
    both = [at(model, "demand", EDGE["web"], 50.0), at(model, "retries", EDGE["api"], 1.0)]
    # demand first: web 25, api 30; then retries: api 10. Retries first: api 20; then demand:
    # web 25, api 20. The mean: demand 25 + 25, retries 15, an hour
    demand, retries = split(model, WINDOW, both)
    assert (total(demand), total(retries)) == (4 * 50.0, 4 * 15.0)
    assert total(demand + retries) == total(model.cost[:, 4:] - cost_with(model, WINDOW, both))


def test_of_three_rates_the_two_orders_are_averaged():
    model = shop()
    rates = [
        at(model, "demand", 1, 50.0),
        at(model, "retries", 0, 1.0),
        at(model, "fan_out", 0, 1.0),
    ]
    # api $60: demand 30, retries 10, fan-out 10; backwards fan-out 30, retries 10, demand 10
    api = [total(part[1]) / 4 for part in split(model, WINDOW, rates)]
    assert api == pytest.approx([20.0, 10.0, 20.0])


def test_usage_per_call_and_price_move_their_own_meter():
    model = shop()
    assert dollars_alone(model, WINDOW, at(model, "usage_per_call", 1, 1.5)) == pytest.approx(
        4 * 15
    )
    assert dollars_alone(model, WINDOW, at(model, "unit_price", 0, 0.4)) == pytest.approx(4 * 10)


def test_a_meter_that_began_in_the_window_has_all_its_dollars():
    model = shop()
    new = at(model, "usage_per_call", 1, 0.0, first=4)
    demand, own = split(model, WINDOW, [at(model, "demand", EDGE["web"], 50.0), new])
    assert total(own) == 4 * 60.0  # first of all, with all calls
    assert total(demand) == 4 * 25.0


def test_a_price_change_is_not_a_new_meter():
    model = shop()
    price = at(model, "unit_price", 1, 0.05, first=4)
    demand, own = split(model, WINDOW, [at(model, "demand", EDGE["web"], 50.0), price])
    # api $60: demand 30 and price 15, or price 30 and demand 15
    assert (total(demand) / 4, total(own) / 4) == (25.0 + 22.5, 22.5)


def test_a_timer_is_set_back_to_its_runs():
    runs = np.array([0, 0, 0, 0, 8, 8, 8, 8.0])
    model = model_of({("job", "schedule:n"): runs}, [Meter("job", "Task", 2 * runs, 4 * runs)])
    assert dollars_alone(model, WINDOW, at(model, "schedule", 0, 1.0)) == pytest.approx(4 * 28)


# ---------------------------------------------------------------- commitments


def test_covered_usage_is_paid_at_its_own_price_as_far_as_it_is_used():
    # 600 units, 500 of them covered at $0.05, the rest at $0.10: $35
    covered = Meter("api", "Request", 600.0, 35.0, covered=500.0, covered_cost=25.0)
    model = model_of(CALLS, [WEB, covered], retries=RETRIES)
    # without retries 400 units, all covered: $20
    assert dollars_alone(model, WINDOW, at(model, "retries", 0, 1.0)) == pytest.approx(4 * 15)
    # a commitment of 200: 200 x 0.05 + 400 x 0.10 = $50, so the larger one saved 15
    less = at(model, "unit_price", 1, 200.0, style="amount")
    assert dollars_alone(model, WINDOW, less) == pytest.approx(4 * -15)
    # on-demand price of $0.20: 25 + 20 = $45
    assert dollars_alone(model, WINDOW, at(model, "unit_price", 1, 0.2)) == pytest.approx(4 * -10)
    # both: a commitment covers no more than is used
    more = at(model, "unit_price", 1, 9000.0, style="amount")
    assert dollars_alone(model, WINDOW, more) == pytest.approx(4 * 5)


# ---------------------------------------------------------------- what does not follow calls


def test_charges_without_usage_are_set_back_as_they_are():
    model = model_of(CALLS, [Meter(None, None, 0.0, -9.0)], [MeterModel("unmetered", False)])
    assert dollars_alone(model, WINDOW, at(model, "unmetered", 0, -3.0)) == pytest.approx(4 * -6)


def test_unlinked_usage_is_set_back_at_its_price():
    model = model_of(CALLS, [Meter(None, "Batch", 9.0, 27.0)], [MeterModel("unlinked", False)])
    assert dollars_alone(model, WINDOW, at(model, "unlinked_usage", 0, 7.0)) == pytest.approx(4 * 6)


def test_storage_does_not_follow_calls():
    meters = [Meter("web", "Storage", 9.0, 27.0)]
    model = model_of(CALLS, meters, [MeterModel("time", False, 1)])
    assert dollars_alone(model, WINDOW, at(model, "demand", EDGE["web"], 10.0)) == pytest.approx(0)
    assert dollars_alone(model, WINDOW, at(model, "capacity", 0, 7.0)) == pytest.approx(4 * 6)


# ---------------------------------------------------------------- autoscalers


def scaled(calls: np.ndarray, extra: float, hold: int) -> Model:
    """One instance for each 10 calls, at least 2, at $3, and some more than that."""
    rule = AutoscalerRule(floor=2, each=10, per_instance=1, hold=hold)
    usage = rule.usage(calls) + extra
    meters = [Meter("web", "BoxUsage", usage, 3 * usage)]
    return model_of({("web", None): calls}, meters, [MeterModel("time", False, 0, rule=rule)])


def test_an_autoscaler_follows_the_calls_in_steps():
    model = scaled(np.full(HOURS, 95.0), extra=0.0, hold=0)
    # 10 instances; 61 calls need 7; 3 calls need the floor of 2
    assert dollars_alone(model, WINDOW, at(model, "demand", 0, 61.0)) == pytest.approx(4 * 9)
    assert dollars_alone(model, WINDOW, at(model, "demand", 0, 3.0)) == pytest.approx(4 * 24)


def test_capacity_beyond_the_rule_stays_beside_fewer_calls():
    model = scaled(np.full(HOURS, 95.0), extra=5.0, hold=0)
    demand, capacity = split(
        model, WINDOW, [at(model, "demand", 0, 61.0), at(model, "capacity", 0, 1.0)]
    )
    assert (total(demand), total(capacity)) == (4 * 9.0, 4 * 12.0)


def test_an_autoscaler_still_holds_what_the_hours_before_the_window_had():
    calls = np.where(np.arange(HOURS) < 4, 95.0, 45.0)
    model = scaled(calls, extra=0.0, hold=2)
    # 5 instances for 45 calls, 3 for 25; but 10 in the first two hours whatever the calls
    assert dollars_alone(model, WINDOW, at(model, "demand", 0, 25.0)) == pytest.approx(2 * 2 * 3)


# ---------------------------------------------------------------- one edge, circles


def test_bytes_to_one_caller_follow_the_calls_of_its_edge():
    calls = {("db", None): 50.0, ("db", "web"): 200.0, ("web", None): 100.0}
    meters = [Meter("db", "Out-Bytes", 400.0, 40.0)]
    follows = MeterModel("use", True, 0, edge=1)
    model = model_of(calls, meters, [follows])
    # fan-out of 1 instead of 2: half of the bytes; the calls from outside have none
    assert dollars_alone(model, WINDOW, at(model, "fan_out", 1, 1.0)) == pytest.approx(4 * 20)
    assert dollars_alone(model, WINDOW, at(model, "demand", 0, 10.0)) == pytest.approx(0)
    assert dollars_alone(model, WINDOW, at(model, "cross_region", 0, 1.5)) == pytest.approx(4 * 10)


def test_rates_that_would_make_a_circle_gain_leave_the_calls_as_they_were():
    calls = {("a", None): 100.0, ("a", "b"): 50.0, ("b", "a"): 75.0}
    model = model_of(calls, [Meter("a", "X", 150.0, 150.0)])
    wild = at(model, "fan_out", 2, 2.0)  # each a calls b twice, and b calls a 2/3 times
    assert dollars_alone(model, WINDOW, wild) == pytest.approx(0.0)
    assert dollars_alone(model, WINDOW, at(model, "fan_out", 2, 0.0)) == pytest.approx(4 * 50)


def test_an_hour_without_calls_keeps_its_usage():
    calls = np.array([9, 9, 9, 9, 9, 0, 9, 9.0])
    model = model_of({("web", None): calls}, [Meter("web", "Request", 18.0, 18.0)])
    cost = cost_with(model, WINDOW, [at(model, "demand", 0, 4.5)])
    assert cost[0].tolist() == pytest.approx([9.0, 18.0, 9.0, 9.0])


def test_an_hour_in_which_the_caller_had_no_calls_keeps_its_calls():
    web = np.array([9, 9, 9, 9, 9, 0, 9, 9.0])
    calls = {("web", None): web, ("api", "web"): np.full(HOURS, 18.0)}
    model = model_of(calls, [Meter("api", "Request", 18.0, 18.0)])
    cost = cost_with(model, WINDOW, [at(model, "fan_out", 0, 1.0)])
    assert cost[0].tolist() == pytest.approx([9.0, 18.0, 9.0, 9.0])
