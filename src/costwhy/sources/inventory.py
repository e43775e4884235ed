"""Every file below the path of a source: those that are to be read, and the others with the reason.

A name says what is worth a look (`Files.is_named`; on S3, what is fetched), the content what it is.
"""

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from costwhy.errors import SourceError
from costwhy.sources import packed
from costwhy.sources.file_memory import recall
from costwhy.sources.files import KIND, Choice, Columns, Files, root_of
from costwhy.sources.packed import Content
from costwhy.text import one_line

HEADERS = 200  # Lines of a text among which the header may be
ARCHIVE = ("zip", "tar")  # kinds of which each member is looked at
SHOWN = 6  # Columns shown of a file that is none of the format
_NOT = "not "
_LINKS = {
    True: "a link to a folder, which is not followed: name that folder in `path` of another entry",
    False: "a link to a file that is not there",
}
_ADVICE = {
    "Excel": "an Excel workbook: save it as CSV",
    "old Excel": "an Excel workbook: save it as CSV",
    "empty": "it is empty",
    "binary": "its content is of no kind that is known",
}


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
    """The files of a source, in order of name: those to read, and those that are not read.

    dates: of files, where a manifest says when they were delivered
    """

    files: tuple[Path, ...]
    passed: tuple[Passed, ...] = ()
    dates: Mapping[Path, str] = field(default_factory=dict)


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
    """Every file, and every link to a folder or to nothing; a link to a folder is not followed."""
    found = []
    for folder, folders, names in os.walk(place):
        here = Path(folder)
        folders[:] = [one for one in folders if here / one not in aside]
        links = [one for one in folders if (here / one).is_symlink()]
        above = "" if here == place else f"{here.relative_to(place).as_posix()}/"
        found += [here / one for one in (*names, *links) if not files.is_silent(above + one)]
    return [file for file in found if file.is_file() or file.is_symlink()]


# ---------------------------------------------------------------- what each file is


def _sorted_out(names: Sequence[Path], place: Path, files: Files) -> Found:
    """Files to read and others; a table of other columns is read only where nothing else is."""
    if list(names) == [place] and packed.look(place).kind not in ARCHIVE:
        return Found((place,))
    read, passed, other = list[Path](), list[Passed](), list[Passed]()
    for content, reason in _looked_at(names, place, files):
        one = Passed(content.path, content.size, reason)
        is_part = content.kind in packed.UNREADABLE and files.part_of(content.path)
        if not reason or is_part:
            read.append(content.path)
        elif reason.startswith(_NOT):
            other.append(one)
        elif files.inside or not reason.startswith(KIND):
            passed.append(one)
    data = [file for file in read if not files.is_manifest(file.name)]
    if not data:  # the reader says which column is missing
        read, other = [*read, *(one.file for one in other)], []
    chosen = (
        files.choose(sorted(read), root_of(place)) if files.choose else Choice((*sorted(read),))
    )
    kept, why = {*chosen.files}, "another delivery of the same period counts"
    old = [
        Passed(file, packed.bytes_of(file), chosen.left_out.get(file, why), told=False)
        for file in read
        if file not in kept and not files.is_manifest(file.name)
    ]
    every = sorted([*passed, *other, *old], key=lambda one: one.file)
    return Found(chosen.files, tuple(every), chosen.dates)


def _looked_at(names: Sequence[Path], place: Path, files: Files) -> Iterator[tuple[Content, str]]:
    """Every file and every member, with the reason why it is not read; empty where it is."""
    for file in names:
        name = _name(file, place)
        if not file.is_file():
            yield Content(file, 0, "link"), _LINKS[file.is_dir()]
            continue
        is_by_glob = not place.is_dir() and file != place
        why = "" if is_by_glob or file == place else files.why_not(name)
        if why or files.is_manifest(name):
            yield Content(file, file.stat().st_size, "named"), why
            continue
        kind, reason = _of_plain(file, files, name)
        if kind not in ARCHIVE:
            yield Content(file, file.stat().st_size, kind), reason
            continue
        for content in packed.contents(file):
            member = content.path.relative_to(file).as_posix() if content.path != file else ""
            if not member:
                yield content, why_not_read(content, files, name)
            elif not files.is_silent(member):
                yield content, files.why_not(member) or why_not_read(content, files, member)


def _of_plain(file: Path, files: Files, name: str) -> tuple[str, str]:
    """The kind of a file, and why it is not read; of an archive its members tell."""
    about = (name, files.endings, files.inside, files.looks, files.columns and files.columns.what)
    fact = recall(
        file, repr(about), lambda: msgspec.msgpack.encode(_looked_into(file, files, name))
    )
    return msgspec.msgpack.decode(fact, type=tuple[str, str])


def _looked_into(file: Path, files: Files, name: str) -> tuple[str, str]:
    content = packed.look(file)
    if content.kind in ARCHIVE:
        return content.kind, ""
    return (content.kind, why_not_read(content, files, name)) if files.inside else ("named", "")


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
            return KIND
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
    if "json" in files.inside and "{" in text:
        return ""
    if "table" not in files.inside:
        return "" if claims else "it is no JSON"
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
