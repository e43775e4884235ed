"""TODO ingest/batch.py"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import polars as pl

from costwhy.config import Workspace
from costwhy.errors import UnreachableError
from costwhy.sources import aws_live, s3_mirror
from costwhy.tables import BY_NAME

REVISION = 1  # raise it where the same files are to be read anew: it is part of every digest
SPOOLED = 200_000  # rows: a larger frame waits on disk until it is written
UNREADABLE = ":unreadable"
Progress = Callable[[str, int, int], None]
"""Told what is being read, how many files are done, and how many there are."""


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `version`: of the lake, the former one where nothing was new; `read`, `skipped`: files."""

    version: int
    read: int
    skipped: int
    rows: int
    rows_set_aside: int
    totals: pl.DataFrame  # billing_period and the cost columns, of the periods that were read
    messages: tuple[str, ...]  # files that were set aside whole, deliveries that were left out, columns that are absent


@dataclass(frozen=True)
class Source:
    """One entry of costwhy.toml with its files. key: where it stands, `cost[0]`."""

    key: str
    form: str
    path: str
    files: tuple[Path, ...] = ()
    root: Path = Path()  # the path on this machine: of an address, where its mirror is
    asked: aws_live.Live | None = None  # of AWS instead of read
    fault: UnreachableError | None = None  # it could not be reached
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.form}:{self.path.rstrip('/') if s3_mirror.is_address(self.path) else PurePosixPath(self.path)}"


@dataclass(frozen=True)
class Part:
    """Files that are read together under one digest."""

    name: str
    files: tuple[Path, ...]
    digest: str


@dataclass
class Batch:
    """What is new, collected until it is written at once."""

    workspace: Workspace
    known: dict[str, str]  # delivery: digest
    spool: Path
    tell: Callable[[str, int], None]
    frames: dict[str, list[tuple[str, pl.DataFrame]]] = field(default_factory=dict)  # table: delivery and rows
    files: dict[str, list[Path]] = field(default_factory=dict)  # table: spooled rows
    drop: dict[str, set[str]] = field(default_factory=dict)
    records: dict[str, dict[str, object]] = field(default_factory=dict)  # delivery: row of `deliveries`
    totals: list[pl.DataFrame] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)  # messages of what is no fault: they come last
    unreached: list[UnreachableError] = field(default_factory=list)
    reached: bool = False  # something could be read, now or before
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "skipped", "rows", "aside"), 0))

    def add(self, name: str, delivery: str, frame: pl.DataFrame) -> None:
        """Rows of a table, in place of those that the delivery had before."""
        self.drop.setdefault(name, set()).add(delivery)
        if frame.height < SPOOLED:
            if frame.height:
                self.frames.setdefault(name, []).append((delivery, frame))
            return
        paths = self.files.setdefault(name, [])
        paths.append(self.spool / f"{name}-{len(paths)}.parquet")
        BY_NAME[name].fit(frame.with_columns(delivery=pl.lit(delivery))).write_parquet(paths[-1])

    def miss(self, key: str, error: UnreachableError) -> None:
        """A source could not be reached: said, and the others go on."""
        self.unreached.append(error)
        self.messages.append(f"`{key}` could not be reached and stays as it was: {error.wrong}. {error.found}")

    def record(self, part: Part, delivery: str = "", rows: int = 0, aside: int = 0, **costs: object) -> None:
        """That a delivery was read, and that it can be read again."""
        name = delivery or part.name
        names = [name_of(file, self.workspace.folder) for file in part.files]
        counts = {"rows": rows, "rows_set_aside": aside}
        self.records[name] = {"delivery": name, "digest": part.digest, "files": names, **counts, **costs}
        self.counts["rows"] += rows
        self.counts["aside"] += aside


def name_of(path: Path, folder: Path) -> str:
    address = s3_mirror.address_of(path)
    return address or (path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix())


def readable(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(UNREADABLE)]
