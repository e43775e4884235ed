"""The parts of a source that are new or changed, and the days of an API: each as a delivery.

What cannot be read or reached stays as it was.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import PurePosixPath

import polars as pl

from costwhy.errors import SourceError, UnreachableError
from costwhy.ingest import unread
from costwhy.ingest.batch import TABLES, UNREADABLE, Delivery, Part, Run, Source
from costwhy.ingest.bills import Faults, read_bill
from costwhy.ingest.moved import forget_covered, forget_moved
from costwhy.ingest.parts import parts_of
from costwhy.sources.format import Live, Request
from costwhy.sources.inventory import Passed
from costwhy.sources.reading import Reading, fit
from costwhy.tables import SET_ASIDE


def read_files(source: Source, run: Run) -> tuple[Passed, ...]:
    """All parts that are new or changed. The answer: files that have the contents of others.

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
        said = len(run.messages), len(run.hints)
        found = _read_part(source, part, run)
        run.batch.note(part.name, [*run.messages[said[0] :], *run.hints[said[1] :]])
        run.read += len(part.files)
        faults |= found
        any_sound |= not found or any(name in run.batch.records for name in part.wanted)
        for name in part.wanted:
            own = part.only(name)
            bad = {file: reason for file, reason in found.items() if file in own.names}
            if bad:
                _keep_former(source, own, bad, run)
            elif name + UNREADABLE in run.known:  # it can be read now
                run.batch.forget([name + UNREADABLE], ("set_aside", "files", "deliveries"))
    forget_covered(source, parts, run)
    nothing_known = len(faults) == len(source.files) or not run.has(source.name)
    if faults and not any_sound and nothing_known:
        name, reason = next(iter(faults.items()))
        problem = f"`{source.key}.path`: nothing at {source.path} could be read"
        first = f"{PurePosixPath(name).name}: {reason}"
        if source.format.bill:
            raise SourceError(problem, found=first, fix="do what it says; the lake is as before")
        run.messages.append(f"{problem}, the other sources were. {first}")
    return tuple(one for part in parts for one in part.copies)


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
                ),
                "files": unread.of_faults(source, part, faults),
            },
            part.names,
        )
    )


def _read_part(source: Source, part: Part, run: Run) -> Faults:
    form = source.format
    if form.bill:
        return read_bill(source, form.bill, part, run)
    return _read_records(source, form.read, part, run) if form.read else {}


def _read_records(source: Source, read: Callable[..., Reading], part: Part, run: Run) -> Faults:
    """Changes, signals or a catalogue; of signals each day is a delivery."""
    tags = [run.workspace.mapping.service_tags] if source.format.reads_tags else []
    reading = read(part.files, *tags)
    run.tell(part.files[-1].name, len(part.files))
    aside = reading.set_aside
    if aside.height:
        names = dict(zip(map(str, part.files), part.names, strict=True))
        aside = aside.with_columns(pl.col("file").replace(names))
    reasons = dict(aside.filter(pl.col("place").is_null()).select("file", "reason").iter_rows())
    faults = {name: str(reasons[name]) for name in part.names if name in reasons}
    if faults and (run.has(part.name) or len(faults) == len(part.files)):
        return faults
    run.messages += [f"{name} was set aside: {fault}" for name, fault in faults.items()]
    run.hints += [f"{source.path}: {note}" for note in reading.notes]
    table = TABLES[source.format.section]
    known = {
        "set_aside": aside,
        "files": unread.of_records(source, part, reading.rows.height, aside, faults),
    }
    delivery = Delivery(part.name, part.digest, known, part.names)
    for day, piece in (reading.by_day() if table == "signals" else {}).items():
        frames = {table: piece.rows, "seen": piece.seen}
        run.batch.add(
            Delivery(f"{part.name}:{day}", part.digest, frames, part.names, piece.rows.height)
        )
    if table != "signals":
        frames = {**known, table: reading.rows, "seen": reading.seen}
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
