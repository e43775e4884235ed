"""Every source of a workspace into its lake, as one new version; what has not changed is not read again.

A *part* is what is read together: the billing files of one period, one file of changes, all signals, one catalogue. A
*delivery* is what is replaced whole. Of most parts that is the part itself; of signals each day, and of billing files
without a period in their path each period that their rows name: what has vanished from the folder stays in the lake.

    focus:billing:2026-10            a period          cloudtrail:cloudtrail/AWSLogs/.../x.json.gz   a file of changes
    signals:signals:2026-10-14       a day             backstage:catalog                             a catalogue
    prometheus:mimir:9009:2026-10-14 a day             xray:api:eu-west-1:2026-10-14                 a day of a source that is asked

Files on S3 are mirrored beside the lake and read from there; they keep their addresses as names. A source that cannot be
reached is a message, its deliveries stay; it is an error where nothing else could be read.

A live source has no parts: it is asked for the days that the lake does not hold, and again for the newest two.
A part with a file that cannot be read keeps what it delivered before: half a month would be wrong money.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import msgspec
import polars as pl

from costwhy import tables
from costwhy.config import Mapping, SignalSource, Workspace
from costwhy.errors import ConfigError, InputError, SourceError, UnreachableError
from costwhy.lake import BY_NAME, About, Replacement, has_lake, open_lake, write
from costwhy.reduce import COSTS, FileCube, merge, reduce_file
from costwhy.sources import autoscaling, backstage, billing_files, cdevents, cloudtrail, codeowners, days, prometheus, s3, signals
from costwhy.sources.aws import live
from costwhy.sources.reading import Reading

READERS: dict[str, tuple[ModuleType, str]] = {
    "cloudtrail": (cloudtrail, "changes"),
    "cdevents": (cdevents, "changes"),
    "autoscaling": (autoscaling, "changes"),
    "signals": (signals, "signals"),
    "backstage": (backstage, "catalog"),
    "codeowners": (codeowners, "catalog"),
}
REVISION = 1  # raise it where the same files are to be read anew: it is part of every digest
SPOOLED = 200_000  # rows: a larger frame waits on disk until it is written
UNREADABLE = ":unreadable"
Progress = Callable[[str, int, int], None]
"""Told what is being read, how many files are done, and how many there are."""


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did. `version`: of the lake, the former one where nothing was new; `read`, `skipped`: files."""

    version: int
    read: int
    skipped: int
    rows: int
    rows_set_aside: int
    totals: pl.DataFrame  # billing_period and the cost columns, of the periods that were read
    messages: tuple[str, ...]  # files that were set aside whole, deliveries that were left out, columns that are absent


@dataclass(frozen=True)
class _Source:
    """One entry of costwhy.toml with its files. key: where it stands, `cost[0]`."""

    key: str
    form: str
    path: str
    files: tuple[Path, ...] = ()
    root: Path = Path()  # the path on this machine: of an address, where its mirror is
    asked: live.Live | None = None  # of AWS instead of read
    fault: UnreachableError | None = None  # it could not be reached
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.form}:{self.path.rstrip('/') if s3.is_address(self.path) else PurePosixPath(self.path)}"


@dataclass(frozen=True)
class _Part:
    """Files that are read together under one digest."""

    name: str
    files: tuple[Path, ...]
    digest: str


@dataclass
class _Batch:
    """What is new, collected until it is written at once."""

    workspace: Workspace
    known: dict[str, str]  # delivery: digest
    spool: Path
    tell: Callable[[str, int], None]
    frames: dict[str, list[tuple[str, pl.DataFrame]]] = field(default_factory=dict)  # table: delivery and rows
    files: dict[str, list[Path]] = field(default_factory=dict)  # table: spooled rows
    drop: dict[str, set[str]] = field(default_factory=dict)
    records: dict[str, dict[str, object]] = field(default_factory=dict)  # delivery: row of `deliveries`
    totals: list[pl.DataFrame] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)  # messages of what is no fault: they come last
    unreached: list[UnreachableError] = field(default_factory=list)
    reached: bool = False  # something could be read, now or before
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("read", "skipped", "rows", "aside"), 0))

    def add(self, name: str, delivery: str, frame: pl.DataFrame) -> None:
        """Rows of a table, in place of those that the delivery had before."""
        self.drop.setdefault(name, set()).add(delivery)
        if frame.height < SPOOLED:
            if frame.height:
                self.frames.setdefault(name, []).append((delivery, frame))
            return
        paths = self.files.setdefault(name, [])
        paths.append(self.spool / f"{name}-{len(paths)}.parquet")
        BY_NAME[name].fit(frame.with_columns(delivery=pl.lit(delivery))).write_parquet(paths[-1])

    def miss(self, key: str, error: UnreachableError) -> None:
        """A source could not be reached: said, and the others go on."""
        self.unreached.append(error)
        self.messages.append(f"`{key}` could not be reached and stays as it was: {error.wrong}. {error.found}")

    def record(self, part: _Part, delivery: str = "", rows: int = 0, aside: int = 0, **costs: object) -> None:
        """That a delivery was read, and that it can be read again."""
        name = delivery or part.name
        names = [_name(file, self.workspace.folder) for file in part.files]
        counts = {"rows": rows, "rows_set_aside": aside}
        self.records[name] = {"delivery": name, "digest": part.digest, "files": names, **counts, **costs}
        self.counts["rows"] += rows
        self.counts["aside"] += aside


def ingest(workspace: Workspace, progress: Progress | None = None, now: datetime | None = None) -> IngestReport:
    """Read every source into the lake. Safe to run again: the same input changes nothing.

    now: up to when sources are asked that are no files (default: the present)

    Raises ConfigError where a source's path is wrong, InputError where a format is not built, SourceError where nothing
    of a source could be read, UnreachableError where no source could be reached, LakeError where somebody else is
    writing; the lake is then as before.
    """
    sources = _find_sources(workspace, progress)
    known = _known(workspace)
    with tempfile.TemporaryDirectory(prefix="costwhy-") as spool:
        batch = _Batch(workspace, known, Path(spool), _teller(sources, progress))
        for source in sources:
            batch.messages += source.notes
            if source.fault:
                batch.miss(source.key, source.fault)
            elif source.asked:
                _ask_source(source, source.asked, now or datetime.now(UTC), batch)
            elif source.form == "prometheus":
                _read_prometheus(source, batch)
            else:
                _read_source(source, batch)
                batch.reached = True
        if batch.unreached and not batch.reached:
            raise batch.unreached[0]
        _leave_out(sources, batch)
        return _write(sources, batch)


def _known(workspace: Workspace) -> dict[str, str]:
    """The deliveries that the lake holds, with their digests."""
    if not has_lake(workspace.lake_path):
        return {}
    lake = open_lake(workspace.lake_path)
    if lake.currency != workspace.currency:
        wrong = f"`workspace.currency` is {workspace.currency}, the lake is in {lake.currency}"
        todo = "give the workspace another lake, or its former currency"
        raise ConfigError(wrong, found=lake.place, todo=todo)
    return dict(lake.table("deliveries").select("delivery", "digest").iter_rows())


def _teller(sources: Sequence[_Source], progress: Progress | None) -> Callable[[str, int], None]:
    total, done = sum(len(source.files) for source in sources), 0

    def tell(name: str, more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(name, done, total)

    return tell


# ---------------------------------------------------------------- sources and their parts


def _find_sources(workspace: Workspace, progress: Progress | None) -> list[_Source]:
    """Every source with its files. Raises ConfigError naming the key of the first that has none."""
    kinds = {name: getattr(workspace, name) for name in ("cost", "changes", "signals", "owners")}
    entries = [(f"{kind}[{n}]", source) for kind, listed in kinds.items() for n, source in enumerate(listed)]
    if not workspace.cost:
        todo = "add one: the format and the path of the billing files"
        raise ConfigError("`cost` is missing: there is no [[cost]] source in costwhy.toml", todo=todo)
    sources = []
    for key, entry in entries:
        _refuse_stray_keys(key, entry)
        if entry.format == "prometheus":
            sources.append(_live(key, entry))
        elif _is_asked(entry):
            sources.append(_find_live(key, entry))
        elif s3.is_address(entry.path or ""):
            sources.append(_find_mirrored(key, entry.format, entry.path, workspace, progress))
        elif entry.format != "tags":
            sources.append(_find(key, entry.format, entry.path, workspace.folder))
    _refuse_overlap([source for source in sources if source.key.startswith(("cost", "signals"))])
    _refuse_regions_twice(sources)
    return sources


def _live(key: str, entry: SignalSource) -> _Source:
    return _Source(key, entry.format, prometheus.find_place(entry, key), ())


def _refuse_stray_keys(key: str, entry: Any) -> None:
    """What only sources that are asked obey would be silently without effect."""
    if entry.format != "prometheus" and not _is_asked(entry):
        stray = next((name for name in ("regions", "days", "presets") if getattr(entry, name, None)), None)
        if stray:
            wrong = f"`{key}.{stray}` has no meaning for files"
            raise ConfigError(wrong, found=f"format {entry.format}", todo="remove it, or write `api = true` instead of `path`")


def _is_asked(entry: Any) -> bool:
    """Whether AWS itself is asked, instead of files read."""
    return entry.format in {"cloudwatch", "xray"} or getattr(entry, "api", False)


def _find_live(key: str, entry: Any) -> _Source:
    if entry.path or entry.format not in live.READERS:
        wrong = f"`{key}.path` and `{key}.api` exclude each other" if entry.path else f"`{key}.api`: nobody can be asked for {entry.format}"
        raise ConfigError(wrong, found=entry.path or entry.format, todo="name files at `path`, or ask AWS for cloudtrail or autoscaling")
    try:
        found = live.find(entry.format, entry.regions, entry.days, getattr(entry, "presets", ()))
    except SourceError as error:
        raise ConfigError(f"`{key}`: {error.wrong}", found=error.found, todo=error.todo) from error
    return _Source(key, entry.format, "", asked=found)


def _find_mirrored(key: str, form: str, address: str, workspace: Workspace, progress: Progress | None) -> _Source:
    """The files of an address on S3, from their mirror. What cannot be reached keeps its deliveries."""
    mark = hashlib.sha256(address.encode()).hexdigest()[:8]
    folder = _beside_the_lake(workspace) / f"{form}-{mark}"
    local = s3.local_path(address)
    try:
        mirror = s3.mirror(address, folder, _use_of(form), progress)
    except UnreachableError as error:
        return _Source(key, form, address, fault=error)
    except SourceError as error:
        raise ConfigError(f"`{key}.path`: {error.wrong}", found=error.found, todo=error.todo) from error
    found = _find(key, form, local, folder)
    return replace(found, path=address, notes=tuple(f"{one} was left out" for one in mirror.refused))


def _beside_the_lake(workspace: Workspace) -> Path:
    """Where the mirrors of addresses are: lake.mirror beside lake."""
    lake = workspace.lake_path
    return workspace.folder / "lake.mirror" if "://" in lake else Path(lake).with_name(f"{Path(lake).name}.mirror")


def _use_of(form: str) -> Callable[[str], bool]:
    """Which objects the readers of a format read; of billing also the manifests."""
    endings = getattr(READERS[form][0], "ENDINGS", ("codeowners",)) if form in READERS else (*billing_files.ENDINGS, s3.MANIFEST.lower())
    return lambda key: key.lower().endswith(endings) and (form != "cloudtrail" or cloudtrail.is_log(key))


def _find(key: str, form: str, path: str | None, folder: Path) -> _Source:
    if not path:
        raise ConfigError(f"`{key}.path` is missing", found=f"a {form} source", todo="name a file, a folder or a glob")
    if "://" in path:
        todo = "name a folder, or s3://bucket/prefix/"
        raise InputError(f"`{key}.path`: only addresses on S3 can be read", found=path, todo=todo)
    find = READERS[form][0].find_files if form in READERS else billing_files.find_files
    try:
        return _Source(key, form, path, find(path, folder), folder / path)
    except (SourceError, OSError, ValueError, NotImplementedError) as error:  # a glob that pathlib refuses
        wrong, found = (error.wrong, error.found) if isinstance(error, SourceError) else (str(error), path)
        raise ConfigError(f"`{key}.path`: {wrong}", found=found, todo="mend the path, or put files there") from error


def _refuse_overlap(sources: Sequence[_Source]) -> None:
    """The same file in two sources would be the same money, or the same calls, twice."""
    first: dict[str, str] = {}
    asked: dict[str, str] = {}
    for source in sources:
        if source.form == "prometheus" and asked.setdefault(source.name, source.key) != source.key:
            wrong = f"`{asked[source.name]}.url` and `{source.key}.url` name the same Prometheus"
            raise ConfigError(wrong, found=source.path, todo="put their queries into one entry")
        for file in source.files:
            other = first.setdefault(s3.address_of(file) or str(file.resolve()), source.key)
            if other != source.key:
                wrong = f"`{other}.path` and `{source.key}.path` name the same file"
                raise ConfigError(wrong, found=s3.address_of(file) or str(file), todo="name every file once")


def _refuse_regions_twice(sources: Sequence[_Source]) -> None:
    first: dict[tuple[str, str], str] = {}
    for source in sources:
        for region in (source.asked.regions or ("",)) if source.asked else ():
            other = first.setdefault((source.form, region), source.key)
            if other != source.key:
                wrong = f"`{other}` and `{source.key}` ask for the same region twice"
                raise ConfigError(wrong, found=region or "the region of the AWS configuration", todo="name every region once")


def _parts(source: _Source, batch: _Batch) -> Iterator[_Part]:
    """The parts of a source, in a fixed order."""
    folder = batch.workspace.folder
    for name, files in sorted(_groups(source, folder).items()):
        salt = repr((REVISION, source.form, _mapping(source, batch.workspace)))
        yield _Part(name, files, _digest(files, folder, salt))


def _mapping(source: _Source, workspace: Workspace) -> Mapping | None:
    """Which tags name a service: bills and CloudTrail are read anew where this changes."""
    mapping = msgspec.structs.replace(workspace.mapping, owners=Mapping().owners)  # whom to ask changes nothing that is read
    return mapping if source.key.startswith("cost") or source.form == "cloudtrail" else None


def _groups(source: _Source, folder: Path) -> dict[str, tuple[Path, ...]]:
    if source.form in READERS and READERS[source.form][1] == "changes":
        return {f"{source.form}:{_name(file, folder)}": (file,) for file in source.files}
    if source.form in READERS:
        return {source.name: source.files}
    groups: dict[str, list[Path]] = {}
    for file in source.files:
        groups.setdefault(_period_name(source, file), []).append(file)
    if source.name in groups and len(groups) > 1:
        wrong = f"`{source.key}.path` holds folders of billing periods and, outside of them, billing files"
        raise ConfigError(wrong, found=str(groups[source.name][0]), todo="give each of the two its own [[cost]] entry")
    return {name: tuple(sorted(files)) for name, files in groups.items()}


def _period_name(source: _Source, file: Path) -> str:
    """focus:billing:2026-10, or focus:billing:EXPORT/2026-10 where the folder holds several exports."""
    above, slash, last = billing_files.period_of(file).rpartition("/")
    if not last:
        return source.name
    month = last.removeprefix("BILLING_PERIOD=") if "=" in last else f"{last[:4]}-{last[4:6]}"
    root = _fixed(source.root)
    export = PurePosixPath(above.replace("//", "/"))
    inside = export.relative_to(root).as_posix() if slash and export.is_relative_to(root) else "."
    return f"{source.name}:{month}" if inside == "." else f"{source.name}:{inside}/{month}"


def _fixed(path: Path) -> PurePosixPath:
    """The folders before the first one with a wildcard, named as `billing_files.period_of` names them."""
    fixed: list[str] = []
    for part in path.parts:
        if any(mark in part for mark in "*?[") or billing_files.PERIOD.fullmatch(part):
            break
        fixed.append(part)
    return PurePosixPath("/".join(part for part in fixed if part not in {"data", "metadata"}).replace("//", "/"))


def _digest(files: Iterable[Path], folder: Path, salt: str) -> str:
    """SHA-256 over names and contents, and over what else decides how they are read."""
    whole = hashlib.sha256(salt.encode())
    for path in files:
        whole.update(b"\0" + _name(path, folder).encode("utf-8", "surrogateescape") + b"\0")
        try:
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:  # its reader will say so
            whole.update(str(error).encode())
    return whole.hexdigest()


def _name(path: Path, folder: Path) -> str:
    address = s3.address_of(path)
    return address or (path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.as_posix())


# ---------------------------------------------------------------- reading


def _read_source(source: _Source, batch: _Batch) -> None:
    """All parts that are new or changed. Raises SourceError where no file could be read, now or ever."""
    sound, failed, first = False, 0, ""
    for part in _parts(source, batch):
        if batch.known.get(part.name) == part.digest or part.name in batch.records:
            batch.counts["skipped"] += len(part.files)
            batch.tell(source.path, len(part.files))
            sound = True
            continue
        faults = (_read_records if source.form in READERS else _read_cost)(source, part, batch)
        batch.counts["read"] += len(part.files)
        failed += len(faults)
        sound = sound or not faults
        first = first or next((f"{file.name}: {fault}" for file, fault in faults.items()), "")
    held = any(name == source.name or name.startswith(f"{source.name}:") for name in _held(batch.known))
    if failed and not sound and (failed == len(source.files) or not held):
        todo = "deliver them again; the lake is as before"
        raise SourceError(f"`{source.key}.path`: nothing at {source.path} could be read", found=first, todo=todo)


def _ask_source(source: _Source, asked: live.Live, now: datetime, batch: _Batch) -> None:
    """Every region by itself, and the days that are new: one that cannot be reached does not take the others with it."""
    tags = batch.workspace.mapping.service_tags
    how = live.salt(asked, tags)
    try:
        regions = asked.resolved()
    except UnreachableError as error:
        batch.miss(source.key, error)
        return
    for region in regions:
        prefix = f"{asked.prefix}{region}:"
        days = live.wanted_days(asked, prefix, how, batch.known, now)
        batch.counts["skipped"] += asked.days - len(days)
        try:
            for day, reading in live.read(asked, region, days, now, tags):
                _take_day(f"{prefix}{day}", how, reading, batch)
                batch.tell(f"{prefix}{day}", 0)
                batch.reached = True
        except UnreachableError as error:
            batch.miss(source.key, error)


def _take_day(name: str, how: str, reading: Reading, batch: _Batch) -> None:
    part = _Part(name, (), live.digest(how, reading))
    if batch.known.get(name) == part.digest:
        batch.counts["skipped"] += 1
        return
    form = name.partition(":")[0]
    batch.add(READERS[form][1] if form in READERS else "signals", name, reading.rows)
    batch.add("seen", name, reading.seen)
    batch.add("set_aside", name, reading.set_aside)
    batch.counts["read"] += 1
    batch.record(part, rows=reading.rows.height, aside=int(reading.set_aside["records"].sum()))


def _held(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.endswith(UNREADABLE)]


def _read_cost(source: _Source, part: _Part, batch: _Batch) -> dict[Path, str]:
    """One period, or all files where paths name none. Returns the files that could not be read, with the reason."""
    cubes: list[FileCube] = []
    faults: dict[Path, str] = {}
    for file in part.files:
        try:
            cubes.append(reduce_file(file, source.form, batch.workspace.mapping, batch.workspace.currency))
        except SourceError as error:
            faults[file] = f"{error.wrong}. {error.found}"
        batch.tell(file.name, 1)
    cube = merge(cubes) if cubes else None
    if not faults and cube is not None and cube.hourly.is_empty() and cube.set_aside.height:
        faults = dict.fromkeys(part.files, f"no row could be read: {cube.set_aside['reason'][0]}")
    if faults or cube is None:
        _keep_former(source, part, faults, batch)
    else:
        _take_cost(source, part, cube, batch)
    return faults


def _take_cost(source: _Source, part: _Part, cube: FileCube, batch: _Batch) -> None:
    batch.frames.setdefault("series", []).append(("", cube.series))
    batch.totals.append(cube.totals)
    _forget_fault(part, batch)
    _say_lacking(source, cube, batch)
    batch.add("set_aside", part.name, cube.set_aside)
    pieces = {part.name: cube}
    if part.name == source.name:  # paths name no period: the rows do
        pieces = {f"{part.name}:{month}": _of_period(cube, month) for month in cube.totals["billing_period"].sort()}
        batch.record(part, aside=cube.rows_set_aside)
    for delivery, piece in pieces.items():
        for name in ("hourly", "daily", "overview", "seen"):
            batch.add(name, delivery, getattr(piece, name))
        costs = piece.totals.select(pl.col(COSTS).sum()).row(0, named=True)
        aside = cube.rows_set_aside if delivery == part.name else 0
        batch.record(part, delivery, int(piece.hourly["rows"].sum()), aside, **costs)


def _say_lacking(source: _Source, cube: FileCube, batch: _Batch) -> None:
    """Columns that are absent, once for all periods of a source that lack the same."""
    message = f"{source.path} has no column {', no '.join(cube.lacking)}"
    if cube.lacking and message not in batch.hints:
        batch.hints.append(message)


def _of_period(cube: FileCube, month: str) -> FileCube:
    """The part of a cube that belongs to one billing period."""
    this = pl.col("billing_period") == month
    hourly = cube.hourly.filter(this)
    wide = hourly.join(cube.series.select("series_id", "SubAccountId", "service"), on="series_id")
    keys = ["hour", "SubAccountId", "service"]
    seen = wide.group_by("hour", account="SubAccountId").agg(records=pl.col("rows").sum()).sort("hour", "account")
    return replace(
        cube,
        hourly=hourly,
        daily=cube.daily.filter(this),
        overview=wide.group_by(keys).agg(pl.col(COSTS).sum()).sort(keys).select(cube.overview.columns),
        seen=seen.with_columns(source=pl.lit("cost")).select(cube.seen.columns),
        totals=cube.totals.filter(this),
    )


def _read_records(source: _Source, part: _Part, batch: _Batch) -> dict[Path, str]:
    """Changes, signals or a catalogue. Returns the files that could not be read, with the reason."""
    reader, table = READERS[source.form]
    mapping = _mapping(source, batch.workspace)
    options = {} if mapping is None else {"service_tags": mapping.service_tags}
    reading = _relative(reader.read(part.files, **options), part, batch.workspace.folder)
    batch.tell(part.files[-1].name, len(part.files))
    faults = _whole_files(reading, part, batch.workspace.folder)
    held = any(n == part.name or n.startswith(f"{part.name}:") for n in _held(batch.known)) if faults else False
    if faults and (held or len(faults) == len(part.files)):
        _keep_former(source, part, faults, batch)
        return faults
    _forget_fault(part, batch)
    for file, fault in faults.items():
        batch.messages.append(f"{_name(file, batch.workspace.folder)} was set aside: {fault}")
    aside = int(reading.set_aside["records"].sum())
    batch.add("set_aside", part.name, reading.set_aside)
    days = _by_day(reading) if table == "signals" else {}
    for delivery, piece in days.items():
        name = f"{part.name}:{delivery}"
        batch.add(table, name, piece.rows)
        batch.add("seen", name, piece.seen)
        batch.record(part, name, piece.rows.height)
    if table != "signals":
        batch.add(table, part.name, reading.rows)
        batch.add("seen", part.name, reading.seen)
    batch.record(part, rows=0 if days else reading.rows.height, aside=aside)
    return {} if len(faults) < len(part.files) else faults


def _read_prometheus(source: _Source, batch: _Batch) -> None:
    """Days that are new or asked another way, and the newest two. Where it goes away half-way, what was read is kept.

    Raises SourceError where a query is refused; the lake is then as before.
    """
    entry = batch.workspace.signals[int(source.key.removeprefix("signals[").removesuffix("]"))]
    queries = prometheus.find_queries(entry, source.key)
    endpoint = prometheus.find_endpoint(entry, source.key, batch.workspace.folder)
    asked = hashlib.sha256(repr((REVISION, sorted(queries.items()))).encode()).hexdigest()[:32]
    held = {name.rpartition(":")[2] for name, digest in batch.known.items() if name.startswith(f"{source.name}:") and digest[:32] == asked}
    answered: set[str] = set()
    for window in days.windows(days.clock(), entry.days or prometheus.DAYS, held):
        batch.tell(f"{source.path} {days.day_of(window[0])}", 0)
        try:
            reading = prometheus.read(endpoint, queries, window)
        except UnreachableError as error:
            if not answered:
                batch.miss(source.key, error)
                return
            batch.messages.append(
                f"{source.path} was read until {days.day_of(window[0])}, the rest next time: {error.wrong}. {error.found}"
            )
            return
        batch.reached = True
        answered.update(reading.rows["metric"].unique())
        _take_days(source, reading, asked, batch)
    silent = [metric for metric in queries if metric not in answered]
    batch.messages += [f"{source.path} has no series for {metric}: see `{source.key}.queries`" for metric in silent]


def _take_days(source: _Source, reading: Reading, asked: str, batch: _Batch) -> None:
    """Each day as a delivery; a day without rows keeps what it had, one that may be incomplete is asked again next time."""
    for day, piece in _by_day(reading).items():
        name = f"{source.name}:{day}"
        aside = reading.set_aside.filter(pl.col("file").str.ends_with(f":{day}"))
        content = hashlib.sha256(piece.rows.write_json().encode() + aside.write_json().encode()).hexdigest()[:32]
        part = _Part(name, (), (asked if prometheus.is_whole(reading) else "0" * 32) + content)
        if batch.known.get(name) == part.digest or (piece.rows.is_empty() and name in batch.known):
            batch.counts["skipped"] += 1
            continue
        batch.counts["read"] += 1
        for table, frame in (("signals", piece.rows), ("seen", piece.seen), ("set_aside", aside)):
            batch.add(table, name, frame)
        batch.record(part, rows=piece.rows.height, aside=int(aside["records"].sum()))


def _by_day(reading: Reading) -> dict[str, Reading]:
    """Signals of each day on their own."""
    day = pl.col("hour").dt.strftime("%Y-%m-%d")
    names = pl.concat([frame.select(day) for frame in (reading.rows, reading.seen)]).to_series().unique().sort()
    rows, seen = ({str(key[0]): piece for key, piece in frame.group_by(day.alias("day"))} for frame in (reading.rows, reading.seen))
    return {d: Reading(rows.get(d, reading.rows.clear()), reading.set_aside, seen.get(d, reading.seen.clear())) for d in names}


def _relative(reading: Reading, part: _Part, folder: Path) -> Reading:
    """The files of records that were set aside, named from the workspace's folder."""
    if reading.set_aside.is_empty():
        return reading
    names = {str(file): _name(file, folder) for file in part.files}
    return replace(reading, set_aside=reading.set_aside.with_columns(pl.col("file").replace(names)))


def _whole_files(reading: Reading, part: _Part, folder: Path) -> dict[Path, str]:
    """Files that were set aside whole: no place is named."""
    whole = reading.set_aside.filter(pl.col("place").is_null()).select("file", "reason")
    reasons = {str(name): str(reason) for name, reason in whole.iter_rows()}
    return {file: reasons[name] for file in part.files if (name := _name(file, folder)) in reasons}


def _keep_former(source: _Source, part: _Part, faults: dict[Path, str], batch: _Batch) -> None:
    """The part stays as it was delivered before; what could not be read is set aside, once."""
    kind = "cost" if source.form not in READERS else source.form
    names = {_name(file, batch.workspace.folder): fault for file, fault in faults.items()}
    batch.messages += [f"{name} was set aside, {part.name} stays as it was: {fault}" for name, fault in names.items()]
    bad = replace(part, name=part.name + UNREADABLE)
    if batch.known.get(bad.name) == bad.digest:
        batch.counts["aside"] += len(names)
        return
    rows = [{"source": kind, "file": name, "reason": fault, "records": 1} for name, fault in names.items()]
    batch.add("set_aside", bad.name, tables.SET_ASIDE.fit(pl.DataFrame(rows)).drop("delivery"))
    batch.record(bad, aside=len(names))


def _forget_fault(part: _Part, batch: _Batch) -> None:
    """What could not be read before can be read now."""
    if part.name + UNREADABLE in batch.known:
        for name in ("set_aside", "deliveries"):
            batch.drop.setdefault(name, set()).add(part.name + UNREADABLE)


# ---------------------------------------------------------------- writing


def _leave_out(sources: Sequence[_Source], batch: _Batch) -> None:
    """Deliveries of sources that costwhy.toml no longer names: the same bill under a new path would count twice."""
    gone = {name for name in batch.known if not any(_belongs(name, s, batch.workspace.folder) for s in sources)}
    for name in BY_NAME.keys() - {"series"} if gone else ():
        batch.drop.setdefault(name, set()).update(gone)
    if gone:
        shown = ", ".join(sorted(gone)[:3])
        batch.messages.append(f"{len(gone)} deliveries left out, costwhy.toml no longer names their source: {shown}")


def _belongs(delivery: str, source: _Source, folder: Path) -> bool:
    name = delivery.removesuffix(UNREADABLE)
    if source.asked:
        regions = source.asked.regions or (name.removeprefix(source.asked.prefix).split(":")[0],)
        return name.startswith(tuple(f"{source.asked.prefix}{region}:" for region in regions))
    table = READERS[source.form][1] if source.form in READERS else "cost"
    if table == "catalog":
        return name == source.name
    if table != "changes":
        return name == source.name or name.startswith(f"{source.name}:")
    form, _, file = name.partition(":")
    if file.startswith("api:"):
        return False
    place, wanted = folder / file, folder / source.path
    return form == source.form and (place.is_relative_to(wanted) or fnmatch(str(place), str(wanted)))


def _write(sources: Sequence[_Source], batch: _Batch) -> IngestReport:
    """Everything at once; nothing where nothing is new."""
    if batch.records:
        now = datetime.now(UTC)
        rows = [{**record, "read_at": now} for record in batch.records.values()]
        batch.frames["deliveries"] = [("", pl.DataFrame(rows, schema=tables.DELIVERIES.schema))]
        batch.drop.setdefault("deliveries", set()).update(batch.records)
    names = sorted(batch.frames.keys() | batch.files.keys() | batch.drop.keys())
    changes = {name: Replacement(_rows(name, batch), tuple(sorted(batch.drop.get(name, ())))) for name in names}
    workspace = batch.workspace
    about = About(workspace.name, workspace.currency, _config(workspace, sources))
    version = write(workspace.lake_path, about, changes)
    empty = pl.DataFrame(schema={"billing_period": pl.String} | dict.fromkeys(COSTS, pl.Float64))
    totals = pl.concat([empty, *batch.totals]).group_by("billing_period").agg(pl.all().sum()).sort("billing_period")
    counts = batch.counts
    figures = (counts["read"], counts["skipped"], counts["rows"], counts["aside"])
    return IngestReport(version, *figures, totals, (*batch.messages, *batch.hints))


def _rows(name: str, batch: _Batch) -> pl.DataFrame | tuple[Path, ...]:
    """The new rows of a table, with their deliveries."""
    table, found = BY_NAME[name], batch.frames.pop(name, [])
    frame = pl.concat([frame for _, frame in found]) if found else table.empty()
    if name == "series":
        return frame.unique("series_id").sort("series_id")
    if found and name != "deliveries":
        frame = frame.with_columns(_deliveries(found))
    files = batch.files.get(name)
    if not files:
        return table.fit(frame)
    last = batch.spool / f"{name}-last.parquet"
    table.fit(frame).write_parquet(last)
    return (*files, last)


def _deliveries(found: Sequence[tuple[str, pl.DataFrame]]) -> pl.Series:
    """One column for all frames at once: ten thousand small frames must not take minutes."""
    counts = pl.DataFrame({"delivery": [d for d, _ in found], "n": [frame.height for _, frame in found]})
    return counts.select(pl.col("delivery").repeat_by("n").explode()).to_series()


def _config(workspace: Workspace, sources: Sequence[_Source]) -> dict[str, object]:
    """What decides how the lake is read: kept in the snapshot."""
    named = [{"key": source.key, "format": source.form, "path": source.path or "api"} for source in sources]
    tags = [{"key": f"owners[{n}]", "format": "tags"} for n, s in enumerate(workspace.owners) if s.format == "tags"]
    return {"mapping": msgspec.to_builtins(workspace.mapping), "sources": named + tags}


__all__ = ["IngestReport", "Progress", "ingest"]
