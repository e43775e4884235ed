"""What is new, written as one version of the lake; what no source names any more is left out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path

import msgspec
import polars as pl

from costwhy.ingest.batch import UNREADABLE, Batch, IngestReport, Run, Source
from costwhy.ingest.billing import COSTS
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, write
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
    empty = pl.DataFrame(schema={"billing_period": pl.String} | dict.fromkeys(COSTS, pl.Float64))
    totals = pl.concat([empty, *log.totals]).group_by("billing_period").agg(pl.all().sum())
    new = pl.DataFrame([*batch.records.values()], schema=BY_NAME["deliveries"].schema)
    return IngestReport(
        version=version,
        read=log.read,
        skipped=log.skipped,
        rows=int(new["rows"].sum()),
        rows_set_aside=int(new["rows_set_aside"].sum()) + log.unreadable,
        totals=totals.sort("billing_period"),
        messages=(*log.messages, *dict.fromkeys(log.hints)),
    )


def _rows(name: str, batch: Batch) -> pl.DataFrame | tuple[Path, ...]:
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
        deliveries = (
            (
                pl.DataFrame(
                    {
                        "delivery": [name for name, _ in found],
                        "n": [rows.height for _, rows in found],
                    }
                )
            )
            .select(pl.col("delivery").repeat_by("n").explode())
            .to_series()
        )
        frame = pl.concat([rows for _, rows in found]).with_columns(deliveries)
    if name not in batch.spooled:
        return table.fit(frame)
    last = batch.spool / f"{name}-last.parquet"
    table.fit(frame).write_parquet(last)
    return (*batch.spooled[name], last)
