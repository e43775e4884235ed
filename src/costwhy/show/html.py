"""Parts of a page as HTML.

`Markup` is finished HTML. The templates escape every other value.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from markupsafe import Markup, escape

from costwhy.behaviours import VERDICT_WORDS
from costwhy.case.case import Case
from costwhy.case.story import Sentence, behaviour_words, headline, lost_sentence, sentences
from costwhy.model.backtest import CENT
from costwhy.templates import environment
from costwhy.text import clock, money, one_line

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
TEMPLATES.filters |= {
    "attribute": json_attribute,
    "clock": clock,
    "money": money,
    "where": where_words,
    "words": behaviour_words,
}


def _part(template: str, **values: object) -> Markup:
    """The template, filled. On one line: marimo joins the lines of a stack without a space."""
    lines = TEMPLATES.get_template(f"{template}.html").render(values).splitlines()
    return Markup(" ".join(filter(None, map(str.strip, lines))))  # noqa: S704 -- from a template that escapes


STYLE = _part("style")


def page(*parts: Markup) -> Markup:
    """The parts in the page's own style."""
    return _part("page", parts=parts)


def top(workspace: str, case: Case | None) -> Markup:
    """Whose bill, as of when, the answer, and the numbers that everybody asks for."""
    if case is None:
        words = "No spike: nothing costs more than its traffic explains."
        return page(_part("top", eyebrow=[workspace], headline=words, facts=()))
    until = f"billed through {clock(case.billed_through)}, known until {clock(case.as_of)}"
    eyebrow = ["costwhy", workspace, until]
    return page(_part("top", eyebrow=eyebrow, headline=headline(case), facts=_facts(case)))


def _facts(case: Case) -> tuple[Fact, ...]:
    spike = case.spike

    def amount(dollars: float) -> str:
        return money(dollars, case.currency)

    running = spike.end is None
    late = f"{amount(spike.nowcast_excess_cost)} estimated, not billed yet"
    return (
        Fact("Excess so far", amount(case.total), late if spike.nowcast_hours else "billed"),
        Fact("Now, an hour", amount(spike.cost_per_hour_now), f"{amount(case.a_day)} a day of waiting")
        if running
        else Fact("Now, an hour", "nothing", "it is over"),
        Fact(
            "By the end of the month",
            amount(spike.month_end_excess_cost),
            "if nothing is done" if running else "final",
        ),
        Fact(
            "Kind",
            VERDICT_WORDS[spike.verdict],
            "planned" if case.planned else "not planned",
        ),
        Fact("Status", spike.status, f"since {clock(spike.start)}"),
    )


def board_top(workspace: str, words: str, facts: Iterable[Fact]) -> Markup:
    """Whose spend, the answer, and the numbers that everybody asks for."""
    eyebrow = ["costwhy", workspace]
    return page(_part("top", eyebrow=eyebrow, headline=words, facts=tuple(facts)))


def not_published(*, others: bool) -> Markup:
    """In place of a case that the folder does not have. others: whether it has any."""
    return page(_part("not_published", others=others))


# ---------------------------------------------------------------- layout


def section(title: str, note: str = "") -> Markup:
    """A heading with a line under it."""
    return page(_part("section", title=title, note=note))


def note(text: str) -> Markup:
    """A small line over a chart."""
    return page(_part("note", text=text))


def columns(*parts: Markup) -> Markup:
    """The parts beside each other, under each other where there is no room."""
    return page(_part("columns", parts=parts))


def folded(title: str, body: Markup) -> Markup:
    """A part that opens when its title is picked."""
    return page(_part("folded", title=title, body=body))


def chart(spec: str) -> Markup:
    """Vega-Lite in a marimo page, with its data in it: the same for every viewer."""
    return _part("chart", mime=VEGA_LITE, spec=spec)


# ---------------------------------------------------------------- parts of a case


def sentence_list(parts: Iterable[Sentence]) -> Markup:
    """Sentences, each with the table that it rests on."""
    return page(_part("sentences", sentences=parts))


def story(case: Case) -> Markup:
    """The case in sentences."""
    return sentence_list(sentences(case))


def triggers(case: Case) -> Markup:
    """Changes ranked, and *no recorded change* among them."""
    rows = case.triggers.head(5)
    likelier = pl.col("probability") > case.no_recorded_change
    return page(
        _part(
            "triggers",
            likelier=rows.filter(likelier).to_dicts(),
            others=rows.filter(~likelier).to_dicts(),
            no_recorded_change=case.no_recorded_change,
        )
    )


def chain(case: Case) -> Markup:
    """Dollars to behaviour to change to person to team to contact."""
    return page(_part("chain", steps=_steps(case)))


def _steps(case: Case) -> Mapping[str, str]:
    """Each step's name, and what stands there."""
    owner, decided, budget = case.who
    then, behaviours = case.owner_then, case.behaviour.head(1).to_dicts()
    best = case.triggers.filter(pl.col("probability") > case.no_recorded_change).head(1).to_dicts()
    steps = {
        "dollars": money(case.total, case.currency),
        "behaviour": behaviour_words(behaviours[0]) if behaviours else "unknown",
        "change": (best[0]["summary"] or best[0]["change_id"]) if best else "none recorded",
    }
    if best and decided is not None:
        steps |= {
            "changed by": decided["actor"] or "unknown",
            "of team": decided["team"] or "unknown",
            "contact": decided["contact"] or "not known",
        }
    steps["run by"] = "nobody is recorded"
    if owner:
        contact = owner["contact"] or "no contact"
        steps["run by"] = f"{owner['team']} ({owner['service']}, {contact}; from {owner['source']})"
    if then:
        until = f", until {clock(then['until'])}" if isinstance(then["until"], datetime) else ""
        steps["run by when it began"] = f"{then['team']} (from {then['source']}{until})"
    if budget:
        steps["paid by"] = f"{budget['team']} (from {budget['source']})"
    return steps


def drivers(case: Case) -> Markup:
    """Where in the bill the change sits, with the remainder."""
    return page(_part("drivers", case=case, rows=case.drivers.head(8).to_dicts()))


def behaviours(case: Case) -> Markup:
    """Behaviour rows with dollars that add up to the excess."""
    return page(_part("behaviours", case=case, rows=case.behaviour.to_dicts()))


def paths(case: Case) -> Markup:
    """Which dependencies carried the money: from the caller to the bill line."""
    rows = case.dependencies.head(8).to_dicts()
    return page(_part("paths", rows=rows, currency=case.currency))


def coverage(case: Case) -> Markup:
    """What was covered, with gaps, and what cannot be ruled out."""
    return page(_part("coverage", rows=case.coverage.to_dicts()))


def clocks(case: Case) -> Markup:
    """Two clocks: when it happened, when it could be known."""
    return page(_part("clocks", rows=case.clocks.to_dicts()))


def verdicts(rows: pl.DataFrame) -> Markup:
    """What owners said of a spike, newest first. rows: tables.VERDICTS."""
    return page(_part("verdicts", rows=rows.to_dicts()))


# ---------------------------------------------------------------- parts of the whole company


def estimates(rows: pl.DataFrame, currency: str) -> Markup:
    """How good past estimates were, in a sentence. rows: tables.NOWCAST."""
    if rows.is_empty():
        return page(_part("estimates", past=None))
    company = rows.filter(pl.col("service").is_null())
    services = rows.filter(pl.col("service").is_not_null())
    uncertain = services.filter(pl.col("error").abs() > CENT)  # an exact one is always inside
    past = {
        "days": company.height,
        "hours": rows["hours"][0],
        "error": _median_error(company),
        "dollars": company.select(pl.col("error").abs().median()).item(),
        "services": services.height,
        "service_error": _median_error(services),
        "uncertain": uncertain.height,
        "inside": int(uncertain["inside"].sum()) / max(1, uncertain.height),
    }
    return page(_part("estimates", past=past, currency=currency))


def _median_error(rows: pl.DataFrame) -> float:
    """Of the bill; 0 where nothing was billed."""
    share = (pl.col("error") / pl.col("billed_cost")).abs()
    return rows.filter(pl.col("billed_cost") != 0).select(share.median()).item() or 0.0


def lost_tags(lost: pl.DataFrame, currency: str) -> Markup:
    """Whose tags went, when, after which change, what was spent since; nothing where none went."""
    rows = lost.to_dicts()
    return sentence_list(lost_sentence(row, currency) for row in rows) if rows else Markup()


def gap(cost: float, share: float, items: pl.DataFrame, currency: str) -> Markup:
    """What nobody owns, ranked."""
    rows = items.head(10).to_dicts()
    return page(_part("gap", cost=cost, share=share, rows=rows, currency=currency))
