"""What the leadership app shows: all published cases together, in numbers that a finance reader knows."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from costwhy import tables
from costwhy.behaviours import VERDICT_WORDS
from costwhy.case.opened import Published, case_folders, company, local_folder, open_case
from costwhy.show import charts, html
from costwhy.show.chart_specs import chart_specs
from costwhy.text import clock, money

NOBODY = "nobody is recorded"


@dataclass(frozen=True)
class Board:
    """The cases that a viewer may see. `company`: the published company.json; None where there is none, or it is not theirs to see."""

    cases: tuple[Published, ...]
    company: Mapping[str, Any] | None

    @cached_property
    def rows(self) -> tuple[dict[str, Any], ...]:
        """One for each case: open ones by dollars an hour, then ended ones by what they cost."""
        rows = [_row(p) for p in self.cases]
        return tuple(sorted(rows, key=lambda r: (not r["open"], -r["now"], -abs(r["total"]))))

    @property
    def currency(self) -> str:
        """Of all amounts."""
        return str(self.cases[0].about["currency"]) if self.cases else str((self.company or {}).get("currency", "USD"))

    @property
    def workspace(self) -> str:
        """Whose spend it is."""
        return str(self.cases[0].about["workspace"]) if self.cases else str((self.company or {}).get("workspace", ""))

    def find(self, name: str | None) -> Published | None:
        """The case of that name, if this viewer may see it."""
        return next((p for p in self.cases if p.name == name), None)


_OPENED: dict[Path, tuple[float, Published]] = {}
_PAGES: OrderedDict[tuple[object, ...], str] = OrderedDict()
_MOST_PAGES = 200
_LOCK = threading.Lock()  # viewers are threads of one process: each case is read once, each page written once


def open_board(published: str, case: str | None = None) -> Board:
    """The board over a published folder (or s3:// address); over one case alone where a link names it."""
    folder = local_folder(published)
    wanted = [p for p in case_folders(folder) if case is None or p.name == case]
    return Board(tuple(_opened(p) for p in wanted), company(folder) if case is None else None)


def _opened(place: Path) -> Published:
    changed = (place / "case.json").stat().st_mtime
    with _LOCK:
        known = _OPENED.get(place)
        if known is None or known[0] != changed:
            known = _OPENED[place] = (changed, open_case(place))
        return known[1]


def _row(p: Published) -> dict[str, Any]:
    s = p.case.spike
    owner, _, budget = p.case.who
    return {
        "name": p.name,
        "what": str(s["title"]),
        "since": s["start"],
        "open": s["status"] == "running",
        "total": p.case.total,
        "now": float(str(s["cost_per_hour_now"])),
        "a_day": p.case.a_day,
        "month_end": float(str(s["month_end_excess_cost"])),
        "verdict": str(s["verdict"]),
        "planned": p.case.planned,
        "owner": str(owner["team"]) if owner and owner["team"] else NOBODY,
        "pays": str(budget["team"]) if budget and budget["team"] else "not known",
    }


# ---------------------------------------------------------------- tables


def listed(board: Board) -> pl.DataFrame:
    """The cases as a person reads them; times and money as text."""
    cur = board.currency
    rows = [
        {
            "what": r["what"],
            "since": clock(r["since"]).removesuffix(" UTC"),
            "cost so far": money(r["total"], cur),
            "an hour now": money(r["now"], cur) if r["open"] else "ended",
            "kind": VERDICT_WORDS[r["verdict"]],
            "planned": "planned" if r["planned"] else "not planned",
            "run by": r["owner"],
        }
        for r in board.rows
    ]
    names = ("what", "since", "cost so far", "an hour now", "kind", "planned", "run by")
    return pl.DataFrame(rows, schema=[(name, pl.String) for name in names])


def picked(rows: pl.DataFrame | None, board: Board) -> str | None:
    """The name of the case whose row was picked."""
    if rows is None or not rows.height:
        return None
    found = (
        listed(board).with_columns(name=pl.Series([r["name"] for r in board.rows], dtype=pl.String)).join(rows, on=rows.columns, how="semi")
    )
    return found["name"][0] if found.height else None


def position(board: Board, name: str | None) -> list[int]:
    """The row of the case that is shown, for the table's selection."""
    return [k for k, r in enumerate(board.rows) if r["name"] == name]


def headline(board: Board) -> str:
    """The answer in one sentence."""
    cur = board.currency
    live = [r for r in board.rows if r["open"] and r["now"] > 0]
    if not live:
        return "Nothing that is published is still running."
    lead = max(live, key=lambda r: r["a_day"])  # by the day: in an hour of the night traffic costs little
    more = f" Most of that: {lead['what']}, run by {lead['owner']}." if len(live) > 1 else f" It is {lead['what']}, run by {lead['owner']}."
    count = f"{len(live)} open spikes cost" if len(live) > 1 else "One open spike costs"
    now, a_day = (money(sum(r[name] for r in live), cur) for name in ("now", "a_day"))
    return f"{count} {now} an hour more than expected, {a_day} in the last day.{more}"


def first_case(board: Board, wanted: object) -> str | None:
    """What a URL asks for, None where that is not published or may not be seen; the first row where it asks for nothing."""
    names = [r["name"] for r in board.rows]
    if wanted:
        return wanted if isinstance(wanted, str) and wanted in names else None
    return names[0] if names else None


def days(board: Board) -> pl.DataFrame:
    """Spend and expected spend of the whole company by day: hour (start of the day), actual_cost, expected_cost, estimated."""
    rows = (board.company or {}).get("days", [])
    out = [(datetime.fromisoformat(r["day"]), float(r["actual_cost"]), float(r["expected_cost"]), bool(r["estimated"])) for r in rows]
    return (
        tables.TIMELINE.empty().select("hour", "actual_cost", "expected_cost", "estimated")
        if not out
        else pl.DataFrame(out, schema=["hour", "actual_cost", "expected_cost", "estimated"], orient="row")
    )


def shares(board: Board, by: str) -> pl.DataFrame:
    """Dollars of all cases by verdict, owner or plan: name, dollars, now (an hour), cases; rises only, largest first."""
    names: dict[str, Callable[[dict[str, Any]], str]] = {
        "verdict": lambda r: VERDICT_WORDS[r["verdict"]],
        "owner": lambda r: r["owner"],
        "plan": lambda r: "Planned" if r["planned"] else "Not planned",
    }
    named = names[by]
    frame = pl.DataFrame(
        [(named(r), r["total"], r["now"]) for r in board.rows if r["total"] > 0],
        schema={"name": pl.String, "dollars": pl.Float64, "now": pl.Float64},
        orient="row",
    )
    return frame.group_by("name").agg(pl.col("dollars", "now").sum(), cases=pl.len()).sort("dollars", "name", descending=[True, False])


def facts(board: Board) -> tuple[tuple[str, str, str], ...]:
    """The numbers that everybody asks for: name, value, what it means."""
    cur, rows = board.currency, board.rows
    now = sum(r["now"] for r in rows if r["open"])
    rises = [r for r in rows if r["total"] > 0]
    planned = sum(r["total"] for r in rises if r["planned"])
    waste = sum(r["total"] for r in rises if r["verdict"] == "inefficiency")
    growth = sum(r["total"] for r in rises if r["verdict"] == "growth")
    whole = sum(r["total"] for r in rises)
    out = [
        (
            "Open now",
            f"{money(now, cur)} an hour",
            f"{sum(r['open'] for r in rows)} open of {len(rows)}; {money(sum(r['a_day'] for r in rows), cur)} for each day of waiting",
        ),
        ("More than expected", money(whole, cur), "all published cases, billed and estimated"),
        ("Inefficiency", money(waste, cur), f"{_share(waste, whole)} of it: the same work costs more"),
        ("Growth", money(growth, cur), f"{_share(growth, whole)} of it: more work"),
        ("Not planned", money(whole - planned, cur), f"{money(planned, cur)} was planned"),
        ("By the end of the month", money(sum(r["month_end"] for r in rows if r["open"]), cur), "what is open, if nothing is done"),
    ]
    gap, saved = (board.company or {}).get("nobody_owns"), (board.company or {}).get("saved")
    if gap:
        out.append(("Nobody owns", money(float(gap["cost"]), cur), f"{float(gap['share']):.1%} of the last 30 billed days"))
    if saved:
        out.append(
            (
                "Saved by fixes",
                money(float(saved["dollars"]), cur),
                f"{int(saved['fixes'])} fixes, measured against the traffic of the days after",
            )
        )
    return tuple(out)


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.0%}" if whole > 0 else "none"


def gap(board: Board) -> tuple[float, float, pl.DataFrame] | None:
    """What nobody owns, as `nobody_owns` gives it; None where the viewer may not see the whole company."""
    found = (board.company or {}).get("nobody_owns")
    if not found:
        return None
    return (
        float(found["cost"]),
        float(found["share"]),
        pl.DataFrame(found["items"], schema={"where": pl.String, "cost": pl.Float64, "likely_team": pl.String, "source": pl.String}),
    )


# ---------------------------------------------------------------- pages


def overview_page(board: Board) -> str:
    """The numbers that everybody asks for, spend against expected, and where it went; as finished HTML."""
    parts = (("Growth or inefficiency", "verdict"), ("Planned or not", "plan"), ("By who runs it", "owner"))

    def write() -> str:
        spend = days(board)
        return "".join(
            (
                html.board_top(board.workspace, headline(board), facts(board)),
                html.section("Spend against expected", "The whole company by day; red is what the spikes cost.") if spend.height else "",
                html.chart(charts.days(spend).to_json(indent=None)) if spend.height else "",
                html.columns(
                    *(
                        html.section(title) + html.chart(charts.shares(shares(board, by), board.currency).to_json(indent=None))
                        for title, by in parts
                        if board.cases
                    )
                ),
            )
        )

    return _kept(("overview", *_marks(board), str((board.company or {}).get("as_of"))), write)


def case_page(published: Published) -> str:
    """One case in plain sentences, with the timeline that engineering sees; as finished HTML."""

    def write() -> str:
        case, specs = published.case, chart_specs(published.case)
        told = "The same that engineering sees: spend and what it would have been; excess by behaviour; recorded changes."
        return "".join(
            (
                html.top(case.workspace, case),
                html.story(case),
                html.section("What moved", "Dollars by behaviour; they add up to the excess."),
                html.chart(specs["moved"]),
                html.section("Timeline", told),
                *(html.chart(specs[name]) for name in ("timeline", "ledger", "changes")),
                html.section("The change and the decision"),
                html.chain(case),
                html.triggers(case),
                html.folded("When it could be known", html.clocks(case)),
                html.folded("What cannot be ruled out", html.coverage(case)),
            )
        )

    return _kept(("case", str(published.folder), published.about["published_at"], str(published.case.spike["title"])), write)


def _marks(board: Board) -> tuple[str, ...]:
    return tuple(f"{p.folder}:{p.about['published_at']}" for p in board.cases)


def _kept(key: tuple[object, ...], write: Callable[[], str]) -> str:
    """A page that is written once for all viewers."""
    with _LOCK:
        if key not in _PAGES:
            _PAGES[key] = write()
            while len(_PAGES) > _MOST_PAGES:
                _PAGES.popitem(last=False)
        return _PAGES[key]
