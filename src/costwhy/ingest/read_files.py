"""TODO ingest/read_files.py"""

from dataclasses import replace
from pathlib import Path

import polars as pl

from costwhy import tables
from costwhy.errors import SourceError
from costwhy.ingest.batch import UNREADABLE, Batch, Part, Source, name_of, readable
from costwhy.ingest.billing import COSTS, FileCube, merge, reduce_file
from costwhy.ingest.parts import mapping_of, parts_of, split_by_day
from costwhy.sources.reading import Reading
from costwhy.sources.registry import READERS


def read_source(source: Source, batch: Batch) -> None:
    """All parts that are new or changed. Raises SourceError where no file could be read, now or ever."""
    sound, failed, first = False, 0, ""
    for part in parts_of(source, batch):
        if batch.known.get(part.name) == part.digest or part.name in batch.records:
            batch.counts["skipped"] += len(part.files)
            batch.tell(source.path, len(part.files))
            sound = True
            continue
        faults = (_read_records if source.form in READERS else _read_cost)(source, part, batch)
        batch.counts["read"] += len(part.files)
        failed += len(faults)
        sound = sound or not faults
        first = first or next((f"{file.name}: {fault}" for file, fault in faults.items()), "")
    held = any(name == source.name or name.startswith(f"{source.name}:") for name in readable(batch.known))
    if failed and not sound and (failed == len(source.files) or not held):
        todo = "deliver them again; the lake is as before"
        raise SourceError(f"`{source.key}.path`: nothing at {source.path} could be read", found=first, todo=todo)


def _read_cost(source: Source, part: Part, batch: Batch) -> dict[Path, str]:
    """One period, or all files where paths name none. Returns the files that could not be read, with the reason."""
    cubes: list[FileCube] = []
    faults: dict[Path, str] = {}
    for file in part.files:
        try:
            cubes.append(reduce_file(file, source.form, batch.workspace.mapping, batch.workspace.currency))
        except SourceError as error:
            faults[file] = f"{error.wrong}. {error.found}"
        batch.tell(file.name, 1)
    cube = merge(cubes) if cubes else None
    if not faults and cube is not None and cube.hourly.is_empty() and cube.set_aside.height:
        faults = dict.fromkeys(part.files, f"no row could be read: {cube.set_aside['reason'][0]}")
    if faults or cube is None:
        _keep_former(source, part, faults, batch)
    else:
        _take_cost(source, part, cube, batch)
    return faults


def _take_cost(source: Source, part: Part, cube: FileCube, batch: Batch) -> None:
    batch.frames.setdefault("series", []).append(("", cube.series))
    batch.totals.append(cube.totals)
    _forget_fault(part, batch)
    _say_lacking(source, cube, batch)
    batch.add("set_aside", part.name, cube.set_aside)
    pieces = {part.name: cube}
    if part.name == source.name:  # paths name no period: the rows do
        pieces = {f"{part.name}:{month}": _of_period(cube, month) for month in cube.totals["billing_period"].sort()}
        batch.record(part, aside=cube.rows_set_aside)
    for delivery, piece in pieces.items():
        for name in ("hourly", "daily", "overview", "seen"):
            batch.add(name, delivery, getattr(piece, name))
        costs = piece.totals.select(pl.col(COSTS).sum()).row(0, named=True)
        aside = cube.rows_set_aside if delivery == part.name else 0
        batch.record(part, delivery, int(piece.hourly["rows"].sum()), aside, **costs)


def _say_lacking(source: Source, cube: FileCube, batch: Batch) -> None:
    """Columns that are absent, once for all periods of a source that lack the same."""
    message = f"{source.path} has no column {', no '.join(cube.lacking)}"
    if cube.lacking and message not in batch.hints:
        batch.hints.append(message)


def _of_period(cube: FileCube, month: str) -> FileCube:
    """The part of a cube that belongs to one billing period."""
    this = pl.col("billing_period") == month
    hourly = cube.hourly.filter(this)
    wide = hourly.join(cube.series.select("series_id", "SubAccountId", "service"), on="series_id")
    keys = ["hour", "SubAccountId", "service"]
    seen = wide.group_by("hour", account="SubAccountId").agg(records=pl.col("rows").sum()).sort("hour", "account")
    return replace(
        cube,
        hourly=hourly,
        daily=cube.daily.filter(this),
        overview=wide.group_by(keys).agg(pl.col(COSTS).sum()).sort(keys).select(cube.overview.columns),
        seen=seen.with_columns(source=pl.lit("cost")).select(cube.seen.columns),
        totals=cube.totals.filter(this),
    )


def _read_records(source: Source, part: Part, batch: Batch) -> dict[Path, str]:
    """Changes, signals or a catalogue. Returns the files that could not be read, with the reason."""
    reader, table = READERS[source.form]
    mapping = mapping_of(source, batch.workspace)
    options = {} if mapping is None else {"service_tags": mapping.service_tags}
    reading = _relative(reader.read(part.files, **options), part, batch.workspace.folder)
    batch.tell(part.files[-1].name, len(part.files))
    faults = _whole_files(reading, part, batch.workspace.folder)
    held = any(n == part.name or n.startswith(f"{part.name}:") for n in readable(batch.known)) if faults else False
    if faults and (held or len(faults) == len(part.files)):
        _keep_former(source, part, faults, batch)
        return faults
    _forget_fault(part, batch)
    for file, fault in faults.items():
        batch.messages.append(f"{name_of(file, batch.workspace.folder)} was set aside: {fault}")
    aside = int(reading.set_aside["records"].sum())
    batch.add("set_aside", part.name, reading.set_aside)
    days = split_by_day(reading) if table == "signals" else {}
    for delivery, piece in days.items():
        name = f"{part.name}:{delivery}"
        batch.add(table, name, piece.rows)
        batch.add("seen", name, piece.seen)
        batch.record(part, name, piece.rows.height)
    if table != "signals":
        batch.add(table, part.name, reading.rows)
        batch.add("seen", part.name, reading.seen)
    batch.record(part, rows=0 if days else reading.rows.height, aside=aside)
    return {} if len(faults) < len(part.files) else faults


def _relative(reading: Reading, part: Part, folder: Path) -> Reading:
    """The files of records that were set aside, named from the workspace's folder."""
    if reading.set_aside.is_empty():
        return reading
    names = {str(file): name_of(file, folder) for file in part.files}
    return replace(reading, set_aside=reading.set_aside.with_columns(pl.col("file").replace(names)))


def _whole_files(reading: Reading, part: Part, folder: Path) -> dict[Path, str]:
    """Files that were set aside whole: no place is named."""
    whole = reading.set_aside.filter(pl.col("place").is_null()).select("file", "reason")
    reasons = {str(name): str(reason) for name, reason in whole.iter_rows()}
    return {file: reasons[name] for file in part.files if (name := name_of(file, folder)) in reasons}


def _keep_former(source: Source, part: Part, faults: dict[Path, str], batch: Batch) -> None:
    """The part stays as it was delivered before; what could not be read is set aside, once."""
    kind = "cost" if source.form not in READERS else source.form
    names = {name_of(file, batch.workspace.folder): fault for file, fault in faults.items()}
    batch.messages += [f"{name} was set aside, {part.name} stays as it was: {fault}" for name, fault in names.items()]
    bad = replace(part, name=part.name + UNREADABLE)
    if batch.known.get(bad.name) == bad.digest:
        batch.counts["aside"] += len(names)
        return
    rows = [{"source": kind, "file": name, "reason": fault, "records": 1} for name, fault in names.items()]
    batch.add("set_aside", bad.name, tables.SET_ASIDE.fit(pl.DataFrame(rows)).drop("delivery"))
    batch.record(bad, aside=len(names))


def _forget_fault(part: Part, batch: Batch) -> None:
    """What could not be read before can be read now."""
    if part.name + UNREADABLE in batch.known:
        for name in ("set_aside", "deliveries"):
            batch.drop.setdefault(name, set()).add(part.name + UNREADABLE)
