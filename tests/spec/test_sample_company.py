"""The sample company: what its answer key says is what its files hold, and what costwhy finds."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from conftest import ROOT, SAMPLE

from costwhy.case import explain, investigate_window
from costwhy.errors import UsageError
from costwhy.lake import Lake

ANSWERS = json.loads((ROOT / "data" / "sample-answers.json").read_text())
BY_SORT = {i["kind"]: i for i in ANSWERS["incidents"]}


@pytest.fixture(scope="module")
def said(sample_lake: Lake) -> dict[str, object]:
    return explain(sample_lake)


def found(said: dict[str, object], sort: str) -> dict[str, object]:
    """The spike whose first behaviour is that of the incident, at its place."""
    row = BY_SORT[sort]["behaviour"][0]
    places = [
        s for s in said["spikes"] if any(all(b[k] == row[k] for k in ("kind", "service", "caller", "usage_type")) for b in s["behaviour"])
    ]
    assert len(places) == 1, f"{sort}: found {len(places)} spikes for {row}"
    return places[0]


def test_committed_inputs_are_small() -> None:
    assert sum(f.stat().st_size for f in SAMPLE.rglob("*") if f.is_file() and "lake" not in f.relative_to(SAMPLE).parts) < 10_000_000


def test_there_is_one_incident_of_each_sort() -> None:
    assert set(BY_SORT) == {
        "retry_loop",
        "autoscaler",
        "cron_frequency",
        "cross_region",
        "fan_out",
        "commitment_lapse",
        "traffic_growth",
        "planned_launch",
        "tag_loss",
        "unowned",
    }


def test_the_same_seed_is_the_same_company(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "data" / "generate.py", "--out", tmp_path / "sample"], check=True)
    for file in (f for f in SAMPLE.rglob("*") if f.is_file() and "lake" not in f.relative_to(SAMPLE).parts):
        again = tmp_path / "sample" / file.relative_to(SAMPLE)
        if file.suffix == ".parquet":
            assert pl.read_parquet(file).equals(pl.read_parquet(again)), file.name
        else:
            assert file.read_bytes() == again.read_bytes(), file.name


@pytest.mark.parametrize("sort", sorted(set(BY_SORT) - {"tag_loss"}))
def test_each_incident_is_one_spike_with_its_dollars(said: dict[str, object], sort: str) -> None:
    spike, true = found(said, sort), BY_SORT[sort]
    slack = 0.2 if true["behaviour"][0]["kind"] == "demand" else 0.03  # traffic without the incident is not known, only forecast
    assert spike["excess_cost"] == pytest.approx(true["excess_cost"], rel=slack)
    assert spike["status"] == true["status"]


def test_nothing_else_is_called_a_spike(said: dict[str, object]) -> None:
    assert len(said["spikes"]) == len(BY_SORT) - 1


def test_lost_tags_move_no_money_and_name_the_team_that_lost_them(said: dict[str, object]) -> None:
    assert BY_SORT["tag_loss"]["excess_cost"] == 0
    lost = [i for i in said["ownership_gap"]["items"] if i["source"] == "tags before they were lost"]
    assert lost
    assert {i["likely_team"] for i in lost} == {"platform"}


def test_unowned_spend_is_still_shown(said: dict[str, object]) -> None:
    item = next(i for i in said["ownership_gap"]["items"] if i["where"] == {"ResourceId": "i-0f9c3be1177aa42d0"})
    assert item["cost"] == pytest.approx(BY_SORT["unowned"]["excess_cost"], rel=0.01)
    assert item["likely_team"] == "checkout", "tom.arden created it, and is of team checkout"


@pytest.mark.parametrize("sort", sorted(s for s, i in BY_SORT.items() if not i["trigger"]["none"] and s != "tag_loss"))
def test_the_true_change_comes_first(said: dict[str, object], sort: str) -> None:
    spike = found(said, sort)
    best = spike["triggers"][0]
    assert {best["change_id"], *best["also"]} & set(BY_SORT[sort]["trigger"]["change_ids"])
    assert best["probability"] > spike["no_recorded_change"]


@pytest.mark.parametrize("sort", sorted(s for s, i in BY_SORT.items() if i["trigger"]["none"]))
def test_no_recorded_change_comes_first_where_there_is_none(said: dict[str, object], sort: str) -> None:
    spike = found(said, sort)
    assert all(t["probability"] < spike["no_recorded_change"] for t in spike["triggers"])


def test_a_plan_makes_growth_planned(said: dict[str, object]) -> None:
    assert found(said, "planned_launch")["verdict"] == "growth"
    assert not found(said, "traffic_growth")["planned"]


def test_any_window_is_explained_like_a_spike_and_by_the_hour(sample_lake: Lake) -> None:
    from datetime import UTC, datetime  # noqa: PLC0415

    window, against = (
        (datetime(2026, 10, 8, tzinfo=UTC), datetime(2026, 10, 10, tzinfo=UTC)),
        (datetime(2026, 9, 28, tzinfo=UTC), datetime(2026, 10, 5, tzinfo=UTC)),
    )
    case = investigate_window(sample_lake, window, against=against)
    hourly = sample_lake.table("hourly")
    cost = {
        k: hourly.filter(pl.col("hour").is_between(a, b, closed="left"))["EffectiveCost"].sum()
        for k, (a, b) in {"w": window, "a": against}.items()
    }
    # two days against seven: expected is the other week's cost an hour, for 48 hours
    assert case.spike["actual_cost"] == pytest.approx(cost["w"], abs=0.02)
    assert case.spike["excess_cost"] == pytest.approx(cost["w"] - cost["a"] / 168 * 48, abs=0.02)
    assert case.behaviour["kind"][0] == "retries"
    with pytest.raises(UsageError, match="no window"):
        investigate_window(sample_lake, (window[1], window[0]))
