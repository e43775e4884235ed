"""The published folder: each case a folder of its own, which opens without a lake and without credentials.

published/
  company.json           spend of the whole company by day, what nobody owns: of the newest publication
  SPIKE_ID/
    case.json            the contract's document, who made it from what with which versions, the outline of the spike
    inputs/*.parquet     the data that the numbers are made from, see frozen.py
    tables/*.parquet     the results, as `tables.py` names them
    charts/*.json        Vega-Lite
    case.md              the text
    SHA256SUMS           of all of these; `sha256sum -c SHA256SUMS` checks it without costwhy
"""

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from costwhy import charts, views
from costwhy.case import Case, Study, document, nobody_owns_of, overview_of
from costwhy.errors import InputError, LakeError, UsageError
from costwhy.published.frozen import Frozen, Outline, freeze, investigate_frozen
from costwhy.published.redact import KINDS, Redaction, redaction_of
from costwhy.savings import savings
from costwhy.savings import table as tables_of_savings
from costwhy.sources import s3
from costwhy.story import headline, tell

FORMAT = 1
SUMS = "SHA256SUMS"
PACKAGES = ("costwhy", "polars", "numpy", "scipy", "altair", "marimo", "pyarrow")
FRAMES = tuple(f.name for f in fields(Case) if f.type == "pl.DataFrame" or f.type is pl.DataFrame)
MIRROR_SECONDS = 60
_MIRRORED: dict[str, float] = {}
_MIRRORING = threading.Lock()
NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True)
class Published:
    """A case of the published folder. `about`: its case.json."""

    folder: Path
    about: dict[str, Any]
    case: Case

    @property
    def name(self) -> str:
        """The spike's id, which is the folder's name."""
        return self.folder.name

    @property
    def said(self) -> dict[str, Any]:
        """The contract's document of the spike."""
        return dict(self.about["document"])


# ---------------------------------------------------------------- writing


def publish(case: Case, folder: str | Path, *, redact: Collection[str] = ()) -> Path:
    """Freeze a case into the published folder, in place of an earlier one of the same spike. Returns the case's folder.

    redact: kinds of names to take out (accounts, resources, people). The numbers are made again from what is written, so that
    what is published is what `verify` will find. Raises UsageError for a case that is no spike of a lake.
    """
    study = case.study
    if study is None or not any(row["spike_id"] == case.spike["spike_id"] for _, row in study.found):
        raise UsageError(
            "only a spike can be published",
            found=f"{case.spike['spike_id']}, a window or a case that was opened",
            todo="see `costwhy spikes`",
        )
    frozen, hidden = redacted(freeze(study, str(case.spike["spike_id"])), redact)
    made = investigate_frozen(frozen)
    _agree(case, made)
    shelf = Path(folder)
    shelf.mkdir(parents=True, exist_ok=True)
    name = hidden.text(str(case.spike["spike_id"]))
    _replace(shelf / name, lambda draft: _write(draft, frozen, made, _about(study, frozen, made, hidden)))
    _write_company(shelf, study, frozenset(redact), frozen.outline.resources)
    return shelf / name


def redacted(frozen: Frozen, kinds: Collection[str]) -> tuple[Frozen, Redaction]:
    """The data without the names of these kinds."""
    hidden = redaction_of(kinds, frozen.tables, frozen.outline.resources)
    outline = Outline(*(hidden.tree(getattr(frozen.outline, f.name)) for f in fields(Outline)))
    return Frozen(replace(outline, resources=tuple(outline.resources)), {n: hidden.frame(t) for n, t in frozen.tables.items()}), hidden


def preview(case: Case, redact: Collection[str] = ()) -> pl.DataFrame:
    """What would leave: table, column, distinct values, how many of them are masked, an example as it would be read."""
    if case.study is None:
        raise UsageError("only a spike of a lake can be published", todo="see `costwhy spikes`")
    whole = freeze(case.study, str(case.spike["spike_id"]))
    hidden = redacted(whole, redact)[1]
    rows = []
    for table, frame in sorted(whole.tables.items()):
        for column in (c for c in frame.get_columns() if c.dtype == pl.String):
            values = sorted(column.drop_nulls().unique().to_list())
            masked = [hidden.text(v) for v in values]
            example = next((m for v, m in zip(values, masked, strict=True) if v != m), masked[0] if masked else None)
            rows.append((table, column.name, len(values), sum(v != m for v, m in zip(values, masked, strict=True)), example))
    return pl.DataFrame(
        rows, schema={"table": pl.String, "column": pl.String, "values": pl.Int64, "masked": pl.Int64, "example": pl.String}, orient="row"
    )


def _agree(case: Case, made: Case) -> None:
    """What was cut away must not have mattered."""
    ours, theirs = (float(str(c.spike["excess_cost"])) for c in (case, made))
    if abs(ours - theirs) > 0.011:
        raise InputError(
            "the case does not come out the same from its own data",
            found=f"{theirs} instead of {ours}",
            todo="this is a fault of costwhy: please report it",
        )


def _about(study: Study, frozen: Frozen, made: Case, hidden: Redaction) -> dict[str, Any]:
    return {
        "costwhy_case": FORMAT,
        "document": document(made),
        "headline": headline(made),
        "workspace": made.workspace,
        "currency": made.currency,
        "as_of": f"{made.as_of:%Y-%m-%dT%H:%M:%SZ}",
        "billed_through": f"{made.billed_through:%Y-%m-%dT%H:%M:%SZ}",
        "published_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "made_with": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "made_from": {"lake_version": study.lake.version, "deliveries": _inputs(study, hidden)},
        "seed": None,  # nothing in a case is left to chance
        "redacted": sorted(hidden.kinds),
        "outline": asdict(frozen.outline),
        "spike": {k: _plain(v) for k, v in made.spike.items()},
        "remainders": {"drivers": made.drivers_remainder, "behaviour": made.behaviour_remainder},
        "no_recorded_change": made.no_recorded_change,
        "planned": made.planned,
    }


def _inputs(study: Study, hidden: Redaction) -> list[dict[str, Any]]:
    """What was delivered to the lake, with its digest."""
    try:
        rows = study.lake.table("deliveries").select("delivery", "digest").sort("delivery")
    except KeyError:  # a lake in memory keeps no deliveries
        return []
    return [{"delivery": hidden.text(name), "sha256": digest} for name, digest in rows.iter_rows()]


def _plain(value: object) -> object:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else value


def _write(draft: Path, frozen: Frozen, case: Case, about: dict[str, Any]) -> None:
    for name in ("inputs", "tables", "charts"):
        (draft / name).mkdir(parents=True)
    for name, frame in frozen.tables.items():
        frame.write_parquet(draft / "inputs" / f"{name}.parquet", compression="zstd")
    for name in FRAMES:
        getattr(case, name).write_parquet(draft / "tables" / f"{name}.parquet", compression="zstd")
    for name, spec in chart_specs(case).items():
        (draft / "charts" / f"{name}.json").write_text(spec, encoding="utf-8")
    (draft / "case.json").write_text(json.dumps(about, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    (draft / "case.md").write_text(markdown(case), encoding="utf-8")
    write_sums(draft)


def chart_specs(case: Case) -> dict[str, str]:
    """Vega-Lite of the case's charts, by name."""
    axis, start = views.axis(case), case.spike["start"]
    assert isinstance(start, datetime)  # noqa: S101  the table's type
    out = {
        "moved": charts.moved(views.moved(case)),
        "timeline": charts.timeline(case.timeline, start),
        "ledger": charts.ledger(views.ledger(case), axis),
        "changes": charts.changes(views.changes(case), axis, None),
        "owners": charts.owners(views.lanes(case), axis),
    }
    out |= {f"calls-{k}": charts.calls(rows, axis, start) for k, (_, rows) in enumerate(views.edges(case))}
    return {name: chart.to_json(indent=None) for name, chart in out.items()}


def markdown(case: Case) -> str:
    """The case in sentences, each with the table that it rests on; nothing in it is markup of its own."""
    lines = [f"# {plain_markdown(headline(case))}", "", *(f"- {plain_markdown(s.text)} *({s.evidence})*" for s in tell(case))]
    return "\n".join(lines) + "\n"


def plain_markdown(text: str) -> str:
    """External text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", " ".join(text.split()))


def write_sums(folder: Path) -> None:
    """SHA256SUMS over every file below the folder."""
    lines = [f"{digest}  {name}" for name, digest in sorted(digests(folder).items())]
    (folder / SUMS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below the folder that belongs to the case."""
    files = (f for f in sorted(folder.rglob("*")) if f.is_file() and f.name != SUMS and "__pycache__" not in f.parts)
    return {f.relative_to(folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def _replace(place: Path, write: Any) -> None:
    """A folder written beside its place and then moved there: readers see the old one or the new one, whole."""
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
    try:
        write(draft)
        draft.chmod(0o755)
        old = place.with_name(f".old-{place.name}-{os.getpid()}")
        if place.exists():
            place.rename(old)
        draft.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_company(shelf: Path, study: Study, kinds: frozenset[str], resources: Collection[str]) -> None:
    """The whole company by day and what nobody owns; kept where an older publication knows less.

    Names that any publication of this folder took out stay out: the next one shall not bring them back.
    """
    place = shelf / "company.json"
    earlier = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    kinds |= frozenset(earlier.get("redacted", ()))
    hidden = redaction_of(kinds, study.frames | {"meters": study.frames["series"]}, resources)
    whole = earlier if earlier.get("as_of", "") > f"{study.observed.as_of:%Y-%m-%dT%H:%M:%SZ}" else _company(study)
    whole |= {"redacted": sorted(kinds), "nobody_owns": hidden.tree(whole["nobody_owns"])}
    draft = place.with_name(f".company-{os.getpid()}")
    draft.write_text(json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(place)


def _company(study: Study) -> dict[str, Any]:
    """The document, with all names."""
    by_day = overview_of(study).group_by(day=pl.col("hour").dt.truncate("1d"))
    days = by_day.agg(pl.col("actual_cost", "expected_cost").sum(), pl.col("estimated").any(), hours=pl.len()).sort("day")
    days = days.filter(pl.col("hours") == 24).drop("hours")
    cost, share, items = nobody_owns_of(study)
    return {
        "costwhy_company": FORMAT,
        "workspace": study.lake.workspace,
        "currency": study.lake.currency,
        "as_of": f"{study.observed.as_of:%Y-%m-%dT%H:%M:%SZ}",
        "days": [{k: _plain(v) if not isinstance(v, float) else round(v, 2) for k, v in row.items()} for row in days.iter_rows(named=True)],
        "saved": _saved(study),
        "nobody_owns": {"cost": round(cost, 2), "share": round(share, 6), "items": items.head(20).to_dicts()},
    }


def _saved(study: Study) -> dict[str, Any] | None:
    """What fixes saved, the longest look at each; None where nothing was fixed, or the lake keeps no verdicts."""
    try:
        rows = tables_of_savings(savings(study.lake))
    except (AttributeError, OSError, LakeError):
        return None
    held = rows.filter(pl.col("outcome") == "verified").sort("days").group_by("spike_id").agg(pl.col("saved").last())
    return {"dollars": round(float(held["saved"].sum()), 2), "fixes": held.height} if held.height else None


# ---------------------------------------------------------------- reading


def open_case(place: str | Path) -> Published:
    """A published case. Raises InputError where there is none, or where its files are not whole."""
    folder = Path(place)
    try:
        about = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        frames = {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in FRAMES}
    except FileNotFoundError as error:
        raise InputError(f"there is no published case at {folder}", found=f"no {error.filename}", todo="see `costwhy publish`") from error
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"the case at {folder} cannot be read", found=str(error), todo="publish it again") from error
    try:
        return Published(folder, about, _case(about, frames))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the case.json of {folder} is not one of costwhy's", found=repr(error), todo="publish it again") from error


def _case(about: dict[str, Any], frames: dict[str, Any]) -> Case:
    spike = {k: datetime.fromisoformat(v) if k in {"start", "end"} and v else v for k, v in about["spike"].items()}
    times = [datetime.fromisoformat(about[k]) for k in ("as_of", "billed_through")]
    return Case(
        workspace=about["workspace"],
        currency=about["currency"],
        as_of=times[0],
        billed_through=times[1],
        lake_version=int(about["made_from"]["lake_version"]),
        spike=spike,
        drivers_remainder=float(about["remainders"]["drivers"]),
        behaviour_remainder=float(about["remainders"]["behaviour"]),
        no_recorded_change=float(about["no_recorded_change"]),
        planned=bool(about["planned"]),
        **frames,
    )


def open_frozen(place: str | Path) -> Frozen:
    """The data of a published case, from which its numbers can be made again."""
    folder = Path(place)
    outline = json.loads((folder / "case.json").read_text(encoding="utf-8"))["outline"]
    frames = {file.stem: pl.read_parquet(file) for file in sorted((folder / "inputs").glob("*.parquet"))}
    return Frozen(Outline(outline["about"], outline["spike"], tuple(outline["resources"])), frames)


def published_cases(folder: str | Path) -> tuple[Published, ...]:
    """All cases of a published folder that can be opened, newest spike first."""
    found = [open_case(place) for place in case_folders(folder)]
    return tuple(sorted(found, key=lambda p: str(p.about["spike"]["start"]), reverse=True))


def local_folder(published: str | Path) -> Path:
    """The published folder on this machine; one on S3 is mirrored to the cache, looked at anew once a minute.

    Raises UnreachableError where S3 cannot be reached.
    """
    address = str(published)
    if not address.startswith("s3://"):
        return Path(address)
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        / "costwhy"
        / f"published-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    )
    with _MIRRORING:
        if time.monotonic() - _MIRRORED.get(address, float("-inf")) > MIRROR_SECONDS:
            s3.mirror(address.rstrip("/") + "/", cache)
            _MIRRORED[address] = time.monotonic()
    return cache / s3.local_path(address.rstrip("/") + "/")


def case_folders(folder: str | Path) -> Sequence[Path]:
    """Folders of cases below a published folder."""
    shelf = Path(folder)
    if not shelf.is_dir():
        return ()
    return sorted(p for p in shelf.iterdir() if NAME.fullmatch(p.name) and (p / "case.json").is_file())


def company(folder: str | Path) -> dict[str, Any] | None:
    """company.json of a published folder; None where there is none."""
    place = Path(folder) / "company.json"
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None


def kinds_of(words: Iterable[str]) -> tuple[str, ...]:
    """`accounts,people` or `all`, as a command line gives it."""
    named = tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))
    return KINDS if "all" in named else named
