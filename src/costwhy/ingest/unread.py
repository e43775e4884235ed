"""The table `files`: a row for each file below a source, and what is said of those not read."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from costwhy.ingest.batch import UNREAD, Delivery, Part, Run, Source
from costwhy.ingest.cube import Cube
from costwhy.ingest.find import name_of
from costwhy.sources import packed
from costwhy.sources.inventory import Passed
from costwhy.sources.reading import clean, fit
from costwhy.tables import FILES
from costwhy.text import one_line, size_of

SHOWN = 3  # Names of one message
READ, NOT_READ = "read", "not read"


def list_unread(source: Source, run: Run) -> None:
    """The files of a source that are not read: rows of `files`, and messages in every ingest."""
    names = [name_of(one.file, run.workspace) for one in source.passed]
    run.messages += told(source, names)
    delivery = source.name + UNREAD
    rows = [
        {"bytes": one.bytes, "file": clean(name), "reason": clean(one.reason), "state": NOT_READ}
        for one, name in zip(source.passed, names, strict=True)
    ]
    digest = hashlib.sha256(repr(rows).encode("utf-8", "surrogateescape")).hexdigest()
    if not rows and delivery in run.known:
        run.batch.forget([delivery], ("files", "deliveries"))
    elif rows and run.known.get(delivery) != digest:
        run.batch.add(Delivery(delivery, digest, {"files": _table(source, rows)}, tuple(names)))


def told(source: Source, names: Sequence[str]) -> list[str]:
    """One line for each reason: a few names with their sizes, and how many more there are."""
    by_reason = defaultdict[str, list[tuple[Passed, str]]](list)
    for one, name in zip(source.passed, names, strict=True):
        if one.told:
            by_reason[clean(one.reason)].append((one, name))
    lines = []
    for reason, group in by_reason.items():
        shown = [f"{one_line(name, 120)} ({size_of(one.bytes)})" for one, name in group[:SHOWN]]
        rest = group[SHOWN:]
        more = f" and {len(rest)} more ({size_of(sum(one.bytes for one, _ in rest))})"
        lines.append(f"not read: {', '.join(shown)}{more if rest else ''}: {reason}")
    return lines


def of_bill(source: Source, part: Part, cubes: Iterable[Cube]) -> pl.DataFrame:
    """Rows of `files` for the files of a part, each with what its cube has."""
    return _table(
        source,
        [
            {
                **_row(part, number),
                "rows": cube.rows,
                "rows_set_aside": int(cube.set_aside["records"].sum()),
                **{name: cube.totals[name].sum() for name in ("EffectiveCost", "BilledCost")},
            }
            for number, cube in enumerate(cubes)
        ],
    )


def of_records(
    source: Source, part: Part, rows: int, aside: pl.DataFrame, faults: Mapping[str, str]
) -> pl.DataFrame:
    """Rows of `files` for files that are read together; how many rows each has is known of one."""
    by_file = aside.group_by("file").agg(pl.col("records").sum()) if aside.height else aside
    counts = dict(by_file.select("file", "records").iter_rows())
    return _table(
        source,
        [
            {**_row(part, number), "reason": faults[name], "state": NOT_READ}
            if name in faults
            else {
                **_row(part, number),
                "rows": rows if len(part.files) == 1 else None,
                "rows_set_aside": counts.get(name, 0),
            }
            for number, name in enumerate(part.names)
        ],
    )


def of_faults(source: Source, part: Part, faults: Mapping[str, str]) -> pl.DataFrame:
    """Rows of `files` for a part that stays as it was, since a file of it cannot be read."""
    other = "another file of the same delivery cannot be read"
    return _table(
        source,
        [
            {**_row(part, number), "state": NOT_READ, "reason": clean(faults.get(name, other))}
            for number, name in enumerate(part.names)
        ],
    )


def _row(part: Part, number: int) -> dict[str, object]:
    return {
        "file": part.names[number],
        "bytes": packed.bytes_of(part.files[number]),
        "state": READ,
    }


def _table(source: Source, rows: list[dict[str, object]]) -> pl.DataFrame:
    return fit(FILES, [{**row, "source": source.name} for row in rows])
