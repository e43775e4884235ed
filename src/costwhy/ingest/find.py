"""Every source of a workspace with its files or its API, and the parts in which files are read."""

import hashlib
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as MappingType
from dataclasses import replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

import msgspec

from costwhy.config import Mapping, Workspace
from costwhy.errors import ConfigError, InputError, SourceError, UnreachableError
from costwhy.ingest.batch import Part, Progress, Source
from costwhy.sources import inventory, packed, s3_mirror
from costwhy.sources.cost import exports
from costwhy.sources.files import Files
from costwhy.sources.inventory import Passed
from costwhy.sources.reading import REVISION
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
        return replace(source, files=found.files, passed=passed, root=folder / path)
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


# ---------------------------------------------------------------- the parts of a source


def parts_of(source: Source, workspace: Workspace) -> Iterator[Part]:
    """The parts of a source, in a fixed order.

    The digest is over names and contents, and over what else decides how they are read: the tags
    for some formats. Whom to ask for owners (`mapping.owners`) never does.
    """
    tags = msgspec.structs.replace(workspace.mapping, owners=Mapping().owners)
    how = (REVISION, source.name_of_format, tags if source.format.reads_tags else None)
    salt = repr(how) + source.salt
    for name, files in sorted(_groups(source, workspace).items()):
        names, digest = [], hashlib.sha256(salt.encode())
        for file in files:
            names.append(name_of(file, workspace))
            digest.update(b"\0" + names[-1].encode("utf-8", "surrogateescape") + b"\0")
            try:
                digest.update(packed.digest_of(file))
            except OSError as error:  # its reader will say so
                digest.update(str(error).encode())
        yield Part(name, files, tuple(names), digest.hexdigest())


def name_of(file: Path, workspace: Workspace) -> str:
    """A file as the lake names it: its address on S3, or its path from costwhy.toml's folder."""
    if file.is_relative_to(workspace.folder):
        file = file.relative_to(workspace.folder)
    return s3_mirror.address_of(file) or file.as_posix()


def _groups(source: Source, workspace: Workspace) -> dict[str, tuple[Path, ...]]:
    if source.format.section == "changes":
        return {
            f"{source.name_of_format}:{name_of(file, workspace)}": (file,) for file in source.files
        }
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
    month = last.removeprefix("BILLING_PERIOD=") if "=" in last else f"{last[:4]}-{last[4:6]}"
    # the folders before the first wildcard, named as `exports.period_of` names them
    fixed = takewhile(
        lambda part: not any(mark in part for mark in "*?[") and not exports.PERIOD.fullmatch(part),
        source.root.parts,
    )
    root, export = (
        PurePosixPath(path.replace("//", "/"))
        for path in ("/".join(p for p in fixed if p not in {"data", "metadata"}), above)
    )
    below = slash and export.is_relative_to(root) and export != root
    inside = f"{export.relative_to(root).as_posix()}/" if below else ""
    return f"{source.name}:{inside}{month}"
