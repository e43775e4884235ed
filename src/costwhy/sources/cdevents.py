"""CDEvents: deployments, upgrades, rollbacks as delivery pipelines record them. JSON Lines, one event a line (cdevents.dev)."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from costwhy.errors import SourceError
from costwhy.sources.reading import Aside, Reading, aside_frame, change_frame, parse_time, read_text, seen_frame

ENDINGS = (".jsonl", ".ndjson", ".json", ".jsonl.gz")
KINDS = {"deployed": "deploy", "upgraded": "deploy", "published": "deploy", "rolledback": "rollback", "removed": "delete"}


def read(files: Sequence[Path]) -> Reading:
    """Every event of these files. A line that is no CDEvent is set aside; an event delivered twice is one."""
    rows: dict[str, dict[str, object]] = {}
    asides, seen = [], []
    for file in files:
        try:
            lines = read_text(file).splitlines()
        except SourceError as error:
            asides.append(Aside(file.name, "", str(error).replace("\n", "; ")))
            continue
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row, notes = _row(msgspec.json.decode(line))
            except (ValueError, TypeError, AttributeError, KeyError, msgspec.DecodeError) as error:
                asides.append(Aside(file.name, f"line {number}", f"not a CDEvent: {error}", line))
                continue
            asides.extend(Aside(file.name, f"line {number}", note, line) for note in notes)
            if rows.get(str(row["change_id"]), row) != row:
                asides.append(Aside(file.name, f"line {number}", f"a second event with the id {row['change_id']}, of other content", line))
                continue
            rows[str(row["change_id"])] = row
            seen.append((None, row["time"]))
    return Reading(change_frame(list(rows.values())), aside_frame("cdevents", asides), seen_frame("cdevents", [(a, t) for a, t in seen if isinstance(t, datetime)]))


def _row(event: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """The change that an event tells, and what of it could not be read."""
    context, subject = _part(event, "context"), _part(event, "subject")
    content, custom = _part(subject, "content"), _part(event, "customData")
    name = str(context["type"])
    if not name.startswith("dev.cdevents."):
        raise ValueError(f"context.type is {name!r}")
    verb = next((part for part in name.split(".") if part in KINDS), "")
    service = _text(subject.get("id")) if ".service." in name else None
    plan, notes = _plan(custom.get("planned"))
    url = _text(custom.get("url"))
    row: dict[str, object] = {
        "change_id": str(context["id"]), "time": parse_time(context["timestamp"]), "known_at": None, "source": "cdevents",
        "kind": KINDS.get(verb, "other"), "event": name, "service": service,
        "environment": _text(_part(content, "environment").get("id")), "resource": _text(content.get("artifactId")), "account": None, "region": None,
        "actor": _text(custom.get("actor")), "actor_kind": _actor_kind(_text(custom.get("actor"))), "role": None, "automated": False,
        "summary": _text(custom.get("summary")), "url": url, "ticket": _text(custom.get("ticket")),
        "path": _path(url or "") or _path(str(subject.get("source") or "")), "before": None, "after": None, **plan,
    }
    return row, notes


def _part(record: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = record.get(name) or {}
    if not isinstance(value, dict):
        raise TypeError(f"{name} is not an object")
    return value


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _actor_kind(actor: str | None) -> str | None:
    if actor is None:
        return None
    return "pipeline" if re.search(r"(\bbot\b|\[bot\]|pipeline|^ci[-_])", actor.lower()) else "person"


def _plan(planned: object) -> tuple[dict[str, object], list[str]]:
    none: dict[str, object] = {"planned_reason": None, "planned_cost_per_day": None, "planned_until": None}
    if planned is None:
        return none, []
    try:
        if not isinstance(planned, dict):
            raise TypeError("it is not an object")  # noqa: TRY301  one place says what is wrong with a plan
        cost, until = planned.get("expected_cost_per_day"), planned.get("until")
        return {"planned_reason": str(planned["reason"]), "planned_cost_per_day": None if cost is None else float(str(cost)),
                "planned_until": None if until is None else parse_time(until)}, []
    except (KeyError, ValueError, TypeError) as error:
        return none, [f"the change is kept, its plan is not: {error}"]


def _path(url: str) -> str | None:
    """The repository path that a link names: https://git.example/platform/services/cart/pulls/7 is /services/cart/."""
    parts = [part for part in urlsplit(url).path.split("/") if part]
    for marker in ("services", "apps", "jobs", "packages"):
        if marker in parts[:-1]:
            return "/" + "/".join(parts[parts.index(marker):parts.index(marker) + 2]) + "/"
    return None
