"""TODO publishing/company.py"""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.case.investigate import nobody_owns_of, overview_of
from costwhy.case.opened import FORMAT
from costwhy.errors import LakeError
from costwhy.feedback.savings import savings, savings_table
from costwhy.publishing.redact import redaction_of
from costwhy.text import iso_time, plain_value


def write_company(shelf: Path, study: LakeAnalysis, kinds: frozenset[str], resources: Collection[str]) -> None:
    """The whole company by day and what nobody owns; kept where an older publication knows less.

    Names that any publication of this folder took out stay out: the next one shall not bring them back.
    """
    place = shelf / "company.json"
    earlier = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    kinds |= frozenset(earlier.get("redacted", ()))
    hidden = redaction_of(kinds, study.frames | {"meters": study.frames["series"]}, resources)
    whole = earlier if earlier.get("as_of", "") > iso_time(study.observed.as_of) else _company(study)
    whole |= {"redacted": sorted(kinds), "nobody_owns": hidden.tree(whole["nobody_owns"])}
    draft = place.with_name(f".company-{os.getpid()}")
    draft.write_text(json.dumps(whole, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(place)


def _company(study: LakeAnalysis) -> dict[str, Any]:
    """The document, with all names."""
    by_day = overview_of(study).group_by(day=pl.col("hour").dt.truncate("1d"))
    days = by_day.agg(pl.col("actual_cost", "expected_cost").sum(), pl.col("estimated").any(), hours=pl.len()).sort("day")
    days = days.filter(pl.col("hours") == 24).drop("hours")
    cost, share, items = nobody_owns_of(study)
    return {
        "costwhy_company": FORMAT,
        "workspace": study.lake.workspace,
        "currency": study.lake.currency,
        "as_of": iso_time(study.observed.as_of),
        "days": [
            {k: plain_value(v) if not isinstance(v, float) else round(v, 2) for k, v in row.items()} for row in days.iter_rows(named=True)
        ],
        "saved": _saved(study),
        "nobody_owns": {"cost": round(cost, 2), "share": round(share, 6), "items": items.head(20).to_dicts()},
    }


def _saved(study: LakeAnalysis) -> dict[str, Any] | None:
    """What fixes saved, the longest look at each; None where nothing was fixed, or the lake keeps no verdicts."""
    try:
        rows = savings_table(savings(study.lake))
    except (AttributeError, OSError, LakeError):
        return None
    held = rows.filter(pl.col("outcome") == "verified").sort("days").group_by("spike_id").agg(pl.col("saved").last())
    return {"dollars": round(float(held["saved"].sum()), 2), "fixes": held.height} if held.height else None
