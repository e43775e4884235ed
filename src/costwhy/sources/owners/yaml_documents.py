"""Untrusted YAML documents: split, measured before anything is built, then loaded safely.

What is refused: more than MAX_BYTES, more than MAX_NODES once aliases are followed (*billion
laughs*), more than MAX_DEPTH levels, and tags that would build objects.
"""

import re
from collections.abc import Iterator

import yaml

MAX_BYTES = 2**20
MAX_NODES = 20_000
MAX_DEPTH = 50
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_NAMES = ("str", "int", "float", "bool", "null", "seq", "map", "timestamp")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in _PLAIN_NAMES}
_MARK = re.compile(r"^---(?=\s|$)", re.MULTILINE)


def split(text: str) -> Iterator[tuple[str, str]]:
    """Place (`line 7`) and text of each document, so that a broken one spares the others."""
    starts = [0, *(found.start() for found in _MARK.finditer(text) if found.start())]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        part = text[start:end]
        if part.strip("-\n\r\t "):
            line = text.count("\n", 0, start) + 1
            yield f"line {line}", part


def load(document: str) -> object:
    """The document's value. Raises ValueError when it is no YAML, or is refused."""
    if len(document) > MAX_BYTES:
        raise ValueError(f"the YAML document is larger than {MAX_BYTES // 2**10} kB")
    try:
        _measure(document)
        return yaml.load(document, Loader=_LOADER)  # noqa: S506 - it is a safe one
    except (yaml.YAMLError, RecursionError, OverflowError, TypeError) as error:
        raise ValueError(f"no YAML: {_in_one_line(error)}") from error


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
            limits = f"{MAX_NODES} nodes or {MAX_DEPTH} levels, aliases followed"
            raise ValueError(f"the YAML document has more than {limits}")


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
