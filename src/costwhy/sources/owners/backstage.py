"""Backstage catalogue entities: who owns a service, what it depends on, who is in the team.

Source: Backstage, *Descriptor Format of Catalog Entities*; *Well-known Annotations*.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.sources import files
from costwhy.sources.files import Files
from costwhy.sources.format import Format
from costwhy.sources.owners import yaml_documents
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Collector, Reading, to_mapping, to_text
from costwhy.tables import CATALOG

KINDS = ("component", "resource", "system", "group", "user", "api", "domain")
_WITHOUT_ROW = ("location", "template")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PLACES = (
    "backstage.io/source-location",
    "backstage.io/managed-by-location",
    "backstage.io/view-url",
)


def read(sources: Sequence[Path]) -> Reading:
    """Rows of the catalogue; entities that break the rules, or are defined twice, are set aside."""
    collector, members = Collector(CATALOG, "backstage"), defaultdict[str, list[str]](list)

    def read_one(document: str) -> None:
        value = yaml_documents.load(document)
        entity = to_mapping(value)
        kind = str(entity.get("kind", "")).lower()
        if value is None:
            return
        if not str(entity.get("apiVersion", "")).startswith("backstage.io/"):
            raise ValueError("no Backstage entity: apiVersion is not backstage.io/...")
        if kind in _WITHOUT_ROW:
            return
        row = _row(entity, kind)
        key = (
            kind,
            (to_text(to_mapping(entity.get("metadata")).get("namespace")) or "default").lower(),
            row["name"].lower(),
        )
        first = collector.keep_once(row, key, row, f"{kind} {row['name']!r} is defined twice")
        named = to_mapping(entity.get("spec")).get("members") if first and kind == "group" else None
        for user in _names(named):
            members[user].append(row["name"])

    for file in sources:
        collector.read_each(file, _documents(file), read_one, "Backstage entity")
    reading = collector.reading()
    return replace(reading, rows=_with_members(reading.rows, members))


def _documents(file: Path) -> Iterator[tuple[str, str]]:
    yield from yaml_documents.split(files.read_bytes(file).decode("utf-8-sig", "replace"))


def _row(entity: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind not in KINDS:
        raise ValueError(f"the kind {kind!r} is not used")
    metadata, spec = to_mapping(entity.get("metadata")), to_mapping(entity.get("spec"))
    profile, notes = to_mapping(spec.get("profile")), to_mapping(metadata.get("annotations"))
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "1 to 63 letters, digits, and - _ . between them"
        raise ValueError(f"metadata.name breaks Backstage's rule: {rule}")
    email = to_text(profile.get("email"))
    channels = [key for key in notes if "slack" in key.lower() and "channel" in key.lower()]
    names = (to_text(notes[key]) for key in sorted(channels, key=len))  # the shortest counts
    slack = next((text for text in names if text), None)
    links = [(to_text(notes.get(key)) or "").removeprefix("url:") for key in _PLACES]
    return {
        "source": "backstage",
        "kind": kind,
        "name": name,
        "owner": _name(spec.get("owner")),
        "title": to_text(metadata.get("title")) or to_text(profile.get("displayName")),
        "email": email,
        "contact": slack or email or _pagerduty(notes),
        "depends_on": _names(spec.get("dependsOn")),
        "member_of": _names(spec.get("memberOf")),
        "path": next((path for link in links if (path := repository_path(link))), None),
        "lifecycle": to_text(spec.get("lifecycle")),
    }


def _name(reference: object) -> str | None:
    """`group:default/data-products` -> data-products; null where it is none."""
    text = to_text(reference)
    return (text.rsplit(":", 1)[-1].rsplit("/", 1)[-1] or None) if text else None


def _names(references: object) -> list[str]:
    texts = [_name(reference) for reference in references] if isinstance(references, list) else []
    return list(dict.fromkeys(text for text in texts if text))


def _pagerduty(notes: Mapping[str, Any]) -> str | None:
    """The PagerDuty service id.

    An integration key opens incidents, so it is never shown: only that there is one.
    """
    return to_text(notes.get("pagerduty.com/service-id")) or (
        "PagerDuty" if notes.get("pagerduty.com/integration-key") else None
    )


def _with_members(rows: pl.DataFrame, members: dict[str, list[str]]) -> pl.DataFrame:
    """Users with the groups that name them as members, besides those that they name themselves."""
    if not members:
        return rows
    joined = rows.join(
        pl.DataFrame(
            {"name": list(members), "groups": list(members.values())},
            schema_overrides={"groups": pl.List(pl.String)},
        ),
        on="name",
        how="left",
        maintain_order="left",
    )
    return joined.with_columns(
        pl.when(pl.col("kind") == "user")
        .then(
            pl.concat_list("member_of", pl.col("groups").fill_null([])).list.unique(
                maintain_order=True
            )
        )
        .otherwise(pl.col("member_of"))
        .alias("member_of")
    ).drop("groups")


FORMAT = Format(section="owners", source="backstage", files=Files((".yaml", ".yml")), read=read)
