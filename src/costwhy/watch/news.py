"""What is new about a lake's spikes beyond what was sent, and the messages that say it."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple
from urllib.parse import quote

from costwhy.case.analysis import FoundSpike, LakeAnalysis, LakeReader, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import case_of
from costwhy.case.story import headline, sentences
from costwhy.feedback.known_spike import SpikeKey, keys_of_spikes
from costwhy.feedback.plans import plans_of
from costwhy.feedback.savings import Saving, savings
from costwhy.feedback.verdicts import ACCEPTING, Verdict, newest, verdicts_of
from costwhy.lake.journal import Journal, Record
from costwhy.text import clock, money
from costwhy.watch.channels.message import Message

GONE = timedelta(hours=24)  # so much newer data without the spike resolves it
EventKind = Literal["new", "grown", "ended", "resolved"]


@dataclass(frozen=True)
class Event(Record):
    """One piece of news about a spike, with its message.

    key         the spike's id in its first message: the id may move, but its news share this key
    step        the number of this event among the spike's events of its kind
    by_default  it goes to the default channel although a team owns the spike: the team said
                `not_ours`
    at          when it was found; as_of: how far the data went
    """

    key: str
    event: EventKind
    step: str
    spike: SpikeKey
    message: Message
    by_default: bool
    at: datetime
    as_of: datetime

    @property
    def id(self) -> str:
        """The message's id."""
        return self.message.id


class Happened(NamedTuple):
    """What happened to a spike since its last message, and the step of the event."""

    event: EventKind
    step: str


class Thread(NamedTuple):
    """A spike with the earlier events of its key, oldest first."""

    key: str
    spike: SpikeKey
    earlier: list[Event]

    def numbered(self, event: EventKind) -> Happened:
        """The next event of this kind."""
        number = 1 + sum(one.event == event and one.step.isdecimal() for one in self.earlier)
        return Happened(event, str(number))


def find_news(
    lake: LakeReader, earlier: Iterable[Event], url: str | None, now: datetime
) -> list[Event]:
    """What is new about a lake's spikes since the earlier events. url: where cases are served."""
    analysis = analyse(lake)
    by_key: dict[str, list[Event]] = {}
    for event in earlier:
        by_key.setdefault(event.key, []).append(event)
    threads = _threads(keys_of_spikes(analysis), by_key)
    verdicts, plans = verdicts_of(lake.place), plans_of(lake.place)
    writer = NewsWriter(analysis, url, now)
    news = []
    for found, thread in zip(analysis.found, threads, strict=True):
        verdict = newest(verdicts, thread.spike)
        happened = _happened(thread, verdict)
        if happened is None:
            continue
        if thread.earlier or not any(plan.covers(analysis, found.dollars) for plan in plans):
            news.append(writer.event(found, thread, happened, verdict))
    present = {thread.key for thread in threads}
    gone = [chain for key, chain in by_key.items() if key not in present]
    return news + _fixes(writer, threads) + _resolved(writer, gone, verdicts)


def _threads(spikes: list[SpikeKey], by_key: Mapping[str, list[Event]]) -> list[Thread]:
    """Each spike with its earlier events: those of its id, else those of the same spike."""
    keys = {one.spike.spike_id: key for key, chain in by_key.items() for one in chain}
    keys |= {key: key for key in by_key}
    taken = {keys[spike.spike_id] for spike in spikes if spike.spike_id in keys}
    threads = []
    for spike in spikes:
        key = keys.get(spike.spike_id)
        if key is None:
            same = (
                key
                for key, chain in by_key.items()
                if key not in taken and chain[-1].spike.is_same(spike)
            )
            key = next(same, spike.spike_id)
            taken.add(key)
        threads.append(Thread(key, spike, by_key.get(key, [])))
    return threads


def _happened(thread: Thread, verdict: Verdict | None) -> Happened | None:
    """None: nothing new, or its owner knows and accepts it."""
    spike, last = thread.spike, thread.earlier[-1] if thread.earlier else None
    said_since = verdict is not None and (last is None or last.at <= verdict.at)
    if verdict is not None and said_since and verdict.verdict in ACCEPTING:
        grown = spike.has_grown(verdict.spike)
        return thread.numbered("grown" if last else "new") if grown else None
    if last is None:
        return Happened("new", "1")
    is_not_ours = verdict is not None and verdict.verdict == "not_ours"
    if is_not_ours and not last.by_default and spike.running:
        return Happened("new", "not_ours")
    if last.spike.running and not spike.running:
        return thread.numbered("ended")
    if spike.running and (not last.spike.running or spike.has_grown(last.spike)):
        return thread.numbered("grown")
    return None


def _fixes(writer: "NewsWriter", threads: list[Thread]) -> list[Event]:
    """Fixes that are proven, and those that did not last: of each spike the longest look."""
    looks = (one for one in savings(writer.analysis.lake) if one.outcome != "inconclusive")
    longest = {one.spike_id: one for one in looks}
    news = []
    for found, thread in zip(writer.analysis.found, threads, strict=True):
        fix = longest.get(thread.spike.spike_id)
        if fix is None:
            continue
        step = f"fixed-{fix.verdict.at:%Y%m%dT%H%M%S}-{fix.days}"
        if all(one.step != step for one in thread.earlier):
            happened = Happened("resolved" if fix.outcome == "verified" else "grown", step)
            news.append(writer.event(found, thread, happened, fix.verdict, fix))
    return news


def _resolved(
    writer: "NewsWriter", gone: list[list[Event]], verdicts: list[Verdict]
) -> list[Event]:
    """Spikes last sent as running that a day of newer data does not show any more."""
    news = []
    for chain in gone:
        last = chain[-1]
        verdict = newest(verdicts, last.spike)
        is_accepted = verdict is not None and verdict.verdict in ACCEPTING
        is_recent = writer.analysis.observed.as_of < last.as_of + GONE
        if last.spike.running and not is_accepted and not is_recent:
            news.append(writer.resolved(Thread(last.key, last.spike, chain)))
    return news


@dataclass(frozen=True)
class NewsWriter:
    """Writes messages about the spikes of an analysis. url: where cases are served."""

    analysis: LakeAnalysis
    url: str | None
    now: datetime

    def event(
        self,
        found: FoundSpike,
        thread: Thread,
        happened: Happened,
        verdict: Verdict | None,
        fix: Saving | None = None,
    ) -> Event:
        """News of a spike that the analysis has."""
        case = case_of(self.analysis, *found)
        story = (sentence.text for sentence in sentences(case))
        owner, spike_id = case.who[0], thread.spike.spike_id
        message = Message(
            id=self._id(thread, happened),
            event=happened.event,
            spike_id=spike_id,
            title=f"{_word(thread, happened)}: {headline(case)}",
            lines=(*_beginning(case, thread, fix), *story, *_opinion(verdict)),
            dollars=round(case.total, 2),
            currency=case.currency,
            url=f"{self.url.rstrip('/')}/?case={quote(spike_id)}" if self.url else None,
            owner_team=owner["team"] if owner else None,
        )
        by_default = verdict is not None and verdict.verdict == "not_ours"
        return self._event(thread, happened, message, by_default=by_default)

    def resolved(self, thread: Thread) -> Event:
        """News of a spike that the analysis does not have any more."""
        last, happened = thread.earlier[-1], thread.numbered("resolved")
        message = replace(
            last.message,
            id=self._id(thread, happened),
            event="resolved",
            title=f"Resolved: no longer found. The last message was: {last.message.title}",
            lines=(
                (
                    "It was running at the last message. "
                    "The bill and the signals of the last day do not show it any more."
                ),
                "Either it stopped mattering, or the provider restated its bill.",
            ),
            dollars=0.0,
        )
        ended = thread._replace(spike=replace(thread.spike, running=False, per_hour=0.0))
        return self._event(ended, happened, message, by_default=last.by_default)

    def _event(
        self, thread: Thread, happened: Happened, message: Message, *, by_default: bool
    ) -> Event:
        """At this time, or right after the spike's last event where the clock was set back."""
        times = (one.at + timedelta(microseconds=1) for one in thread.earlier)
        at, as_of = max([self.now, *times]), self.analysis.observed.as_of
        return Event(
            thread.key, happened.event, happened.step, thread.spike, message, by_default, at, as_of
        )

    def _id(self, thread: Thread, happened: Happened) -> str:
        """The same for the same news, whoever finds it and how often."""
        parts = (self.analysis.lake.workspace, thread.key, happened.event, happened.step)
        digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
        return f"costwhy-{digest[:32]}"


def _word(thread: Thread, happened: Happened) -> str:
    if happened.event == "grown" and happened.step.startswith("fixed"):
        return "The fix did not hold"
    if happened.event == "grown" and thread.earlier and not thread.earlier[-1].spike.running:
        return "Running again"
    return {"new": "New", "grown": "Grown", "ended": "Ended", "resolved": "Fixed"}[happened.event]


def _beginning(case: Case, thread: Thread, fix: Saving | None) -> tuple[str, ...]:
    """What is new since the last message."""
    if fix is not None:
        saved, possible = money(fix.saved, case.currency), money(fix.possible, case.currency)
        return (
            (
                f"In the {fix.days} days since the fix of {clock(fix.start)} it saved {saved} of "
                f"{possible}, compared with the rates of the spike at the traffic of these days."
            ),
        )
    last = thread.earlier[-1] if thread.earlier else None
    if last is None or not thread.spike.running or not last.spike.per_hour:
        return ()
    now, before = (money(one.per_hour, case.currency) for one in (thread.spike, last.spike))
    return (
        (
            f"It cost {now} an hour over the last day. "
            f"It was {before} at the last message, {clock(last.at)}."
        ),
    )


def _opinion(verdict: Verdict | None) -> tuple[str, ...]:
    if verdict is None:
        return ()
    note = f": “{verdict.note}”" if verdict.note else ""
    kind = verdict.verdict.replace("_", " ")
    return (f"{verdict.who or 'Somebody'} said {kind} on {clock(verdict.at)}{note}.",)


def read_events(journal: Journal) -> list[Event]:
    """All events that were ever written down, oldest first, then the largest."""
    events = journal.all(Event, ".pending")
    return sorted(events, key=lambda one: (one.at, -abs(one.message.dollars), one.id))
