"""Files of a source: found by file, folder or glob; read with a limit, whatever they claim to be."""

import glob
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from costwhy.errors import SourceError

MAX_BYTES = 256 * 2**20
"""The most that is read of one file, after decompression: CloudTrail's own files hold a few MB."""
MAX_LINE_BYTES = 16 * 2**20
"""The longest line of a JSON Lines file."""
_PROBED_LINES = 5


def find_files(path: str, folder: Path, endings: Sequence[str]) -> tuple[Path, ...]:
    """The files that `path` names, in order of name: one file, a folder (searched to the bottom), or a glob.

    path     as in costwhy.toml, relative to `folder`; a file named outright may have any ending
    endings  what names of files end with, in lower case

    Raises SourceError when nothing is there.
    """
    place = folder / path
    if place.is_file():
        return (place,)
    if place.is_dir():
        found = sorted(file for file in place.rglob("*") if _is_wanted(file, place, endings))
        return tuple(found) or _fail(path, f"no file that ends in {', '.join(endings)} in {place}")
    if any(mark in path for mark in "*?["):
        found = sorted(Path(name) for name in glob.glob(str(place), recursive=True) if Path(name).is_file())
        return tuple(found) or _fail(path, f"nothing that matches {place}")
    return _fail(path, f"no {place}")


def _is_wanted(file: Path, folder: Path, endings: Sequence[str]) -> bool:
    parts = file.relative_to(folder).parts
    return file.name.lower().endswith(tuple(endings)) and ".git" not in parts and file.is_file()


def _fail(path: str, found: str) -> tuple[Path, ...]:
    raise SourceError(f"there is nothing to read at path {path!r}", found=found, todo="correct `path` in costwhy.toml")


def open_bytes(file: Path) -> io.BufferedIOBase:
    """Open a file for reading, decompressed where its first bytes say gzip (names lie)."""
    stream = file.open("rb")
    if stream.peek(2)[:2] != b"\x1f\x8b":
        return stream
    stream.close()
    return gzip.open(file, "rb")


def read_bytes(file: Path) -> bytes:
    """The whole file, decompressed. Raises SourceError when it is unreadable or larger than MAX_BYTES."""
    try:
        with open_bytes(file) as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the file cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise _too_large()
    return data


def _too_large() -> SourceError:
    return SourceError(f"the file is larger than {MAX_BYTES // 2**20} MB when decompressed: split it")


def read_lines(file: Path) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines, blank ones left out, one at a time in memory; None: a line longer than MAX_LINE_BYTES.

    Raises SourceError where the file turns out unreadable, or larger than MAX_BYTES.
    """
    total, number, inside_long = 0, 0, False
    try:
        with open_bytes(file) as stream:
            while part := stream.readline(MAX_LINE_BYTES):
                total += len(part)
                if total > MAX_BYTES:
                    raise _too_large()
                starts, ends = not inside_long, part.endswith(b"\n")
                number += starts
                inside_long = not ends and len(part) == MAX_LINE_BYTES
                if starts and part.strip():
                    yield number, None if inside_long else part
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the file cannot be read further: {error}") from error


def read_records(file: Path, keys: Sequence[str]) -> Iterator[tuple[str, msgspec.Raw | bytes]]:
    """Place and JSON text of each record of a file: `{key: [...]}` for one of `keys`, `[...]`, or JSON Lines of these.

    Records stay slices of the file's bytes: memory is bounded by MAX_BYTES. Raises SourceError when it is no JSON.
    """
    data = read_bytes(file)
    if not data.strip():
        return
    try:
        yield from _unfold(data, keys, "")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        lines = data.splitlines()
        if not any(_is_object(line) for line in [line for line in lines if line.strip()][:_PROBED_LINES]):
            raise SourceError(f"the file is not JSON: {error}") from error
        yield from _unfold_lines(lines, keys)


def _unfold_lines(lines: list[bytes], keys: Sequence[str]) -> Iterator[tuple[str, msgspec.Raw | bytes]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield from _unfold(line, keys, f"line {number}")
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                yield f"line {number}", line  # the source decodes it again and says what is wrong


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
    try:
        msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True
