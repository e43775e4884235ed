"""CDEvents: changes as delivery systems announce them, with plans.

Source: CDEvents specification 0.3 to 0.5 (`dev.cdevents.SUBJECT.PREDICATE.VERSION`); `customData`
as in docs/contract.md.
"""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from costwhy.sources.changes.long_table import stated
from costwhy.sources.files import JSON_ENDINGS, Files
from costwhy.sources.format import Format
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Collector, Reading, to_mapping, to_text
from costwhy.sources.times import to_time
from costwhy.sources.wrappings import read_records
from costwhy.tables import CHANGES

_TYPE = re.compile(
    r"dev\.cdevents(?:x)?\.(?P<subject>[a-z0-9_-]+)\.(?P<predicate>[a-z0-9_-]+)\.\d+\.\d+\.\d+\S*"
)
_KINDS = {  # of service events, by predicate
    "deployed": "deploy",
    "upgraded": "deploy",
    "published": "deploy",
    "rolledback": "rollback",
    "removed": "delete",
}


class _Context(msgspec.Struct):
    id: str
    type: str
    timestamp: str


class _Subject(msgspec.Struct):
    id: str
    source: Any = None
    content: Any = None


class _Event(msgspec.Struct, rename="camel"):
    context: _Context
    subject: _Subject
    custom_data: Any = None


def read(sources: Sequence[Path]) -> Reading:
    """Changes, records set aside, and records seen by hour.

    The same event twice is one change; another event under the same `context.id` is set aside.
    """
    collector = Collector(CHANGES, "cdevents")

    def read_one(text: msgspec.Raw | bytes) -> list[str]:
        raw = msgspec.json.decode(text)
        event = msgspec.convert(raw, _Event)
        row, reasons = _row(event)
        collector.see(None, row["time"])
        digest = hashlib.sha256(msgspec.json.encode(raw, order="sorted")).digest()
        clash = "another event has the same context.id"
        return reasons if collector.keep_once(row, event.context.id, digest, clash) else []

    for file in sources:
        collector.read_each(
            file, read_records(file, ("context", "subject")), read_one, "CDEvents event"
        )
    return collector.reading()


def _row(event: _Event) -> tuple[dict[str, Any], list[str]]:
    """Columns of `changes`, and why parts of `customData` are left out.

    The service is the subject of service events, and is named in the content of others.
    """
    if not event.context.id.strip() or not event.subject.id.strip():
        raise ValueError("context.id or subject.id is empty")
    found = _TYPE.fullmatch(event.context.type)
    if not found:
        raise ValueError(
            "context.type is no CDEvents type (dev.cdevents.SUBJECT.PREDICATE.VERSION)"
        )
    content, is_service = to_mapping(event.subject.content), found["subject"] == "service"
    environment = content.get("environment")
    named = event.subject.id if is_service else to_mapping(content.get("service")).get("id")
    kind = _KINDS.get(found["predicate"], "other") if is_service else "other"
    custom, reasons = stated(to_mapping(event.custom_data), "customData.")
    source = event.subject.source if isinstance(event.subject.source, str) else None
    row = {
        "change_id": to_text(event.context.id),
        "time": to_time(event.context.timestamp),
        "source": "cdevents",
        "kind": "flag" if "flag" in found["subject"] else kind,
        "service": to_text(named),
        "event": to_text(event.context.type),
        "environment": to_text(environment) or to_text(to_mapping(environment).get("id")),
        "resource": to_text(content.get("artifactId")) or to_text(event.subject.id),
        "automated": False,
    }
    return {**row, **custom, "path": custom["path"] or repository_path(source)}, reasons


FORMAT = Format(
    section="changes",
    source="cdevents",
    files=Files((".jsonl", ".ndjson", ".json"), inside=("json",), looks=JSON_ENDINGS),
    read=read,
    cannot_show="a change deployed without the delivery pipeline",
    titled=True,
)
