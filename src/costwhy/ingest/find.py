"""Every source of a workspace with its files or its API, and what makes an entry impossible."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from costwhy.config import Workspace
from costwhy.errors import ConfigError, InputError, SourceError, UnreachableError
from costwhy.ingest.batch import Progress, Source
from costwhy.sources import s3_mirror
from costwhy.sources.files import find_files
from costwhy.sources.format import Files
from costwhy.sources.registry import format_of


def find_sources(workspace: Workspace, progress: Progress | None) -> list[Source]:
    """Every source with its files. Raises ConfigError naming the key of the first that has none."""
    if not workspace.cost:
        problem = "`cost` is missing: there is no [[cost]] source in costwhy.toml"
        raise ConfigError(problem, fix="add one: the format and the path of the billing files")
    sources = list(_found(workspace, progress))
    _refuse_twice(sources)
    return sources


def _found(workspace: Workspace, progress: Progress | None) -> Iterator[Source]:
    tags = workspace.mapping.service_tags
    for key, entry in workspace.sources.items():
        form = format_of(entry.format)
        source = Source(key, entry.format, form, getattr(entry, "path", None) or "")
        live = form.live(entry, key, workspace.folder, tags) if form.live else None
        if live:
            yield replace(source, live=live)
        elif form.files and s3_mirror.is_address(source.path):
            yield _with_mirror(source, form.files, workspace, progress)
        elif form.files:
            yield _with_files(source, form.files, source.path, workspace.folder)


def _with_mirror(
    source: Source, files: Files, workspace: Workspace, progress: Progress | None
) -> Source:
    """The files of an address on S3, from their mirror. What cannot be reached stays as it was."""
    mark = hashlib.sha256(source.path.encode()).hexdigest()[:8]
    folder = _beside_the_lake(workspace) / f"{source.name_of_format}-{mark}"
    try:
        mirror = s3_mirror.mirror(source.path, folder, files.is_named, progress)
    except UnreachableError as error:
        return replace(source, fault=error)
    except SourceError as error:
        problem = f"`{source.key}.path`: {error.problem}"
        raise ConfigError(problem, found=error.found, fix=error.fix) from error
    notes = tuple(f"{one} was left out" for one in mirror.refused)
    found = _with_files(source, files, s3_mirror.local_path(source.path), folder)
    return replace(found, notes=notes)


def _beside_the_lake(workspace: Workspace) -> Path:
    """Where the mirrors of addresses are: lake.mirror beside lake."""
    lake = workspace.lake_path
    if "://" in lake:
        return workspace.folder / "lake.mirror"
    return Path(lake).with_name(f"{Path(lake).name}.mirror")


def _with_files(source: Source, files: Files, path: str, folder: Path) -> Source:
    if "://" in path:
        problem = f"`{source.key}.path`: only addresses on S3 can be read"
        raise InputError(problem, found=path, fix="name a folder, or s3://bucket/prefix/")
    try:
        return replace(source, files=find_files(path, folder, files), root=folder / path)
    except SourceError as error:
        problem = f"`{source.key}.path`: {error.problem}"
        raise ConfigError(problem, found=error.found, fix=error.fix) from error
    except (OSError, ValueError) as error:
        problem = f"`{source.key}.path`: {error}"
        raise ConfigError(problem, found=path, fix="correct the path") from error


def _refuse_twice(sources: Sequence[Source]) -> None:
    """What two entries name would be the same money, or the same calls, twice."""
    first: dict[str, str] = {}
    for source in sources:
        where = source.key if source.live else f"{source.key}.path"
        for name in _named(source):
            other = first.setdefault(name, where)
            if other != where:
                problem = f"`{other}` and `{where}` name the same"
                raise ConfigError(problem, found=name, fix="name it in one of them only")


def _named(source: Source) -> Iterator[str]:
    """The API and its regions, and files where a row that counts twice would be wrong money."""
    if source.live:
        places = source.live.places or ("the region of the AWS configuration",)
        yield from (f"{source.live.prefix}{place}" for place in places)
    if source.format.section in {"cost", "signals"}:
        for file in source.files:
            yield s3_mirror.address_of(file) or str(file.resolve())
