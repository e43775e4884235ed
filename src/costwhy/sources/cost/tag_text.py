"""One text with the tags of a row, in any of the forms in which tools write them.

| written | by |
|---|---|
| `{"service": "web"}`, `"service": "web"` | JSON; Azure leaves the braces out |
| `[{"key": "service", "value": "web"}]` | JSON of pairs |
| the same as a JSON text, or with quotes escaped twice | tools that wrap JSON |
| `{'service': 'web'}` | Python |
| `{service=web, team=shop}` | Athena, Hive, Java |
| `service:web;team:shop` | people |
"""

import ast
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from costwhy.sources.cost.sql import NULLS

KEYS = frozenset({"key", "name", "k", "tagkey", "tag_key", "tagname", "tag_name", "label"})
VALUES = frozenset({"value", "v", "val", "tagvalue", "tag_value", "string_value"})
NOTHING = frozenset(word.lower() for word in NULLS)
WRAPPED = frozenset({"key_value", "entries", "map", "tags", "labels"})  # around a list of pairs
LONGEST = 65_536  # characters
DEEPEST = 4  # texts in texts
KEY = re.compile(r"[A-Za-z0-9_./-]+(:[A-Za-z0-9_./-]+)?")


def read_tags(text: str, depth: int = 0) -> dict[str, str] | None:
    """The tags by key, without those that have no value; null where the text has no known form."""
    text = text.strip()
    if text.lower() in NOTHING:
        return {}
    if len(text) > LONGEST or depth > DEEPEST:
        return None
    for read in (_json, _json_without_braces, _escaped_json, _python, _equals, _pairs):
        with suppress(ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            return _tags(read(text), depth)
    return None


# ---------------------------------------------------------------- forms


def _json(text: str) -> object:
    return json.loads(text)


def _json_without_braces(text: str) -> object:
    return json.loads("{" + text.rstrip(",") + "}")


def _escaped_json(text: str) -> object:
    """Quotes that a CSV file escaped twice, by a backslash or by doubling."""
    mark = '\\"' if '\\"' in text else '""'
    return json.loads(text.strip('"').replace(mark, '"'))


def _python(text: str) -> object:
    if "'" not in text or text[0] not in "{[(":
        raise ValueError(text)
    with warnings.catch_warnings(action="ignore"):  # of backslashes in what others wrote
        return ast.literal_eval(text)


def _equals(text: str) -> object:
    """{service=web, note=a, b}: a part without `=` goes on with the value before it."""
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(text)
    found: list[list[str]] = []
    for part in text[1:-1].split(","):
        key, mark, value = part.partition("=")
        if mark and key.strip():
            found.append([key.strip(), value])
        elif found:
            found[-1][1] += f",{part}"
        elif part.strip():
            raise ValueError(text)
    return {key: value.strip() for key, value in found}


def _pairs(text: str) -> dict[str, str]:
    """service:web;team:shop: every part is one pair."""
    mark = next((one for one in (";", "|", ",") if one in text), ";")
    found = {}
    for part in filter(str.strip, text.split(mark)):
        cut = max(part.rfind(":"), part.rfind("="))
        key = part[: max(cut, 0)].strip()
        if not KEY.fullmatch(key):
            raise ValueError(text)
        found[key] = part[cut + 1 :].strip()
    return found


# ---------------------------------------------------------------- what they hold


def _tags(value: object, depth: int) -> dict[str, str]:
    """Tags of what a text holds. Raises ValueError where it holds none."""
    if isinstance(value, str):
        inner = read_tags(value, depth + 1)
        if inner is None:
            raise ValueError(value)
        return inner
    pairs = {key: _word(one) for key, one in _entries(value)}
    return {key: word for key, word in pairs.items() if word.lower() not in NOTHING}


def _entries(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        inner = next(iter(value.values())) if len(value) == 1 and {*value} <= WRAPPED else None
        yield from _entries(inner) if isinstance(inner, list) else _named(value)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _entry(one)
    else:
        raise ValueError(value)  # noqa: TRY004  a text without tags, as others


def _entry(one: object) -> Iterable[tuple[str, object]]:
    """One of a list: a pair by its names, a map of its own, [key, value], or text key:value."""
    if isinstance(one, Mapping):
        low = {str(name).lower(): one[name] for name in one}
        key, value = (next((low[n] for n in low if n in words), None) for words in (KEYS, VALUES))
        if {*low} & KEYS and (value is not None or {*low} & VALUES):
            return [(str(key), value)]
        return _named(one)
    if isinstance(one, list | tuple) and len(one) == 2:
        return [(str(one[0]), one[1])]
    if isinstance(one, str):
        return _named(_pairs(one))
    raise ValueError(str(one))


def _named(value: Mapping[Any, object]) -> Iterable[tuple[str, object]]:
    return ((str(key), one) for key, one in value.items())


def _word(value: object) -> str:
    """A value as text: the first of a list, JSON's words for true and false."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return _word(value[0]) if value else ""
    if isinstance(value, Mapping):
        return next((_word(one) for name, one in value.items() if str(name).lower() in VALUES), "")
    return "" if value is None else str(value).strip()
