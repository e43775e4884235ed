"""Scaling activities of the last six weeks, from AWS itself.

Source: AWS, *DescribeScalingActivities* of EC2 Auto Scaling and of Application Auto Scaling.
Answers come newest first and are read by the parser of the files.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path

import msgspec

from costwhy.remote import aws
from costwhy.sources.changes import autoscaling
from costwhy.sources.format import Request, begin, of_day
from costwhy.sources.reading import Reading

CALLS = (
    "autoscaling:DescribeScalingActivities",
    "application-autoscaling:DescribeScalingActivities",
)
# What Application Auto Scaling scales; it must be asked for each of them
NAMESPACES = (
    "ecs", "ec2", "lambda", "dynamodb", "rds", "elasticache", "kafka", "sagemaker", "appstream",
    "elasticmapreduce", "comprehend", "cassandra", "neptune", "workspaces", "custom-resource",
)  # fmt: skip


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `autoscaling.read` gives them.

    Raises UnreachableError where AWS does not answer.
    """
    region, days = request.place, sorted(request.days)
    try:
        reading = autoscaling.read_activities(
            [(Path(f"Scaling activities {region}"), _activities(region, days[0]))]
        )
    except aws.FAULTS as error:
        raise aws.unreachable(f"scaling activities in {region} could not be read", error) from None
    for day in days:
        piece = of_day(reading, day, "time")
        yield day, replace(piece, set_aside=reading.set_aside) if day == days[-1] else piece


def _activities(region: str, first: date) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every activity since the first day.

    Pages come newest first: the first one whose activities are all too old is the last.
    """
    groups, targets = (
        aws.client(service, region).get_paginator("describe_scaling_activities")
        for service in ("autoscaling", "application-autoscaling")
    )
    listings = [("group", "Activities", groups.paginate(IncludeDeletedGroups=True))]
    listings += [
        (name, "ScalingActivities", targets.paginate(ServiceNamespace=name)) for name in NAMESPACES
    ]
    for kind, key, pages in listings:
        numbers = count(1)
        for page in pages:
            recent = [one for one in page.get(key, []) if one["StartTime"] >= begin(first)]
            for activity in recent:
                yield f"{kind} {next(numbers)}", msgspec.json.encode(activity)
            if not recent and page.get(key):
                break
