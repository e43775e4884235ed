"""What every file source gives back: rows that could be read, rows that could not, and what was seen."""

import gzip
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from costwhy import tables
from costwhy.errors import SourceError

MOST_BYTES = 256 * 1024 * 1024  # of one file, unpacked: a larger one is no log file but an accident or an attack
SHOWN = 300  # characters of a record that was set aside


@dataclass(frozen=True)
class Reading:
    """Files, read. `rows`: the source's table; `set_aside` and `seen`: tables of that name; all without `delivery`."""

    rows: pl.DataFrame
    set_aside: pl.DataFrame
    seen: pl.DataFrame


@dataclass(frozen=True)
class Aside:
    """One record that could not be read."""

    file: str
    place: str
    reason: str
    record: str = ""


def find_files(path: str, folder: Path, endings: Sequence[str]) -> tuple[Path, ...]:
    """Files of a source: one file, a folder with all below it, or a glob; relative to the workspace's folder.

    Raises SourceError where there is none.
    """
    place = folder / path
    if place.is_file():
        return (place,)
    found = (
        place.rglob("*")
        if place.is_dir()
        else folder.glob(path)
        if not Path(path).is_absolute()
        else Path(path).parent.glob(Path(path).name)
    )
    files = tuple(sorted(f for f in found if f.is_file() and f.name.endswith(tuple(endings)) and not f.name.startswith(".")))
    if not files:
        what = "an empty folder" if place.is_dir() else "nothing there"
        raise SourceError(
            f"no file at {path}", found=f"{what} ({place})", todo=f"put files that end in {', '.join(endings)} there, or mend the path"
        )
    return files


def read_text(file: Path) -> str:
    """The text of a file, unpacked where it is gzip. Raises SourceError where it is too large, broken, or no UTF-8."""
    try:
        with (gzip.open if file.name.endswith(".gz") else open)(file, "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{file.name} cannot be read", found=str(error), todo="deliver the file again") from error
    if len(data) > MOST_BYTES:
        raise SourceError(f"{file.name} is too large", found=f"more than {MOST_BYTES >> 20} MB unpacked", todo="split the file")
    try:
        return bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file.name} is not UTF-8", found=str(error), todo="deliver it as UTF-8") from error


def parse_time(value: object) -> datetime:
    """An RFC 3339 time as UTC. Raises ValueError where it is none, or has no zone."""
    if not isinstance(value, str):
        raise ValueError(f"time is missing, or not text: {value!r}")
    time = datetime.fromisoformat(value)
    if time.tzinfo is None:
        raise ValueError(f"time {value} has no zone; write it with Z or an offset")
    return time.astimezone(UTC)


def aside_frame(source: str, asides: Iterable[Aside]) -> pl.DataFrame:
    """`tables.SET_ASIDE` without delivery."""
    rows = [
        {"source": source, "file": a.file, "place": a.place, "reason": a.reason, "record": a.record[:SHOWN], "records": 1} for a in asides
    ]
    return tables.SET_ASIDE.fit(pl.DataFrame(rows, schema={n: t for n, t in tables.SET_ASIDE.schema.items() if n != "delivery"})).drop(
        "delivery"
    )


def seen_frame(source: str, places: Iterable[tuple[str | None, datetime]]) -> pl.DataFrame:
    """`tables.SEEN` without delivery, from (account, time) of every record."""
    frame = pl.DataFrame(list(places), schema={"account": pl.String, "hour": tables.TIME}, orient="row")
    counts = frame.with_columns(pl.col("hour").dt.truncate("1h")).group_by("account", "hour").agg(records=pl.len()).sort("hour", "account")
    return tables.SEEN.fit(counts.with_columns(source=pl.lit(source))).drop("delivery")


def change_frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    """`tables.CHANGES` without delivery."""
    schema = {name: dtype for name, dtype in tables.CHANGES.schema.items() if name != "delivery"}
    return pl.DataFrame(rows, schema=schema) if rows else tables.CHANGES.empty().drop("delivery")
