"""Sources that are asked instead of read, by day: which days are asked, and what came of each.

A day of a region, or of a Prometheus, is a delivery: `cloudwatch:api:eu-west-1:2026-10-14`. A day
that was read is not asked again, but for the newest two: they were not over, or not complete.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from costwhy.sources.reading import REVISION, Reading

NEWEST = 2  # Days that are asked again
HALF = 32  # Characters of a digest that say how a day was read; the other half says what came


@dataclass(frozen=True)
class Request:
    """Whole days of one region or address, in order, up to `until`.

    notes: the reader adds messages for whoever runs ingest.
    """

    place: str
    days: tuple[date, ...]
    until: datetime
    notes: list[str] = field(default_factory=list)

    def windows(self, longest: int) -> Iterator[tuple[datetime, datetime]]:
        """Runs of consecutive days as [start, end), at most `longest` days each, cut at `until`."""
        run: list[date] = []
        for day in sorted(self.days):
            if run and (day - run[-1] != timedelta(days=1) or len(run) == longest):
                yield self._window(run)
                run = []
            run.append(day)
        if run:
            yield self._window(run)

    def _window(self, run: Sequence[date]) -> tuple[datetime, datetime]:
        return begin(run[0]), min(begin(run[-1]) + timedelta(days=1), self.until)


def contents(reading: Reading) -> bytes:
    """What was read, as bytes that are the same for the same rows in any order."""
    frames = (reading.rows, reading.set_aside, reading.seen)
    return b"".join(frame.sort(frame.columns).write_csv().encode() + b"\0" for frame in frames)


@dataclass(frozen=True)
class Live:
    """An API that one entry of costwhy.toml names.

    prefix    what the names of its deliveries begin with
    places    regions, or an address: what comes next in the names; empty: ask `default_place`
    days      how far back it is asked
    salt      what decides how a day is read: where it changes, every day is asked again
    ask       each day of a request, with what came of it
    shown     its `path` in the lake's snapshot
    """

    prefix: str
    places: tuple[str, ...]
    days: int
    salt: str
    ask: Callable[[Request], Iterator[tuple[date, Reading]]]
    shown: str = "api"
    default_place: Callable[[], str] = str
    contents: Callable[[Reading], bytes] = contents

    def owns(self, delivery: str) -> bool:
        """Whether a delivery came from here."""
        return delivery.startswith(tuple(f"{self.prefix}{p}:" for p in self.places) or self.prefix)

    def wanted_days(self, prefix: str, known: Mapping[str, str], now: datetime) -> tuple[date, ...]:
        """The days to ask: not known, read in another way, or the newest two that were read.

        prefix: of the names of one place's deliveries; known: digests by delivery.
        """
        own = {
            n.removeprefix(prefix): digest for n, digest in known.items() if n.startswith(prefix)
        }
        again = sorted(own)[-NEWEST:]
        days = (now.date() - timedelta(days=back) for back in range(self.days - 1, -1, -1))
        return tuple(d for d in days if f"{d}" in again or own.get(f"{d}", "")[:HALF] != self.salt)

    def digest(self, reading: Reading) -> str:
        """How it was read and what came: the same again is the same delivery."""
        how = self.salt if reading.complete else "0" * HALF
        return how + hashlib.sha256(self.contents(reading)).hexdigest()[:HALF]


def salt(*words: object) -> str:
    """The first half of a digest, from what decides how a day is read."""
    return hashlib.sha256(repr((REVISION, *words)).encode()).hexdigest()[:HALF]


def begin(day: date) -> datetime:
    """Midnight at which the day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def days_of(start: datetime, end: datetime) -> Iterator[date]:
    """The days that [start, end) touches."""
    day = start.date()
    while begin(day) < end:
        yield day
        day += timedelta(days=1)


def whole_hour(moment: datetime) -> datetime:
    """The start of the hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def of_day(reading: Reading, day: date, column: str) -> Reading:
    """The rows and the hours seen of one day, by `column`; what was set aside is on no day."""
    rows = reading.rows.filter(pl.col(column).dt.date() == day)
    seen = reading.seen.filter(pl.col("hour").dt.date() == day)
    return Reading(rows, reading.set_aside.clear(), seen)
