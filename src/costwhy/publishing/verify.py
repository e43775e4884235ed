"""A case run again from its own data: every number and digest compared.

`restated` says what the provider has changed in the bill since.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from costwhy.case.analysis import LakeReader, analyse
from costwhy.case.case import Case
from costwhy.case.investigate import document
from costwhy.case.opened import FRAMES, SUMS, digests, open_case
from costwhy.errors import CostwhyError, DifferenceError
from costwhy.model.observed import HOUR, Observed
from costwhy.publishing.evidence import investigate_again, observed_of, open_evidence
from costwhy.publishing.publish import markdown, versions
from costwhy.tables import METER
from costwhy.text import CENT

SPOILT = (CostwhyError, KeyError, ValueError, TypeError, IndexError, OSError)
SAME = 1e-6  # relative: another machine may add in another order
MOST_SHOWN = 20  # differences in a message
LONGEST = 200  # characters of each value
COMPARED = ("headline", "drivers_remainder", "behaviour_remainder", "no_recorded_change", "planned")
FOLDERS = ("inputs/", "tables/", "charts/", "case.")  # whose files SHA256SUMS must name


@dataclass(frozen=True)
class Difference:
    """One value of a case that is not what it was: where, what is written, what comes out."""

    place: str
    written: object
    found: object

    @property
    def counts(self) -> bool:
        """Whether the two values are not the same."""
        a, b = self.written, self.found
        return (
            not math.isclose(a, b, rel_tol=SAME, abs_tol=SAME)
            if isinstance(a, float) and isinstance(b, float | int) and not isinstance(b, bool)
            else a != b
        )

    def __str__(self) -> str:
        written, found = (repr(value)[:LONGEST] for value in (self.written, self.found))
        return f"{self.place}: {written} is written, {found} comes out"


@dataclass(frozen=True)
class Checked:
    """A case that is as it was published. values, files: how many were compared.

    notes: what is worth knowing and no difference.
    """

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
    files = _files(folder)
    differences = [file for file in files if file.counts]
    values: list[Difference] = []
    if not any(file.place.startswith("inputs/") for file in differences):
        values = _values(folder)
        differences += [value for value in values if value.counts]
    if differences:
        lines = [f"\n  {difference}" for difference in differences[:MOST_SHOWN]]
        if len(differences) > MOST_SHOWN:
            lines.append(f"\n  and {len(differences) - MOST_SHOWN} more")
        raise DifferenceError(
            f"{folder.name} is not what was published: {len(differences)} differences",
            found="".join(lines),
            fix="publish it again from the lake, or ask who changed it",
        )
    made, now = open_case(folder).about["made_with"], versions()
    return Checked(
        len(values),
        len(files),
        tuple(
            f"{name} {made.get(name)} made it, {now[name]} ran it again"
            for name in now
            if made.get(name) != now[name]
        ),
    )


def _values(folder: Path) -> list[Difference]:
    try:
        published, again = open_case(folder), investigate_again(folder)
        return list(
            _leaves(
                "",
                _tree(
                    published.case,
                    published.about["document"],
                    (folder / "case.md").read_text(encoding="utf-8"),
                ),
                _tree(again, document(again), markdown(again)),
            )
        )
    except (*SPOILT, pl.exceptions.PolarsError) as error:
        return [Difference("the case as a whole", "opens", str(error))]


def _tree(case: Case, document: Mapping[str, object], text: str) -> dict[str, object]:
    """All values of a case by their place, as JSON has them."""
    frames = {f"tables/{name}.parquet": getattr(case, name) for name in FRAMES}
    return {
        "case.json document": json.loads(json.dumps(document)),
        **{name: getattr(case, name) for name in COMPARED},
        **{f"{place} columns": str(frame.schema) for place, frame in frames.items()},
        **{place: frame.to_dict(as_series=False) for place, frame in frames.items()},
        "case.md": text,
    }


def _leaves(place: str, written: Any, found: Any) -> Iterator[Difference]:
    if isinstance(written, dict) and isinstance(found, dict):
        for key in {**written, **found}:
            yield from _leaves(f"{place} {key}".lstrip(), written.get(key), found.get(key))
    elif isinstance(written, list) and isinstance(found, list) and len(written) == len(found):
        for number, (one, other) in enumerate(zip(written, found, strict=True)):
            yield from _leaves(f"{place} [{number}]", one, other)
    else:
        yield Difference(place, written, found)


def _files(folder: Path) -> list[Difference]:
    sums = folder / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    written = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    now = digests(folder)
    return [
        Difference(n, written.get(n, "no digest"), now.get(n, "no file"))
        for n in sorted(written.keys() | {name for name in now if name.startswith(FOLDERS)})
    ]


# ---------------------------------------------------------------- what the provider says now


def restated(place: str | Path, lake: LakeReader) -> pl.DataFrame:
    """What the bill says now of the case's meters and hours, where it differs by a cent.

    month, ServiceName, x_UsageType, then, now, difference. Names that were taken out cannot be
    matched: such meters are left out.
    """
    then, now = observed_of(open_evidence(place)), analyse(lake).observed
    redacted = json.loads((Path(place) / "case.json").read_text(encoding="utf-8"))["redacted"]
    hours, size = then.hours[: then.billed], pl.col("difference").abs()
    return (
        _by_month(then, hours)
        .join(
            _by_month(now, hours),
            on=["month", *METER],
            how="inner" if redacted else "left",
            nulls_equal=True,
            suffix="_now",
        )
        .select(
            *("month", "ServiceName", "x_UsageType"),
            then="cost",
            now=pl.col("cost_now").fill_null(0.0),
        )
        .with_columns(difference=pl.col("now") - pl.col("then"))
        .filter(size >= CENT)
        .sort(size, descending=True)
    )


def _by_month(observed: Observed, hours: Sequence[datetime]) -> pl.DataFrame:
    offset = round((hours[0] - observed.hours[0]) / HOUR) if hours else 0
    months = np.array([f"{hour:%Y-%m}" for hour in hours])
    meters = observed.meters.select(METER)
    frames = [meters.clear().with_columns(month=pl.lit("", dtype=pl.String), cost=pl.lit(0.0))]
    for month in np.unique(months):
        index = np.flatnonzero(months == month) + offset
        index = index[(index >= 0) & (index < observed.cost.shape[1])]
        frames.append(
            meters.with_columns(month=pl.lit(str(month)), cost=observed.cost[:, index].sum(axis=1))
        )
    return pl.concat(frames)
