"""Backstage catalogue entities: which team owns a service, what it depends on, who is in the team, where to reach it.

Source: Backstage, *Descriptor Format of Catalog Entities*; *Well-known Annotations*.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.intake import Intake, to_text
from costwhy.sources.owners import yaml_documents
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Reading
from costwhy.tables import CATALOG

ENDINGS = (".yaml", ".yml")
KINDS = ("component", "resource", "system", "group", "user", "api", "domain")
_WITHOUT_ROW = ("location", "template")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PLACES = ("backstage.io/source-location", "backstage.io/managed-by-location", "backstage.io/view-url")


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """YAML files. Raises SourceError when there is none."""
    return files.find_files(path, folder, ENDINGS)


def read(sources: Sequence[Path]) -> Reading:
    """Rows of the catalogue. Entities that break the rules, or are defined twice, are set aside; `seen` is empty."""
    intake, known = Intake(CATALOG, "backstage"), dict[tuple[str, str, str], dict[str, Any]]()
    members: dict[str, list[str]] = {}
    for file in sources:
        try:
            text = files.read_bytes(file).decode("utf-8-sig", "replace")
        except SourceError as error:
            intake.set_aside(file, None, str(error))
            continue
        for document in yaml_documents.split(text):
            try:
                _read_entity(intake, yaml_documents.load(document), known, members)
            except ValueError as error:
                intake.set_aside(file, f"line {document.line}", str(error), document.text)
    reading = intake.reading()
    return Reading(rows=_with_members(reading.rows, members), set_aside=reading.set_aside, seen=reading.seen)


def _read_entity(intake: Intake, value: object, known: dict[tuple[str, str, str], dict[str, Any]], members: dict[str, list[str]]) -> None:
    if value is None:
        return
    entity = _mapping(value)
    kind = str(entity.get("kind", "")).lower()
    if not str(entity.get("apiVersion", "")).startswith("backstage.io/"):
        raise ValueError("no Backstage entity: apiVersion is not backstage.io/...")
    if kind in _WITHOUT_ROW:
        return
    if kind not in KINDS:
        raise ValueError(f"the kind {kind!r} is not used")
    row = _row(entity, kind)
    namespace = to_text(_mapping(entity.get("metadata")).get("namespace")) or "default"
    key = (kind, namespace.lower(), row["name"].lower())
    if known.setdefault(key, row) != row:
        raise ValueError(f"{kind} {row['name']!r} is defined twice: the first one counts")
    if known[key] is row:
        intake.keep(row)
        for user in _names(_mapping(entity.get("spec")).get("members")) if kind == "group" else []:
            members.setdefault(user, []).append(row["name"])


def _row(entity: Mapping[str, Any], kind: str) -> dict[str, Any]:
    metadata, spec = _mapping(entity.get("metadata")), _mapping(entity.get("spec"))
    name, profile, notes = metadata.get("name"), _mapping(spec.get("profile")), _mapping(metadata.get("annotations"))
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("metadata.name breaks Backstage's rule: 1 to 63 letters, digits, and - _ . between them")
    email = to_text(profile.get("email"))
    return {
        "source": "backstage",
        "kind": kind,
        "name": name,
        "owner": _name(spec.get("owner")),
        "title": to_text(metadata.get("title")) or to_text(profile.get("displayName")),
        "email": email,
        "contact": _slack(notes) or email or _pagerduty(notes),
        "depends_on": _names(spec.get("dependsOn")),
        "member_of": _names(spec.get("memberOf")),
        "path": _path(notes),
        "lifecycle": to_text(spec.get("lifecycle")),
    }


def _name(reference: object) -> str | None:
    """`group:default/data-products` -> data-products; null where it is none."""
    text = to_text(reference)
    return (text.rsplit(":", 1)[-1].rsplit("/", 1)[-1] or None) if text else None


def _names(references: object) -> list[str]:
    texts = [_name(reference) for reference in references] if isinstance(references, list) else []
    return list(dict.fromkeys(text for text in texts if text))


def _slack(notes: Mapping[str, Any]) -> str | None:
    """The Slack channel: `slack.com/channel` first, else any annotation that names Slack and a channel."""
    keys = sorted((key for key in notes if "slack" in key.lower() and "channel" in key.lower()), key=len)
    return next((text for key in keys if (text := to_text(notes[key]))), None)


def _pagerduty(notes: Mapping[str, Any]) -> str | None:
    """The PagerDuty service id. An integration key opens incidents, so it is never shown: only that there is one."""
    service = to_text(notes.get("pagerduty.com/service-id"))
    return service or ("PagerDuty" if notes.get("pagerduty.com/integration-key") else None)


def _path(notes: Mapping[str, Any]) -> str | None:
    links = [(to_text(notes.get(key)) or "").removeprefix("url:") for key in _PLACES]
    return next((path for link in links if (path := repository_path(link))), None)


def _with_members(rows: pl.DataFrame, members: dict[str, list[str]]) -> pl.DataFrame:
    """Users with the groups that name them as members, besides those that they name themselves."""
    if not members:
        return rows
    named = pl.DataFrame({"name": list(members), "groups": list(members.values())}, schema_overrides={"groups": pl.List(pl.String)})
    both = pl.concat_list("member_of", pl.col("groups").fill_null([])).list.unique(maintain_order=True)
    joined = rows.join(named, on="name", how="left", maintain_order="left")
    member_of = pl.when(pl.col("kind") == "user").then(both).otherwise(pl.col("member_of"))
    return joined.with_columns(member_of.alias("member_of")).drop("groups")


def _mapping(value: object) -> dict[str, Any]:
    return {str(key): inner for key, inner in value.items()} if isinstance(value, dict) else {}
