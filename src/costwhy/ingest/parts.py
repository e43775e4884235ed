"""TODO ingest/parts.py"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec
import polars as pl

from costwhy.config import Mapping, Workspace
from costwhy.errors import ConfigError
from costwhy.ingest.batch import REVISION, Batch, Part, Source, name_of
from costwhy.sources.cost import exports
from costwhy.sources.reading import Reading
from costwhy.sources.registry import READERS


def parts_of(source: Source, batch: Batch) -> Iterator[Part]:
    """The parts of a source, in a fixed order."""
    folder = batch.workspace.folder
    for name, files in sorted(_groups(source, folder).items()):
        salt = repr((REVISION, source.form, mapping_of(source, batch.workspace)))
        yield Part(name, files, _digest(files, folder, salt))


def mapping_of(source: Source, workspace: Workspace) -> Mapping | None:
    """Which tags name a service: bills and CloudTrail are read anew where this changes."""
    mapping = msgspec.structs.replace(workspace.mapping, owners=Mapping().owners)  # whom to ask changes nothing that is read
    return mapping if source.key.startswith("cost") or source.form == "cloudtrail" else None


def _groups(source: Source, folder: Path) -> dict[str, tuple[Path, ...]]:
    if source.form in READERS and READERS[source.form][1] == "changes":
        return {f"{source.form}:{name_of(file, folder)}": (file,) for file in source.files}
    if source.form in READERS:
        return {source.name: source.files}
    groups: dict[str, list[Path]] = {}
    for file in source.files:
        groups.setdefault(_period_name(source, file), []).append(file)
    if source.name in groups and len(groups) > 1:
        wrong = f"`{source.key}.path` holds folders of billing periods and, outside of them, billing files"
        raise ConfigError(wrong, found=str(groups[source.name][0]), todo="give each of the two its own [[cost]] entry")
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def _period_name(source: Source, file: Path) -> str:
    """focus:billing:2026-10, or focus:billing:EXPORT/2026-10 where the folder holds several exports."""
    above, slash, last = exports.period_of(file).rpartition("/")
    if not last:
        return source.name
    month = last.removeprefix("BILLING_PERIOD=") if "=" in last else f"{last[:4]}-{last[4:6]}"
    root = _fixed(source.root)
    export = PurePosixPath(above.replace("//", "/"))
    inside = export.relative_to(root).as_posix() if slash and export.is_relative_to(root) else "."
    return f"{source.name}:{month}" if inside == "." else f"{source.name}:{inside}/{month}"


def _fixed(path: Path) -> PurePosixPath:
    """The folders before the first one with a wildcard, named as `exports.period_of` names them."""
    fixed: list[str] = []
    for part in path.parts:
        if any(mark in part for mark in "*?[") or exports.PERIOD.fullmatch(part):
            break
        fixed.append(part)
    return PurePosixPath("/".join(part for part in fixed if part not in {"data", "metadata"}).replace("//", "/"))


def _digest(files: Iterable[Path], folder: Path, salt: str) -> str:
    """SHA-256 over names and contents, and over what else decides how they are read."""
    whole = hashlib.sha256(salt.encode())
    for path in files:
        whole.update(b"\0" + name_of(path, folder).encode("utf-8", "surrogateescape") + b"\0")
        try:
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:  # its reader will say so
            whole.update(str(error).encode())
    return whole.hexdigest()


def split_by_day(reading: Reading) -> dict[str, Reading]:
    """Signals of each day on their own."""
    day = pl.col("hour").dt.strftime("%Y-%m-%d")
    names = pl.concat([frame.select(day) for frame in (reading.rows, reading.seen)]).to_series().unique().sort()
    rows, seen = ({str(key[0]): piece for key, piece in frame.group_by(day.alias("day"))} for frame in (reading.rows, reading.seen))
    return {d: Reading(rows.get(d, reading.rows.clear()), reading.set_aside, seen.get(d, reading.seen.clear())) for d in names}
