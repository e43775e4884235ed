"""The JSON document of a case: its three sums, its times, and what is null."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from small_company import FIRST, MemoryLake

import costwhy as cw
from costwhy import tables
from costwhy.case.analysis import LakeAnalysis
from costwhy.case.case import Case
from costwhy.case.investigate import document, explain
from costwhy.errors import UsageError

HOUR = timedelta(hours=1)
BEGAN = FIRST + 720 * HOUR


@pytest.fixture(scope="module")
def case(lake: MemoryLake) -> Case:
    return cw.investigate(lake, cw.find_spikes(lake)["spike_id"][0])


def test_the_three_sums_hold_to_the_cent(case: Case):
    spike: dict[str, Any] = document(case)
    assert spike["actual_cost"] - spike["expected_cost"] == pytest.approx(
        spike["excess_cost"], abs=0.0051
    )
    for name in ("drivers", "behaviour"):
        rows = sum(row["cost_change"] for row in spike[name])
        assert rows + spike[f"{name}_remainder"] == pytest.approx(spike["excess_cost"], abs=1e-6)
    assert sum(t["probability"] for t in spike["triggers"]) + spike["no_recorded_change"] <= 1


def test_times_are_text_and_a_running_spike_has_no_end(case: Case):
    spike: dict[str, Any] = document(case)
    assert (spike["start"], spike["end"]) == ("2026-10-07T00:00:00Z", None)
    assert spike["coverage"][0]["from"] == "2026-09-07T00:00:00Z"
    ended = document(replace(case, spike=replace(case.spike, end=BEGAN + 5 * HOUR)))
    assert ended["end"] == "2026-10-07T05:00:00Z"


def test_where_is_an_object(case: Case):
    spike: dict[str, Any] = document(case)
    assert spike["where"] == {"RegionId": "eu-west-1", "SubAccountId": "1"}
    assert spike["drivers"][0]["where"] == {"x_UsageType": "ReadRequestUnits"}


def test_hours_without_a_bill_are_a_nowcast_and_there_is_none_without_them(case: Case):
    spike: dict[str, Any] = document(case)
    low, cost, high = (spike["nowcast"][name] for name in ("low", "excess_cost", "high"))
    assert spike["nowcast"]["hours"] == 12
    assert low < cost < high
    assert document(replace(case, spike=replace(case.spike, nowcast_hours=0)))["nowcast"] is None


def test_the_calendar_is_there_for_two_windows_only(case: Case):
    assert "calendar_cost" not in document(case)
    assert document(replace(case, calendar=0.0))["calendar_cost"] == 0.0


def test_each_role_has_its_own_fields_and_is_null_where_nobody_is_known(case: Case):
    row = {"service": "db", "team": "data", "actor": "dana", "contact": "#data", "source": "tags"}
    roles = ("owner", "owner_then", "decided_by", "budget_owner")
    named = replace(case, owners=tables.OWNERS.of([{"role": role, **row} for role in roles]))
    spike: dict[str, Any] = document(named)
    owner = {"service": "db", "team": "data", "contact": "#data", "source": "tags"}
    assert spike["owner"] == spike["owner_then"] == owner
    assert spike["decided_by"] == {
        "service": "db",
        "actor": "dana",
        "team": "data",
        "contact": "#data",
    }
    assert spike["budget_owner"] == {"name": "data", "source": "tags"}
    empty = document(replace(case, owners=tables.OWNERS.empty()))
    assert [empty[role] for role in roles] == [None] * 4


def test_a_trigger_has_its_probability_to_four_digits_and_a_list_of_records(case: Case):
    row = {
        "change_id": "c",
        "time": BEGAN,
        "probability": 0.123456,
        "reasons": ["why"],
        "kind": "deploy",
        "source": "x",
    }
    ranked = replace(case, triggers=tables.TRIGGERS.of([row]), no_recorded_change=0.876544)
    spike: dict[str, Any] = document(ranked)
    assert spike["triggers"] == [
        {
            "change_id": "c",
            "also": [],
            "reasons": ["why"],
            "summary": None,
            "actor": None,
            "service": None,
            "kind": "deploy",
            "url": None,
            "time": "2026-10-07T00:00:00Z",
            "probability": 0.1235,
        }
    ]
    assert spike["no_recorded_change"] == 0.8765


def test_the_document_of_a_lake_has_all_spikes_one_or_a_window(
    lake: MemoryLake, analysis: LakeAnalysis, case: Case
):
    whole: dict[str, Any] = explain(lake)
    assert [s["spike_id"] for s in whole["spikes"]] == [s.row.spike_id for s in analysis.found]
    assert (whole["workspace"], whole["currency"], whole["costwhy"]) == ("small", "USD", 1)
    assert (whole["as_of"], whole["billed_through"]) == (
        "2026-10-19T00:00:00Z",
        "2026-10-18T12:00:00Z",
    )
    one: dict[str, Any] = explain(lake, case.spike.spike_id)
    assert one["spikes"] == [document(case)]
    window: dict[str, Any] = explain(
        lake, window=(BEGAN, BEGAN + 24 * HOUR), where={"service": "db"}
    )
    [spike] = window["spikes"]
    assert (spike["start"], spike["end"]) == ("2026-10-07T00:00:00Z", "2026-10-08T00:00:00Z")
    assert spike["where"] == {"service": "db"}


def test_rows_that_were_set_aside_are_counted_by_their_records(lake: MemoryLake):
    rows = tables.SET_ASIDE.of([{"records": 3}, {"records": 4}])
    aside = replace(lake, frames=lake.frames | {"set_aside": rows}, place=f"{lake.place}:aside")
    assert explain(aside)["rows_set_aside"] == 7


def test_a_spike_that_is_not_there_is_one_clear_error(lake: MemoryLake):
    with pytest.raises(UsageError, match="there is no spike 'nothing'"):
        explain(lake, "nothing")


@pytest.mark.parametrize(("first", "last"), [(5, 5), (6, 5), (-1, 5), (5, 42 * 24 + 1)])
def test_a_window_is_inside_the_data_and_not_empty(lake: MemoryLake, first: int, last: int):
    with pytest.raises(UsageError, match="no window from"):
        explain(lake, window=(FIRST + first * HOUR, FIRST + last * HOUR))


def test_the_whole_time_is_a_window(lake: MemoryLake):
    assert explain(lake, window=(FIRST, FIRST + 42 * 24 * HOUR))["spikes"]


# ---------------------------------------------------------------- a case


def test_a_day_of_waiting_costs_what_the_last_day_did(case: Case):
    """$1 an hour for two days, $3 an hour on the last"""
    rows = [{"hour": BEGAN + h * HOUR, "cost_change": 3.0 if h >= 48 else 1.0} for h in range(72)]
    assert replace(case, ledger=tables.LEDGER.of(rows)).a_day == 72.0
    young = replace(case, ledger=tables.LEDGER.of(rows[:6]))
    assert young.a_day == 24.0  # six hours, scaled up
    assert replace(case, ledger=tables.LEDGER.empty()).a_day == 0.0
    assert replace(young, spike=replace(case.spike, status="ended")).a_day == 0.0


def test_the_total_counts_estimated_hours_and_the_headline_names_the_case(case: Case):
    spike = replace(case.spike, excess_cost=10.0, nowcast_excess_cost=2.5)
    assert replace(case, spike=spike).total == 12.5
    assert repr(case) == f"<Case {case.spike.spike_id}: {case.headline}>"
