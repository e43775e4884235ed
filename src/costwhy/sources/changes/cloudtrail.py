"""CloudTrail log files: write events that succeeded become changes; every record is counted.

Source: AWS, *CloudTrail record contents*; file names
`ACCOUNT_CloudTrail_REGION_20260923T1601Z_RANDOM.json.gz`. Without log files: *LookupEvents*, the
management events of the last 90 days of a region; an event is the record that log files have.
"""

import re
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import msgspec

from costwhy.sources.changes import cloudtrail_calls as calls
from costwhy.sources.changes.cloudtrail_actors import find_actor
from costwhy.sources.changes.cloudtrail_queries import plain_values, read_query, to_utc
from costwhy.sources.files import JSON_ENDINGS, Columns, Files
from costwhy.sources.format import FilesOrApiConfig, Format, Request, by_region, of_day
from costwhy.sources.reading import Collector, Reading, clean, to_text
from costwhy.sources.times import to_time
from costwhy.tables import CHANGES

CALLS = ("cloudtrail:LookupEvents",)
PER_SECOND = 2  # LookupEvents: AWS answers two requests a second with 50 events each
SERVICE_TAGS = ("service", "app", "app.kubernetes.io/name")
_READS = (
    "Get", "List", "Describe", "Head", "Lookup", "BatchGet", "Batch Get", "Search", "Select",
    "Query", "Scan", "View", "Preview", "Simulate", "Validate", "Test", "Check", "Estimate",
    "AssumeRole", "Filter", "Poll", "Receive",
)  # fmt: skip


class _Head(msgspec.Struct, rename="camel"):
    """What every record must have; enough to tell whether it is a change."""

    event_time: str
    event_name: str
    event_source: str = ""
    event_id: str | None = msgspec.field(default=None, name="eventID")
    read_only: bool | str | None = None
    error_code: str | None = None
    event_category: str | None = None
    recipient_account_id: str | None = None


class _Kind(msgspec.Struct, rename="camel"):
    """What tells a record of another kind."""

    event_category: str | None = None
    digest_end_time: str | None = None


def read(sources: Sequence[Path], service_tags: Collection[str] = SERVICE_TAGS) -> Reading:
    """Changes, records set aside, and records seen by account and hour.

    A record delivered twice (same eventID) is one change. Failed calls and reads are seen, and are
    no changes. Data events, Insights events and digests are left out with a note.
    """
    logs = [file for file in sources if not FILES.is_never(str(file))]
    return read_events(((file, read_query(file)) for file in logs), service_tags)


def read_events(
    sources: Iterable[tuple[Path, Iterable[tuple[str, msgspec.Raw | bytes | None]]]],
    service_tags: Collection[str] = SERVICE_TAGS,
) -> Reading:
    """The same, from what is shown as the file, and place and JSON text of each record."""
    collector = Collector(CHANGES, "cloudtrail")

    def read_one(text: msgspec.Raw | bytes) -> None:
        head = _head_of(text)
        if isinstance(head, str):
            collector.note(f"CloudTrail's {head} are no changes: they were left out")
            return
        time, reads = to_time(to_utc(head.event_time)), head.read_only
        reads = head.event_name.startswith(_READS) if reads is None else reads
        is_change = str(reads).lower() == "false" and not head.error_code
        if is_change and not head.event_id:
            raise ValueError("the record has no eventID")
        row = _row(plain_values(text), head, time, service_tags) if is_change else None
        collector.see(to_text(head.recipient_account_id), time)
        if row:
            collector.keep_once(
                {**row, "known_at": max(time, delivered) if delivered else None}, head.event_id
            )

    for file, records in sources:
        delivered = _delivery_time(file)
        collector.read_each(file, records, read_one, "CloudTrail record")
    return collector.reading()


def _head_of(text: msgspec.Raw | bytes) -> _Head | str:
    """What every record has; of what is none of a management event, what it is."""
    try:
        head: _Head | _Kind = msgspec.json.decode(text, type=_Head)
    except msgspec.ValidationError:
        head = msgspec.json.decode(text, type=_Kind)
        if head.digest_end_time:
            return "digests"
        if head.event_category is None:
            raise
    if head.event_category not in {None, "Management"}:
        return f"{clean(str(head.event_category), 30)} events"
    return head if isinstance(head, _Head) else msgspec.json.decode(text, type=_Head)


def _row(
    record: dict[str, Any], head: _Head, time: datetime, service_tags: Collection[str]
) -> dict[str, Any]:
    """Columns of `changes`. Instances that an Auto Scaling group started itself carry its tag."""
    actor, parameters = find_actor(record), calls.parameters_of(record)
    asked = calls.short_json(parameters) if parameters else None
    operation = calls.plain_name(str(record.get("eventName")))
    scaled = operation == "RunInstances" and "aws:autoscaling:groupName" in str(asked)
    return {
        "change_id": to_text(head.event_id),
        "time": time,
        "source": "cloudtrail",
        "kind": calls.find_kind(record),
        "event": to_text(f"{head.event_source}:{head.event_name}"),
        "service": calls.find_service(record, service_tags),
        "resource": calls.find_resource(record),
        "account": to_text(head.recipient_account_id),
        "region": to_text(record.get("awsRegion")),
        "actor": actor.name,
        "actor_kind": actor.kind,
        "role": actor.role,
        "automated": actor.automated or scaled,
        "summary": calls.summarise(record),
        "after": asked,
    }


def _delivery_time(file: Path) -> datetime | None:
    """When CloudTrail delivered the file, from its name; null where the name does not say."""
    found = re.search(r"_(\d{8}T\d{4})Z_", file.name)
    try:
        return datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


# ---------------------------------------------------------------- without log files


def read_api(
    request: Request, service_tags: Sequence[str] = SERVICE_TAGS
) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `read` gives them.

    Raises UnreachableError where CloudTrail does not answer.
    """
    from costwhy.remote import aws  # noqa: PLC0415 - log files need no client of AWS

    region, client = request.place, aws.client("cloudtrail", request.place)
    for start, end in request.windows(1):
        try:
            reading = read_events(
                [(Path(f"CloudTrail {region} {start:%Y-%m-%d}"), _events(client, start, end))],
                service_tags,
            )
        except aws.FAULTS as error:
            raise aws.unreachable(f"CloudTrail in {region} could not be read", error) from None
        yield (
            start.date(),
            replace(of_day(reading, start.date(), "time"), set_aside=reading.set_aside),
        )


def _events(client: Any, start: datetime, end: datetime) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every event of [start, end); for CloudTrail the last second counts too."""
    pages = client.get_paginator("lookup_events").paginate(
        StartTime=start, EndTime=(end - timedelta(seconds=1)), PaginationConfig={"PageSize": 50}
    )
    numbers, asked = count(1), time.monotonic()
    for page in pages:
        for event in page.get("Events", []):
            yield f"event {next(numbers)}", event.get("CloudTrailEvent", "").encode()
        time.sleep(max(0.0, asked + 1 / PER_SECOND - time.monotonic()))
        asked = time.monotonic()


class Config(FilesOrApiConfig, frozen=True, kw_only=True):
    """Log files at `path`; or `api = true`: LookupEvents, up to 90 days back."""

    days: Annotated[int, msgspec.Meta(ge=1, le=90)] | None = None


FILES = Files(
    (".json", ".jsonl", ".ndjson"),
    inside=("json", "table"),  # rows of Athena and CloudTrail Lake
    looks=(*JSON_ENDINGS, ".csv", ".log"),
    columns=Columns(
        marks=("eventTime", "eventName"),
        known=("eventSource", "eventID", "userIdentity"),
        what="CloudTrail records",
    ),
    never=("CloudTrail-Digest", "CloudTrail-Insight"),
)
FORMAT = Format(
    section="changes",
    source="cloudtrail",
    config=Config,
    files=FILES,
    read=read,
    reads_tags=True,
    live=by_region(read_api, "service_tags"),
    cannot_show="a change made by data-plane calls",
)
