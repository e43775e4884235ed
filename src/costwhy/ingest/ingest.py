"""Every source of a workspace into its lake, as one new version; what has not changed is skipped.

A *part* is what is read together: the billing files of one period, one file of changes, all
signals, one catalogue. A *delivery* is what is replaced whole. Mostly that is the part itself; of
signals it is each day, and of billing files without a period in their path each period that their
rows name: what has vanished from the folder stays in the lake.

    focus:billing:2026-10              a period
    signals:signals:2026-10-14         a day
    cloudtrail:cloudtrail/.../x.gz     a file of changes
    backstage:catalog                  a catalogue
    xray:api:eu-west-1:2026-10-14      a day of an API in a region
    prometheus:mimir:9009:2026-10-14   a day of a Prometheus

Files on S3 are mirrored beside the lake and read from there; they keep their addresses as names. A
source that cannot be reached is a message, its deliveries stay; it is an error where nothing else
could be read. A part with a file that cannot be read keeps what it delivered before: half a month
would be wrong money.
"""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import polars as pl
from platformdirs import user_cache_path

from costwhy import own_code
from costwhy.config import Workspace
from costwhy.errors import ConfigError, CostwhyError
from costwhy.ingest.batch import UNREAD, UNREADABLE, Batch, IngestReport, Progress, Run, Source
from costwhy.ingest.cube import COSTS
from costwhy.ingest.find import find_sources
from costwhy.ingest.read import read_files, read_live
from costwhy.ingest.twice import find_twice
from costwhy.ingest.unread import list_unread
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, has_lake, open_lake, write
from costwhy.lake.vacuum import vacuum
from costwhy.sources import packed
from costwhy.sources.file_memory import FileMemory, remembered
from costwhy.tables import BY_NAME


def ingest(
    workspace: Workspace,
    progress: Progress | None = None,
    now: datetime | None = None,
    *,
    rehash: bool = False,
) -> IngestReport:
    """Read every source into the lake. Safe to run again: the same input changes nothing.

    now     up to when APIs are asked (default: the present)
    rehash  read every file to see whether it changed, also where its size and time are the same

    Raises ConfigError where a source's entry is wrong, InputError where its path is of another
    kind, SourceError where nothing of a source could be read, UnreachableError where no source
    could be reached, LakeError where somebody else is writing; the lake is then as before.
    """
    memory = FileMemory(_memory_of(workspace), own_code.digest(), forget=rehash)
    with (
        packed.kept(),
        remembered(memory),
        tempfile.TemporaryDirectory(prefix="costwhy-") as spool,
    ):
        sources = find_sources(workspace, progress)
        known, places = _known(workspace)
        run = Run(
            workspace,
            known,
            now or datetime.now(UTC),
            Batch(Path(spool)),
            progress or (lambda _name, _done, _total: None),
            sum(len(source.files) for source in sources),
            places=places,
        )
        for source in sources:
            run.messages += source.notes
            if source.fault:
                run.miss(source.key, source.fault)
            elif source.live:
                read_live(source, source.live, run)
            else:
                copies = read_files(source, run)
                list_unread(replace(source, passed=(*source.passed, *copies)), run)
                run.reached = True
        if run.unreached and not run.reached:
            raise run.unreached[0]
        _leave_out(sources, run)
        return _with_vacuum(workspace, _write(sources, run))


def _memory_of(workspace: Workspace) -> Path:
    """Beside the lake; of a lake on S3 in the user's cache folder."""
    place = workspace.lake_path
    if "://" not in place:
        return Path(place, "files.known")
    mark = hashlib.sha256(f"{place} {workspace.folder.resolve()}".encode()).hexdigest()[:12]
    return user_cache_path("costwhy") / f"files-{mark}.known"


def _known(workspace: Workspace) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The deliveries of the lake: their digests, and their files."""
    if not has_lake(workspace.lake_path):
        return {}, {}
    lake = open_lake(workspace.lake_path)
    if lake.currency != workspace.currency:
        raise ConfigError(
            f"`workspace.currency` is {workspace.currency}, the lake is in {lake.currency}",
            found=lake.place,
            fix="give the workspace another lake, or its former currency",
        )
    known = lake.table("deliveries").select("delivery", "digest", "files").rows()
    return {name: digest for name, digest, _ in known}, {name: files for name, _, files in known}


# ---------------------------------------------------------------- written at once


def _leave_out(sources: Sequence[Source], run: Run) -> None:
    """Deliveries of sources that costwhy.toml no longer names.

    The same bill under a new path would count twice.
    """
    gone = {
        name
        for name in run.known
        if not any(_belongs(name, source, run.workspace.folder) for source in sources)
    }
    if gone:
        run.batch.forget(gone, BY_NAME.keys() - {"series"})
        run.messages.append(
            f"{len(gone)} deliveries left out, costwhy.toml no longer names their source: "
            f"{', '.join(sorted(gone)[:3])}"
        )


def _belongs(delivery: str, source: Source, folder: Path) -> bool:
    name = delivery.removesuffix(UNREADABLE)
    if delivery == source.name + UNREAD:
        return True
    if source.live:
        return source.live.owns(name)
    if source.format.section != "changes":
        return name == source.name or (
            source.format.section != "owners" and name.startswith(f"{source.name}:")
        )
    form, _, file = name.partition(":")
    place, wanted = folder / file, folder / source.path
    is_there = place.is_relative_to(wanted) or fnmatch(str(place), str(wanted))
    return form == source.name_of_format and not file.startswith("api:") and is_there


def _write(sources: Sequence[Source], run: Run) -> IngestReport:
    """Everything at once; nothing where nothing is new."""
    workspace, batch = run.workspace, run.batch
    changes = {
        name: Replacement(_rows(name, batch), tuple(sorted(batch.replaced.get(name, ()))))
        for name in sorted({*batch.replaced, *(["series"] if batch.series else [])})
    }
    paths = {one.key: one.live.shown if one.live else one.path for one in sources}
    config = {  # what decides how the lake is read: kept in the snapshot
        "mapping": msgspec.to_builtins(workspace.mapping),
        "sources": [
            {"key": key, "format": entry.format} | ({"path": paths[key]} if key in paths else {})
            for key, entry in sorted(workspace.sources.items(), key=lambda one: one[0] not in paths)
        ],
    }
    version = write(
        workspace.lake_path, SnapshotInfo(workspace.name, workspace.currency, config), changes
    )
    bills = {one.key: one.name for one in sources if one.format.bill}
    twice = find_twice(open_lake(workspace.lake_path, version), bills)
    totals = (
        pl.concat(
            [
                pl.DataFrame(
                    schema={"billing_period": pl.String} | dict.fromkeys(COSTS, pl.Float64)
                ),
                *run.totals,
            ]
        )
        .group_by("billing_period")
        .agg(pl.all().sum())
    )
    new = pl.DataFrame([*batch.records.values()], schema=BY_NAME["deliveries"].schema)
    return IngestReport(
        version=version,
        read=run.read,
        skipped=run.skipped,
        rows=int(new["rows"].sum()),
        rows_set_aside=int(new["rows_set_aside"].sum()) + run.unreadable,
        totals=totals.sort("billing_period"),
        messages=(*run.messages, *dict.fromkeys([*run.hints, *twice])),
    )


def _with_vacuum(workspace: Workspace, report: IngestReport) -> IngestReport:
    """Old versions removed. What was read is in the lake, so a failure of this is a message."""
    try:
        return replace(report, freed=vacuum(workspace.lake_path, workspace.keep))
    except CostwhyError as error:
        return replace(report, messages=(*report.messages, f"old versions stay: {error}"))


def _rows(name: str, batch: Batch) -> pl.DataFrame | tuple[pl.LazyFrame, ...]:
    table = BY_NAME[name]
    if name == "series":
        return pl.concat(batch.series).unique("series_id").sort("series_id")
    if name == "deliveries":
        now = datetime.now(UTC)
        return pl.DataFrame(
            [{**record, "read_at": now} for record in batch.records.values()], schema=table.schema
        )
    found, frame = batch.frames.get(name, []), table.empty()
    if found:  # one column for all frames at once: ten thousand small ones must not take minutes
        counts = pl.DataFrame({"name": [n for n, _ in found], "n": [r.height for _, r in found]})
        names = counts.select(delivery=pl.col("name").repeat_by("n").explode()).to_series()
        frame = pl.concat([rows for _, rows in found]).with_columns(names)
    own = table.fit(frame)
    return (*batch.spooled[name], own.lazy()) if name in batch.spooled else own


__all__ = ["IngestReport", "Progress", "ingest"]
