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
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from costwhy.case.analysis import LakeReader
from costwhy.config import EmailChannel, OutputChannel, Watch, WebhookChannel, Workspace
from costwhy.errors import CostwhyError
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import has_lake, open_lake
from costwhy.lake.lock import lock
from costwhy.lake.store import Journal, Record
from costwhy.watch.channels import send
from costwhy.watch.news import Event, find_news, read_events

FOLDER = "watch"
logger = logging.getLogger("costwhy.watch")


@dataclass(frozen=True)
class Attempt(Record):
    """An attempt to send a message. problem: why it failed."""

    at: datetime
    channel: str
    problem: str = ""


@dataclass(frozen=True)
class Pause:
    """What went wrong at the last attempt, and when the next one is due."""

    problem: str
    until: datetime


@dataclass(frozen=True)
class Report:
    """What a watch did.

    sent     now
    waiting  to be sent later
    faults   what went wrong, the same fault once; the exit code follows the first
    pauses   why messages wait that were not tried now
    """

    sent: tuple[Event, ...]
    waiting: tuple[Event, ...]
    faults: tuple[CostwhyError, ...] = ()
    pauses: tuple[Pause, ...] = ()


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
        return Report(
            sent=(),
            waiting=tuple(find_news(lake, read_events(Journal(lake.place, FOLDER)), url, at)),
        )
    report = notify(lake, workspace.watch, url, at)
    return replace(report, faults=(*faults, *report.faults))


def notify(lake: LakeReader, channels: Watch, url: str | None, now: datetime) -> Report:
    """Find what is new, write it down, and send what is not sent yet."""
    journal = Journal(lake.place, FOLDER)
    with lock(f"{lake.place}/{FOLDER}") as check_lock:
        events = read_events(journal)
        for event in find_news(lake, events, url, now):
            check_lock()
            if journal.create(f"{event.id}.pending", event):
                events.append(event)
        return Delivery(journal, channels, now, check_lock).send_all(events)


@dataclass(frozen=True)
class Delivery:
    """Sends messages. check_lock: raises LakeError where another costwhy took over."""

    journal: Journal
    channels: Watch
    now: datetime
    check_lock: Callable[[], None]

    def send_all(self, events: list[Event]) -> Report:
        """Send what is not sent yet, oldest first.

        Behind a message that waits, later news of the same spike wait as well.
        """
        names = frozenset(self.journal.names())
        sent, waiting = list[Event](), list[Event]()
        faults, pauses = dict[str, CostwhyError](), dict[str, Pause]()
        for event in events:
            if f"{event.id}.sent" in names:
                continue
            tries = sum(name.startswith(f"{event.id}.sending-") for name in names)
            pause = self._pause(event, tries, names)
            if pause is not None:
                pauses[pause.problem] = min(
                    pause, pauses.get(pause.problem, pause), key=lambda one: one.until
                )
            is_sent = False
            if pause is None and all(one.key != event.key for one in waiting):
                try:
                    is_sent = self._send(event, tries + 1)
                except CostwhyError as error:
                    faults.setdefault(str(error), error)
            (sent if is_sent else waiting).append(event)
        return Report(tuple(sent), tuple(waiting), tuple(faults.values()), tuple(pauses.values()))

    def _pause(self, event: Event, tries: int, names: frozenset[str]) -> Pause | None:
        """The pause after a failure: five minutes, doubled each time, at most six hours.

        None: an attempt is due. A clock that was set back makes nobody wait.
        """
        name = f"{event.id}.failed-{tries:04d}"
        if name not in names:
            return None
        failed = self.journal.read(name, Attempt)
        until = failed.at + min(
            timedelta(minutes=5) * 2.0 ** min(tries - 1, 16), timedelta(hours=6)
        )
        return Pause(failed.problem, until) if failed.at <= self.now < until else None

    def _send(self, event: Event, number: int) -> bool:
        """One attempt; false: another watcher is at it. Raises SendError, ConfigError.

        It goes to the owner's own channel, the default one, or standard output.
        """
        team = None if event.by_default else event.message.owner_team
        channel = self.channels.channel_for(team) or OutputChannel(name="stdout")
        attempt, message = Attempt(self.now, channel.name), event.message
        self.check_lock()
        if not self.journal.create(f"{event.id}.sending-{number:04d}", attempt):
            return False
        if number > 1 and not isinstance(channel, WebhookChannel | EmailChannel):
            # these two recognise the message by its id; a FIFO topic forgets after five minutes
            message = replace(
                message,
                lines=(
                    *message.lines,
                    "This may have come before: an earlier attempt to send it did not end well.",
                ),
            )
        try:
            send(channel, message)
        except CostwhyError as error:
            logger.info("%s: %s to %s failed", event.id, event.event, channel.name)
            self.journal.create(
                f"{event.id}.failed-{number:04d}", replace(attempt, problem=error.problem)
            )
            raise
        logger.info("%s: %s sent to %s", event.id, event.event, channel.name)
        self.journal.create(f"{event.id}.sent", attempt)
        return True
