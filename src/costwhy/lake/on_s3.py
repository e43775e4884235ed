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

from costwhy.errors import CostwhyError, LakeError
from costwhy.remote.s3 import Store

LEASE = 60.0
"""Seconds after the last sign of life; BEAT: seconds between two."""
BEAT = 15.0


class Snapshots:
    """The numbered JSON objects that say which table versions belong together: listed, read, created once."""

    def __init__(self, address: str) -> None:
        self.store = Store(address)

    def known(self) -> list[int]:
        """Versions, oldest first."""
        stems = [
            name.removesuffix(".json")
            for name in self.store.names("snapshots")
            if name.endswith(".json")
        ]
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
            problem = "the lake is being written by another costwhy"
            raise LakeError(
                problem,
                found=f"{self.store.address}/{_name(version)} is there already",
                fix="run it again",
            )

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
            raise LakeError(
                "the lake is being written by another costwhy",
                found=found,
                fix="wait until it is done, and run it again",
            )
        time.sleep(min(1.0, wait / 10))


def _refuse_careless(store: Store, etag: str) -> None:
    """A server that takes no notice of conditions would let two writers write over each other: it is found out before."""
    over = store.put("writer.lock", _said())
    if over is not None:
        store.delete("writer.lock", over)
        found = f"it let {store.address}/writer.lock be created twice, {etag} and {over}"
        raise LakeError(
            "the lake's server does not heed If-None-Match",
            found=found,
            fix="put the lake on AWS S3, or in a folder",
        )


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
                raise LakeError(
                    "the lake was taken over by another costwhy", found=found, fix="run it again"
                )
            self.etag = etag
