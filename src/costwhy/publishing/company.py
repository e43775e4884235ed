"""company.json of a published folder: the whole company by day, and what nobody owns."""

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
from costwhy.publishing.case_files import json_text
from costwhy.publishing.redact import redaction_of
from costwhy.text import plain_value


def write_company(
    published: Path, analysis: LakeAnalysis, kinds: frozenset[str], resources: Collection[str]
) -> None:
    """Write company.json, if the one that is there is not of a later time.

    kinds: names to take out. Names that any publication of this folder took out stay out.
    """
    place = published / "company.json"
    earlier = json.loads(place.read_text(encoding="utf-8")) if place.exists() else {}
    kinds |= frozenset(earlier.get("redacted", ()))
    names = analysis.frames | {"meters": analysis.frames["series"]}
    redaction = redaction_of(kinds, names, resources)
    later = earlier.get("as_of", "") > str(plain_value(analysis.observed.as_of))
    about = earlier if later else _company(analysis)
    about |= {"redacted": sorted(kinds), "nobody_owns": redaction.tree(about["nobody_owns"])}
    draft = place.with_name(f".company-{os.getpid()}")
    draft.write_text(json_text(about), encoding="utf-8")
    draft.replace(place)


def _company(analysis: LakeAnalysis) -> dict[str, Any]:
    """The document, with all names."""
    cost, share, items = nobody_owns_of(analysis)
    return {
        "costwhy_company": FORMAT,
        "workspace": analysis.lake.workspace,
        "currency": analysis.lake.currency,
        "as_of": plain_value(analysis.observed.as_of),
        "days": _days(analysis),
        "saved": _saved(analysis),
        "nobody_owns": {
            "cost": round(cost, 2),
            "share": round(share, 6),
            "items": items.head(20).to_dicts(),
        },
    }


def _days(analysis: LakeAnalysis) -> list[dict[str, Any]]:
    """Whole days of the company's spend."""
    by_day = overview_of(analysis).group_by(day=pl.col("hour").dt.truncate("1d"))
    days = by_day.agg(
        pl.col("actual_cost", "expected_cost").sum(), pl.col("estimated").any(), hours=pl.len()
    )
    whole = days.filter(pl.col("hours") == 24).drop("hours").sort("day")
    return [
        {
            "day": plain_value(row["day"]),
            "actual_cost": round(row["actual_cost"], 2),
            "expected_cost": round(row["expected_cost"], 2),
            "estimated": row["estimated"],
        }
        for row in whole.iter_rows(named=True)
    ]


def _saved(analysis: LakeAnalysis) -> dict[str, Any] | None:
    """What fixes saved, the longest look at each; None where nothing was fixed.

    None too where the lake keeps no verdicts, as one in memory.
    """
    try:
        rows = savings_table(savings(analysis.lake))
    except (AttributeError, OSError, LakeError):
        return None
    verified = rows.filter(pl.col("outcome") == "verified").sort("days")
    last = verified.group_by("spike_id").agg(pl.col("saved").last())
    if last.is_empty():
        return None
    return {"dollars": round(float(last["saved"].sum()), 2), "fixes": last.height}
