"""Scaling activities, as DescribeScalingActivities of EC2 Auto Scaling and of Application Auto Scaling prints them.

Source: AWS, *DescribeScalingActivities*: `{"Activities": [...]}` and `{"ScalingActivities": [...]}`.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.intake import Intake, clean, to_text, to_time
from costwhy.sources.reading import Reading
from costwhy.tables import CHANGES

ENDINGS = (".json", ".json.gz", ".jsonl", ".jsonl.gz")
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


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """JSON files. Raises SourceError when there is none."""
    return files.find_files(path, folder, ENDINGS)


def read(sources: Sequence[Path]) -> Reading:
    """Changes of kind `scaling`; failed and cancelled activities are seen, and are no changes."""
    intake, known = Intake(CHANGES, "autoscaling"), set[str]()
    for file in sources:
        try:
            for place, text in files.read_records(file, ("Activities", "ScalingActivities")):
                _read_activity(intake, (file, place), text, known)
        except SourceError as error:
            intake.set_aside(file, None, str(error))
    return intake.reading()


def read_activities(activities: Iterable[tuple[str, bytes]], name: str) -> Reading:
    """The same from activities that do not come from files: place and JSON text of each. name: shown in place of the file."""
    intake, known = Intake(CHANGES, "autoscaling"), set[str]()
    for place, text in activities:
        _read_activity(intake, (Path(name), place), text, known)
    return intake.reading()


def _read_activity(intake: Intake, at: tuple[Path, str], text: msgspec.Raw | bytes, known: set[str]) -> None:
    try:
        activity = _DECODER.decode(text)
        row = _row(activity)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = f"no scaling activity: {error}" if isinstance(error, msgspec.MsgspecError) else str(error)
        intake.set_aside(*at, reason, text)
        return
    intake.see(row["account"], row["time"])
    if activity.status_code not in _FAILED and activity.activity_id not in known:
        known.add(activity.activity_id)
        intake.keep(row)


def _row(activity: _Activity) -> dict[str, Any]:
    resource, ecs = activity.auto_scaling_group_name or activity.resource_id, activity.resource_id or ""
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
        "summary": clean(": ".join(part for part in (activity.description, activity.cause) if part), 500) or None,
        "before": before,
        "after": after,
    }


def _capacity(activity: _Activity) -> tuple[str | None, str | None]:
    """Desired capacity before and after, as JSON, where the cause or the description says it."""
    change = _CAPACITY.search(activity.cause[:5000])
    if change:
        return f'{{"desired_capacity":{int(change[1])}}}', f'{{"desired_capacity":{int(change[2])}}}'
    target = _TARGET.search(activity.description[:5000])
    return None, f'{{"desired_capacity":{int(target[1] or target[2])}}}' if target else None
