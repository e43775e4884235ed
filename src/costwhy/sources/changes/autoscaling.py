"""Scaling activities of EC2 Auto Scaling and of Application Auto Scaling.

Source: AWS, *DescribeScalingActivities*: `{"Activities": [...]}`, `{"ScalingActivities": [...]}`.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from costwhy.sources import files
from costwhy.sources.aws_regions import FilesOrApiConfig
from costwhy.sources.format import Files, Format, later
from costwhy.sources.reading import Collector, Reading, clean, to_text, to_time
from costwhy.tables import CHANGES

_FAILED = ("Failed", "Cancelled", "Overridden", "Unfulfilled")
_CAPACITY = re.compile(r"from (\d{1,9}) to (\d{1,9})")
_TARGET = re.compile(r"[Ss]etting desired \w+ to (\d{1,9})|desired \w+ to (\d{1,9})")
_ARN = re.compile(r"arn:[\w-]+:autoscaling:(?P<region>[\w-]*):(?P<account>\d*):")
_ZONE = re.compile(r'"Availability Zone"\s*:\s*"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]?')


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

    @property
    def is_asked(self) -> bool:
        """A user's request, not a rule of the group, led to it."""
        return "user request" in self.cause.lower()


_DECODER = msgspec.json.Decoder(_Activity)


def read(sources: Sequence[Path]) -> Reading:
    """Changes of kind `scaling`; failed and cancelled activities are seen, and are no changes."""
    keys = ("Activities", "ScalingActivities")
    return read_activities((file, files.read_records(file, keys)) for file in sources)


def read_activities(
    sources: Iterable[tuple[Path, Iterable[tuple[str, msgspec.Raw | bytes]]]],
) -> Reading:
    """The same, from what is shown as the file, and place and JSON text of each activity."""
    collector, known = Collector(CHANGES, "autoscaling"), set[str]()

    def read_one(text: msgspec.Raw | bytes) -> None:
        activity = _DECODER.decode(text)
        row = _row(activity)
        collector.see(row["account"], row["time"])
        if activity.status_code not in _FAILED and activity.activity_id not in known:
            known.add(activity.activity_id)
            collector.keep(row)

    for file, activities in sources:
        collector.read_each(file, activities, read_one, "scaling activity")
    return collector.reading()


def _row(activity: _Activity) -> dict[str, Any]:
    resource, ecs = (
        activity.auto_scaling_group_name or activity.resource_id,
        activity.resource_id or "",
    )
    source = "application-autoscaling" if activity.resource_id else "autoscaling"
    arn = _ARN.match(activity.auto_scaling_group_arn or "")
    zone = _ZONE.search(activity.details) if isinstance(activity.details, str) else None
    before, after = _capacity(activity)
    return {
        "change_id": to_text(activity.activity_id),
        "time": to_time(activity.start_time),
        "source": "autoscaling",
        "kind": "scaling",
        "event": f"{source}.amazonaws.com:ScalingActivity",
        "service": to_text(ecs.rsplit("/", 1)[-1]) if ecs.startswith("service/") else None,
        "resource": to_text(resource),
        "account": (arn["account"] or None) if arn else None,
        "region": (arn["region"] or None) if arn else (zone[1] if zone else None),
        "actor": None if activity.is_asked else f"{source}.amazonaws.com",
        "actor_kind": None if activity.is_asked else "service",
        "automated": not activity.is_asked,
        "summary": clean(
            ": ".join(part for part in (activity.description, activity.cause) if part), 500
        )
        or None,
        "before": before,
        "after": after,
    }


def _capacity(activity: _Activity) -> tuple[str | None, str | None]:
    """Desired capacity before and after, as JSON, where the cause or the description says it."""
    change = _CAPACITY.search(activity.cause[:5000])
    if change:
        return (
            f'{{"desired_capacity":{int(change[1])}}}',
            f'{{"desired_capacity":{int(change[2])}}}',
        )
    target = _TARGET.search(activity.description[:5000])
    return None, f'{{"desired_capacity":{int(target[1] or target[2])}}}' if target else None


class Config(FilesOrApiConfig, frozen=True, kw_only=True):
    """What DescribeScalingActivities printed, at `path`; or `api = true`."""

    days: Annotated[int, msgspec.Meta(ge=1, le=42)] | None = None


FORMAT = Format(
    section="changes",
    source="autoscaling",
    config=Config,
    files=Files((".json", ".json.gz", ".jsonl", ".jsonl.gz")),
    read=read,
    live=later("costwhy.sources.changes.autoscaling_api", "live"),
)
