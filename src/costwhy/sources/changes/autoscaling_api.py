"""Scaling activities of the last six weeks, from AWS itself.

Source: AWS, *DescribeScalingActivities* of EC2 Auto Scaling and of Application Auto Scaling.
Answers come newest first and are read by the parser of the files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from costwhy.remote import aws
from costwhy.sources import aws_regions
from costwhy.sources.by_day import Live, Request, begin, of_day
from costwhy.sources.changes import autoscaling
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


def live(entry: autoscaling.Config, _key: str, _folder: Path, _tags: Sequence[str]) -> Live | None:
    """What an entry asks; null: it names files."""
    if not entry.api:
        return None
    return aws_regions.live(entry.format, entry.regions, entry.days, read, (), ())


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `autoscaling.read` gives them.

    Raises UnreachableError where AWS does not answer.
    """
    region, days = request.place, sorted(request.days)
    try:
        activities = _activities(region, days[0])
        reading = autoscaling.read_activities([(Path(f"Scaling activities {region}"), activities)])
    except aws.FAULTS as error:
        raise aws.unreachable(f"scaling activities in {region} could not be read", error) from None
    for day in days:
        piece = of_day(reading, day, "time")
        yield day, replace(piece, set_aside=reading.set_aside) if day == days[-1] else piece


def _activities(region: str, first: date) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every activity since the first day."""
    groups = aws.client("autoscaling", region).get_paginator("describe_scaling_activities")
    yield from _since(first, groups.paginate(IncludeDeletedGroups=True), "Activities", "group")
    targets = aws.client("application-autoscaling", region).get_paginator(
        "describe_scaling_activities"
    )
    for namespace in NAMESPACES:
        pages = targets.paginate(ServiceNamespace=namespace)
        yield from _since(first, pages, "ScalingActivities", namespace)


def _since(first: date, pages: Any, key: str, kind: str) -> Iterator[tuple[str, bytes]]:
    """Pages come newest first: the first one whose activities are all too old is the last."""
    number = 0
    for page in pages:
        recent = [
            activity for activity in page.get(key, []) if activity["StartTime"] >= begin(first)
        ]
        for activity in recent:
            number += 1
            yield f"{kind} {number}", msgspec.json.encode(activity)
        if not recent and page.get(key):
            return
