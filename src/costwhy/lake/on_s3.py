"""What a lake on S3 has instead of files and of a lock of the operating system: objects, conditions, and a lease.

    s3://BUCKET/PREFIX/snapshots/000000000012.json   put with If-None-Match: it is created once, or not at all
    s3://BUCKET/PREFIX/writer.lock                   put with If-None-Match by the one who writes, renewed while he lives

A lease that was not renewed for LEASE seconds, by S3's own clock, is of a writer that was killed: the next one takes it
with If-Match. A writer that lost his lease names no snapshot, so what he wrote is taken back like that of a killed one.
"""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime

import boto3

from costwhy.errors import CostwhyError, LakeError, UnreachableError
from costwhy.sources.aws import clients

LEASE = 60.0
"""Seconds after the last sign of life; BEAT: seconds between two."""
BEAT = 15.0
_REFUSED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_ABSENT = ("NoSuchKey", "404")


def storage_options() -> dict[str, str]:
    """What Delta and polars must be told to find the same S3 as boto3. Raises UnreachableError without credentials."""
    try:
        session = boto3.session.Session()
        held = session.get_credentials()
        frozen = held.get_frozen_credentials() if held else None
        endpoint = clients.client("s3").meta.endpoint_url
    except clients.FAULTS as error:
        raise clients.unreachable("there are no AWS credentials for the lake", error) from None
    if frozen is None:
        todo = "sign in, or name a profile: AWS_PROFILE, `aws configure`, `aws sso login`"
        raise UnreachableError("there are no AWS credentials for the lake", found="none in the AWS configuration", todo=todo)
    options = {"conditional_put": "etag"}
    more = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key, "aws_session_token": frozen.token}
    more |= {"aws_region": session.region_name, "aws_endpoint": _own_endpoint(endpoint)}
    allow = {"aws_allow_http": "true"} if endpoint.startswith("http://") else {}
    return options | {name: value for name, value in more.items() if value} | allow


def _own_endpoint(endpoint: str) -> str | None:
    """Null for AWS's own, which Delta finds by the region."""
    return None if endpoint.endswith((".amazonaws.com", ".amazonaws.com.cn")) else endpoint


class Store:
    """Objects below an address; what S3 refuses becomes LakeError or UnreachableError."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.bucket, _, self.prefix = address.removeprefix("s3://").partition("/")
        self.client = clients.client("s3")

    def names(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder."""
        prefix = self._key(folder) + "/"
        with self._calling():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return [content["Key"].removeprefix(prefix) for page in pages for content in page.get("Contents", [])]

    def get(self, name: str) -> tuple[bytes, str, float]:
        """Content, ETag, and age in seconds by S3's own clock; no content where there is no such object."""
        try:
            with self._calling():
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name))
                served = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
                return answer["Body"].read(), answer["ETag"], (served - answer["LastModified"]).total_seconds()
        except FileNotFoundError:
            return b"", "", 0.0

    def put(self, name: str, content: bytes, *, over: str | None = None) -> str | None:
        """Create an object, or replace the one with the ETag `over`. Returns its ETag; null: it was there, or is another one."""
        condition = {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        try:
            with self._calling():
                answer = self.client.put_object(Bucket=self.bucket, Key=self._key(name), Body=content, **condition)
                return str(answer["ETag"])
        except (FileExistsError, FileNotFoundError):
            return None

    def delete(self, name: str, etag: str) -> None:
        """Delete the object with this ETag; another one stays."""
        with suppress(FileExistsError, FileNotFoundError), self._calling():
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name), IfMatch=etag)

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Raises FileExistsError where a condition did not hold, FileNotFoundError where there is no such object."""
        try:
            yield
        except clients.FAULTS as error:
            code = clients.code_of(error)
            if code in _REFUSED:
                raise FileExistsError from None
            if code in _ABSENT:
                raise FileNotFoundError from None
            if code == "NoSuchBucket":
                raise LakeError(f"there is no bucket {self.bucket}", found=self.address, todo="correct `lake.path`") from None
            raise clients.unreachable(f"the lake {self.address} cannot be reached", error) from None


class Snapshots:
    """The numbered JSON objects that say which table versions belong together: listed, read, created once."""

    def __init__(self, address: str) -> None:
        self.store = Store(address)

    def known(self) -> list[int]:
        """Versions, oldest first."""
        stems = [name.removesuffix(".json") for name in self.store.names("snapshots") if name.endswith(".json")]
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def text(self, version: int) -> str:
        """The JSON of a version. Raises OSError where it is gone."""
        content, etag, _ = self.store.get(_name(version))
        if not etag:
            raise FileNotFoundError(f"{self.store.address}/{_name(version)}")
        return content.decode()

    def create(self, version: int, content: Mapping[str, object]) -> None:
        """Complete under its name or not there at all, and never over another one."""
        if self.store.put(_name(version), json.dumps(content, indent=1).encode()) is None:
            wrong = "the lake is being written by another costwhy"
            raise LakeError(wrong, found=f"{self.store.address}/{_name(version)} is there already", todo="run it again")

    def clear_drafts(self) -> None:
        """There are none: an object is there whole, or not at all."""


def _name(version: int) -> str:
    return f"snapshots/{version:012d}.json"


@contextmanager
def lease(address: str, wait: float) -> Iterator[Callable[[], None]]:
    """One writer at a time. Yields what raises LakeError where the lease was lost meanwhile: call it before the snapshot."""
    store = Store(address)
    held = _Lease(store, _acquire(store, wait))
    thread = threading.Thread(target=held.beat, name="costwhy lease", daemon=True)
    thread.start()
    try:
        yield held.renew
    finally:
        held.over.set()
        thread.join()
        with suppress(CostwhyError):
            store.delete("writer.lock", held.etag)


def _said() -> bytes:
    """Another content each time: an ETag belongs to one sign of life of one writer."""
    return json.dumps({"writer": uuid.uuid4().hex, "process": os.getpid()}).encode()


def _acquire(store: Store, wait: float) -> str:
    until = time.monotonic() + wait
    while True:
        etag = store.put("writer.lock", _said())
        if etag is None:
            _, there, age = store.get("writer.lock")
            etag = store.put("writer.lock", _said(), over=there) if there and age > LEASE else None
        if etag is not None:
            _refuse_careless(store, etag)
            return etag
        if time.monotonic() > until:
            found = f"a lease at {store.address}/writer.lock; that of a killed writer ends after {LEASE:.0f} seconds"
            raise LakeError("the lake is being written by another costwhy", found=found, todo="wait until it is done, and run it again")
        time.sleep(min(1.0, wait / 10))


def _refuse_careless(store: Store, etag: str) -> None:
    """A server that takes no notice of conditions would let two writers write over each other: it is found out before."""
    over = store.put("writer.lock", _said())
    if over is not None:
        store.delete("writer.lock", over)
        found = f"it let {store.address}/writer.lock be created twice, {etag} and {over}"
        raise LakeError("the lake's server does not heed If-None-Match", found=found, todo="put the lake on AWS S3, or in a folder")


class _Lease:
    """A lease that is held, and the thread that renews it."""

    def __init__(self, store: Store, etag: str) -> None:
        self.store, self.etag = store, etag
        self.over = threading.Event()
        self._guard = threading.Lock()

    def beat(self) -> None:
        """Renew until it is over; a failure shows when the writer asks."""
        while not self.over.wait(BEAT):
            with suppress(CostwhyError):
                self.renew()

    def renew(self) -> None:
        """Raises LakeError where somebody else has taken the lease."""
        with self._guard:
            etag = self.store.put("writer.lock", _said(), over=self.etag)
            if etag is None:
                found = f"no sign of life for {LEASE:.0f} seconds"
                raise LakeError("the lake was taken over by another costwhy", found=found, todo="run it again")
            self.etag = etag
