"""Scaling activities of EC2 Auto Scaling and of Application Auto Scaling.

Source: AWS, *DescribeScalingActivities*: `{"Activities": [...]}`, `{"ScalingActivities": [...]}`;
EventBridge's *EC2 Instance Launch Successful* and its like have the activity as `detail`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import msgspec

from costwhy.sources.files import JSON_ENDINGS, Files
from costwhy.sources.format import FilesOrApiConfig, Format, Request, begin, by_region, of_day
from costwhy.sources.reading import Collector, Reading, clean, to_text
from costwhy.sources.times import to_time
from costwhy.sources.wrappings import read_records
from costwhy.tables import CHANGES

CALLS = (
    "autoscaling:DescribeScalingActivities",
    "application-autoscaling:DescribeScalingActivities",
)
# What Application Auto Scaling scales; it must be asked for each of them
NAMESPACES = (
    "ecs", "ec2", "lambda", "dynamodb", "rds", "elasticache", "kafka", "sagemaker", "appstream",
    "elasticmapreduce", "comprehend", "cassandra", "neptune", "workspaces", "custom-resource",
)  # fmt: skip
_FAILED = ("Failed", "Cancelled", "Overridden", "Unfulfilled")


class _Activity(msgspec.Struct, rename="pascal"):
    activity_id: str
    start_time: str | float
    cause: str = ""
    description: str = ""
    status_code: str = ""
    auto_scaling_group_name: str | None = None
    auto_scaling_group_arn: str | None = msgspec.field(default=None, name="AutoScalingGroupARN")
    resource_id: str | None = None
    details: Any = None


def read(sources: Sequence[Path]) -> Reading:
    """Changes of kind `scaling`; failed and cancelled activities are seen, and are no changes."""
    return read_activities(
        (file, read_records(file, ("ActivityId", "StartTime"))) for file in sources
    )


def read_activities(
    sources: Iterable[tuple[Path, Iterable[tuple[str, msgspec.Raw | bytes | None]]]],
) -> Reading:
    """The same, from what is shown as the file, and place and JSON text of each activity."""
    collector = Collector(CHANGES, "autoscaling")

    def read_one(text: msgspec.Raw | bytes) -> None:
        activity = msgspec.json.decode(text, type=_Activity)
        row = _row(activity)
        collector.see(row["account"], row["time"])
        if activity.status_code not in _FAILED:
            collector.keep_once(row, activity.activity_id)

    for file, activities in sources:
        collector.read_each(file, activities, read_one, "scaling activity")
    return collector.reading()


def _row(activity: _Activity) -> dict[str, Any]:
    ecs, asked = activity.resource_id or "", "user request" in activity.cause.lower()
    source = "application-autoscaling" if ecs else "autoscaling"
    arn = re.match(r"arn:[\w-]+:autoscaling:([\w-]*):(\d*):", activity.auto_scaling_group_arn or "")
    details = activity.details if isinstance(activity.details, str) else ""
    zone = re.search(r'"Availability Zone"\s*:\s*"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]?', details)
    region, account = arn.groups() if arn else (zone and zone[1], None)
    change = re.search(r"from (\d{1,9}) to (\d{1,9})", activity.cause[:5000])
    target = re.search(r"desired \w+ to (\d{1,9})", activity.description[:5000])
    before, after = change.groups() if change else (None, target and target[1])
    return {
        "change_id": to_text(activity.activity_id),
        "time": to_time(activity.start_time),
        "source": "autoscaling",
        "kind": "scaling",
        "event": f"{source}.amazonaws.com:ScalingActivity",
        "service": to_text(ecs.rsplit("/", 1)[-1]) if ecs.startswith("service/") else None,
        "resource": to_text(activity.auto_scaling_group_name or activity.resource_id),
        "account": account or None,
        "region": region or None,
        "actor": None if asked else f"{source}.amazonaws.com",
        "actor_kind": None if asked else "service",
        "automated": not asked,  # by a rule of the group, not by a user
        "summary": clean(
            ": ".join(part for part in (activity.description, activity.cause) if part), 500
        )
        or None,
        "before": f'{{"desired_capacity":{int(before)}}}' if before else None,
        "after": f'{{"desired_capacity":{int(after)}}}' if after else None,
    }


# ---------------------------------------------------------------- from AWS itself


def read_api(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `read` gives them.

    Raises UnreachableError where AWS does not answer.
    """
    from costwhy.remote import aws  # noqa: PLC0415 - files need no client of AWS

    region, days = request.place, sorted(request.days)
    try:
        reading = read_activities(
            [(Path(f"Scaling activities {region}"), _activities(aws.client, region, days[0]))]
        )
    except aws.FAULTS as error:
        raise aws.unreachable(f"scaling activities in {region} could not be read", error) from None
    for day in days:
        piece = of_day(reading, day, "time")
        yield day, replace(piece, set_aside=reading.set_aside) if day == days[-1] else piece


def _activities(
    client: Callable[[str, str], Any], region: str, first: date
) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every activity since the first day.

    Pages come newest first: the first one whose activities are all too old is the last.
    """
    groups, targets = (
        client(service, region).get_paginator("describe_scaling_activities")
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


class Config(FilesOrApiConfig, frozen=True, kw_only=True):
    """What DescribeScalingActivities printed, at `path`; or `api = true`."""

    days: Annotated[int, msgspec.Meta(ge=1, le=42)] | None = None


FORMAT = Format(
    section="changes",
    source="autoscaling",
    config=Config,
    files=Files((".json", ".jsonl", ".ndjson"), inside=("json",), looks=JSON_ENDINGS),
    read=read,
    live=by_region(read_api),
)
