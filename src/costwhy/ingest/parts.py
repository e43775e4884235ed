"""The parts of a source: which of its files are read together, under which name and digest."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import msgspec

from costwhy.config import Mapping
from costwhy.errors import ConfigError
from costwhy.ingest.batch import Part, Run, Source
from costwhy.sources.cost import exports
from costwhy.sources.reading import REVISION


def parts_of(source: Source, run: Run) -> Iterator[Part]:
    """The parts of a source, in a fixed order."""
    salt = repr((REVISION, source.name_of_format, _mapping_of(source, run)))
    for name, files in sorted(_groups(source, run).items()):
        yield Part(name, files, _digest(files, run, salt))


def _mapping_of(source: Source, run: Run) -> Mapping | None:
    """The tags, where they decide what is read; whom to ask for owners (`owners`) never does."""
    if not source.format.reads_tags:
        return None
    return msgspec.structs.replace(run.workspace.mapping, owners=Mapping().owners)


def _groups(source: Source, run: Run) -> dict[str, tuple[Path, ...]]:
    if source.format.section == "changes":
        return {f"{source.name_of_format}:{run.name_of(file)}": (file,) for file in source.files}
    if source.format.section != "cost":
        return {source.name: source.files}
    groups: dict[str, list[Path]] = {}
    for file in source.files:
        groups.setdefault(_period_name(source, file), []).append(file)
    if source.name in groups and len(groups) > 1:
        raise ConfigError(
            f"`{source.key}.path` has folders of billing periods and, outside of them, files",
            found=str(groups[source.name][0]),
            fix="give each of the two its own [[cost]] entry",
        )
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def _period_name(source: Source, file: Path) -> str:
    """focus:billing:2026-10; focus:billing:EXPORT/2026-10 where the folder has several exports."""
    above, slash, last = exports.period_of(file).rpartition("/")
    if not last:
        return source.name
    is_export = "=" in last
    month = last.removeprefix("BILLING_PERIOD=") if is_export else f"{last[:4]}-{last[4:6]}"
    root = _fixed(source.root)
    export = PurePosixPath(above.replace("//", "/"))
    below = slash and export.is_relative_to(root)
    inside = export.relative_to(root).as_posix() if below else "."
    return f"{source.name}:{month}" if inside == "." else f"{source.name}:{inside}/{month}"


def _fixed(path: Path) -> PurePosixPath:
    """The folders before the first wildcard, named as `exports.period_of` names them."""
    fixed: list[str] = []
    for part in path.parts:
        if any(mark in part for mark in "*?[") or exports.PERIOD.fullmatch(part):
            break
        fixed.append(part)
    names = (part for part in fixed if part not in {"data", "metadata"})
    return PurePosixPath("/".join(names).replace("//", "/"))


def _digest(files: Iterable[Path], run: Run, salt: str) -> str:
    """SHA-256 over names and contents, and over what else decides how they are read."""
    whole = hashlib.sha256(salt.encode())
    for path in files:
        name = run.name_of(path).encode("utf-8", "surrogateescape")
        whole.update(b"\0" + name + b"\0")
        try:
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:  # its reader will say so
            whole.update(str(error).encode())
    return whole.hexdigest()
