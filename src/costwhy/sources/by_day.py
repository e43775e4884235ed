"""Live sources are asked by day: which days are missing, and in which windows they are asked for."""

from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NEWEST = 2
"""Days that are asked for again, for what arrived late."""
TOGETHER = 7
"""Days of one window: what is read at once, and lost at most when the source goes away."""
Window = tuple[datetime, datetime]


def clock() -> datetime:
    """The present time in UTC; tests set another."""
    return datetime.now(UTC)


def windows(now: datetime, days: int, held: Collection[str]) -> Iterator[Window]:
    """What to ask for, oldest first: whole hours of the last `days` days, today's included, without the days held.

    held: days as YYYY-MM-DD. The newest two are always asked for. A window is no longer than a week.
    """
    end = now.replace(minute=0, second=0, microsecond=0)
    last = (end - HOUR).replace(hour=0)
    candidates = [(n, last - n * DAY) for n in range(days - 1, -1, -1)]
    wanted = [day for n, day in candidates if n < NEWEST or day_of(day) not in held]
    start: datetime | None = None
    for day in wanted:
        start = day if start is None else start
        if day + DAY not in wanted or day + DAY - start >= TOGETHER * DAY:
            yield start, min(day + DAY, end)
            start = None


def day_of(day: datetime) -> str:
    """A day as YYYY-MM-DD."""
    return day.strftime("%Y-%m-%d")
