"""What each piece of evidence adds to the logarithm of a change's weight, by the formula."""

from dataclasses import replace
from datetime import timedelta
from math import exp, log
from typing import Any

import numpy as np
import pytest
from drawn_changes import ONSET, change, known, onset, rate

from costwhy.behaviours import BY_KIND, CHANGE_KINDS
from costwhy.causes.changes import STORED_MECHANISM, MovedRate, Onset, gather
from costwhy.causes.triggers import WEIGHTS, Weights, log_none, log_weights, rank_triggers

USUAL = 0.5  # of a change that is alone: half of itself, in a day


def logs(
    *changes: dict[str, Any], at: Onset | None = None, weights: Weights = WEIGHTS
) -> dict[str, float]:
    """The logarithm of each change's weight, by its id."""
    at = at or onset()
    made = known(*changes)
    evidence = gather(made, at)
    values, _ = log_weights(made, at, evidence, weights)
    return dict(zip(made.rows["change_id"][evidence.near].to_list(), values.tolist(), strict=True))


def fit(kind: str, doing: str) -> float:
    return dict(zip(CHANGE_KINDS, BY_KIND[kind].mechanism, strict=True))[doing]


def when(hours: float) -> float:
    return log(exp(-hours / WEIGHTS.soon) + exp(WEIGHTS.slow - hours / 24))


BASE = when(0) - WEIGHTS.rare * log(USUAL)  # of a deployment of the caller in the hour of the onset


def test_a_deployment_of_the_caller_in_the_hour_of_the_onset_is_the_base_of_all_below():
    assert logs(change()) == pytest.approx({"c": BASE})


@pytest.mark.parametrize("hours", [0.5, 3.0, 30.0, 71.9])
def test_the_longer_before_the_onset_the_less_by_the_hour_and_by_the_day(hours: float):
    found = logs(change(hours_before=hours))["c"]
    assert found == pytest.approx(BASE - when(0) + when(hours))
    assert found < BASE


def test_only_the_three_days_before_and_the_hours_of_the_onset_are_looked_at():
    """-72.1 h  |-72 h ... onset ... +1 h|  +1.1 h"""
    hours = {"too_early": 72.1, "first": 72.0, "in_it": -0.9, "after": -1.1}
    assert set(logs(*(change(name, h) for name, h in hours.items()))) == {"first", "in_it"}


def test_an_onset_that_is_known_to_four_hours_has_no_lag_within_them():
    at = onset(since=ONSET, start=ONSET + timedelta(hours=2), blur=timedelta(hours=4))
    assert logs(change(hours_before=-5.9), at=at)["c"] == pytest.approx(BASE)
    assert logs(change(hours_before=1.0), at=at)["c"] == pytest.approx(BASE - when(0) + when(1))


@pytest.mark.parametrize(
    ("service", "less"),
    [
        ("checkout", 0.0),  # the caller that repeats its calls
        ("inventory", WEIGHTS.callee),  # the service that is called
        ("search", WEIGHTS.upstream),  # which calls the caller
        ("jobs", WEIGHTS.elsewhere),
        (None, WEIGHTS.elsewhere),  # in the same account, which repeats no call
    ],
)
def test_the_farther_from_the_caller_that_amplified_the_less(service: str | None, less: float):
    assert logs(change(service=service))["c"] == pytest.approx(BASE + less)


@pytest.mark.parametrize(
    ("service", "less"),
    [("inventory", 0.0), ("checkout", WEIGHTS.upstream), ("search", WEIGHTS.elsewhere)],
)
def test_usage_of_a_service_is_changed_there_or_upstream(service: str, less: float):
    at = onset(rate("usage_per_call"))
    assert logs(change(service=service), at=at)["c"] == pytest.approx(BASE + less)


def test_the_service_that_a_timer_calls_is_where_a_schedule_is_changed():
    at = onset(rate("schedule", "jobs", caller="schedule:nightly"))
    found = logs(change(service="jobs", kind="schedule"), at=at)["c"]
    assert found == pytest.approx(BASE + WEIGHTS.mechanism * log(fit("schedule", "schedule")))


@pytest.mark.parametrize(
    ("account", "less"),
    [("1", WEIGHTS.account), ("2", WEIGHTS.elsewhere), (None, WEIGHTS.elsewhere)],
)
def test_a_price_may_change_by_a_change_in_the_same_account_that_names_no_service(
    account: str | None, less: float
):
    at = onset(rate("unit_price"))
    found = logs(change(service=None, account=account, kind="commitment"), at=at)["c"]
    assert found == pytest.approx(
        BASE + less + WEIGHTS.mechanism * log(fit("unit_price", "commitment"))
    )


def test_a_change_of_a_known_service_elsewhere_is_not_the_accounts():
    at = onset(rate("unit_price"))
    found = logs(change(service="jobs", kind="commitment"), at=at)["c"]
    mechanism = WEIGHTS.mechanism * log(fit("unit_price", "commitment"))
    assert found == pytest.approx(BASE + WEIGHTS.elsewhere + mechanism)


def test_a_change_that_names_a_new_resource_is_at_the_place_whatever_it_touched():
    at = onset(
        rate("usage_per_call"), resources=frozenset({"arn:aws:ec2:eu-west-1:1:instance/i-0abc1234"})
    )
    named = logs(change(service="jobs", after='{"id":"i-0abc1234"}'), at=at)["c"]
    short = onset(
        rate("usage_per_call"), resources=frozenset({"arn:aws:ec2:eu-west-1:1:instance/i-0ab"})
    )
    unnamed = logs(change(service="jobs", after='{"id":"i-0ab"}'), at=short)["c"]
    assert named == pytest.approx(BASE)
    assert unnamed == pytest.approx(BASE + WEIGHTS.elsewhere)  # five letters are found by chance


def test_only_the_first_changes_of_a_new_service_began_it():
    """jobs is new: first  ...  20 min ...  with_it | later"""
    at = onset(rate("usage_per_call"), newborn=frozenset({"jobs"}))
    hours = {"first": 2.0, "with_it": 2.0 - 19 / 60, "later": 2.0 - 21 / 60}
    found = logs(*(change(name, h, service="jobs") for name, h in hours.items()), at=at)
    rarity = -WEIGHTS.rare * log(2.5)  # three changes in a day, less half
    assert found["first"] == pytest.approx(when(2) + rarity)
    assert found["with_it"] == pytest.approx(when(hours["with_it"]) + rarity)
    assert found["later"] == pytest.approx(when(hours["later"]) + rarity + WEIGHTS.elsewhere)


@pytest.mark.parametrize(
    "doing", ["deploy", "config", "scaling", "delete", "commitment", "something new"]
)
def test_the_worse_its_kind_fits_the_behaviour_the_less(doing: str):
    fits = fit("retries", doing if doing in CHANGE_KINDS else "other")
    assert logs(change(kind=doing))["c"] == pytest.approx(BASE + WEIGHTS.mechanism * log(fits))


def test_capacity_of_stored_bytes_has_a_mechanism_of_its_own():
    stored, instances = (
        onset(rate("capacity", usage_type=usage))
        for usage in ("EBS:VolumeUsage.gp3", "BoxUsage:m5")
    )
    rule = change(service="inventory", kind="config", event="s3.amazonaws.com:PutBucketLifecycle")
    keeping = dict(zip(CHANGE_KINDS, STORED_MECHANISM, strict=True))["keeping"]
    assert logs(rule, at=stored)["c"] == pytest.approx(BASE + WEIGHTS.mechanism * log(keeping))
    assert logs(rule, at=instances)["c"] == pytest.approx(
        BASE + WEIGHTS.mechanism * log(fit("capacity", "keeping"))
    )


def test_the_more_usual_a_change_is_there_the_less():
    """checkout is deployed six times in five days: 5.5 / 5 a day; search once: 0.5 / 5 a day"""
    usual = [change(f"usual-{k}", 120.0 - 24 * k) for k in range(5)]
    found = logs(*usual, change("c"), change("rare", service="search"))
    assert found["c"] == pytest.approx(when(0) - WEIGHTS.rare * log(5.5 / 5))
    assert found["rare"] == pytest.approx(when(0) - WEIGHTS.rare * log(0.5 / 5) + WEIGHTS.upstream)


def test_a_change_outside_production_counts_less():
    assert logs(change(environment="staging"))["c"] == pytest.approx(
        BASE + WEIGHTS.outside_production
    )
    assert (
        logs(change(environment="prod"))["c"]
        == logs(change(environment=None))["c"]
        == pytest.approx(BASE)
    )


CALL = {"kind": "config", "event": "ssm.amazonaws.com:PutParameter"}


@pytest.mark.parametrize(
    ("first", "second", "hours_after_end", "counts"),
    [
        ({}, {"kind": "rollback"}, 0.0, True),
        ({}, {"kind": "rollback", "service": "search"}, 0.0, False),
        ({}, {}, 0.0, False),  # a second deployment takes nothing back
        (CALL, CALL, 0.0, True),  # the same call once more
        (CALL, {**CALL, "event": "ssm.amazonaws.com:DeleteParameter"}, 0.0, False),
        ({"service": None}, {"service": None, "kind": "rollback"}, 0.0, False),
        ({}, {"kind": "rollback"}, 1.9, True),
        ({}, {"kind": "rollback"}, 2.1, False),
        ({}, {"kind": "rollback"}, -2.9, True),
        ({}, {"kind": "rollback"}, -3.1, False),
    ],
)
def test_a_change_taken_back_around_the_end_counts_more(
    first: dict[str, Any], second: dict[str, Any], hours_after_end: float, *, counts: bool
):
    end = 30  # hours after the onset
    rows = (change("c", **first), change("back", -end - hours_after_end, **second))
    ended, running = (
        logs(*rows, at=onset(end=when_it_ended))["c"]
        for when_it_ended in (ONSET + timedelta(hours=end), None)
    )
    assert ended - running == pytest.approx(WEIGHTS.undone if counts else 0.0)


def test_what_was_planned_counts_more_where_traffic_moved_and_waits_for_people():
    plan = change(hours_before=6.0, planned_reason="launch", service="inventory")
    traffic, retries = (logs(plan, at=onset(rate(kind)))["c"] for kind in ("demand", "retries"))
    late = -6.0 / 24 - WEIGHTS.rare * log(USUAL)  # by the day alone: it is announced beforehand
    assert traffic == pytest.approx(
        late + WEIGHTS.planned + WEIGHTS.mechanism * log(fit("demand", "deploy"))
    )
    assert retries == pytest.approx(late + WEIGHTS.callee)


def test_a_change_counts_by_the_rate_that_it_explains_best_with_that_rates_share():
    at = onset(rate(share=0.25), rate("usage_per_call", "search", share=0.75))
    made = known(change("caller"), change("usage", service="search"))
    values, best = log_weights(made, at, gather(made, at), WEIGHTS)
    assert values.tolist() == pytest.approx([BASE + log(0.25), BASE + log(0.75)])
    assert best.tolist() == [0, 1]


# ---------------------------------------------------------------- probabilities


def test_a_probability_is_a_weight_over_all_weights_and_that_of_no_recorded_change():
    rows = [
        change("caller", 1.0),
        change("callee", 2.0, service="inventory"),
        change("far", 5.0, service="jobs"),
    ]
    weight = {name: exp(value) for name, value in logs(*rows).items()}
    total = sum(weight.values()) + exp(WEIGHTS.none)
    ranked = rank_triggers(known(*rows), onset())
    shown = dict(ranked.triggers.select("change_id", "probability").iter_rows())
    assert shown == pytest.approx(
        {name: w / total for name, w in weight.items() if w / total >= 0.005}
    )
    assert ranked.no_recorded_change == pytest.approx(exp(WEIGHTS.none) / total)
    assert list(shown) == sorted(shown, key=lambda name: -shown[name])


@pytest.mark.parametrize(
    ("rates", "weight"),
    [
        ((rate(),), exp(WEIGHTS.none)),
        ((rate("demand"),), exp(WEIGHTS.none_demand)),
        ((rate("unit_price"),), exp(WEIGHTS.none_price)),
        ((rate("unmetered"),), exp(WEIGHTS.none_price)),
        (
            (rate(share=0.6), rate("demand", share=0.2)),
            0.75 * exp(WEIGHTS.none) + 0.25 * exp(WEIGHTS.none_demand),
        ),
        ((), exp(WEIGHTS.none)),
    ],
)
def test_no_recorded_change_weighs_what_such_behaviours_do_without_one(
    rates: tuple[MovedRate, ...], weight: float
):
    at = replace(onset(), rates=rates)
    assert log_none(at, WEIGHTS) == pytest.approx(log(weight))


def test_a_spike_that_nothing_moved_has_no_trigger():
    ranked = rank_triggers(known(change()), replace(onset(), rates=()))
    assert ranked.triggers.is_empty()
    assert ranked.no_recorded_change == 1.0


def test_eight_triggers_are_listed_and_the_rest_keep_their_share():
    rows = [change(f"c{k:02}", service="checkout", actor=f"a{k}") for k in range(60)]
    ranked = rank_triggers(known(*rows), onset(), replace(WEIGHTS, rare=0.0, none=-50.0))
    assert ranked.triggers["probability"].to_list() == pytest.approx([1 / 60] * 8)
    assert ranked.triggers["change_id"].to_list() == [f"c{k:02}" for k in range(8)]  # equal: by id


def test_what_is_less_probable_than_half_a_per_cent_is_not_listed():
    rows = [change("c"), change("unlikely", service="jobs")]
    ranked = rank_triggers(known(*rows), onset())
    assert ranked.triggers["change_id"].to_list() == ["c"]
    assert (
        ranked.triggers["probability"][0] + ranked.no_recorded_change < 1
    )  # its share is not given away


def test_probabilities_are_never_more_than_one_whatever_the_changes():
    rng = np.random.default_rng(5)
    for _ in range(20):
        kinds = rng.choice(CHANGE_KINDS, 30)
        services = rng.choice(["checkout", "inventory", "search", "jobs"], 30)
        rows = [
            change(
                f"c{k}",
                float(rng.uniform(-2, 73)),
                kind=str(kind),
                service=str(service),
                source=str(rng.choice(["cdevents", "cloudtrail"])),
            )
            for k, (kind, service) in enumerate(zip(kinds, services, strict=True))
        ]
        ranked = rank_triggers(known(*rows), onset())
        assert 0 < ranked.triggers["probability"].sum() + ranked.no_recorded_change <= 1 + 1e-12
        assert ranked.triggers["probability"].is_between(0, 1).all()


# ---------------------------------------------------------------- one decision


EVENT = change("event", 0.50, summary="checkout 1.2", url="https://ci.example/7")
RECORD = change(
    "record",
    0.55,
    source="cloudtrail",
    event="ecs.amazonaws.com:UpdateService",
    actor="ci",
    actor_kind="pipeline",
    summary="UpdateService",
)


def test_two_records_of_one_decision_are_one_trigger_with_half_of_the_second_weight():
    weight = {name: exp(value) for name, value in logs(EVENT, RECORD).items()}
    first, second = sorted(weight.values(), reverse=True)
    ranked = rank_triggers(known(EVENT, RECORD), onset())
    [row] = ranked.triggers.to_dicts()
    joined = first + 0.5 * second
    assert row["probability"] == pytest.approx(joined / (joined + exp(WEIGHTS.none)))
    assert (row["change_id"], row["also"], row["summary"]) == ("event", ["record"], "checkout 1.2")


def test_the_record_with_a_title_is_shown_even_where_the_other_weighs_more():
    late_event = EVENT | {"time": RECORD["time"] - timedelta(minutes=10)}
    [row] = rank_triggers(known(late_event, RECORD), onset()).triggers.to_dicts()
    assert (row["change_id"], row["also"]) == ("event", ["record"])
    assert row["reasons"][0] == "33 min before the onset"  # of the record that weighs more


def test_the_person_of_either_record_made_the_decision():
    robot = EVENT | {"actor": "ci", "actor_kind": "pipeline"}
    person = RECORD | {"actor": "lee@acme.example", "actor_kind": "person"}
    [row] = rank_triggers(known(robot, person), onset()).triggers.to_dicts()
    assert (row["change_id"], row["actor"], row["actor_kind"]) == (
        "event",
        "lee@acme.example",
        "person",
    )


@pytest.mark.parametrize(
    "other",
    [
        {"time": RECORD["time"] - timedelta(minutes=21)},
        {"source": "cdevents"},  # two events are two decisions
        {"service": "inventory"},
        {"service": None},
        {"actor": "lee@acme.example", "actor_kind": "person"},  # the event names dana
    ],
)
def test_records_of_two_decisions_stay_apart(other: dict[str, Any]):
    ranked = rank_triggers(known(EVENT, RECORD | other), onset(), replace(WEIGHTS, elsewhere=-1.0))
    assert sorted(ranked.triggers["change_id"]) == ["event", "record"]


# ---------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("columns", "at", "place", "fits"),
    [
        ({}, onset(), "changed checkout, the caller whose retries grew", "a deploy fits retries"),
        (
            {},
            onset(rate("fan_out")),
            "changed checkout, the caller whose calls grew",
            "a deploy fits fan out",
        ),
        (
            {"service": "inventory"},
            onset(),
            "changed inventory, which handles the calls that grew",
            "a deploy fits retries",
        ),
        (
            {"service": "inventory"},
            onset(rate("usage_per_call")),
            "changed inventory, the service whose usage per call moved",
            "a deploy fits usage per call",
        ),
        (
            {"service": "search"},
            onset(),
            "changed search, which calls inventory",
            "a deploy fits retries",
        ),
        ({"service": "jobs"}, onset(), "changed jobs, elsewhere", "a deploy fits retries"),
        ({"service": None}, onset(), "elsewhere", "a deploy fits retries"),
        (
            {"service": None},
            onset(rate("unit_price")),
            "in the same account, touching no known service",
            "a deploy seldom causes unit price",
        ),
        (
            {"kind": "scaling"},
            onset(),
            "changed checkout, the caller whose retries grew",
            "a scaling may cause retries",
        ),
        (
            {},
            onset(newborn=frozenset({"checkout"})),
            "changed checkout, which began with the spike",
            "a deploy fits retries",
        ),
        (
            {"resource": "table/orders"},
            onset(resources=frozenset({"x/orders"})),
            "touched a resource that was first billed when it began",
            "a deploy fits retries",
        ),
    ],
)
def test_a_reason_says_where_and_how_well_it_fits(
    columns: dict[str, Any], at: Onset, place: str, fits: str
):
    weights = replace(WEIGHTS, none=-50.0, none_price=-50.0)
    ranked = rank_triggers(known(change(**columns)), at, weights)
    assert ranked.triggers["reasons"][0][1] == f"{place}; {fits}"


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (-0.5, "in the hour of the onset"),
        (1.5, "90 min before the onset"),
        (1.99, "119 min before the onset"),
        (30.0, "30 h before the onset"),
    ],
)
def test_a_reason_says_when(hours: float, words: str):
    [row] = rank_triggers(
        known(change(hours_before=hours)), onset(), replace(WEIGHTS, none=-50.0)
    ).triggers.to_dicts()
    assert row["reasons"][0] == words


def test_further_reasons_are_given_only_where_they_hold():
    usual = [
        change(f"usual-{k}", 200.0 + 24 * k, service="jobs") for k in range(20)
    ]  # 20 days of records
    told = change(environment="staging", planned_reason="launch")
    back = change("back", -30.0, kind="rollback")
    no_other = replace(WEIGHTS, none=-50.0)
    full = (
        rank_triggers(known(*usual, told, back), onset(end=ONSET + timedelta(hours=30)), no_other)
        .triggers["reasons"][0]
        .to_list()
    )
    assert full[2:] == [
        "taken back when the spike ended",
        "nothing like it is usual there",
        "planned: launch",
        "made in staging, not in production",
    ]
    assert len(rank_triggers(known(change()), onset(), no_other).triggers["reasons"][0]) == 2
