"""A local mirror of files on S3, which is then read as any folder.

    FOLDER/s3:/BUCKET/KEY      the objects under their own names: periods are recognised by them
    FOLDER/partial/DIGEST      what has arrived of an object; a cut transfer goes on from there
    FOLDER/index.jsonl         every object that is here whole, as the bucket listed it

An object is fetched where its ETag or size has changed. Of a billing export only the files of the
newest delivery of each period are fetched, as its manifest names them. What has vanished from the
bucket vanishes here.
"""

import hashlib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field, replace
from io import BufferedWriter
from pathlib import Path
from typing import Any

import msgspec
from botocore.exceptions import ClientError, FlexibleChecksumError
from filelock import FileLock, Timeout

from costwhy.errors import SourceError, UnreachableError
from costwhy.remote import aws
from costwhy.sources.cost import exports
from costwhy.sources.cost.manifests import is_manifest
from costwhy.sources.s3_listing import (
    ROOT,
    SCHEME,
    S3Object,
    address_of,
    is_address,
    list_objects,
    local_path,
    split_address,
)

PARALLEL = 4  # objects that are fetched at the same time
CHUNK = 2**16  # bytes in memory of each of them; a cut costs no more, what has arrived is kept
STALLS = 5  # attempts in a row that bring nothing before an object is given up
PAUSE = 0.2  # seconds before the second attempt; doubled each time
LOCK_WAIT = 10.0
Tell = Callable[[str, int, int], None]  # told the object, how many are done, how many there are


@dataclass(frozen=True)
class Mirror:
    """What a mirroring did: how many objects it fetched, kept and removed.

    bytes    that came over the network
    refused  objects that cannot be files here, each with the reason
    passed   bytes of the objects that are not wanted, by address
    """

    fetched: int
    kept: int
    removed: int
    bytes: int
    refused: tuple[str, ...] = ()
    passed: Mapping[str, int] = field(default_factory=dict)


class _ReplacedError(Exception):
    """An object is another one than when it was listed."""


class _ArchivedError(Exception):
    """An object lies in an archive and must be restored first."""


def mirror(
    address: str,
    folder: Path,
    wanted: Callable[[str], bool] | None = None,
    tell: Tell | None = None,
) -> Mirror:
    """Fetch the objects of an address: a prefix that ends at a `/`, one object, or a glob.

    wanted: which keys of a prefix or a glob; null: all. An object that is named itself is always
    fetched.

    Raises SourceError where the address is none, or nothing is there; UnreachableError where S3
    cannot be read.
    """
    bucket, _ = split_address(address)
    folder.mkdir(parents=True, exist_ok=True)
    client = aws.client("s3")
    with _lock(folder):
        for _ in range(3):
            objects, others = list_objects(client, address, wanted or (lambda _: True))
            passed = {f"{SCHEME}{bucket}/{one.key}": one.size for one in others}
            try:
                transfer = _Transfer(client, bucket, folder, tell or (lambda *_: None))
                return replace(transfer.run(objects), passed=passed)
            except _ReplacedError:  # written anew while it was read: look again
                continue
            except OSError as error:  # a full disk, or a folder that nobody may write
                raise aws.unreachable(f"{address} could not be stored in {folder}", error) from None
    raise UnreachableError(
        f"{address} could not be read",
        found="objects were replaced while they were read, three times",
        fix="run it again when the delivery is complete",
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
    fetched: int = 0
    kept: int = 0
    total: int = 0
    refused: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, objects: list[S3Object]) -> Mirror:
        """Manifests first, for they name the others; then what vanished goes; then the rest."""
        storable = self._storable(objects)
        known, self.total = self._index(), len(storable)
        manifests = [one for one in storable if is_manifest(one.key)]
        self._fetch_all(manifests, known)
        useful = self._newest(storable, manifests)
        self.total = len(useful)
        removed = self._remove({self._path(one.key) for one in useful})
        self._fetch_all([one for one in useful if not is_manifest(one.key)], known)
        self._compact([one for one in useful if self._path(one.key).is_file()])
        return Mirror(self.fetched, self.kept, removed, self.received, tuple(sorted(self.refused)))

    def _path(self, key: str) -> Path:
        return self.folder.joinpath(ROOT, self.bucket, *(part for part in key.split("/") if part))

    def _storable(self, objects: list[S3Object]) -> list[S3Object]:
        """Without keys that would leave the folder, or that cannot be files beside the others."""
        kept: dict[Path, S3Object] = {}
        for one in sorted(objects, key=lambda one: (one.key.count("/"), one.key)):
            path, reason = self._path(one.key), _unfit(one.key)
            if path in kept or not kept.keys().isdisjoint(path.parents):
                reason = reason or "another object has the same name as a file or as a folder"
            if reason:
                self.refused.append(f"{SCHEME}{self.bucket}/{one.key}: {reason}")
            else:
                kept[path] = one
        return sorted(kept.values(), key=lambda one: one.key)

    def _newest(self, objects: list[S3Object], manifests: list[S3Object]) -> list[S3Object]:
        """Of billing exports the newest delivery of each period; of other files all."""
        if not manifests:
            return objects
        by_path = {self._path(o.key): o for o in objects if not is_manifest(o.key)}
        wanted = exports.newest(
            by_path,
            [self._path(one.key) for one in manifests],
            self.folder / ROOT / self.bucket,
        ).files
        return [*manifests, *(by_path[path] for path in wanted if path in by_path)]

    def _fetch_all(self, objects: list[S3Object], known: dict[str, S3Object]) -> None:
        needed = [one for one in objects if not self._is_here(one, known.get(one.key))]
        self.kept += len(objects) - len(needed)
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                for future in as_completed([pool.submit(self._fetch_one, one) for one in needed]):
                    future.result()
            except BaseException:
                self._stopping.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _is_here(self, one: S3Object, known: S3Object | None) -> bool:
        """A file that somebody altered has another time than its object."""
        path = self._path(one.key)
        return (
            known == one
            and path.is_file()
            and path.stat().st_size == one.size
            and abs(path.stat().st_mtime - one.modified.timestamp()) < 1
        )

    def _fetch_one(self, one: S3Object) -> None:
        path, address = self._path(one.key), f"{SCHEME}{self.bucket}/{one.key}"
        partial = (
            self.folder
            / "partial"
            / hashlib.sha256(f"{self.bucket}\0{one.key}\0{one.etag}".encode()).hexdigest()
        )
        partial.parent.mkdir(exist_ok=True)
        try:
            self._fetch(one, partial, address)
        except _ArchivedError:
            self.refused.append(f"{address}: it lies in an archive: restore it first")
            return
        except OSError as error:
            raise aws.unreachable(f"{address} could not be stored", error) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(partial, (one.modified.timestamp(), one.modified.timestamp()))
        partial.replace(path)
        with self._guard, (self.folder / "index.jsonl").open("ab") as index:
            index.write(msgspec.json.encode(one) + b"\n")
            self.fetched += 1
            self.tell(address, self.kept + self.fetched, self.total)

    def _fetch(self, one: S3Object, partial: Path, address: str) -> None:
        """Until all is here; after a cut from where it was cut.

        tenacity counts attempts; here those in a row count that bring nothing.
        """
        partial.touch()
        if not _is_sound(partial, one, {}):  # whole, and killed before it was looked at
            partial.write_bytes(b"")
        stalls, farthest = 0, partial.stat().st_size
        fault: Exception = ValueError("another object could not be fetched")
        while partial.stat().st_size != one.size:
            if stalls >= STALLS or self._stopping.is_set():
                raise aws.unreachable(f"{address} could not be fetched", fault) from None
            time.sleep(PAUSE * 2**stalls if stalls else 0)
            try:
                self._append(one, partial)
                fault = ValueError(f"{partial.stat().st_size} bytes arrived of {one.size}")
            except aws.FAULTS as error:
                _give_up(error, address)
                fault = error
            if isinstance(fault, FlexibleChecksumError) or partial.stat().st_size > one.size:
                partial.write_bytes(b"")
            arrived = partial.stat().st_size
            stalls = 0 if arrived > farthest else stalls + 1
            farthest = max(farthest, arrived)

    def _append(self, one: S3Object, partial: Path) -> None:
        """One request for what is missing; a chunk is in the file before the next is read."""
        start = partial.stat().st_size if partial.stat().st_size < one.size else 0
        answer = self.client.get_object(
            Bucket=self.bucket,
            Key=one.key,
            IfMatch=one.etag,
            **({"Range": f"bytes={start}-"} if start else {}),
        )
        with closing(answer["Body"]) as body, _opened(partial, one, answer, start) as stream:
            while (
                not self._stopping.is_set()
                and stream.tell() <= one.size
                and (chunk := body.read(CHUNK))
            ):
                stream.write(chunk)
                stream.flush()  # on a disk that is nearly full a write takes a part
                with self._guard:
                    self.received += len(chunk)
        if not _is_sound(partial, one, answer):
            partial.write_bytes(b"")
            raise ValueError("what arrived has another checksum than the object")

    # ------------------------------------------------------------ what is here

    def _index(self) -> dict[str, S3Object]:
        """What is here whole; the last line of a key counts, a torn line does not."""
        known: dict[str, S3Object] = {}
        with suppress(FileNotFoundError):
            for line in (self.folder / "index.jsonl").read_bytes().splitlines():
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    one = msgspec.json.decode(line, type=S3Object)
                    known[one.key] = one
        return known

    def _compact(self, present: Sequence[S3Object]) -> None:
        """One line for each object, and no parts of objects that are no longer wanted."""
        draft = self.folder / "index.draft"
        draft.write_bytes(
            msgspec.json.Encoder().encode_lines(sorted(present, key=lambda one: one.key))
        )
        draft.replace(self.folder / "index.jsonl")
        for partial in (self.folder / "partial").glob("*"):
            partial.unlink()

    def _remove(self, wanted: set[Path]) -> int:
        """Remove other files, and folders that are then empty. Returns how many files went."""
        gone = [
            path
            for path in (self.folder / ROOT).rglob("*")
            if path.is_file() and path not in wanted
        ]
        for path in gone:
            path.unlink()
            with suppress(OSError):  # it is not empty
                os.removedirs(path.parent)
        return len(gone)


def _unfit(key: str) -> str:
    """Why a key cannot be a file below the folder; empty where it can."""
    parts = [part for part in key.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        return "its name would lead out of the folder"
    long = any(len(part.encode("utf-8", "replace")) > 255 for part in parts)
    return "its name cannot be the name of a file" if long or "\0" in key else ""


def _opened(partial: Path, one: S3Object, answer: dict[str, Any], start: int) -> BufferedWriter:
    """The file, ready for what the answer brings: the bytes from `start`, or all of them.

    Some servers ignore the range or the ETag that they are asked for.
    """
    if answer.get("ETag", one.etag).strip('"') != one.etag.strip('"'):
        raise _ReplacedError
    whole = answer["ResponseMetadata"]["HTTPStatusCode"] != 206
    came = str(answer.get("ContentRange"))
    if not whole and not came.startswith(f"bytes {start}-"):
        partial.write_bytes(b"")  # the next request asks for all of it
        raise ValueError(f"bytes from {start} were asked for, {came} came")
    return partial.open("wb" if whole else "ab")


def _give_up(error: Exception, address: str) -> None:
    """Answers that no further attempt will change."""
    if isinstance(error, OSError) and error.errno in aws.DISK:
        raise aws.unreachable(f"{address} could not be stored", error) from None
    if aws.code_of(error) in {"PreconditionFailed", "412", "NoSuchKey", "404"}:
        raise _ReplacedError from None
    if aws.code_of(error) == "InvalidObjectState":
        raise _ArchivedError from None
    answer = error.response if isinstance(error, ClientError) else {}
    if 400 <= answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500:
        raise aws.unreachable(f"S3 refused to give {address}", error) from None


def _is_sound(partial: Path, one: S3Object, answer: dict[str, Any]) -> bool:
    """Whether the content is that of the ETag.

    Not every ETag is an MD5: not of multipart uploads, not under KMS keys. Such content is trusted.
    """
    etag = one.etag.strip('"')
    plain = (
        re.fullmatch("[0-9a-f]{32}", etag)
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


def _lock(folder: Path) -> AbstractContextManager[object]:
    """One process at a time; the operating system frees the lock of one that was killed."""
    try:
        return FileLock(folder / "lock", LOCK_WAIT, fallback_to_soft=False).acquire()
    except Timeout:
        raise SourceError(
            "the mirror is being filled by another costwhy",
            found=str(folder),
            fix="wait until it is done, and run it again",
        ) from None


__all__ = ["Mirror", "address_of", "is_address", "local_path", "mirror"]
