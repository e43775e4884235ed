"""One ingest (`Run`): what it reads (`Source`, `Part`), and what is new (`Delivery`, `Batch`)."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path, PurePosixPath

import polars as pl

from costwhy.config import Workspace
from costwhy.errors import UnreachableError
from costwhy.sources import s3_mirror
from costwhy.sources.format import Format, Live
from costwhy.sources.inventory import Passed
from costwhy.tables import BY_NAME, Rows

SPOOLED = 200_000  # Rows: a larger frame waits on disk until it is written
UNREADABLE = ":unreadable"
UNREAD = ":files"  # The delivery of the files of a source that are not read
# Section of costwhy.toml: its table in the lake. Bills become several tables: `billing.py`
TABLES = {"changes": "changes", "signals": "signals", "owners": "catalog"}
# Told what is being read, how many files are done, and how many there are
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    version   of the lake; the former one where nothing was new
    read      files, or days of an API; those that had not changed count as `skipped`
    totals    billing_period and the cost columns, of the periods that were read
    messages  what was set aside whole, left out, or is absent
    freed     bytes of old versions that were removed
    """

    version: int
    read: int
    skipped: int
    rows: int
    rows_set_aside: int
    totals: pl.DataFrame
    messages: tuple[str, ...]
    freed: int = 0


def source_name(name_of_format: str, path: str) -> str:
    """An entry of costwhy.toml as the names of its deliveries begin: `focus:billing`."""
    plain = path.rstrip("/") if s3_mirror.is_address(path) else PurePosixPath(path)
    return f"{name_of_format}:{plain}"


@dataclass(frozen=True)
class Source:
    """One entry of costwhy.toml, with its files or its API.

    key    where it stands: `cost[0]`
    root   the folder on this machine: of an address, where its mirror is
    passed files that are not read
    dates  of files, where a manifest says when they were delivered
    fault  it could not be reached
    salt   what its entry says on how it is read
    """

    key: str
    name_of_format: str
    format: Format
    path: str = ""
    files: tuple[Path, ...] = ()
    passed: tuple[Passed, ...] = ()
    root: Path = Path()
    dates: Mapping[Path, str] = field(default_factory=dict)
    live: Live | None = None
    fault: UnreachableError | None = None
    notes: tuple[str, ...] = ()
    salt: str = ""

    @cached_property  # asked for each of its files
    def name(self) -> str:
        """What the names of its deliveries begin with: `focus:billing`."""
        return source_name(self.name_of_format, self.path)


@dataclass(frozen=True)
class Part:
    """Files that are read together under one digest.

    names       of the files, as the lake has them: their addresses on S3, or their paths from the
                folder of costwhy.toml
    of          the delivery to which each file belongs; empty: all to `name`
    deliveries  all of them, also those of which no file is left
    copies      files that have the contents of another one: they are not read
    """

    name: str
    files: tuple[Path, ...]
    names: tuple[str, ...]
    digest: str
    of: tuple[str, ...] = ()
    deliveries: tuple[str, ...] = ()
    copies: tuple[Passed, ...] = ()

    @property
    def wanted(self) -> tuple[str, ...]:
        """The deliveries that the lake has after it was read."""
        return self.deliveries or (self.name,)

    def only(self, delivery: str) -> "Part":
        """What of it belongs to one delivery."""
        if not self.of:
            return self
        own = self.at([k for k, name in enumerate(self.of) if name == delivery])
        return replace(own, name=delivery, of=(), deliveries=())

    def at(self, places: Sequence[int]) -> "Part":
        """The files at these places."""
        return replace(
            self,
            files=tuple(self.files[k] for k in places),
            names=tuple(self.names[k] for k in places),
            of=tuple(self.of[k] for k in places),
        )


@dataclass(frozen=True)
class Delivery:
    """What is replaced whole in the lake: rows of some tables, and its row of `deliveries`."""

    name: str
    digest: str
    tables: Mapping[str, Rows]
    files: tuple[str, ...] = ()
    rows: int = 0
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def record(self) -> dict[str, object]:
        """Its row of `deliveries`, but for the time."""
        aside = self.tables.get("set_aside")
        if isinstance(aside, pl.LazyFrame):
            aside = aside.select("records").collect()
        return {
            "delivery": self.name,
            "digest": self.digest,
            "files": list(self.files),
            "rows": self.rows,
            "rows_set_aside": 0 if aside is None else int(aside["records"].sum()),
            **self.costs,
        }


@dataclass
class Batch:
    """What is new, collected until all of it is written at once.

    records   rows of `deliveries`, by delivery
    spool     where large frames wait, those of `spooled`
    replaced  deliveries whose former rows go, by table
    """

    spool: Path
    records: dict[str, dict[str, object]] = field(default_factory=dict)
    series: list[pl.DataFrame] = field(default_factory=list)
    frames: dict[str, list[tuple[str, pl.DataFrame]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    spooled: dict[str, list[pl.LazyFrame]] = field(default_factory=lambda: defaultdict(list))
    replaced: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, delivery: Delivery) -> None:
        """A delivery in place of what it was before."""
        self.records[delivery.name] = delivery.record
        self.forget([delivery.name], {*delivery.tables, "deliveries"})
        for name, rows in delivery.tables.items():
            if isinstance(rows, pl.LazyFrame):
                self._spool(name, delivery.name, rows)
            elif rows.height >= SPOOLED:
                path = self.spool / f"{name}-{len(self.spooled[name])}.parquet"
                rows.write_parquet(path)
                self._spool(name, delivery.name, pl.scan_parquet(path))
            elif rows.height:
                self.frames[name].append((delivery.name, rows))

    def _spool(self, name: str, delivery: str, rows: pl.LazyFrame) -> None:
        self.spooled[name].append(BY_NAME[name].fit(rows.with_columns(delivery=pl.lit(delivery))))

    def note(self, delivery: str, notes: Iterable[str]) -> None:
        """What to know of a delivery: kept in its row, so that a run that skips it says it too."""
        if delivery in self.records:
            self.records[delivery]["notes"] = [*dict.fromkeys(notes)]

    def forget(self, deliveries: Iterable[str], tables: Collection[str]) -> None:
        """The former rows of these deliveries go."""
        for name in tables:
            self.replaced[name].update(deliveries)


@dataclass
class Run:
    """One ingest, and what happened so far.

    known       the deliveries that the lake has, with their digests
    places      the files of each of them
    unreadable  files that could not be read before, and still cannot
    hints       messages of what is no fault; each is shown once, after the others
    """

    workspace: Workspace
    known: Mapping[str, str]
    now: datetime
    batch: Batch
    progress: Progress
    total: int
    done: int = 0
    read: int = 0
    skipped: int = 0
    unreadable: int = 0
    messages: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    totals: list[pl.DataFrame] = field(default_factory=list)
    unreached: list[UnreachableError] = field(default_factory=list)
    reached: bool = False
    places: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def tell(self, name: str, more: int) -> None:
        """What is being read, and how many further files are done."""
        self.done = min(self.done + more, self.total)  # a file may be read again
        self.progress(name, self.done, self.total)

    def miss(self, key: str, error: UnreachableError) -> None:
        """A source could not be reached: a message; the others go on."""
        self.unreached.append(error)
        self.messages.append(
            f"`{key}` could not be reached and stays as it was: {error.problem}. {error.found}"
        )

    def has(self, name: str) -> bool:
        """Whether the lake has readable deliveries of a source or a part."""
        return any(
            (known == name or known.startswith(f"{name}:"))
            and not known.endswith((UNREADABLE, UNREAD))
            for known in self.known
        )
