"""Every source of a workspace into its lake, as one new version; what was read before and has not changed is not read again.

A *delivery* is what is replaced whole: of billing files, one period of one source; of other sources, one file.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import polars as pl

from costwhy import tables
from costwhy.config import Workspace
from costwhy.errors import ConfigError, InputError, SourceError
from costwhy.lake import Lake, Replacement, open_lake, write
from costwhy.reduce import FileCube, merge, reduce_file
from costwhy.sources import autoscaling, backstage, billing_files, cdevents, cloudtrail, codeowners, signals

READERS: dict[str, tuple[ModuleType, str]] = {
    "cloudtrail": (cloudtrail, "changes"),
    "cdevents": (cdevents, "changes"),
    "autoscaling": (autoscaling, "changes"),
    "signals": (signals, "signals"),
    "backstage": (backstage, "catalog"),
    "codeowners": (codeowners, "catalog"),
}
NOT_FILES = {"prometheus", "cloudwatch", "xray"}
CUBE_TABLES = ("hourly", "daily", "overview", "seen", "set_aside")
Progress = Callable[[str, int, int], None]  # what is being read, how many are done, how many there are


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `version`: of the lake, the former one where nothing was new."""

    version: int
    read: int
    skipped: int
    rows: int
    rows_set_aside: int
    totals: pl.DataFrame  # billing_period, EffectiveCost, BilledCost, ListCost of the periods that were read
    messages: tuple[str, ...]  # files that were set aside whole


@dataclass
class _Batch:
    """What is new, collected until it is written at once."""

    lake: Lake | None
    known: dict[str, str]  # delivery: digest
    rows: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    drop: dict[str, set[str]] = field(default_factory=dict)
    records: list[dict[str, object]] = field(default_factory=list)
    totals: list[pl.DataFrame] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    skipped: int = 0

    def add(self, name: str, delivery: str, frame: pl.DataFrame) -> None:
        self.rows.setdefault(name, []).append(
            frame if name == "series" else frame.with_columns(delivery=pl.lit(delivery))
        )
        if name != "series":
            self.drop.setdefault(name, set()).add(delivery)


def ingest(workspace: Workspace, progress: Progress | None = None) -> IngestReport:
    """Read every source into the lake. Safe to run again: the same input changes nothing.

    Raises ConfigError where a source's path is wrong, SourceError where nothing of a source could be read; the lake is then as before.
    """
    plan = _plan(workspace)
    lake = (
        open_lake(workspace.lake_path)
        if Path(workspace.lake_path, "snapshots").is_dir() and any(Path(workspace.lake_path, "snapshots").iterdir())
        else None
    )
    if lake is not None and lake.currency != workspace.currency:
        raise ConfigError(
            f"`workspace.currency` is {workspace.currency}, the lake is in {lake.currency}",
            todo="give the workspace another lake, or its former currency",
        )
    known = dict(lake.table("deliveries").select("delivery", "digest").iter_rows()) if lake is not None else {}
    batch, tell = _Batch(lake, known), progress or (lambda *_: None)
    total, done = sum(len(found) for _, _, _, found in plan), 0
    for kind, form, path, found in plan:
        if kind == "cost":
            _read_cost(workspace, (form, path, found), batch, lambda name, at=done: tell(name, at, total))
        else:
            _read_records(workspace, (form, found), batch, lambda name, at=done: tell(name, at, total))
        done += len(found)
        tell(path, done, total)
    return _write(workspace, batch)


def _plan(workspace: Workspace) -> list[tuple[str, str, str, tuple[Path, ...]]]:
    """Every source with its files. Raises ConfigError naming the key of the first whose path has none, InputError for sources that are no files."""
    plan = []
    for kind, sources in (
        ("cost", workspace.cost),
        ("changes", workspace.changes),
        ("signals", workspace.signals),
        ("owners", workspace.owners),
    ):
        for number, source in enumerate(sources):
            key = f"{kind}[{number}]"
            if source.format == "tags":
                continue
            if source.format in NOT_FILES:
                raise InputError(
                    f"`{key}.format` is {source.format!r}, which this version does not read",
                    todo="export it to files of format signals",
                )
            if not source.path:
                raise ConfigError(f"`{key}.path` is missing", todo="name a file, a folder or a glob")
            find = billing_files.find_files if kind == "cost" else READERS[source.format][0].find_files
            try:
                plan.append((kind, source.format, source.path, find(source.path, workspace.folder)))
            except SourceError as error:
                raise ConfigError(f"`{key}.path`: {error.wrong}", found=error.found, todo=error.todo) from error
    if not any(kind == "cost" for kind, *_ in plan):
        raise ConfigError("no [[cost]] source in costwhy.toml", todo="add one: format and path of the billing files")
    return plan


def _digest(paths: Sequence[Path], folder: Path) -> str:
    """SHA-256 over names and contents."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(_name(path, folder).encode() + b"\0")
        with path.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix()


# ---------------------------------------------------------------- billing files


def _read_cost(
    workspace: Workspace, source: tuple[str, str, tuple[Path, ...]], batch: _Batch, tell: Callable[[str], None]
) -> None:
    """Groups of files that belong to one period, each read only where one of its files is new or changed."""
    form, path, found = source
    groups: dict[str, list[Path]] = {}
    for file in found:
        groups.setdefault(billing_files.period_of(file), []).append(file)
    failed = 0
    for group in groups.values():
        digest = _digest(group, workspace.folder)
        marker = f"{form}:{path}:{_name(group[0].parent, workspace.folder) if len(groups) > 1 else ''}"
        if batch.known.get(marker) == digest:
            batch.skipped += len(group)
            continue
        cubes, errors = [], []
        for file in group:
            tell(file.name)
            try:
                cubes.append(reduce_file(file, form, workspace.mapping, workspace.currency))
            except SourceError as error:
                errors.append((file, error))
        failed += len(errors)
        _take_cost((form, path), marker, batch, (group, digest, cubes, errors))
    if failed == len(found):
        raise SourceError(
            f"none of the billing files at {path} could be read",
            found=batch.messages[0] if batch.messages else "",
            todo="deliver them again; the lake is as before",
        )


def _take_cost(
    source: tuple[str, str],
    marker: str,
    batch: _Batch,
    read: tuple[list[Path], str, list[FileCube], list[tuple[Path, SourceError]]],
) -> None:
    group, digest, cubes, errors = read
    if errors:  # half a period would be wrong money: the period stays as it was delivered before
        for file, error in errors:
            batch.messages.append(
                f"{file.name} was set aside, and its period stays as it was: {error.wrong}. {error.found}"
            )
            aside = pl.DataFrame(
                [{"source": "cost", "file": file.name, "reason": f"{error.wrong}: {error.found}", "records": 1}]
            )
            batch.add("set_aside", f"{marker}:unreadable", tables.SET_ASIDE.fit(aside).drop("delivery"))
        return
    cube = merge(cubes)
    batch.add("series", "", cube.series)
    batch.totals.append(cube.totals)
    batch.drop.setdefault("set_aside", set()).add(f"{marker}:unreadable")
    periods = cube.hourly["billing_period"].unique().sort().to_list()
    for period in periods:
        delivery = f"{source[0]}:{source[1]}:{period}"
        for name in ("hourly", "daily"):
            batch.add(name, delivery, getattr(cube, name).filter(pl.col("billing_period") == period))
        totals = cube.totals.filter(pl.col("billing_period") == period).row(0, named=True)
        inside = cube.hourly.filter(pl.col("billing_period") == period)
        batch.records.append(
            {
                "delivery": delivery,
                "digest": digest,
                "files": [f.name for f in group],
                "rows": int(inside["rows"].sum()),
                "rows_set_aside": 0,
                **{k: v for k, v in totals.items() if k != "billing_period"},
            }
        )
    for name in ("overview", "seen", "set_aside"):
        batch.add(name, marker, getattr(cube, name))
    batch.records.append(
        {
            "delivery": marker,
            "digest": digest,
            "files": [f.name for f in group],
            "rows": cube.rows,
            "rows_set_aside": cube.rows_set_aside,
        }
    )


# ---------------------------------------------------------------- everything else


def _read_records(
    workspace: Workspace, source: tuple[str, tuple[Path, ...]], batch: _Batch, tell: Callable[[str], None]
) -> None:
    form, found = source
    reader, target = READERS[form]
    for file in found:
        delivery, digest = f"{form}:{_name(file, workspace.folder)}", _digest([file], workspace.folder)
        if batch.known.get(delivery) == digest:
            batch.skipped += 1
            continue
        tell(file.name)
        reading = reader.read([file])
        for name, frame in ((target, reading.rows), ("seen", reading.seen), ("set_aside", reading.set_aside)):
            if frame.height or delivery in batch.known:
                batch.add(name, delivery, frame)
        batch.records.append(
            {
                "delivery": delivery,
                "digest": digest,
                "files": [file.name],
                "rows": reading.rows.height,
                "rows_set_aside": int(reading.set_aside["records"].sum()),
            }
        )


def _write(workspace: Workspace, batch: _Batch) -> IngestReport:
    totals = (
        pl.concat(batch.totals).group_by("billing_period").agg(pl.all().sum()).sort("billing_period")
        if batch.totals
        else pl.DataFrame()
    )
    version = batch.lake.version if batch.lake is not None else 0
    if batch.records:
        now = datetime.now(UTC)
        records = pl.DataFrame([{**r, "read_at": now} for r in batch.records], schema=tables.DELIVERIES.schema)
        batch.rows["deliveries"] = [records]
        batch.drop["deliveries"] = set(records["delivery"].to_list())
        former = set(batch.known)
        changes = {}
        for name in sorted(set(batch.rows) | set(batch.drop)):
            frames = [_table(name).fit(f) for f in batch.rows.get(name, [])]
            rows = pl.concat(frames) if frames else _table(name).empty()
            rows = rows.unique("series_id") if name == "series" else rows
            drop = tuple(sorted(d for d in batch.drop.get(name, set()) if d in former or d.endswith(":unreadable")))
            if rows.height or drop:
                changes[name] = Replacement(rows, drop)
        version = write(workspace.lake_path, (workspace.name, workspace.currency), changes)
    rows = sum(int(str(r["rows"])) for r in batch.records if "EffectiveCost" not in r)
    aside = sum(int(str(r["rows_set_aside"])) for r in batch.records)
    return IngestReport(
        version,
        sum(len(r["files"]) for r in batch.records if "EffectiveCost" not in r),  # type: ignore[misc, arg-type]
        batch.skipped,
        rows,
        aside + len(batch.messages),
        totals,
        tuple(batch.messages),
    )


def _table(name: str) -> tables.Table:
    return next(t for t in tables.LAKE_TABLES if t.name == name)


__all__ = ["CUBE_TABLES", "IngestReport", "ingest"]
