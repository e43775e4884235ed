"""TODO watch/deliver.py"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from costwhy.config import Channel, EmailChannel, OutputChannel, Watch, WebhookChannel
from costwhy.errors import CostwhyError
from costwhy.lake import checkpoint
from costwhy.lake.journal import Journal, time_of
from costwhy.watch.channels.send import send
from costwhy.watch.news import Event

FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=6)


@dataclass(frozen=True)
class Report:
    """What a watch did. told: sent now; waiting: to be sent later; faults: what went wrong on the way, the exit code follows the first.

    A fault that many messages met is one fault. pauses: why messages wait that were not tried now.
    """

    told: tuple[Event, ...]
    waiting: tuple[Event, ...]
    faults: tuple[CostwhyError, ...]
    pauses: tuple["Pause", ...] = ()


@dataclass(frozen=True)
class Pause:
    """What went wrong at the last attempt, and when the next one is due."""

    problem: str
    until: datetime


def deliver_events(
    journal: Journal,
    events: list[Event],
    channels: Watch,
    turn: tuple[datetime, Callable[[], None]],
) -> Report:
    """Send what is not sent yet, oldest first; behind what its channel did not take, a spike's later news wait."""
    names = frozenset(journal.names())
    told: list[Event] = []
    waiting: list[Event] = []
    faults: dict[str, CostwhyError] = {}
    pauses: dict[str, datetime] = {}
    for event in events:
        if f"{event.id}.sent" in names:
            continue
        tries = sum(name.startswith(f"{event.id}.sending-") for name in names)
        pause = _pause(journal, names, (event.id, tries), turn[0])
        if pause is not None:
            pauses[pause.problem] = min(pause.until, pauses.get(pause.problem, pause.until))
            waiting.append(event)
            continue
        if any(x.key == event.key for x in waiting):
            waiting.append(event)
            continue
        try:
            sent = _send(journal, _channel(channels, event), (event, tries + 1), turn)
        except CostwhyError as error:
            faults.setdefault(str(error), error)
            sent = False
        (told if sent else waiting).append(event)
    return Report(
        tuple(told),
        tuple(waiting),
        tuple(faults.values()),
        tuple(Pause(*pause) for pause in pauses.items()),
    )


def _pause(
    journal: Journal, names: frozenset[str], tried: tuple[str, int], now: datetime
) -> Pause | None:
    """The pause that it is now, after a failure: five minutes, twice as long each time, at most six hours. None: it is due."""
    event_id, tries = tried
    name = f"{event_id}.failed-{tries:04d}"
    if name not in names:
        return None
    failed, problem = journal.read_as(
        name, lambda document: (time_of(document["at"]), str(document["wrong"]))
    )
    until = failed + min(FIRST_WAIT * 2.0 ** min(tries - 1, 16), LONGEST_WAIT)
    return (
        Pause(problem, until) if failed <= now < until else None
    )  # a clock that was set back makes nobody wait for its return


def _send(
    journal: Journal,
    channel: Channel,
    what: tuple[Event, int],
    turn: tuple[datetime, Callable[[], None]],
) -> bool:
    """One attempt; false: another watcher is at it. Raises SendError, ConfigError, and what the channel's configuration deserves."""
    (event, attempt), (now, still_ours) = what, turn
    checkpoint.step("before sending")
    still_ours()
    if not journal.create(
        f"{event.id}.sending-{attempt:04d}", {"at": now.isoformat(), "channel": channel.name}
    ):
        return False
    checkpoint.step("after sending")
    message = event.message
    if attempt > 1 and not _is_known_by_id(channel):
        again = "This may have come before: an earlier attempt to send it did not end well."
        message = replace(message, lines=(*message.lines, again))
    try:
        send(channel, message)
    except CostwhyError as error:
        journal.create(
            f"{event.id}.failed-{attempt:04d}",
            {"at": now.isoformat(), "channel": channel.name, "wrong": error.problem},
        )
        raise
    checkpoint.step("before sent")
    journal.create(f"{event.id}.sent", {"at": now.isoformat(), "channel": channel.name})
    checkpoint.step("after sent")
    return True


def _channel(channels: Watch, event: Event) -> Channel:
    """The owner's own, the default one, or standard output."""
    team = None if event.by_default else event.message.owner_team
    return channels.channel_for(team) or OutputChannel(name="stdout")


def _is_known_by_id(channel: Channel) -> bool:
    """Whether the other side can tell by the message's id that it has it already."""
    return isinstance(
        channel, WebhookChannel | EmailChannel
    )  # a FIFO topic forgets after five minutes
