"""Small files of a lake in a folder, each created once, whole, and never changed."""

import os
import uuid
from pathlib import Path


def create_once(file: Path, content: bytes, mode: int = 0o666) -> bool:
    """Create a file that is complete under its name or not there at all.

    False: there is one of that name already, and it stays. The content is written to a draft, made
    safe on disk, and then linked to its name; of two writers one wins.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(draft, file)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync(file.parent)
    return True


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Folder:
    """Files below a folder; it has the methods of `remote.s3.Store` that the lake needs."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def names(self, folder: str) -> list[str]:
        """Names of the files directly in a folder below."""
        return [file.name for file in (self.path / folder).glob("*")]

    def read(self, name: str) -> bytes:
        """The content of a file. Raises OSError."""
        return (self.path / name).read_bytes()

    def create(self, name: str, content: bytes) -> bool:
        """Create a file; false: there is one already, and it stays. Raises OSError."""
        return create_once(self.path / name, content)

    def clear_drafts(self, folder: str) -> None:
        """Remove what killed writers left; only where nobody else writes."""
        for draft in (self.path / folder).glob("*.draft"):
            draft.unlink(missing_ok=True)
