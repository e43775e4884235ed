"""The parts in which the files of a source are read.

Bills of one export and period are a delivery. Deliveries of days that meet are read together: their
rows may be the same (`overlap.py`), and what is new in one may change what counts of another.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec

from costwhy import config
from costwhy.config import Workspace
from costwhy.ingest.batch import Part, Source
from costwhy.ingest.find import name_of
from costwhy.sources import packed
from costwhy.sources.cost import paths
from costwhy.sources.file_memory import recall
from costwhy.sources.inventory import Passed
from costwhy.sources.reading import REVISION

Contents = Mapping[Path, bytes]  # The digest of each file, or why it cannot be read


def parts_of(source: Source, workspace: Workspace) -> Iterator[Part]:
    """The parts of a source, in a fixed order.

    The digest is over names and contents, and over what else decides how they are read: the tags
    for some formats. Whom to ask for owners (`mapping.owners`) never does.
    """
    tags = msgspec.structs.replace(workspace.mapping, owners=config.Mapping().owners)
    how = (REVISION, source.name_of_format, tags if source.format.reads_tags else None)
    salt = repr(how) + source.salt
    contents = {file: _content(file) for file in source.files}
    same = _same(source, contents) if source.format.section == "cost" else {}
    names = {file: name_of(file, workspace) for file in source.files}
    for group in _together(source, _groups(source, names)):
        every = [(delivery, file) for delivery, files in group for file in files]
        kept = [(delivery, file) for delivery, file in every if file not in same]
        # what two files of a bill have in common once counted twice
        digest = hashlib.sha256((salt + "compared" * (len(kept) > 1 and bool(names))).encode())
        for _, file in kept:
            name = names[file].encode("utf-8", "surrogateescape")
            digest.update(b"\0" + name + b"\0" + contents[file])
        yield Part(
            group[0][0],
            tuple(file for _, file in kept),
            tuple(names[file] for _, file in kept),
            digest.hexdigest(),
            tuple(delivery for delivery, _ in kept),
            tuple(delivery for delivery, _ in group),
            tuple(
                Passed(file, packed.bytes_of(file), f"the same contents as {names[same[file]]}")
                for _, file in every
                if file in same
            ),
        )


def _content(file: Path) -> bytes:
    try:
        return recall(file, "sha256", lambda: packed.digest_of(file))
    except OSError as error:  # its reader will say so
        return str(error).encode()


def _same(source: Source, contents: Contents) -> dict[Path, Path]:
    """Files that have the contents of another one, and that one: no copy, and least deep.

    Parts of one edition are never the same: equal rows in them are two rows.
    """
    first: dict[bytes, dict[str, Path]] = {}
    found: dict[Path, Path] = {}
    for file in sorted(contents, key=lambda f: (paths.is_copy(f), len(f.parts), f)):
        editions = first.setdefault(contents[file], {})
        if editions and paths.edition_of(file, source.root) not in editions:
            found[file] = next(iter(editions.values()))
        else:
            editions[paths.edition_of(file, source.root)] = file
    return found


Group = list[tuple[str, list[Path]]]  # Deliveries with their files


def _groups(source: Source, names: Mapping[Path, str]) -> dict[str, list[Path]]:
    """The files of each delivery. Where some bills are in no folder of a period, all are one."""
    groups: dict[str, list[Path]] = {}
    for file in sorted(source.files):
        if source.format.section == "changes":
            name = f"{source.name_of_format}:{names[file]}"
        else:
            name = _period_name(source, file) if source.format.section == "cost" else source.name
        groups.setdefault(name, []).append(file)
    bill = source.format.bill
    if bill and (source.name in groups or bill.together):
        return {source.name: sorted(source.files)}
    return dict(sorted(groups.items()))


def _period_name(source: Source, file: Path) -> str:
    """focus:billing:2026-10; focus:billing:EXPORT/2026-10 where the folder has several exports."""
    period = paths.find_period(file, source.root)
    if not period:
        return source.name
    export = paths.export_of(file, period)
    above = [p for p in source.root.parts[: period.start] if p not in {"data", "metadata"}]
    inside = "".join(f"{part}/" for part in export[len(above) :])
    return f"{source.name}:{inside}{period.month}"


def _together(source: Source, groups: Mapping[str, list[Path]]) -> Iterator[Group]:
    """Deliveries of bills whose days meet, as one; of other sources each by itself."""
    is_bill = source.format.section == "cost"
    spans = {name: _span(source, files) if is_bill else None for name, files in groups.items()}
    if None in spans.values():
        yield from ([one] for one in groups.items())
        return
    group, until = Group(), date.min
    for name in sorted(groups, key=lambda name: (spans[name], name)):
        first, last = spans[name] or (date.min, date.min)
        if group and first > until:
            yield group
            group = []
        group.append((name, groups[name]))
        until = max(until, last)
    if group:
        yield group


def _span(source: Source, files: Sequence[Path]) -> tuple[date, date] | None:
    periods = [paths.find_period(file, source.root) for file in files]
    known = [(one.first, one.last) for one in periods if one]
    return (
        (min(k[0] for k in known), max(k[1] for k in known)) if len(known) == len(files) else None
    )
