"""What a browser sends is checked against what exists; a picked row is the row that was picked."""

from datetime import UTC, datetime

import polars as pl
import pytest
from drawn_case import START, drawn_case, spike

from costwhy import tables
from costwhy.show import investigation
from costwhy.show.notebook import picked_id, position

SPIKES = pl.DataFrame(
    [
        vars(spike(spike_id="first")),
        vars(spike(spike_id="second", title="traffic to api", end=START, status="ended")),
        vars(spike(spike_id="third", title="price of db", nowcast_excess_cost=0.0)),
    ],
    schema=tables.SPIKES.schema,
)
MS = int(datetime(2026, 10, 21, 9, tzinfo=UTC).timestamp() * 1000)
HOUR = 3_600_000


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("second", "second"),
        ("20261021T09/20261022T09", "20261021T09/20261022T09"),
        (None, "first"),
        ("<img src=x>", "first"),
        ("20261021T09/20261022T09 x", "first"),
        (["second"], "first"),
    ],
)
def test_a_url_shows_what_exists_else_the_first_spike(asked: object, shown: str) -> None:
    assert investigation.read_shown(asked, SPIKES) == shown


def test_without_spikes_a_url_shows_nothing() -> None:
    assert investigation.read_shown("first", SPIKES.head(0)) is None
    assert investigation.case_of(None, None) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("selections", "found"),
    [
        (None, None),
        ({}, None),
        ({"pick": {"spike_id": ["second"]}}, "second"),
        ({"pick": {"spike_id": "second"}}, "second"),
        ({"pick": {"spike_id": []}}, None),
        ({"pick": {"spike_id": ["nobody"]}}, None),
        ({"pick": {"spike_id": [["second"]]}}, None),
        ({"pick": None}, None),
        ({"drag": {"hour": [MS, MS + 5 * HOUR]}}, "20261021T09/20261021T14"),
        ({"drag": {"hour": [MS + 59_000, MS + 5 * HOUR + 59_000]}}, "20261021T09/20261021T14"),
        (
            {"drag": {"hour": ["2026-10-21T09:30:00+02:00", "2026-10-21T14:00:00"]}},
            "20261021T07/20261021T14",
        ),
        ({"drag": {"hour": [MS, MS + HOUR]}}, None),
        ({"drag": {"hour": [MS, MS + HOUR]}, "pick": {"spike_id": ["third"]}}, "third"),
        ({"drag": {"hour": [MS + 5 * HOUR, MS]}}, None),
        ({"drag": {"hour": [1e300, 2e300]}}, None),
        ({"drag": {"hour": ["yesterday", "today"]}}, None),
        ({"drag": {"hour": [MS]}}, None),
        ({"drag": {"hour": 7}}, None),
    ],
)
def test_a_click_is_a_known_spike_and_a_drag_of_two_hours_is_a_window(
    selections: object, found: str | None
) -> None:
    assert investigation.clicked(selections, SPIKES) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shown", "step", "next_one"),
    [
        ("first", 1, "second"),
        ("first", -1, "third"),
        ("third", 1, "first"),
        ("20261021T09/20261022T09", 1, "first"),
        (None, -1, "first"),
    ],
)
def test_the_neighbour_at_an_end_is_the_other_end(
    shown: str | None, step: int, next_one: str
) -> None:
    assert investigation.neighbour(shown, SPIKES, step) == next_one


def test_without_spikes_there_is_no_neighbour() -> None:
    assert investigation.neighbour("first", SPIKES.head(0), 1) is None


def test_the_list_says_what_runs_and_what_it_costs() -> None:
    assert investigation.spike_list(SPIKES).rows() == [
        ("21 Oct 09:00", "retries against store", "$210", "$4.50", "inefficiency"),
        ("21 Oct 09:00", "traffic to api", "$210", "ended", "inefficiency"),
        ("21 Oct 09:00", "price of db", "$200", "$4.50", "inefficiency"),
    ]
    assert investigation.spike_list(SPIKES.head(0)).is_empty()


@pytest.mark.parametrize("row", range(3))
def test_the_row_that_is_picked_is_its_spike(row: int) -> None:
    sent = investigation.spike_list(SPIKES)[[row]]
    assert investigation.listed(sent, SPIKES) == SPIKES["spike_id"][row]


def test_no_row_or_a_row_that_the_list_does_not_have_is_no_spike() -> None:
    sent = investigation.spike_list(SPIKES).head(1)
    assert investigation.listed(None, SPIKES) is None
    assert investigation.listed(sent.head(0), SPIKES) is None
    assert investigation.listed(sent.with_columns(what=pl.lit("else")), SPIKES) is None
    assert picked_id(sent, investigation.spike_list(SPIKES), ["a", "b", "c"]) == "a"


def test_the_selection_is_the_row_of_what_is_shown() -> None:
    assert position("second", ["first", "second"]) == [1]
    assert position(None, ["first"]) == []
    assert position("other", ["first"]) == []


def test_a_case_without_a_lake_takes_no_verdict() -> None:
    case = drawn_case()
    assert not investigation.is_spike(case)
    assert investigation.say(case, {"verdict": "fixing", "note": "", "who": "dana"}).startswith(
        "Only"
    )
    assert investigation.verdicts_table(case).is_empty()
