"""Workspaces with known answers: ingest, explain, and hold every promise of the contract."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SHARED, cases
from jsonschema import Draft202012Validator

from costwhy.case.document import explain
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

absent = pytest.mark.skipif(not cases(), reason=f"the cases with known answers are not beside the project ({SHARED / 'cases'})")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    """What costwhy says of each case, through the same steps as the commands."""
    said = {}
    for name in cases():
        folder = tmp_path_factory.mktemp("case") / name
        shutil.copytree(SHARED / "cases" / name, folder, copy_function=shutil.copyfile)
        ingest(read_workspace(folder))
        said[name] = explain(open_lake(folder))
    return said


def truth(name: str) -> dict[str, object]:
    return json.loads((SHARED / "cases" / f"{name}.truth.json").read_text())


@absent
@pytest.mark.parametrize("name", cases())
def test_the_document_is_valid_by_the_contract(answers: dict[str, dict[str, object]], name: str) -> None:
    schema = json.loads((SHARED / "explain.schema.json").read_text())
    assert [e.message for e in Draft202012Validator(schema).iter_errors(answers[name])] == []


@absent
@pytest.mark.parametrize("name", cases())
def test_the_three_sums_hold_to_the_cent(answers: dict[str, dict[str, object]], name: str) -> None:
    for spike in answers[name]["spikes"]:
        excess = spike["excess_cost"]
        assert abs(spike["actual_cost"] - spike["expected_cost"] - excess) < 0.011
        assert abs(sum(d["cost_change"] for d in spike["drivers"]) + spike["drivers_remainder"] - excess) < 0.011
        assert abs(sum(b["cost_change"] for b in spike["behaviour"]) + spike["behaviour_remainder"] - excess) < 0.011
        assert sum(t["probability"] for t in spike["triggers"]) + spike["no_recorded_change"] <= 1 + 1e-6


@absent
@pytest.mark.parametrize("name", cases())
def test_the_clocks_are_those_of_the_case(answers: dict[str, dict[str, object]], name: str) -> None:
    assert (answers[name]["as_of"], answers[name]["billed_through"]) == (truth(name)["as_of"], truth(name)["billed_through"])


@absent
def test_a_retry_storm_is_not_called_growth(answers: dict[str, dict[str, object]]) -> None:
    spike = answers["retry_loop-1001"]["spikes"][0]
    assert spike["behaviour"][0]["kind"] == "retries"
    assert spike["verdict"] == "inefficiency"


@absent
def test_a_season_is_no_spike(answers: dict[str, dict[str, object]]) -> None:
    assert answers["seasonal_only-1008"]["spikes"] == []


@absent
def test_a_spike_of_which_nothing_is_billed_stands_on_its_nowcast(answers: dict[str, dict[str, object]]) -> None:
    spike = answers["late_bill-1007"]["spikes"][0]
    assert spike["excess_cost"] == 0
    assert abs(spike["nowcast"]["excess_cost"] - 352.99) < 0.05 * 352.99


@absent
def test_no_case_is_missed_and_none_is_told_that_did_not_happen(answers: dict[str, dict[str, object]], tmp_path: Path) -> None:
    for name, said in answers.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    run = subprocess.run(
        [sys.executable, SHARED / "cases" / "score.py", SHARED / "cases", tmp_path, "--json"], capture_output=True, text=True, check=True
    )
    table = json.loads(run.stdout)["table"]
    shown = {
        k: table[k]
        for k in ("found", "fragments", "alarms_per_month", "behaviour_place", "trigger_first", "owner_team", "verdict", "sums_exact")
    }
    assert shown == {
        "found": 1.0,
        "fragments": 0,
        "alarms_per_month": 0.0,
        "behaviour_place": 1.0,
        "trigger_first": 1.0,
        "owner_team": 1.0,
        "verdict": 1.0,
        "sums_exact": 1.0,
    }
    assert table["excess_error_median"] < 0.02
    assert table["behaviour_dollars"] > 0.95
