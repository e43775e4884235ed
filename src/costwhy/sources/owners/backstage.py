"""Backstage catalogue entities: who owns a service, what it depends on, who is in the team.

Source: Backstage, *Descriptor Format of Catalog Entities*; *Well-known Annotations*.

The YAML is untrusted: each document is measured before anything is built, then loaded safely. What
is refused: more than MAX_BYTES, more than MAX_NODES once aliases are followed (*billion laughs*),
more than MAX_DEPTH levels, and tags that would build objects.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import yaml

from costwhy.errors import SourceError
from costwhy.sources import records
from costwhy.sources.files import Files
from costwhy.sources.format import Format
from costwhy.sources.owners.codeowners import repository_path
from costwhy.sources.reading import Collector, Reading, to_mapping, to_text
from costwhy.sources.wrappings import Text, read_records
from costwhy.tables import CATALOG

KINDS = ("component", "resource", "system", "group", "user", "api", "domain")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PLACES = (
    "backstage.io/source-location",
    "backstage.io/managed-by-location",
    "backstage.io/view-url",
)


MAX_BYTES = 2**20
MAX_NODES = 20_000
MAX_DEPTH = 50
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "seq", "map", "timestamp")
}


def read(sources: Sequence[Path]) -> Reading:
    """Rows of the catalogue; entities that break the rules, or are defined twice, are set aside."""
    collector, members = Collector(CATALOG, "backstage"), defaultdict[str, list[str]](list)

    def read_one(document: str | Text) -> None:
        value = _load(document) if isinstance(document, str) else _decoded(document)
        entity = to_mapping(value)
        kind = str(entity.get("kind", "")).lower()
        if value is None:
            return
        if not str(entity.get("apiVersion", "")).startswith("backstage.io/"):
            raise ValueError("no Backstage entity: apiVersion is not backstage.io/...")
        if kind in {"location", "template"}:  # they have no row
            return
        row = _row(entity, kind)
        key = (
            kind,
            (to_text(to_mapping(entity.get("metadata")).get("namespace")) or "default").lower(),
            row["name"].lower(),
        )
        first = collector.keep_once(row, key, row, f"{kind} {row['name']!r} is defined twice")
        if first and kind == "group":
            for user in _names(to_mapping(entity.get("spec")).get("members")):
                members[user].append(row["name"])

    for file in sources:
        collector.read_each(file, _documents(file), read_one, "Backstage entity")
    reading = collector.reading()
    return replace(reading, rows=_with_members(reading.rows, members))


def _documents(file: Path) -> Iterator[tuple[str, str | Text | None]]:
    """Place (`line 7`) and text of each document, so that a broken one spares the others."""
    text = records.read_text(file)
    if text.lstrip().startswith(("{", "[")):  # JSON, in which YAML would not read every tab
        with suppress(SourceError):
            yield from list(read_records(file, ("apiVersion", "kind", "metadata")))
            return
    starts = [
        0,
        *(m.start() for m in re.finditer(r"^---(?=\s|$)", text, re.MULTILINE) if m.start()),
    ]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        if text[start:end].strip("-\n\r\t "):
            number = text.count("\n", 0, start) + 1
            yield f"line {number}", text[start:end]


def _decoded(text: Text) -> object:
    if memoryview(text).nbytes > MAX_BYTES:
        raise ValueError(f"the entity is larger than {MAX_BYTES // 2**10} kB")
    return msgspec.json.decode(text)


def _row(entity: Mapping[str, Any], kind: str) -> dict[str, Any]:
    if kind not in KINDS:
        raise ValueError(f"the kind {kind!r} is not used")
    metadata, spec = to_mapping(entity.get("metadata")), to_mapping(entity.get("spec"))
    profile, notes = to_mapping(spec.get("profile")), to_mapping(metadata.get("annotations"))
    name = metadata.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            "metadata.name breaks Backstage's rule: 1 to 63 letters, digits, and - _ . between them"
        )
    email = to_text(profile.get("email"))
    channels = [key for key in notes if "slack" in key.lower() and "channel" in key.lower()]
    slack = next(  # the shortest counts
        (text for key in sorted(channels, key=len) if (text := to_text(notes[key]))), None
    )
    # an integration key opens incidents, so it is never shown: only that there is one
    pager = "PagerDuty" if notes.get("pagerduty.com/integration-key") else None
    links = [(to_text(notes.get(key)) or "").removeprefix("url:") for key in _PLACES]
    return {
        "source": "backstage",
        "kind": kind,
        "name": name,
        "owner": _name(spec.get("owner")),
        "title": to_text(metadata.get("title")) or to_text(profile.get("displayName")),
        "email": email,
        "contact": slack or email or to_text(notes.get("pagerduty.com/service-id")) or pager,
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


def _with_members(rows: pl.DataFrame, members: dict[str, list[str]]) -> pl.DataFrame:
    """Users with the groups that name them as members, besides those that they name themselves."""
    if not members:
        return rows
    named = pl.DataFrame(
        {"name": list(members), "groups": list(members.values())},
        schema_overrides={"groups": pl.List(pl.String)},
    )
    joined = rows.join(named, on="name", how="left", maintain_order="left")
    own, others = pl.col("member_of"), pl.col("groups").fill_null([])
    both = pl.concat_list(own, others).list.unique(maintain_order=True)
    return joined.with_columns(
        member_of=pl.when(pl.col("kind") == "user").then(both).otherwise(own)
    ).drop("groups")


# ---------------------------------------------------------------- untrusted YAML


def _load(document: str) -> object:
    """The document's value. Raises ValueError when it is no YAML, or is refused."""
    if len(document) > MAX_BYTES:
        raise ValueError(f"the YAML document is larger than {MAX_BYTES // 2**10} kB")
    try:
        _measure(document)
        return yaml.load(document, Loader=_LOADER)  # noqa: S506 - it is a safe one
    except (yaml.YAMLError, RecursionError, OverflowError, TypeError) as error:
        tab = re.search(r"^ *\t", document, re.MULTILINE)
        if tab and isinstance(error, yaml.YAMLError):
            line = document.count("\n", 0, tab.start()) + 1
            raise ValueError(
                f"a tab indents line {line} of the document: YAML takes spaces"
            ) from error
        raise ValueError(f"no YAML: {' '.join(str(error).split())[:300]}") from error


def _measure(text: str) -> None:
    """Count nodes as if every alias were written out, from the parser's events alone.

    size(node) = 1 + sum of the sizes of its children;  size(alias) = size(what it names)
    """
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # anchor, nodes before it
    total = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.AliasEvent):
            total += sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.NodeEvent):
            tag = getattr(event, "tag", None)
            if tag not in _PLAIN_TAGS and tag not in {None, "!"}:
                raise ValueError(f"the YAML tag {str(tag)[:100]} is not allowed")
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, total))
            elif event.anchor:
                sizes[event.anchor] = 1
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = total - before
        if total > MAX_NODES or len(open_nodes) > MAX_DEPTH:
            raise ValueError(
                f"the YAML document has more than {MAX_NODES} nodes or {MAX_DEPTH} levels, "
                "aliases followed"
            )


FORMAT = Format(
    section="owners", source="backstage", files=Files((".yaml", ".yml", ".json")), read=read
)
