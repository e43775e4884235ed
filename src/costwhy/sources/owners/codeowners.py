"""CODEOWNERS: which team owns which path of a repository; the last pattern that matches wins.

Source: GitHub, *About code owners*: gitignore patterns, except that `!` and `[ ]` do not work, and that `docs/*`
reaches the files in docs but none further down.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

from costwhy.errors import SourceError
from costwhy.sources import files
from costwhy.sources.intake import Intake, clean
from costwhy.sources.reading import Reading
from costwhy.tables import CATALOG

MAX_PATTERN = 500
MAX_STARS = 3
"""Stars in one name of a pattern: each multiplies the time to match by the length of the name."""
_WORD = re.compile(r"(?:\\.|[^\s\\])+")
_FORGES = ("github.", "gitlab.", "bitbucket.", "codeberg.")
_VIEWS = ("tree", "blob", "edit", "raw", "src")
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


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """Files named CODEOWNERS. Raises SourceError when there is none."""
    return files.find_files(path, folder, ("codeowners",))


def read(sources: Sequence[Path]) -> Reading:
    """Rows of the catalogue, kind `path`: pattern, first owner (null: explicitly none), position."""
    intake, position = Intake(CATALOG, "codeowners"), 0
    for file in sources:
        try:
            for number, line in files.read_lines(file):
                position += 1
                _read_line(intake, file, (number, position), line)
        except SourceError as error:
            intake.set_aside(file, None, str(error))
    return intake.reading()


def _read_line(intake: Intake, file: Path, at: tuple[int, int], line: bytes | None) -> None:
    text = (line or b"").decode("utf-8-sig", "replace")
    words = _words(text)
    wrong = "the line is too long" if line is None else _fault(words)
    if wrong:
        intake.set_aside(file, f"line {at[0]}", wrong, text)
    elif words:
        owner = _team(words[1]) if len(words) > 1 else None
        row = {"source": "codeowners", "kind": "path", "name": words[0], "owner": owner, "position": at[1]}
        intake.keep({**row, "depends_on": [], "member_of": []})


def _words(text: str) -> list[str]:
    """Pattern and owners of a line; a word that begins with # begins the comment."""
    words: list[str] = []
    for word in _WORD.findall(text):
        if word.startswith("#"):
            break
        words.append(word)
    return words


def _fault(words: list[str]) -> str | None:
    if not words:
        return None
    pattern = words[0]
    if pattern.startswith(("!", "[", "^[")):
        return "negation, ranges and sections are no CODEOWNERS patterns on GitHub"
    if len(pattern) > MAX_PATTERN or _stars(pattern) > MAX_STARS or pattern.count("**") > 2 * MAX_STARS:
        return f"the pattern is longer than {MAX_PATTERN} characters or has more than {MAX_STARS} stars in one name"
    try:
        _compiled(pattern)
    except (ValueError, re.error) as error:
        return f"the pattern cannot be used: {error}"
    return None


def _stars(pattern: str) -> int:
    """Most runs of stars in one name of the pattern, a name that is only stars not counted."""
    return max(len(re.findall(r"\*+", part)) for part in pattern.split("/") if part.strip("*") or not part) if pattern.strip("*/") else 1


def _team(owner: str) -> str:
    """`@org/team` -> team, `@person` -> person; a mail address or a plain name stays."""
    return clean(owner.rsplit("/", 1)[-1] if owner.startswith("@") and "/" in owner else owner.removeprefix("@"))


def owner_of(path: str, rows: pl.DataFrame) -> str | None:
    """The team that owns a path of the repository: the last pattern that matches; null: none, or explicitly nobody.

    path  `/services/cart/` (a folder stands for any file directly in it) or `/services/cart/main.py`
    rows  the catalogue; rows that are no CODEOWNERS pattern are left out
    """
    file = path.strip("/") + ("/any file" if path.endswith("/") else "")
    patterns = rows.filter(pl.col("kind") == "path").sort("position", descending=True)
    for pattern, owner in patterns.select("name", "owner").iter_rows():
        if _matches(pattern, file.lstrip("/")):
            return str(owner) if owner is not None else None
    return None


def _matches(pattern: str, file: str) -> bool:
    try:
        reached, deeper = _compiled(pattern)
    except (ValueError, re.error):
        return False
    return reached.match_file(file) and not (deeper is not None and deeper.match_file(file))


@lru_cache(maxsize=10_000)
def _compiled(pattern: str) -> tuple[GitIgnoreSpec, GitIgnoreSpec | None]:
    """What gitignore says of the pattern, and what `/*` at its end must not reach."""
    direct = pattern.endswith("/*") and not pattern.endswith("**/*")
    return _spec(pattern), _spec(f"{pattern}/**") if direct else None


def _spec(pattern: str) -> GitIgnoreSpec:
    try:
        return GitIgnoreSpec.from_lines([pattern])
    except GitIgnorePatternError as error:
        raise ValueError(str(error)) from error


def repository_path(url: str | None) -> str | None:
    """The path in the repository that a link is about, for CODEOWNERS; null where it is about the whole repository.

    https://git.acme.example/platform/services/cart/pulls/7 -> /services/cart/     (repository, its folders)
    https://github.com/acme/shop/tree/main/services/cart    -> /services/cart/
    https://github.com/acme/shop/pull/7                     -> null
    """
    if url is None or not url.startswith(("https://", "http://")):
        return None
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return None
    names = [unquote(name) for name in parts.path.split("/") if name]
    if not names or ".." in names:
        return None
    rest = _below_repository(host, names)
    if rest and rest[-1].endswith((".yaml", ".yml")):
        rest = rest[:-1]
    return clean(f"/{'/'.join(rest)}/") if rest else None


def _below_repository(host: str, names: list[str]) -> list[str]:
    for at, name in enumerate(names):
        if name in _VIEWS and at >= 2:
            return names[at + 2 :]
    cut = next((at for at, name in enumerate(names) if (name in _ITEMS or name == "-") and at >= 1), len(names))
    head = names[:cut]
    return [] if host.startswith(_FORGES) or len(head) <= 2 else head[1:]
