"""Every file below the path of a source: those that are to be read, and the others with the reason.

A name says what is worth a look (`Files.is_named`; on S3, what is fetched), the content what it is.
"""

import glob
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from costwhy.errors import SourceError
from costwhy.sources import packed
from costwhy.sources.packed import Content
from costwhy.text import one_line

HEADERS = 20  # Lines of a text among which the header may be
SHOWN = 6  # Columns shown of a file that is none of the format
# Written by systems about other files: no data, and never listed
_SILENT = re.compile(
    r"(\..*|.*\.(crc|md5|sha1|sha256|sig|ds_store)|_success|_started.*|_committed.*|_metadata"
    r"|_common_metadata|thumbs\.db|desktop\.ini|aws-logs-write-test|costwhy\.toml)",
    re.IGNORECASE,
)
_SILENT_FOLDERS = {".git", "__MACOSX", "_delta_log", "_temporary"}
_UNFINISHED = (".bak", ".old", ".orig", ".tmp", ".temp", ".part", ".partial", ".crdownload", "~",
               ".swp", ".download", ".filepart")  # fmt: skip
# Files of these kinds are of a format only where it names them; others are looked into
_KNOWN = frozenset(
    re.findall(
        r"\S+",
        ".csv .tsv .psv .txt .parquet .pq .orc .avro .xls .xlsx .json .jsonl .ndjson .xml .log "
        ".yaml .yml .toml .ini .cfg .md .rst .html .htm .pdf .doc .docx .ppt .pptx .png .jpg .jpeg "
        ".gif .svg .sql .py .ipynb .sh .js .ts .go .java .rb .rs .c .h .tf .tfstate .db .sqlite "
        ".pkl .exe .jar .eml .msg .lock .7z .rar .css .pem .key",
    )
)
TABLE_ENDINGS = (".csv", ".tsv", ".psv", ".txt", ".dat", ".parquet", ".pq",
                 ".xls", ".xlsx", ".orc", ".avro")  # fmt: skip
JSON_ENDINGS = (".json", ".jsonl", ".ndjson", ".txt")
_KIND, _NOT = "of another kind", "not "
_ADVICE = {
    "Excel": "an Excel workbook: save it as CSV",
    "old Excel": "an Excel workbook: save it as CSV",
    "empty": "it is empty",
    "binary": "its content is of no kind that is known",
}


def _plain(name: str) -> str:
    """A column's name whatever its case and signs: lineItem/UsageType is line_item_usage_type."""
    return re.sub(r"[\W_]", "", name).lower()


@dataclass(frozen=True)
class Columns:
    """By which columns a table is known as one of the format.

    marks  of which it must have one
    known  these count too: two of them together must be in its header
    what   the format: `a bill (FOCUS)`
    """

    marks: Collection[str]
    known: Collection[str]
    what: str

    def __post_init__(self) -> None:
        for name in ("marks", "known"):
            object.__setattr__(self, name, frozenset(map(_plain, getattr(self, name))))

    def fit(self, names: Sequence[str]) -> bool:
        """Whether a header is one of the format, or of a file that lacks some of its columns."""
        plain = {_plain(name) for name in names}
        return bool(plain & {*self.marks}) and len(plain & {*self.marks, *self.known}) > 1


@dataclass(frozen=True)
class Files:
    """Which files belong to a format.

    endings   of their names, in small letters and without that of a packing
    never     parts of a path that make it none of them
    choose    the ones to read, of those that were found; null: all
    inside    what is read whatever its ending: table, json; empty: the name decides
    looks     further endings of files that are looked into
    columns   by which its tables are known; null: by their endings alone
    manifests whether files whose names have the word manifest are for `choose`
    part_of   the whole that a path is a part of: where one of its files is cut off, or protected,
              the others must not be read alone; empty: of none
    """

    endings: tuple[str, ...]
    never: tuple[str, ...] = ()
    choose: Callable[[Sequence[Path]], Sequence[Path]] | None = None
    inside: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    columns: Columns | None = None
    manifests: bool = False
    part_of: Callable[[Path], str] = lambda _file: ""

    def is_named(self, name: str) -> bool:
        """Whether a file of a folder, or a key on S3, may belong to the format by its name."""
        return not self.is_silent(name) and not self.why_not(name)

    def claims(self, name: str) -> bool:
        """Whether the name says that the file is of the format."""
        return _bare(name).endswith(self.endings)

    def is_silent(self, name: str) -> bool:
        """Whether a file is no data, so that nobody wants to hear of it."""
        path = PurePosixPath(name)
        if self.claims(name) and not self.inside:
            return ".git" in path.parts
        return bool(_SILENT.fullmatch(path.name)) or not _SILENT_FOLDERS.isdisjoint(path.parts)

    def is_manifest(self, name: str) -> bool:
        """Whether a file says which others count."""
        last = PurePosixPath(name).name.lower()
        return self.manifests and "manifest" in last and last.endswith(".json")

    def is_never(self, name: str) -> bool:
        """Whether a path is none of the format's, whatever its ending."""
        return any(part in name for part in self.never)

    def why_not(self, name: str) -> str:
        """Why a file is not read, by its name; empty where it is looked into."""
        bare, path = _bare(name), PurePosixPath(name)
        ending = PurePosixPath(bare).suffix
        if self.is_never(name):
            return f"{_KIND}, by its path"
        if self.is_manifest(name):
            return ""
        if self.inside and path.name.startswith("_"):
            return "its name begins with _, which sets a file aside"
        if self.inside and any(part.startswith(".") for part in path.parts[:-1]):
            return "it is in a hidden folder"
        if bare.endswith(_UNFINISHED):
            return "a copy or an unfinished transfer, by its name"
        if self.claims(name) or ending in packed.ARCHIVES or ending in self.looks:
            return ""
        known = ending in _KNOWN or not self.inside
        return f"{_KIND} ({ending or 'no ending'})" if known else ""


def _bare(name: str) -> str:
    """A name in small letters, without the endings of packings."""
    bare = name.lower()
    while bare.endswith(packed.PACKINGS):
        bare = bare.rpartition(".")[0]
    return bare


@dataclass(frozen=True)
class Passed:
    """A file that is not read.

    told  false: something else says so
    """

    file: Path
    bytes: int
    reason: str
    told: bool = True


@dataclass(frozen=True)
class Found:
    """The files of a source, in order of name: those to read, and those that are not read."""

    files: tuple[Path, ...]
    passed: tuple[Passed, ...] = ()


def find(path: str, folder: Path, files: Files, aside: Sequence[Path] = ()) -> Found:
    """What is at `path`: one file, a folder with all below it, or a glob. Archives are opened.

    path   as in costwhy.toml, relative to `folder`
    aside  folders that are never looked into: the lake

    Raises SourceError when there is nothing to read.
    """
    place = folder / path
    if place.is_file():
        names, reason = [place], f"{place} cannot be read"
    elif place.is_dir():
        names, reason = (
            _below(place, files, aside),
            f"no file that ends in {_named(files)} in {place}",
        )
    elif any(mark in path for mark in "*?["):
        # Path.glob would find hidden files too
        every = (Path(name) for name in glob.glob(str(place), recursive=True))  # noqa: PTH207
        names = [file for file in every if file.is_file() and not files.is_never(str(file))]
        reason = f"nothing that matches {place}"
    else:
        names, reason = [], f"no {place}"
    found = _sorted_out(sorted(names), place, files)
    if not found.files:
        told = [f"{_name(one.file, place)}: {one.reason}" for one in found.passed if one.told]
        raise SourceError(
            f"there is nothing to read at path {path!r}",
            found="; ".join([reason, *told[:SHOWN]]),
            fix="correct `path` in costwhy.toml",
        )
    return found


def find_files(path: str, folder: Path, files: Files) -> tuple[Path, ...]:
    """The files at `path` that are to be read. Raises SourceError when there is none."""
    return find(path, folder, files).files


def _named(files: Files) -> str:
    return ", ".join(files.endings)


def _name(file: Path, place: Path) -> str:
    return (
        str(file.relative_to(place)) if file != place and file.is_relative_to(place) else file.name
    )


def _below(place: Path, files: Files, aside: Sequence[Path]) -> list[Path]:
    return [
        file
        for file in place.rglob("*")
        if not any(file.is_relative_to(one) and one.is_relative_to(place) for one in aside)
        and not files.is_silent(file.relative_to(place).as_posix())
        and file.is_file()
    ]


# ---------------------------------------------------------------- what each file is


def _sorted_out(names: Sequence[Path], place: Path, files: Files) -> Found:
    """Files to read and others; a table of other columns is read only where nothing else is."""
    if list(names) == [place] and packed.look(place).kind not in {"zip", "tar"}:
        return Found((place,))
    read, passed, other = list[Path](), list[Passed](), list[Passed]()
    for content, reason in _looked_at(names, place, files):
        one = Passed(content.path, content.size, reason)
        is_part = content.kind in packed.UNREADABLE and files.part_of(content.path)
        if not reason or is_part:
            read.append(content.path)
        elif reason.startswith(_NOT):
            other.append(one)
        elif files.inside or not reason.startswith(_KIND):
            passed.append(one)
    data = [file for file in read if not files.is_manifest(file.name)]
    if not data:  # today's error of the reader says which column is missing
        read, other = [*read, *(one.file for one in other)], []
    chosen = tuple(files.choose(sorted(read)) if files.choose else sorted(read))
    kept = set(chosen)
    old = [
        Passed(
            file, packed.bytes_of(file), "another delivery of the same period counts", told=False
        )
        for file in read
        if file not in kept and not files.is_manifest(file.name)
    ]
    return Found(chosen, tuple(sorted([*passed, *other, *old], key=lambda one: one.file)))


def _looked_at(names: Sequence[Path], place: Path, files: Files) -> Iterator[tuple[Content, str]]:
    """Every file and every member, with the reason why it is not read; empty where it is."""
    for file in names:
        name = _name(file, place)
        is_by_glob = not place.is_dir() and file != place
        why = "" if is_by_glob or file == place else files.why_not(name)
        if why or files.is_manifest(name):
            yield Content(file, file.stat().st_size, "named"), why
            continue
        if not files.inside and not _may_be_archive(file):
            yield Content(file, file.stat().st_size, "named"), ""
            continue
        for content in packed.contents(file):
            member = "" if content.path == file else content.path.relative_to(file).as_posix()
            if not member:
                yield content, why_not_read(content, files, name)
            elif not files.is_silent(member):
                yield content, files.why_not(member) or why_not_read(content, files, member)


def _may_be_archive(file: Path) -> bool:
    return packed.look(file).kind in {"zip", "tar"}


def why_not_read(content: Content, files: Files, name: str) -> str:
    """Why a file is not read, by its content; empty where it is.

    One whose name claims that it is of the format, and whose content cannot be read, is left to the
    reader: then its part stays as it was.
    """
    claims = files.claims(name)
    if files.is_manifest(name):
        return ""
    if content.problem:
        if not files.inside and not claims:
            return _KIND
        return "" if claims and content.kind == "damaged" else content.problem
    if not files.inside:
        return ""
    if content.kind == "parquet":
        return _other_table(content, files) if "table" in files.inside else "a Parquet file"
    if content.kind != "text":
        said = _ADVICE.get(content.kind, f"its content is {content.kind}")
        return "" if claims and content.kind in {"empty", "binary"} else said
    return _other_text(content, files, claims=claims)


def _other_text(content: Content, files: Files, *, claims: bool) -> str:
    text = decoded(content.head)
    start = text.lstrip()[:1]
    if "table" not in files.inside:
        return "" if claims or "{" in text else "it is no JSON"
    if start in {"{", "[", "<"}:
        said = "its content is XML" if start == "<" else "its content is JSON"
        return "" if claims or ("json" in files.inside and start != "<") else said
    headers = [re.split(r"[,;\t|]", line) for line in text.splitlines()[:HEADERS]]
    if files.columns is None or any(files.columns.fit(names) for names in headers):
        return ""
    first = next((names for names in headers if len(names) > 1), [])
    if not first or content.path.name.lower().endswith((".parquet", ".pq")):
        return "" if claims else "it is a text without columns"
    return _no_such(first, files.columns)


def _other_table(content: Content, files: Files) -> str:
    try:
        with packed.opened(content.path) as real:
            names = pq.read_schema(real).names
    except (SourceError, OSError, pa.ArrowException):
        return ""  # its reader will say so
    return (
        "" if files.columns is None or files.columns.fit(names) else _no_such(names, files.columns)
    )


def _no_such(names: Sequence[str], columns: Columns) -> str:
    shown = ", ".join(one_line(name.strip(' "\ufeff'), 40) for name in names[:SHOWN])
    more = ", ..." if len(names) > SHOWN else ""
    return f"{_NOT}{columns.what}: its columns are {shown}{more}"


def decoded(head: bytes) -> str:
    """The beginning of a text, for looking at: UTF-16 where it looks so, else UTF-8 or Latin-1."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return head.decode("utf-16", "replace")
    if head.count(b"\0") * 3 > len(head):
        return head.decode("utf-16-le" if head[1:2] == b"\0" else "utf-16-be", "replace")
    return head.decode("utf-8-sig", "replace")
