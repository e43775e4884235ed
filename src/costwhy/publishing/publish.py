"""A case is published: frozen into a folder that opens without a lake and without credentials.

published/
  company.json    spend of the whole company by day, what nobody owns: of the newest publication
  SPIKE_ID/       a case, see case_files.py
"""

from collections.abc import Collection, Iterable
from pathlib import Path

import polars as pl

from costwhy.case.analysis import LakeAnalysis
from costwhy.case.case import Case
from costwhy.errors import InputError, UsageError
from costwhy.publishing.case_files import case_json, replace_folder, write_case
from costwhy.publishing.company import write_company
from costwhy.publishing.evidence import Evidence, collect_evidence
from costwhy.publishing.recompute import recompute
from costwhy.publishing.redact import KINDS, Redaction, redaction_of
from costwhy.text import CENT

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
    _check_equal(case, again)
    published = Path(folder)
    published.mkdir(parents=True, exist_ok=True)
    place = published / redaction.text(spike)
    about = case_json(analysis.lake, evidence, again, redaction)
    replace_folder(place, lambda draft: write_case(draft, evidence, again, about))
    write_company(published, analysis, frozenset(redact), evidence.resources)
    return place


def redacted(evidence: Evidence, kinds: Collection[str]) -> tuple[Evidence, Redaction]:
    """The evidence without the names of these kinds."""
    redaction = redaction_of(kinds, evidence.tables, evidence.resources)
    masked = Evidence(
        redaction.tree(evidence.about),
        redaction.tree(evidence.spike),
        tuple(redaction.tree(evidence.resources)),
        {name: redaction.frame(frame) for name, frame in evidence.tables.items()},
    )
    return masked, redaction


def preview(case: Case, redact: Collection[str] = ()) -> pl.DataFrame:
    """What would leave: each text column, how many of its values are masked, an example."""
    whole = collect_evidence(_analysis(case), case.spike.spike_id)
    redaction = redacted(whole, redact)[1]
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
    parts = (part.strip() for word in words for part in word.split(","))
    named = tuple(dict.fromkeys(part for part in parts if part))
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


def _check_equal(case: Case, again: Case) -> None:
    """Fail if the case recomputed from its evidence differs by more than 1 cent."""
    before, after = case.spike.excess_cost, again.spike.excess_cost
    if round(abs(before - after), 4) > CENT:  # both are whole cents
        raise InputError(
            "the case does not come out the same from its own data",
            found=f"{after} instead of {before}",
            fix="this is a fault of costwhy: please report it",
        )
