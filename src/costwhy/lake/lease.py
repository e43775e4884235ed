"""What a lake on S3 has in place of a lock: a lease that its writer keeps renewing.

    s3://BUCKET/PREFIX/writer.lock   created with If-None-Match by the writer, then renewed

A lease that was not renewed for LEASE seconds, by the clock of S3, belonged to a writer that was
killed: the next one takes it with If-Match. A writer that lost its lease creates no snapshot, so
what it wrote is taken back like that of a killed one.
"""

import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from costwhy.errors import CostwhyError, LakeError
from costwhy.remote.s3 import Store

LEASE = 60.0  # seconds after the last renewal until a lease ends
RENEWAL = 15.0  # seconds between two renewals
NAME = "writer.lock"


@contextmanager
def lease(address: str, wait: float) -> Iterator[Callable[[], None]]:
    """One writer at a time. Yields what raises LakeError where the lease was lost: call it last."""
    store = Store(address)
    ours = _Lease(store, _acquire(store, wait))
    thread = threading.Thread(target=ours.keep, name="costwhy lease", daemon=True)
    thread.start()
    try:
        yield ours.renew
    finally:
        ours.over.set()
        thread.join()
        with suppress(CostwhyError):
            store.delete(NAME, ours.etag)


def _content() -> bytes:
    """Another content each time, so that each renewal has an ETag of its own."""
    return json.dumps({"writer": uuid.uuid4().hex, "process": os.getpid()}).encode()


def _acquire(store: Store, wait: float) -> str:
    retries = Retrying(
        retry=retry_if_result(lambda etag: not etag),
        stop=stop_after_delay(wait),
        wait=wait_fixed(min(1.0, wait / 10)),
    )
    try:
        etag = retries(_take, store)
    except RetryError:
        raise LakeError(
            "the lake is being written by another costwhy",
            found=f"a lease at {store.address}/{NAME}; that of a killed writer ends after "
            f"{LEASE:.0f} seconds",
            fix="wait until it is done, and run it again",
        ) from None
    _refuse_unconditional(store, etag)
    return etag


def _take(store: Store) -> str:
    """The ETag of a lease of ours, where there is none or where it has ended; else empty."""
    etag = store.put(NAME, _content())
    if etag is None:
        _, present, age = store.get(NAME)
        etag = store.put(NAME, _content(), over=present) if present and age > LEASE else None
    return etag or ""


def _refuse_unconditional(store: Store, etag: str) -> None:
    """Raises LakeError for a server that ignores conditions: two writers would overwrite."""
    second = store.put(NAME, _content())
    if second is not None:
        store.delete(NAME, second)
        raise LakeError(
            "the lake's server does not heed If-None-Match",
            found=f"it let {store.address}/{NAME} be created twice, {etag} and {second}",
            fix="put the lake on AWS S3, or in a folder",
        )


class _Lease:
    """A lease of ours, renewed by a thread."""

    def __init__(self, store: Store, etag: str) -> None:
        self.store, self.etag = store, etag
        self.over = threading.Event()
        self._guard = threading.Lock()

    def keep(self) -> None:
        """Renew until it is over; a failure shows when the writer asks."""
        while not self.over.wait(RENEWAL):
            with suppress(CostwhyError):
                self.renew()

    def renew(self) -> None:
        """Raises LakeError where somebody else has taken the lease."""
        with self._guard:
            etag = self.store.put(NAME, _content(), over=self.etag)
            if etag is None:
                raise LakeError(
                    "the lake was taken over by another costwhy",
                    found=f"no renewal for {LEASE:.0f} seconds",
                    fix="run it again",
                )
            self.etag = etag
