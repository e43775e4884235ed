"""Files of a source that live on S3: a local mirror of them, from which the readers of files read as from any folder.

    FOLDER/s3:/BUCKET/KEY      the objects under their own names, so that periods, `data/` and `metadata/` are recognised
    FOLDER/partial/DIGEST      what has arrived of an object; a cut transfer goes on from there
    FOLDER/index.jsonl         key, ETag and size of every object that is here whole

An object is fetched where its ETag or size is another one than before. Of a billing export only the files of the newest
delivery of each period are fetched, as its manifest names them. What has vanished from the bucket vanishes here.
"""

import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, FlexibleChecksumError

from costwhy.errors import SourceError, UnreachableError
from costwhy.remote import aws
from costwhy.sources.cost import exports
from costwhy.sources.cost.exports import MANIFEST

SCHEME = "s3://"
PARALLEL = 4
"""Objects that are fetched at the same time."""
CHUNK = 2**16
"""Bytes in memory of each of them; what a cut can cost at most, for what has arrived is kept."""
STALLS = 5
"""Attempts in a row that bring nothing before an object is given up."""
PAUSE = 0.2
"""Seconds before the second attempt; doubled each time."""
LOCK_WAIT = 10.0
_ROOT = "s3:"
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")
Tell = Callable[[str, int, int], None]
"""Told the object, how many are done, and how many there are."""


@dataclass(frozen=True)
class Mirror:
    """What a mirroring did: the folder; objects fetched, kept and removed; bytes that came over the network.

    refused: objects that cannot be files here, each with the reason.
    """

    folder: Path
    fetched: int
    kept: int
    removed: int
    bytes: int
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Object:
    """One object as the bucket lists it."""

    key: str
    etag: str
    size: int
    modified: datetime


class _ReplacedError(Exception):
    """An object is another one than when it was listed."""


class _ArchivedError(Exception):
    """An object lies in an archive and must be restored first."""


def is_address(path: str) -> bool:
    """Whether a path of costwhy.toml is an address on S3."""
    return path.startswith(SCHEME)


def local_path(address: str) -> str:
    """The address as a path below the mirror's folder: s3://bucket/key -> s3:/bucket/key."""
    return f"{_ROOT}/" + "/".join(part for part in address.removeprefix(SCHEME).split("/") if part)


def address_of(file: Path) -> str | None:
    """The address of a mirrored file; null for a file that is not of a mirror."""
    return (
        SCHEME + "/".join(file.parts[file.parts.index(_ROOT) + 1 :])
        if _ROOT in file.parts
        else None
    )


def mirror(
    address: str,
    folder: Path,
    wanted: Callable[[str], bool] | None = None,
    tell: Tell | None = None,
) -> Mirror:
    """Bring the objects of an address into a folder: a prefix that ends at a `/`, one object, or a glob.

    wanted: which keys of a prefix or a glob are of use; null: all. An object named outright is always of use.
    Raises SourceError where the address is none, or nothing is there; UnreachableError where S3 cannot be read.
    """
    bucket, _, rest = address.removeprefix(SCHEME).partition("/")
    if not is_address(address) or not _BUCKET.fullmatch(bucket):
        raise SourceError(
            f"{address!r} is no address on S3",
            found=bucket or "no bucket",
            todo="write s3://bucket/prefix/",
        )
    folder.mkdir(parents=True, exist_ok=True)
    client = aws.client("s3")
    with _lock(folder):
        for _ in range(3):
            objects = _list(client, address, (bucket, rest), wanted)
            try:
                return _Transfer(client, bucket, folder, tell or (lambda *_: None)).bring(objects)
            except _ReplacedError:  # written anew while it was read: look again
                continue
            except OSError as error:  # a full disk, or a folder that nobody may write
                raise aws.unreachable(f"{address} could not be stored in {folder}", error) from None
    found = "objects were replaced while they were read, three times"
    raise UnreachableError(
        f"{address} could not be read",
        found=found,
        todo="run it again when the delivery is complete",
    )


# ---------------------------------------------------------------- listing


def _list(
    client: Any, address: str, place: tuple[str, str], wanted: Callable[[str], bool] | None
) -> list[_Object]:
    """The objects of the address, in order of key. Raises SourceError where there is none."""
    bucket, rest = place
    try:
        found = list(_listed(client, bucket, rest, wanted or (lambda _: True)))
    except aws.FAULTS as error:
        if aws.code_of(error) == "NoSuchBucket":
            raise SourceError(
                f"there is no bucket {bucket}", found=address, todo="correct `path` in costwhy.toml"
            ) from None
        raise aws.unreachable(f"{address} could not be listed", error) from None
    if not found:
        todo = "correct `path` in costwhy.toml; names that only begin so are written PREFIX*"
        raise SourceError(
            f"there is nothing to read at {address}", found="no object of this kind", todo=todo
        )
    return found


def _listed(
    client: Any, bucket: str, rest: str, wanted: Callable[[str], bool]
) -> Iterator[_Object]:
    pattern = None
    if rest and not rest.endswith("/"):
        first = client.list_objects_v2(Bucket=bucket, Prefix=rest, MaxKeys=1).get("Contents", [])
        if (
            first and first[0]["Key"] == rest
        ):  # keys come in order: the one that is the whole prefix comes first
            yield _object(first[0])
            return
    if any(mark in rest for mark in "*?["):
        pattern = _pattern(rest)
        rest = re.split(r"[*?\[]", rest, maxsplit=1)[0]
    elif rest:
        rest = rest.rstrip("/") + "/"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=rest):
        for content in page.get("Contents", []):
            key = content["Key"]
            if (
                not key.endswith("/")
                and wanted(key)
                and (pattern is None or pattern.fullmatch(key))
            ):
                yield _object(content)


def _object(content: dict[str, Any]) -> _Object:
    try:
        return _Object(content["Key"], content["ETag"], content["Size"], content["LastModified"])
    except KeyError as error:
        raise ValueError(f"the listing names an object without its {error}") from None


def _pattern(glob: str) -> re.Pattern[str]:
    """The glob as files know it: `*` and `?` stay within a folder, `**/` goes through any number of them."""
    words = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", glob, re.DOTALL)
    return re.compile(
        "".join(
            words.get(p)
            or (p.replace("[!", "[^", 1) if len(p) > 2 and p[0] == "[" else re.escape(p))
            for p in parts
        )
    )


# ---------------------------------------------------------------- fetching


@dataclass
class _Transfer:
    """One mirroring under its lock; its methods run in PARALLEL threads."""

    client: Any
    bucket: str
    folder: Path
    tell: Tell
    received: int = 0
    done: int = 0
    total: int = 0
    refused: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def bring(self, objects: list[_Object]) -> Mirror:
        """Manifests first, for they say what else is of use; then what vanished goes; then the rest comes."""
        storable = self._storable(objects)
        self.total = len(storable)
        known = self._index()
        manifests = [o for o in storable if o.key.endswith(MANIFEST)]
        changed = self._fetch_all(manifests, known)
        useful = self._newest(storable, manifests)
        self.total = len(useful)
        removed = self._remove({o.key for o in useful}, known)
        changed += self._fetch_all([o for o in useful if not o.key.endswith(MANIFEST)], known)
        self._compact({o.key: [o.etag, o.size] for o in useful if self._path(o.key).is_file()})
        lost = len(self.refused)
        kept = len(useful) - changed - (lost - (len(objects) - len(storable)))
        return Mirror(
            self.folder, changed, kept, removed, self.received, tuple(sorted(self.refused))
        )

    def _path(self, key: str) -> Path:
        return self.folder.joinpath(_ROOT, self.bucket, *(part for part in key.split("/") if part))

    def _storable(self, objects: list[_Object]) -> list[_Object]:
        """Without keys that would leave the folder, or that cannot be files beside the others."""
        paths: set[Path] = set()
        kept = []
        for one in sorted(objects, key=lambda o: (o.key.count("/"), o.key)):
            reason = _unfit(one.key)
            path = self._path(one.key) if not reason else self.folder
            if not reason and (path in paths or not paths.isdisjoint(path.parents)):
                reason = "another object has the same name as a file or as a folder"
            if reason:
                self._refuse(one.key, reason)
            else:
                paths.add(path)
                kept.append(one)
        return sorted(kept, key=lambda o: o.key)

    def _newest(self, objects: list[_Object], manifests: list[_Object]) -> list[_Object]:
        """Billing exports: without what a newer delivery of the same period replaced. Others: all."""
        if not manifests:
            return objects
        by_path = {self._path(o.key): o for o in objects if not o.key.endswith(MANIFEST)}
        wanted = exports.newest(
            by_path,
            [self._path(o.key) for o in manifests],
            lambda path: by_path[path].modified.timestamp(),
        )
        return [*manifests, *(by_path[path] for path in wanted if path in by_path)]

    def _fetch_all(self, objects: list[_Object], known: dict[str, list[Any]]) -> int:
        """Those that are new or changed, PARALLEL at a time; the first fault stops all. Returns how many came."""
        needed = [o for o in objects if not self._is_here(o, known.get(o.key))]
        self.done += len(objects) - len(needed)
        if not needed:
            return 0
        before = len(self.refused)
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                _finish([pool.submit(self._bring_one, one) for one in needed])
            except BaseException:
                self._stopping.set()
                pool.shutdown(cancel_futures=True)
                raise
        return len(needed) - (len(self.refused) - before)

    def _is_here(self, one: _Object, known: list[Any] | None) -> bool:
        path = self._path(one.key)
        if known != [one.etag, one.size] or not path.is_file():
            return False
        there = path.stat()  # a file that somebody altered has another time than its object
        return there.st_size == one.size and abs(there.st_mtime - one.modified.timestamp()) < 1

    def _bring_one(self, one: _Object) -> None:
        path = self._path(one.key)
        partial = (
            self.folder
            / "partial"
            / hashlib.sha256(f"{self.bucket}\0{one.key}\0{one.etag}".encode()).hexdigest()
        )
        partial.parent.mkdir(exist_ok=True)
        try:
            self._fetch(one, partial)
        except _ArchivedError:
            self._refuse(one.key, "it lies in an archive: restore it first")
            return
        except OSError as error:
            raise aws.unreachable(
                f"{SCHEME}{self.bucket}/{one.key} could not be stored", error
            ) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(
            partial, (one.modified.timestamp(),) * 2
        )  # the newest of several deliveries is found by it
        partial.replace(path)
        with self._guard, (self.folder / "index.jsonl").open("a", encoding="utf-8") as index:
            index.write(_line(one.key, [one.etag, one.size]))
            self.done += 1
            self.tell(f"{SCHEME}{self.bucket}/{one.key}", self.done, self.total)

    def _fetch(self, one: _Object, partial: Path) -> None:
        """Until all is here; after a cut from where it was cut."""
        partial.touch()
        if not _is_sound(partial, one, {}):  # whole, and killed before it was looked at
            partial.write_bytes(b"")
        stalls, farthest = 0, partial.stat().st_size
        while True:
            before = partial.stat().st_size
            try:
                if before < one.size:
                    self._append(one, partial, before)
                if partial.stat().st_size == one.size:
                    return
                fault: Exception = ValueError(
                    f"{partial.stat().st_size} bytes arrived of {one.size}"
                )
            except FlexibleChecksumError as error:
                fault = error
                partial.write_bytes(b"")
            except aws.FAULTS as error:
                _give_up(error, f"{SCHEME}{self.bucket}/{one.key}")
                fault = error
            if partial.stat().st_size > one.size:
                partial.write_bytes(b"")
            stalls = 0 if farthest < partial.stat().st_size else stalls + 1
            farthest = max(farthest, partial.stat().st_size)
            if stalls >= STALLS or self._stopping.is_set():
                raise aws.unreachable(
                    f"{SCHEME}{self.bucket}/{one.key} could not be fetched", fault
                ) from None
            time.sleep(PAUSE * 2**stalls if stalls else 0)

    def _append(self, one: _Object, partial: Path, start: int) -> None:
        """One request from `start` to the end; every chunk is in the file before the next one is asked for."""
        part = {"Range": f"bytes={start}-"} if start else {}
        answer = self.client.get_object(Bucket=self.bucket, Key=one.key, IfMatch=one.etag, **part)
        with closing(answer["Body"]) as body, _opened(partial, one, answer, start) as stream:
            while (
                not self._stopping.is_set()
                and stream.tell() <= one.size
                and (chunk := body.read(CHUNK))
            ):
                _store(stream, chunk)
                with self._guard:
                    self.received += len(chunk)
        if not _is_sound(partial, one, answer):
            partial.write_bytes(b"")
            raise ValueError("what arrived has another checksum than the object")

    def _refuse(self, key: str, reason: str) -> None:
        with self._guard:
            self.refused.append(f"{SCHEME}{self.bucket}/{key}: {reason}")

    # ------------------------------------------------------------ what is here

    def _index(self) -> dict[str, list[Any]]:
        """What is here whole; the last line of a key counts, a torn line does not."""
        known: dict[str, list[Any]] = {}
        with suppress(FileNotFoundError):
            for line in (
                (self.folder / "index.jsonl")
                .read_text(encoding="utf-8", errors="replace")
                .splitlines()
            ):
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    known[entry["key"]] = [entry["etag"], entry["size"]]
        return known

    def _compact(self, present: dict[str, list[Any]]) -> None:
        """One line for each object, and no parts of objects that are no longer wanted."""
        draft = self.folder / "index.draft"
        draft.write_text(
            "".join(_line(key, entry) for key, entry in sorted(present.items())), encoding="utf-8"
        )
        draft.replace(self.folder / "index.jsonl")
        for partial in (self.folder / "partial").glob("*"):
            partial.unlink()

    def _remove(self, wanted: set[str], known: dict[str, list[Any]]) -> int:
        """What is no longer to be read, with the folders that it leaves empty. Returns how many objects went."""
        keep = {self._path(key) for key in wanted}
        root = self.folder / _ROOT
        gone = [path for path in root.rglob("*") if path.is_file() and path not in keep]
        for path in gone:
            path.unlink()
            for parent in path.parents:
                if parent == root or any(parent.iterdir()):
                    break
                parent.rmdir()
        for key in known.keys() - wanted:
            del known[key]
        return len(gone)


def _finish(futures: Iterable[Future[None]]) -> None:
    for future in wait(futures, return_when=FIRST_EXCEPTION).done:
        future.result()


def _line(key: str, entry: list[Any]) -> str:
    return json.dumps({"key": key, "etag": entry[0], "size": entry[1]}) + "\n"


def _unfit(key: str) -> str:
    """Why a key cannot be a file below the folder; empty where it can."""
    parts = [part for part in key.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        return "its name would lead out of the folder"
    if "\0" in key or any(len(part.encode("utf-8", "replace")) > 255 for part in parts):
        return "its name cannot be the name of a file"
    return ""


def _opened(partial: Path, one: _Object, answer: dict[str, Any], start: int) -> FileIO:
    """The file, ready for what the answer brings: the bytes from `start`, or all of them. Not every server heeds what it is asked."""
    if answer.get("ETag", one.etag).strip('"') != one.etag.strip('"'):
        raise _ReplacedError
    whole, came = (
        answer["ResponseMetadata"]["HTTPStatusCode"] != 206,
        str(answer.get("ContentRange")),
    )
    if not whole and not came.startswith(f"bytes {start}-"):
        partial.write_bytes(b"")  # the next request asks for all of it
        raise ValueError(f"bytes from {start} were asked for, {came} came")
    return partial.open("wb" if whole else "ab", buffering=0)


def _store(stream: FileIO, chunk: bytes) -> None:
    """All of it: where the disk is nearly full, one write takes a part, and the next one says so."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def _give_up(error: Exception, address: str) -> None:
    """Answers that no further attempt will change."""
    if isinstance(error, OSError) and error.errno in aws.DISK:
        raise aws.unreachable(f"{address} could not be stored", error) from None
    if not isinstance(error, ClientError):
        return
    if aws.code_of(error) in {"PreconditionFailed", "412", "NoSuchKey", "404"}:
        raise _ReplacedError from None
    if aws.code_of(error) == "InvalidObjectState":
        raise _ArchivedError from None
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if 400 <= status < 500:
        raise aws.unreachable(f"S3 refused to give {address}", error) from None


def _is_sound(partial: Path, one: _Object, answer: dict[str, Any]) -> bool:
    """Whether the content is that of the ETag, where the ETag is an MD5: not of multipart uploads, not under KMS keys."""
    etag = one.etag.strip('"')
    plain = (
        _PLAIN_MD5.fullmatch(etag)
        and answer.get("ServerSideEncryption") in {None, "AES256"}
        and "SSECustomerAlgorithm" not in answer
    )
    if not plain or partial.stat().st_size != one.size:
        return True
    with partial.open("rb") as stream:
        return (
            hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
            == etag
        )


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One at a time in one folder; the operating system frees the lock of a process that was killed."""
    until = time.monotonic() + LOCK_WAIT
    with (folder / "lock").open("a+", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    todo = "wait until it is done, and run it again"
                    raise SourceError(
                        "the mirror is being filled by another costwhy",
                        found=str(folder),
                        todo=todo,
                    ) from None
            time.sleep(0.05)
        yield


__all__ = ["Mirror", "address_of", "is_address", "local_path", "mirror"]
