"""Every source of a workspace into its lake, as one new version; what has not changed is not read again.

A *part* is what is read together: the billing files of one period, one file of changes, all signals, one catalogue. A
*delivery* is what is replaced whole. Of most parts that is the part itself; of signals each day, and of billing files
without a period in their path each period that their rows name: what has vanished from the folder stays in the lake.

    focus:billing:2026-10            a period          cloudtrail:cloudtrail/AWSLogs/.../x.json.gz   a file of changes
    signals:signals:2026-10-14       a day             backstage:catalog                             a catalogue
    prometheus:mimir:9009:2026-10-14 a day             xray:api:eu-west-1:2026-10-14                 a day of a source that is asked

Files on S3 are mirrored beside the lake and read from there; they keep their addresses as names. A source that cannot be
reached is a message, its deliveries stay; it is an error where nothing else could be read.

A live source has no parts: it is asked for the days that the lake does not hold, and again for the newest two.
A part with a file that cannot be read keeps what it delivered before: half a month would be wrong money.
"""

import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from costwhy.config import Workspace
from costwhy.errors import ConfigError
from costwhy.ingest.batch import Batch, IngestReport, Progress, Source
from costwhy.ingest.find import find_sources
from costwhy.ingest.read_files import read_source
from costwhy.ingest.read_live import ask_source, read_prometheus
from costwhy.ingest.write import leave_out, write_batch
from costwhy.lake.lake import has_lake, open_lake


def ingest(workspace: Workspace, progress: Progress | None = None, now: datetime | None = None) -> IngestReport:
    """Read every source into the lake. Safe to run again: the same input changes nothing.

    now: up to when sources are asked that are no files (default: the present)

    Raises ConfigError where a source's path is wrong, InputError where a format is not built, SourceError where nothing
    of a source could be read, UnreachableError where no source could be reached, LakeError where somebody else is
    writing; the lake is then as before.
    """
    sources = find_sources(workspace, progress)
    known = _known(workspace)
    with tempfile.TemporaryDirectory(prefix="costwhy-") as spool:
        batch = Batch(workspace, known, Path(spool), _teller(sources, progress))
        for source in sources:
            batch.messages += source.notes
            if source.fault:
                batch.miss(source.key, source.fault)
            elif source.asked:
                ask_source(source, source.asked, now or datetime.now(UTC), batch)
            elif source.form == "prometheus":
                read_prometheus(source, batch)
            else:
                read_source(source, batch)
                batch.reached = True
        if batch.unreached and not batch.reached:
            raise batch.unreached[0]
        leave_out(sources, batch)
        return write_batch(sources, batch)


def _known(workspace: Workspace) -> dict[str, str]:
    """The deliveries that the lake holds, with their digests."""
    if not has_lake(workspace.lake_path):
        return {}
    lake = open_lake(workspace.lake_path)
    if lake.currency != workspace.currency:
        wrong = f"`workspace.currency` is {workspace.currency}, the lake is in {lake.currency}"
        todo = "give the workspace another lake, or its former currency"
        raise ConfigError(wrong, found=lake.place, todo=todo)
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
