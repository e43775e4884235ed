"""What is new about a lake's spikes since the last messages, and the messages about it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import quote

from costwhy.case.analysis import FoundSpike, LakeAnalysis, LakeReader, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import case_of
from costwhy.case.story import headline, sentences
from costwhy.feedback.savings import Saving, savings
from costwhy.feedback.verdicts import (
    ACCEPTING,
    SpikeKey,
    Verdict,
    key_of_spike,
    newest,
    plans_of,
    verdicts_of,
)
from costwhy.lake.store import Journal, Record
from costwhy.text import clock, money
from costwhy.watch.channels import EventKind, Message


@dataclass(frozen=True)
class Event(Record):
    """One piece of news about a spike, with its message.

    key         the spike's id in its first message: the id may move, but its news share this key
    step        the number of this event among the spike's events of its kind, or why it happened
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
        return self.message.id


@dataclass(frozen=True)
class Thread:
    """A spike with the earlier events of its key, oldest first, and its newest verdict."""

    key: str
    spike: SpikeKey
    earlier: list[Event]
    verdict: Verdict | None

    @property
    def last(self) -> Event | None:
        return self.earlier[-1] if self.earlier else None

    @property
    def is_accepted(self) -> bool:
        """Its owner knows it and wants no more messages."""
        return self.verdict is not None and self.verdict.verdict in ACCEPTING

    @property
    def is_not_ours(self) -> bool:
        return self.verdict is not None and self.verdict.verdict == "not_ours"

    def news(self) -> EventKind | None:
        """What happened since the last message; None: nothing that its owner has to know."""
        spike, last, verdict = self.spike, self.last, self.verdict
        if verdict and self.is_accepted and (last is None or last.at <= verdict.at):
            grown: EventKind = "grown" if last else "new"
            return grown if spike.has_grown(verdict.spike) else None
        if last is None or (self.is_not_ours and not last.by_default and spike.running):
            return "new"
        if last.spike.running and not spike.running:
            return "ended"
        is_back = spike.running and not last.spike.running
        return "grown" if is_back or (spike.running and spike.has_grown(last.spike)) else None

    def step(self, event: EventKind, fix: Saving | None = None) -> str:
        if fix is not None:
            return f"fixed-{fix.verdict.at:%Y%m%dT%H%M%S}-{fix.days}"
        if event == "new" and self.earlier:  # it is new for the default channel only
            return "not_ours"
        return str(1 + sum(one.event == event and one.step.isdecimal() for one in self.earlier))


def find_news(
    lake: LakeReader, earlier: Iterable[Event], url: str | None, now: datetime
) -> list[Event]:
    """What is new about a lake's spikes since the earlier events. url: where cases are served."""
    analysis, verdicts, plans = analyse(lake), verdicts_of(lake.place), plans_of(lake.place)
    by_key: dict[str, list[Event]] = {}
    for one in earlier:
        by_key.setdefault(one.key, []).append(one)
    threads = list(
        _threads([key_of_spike(analysis, found) for found in analysis.found], by_key, verdicts)
    )
    writer = NewsWriter(analysis, url, now)
    news = []
    for found, thread in zip(analysis.found, threads, strict=True):
        event = thread.news()
        if event and (thread.earlier or not any(p.covers(analysis, found.dollars) for p in plans)):
            news.append(writer.event(found, thread, event))
    # fixes that are proven, and those that did not last: of each spike the longest look
    fixes = {one.spike_id: one for one in savings(lake) if one.outcome != "inconclusive"}
    for found, thread in zip(analysis.found, threads, strict=True):
        fix = fixes.get(thread.spike.spike_id)
        if fix and all(one.step != thread.step("resolved", fix) for one in thread.earlier):
            event = "resolved" if fix.outcome == "verified" else "grown"
            news.append(writer.event(found, thread, event, fix))
    for key, chain in by_key.items():
        last = chain[-1]
        thread = Thread(key, last.spike, chain, newest(verdicts, last.spike))
        # a day of newer data without the spike resolves it
        is_gone = all(
            one.key != key for one in threads
        ) and analysis.observed.as_of >= last.as_of + timedelta(days=1)
        if is_gone and last.spike.running and not thread.is_accepted:
            news.append(writer.resolved(thread, last))
    return news


def _threads(
    spikes: list[SpikeKey], by_key: Mapping[str, list[Event]], verdicts: list[Verdict]
) -> Iterator[Thread]:
    """Each spike with its earlier events: those of its id, else those of the same spike."""
    keys = {one.spike.spike_id: key for key, chain in by_key.items() for one in chain}
    keys |= {key: key for key in by_key}
    taken = {keys[spike.spike_id] for spike in spikes if spike.spike_id in keys}
    for spike in spikes:
        same = (
            key
            for key, chain in by_key.items()
            if key not in taken and chain[-1].spike.is_same(spike)
        )
        key = keys.get(spike.spike_id) or next(same, spike.spike_id)
        taken.add(key)
        yield Thread(key, spike, by_key.get(key, []), newest(verdicts, spike))


@dataclass(frozen=True)
class NewsWriter:
    """Writes messages about the spikes of an analysis. url: where cases are served."""

    analysis: LakeAnalysis
    url: str | None
    now: datetime

    def event(
        self, found: FoundSpike, thread: Thread, event: EventKind, fix: Saving | None = None
    ) -> Event:
        """News of a spike that the analysis has. fix: the news is what came of it."""
        case, step = case_of(self.analysis, *found), thread.step(event, fix)
        spike_id, story = thread.spike.spike_id, (sentence.text for sentence in sentences(case))
        message = Message(
            id=self._id(thread, event, step),
            event=event,
            spike_id=spike_id,
            title=f"{_word(thread, event, fix)}: {headline(case)}",
            lines=tuple(
                line
                for line in (_since_last(case, thread, fix), *story, _opinion(thread.verdict))
                if line
            ),
            dollars=round(case.total, 2),
            currency=case.currency,
            url=f"{self.url.rstrip('/')}/?case={quote(spike_id)}" if self.url else None,
            owner_team=case.who.get("owner", {}).get("team"),
        )
        return self._event(thread, step, message, by_default=thread.is_not_ours)

    def resolved(self, thread: Thread, last: Event) -> Event:
        """News of a spike that the analysis does not have any more."""
        step = thread.step("resolved")
        message = replace(
            last.message,
            id=self._id(thread, "resolved", step),
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
        return self._event(
            replace(thread, spike=replace(thread.spike, running=False, per_hour=0.0)),
            step,
            message,
            by_default=last.by_default,
        )

    def _event(self, thread: Thread, step: str, message: Message, *, by_default: bool) -> Event:
        """At this time, or right after the spike's last event where the clock was set back."""
        return Event(
            key=thread.key,
            event=message.event,
            step=step,
            spike=thread.spike,
            message=message,
            by_default=by_default,
            at=max([self.now, *(one.at + timedelta(microseconds=1) for one in thread.earlier)]),
            as_of=self.analysis.observed.as_of,
        )

    def _id(self, thread: Thread, event: EventKind, step: str) -> str:
        """The same for the same news, whoever finds it and how often."""
        name = f"{self.analysis.lake.workspace}\0{thread.key}\0{event}\0{step}"
        return f"costwhy-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def _word(thread: Thread, event: EventKind, fix: Saving | None) -> str:
    if fix is not None:
        return "Fixed" if event == "resolved" else "The fix did not hold"
    is_back = event == "grown" and thread.last and not thread.last.spike.running
    return "Running again" if is_back else event.capitalize()


def _since_last(case: Case, thread: Thread, fix: Saving | None) -> str:
    """What is new since the last message; empty where the rest says it."""
    last = thread.last
    if fix is not None:
        return (
            f"In the {fix.days} days since the fix of {clock(fix.start)} it saved "
            f"{money(fix.saved, case.currency)} of {money(fix.possible, case.currency)}, "
            "compared with the rates of the spike at the traffic of these days."
        )
    if last is None or not thread.spike.running or not last.spike.per_hour:
        return ""
    now, before = (money(one.per_hour, case.currency) for one in (thread.spike, last.spike))
    return (
        f"It cost {now} an hour over the last day. "
        f"It was {before} at the last message, {clock(last.at)}."
    )


def _opinion(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    said = f"{verdict.who or 'Somebody'} said {verdict.verdict.replace('_', ' ')}"
    return f"{said} on {clock(verdict.at)}" + (f": “{verdict.note}”." if verdict.note else ".")


def read_events(journal: Journal) -> list[Event]:
    """All events that were ever written down, oldest first, then the largest."""
    return sorted(
        journal.all(Event, ".pending"),
        key=lambda one: (one.at, -abs(one.message.dollars), one.id),
    )
