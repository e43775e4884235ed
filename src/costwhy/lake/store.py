"""Small files of a lake, each created once, whole, and never changed: in a folder, or on S3.

A journal is a folder of such files, JSON documents beside the tables:

    LAKE/verdicts/, LAKE/plans/     what owners said and planned (feedback)
    LAKE/watch/                     messages, and what became of them (watch)

Of two who write the same name at once, one succeeds. Documents belong to no version of the lake:
verdicts and messages are not restated with a bill.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from costwhy.errors import LakeError, UnreachableError
from costwhy.text import shown, to_utc

ENDING = ".json"


def create_once(file: Path, content: bytes, mode: int = 0o666) -> bool:
    """Create a file that is complete under its name or not there at all.

    False: there is one of that name already, and it stays. The content is written to a draft, made
    safe on disk, and then linked to its name; of two writers one wins.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.draft")
    try:
        with open(draft, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # its name survives a power cut too
    finally:
        os.close(folder)
    return True


class Hold:
    """A shared lock on an open file, freed when nobody has this any more, or the process ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __del__(self) -> None:
        os.close(self._descriptor)


class Folder:
    """Files below a folder: the public functions are those of `Bucket`, on a disk."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def names(self, folder: str) -> list[str]:
        return [file.name for file in (self.path / folder).glob("*")]

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        return create_once(self.path / name, content)

    def hold(self, name: str) -> Hold | None:
        """Lets others know that a file is in use: see `is_held`. Raises FileNotFoundError."""
        descriptor = os.open(self.path / name, os.O_RDONLY)
        held = Hold(descriptor)
        with suppress(OSError):  # a disk without locks: `keep` protects readers there
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink == 0:  # removed in between
            raise FileNotFoundError(name)
        return held

    def is_held(self, name: str) -> bool:
        """Whether a reader, in any process, has the file."""
        with suppress(FileNotFoundError), (self.path / name).open("rb") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                return False
        return False

    def sizes(self, folder: str) -> dict[str, int]:
        place = self.path / folder
        files = [file for file in place.rglob("*") if file.is_file()]
        return {file.relative_to(place).as_posix(): file.stat().st_size for file in files}

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)


class Bucket:
    """Objects below an address; what S3 refuses becomes LakeError or UnreachableError."""

    def __init__(self, address: str) -> None:
        from costwhy.remote import aws  # noqa: PLC0415 - a folder needs no client of AWS

        self.address, self._aws = address, aws
        self.bucket, _, self.prefix = address.removeprefix("s3://").partition("/")
        self.client: Any = aws.client("s3")

    def names(self, folder: str) -> list[str]:
        return list(self.sizes(folder))

    def hold(self, _name: str) -> Hold | None:
        """None: S3 has no locks that end with their holder; `keep` protects readers there."""
        return None

    def is_held(self, _name: str) -> bool:
        """It is not known."""
        return False

    def sizes(self, folder: str) -> dict[str, int]:
        """All files below a folder of the store, and their bytes."""
        prefix = self._key(folder) + "/"
        listing = self.client.get_paginator("list_objects_v2")
        with self._calling():
            found = [
                content
                for page in listing.paginate(Bucket=self.bucket, Prefix=prefix)
                for content in page.get("Contents", [])
            ]
        return {content["Key"].removeprefix(prefix): content["Size"] for content in found}

    def get(self, name: str) -> tuple[bytes, str, float]:
        """Content, ETag, and age in seconds by the clock of S3. Raises FileNotFoundError."""
        with self._calling():
            answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            age = now - answer["LastModified"]
            return answer["Body"].read(), answer["ETag"], age.total_seconds()

    def read(self, name: str) -> bytes:
        return self.get(name)[0]

    def put(self, name: str, content: bytes, *, over: str | None = None) -> str | None:
        """Create an object, or replace the one with the ETag `over`.

        Returns its ETag; null: there is one already, or another one.
        """
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        with suppress(FileExistsError, FileNotFoundError), self._calling():
            return str(
                self.client.put_object(
                    Bucket=self.bucket, Key=self._key(name), Body=content, **condition
                )["ETag"]
            )
        return None

    def create(self, name: str, content: bytes) -> bool:
        return self.put(name, content) is not None

    def delete(self, name: str, etag: str) -> None:
        """Delete the object with this ETag; another one stays."""
        with suppress(FileExistsError, FileNotFoundError), self._calling():
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name), IfMatch=etag)

    def remove(self, names: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no error. Raises LakeError."""
        for k in range(0, len(names), 1000):  # as many as one request may name
            keys = [{"Key": self._key(name)} for name in names[k : k + 1000]]
            with self._calling():
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True}
                )
            for fault in answer.get("Errors", [])[:1]:
                raise LakeError(
                    f"old files of the lake {self.address} cannot be removed",
                    found=shown(f"{fault.get('Key')}: {fault.get('Code')}"),
                    fix="allow s3:DeleteObject there (docs/aws.md)",
                )

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Raises FileExistsError where a condition fails, FileNotFoundError without an object."""
        try:
            yield
        except self._aws.FAULTS as error:
            code = self._aws.code_of(error)
            if code in {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}:
                raise FileExistsError from None
            if code in {"NoSuchKey", "404"}:
                raise FileNotFoundError(f"no such object below {self.address}") from None
            if code == "NoSuchBucket":
                raise LakeError(
                    f"there is no bucket {self.bucket}",
                    found=self.address,
                    fix="correct `lake.path`",
                ) from None
            problem = f"the lake {self.address} cannot be reached"
            raise self._aws.unreachable(problem, error) from None


Files = Folder | Bucket


def is_remote(place: str) -> bool:
    """Whether a place is on S3."""
    return place.startswith("s3://")


def store_of(place: str) -> Files:
    """The files of a place: a folder, or an s3:// address."""
    return Bucket(place) if is_remote(place) else Folder(place)


def storage_options(place: str) -> dict[str, str]:
    """The options by which Delta and polars find the same S3 as boto3; none for a folder.

    Raises UnreachableError without credentials.
    """
    if not is_remote(place):
        return {}
    import boto3  # noqa: PLC0415 - a folder needs no client of AWS

    from costwhy.remote import aws  # noqa: PLC0415

    problem = "there are no AWS credentials for the lake"
    try:
        session = boto3.session.Session()
        frozen = (found := session.get_credentials()) and found.get_frozen_credentials()
        endpoint = aws.client("s3").meta.endpoint_url
    except aws.FAULTS as error:
        raise aws.unreachable(problem, error) from None
    if frozen is None:
        raise UnreachableError(problem, found="none in the AWS configuration", fix=aws.SIGN_IN)
    is_aws = endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    options = {
        "conditional_put": "etag",
        "aws_access_key_id": frozen.access_key,
        "aws_secret_access_key": frozen.secret_key,
        "aws_session_token": frozen.token,
        "aws_region": session.region_name,
        "aws_endpoint": None if is_aws else endpoint,  # Delta finds AWS's own by the region
        "aws_allow_http": "true" if endpoint.startswith("http://") else None,
    }
    return {name: value for name, value in options.items() if value}


class Record:
    """Base of the frozen dataclasses that documents hold; times without a zone are UTC."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, datetime):
                object.__setattr__(self, name, to_utc(value))


R = TypeVar("R", bound=Record)


def name_at(at: datetime) -> str:
    """A name in order of time that nobody else uses."""
    return f"{at:%Y%m%dT%H%M%S%f}-{uuid.uuid4().hex[:8]}"


class Journal:
    """The documents of one folder of a lake (`place`: its folder or s3:// address)."""

    def __init__(self, place: str, folder: str) -> None:
        self.place, self.folder = place, folder
        self._store = store_of(place)

    def names(self) -> list[str]:
        """Names of all documents, in order."""
        return sorted(
            name.removesuffix(ENDING)
            for name in self._store.names(self.folder)
            if name.endswith(ENDING)
        )

    def all(self, record: type[R], ending: str = "") -> list[R]:
        """The records whose names end so, in the order of their names. Raises LakeError."""
        return [self.read(name, record) for name in self.names() if name.endswith(ending)]

    def read(self, name: str, record: type[R]) -> R:
        """A record. Raises LakeError where its document cannot be read, or is another one."""
        try:
            return msgspec.json.decode(self._store.read(self._path(name)), type=record)
        except OSError as error:
            problem, found = "cannot be read", str(error)
        except (ValueError, msgspec.MsgspecError) as error:  # torn, or written by somebody else
            problem, found = "is no document of costwhy", shown(str(error))
        raise LakeError(
            f"{self._path(name)} in the lake {problem}",
            found=found,
            fix="restore the file, or delete it to discard this record",
        )

    def create(self, name: str, record: Record) -> bool:
        """Write a record whole; false: there is one of that name already, and it stays.

        Raises LakeError, UnreachableError.
        """
        text = json.dumps(
            {"costwhy": 1} | msgspec.to_builtins(record, builtin_types=(datetime,)),
            indent=1,
            allow_nan=False,
            default=datetime.isoformat,
        )
        try:
            return self._store.create(self._path(name), text.encode())
        except OSError as error:
            raise LakeError(
                f"{self.folder} in the lake {self.place} cannot be written",
                found=str(error),
                fix="free space or fix the permissions, and run it again",
            ) from error

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}{ENDING}"
