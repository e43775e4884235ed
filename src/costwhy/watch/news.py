"""TODO watch/news.py"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from costwhy.case.analysis import FoundSpike, Lake, LakeAnalysis, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import case_of
from costwhy.case.story import headline, sentences
from costwhy.feedback.known_spike import SpikeKey, keys_of_spikes, read_spike_key
from costwhy.feedback.plans import Plan, plans
from costwhy.feedback.savings import Saving, savings
from costwhy.feedback.verdicts import QUIET, Said, history, newest
from costwhy.lake.journal import Journal, time_of
from costwhy.spikes.dollars import SpikeDollars
from costwhy.text import clock, money
from costwhy.watch.channels.message import Message

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
    spike: SpikeKey
    message: Message
    by_default: bool
    at: datetime
    as_of: datetime

    @property
    def id(self) -> str:
        """The message's id."""
        return self.message.id


def look(lake: Lake, told: Iterable[Event], url: str | None, now: datetime) -> list[Event]:
    """What is news of a lake's spikes, beyond what was told."""
    s = analyse(lake)
    chains: dict[str, list[Event]] = {}
    for event in told:
        chains.setdefault(event.key, []).append(event)
    keys = _keys(keys_of_spikes(s), chains)
    verdicts, registered = history(lake.place), plans(lake.place)
    desk = NewsWriter(s, url, now)
    out = []
    for found, (spike, key) in zip(s.found, keys, strict=True):
        chain, verdict = chains.get(key, []), newest(verdicts, spike)
        happened = _happened(spike, chain, verdict)
        if happened is not None and not (_is_planned(registered, s, found.dollars) and not chain):
            out.append(desk.event(found, (spike, key), chain, happened, verdict))
    return (
        out
        + _fixes(desk, lake, keys, chains)
        + _gone(desk, {key for _, key in keys}, chains, verdicts)
    )


def _keys(spikes: list[SpikeKey], chains: Mapping[str, list[Event]]) -> list[tuple[SpikeKey, str]]:
    """Each spike with the key of its former news: those of its id first, then those of its like; its own id where there are none."""
    ids = {x.spike.spike_id: key for key, chain in chains.items() for x in chain} | {
        key: key for key in chains
    }
    taken = {ids[x.spike_id] for x in spikes if x.spike_id in ids}
    out = []
    for spike in spikes:
        key = ids.get(spike.spike_id)
        if key is None:
            like = (
                k
                for k, chain in chains.items()
                if k not in taken and chain[-1].spike.is_same(spike)
            )
            key = next(like, spike.spike_id)
            taken.add(key)
        out.append((spike, key))
    return out


def _is_planned(registered: list[Plan], s: LakeAnalysis, a: SpikeDollars) -> bool:
    return any(x.covers(s, a, s.observed.as_of) for x in registered)


def _happened(
    spike: SpikeKey, chain: list[Event], verdict: Said | None
) -> tuple[Happening, str] | None:
    """What happened to a spike since it was last told, and the step; None: nothing, or its owner knows and accepts it."""
    last = chain[-1] if chain else None
    if verdict is not None and verdict.verdict in QUIET and (last is None or last.at <= verdict.at):
        grown = spike.has_grown(verdict.spike)
        return (_numbered("grown" if chain else "new", chain)) if grown else None
    if last is None:
        return "new", "1"
    if (
        verdict is not None
        and verdict.verdict == "not_ours"
        and not last.by_default
        and spike.running
    ):
        return "new", "not_ours"
    if last.spike.running and not spike.running:
        return _numbered("ended", chain)
    if spike.running and (not last.spike.running or spike.has_grown(last.spike)):
        return _numbered("grown", chain)
    return None


def _numbered(happening: Happening, chain: list[Event]) -> tuple[Happening, str]:
    return happening, str(1 + sum(x.event == happening and x.step.isdecimal() for x in chain))


def _fixes(
    desk: "NewsWriter",
    lake: Lake,
    keys: list[tuple[SpikeKey, str]],
    chains: Mapping[str, list[Event]],
) -> list[Event]:
    """Fixes that are proven, and those that did not hold: for each spike the longest look that is due."""
    longest = {x.spike_id: x for x in savings(lake) if x.outcome != "inconclusive"}
    out = []
    for found, (spike, key) in zip(desk.analysis.found, keys, strict=True):
        fix = longest.get(spike.spike_id)
        step = f"fixed-{fix.said.at:%Y%m%dT%H%M%S}-{fix.days}" if fix is not None else ""
        if fix is not None and all(x.step != step for x in chains.get(key, [])):
            happening: Happening = "resolved" if fix.outcome == "verified" else "grown"
            out.append(
                desk.event(
                    found, (spike, key), chains.get(key, []), (happening, step), fix.said, fix
                )
            )
    return out


def _gone(
    desk: "NewsWriter", present: set[str], chains: Mapping[str, list[Event]], verdicts: list[Said]
) -> list[Event]:
    """Spikes that were told as running and that a day of newer data does not show any more."""
    out = []
    for key, chain in chains.items():
        last = chain[-1]
        verdict = newest(verdicts, last.spike)
        quiet = verdict is not None and verdict.verdict in QUIET
        if (
            key in present
            or quiet
            or not last.spike.running
            or desk.analysis.observed.as_of < last.as_of + GONE
        ):
            continue
        out.append(desk.gone(last, _numbered("resolved", chain)[1]))
    return out


@dataclass(frozen=True)
class NewsWriter:
    """Where messages are written: the analysis, the address that cases have, and the time."""

    analysis: LakeAnalysis
    url: str | None
    now: datetime

    def event(
        self,
        found: FoundSpike,
        spike: tuple[SpikeKey, str],
        chain: list[Event],
        happened: tuple[Happening, str],
        verdict: Said | None,
        fix: Saving | None = None,
    ) -> Event:
        """News of a spike that the analysis shows."""
        seen, key = spike
        happening, step = happened
        case = case_of(self.analysis, *found)
        lines = (
            *_beginning(case, seen, chain, fix),
            *(x.text for x in sentences(case)),
            *_opinion(verdict),
        )
        owner = case.who[0]
        team = owner["team"] if owner else None
        title = f"{_word(happening, step, chain)}: {headline(case)}"
        message = self._message(
            key,
            happening,
            step,
            Message(
                "-", happening, seen.spike_id, title, lines, round(case.total, 2), case.currency
            ),
        )
        by_default = verdict is not None and verdict.verdict == "not_ours"
        message = replace(message, owner_team=team, url=self._address(seen.spike_id))
        return Event(
            key,
            happening,
            step,
            seen,
            message,
            by_default,
            self._after(chain),
            self.analysis.observed.as_of,
        )

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
        return Event(
            last.key,
            "resolved",
            step,
            spike,
            message,
            last.by_default,
            self._after([last]),
            self.analysis.observed.as_of,
        )

    def _after(self, chain: list[Event]) -> datetime:
        """Now, but never before the last news of the spike: a clock that was set back must not turn their order."""
        return max([self.now, *(x.at + timedelta(microseconds=1) for x in chain)])

    def _message(self, key: str, happening: Happening, step: str, message: Message) -> Message:
        """With the id that this news has, whoever writes it and how often."""
        whole = f"{self.analysis.lake.workspace}\0{key}\0{happening}\0{step}"
        return replace(message, id=f"costwhy-{hashlib.sha256(whole.encode()).hexdigest()[:32]}")

    def _address(self, spike_id: str) -> str | None:
        return None if self.url is None else f"{self.url.rstrip('/')}/?case={quote(spike_id)}"


def _word(happening: Happening, step: str, chain: list[Event]) -> str:
    if happening == "grown" and step.startswith("fixed"):
        return "The fix did not hold"
    if happening == "grown" and chain and not chain[-1].spike.running:
        return "Running again"
    return {"new": "New", "grown": "Grown", "ended": "Ended", "resolved": "Fixed"}[happening]


def _beginning(
    case: Case, spike: SpikeKey, chain: list[Event], fix: Saving | None
) -> tuple[str, ...]:
    """What is new since the last message."""
    if fix is not None:
        saved, possible = money(fix.saved, case.currency), money(fix.possible, case.currency)
        days = f"In the {fix.days} days since the fix of {clock(fix.start)}"
        return (
            f"{days} it saved {saved} of {possible}, measured against these days' own traffic with the rates of the spike.",
        )
    if not spike.running or not chain or not chain[-1].spike.per_hour:
        return ()
    now, before = (money(x.per_hour, case.currency) for x in (spike, chain[-1].spike))
    return (
        f"It cost {now} an hour over the last day. It was {before} when this was last told, {clock(chain[-1].at)}.",
    )


def _opinion(verdict: Said | None) -> tuple[str, ...]:
    if verdict is None:
        return ()
    note = f": “{verdict.note}”" if verdict.note else ""
    return (
        f"{verdict.who or 'Somebody'} said {verdict.verdict.replace('_', ' ')} on {clock(verdict.at)}{note}.",
    )


def read_events(journal: Journal) -> list[Event]:
    """All news that were ever written down, oldest first, then the largest."""
    return sorted(
        journal.all(_read, ".pending"), key=lambda x: (x.at, -abs(x.message.dollars), x.id)
    )


def event_document(event: Event) -> dict[str, object]:
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
    spike = read_spike_key(document["spike"])
    return Event(
        document["key"],
        document["event"],
        document["step"],
        spike,
        message,
        document["by_default"],
        *times,
    )
