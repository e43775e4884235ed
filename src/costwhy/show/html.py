"""Parts of a page as HTML.

`Markup` is finished HTML. The templates escape every other value.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import polars as pl
from markupsafe import Markup, escape

from costwhy.behaviours import VERDICT_WORDS
from costwhy.case.bill_facts import BillFacts
from costwhy.case.case import Case
from costwhy.case.story import Sentence, behaviour_words, headline, lost_sentence, sentences
from costwhy.ingest.left_out import MOST, amounts_of, left_out_words, newest
from costwhy.ingest.reconcile import Reconciliation
from costwhy.templates import environment
from costwhy.text import HALF_CENT, clock, count_of, money, one_line, size

VEGA_LITE = "application/vnd.vegalite.v6+json"
LONGEST = 5000  # characters that are shown of one text


@dataclass(frozen=True)
class Fact:
    """A number that everybody asks for, and what it means."""

    name: str
    value: str
    note: str


def printable(value: object) -> object:
    """What a template prints: text without control and direction characters, nothing for None."""
    if isinstance(value, Markup):
        return value
    return "" if value is None else one_line(str(value), LONGEST)


def where_words(where: str) -> str:
    """A place in the bill, as `tables.DRIVERS` writes it, in words."""
    return " · ".join(str(value) for value in json.loads(where).values())


def json_attribute(value: str) -> Markup:
    """JSON for an attribute of a marimo element, without what marimo takes for TeX."""
    escaped = str(escape(json.dumps(value))).replace("\\", "&#92;").replace("$", "&#36;")
    return Markup(escaped)  # noqa: S704 -- escaped in the line above


TEMPLATES = environment("costwhy.show").overlay(finalize=printable)
TEMPLATES.globals["verdicts"] = VERDICT_WORDS
TEMPLATES.filters |= {
    "attribute": json_attribute,
    "clock": clock,
    "headline": headline,
    "money": money,
    "size": size,
    "where": where_words,
    "words": behaviour_words,
}


def _bare(template: str, **values: object) -> Markup:
    """The template, filled. On one line: marimo joins the lines of a stack without a space."""
    lines = TEMPLATES.get_template(f"{template}.html").render(values).splitlines()
    return Markup(" ".join(filter(None, map(str.strip, lines))))  # noqa: S704  escaped already


def _part(template: str, **values: object) -> Markup:
    """The same in the page's own style."""
    return _bare("page", body=_bare(template, **values))


STYLE = _bare("style")


def chart(spec: str) -> Markup:
    """Vega-Lite in a marimo page, with its data in it: the same for every viewer."""
    return _bare("chart", mime=VEGA_LITE, spec=spec)


def section(title: str, note: str = "") -> Markup:
    """A heading with a line under it."""
    return _part("section", title=title, note=note)


def note(text: str) -> Markup:
    """A small line over a chart."""
    return _part("note", text=text)


def columns(*parts: Markup) -> Markup:
    """The parts beside each other, under each other where there is no room."""
    return _part("columns", parts=parts)


def folded(title: str, body: Markup, *, is_open: bool = False) -> Markup:
    """A part that opens when its title is picked. is_open: it is so from the start."""
    return _part("folded", title=title, body=body, is_open=is_open)


def reconciliation(found: Reconciliation) -> Markup:
    """What a lake holds of its sources' files; open from the start where something is left out."""
    lines, hidden = newest(found.sums)
    missing = left_out_words(found.reasons, found.not_read)
    reasons = [
        {**row, "money": amounts_of(found.reasons[k])}
        for k, row in enumerate(found.reasons.head(MOST).to_dicts())
    ]
    body = _bare(
        "reconciliation",
        lines=lines,
        hidden=hidden,
        sources=len({line.source for line in lines if line.source}),
        reasons=reasons,
        more_records=found.reasons[MOST:]["records"].sum(),
        not_read=found.not_read.head(MOST).to_dicts(),
        more_files=max(0, found.not_read.height - MOST),
        notes=found.notes,
    )
    rows = count_of(int(found.sums.filter(line="total")["rows"].sum()), "row")
    title = f"{rows} read; {missing or 'nothing was set aside, no file was left out'}"
    return folded(title, body, is_open=bool(missing))


# ---------------------------------------------------------------- a case


def top(workspace: str, case: Case | None, bill: BillFacts | None = None) -> Markup:
    """Whose bill, as of when, the answer, and the numbers that everybody asks for.

    bill: what is said where there is no spike
    """
    return _part("top", workspace=workspace, case=case, bill=bill.sentences if bill else ())


def sentence_list(parts: Iterable[Sentence]) -> Markup:
    """Sentences, each with the table that it rests on."""
    return _part("sentences", sentences=parts)


def story(case: Case) -> Markup:
    """The case in sentences."""
    return sentence_list(sentences(case))


def _case_part(template: str, case: Case) -> Markup:
    return _part(template, case=case)


# dollars to behaviour to change to person to team to contact
chain = partial(_case_part, "chain")
# changes ranked, and *no recorded change* among them
triggers = partial(_case_part, "triggers")
# where in the bill the change sits, with the remainder
drivers = partial(_case_part, "drivers")
# behaviour rows with dollars that add up to the excess
behaviours = partial(_case_part, "behaviours")
# which dependencies carried the money: from the caller to the bill line
paths = partial(_case_part, "paths")
# what was covered, with gaps, and what cannot be ruled out
coverage = partial(_case_part, "coverage")
# two clocks: when it happened, when it could be known
clocks = partial(_case_part, "clocks")


def verdicts(rows: pl.DataFrame) -> Markup:
    """What owners said of a spike, newest first. rows: tables.VERDICTS."""
    return _part("verdicts", rows=rows.to_dicts())


# ---------------------------------------------------------------- the whole company


def board(workspace: str, words: str, facts: Iterable[Fact]) -> Markup:
    """Whose spend, the answer, and the numbers that everybody asks for."""
    return _part("board", workspace=workspace, headline=words, facts=facts)


def not_published(*, others: bool) -> Markup:
    """In place of a case that the folder does not have. others: whether it has any."""
    return _part("not_published", others=others)


def estimates(rows: pl.DataFrame, currency: str) -> Markup:
    """How good past estimates were, in a sentence. rows: tables.NOWCAST."""
    if rows.is_empty():
        return _part("estimates", past=None)
    company = rows.filter(pl.col("service").is_null())
    services = rows.filter(pl.col("service").is_not_null())
    uncertain = services.filter(pl.col("error").abs() > HALF_CENT)  # an exact one is always inside
    return _part(
        "estimates",
        past={
            "days": company.height,
            "hours": rows["hours"][0],
            "error": _median_error(company),
            "dollars": company.select(pl.col("error").abs().median()).item(),
            "services": services.height,
            "service_error": _median_error(services),
            "uncertain": uncertain.height,
            "inside": int(uncertain["inside"].sum()) / max(1, uncertain.height),
        },
        currency=currency,
    )


def _median_error(rows: pl.DataFrame) -> float:
    share = (pl.col("error") / pl.col("billed_cost")).abs()  # of the bill; 0: nothing was billed
    return rows.filter(pl.col("billed_cost") != 0).select(share.median()).item() or 0.0


def lost_tags(lost: pl.DataFrame, currency: str) -> Markup:
    """Whose tags went, when, after which change, what was spent since; nothing where none went."""
    rows = lost.to_dicts()
    return sentence_list(lost_sentence(row, currency) for row in rows) if rows else Markup()


def gap(cost: float, share: float, items: pl.DataFrame, currency: str) -> Markup:
    """What nobody owns, ranked."""
    return _part("gap", cost=cost, share=share, rows=items.head(10).to_dicts(), currency=currency)
