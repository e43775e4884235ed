"""The lines of a text file in any usual encoding and with any ends of lines."""

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from costwhy.errors import SourceError
from costwhy.sources.packed import open_stream
from costwhy.sources.records import first_line

MAX_LINE = 8 * 2**20  # bytes
_BLOCK = 2**20
_BOMS = (  # the longer ones first
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class TextLines:
    """The lines of a file, without their ends.

    A line that is not UTF-8 is read as Windows-1252, in which every byte but five means something.

    encoding  of the file, by its first bytes
    foreign   how many lines so far were not UTF-8

    Iterating raises SourceError where the file cannot be read to its end.
    """

    def __init__(self, file: Path) -> None:
        self.foreign = 0
        self._file = file
        with open_stream(file) as stream:
            self.encoding = _encoding(self._read(cast("BinaryIO", stream), 1024))

    def __iter__(self) -> Iterator[str]:
        first = True
        for block in self._whole_lines():
            text = self._decode(block)
            lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            if not lines[-1]:
                lines.pop()
            if first and lines:
                lines[0], first = lines[0].removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}"), False
            yield from lines

    def _whole_lines(self) -> Iterator[bytes]:
        """The file as UTF-8 where it is Unicode, in blocks that end with a line."""
        wide = self.encoding != "utf-8"
        decoder = codecs.getincrementaldecoder(self.encoding)(errors="replace")
        rest = b""
        with open_stream(self._file) as stream:
            while block := self._read(cast("BinaryIO", stream), _BLOCK):
                rest += decoder.decode(block).encode("utf-8", "replace") if wide else block
                # a last \r may be the first half of \r\n
                end = max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, len(rest) - 1)) + 1
                if end:
                    yield rest[:end]
                    rest = rest[end:]
                if len(rest) > MAX_LINE:
                    raise too_large_a_line(self._file.name)
        if rest:
            yield rest

    def _read(self, stream: BinaryIO, size: int) -> bytes:
        try:
            return stream.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise SourceError(
                f"{self._file.name} is damaged, or cut off",
                found=first_line(error),
                fix="deliver the file again; the rest of the lake is as before",
            ) from error

    def _decode(self, block: bytes) -> str:
        try:
            return block.decode()
        except UnicodeDecodeError:
            return "".join(map(self._decode_line, block.splitlines(keepends=True)))

    def _decode_line(self, line: bytes) -> str:
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.foreign += 1
        try:
            return line.decode("windows-1252")
        except UnicodeDecodeError:
            return line.decode("latin-1")


def too_large_a_line(name: str) -> SourceError:
    """The error of a file that is no text in lines."""
    return SourceError(
        f"{name} has a line of more than {MAX_LINE >> 20} MB",
        found="no end of a line",
        fix="check that it is a CSV file",
    )


def _encoding(first: bytes) -> str:
    """By the mark at the beginning, else by the zero bytes of wide characters."""
    marked = next((name for mark, name in _BOMS if first.startswith(mark)), None)
    even, odd = first[::2], first[1::2]
    if marked or not odd:
        return marked or "utf-8"
    if odd.count(0) > len(odd) // 2 > even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > len(even) // 2 > odd.count(0) else "utf-8"
