"""CloudTrail without log files: LookupEvents gives the management events of the last 90 days, in one region at a time.

AWS answers two requests a second with 50 events each. Source: AWS, *LookupEvents*; the event itself is the record that
log files carry, so it is read by the same parser.
"""

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from costwhy.remote import aws
from costwhy.sources.aws_days import Request, of_day
from costwhy.sources.changes import cloudtrail
from costwhy.sources.reading import Reading

CALLS = ("cloudtrail:LookupEvents",)
MOST_DAYS = 90
USUAL_DAYS = 14
PER_SECOND = 2


def read(request: Request) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `cloudtrail.read` gives them. Raises UnreachableError where CloudTrail does not answer."""
    client = aws.client("cloudtrail", request.region)
    for start, end in request.windows(1):
        name = f"CloudTrail {request.region} {start:%Y-%m-%d}"
        try:
            reading = cloudtrail.read_events(_events(client, start, end), name, request.service_tags or cloudtrail.SERVICE_TAGS)
        except aws.FAULTS as error:
            raise aws.unreachable(f"CloudTrail in {request.region} could not be read", error) from None
        yield start.date(), _with_aside(of_day(reading, start.date(), "time"), reading)


def _with_aside(day: Reading, whole: Reading) -> Reading:
    return Reading(day.rows, whole.set_aside, day.seen)


def _events(client: Any, start: datetime, end: datetime) -> Iterator[tuple[str, bytes]]:
    """Place and JSON of every event of [start, end); CloudTrail's own end is the last second that counts."""
    pages = client.get_paginator("lookup_events").paginate(
        StartTime=start, EndTime=end - timedelta(seconds=1), PaginationConfig={"PageSize": 50}
    )
    number, next_at = 0, 0.0
    answers = iter(pages)
    while True:
        time.sleep(max(0.0, next_at - time.monotonic()))
        next_at = time.monotonic() + 1 / PER_SECOND
        page = next(answers, None)
        if page is None:
            return
        for event in page.get("Events", []):
            number += 1
            yield f"event {number}", event.get("CloudTrailEvent", "").encode()
