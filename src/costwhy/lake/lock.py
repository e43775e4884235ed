"""One writer at a time: a lock in a folder, a lease on S3.

    LAKE/writer.lock                 locked by the writer; freed when it dies
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
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from costwhy.errors import CostwhyError, LakeError
from costwhy.lake.store import Bucket, is_remote

LOCK_WAIT = 10.0  # seconds that a second writer waits
LEASE = 60.0  # seconds after the last renewal until a lease ends
RENEWAL = 15.0  # seconds between two renewals
NAME = "writer.lock"


def lock(place: str) -> AbstractContextManager[Callable[[], None]]:
    """One costwhy at a time writes at a place: a folder, or an s3:// address.

    Yields a function to call before what must not be written by two: it raises LakeError where the
    lock was lost, as a lease may be. Raises LakeError where another one keeps the lock.
    """
    return lease(place, LOCK_WAIT) if is_remote(place) else _lock_folder(Path(place))


@contextmanager
def _lock_folder(folder: Path) -> Iterator[Callable[[], None]]:
    """The operating system frees the lock of a writer that was killed, so it cannot be lost."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        locked = FileLock(folder / NAME, LOCK_WAIT, fallback_to_soft=False).acquire()
    except Timeout:
        raise _is_locked(f"a lock on {folder / NAME}") from None
    with locked:
        # what killed writers left; nobody else writes these while the folder is locked
        for draft in (*folder.glob("*.draft"), *folder.glob("snapshots/*.draft")):
            draft.unlink(missing_ok=True)
        yield lambda: None


def _is_locked(found: str) -> LakeError:
    return LakeError(
        "the lake is being written by another costwhy",
        found=found,
        fix="wait until it is done, and run it again",
    )


@contextmanager
def lease(address: str, wait: float) -> Iterator[Callable[[], None]]:
    """One writer at a time. Yields what raises LakeError where the lease was lost: call it last."""
    store = Bucket(address)
    etag = _acquire(store, wait)
    one_by_one, over = threading.Lock(), threading.Event()

    def renew() -> None:
        """Raises LakeError where somebody else has taken the lease."""
        nonlocal etag
        with one_by_one:
            renewed = store.put(NAME, _content(), over=etag)
            if renewed is None:
                raise LakeError(
                    "the lake was taken over by another costwhy",
                    found=f"no renewal for {LEASE:.0f} seconds",
                    fix="run it again",
                )
            etag = renewed

    def keep() -> None:
        while not over.wait(RENEWAL):
            with suppress(CostwhyError):  # a failure shows when the writer asks
                renew()

    thread = threading.Thread(target=keep, name="costwhy lease", daemon=True)
    thread.start()
    try:
        yield renew
    finally:
        over.set()
        thread.join()
        with suppress(CostwhyError):
            store.delete(NAME, etag)


def _content() -> bytes:
    """Another content each time, so that each renewal has an ETag of its own."""
    return json.dumps({"writer": uuid.uuid4().hex, "process": os.getpid()}).encode()


def _acquire(store: Bucket, wait: float) -> str:
    """The ETag of a lease of ours.

    Raises LakeError also for a server that ignores conditions: two writers would overwrite.
    """
    retries = Retrying(
        retry=retry_if_result(lambda etag: not etag),
        stop=stop_after_delay(wait),
        wait=wait_fixed(min(1.0, wait / 10)),
    )
    try:
        etag = retries(_take, store)
    except RetryError:
        raise _is_locked(
            f"a lease at {store.address}/{NAME}; that of a killed writer ends after "
            f"{LEASE:.0f} seconds"
        ) from None
    second = store.put(NAME, _content())
    if second is not None:
        store.delete(NAME, second)
        raise LakeError(
            "the lake's server does not heed If-None-Match",
            found=f"it let {store.address}/{NAME} be created twice, {etag} and {second}",
            fix="put the lake on AWS S3, or in a folder",
        )
    return etag


def _take(store: Bucket) -> str:
    """The ETag of a lease of ours, where there is none or where it has ended; else empty."""
    etag = store.put(NAME, _content())
    if etag is None:
        with suppress(FileNotFoundError):  # it was given back a moment ago
            _, present, age = store.get(NAME)
            etag = store.put(NAME, _content(), over=present) if age > LEASE else None
    return etag or ""
