"""TODO ingest/write.py"""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import polars as pl

from costwhy import tables
from costwhy.config import Workspace
from costwhy.ingest.batch import UNREADABLE, Batch, IngestReport, Source
from costwhy.ingest.billing import COSTS
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, write
from costwhy.sources.registry import READERS
from costwhy.tables import BY_NAME


def leave_out(sources: Sequence[Source], batch: Batch) -> None:
    """Deliveries of sources that costwhy.toml no longer names: the same bill under a new path would count twice."""
    gone = {name for name in batch.known if not any(_belongs(name, s, batch.workspace.folder) for s in sources)}
    for name in BY_NAME.keys() - {"series"} if gone else ():
        batch.drop.setdefault(name, set()).update(gone)
    if gone:
        shown = ", ".join(sorted(gone)[:3])
        batch.messages.append(f"{len(gone)} deliveries left out, costwhy.toml no longer names their source: {shown}")


def _belongs(delivery: str, source: Source, folder: Path) -> bool:
    name = delivery.removesuffix(UNREADABLE)
    if source.asked:
        regions = source.asked.regions or (name.removeprefix(source.asked.prefix).split(":")[0],)
        return name.startswith(tuple(f"{source.asked.prefix}{region}:" for region in regions))
    table = READERS[source.form][1] if source.form in READERS else "cost"
    if table == "catalog":
        return name == source.name
    if table != "changes":
        return name == source.name or name.startswith(f"{source.name}:")
    form, _, file = name.partition(":")
    if file.startswith("api:"):
        return False
    place, wanted = folder / file, folder / source.path
    return form == source.form and (place.is_relative_to(wanted) or fnmatch(str(place), str(wanted)))


def write_batch(sources: Sequence[Source], batch: Batch) -> IngestReport:
    """Everything at once; nothing where nothing is new."""
    if batch.records:
        now = datetime.now(UTC)
        rows = [{**record, "read_at": now} for record in batch.records.values()]
        batch.frames["deliveries"] = [("", pl.DataFrame(rows, schema=tables.DELIVERIES.schema))]
        batch.drop.setdefault("deliveries", set()).update(batch.records)
    names = sorted(batch.frames.keys() | batch.files.keys() | batch.drop.keys())
    changes = {name: Replacement(_rows(name, batch), tuple(sorted(batch.drop.get(name, ())))) for name in names}
    workspace = batch.workspace
    about = SnapshotInfo(workspace.name, workspace.currency, _config(workspace, sources))
    version = write(workspace.lake_path, about, changes)
    empty = pl.DataFrame(schema={"billing_period": pl.String} | dict.fromkeys(COSTS, pl.Float64))
    totals = pl.concat([empty, *batch.totals]).group_by("billing_period").agg(pl.all().sum()).sort("billing_period")
    counts = batch.counts
    figures = (counts["read"], counts["skipped"], counts["rows"], counts["aside"])
    return IngestReport(version, *figures, totals, (*batch.messages, *batch.hints))


def _rows(name: str, batch: Batch) -> pl.DataFrame | tuple[Path, ...]:
    """The new rows of a table, with their deliveries."""
    table, found = BY_NAME[name], batch.frames.pop(name, [])
    frame = pl.concat([frame for _, frame in found]) if found else table.empty()
    if name == "series":
        return frame.unique("series_id").sort("series_id")
    if found and name != "deliveries":
        frame = frame.with_columns(_deliveries(found))
    files = batch.files.get(name)
    if not files:
        return table.fit(frame)
    last = batch.spool / f"{name}-last.parquet"
    table.fit(frame).write_parquet(last)
    return (*files, last)


def _deliveries(found: Sequence[tuple[str, pl.DataFrame]]) -> pl.Series:
    """One column for all frames at once: ten thousand small frames must not take minutes."""
    counts = pl.DataFrame({"delivery": [d for d, _ in found], "n": [frame.height for _, frame in found]})
    return counts.select(pl.col("delivery").repeat_by("n").explode()).to_series()


def _config(workspace: Workspace, sources: Sequence[Source]) -> dict[str, object]:
    """What decides how the lake is read: kept in the snapshot."""
    named = [{"key": source.key, "format": source.form, "path": source.path or "api"} for source in sources]
    tags = [{"key": f"owners[{n}]", "format": "tags"} for n, s in enumerate(workspace.owners) if s.format == "tags"]
    return {"mapping": msgspec.to_builtins(workspace.mapping), "sources": named + tags}
