"""Files of a source: found by file, folder or glob; read with a limit on their size."""

import glob
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

import msgspec
import polars as pl

from costwhy.errors import SourceError

# The most that is read of one file, decompressed; CloudTrail's own files have a few MB
MAX_BYTES = 256 * 2**20
MAX_LINE_BYTES = 16 * 2**20  # The longest line of a JSON Lines file
SHOWN_COLUMNS = 20
_NO_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


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


def open_bytes(file: Path) -> io.BufferedIOBase:
    """Open a file for reading, decompressed where its first bytes say gzip."""
    with file.open("rb") as stream:
        is_packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(file, "rb") if is_packed else file.open("rb")


def read_bytes(file: Path) -> bytes:
    """The whole file, decompressed. Raises SourceError: unreadable, or beyond MAX_BYTES."""
    try:
        with open_bytes(file) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the file cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise too_large(MAX_BYTES)
    return data


def too_large(limit: int) -> SourceError:
    """The error of a file beyond a limit."""
    return SourceError(f"the file is larger than {limit >> 20} MB when decompressed: split it")


def first_line(error: Exception) -> str:
    """What a library says of a fault, without the lines that follow."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def require_columns(schema: Mapping[str, pl.DataType], needed: Sequence[str]) -> None:
    """Raises SourceError where a table lacks a column, or its column `time` has no zone."""
    for name in needed:
        if name not in schema:
            raise SourceError(
                f"the file has no column {name!r}; "
                f"its columns are {', '.join(list(schema)[:SHOWN_COLUMNS])}"
            )
    if schema["time"] == pl.Datetime and not getattr(schema["time"], "time_zone", None):
        raise SourceError("its times have no zone: write `time` as a timestamp in UTC")


def read_lines(file: Path) -> Iterator[tuple[str, bytes | None]]:
    """Place (`line 7`) and text of each line, without blank ones; null: longer than MAX_LINE_BYTES.

    One line at a time is in memory. Raises SourceError where the file turns out unreadable, or
    larger than MAX_BYTES.
    """
    total, number, inside_long = 0, 0, False
    try:
        with open_bytes(file) as stream:
            while part := stream.readline(MAX_LINE_BYTES):
                total += len(part)
                if total > MAX_BYTES:
                    raise too_large(MAX_BYTES)
                starts, ends = not inside_long, part.endswith(b"\n")
                number += starts
                inside_long = not ends and len(part) == MAX_LINE_BYTES
                if starts and part.strip():
                    yield f"line {number}", None if inside_long else part
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the file cannot be read further: {error}") from error


def read_records(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, msgspec.Raw | bytes]]:
    """Place and JSON text of each record of a file.

    The file is `{key: [...]}` for one of `keys`, `[...]`, or JSON Lines of these. Records stay
    slices of the file's bytes: MAX_BYTES limits the memory. Raises SourceError when it is no JSON.
    """
    data = read_bytes(file)
    if not data.strip():
        return
    try:
        yield from _unfold(data, keys, "")
    except _NO_JSON as error:
        lines = {n: line for n, line in enumerate(data.splitlines(), start=1) if line.strip()}
        if not any(_is_object(line) for line in islice(lines.values(), 5)):
            raise SourceError(f"the file is not JSON: {error}") from error
        for number, line in lines.items():
            try:
                yield from _unfold(line, keys, f"line {number}")
            except _NO_JSON:
                yield f"line {number}", line  # its reader decodes it again and says why


def _unfold(data: bytes, keys: Sequence[str], place: str) -> list[tuple[str, msgspec.Raw | bytes]]:
    whole = msgspec.json.decode(data, type=dict[str, msgspec.Raw] | list[msgspec.Raw])
    if isinstance(whole, dict):
        lists = [whole[key] for key in keys if key in whole]
        if not lists:
            return [(place or "record 1", data)]
        whole = [raw for text in lists for raw in msgspec.json.decode(text, type=list[msgspec.Raw])]
    before = f"{place}, " if place else ""
    return [(f"{before}record {number}", raw) for number, raw in enumerate(whole, start=1)]


def _is_object(line: bytes) -> bool:
    with suppress(*_NO_JSON):
        return isinstance(msgspec.json.decode(line, type=dict[str, msgspec.Raw]), dict)
    return False
