"""A case is published: frozen into a folder that opens without a lake and without credentials.

published/
  company.json           spend of the whole company by day, what nobody owns: the newest
  SPIKE_ID/              a case
    case.json            the document of `explain --json`, who made it from what with which
                         versions, the outline of the evidence
    inputs/*.parquet     the data that the numbers are made from, see evidence.py
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
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.case.analysis import LakeAnalysis, LakeReader
from costwhy.case.case import Case
from costwhy.case.investigate import document, nobody_owns_of, overview_of
from costwhy.case.opened import FORMAT, FRAMES, SUMS, digests
from costwhy.case.story import headline, sentences
from costwhy.errors import InputError, LakeError, UsageError
from costwhy.feedback.savings import savings, savings_table
from costwhy.publishing.evidence import Evidence, collect_evidence, recompute
from costwhy.publishing.redact import KINDS, Redaction, redaction_of
from costwhy.show.chart_data import chart_specs
from costwhy.text import CENT, plain_value

PACKAGES = ("costwhy", "polars", "numpy", "scipy", "altair", "marimo", "pyarrow")
PREVIEW = pl.Schema(
    {
        "table": pl.String(),
        "column": pl.String(),
        "values": pl.Int64(),
        "masked": pl.Int64(),
        "example": pl.String(),
    }
)


def publish(case: Case, folder: str | Path, *, redact: Collection[str] = ()) -> Path:
    """Freeze a case into the published folder, in place of an earlier one of the same spike.

    redact: kinds of names to take out (accounts, resources, people). The numbers are made again
    from what is written, so that what is published is what `verify` will find. Returns the case's
    folder. Raises UsageError for a case that is no spike of a lake.
    """
    analysis, spike = _analysis(case), case.spike.spike_id
    evidence, redaction = redacted(collect_evidence(analysis, spike), redact)
    again = recompute(evidence)
    before, after = case.spike.excess_cost, again.spike.excess_cost
    if round(abs(before - after), 4) > CENT:  # both are whole cents
        raise InputError(
            "the case does not come out the same from its own data",
            found=f"{after} instead of {before}",
            fix="this is a fault of costwhy: please report it",
        )
    published = Path(folder)
    published.mkdir(parents=True, exist_ok=True)
    place = published / redaction.text(spike)
    about = case_json(analysis.lake, evidence, again, redaction)
    replace_folder(place, lambda draft: write_case(draft, evidence, again, about))
    write_company(published, analysis, frozenset(redact), evidence.all_resources)
    return place


def redacted(evidence: Evidence, kinds: Collection[str]) -> tuple[Evidence, Redaction]:
    """The evidence without the names of these kinds."""
    redaction = redaction_of(kinds, evidence.tables, evidence.all_resources)
    return Evidence(
        redaction.tree(evidence.about),
        redaction.tree(evidence.spike),
        tuple(redaction.tree(evidence.resources)),
        tuple(redaction.tree(evidence.ended)),
        {name: redaction.frame(frame) for name, frame in evidence.tables.items()},
    ), redaction


def preview(case: Case, redact: Collection[str] = ()) -> pl.DataFrame:
    """What would leave: each text column, how many of its values are masked, an example."""
    whole = collect_evidence(_analysis(case), case.spike.spike_id)
    redaction = redaction_of(redact, whole.tables, whole.all_resources)
    rows = []
    for table, frame in sorted(whole.tables.items()):
        for column in frame.select(pl.col(pl.String)).get_columns():
            values = column.drop_nulls().unique().sort().to_list()
            masks = {value: redaction.text(value) for value in values}
            changed = [mask for value, mask in masks.items() if mask != value]
            example = next(iter([*changed, *masks.values()]), None)
            rows.append((table, column.name, len(values), len(changed), example))
    return pl.DataFrame(rows, schema=PREVIEW, orient="row")


def kinds_of(words: Iterable[str]) -> tuple[str, ...]:
    """`accounts,people` or `all`, as a command line gives it."""
    named = tuple(
        filter(None, dict.fromkeys(part.strip() for word in words for part in word.split(",")))
    )
    return KINDS if "all" in named else named


def _analysis(case: Case) -> LakeAnalysis:
    """What a spike of a lake was made from. Raises UsageError for any other case."""
    spike = case.spike.spike_id
    if case.analysis is None or not any(row.spike_id == spike for _, row in case.analysis.found):
        raise UsageError(
            "only a spike can be published",
            found=f"{spike}, a window or a case that was opened",
            fix="see `costwhy spikes`",
        )
    return case.analysis


# ---------------------------------------------------------------- the files of a case


def case_json(
    lake: LakeReader, evidence: Evidence, case: Case, redaction: Redaction
) -> dict[str, Any]:
    """What case.json says of a case of that lake."""
    try:
        rows = lake.table("deliveries").select("delivery", "digest").sort("delivery").rows()
    except KeyError:  # a lake in memory keeps no deliveries
        rows = []
    return {
        "costwhy_case": FORMAT,
        "document": document(case),
        "headline": headline(case),
        "workspace": case.workspace,
        "currency": case.currency,
        "as_of": plain_value(case.as_of),
        "billed_through": plain_value(case.billed_through),
        "published_at": plain_value(datetime.now(UTC)),
        "made_with": versions(),
        "made_from": {
            "lake_version": lake.version,
            "deliveries": [
                {"delivery": redaction.text(name), "sha256": digest} for name, digest in rows
            ],
        },
        "seed": None,  # nothing in a case is left to chance
        "redacted": sorted(redaction.kinds),
        "outline": {
            "about": evidence.about,
            "spike": evidence.spike,
            "resources": evidence.resources,
            "ended": evidence.ended,
        },
        "spike": {name: plain_value(value) for name, value in asdict(case.spike).items()},
        "remainders": {"drivers": case.drivers_remainder, "behaviour": case.behaviour_remainder},
        "no_recorded_change": case.no_recorded_change,
        "planned": case.planned,
        "by_day": case.by_day,
        "resources": asdict(case.resources),
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that a case's numbers are made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def write_case(folder: Path, evidence: Evidence, case: Case, about: dict[str, Any]) -> None:
    """All files of the case. about: see `case_json`."""
    for part, frames in (
        ("inputs", evidence.tables),
        ("tables", {name: getattr(case, name) for name in FRAMES}),
    ):
        (folder / part).mkdir(parents=True)
        for name, frame in frames.items():
            frame.write_parquet(folder / part / f"{name}.parquet", compression="zstd")
    texts = {f"charts/{name}.json": spec for name, spec in chart_specs(case).items()}
    (folder / "charts").mkdir()
    for name, text in (texts | {"case.json": json_text(about), "case.md": markdown(case)}).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / SUMS).write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sorted(digests(folder).items())),
        encoding="utf-8",
    )


def json_text(value: object) -> str:
    """As all JSON files of a published folder are written."""
    return json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def markdown(case: Case) -> str:
    """The case in sentences, each with the table that it rests on; no text of it is markup."""
    lines = [f"- {plain_markdown(s.text)} *({s.evidence})*\n" for s in sentences(case)]
    return f"# {plain_markdown(headline(case))}\n\n{''.join(lines)}"


def plain_markdown(text: str) -> str:
    """External text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&])", r"\\\1", " ".join(text.split()))


def replace_folder(place: Path, write: Callable[[Path], object]) -> None:
    """Write a folder beside its place, then move it there: readers see the old or the new one."""
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


# ---------------------------------------------------------------- the whole company


def write_company(
    published: Path, analysis: LakeAnalysis, kinds: frozenset[str], resources: Collection[str]
) -> None:
    """Write company.json, if the one that is there is not of a later time.

    kinds: names to take out. Names that any publication of this folder took out stay out.
    """
    file = published / "company.json"
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    kinds |= frozenset(earlier.get("redacted", ()))
    redaction = redaction_of(
        kinds, analysis.frames | {"meters": analysis.frames["series"]}, resources
    )
    later = earlier.get("as_of", "") > str(plain_value(analysis.observed.as_of))
    about = earlier if later else _company(analysis)
    about |= {"redacted": sorted(kinds), "nobody_owns": redaction.tree(about["nobody_owns"])}
    draft = file.with_name(f".company-{os.getpid()}")
    draft.write_text(json_text(about), encoding="utf-8")
    draft.replace(file)


def _company(analysis: LakeAnalysis) -> dict[str, Any]:
    """What company.json says, with all names; its days are whole ones."""
    cost, share, items = nobody_owns_of(analysis)
    days = (
        overview_of(analysis)
        .group_by(day=pl.col("hour").dt.truncate("1d"))
        .agg(
            pl.col("actual_cost", "expected_cost").sum(), pl.col("estimated").any(), hours=pl.len()
        )
        .filter(pl.col("hours") == 24)
        .sort("day")
    )
    return {
        "costwhy_company": FORMAT,
        "workspace": analysis.lake.workspace,
        "currency": analysis.lake.currency,
        "as_of": plain_value(analysis.observed.as_of),
        "days": [
            {
                "day": plain_value(row["day"]),
                "actual_cost": round(row["actual_cost"], 2),
                "expected_cost": round(row["expected_cost"], 2),
                "estimated": row["estimated"],
            }
            for row in days.iter_rows(named=True)
        ],
        "saved": _saved(analysis),
        "nobody_owns": {
            "cost": round(cost, 2),
            "share": round(share, 6),
            "items": items.head(20).to_dicts(),
        },
    }


def _saved(analysis: LakeAnalysis) -> dict[str, Any] | None:
    """What fixes saved, the longest look at each; None where nothing was fixed.

    None too where the lake keeps no verdicts, as one in memory.
    """
    try:
        rows = savings_table(savings(analysis.lake))
    except (AttributeError, OSError, LakeError):
        return None
    saved = (
        rows.filter(pl.col("outcome") == "verified")
        .sort("days")
        .group_by("spike_id")
        .agg(pl.col("saved").last())["saved"]
    )
    return {"dollars": round(float(saved.sum()), 2), "fixes": saved.len()} if saved.len() else None
