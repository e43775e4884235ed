"""What a format is: its keys in costwhy.toml, how its files are read, and how its API is asked.

APIs are asked by day. A day of a region, or of a Prometheus, is a delivery:
`cloudwatch:api:eu-west-1:2026-10-14`. A day that was read is not asked again, but for the newest
two: they were not over, or not complete.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import msgspec
import polars as pl

from costwhy.sources.files import Files
from costwhy.sources.reading import REVISION, Reading

NEWEST = 2  # Days that are asked again
HALF = 32  # Characters of a digest that say how a day was read; the other half says what came
USUAL_DAYS = 14
Section = Literal["cost", "changes", "signals", "owners"]
FilePath = Annotated[str, msgspec.Meta(min_length=1)]
Region = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,4}(-[a-z]{2,10}){1,3}-\d{1,2}\Z")]
_DAY = timedelta(days=1)


# ---------------------------------------------------------------- keys of costwhy.toml


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of [[cost]], [[changes]], [[signals]] or [[owners]]."""

    format: str


class FilesConfig(SourceConfig, frozen=True, kw_only=True):
    """A file, a folder, a glob, or s3://bucket/prefix/."""

    path: FilePath


class FilesOrApiConfig(SourceConfig, frozen=True, kw_only=True):
    """Files at `path`; or `api = true`: AWS itself, in each of `regions`, for the last `days`."""

    path: FilePath | None = None
    api: bool = False
    regions: tuple[Region, ...] = ()
    days: int | None = None

    def __post_init__(self) -> None:
        if self.api and self.path:
            raise ValueError("`path` and `api` exclude each other")
        if not self.api and not self.path:
            raise ValueError("`path` is missing: name files, or write `api = true`")
        stray = "regions" if self.regions else "days" if self.days is not None else None
        if stray and not self.api:
            raise ValueError(
                f"`{stray}` has no meaning for files: remove it, or write `api = true`"
            )


# ---------------------------------------------------------------- an API, by day


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
        runs: list[list[date]] = []
        for day in sorted(self.days):
            if not runs or day - runs[-1][-1] != _DAY or len(runs[-1]) == longest:
                runs.append([])
            runs[-1].append(day)
        for run in runs:
            yield begin(run[0]), min(begin(run[-1]) + _DAY, self.until)


def contents(reading: Reading) -> bytes:
    """What was read, as bytes that are the same for the same rows in any order."""
    return b"".join(
        frame.sort(frame.columns).write_csv().encode() + b"\0"
        for frame in (reading.rows, reading.set_aside, reading.seen)
    )


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
        return (self.salt if reading.complete else "0" * HALF) + hashlib.sha256(
            self.contents(reading)
        ).hexdigest()[:HALF]


def salt(*words: object) -> str:
    """The first half of a digest, from what decides how a day is read."""
    return hashlib.sha256(repr((REVISION, *words)).encode()).hexdigest()[:HALF]


def begin(day: date) -> datetime:
    """Midnight at which the day begins, UTC."""
    return datetime.combine(day, time(), UTC)


def whole_hour(moment: datetime) -> datetime:
    """The start of the hour."""
    return moment.replace(minute=0, second=0, microsecond=0)


def of_day(reading: Reading, day: date, column: str) -> Reading:
    """The rows and the hours seen of one day, by `column`; what was set aside is on no day."""
    return Reading(
        reading.rows.filter(pl.col(column).dt.date() == day),
        reading.set_aside.clear(),
        reading.seen.filter(pl.col("hour").dt.date() == day),
    )


# ---------------------------------------------------------------- formats


Columns = Mapping[str, str]  # The columns of a billing file and their DuckDB types
Tags = Mapping[str, Sequence[str]]  # The tag keys that name service, team, budget_owner


class Ask(Protocol):
    """Runs SQL on a billing file, which is the view `raw`, and returns all rows."""

    def __call__(self, sql: str, parameters: Sequence[object] = (), /) -> list[tuple[Any, ...]]: ...


Together = tuple[tuple[Path, ...], tuple[str, ...]]  # Files, and what is said of them


@dataclass(frozen=True)
class Bill:
    """How DuckDB reads a billing file.

    require      raises SourceError for a required column that is missing
    expressions  SQL for each column that the reduction needs, and of what else there is to say:
                 `aside` why a row does not count, `note` what is odd about how it counts
    lacking      which columns a file lacks, and what that costs
    splits       SQL that is true for a row that is a part of what another row has whole; null: none
    together     makes files that can be read of files that are a bill only together, one of each,
                 in a folder; null: they can be read
    """

    require: Callable[[Columns], None]
    expressions: Callable[[Columns, Tags, Ask], dict[str, str]]
    lacking: Callable[[Columns], tuple[str, ...]] = lambda _columns: ()
    splits: Callable[[Columns], str | None] | None = None
    together: Callable[[Sequence[Path], Path], Together] | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """One format of a source; each module of a format has one as FORMAT.

    section      the list of costwhy.toml that may name it
    source       its name in `seen`, `set_aside` and `coverage`
    config       the keys of its entry
    files        its files; null: it has none
    bill         how they are read, where they are bills
    settle       the same by the keys of an entry, where these decide it
    read         how they are read, where they are not: the files, and with `reads_tags` the names
                 of the tags that name a service
    reads_tags   read again where `service_tags`, `team_tags` or `budget_tags` change
    live         the API that an entry names; null, or a result of null: it names files. Arguments:
                 the entry, its key, the folder of costwhy.toml, the tags that name a service
    cannot_show  what its records cannot rule out
    every_hour   every hour should have records: two without are a gap
    titled       its records have a title, a link, a ticket: they describe a decision best
    """

    section: Section
    source: str
    config: type[SourceConfig] = FilesConfig
    files: Files | None = None
    bill: Bill | None = None
    settle: Callable[[Any], Bill] | None = None
    read: Callable[..., Reading] | None = None
    reads_tags: bool = False
    live: Callable[[Any, str, Path, Sequence[str]], Live | None] | None = None
    cannot_show: str | None = None
    every_hour: bool = False
    titled: bool = False


def by_region(
    read: Callable[..., Iterator[tuple[date, Reading]]], *decide: str
) -> Callable[[Any, str, Path, Sequence[str]], Live | None]:
    """`live` of a format whose API AWS answers, region by region; null: the entry names files.

    decide: arguments of `read` that decide how a day is read: `presets`, `service_tags`
    """

    def live(entry: Any, _key: str, _folder: Path, tags: Sequence[str]) -> Live | None:
        if not getattr(entry, "api", True):
            return None
        how = {"presets": tuple(getattr(entry, "presets", ())), "service_tags": tuple(tags)}
        return Live(
            prefix=f"{entry.format}:api:",
            places=tuple(dict.fromkeys(entry.regions)),
            days=USUAL_DAYS if entry.days is None else entry.days,
            salt=salt(entry.format, *(how[name] if name in decide else () for name in how)),
            ask=partial(read, **{name: how[name] for name in decide}),
            default_place=_default_region,
        )

    return live


def _default_region() -> str:
    from costwhy.remote import aws  # noqa: PLC0415 - files need no client of AWS

    return aws.default_region()
