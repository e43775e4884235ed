"""The parts of a source that are new or changed; a part that cannot be read stays as it was."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from costwhy import tables
from costwhy.errors import SourceError
from costwhy.ingest.batch import TABLES, UNREADABLE, Delivery, Part, Run, Source
from costwhy.ingest.billing import COSTS, FileCube, merge, of_period, reduce_file
from costwhy.ingest.parts import parts_of
from costwhy.sources.format import Bill
from costwhy.sources.reading import Reading

Faults = dict[Path, str]  # Files that could not be read, with the reason


def read_files(source: Source, run: Run) -> None:
    """All parts that are new or changed. Raises SourceError where no file could be read, ever."""
    any_sound, faults = False, Faults()
    for part in parts_of(source, run):
        if run.known.get(part.name) == part.digest or part.name in run.batch.records:
            run.log.skipped += len(part.files)
            run.tell(source.path, len(part.files))
            any_sound = True
            continue
        found = _read_part(source, part, run)
        run.log.read += len(part.files)
        any_sound = any_sound or not found
        faults |= found
    nothing_known = len(faults) == len(source.files) or not run.has(source.name)
    if faults and not any_sound and nothing_known:
        file, reason = next(iter(faults.items()))
        raise SourceError(
            f"`{source.key}.path`: nothing at {source.path} could be read",
            found=f"{file.name}: {reason}",
            fix="deliver them again; the lake is as before",
        )


def _read_part(source: Source, part: Part, run: Run) -> Faults:
    form = source.format
    if form.bill:
        return _read_bill(source, form.bill, part, run)
    return _read_records(source, form.read, part, run) if form.read else {}


# ---------------------------------------------------------------- bills


def _read_bill(source: Source, bill: Bill, part: Part, run: Run) -> Faults:
    """One period, or all files where paths name none."""
    workspace, cubes, faults = run.workspace, list[FileCube](), Faults()
    for file in part.files:
        try:
            cubes.append(reduce_file(file, bill, workspace.mapping, workspace.currency))
        except SourceError as error:
            faults[file] = f"{error.problem}. {error.found}"
        run.tell(file.name, 1)
    cube = merge(cubes) if cubes else None
    if not faults and cube is not None and cube.hourly.is_empty() and cube.set_aside.height:
        reason = f"no row could be read: {cube.set_aside['reason'][0]}"
        faults = dict.fromkeys(part.files, reason)
    if faults or cube is None:
        _keep_former(source, part, faults, run)
    else:
        _take_bill(source, part, cube, run)
    return faults


def _take_bill(source: Source, part: Part, cube: FileCube, run: Run) -> None:
    """A period is a delivery; where paths name none, each period that the rows name."""
    run.batch.series.append(cube.series)
    run.log.totals.append(cube.totals)
    _forget_fault(part, run)
    if cube.lacking:
        run.log.hint(f"{source.path} has no column {', no '.join(cube.lacking)}")
    aside = {"set_aside": cube.set_aside}
    if part.name != source.name:
        _add(part, part.name, aside | cube.tables, run, cube, cube.rows_set_aside)
        return
    _add(part, part.name, aside, run, rows_set_aside=cube.rows_set_aside)
    for month in cube.totals["billing_period"].sort():
        piece = of_period(cube, month)
        _add(part, f"{part.name}:{month}", piece.tables, run, piece)


def _add(
    part: Part,
    name: str,
    frames: Mapping[str, pl.DataFrame],
    run: Run,
    cube: FileCube | None = None,
    rows_set_aside: int = 0,
) -> None:
    """A delivery of a part, of which these are the rows."""
    rows = int(cube.hourly["rows"].sum()) if cube else 0
    costs = cube.totals.select(pl.col(COSTS).sum()).row(0, named=True) if cube else {}
    names = _names(part.files, run)
    run.batch.add(Delivery(name, part.digest, frames, names, rows, rows_set_aside, costs))


def _names(files: Iterable[Path], run: Run) -> tuple[str, ...]:
    return tuple(run.name_of(file) for file in files)


# ---------------------------------------------------------------- changes, signals, catalogues


def _read_records(source: Source, read: Callable[..., Reading], part: Part, run: Run) -> Faults:
    """Changes, signals or a catalogue; of signals each day is a delivery."""
    tags = (run.workspace.mapping.service_tags,) if source.format.reads_tags else ()
    reading = _renamed(read(part.files, *tags), part, run)
    run.tell(part.files[-1].name, len(part.files))
    faults = _whole_files(reading, part, run)
    if faults and (run.has(part.name) or len(faults) == len(part.files)):
        _keep_former(source, part, faults, run)
        return faults
    _forget_fault(part, run)
    names = _names(faults, run)
    reasons = zip(names, faults.values(), strict=True)
    run.log.messages += [f"{name} was set aside: {fault}" for name, fault in reasons]
    for note in reading.notes:
        run.log.hint(f"{source.path}: {note}")
    table, files = TABLES[source.format.section], _names(part.files, run)
    days = reading.by_day() if table == "signals" else {}
    whole = {"set_aside": reading.set_aside}
    if table != "signals":
        whole |= {table: reading.rows, "seen": reading.seen}
    rows = 0 if days else reading.rows.height
    aside = int(reading.set_aside["records"].sum())
    for day, piece in days.items():
        frames = {table: piece.rows, "seen": piece.seen}
        name, height = f"{part.name}:{day}", piece.rows.height
        run.batch.add(Delivery(name, part.digest, frames, files, height))
    run.batch.add(Delivery(part.name, part.digest, whole, files, rows, aside))
    return {}


def _renamed(reading: Reading, part: Part, run: Run) -> Reading:
    """The reading; what was set aside names its files from the workspace's folder."""
    if reading.set_aside.is_empty():
        return reading
    names = {str(file): run.name_of(file) for file in part.files}
    aside = reading.set_aside.with_columns(pl.col("file").replace(names))
    return replace(reading, set_aside=aside)


def _whole_files(reading: Reading, part: Part, run: Run) -> Faults:
    """Files that were set aside whole: no place is named."""
    whole = reading.set_aside.filter(pl.col("place").is_null()).select("file", "reason")
    reasons = {str(name): str(reason) for name, reason in whole.iter_rows()}
    names = {file: run.name_of(file) for file in part.files}
    return {file: reasons[name] for file, name in names.items() if name in reasons}


# ---------------------------------------------------------------- what cannot be read


def _keep_former(source: Source, part: Part, faults: Faults, run: Run) -> None:
    """The part stays as it was delivered before; what could not be read is set aside, once."""
    names = dict(zip(_names(faults, run), faults.values(), strict=True))
    run.log.messages += [
        f"{name} was set aside, {part.name} stays as it was: {fault}"
        for name, fault in names.items()
    ]
    bad = part.name + UNREADABLE
    if run.known.get(bad) == part.digest:
        run.log.unreadable += len(names)
        return
    kind = source.format.source
    rows = [
        {"source": kind, "file": name, "reason": fault, "records": 1}
        for name, fault in names.items()
    ]
    aside = {"set_aside": tables.SET_ASIDE.fit(pl.DataFrame(rows)).drop("delivery")}
    files = _names(part.files, run)
    run.batch.add(Delivery(bad, part.digest, aside, files, rows_set_aside=len(names)))


def _forget_fault(part: Part, run: Run) -> None:
    """What could not be read before can be read now."""
    if part.name + UNREADABLE in run.known:
        run.batch.forget([part.name + UNREADABLE], ("set_aside", "deliveries"))
