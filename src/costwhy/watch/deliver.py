"""Send what is not sent yet, and retry what a channel did not take, later each time."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from costwhy.config import Channel, EmailChannel, OutputChannel, Watch, WebhookChannel
from costwhy.errors import CostwhyError
from costwhy.lake.journal import Journal, Record
from costwhy.watch.channels.send import send
from costwhy.watch.news import Event

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(hours=6)
logger = logging.getLogger("costwhy.watch")
logger.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Attempt(Record):
    """An attempt to send a message. wrong: the problem of one that failed."""

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
        sent: list[Event] = []
        waiting: list[Event] = []
        faults: dict[str, CostwhyError] = {}
        pauses: dict[str, Pause] = {}
        for event in events:
            if f"{event.id}.sent" in names:
                continue
            tries = sum(name.startswith(f"{event.id}.sending-") for name in names)
            pause = self._pause(event, tries, names)
            if pause is not None:
                same = pauses.get(pause.problem, pause)
                pauses[pause.problem] = min(pause, same, key=lambda one: one.until)
            if pause is not None or any(one.key == event.key for one in waiting):
                waiting.append(event)
                continue
            try:
                is_sent = self._send(event, tries + 1)
            except CostwhyError as error:
                is_sent = False
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
        until = failed.at + min(FIRST_PAUSE * 2.0 ** min(tries - 1, 16), LONGEST_PAUSE)
        return Pause(failed.problem, until) if failed.at <= self.now < until else None

    def _send(self, event: Event, number: int) -> bool:
        """One attempt; false: another watcher is at it. Raises SendError, ConfigError."""
        channel = self._channel(event)
        attempt = Attempt(self.now, channel.name)
        self.check_lock()
        if not self.journal.create(f"{event.id}.sending-{number:04d}", attempt):
            return False
        message = event.message
        if number > 1 and not isinstance(channel, WebhookChannel | EmailChannel):
            # these two recognise the message by its id; a FIFO topic forgets after five minutes
            again = "This may have come before: an earlier attempt to send it did not end well."
            message = replace(message, lines=(*message.lines, again))
        try:
            send(channel, message)
        except CostwhyError as error:
            logger.info("%s: %s to %s failed", event.id, event.event, channel.name)
            failed = replace(attempt, problem=error.problem)
            self.journal.create(f"{event.id}.failed-{number:04d}", failed)
            raise
        logger.info("%s: %s sent to %s", event.id, event.event, channel.name)
        self.journal.create(f"{event.id}.sent", attempt)
        return True

    def _channel(self, event: Event) -> Channel:
        """The owner's own, the default one, or standard output."""
        team = None if event.by_default else event.message.owner_team
        return self.channels.channel_for(team) or OutputChannel(name="stdout")
