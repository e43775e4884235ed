"""Which files belong to a format: by their names, and by the columns of a table."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath

from costwhy.sources.packed import ARCHIVES, PACKINGS

KIND = "of another kind"
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
class Choice:
    """Which of the files that were found are to be read.

    left_out  the others, each with the reason
    dates     when a file was delivered, where a manifest says so: ISO 8601, UTC
    """

    files: tuple[Path, ...]
    left_out: Mapping[Path, str] = field(default_factory=dict)
    dates: Mapping[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Files:
    """Which files belong to a format.

    endings   of their names, in small letters and without that of a packing
    never     parts of a path that make it none of them
    choose    of the files that were found below a root those to read; null: all
    inside    what is read whatever its ending: table, json; empty: the name decides
    looks     further endings of files that are looked into
    columns   by which its tables are known; null: by their endings alone
    manifests whether files whose names have the word manifest are for `choose`
    part_of   the whole that a path is a part of: where one of its files is cut off, or protected,
              the others must not be read alone; empty: of none
    """

    endings: tuple[str, ...]
    never: tuple[str, ...] = ()
    choose: Callable[[Sequence[Path], Path], Choice] | None = None
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
        return bare(name).endswith(self.endings)

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
        plain, path = bare(name), PurePosixPath(name)
        ending = PurePosixPath(plain).suffix
        if self.is_never(name):
            return f"{KIND}, by its path"
        if self.is_manifest(name):
            return ""
        if self.inside and path.name.startswith("_"):
            return "its name begins with _, which sets a file aside"
        if self.inside and any(part.startswith(".") for part in path.parts[:-1]):
            return "it is in a hidden folder"
        if plain.endswith(_UNFINISHED):
            return "a copy or an unfinished transfer, by its name"
        if self.claims(name) or ending in ARCHIVES or ending in self.looks:
            return ""
        known = ending in _KNOWN or not self.inside
        return f"{KIND} ({ending or 'no ending'})" if known else ""


def bare(name: str) -> str:
    """A name in small letters, without the endings of packings."""
    plain = name.lower()
    while plain.endswith(PACKINGS):
        plain = plain.rpartition(".")[0]
    return plain


def root_of(place: Path) -> Path:
    """The folder of a source; of a glob the folders before the first wildcard."""
    if place.is_dir():
        return place
    return Path(*takewhile(lambda part: not any(mark in part for mark in "*?["), place.parts))
