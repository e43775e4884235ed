"""The files of a published case.

SPIKE_ID/
  case.json            the document of `explain --json`, who made it from what with which versions,
                       the outline of the evidence
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
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.case.analysis import LakeReader
from costwhy.case.case import Case
from costwhy.case.document import document
from costwhy.case.opened import FORMAT, FRAMES, SUMS, digests
from costwhy.case.story import headline, sentences
from costwhy.publishing.evidence import Evidence
from costwhy.publishing.redact import Redaction
from costwhy.show.chart_specs import chart_specs
from costwhy.text import plain_value

PACKAGES = ("costwhy", "polars", "numpy", "scipy", "altair", "marimo", "pyarrow")


def case_json(
    lake: LakeReader, evidence: Evidence, case: Case, redaction: Redaction
) -> dict[str, Any]:
    """What case.json says of a case of that lake."""
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
        "made_from": {"lake_version": lake.version, "deliveries": _deliveries(lake, redaction)},
        "seed": None,  # nothing in a case is left to chance
        "redacted": sorted(redaction.kinds),
        "outline": evidence.outline,
        "spike": {name: plain_value(value) for name, value in asdict(case.spike).items()},
        "remainders": {"drivers": case.drivers_remainder, "behaviour": case.behaviour_remainder},
        "no_recorded_change": case.no_recorded_change,
        "planned": case.planned,
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that a case's numbers are made with."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def _deliveries(lake: LakeReader, redaction: Redaction) -> list[dict[str, Any]]:
    """What was delivered to the lake, with its digest."""
    try:
        rows = lake.table("deliveries").select("delivery", "digest").sort("delivery")
    except KeyError:  # a lake in memory keeps no deliveries
        return []
    return [{"delivery": redaction.text(name), "sha256": digest} for name, digest in rows.rows()]


def write_case(folder: Path, evidence: Evidence, case: Case, about: dict[str, Any]) -> None:
    """All files of the case. about: see `case_json`."""
    _write_tables(folder / "inputs", evidence.tables)
    _write_tables(folder / "tables", {name: getattr(case, name) for name in FRAMES})
    (folder / "charts").mkdir(parents=True)
    for name, spec in chart_specs(case).items():
        (folder / "charts" / f"{name}.json").write_text(spec, encoding="utf-8")
    (folder / "case.json").write_text(json_text(about), encoding="utf-8")
    (folder / "case.md").write_text(markdown(case), encoding="utf-8")
    sums = (f"{digest}  {name}\n" for name, digest in sorted(digests(folder).items()))
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


def _write_tables(folder: Path, frames: dict[str, pl.DataFrame]) -> None:
    folder.mkdir(parents=True)
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet", compression="zstd")


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
