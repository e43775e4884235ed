"""CODEOWNERS: which team owns which path of a repository; the last pattern that matches wins.

Source: GitHub, *About code owners*: gitignore patterns, except that `!` and `[ ]` do not work, and
that `docs/*` reaches the files in docs but none further down. GitLab, *Code Owners syntax*: a file
with sections is GitLab's; `sources/owners/gitlab_sections.py` has what differs.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import count, takewhile
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from costwhy.sources.files import Files
from costwhy.sources.format import Format
from costwhy.sources.owners.gitlab_sections import Sections, owner_by_sections
from costwhy.sources.reading import Collector, Reading, clean
from costwhy.tables import CATALOG

MAX_PATTERN = 500
# Stars in one name of a pattern: each multiplies the time to match by the length of the name
MAX_STARS = 3
_UNUSABLE = (ValueError, re.error, GitIgnorePatternError)
_WORD = re.compile(r"(?:\\.|[^\s\\])+")
_ITEMS = (
    "pull",
    "pulls",
    "pull-requests",
    "merge_requests",
    "commit",
    "commits",
    "issues",
    "releases",
    "compare",
    "actions",
)


def read(sources: Sequence[Path]) -> Reading:
    """Rows of the catalogue, kind `path`: pattern, first owner (null: none), position, section."""
    collector, positions, sections = Collector(CATALOG, "codeowners"), count(1), Sections()

    def read_one(line: bytes) -> None:
        position, text = next(positions), line.decode()
        # a word that begins with # begins the comment
        words = [*takewhile(lambda word: not word.startswith("#"), _WORD.findall(text))]
        if not words or sections.begins(text):
            return
        _refuse_pattern(words[0], is_gitlab=sections.name is not None)
        owners = (sections.owners_of(words[1:])) if sections.name is not None else words[1:]
        collector.keep(
            {
                "source": "codeowners",
                "kind": "path",
                "name": words[0],
                "owner": _team(owners[0]) if owners else None,
                "position": position,
                "section": sections.name,
                "depends_on": [],
                "member_of": [],
            }
        )

    for file in sources:
        collector.read_each(file, sections.lines_of(file), read_one, "CODEOWNERS line")
    return collector.reading()


def _refuse_pattern(pattern: str, *, is_gitlab: bool) -> None:
    if is_gitlab:
        if pattern.startswith(("[", "^[")):
            raise ValueError("the header of the section cannot be read: write [NAME] @owner")
        pattern = pattern.removeprefix("!")
    if pattern.startswith(("!", "[", "^[")):
        raise ValueError("negation and ranges are no CODEOWNERS patterns")
    stars = [len(re.findall(r"\*+", part)) for part in pattern.split("/") if part.strip("*")]
    if (
        len(pattern) > MAX_PATTERN
        or max(stars, default=0) > MAX_STARS
        or pattern.count("**") > 2 * MAX_STARS
    ):
        raise ValueError(
            f"the pattern is longer than {MAX_PATTERN} characters "
            f"or has more than {MAX_STARS} stars in one name"
        )
    try:
        _compiled(pattern)
    except _UNUSABLE as error:
        raise ValueError(f"the pattern cannot be used: {error}") from error


def _team(owner: str) -> str:
    """`@org/team` -> team, `@person` -> person; a mail address or a plain name stays."""
    is_team = owner.startswith("@") and "/" in owner
    return clean(owner.rsplit("/", 1)[-1] if is_team else owner.removeprefix("@"))


def owner_of(path: str, rows: pl.DataFrame) -> str | None:
    """The team that owns a path of the repository; null: none, or explicitly nobody.

    path  `/services/cart/` (a folder stands for any file directly in it), `/services/cart/main.py`
    rows  the catalogue; rows that are no CODEOWNERS pattern are left out
    """
    file = (path.strip("/") + ("/any file" if path.endswith("/") else "")).lstrip("/")
    rules = rows.filter(pl.col("kind") == "path").sort("position", descending=True)
    if "section" in rules.columns:  # not in a case of a former version
        of_gitlab = rules.filter(pl.col("section").is_not_null())
        rules = rules.filter(pl.col("section").is_null())
        owner = owner_by_sections(
            of_gitlab.select("section", "name", "owner").iter_rows(), partial(_reaches, file)
        )
        if owner is not None:
            return owner
    for pattern, owner in rules.select("name", "owner").iter_rows():
        if _reaches(file, pattern):
            return owner and str(owner)
    return None


def _reaches(file: str, pattern: str) -> bool:
    with suppress(*_UNUSABLE):
        reached, deeper = _compiled(pattern)
        return bool(reached.match_file(file) and not deeper.match_file(file))
    return False


@lru_cache(maxsize=10_000)
def _compiled(pattern: str) -> tuple[GitIgnoreSpec, GitIgnoreSpec]:
    """What gitignore says of the pattern, and what `/*` at its end must not reach."""
    return GitIgnoreSpec.from_lines([pattern]), GitIgnoreSpec.from_lines(
        [f"{pattern}/**"] if pattern.endswith("/*") and not pattern.endswith("**/*") else []
    )


def repository_path(url: str | None) -> str | None:
    """The path in the repository that a link is about; null: it is about the whole repository.

    https://git.acme.example/platform/services/cart/pulls/7 -> /services/cart/
    https://github.com/acme/shop/tree/main/services/cart    -> /services/cart/
    https://github.com/acme/shop/pull/7                     -> null
    """
    if url is None or not url.startswith(("https://", "http://")):
        return None
    rest: list[str] = []
    with suppress(ValueError):
        parts = urlsplit(url)
        names = [unquote(name) for name in parts.path.split("/") if name]
        rest = [] if ".." in names else _below_repository(parts.hostname or "", names)
    if rest and rest[-1].endswith((".yaml", ".yml")):
        rest.pop()
    return clean(f"/{'/'.join(rest)}/") if rest else None


def _below_repository(host: str, names: list[str]) -> list[str]:
    for at, name in enumerate(names):
        if name in {"tree", "blob", "edit", "raw", "src"} and at >= 2:
            return names[at + 2 :]
    ends = (at for at, name in enumerate(names) if (name in _ITEMS or name == "-") and at >= 1)
    head = names[: next(ends, len(names))]
    is_forge = host.startswith(("github.", "gitlab.", "bitbucket.", "codeberg."))
    return [] if is_forge or len(head) <= 2 else head[1:]


FORMAT = Format(section="owners", source="codeowners", files=Files(("codeowners",)), read=read)
