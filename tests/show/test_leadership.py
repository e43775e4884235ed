"""The leadership page: which cases, in which order, in which numbers."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from drawn_case import START, drawn_case, spike
from drawn_pages import GAP, board

from costwhy import tables
from costwhy.case.case import Case
from costwhy.show import leadership

HOUR = timedelta(hours=1)


def case(name: str, **values: object) -> Case:
    """The drawn case under another name."""
    return replace(
        drawn_case(), spike=spike(**{"spike_id": name, "title": f"case {name}"} | values)
    )


RUNNING = case("running", cost_per_hour_now=9.0)
SLOW = case("slow", cost_per_hour_now=2.0, verdict="growth", excess_cost=90.0)
ENDED = case("ended", end=START + HOUR, status="ended", cost_per_hour_now=0.0, excess_cost=990.0)
FALL = case("fall", end=START + HOUR, status="ended", cost_per_hour_now=0.0, excess_cost=-510.0)


def test_running_cases_come_first_by_dollars_an_hour_then_ended_ones_by_cost() -> None:
    cases = board(FALL, SLOW, ENDED, RUNNING).cases
    assert [p.name for p in sorted(cases, key=leadership._rank)] == [
        "running",
        "slow",
        "ended",
        "fall",
    ]


def test_the_headline_counts_what_runs_and_names_what_costs_most_a_day() -> None:
    assert leadership.headline(board(ENDED)) == "Nothing that is published is still running."
    one = leadership.headline(board(RUNNING, ENDED))
    assert one.startswith("One open spike costs $9.00 an hour more than expected")
    assert one.endswith("It is case running, run by data.")
    assert leadership.headline(board(RUNNING, SLOW)).startswith("2 open spikes cost $11.00 an hour")


def test_the_numbers_are_sums_of_the_rises() -> None:
    """$210 + $100 + $1,000 rise, $500 fall; growth is the slow one."""
    facts = {fact.name: fact for fact in leadership.facts(board(RUNNING, SLOW, ENDED, FALL))}
    assert facts["Open now"].value == "$11.00 an hour"
    assert facts["Open now"].note.startswith("2 open of 4; ")
    assert facts["More than expected"].value == "$1,310"
    assert (facts["Inefficiency"].value, facts["Growth"].value) == ("$1,210", "$100")
    assert facts["Growth"].note == "8% of it: more work"
    assert facts["Not planned"].value == "$1,310"
    assert facts["By the end of the month"].value == "$2,468"
    assert "Nobody owns" not in facts, "this viewer may not see the company"


def test_without_a_rise_there_is_no_share() -> None:
    facts = {fact.name: fact for fact in leadership.facts(board(FALL))}
    assert facts["Inefficiency"].note == "none of it: the same work costs more"


def test_shares_are_the_rises_by_name_largest_first() -> None:
    nobody = replace(SLOW, owners=tables.OWNERS.empty(), planned=True)
    everything = board(RUNNING, nobody, FALL)
    by = {title: leadership.shares(everything, title).rows() for title in leadership.SHARES}
    assert by["Growth or inefficiency"] == [
        ("Inefficiency", 210.0, 9.0, 1),
        ("Traffic growth", 100.0, 2.0, 1),
    ]
    assert by["Planned or not"] == [("Not planned", 210.0, 9.0, 1), ("Planned", 100.0, 2.0, 1)]
    assert by["By who runs it"] == [("data", 210.0, 9.0, 1), ("nobody is recorded", 100.0, 2.0, 1)]


def test_the_list_says_what_a_person_asks() -> None:
    assert leadership.listed(board(RUNNING, ENDED)).rows() == [
        ("case running", "21 Oct 09:00", "$210", "$9.00", "Inefficiency", "not planned", "data"),
        ("case ended", "21 Oct 09:00", "$1,000", "ended", "Inefficiency", "not planned", "data"),
    ]


def test_the_row_that_is_picked_is_its_case() -> None:
    both = board(RUNNING, ENDED)
    assert leadership.picked(leadership.listed(both).tail(1), both) == "ended"
    assert leadership.picked(None, both) is None


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [("ended", "ended"), ("", "running"), (None, "running"), ("secret", None), (["ended"], None)],
)
def test_a_url_shows_a_case_that_the_viewer_may_see_or_none(
    wanted: object, shown: str | None
) -> None:
    assert leadership.first_case(board(RUNNING, ENDED), wanted) == shown
    assert leadership.first_case(board(), None) is None


def test_the_company_is_read_as_it_was_published() -> None:
    day = {
        "day": "2026-10-20T00:00:00Z",
        "actual_cost": 10,
        "expected_cost": 9.5,
        "estimated": False,
    }
    company = {
        "days": [day],
        "nobody_owns": {"cost": 5, "share": 0.1, "items": [GAP]},
        "currency": "EUR",
    }
    empty = board(company=company)
    assert empty.currency == "EUR"
    assert leadership.days(empty).select("actual_cost", "expected_cost").rows() == [(10.0, 9.5)]
    cost, share, items = leadership.gap(empty) or (0.0, 0.0, None)
    assert (cost, share) == (5.0, 0.1)
    assert items is not None
    assert items.select("where", "cost", "likely_team", "source").rows() == [tuple(GAP.values())]
    assert leadership.days(board()).is_empty()
    assert leadership.gap(board()) is None


def test_a_page_is_written_once_and_again_after_the_case_was_published_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        leadership, "_case_page", lambda case: written.append(case.spike.title) or "page"
    )
    [published] = board(case("once")).cases
    assert [leadership.case_page(published) for _ in range(3)] == ["page"] * 3
    assert len(written) == 1
    leadership.case_page(replace(published, about=published.about | {"published_at": "later"}))
    assert len(written) == 2


def test_an_empty_folder_is_a_board_without_cases(tmp_path: Path) -> None:
    empty = leadership.open_board(str(tmp_path / "nowhere"))
    assert (empty.cases, dict(empty.company)) == ((), {})
    assert "Nothing that is published" in leadership.overview_page(empty)
