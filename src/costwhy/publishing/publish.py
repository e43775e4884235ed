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

import json
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.case.case import Case
from costwhy.case.document import document
from costwhy.case.opened import FORMAT, FRAMES, SUMS, digests
from costwhy.case.story import headline, tell
from costwhy.errors import InputError, UsageError
from costwhy.publishing.company import write_company
from costwhy.publishing.evidence import Frozen, Outline, freeze, investigate_frozen
from costwhy.publishing.redact import KINDS, Redaction, redaction_of
from costwhy.show.chart_specs import chart_specs
from costwhy.text import plain_value

PACKAGES = ("costwhy", "polars", "numpy", "scipy", "altair", "marimo", "pyarrow")


# ---------------------------------------------------------------- writing


def publish(case: Case, folder: str | Path, *, redact: Collection[str] = ()) -> Path:
    """Freeze a case into the published folder, in place of an earlier one of the same spike. Returns the case's folder.

    redact: kinds of names to take out (accounts, resources, people). The numbers are made again from what is written, so that
    what is published is what `verify` will find. Raises UsageError for a case that is no spike of a lake.
    """
    study = case.analysis
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
    write_company(shelf, study, frozenset(redact), frozen.outline.resources)
    return shelf / name


def redacted(frozen: Frozen, kinds: Collection[str]) -> tuple[Frozen, Redaction]:
    """The data without the names of these kinds."""
    hidden = redaction_of(kinds, frozen.tables, frozen.outline.resources)
    outline = Outline(*(hidden.tree(getattr(frozen.outline, f.name)) for f in fields(Outline)))
    return Frozen(replace(outline, resources=tuple(outline.resources)), {n: hidden.frame(t) for n, t in frozen.tables.items()}), hidden


def preview(case: Case, redact: Collection[str] = ()) -> pl.DataFrame:
    """What would leave: table, column, distinct values, how many of them are masked, an example as it would be read."""
    if case.analysis is None:
        raise UsageError("only a spike of a lake can be published", todo="see `costwhy spikes`")
    whole = freeze(case.analysis, str(case.spike["spike_id"]))
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


def _about(study: LakeAnalysis, frozen: Frozen, made: Case, hidden: Redaction) -> dict[str, Any]:
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
        "spike": {k: plain_value(v) for k, v in asdict(made.spike).items()},
        "remainders": {"drivers": made.drivers_remainder, "behaviour": made.behaviour_remainder},
        "no_recorded_change": made.no_recorded_change,
        "planned": made.planned,
    }


def _inputs(study: LakeAnalysis, hidden: Redaction) -> list[dict[str, Any]]:
    """What was delivered to the lake, with its digest."""
    try:
        rows = study.lake.table("deliveries").select("delivery", "digest").sort("delivery")
    except KeyError:  # a lake in memory keeps no deliveries
        return []
    return [{"delivery": hidden.text(name), "sha256": digest} for name, digest in rows.iter_rows()]


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


def kinds_of(words: Iterable[str]) -> tuple[str, ...]:
    """`accounts,people` or `all`, as a command line gives it."""
    named = tuple(dict.fromkeys(part.strip() for word in words for part in word.split(",") if part.strip()))
    return KINDS if "all" in named else named
