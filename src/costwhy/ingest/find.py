"""Every source of a workspace with its files or its API."""

import hashlib
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from costwhy.config import Workspace
from costwhy.errors import ConfigError, InputError, SourceError, UnreachableError
from costwhy.ingest.batch import Progress, Source
from costwhy.sources import inventory, s3_mirror
from costwhy.sources.files import Files, root_of
from costwhy.sources.inventory import Passed
from costwhy.sources.registry import format_of


def find_sources(workspace: Workspace, progress: Progress | None) -> list[Source]:
    """Every source with its files. Raises ConfigError naming the key of the first that has none."""
    if not workspace.cost:
        raise ConfigError(
            "`cost` is missing: there is no [[cost]] source in costwhy.toml",
            fix="add one: the format and the path of the billing files",
        )
    sources = list(_found(workspace, progress))
    _refuse_twice(sources)
    return sources


def _found(workspace: Workspace, progress: Progress | None) -> Iterator[Source]:
    for key, entry in workspace.sources.items():
        form = format_of(entry.format)
        salt = repr(entry) if form.settle else ""
        form = replace(form, bill=form.settle(entry)) if form.settle else form
        source = Source(key, entry.format, form, getattr(entry, "path", None) or "", salt=salt)
        live = (
            form.live(entry, key, workspace.folder, workspace.mapping.service_tags)
            if form.live
            else None
        )
        if live:
            yield replace(source, live=live)
        elif form.files:
            yield _with_files(source, form.files, workspace, progress)


def _with_files(
    source: Source, files: Files, workspace: Workspace, progress: Progress | None
) -> Source:
    """The source with its files; those of an address on S3 are in its mirror beside the lake.

    What cannot be reached stays as it was.
    """
    path, folder, problem = source.path, workspace.folder, f"`{source.key}.path`"
    try:
        if s3_mirror.is_address(path):
            lake = "lake" if "://" in workspace.lake_path else workspace.lake_path
            mark = hashlib.sha256(path.encode()).hexdigest()[:8]
            folder = folder / f"{lake}.mirror" / f"{source.name_of_format}-{mark}"
            made = s3_mirror.mirror(path, folder, files.is_named, progress)
            source = replace(
                source,
                notes=tuple(f"{one} was left out" for one in made.refused),
                passed=_not_fetched(made.passed, folder, files),
            )
            path = s3_mirror.local_path(path)
        elif "://" in path:
            raise InputError(
                f"{problem}: only addresses on S3 can be read",
                found=path,
                fix="name a folder, or s3://bucket/prefix/",
            )
        found = inventory.find(path, folder, files, _lake_of(workspace))
        passed = (*source.passed, *found.passed)
        root = root_of(folder / path)
        return replace(source, files=found.files, passed=passed, dates=found.dates, root=root)
    except UnreachableError as error:
        return replace(source, fault=error)
    except SourceError as error:
        raise ConfigError(
            f"{problem}: {error.problem}", found=error.found, fix=error.fix
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{problem}: {error}", found=path, fix="correct the path") from error


def _not_fetched(objects: MappingType[str, int], mirror: Path, files: Files) -> tuple[Passed, ...]:
    """The objects of an address that are not looked into; systems' own files are not among them."""
    return tuple(
        Passed(mirror / s3_mirror.local_path(address), size, files.why_not(address))
        for address, size in objects.items()
        if files.inside and not files.is_silent(address)
    )


def _lake_of(workspace: Workspace) -> tuple[Path, ...]:
    """Folders that are never a source's: the lake, and the mirrors beside it."""
    lake = workspace.folder / ("lake" if "://" in workspace.lake_path else workspace.lake_path)
    return (lake, lake.with_name(f"{lake.name}.mirror"))


def _refuse_twice(sources: Sequence[Source]) -> None:
    """What two entries name would be the same money, or the same calls, twice."""
    first: dict[str, str] = {}
    for source in sources:
        where, live = (source.key, source.live) if source.live else (f"{source.key}.path", None)
        names = (
            [
                f"{live.prefix}{place}"
                for place in live.places or ("the region of the AWS configuration",)
            ]
            if live
            else []
        )
        if source.format.section in {"cost", "signals"}:
            names += [s3_mirror.address_of(file) or str(file.resolve()) for file in source.files]
        for name in names:
            other = first.setdefault(name, where)
            if other != where:
                raise ConfigError(
                    f"`{other}` and `{where}` name the same",
                    found=name,
                    fix="name it in one of them only",
                )


def name_of(file: Path, workspace: Workspace) -> str:
    """A file as the lake names it: its address on S3, or its path from costwhy.toml's folder."""
    return _name(file, workspace.folder)


@lru_cache(maxsize=1 << 16)  # asked several times of each file
def _name(file: Path, folder: Path) -> str:
    inside = file.relative_to(folder) if file.is_relative_to(folder) else file
    return s3_mirror.address_of(inside) or inside.as_posix()
