"""A case in the words and columns of its charts."""

from dataclasses import replace
from datetime import timedelta

import polars as pl
from drawn_case import START, change, drawn_case, rows

from costwhy import tables
from costwhy.show import chart_data

HOUR = timedelta(hours=1)


def test_billed_and_estimated_dollars_are_one_bar() -> None:
    assert chart_data.moved(drawn_case()).rows() == [
        (
            "webhooks’ retries against store",
            "retries",
            160.0,
            "webhooks’ retries against store: $160",
        ),
        (
            "traffic from outside to webhooks",
            "demand",
            50.0,
            "traffic from outside to webhooks: $50.00",
        ),
    ]


def test_the_ledger_has_words_and_the_end_of_each_hour() -> None:
    first = chart_data.ledger(drawn_case()).row(0, named=True)
    assert first["behaviour"] == "webhooks’ retries against store"
    assert first["until"] - first["hour"] == HOUR


def test_an_edge_has_the_names_of_both_ends_and_a_timer_its_own() -> None:
    case = drawn_case()
    timer = case.calls.head(1).with_columns(caller=pl.lit("schedule:nightly"))
    names = [
        name for name, _ in chart_data.edges(replace(case, calls=pl.concat([case.calls, timer])))
    ]
    assert names == ["webhooks → store", "nightly → store"]


def test_changes_of_machines_are_left_out_and_unknown_kinds_are_other() -> None:
    found = chart_data.changes(drawn_case())
    assert dict(found.select("change_id", "kind").iter_rows()) == {
        "change-1": "deploy",
        "change-2": "other",
    }


def test_a_trigger_lies_in_the_lane_of_the_service_that_it_names() -> None:
    """The record of change-2 says search; it was weighed as one of webhooks."""
    found = dict(chart_data.changes(drawn_case()).select("change_id", "service").iter_rows())
    assert found == {"change-1": "webhooks", "change-2": "webhooks"}


def test_few_lanes_are_shown_those_of_the_triggers_first() -> None:
    many = [
        change(n, delivery="log", service=f"service-{n:02}", change_id=f"m{n}") for n in range(20)
    ]
    case = drawn_case()
    changes = pl.concat([case.changes, rows(tables.CHANGES, *many)])
    shown = chart_data.changes(replace(case, changes=changes))["service"].unique().to_list()
    assert len(shown) == chart_data.MOST_LANES
    assert "webhooks" in shown


def test_each_role_has_a_lane_the_decision_as_long_as_the_spike() -> None:
    found = chart_data.lanes(drawn_case()).rows()
    begin, end = START - HOUR, START + 2 * HOUR
    assert found == [
        (begin, end, "run by", "data · #data"),
        (begin, START, "ran it then", "shop"),
        (START, end, "changed by", "dana · hooks"),
        (begin, end, "paid by", "cloud"),
    ]


def test_the_choice_of_changes_is_their_words_with_the_probability() -> None:
    assert chart_data.change_options(drawn_case()) == {
        "70%  Retry at once": "change-1",
        "5%  change-2": "change-2",
    }
