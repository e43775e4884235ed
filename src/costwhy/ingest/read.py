"""The parts of a source that are new or changed, and the days of an API: each as a delivery.

What cannot be read or reached stays as it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import polars as pl

from costwhy.errors import SourceError, UnreachableError
from costwhy.ingest.batch import TABLES, UNREADABLE, Delivery, Part, Run, Source
from costwhy.ingest.bills import Reader, count_once, editions_of, is_emptied, left_out
from costwhy.ingest.cells import Beside
from costwhy.ingest.cube import COSTS, Cube, merge, of_period, told
from costwhy.ingest.moved import forget_covered, forget_moved
from costwhy.ingest.parts import parts_of
from costwhy.ingest.split import find_shares
from costwhy.sources.format import Bill, Live, Request
from costwhy.sources.reading import Reading, fit
from costwhy.tables import BY_NAME, SET_ASIDE

OF_BILLS = ("hourly", "daily", "overview", "seen", "set_aside")
Faults = dict[str, str]  # Names of files that could not be read, with the reason


def read_files(source: Source, run: Run) -> None:
    """All parts that are new or changed.

    Raises SourceError where no file of a bill could be read, ever; of any other source that is a
    message: a bill alone still has answers.
    """
    any_sound, faults = False, Faults()
    parts = [*parts_of(source, run.workspace)]
    forget_moved(source, parts, run)
    for part in parts:
        if all(
            run.known.get(name) == part.digest or name in run.batch.records for name in part.wanted
        ):
            run.skipped += len(part.files)
            run.tell(source.path, len(part.files))
            any_sound = True
            continue
        run.hints += left_out(source, part)
        found = _read_part(source, part, run)
        run.read += len(part.files)
        faults |= found
        any_sound |= not found or any(name in run.batch.records for name in part.wanted)
        for name in part.wanted:
            own = part.only(name)
            bad = {file: reason for file, reason in found.items() if file in own.names}
            if bad:
                _keep_former(source, own, bad, run)
            elif name + UNREADABLE in run.known:  # it can be read now
                run.batch.forget([name + UNREADABLE], ("set_aside", "deliveries"))
    forget_covered(source, parts, run)
    nothing_known = len(faults) == len(source.files) or not run.has(source.name)
    if faults and not any_sound and nothing_known:
        name, reason = next(iter(faults.items()))
        problem = f"`{source.key}.path`: nothing at {source.path} could be read"
        first = f"{PurePosixPath(name).name}: {reason}"
        if source.format.bill:
            raise SourceError(problem, found=first, fix="correct the files; the lake is as before")
        run.messages.append(f"{problem}, the other sources were. {first}")


def _keep_former(source: Source, part: Part, faults: Faults, run: Run) -> None:
    """The part stays as it was delivered before; what could not be read is set aside, once."""
    run.messages += [
        f"{name} was set aside, {part.name} stays as it was: {fault}"
        for name, fault in faults.items()
    ]
    bad = part.name + UNREADABLE
    if run.known.get(bad) == part.digest:
        run.unreadable += len(faults)
        return
    reason = {"source": source.format.source, "records": 1}
    run.batch.add(
        Delivery(
            bad,
            part.digest,
            {
                "set_aside": fit(
                    SET_ASIDE,
                    [{**reason, "file": name, "reason": fault} for name, fault in faults.items()],
                )
            },
            part.names,
        )
    )


def _read_part(source: Source, part: Part, run: Run) -> Faults:
    form = source.format
    if form.bill:
        return _read_bill(source, form.bill, part, run)
    return _read_records(source, form.read, part, run) if form.read else {}


def _read_bill(source: Source, bill: Bill, part: Part, run: Run) -> Faults:
    """Every file of the part, compared with the others; each delivery of it.

    Where a delivery that is in the lake cannot be read, the others stay as they were too: it may
    have rows of theirs.
    """
    kept, whole, gone = dict[str, Cube](), part, True
    unit = "day" if len(editions_of(source, part)) > 1 else ""
    while gone:  # what is split is split anew where a file does not count at all
        shares, notes = find_shares(part.files, bill, run.workspace.currency, run.batch.spool)
        reader = Reader(bill, run.workspace, Beside(shares, unit))
        cubes, faults = _reduced(reader, part, run)
        bad = {of for of, name in zip(part.of, part.names, strict=True) if name in faults}
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
    run.hints += [f"{source.path}: {note}" for note in notes]
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
            faults[name] = f"{error.problem}. {error.found}"
        run.tell(file.name, 1)
    for delivery in () if faults else part.wanted:
        own = [cubes[name] for name in part.only(delivery).names]
        reasons = [cube.set_aside["reason"][0] for cube in own if cube.set_aside.height]
        if reasons and all(cube.hourly.is_empty() for cube in own):
            why = f"no row could be read: {reasons[0]}"
            faults |= dict.fromkeys(part.only(delivery).names, why)
    return cubes, faults


def _deliver(source: Source, part: Part, cubes: Sequence[Cube], run: Run) -> None:
    """A period is a delivery; where paths name none, each period that the rows name."""
    if not cubes:  # all of its files have the contents of others: nothing of it stays
        run.batch.add(Delivery(part.name, part.digest, {n: BY_NAME[n].empty() for n in OF_BILLS}))
        return
    cube = merge(cubes)
    run.batch.series.append(cube.series)
    run.totals.append(cube.totals)
    run.hints += [f"{source.path}: {note}" for note in told(cube, run.workspace.currency)]
    if cube.lacking:
        run.hints.append(f"{source.path} has no column {', no '.join(cube.lacking)}")
    whole = Delivery(part.name, part.digest, {"set_aside": cube.set_aside}, part.names)
    if part.name != source.name:
        run.batch.add(_with_money(whole, cube))
        return
    run.batch.add(whole)
    for month in cube.totals["billing_period"].sort():
        run.batch.add(
            _with_money(
                replace(whole, name=f"{part.name}:{month}", tables={}), of_period(cube, month)
            )
        )


def _with_money(delivery: Delivery, cube: Cube) -> Delivery:
    return replace(
        delivery,
        tables={**delivery.tables, **cube.facts},
        rows=int(cube.hourly["rows"].sum()),
        costs=cube.totals.select(pl.col(COSTS).sum()).row(0, named=True),
    )


def _read_records(source: Source, read: Callable[..., Reading], part: Part, run: Run) -> Faults:
    """Changes, signals or a catalogue; of signals each day is a delivery."""
    tags = [run.workspace.mapping.service_tags] if source.format.reads_tags else []
    reading = read(part.files, *tags)
    run.tell(part.files[-1].name, len(part.files))
    aside = reading.set_aside.with_columns(
        pl.col("file").replace(dict(zip(map(str, part.files), part.names, strict=True)))
    )
    reasons = dict(aside.filter(pl.col("place").is_null()).select("file", "reason").iter_rows())
    faults = {name: str(reasons[name]) for name in part.names if name in reasons}
    if faults and (run.has(part.name) or len(faults) == len(part.files)):
        return faults
    run.messages += [f"{name} was set aside: {fault}" for name, fault in faults.items()]
    run.hints += [f"{source.path}: {note}" for note in reading.notes]
    table = TABLES[source.format.section]
    delivery = Delivery(part.name, part.digest, {"set_aside": aside}, part.names)
    for day, piece in (reading.by_day() if table == "signals" else {}).items():
        frames = {table: piece.rows, "seen": piece.seen}
        run.batch.add(
            Delivery(f"{part.name}:{day}", part.digest, frames, part.names, piece.rows.height)
        )
    if table != "signals":
        frames = {"set_aside": aside, table: reading.rows, "seen": reading.seen}
        delivery = replace(delivery, tables=frames, rows=reading.rows.height)
    run.batch.add(delivery)
    return {}


# ---------------------------------------------------------------- the days of an API


def read_live(source: Source, live: Live, run: Run) -> None:
    """Every region or address by itself: one that cannot be reached does not stop the others.

    Raises SourceError where a query is refused; the lake is then as before.
    """
    try:
        places = live.places or (live.default_place(),)
    except UnreachableError as error:
        run.miss(source.key, error)
        return
    for place in places:
        _read_place(source, live, place, run)


def _read_place(source: Source, live: Live, place: str, run: Run) -> None:
    """The days that are new; where the source goes away half-way, what was read is kept."""
    prefix, last = f"{live.prefix}{place}:", None
    request = Request(place, live.wanted_days(prefix, run.known, run.now), run.now)
    run.skipped += live.days - len(request.days)
    try:
        for day, reading in live.ask(request):
            last = f"{prefix}{day}"
            run.tell(last, 0)
            run.reached = True
            _take_day(source, last, live.digest(reading), reading, run)
    except UnreachableError as error:
        if last is None:
            run.miss(source.key, error)
        else:
            run.messages.append(
                f"{last} was the last day that was read, the rest comes next time: "
                f"{error.problem}. {error.found}"
            )
    run.messages += request.notes


def _take_day(source: Source, name: str, digest: str, reading: Reading, run: Run) -> None:
    """A day as a delivery; one of which nothing could be read stays as it was."""
    spoiled = reading.rows.is_empty() and reading.set_aside.height > 0
    if run.known.get(name) == digest or (spoiled and name in run.known):
        run.skipped += 1
        return
    run.read += 1
    run.batch.add(
        Delivery(
            name,
            digest,
            {
                TABLES[source.format.section]: reading.rows,
                "seen": reading.seen,
                "set_aside": reading.set_aside,
            },
            rows=reading.rows.height,
        )
    )
