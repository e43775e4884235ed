"""TODO ingest/read_live.py"""

import hashlib
from datetime import datetime

import polars as pl

from costwhy.errors import UnreachableError
from costwhy.ingest.batch import REVISION, Batch, Part, Source
from costwhy.ingest.parts import split_by_day
from costwhy.sources import aws_live, by_day
from costwhy.sources.reading import Reading
from costwhy.sources.registry import READERS
from costwhy.sources.signals import prometheus


def ask_source(source: Source, asked: aws_live.Live, now: datetime, batch: Batch) -> None:
    """Every region by itself, and the days that are new: one that cannot be reached does not take the others with it."""
    tags = batch.workspace.mapping.service_tags
    how = aws_live.salt(asked, tags)
    try:
        regions = asked.resolved()
    except UnreachableError as error:
        batch.miss(source.key, error)
        return
    for region in regions:
        prefix = f"{asked.prefix}{region}:"
        days = aws_live.wanted_days(asked, prefix, how, batch.known, now)
        batch.counts["skipped"] += asked.days - len(days)
        try:
            for day, reading in aws_live.read(asked, region, days, now, tags):
                _take_day(f"{prefix}{day}", how, reading, batch)
                batch.tell(f"{prefix}{day}", 0)
                batch.reached = True
        except UnreachableError as error:
            batch.miss(source.key, error)


def _take_day(name: str, how: str, reading: Reading, batch: Batch) -> None:
    part = Part(name, (), aws_live.digest(how, reading))
    if batch.known.get(name) == part.digest:
        batch.counts["skipped"] += 1
        return
    form = name.partition(":")[0]
    batch.add(READERS[form][1] if form in READERS else "signals", name, reading.rows)
    batch.add("seen", name, reading.seen)
    batch.add("set_aside", name, reading.set_aside)
    batch.counts["read"] += 1
    batch.record(part, rows=reading.rows.height, aside=int(reading.set_aside["records"].sum()))


def read_prometheus(source: Source, batch: Batch) -> None:
    """Days that are new or asked another way, and the newest two. Where it goes away half-way, what was read is kept.

    Raises SourceError where a query is refused; the lake is then as before.
    """
    entry = batch.workspace.signals[int(source.key.removeprefix("signals[").removesuffix("]"))]
    queries = prometheus.find_queries(entry, source.key)
    endpoint = prometheus.find_endpoint(entry, source.key, batch.workspace.folder)
    asked = hashlib.sha256(repr((REVISION, sorted(queries.items()))).encode()).hexdigest()[:32]
    held = {name.rpartition(":")[2] for name, digest in batch.known.items() if name.startswith(f"{source.name}:") and digest[:32] == asked}
    answered: set[str] = set()
    for window in by_day.windows(by_day.clock(), entry.days or prometheus.DAYS, held):
        batch.tell(f"{source.path} {by_day.day_of(window[0])}", 0)
        try:
            reading = prometheus.read(endpoint, queries, window)
        except UnreachableError as error:
            if not answered:
                batch.miss(source.key, error)
                return
            batch.messages.append(
                f"{source.path} was read until {by_day.day_of(window[0])}, the rest next time: {error.wrong}. {error.found}"
            )
            return
        batch.reached = True
        answered.update(reading.rows["metric"].unique())
        _take_days(source, reading, asked, batch)
    silent = [metric for metric in queries if metric not in answered]
    batch.messages += [f"{source.path} has no series for {metric}: see `{source.key}.queries`" for metric in silent]


def _take_days(source: Source, reading: Reading, asked: str, batch: Batch) -> None:
    """Each day as a delivery; a day without rows keeps what it had, one that may be incomplete is asked again next time."""
    for day, piece in split_by_day(reading).items():
        name = f"{source.name}:{day}"
        aside = reading.set_aside.filter(pl.col("file").str.ends_with(f":{day}"))
        content = hashlib.sha256(piece.rows.write_json().encode() + aside.write_json().encode()).hexdigest()[:32]
        part = Part(name, (), (asked if prometheus.is_whole(reading) else "0" * 32) + content)
        if batch.known.get(name) == part.digest or (piece.rows.is_empty() and name in batch.known):
            batch.counts["skipped"] += 1
            continue
        batch.counts["read"] += 1
        for table, frame in (("signals", piece.rows), ("seen", piece.seen), ("set_aside", aside)):
            batch.add(table, name, frame)
        batch.record(part, rows=piece.rows.height, aside=int(aside["records"].sum()))
