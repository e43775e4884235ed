"""The days of an API that are new, each as a delivery."""

from costwhy.errors import UnreachableError
from costwhy.ingest.batch import TABLES, Delivery, Run, Source
from costwhy.sources.by_day import Live, Request
from costwhy.sources.reading import Reading


def read_live(source: Source, live: Live, run: Run) -> None:
    """Every region or address by itself: one that cannot be reached does not stop the others.

    Raises SourceError where a query is refused; the lake is then as before.
    """
    try:
        places = live.places or (live.default_place(),)
    except UnreachableError as error:
        run.log.miss(source.key, error)
        return
    for place in places:
        _read_place(source, live, place, run)


def _read_place(source: Source, live: Live, place: str, run: Run) -> None:
    """The days that are new; where the source goes away half-way, what was read is kept."""
    prefix, last = f"{live.prefix}{place}:", None
    request = Request(place, live.wanted_days(prefix, run.known, run.now), run.now)
    run.log.skipped += live.days - len(request.days)
    try:
        for day, reading in live.ask(request):
            last = day
            run.tell(f"{prefix}{day}", 0)
            run.log.reached = True
            _take_day(source, f"{prefix}{day}", live.digest(reading), reading, run)
    except UnreachableError as error:
        if last is None:
            run.log.miss(source.key, error)
        else:
            problem = f"{prefix}{last} was the last day that was read, the rest comes next time"
            run.log.messages.append(f"{problem}: {error.problem}. {error.found}")
    run.log.messages += request.notes


def _take_day(source: Source, name: str, digest: str, reading: Reading, run: Run) -> None:
    """A day as a delivery; one of which nothing could be read stays as it was."""
    spoiled = reading.rows.is_empty() and reading.set_aside.height > 0
    if run.known.get(name) == digest or (spoiled and name in run.known):
        run.log.skipped += 1
        return
    run.log.read += 1
    tables = {
        TABLES[source.format.section]: reading.rows,
        "seen": reading.seen,
        "set_aside": reading.set_aside,
    }
    aside = int(reading.set_aside["records"].sum())
    run.batch.add(Delivery(name, digest, tables, rows=reading.rows.height, rows_set_aside=aside))
