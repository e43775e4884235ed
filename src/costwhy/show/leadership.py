"""What the leadership app shows: all published cases together, in numbers that finance knows."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from costwhy.behaviours import VERDICT_WORDS
from costwhy.cache import Cache
from costwhy.case.case import Case
from costwhy.case.opened import Published, case_folders, company, local_folder, open_case
from costwhy.show import charts, html
from costwhy.show.chart_data import chart_specs
from costwhy.show.html import Fact
from costwhy.show.notebook import picked_id
from costwhy.text import clock, money

NOBODY = "nobody is recorded"
DAYS = pl.Schema(
    {"hour": pl.Datetime("us", "UTC"), "actual_cost": pl.Float64(), "expected_cost": pl.Float64()}
)
UNOWNED = pl.Schema(dict.fromkeys(("where", "likely_team", "source"), pl.String()))
_OPENED: Cache[Published] = Cache(most=1000)
_PAGES: Cache[str] = Cache(most=200)


@dataclass(frozen=True)
class Board:
    """The cases that a viewer may see: running ones by dollars an hour, then ended ones by cost.

    company: company.json; empty where there is none, or where it is not theirs to see.
    """

    cases: tuple[Published, ...]
    company: Mapping[str, Any]

    @property
    def names(self) -> list[str]:
        return [published.name for published in self.cases]

    @property
    def rises(self) -> list[Case]:
        """The cases that cost more than expected."""
        return [published.case for published in self.cases if published.case.total > 0]

    @property
    def running(self) -> list[Case]:
        """The cases that still cost money."""
        return [p.case for p in self.cases if p.case.spike.end is None]

    def about(self, name: str, default: str) -> str:
        """Workspace or currency, of the first case or of the company."""
        about = self.cases[0].about if self.cases else self.company
        return str(about.get(name, default))

    def find(self, name: str | None) -> Published | None:
        """The case of that name, if this viewer may see it."""
        return next((p for p in self.cases if p.name == name), None)

    def money(self, amounts: Iterable[float]) -> str:
        """The sum, in the board's currency."""
        return money(sum(amounts), self.currency)

    @property
    def currency(self) -> str:
        return self.about("currency", "USD")


def open_board(published: str, case: str | None = None) -> Board:
    """The board over a published folder or s3:// address; case: the one that a link names."""
    folder = local_folder(published)
    places = [place for place in case_folders(folder) if case is None or place.name == case]
    return Board(
        tuple(sorted(map(_opened, places), key=_rank)),
        (company(folder) if case is None else None) or {},
    )


def _opened(place: Path) -> Published:
    return _OPENED.get((place, (place / "case.json").stat().st_mtime_ns), lambda: open_case(place))


def _rank(published: Published) -> tuple[bool, float, float]:
    case = published.case
    return case.spike.end is not None, -case.spike.cost_per_hour_now, -abs(case.total)


def owner_of(case: Case) -> str:
    """The team that runs what moved."""
    return case.who.get("owner", {}).get("team") or NOBODY


# ---------------------------------------------------------------- the list


def listed(board: Board) -> pl.DataFrame:
    """The cases as a person reads them; times and money as text."""
    return pl.DataFrame(
        [
            (
                case.spike.title,
                clock(case.spike.start).removesuffix(" UTC"),
                board.money([case.total]),
                board.money([case.spike.cost_per_hour_now]) if case.spike.end is None else "ended",
                VERDICT_WORDS[case.spike.verdict],
                "planned" if case.planned else "not planned",
                owner_of(case),
            )
            for case in (published.case for published in board.cases)
        ],
        schema=dict.fromkeys(
            ("what", "since", "cost so far", "an hour now", "kind", "planned", "run by"), pl.String
        ),
        orient="row",
    )


def picked(rows: pl.DataFrame | None, board: Board) -> str | None:
    """The name of the case whose row was picked."""
    return picked_id(rows, listed(board), board.names)


def first_case(board: Board, wanted: object) -> str | None:
    """The case that a URL asks for, None if the viewer may not see it; by default the first."""
    if wanted:
        return wanted if isinstance(wanted, str) and wanted in board.names else None
    return next(iter(board.names), None)


# ---------------------------------------------------------------- numbers


def headline(board: Board) -> str:
    """The answer in one sentence."""
    live = [case for case in board.running if case.spike.cost_per_hour_now > 0]
    if not live:
        return "Nothing that is published is still running."
    lead = max(live, key=lambda case: case.a_day)  # by the day: an hour of the night costs little
    first = "One open spike costs" if len(live) == 1 else f"{len(live)} open spikes cost"
    an_hour = board.money(case.spike.cost_per_hour_now for case in live)
    return (
        f"{first} {an_hour} an hour more than expected, "
        f"{board.money(case.a_day for case in live)} in the last day. "
        f"{'It is' if len(live) == 1 else 'Most of that:'} "
        f"{lead.spike.title}, run by {owner_of(lead)}."
    )


def facts(board: Board) -> list[Fact]:
    """The numbers that everybody asks for."""
    live, rises, show = board.running, board.rises, board.money
    a_day = show(case.a_day for case in live)
    return [
        Fact(
            "Open now",
            f"{show(case.spike.cost_per_hour_now for case in live)} an hour",
            f"{len(live)} open of {len(board.cases)}; {a_day} for each day of waiting",
        ),
        Fact(
            "More than expected",
            show(case.total for case in rises),
            "all published cases, billed and estimated",
        ),
        _verdict_fact(board, "inefficiency", "the same work costs more"),
        _verdict_fact(board, "growth", "more work"),
        Fact(
            "Not planned",
            show(case.total for case in rises if not case.planned),
            f"{show(case.total for case in rises if case.planned)} was planned",
        ),
        Fact(
            "By the end of the month",
            show(case.spike.month_end_excess_cost for case in live),
            "what is open, if nothing is done",
        ),
        *_company_facts(board),
    ]


def _verdict_fact(board: Board, verdict: str, meaning: str) -> Fact:
    whole = sum(case.total for case in board.rises)
    part = sum(case.total for case in board.rises if case.spike.verdict == verdict)
    share = f"{part / whole:.0%}" if whole else "none"
    return Fact(verdict.capitalize(), board.money([part]), f"{share} of it: {meaning}")


def _company_facts(board: Board) -> list[Fact]:
    unowned, saved, out = board.company.get("nobody_owns"), board.company.get("saved"), []
    if unowned:
        out.append(
            Fact(
                "Nobody owns",
                board.money([float(unowned["cost"])]),
                f"{float(unowned['share']):.1%} of the last 30 billed days",
            )
        )
    if saved:
        out.append(
            Fact(
                "Saved by fixes",
                board.money([float(saved["dollars"])]),
                f"{int(saved['fixes'])} fixes, measured against the traffic of the days after",
            )
        )
    return out


def days(board: Board) -> pl.DataFrame:
    """The company's spend and expected spend by day, as DAYS; `hour` is the start of the day."""
    return pl.DataFrame(
        [
            (
                datetime.fromisoformat(day["day"]),
                float(day["actual_cost"]),
                float(day["expected_cost"]),
            )
            for day in board.company.get("days", ())
        ],
        schema=DAYS,
        orient="row",
    )


SHARES: dict[str, Callable[[Case], str]] = {  # bars of all rises, by title
    "Growth or inefficiency": lambda case: VERDICT_WORDS[case.spike.verdict],
    "Planned or not": lambda case: "Planned" if case.planned else "Not planned",
    "By who runs it": owner_of,
}


def shares(board: Board, by: str) -> pl.DataFrame:
    """Dollars of all rises by one of SHARES: name, dollars, now (an hour), cases; largest first."""
    return (
        pl.DataFrame(
            [(SHARES[by](case), case.total, case.spike.cost_per_hour_now) for case in board.rises],
            schema={"name": pl.String, "dollars": pl.Float64, "now": pl.Float64},
            orient="row",
        )
        .group_by("name")
        .agg(pl.col("dollars", "now").sum(), cases=pl.len())
        .sort("dollars", "name", descending=[True, False])
    )


def gap(board: Board) -> tuple[float, float, pl.DataFrame] | None:
    """What nobody owns, as `nobody_owns` gives it; None if the viewer may not see it."""
    found = board.company.get("nobody_owns")
    return (
        (
            float(found["cost"]),
            float(found["share"]),
            pl.DataFrame(found["items"], schema={**UNOWNED, "cost": pl.Float64()}),
        )
        if found
        else None
    )


# ---------------------------------------------------------------- pages


def overview_page(board: Board) -> str:
    """The numbers that everybody asks for, spend against expected, and where it went."""
    marks = tuple((str(p.folder), p.about["published_at"]) for p in board.cases)
    return _PAGES.get((marks, board.company.get("as_of")), lambda: _overview(board))


def _overview(board: Board) -> str:
    spend = days(board)
    parts = [html.board(board.about("workspace", ""), headline(board), facts(board))]
    if spend.height:
        parts += [
            html.section(
                "Spend against expected", "The whole company by day; red is what the spikes cost."
            ),
            html.chart(charts.days(spend).to_json(indent=None)),
        ]
    return "".join(
        [
            *parts,
            html.columns(
                *(
                    html.section(title)
                    + html.chart(
                        charts.shares(shares(board, title), board.currency).to_json(indent=None)
                    )
                    for title in (SHARES if board.cases else ())
                )
            ),
        ]
    )


def case_page(published: Published) -> str:
    """One case in plain sentences, with the timeline that engineering sees."""
    return _PAGES.get(
        (published.folder, published.about["published_at"], published.case.spike.title),
        lambda: _case_page(published.case),
    )


def _case_page(case: Case) -> str:
    specs = chart_specs(case)
    return "".join(
        [
            html.top(case.workspace, case),
            html.story(case),
            html.section("What moved", "Dollars by behaviour; they add up to the excess."),
            html.chart(specs["moved"]),
            html.section(
                "Timeline",
                "The same that engineering sees: spend and what it would have been; "
                "excess by behaviour; recorded changes.",
            ),
            *(html.chart(specs[name]) for name in ("timeline", "ledger", "changes")),
            html.section("The change and the decision"),
            html.chain(case),
            html.triggers(case),
            html.folded("When it could be known", html.clocks(case)),
            html.folded("What cannot be ruled out", html.coverage(case)),
        ]
    )
