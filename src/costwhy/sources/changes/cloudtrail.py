"""CloudTrail log files: write events that succeeded become changes; every record is counted as seen.

Source: AWS, *CloudTrail record contents*; file names `ACCOUNT_CloudTrail_REGION_20260923T1601Z_RANDOM.json.gz`.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.changes.cloudtrail_actors import find_actor
from costwhy.sources.changes.cloudtrail_calls import (
    find_kind,
    find_resource,
    find_service,
    plain_name,
    summarise,
    touched_names,
    values_asked,
)
from costwhy.sources.intake import Intake, to_text, to_time
from costwhy.sources.reading import Reading
from costwhy.tables import CHANGES

__all__ = ["ENDINGS", "SERVICE_TAGS", "find_files", "is_log", "match_service", "read", "read_events", "touched_names"]

ENDINGS = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")
SERVICE_TAGS = ("service", "app", "app.kubernetes.io/name")
_NOT_EVENTS = ("CloudTrail-Digest", "CloudTrail-Insight")
_READS = (
    "Get", "List", "Describe", "Head", "Lookup", "BatchGet", "Batch Get", "Search", "Select", "Query", "Scan", "View",
    "Preview", "Simulate", "Validate", "Test", "Check", "Estimate", "AssumeRole", "Filter", "Poll", "Receive",
)  # fmt: skip
_DELIVERED = re.compile(r"_(\d{8}T\d{4})Z_")


class _Head(msgspec.Struct):
    """What every record must have; enough to tell whether it is a change."""

    eventTime: str
    eventName: str
    eventSource: str = ""
    eventID: str | None = None
    readOnly: bool | str | None = None
    errorCode: str | None = None
    eventCategory: str | None = None
    recipientAccountId: str | None = None

    @property
    def is_change(self) -> bool:
        """A write that succeeded."""
        said = self.readOnly if self.readOnly is not None else self.eventName.startswith(_READS)
        return str(said).lower() == "false" and not self.errorCode


_HEAD = msgspec.json.Decoder(_Head)


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """Log files below `path`, without digests and insights. Raises SourceError when there is none."""
    found = tuple(file for file in files.find_files(path, folder, ENDINGS) if is_log(str(file)))
    if not found:
        raise SourceError(f"there are no CloudTrail log files at {path!r}", found="digests or insights only", todo="name AWSLogs/")
    return found


def read(sources: Sequence[Path], service_tags: Collection[str] = SERVICE_TAGS) -> Reading:
    """Changes, records set aside, and records seen by account and hour.

    A record delivered twice (same eventID) is one change. Failed calls and reads are seen, and are no changes.
    """
    intake, known = Intake(CHANGES, "cloudtrail"), set[str]()
    for file in sources:
        if is_log(str(file)):
            _read_file(intake, file, known, service_tags)
    return intake.reading()


def read_events(events: Iterable[tuple[str, bytes]], name: str, service_tags: Collection[str] = SERVICE_TAGS) -> Reading:
    """The same from records that do not come from files: place and JSON text of each. name: shown in place of the file."""
    intake, known = Intake(CHANGES, "cloudtrail"), set[str]()
    _read_records(intake, (Path(name), None), events, known, service_tags)
    return intake.reading()


def _read_file(intake: Intake, file: Path, known: set[str], service_tags: Collection[str]) -> None:
    try:
        _read_records(intake, (file, _delivery_time(file)), files.read_records(file, ("Records",)), known, service_tags)
    except SourceError as error:
        intake.set_aside(file, None, str(error))


def _read_records(
    intake: Intake,
    whence: tuple[Path, datetime | None],
    records: Iterable[tuple[str, msgspec.Raw | bytes]],
    known: set[str],
    service_tags: Collection[str],
) -> None:
    """Records of one file and the time at which it was delivered."""
    for place, text in records:
        try:
            _read_record(intake, text, known, (whence[1], service_tags))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            intake.set_aside(whence[0], place, _reason(error), text)


def _reason(error: Exception) -> str:
    return f"no CloudTrail record: {error}" if isinstance(error, msgspec.MsgspecError) else str(error)


def _read_record(intake: Intake, text: msgspec.Raw | bytes, known: set[str], about: tuple[datetime | None, Collection[str]]) -> None:
    head = _HEAD.decode(text)
    if head.eventCategory == "Insight":
        return
    time = to_time(head.eventTime)
    if head.is_change and not head.eventID:
        raise ValueError("the record has no eventID")
    row = _row(msgspec.json.decode(text), head, (time, about[0]), about[1]) if head.is_change else None
    intake.see(to_text(head.recipientAccountId), time)
    if row and head.eventID and head.eventID not in known:
        known.add(head.eventID)
        intake.keep(row)


def _row(record: dict[str, Any], head: _Head, times: tuple[datetime, datetime | None], service_tags: Collection[str]) -> dict[str, Any]:
    actor, (time, delivered) = find_actor(record), times
    return {
        "change_id": to_text(head.eventID),
        "time": time,
        "known_at": max(time, delivered) if delivered else None,
        "source": "cloudtrail",
        "kind": find_kind(record),
        "event": to_text(f"{head.eventSource}:{head.eventName}"),
        "service": find_service(record, service_tags),
        "resource": find_resource(record),
        "account": to_text(head.recipientAccountId),
        "region": to_text(record.get("awsRegion")),
        "actor": actor.name,
        "actor_kind": actor.kind,
        "role": actor.role,
        "automated": actor.automated or _is_scaled(record),
        "summary": summarise(record),
        "after": values_asked(record),
    }


def _is_scaled(record: dict[str, Any]) -> bool:
    """Instances that an Auto Scaling group started itself carry its tag."""
    return plain_name(str(record.get("eventName"))) == "RunInstances" and "aws:autoscaling:groupName" in str(values_asked(record))


def match_service(text: str, services: Collection[str]) -> str | None:
    """The longest known service whose name stands in the text as whole words; null: none.

    `index-refresh-sync` and `acme-index-refresh-logs` match `index-refresh`; `cart-api` does not match `art`.
    """
    low = text.lower()
    for service in sorted(set(services), key=lambda name: (-len(name), name)):
        if service and re.search(rf"(?<![a-z0-9]){re.escape(service.lower())}(?![a-z0-9])", low):
            return service
    return None


def is_log(name: str) -> bool:
    """Whether a file holds events: not digests, not insights."""
    return not any(mark in name for mark in _NOT_EVENTS)


def _delivery_time(file: Path) -> datetime | None:
    """When CloudTrail delivered the file, from its name; null where the name does not say."""
    found = _DELIVERED.search(file.name)
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None
