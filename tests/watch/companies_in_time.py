"""A small company as its lake was known hour after hour, and a webhook that counts what it is told."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import polars as pl
from loopback import Fake, Heard, Reply, http_server
from small_company import FIRST, HOURS, MemoryLake, SmallCompany, changed, from_hour

from costwhy.config import Watch, WebhookChannel

ONSET = 720
NOW = datetime(2026, 10, 20, tzinfo=UTC)
HOOK = WebhookChannel(name="hook", url_env="HOOK_URL", secret_env="HOOK_SECRET")
CHANNELS = Watch(default="hook", channels=(HOOK,))
_VERSIONS = count(1)


def storm(times: float = 2.0, also: float = 1.0, grown: int = HOURS) -> SmallCompany:
    """Retries against db from hour 720 on, `also` as many times more from hour `grown` on."""
    company = SmallCompany()
    company.retries["db", "api"] = (
        company.retries["db", "api"] * from_hour(ONSET, times) * from_hour(grown, also)
    )
    return company


def two_spikes() -> SmallCompany:
    """The storm, and search that uses twice as much from hour 721 on."""
    company = storm()
    company.lines["search"] = changed(company.lines["search"], per_call=from_hour(ONSET + 1, 2.0))
    return company


def known(company: SmallCompany, place: Path, hour: int = HOURS) -> MemoryLake:
    """Its lake in a folder, as far as the hour; another version each time."""
    end = FIRST + timedelta(hours=hour)
    lake = company.lake()
    frames = {
        name: frame.filter(pl.col("hour") < end) if "hour" in frame.columns else frame.filter(pl.col("day") < end) if "day" in frame.columns else frame
        for name, frame in lake.frames.items()
    }  # fmt: skip
    return replace(lake, frames=frames, place=str(place), version=next(_VERSIONS))


@dataclass
class Told:
    """What a webhook was told."""

    fake: Fake

    @property
    def messages(self) -> list[dict[str, object]]:
        """In order, resends included."""
        return [json.loads(heard.body) for heard in self.fake.heard]

    @property
    def events(self) -> list[object]:
        """What happened, in order."""
        return [message["event"] for message in self.messages]

    @property
    def ids(self) -> list[str]:
        """Idempotency keys, in order."""
        return [heard.headers["idempotency-key"] for heard in self.fake.heard]


@contextmanager
def webhook(status: list[int] | None = None) -> Iterator[Told]:
    """A webhook that takes everything, or answers the first requests with `status`."""
    answers = iter(status or [])

    def answer(_heard: Heard) -> Reply:
        return next(answers, 200), {}, b""

    with http_server(answer) as fake:
        yield Told(fake)
