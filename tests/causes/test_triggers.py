"""Which change did it: promises about single comparisons, each with two or three changes that are easy to weigh by eye."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from costwhy import tables
from costwhy.causes.changes import MovedRate, Onset, find_known_changes
from costwhy.causes.triggers import RankedTriggers, rank_triggers

ONSET = datetime(2026, 10, 14, 3, tzinfo=UTC)
SERVICES = frozenset({"checkout", "inventory", "search", "jobs"})


def change(
    name: str, hours_before: float, service: str | None, kind: str = "deploy", **more: object
) -> dict[str, object]:
    return {
        "delivery": "test",
        "change_id": name,
        "time": ONSET - timedelta(hours=hours_before),
        "source": "cdevents",
        "kind": kind,
        "event": f"dev.cdevents.service.{kind}ed.0.2.0",
        "service": service,
        "environment": "production",
        "actor": "dana@acme.example",
        "actor_kind": "person",
        "summary": name,
    } | more


def recorded(*changes: dict[str, object]):
    """These changes, and what is usual: each service deployed every other day for two months, long before."""
    usual = [
        change(f"usual-{s}-{k}", 24 * (6 + 2 * k), s) for s in sorted(SERVICES) for k in range(30)
    ]
    return find_known_changes(
        tables.CHANGES.fit(pl.DataFrame([*usual, *changes], schema=tables.CHANGES.schema)), SERVICES
    )


def suspicion(
    kind: str,
    service: str | None,
    caller: str | None = None,
    usage_type: str | None = None,
    **more: object,
) -> Onset:
    """One behaviour row that began at ONSET; checkout calls inventory, search calls checkout."""
    said = {
        "rates": (MovedRate(kind, service, caller, usage_type, 1.0),),
        "since": ONSET,
        "start": ONSET,
        "blur": timedelta(hours=1),
        "end": None,
        "callers_of": {"inventory": frozenset({"checkout"}), "checkout": frozenset({"search"})},
        "newborn": frozenset(),
        "accounts": frozenset({"111122223333"}),
    }
    return Onset(**(said | more))


def chances(said: RankedTriggers) -> dict[str, float]:
    return dict(said.triggers.select("change_id", "probability").iter_rows()) | {
        "none": said.no_recorded_change
    }


RETRIES = suspicion("retries", "inventory", "checkout")


def test_a_deploy_after_the_spike_is_not_evidence():
    """checkout deploys   03:00 - 20 min   and   03:00 + 2 h;   checkout's retries grew at 03:00"""
    said = chances(
        rank_triggers(
            recorded(change("before", 1 / 3, "checkout"), change("after", -2.0, "checkout")),
            RETRIES,
        )
    )
    assert "after" not in said
    assert said["before"] > 0.8


def test_the_same_service_deploy_of_the_day_before_does_not_win_over_the_retry_change():
    """checkout deploys the day before, and a retry setting of checkout is changed 10 minutes before"""
    setting = change(
        "retry-setting",
        1 / 6,
        "checkout",
        "config",
        source="cloudtrail",
        event="ssm.amazonaws.com:PutParameter",
    )
    said = chances(
        rank_triggers(recorded(change("day-before", 20.0, "checkout"), setting), RETRIES)
    )
    assert said["retry-setting"] > 0.8
    assert (
        said.get("day-before", 0.0) < said["retry-setting"] / 5
    )  # under half a per cent it is not listed


def test_the_caller_who_amplified_comes_before_the_service_that_pays():
    said = chances(
        rank_triggers(
            recorded(change("caller", 0.5, "checkout"), change("payer", 0.5, "inventory")), RETRIES
        )
    )
    assert said["caller"] > 2 * said["payer"]


def test_two_deploys_minutes_apart_on_the_same_service_share_the_certainty():
    said = chances(
        rank_triggers(
            recorded(
                change("one", 0.20, "checkout", actor="a@x"),
                change("two", 0.25, "checkout", actor="b@x"),
            ),
            RETRIES,
        )
    )
    assert said["one"] == pytest.approx(said["two"], rel=0.1)
    assert max(said["one"], said["two"]) < 0.6


def test_a_change_that_was_taken_back_when_the_spike_ended_counts_more():
    """checkout and inventory were deployed together; inventory was rolled back when the pulse ended"""
    back = change("back", -30.0, "inventory", "rollback")
    pulse = suspicion(
        "usage_per_call", "inventory", usage_type="GB", end=ONSET + timedelta(hours=30)
    )
    rows = (change("kept", 0.5, "inventory", actor="a@x"), back)
    with_end, without = (
        chances(rank_triggers(recorded(*rows), s))
        for s in (pulse, suspicion("usage_per_call", "inventory", usage_type="GB"))
    )
    assert with_end["none"] < without["none"]


@pytest.mark.parametrize(
    ("kind", "usage_type", "fits", "does_not"),
    [
        (
            "schedule",
            None,
            ("schedule", "events.amazonaws.com:PutRule"),
            ("scaling", "ecs.amazonaws.com:UpdateService"),
        ),
        (
            "capacity",
            "BoxUsage",
            ("scaling", "autoscaling.amazonaws.com:UpdateAutoScalingGroup"),
            ("config", "iam.amazonaws.com:PutRolePolicy"),
        ),
        (
            "capacity",
            "TimedStorage-ByteHrs",
            ("config", "s3.amazonaws.com:DeleteBucketLifecycle"),
            ("config", "secretsmanager.amazonaws.com:RotateSecret"),
        ),
        (
            "usage_per_call",
            "GB-Second",
            ("config", "lambda.amazonaws.com:UpdateFunctionConfiguration"),
            ("config", "monitoring.amazonaws.com:PutMetricAlarm"),
        ),
    ],
)
def test_a_change_that_can_do_it_comes_before_one_that_cannot(kind, usage_type, fits, does_not):
    rows = [
        change(n, 0.5, "jobs", k, source="cloudtrail", event=e)
        for n, (k, e) in (("fits", fits), ("does_not", does_not))
    ]
    said = chances(
        rank_triggers(
            recorded(*rows),
            suspicion(kind, "jobs", "schedule:jobs" if kind == "schedule" else None, usage_type),
        )
    )
    assert said["fits"] > 3 * said["does_not"]


def test_a_deploy_to_staging_moves_no_production_bill():
    said = chances(
        rank_triggers(recorded(change("staging", 0.2, "checkout", environment="staging")), RETRIES)
    )
    assert said["none"] > said["staging"]


def test_traffic_that_grows_by_itself_has_no_recorded_change():
    said = chances(
        rank_triggers(recorded(change("deploy", 0.2, "search")), suspicion("demand", "search"))
    )
    assert said["none"] > 0.8


def test_an_announced_launch_is_believed():
    plan = {
        "planned_reason": "launch",
        "planned_cost_per_day": 100.0,
        "planned_until": ONSET + timedelta(days=9),
    }
    said = chances(
        rank_triggers(
            recorded(change("launch", 3.0, "search", **plan)), suspicion("demand", "search")
        )
    )
    assert said["launch"] > 0.8


def test_a_machine_that_nobody_tagged_is_found_by_its_own_id():
    made = change(
        "run",
        0.4,
        None,
        "create",
        source="cloudtrail",
        event="ec2.amazonaws.com:RunInstances",
        after='{"instanceId":"i-0abc1234def567890"}',
    )
    found = suspicion(
        "unlinked_usage",
        None,
        usage_type="BoxUsage:p3",
        resources=frozenset({"arn:aws:ec2:eu-west-1:1:instance/i-0abc1234def567890"}),
    )
    said = rank_triggers(recorded(made, change("other", 0.2, "search")), found)
    assert said.triggers["change_id"][0] == "run"
    assert "first billed when it began" in said.triggers["reasons"][0][1]


def test_the_first_change_of_a_new_service_comes_before_its_second():
    first = change("first", 0.9, "jobs")
    second = change(
        "second",
        0.3,
        "jobs",
        "config",
        source="cloudtrail",
        event="rds.amazonaws.com:ModifyDBParameterGroup",
    )
    everything = find_known_changes(
        tables.CHANGES.fit(pl.DataFrame([first, second], schema=tables.CHANGES.schema)), SERVICES
    )
    said = chances(
        rank_triggers(
            everything,
            suspicion(
                "cross_region", "search", usage_type="Out-Bytes", newborn=frozenset({"jobs"})
            ),
        )
    )
    assert said["first"] > 0.5
    assert said.get("second", 0.0) < said["first"] / 2


def test_a_deployment_event_and_the_call_that_it_left_are_one_trigger_told_by_the_event():
    call = change(
        "call",
        0.52,
        "checkout",
        source="cloudtrail",
        event="ecs.amazonaws.com:UpdateService",
        actor="ci",
        actor_kind="pipeline",
        summary="UpdateService",
    )
    said = rank_triggers(recorded(change("event", 0.5, "checkout"), call), RETRIES).triggers
    assert said["change_id"][0] == "event"
    assert said["also"][0].to_list() == ["call"]
    assert said["actor"][0] == "dana@acme.example"


def test_probabilities_and_no_recorded_change_never_exceed_one_and_are_never_nan():
    rng = np.random.default_rng(3)
    rows = [
        change(f"c{k}", float(rng.uniform(-5, 80)), str(rng.choice(sorted(SERVICES))))
        for k in range(200)
    ]
    said = rank_triggers(recorded(*rows), RETRIES)
    total = said.triggers["probability"].sum() + said.no_recorded_change
    assert 0.5 < total <= 1.0 + 1e-9


def test_with_no_change_at_all_no_recorded_change_is_certain():
    assert rank_triggers(
        find_known_changes(tables.CHANGES.empty(), SERVICES), RETRIES
    ).no_recorded_change == pytest.approx(1.0)


def test_automation_that_writes_every_minute_is_no_decision():
    robot = change("robot", 0.1, "checkout", automated=True)
    assert "robot" not in chances(rank_triggers(recorded(robot), RETRIES))


def test_reasons_are_sentences_with_numbers():
    reasons = (
        rank_triggers(recorded(change("c", 41 / 60, "checkout")), RETRIES)
        .triggers["reasons"][0]
        .to_list()
    )
    assert reasons[0] == "41 min before the onset"
    assert reasons[1] == "changed checkout, the caller whose retries grew; a deploy fits retries"
