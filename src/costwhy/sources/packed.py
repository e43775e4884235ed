"""What a file is and how it is read, whatever it is packed in.

What a file is, its first bytes say, not its name. A member of an archive has the path
`archive.zip/member.csv`; such a path can be read with `open_stream` and `opened` like any file's.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from costwhy.errors import SourceError
from costwhy.sources.archives import archive_at, bytes_of, kept, open_raw, split
from costwhy.sources.streams import HEAD, LAYERS, MAX_UNPACKED, OPENERS, copy, kind_of, peel

PACKINGS = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".lz4")
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz")
UNREADABLE = {"damaged", "protected", "nested"}  # Kinds of data that nobody can read
# Endings by which DuckDB knows a packing that it reads itself
_DUCKDB = {(): ".csv", ("gzip",): ".csv.gz", ("zstd",): ".csv.zst"}


@dataclass(frozen=True)
class Content:
    """What a file or a member is.

    path     the file, or `archive/member`
    size     its size; of a member the size when unpacked, where that is known
    kind     text, binary, empty, or what the first bytes say; a packing that cannot be read
    head     its first bytes, unpacked
    problem  why it cannot be read; empty where it can
    packing  what it is packed in, from the outside
    """

    path: Path
    size: int
    kind: str
    head: bytes = b""
    problem: str = ""
    packing: tuple[str, ...] = ()


def open_stream(file: Path) -> io.BufferedIOBase:
    """A file or a member, unpacked, for reading. Raises OSError where it cannot be read."""
    raw, packed = open_raw(file)
    try:
        return peel(raw, packed)[0]
    except BaseException:
        raw.close()
        raise


def digest_of(file: Path) -> bytes:
    """SHA-256 of a file as it lies on disk, or of a member. Raises OSError."""
    with open_raw(file)[0] as stream:
        return hashlib.file_digest(cast("Any", stream), "sha256").digest()


# ---------------------------------------------------------------- a real file


@contextmanager
def opened(file: Path, *, plain: bool = False, limit: int = MAX_UNPACKED) -> Iterator[Path]:
    """A real file with the content of a file or a member, while it is read; see `put`."""
    with tempfile.TemporaryDirectory(prefix="costwhy-") as folder:
        yield put(file, Path(folder), plain=plain, limit=limit)


def put(file: Path, folder: Path, *, plain: bool = False, limit: int = MAX_UNPACKED) -> Path:
    """A real file with the content of a file or a member: itself, or one in `folder`.

    Its name ends in `.parquet`, or in `.csv`, `.csv.gz` or `.csv.zst`, which DuckDB reads itself.

    plain  unpacked in any case
    limit  the most bytes that it may have when it must be unpacked

    Raises SourceError where it cannot be unpacked.
    """
    content = look(file)
    ending, layers = ".parquet", content.packing
    if problem := content.problem or _refused(content):
        raise SourceError(f"{file.name} cannot be read: {problem}")
    if "arquet" not in content.kind:
        ending = ".csv" if plain else _DUCKDB.get(layers, ".csv")
    is_real = file.is_file() and not (layers and ending in {".csv", ".parquet"})
    if is_real and file.name.endswith(ending):
        return file
    real = folder / f"content{ending}"
    try:
        if is_real:
            real.symlink_to(file.absolute())
        else:
            _unpack(file, real, peeled=ending in {".csv", ".parquet"}, limit=limit)
    except OSError as error:
        raise SourceError(f"{file.name} cannot be unpacked: {error}") from error
    return real


def _refused(content: Content) -> str:
    """Why no content can come of a file that is named; empty where it can."""
    if content.kind in {"text", "binary", "empty", "parquet", "encrypted Parquet"}:
        return ""
    inside = contents(content.path) if content.kind in {"zip", "tar"} else ()
    return next((one.problem for one in inside if one.problem), f"it is {content.kind}")


def _unpack(file: Path, target: Path, *, peeled: bool, limit: int) -> None:
    with open_stream(file) if peeled else open_raw(file)[0] as stream:
        copy(stream, target, limit)


# ---------------------------------------------------------------- what a file is


def look(file: Path) -> Content:
    """What a file or a member is, without what is in it where it is an archive."""
    try:
        raw, packed = open_raw(file)
        with raw:
            return _content(file, bytes_of(file), raw, packed)
    except FileNotFoundError:
        return Content(file, 0, "damaged", problem="it is not there")
    except OSError as error:
        return Content(file, bytes_of(file), "damaged", problem=str(error))


def _content(path: Path, length: int, raw: BinaryIO, packed: int) -> Content:
    try:
        stream, layers = peel(raw, packed)
        head = stream.read(HEAD)
    except OSError as error:
        return Content(path, length, "damaged", problem=f"it is cut off or damaged: {error}")
    kind = kind_of(head)
    if kind in OPENERS:
        problem = f"it is packed more than {LAYERS} times"
        return Content(path, length, kind, head, problem, layers)
    return Content(path, length, kind, head, packing=layers)


def contents(file: Path) -> tuple[Content, ...]:
    """What a file is; of an archive what each of its members is."""
    whole = look(file)
    if whole.kind not in {"zip", "tar"}:
        return (whole,)
    if split(file)[1] or (whole.kind == "zip" and whole.packing):
        return (_nested(whole),)
    try:
        members = archive_at(file).members
    except OSError as error:
        said = f"it is cut off or damaged: {error}"
        return (Content(file, whole.size, "damaged", problem=said),)
    return tuple(
        Content(one.path, one.size, one.kind, problem=one.problem)
        if one.problem
        else _nested(look(one.path))
        for one in members
    )


def _nested(content: Content) -> Content:
    if content.kind not in {"zip", "tar", "7-Zip", "RAR"}:
        return content
    said = "an archive within an archive: unpack the outer one"
    return Content(content.path, content.size, "nested", problem=said)


__all__ = [
    "ARCHIVES",
    "PACKINGS",
    "UNREADABLE",
    "Content",
    "bytes_of",
    "contents",
    "digest_of",
    "kept",
    "look",
    "open_stream",
    "opened",
    "put",
    "split",
]
