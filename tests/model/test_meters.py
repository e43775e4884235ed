"""Meters: which follow calls, which an autoscaler keeps, which follow nothing."""

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed

from costwhy.model.autoscaler import AutoscalerRule
from costwhy.model.meters import MeterModel, first_active, learn

HOURS = 14 * 24
TRAFFIC = day_and_night(HOURS) * np.random.default_rng(1).lognormal(0, 0.05, HOURS)
WEB = {("web", None): TRAFFIC}


def learned(meter: Meter, calls=None, **more) -> MeterModel:
    o = observed(HOURS, WEB if calls is None else calls, [meter], **more)
    return learn(o, o.handled)[0]


def rule_of(instances: np.ndarray, calls: np.ndarray = TRAFFIC) -> AutoscalerRule | None:
    """The rule of a meter of instances of 0.5 units each."""
    meter = Meter("web", "BoxUsage", 0.5 * instances, instances, unit="Hrs")
    return learned(meter, {("web", None): calls}).rule


# ---------------------------------------------------------------- kinds


def test_usage_that_follows_the_calls_is_by_use():
    found = learned(Meter("web", "Request", 2 * TRAFFIC, TRAFFIC))
    assert found == MeterModel("use", transfer=False, service=0)


def test_storage_that_stands_still_is_by_time():
    found = learned(Meter("web", "Storage", 7.0, 7.0, unit="GB-Mo"))
    assert found == MeterModel("time", transfer=False, service=0)


@pytest.mark.parametrize(
    ("unit", "kind"),
    [("Hrs", "time"), ("GB-Mo", "time"), ("LCU-Hrs", "use"), ("Requests", "use"), (None, "use")],
)
def test_where_calls_do_not_move_the_unit_decides(unit, kind):
    assert learned(Meter("web", "X", 7.0, 7.0, unit=unit), {("web", None): 100.0}).kind == kind


def test_usage_while_nobody_calls_does_not_follow_calls():
    calls = np.where(np.arange(HOURS) % 24 < 12, TRAFFIC, 0.0)
    found = learned(Meter("web", "X", 7.0, 7.0), {("web", None): calls})
    assert found.kind == "time"


def test_the_hours_of_a_nightly_jobs_tasks_follow_its_runs():
    runs = np.where(np.arange(HOURS) % 24 == 2, 40.0, 0.0)
    job = {("report", "schedule:nightly"): runs}
    assert learned(Meter("report", "Fargate", 3 * runs, runs, unit="vCPU-Hours"), job).kind == "use"
    wild = 3 * runs * np.random.default_rng(1).lognormal(0, 0.5, HOURS)
    assert learned(Meter("report", "Fargate", wild, runs, unit="vCPU-Hours"), job).kind == "time"


def test_an_incident_that_moved_only_usage_tells_that_calls_do_not_drive_it():
    flat = np.full(HOURS, 100.0)
    usage = np.where(np.arange(HOURS) < 250, 7.0, 14.0)
    # calls flat, usage steps: usage per call steps as much, so the unit decides
    assert learned(Meter("web", "X", usage, usage), {("web", None): flat}).kind == "use"
    # calls step a quarter of the time and usage does not
    calls = np.where(np.arange(HOURS) < 250, 100.0, 300.0)
    assert learned(Meter("web", "X", 7.0, 7.0), {("web", None): calls}).kind == "time"
    # both step alike: usage per call stands still
    both = Meter("web", "X", 3 * calls, 3 * calls, unit="Hrs")
    assert learned(both, {("web", None): calls}).kind == "use"


def test_a_meter_without_usage_or_of_a_credit_is_unmetered():
    assert learned(Meter("web", "Support", 0.0, -3.0)).kind == "unmetered"
    credit = Meter("web", "Credit", 2 * TRAFFIC, TRAFFIC, category="Credit")
    assert learned(credit).kind == "unmetered"
    assert learned(Meter("web", "X", 2 * TRAFFIC, TRAFFIC, category=None)).kind == "use"


def test_a_meter_of_a_service_that_no_signal_counts_is_unlinked():
    assert learned(Meter("mail", "X", 2 * TRAFFIC, TRAFFIC)).kind == "unlinked"
    assert learned(Meter(None, "X", 2 * TRAFFIC, TRAFFIC)).kind == "unlinked"
    assert learned(Meter("web", "X", 1.0, 1.0), {("web", None): 0.0}).kind == "unlinked"


def test_all_meters_of_a_new_service_came_with_its_calls():
    new = np.where(np.arange(HOURS) < 200, 0.0, TRAFFIC)
    fixed = np.where(np.arange(HOURS) < 190, 0.0, 5.0)
    calls = {("new", None): new}
    assert learned(Meter("new", "Storage", fixed, fixed, unit="GB-Mo"), calls).kind == "use"
    older = np.where(np.arange(HOURS) < 150, 0.0, 5.0)
    assert learned(Meter("new", "Storage", older, older, unit="GB-Mo"), calls).kind == "time"


@pytest.mark.parametrize(
    ("usage_type", "transfer"),
    [
        ("EU-DataTransfer-Out-Bytes", True),
        ("USE1-EUW1-AWS-Out-Bytes", True),
        ("DataTransfer-xAZ-In", True),
        ("NatGateway-Bytes", True),
        ("Request", False),
        (None, False),
    ],
)
def test_bytes_between_places_are_known_by_the_usage_type(usage_type, transfer):
    assert learned(Meter("web", usage_type, 2 * TRAFFIC, TRAFFIC)).transfer == transfer


def test_bytes_to_one_far_caller_follow_its_edge():
    other = np.random.default_rng(1).lognormal(6, 0.5, HOURS)
    calls = {("web", None): TRAFFIC, ("api", None): other, ("db", "web"): 3 * TRAFFIC,
             ("db", "api"): other}  # fmt: skip
    o = observed(HOURS, calls, [Meter("db", "Out-Bytes", 6 * TRAFFIC, TRAFFIC)])
    [found] = learn(o, o.handled)
    assert (found.kind, o.edges[found.edge].caller) == ("use", "web")
    o = observed(HOURS, calls, [Meter("db", "Tasks", 6 * TRAFFIC, TRAFFIC, unit="Hrs")])
    assert learn(o, o.handled)[0].edge is None  # what is metered by time has no edge
    whole = Meter("db", "Out-Bytes", 6 * (3 * TRAFFIC + other), TRAFFIC)
    o = observed(HOURS, calls, [whole])
    assert learn(o, o.handled)[0].edge is None


def test_the_first_active_hour_is_the_first_above_zero():
    assert first_active(np.array([0.0, 0.0, 3.0, 0.0, 1.0])) == 2
    assert first_active(np.zeros(3)) == 0


# ---------------------------------------------------------------- the autoscaler's rule


def test_a_rule_keeps_what_it_says():
    rule = AutoscalerRule(floor=1, each=100, per_instance=0.5, hold=2)
    calls = np.array([0.0, 100, 101, 350, 50, 50, 50, 50])
    # ceil: 0 1 2 4 1 1 1 1; not under 1; the highest of three hours
    assert rule.instances(calls).tolist() == [1, 1, 2, 4, 4, 4, 1, 1]
    assert rule.usage(calls).tolist() == [0.5, 0.5, 1, 2, 2, 2, 0.5, 0.5]
    assert rule.instances(calls, 50.0).tolist() == [1, 2, 3, 7, 7, 7, 1, 1]


@pytest.mark.parametrize("hold", [0, 1, 2])
def test_a_rule_is_learned_and_reproduces_every_hour(hold):
    true = AutoscalerRule(5, 137, 0.5, hold)
    found = rule_of(true.instances(TRAFFIC))
    assert found is not None
    assert (found.floor, found.per_instance, found.match) == (5, 0.5, 1.0)
    assert found.each == pytest.approx(137, rel=0.01)
    assert (found.usage(TRAFFIC) == true.usage(TRAFFIC)).all()


def test_hours_that_a_rule_gets_wrong_lower_its_match():
    instances = AutoscalerRule(2, 137, 0.5, 0).instances(TRAFFIC)
    instances[100:134] += 3  # 34 of 336 hours
    found = rule_of(instances)
    assert found is not None
    assert found.match == pytest.approx(1 - 34 / 336, abs=0.01)
    assert found.each == pytest.approx(137, rel=0.02)


def test_instances_that_follow_no_rule_have_none():
    assert rule_of(np.random.default_rng(1).integers(1, 30, HOURS).astype(float)) is None
    assert rule_of(np.full(HOURS, 4.0)) is None  # always the same
    assert rule_of(10 + np.random.default_rng(1).normal(0, 1, HOURS)) is None  # no steps
    few = np.full(HOURS, 2.0)
    few[50:55] = 3.0  # five hours above the floor are too few
    assert rule_of(few) is None


def test_a_rule_knows_only_billed_hours():
    instances = AutoscalerRule(2, 137, 0.5, 0).instances(TRAFFIC)
    meter = Meter("web", "BoxUsage", 0.5 * instances, instances, unit="Hrs")
    found = learned(meter, billed=200)
    assert found.rule is not None
    assert found.rule.match == 1.0
