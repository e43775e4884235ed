"""What the fix of a spike saved, against a company whose truth is known."""

import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from companies_in_time import CHANNELS, NOW, ONSET, known, storm, webhook
from places import ROOT
from small_company import ALL, FIRST, HOURS, SmallCompany

from costwhy.case.analysis import analyse
from costwhy.case.investigate import find_spikes
from costwhy.feedback.savings import savings
from costwhy.feedback.verdicts import key_of_spike, newest, say, verdict_table, verdicts_of
from costwhy.watch.watch import notify

HOUR = timedelta(hours=1)


@pytest.fixture
def simulated(monkeypatch):
    """benchmarks/companies.py and data/, as modules."""
    for folder in ("benchmarks", "data"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    import companies
    import incidents

    yield companies, incidents
    for name in ("companies", "formats", "generate", "incidents", "company"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    "seed", [100, *(pytest.param(n, marks=pytest.mark.long) for n in (101, 102))]
)
def test_a_retry_loop_that_was_fixed_is_verified_within_a_tenth_of_the_truth(
    seed, simulated, tmp_path
):
    companies, incidents = simulated
    s = companies.simulate(companies.Settings(seed, 56, 12, ("retry_loop",)))
    storm = next(i for i in s.incidents if i.sort == "retry_loop")
    start, end = 24 * 24, 24 * 28
    ends = (replace(storm, start=start, end=end),)
    never = incidents.run(s.company, (replace(storm, start=start, end=None),), s.noise)
    whole = incidents.run(s.company, ends, s.noise)
    lake = replace(companies.lake_of(replace(s, incidents=ends, whole=whole)), place=str(tmp_path))
    spike = find_spikes(lake).filter(pl.col("excess_cost") > 0).row(0, named=True)
    say(lake, spike["spike_id"], "fixed", "rolled back", "dana", s.first + (end + 30) * HOUR)
    found = {x.days: x for x in savings(lake)}
    assert set(found) == {7, 14} | ({30} if s.billed >= end + 30 * 24 else set())
    for days, saving in found.items():
        truth = float((never.cost - whole.cost)[:, end : end + 24 * days].sum())
        assert saving.outcome == "verified"
        assert saving.saved == pytest.approx(truth, rel=0.1)


def fixed_at(
    company: SmallCompany, place: Path, at: int, hour: int = HOURS
) -> list[tuple[int, str, float, float]]:
    lake = known(company, place, hour)
    spike = find_spikes(lake).filter(~pl.col("title").str.starts_with("traffic"))["spike_id"][0]
    say(lake, spike, "fixed", "", "dana", FIRST + at * HOUR)
    return [(x.days, x.outcome, x.saved, x.possible) for x in savings(lake)]


def test_the_money_saved_is_that_of_the_traffic_that_came_after(tmp_path):
    company = storm(2.0)
    company.retries["db", "api"][ONSET + 96 :] = 1.02
    company.demand["web"][ONSET + 96 :] *= (
        1.3  # more customers after the fix: more would have been wasted
    )
    usual = company.cost("db")[ONSET + 96 : ONSET + 96 + 168].sum()
    [(days, outcome, saved, possible)] = fixed_at(company, tmp_path, ONSET + 90)
    assert (days, outcome) == (7, "verified")
    assert saved == pytest.approx(
        usual, rel=0.03
    )  # twice the attempts would have cost as much again
    assert possible == pytest.approx(usual, rel=0.03)


def test_half_a_fix_is_inconclusive_and_none_at_all_regressed(tmp_path):
    half = storm(2.0)
    half.retries["db", "api"][ONSET + 96 :] = 1.53  # of 1.02 attempts too many, 0.51 are left
    [(_, outcome, saved, possible)] = fixed_at(half, tmp_path / "half", ONSET + 95)
    assert (outcome, saved / possible) == ("inconclusive", pytest.approx(0.5, abs=0.05))
    [(_, outcome, saved, possible)] = fixed_at(storm(2.0), tmp_path / "none", ONSET + 95)
    assert (outcome, saved / possible) == ("regressed", pytest.approx(0, abs=0.05))


def test_before_a_week_is_billed_nothing_is_said(tmp_path):
    company = storm(2.0)
    company.retries["db", "api"][ONSET + 96 :] = 1.02
    assert fixed_at(company, tmp_path, ONSET + 96, ONSET + 96 + 160) == []


def test_an_edge_that_began_with_the_spike_and_went_is_saved_whole(tmp_path):
    company = SmallCompany()
    on = np.where((np.arange(HOURS) >= ONSET) & (np.arange(HOURS) < ONSET + 96), 2.0, 0.0)
    company.fan_out["search", "mobile"], company.retries["search", "mobile"] = on, 1.0 * ALL
    while_it_ran = (
        2 * 10_000 * 0.0006 * 168
    )  # two calls for each of mobile's 10,000, at $0.0006: $12 an hour
    [(_, outcome, saved, _)] = fixed_at(company, tmp_path, ONSET + 90)
    assert outcome == "verified"
    assert saved == pytest.approx(while_it_ran, rel=0.15)  # those four days were working days


def test_a_proven_fix_is_told_once_and_a_fix_that_did_not_hold_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    for name, after, events in (
        ("good", 1.02, ["new", "resolved"]),
        ("bad", 2.04, ["new", "grown"]),
    ):
        company = storm(2.0)
        company.retries["db", "api"][ONSET + 96 :] = after
        lake = known(company, tmp_path / name)
        say(
            lake,
            find_spikes(lake)["spike_id"][0],
            "fixed",
            "rolled back",
            "dana",
            FIRST + (ONSET + 90) * HOUR,
        )
        with webhook() as told:
            monkeypatch.setenv("HOOK_URL", told.fake.url)
            for day in range(3):
                notify(lake, CHANNELS, None, datetime(2026, 11, 1 + day, tzinfo=UTC))
            assert told.events == events
            assert ("Fixed: " if after < 2 else "The fix did not hold: ") in str(
                told.messages[1]["title"]
            )
            assert "it saved" in told.messages[1]["lines"][0]


def test_what_was_said_stays_and_the_newest_counts(tmp_path):
    lake = known(storm(), tmp_path)
    spike = find_spikes(lake)["spike_id"][0]
    for n, verdict in enumerate(("fixing", "accepted", "fixed")):
        say(lake, spike, verdict, f"note {n}", "dana", NOW + n * HOUR)
    assert verdict_table(lake)["verdict"].to_list() == ["fixed", "accepted", "fixing"]
    assert verdict_table(lake)["excess_per_hour"][0] > 0
    analysis = analyse(lake)
    moved = replace(
        key_of_spike(analysis, analysis.found[0]), spike_id="20261007T03-other"
    )  # its id begins with another hour
    later = replace(moved, start=moved.start + 7 * HOUR)
    assert (
        newest(verdicts_of(lake.place), replace(moved, start=moved.start + 5 * HOUR)).verdict
        == "fixed"
    )
    assert newest(verdicts_of(lake.place), later) is None
    traffic = replace(moved, kind="demand", service="web", caller=None, usage_type=None)
    assert replace(traffic, start=traffic.start + 40 * HOUR, spike_id="x").is_same(
        traffic
    )  # a swell has no sharp onset
