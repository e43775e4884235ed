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

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from costwhy.config import Workspace
from costwhy.errors import ConfigError
from costwhy.ingest.batch import Batch, IngestReport, Progress, Run, Source
from costwhy.ingest.find import find_sources
from costwhy.ingest.read import read_files, read_live
from costwhy.ingest.write import leave_out, write_batch
from costwhy.lake.lake import has_lake, open_lake


def ingest(
    workspace: Workspace, progress: Progress | None = None, now: datetime | None = None
) -> IngestReport:
    """Read every source into the lake. Safe to run again: the same input changes nothing.

    now: up to when APIs are asked (default: the present)

    Raises ConfigError where a source's entry is wrong, InputError where its path is of another
    kind, SourceError where nothing of a source could be read, UnreachableError where no source
    could be reached, LakeError where somebody else is writing; the lake is then as before.
    """
    sources = find_sources(workspace, progress)
    known = _known(workspace)
    with tempfile.TemporaryDirectory(prefix="costwhy-") as spool:
        run = Run(
            workspace,
            known,
            now or datetime.now(UTC),
            _teller(sources, progress),
            Batch(Path(spool)),
        )
        for source in sources:
            run.log.messages += source.notes
            if source.fault:
                run.log.miss(source.key, source.fault)
            elif source.live:
                read_live(source, source.live, run)
            else:
                read_files(source, run)
                run.log.reached = True
        if run.log.unreached and not run.log.reached:
            raise run.log.unreached[0]
        leave_out(sources, run)
        return write_batch(sources, run)


def _known(workspace: Workspace) -> dict[str, str]:
    if not has_lake(workspace.lake_path):
        return {}
    lake = open_lake(workspace.lake_path)
    if lake.currency != workspace.currency:
        raise ConfigError(
            f"`workspace.currency` is {workspace.currency}, the lake is in {lake.currency}",
            found=lake.place,
            fix="give the workspace another lake, or its former currency",
        )
    return dict(lake.table("deliveries").select("delivery", "digest").iter_rows())


def _teller(sources: Sequence[Source], progress: Progress | None) -> Callable[[str, int], None]:
    total, done = sum(len(source.files) for source in sources), 0

    def tell(name: str, more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(name, done, total)

    return tell


__all__ = ["IngestReport", "Progress", "ingest"]
