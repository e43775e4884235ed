"""Which billing files are to be read: only those of the newest delivery of each period.

AWS Data Exports write `data/BILLING_PERIOD=2026-10/...` (overwritten, or an execution's own folder below it) and a
`metadata/BILLING_PERIOD=2026-10/NAME-Manifest.json` that lists the files of the newest delivery. Legacy Cost and Usage
Reports write `20261001-20261101/[ASSEMBLY/]NAME-1.csv.gz` and a `NAME-Manifest.json` beside it. Files of any other layout
are parts of one whole.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from costwhy.errors import SourceError

ENDINGS = (".parquet", ".csv", ".csv.gz")
PERIOD = re.compile(r"(BILLING_PERIOD=\d{4}-\d{2}|\d{8}-\d{8})")


def find_files(path: str, folder: Path) -> tuple[Path, ...]:
    """Billing files at a file, folder or glob, relative to the workspace's folder.

    Raises SourceError where there is none.
    """
    place = folder / path
    if place.is_file():
        return (place,)
    found = (
        sorted(place.rglob("*"))
        if place.is_dir()
        else sorted(folder.glob(path))
        if not Path(path).is_absolute()
        else sorted(Path("/").glob(path[1:]))
    )
    files = [f for f in found if f.is_file() and f.name.lower().endswith(ENDINGS) and not f.name.startswith((".", "_"))]
    if not files:
        what = "an empty folder" if place.is_dir() else "nothing there"
        raise SourceError(
            f"no billing file at {path}",
            found=f"{what} ({place})",
            todo=f"put files that end in {', '.join(ENDINGS)} there, or mend the path",
        )
    return newest(files, [f for f in found if f.name.endswith("-Manifest.json")])


def newest(files: Iterable[Path], manifests: Iterable[Path], modified: Callable[[Path], float] | None = None) -> tuple[Path, ...]:
    """Without the files of deliveries that a newer one of the same period replaced; with those that a manifest misses.

    A period of which only some files are here would be wrong money: the missing ones cannot be read, so it stays as it was.
    modified: when a file was written, in seconds; null: as the file itself says. Only manifests are read.
    """
    listed = _by_period(manifests)
    periods: dict[str, list[Path]] = {}
    for file in files:
        periods.setdefault(period_of(file), []).append(file)
    age = modified or _modified
    kept = [file for key, group in periods.items() for file in _of_period(group, listed.get(key), age)]
    return tuple(sorted(kept))


def _by_period(manifests: Iterable[Path]) -> dict[str, frozenset[str]]:
    """The files that the manifest of each period names: the one beside the period's folder before those of executions."""
    found: dict[str, tuple[tuple[int, float, str], frozenset[str]]] = {}
    for manifest in manifests:
        key, names = _listed(manifest)
        rank = (-len(manifest.parts), _modified(manifest), str(manifest))
        if key and names and (key not in found or found[key][0] < rank):
            found[key] = rank, names
    return {key: names for key, (_, names) in found.items()}


def _modified(file: Path) -> float:
    return file.stat().st_mtime


def period_of(file: Path) -> str:
    """The folder of the billing period, by its name below the export; empty for other layouts."""
    parts = [k for k, part in enumerate(file.parts) if PERIOD.fullmatch(part)]
    return "/".join(p for p in file.parts[: parts[-1] + 1] if p not in {"data", "metadata"}) if parts else ""


def _of_period(group: list[Path], names: frozenset[str] | None, modified: Callable[[Path], float]) -> list[Path]:
    if names is not None:
        named = {f: name for name in names for f in group if f.as_posix().endswith(name) or name.endswith("/".join(f.parts[-3:]))}
        if named:
            return [*named, *_missing(named, names)]
    executions = {f.parent for f in group if not PERIOD.fullmatch(f.parent.name)}
    if not period_of(group[0]) or len(executions) < 2:
        return group
    last = max(executions, key=lambda e: (max(modified(f) for f in group if f.parent == e), e.name))
    return [f for f in group if f.parent == last]


def _missing(named: Mapping[Path, str], names: frozenset[str]) -> Iterator[Path]:
    """Where the other files of a manifest would be, beside those that are here; their reader will say that they are not."""
    folders = {name.rpartition("/")[0]: file.parent for file, name in named.items()}
    for name in sorted(names - set(named.values())):
        folder, _, last = name.rpartition("/")
        yield folders.get(folder, next(iter(folders.values()))) / last


def _listed(manifest: Path) -> tuple[str, frozenset[str]]:
    """The period and the file names of a manifest; nothing where it cannot be read, so that the files themselves count."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        names = content.get("dataFiles") or content.get("reportKeys") or []
        return period_of(manifest), frozenset(str(name).removeprefix("s3://").split("/", 1)[-1] for name in names)
    except (OSError, ValueError, AttributeError):
        return "", frozenset()
