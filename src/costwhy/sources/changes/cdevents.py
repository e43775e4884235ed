"""CDEvents, JSON Lines: deployments and other changes as delivery systems announce them, with plans.

Source: CDEvents specification 0.3 to 0.5 (`dev.cdevents.SUBJECT.PREDICATE.VERSION`); `customData` as in the contract.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.changes.cloudtrail_actors import kind_of
from costwhy.sources.intake import Intake, to_text, to_time
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Reading
from costwhy.tables import CHANGES

ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz")
_TYPE = re.compile(r"dev\.cdevents(?:x)?\.(?P<subject>[a-z0-9_-]+)\.(?P<predicate>[a-z0-9_-]+)\.\d+\.\d+\.\d+\S*")
_KINDS = {
    ("service", "deployed"): "deploy",
    ("service", "upgraded"): "deploy",
    ("service", "published"): "deploy",
    ("service", "rolledback"): "rollback",
    ("service", "removed"): "delete",
}


class _Context(msgspec.Struct):
    id: str
    type: str
    timestamp: str


class _Subject(msgspec.Struct):
    id: str
    source: Any = None
    content: Any = None


class _Event(msgspec.Struct):
    context: _Context
    subject: _Subject
    customData: Any = None


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """JSON Lines files. Raises SourceError when there is none."""
    return files.find_files(path, folder, ENDINGS)


def read(sources: Sequence[Path]) -> Reading:
    """Changes, records set aside, and records seen by hour.

    The same event twice is one change; another event under the same `context.id` is set aside.
    """
    intake, known = Intake(CHANGES, "cdevents"), dict[str, bytes]()
    for file in sources:
        try:
            for number, line in files.read_lines(file):
                _read_line(intake, (file, f"line {number}"), line, known)
        except SourceError as error:
            intake.set_aside(file, None, str(error))
    return intake.reading()


def _read_line(intake: Intake, at: tuple[Path, str], line: bytes | None, known: dict[str, bytes]) -> None:
    if line is None:
        intake.set_aside(*at, f"the line is longer than {files.MAX_LINE_BYTES // 2**20} MB")
        return
    try:
        _read_event(intake, at, line, known)
    except msgspec.MsgspecError as error:
        intake.set_aside(*at, f"no CDEvents event: {error}", line)
    except (ValueError, RecursionError) as error:
        intake.set_aside(*at, str(error), line)


def _read_event(intake: Intake, at: tuple[Path, str], line: bytes, known: dict[str, bytes]) -> None:
    raw = msgspec.json.decode(line)
    if isinstance(raw, dict) and "context" not in raw and isinstance(raw.get("data"), dict):
        raw = raw["data"]  # wrapped as a CloudEvent
    event = msgspec.convert(raw, _Event)
    if not event.context.id.strip() or not event.subject.id.strip():
        raise ValueError("context.id or subject.id is empty")
    kind, service = _meaning(event)
    time = to_time(event.context.timestamp)
    intake.see(None, time)
    digest = hashlib.sha256(msgspec.json.encode(raw, order="sorted")).digest()
    first = event.context.id not in known
    if known.setdefault(event.context.id, digest) != digest:
        raise ValueError("another event has the same context.id: the first one counts")
    if first:
        row = {
            "change_id": to_text(event.context.id),
            "time": time,
            "source": "cdevents",
            "kind": kind,
            "service": service,
        }
        intake.keep({**row, **_subject(event), **_custom(intake, at, event, line)})


def _meaning(event: _Event) -> tuple[str, str | None]:
    """Kind of change, and the service: the subject of service events, else the service that the content names."""
    found = _TYPE.fullmatch(event.context.type)
    if not found:
        raise ValueError("context.type is no CDEvents type (dev.cdevents.SUBJECT.PREDICATE.VERSION)")
    subject, predicate = found["subject"], found["predicate"]
    if subject == "service":
        return _KINDS.get((subject, predicate), "other"), to_text(event.subject.id)
    named = _mapping(_mapping(event.subject.content).get("service")).get("id")
    return "flag" if "flag" in subject else "other", to_text(named)


def _subject(event: _Event) -> dict[str, Any]:
    content = _mapping(event.subject.content)
    environment = content.get("environment")
    return {
        "event": to_text(event.context.type),
        "environment": to_text(environment) or to_text(_mapping(environment).get("id")),
        "resource": to_text(content.get("artifactId")) or to_text(event.subject.id),
        "automated": False,
    }


def _custom(intake: Intake, at: tuple[Path, str], event: _Event, line: bytes) -> dict[str, Any]:
    """What `customData` adds. A link that is no web address and an incomplete plan are set aside; the change stays."""
    custom = _mapping(event.customData)
    actor, url = to_text(custom.get("actor")), to_text(custom.get("url"))
    if url and not url.startswith(("https://", "http://")):
        intake.set_aside(*at, "customData.url is no web address: the change is kept without it", line)
        url = None
    source = event.subject.source if isinstance(event.subject.source, str) else None
    plan: dict[str, Any] = {}
    try:
        plan = _plan(custom.get("planned"))
    except ValueError as error:
        intake.set_aside(*at, f"customData.planned is incomplete, the change is kept without it: {error}", line)
    return {
        "actor": actor,
        "actor_kind": kind_of(actor),
        "summary": to_text(custom.get("summary")),
        "url": url,
        "ticket": to_text(custom.get("ticket")),
        "path": repository_path(url) or repository_path(source),
        **plan,
    }


def _plan(planned: object) -> dict[str, Any]:
    """The plan's columns; none where nothing is planned. Raises ValueError where a part is missing or wrong."""
    if planned is None:
        return {}
    plan = _mapping(planned)
    reason, cost = to_text(plan.get("reason")), plan.get("expected_cost_per_day")
    if reason is None:
        raise ValueError("reason is missing")
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not math.isfinite(cost):
        raise ValueError("expected_cost_per_day is no number")
    if plan.get("until") is None:
        raise ValueError("until is missing")
    return {"planned_reason": reason, "planned_cost_per_day": float(cost), "planned_until": to_time(plan["until"])}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
