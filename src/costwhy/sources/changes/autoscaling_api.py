"""Scaling activities of the last six weeks from EC2 Auto Scaling and Application Auto Scaling, without files.

Source: AWS, *DescribeScalingActivities* of both; answers come newest first and are read by the parser of the files.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import msgspec

from costwhy.remote import aws
from costwhy.sources.aws_days import Request, begin, of_day
from costwhy.sources.changes import autoscaling
from costwhy.sources.reading import Reading

CALLS = ("autoscaling:DescribeScalingActivities", "application-autoscaling:DescribeScalingActivities")
MOST_DAYS = 42
USUAL_DAYS = 14
NAMESPACES = (
    "ecs", "ec2", "lambda", "dynamodb", "rds", "elasticache", "kafka", "sagemaker", "appstream", "elasticmapreduce",
    "comprehend", "cassandra", "neptune", "workspaces", "custom-resource",
)  # fmt: skip
"""What Application Auto Scaling scales; it must be asked for each of them."""


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `autoscaling.read` gives them. Raises UnreachableError where AWS does not answer."""
    name = f"Scaling activities {request.region}"
    days = sorted(request.days)
    if not days:
        return
    try:
        reading = autoscaling.read_activities(_activities(request.region, days[0]), name)
    except aws.FAULTS as error:
        raise aws.unreachable(f"scaling activities in {request.region} could not be read", error) from None
    for day in days:
        piece = of_day(reading, day, "time")
        yield day, Reading(piece.rows, reading.set_aside if day == days[-1] else piece.set_aside, piece.seen)


def _activities(region: str, first: date) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every activity since the first day."""
    groups = aws.client("autoscaling", region).get_paginator("describe_scaling_activities")
    yield from _since(first, groups.paginate(IncludeDeletedGroups=True), ("Activities", "group"))
    targets = aws.client("application-autoscaling", region).get_paginator("describe_scaling_activities")
    for namespace in NAMESPACES:
        yield from _since(first, targets.paginate(ServiceNamespace=namespace), ("ScalingActivities", namespace))


def _since(first: date, pages: Any, words: tuple[str, str]) -> Iterator[tuple[str, bytes]]:
    """Pages come newest first: the first one whose activities are all too old is the last."""
    key, kind = words
    number = 0
    for page in pages:
        recent = [activity for activity in page.get(key, []) if activity["StartTime"] >= begin(first)]
        for activity in recent:
            number += 1
            yield f"{kind} {number}", msgspec.json.encode(activity)
        if not recent and page.get(key):
            return
