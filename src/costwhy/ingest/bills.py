"""Bills of several files: each row counts once, whatever number of files hold it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import polars as pl

from costwhy.config import Workspace
from costwhy.ingest.batch import Part, Source
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cells import Beside, no_cells
from costwhy.ingest.cube import Cube
from costwhy.ingest.overlap import Edition, Overlap, find_overlaps
from costwhy.sources.cost import paths
from costwhy.sources.format import Bill
from costwhy.sources.reading import fit
from costwhy.tables import SET_ASIDE

WHY = {  # of rows that do not count, for `set_aside`
    "same": "the same rows are counted from {}",
    "newer": "replaced by what is newer, counted from {}",
    "unsure": "the same charges, some with other costs, are counted from {}",
}
MANY = 3  # Files that are named one by one
SUMS = ("rows", "BilledCost", "EffectiveCost")


@dataclass(frozen=True)
class Reader:
    """How the files of a part are read."""

    bill: Bill
    workspace: Workspace
    beside: Beside

    def read(self, file: Path, without: pl.Series | None = None) -> Cube:
        """One file, or what is left of it without some cells. Raises SourceError."""
        beside = replace(self.beside, without=without)
        workspace = self.workspace
        return reduce_file(file, self.bill, workspace.mapping, workspace.currency, beside)


@dataclass(frozen=True)
class Counted:
    """Which rows of the files of a part count.

    kept     the cube of each file, with these rows; the others are set aside
    told     messages
    by_hour  days of two files agree in part: only their hours tell
    """

    kept: dict[str, Cube]
    told: list[str] = field(default_factory=list)
    by_hour: bool = False


def editions_of(source: Source, part: Part) -> dict[str, list[int]]:
    """The files of each edition, by their places in the part."""
    found: dict[str, list[int]] = {}
    for place, file in enumerate(part.files):
        found.setdefault(paths.edition_of(file, source.root), []).append(place)
    return found


def count_once(source: Source, part: Part, cubes: Mapping[str, Cube], reader: Reader) -> Counted:
    """Each row once, whichever of the files have it.

    cubes: of all rows; with cells, where there are several editions
    """
    kept = {name: cubes[name] for name in part.names}
    groups = [*editions_of(source, part).values()]
    if len(groups) < 2:
        return Counted(kept)
    currency = reader.workspace.currency
    editions = [_edition(source, part.at(group), cubes) for group in groups]
    overlaps = find_overlaps(editions)
    if reader.beside.compared == "day" and any(one.by_hour for one in overlaps):
        return Counted(kept, by_hour=True)
    for place, group in enumerate(groups):
        lost = [_lost(one, editions) for one in overlaps if one.loser == place]
        for k in group if lost else ():
            whole = cubes[part.names[k]]
            cells = whole.cells.join(pl.concat(lost), on="cell")
            if cells.is_empty():
                continue
            gone = cells.height == whole.cells.height
            rest = _emptied(whole) if gone else reader.read(part.files[k], cells["cell"])
            aside = _aside(cells, PurePosixPath(part.names[k]).name, currency)
            kept[part.names[k]] = replace(rest, set_aside=pl.concat([whole.set_aside, aside]))
    return Counted(kept, _told(editions, overlaps, currency))


def is_emptied(before: Cube, after: Cube) -> bool:
    """Whether nothing of a file counts."""
    return after.hourly.is_empty() and not before.hourly.is_empty()


def _edition(source: Source, part: Part, cubes: Mapping[str, Cube]) -> Edition:
    file = part.files[0]
    moment, number = paths.stamp_of(file, source.root)
    whole = pl.concat([cubes[name].cells for name in part.names])
    if len(part.names) > 1:
        first = ["billing_period", "day", "account"]
        whole = whole.group_by("cell").agg(
            pl.col(first).first(),
            pl.col("rows", "mark", *SUMS[1:]).sum(),
            ids=pl.when(pl.col("ids").count() > 0).then(pl.col("ids").sum()),
            bits=pl.col("bits").bitwise_or(),
        )
    return Edition(
        part.names[0],
        paths.family_of(file, source.root),
        (source.dates.get(file, moment), number),
        paths.is_copy(file),
        whole.select(no_cells().columns),
    )


def _lost(overlap: Overlap, editions: Sequence[Edition]) -> pl.DataFrame:
    why = WHY[overlap.why].format(editions[overlap.winner].name)
    return overlap.cells.select("cell", reason=pl.lit(why))


def _aside(cells: pl.DataFrame, name: str, currency: str) -> pl.DataFrame:
    """Rows of `set_aside`: one for each file that counts instead, and each period."""
    sums = cells.group_by("reason", "billing_period").agg(pl.col(SUMS).sum())
    return fit(
        SET_ASIDE,
        sums.sort("reason", "billing_period")
        .rename({"rows": "records"})
        .with_columns(source=pl.lit("cost"), file=pl.lit(name), BillingCurrency=pl.lit(currency))
        .to_dicts(),
    )


def _told(editions: Sequence[Edition], overlaps: Sequence[Overlap], currency: str) -> list[str]:
    """Messages: one for each pair that is not certain, one for all others of a winner."""
    told, certain = list[str](), dict[int, list[Overlap]]()
    for one in overlaps:
        if one.why == "unsure":
            told.append(_unsure(one, editions, currency))
        else:
            certain.setdefault(one.winner, []).append(one)
    for winner, losers in certain.items():
        names = sorted({editions[one.loser].name for one in losers})
        rows, cost = _sum(pl.concat([one.cells for one in losers]))
        what = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        told.append(
            f"{what}: {rows:,} rows ({_amount(cost, currency)}) are not counted, "
            f"{editions[winner].name} has the same or newer ones"
        )
    return told


def _unsure(one: Overlap, editions: Sequence[Edition], currency: str) -> str:
    loser, winner = editions[one.loser], editions[one.winner]
    both = _sum(pl.concat([loser.cells.select(SUMS), winner.cells.select(SUMS)]))[1]
    rows, cost = _sum(one.cells if one.alike is None else one.alike)
    once, twice = _amount(both - cost, currency), _amount(both, currency)
    what = f"{loser.name} and {winner.name} have the same charges ({rows:,} rows"
    if one.alike is not None:
        return f"{what}) with other costs: both are counted, {twice}; once it would be {once}"
    return (
        f"{what}, {_amount(cost, currency)}), nothing says which is right: they are counted once, "
        f"from {winner.name}, {once}; with both it would be {twice}"
    )


def _amount(cost: float, currency: str) -> str:
    return f"{cost:,.2f} {currency}"


def _sum(cells: pl.DataFrame) -> tuple[int, float]:
    return int(cells["rows"].sum()), float(cells["EffectiveCost"].sum())


def _emptied(cube: Cube) -> Cube:
    """A file of which no row counts; what of it could not be read stays set aside."""
    return replace(
        cube,
        series=cube.series.clear(),
        hourly=cube.hourly.clear(),
        daily=cube.daily.clear(),
        totals=cube.totals.clear(),
        notes=cube.notes.clear(),
        cells=no_cells(),
    )


# ---------------------------------------------------------------- what is not read


def left_out(source: Source, part: Part) -> Iterator[str]:
    """Messages on the files that are not read."""
    for name, reason in [*part.left_out.items()][:MANY]:
        yield f"{name} was not read: {reason}"
    if len(part.left_out) > MANY:
        yield f"{source.path}: {len(part.left_out) - MANY} more files have contents of others"
    if replaced := len(source.left_out):
        last = max(source.left_out.items())
        yield f"{source.path}: {replaced} files were not read; {last[0].name}: {last[1]}"
