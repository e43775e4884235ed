"""CloudTrail records as a query gives them: rows of Athena and of CloudTrail Lake, and its CSV.

A query has one column for each field, all of them texts; some have the whole event as JSON.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from costwhy.sources import delimited
from costwhy.sources.records import NO_JSON, head_of
from costwhy.sources.wrappings import Text, read_records, unwrap

FIELDS = ("eventTime", "eventName")  # what every record has
_NAMES = {  # columns, in small letters without spaces and marks
    name.lower(): name
    for name in (
        "eventVersion", "userIdentity", "eventTime", "eventSource", "eventName", "awsRegion",
        "sourceIPAddress", "userAgent", "errorCode", "errorMessage", "requestParameters",
        "responseElements", "additionalEventData", "requestID", "eventID", "resources", "eventType",
        "readOnly", "recipientAccountId", "eventCategory", "managementEvent",
    )
}  # fmt: skip
# userIdentity as Athena writes it, by the columns of AWS's table
_IDENTITY = re.compile(
    r"\{type=(?P<type>\w+), principalid=(?P<principalId>.*?), arn=(?P<arn>.*?), "
    r"accountid=(?P<accountId>.*?), invokedby=(?P<invokedBy>.*?), accesskeyid=.*?, "
    r"username=(?P<userName>.*?), sessioncontext=",
    re.IGNORECASE,
)
_WITHOUT_ZONE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?")


def read_query(file: Path) -> Iterator[tuple[str, Text | None]]:
    """Place and JSON text of each record of a log file, of JSON in any wrapping, or of a CSV."""
    head = head_of(file)
    line = head[: head.find(b"\n")] if b"\n" in head else head
    if head.startswith((b"{", b"[")) or b"event" not in line.lower() or b"{" in line:
        yield from read_records(file, FIELDS)
        return
    for place, row in delimited.read_rows(file, ()):
        yield from _of_row(place, row)


def _of_row(place: str, row: dict[str, str | None]) -> Iterator[tuple[str, Text]]:
    texts = [value for value in row.values() if value and value.lstrip().startswith("{")]
    for text in texts:
        with suppress(*NO_JSON):
            found = [one for one, is_record in unwrap(text.encode(), FIELDS) if is_record]
            if found:
                yield from ((place, one) for one in found)
                return
    named = {_NAMES.get(re.sub("[^a-z]", "", name.lower()), name): row[name] for name in row}
    yield (
        place,
        msgspec.json.encode(
            {name: value for name, value in named.items() if not delimited.is_null(value)}
        ),
    )


def to_utc(time: str) -> str:
    """The time of an event; CloudTrail writes UTC, and queries leave its Z out."""
    return f"{time}Z" if _WITHOUT_ZONE.fullmatch(time) else time


def plain_values(text: Text) -> dict[str, Any]:
    """A record with values in place of texts that are JSON, or a structure of Athena."""
    record: dict[str, Any] = msgspec.json.decode(text)
    for name, value in record.items():
        if isinstance(value, str) and value.startswith(("{", "[")):
            with suppress(*NO_JSON):
                record[name] = msgspec.json.decode(value)
    identity = _IDENTITY.match(str(record.get("userIdentity")))
    if identity:
        known = {name: value for name, value in identity.groupdict().items() if value != "null"}
        record["userIdentity"] = known
    return record
