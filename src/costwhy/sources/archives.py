"""ZIP and tar archives: a member has the path `archive.zip/deep/member.csv`.

Members of a tar lie in a temporary folder under numbers, and only while they are read: a tar can be
read from its start only. A name that would lead out of the archive is no path.
"""

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol, cast
from weakref import finalize

from costwhy.sources.streams import FAULTS, MAX_UNPACKED, Counted, copy, peel

MAX_MEMBERS = 200_000


@dataclass(frozen=True)
class Member:
    """A member as its archive lists it.

    path     `archive/member`; of one whose name is hostile a path that leads nowhere
    size     its bytes when unpacked, as the archive says
    problem  why it cannot be read; empty where it can
    kind     of a problem: hostile, protected
    """

    path: Path
    size: int
    problem: str = ""
    kind: str = ""


class Archive(Protocol):
    """An archive that is open."""

    file: Path
    members: list[Member]

    def open(self, name: str) -> tuple[BinaryIO, int]:
        """A member's bytes, and how many of the archive's they take. Raises OSError."""

    def size(self, name: str) -> int:
        """A member's bytes when unpacked, as the archive says; 0 where it has none of the name."""

    def close(self) -> None:
        """Nothing is read any more."""


_open: ContextVar[list[Archive] | None] = ContextVar("_open", default=None)


@contextmanager
def kept() -> Iterator[None]:
    """Keep the archive that was opened last, until another one is, or this ends."""
    token = _open.set([])
    try:
        yield
    finally:
        for archive in _open.get() or []:
            archive.close()
        _open.reset(token)


def archive_at(file: Path) -> Archive:
    """The archive at a path. Raises OSError where it is none, is cut off or damaged."""
    shelf = _open.get()
    if shelf and shelf[0].file == file:
        return shelf[0]
    try:
        archive: Archive = _Zip(file) if zipfile.is_zipfile(file) else _Tar(file)
    except FAULTS as error:
        raise OSError(str(error) or type(error).__name__) from error
    if shelf is not None:
        for former in shelf:
            former.close()
        shelf[:] = [archive]
    return archive


def split(file: Path) -> tuple[Path, str]:
    """The real file, and the member's name in it; empty for a file itself."""
    if not file.exists():
        for parent in file.parents:
            if parent.is_file():
                return parent, file.relative_to(parent).as_posix()
            if parent.is_dir():
                break
    return file, ""


def open_raw(file: Path) -> tuple[BinaryIO, int]:
    """The bytes of a file or a member as they are stored, and how many those are.

    Raises OSError where it cannot be read.
    """
    holder, member = split(file)
    if member:
        return archive_at(holder).open(member)
    return file.open("rb"), file.stat().st_size


def bytes_of(file: Path) -> int:
    """Bytes of a file, or of a member when unpacked as its archive says; 0 where it is absent."""
    holder, member = split(file)
    with suppress(OSError):
        if not member:
            return file.stat().st_size
        return archive_at(holder).size(member)
    return 0


@dataclass
class _Zip:
    file: Path
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._archive, self._infos = zipfile.ZipFile(self.file), dict[str, zipfile.ZipInfo]()
        self._bytes, seen = self.file.stat().st_size, set[str]()
        _refuse_many(len(self._archive.infolist()))
        for info in self._archive.infolist():
            if not info.is_dir():
                self.members.append(self._listed(info, _unfit(info.filename, seen)))

    def _listed(self, info: zipfile.ZipInfo, problem: str) -> Member:
        name = PurePosixPath(info.filename).as_posix()
        if problem:
            return Member(_shown(self.file, info.filename), info.file_size, problem, "hostile")
        self._infos[name] = info
        if info.flag_bits & 1:
            said = "it is protected by a password: unpack it first"
            return Member(self.file / name, info.file_size, said, "protected")
        return Member(self.file / name, info.file_size)

    def open(self, name: str) -> tuple[BinaryIO, int]:
        if name not in self._infos:
            raise FileNotFoundError(f"{self.file.name} has no member {name}")
        packed = min(self._infos[name].compress_size, self._bytes)
        try:
            stream = Counted(self._archive.open(self._infos[name]), packed)
        except FAULTS as error:
            raise OSError(str(error)) from error
        return cast("BinaryIO", stream), packed

    def size(self, name: str) -> int:
        return self._infos[name].file_size if name in self._infos else 0

    def close(self) -> None:
        self._archive.close()


@dataclass
class _Tar:
    file: Path
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._paths, seen, total = dict[str, Path](), set[str](), 0
        self._folder = Path(tempfile.mkdtemp(prefix="costwhy-"))
        self.close = finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        with self.file.open("rb") as raw:
            stream, _ = peel(raw, self.file.stat().st_size)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for number, info in enumerate(archive):
                    _refuse_many(number)
                    if not info.isdir():
                        total += self._take(archive, info, _unfit(info.name, seen), total)

    def _take(
        self, archive: tarfile.TarFile, info: tarfile.TarInfo, problem: str, so_far: int
    ) -> int:
        if not info.isreg():
            problem = problem or "it is a link or a device, no file"
        source = None if problem else archive.extractfile(info)
        if source is None:
            self.members.append(Member(_shown(self.file, info.name), info.size, problem, "hostile"))
            return 0
        name, target = PurePosixPath(info.name).as_posix(), self._folder / f"{len(self._paths)}"
        self._paths[name] = target
        self.members.append(Member(self.file / name, info.size))
        return copy(source, target, MAX_UNPACKED - so_far)

    def open(self, name: str) -> tuple[BinaryIO, int]:
        if name not in self._paths:
            raise FileNotFoundError(f"{self.file.name} has no member {name}")
        return self._paths[name].open("rb"), self.size(name)

    def size(self, name: str) -> int:
        return self._paths[name].stat().st_size if name in self._paths else 0


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
