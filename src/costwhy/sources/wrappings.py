"""Records in the wrappings in which people have them, each found by its own fields.

A record is a JSON object with the fields that its format demands. It may stand in lists
(`Records`, `Events`, `logEvents`), in objects (EventBridge's `detail`, CloudEvents' `data`), in
texts that are JSON again (`CloudTrailEvent`, the `message` of CloudWatch Logs, the `Message` of
SNS, the `Body` of SQS), in Base64 with or without gzip (`data`), and in rows of a query
({"field", "value"} pairs, or one object for each column): in any of these within another.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec

from costwhy.sources import records
from costwhy.sources.records import NO_JSON

Text = msgspec.Raw | bytes
Found = list[tuple[Text, bool]]  # a JSON text, and whether it is a record
DEEPEST = 8  # wrappings in one another
_LISTS = {  # what holds one record in each item, in small letters
    "records", "events", "logevents", "messages", "entries", "results", "queryresultrows",
    "activities", "scalingactivities", "items",
}  # fmt: skip
_PACKED = {"data", "data_base64"}
_ENVELOPES = (  # how an object is told that wraps none of the records, and what it is
    ({"digestStartTime", "digestEndTime"}, "a digest of CloudTrail"),
    ({"EventId", "EventName"}, "an event of `lookup-events` without its text `CloudTrailEvent`"),
    ({"s3Bucket", "s3ObjectKey"}, "a notice that a log file was delivered"),
    ({"detail-type", "detail"}, "an EventBridge event"),
    ({"Message", "TopicArn"}, "a notification of SNS"),
    ({"Body", "MessageId"}, "a message of SQS"),
    ({"body", "messageId"}, "a message of SQS"),
    ({"specversion", "type"}, "a CloudEvent"),
    ({"message", "timestamp"}, "a log event of CloudWatch Logs"),
    ({"@message"}, "a row of CloudWatch Logs Insights"),
)


def read_records(file: Path, fields: tuple[str, ...]) -> Iterator[tuple[str, Text | None]]:
    """Place and JSON text of each record of a file, and of each item that holds none.

    null: a document of several that is too long.

    fields: what every record has at its top. Records stay slices of the file's bytes:
    `records.MAX_BYTES` limits the memory. Raises SourceError when the file is no JSON.
    """
    for place, text in records.read_documents(file):
        if text is None:
            yield place, None
            continue
        try:
            found = unwrap(text, fields)
        except NO_JSON:
            found = [(text, False)]  # its reader decodes it again and says why
        before = f"{place}, " if place else ""
        for number, (record, _) in enumerate(found, start=1):
            yield place or "line 1" if record is text else f"{before}record {number}", record


def unwrap(text: Text, fields: tuple[str, ...], deepest: int = DEEPEST) -> Found:
    """The records in a JSON text, in order; where a list has any, also its other items.

    Where there is none: each item of a list, else the whole. Raises msgspec.DecodeError.
    """
    first = bytes(memoryview(text)[:1])
    if first == b"{":
        return _in_object(text, fields, deepest)
    if first == b"[":
        items = msgspec.json.decode(text, type=list[msgspec.Raw])
        row = _row(items)
        if row is not None:
            return unwrap(row, fields, deepest)
        return [one for item in items for one in unwrap(item, fields, deepest)]
    if first == b'"' and deepest > 0:
        return _in_text(msgspec.json.decode(text, type=str), fields, deepest) or [(text, False)]
    return [(text, False)]


def _in_object(text: Text, fields: tuple[str, ...], deepest: int) -> Found:
    if _has(text, fields):
        return [(text, True)]
    if deepest == 0:
        return [(text, False)]
    inside = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    if bytes(inside.get("messageType", b"")) == b'"CONTROL_MESSAGE"':  # CloudWatch Logs greets
        return []
    parts = {
        key: _in_packed(value, fields, deepest - 1)
        if key.lower() in _PACKED and bytes(memoryview(value)[:1]) == b'"'
        else unwrap(value, fields, deepest - 1)
        for key, value in inside.items()
        if bytes(memoryview(value)[:1]) in b'{["'
    }
    holding = [part for part in parts.values() if any(is_record for _, is_record in part)]
    holding = holding or [part for key, part in parts.items() if key.lower() in _LISTS]
    return [one for part in holding for one in part] if holding else [(text, False)]


def _has(text: Text, fields: tuple[str, ...]) -> bool:
    try:
        msgspec.json.decode(text, type=_fields(fields))
    except msgspec.ValidationError:
        return False
    return True


@cache
def _fields(fields: tuple[str, ...]) -> type[msgspec.Struct]:
    """A record with these fields: reading it is several times quicker than reading all of them."""
    return msgspec.defstruct("Record", [(name, msgspec.Raw) for name in fields])


def _in_text(text: str, fields: tuple[str, ...], deepest: int) -> Found:
    """The records in a text that is JSON itself: one document or several; else none."""
    data = text.strip().encode("utf-8", "replace")
    if not data.startswith((b"{", b"[")):
        return []
    try:
        return unwrap(data, fields, deepest - 1)
    except NO_JSON:
        several = [one for _, one in records.documents(data)]
        return [one for part in several for one in _quietly(part, fields, deepest - 1)]


def _quietly(text: bytes, fields: tuple[str, ...], deepest: int) -> Found:
    try:
        return unwrap(text, fields, deepest)
    except NO_JSON:
        return []


def _in_packed(text: Text, fields: tuple[str, ...], deepest: int) -> Found:
    """The records in a text that is Base64, of gzip or of JSON; else in the text itself."""
    inner = msgspec.json.decode(text, type=str)
    try:
        data = base64.b64decode(inner, validate=True)
        if data.startswith(b"\x1f\x8b"):
            data = zlib.decompressobj(31).decompress(data, records.MAX_LINE_BYTES)
        return _in_text(data.decode(), fields, deepest) or [(text, False)]
    except (binascii.Error, zlib.error, ValueError):
        return unwrap(text, fields, deepest)


def _row(items: list[msgspec.Raw]) -> bytes | None:
    """A row of a query as one object; null: the list is none.

    [{"eventID": "1"}, {"eventName": "x"}]; [{"field": "@message", "value": "x"}, ...]
    """
    row: dict[str, msgspec.Raw] = {}
    for item in items if 1 < len(items) < 1_000 else ():
        if bytes(memoryview(item)[:1]) != b"{":
            return None
        cell = msgspec.json.decode(item, type=dict[str, msgspec.Raw])
        if cell.keys() == {"field", "value"}:
            cell = {str(msgspec.json.decode(cell["field"])): cell["value"]}
        if len(cell) != 1 or cell.keys() & row.keys():
            return None
        row |= cell
    return msgspec.json.encode(row) if row else None


def name_of(text: object) -> str | None:
    """What an object is that wraps no record: `an EventBridge event`; null: not known."""
    if not isinstance(text, bytes | msgspec.Raw):
        return None
    try:
        inside = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except NO_JSON:
        return None
    return next((what for keys, what in _ENVELOPES if keys <= inside.keys()), None)
