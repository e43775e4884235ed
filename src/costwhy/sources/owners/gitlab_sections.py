"""Sections of GitLab's CODEOWNERS, each with its own last pattern that matches.

    [Documentation] @docs-team      a section, with owners of the lines below that name none
    ^[Database][2] @dba             an optional one, with two approvals

Source: GitLab, *Code Owners syntax*. A path that a line with `!` reaches is none of that section's.
A pattern without a leading slash matches at any depth.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from costwhy.sources import records

_HEADER = re.compile(
    r"\s*(?P<optional>\^?)\[(?P<name>[^\[\]]*[^\[\]\s][^\[\]]*)\](?:\[\d+\])?(?P<owners>\s.*|)"
)
_EVERYTHING = re.compile(r"[/*]+")


@dataclass
class Sections:
    """The section in which a line stands.

    name    empty before the first one, ^ before the name of an optional one; null: the file has
            none, so that it is not GitLab's
    owners  of lines that name none
    """

    name: str | None = None
    owners: list[str] = field(default_factory=list)

    def lines_of(self, file: Path) -> Iterator[tuple[str, bytes | None]]:
        """Place and text of each line of a file; its first section begins."""
        lines = list(records.read_lines(file))
        has_any = any(line and _HEADER.fullmatch(line.decode().rstrip()) for _, line in lines)
        self.name, self.owners = "" if has_any else None, []
        yield from lines

    def begins(self, line: str) -> bool:
        """Whether the line is the header of a section, which then begins."""
        found = _HEADER.fullmatch(line.rstrip()) if self.name is not None else None
        if found:
            self.name = found["optional"] + found["name"].strip()
            self.owners = _owners(re.sub(r"(^|\s)#.*", "", found["owners"]).split())
        return found is not None

    def owners_of(self, words: Sequence[str]) -> list[str]:
        """The owners of a line that names these, else those of its section."""
        return _owners(words) if words else self.owners


def _owners(words: Iterable[str]) -> list[str]:
    """Without roles: `@@maintainer` is no team."""
    return [word for word in words if not word.startswith("@@")]


def owner_by_sections(
    rules: Iterable[tuple[str, str, str | None]], reaches: Callable[[str], bool]
) -> str | None:
    """The owner that the sections name; null: none does.

    rules    section, pattern and owner, the last line first
    reaches  whether a gitignore pattern matches the path

    Of several sections that name one, those whose pattern is not everything come first, then those
    that are not optional, then the later ones.
    """
    found: dict[str, tuple[tuple[bool, bool], str | None]] = {}
    excluded = set[str]()
    for section, pattern, owner in rules:
        key = section.removeprefix("^").lower()
        plain = pattern.removeprefix("!")
        if key in excluded or (key in found and plain == pattern):
            continue
        if reaches(plain if plain.startswith("/") else f"/**/{plain}"):
            is_everything = _EVERYTHING.fullmatch(plain) is not None
            found[key] = (is_everything, section.startswith("^")), owner
            if plain != pattern:
                excluded.add(key)
    named = [(rank, owner) for key, (rank, owner) in found.items() if key not in excluded and owner]
    return min(named, key=lambda one: one[0])[1] if named else None
