"""The tables of a case: each sum to the cent, each hour where it belongs."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from small_company import FIRST, HOURS, MemoryLake, SmallCompany, changed, from_hour

from costwhy import tables
from costwhy.case import frames
from costwhy.case.analysis import LakeAnalysis, analyse
from costwhy.case.frames import (
    behaviour_table,
    calls_table,
    clocks_table,
    coverage_table,
    dependencies_table,
    drivers_table,
    ledger_table,
    shown_hours,
    timeline_of,
    timeline_table,
)
from costwhy.case.leaves import DRIVER_DIMENSIONS, leaves_of
from costwhy.errors import InputError
from costwhy.spikes.dollars import SpikeDollars

ONSET, LAG = 720, 12
BEGAN, HOUR, WEEK = FIRST + timedelta(hours=ONSET), timedelta(hours=1), 168
RETRIES, DEMAND = ("retries", "db", "api", None), ("demand", "web", None, None)


@pytest.fixture
def spike(analysis: LakeAnalysis) -> SpikeDollars:
    [found] = analysis.found
    return found.dollars


def excess_of(spike: SpikeDollars) -> float:
    return round(float(spike.hourly[: spike.billed].sum()), 2)


# ---------------------------------------------------------------- sums


def test_behaviours_and_their_remainder_are_the_excess(spike: SpikeDollars):
    behaviour, remainder = behaviour_table(spike, excess_of(spike))
    assert behaviour.select("kind", "service", "caller", "usage_type").rows() == [RETRIES, DEMAND]
    assert behaviour["cost_change"].sum() + remainder == pytest.approx(excess_of(spike), abs=1e-6)
    assert abs(remainder) <= 0.01
    for row, dollars in zip(behaviour.to_dicts(), spike.dollars, strict=True):
        assert row["cost_change"] == pytest.approx(dollars[:, : spike.billed].sum(), abs=0.0051)
        assert row["nowcast_change"] == pytest.approx(dollars[:, spike.billed :].sum(), abs=0.0051)


def test_what_the_same_behaviour_moved_on_two_meters_is_one_row(spike: SpikeDollars):
    twice = replace(
        spike,
        baselines=(spike.baselines[1], spike.baselines[0], spike.baselines[1]),
        dollars=(spike.dollars[1], spike.dollars[0], spike.dollars[1]),
    )
    behaviour, _ = behaviour_table(twice, 0.0)
    one, _ = behaviour_table(spike, 0.0)
    assert behaviour["kind"].to_list() == ["demand", "retries"]  # the largest first
    assert behaviour["cost_change"][0] == pytest.approx(2 * one["cost_change"][1], abs=0.01)


def test_a_spike_that_nothing_moved_leaves_all_to_the_remainder(spike: SpikeDollars):
    behaviour, remainder = behaviour_table(replace(spike, baselines=(), dollars=()), 12.34)
    assert behaviour.equals(tables.BEHAVIOUR.empty())
    assert remainder == 12.34


def test_drivers_and_their_remainder_are_the_excess(analysis: LakeAnalysis, spike: SpikeDollars):
    drivers, remainder = drivers_table(leaves_of(analysis, spike), excess_of(spike))
    assert drivers["cost_change"].sum() + remainder == pytest.approx(excess_of(spike), abs=1e-6)
    largest = json.loads(drivers["where"][0])
    assert largest == {"x_UsageType": "ReadRequestUnits"}  # no null is written


def test_a_driver_of_no_cent_is_none(monkeypatch: pytest.MonkeyPatch):
    names = dict.fromkeys(DRIVER_DIMENSIONS)
    found = pl.DataFrame(
        [{**names, "service": s, "cost_change": d} for s, d in (("a", 2.0), ("b", 0.004))]
    )
    monkeypatch.setattr(frames, "find_drivers", lambda _leaves, **_: found)
    drivers, remainder = drivers_table(pl.DataFrame(), 3.0)
    assert drivers.rows() == [('{"service": "a"}', 2.0)]
    assert remainder == 1.0


def test_the_leaves_are_the_whole_bill_of_the_spikes_billed_hours(
    company: SmallCompany, analysis: LakeAnalysis, spike: SpikeDollars
):
    leaves = leaves_of(analysis, spike)
    billed = slice(ONSET, HOURS - LAG)
    assert leaves["actual_cost"].sum() == pytest.approx(
        sum(company.cost(name)[billed].sum() for name in company.lines)
    )
    assert (leaves["actual_cost"] - leaves["expected_cost"]).sum() == pytest.approx(
        excess_of(spike), abs=0.01
    )
    still = leaves.filter(pl.col("x_UsageType") == "Report-GB-Second")
    assert still["actual_cost"].to_list() == still["expected_cost"].to_list()


def test_the_ledger_of_an_hour_is_its_actual_less_its_expected_cost(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    ledger, timeline = ledger_table(analysis.model, spike), timeline_table(analysis.model, spike)
    by_hour = ledger.group_by("hour").agg(pl.col("cost_change").sum()).sort("hour")
    inside = timeline.filter(pl.col("hour") >= BEGAN)
    assert by_hour["hour"].to_list() == inside["hour"].to_list()
    assert by_hour["cost_change"].to_numpy() == pytest.approx(
        (inside["actual_cost"] - inside["expected_cost"]).to_numpy()
    )
    behaviour, _ = behaviour_table(spike, 0.0)
    billed = ledger.filter(~pl.col("estimated")).group_by("kind").agg(pl.col("cost_change").sum())
    assert dict(billed.iter_rows()) == pytest.approx(
        dict(behaviour.select("kind", "cost_change").iter_rows()), abs=0.006
    )
    assert ledger.filter("estimated")["hour"].n_unique() == LAG


def test_the_ledger_of_a_spike_that_nothing_moved_has_no_rows(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    assert ledger_table(analysis.model, replace(spike, baselines=(), dollars=())).equals(
        tables.LEDGER.empty()
    )


# ---------------------------------------------------------------- by the hour


def test_the_timeline_begins_a_week_before_the_spike_and_differs_inside_it_only(
    company: SmallCompany, analysis: LakeAnalysis, spike: SpikeDollars
):
    timeline = timeline_table(analysis.model, spike)
    assert (timeline["hour"][0], timeline["hour"][-1]) == (
        BEGAN - WEEK * HOUR,
        FIRST + (HOURS - 1) * HOUR,
    )
    before = timeline.filter(pl.col("hour") < BEGAN)
    assert before["actual_cost"].to_list() == before["expected_cost"].to_list()
    own = sum(company.cost(name) for name in ("web", "api", "db", "search"))[
        ONSET - WEEK : HOURS - LAG
    ]
    assert timeline["actual_cost"].to_numpy()[:-LAG] == pytest.approx(own)
    assert timeline["estimated"].sum() == LAG
    assert timeline["state"].unique().sort().to_list() == ["estimated", "final", "provisional"]
    assert timeline.filter(pl.col("state") == "provisional")["hour"].min() == datetime(
        2026, 10, 1, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [(300, 400, slice(132, 568)), (100, 400, slice(0, 568)), (300, 1000, slice(132, HOURS))],
)
def test_the_timeline_ends_a_week_after_the_spike_or_now(
    analysis: LakeAnalysis, spike: SpikeDollars, start: int, end: int, shown: slice
):
    window = replace(spike.window, start=start, end=end)
    assert shown_hours(analysis.observed, replace(spike, window=window)) == shown


def test_a_part_of_the_hours_knows_which_of_them_are_billed(analysis: LakeAnalysis):
    shown = slice(HOURS - LAG - 1, HOURS - LAG + 1)
    part = timeline_of(analysis.observed, shown, np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert part.rows() == [
        (FIRST + (HOURS - LAG - 1) * HOUR, 1.0, 3.0, False, "provisional"),
        (FIRST + (HOURS - LAG) * HOUR, 2.0, 4.0, True, "estimated"),
    ]


def test_calls_on_an_edge_are_shown_beside_what_they_would_have_been(
    company: SmallCompany, analysis: LakeAnalysis, spike: SpikeDollars
):
    calls = calls_table(analysis.model, spike).filter(pl.col("caller") == "api")
    assert calls["service"].unique().to_list() == ["db"]
    shown = slice(ONSET - WEEK, HOURS)
    made = company.calls["db", "api"][shown]
    again = made - made / company.retries["db", "api"][shown]
    assert calls["calls"].to_numpy() == pytest.approx(made)
    assert calls["retries"].to_numpy() == pytest.approx(again)
    usual = SmallCompany().calls["db", "api"]
    assert calls["expected_calls"].to_numpy()[:WEEK] == pytest.approx(usual[ONSET - WEEK : ONSET])
    assert calls["expected_calls"].to_numpy()[WEEK:] == pytest.approx(usual[ONSET:], rel=0.05)


def test_calls_from_outside_have_a_caller_with_a_name(analysis: LakeAnalysis, spike: SpikeDollars):
    pairs = (
        calls_table(analysis.model, spike).select("service", "caller").unique(maintain_order=True)
    )
    assert pairs.rows() == [("db", "api"), ("web", "outside")]


def test_usage_that_moved_shows_the_calls_into_its_service():
    company = SmallCompany()
    company.lines["api"] = changed(company.lines["api"], per_call=from_hour(ONSET, 2.0))
    moved = analyse(company.lake())
    [found] = moved.found
    calls = calls_table(moved.model, found.dollars)
    assert calls.select("service", "caller").unique().sort("caller").rows() == [
        ("api", "mobile"),
        ("api", "web"),
    ]
    assert calls["calls"].to_list() == calls["expected_calls"].to_list()  # no call moved
    nothing = replace(found.dollars, baselines=(), dollars=())
    assert calls_table(moved.model, nothing).equals(tables.CALLS.empty())


def test_calls_that_would_not_settle_are_shown_as_they_were(
    analysis: LakeAnalysis, spike: SpikeDollars, monkeypatch: pytest.MonkeyPatch
):
    def diverges(*_: object) -> None:
        raise InputError("a cycle")

    monkeypatch.setattr(frames, "calls_with", diverges)
    calls = calls_table(analysis.model, spike)
    assert calls["calls"].to_list() == calls["expected_calls"].to_list()


# ---------------------------------------------------------------- paths


def test_a_path_leads_from_the_cause_over_the_calls_to_the_line_of_the_bill(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    paths = dependencies_table(analysis.model, spike)
    assert paths["path"].to_list() == [
        ["api", "db", "Amazon DynamoDB"],
        ["web", "api", "db", "Amazon DynamoDB"],
        ["web", "search", "AWS Lambda"],
        ["web", "AWS Lambda"],
        ["web", "api", "AWS Lambda"],
    ]
    assert paths["cost_change"].sum() == pytest.approx(excess_of(spike), abs=0.03)


def test_a_line_with_less_than_a_hundredth_of_a_behaviour_has_no_path(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    billed = np.zeros_like(spike.dollars[0])
    billed[spike.moved_meters[0], 0], billed[spike.moved_meters[1], 0] = 99.1, 0.9
    few = replace(spike, baselines=spike.baselines[:1], dollars=(billed,))
    assert dependencies_table(analysis.model, few).height == 1
    billed[spike.moved_meters[1], 0] = 1.1
    assert dependencies_table(analysis.model, few).height == 2


def test_the_paths_of_hours_without_a_bill_are_of_their_estimates(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    late = replace(spike, billed=0)
    whole = sum(float(dollars.sum()) for dollars in spike.dollars)
    assert dependencies_table(analysis.model, late)["cost_change"].sum() == pytest.approx(
        whole, abs=0.03
    )


# ---------------------------------------------------------------- coverage and clocks


def covered(
    analysis: LakeAnalysis, spike: SpikeDollars, **hours: list[float]
) -> dict[str, dict[str, Any]]:
    """Coverage where each source has records at these hours, counted from the onset."""
    rows = [
        {"source": source, "hour": BEGAN + h * HOUR, "records": 1}
        for source, at in hours.items()
        for h in at
    ]
    seen = analysis.frames | {"seen": tables.SEEN.of(rows)}
    table = coverage_table(replace(analysis, frames=seen), spike)
    return {row["source"]: row for row in table.to_dicts()}


def test_two_hours_without_cost_or_signals_are_a_gap(analysis: LakeAnalysis, spike: SpikeDollars):
    row = covered(analysis, spike, signals=[-3, -2, 0, 1])["signals"]
    assert row["gaps"] == ["2026-10-06T23:00:00Z/2026-10-07T00:00:00Z"]
    assert (row["from"], row["to"]) == (BEGAN - 3 * HOUR, BEGAN + 2 * HOUR)


def test_records_that_are_rare_have_a_gap_after_two_days(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    assert covered(analysis, spike, cloudtrail=[-60, -13, 34])["cloudtrail"]["gaps"] == []
    assert covered(analysis, spike, cloudtrail=[-61, -13])["cloudtrail"]["gaps"] == [
        "2026-10-04T12:00:00Z/2026-10-06T11:00:00Z"
    ]


def test_only_the_week_before_and_the_spike_are_looked_at(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    row = covered(analysis, spike, cost=[-WEEK - 9, -WEEK, -WEEK + 2])["cost"]
    assert row["gaps"] == ["2026-09-30T01:00:00Z/2026-09-30T02:00:00Z"]
    assert row["from"] == BEGAN - (WEEK + 9) * HOUR


def test_the_bill_ends_where_all_accounts_have_delivered(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    late = [0, HOURS - ONSET - LAG + 3]
    rows = covered(analysis, spike, cost=late, signals=late)
    assert rows["cost"]["to"] == analysis.observed.billed_through
    assert rows["signals"]["to"] == analysis.observed.billed_through + 4 * HOUR


def test_each_source_says_what_it_cannot_rule_out(analysis: LakeAnalysis, spike: SpikeDollars):
    rows = covered(analysis, spike, cloudtrail=[0], autoscaling=[0], unknown=[0])
    assert rows["cloudtrail"]["cannot_rule_out"] == "a change made by data-plane calls"
    assert rows["autoscaling"]["cannot_rule_out"] is None
    assert rows["unknown"]["cannot_rule_out"] is None


def clocks(
    analysis: LakeAnalysis, spike: SpikeDollars, change: Mapping[str, Any] | None = None
) -> list[tuple[str, float, float, str]]:
    """Rows with their times in hours from the onset."""
    table = clocks_table(analysis, spike, change)
    return [
        (what, (at - BEGAN) / HOUR, (known - BEGAN) / HOUR, words)
        for what, at, known, words in table.rows()
    ]


SIGNALS = ("signals", 0, 1, "the signals show it at the end of its first hour")
BILL = ("bill", 0, 1 + LAG, "the first hour of it is on a bill that comes 12 h later")


def test_calls_are_known_at_the_end_of_their_hour_and_the_bill_as_late_as_today(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    assert clocks(analysis, spike) == [SIGNALS, BILL]


@pytest.mark.parametrize(
    ("known_after", "minutes"),
    [
        (None, 0),
        (timedelta(minutes=6), 6),
        (timedelta(hours=20), 15),
    ],  # a file of a whole day is named by its last event
)
def test_a_change_is_known_when_its_record_arrives_at_most_a_quarter_later(
    analysis: LakeAnalysis, spike: SpikeDollars, known_after: timedelta | None, minutes: int
):
    time = BEGAN - HOUR / 2
    change = {"time": time, "known_at": None if known_after is None else time + known_after}
    words = f"the record of the change arrives {minutes} min later"
    assert clocks(analysis, spike, change)[0] == ("change", -0.5, -0.5 + minutes / 60, words)


def test_a_spike_that_ended_says_when(analysis: LakeAnalysis, spike: SpikeDollars):
    ended = replace(spike, running=False, window=replace(spike.window, end=ONSET + 50))
    assert clocks(analysis, ended)[-1] == ("end", 50, 50, "it ended")


@pytest.mark.parametrize(
    ("kind", "service", "shown"),
    [
        ("capacity", "web", True),
        ("capacity", "db", False),
        ("usage_per_call", "web", False),
        ("demand", "db", True),
    ],
)
def test_only_what_signals_count_is_known_by_them(
    analysis: LakeAnalysis, spike: SpikeDollars, kind: str, service: str, *, shown: bool
):
    rate = replace(spike.baselines[0].rate, kind=kind, service=service)
    lead = replace(spike, baselines=(replace(spike.baselines[0], rate=rate),))
    counted = replace(
        analysis, observed=replace(analysis.observed, capacity={"web": np.zeros(HOURS)})
    )
    assert (clocks(counted, lead)[0] == SIGNALS) is shown


def test_a_lake_is_read_for_these_tables_once(lake: MemoryLake, analysis: LakeAnalysis):
    assert analyse(lake) is analysis
