"""What is asked of an API in one go: a region and its days; and what comes back, by day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from costwhy.sources.reading import Reading


@dataclass(frozen=True)
class Request:
    """Whole days of one region, in order. until: now; nothing after it is asked. service_tags: tags that name a service."""

    region: str
    days: tuple[date, ...]
    until: datetime
    service_tags: tuple[str, ...] = ()
    presets: tuple[str, ...] = field(default=())

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


def begin(day: date) -> datetime:
    """Midnight at which the day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def days_of(start: datetime, end: datetime) -> Iterator[date]:
    """The days that [start, end) touches."""
    day = start.date()
    while begin(day) < end:
        yield day
        day += timedelta(days=1)


def of_day(reading: Reading, day: date, column: str) -> Reading:
    """The rows and the hours seen of one day; `column` holds the time of a row. What was set aside is on no day."""
    rows = reading.rows.filter(pl.col(column).dt.date() == day)
    return Reading(rows, reading.set_aside.clear(), reading.seen.filter(pl.col("hour").dt.date() == day))
