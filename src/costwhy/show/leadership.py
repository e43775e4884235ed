"""What the leadership app shows: all published cases together, in numbers that finance knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.behaviours import VERDICT_WORDS
from costwhy.case.opened import Published, case_folders, company, local_folder, open_case
from costwhy.show import charts, html
from costwhy.show.cache import Cache
from costwhy.show.chart_specs import chart_specs
from costwhy.show.html import Fact
from costwhy.show.list_rows import picked_id
from costwhy.text import clock, money

NOBODY = "nobody is recorded"


@dataclass(frozen=True)
class Row:
    """One case in the list."""

    name: str
    title: str
    since: datetime
    running: bool
    total: float
    an_hour: float
    a_day: float
    month_end: float
    verdict: str
    planned: bool
    owner: str


@dataclass(frozen=True)
class Board:
    """The cases that a viewer may see.

    company: company.json; None where there is none, or where it is not theirs to see.
    """

    cases: tuple[Published, ...]
    company: Mapping[str, Any] | None

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """A row for each case: running ones by dollars an hour, then ended ones by what they cost."""
        rows = (_row(published) for published in self.cases)
        return tuple(sorted(rows, key=lambda r: (not r.running, -r.an_hour, -abs(r.total))))

    @property
    def names(self) -> list[str]:
        """Of the rows."""
        return [row.name for row in self.rows]

    @property
    def running(self) -> list[Row]:
        """The rows that still cost money."""
        return [row for row in self.rows if row.running]

    @property
    def currency(self) -> str:
        """Of all amounts."""
        return str(self._about("currency", "USD"))

    @property
    def workspace(self) -> str:
        """Whose spend it is."""
        return str(self._about("workspace", ""))

    def _about(self, name: str, default: str) -> object:
        return self.cases[0].about[name] if self.cases else self.of_company(name, default)

    def of_company(self, name: str, default: Any = None) -> Any:
        """A value of company.json."""
        return (self.company or {}).get(name, default)

    def find(self, name: str | None) -> Published | None:
        """The case of that name, if this viewer may see it."""
        return next((p for p in self.cases if p.name == name), None)

    def money(self, amount: float) -> str:
        """An amount in the board's currency."""
        return money(amount, self.currency)


_OPENED: Cache[Published] = Cache(most=1000)
_PAGES: Cache[str] = Cache(most=200)


def open_board(published: str, case: str | None = None) -> Board:
    """The board over a published folder (or s3:// address); over one case alone where a link names it."""
    folder = local_folder(published)
    places = [place for place in case_folders(folder) if case is None or place.name == case]
    return Board(tuple(map(_opened, places)), company(folder) if case is None else None)


def _opened(place: Path) -> Published:
    changed = (place / "case.json").stat().st_mtime_ns
    return _OPENED.get((place, changed), lambda: open_case(place))


def _row(published: Published) -> Row:
    case, spike = published.case, published.case.spike
    owner = case.who[0]
    return Row(
        name=published.name,
        title=spike.title,
        since=spike.start,
        running=spike.end is None,
        total=case.total,
        an_hour=spike.cost_per_hour_now,
        a_day=case.a_day,
        month_end=spike.month_end_excess_cost,
        verdict=spike.verdict,
        planned=case.planned,
        owner=str(owner["team"]) if owner and owner["team"] else NOBODY,
    )


# ---------------------------------------------------------------- the list


def listed(board: Board) -> pl.DataFrame:
    """The cases as a person reads them; times and money as text."""
    names = ("what", "since", "cost so far", "an hour now", "kind", "planned", "run by")
    rows = [
        (
            row.title,
            clock(row.since).removesuffix(" UTC"),
            board.money(row.total),
            board.money(row.an_hour) if row.running else "ended",
            VERDICT_WORDS[row.verdict],
            "planned" if row.planned else "not planned",
            row.owner,
        )
        for row in board.rows
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def picked(rows: pl.DataFrame | None, board: Board) -> str | None:
    """The name of the case whose row was picked."""
    return picked_id(rows, listed(board), board.names)


def first_case(board: Board, wanted: object) -> str | None:
    """What a URL asks for, None where the viewer may not see it; the first row where it asks for nothing."""
    if wanted:
        return wanted if isinstance(wanted, str) and wanted in board.names else None
    return next(iter(board.names), None)


# ---------------------------------------------------------------- numbers


def headline(board: Board) -> str:
    """The answer in one sentence."""
    live = [row for row in board.running if row.an_hour > 0]
    if not live:
        return "Nothing that is published is still running."
    lead = max(live, key=lambda row: row.a_day)  # by the day: an hour of the night costs little
    first = "One open spike costs" if len(live) == 1 else f"{len(live)} open spikes cost"
    an_hour = board.money(sum(row.an_hour for row in live))
    a_day = board.money(sum(row.a_day for row in live))
    which = "It is" if len(live) == 1 else "Most of that:"
    return (
        f"{first} {an_hour} an hour more than expected, {a_day} in the last day. "
        f"{which} {lead.title}, run by {lead.owner}."
    )


def facts(board: Board) -> list[Fact]:
    """The numbers that everybody asks for."""
    show, live = board.money, board.running
    rises = [row for row in board.rows if row.total > 0]
    whole = sum(row.total for row in rises)
    planned = sum(row.total for row in rises if row.planned)
    a_day = show(sum(row.a_day for row in board.rows))
    out = [
        Fact(
            "Open now",
            f"{show(sum(row.an_hour for row in live))} an hour",
            f"{len(live)} open of {len(board.rows)}; {a_day} for each day of waiting",
        ),
        Fact("More than expected", show(whole), "all published cases, billed and estimated"),
    ]
    for verdict, meaning in (
        ("inefficiency", "the same work costs more"),
        ("growth", "more work"),
    ):
        part = sum(row.total for row in rises if row.verdict == verdict)
        share = f"{part / whole:.0%}" if whole > 0 else "none"
        out.append(Fact(verdict.capitalize(), show(part), f"{share} of it: {meaning}"))
    month_end = show(sum(row.month_end for row in live))
    out += [
        Fact("Not planned", show(whole - planned), f"{show(planned)} was planned"),
        Fact("By the end of the month", month_end, "what is open, if nothing is done"),
    ]
    return out + _company_facts(board)


def _company_facts(board: Board) -> list[Fact]:
    unowned, saved, out = board.of_company("nobody_owns"), board.of_company("saved"), []
    if unowned:
        share = f"{float(unowned['share']):.1%} of the last 30 billed days"
        out.append(Fact("Nobody owns", board.money(float(unowned["cost"])), share))
    if saved:
        measured = f"{int(saved['fixes'])} fixes, measured against the traffic of the days after"
        out.append(Fact("Saved by fixes", board.money(float(saved["dollars"])), measured))
    return out


def days(board: Board) -> pl.DataFrame:
    """The company's spend and expected spend by day: hour (the day's start), actual_cost, expected_cost."""
    rows = [
        (datetime.fromisoformat(day["day"]), float(day["actual_cost"]), float(day["expected_cost"]))
        for day in board.of_company("days", ())
    ]
    schema = {
        "hour": pl.Datetime("us", "UTC"),
        "actual_cost": pl.Float64,
        "expected_cost": pl.Float64,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


SHARES: dict[str, Callable[[Row], str]] = {
    "Growth or inefficiency": lambda row: VERDICT_WORDS[row.verdict],
    "Planned or not": lambda row: "Planned" if row.planned else "Not planned",
    "By who runs it": lambda row: row.owner,
}


def shares(board: Board, by: str) -> pl.DataFrame:
    """Dollars of all rises by one of SHARES: name, dollars, now (an hour), cases; largest first."""
    frame = pl.DataFrame(
        [(SHARES[by](row), row.total, row.an_hour) for row in board.rows if row.total > 0],
        schema={"name": pl.String, "dollars": pl.Float64, "now": pl.Float64},
        orient="row",
    )
    sums = frame.group_by("name").agg(pl.col("dollars", "now").sum(), cases=pl.len())
    return sums.sort("dollars", "name", descending=[True, False])


def gap(board: Board) -> tuple[float, float, pl.DataFrame] | None:
    """What nobody owns, as `nobody_owns` gives it; None where the viewer may not see the company."""
    found = board.of_company("nobody_owns")
    if not found:
        return None
    columns = {"where": pl.String, "cost": pl.Float64, "likely_team": pl.String, "source": pl.String}
    return float(found["cost"]), float(found["share"]), pl.DataFrame(found["items"], schema=columns)


# ---------------------------------------------------------------- pages


def overview_page(board: Board) -> str:
    """The numbers that everybody asks for, spend against expected, and where it went."""
    marks = tuple((str(p.folder), p.about["published_at"]) for p in board.cases)
    return _PAGES.get(("overview", marks, board.of_company("as_of")), lambda: _overview(board))


def _overview(board: Board) -> str:
    spend, parts = days(board), [html.board_top(board.workspace, headline(board), facts(board))]
    if spend.height:
        words = "The whole company by day; red is what the spikes cost."
        parts.append(html.section("Spend against expected", words))
        parts.append(html.chart(charts.days(spend).to_json(indent=None)))
    bars = {
        title: charts.shares(shares(board, title), board.currency).to_json(indent=None)
        for title in (SHARES if board.cases else ())
    }
    columns = (html.section(title) + html.chart(spec) for title, spec in bars.items())
    return "".join([*parts, html.columns(*columns)])


def case_page(published: Published) -> str:
    """One case in plain sentences, with the timeline that engineering sees."""
    about = published.about
    key = ("case", published.folder, about["published_at"], published.case.spike.title)
    return _PAGES.get(key, lambda: _case_page(published))


def _case_page(published: Published) -> str:
    case, specs = published.case, chart_specs(published.case)
    words = (
        "The same that engineering sees: spend and what it would have been; "
        "excess by behaviour; recorded changes."
    )
    parts = (
        html.top(case.workspace, case),
        html.story(case),
        html.section("What moved", "Dollars by behaviour; they add up to the excess."),
        html.chart(specs["moved"]),
        html.section("Timeline", words),
        *(html.chart(specs[name]) for name in ("timeline", "ledger", "changes")),
        html.section("The change and the decision"),
        html.chain(case),
        html.triggers(case),
        html.folded("When it could be known", html.clocks(case)),
        html.folded("What cannot be ruled out", html.coverage(case)),
    )
    return "".join(parts)
