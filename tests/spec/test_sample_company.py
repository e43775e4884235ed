"""The sample company: what its answer key says is what its files hold, and what costwhy finds."""

import gzip
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from places import ROOT, SAMPLE

from costwhy.case.investigate import investigate_window
from costwhy.errors import UsageError
from costwhy.lake.charges import spread
from costwhy.lake.lake import Lake

ANSWERS = json.loads((ROOT / "data" / "sample-answers.json").read_text())
BY_SORT = {i["kind"]: i for i in ANSWERS["incidents"]}
SORTS = (
    *("retry_loop", "autoscaler", "cron_frequency", "cross_region", "fan_out"),
    *("commitment_lapse", "traffic_growth", "planned_launch", "tag_loss", "unowned"),
)


@pytest.fixture(scope="module")
def generator() -> Iterator[ModuleType]:
    """data/generate.py, as a benchmark imports it."""
    sys.path.insert(0, str(ROOT / "data"))
    yield importlib.import_module("generate")
    sys.path.remove(str(ROOT / "data"))


@pytest.fixture(scope="module")
def said(answer_of: Callable[[Path], dict[str, object]]) -> dict[str, object]:
    return answer_of(SAMPLE)


def found(said: dict[str, object], sort: str) -> dict[str, object]:
    """The spike whose first behaviour is that of the incident, at its place."""
    row = BY_SORT[sort]["behaviour"][0]
    places = [
        s
        for s in said["spikes"]
        if any(
            all(b[k] == row[k] for k in ("kind", "service", "caller", "usage_type"))
            for b in s["behaviour"]
        )
    ]
    assert len(places) == 1, f"{sort}: found {len(places)} spikes for {row}"
    return places[0]


def inputs(folder: Path) -> list[Path]:
    return [
        f for f in folder.rglob("*") if f.is_file() and "lake" not in f.relative_to(folder).parts
    ]


def records() -> list[dict[str, object]]:
    return [
        r
        for f in sorted(SAMPLE.glob("cloudtrail/**/*.json.gz"))
        for r in json.loads(gzip.decompress(f.read_bytes()))["Records"]
    ]


def events() -> list[dict[str, object]]:
    return [
        json.loads(line)
        for f in sorted(SAMPLE.glob("changes/*.jsonl"))
        for line in f.read_text().splitlines()
    ]


def test_committed_inputs_are_small() -> None:
    assert sum(f.stat().st_size for f in inputs(SAMPLE)) < 10_000_000


def test_there_is_one_incident_of_each_sort() -> None:
    assert set(BY_SORT) == set(SORTS)
    assert len(ANSWERS["incidents"]) == len(SORTS)
    assert {i["status"] for i in BY_SORT.values()} == {"running", "ended"}


def test_the_key_adds_up_to_the_billing_files() -> None:
    bill = pl.read_parquet(SAMPLE / "billing/data/**/*.parquet")
    assert bill.height == ANSWERS["rows"]
    assert bill["EffectiveCost"].sum() == pytest.approx(ANSWERS["total_effective_cost"], abs=0.006)
    assert bill["BilledCost"].sum() == pytest.approx(ANSWERS["total_billed_cost"], abs=0.006)
    usage = bill.filter(ChargeCategory="Usage").with_columns(account=pl.col("SubAccountId"))
    last = dict(
        usage.group_by("account")
        .agg(pl.col("ChargePeriodEnd").max().dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
        .iter_rows()
    )
    assert last == ANSWERS["billed_through_by_account"]
    assert min(last.values()) == ANSWERS["billed_through"]


def test_each_incident_is_the_sum_of_its_behaviours() -> None:
    for incident in BY_SORT.values():
        # each row is rounded to the cent, and so is the sum of the rows
        assert sum(b["cost_change"] for b in incident["behaviour"]) == pytest.approx(
            incident["excess_cost"], abs=0.005
        )
        # cells leave out what is under a dollar
        assert sum(c["excess_cost"] for c in incident["cells"]) == pytest.approx(
            incident["excess_cost"], abs=10
        )


def test_an_incident_is_in_the_bill_where_the_key_says() -> None:
    """The machine that nobody owns is one resource: its rows are its dollars, to the cent."""
    bill = pl.read_parquet(SAMPLE / "billing/data/**/*.parquet")
    until = datetime.fromisoformat(ANSWERS["billed_through"]).replace(tzinfo=None)
    rows = bill.filter(ResourceId=BY_SORT["unowned"]["touched"]["ResourceId"]).filter(
        pl.col("ChargePeriodStart") < until
    )
    assert rows["EffectiveCost"].sum() == pytest.approx(
        BY_SORT["unowned"]["excess_cost"], abs=0.006
    )
    assert not any(rows["Tags"].to_list()), "it was never tagged"


def test_every_change_of_the_key_is_in_the_files() -> None:
    written = {str(r["eventID"]) for r in records()} | {str(e["context"]["id"]) for e in events()}
    assert {c for i in BY_SORT.values() for c in i["trigger"]["change_ids"]} <= written
    assert len(written) == len(records()) + len(events()), "an identifier names one record"
    assert (
        400
        <= ANSWERS["changes"]
        == len(events()) + sum(not r["readOnly"] for r in records())
        <= 620
    )


def test_some_titles_are_hostile() -> None:
    titles = {str(e["customData"]["summary"]) for e in events()}
    assert "<img src=x onerror=alert(1)>" in titles
    assert any("<script>" in t for t in titles)


def test_the_same_seed_is_the_same_company(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "data" / "generate.py", "--out", tmp_path / "sample"], check=True
    )
    assert json.loads((tmp_path / "sample-answers.json").read_text()) == ANSWERS
    assert {f.relative_to(SAMPLE) for f in inputs(SAMPLE)} == {
        f.relative_to(tmp_path / "sample") for f in inputs(tmp_path / "sample")
    }
    for file in inputs(SAMPLE):
        again = tmp_path / "sample" / file.relative_to(SAMPLE)
        if file.suffix == ".parquet":
            assert pl.read_parquet(file).equals(pl.read_parquet(again)), file.name
        else:
            assert file.read_bytes() == again.read_bytes(), file.name


@pytest.mark.parametrize("sort", SORTS)
def test_an_incident_alone_makes_another_company(generator: ModuleType, sort: str) -> None:
    made = [
        generator.simulate(generator.Settings(seed, 28, size, (sort,)))
        for seed, size in ((7, 12), (8, 20))
    ]
    assert made[0].company.services != made[1].company.services
    assert (
        made[0].company.regions != made[1].company.regions
        or made[0].company.discount != made[1].company.discount
    )
    for one in made:
        key = generator.answers(one, generator.bill_of(one))["incidents"]
        assert [i["kind"] for i in key] == [sort]
        assert (key[0]["excess_cost"] + key[0]["unbilled"]["excess_cost"] > 5) == (
            sort != "tag_loss"
        )
        assert (one.whole.cost >= 0).all()


def test_a_quiet_company_has_no_incident_and_an_unknown_one_is_refused(
    generator: ModuleType,
) -> None:
    assert generator.simulate(generator.Settings(3, 14, 12, ())).incidents == ()
    with pytest.raises(ValueError, match="no such incident: earthquake"):
        generator.Settings(incidents=("earthquake",))


@pytest.mark.parametrize("sort", sorted(set(BY_SORT) - {"tag_loss"}))
def test_each_incident_is_one_spike_with_its_dollars(said: dict[str, object], sort: str) -> None:
    spike, true = found(said, sort), BY_SORT[sort]
    slack = (
        0.15 if true["behaviour"][0]["kind"] == "demand" else 0.03
    )  # traffic without the incident is not known, only forecast
    assert spike["excess_cost"] == pytest.approx(true["excess_cost"], rel=slack)
    assert spike["status"] == true["status"]


def test_nothing_else_is_called_a_spike(said: dict[str, object]) -> None:
    assert len(said["spikes"]) == len(BY_SORT) - 1


def test_lost_tags_move_no_money_and_name_the_team_that_lost_them(said: dict[str, object]) -> None:
    assert BY_SORT["tag_loss"]["excess_cost"] == 0
    lost = [
        i for i in said["ownership_gap"]["items"] if i["source"] == "tags before they were lost"
    ]
    assert lost
    assert {i["likely_team"] for i in lost} == {BY_SORT["tag_loss"]["touched"]["team"]}


def test_unowned_spend_is_still_shown(said: dict[str, object]) -> None:
    item = next(
        i for i in said["ownership_gap"]["items"] if i["where"] == BY_SORT["unowned"]["touched"]
    )
    assert item["cost"] == pytest.approx(BY_SORT["unowned"]["excess_cost"], rel=0.01)
    assert item["likely_team"] == BY_SORT["unowned"]["decided_by"]["team"], (
        "the team of the person who created it"
    )


@pytest.mark.parametrize(
    "sort", sorted(s for s, i in BY_SORT.items() if not i["trigger"]["none"] and s != "tag_loss")
)
def test_the_true_change_comes_first(said: dict[str, object], sort: str) -> None:
    spike = found(said, sort)
    best = spike["triggers"][0]
    assert {best["change_id"], *best["also"]} & set(BY_SORT[sort]["trigger"]["change_ids"])
    assert best["probability"] > spike["no_recorded_change"]


@pytest.mark.parametrize("sort", sorted(s for s, i in BY_SORT.items() if i["trigger"]["none"]))
def test_no_recorded_change_comes_first_where_there_is_none(
    said: dict[str, object], sort: str
) -> None:
    spike = found(said, sort)
    assert all(t["probability"] < spike["no_recorded_change"] for t in spike["triggers"])


def test_a_plan_makes_growth_planned(said: dict[str, object]) -> None:
    assert found(said, "planned_launch")["planned"]
    assert found(said, "planned_launch")["verdict"] == "growth"
    assert not found(said, "traffic_growth")["planned"]


def test_any_window_is_explained_like_a_spike_and_by_the_hour(sample_lake: Lake) -> None:
    begin = datetime.fromisoformat(BY_SORT["retry_loop"]["start"]).replace(hour=0) + timedelta(
        days=1
    )
    window, against = (
        (begin, begin + timedelta(days=2)),
        (begin - timedelta(days=10), begin - timedelta(days=3)),
    )
    case = investigate_window(sample_lake, window, against=against)
    hourly = spread(sample_lake.table("hourly"), "hour")
    cost = {
        k: hourly.filter(pl.col("hour").is_between(a, b, closed="left"))["EffectiveCost"].sum()
        for k, (a, b) in {"w": window, "a": against}.items()
    }
    # two days against seven: expected is the other week's cost an hour, for 48 hours
    assert case.spike.actual_cost == pytest.approx(cost["w"], abs=0.02)
    assert case.spike.excess_cost == pytest.approx(cost["w"] - cost["a"] / 168 * 48, abs=0.02)
    assert case.behaviour["kind"][0] == "retries"
    with pytest.raises(UsageError, match="no window"):
        investigate_window(sample_lake, (window[1], window[0]))
