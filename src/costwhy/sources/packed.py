"""Packed files: gzip, bzip2, xz, zstd and lz4, and the members of ZIP and tar archives.

What a file is, its first bytes say, not its name. A member has the path `archive.zip/member.csv`;
such a path can be read with `open_stream` and `opened` like that of any file. Members lie in a
temporary folder under names of our own, and only while they are read. How much they unpack to is
counted as they are unpacked: what an archive says of itself is not trusted.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import shutil
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa

from costwhy.errors import SourceError
from costwhy.text import size_of

HEAD = 2**16  # Bytes by which a file is recognised
LAYERS = 3  # Packings around each other: a tar.gz in a .gz
MAX_UNPACKED = 64 * 2**30  # Bytes that one file, or all members of one tar, may unpack to
FREE = 2**29  # Bytes that may unpack from any size; beyond, MAX_RATIO holds
MAX_RATIO = 400  # times its packed size; bills shrink to a tenth, or to a hundredth
MAX_MEMBERS = 200_000
PACKINGS = (".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd", ".lz4")
ARCHIVES = (".zip", ".tar", ".tgz", ".tbz2", ".txz")
UNREADABLE = {"damaged", "protected", "nested"}  # Kinds of data that nobody can read
FAULTS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    pa.ArrowException, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "parquet",
    b"PARE": "encrypted Parquet",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"ARROW1": "Arrow",
    b"\xd0\xcf\x11\xe0": "old Excel",
    b"%PDF": "PDF",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\xff\x06\x00\x00sNaPpY": "Snappy",
    b"\x1f\x9d": "compress",
    b"SQLite format 3": "SQLite",
    b"\x89PNG": "image",
    b"\xff\xd8\xff": "image",
}
_WORDS = {"ORC"}  # A text may begin so too
_OPENERS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
    "lz4": lambda raw: pa.CompressedInputStream(raw, "lz4"),
}
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


def kind_of(head: bytes) -> str:
    """What the first bytes of a file say that it is."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic) and not (kind in _WORDS and head.isascii() and b"\0" not in head):
            return kind
    if head[257:262] == b"ustar":
        return "tar"
    if not head:
        return "empty"
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or head.count(b"\0") * 3 > len(head)
    is_text = b"\0" not in head or (wide and any(head[k : k + 1] != b"\0" for k in range(64)))
    return "text" if is_text else "binary"


# ---------------------------------------------------------------- streams


class _Counted(io.RawIOBase):
    """A stream whose faults are OSError, and that stops where far more comes than is packed."""

    def __init__(self, stream: Any, packed: int) -> None:
        self._stream, self._packed, self._count = stream, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except FAULTS as error:
            said = str(error) or type(error).__name__
            raise OSError(said.splitlines()[0]) from error
        self._count += len(data)
        refuse_bomb(self._count, self._packed)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        with suppress(*FAULTS):
            self._stream.close()
        super().close()


def refuse_bomb(unpacked: int, packed: int) -> None:
    """Raises OSError where more was unpacked than a sound file of this size can hold."""
    if unpacked > MAX_UNPACKED or unpacked > max(FREE, MAX_RATIO * packed):
        raise OSError(
            f"it unpacks to more than {size_of(unpacked)} from {size_of(packed)}: "
            "no sound file does; unpacking was stopped"
        )


def _peel(raw: BinaryIO, packed: int) -> tuple[io.BufferedIOBase, tuple[str, ...]]:
    """What is inside of the packings, and the packings."""
    stream, layers = io.BufferedReader(_Counted(raw, packed), HEAD), list[str]()
    while (kind := kind_of(stream.peek(8)[:512])) in _OPENERS and len(layers) < LAYERS:
        layers.append(kind)
        stream = io.BufferedReader(_Counted(_OPENERS[kind](stream), packed), HEAD)
    return stream, tuple(layers)


def open_stream(file: Path) -> io.BufferedIOBase:
    """A file or a member, unpacked, for reading. Raises OSError where it cannot be read."""
    raw, size = _open_raw(file)
    try:
        return _peel(raw, size)[0]
    except BaseException:
        raw.close()
        raise


def digest_of(file: Path) -> bytes:
    """SHA-256 of a file as it lies on disk, or of a member. Raises OSError."""
    with _open_raw(file)[0] as stream:
        return hashlib.file_digest(cast("Any", stream), "sha256").digest()


def _open_raw(file: Path) -> tuple[BinaryIO, int]:
    """The bytes of a file or a member as they are stored, and how many bytes those are."""
    holder, member = split(file)
    if not member:
        return file.open("rb"), file.stat().st_size
    if not zipfile.is_zipfile(holder):
        held = _tar(holder)
        if member not in held.paths:
            raise FileNotFoundError(f"{holder.name} has no member {member}")
        return held.paths[member].open("rb"), held.paths[member].stat().st_size
    try:
        archive = zipfile.ZipFile(holder)
        info = _info(archive, member)
        stream = _Counted(archive.open(info), _packed(info, holder))
    except FileNotFoundError:
        raise
    except FAULTS as error:
        raise OSError(str(error)) from error
    return cast("BinaryIO", io.BufferedReader(stream, HEAD)), info.compress_size


def _info(archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    for info in archive.infolist():
        if PurePosixPath(info.filename).as_posix() == member:
            return info
    raise FileNotFoundError(f"{archive.filename} has no member {member}")


def _packed(info: zipfile.ZipInfo, holder: Path) -> int:
    return min(info.compress_size, holder.stat().st_size)


def split(file: Path) -> tuple[Path, str]:
    """The real file, and the member's name in it; empty for a file itself."""
    if not file.exists():
        for parent in file.parents:
            if parent.is_file():
                return parent, file.relative_to(parent).as_posix()
            if parent.is_dir():
                break
    return file, ""


def bytes_of(file: Path) -> int:
    """Bytes of a file, or of a member when unpacked as its archive says; 0 where it is absent."""
    holder, member = split(file)
    with suppress(*FAULTS, KeyError):
        if not member:
            return file.stat().st_size
        if zipfile.is_zipfile(holder):
            with zipfile.ZipFile(holder) as archive:
                return _info(archive, member).file_size
        return _tar(holder).paths[member].stat().st_size
    return 0


# ---------------------------------------------------------------- a real file


@contextmanager
def opened(file: Path, *, plain: bool = False, limit: int = MAX_UNPACKED) -> Iterator[Path]:
    """A real file with the content of a file or a member, while it is read.

    Its name ends in `.parquet`, or in `.csv`, `.csv.gz` or `.csv.zst`, which DuckDB reads itself.

    plain  unpacked in any case
    limit  the most bytes that it may have when it must be unpacked

    Raises SourceError where it cannot be unpacked; FileNotFoundError is that of the reader.
    """
    content = look(file)
    ending, layers = ".parquet", content.packing
    problem = content.problem or _refused(content)
    if problem:
        raise SourceError(f"{file.name} cannot be read: {problem}")
    if content.kind != "parquet":
        ending = ".csv" if plain else _DUCKDB.get(layers, ".csv")
    is_real = file.is_file() and not (layers and (ending in {".csv", ".parquet"}))
    if is_real and file.name.endswith(ending):
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="costwhy-") as folder:
        real = Path(folder) / f"content{ending}"
        if is_real:
            real.symlink_to(file.absolute())
        else:
            try:
                _unpack(file, real, peeled=ending in {".csv", ".parquet"}, limit=limit)
            except OSError as error:
                raise SourceError(f"{file.name} cannot be unpacked: {error}") from error
        yield real


def _refused(content: Content) -> str:
    """Why no content can come of a file that is named; empty where it can."""
    if content.kind in {"text", "binary", "empty", "parquet"}:
        return ""
    inside = contents(content.path) if content.kind in {"zip", "tar"} else ()
    return next((one.problem for one in inside if one.problem), f"it is {content.kind}")


def _unpack(file: Path, target: Path, *, peeled: bool, limit: int) -> None:
    with open_stream(file) if peeled else _open_raw(file)[0] as stream:
        _copy(stream, target, limit)


def _copy(stream: Any, target: Path, limit: int) -> int:
    count = 0
    with target.open("wb") as out:
        while part := stream.read(2**20):
            count += len(part)
            if count > limit:
                raise OSError(f"the file is larger than {limit >> 20} MB when decompressed")
            out.write(part)
    return count


# ---------------------------------------------------------------- what a file is


def look(file: Path) -> Content:
    """What a file or a member is, without what is in it where it is an archive."""
    try:
        raw, packed = _open_raw(file)
        with raw:
            return _content(file, bytes_of(file), raw, packed)
    except FileNotFoundError:
        return Content(file, 0, "damaged", problem="it is not there")
    except (OSError, tarfile.TarError) as error:
        return Content(file, bytes_of(file), "damaged", problem=str(error))


def _content(path: Path, length: int, raw: BinaryIO, packed: int) -> Content:
    try:
        stream, layers = _peel(raw, packed)
        head = stream.read(HEAD)
    except OSError as error:
        return Content(path, length, "damaged", problem=f"it is cut off or damaged: {error}")
    kind = kind_of(head)
    if kind == "zip" and _is_workbook(head):
        kind = "Excel"
    if kind in _OPENERS:
        problem = f"it is packed more than {LAYERS} times"
        return Content(path, length, kind, head, problem, layers)
    return Content(path, length, kind, head, packing=layers)


def _is_workbook(head: bytes) -> bool:
    return b"[Content_Types].xml" in head[:8192] or b"xl/" in head[30:60]


def contents(file: Path) -> tuple[Content, ...]:
    """What a file is; of an archive what each of its members is."""
    whole = look(file)
    if whole.kind not in {"zip", "tar"}:
        return (whole,)
    try:
        if whole.kind == "tar" and not split(file)[1]:
            return tuple(_held(file))
        if whole.packing or split(file)[1]:
            return (_nested(whole),)
        return tuple(_zipped(file))
    except FAULTS as error:
        said = f"it is cut off or damaged: {error}"
        return (Content(file, whole.size, "damaged", problem=said),)


def _nested(content: Content) -> Content:
    said = "an archive within an archive: unpack the outer one"
    return Content(content.path, content.size, "nested", problem=said)


def _zipped(file: Path) -> Iterator[Content]:
    seen = set[str]()
    with zipfile.ZipFile(file) as archive:
        _refuse_many(len(archive.infolist()))
        for info in archive.infolist():
            if info.is_dir():
                continue
            path, problem = file / info.filename, _unfit(info.filename, seen)
            if problem:
                yield Content(_shown(file, info.filename), info.file_size, "hostile", b"", problem)
                continue
            if info.flag_bits & 1:
                problem = "it is protected by a password: unpack it first"
                yield Content(path, info.file_size, "protected", b"", problem)
                continue
            try:
                raw = _Counted(archive.open(info), _packed(info, file))
            except FAULTS as error:
                yield Content(path, info.file_size, "damaged", problem=str(error))
                continue
            with cast("BinaryIO", raw) as stream:
                yield _member(_content(path, info.file_size, stream, _packed(info, file)))


def _member(content: Content) -> Content:
    return _nested(content) if content.kind in {"zip", "tar", "7-Zip", "RAR"} else content


def _unfit(name: str, seen: set[str]) -> str:
    """Why a member cannot be read under its name; empty where it can."""
    parts = PurePosixPath(name).parts
    if name.startswith("/") or "\\" in name or ":" in name[:2] or {"..", "."} & set(parts):
        return "its name would lead out of the archive"
    plain = PurePosixPath(name).as_posix()
    if plain in seen:
        return "another member has the same name: the first one is read"
    seen.add(plain)
    return "its name is no file's" if "\0" in name else ""


def _shown(file: Path, name: str) -> Path:
    """A path for a member whose name is hostile: it can be shown, and leads nowhere."""
    parts = [p for p in name.replace("\\", "/").replace("\0", "").split("/") if p not in ("", ".")]
    return file.joinpath(*("%2e%2e" if part == ".." else part for part in parts))


def _refuse_many(members: int) -> None:
    if members > MAX_MEMBERS:
        raise OSError(f"it has {members} members, more than {MAX_MEMBERS}: split it")


# ---------------------------------------------------------------- tar


@dataclass
class _Held:
    """The members of one tar, unpacked under numbers: a tar can be read from its start only."""

    file: Path
    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)
    passed: list[Content] = field(default_factory=list)


_last: ContextVar[list[_Held] | None] = ContextVar("_last", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """Keep the tar that was unpacked last, until another one is, or this ends."""
    token = _last.set([])
    try:
        yield
    finally:
        for held in _last.get() or []:
            shutil.rmtree(held.folder, ignore_errors=True)
        _last.reset(token)


def _tar(file: Path) -> _Held:
    shelf = _last.get()
    if shelf and shelf[0].file == file:
        return shelf[0]
    for held in shelf or []:
        shutil.rmtree(held.folder, ignore_errors=True)
    held = _Held(file, Path(tempfile.mkdtemp(prefix="costwhy-")))
    weakref.finalize(held, shutil.rmtree, held.folder, ignore_errors=True)
    _fill(held)
    if shelf is not None:
        shelf[:] = [held]
    return held


def _fill(held: _Held) -> None:
    file, seen, total = held.file, set[str](), 0
    with open_stream(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for number, info in enumerate(archive):
            _refuse_many(number)
            if info.isdir():
                continue
            name = PurePosixPath(info.name).as_posix()
            problem = _unfit(info.name, seen)
            if not info.isreg():
                problem = problem or "it is a link or a device, no file"
            source = None if problem else archive.extractfile(info)
            if source is None:
                shown = _shown(file, info.name)
                held.passed.append(Content(shown, info.size, "hostile", problem=problem))
                continue
            target = held.folder / str(number)
            total += _copy(source, target, MAX_UNPACKED - total)
            held.paths[name] = target


def _held(file: Path) -> Iterator[Content]:
    held = _tar(file)
    yield from held.passed
    for name, path in held.paths.items():
        with path.open("rb") as raw:
            packed = path.stat().st_size
            yield _member(_content(file / name, packed, cast("BinaryIO", raw), packed))
