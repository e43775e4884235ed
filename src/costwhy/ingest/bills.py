"""Bills of several files: each row counts once, whatever number of files hold it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import polars as pl

from costwhy.config import Workspace
from costwhy.errors import SourceError
from costwhy.ingest import unread
from costwhy.ingest.aside import said
from costwhy.ingest.batch import Delivery, Part, Run, Source
from costwhy.ingest.billing import reduce_file
from costwhy.ingest.cells import Beside, joined, no_cells
from costwhy.ingest.cube import COSTS, Cube, merge, told
from costwhy.ingest.moved import tell_gone
from costwhy.ingest.overlap import Edition, Overlap, find_overlaps
from costwhy.ingest.split import find_shares
from costwhy.sources.cost import paths
from costwhy.sources.format import Bill
from costwhy.sources.reading import clean, fit
from costwhy.tables import BY_NAME, SET_ASIDE
from costwhy.text import one_line

Faults = dict[str, str]  # Names of files that could not be read, with the reason
OF_BILLS = ("hourly", "daily", "overview", "seen", "files", "set_aside")
WHY = {  # of rows that do not count, for `set_aside`
    "same": "the same rows are counted from {}",
    "newer": "replaced by what is newer, counted from {}",
    "part": "only a part of the day, counted whole from {}",
    "unsure": "the same charges, some with other costs, are counted from {}",
}
SUMS = ("rows", "BilledCost", "EffectiveCost")


# ---------------------------------------------------------------- one part


@dataclass(frozen=True)
class Reader:
    """How the files of a part are read."""

    bill: Bill
    workspace: Workspace
    beside: Beside
    spool: Path
    instead: Mapping[Path, Path]  # Files to be read for others: `Bill.together`

    def read(self, file: Path, without: pl.Series | None = None) -> Cube:
        """One file, or what is left of it without some cells. Raises SourceError."""
        beside = replace(self.beside, without=without)
        file, workspace = self.instead.get(file, file), self.workspace
        return reduce_file(
            file, self.bill, workspace.mapping, workspace.currency, self.spool, beside
        )


def read_bill(source: Source, bill: Bill, part: Part, run: Run) -> Faults:
    """Every file of the part, compared with the others; each delivery of it.

    Where a delivery that is in the lake cannot be read, the others stay as they were too: it may
    have rows of theirs.
    """
    kept, whole, gone = dict[str, Cube](), part, True
    faults, bad = Faults(), set[str]()
    unit = "day" if len(editions_of(source, part)) > 1 else ""
    try:
        instead, of_all = _together(bill, part, run.batch.spool)
    except SourceError as error:
        return dict.fromkeys(part.names, _fault(error))
    while gone:  # what is split is split anew where a file does not count at all
        files = [instead.get(file, file) for file in part.files]
        shares, notes = find_shares(files, bill, run.workspace.currency, run.batch.spool)
        reader = Reader(bill, run.workspace, Beside(shares, unit), run.batch.spool, instead)
        cubes, found = _reduced(reader, part, run)
        faults |= found
        bad |= {of for of, name in zip(part.of, part.names, strict=True) if name in found}
        if not unit and len(editions_of(source, part, cubes)) > 1:
            unit = "day"
            continue
        sound = [name for name in whole.wanted if name not in bad]
        if any(map(run.has, bad)) or all(run.known.get(n) == part.digest for n in sound):
            return faults
        part = part.at([k for k, of in enumerate(part.of) if of not in bad])
        counted = count_once(source, part, cubes, reader)
        if counted.by_hour and unit == "day":
            unit = "hour"
            continue
        kept |= counted.kept
        run.hints += counted.told
        gone = bool(shares) and any(is_emptied(cubes[n], kept[n]) for n in part.names)
        part = part.at([k for k, n in enumerate(part.names) if not is_emptied(cubes[n], kept[n])])
    run.hints += [f"{source.path}: {note}" for note in (*of_all, *notes)]
    for name in sound:
        own = whole.only(name)
        _deliver(source, own, [kept[file] for file in own.names], run)
    return faults


def _reduced(reader: Reader, part: Part, run: Run) -> tuple[dict[str, Cube], Faults]:
    """The cube of each file, or why it cannot be read."""
    cubes, faults = dict[str, Cube](), Faults()
    for file, name in zip(part.files, part.names, strict=True):
        try:
            cubes[name] = reader.read(file)
        except SourceError as error:
            faults[name] = _fault(error)
        run.tell(file.name, 1)
    for delivery in () if faults else part.wanted:
        own = [cubes[name] for name in part.only(delivery).names]
        if any(c.set_aside.height for c in own) and not any(c.rows for c in own):
            what = [text for cube in own for text in (*said(cube.set_aside), *cube.notes)]
            why = f"no row could be read: {'; '.join(what)}"
            faults |= dict.fromkeys(part.only(delivery).names, why)
    return cubes, faults


def _fault(error: SourceError) -> str:
    texts = (error.problem, error.found, error.fix and f"To do: {error.fix}")
    return ". ".join(text for text in texts if text)


def _together(bill: Bill, part: Part, spool: Path) -> tuple[Mapping[Path, Path], tuple[str, ...]]:
    """Files to be read in place of the part's, and what is said of them. Raises SourceError."""
    if not bill.together:
        return {}, ()
    folder = spool / hashlib.sha256(part.name.encode()).hexdigest()
    made, notes = bill.together(part.files, folder)
    return dict(zip(part.files, made, strict=True)), notes


def _deliver(source: Source, part: Part, cubes: Sequence[Cube], run: Run) -> None:
    """A period is a delivery; where paths name none, each period that the rows name."""
    if not cubes:  # all of its files have the contents of others: nothing of it stays
        run.batch.add(Delivery(part.name, part.digest, {n: BY_NAME[n].empty() for n in OF_BILLS}))
        return
    cube = merge(cubes, run.batch.spool)
    run.messages += cube.notes
    run.batch.series.append(cube.series)
    run.totals.append(cube.totals)
    run.hints += [f"{source.path}: {note}" for note in told(cube, run.workspace.currency)]
    if cube.lacking:
        run.hints.append(f"{source.path} has no column {', no '.join(cube.lacking)}")
    frames = {"set_aside": cube.set_aside, "files": unread.of_bill(source, part, cubes)}
    whole = Delivery(part.name, part.digest, frames, part.names)
    if part.name != source.name:
        run.batch.add(_with_money(whole, cube))
        return
    tell_gone(source, part, run)
    run.batch.add(whole)
    for month in cube.totals["billing_period"].sort():
        files = tuple(
            name
            for name, own in zip(part.names, cubes, strict=True)
            if month in own.totals["billing_period"]
        )
        one = replace(whole, name=f"{part.name}:{month}", tables={}, files=files)
        run.batch.add(_with_money(one, cube, month))


def _with_money(delivery: Delivery, cube: Cube, month: str | None = None) -> Delivery:
    """The delivery with the facts of one billing period, or of all."""
    totals = cube.totals if month is None else cube.totals.filter(billing_period=month)
    counts = cube.scan("hourly", month).select(pl.col("rows").sum())
    return replace(
        delivery,
        tables={**delivery.tables, **cube.facts(month)},
        rows=int(counts.collect().item()),
        costs=totals.select(pl.col(COSTS).sum()).row(0, named=True),
    )


# ---------------------------------------------------------------- each row once


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


def editions_of(
    source: Source, part: Part, cubes: Mapping[str, Cube] | None = None
) -> dict[str, list[int]]:
    """The files of each edition, by their places in the part.

    A format that reads the files of a part together has counted each row once. Files that differ in
    a bare number may be parts, or months to date: the latter have each other's rows.
    """
    if source.format.bill and source.format.bill.together:
        return {"": [*range(len(part.files))]}
    found: dict[str, list[int]] = {}
    for place, file in enumerate(part.files):
        found.setdefault(paths.edition_of(file, source.root), []).append(place)
    cubes = cubes or {}
    for name, places in [*found.items()] if cubes else ():
        files = [part.files[k] for k in places]
        days = [cubes[part.names[k]] for k in places if part.names[k] in cubes]
        if len(days) > 1 and not any(map(paths.says_part, files)) and _repeat(days):
            del found[name]
            found |= {f"{name} {k}": [k] for k in places}
    return found


def _repeat(cubes: Sequence[Cube]) -> bool:
    """Whether half of the charges of a file are in another one too, by resource and day."""
    keys = ["day", "series_id", "ResourceId", *COSTS[:2]]
    rows = [
        cube.scan("daily")
        .filter(pl.col("BilledCost") != 0)
        .select(pl.struct(keys).hash().alias("row"), file=pl.lit(k))
        .collect()
        for k, cube in enumerate(cubes)
    ]
    whole = pl.concat(rows).with_columns(files=pl.col("file").n_unique().over("row"))
    shares = whole.group_by("file").agg(share=(pl.col("files") > 1).mean())
    return bool((shares["share"] >= 0.5).sum() > 1)


def count_once(source: Source, part: Part, cubes: Mapping[str, Cube], reader: Reader) -> Counted:
    """Each row once, whichever of the files have it.

    cubes: of all rows; with cells, where there are several editions
    """
    kept = {name: cubes[name] for name in part.names}
    groups = [*editions_of(source, part, cubes).values()]
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
            aside = _aside(cells, clean(PurePosixPath(part.names[k]).name), currency)
            kept[part.names[k]] = replace(rest, set_aside=pl.concat([whole.set_aside, aside]))
    unsure = [_unsure(one, editions, currency) for one in overlaps if one.why == "unsure"]
    return Counted(kept, unsure)


def is_emptied(before: Cube, after: Cube) -> bool:
    """Whether nothing of a file counts."""
    return bool(before.rows and not after.rows)


def _edition(source: Source, part: Part, cubes: Mapping[str, Cube]) -> Edition:
    file = part.files[0]
    moment, number = paths.stamp_of(file, source.root)
    whole = pl.concat([cubes[name].cells for name in part.names])
    if len(part.names) > 1:
        whole = joined(whole, "cell")
    return Edition(
        one_line(part.names[0], 200),
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
        hourly=None,
        daily=None,
        rows=0,
        totals=cube.totals.clear(),
        odd=cube.odd.clear(),
        cells=no_cells(),
    )
