"""What a text file of records holds: decompressed, in UTF-8, by line or by JSON document.

Encodings: UTF-8, UTF-16 and UTF-32, with or without a byte order mark. A line that is none of them
is Windows-1252. JSON may be one document, one on each line, or documents one after another, with or
without line breaks, each on one line or on many.
"""

import codecs
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from costwhy.errors import SourceError
from costwhy.sources.packed import open_stream

# The most that is read of one file, decompressed; CloudTrail's own files have a few MB
MAX_BYTES = 256 * 2**20
MAX_LINE_BYTES = 16 * 2**20  # The longest line of a JSON Lines file
UNREADABLE = (OSError, EOFError, zlib.error)  # of a file, or of what it was packed with
NO_JSON = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
SAMPLE = 4096  # Bytes by which an encoding is told
_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What may stand before a document: spaces, a comma, a record separator (RFC 7464), and the time
# (and stream) that CloudWatch Logs writes before each message
_BEFORE = re.compile(
    rb"[\s,\x1e]*"
    rb"(?:\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)?[ \t]+(?:[^\s{\[]\S*[ \t]+)?(?=[{\[]))?"
)
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_OPEN = b"{["


# ---------------------------------------------------------------- bytes and text


def read_bytes(file: Path) -> bytes:
    """The whole file, decompressed. Raises SourceError: unreadable, or beyond MAX_BYTES."""
    data, fault = _read_most(file)
    if fault is not None:
        raise SourceError(f"the file cannot be read: {fault}") from fault
    return data


def _read_most(file: Path) -> tuple[bytes, Exception | None]:
    """What can be read of a file, and why not all of it. Raises SourceError beyond MAX_BYTES."""
    data, fault = bytearray(), None
    try:
        with open_stream(file) as stream:
            while part := stream.read(2**20):
                data += part
                if len(data) > MAX_BYTES:
                    raise too_large(MAX_BYTES)
    except UNREADABLE as error:
        fault = error
    return bytes(data), fault


def head_of(file: Path) -> bytes:
    """How a file begins, in UTF-8, without spaces. Raises SourceError where it cannot be read."""
    try:
        with open_stream(file) as stream:
            return in_utf8(stream.read(SAMPLE)).lstrip()
    except UNREADABLE as error:
        raise SourceError(f"the file cannot be read: {error}") from error


def too_large(limit: int) -> SourceError:
    """The error of a file beyond a limit."""
    return SourceError(f"the file is larger than {limit >> 20} MB when decompressed: split it")


def first_line(error: Exception) -> str:
    """What a library says of a fault, without the lines that follow."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def encoding_of(head: bytes) -> str:
    """Python's name of the encoding of a text that begins so; `utf-8` may be Windows-1252."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    pairs = len(head[:SAMPLE]) // 2
    even, odd = (head[start:SAMPLE:2].count(0) for start in (0, 1))
    if even == 0 and odd > pairs / 2:  # Latin letters have a zero in every second byte
        return "utf-16-le"
    return "utf-16-be" if odd == 0 and even > pairs / 2 else "utf-8"


def in_utf8(data: bytes) -> bytes:
    """A text in UTF-8 without byte order mark, with line feeds where it had carriage returns."""
    encoding = encoding_of(data)
    if encoding.startswith("utf-8"):
        data = data.removeprefix(codecs.BOM_UTF8)
        try:
            data.decode()
        except UnicodeDecodeError:
            data = b"\n".join(_line_in_utf8(line) for line in data.split(b"\n"))
    else:
        data = data.decode(encoding, "replace").encode()
    return data.replace(b"\r", b"\n") if b"\n" not in data else data


def _line_in_utf8(line: bytes) -> bytes:
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("cp1252", "replace").encode()
    return line


def read_text(file: Path) -> str:
    """The whole file as text, with line feeds alone. Raises SourceError as `read_bytes` does."""
    return in_utf8(read_bytes(file)).decode().replace("\r\n", "\n")


def as_text(stream: io.BufferedIOBase) -> io.TextIOWrapper:
    """A stream of bytes as text with line feeds; bytes that are no UTF-8 are escaped.

    `unescaped` makes them Windows-1252.
    """
    buffered = io.BufferedReader(stream, 2**16)
    encoding = encoding_of(buffered.peek(SAMPLE)[:SAMPLE])
    escape = "surrogateescape" if encoding.startswith("utf-8") else "replace"
    return io.TextIOWrapper(buffered, encoding, escape)


def unescaped(text: str) -> bytes:
    """A line of `as_text` in UTF-8."""
    return _line_in_utf8(text.encode("utf-8", "surrogateescape"))


def in_parts(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """A text in UTF-8 with line feeds, about a megabyte at a time."""
    with as_text(stream) as text:
        while part := text.read(2**20):
            try:
                yield part.encode()
            except UnicodeEncodeError:
                yield b"\n".join(unescaped(line) for line in part.split("\n"))


def is_plain(file: Path) -> bool:
    """Whether a file that is not packed is UTF-8 with line feeds."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with file.open("rb") as stream:
            head = stream.read(2**16)
            if not encoding_of(head).startswith("utf-8") or (b"\r" in head and b"\n" not in head):
                return False
            decoder.decode(head)
            while part := stream.read(2**20):
                decoder.decode(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def read_lines(file: Path) -> Iterator[tuple[str, bytes | None]]:
    """Place (`line 7`) and UTF-8 of each line but blank ones; null: longer than MAX_LINE_BYTES.

    One line at a time is in memory. Raises SourceError where the file turns out unreadable, or
    larger than MAX_BYTES.
    """
    total, number, inside_long = 0, 0, False
    try:
        with open_stream(file) as stream, as_text(stream) as lines:
            while part := lines.readline(MAX_LINE_BYTES):
                total += len(part)
                if total > MAX_BYTES:
                    raise too_large(MAX_BYTES)
                starts, ends = not inside_long, part.endswith("\n")
                number += starts
                inside_long = not ends and len(part) == MAX_LINE_BYTES
                if starts and part.strip():
                    yield f"line {number}", None if inside_long else unescaped(part)
    except UNREADABLE as error:
        raise SourceError(f"the file cannot be read further: {error}") from error


# ---------------------------------------------------------------- JSON documents


def read_documents(file: Path) -> Iterator[tuple[str, bytes | None]]:
    """Place and text of each JSON document of a file; of what is none, each line.

    Places are `line 7`, or `line 7, document 2`; empty for a file of one document. Of several
    documents, one that is longer than MAX_LINE_BYTES is null. Raises SourceError where nothing of
    the file is a JSON object or list.
    """
    data, cut = _read_most(file)
    data = in_utf8(data)
    if cut is not None:  # the last line is no whole one
        data = data[: data.rfind(b"\n") + 1] or data
    fault = _fault_of(data) if data.strip() else None
    if fault is None and data.strip():
        yield "", data.strip()
    elif fault is not None:
        if any(text[0] in _OPEN and _fault_of(text) is None for _, text in documents(data)):
            for place, text in documents(data):
                yield place, text if len(text) <= MAX_LINE_BYTES else None
        elif cut is None:
            raise SourceError(f"the file is not JSON: {fault}")
    if cut is not None:
        raise SourceError(f"the file cannot be read further: {cut}") from cut


def documents(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Place and text of each document of several, in UTF-8; of what is none, each line."""
    whole = memoryview(data)  # slices of it are no copies
    at, end, line, nth, budget = 0, -1, 1, 0, 4 * len(data)  # how much is looked at again
    while at < len(data):
        start = _skip(data, at)
        breaks = data.count(b"\n", at, start)
        line, nth = line + breaks, 1 if breaks or nth == 0 else nth + 1
        if start > end:
            end = data.find(b"\n", start)
            end = len(data) if end < 0 else end
        at = end
        if budget > 0 and _fault_of(whole[start:end]) is not None:
            found = _end_of(data, start)
            budget -= (found or len(data)) - start
            if found is not None and _fault_of(whole[start:found]) is None:
                at = found
        text = data[start:at].strip()
        if text:
            yield f"line {line}" + (f", document {nth}" if nth > 1 else ""), text
        line += data.count(b"\n", start, at)


def _skip(data: bytes, at: int) -> int:
    found = _BEFORE.match(data, at)
    return found.end() if found else at


def _end_of(data: bytes, start: int) -> int | None:
    """Where the object or list that begins at `start` ends, by its brackets; null: nowhere."""
    depth = 0
    if data[start : start + 1] not in (b"{", b"["):
        return None
    for token in _TOKEN.finditer(data, start):
        first = data[token.start()]
        if first in _OPEN:
            depth += 1
        elif first in b"]}":
            depth -= 1
            if depth == 0:
                return token.end()
    return None


def _fault_of(text: bytes | memoryview) -> str | None:
    """Why a text is no JSON document; null: it is one."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except NO_JSON as error:
        return str(error)
    return None
