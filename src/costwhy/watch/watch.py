"""Watch: pull, look, tell. Each piece of news about a spike is told once, to the team that owns it.

What is to be told is written down before it is told, in documents of the lake's folder `watch/` that never change:

    ID.pending        the message, whole; ID follows from the spike, what happened, and the how-manieth time
    ID.sending-0001   somebody begins to send it; only one can create this document
    ID.failed-0001    the channel did not take it; it is tried again, later each time
    ID.sent           the channel took it

Who is killed anywhere leaves one of these states, and the next watcher goes on from it. Between `sending` and `sent` nobody
can know whether the channel took the message: it is sent again under the same id, by which webhooks and mail programs know
it; where nobody does (Slack), it says that it may have come before. docs/watch.md.
"""

from dataclasses import replace
from datetime import UTC, datetime

from costwhy.case.analysis import Lake
from costwhy.config import Watch, Workspace
from costwhy.errors import CostwhyError
from costwhy.ingest.ingest import ingest
from costwhy.lake import checkpoint
from costwhy.lake.journal import Journal
from costwhy.lake.lake import has_lake, open_lake
from costwhy.lake.lock import alone
from costwhy.watch.deliver import Report, deliver_events
from costwhy.watch.news import Event, event_document, look, read_events

FOLDER = "watch"


def watch(
    workspace: Workspace,
    *,
    url: str | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Report:
    """Pull, look, tell, once. url: address below which `costwhy serve` answers. dry_run: only look; nothing is pulled, written or sent.

    A source that cannot be reached hinders nobody from being told what the lake knows. Raises LakeError where there is no
    lake, or where another costwhy is telling.
    """
    faults: list[CostwhyError] = []
    if not dry_run:
        try:
            ingest(workspace)
        except CostwhyError as error:
            if not has_lake(workspace.lake_path):
                raise
            faults.append(error)
    lake, at = open_lake(workspace.lake_path), now or datetime.now(UTC)
    if dry_run:
        return Report((), tuple(look(lake, read_events(Journal(lake.place, FOLDER)), url, at)), ())
    told = tell_all(lake, workspace.watch, url, at)
    return replace(told, faults=(*faults, *told.faults))


def tell_all(lake: Lake, channels: Watch, url: str | None, now: datetime) -> Report:
    """Look, write down what is news, and send what is not sent yet."""
    with alone(lake.place, FOLDER) as still_ours:
        journal = Journal(lake.place, FOLDER)
        journal.clear_drafts()
        events = read_events(journal)
        for event in look(lake, events, url, now):
            checkpoint.step("before pending")
            still_ours()
            if journal.create(f"{event.id}.pending", event_document(event)):
                events.append(event)
            checkpoint.step("after pending")
        return deliver_events(journal, events, channels, (now, still_ours))


__all__ = ["Event", "Report", "look", "tell_all", "watch"]
