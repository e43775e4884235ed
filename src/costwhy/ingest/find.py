"""TODO ingest/find.py"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from costwhy.config import SignalSource, Workspace
from costwhy.errors import ConfigError, InputError, SourceError, UnreachableError
from costwhy.ingest.batch import Progress, Source
from costwhy.sources import aws_live, s3_mirror
from costwhy.sources.changes import cloudtrail
from costwhy.sources.cost import exports
from costwhy.sources.registry import READERS
from costwhy.sources.signals import prometheus


def find_sources(workspace: Workspace, progress: Progress | None) -> list[Source]:
    """Every source with its files. Raises ConfigError naming the key of the first that has none."""
    kinds = {name: getattr(workspace, name) for name in ("cost", "changes", "signals", "owners")}
    entries = [(f"{kind}[{n}]", source) for kind, listed in kinds.items() for n, source in enumerate(listed)]
    if not workspace.cost:
        todo = "add one: the format and the path of the billing files"
        raise ConfigError("`cost` is missing: there is no [[cost]] source in costwhy.toml", todo=todo)
    sources = []
    for key, entry in entries:
        _refuse_stray_keys(key, entry)
        if entry.format == "prometheus":
            sources.append(_live(key, entry))
        elif _is_asked(entry):
            sources.append(_find_live(key, entry))
        elif s3_mirror.is_address(entry.path or ""):
            sources.append(_find_mirrored(key, entry.format, entry.path, workspace, progress))
        elif entry.format != "tags":
            sources.append(_find(key, entry.format, entry.path, workspace.folder))
    _refuse_overlap([source for source in sources if source.key.startswith(("cost", "signals"))])
    _refuse_regions_twice(sources)
    return sources


def _live(key: str, entry: SignalSource) -> Source:
    return Source(key, entry.format, prometheus.find_place(entry, key), ())


def _refuse_stray_keys(key: str, entry: Any) -> None:
    """What only sources that are asked obey would be silently without effect."""
    if entry.format != "prometheus" and not _is_asked(entry):
        stray = next((name for name in ("regions", "days", "presets") if getattr(entry, name, None)), None)
        if stray:
            wrong = f"`{key}.{stray}` has no meaning for files"
            raise ConfigError(wrong, found=f"format {entry.format}", todo="remove it, or write `api = true` instead of `path`")


def _is_asked(entry: Any) -> bool:
    """Whether AWS itself is asked, instead of files read."""
    return entry.format in {"cloudwatch", "xray"} or getattr(entry, "api", False)


def _find_live(key: str, entry: Any) -> Source:
    if entry.path or entry.format not in aws_live.READERS:
        wrong = f"`{key}.path` and `{key}.api` exclude each other" if entry.path else f"`{key}.api`: nobody can be asked for {entry.format}"
        raise ConfigError(wrong, found=entry.path or entry.format, todo="name files at `path`, or ask AWS for cloudtrail or autoscaling")
    try:
        found = aws_live.find(entry.format, entry.regions, entry.days, getattr(entry, "presets", ()))
    except SourceError as error:
        raise ConfigError(f"`{key}`: {error.wrong}", found=error.found, todo=error.todo) from error
    return Source(key, entry.format, "", asked=found)


def _find_mirrored(key: str, form: str, address: str, workspace: Workspace, progress: Progress | None) -> Source:
    """The files of an address on S3, from their mirror. What cannot be reached keeps its deliveries."""
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    folder = _beside_the_lake(workspace) / f"{form}-{mark}"
    local = s3_mirror.local_path(address)
    try:
        mirror = s3_mirror.mirror(address, folder, _use_of(form), progress)
    except UnreachableError as error:
        return Source(key, form, address, fault=error)
    except SourceError as error:
        raise ConfigError(f"`{key}.path`: {error.wrong}", found=error.found, todo=error.todo) from error
    found = _find(key, form, local, folder)
    return replace(found, path=address, notes=tuple(f"{one} was left out" for one in mirror.refused))


def _beside_the_lake(workspace: Workspace) -> Path:
    """Where the mirrors of addresses are: lake.mirror beside lake."""
    lake = workspace.lake_path
    return workspace.folder / "lake.mirror" if "://" in lake else Path(lake).with_name(f"{Path(lake).name}.mirror")


def _use_of(form: str) -> Callable[[str], bool]:
    """Which objects the readers of a format read; of billing also the manifests."""
    endings = getattr(READERS[form][0], "ENDINGS", ("codeowners",)) if form in READERS else (*exports.ENDINGS, s3_mirror.MANIFEST.lower())
    return lambda key: key.lower().endswith(endings) and (form != "cloudtrail" or cloudtrail.is_log(key))


def _find(key: str, form: str, path: str | None, folder: Path) -> Source:
    if not path:
        raise ConfigError(f"`{key}.path` is missing", found=f"a {form} source", todo="name a file, a folder or a glob")
    if "://" in path:
        todo = "name a folder, or s3://bucket/prefix/"
        raise InputError(f"`{key}.path`: only addresses on S3 can be read", found=path, todo=todo)
    find = READERS[form][0].find_files if form in READERS else exports.find_files
    try:
        return Source(key, form, path, find(path, folder), folder / path)
    except (SourceError, OSError, ValueError, NotImplementedError) as error:  # a glob that pathlib refuses
        wrong, found = (error.wrong, error.found) if isinstance(error, SourceError) else (str(error), path)
        raise ConfigError(f"`{key}.path`: {wrong}", found=found, todo="mend the path, or put files there") from error


def _refuse_overlap(sources: Sequence[Source]) -> None:
    """The same file in two sources would be the same money, or the same calls, twice."""
    first: dict[str, str] = {}
    asked: dict[str, str] = {}
    for source in sources:
        if source.form == "prometheus" and asked.setdefault(source.name, source.key) != source.key:
            wrong = f"`{asked[source.name]}.url` and `{source.key}.url` name the same Prometheus"
            raise ConfigError(wrong, found=source.path, todo="put their queries into one entry")
        for file in source.files:
            other = first.setdefault(s3_mirror.address_of(file) or str(file.resolve()), source.key)
            if other != source.key:
                wrong = f"`{other}.path` and `{source.key}.path` name the same file"
                raise ConfigError(wrong, found=s3_mirror.address_of(file) or str(file), todo="name every file once")


def _refuse_regions_twice(sources: Sequence[Source]) -> None:
    first: dict[tuple[str, str], str] = {}
    for source in sources:
        for region in (source.asked.regions or ("",)) if source.asked else ():
            other = first.setdefault((source.form, region), source.key)
            if other != source.key:
                wrong = f"`{other}` and `{source.key}` ask for the same region twice"
                raise ConfigError(wrong, found=region or "the region of the AWS configuration", todo="name every region once")
