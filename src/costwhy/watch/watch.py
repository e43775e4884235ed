"""Watch: ingest, compare, notify. Each piece of news about a spike is sent once, to its owner.

What is to be sent is written down before, in documents of the lake's folder `watch/` that never
change. They are the state of a message:

    ID.pending        the message, whole; ID follows from the spike, the event, and its number
    ID.sending-0001   somebody begins to send it; only one process can create this document
    ID.failed-0001    the channel did not take it; it is tried again, later each time
    ID.sent           the channel took it

A watcher that is killed leaves one of these states, and the next one goes on from it:

    nothing       the news is found again, with the same ID
    pending       it is sent
    sending       nobody can know whether the channel took it: it is sent again under the same ID,
                  by which webhooks and mail programs recognise it; on other channels the message
                  says that it may have come before
    failed        it is sent again after a pause
    sent          nothing is left to do

See docs/watch.md.
"""

import logging
from dataclasses import replace
from datetime import UTC, datetime

from costwhy.case.analysis import LakeReader
from costwhy.config import Watch, Workspace
from costwhy.errors import CostwhyError
from costwhy.ingest.ingest import ingest
from costwhy.lake.journal import Journal
from costwhy.lake.lake import has_lake, open_lake
from costwhy.lake.lock import lock
from costwhy.watch.deliver import Delivery, Report
from costwhy.watch.news import find_news, read_events

FOLDER = "watch"
logger = logging.getLogger("costwhy.watch")


def watch(
    workspace: Workspace,
    *,
    url: str | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Report:
    """Ingest, compare and notify, once.

    url: address below which `costwhy serve` answers. dry_run: only compare; nothing is ingested,
    written or sent. Where a source cannot be reached, news of what the lake has are still sent.
    Raises LakeError where there is no lake, or where another costwhy is sending.
    """
    faults: list[CostwhyError] = []
    if not dry_run:
        try:
            done = ingest(workspace)
            logger.info("ingested: version %d, %d files read", done.version, done.read)
        except CostwhyError as error:
            logger.info("ingest failed: %s", error.problem)
            if not has_lake(workspace.lake_path):
                raise
            faults.append(error)
    lake, at = open_lake(workspace.lake_path), now or datetime.now(UTC)
    if dry_run:
        events = read_events(Journal(lake.place, FOLDER))
        return Report(sent=(), waiting=tuple(find_news(lake, events, url, at)))
    report = notify(lake, workspace.watch, url, at)
    return replace(report, faults=(*faults, *report.faults))


def notify(lake: LakeReader, channels: Watch, url: str | None, now: datetime) -> Report:
    """Find what is new, write it down, and send what is not sent yet."""
    with lock(f"{lake.place}/{FOLDER}") as check_lock:
        journal = Journal(lake.place, FOLDER)
        journal.clear_drafts()
        events = read_events(journal)
        for event in find_news(lake, events, url, now):
            check_lock()
            if journal.create(f"{event.id}.pending", event):
                events.append(event)
        return Delivery(journal, channels, now, check_lock).send_all(events)
