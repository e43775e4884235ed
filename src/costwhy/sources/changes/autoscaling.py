"""Scaling activities of EC2 Auto Scaling and of Application Auto Scaling.

Source: AWS, *DescribeScalingActivities*: `{"Activities": [...]}`, `{"ScalingActivities": [...]}`.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from costwhy.sources import files
from costwhy.sources.files import Files
from costwhy.sources.format import FilesOrApiConfig, Format, by_region, later
from costwhy.sources.reading import Collector, Reading, clean, to_text, to_time
from costwhy.tables import CHANGES

_FAILED = ("Failed", "Cancelled", "Overridden", "Unfulfilled")


class _Activity(msgspec.Struct, rename="pascal"):
    activity_id: str
    start_time: str
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
        (file, files.read_records(file, ("Activities", "ScalingActivities"))) for file in sources
    )


def read_activities(
    sources: Iterable[tuple[Path, Iterable[tuple[str, msgspec.Raw | bytes]]]],
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


class Config(FilesOrApiConfig, frozen=True, kw_only=True):
    """What DescribeScalingActivities printed, at `path`; or `api = true`."""

    days: Annotated[int, msgspec.Meta(ge=1, le=42)] | None = None


FORMAT = Format(
    section="changes",
    source="autoscaling",
    config=Config,
    files=Files((".json", ".json.gz", ".jsonl", ".jsonl.gz")),
    read=read,
    live=by_region(later("costwhy.sources.changes.autoscaling_api", "read")),
)
