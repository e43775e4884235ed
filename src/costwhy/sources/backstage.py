"""Backstage catalogues: components, resources, systems, groups and users from catalog-info.yaml files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import polars as pl
import yaml

from costwhy import tables
from costwhy.errors import SourceError
from costwhy.sources.reading import Aside, Reading, aside_frame, read_text

ENDINGS = (".yaml", ".yml")
KINDS = {"Component", "Resource", "System", "Domain", "API", "Group", "User", "Location", "Template"}
MOST_BYTES = 1 << 20      # of one file: a catalogue entry is a page
MOST_ALIASES = 20         # of one file: YAML bombs are made of aliases of aliases
CONTACTS = ("slack.com/channel", "slack.com/channel-name", "backstage.io/slack", "slack")
PAGERS = ("pagerduty.com/service-id", "pagerduty.com/integration-key", "opsgenie.com/team")


def read(files: Sequence[Path]) -> Reading:
    """Every entity of these files. A document that is none is set aside; nothing in it is ever run."""
    rows, asides = [], []
    for file in files:
        try:
            documents = _documents(file)
        except (SourceError, yaml.YAMLError, ValueError, RecursionError) as error:
            asides.append(Aside(file.name, "", f"not a catalogue: {str(error) or type(error).__name__}".replace("\n", "; ")))
            continue
        for number, document in enumerate(documents, start=1):
            if document is None:
                continue
            try:
                rows.append(_row(document))
            except (KeyError, TypeError, ValueError) as error:
                asides.append(Aside(file.name, f"document {number}", f"not a catalogue entity: {error!r}", str(document)))
    schema = {name: dtype for name, dtype in tables.CATALOG.schema.items() if name != "delivery"}
    frame = pl.DataFrame(rows, schema=schema) if rows else tables.CATALOG.empty().drop("delivery")
    return Reading(frame, aside_frame("backstage", asides), tables.SEEN.empty().drop("delivery"))


def _documents(file: Path) -> list[object]:
    """The documents of a file, with plain data only. Raises ValueError where it is too large or full of aliases."""
    text = read_text(file)
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} characters; a catalogue file has at most {MOST_BYTES}")
    aliases = 0
    for token in yaml.scan(text, Loader=yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):
        aliases += isinstance(token, yaml.AliasToken)
        if aliases > MOST_ALIASES:
            raise ValueError(f"more than {MOST_ALIASES} aliases, as a YAML bomb has them")
    return list(yaml.safe_load_all(text))


def _row(document: object) -> dict[str, object]:
    entity = _mapping(document, "the document")
    kind = str(entity["kind"])
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(sorted(KINDS))}")
    metadata, spec = _mapping(entity["metadata"], "metadata"), _mapping(entity.get("spec") or {}, "spec")
    notes = _mapping(metadata.get("annotations") or {}, "annotations")
    profile = _mapping(spec.get("profile") or {}, "spec.profile")
    name = _name(metadata["name"])
    email = _text(profile.get("email"))
    contact = next((str(notes[key]) for key in CONTACTS if notes.get(key)), None) or email or next((str(notes[key]) for key in PAGERS if notes.get(key)), None)
    return {
        "source": "backstage", "kind": kind.lower(), "name": name, "owner": _ref(spec.get("owner")), "title": _text(profile.get("displayName") or metadata.get("title")),
        "email": email, "contact": contact, "depends_on": [r for r in map(_ref, _list(spec.get("dependsOn"))) if r],
        "member_of": [r for r in map(_ref, _list(spec.get("memberOf"))) if r], "path": _path(notes), "position": None, "lifecycle": _text(spec.get("lifecycle")),
    }


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{what} is not a mapping but {type(value).__name__}")
    return value


def _name(value: object) -> str:
    """Backstage's rule: 1 to 63 characters of [a-zA-Z0-9], with [-_.] between them."""
    name = str(value)
    inner = name.replace("-", "").replace("_", "").replace(".", "")
    if not 0 < len(name) <= 63 or not (inner.isascii() and inner.isalnum() and name[0].isalnum() and name[-1].isalnum()):
        raise ValueError(f"metadata.name {name[:80]!r} breaks Backstage's rule for names")
    return name


def _ref(value: object) -> str | None:
    """`group:default/data-products` is data-products; of an object, its name."""
    if isinstance(value, dict):
        value = value.get("name")
    return str(value).rsplit("/", 1)[-1].rsplit(":", 1)[-1] if value else None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _path(notes: Mapping[str, object]) -> str | None:
    """Repository path of a component: the last two parts of where its source lies."""
    place = str(notes.get("backstage.io/source-location") or notes.get("backstage.io/managed-by-location") or "")
    parts = [part for part in urlsplit(place.removeprefix("url:")).path.split("/") if part]
    return "/" + "/".join(parts[-2:]) + "/" if len(parts) >= 2 else None


def _text(value: object) -> str | None:
    return None if value is None else str(value)
