"""Sources that are asked of AWS instead of read from files: which days to ask, in which regions, and what came of it.

A day of a region is a delivery: `cloudwatch:api:eu-west-1:2026-10-14`. Days that are known are not asked again, but for the
newest two, which were not over, or not complete, when they were read.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from costwhy.errors import SourceError
from costwhy.remote import aws
from costwhy.sources.aws_days import Request
from costwhy.sources.changes import autoscaling_api as scaling_activities
from costwhy.sources.changes import cloudtrail_api
from costwhy.sources.reading import Reading
from costwhy.sources.signals import cloudwatch, xray
from costwhy.sources.signals.cloudwatch_presets import PRESETS, USUAL

NEWEST = 2
"""Days that are asked again."""
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]{2,10}){1,3}-\d{1,2}")
_HALF = 32  # characters of a digest that say how a day was read; as many say what came


class Reader(Protocol):
    """A module that asks one API."""

    MOST_DAYS: int
    USUAL_DAYS: int

    def read(self, request: Request) -> Iterator[tuple[date, Reading]]:
        """Each day of the request with what came of it."""


READERS: dict[str, Reader] = {
    "cloudtrail": cloudtrail_api,
    "autoscaling": scaling_activities,
    "cloudwatch": cloudwatch,
    "xray": xray,
}


@dataclass(frozen=True)
class Live:
    """One entry of costwhy.toml that AWS answers itself. regions empty: the one of the AWS configuration."""

    form: str
    regions: tuple[str, ...]
    days: int
    presets: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """What all its deliveries begin with."""
        return f"{self.form}:api:"

    def resolved(self) -> tuple[str, ...]:
        """The regions to ask. Raises UnreachableError where neither costwhy.toml nor the AWS configuration names one."""
        return self.regions or (aws.default_region(),)


def find(form: str, regions: Sequence[str], days: int | None, presets: Sequence[str] = ()) -> Live:
    """The entry, checked. Raises SourceError where a region, a number of days or a preset is none."""
    reader = READERS[form]
    for region in regions:
        if not _REGION.fullmatch(region):
            raise SourceError(f"{region!r} is no AWS region", found=region[:100], todo='write it as in `regions = ["eu-west-1"]`')
    strange = next((preset for preset in presets if preset not in PRESETS), None)
    if strange is not None:
        raise SourceError(f"there is no preset {strange!r}", found=strange[:100], todo=f"name some of {', '.join(USUAL)}")
    asked = reader.USUAL_DAYS if days is None else days
    if not 1 <= asked <= reader.MOST_DAYS:
        todo = f"write a number from 1 to {reader.MOST_DAYS}"
        raise SourceError(f"`days` is {asked}, and AWS keeps {reader.MOST_DAYS} for {form}", found=str(asked), todo=todo)
    return Live(form, tuple(dict.fromkeys(regions)), asked, tuple(presets))


def salt(live: Live, service_tags: Collection[str]) -> str:
    """What decides how a day is read: where it changes, every day is asked again."""
    tags = () if live.form in {"autoscaling", "xray"} else tuple(service_tags)
    return hashlib.sha256(repr((1, live.form, live.presets, tags)).encode()).hexdigest()[:_HALF]


def wanted_days(live: Live, prefix: str, how: str, known: Mapping[str, str], now: datetime) -> tuple[date, ...]:
    """The days to ask: those that no delivery has, was read otherwise, or are the newest two that were read.

    prefix: of the region's deliveries; how: the salt; known: digests by delivery.
    """
    digests = {name.removeprefix(prefix): digest for name, digest in known.items() if name.startswith(prefix)}
    again = sorted(digests)[-NEWEST:]
    days = [now.date() - timedelta(days=n) for n in range(live.days - 1, -1, -1)]
    return tuple(d for d in days if f"{d}" in again or not digests.get(f"{d}", "").startswith(how))


def digest(how: str, reading: Reading) -> str:
    """Salt and content: the same day read again with the same result is the same delivery."""
    whole = hashlib.sha256()
    for frame in (reading.rows, reading.set_aside, reading.seen):
        whole.update(frame.sort(frame.columns).write_csv().encode() + b"\0")
    return how + whole.hexdigest()[:_HALF]


def read(live: Live, region: str, days: Iterable[date], now: datetime, service_tags: Sequence[str]) -> Iterator[tuple[date, Reading]]:
    """Each of the days with what AWS answers. Raises UnreachableError where it does not."""
    request = Request(region, tuple(days), now, tuple(service_tags), live.presets)
    if request.days:
        yield from READERS[live.form].read(request)
