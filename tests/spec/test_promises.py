"""What costwhy promises, each on a company small enough to reckon by hand (tests/small_company.py draws it)."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from small_company import ALL, FIRST, HOURS, Line, SmallCompany, changed, from_hour

from costwhy.case.investigate import explain

ONSET = 720  # hour 0 of day 31, a Wednesday


def told(company: SmallCompany, **more: Any) -> list[dict[str, Any]]:
    """The spikes of `costwhy explain --json`; the three sums hold on each."""
    spikes = explain(company.lake(), **more)["spikes"]
    for s in spikes:
        assert s["actual_cost"] - s["expected_cost"] == pytest.approx(s["excess_cost"], abs=0.011)
        assert sum(b["cost_change"] for b in s["behaviour"]) + s[
            "behaviour_remainder"
        ] == pytest.approx(s["excess_cost"], abs=0.011)
        assert sum(d["cost_change"] for d in s["drivers"]) + s[
            "drivers_remainder"
        ] == pytest.approx(s["excess_cost"], abs=0.011)
    return spikes


def place(row: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(row[name] for name in ("kind", "service", "caller", "usage_type"))


def hour(spike: dict[str, Any]) -> int:
    return int((datetime.fromisoformat(spike["start"]) - FIRST) / timedelta(hours=1))


def test_a_company_in_which_nothing_happens_has_no_spike():
    for seed in range(3):
        assert told(SmallCompany(seed)) == []


def test_a_retry_storm_is_not_called_growth():
    company = SmallCompany()
    before = company.cost("db")
    company.retries["db", "api"] *= from_hour(ONSET, 2.5)  # 1.02 attempts for each call become 2.55
    [spike] = told(company)
    assert spike["verdict"] == "inefficiency"
    assert hour(spike) == ONSET
    assert place(spike["behaviour"][0]) == ("retries", "db", "api", None)
    assert spike["excess_cost"] == pytest.approx(
        1.5 * before[ONSET:].sum(), rel=0.02
    )  # 2.5 times as many reads
    assert spike["behaviour"][0]["cost_change"] == pytest.approx(spike["excess_cost"], rel=0.02)
    assert not any(row["kind"] == "demand" for row in spike["behaviour"])


def test_more_customers_are_called_growth():
    company = SmallCompany()
    company.demand["web"] *= from_hour(ONSET, 1.6)
    [spike] = told(company)
    assert (spike["verdict"], place(spike["behaviour"][0])) == (
        "growth",
        ("demand", "web", None, None),
    )


def test_a_ramp_starts_where_it_begins():
    company = SmallCompany()
    rise = (
        np.maximum(np.arange(HOURS) - ONSET, 0) * 0.02
    )  # a table grows by 1 % of its size an hour
    company.lines["disk"] = changed(company.lines["disk"], fixed=2 + rise)
    [spike] = told(company)
    assert spike["shape"] == "ramp"
    assert place(spike["behaviour"][0]) == ("capacity", "db", None, "TimedStorage-ByteHrs")
    assert abs(hour(spike) - ONSET) <= 3  # its first step that is seen lies many hours later
    assert spike["excess_cost"] == pytest.approx(2 * rise.sum(), rel=0.02)  # $2 for each unit


def test_a_holiday_is_not_a_spike():
    company = SmallCompany()
    day = slice(ONSET, ONSET + 24)
    for entry in ("web", "mobile"):
        company.demand[entry][day] *= 0.5
    assert told(company) == []


def test_tags_lost_are_not_a_spike():
    company = SmallCompany()
    company.lines["db"] = changed(company.lines["db"], tagged_until=ONSET)
    assert told(company) == []
    gap = explain(company.lake())["ownership_gap"]
    assert gap["cost"] == pytest.approx(
        company.cost("db")[ONSET:].sum(), abs=0.01
    )  # but nobody owns it now, and that is said


def test_two_incidents_in_different_services_are_two_spikes():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.0)
    company.lines["search"] = changed(
        company.lines["search"], per_call=from_hour(ONSET + 1, 2.0)
    )  # an hour later
    spikes = told(company)
    assert {place(s["behaviour"][0]) for s in spikes} == {
        ("retries", "db", "api", None),
        ("usage_per_call", "search", None, "Search-Units"),
    }
    assert [len(s["behaviour"]) for s in spikes] == [1, 1]


def test_offsetting_moves_are_found_although_the_total_is_flat():
    company = SmallCompany()
    saved = company.cost("search")[ONSET:].sum() / 2
    spent = company.cost("web")[ONSET:].sum()
    company.lines["search"] = changed(company.lines["search"], per_call=from_hour(ONSET, 0.5))
    company.lines["web"] = changed(
        company.lines["web"], per_call=from_hour(ONSET, 1 + saved / spent)
    )
    spikes = told(company)
    assert {place(b) for s in spikes for b in s["behaviour"]} == {
        ("usage_per_call", "web", None, "Lambda-GB-Second"),
        ("usage_per_call", "search", None, "Search-Units"),
    }
    assert sum(s["excess_cost"] for s in spikes) == pytest.approx(
        0, abs=0.02 * saved
    )  # the whole bill stands still
    assert max(abs(b["cost_change"]) for s in spikes for b in s["behaviour"]) == pytest.approx(
        saved, rel=0.02
    )


def test_the_end_of_credits_is_accounting_not_inefficiency():
    company = SmallCompany()
    credit = -5 * (1 - (np.arange(HOURS) >= ONSET))
    company.lines["credit"] = Line(
        None,
        None,
        "",
        ALL,
        flat=credit.astype(float),
        category="Credit",
        team=None,
        product="AWS Credits",
    )
    [spike] = told(company)
    assert (spike["verdict"], spike["behaviour"][0]["kind"]) == ("accounting", "unmetered")
    assert spike["excess_cost"] == pytest.approx(5 * (HOURS - ONSET), rel=0.01)


def test_a_price_rise_is_price_for_a_nightly_job_too():
    company = SmallCompany()
    company.lines["report"] = changed(company.lines["report"], price=0.5 * from_hour(ONSET, 2.0))
    [spike] = told(company)
    assert (spike["verdict"], place(spike["behaviour"][0])) == (
        "price",
        ("unit_price", "report", None, "Report-GB-Second"),
    )
    nights = (HOURS - ONSET) // 24
    assert spike["excess_cost"] == pytest.approx(
        nights * 40 * 2 * 0.5, rel=0.01
    )  # 40 runs x 2 GB-seconds x 50 cents more
    assert ONSET - 24 < hour(spike) <= ONSET + 2  # its first run at the new price


def test_the_hours_of_a_nightly_jobs_tasks_are_the_timers_not_capacity():
    company = SmallCompany()
    company.lines["tasks"] = Line(
        "report", "Fargate-vCPU-Hours:perCPU", "vCPU-Hours", 0.05 * ALL, per_call=0.5 * ALL
    )  # $1 a night
    often = np.where(np.arange(HOURS) % 6 == 2, 40.0, 0.0)
    company.runs["report", "schedule:nightly"] = np.where(
        np.arange(HOURS) < ONSET, company.runs["report", "schedule:nightly"], often
    )
    [spike] = told(company)
    more = 3 * (HOURS - ONSET) // 24  # three runs a day more
    assert place(spike["behaviour"][0]) == ("schedule", "report", "schedule:nightly", None)
    assert spike["behaviour"][0]["cost_change"] == pytest.approx(
        more * (40 + 1)
    )  # $40 of seconds and $1 of tasks for each


@pytest.mark.parametrize(
    "held", [0.5, 1.25, 5.0]
)  # of what is usually used: half of it, most hours whole, all of it whatever happens
def test_usage_that_outgrows_a_commitment_is_not_a_price_and_costs_what_is_used(held):
    company = SmallCompany()
    per_call, on_demand = 2, 0.00005
    holds = held * per_call * company.handled("db").mean()
    company.lines["db"] = changed(company.lines["db"], committed=holds * ALL)
    company.retries["db", "api"] *= from_hour(ONSET, 2.5)

    def paid(used: np.ndarray) -> float:
        return float(
            (
                np.minimum(used, holds) * on_demand / 2 + np.maximum(used - holds, 0) * on_demand
            ).sum()
        )

    used = per_call * company.handled("db")[ONSET:]
    [spike] = told(company)
    [row] = spike["behaviour"]
    assert place(row) == ("retries", "db", "api", None)
    assert spike["excess_cost"] == pytest.approx(paid(used) - paid(used / 2.5), rel=0.01)


def test_a_commitment_that_ends_is_a_price_though_all_was_covered_before():
    company = SmallCompany()
    usual = company.cost("db")
    company.lines["db"] = changed(company.lines["db"], committed=1e9 * from_hour(ONSET, 0.0))
    [spike] = told(company)
    assert (spike["verdict"], place(spike["behaviour"][0])) == (
        "price",
        ("unit_price", "db", None, "ReadRequestUnits"),
    )
    assert spike["excess_cost"] == pytest.approx(
        usual[ONSET:].sum() / 2, rel=0.01
    )  # half the price until then


def test_a_late_spike_is_not_made_from_estimated_hours():
    company = SmallCompany()
    rng = np.random.default_rng(5)
    wander = np.exp(np.cumsum(rng.normal(0, 0.03, HOURS)) * 0.5)
    company.lines["batch"] = Line(
        None, "Batch-Hours", "Hrs", ALL, fixed=4 * wander / wander.mean(), team=None
    )  # no signal tells of it
    company.lag = 18
    assert [s for s in told(company) if hour(s) >= HOURS - 18] == []


def test_a_storm_in_hours_not_billed_yet_is_told_from_the_signals_alone():
    company = SmallCompany()
    usual = company.cost("db")
    company.lag = 18
    company.retries["db", "api"] *= from_hour(HOURS - 12, 3.0)
    [spike] = told(company)
    assert hour(spike) == HOURS - 12
    assert spike["excess_cost"] == 0  # nothing of it is billed
    assert spike["nowcast"]["excess_cost"] == pytest.approx(2 * usual[-12:].sum(), rel=0.05)


def test_windows_of_unequal_length_are_compared_by_the_hour():
    company = SmallCompany()
    company.lines["disk"] = changed(
        company.lines["disk"], price=2 * from_hour(ONSET, 1.5)
    )  # $4 an hour become $6
    at = [FIRST + timedelta(hours=h) for h in (ONSET, ONSET + 72, ONSET - 240, ONSET)]
    [spike] = told(
        company,
        window=(at[0], at[1]),
        against=(at[2], at[3]),
        where={"x_UsageType": "TimedStorage-ByteHrs"},
    )
    assert spike["expected_cost"] == pytest.approx(72 * 4)  # the ten days before, by the hour
    assert spike["actual_cost"] == pytest.approx(72 * 6)
    assert spike["excess_cost"] == pytest.approx(144)  # 72 hours x $2
    assert place(spike["behaviour"][0]) == ("unit_price", "db", None, "TimedStorage-ByteHrs")
    assert spike["behaviour"][0]["cost_change"] == pytest.approx(144, abs=0.01)
