"""Scaling activities become changes."""

import json
from datetime import UTC, datetime
from pathlib import Path

from costwhy.sources.changes import autoscaling
from costwhy.tables import CHANGES

BY_ALARM = (
    "At 2026-10-14T03:00:00Z a monitor alarm cpu-high in state ALARM triggered policy web-cpu changing the desired "
    "capacity from 2 to 3.  At 2026-10-14T03:00:10Z an instance was started in response to a difference."
)
BY_USER = (
    "At 2026-10-14T03:00:00Z a user request update of AutoScalingGroup constraints to min: 1, max: 9, desired: 7 "
    "changing the desired capacity from 3 to 7."
)


def activity(ident: str = "a1", cause: str = BY_ALARM, **more: object) -> dict:
    return {
        "ActivityId": ident,
        "AutoScalingGroupName": "web-nodes",
        "Description": "Launching a new EC2 instance: i-0abc",
        "Cause": cause,
        "StartTime": "2026-10-14T03:00:12.345Z",
        "StatusCode": "Successful",
        "Details": '{"Subnet ID":"subnet-1","Availability Zone":"eu-west-1a"}',
        "AutoScalingGroupARN": "arn:aws:autoscaling:eu-west-1:111:autoScalingGroup:uuid:autoScalingGroupName/web-nodes",
    } | more


def put(folder: Path, *activities: object, key: str = "Activities") -> Path:
    file = folder / "activities.json"
    file.write_text(json.dumps({key: activities}, indent=1))
    return file


def test_what_an_alarm_scaled_is_automated_and_what_a_user_asked_for_is_not(tmp_path):
    rows = autoscaling.read([put(tmp_path, activity(), activity("a2", BY_USER))]).rows
    assert rows.columns == [name for name in CHANGES.schema if name != "delivery"]
    assert rows.select("kind", "automated", "actor", "before", "after").rows() == [
        (
            "scaling",
            True,
            "autoscaling.amazonaws.com",
            '{"desired_capacity":2}',
            '{"desired_capacity":3}',
        ),
        ("scaling", False, None, '{"desired_capacity":3}', '{"desired_capacity":7}'),
    ]
    first = rows.row(0, named=True)
    assert first["time"] == datetime(2026, 10, 14, 3, 0, 12, 345_000, tzinfo=UTC)
    assert (first["resource"], first["account"], first["region"]) == (
        "web-nodes",
        "111",
        "eu-west-1",
    )


def test_application_auto_scaling_names_the_ecs_service(tmp_path):
    mine = {"ActivityId": "b", "ResourceId": "service/prod/cart", "StartTime": "2026-10-14T05:00:12+02:00", "Cause": "monitor alarm",
            "Description": "Setting desired count to 9."}  # fmt: skip
    row = autoscaling.read([put(tmp_path, mine, key="ScalingActivities")]).rows.row(0, named=True)
    assert (row["service"], row["resource"], row["after"]) == (
        "cart",
        "service/prod/cart",
        '{"desired_capacity":9}',
    )
    assert row["time"].hour == 3


def test_failed_and_repeated_activities_are_seen_and_are_no_changes(tmp_path):
    reading = autoscaling.read(
        [put(tmp_path, activity(), activity(), activity("f", StatusCode="Failed"))]
    )
    assert (reading.rows.height, reading.seen["records"].sum()) == (1, 3)


def test_a_broken_activity_does_not_take_the_others_with_it(tmp_path):
    bad = [
        activity("x", StartTime="2026-10-14T03:00:12"),
        {"ActivityId": 5},
        None,
        activity("y", Cause=7),
    ]
    reading = autoscaling.read(
        [put(tmp_path, *bad, activity("good", Cause="<script>" + "z" * 5_000_000))]
    )
    assert reading.rows["change_id"].to_list() == ["good"]
    assert "<script>" in reading.rows["summary"][0]
    assert len(reading.rows["summary"][0]) <= 501
    assert reading.set_aside["place"].to_list() == ["record 1", "record 2", "record 3", "record 4"]
    assert "has no zone" in reading.set_aside["reason"][0]


def test_a_file_that_is_no_json_is_set_aside_whole(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("<html>")
    reading = autoscaling.read([file])
    assert reading.set_aside["records"].to_list() == [1]
