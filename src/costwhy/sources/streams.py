"""Streams out of packings: gzip, bzip2, xz, zstd and lz4, known by their first bytes.

How much they unpack to is counted as they are unpacked: what a file says of itself is not trusted.
"""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from costwhy.text import size_of

HEAD = 2**16  # Bytes by which a file is recognised
LAYERS = 3  # Packings around each other: a tar.gz in a .gz
MAX_UNPACKED = 64 * 2**30  # Bytes that one file, or all members of one tar, may unpack to
FREE = 2**29  # Bytes that may unpack from any size; beyond, MAX_RATIO holds
MAX_RATIO = 400  # times its packed size; bills shrink to a tenth, or to a hundredth
FAULTS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    pa.ArrowException, NotImplementedError, RuntimeError, ValueError,
)  # fmt: skip
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"PAR1": "parquet",
    b"PARE": "encrypted Parquet",
    b"ORC": "ORC",
    b"Obj\x01": "Avro",
    b"ARROW1": "Arrow",
    b"\xd0\xcf\x11\xe0": "old Excel",
    b"%PDF": "PDF",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"Rar!": "RAR",
    b"\xff\x06\x00\x00sNaPpY": "Snappy",
    b"\x1f\x9d": "compress",
    b"SQLite format 3": "SQLite",
    b"\x89PNG": "image",
    b"\xff\xd8\xff": "image",
}
_WORDS = {"ORC"}  # A text may begin so too
OPENERS: dict[str, Callable[[Any], Any]] = {
    "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
    "bzip2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
    "zstd": lambda raw: pa.CompressedInputStream(raw, "zstd"),
    "lz4": lambda raw: pa.CompressedInputStream(raw, "lz4"),
}


def kind_of(head: bytes) -> str:
    """What the first bytes of a file say that it is."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic) and not (kind in _WORDS and head.isascii() and b"\0" not in head):
            return "Excel" if kind == "zip" and _is_workbook(head) else kind
    if head[257:262] == b"ustar":
        return "tar"
    if not head:
        return "empty"
    wide = head[:2] in (b"\xff\xfe", b"\xfe\xff") or head.count(b"\0") * 3 > len(head)
    is_text = b"\0" not in head or (wide and any(head[k : k + 1] != b"\0" for k in range(64)))
    return "text" if is_text else "binary"


def _is_workbook(head: bytes) -> bool:
    return b"[Content_Types].xml" in head[:8192] or b"xl/" in head[30:60]


class Counted(io.RawIOBase):
    """A stream whose faults are OSError, and that stops where far more comes than is packed."""

    def __init__(self, stream: Any, packed: int) -> None:
        self._stream, self._packed, self._count = stream, packed, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except FAULTS as error:
            said = str(error) or type(error).__name__
            raise OSError(said.splitlines()[0]) from error
        self._count += len(data)
        refuse_bomb(self._count, self._packed)
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        with suppress(*FAULTS):
            self._stream.close()
        super().close()


def refuse_bomb(unpacked: int, packed: int) -> None:
    """Raises OSError where more was unpacked than a sound file of this size can hold."""
    if unpacked > MAX_UNPACKED or unpacked > max(FREE, MAX_RATIO * packed):
        raise OSError(
            f"it unpacks to more than {size_of(unpacked)} from {size_of(packed)}: "
            "no sound file does; unpacking was stopped"
        )


def peel(raw: BinaryIO, packed: int) -> tuple[io.BufferedIOBase, tuple[str, ...]]:
    """What is inside of the packings, and the packings."""
    stream, layers = io.BufferedReader(Counted(raw, packed), HEAD), list[str]()
    while (kind := kind_of(stream.peek(8)[:512])) in OPENERS and len(layers) < LAYERS:
        layers.append(kind)
        stream = io.BufferedReader(Counted(OPENERS[kind](stream), packed), HEAD)
    return stream, tuple(layers)


def copy(stream: Any, target: Path, limit: int) -> int:
    """Write what comes into a file; how many bytes. Raises OSError beyond `limit`."""
    count = 0
    with target.open("wb") as out:
        while part := stream.read(2**20):
            count += len(part)
            if count > limit:
                raise OSError(f"the file is larger than {limit >> 20} MB when decompressed")
            out.write(part)
    return count
