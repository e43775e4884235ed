"""One writer at a time: a lock in a folder, a lease on S3."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from costwhy.errors import LakeError
from costwhy.lake.lease import lease
from costwhy.lake.store import is_remote

LOCK_WAIT = 10.0  # seconds that a second writer waits


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
    file = folder / "writer.lock"
    try:
        locked = FileLock(file, LOCK_WAIT, fallback_to_soft=False).acquire()
    except Timeout:
        raise LakeError(
            "the lake is being written by another costwhy",
            found=f"a lock on {file}",
            fix="wait until it is done, and run it again",
        ) from None
    with locked:
        yield lambda: None
