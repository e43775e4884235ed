"""Deliveries of the lake whose bills are now in another one: they would count twice.

What has vanished from the folder, and is in no other delivery, stays.
"""

import re
from collections.abc import Iterator, Sequence

import polars as pl

from costwhy.ingest.batch import UNREADABLE, Part, Run, Source
from costwhy.ingest.cells import LASTING
from costwhy.ingest.find import name_of
from costwhy.lake.lake import open_lake
from costwhy.tables import BY_NAME
from costwhy.text import one_line

MANY = 3  # Files that are named one by one
_MONTH = re.compile(r"(?:^|/)(\d{4}-\d{2})$")


def forget_moved(source: Source, parts: Sequence[Part], run: Run) -> None:
    """Those whose files now belong to another delivery go: the layout is read in another way."""
    copies = (name_of(one.file, run.workspace) for part in parts for one in part.copies)
    here = {name for part in parts for name in part.names}.union(copies)
    now = {name for part in parts for name in part.wanted}
    months = {name[-len("2026-10") :] for name in now}
    gone = [
        name
        for name, month in _stale(source, parts, run)
        if (not month or source.name in now or month in months)
        and not here.isdisjoint(run.places[name])
    ]
    run.batch.forget(gone, BY_NAME.keys() - {"series"} if gone else ())


def tell_gone(source: Source, part: Part, run: Run) -> None:
    """Says which files of a folder without periods counted, and are no longer there.

    It is replaced whole, so what only they had no longer counts.
    """
    found = (*source.files, *(one.file for one in source.passed))
    here = {name_of(file, run.workspace) for file in found}
    counted = {
        file
        for name, files in run.places.items()
        if name == part.name or name.startswith(f"{part.name}:")
        for file in files
    }
    if gone := sorted(counted - here - {*part.names}):
        more = f" and {len(gone) - MANY} more" if len(gone) > MANY else ""
        run.messages.append(
            f"{source.path}: files that counted are no longer there, and no longer count: "
            f"{', '.join(one_line(name, 100) for name in gone[:MANY])}{more}. To keep months whose "
            "files go away, keep each in a folder of its period: 2026-09/"
        )


def forget_covered(source: Source, parts: Sequence[Part], run: Run) -> None:
    """Those whose charges are mostly in what was read now go: the files were moved or renamed.

    Their costs may have been restated since.
    """
    stale = {
        name: month
        for name, month in _stale(source, parts, run)
        if month and name not in run.batch.replaced["deliveries"]
    }
    new = pl.concat([pl.DataFrame(), *_new_days(parts, run)], how="diagonal") if stale else None
    if new is None or new.is_empty():
        return
    lake = open_lake(run.workspace.lake_path)
    keys = ["day", *LASTING, "ResourceId"]
    series = pl.concat([lake.table("series"), *run.batch.series]).unique("series_id")
    old = lake.table("daily").filter(pl.col("delivery").is_in([*stale]))
    there, was = (
        frame.join(series.select("series_id", *LASTING), on="series_id")
        .select([*keys, *extra])
        .unique()
        for frame, extra in ((new, ()), (old, ("delivery",)))
    )
    rows = dict(was.group_by("delivery").len().iter_rows())
    both = was.join(there, on=keys, how="semi", nulls_equal=True)
    for name, count in both.group_by("delivery").len().sort("delivery").iter_rows():
        if 2 * count >= rows[name]:
            run.batch.forget([name], BY_NAME.keys() - {"series"})
            run.messages.append(
                f"{name} left the lake: its files are gone, others have its charges"
            )


def _stale(source: Source, parts: Sequence[Part], run: Run) -> Iterator[tuple[str, str]]:
    """Deliveries of bills that the files of today do not make, with their month.

    Without folders of periods the months of all files are deliveries, whoever has them.
    """
    now = {name for part in parts for name in part.wanted}
    for name in run.places if source.format.section == "cost" else ():
        of = name.removesuffix(UNREADABLE)
        month = _MONTH.search(of.removeprefix(f"{source.name}:"))
        is_ours = of == source.name or (of.startswith(f"{source.name}:") and month)
        is_month_of_all = source.name in now and "/" not in of[len(source.name) :]
        if is_ours and of not in now and not is_month_of_all:
            yield name, month[1] if month else ""


def _new_days(parts: Sequence[Part], run: Run) -> Iterator[pl.DataFrame]:
    """The rows of `daily` that were read now for these parts."""
    now = {name for part in parts for name in part.wanted}
    keys = ["day", "series_id", "ResourceId"]
    for rows in run.batch.spooled["daily"]:
        name = pl.col("delivery")
        ours = pl.any_horizontal(name.is_in(now), *(name.str.starts_with(f"{n}:") for n in now))
        yield rows.filter(ours).select(keys).collect()
