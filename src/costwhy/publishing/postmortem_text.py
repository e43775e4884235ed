"""The text of a postmortem: costwhy's parts between marks, made anew; people write the rest."""

import re
from collections.abc import Iterable, Sequence

from markdown_it import MarkdownIt
from markupsafe import Markup

from costwhy.case.case import Case
from costwhy.case.story import behaviour_cost, headline, sentences
from costwhy.publishing.case_files import plain_markdown
from costwhy.text import clock, money

TO_WRITE = {  # what people find in a new text, by heading
    "What would have caught it earlier": (
        "- *Write here what would have shown it sooner: an alarm, a limit, a review.*\n"
    ),
    "Actions": "| action | owner | due | done |\n|---|---|---|---|\n| | | | |\n",
    "Notes": "*What else belongs here.*\n",
}


def made_parts(case: Case) -> dict[str, str]:
    """The parts that costwhy writes, by heading, as Markdown."""
    clocks = [
        (row["what"], clock(row["happened_at"]), clock(row["known_at"]), row["words"])
        for row in case.clocks.iter_rows(named=True)
    ]
    return {
        headline(case): "\n".join(f"- {plain_markdown(s.text)}" for s in sentences(case)),
        "Impact": _impact(case),
        "Timeline": _table(("what", "happened", "could be known", ""), clocks),
    }


def _impact(case: Case) -> str:
    rows = []
    for row in case.behaviour.iter_rows(named=True):
        of = row["service"] or row["usage_type"]
        name = f"{row['kind']} {of}" if of else row["kind"]
        rows.append((name, money(behaviour_cost(row), case.currency)))
    table = _table(("behaviour", "cost"), rows)
    total = plain_markdown(money(case.total, case.currency))
    return f"{table}\n| **all** | **{total}** |"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(map(plain_markdown, row))} |" for row in rows]
    return "\n".join(lines)


def merged(written: str, parts: dict[str, str]) -> str:
    """The text with costwhy's parts made anew and everything else as people left it."""
    made = [_marked(number, title, body) for number, (title, body) in enumerate(parts.items())]
    if not written.strip():
        return "\n".join([*made, *(f"## {title}\n\n{text}" for title, text in TO_WRITE.items())])
    for number, part in enumerate(made):
        found = re.search(_mark_pattern(str(number)), written, re.DOTALL)
        if found:
            written = written[: found.start()] + part + written[found.end() :]
        else:
            written = f"{part}\n{written}"
    return written


def _marked(number: int, title: str, body: str) -> str:
    heading = f"{'#' if number == 0 else '##'} {plain_markdown(title)}"
    return (
        f"<!-- costwhy {number} begins: made anew, do not write here -->\n"
        f"{heading}\n\n{body}\n<!-- costwhy {number} ends -->\n"
    )


def _mark_pattern(number: str) -> str:
    return rf"<!-- costwhy {number} begins.*?<!-- costwhy {number} ends -->\n?"


def written_parts(text: str) -> dict[str, Markup]:
    """What people wrote, by heading, as HTML; HTML of their own is shown as text."""
    rest = re.sub(_mark_pattern(r"\d+"), "", text, flags=re.DOTALL)
    parts = re.split(r"^## +(.+)$", rest, flags=re.MULTILINE)
    show = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    titled = zip(parts[1::2], parts[2::2], strict=True)
    shown = {
        title.strip(): Markup(show.render(body))  # noqa: S704 -- markdown-it escapes HTML
        for title, body in titled
    }
    return {title: html for title, html in shown.items() if html.strip()}
