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

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from costwhy.accounts import Account
from costwhy.case import Case, Lake, Study, case_of, study
from costwhy.config import Channel, EmailChannel, OutputChannel, Watch, WebhookChannel, Workspace
from costwhy.errors import CostwhyError
from costwhy.ingest import ingest
from costwhy.journal import Journal, time_of
from costwhy.lake import alone, has_lake, open_lake
from costwhy.savings import Saving, savings
from costwhy.senders import Message, send
from costwhy.story import clock, headline, money, tell
from costwhy.verdicts import QUIET, Plan, Said, Seen, all_seen, history, newest, plans, read_seen

FOLDER = "watch"
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=5), timedelta(hours=6)
GONE = timedelta(hours=24)  # of new data without a spike that was told: it is resolved
Happening = Literal["new", "grown", "ended", "resolved"]


@dataclass(frozen=True)
class Event:
    """One piece of news about a spike, as it is told.

    key         the spike's id when it was first told: its id may move, its news belong together
    step        the how-manieth of its kind
    by_default  whether it goes to the default channel although a team owns it: the team said that it is not theirs
    """

    key: str
    event: Happening
    step: str
    spike: Seen
    message: Message
    by_default: bool
    at: datetime
    as_of: datetime

    @property
    def id(self) -> str:
        """The message's id."""
        return self.message.id


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

    wrong: str
    until: datetime


def watch(workspace: Workspace, *, url: str | None = None, dry_run: bool = False, now: datetime | None = None) -> Report:
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
        return Report((), tuple(look(lake, _events(Journal(lake.place, FOLDER)), url, at)), ())
    told = tell_all(lake, workspace.watch, url, at)
    return replace(told, faults=(*faults, *told.faults))


def tell_all(lake: Lake, channels: Watch, url: str | None, now: datetime) -> Report:
    """Look, write down what is news, and send what is not sent yet."""
    with alone(lake.place, FOLDER) as still_ours:
        journal = Journal(lake.place, FOLDER)
        journal.clear_drafts()
        events = _events(journal)
        for event in look(lake, events, url, now):
            _step("before pending")
            still_ours()
            if journal.create(f"{event.id}.pending", _document(event)):
                events.append(event)
            _step("after pending")
        return _deliver(journal, events, channels, (now, still_ours))


# ---------------------------------------------------------------- look


def look(lake: Lake, told: Iterable[Event], url: str | None, now: datetime) -> list[Event]:
    """What is news of a lake's spikes, beyond what was told."""
    s = study(lake)
    chains: dict[str, list[Event]] = {}
    for event in told:
        chains.setdefault(event.key, []).append(event)
    keys = _keys(all_seen(s), chains)
    verdicts, registered = history(lake.place), plans(lake.place)
    desk = _Desk(s, url, now)
    out = []
    for (a, row), (spike, key) in zip(s.found, keys, strict=True):
        chain, verdict = chains.get(key, []), newest(verdicts, spike)
        happened = _happened(spike, chain, verdict)
        if happened is not None and not (_is_planned(registered, s, a) and not chain):
            out.append(desk.event((a, row), (spike, key), chain, happened, verdict))
    return out + _fixes(desk, lake, keys, chains) + _gone(desk, {key for _, key in keys}, chains, verdicts)


def _keys(spikes: list[Seen], chains: Mapping[str, list[Event]]) -> list[tuple[Seen, str]]:
    """Each spike with the key of its former news: those of its id first, then those of its like; its own id where there are none."""
    ids = {x.spike.spike_id: key for key, chain in chains.items() for x in chain} | {key: key for key in chains}
    taken = {ids[x.spike_id] for x in spikes if x.spike_id in ids}
    out = []
    for spike in spikes:
        key = ids.get(spike.spike_id)
        if key is None:
            like = (k for k, chain in chains.items() if k not in taken and chain[-1].spike.is_same(spike))
            key = next(like, spike.spike_id)
            taken.add(key)
        out.append((spike, key))
    return out


def _is_planned(registered: list[Plan], s: Study, a: Account) -> bool:
    return any(x.covers(s, a, s.observed.as_of) for x in registered)


def _happened(spike: Seen, chain: list[Event], verdict: Said | None) -> tuple[Happening, str] | None:
    """What happened to a spike since it was last told, and the step; None: nothing, or its owner knows and accepts it."""
    last = chain[-1] if chain else None
    if verdict is not None and verdict.verdict in QUIET and (last is None or last.at <= verdict.at):
        grown = spike.has_grown(verdict.spike)
        return (_numbered("grown" if chain else "new", chain)) if grown else None
    if last is None:
        return "new", "1"
    if verdict is not None and verdict.verdict == "not_ours" and not last.by_default and spike.running:
        return "new", "not_ours"
    if last.spike.running and not spike.running:
        return _numbered("ended", chain)
    if spike.running and (not last.spike.running or spike.has_grown(last.spike)):
        return _numbered("grown", chain)
    return None


def _numbered(happening: Happening, chain: list[Event]) -> tuple[Happening, str]:
    return happening, str(1 + sum(x.event == happening and x.step.isdecimal() for x in chain))


def _fixes(desk: "_Desk", lake: Lake, keys: list[tuple[Seen, str]], chains: Mapping[str, list[Event]]) -> list[Event]:
    """Fixes that are proven, and those that did not hold: for each spike the longest look that is due."""
    longest = {x.spike_id: x for x in savings(lake) if x.outcome != "inconclusive"}
    out = []
    for (a, row), (spike, key) in zip(desk.study.found, keys, strict=True):
        fix = longest.get(spike.spike_id)
        step = f"fixed-{fix.said.at:%Y%m%dT%H%M%S}-{fix.days}" if fix is not None else ""
        if fix is not None and all(x.step != step for x in chains.get(key, [])):
            happening: Happening = "resolved" if fix.outcome == "verified" else "grown"
            out.append(desk.event((a, row), (spike, key), chains.get(key, []), (happening, step), fix.said, fix))
    return out


def _gone(desk: "_Desk", present: set[str], chains: Mapping[str, list[Event]], verdicts: list[Said]) -> list[Event]:
    """Spikes that were told as running and that a day of newer data does not show any more."""
    out = []
    for key, chain in chains.items():
        last = chain[-1]
        verdict = newest(verdicts, last.spike)
        quiet = verdict is not None and verdict.verdict in QUIET
        if key in present or quiet or not last.spike.running or desk.study.observed.as_of < last.as_of + GONE:
            continue
        out.append(desk.gone(last, _numbered("resolved", chain)[1]))
    return out


# ---------------------------------------------------------------- what is said


@dataclass(frozen=True)
class _Desk:
    """Where messages are written: the study, the address that cases have, and the time."""

    study: Study
    url: str | None
    now: datetime

    def event(
        self,
        found: tuple[Account, dict[str, object]],
        spike: tuple[Seen, str],
        chain: list[Event],
        happened: tuple[Happening, str],
        verdict: Said | None,
        fix: Saving | None = None,
    ) -> Event:
        """News of a spike that the study shows."""
        seen, key = spike
        happening, step = happened
        case = case_of(self.study, *found)
        lines = (*_beginning(case, seen, chain, fix), *(x.text for x in tell(case)), *_opinion(verdict))
        owner = case.who[0]
        team = owner["team"] if owner else None
        title = f"{_word(happening, step, chain)}: {headline(case)}"
        message = self._message(
            key, happening, step, Message("-", happening, seen.spike_id, title, lines, round(case.total, 2), case.currency)
        )
        by_default = verdict is not None and verdict.verdict == "not_ours"
        message = replace(message, owner_team=team, url=self._address(seen.spike_id))
        return Event(key, happening, step, seen, message, by_default, self._after(chain), self.study.observed.as_of)

    def gone(self, last: Event, step: str) -> Event:
        """News of one that it does not show any more."""
        lines = (
            "It was told as running, and the bill and the signals of the last day do not show it any more.",
            "Either it stopped mattering, or the provider restated its bill.",
        )
        title = f"Resolved: no longer seen. It was told as {last.message.title}"
        message = replace(last.message, event="resolved", title=title, lines=lines, dollars=0.0)
        message = self._message(last.key, "resolved", step, message)
        spike = replace(last.spike, running=False, per_hour=0.0)
        return Event(last.key, "resolved", step, spike, message, last.by_default, self._after([last]), self.study.observed.as_of)

    def _after(self, chain: list[Event]) -> datetime:
        """Now, but never before the last news of the spike: a clock that was set back must not turn their order."""
        return max([self.now, *(x.at + timedelta(microseconds=1) for x in chain)])

    def _message(self, key: str, happening: Happening, step: str, message: Message) -> Message:
        """With the id that this news has, whoever writes it and how often."""
        whole = f"{self.study.lake.workspace}\0{key}\0{happening}\0{step}"
        return replace(message, id=f"costwhy-{hashlib.sha256(whole.encode()).hexdigest()[:32]}")

    def _address(self, spike_id: str) -> str | None:
        return None if self.url is None else f"{self.url.rstrip('/')}/?case={quote(spike_id)}"


def _word(happening: Happening, step: str, chain: list[Event]) -> str:
    if happening == "grown" and step.startswith("fixed"):
        return "The fix did not hold"
    if happening == "grown" and chain and not chain[-1].spike.running:
        return "Running again"
    return {"new": "New", "grown": "Grown", "ended": "Ended", "resolved": "Fixed"}[happening]


def _beginning(case: Case, spike: Seen, chain: list[Event], fix: Saving | None) -> tuple[str, ...]:
    """What is new since the last message."""
    if fix is not None:
        saved, possible = money(fix.saved, case.currency), money(fix.possible, case.currency)
        days = f"In the {fix.days} days since the fix of {clock(fix.start)}"
        return (f"{days} it saved {saved} of {possible}, measured against these days' own traffic with the rates of the spike.",)
    if not spike.running or not chain or not chain[-1].spike.per_hour:
        return ()
    now, before = (money(x.per_hour, case.currency) for x in (spike, chain[-1].spike))
    return (f"It cost {now} an hour over the last day. It was {before} when this was last told, {clock(chain[-1].at)}.",)


def _opinion(verdict: Said | None) -> tuple[str, ...]:
    if verdict is None:
        return ()
    note = f": “{verdict.note}”" if verdict.note else ""
    return (f"{verdict.who or 'Somebody'} said {verdict.verdict.replace('_', ' ')} on {clock(verdict.at)}{note}.",)


# ---------------------------------------------------------------- tell


def _deliver(journal: Journal, events: list[Event], channels: Watch, turn: tuple[datetime, Callable[[], None]]) -> Report:
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
            pauses[pause.wrong] = min(pause.until, pauses.get(pause.wrong, pause.until))
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
    return Report(tuple(told), tuple(waiting), tuple(faults.values()), tuple(Pause(*pause) for pause in pauses.items()))


def _pause(journal: Journal, names: frozenset[str], tried: tuple[str, int], now: datetime) -> Pause | None:
    """The pause that it is now, after a failure: five minutes, twice as long each time, at most six hours. None: it is due."""
    event_id, tries = tried
    name = f"{event_id}.failed-{tries:04d}"
    if name not in names:
        return None
    failed, wrong = journal.read_as(name, lambda document: (time_of(document["at"]), str(document["wrong"])))
    until = failed + min(FIRST_WAIT * 2.0 ** min(tries - 1, 16), LONGEST_WAIT)
    return Pause(wrong, until) if failed <= now < until else None  # a clock that was set back makes nobody wait for its return


def _send(journal: Journal, channel: Channel, what: tuple[Event, int], turn: tuple[datetime, Callable[[], None]]) -> bool:
    """One attempt; false: another watcher is at it. Raises SendError, ConfigError, and what the channel's configuration deserves."""
    (event, attempt), (now, still_ours) = what, turn
    _step("before sending")
    still_ours()
    if not journal.create(f"{event.id}.sending-{attempt:04d}", {"at": now.isoformat(), "channel": channel.name}):
        return False
    _step("after sending")
    message = event.message
    if attempt > 1 and not _is_known_by_id(channel):
        again = "This may have come before: an earlier attempt to send it did not end well."
        message = replace(message, lines=(*message.lines, again))
    try:
        send(channel, message)
    except CostwhyError as error:
        journal.create(f"{event.id}.failed-{attempt:04d}", {"at": now.isoformat(), "channel": channel.name, "wrong": error.wrong})
        raise
    _step("before sent")
    journal.create(f"{event.id}.sent", {"at": now.isoformat(), "channel": channel.name})
    _step("after sent")
    return True


def _channel(channels: Watch, event: Event) -> Channel:
    """The owner's own, the default one, or standard output."""
    team = None if event.by_default else event.message.owner_team
    return channels.channel_for(team) or OutputChannel(name="stdout")


def _is_known_by_id(channel: Channel) -> bool:
    """Whether the other side can tell by the message's id that it has it already."""
    return isinstance(channel, WebhookChannel | EmailChannel)  # a FIFO topic forgets after five minutes


# ---------------------------------------------------------------- documents


def _events(journal: Journal) -> list[Event]:
    """All news that were ever written down, oldest first, then the largest."""
    return sorted(journal.all(_read, ".pending"), key=lambda x: (x.at, -abs(x.message.dollars), x.id))


def _document(event: Event) -> dict[str, object]:
    return {
        "costwhy": 1,
        "key": event.key,
        "event": event.event,
        "step": event.step,
        "spike": event.spike.document(),
        "message": msgspec.to_builtins(event.message),
        "by_default": event.by_default,
        "at": event.at.isoformat(),
        "as_of": event.as_of.isoformat(),
    }


def _read(document: Mapping[str, Any]) -> Event:
    times = (time_of(document[name]) for name in ("at", "as_of"))
    message = msgspec.convert(document["message"], Message)
    spike = read_seen(document["spike"])
    return Event(document["key"], document["event"], document["step"], spike, message, document["by_default"], *times)


def _step(_name: str) -> None:
    """A point at which the tests of watching kill the watcher; otherwise nothing."""


__all__ = ["Event", "Report", "look", "tell_all", "watch"]
