"""TODO lake/lock.py"""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from costwhy.errors import LakeError
from costwhy.lake import on_s3
from costwhy.lake.snapshots import is_remote

LOCK_WAIT = 10.0  # seconds that a second writer waits


@contextmanager
def alone(place: str, folder: str) -> Iterator[Callable[[], None]]:
    """One costwhy at a time acts in a folder beside the tables of a lake (`place`: its folder or address); freed when it dies.

    Yields what raises LakeError where that was lost meanwhile. Raises LakeError where another one stays in there.
    """
    with lock_folder(f"{place}/{folder}") as still_ours:
        yield still_ours


@contextmanager
def lock_folder(folder: str) -> Iterator[Callable[[], None]]:
    """One writer at a time; the operating system frees the lock of a writer that was killed.

    Yields what raises LakeError where the lock was lost meanwhile: on S3 it may be, in a folder never.
    """
    if is_remote(folder):
        with on_s3.lease(folder, LOCK_WAIT) as still_ours:
            yield still_ours
        return
    Path(folder).mkdir(parents=True, exist_ok=True)
    file = Path(folder, "writer.lock")
    until = time.monotonic() + LOCK_WAIT
    with file.open("a+", encoding="utf-8") as stream:
        while not _locked(stream.fileno()):
            if time.monotonic() > until:
                fix = "wait until it is done, and run it again"
                raise LakeError(
                    "the lake is being written by another costwhy",
                    found=f"a lock on {file}",
                    fix=fix,
                )
            time.sleep(0.05)
        yield lambda: None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
