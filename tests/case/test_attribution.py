"""What a change must explain, whether the spike was planned, and the service that pays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from small_company import FIRST, MemoryLake, SmallCompany, from_hour

from costwhy import tables
from costwhy.case.analysis import KeptEvidence, LakeAnalysis, analyse
from costwhy.case.attribution import is_planned, onset_of, owners_of, resources_of
from costwhy.case.leaves import leaves_of
from costwhy.causes.changes import MovedRate
from costwhy.causes.triggers import RankedTriggers
from costwhy.spikes.dollars import SpikeDollars

ONSET = 720
BEGAN, HOUR = FIRST + timedelta(hours=ONSET), timedelta(hours=1)
NOW = datetime(2026, 10, 19, tzinfo=UTC)


@pytest.fixture
def spike(analysis: LakeAnalysis) -> SpikeDollars:
    return analysis.found[0].dollars


# ---------------------------------------------------------------- planned


def ranked(probability: float = 0.8, none: float = 0.1, **plan: Any) -> RankedTriggers:
    """One trigger with a plan of $100 a day."""
    row = {
        "change_id": "c",
        "probability": probability,
        "planned_reason": "launch",
        "planned_cost_per_day": 100.0,
    }
    return RankedTriggers(tables.TRIGGERS.of([row | plan]), none)


def planned(
    analysis: LakeAnalysis,
    triggers: RankedTriggers,
    excess: float = 200.0,
    nowcast: float = 0.0,
    hours: int = 48,
) -> bool:
    """Whether a spike of $200 in two days is planned."""
    row = replace(analysis.found[0].row, excess_cost=excess, nowcast_excess_cost=nowcast)
    return is_planned(triggers, row, hours, NOW)


def test_a_plan_covers_its_cost_a_day_and_a_quarter_more(analysis: LakeAnalysis):
    assert planned(analysis, ranked(), excess=250.0)
    assert not planned(analysis, ranked(), excess=250.1)
    assert planned(analysis, ranked(), excess=200.0, nowcast=50.0)
    assert not planned(analysis, ranked(), excess=200.0, nowcast=50.1)  # estimated hours count too
    assert not planned(analysis, ranked(), excess=250.0, hours=47)


def test_a_plan_without_a_cost_covers_any_excess(analysis: LakeAnalysis):
    assert planned(analysis, ranked(planned_cost_per_day=None), excess=1e9)


@pytest.mark.parametrize(
    ("triggers", "holds"),
    [
        (ranked(planned_reason=None), False),
        (ranked(planned_until=NOW), True),
        (ranked(planned_until=NOW - timedelta(seconds=1)), False),
        (ranked(0.4, 0.4), False),  # no more probable than no recorded change
        (ranked(0.41, 0.4), True),
        (RankedTriggers(tables.TRIGGERS.empty(), 0.0), False),
    ],
)
def test_a_spike_is_planned_if_its_best_trigger_carries_a_plan_that_is_valid(
    analysis: LakeAnalysis, triggers: RankedTriggers, *, holds: bool
):
    assert planned(analysis, triggers) is holds


def test_the_plan_of_a_less_probable_trigger_does_not_count(analysis: LakeAnalysis):
    best = {"change_id": "best", "probability": 0.6}
    second = {"change_id": "second", "probability": 0.3, "planned_reason": "launch"}
    assert not planned(analysis, RankedTriggers(tables.TRIGGERS.of([best, second]), 0.1))


# ---------------------------------------------------------------- the onset


def test_an_onset_is_what_moved_with_its_share_and_when(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    onset = onset_of(analysis, spike)
    sizes = [float(dollars.sum()) for dollars in spike.dollars]
    assert onset.rates == (
        MovedRate("retries", "db", "api", None, pytest.approx(sizes[0] / sum(sizes))),
        MovedRate("demand", "web", None, None, pytest.approx(sizes[1] / sum(sizes))),
    )
    assert (onset.start, onset.end, onset.blur) == (BEGAN, None, HOUR)
    assert onset.since <= onset.start
    assert onset.callers_of == {"api": {"web", "mobile"}, "db": {"api"}, "search": {"web"}}
    assert (onset.newborn, onset.accounts) == (frozenset(), {"1"})


def test_the_shares_are_of_the_absolute_dollars(analysis: LakeAnalysis, spike: SpikeDollars):
    falling = replace(spike, dollars=(spike.dollars[0], -spike.dollars[1]))
    assert [r.share for r in onset_of(analysis, falling).rates] == [
        r.share for r in onset_of(analysis, spike).rates
    ]


def test_the_onset_of_traffic_is_four_hours_wide(analysis: LakeAnalysis, spike: SpikeDollars):
    traffic = replace(spike, baselines=spike.baselines[::-1], dollars=spike.dollars[::-1])
    assert onset_of(analysis, traffic).blur == 4 * HOUR


def test_an_onset_knows_since_when_and_until_when(analysis: LakeAnalysis, spike: SpikeDollars):
    ended = replace(
        spike, running=False, since=ONSET - 5, window=replace(spike.window, end=ONSET + 50)
    )
    onset = onset_of(analysis, ended)
    assert (onset.since, onset.end) == (BEGAN - 5 * HOUR, BEGAN + 50 * HOUR)


@pytest.mark.parametrize(
    ("hour", "new"),
    [(ONSET - 7, False), (ONSET - 6, True), (ONSET + 6, True), (ONSET + 7, False), (72, False)],
)
def test_a_service_whose_calls_begin_within_six_hours_is_new(
    analysis: LakeAnalysis, spike: SpikeDollars, hour: int, *, new: bool
):
    first = [hour if name == "search" else 0 for name in analysis.observed.services]
    model = replace(analysis.model, service_first_hour=first)
    at = spike if hour != 72 else replace(spike, window=replace(spike.window, start=72))
    assert onset_of(replace(analysis, model=model), at).newborn == (
        {"search"} if new else frozenset()
    )


def with_days(lake: MemoryLake, *days: tuple[str, str | None, float]) -> LakeAnalysis:
    """The analysis with resources billed on days from the onset: usage type, resource, day."""
    found = analyse(lake)
    ids = dict(found.frames["series"].select("x_UsageType", "series_id").iter_rows())
    midnight = BEGAN.replace(hour=0)
    rows = [
        {"series_id": ids[usage], "ResourceId": name, "day": midnight + timedelta(days=d)}
        for usage, name, d in days
    ]
    other = replace(lake, frames=lake.frames | {"daily": tables.DAILY.of(rows)})
    return replace(found, lake=other)


def test_a_resource_is_new_if_it_was_first_billed_on_the_day_of_the_start_or_the_next(
    lake: MemoryLake, spike: SpikeDollars
):
    found = with_days(
        lake,
        ("ReadRequestUnits", "old", -1),
        ("ReadRequestUnits", "old", 0),
        ("ReadRequestUnits", "new", 0),
        ("Request", "next", 1),
        ("ReadRequestUnits", "later", 2),
        ("Report-GB-Second", "of a line that did not move", 0),
        ("ReadRequestUnits", None, 0),
    )
    assert set(resources_of(found, spike).began) == {"new", "next"}
    assert onset_of(found, spike).resources == {"new", "next"}


def test_a_published_case_knows_its_new_resources(analysis: LakeAnalysis, spike: SpikeDollars):
    kept = KeptEvidence(leaves_of(analysis, spike), frozenset({"kept"}))
    assert onset_of(replace(analysis, evidence=kept), spike).resources == {"kept"}


# ---------------------------------------------------------------- owners


def test_the_owner_is_that_of_the_service_whose_bill_moved_most(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    owners = owners_of(analysis, spike, None)
    assert owners.select("role", "service", "team").rows()[0] == ("owner", "db", "data")


def test_a_fall_counts_by_its_size():
    company = SmallCompany()
    company.fan_out["search", "web"] = from_hour(ONSET, 0.2)
    found = analyse(company.lake())
    [fall] = found.found
    assert fall.row.excess_cost < 0
    assert owners_of(found, fall.dollars, None)["service"][0] == "search"


def test_a_published_case_keeps_who_runs_it_and_asks_who_decided(
    analysis: LakeAnalysis, spike: SpikeDollars
):
    rows = [{"role": "owner", "team": "published"}, {"role": "owner_then", "team": "earlier"}]
    kept = KeptEvidence(leaves_of(analysis, spike), frozenset(), owners=tables.OWNERS.of(rows))
    change = {"service": "api", "actor": "dana", "path": None, "source": "cdevents"}
    owners = owners_of(replace(analysis, evidence=kept), spike, change)
    assert owners.select("role", "team").rows() == [
        ("owner", "published"),
        ("owner_then", "earlier"),
        ("decided_by", "shop"),
        ("budget_owner", "1"),
    ]
