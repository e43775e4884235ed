"""Files of a source, found by file, folder or glob."""

import glob
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from costwhy.errors import SourceError


@dataclass(frozen=True)
class Choice:
    """Which of the files that were found are to be read.

    left_out  the others, each with the reason
    dates     when a file was delivered, where a manifest says so: ISO 8601, UTC
    """

    files: tuple[Path, ...]
    left_out: Mapping[Path, str] = field(default_factory=dict)
    dates: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """Which files belong to a format.

    endings   of their names, in small letters
    never     parts of a path that make it none of them
    choose    of the files that were found below a root those to read; null: all
    """

    endings: tuple[str, ...]
    never: tuple[str, ...] = ()
    choose: Callable[[Sequence[Path], Path], Choice] | None = None

    def is_named(self, name: str) -> bool:
        """Whether a file of a folder, or a key on S3, belongs to the format by its name."""
        return name.lower().endswith(self.endings) and not self.is_never(name)

    def is_never(self, name: str) -> bool:
        """Whether a path is none of the format's, whatever its ending."""
        return any(part in name for part in self.never)


def find_files(path: str, folder: Path, files: Files) -> tuple[Path, ...]:
    """The files at `path` that are to be read, in order of name."""
    return choose_files(path, folder, files).files


def choose_files(path: str, folder: Path, files: Files) -> Choice:
    """The files at `path`, in order of name: one file, a folder with all below it, or a glob.

    path  as in costwhy.toml, relative to `folder`; a file that is named itself, or by a glob, may
          have any ending

    Raises SourceError when nothing is there.
    """
    place = folder / path
    if place.is_file():
        return Choice((place,))
    if place.is_dir():
        found = [
            file
            for file in place.rglob("*")
            if ".git" not in file.relative_to(place).parts
            and files.is_named(str(file))
            and file.is_file()
        ]
        reason = f"no file that ends in {', '.join(files.endings)} in {place}"
    elif any(mark in path for mark in "*?["):
        # Path.glob would find hidden files too
        names = (Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207
        found = [file for file in names if file.is_file() and not files.is_never(str(file))]
        reason = f"nothing that matches {place}"
    else:
        found, reason = [], f"no {place}"
    chosen = (
        files.choose(sorted(found), root_of(place)) if files.choose else Choice((*sorted(found),))
    )
    if not chosen.files:
        raise SourceError(
            f"there is nothing to read at path {path!r}",
            found=reason,
            fix="correct `path` in costwhy.toml",
        )
    return chosen


def root_of(place: Path) -> Path:
    """The folder of a source; of a glob the folders before the first wildcard."""
    if place.is_dir():
        return place
    return Path(*takewhile(lambda part: not any(mark in part for mark in "*?["), place.parts))
