"""Which billing files are to be read: only those of the newest delivery of each period.

AWS Data Exports write `data/BILLING_PERIOD=2026-10/...` (overwritten, or an execution's own folder
below it) and a `metadata/BILLING_PERIOD=2026-10/NAME-Manifest.json` that lists the files of the
newest delivery. Legacy Cost and Usage Reports write `20261001-20261101/[ASSEMBLY/]NAME-1.csv.gz`
and a `NAME-Manifest.json` beside it. Files of any other layout are parts of one whole.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from costwhy.sources.files import Choice, Files
from costwhy.sources.format import Format

ENDINGS = (".parquet", ".csv", ".csv.gz")
MANIFEST = "-Manifest.json"
PERIOD = re.compile(r"(BILLING_PERIOD=\d{4}-\d{2}|\d{8}-\d{8})")


def choose(found: Sequence[Path], _root: Path) -> Choice:
    """Of the files of a source those that are to be read; manifests among them say which."""
    return Choice(
        newest(
            [f for f in found if f.name.lower().endswith(ENDINGS) and f.name[0] not in "._"],
            [f for f in found if f.name.endswith(MANIFEST)],
        )
    )


def _modified(file: Path) -> float:
    return file.stat().st_mtime


def newest(
    files: Iterable[Path],
    manifests: Iterable[Path],
    modified: Callable[[Path], float] = _modified,
) -> tuple[Path, ...]:
    """The files of the newest delivery of each period, as its manifest names them.

    Files that a manifest names and that are not here are in the answer too: they cannot be read, so
    the period stays as it was. Half a period would be wrong money. Only manifests are read.

    modified: when a file was written, in seconds
    """
    listed = _by_period(manifests)
    periods: dict[str, list[Path]] = {}
    for file in files:
        periods.setdefault(period_of(file), []).append(file)
    return tuple(
        sorted(
            file
            for period, group in periods.items()
            for file in _of_period(group, listed.get(period), modified)
        )
    )


def _by_period(manifests: Iterable[Path]) -> dict[str, frozenset[str]]:
    """The files that the manifest of each period names; nothing where it cannot be read.

    The last one counts, and one beside the period's folder before those of executions.
    """
    found: dict[str, frozenset[str]] = {}
    for manifest in sorted(manifests, key=lambda m: (-len(m.parts), _modified(m), str(m))):
        with suppress(OSError, ValueError, AttributeError):
            content = json.loads(manifest.read_text(encoding="utf-8"))
            keys = {
                str(name).removeprefix("s3://").split("/", 1)[-1]
                for name in (content.get("dataFiles") or content.get("reportKeys") or [])
            }
            if keys and period_of(manifest):
                found[period_of(manifest)] = frozenset(keys)
    return found


def period_of(file: Path) -> str:
    """The folder of the billing period, by its name below the export; empty for other layouts."""
    parts = [k for k, part in enumerate(file.parts) if PERIOD.fullmatch(part)]
    above = file.parts[: parts[-1] + 1] if parts else ()
    return "/".join(part for part in above if part not in {"data", "metadata"})


def _of_period(
    group: list[Path], names: frozenset[str] | None, modified: Callable[[Path], float]
) -> list[Path]:
    if names is not None:
        named = {
            file: name
            for name in names
            for file in group
            if file.as_posix().endswith(name) or name.endswith("/".join(file.parts[-3:]))
        }
        if named:
            return [*named, *_missing(named, names)]
    executions = {f.parent for f in group if not PERIOD.fullmatch(f.parent.name)}
    if not period_of(group[0]) or len(executions) < 2:
        return group
    last = max(executions, key=lambda e: (max(modified(f) for f in group if f.parent == e), e.name))
    return [f for f in group if f.parent == last]


def _missing(named: Mapping[Path, str], names: frozenset[str]) -> Iterator[Path]:
    """Where the other files of a manifest would be: beside those that are here."""
    folders = {name.rpartition("/")[0]: file.parent for file, name in named.items()}
    for name in sorted(names - set(named.values())):
        folder, _, last = name.rpartition("/")
        yield folders.get(folder, next(iter(folders.values()))) / last


# A format of bills; what differs is `bill`
bill_format = partial(
    Format,
    section="cost",
    source="cost",
    files=Files((*ENDINGS, MANIFEST.lower()), choose=choose),
    reads_tags=True,
    cannot_show="what was used by a resource that the bill does not name",
    every_hour=True,
)
