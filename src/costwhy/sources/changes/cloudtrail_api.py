"""CloudTrail without log files: the management events of the last 90 days of a region.

AWS answers two requests a second with 50 events each. Source: AWS, *LookupEvents*; an event is the
record that log files have, so the same parser reads it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from costwhy.remote import aws
from costwhy.sources.changes import cloudtrail
from costwhy.sources.format import Request, of_day
from costwhy.sources.reading import Reading

CALLS = ("cloudtrail:LookupEvents",)
PER_SECOND = 2


def read(
    request: Request, service_tags: Sequence[str] = cloudtrail.SERVICE_TAGS
) -> Iterator[tuple[date, Reading]]:
    """Each day with its changes, as `cloudtrail.read` gives them.

    Raises UnreachableError where CloudTrail does not answer.
    """
    region = request.place
    client = aws.client("cloudtrail", region)
    for start, end in request.windows(1):
        try:
            reading = cloudtrail.read_events(
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
