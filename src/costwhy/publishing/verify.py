"""A case run again from its own data: every number and digest compared, and what the provider has restated since."""

import json
import math
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.case.analysis import LakeReader, analyse
from costwhy.case.case import Case
from costwhy.case.document import document
from costwhy.case.opened import FRAMES, SUMS, Published, digests, open_case
from costwhy.errors import CostwhyError, DifferenceError
from costwhy.model.observed import Observed
from costwhy.publishing.evidence import investigate_frozen, observed_of, open_frozen
from costwhy.publishing.publish import PACKAGES, markdown
from costwhy.tables import METER
from costwhy.text import CENT

SAME = 1e-6  # relative: another machine may add in another order
MOST_SHOWN = 20


@dataclass(frozen=True)
class Difference:
    """One value of a case that is not what it was: where, what is written, what comes out."""

    place: str
    written: object
    found: object

    def __str__(self) -> str:
        return f"{self.place}: {self.written!r} is written, {self.found!r} comes out"


@dataclass(frozen=True)
class Checked:
    """A case that is as it was. values: how many were compared; notes: what is worth knowing and no difference."""

    values: int
    files: int
    notes: tuple[str, ...]


def verify(place: str | Path) -> Checked:
    """Compare every digest, then every number with what the case's data give now.

    Raises DifferenceError naming what differs, and InputError where there is no case.
    """
    folder = Path(place)
    if not (folder / "case.json").is_file():
        open_case(folder)  # raises: there is none
    changed, files = _changed_files(folder)
    again: list[Difference] = []
    values = 0
    if not any(d.place.startswith("inputs/") for d in changed):
        again, values = _compared(folder)
    if changed or again:
        _complain(folder, [*changed, *again])
    return Checked(values, files, _notes(open_case(folder).about))


def _compared(folder: Path) -> tuple[list[Difference], int]:
    """Everything that is written against everything that comes out."""
    try:
        published = open_case(folder)
        case = investigate_frozen(open_frozen(folder))
    except (CostwhyError, KeyError, ValueError, TypeError, IndexError, OSError, pl.exceptions.PolarsError) as error:
        return [Difference("the case as a whole", "opens", str(error))], 0
    pairs = list(_pairs(published, case, (folder / "case.md").read_text(encoding="utf-8")))
    found = [Difference(at, a, b) for at, a, b in pairs if not _same(a, b)]
    return found, len(pairs)


def _pairs(published: Published, case: Case, text: str) -> Iterator[tuple[str, object, object]]:
    """Each value: its place, as written, as it comes out."""
    yield from _leaves("case.json document", published.about["document"], json.loads(json.dumps(document(case))))
    for name in ("drivers_remainder", "behaviour_remainder", "no_recorded_change", "planned"):
        yield name, getattr(published.case, name), getattr(case, name)
    for name in FRAMES:
        yield from _cells(f"tables/{name}.parquet", getattr(published.case, name), getattr(case, name))
    yield "case.md", text, markdown(case)


def _leaves(at: str, a: Any, b: Any) -> Iterator[tuple[str, object, object]]:
    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _leaves(f"{at} {key}", a.get(key), b.get(key))
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for k, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _leaves(f"{at} [{k}]", one, other)
    else:
        yield at, a, b


def _cells(at: str, a: pl.DataFrame, b: pl.DataFrame) -> Iterator[tuple[str, object, object]]:
    if a.schema != b.schema or a.height != b.height:
        yield at, f"{a.height} rows of {a.schema}", f"{b.height} rows of {b.schema}"
        return
    for name in a.columns:
        for k, (one, other) in enumerate(zip(a[name].to_list(), b[name].to_list(), strict=True)):
            yield f"{at} row {k} {name}", one, other


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float | int) and not isinstance(b, bool):
        return math.isclose(a, b, rel_tol=SAME, abs_tol=SAME)
    return a == b


def _changed_files(folder: Path) -> tuple[list[Difference], int]:
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    now = digests(folder)
    names = sorted(written.keys() | {n for n in now if n.startswith(("inputs/", "tables/", "charts/", "case."))})
    return [Difference(n, written.get(n, "no digest"), now.get(n, "no file")) for n in names if written.get(n) != now.get(n)], len(names)


def _complain(folder: Path, differences: list[Difference]) -> None:
    shown = "\n".join(f"  {d}" for d in differences[:MOST_SHOWN])
    more = f"\n  and {len(differences) - MOST_SHOWN} more" if len(differences) > MOST_SHOWN else ""
    raise DifferenceError(
        f"{folder.name} is not what was published: {len(differences)} differences",
        found=f"\n{shown}{more}",
        todo="publish it again from the lake, or ask who changed it",
    )


def _notes(about: dict[str, Any]) -> tuple[str, ...]:
    now = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return tuple(
        f"{name} {about['made_with'].get(name)} made it, {now[name]} ran it again"
        for name in now
        if about["made_with"].get(name) != now[name]
    )


# ---------------------------------------------------------------- what the provider says now


def restated(place: str | Path, lake: LakeReader) -> pl.DataFrame:
    """What the bill says now of the case's meters and hours: month, ServiceName, x_UsageType, then, now, difference; only what differs by a cent.

    Names that were taken out cannot be matched: such meters are left out.
    """
    then, now = observed_of(open_frozen(place)), analyse(lake).observed
    hidden = bool(json.loads((Path(place) / "case.json").read_text(encoding="utf-8"))["redacted"])
    rows = _by_month(then, then.billed).join(
        _by_month(now, then.billed, then), on=["month", *METER], how="inner" if hidden else "left", nulls_equal=True, suffix="_now"
    )
    moved = rows.with_columns(difference=pl.col("cost_now").fill_null(0.0) - pl.col("cost")).filter(pl.col("difference").abs() >= CENT)
    return moved.select(
        "month", "ServiceName", "x_UsageType", then="cost", now=pl.col("cost_now").fill_null(0.0), difference="difference"
    ).sort(pl.col("difference").abs(), descending=True)


def _by_month(o: Observed, billed: int, like: Observed | None = None) -> pl.DataFrame:
    """Cost of each meter by month, over the hours of `like` that were billed then."""
    hours = (like or o).hours[:billed]
    offset = round((hours[0] - o.hours[0]).total_seconds() / 3600) if hours else 0
    months = np.array([f"{h:%Y-%m}" for h in hours])
    frames = []
    for month in np.unique(months):
        index = np.flatnonzero(months == month) + offset
        index = index[(index >= 0) & (index < o.cost.shape[1])]
        frames.append(o.meters.select(METER).with_columns(month=pl.lit(str(month)), cost=o.cost[:, index].sum(axis=1)))
    empty = o.meters.select(METER).clear().with_columns(month=pl.lit("", dtype=pl.String), cost=pl.lit(0.0))
    return pl.concat([empty, *frames])
