"""Which billing files are to be read: of each export and period only those of the newest run.

AWS Data Exports write `data/BILLING_PERIOD=2026-10/...` (overwritten, or a run's own folder below
it) and `metadata/BILLING_PERIOD=2026-10/NAME-Manifest.json`, which lists the files of the newest
run. Legacy Cost and Usage Reports write `20261001-20261101/[ASSEMBLY/]NAME-1.csv.gz` and a manifest
beside it, Azure `EXPORT/20261001-20261031/[202610020400/]RUN/part_0_0001.csv` with `manifest.json`.

A manifest of the period says which run counts; else the time of day in the manifest or the folder
of each run. What has no time, or a date alone, or a time that may be that of the rows (`dt=...`,
midnight), is read: its rows decide (`ingest/overlap.py`). Times of modification never do.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import groupby, takewhile
from pathlib import Path

from costwhy.sources.cost.manifests import Manifest, is_manifest, read_manifest
from costwhy.sources.cost.paths import (
    export_of,
    family_of,
    find_period,
    is_run_id,
    run_of,
    stamp_of,
    stamp_of_text,
)
from costwhy.sources.files import TABLE_ENDINGS, Choice, Columns, Files
from costwhy.sources.format import Format

ENDINGS = (".parquet", ".csv")
Group = tuple[object, ...]  # An export and a period


def choose(found: Sequence[Path], root: Path) -> Choice:
    """Of the files of a source those that are to be read; manifests among them say which."""
    return newest(
        [f for f in found if not ("manifest" in f.name.lower() and f.suffix.lower() == ".json")],
        [f for f in found if is_manifest(f.name)],
        root,
    )


def newest(files: Iterable[Path], manifests: Iterable[Path], root: Path) -> Choice:
    """The files of the newest run of each export and period; the others with the reason.

    Files that a manifest names and that are not here are in the answer too: they cannot be read, so
    the period stays as it was. Half a period would be wrong money. Only manifests are read.

    root: of the source; what is above it says nothing of runs
    """
    listed = [one for one in map(read_manifest, sorted(manifests)) if one]
    beside: dict[Path, list[Manifest]] = {}
    for one in listed:
        beside.setdefault(one.path.parent, []).append(one)
    groups: dict[Group, list[Path]] = {}
    for file in files:
        near = beside.get(file.parent, [])
        own = next((one for one in near if one.names_of(file)), near[0] if near else None)
        groups.setdefault(_group_of(file, root, own), []).append(file)
    return _joined(
        _of_period(group, [m for m in listed if _group_of(m.path, root, m) == key], root)
        if key
        else Choice(tuple(group))
        for key, group in groups.items()
    )


def _joined(choices: Iterable[Choice]) -> Choice:
    kept = [*choices]
    return Choice(
        tuple(sorted(file for one in kept for file in one.files)),
        {file: reason for one in kept for file, reason in one.left_out.items()},
        {file: date for one in kept for file, date in one.dates.items()},
    )


def _group_of(file: Path, root: Path, manifest: Manifest | None) -> Group:
    """The export and the period, by the path, or by the names in the manifest beside the file."""
    named = Path(manifest.names[0]) if manifest else Path()
    for path in (file, named):
        if period := find_period(path, root if path == file else Path()):
            return (export_of(path, period), period.first, period.last)
    return ()


def _of_period(group: Sequence[Path], manifests: Sequence[Manifest], root: Path) -> Choice:
    if found := _of_manifests(group, [m for m in manifests if not _run(m.path, root)], root):
        return found
    runs: dict[tuple[str, ...], list[Path]] = {}
    for file in group:
        runs.setdefault(_run(file, root), []).append(file)
    series: dict[Group, list[Choice]] = {}
    for run, files in runs.items():
        own = [m for m in manifests if _run(m.path, root) == run]
        above = (*takewhile(lambda part: not stamp_of_text(part)[0], run),)
        export = next((m.export for m in own), "")
        is_sure = bool(own) or any(map(is_run_id, run)) or not any(map(_may_be_partition, run))
        key = (export, above[: len(run) - 1], is_sure)
        series.setdefault(key, []).append(_of_run(files, own, root))
    return _joined(
        [_newest_run(runs) if key[-1] else _joined(runs) for key, runs in series.items()]
    )


def _of_manifests(
    group: Sequence[Path], manifests: Sequence[Manifest], root: Path
) -> Choice | None:
    """What the newest manifest of each export names; null where nothing of it is here."""

    def export(one: Manifest) -> tuple[str, str]:
        return one.export, family_of(one.path, root)

    chosen = []
    for _, same in groupby(sorted(manifests, key=export), key=export):
        every = sorted(same, key=lambda m: (m.time, _stamp(m.path, root), m.path), reverse=True)
        chosen += [next((found for m in every if (found := _by_manifest(group, m))), Choice(()))]
    whole = _joined(chosen)
    counted = {*whole.files}
    left_out = {file: why for file, why in whole.left_out.items() if file not in counted}
    return Choice(whole.files, left_out, whole.dates) if whole.files else None


def _run(path: Path, root: Path) -> tuple[str, ...]:
    """The folders of the run; without a period in the path its own folder."""
    period = find_period(path, root)
    return run_of(path, period) if period else path.parts[:-1]


def _may_be_partition(part: str) -> bool:
    """Whether a folder may be named for the hours of its rows, and not for its run."""
    return "=" in part or stamp_of_text(part)[0].endswith("T00:00:00")


def _stamp(file: Path, root: Path) -> str:
    """Of the outermost folder that has a date, or of the name."""
    return stamp_of(file, root)[0].partition(" ")[0]


def _by_manifest(group: Iterable[Path], manifest: Manifest) -> Choice | None:
    """What a manifest names; null where nothing of it is here."""
    named = {file: name for file in group if (name := manifest.names_of(file))}
    if not named:
        return None
    files = (*named, *manifest.missing(named))
    reason = "the manifest of the newest run does not name it"
    dates = dict.fromkeys(files, manifest.time) if manifest.time else {}
    return Choice(files, {file: reason for file in group if file not in named}, dates)


def _of_run(files: list[Path], manifests: Sequence[Manifest], root: Path) -> Choice:
    """The files of one run, by its own manifest where it has one, with its date."""
    for one in manifests:
        if found := _by_manifest(files, one):
            return found if found.dates else _dated(found, root)
    return _dated(Choice(tuple(files)), root)


def _dated(run: Choice, root: Path) -> Choice:
    moment = _stamp(run.files[0], root)
    return Choice(run.files, run.left_out, dict.fromkeys(run.files, moment) if moment else {})


def _newest_run(runs: Sequence[Choice]) -> Choice:
    """The newest of the runs that have a time, and all those without one."""

    def time_of(run: Choice) -> str:
        moment = next(iter(run.dates.values()), "")
        return moment if "T" in moment else ""

    last = max(map(time_of, runs))
    reason = f"replaced by the run of {last[:16].replace('T', ' ')}"
    old = [run for run in runs if time_of(run) not in {"", last}]
    replaced = {file: reason for run in old for file in (*run.files, *run.left_out)}
    kept = _joined(run for run in runs if run not in old)
    return Choice(kept.files, {**kept.left_out, **replaced}, kept.dates)


def bill_files(columns: Columns) -> Files:
    """The files of a format of bills, known by these columns."""
    return Files(
        ENDINGS,
        choose=choose,
        inside=("table",),
        looks=TABLE_ENDINGS,
        columns=columns,
        manifests=True,
        part_of=_part_of,
    )


def _part_of(file: Path) -> str:
    period = find_period(file, file)
    return "/".join((*export_of(file, period), period.month)) if period else ""


# A format of bills; what differs is `bill` and `files`
bill_format = partial(
    Format,
    section="cost",
    source="cost",
    reads_tags=True,
    cannot_show="what was used by a resource that the bill does not name",
    every_hour=True,
)
