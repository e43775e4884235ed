"""What is new, written as one version of the lake; what no source names any more is left out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import polars as pl

from costwhy.config import Workspace
from costwhy.ingest.batch import UNREADABLE, Batch, IngestReport, Run, Source
from costwhy.ingest.billing import COSTS
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import About, write
from costwhy.tables import BY_NAME


def leave_out(sources: Sequence[Source], run: Run) -> None:
    """Deliveries of sources that costwhy.toml no longer names.

    The same bill under a new path would count twice.
    """
    folder = run.workspace.folder
    gone = {n for n in run.known if not any(_belongs(n, source, folder) for source in sources)}
    if gone:
        run.batch.forget(gone, BY_NAME.keys() - {"series"})
        shown = ", ".join(sorted(gone)[:3])
        problem = f"{len(gone)} deliveries left out, costwhy.toml no longer names their source"
        run.log.messages.append(f"{problem}: {shown}")


def _belongs(delivery: str, source: Source, folder: Path) -> bool:
    name = delivery.removesuffix(UNREADABLE)
    if source.live:
        return source.live.owns(name)
    if source.format.section == "owners":
        return name == source.name
    if source.format.section != "changes":
        return name == source.name or name.startswith(f"{source.name}:")
    form, _, file = name.partition(":")
    if form != source.name_of_format or file.startswith("api:"):
        return False
    place, wanted = folder / file, folder / source.path
    return place.is_relative_to(wanted) or fnmatch(str(place), str(wanted))


def write_batch(sources: Sequence[Source], run: Run) -> IngestReport:
    """Everything at once; nothing where nothing is new."""
    workspace, batch, log = run.workspace, run.batch, run.log
    names = sorted({*batch.replaced, *(["series"] if batch.series else [])})
    changes = {
        name: Replacement(_rows(name, batch), tuple(sorted(batch.replaced.get(name, ()))))
        for name in names
    }
    about = About(workspace.name, workspace.currency, _config(workspace, sources))
    version = write(workspace.lake_path, about, changes)
    empty = pl.DataFrame(schema={"billing_period": pl.String} | dict.fromkeys(COSTS, pl.Float64))
    totals = pl.concat([empty, *log.totals]).group_by("billing_period").agg(pl.all().sum())
    new = batch.records.values()
    return IngestReport(
        version=version,
        read=log.read,
        skipped=log.skipped,
        rows=sum(one.rows for one in new),
        rows_set_aside=sum(one.rows_set_aside for one in new) + log.unreadable,
        totals=totals.sort("billing_period"),
        messages=(*log.messages, *log.hints),
    )


def _rows(name: str, batch: Batch) -> pl.DataFrame | tuple[Path, ...]:
    """The new rows of a table, with their deliveries."""
    table = BY_NAME[name]
    if name == "series":
        return pl.concat(batch.series).unique("series_id").sort("series_id")
    if name == "deliveries":
        now = datetime.now(UTC)
        records = [{**one.record, "read_at": now} for one in batch.records.values()]
        return pl.DataFrame(records, schema=table.schema)
    found = batch.frames.get(name, [])
    frame = table.empty()
    if found:
        frame = pl.concat([rows for _, rows in found]).with_columns(_deliveries(found))
    if name not in batch.spooled:
        return table.fit(frame)
    last = batch.spool / f"{name}-last.parquet"
    table.fit(frame).write_parquet(last)
    return (*batch.spooled[name], last)


def _deliveries(found: Sequence[tuple[str, pl.DataFrame]]) -> pl.Series:
    """One column for all frames at once: ten thousand small frames must not take minutes."""
    counts = pl.DataFrame(
        {"delivery": [name for name, _ in found], "n": [rows.height for _, rows in found]}
    )
    return counts.select(pl.col("delivery").repeat_by("n").explode()).to_series()


def _config(workspace: Workspace, sources: Sequence[Source]) -> dict[str, object]:
    """What decides how the lake is read: kept in the snapshot."""
    named = [
        {
            "key": source.key,
            "format": source.name_of_format,
            "path": source.live.shown if source.live else source.path,
        }
        for source in sources
    ]
    found = {source.key for source in sources}
    others = [
        {"key": key, "format": entry.format}
        for key, entry in workspace.sources.items()
        if key not in found
    ]
    return {"mapping": msgspec.to_builtins(workspace.mapping), "sources": named + others}
