"""Files of a source, found by file, folder or glob."""

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from costwhy.errors import SourceError


@dataclass(frozen=True)
class Files:
    """Which files belong to a format.

    endings   of their names, in small letters
    never     parts of a path that make it none of them
    choose    the ones to read, of those that were found; null: all
    """

    endings: tuple[str, ...]
    never: tuple[str, ...] = ()
    choose: Callable[[Sequence[Path]], Sequence[Path]] | None = None

    def is_named(self, name: str) -> bool:
        """Whether a file of a folder, or a key on S3, belongs to the format by its name."""
        return name.lower().endswith(self.endings) and not self.is_never(name)

    def is_never(self, name: str) -> bool:
        """Whether a path is none of the format's, whatever its ending."""
        return any(part in name for part in self.never)


def find_files(path: str, folder: Path, files: Files) -> tuple[Path, ...]:
    """The files at `path`, in order of name: one file, a folder with all below it, or a glob.

    path  as in costwhy.toml, relative to `folder`; a file that is named itself, or by a glob, may
          have any ending

    Raises SourceError when nothing is there.
    """
    place = folder / path
    if place.is_file():
        return (place,)
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
    chosen = tuple(files.choose(sorted(found)) if files.choose else sorted(found))
    if not chosen:
        raise SourceError(
            f"there is nothing to read at path {path!r}",
            found=reason,
            fix="correct `path` in costwhy.toml",
        )
    return chosen
