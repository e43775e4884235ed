"""What an owner says in the investigation app: kept with who and when, shown as words."""

import shutil
from pathlib import Path

import polars as pl
import pytest

import costwhy as cw
from costwhy.case.case import Case
from costwhy.show import html, investigation

FIXING = {"verdict": "fixing", "note": "<script>alert(1)</script>", "who": "dana"}


@pytest.fixture
def case(sample_workspace: Path, tmp_path: Path) -> Case:
    """The first spike of a lake of its own."""
    lake = cw.open_lake(shutil.copytree(sample_workspace, tmp_path / "marigold"))
    return cw.investigate(lake, cw.find_spikes(lake)["spike_id"][0])


def test_what_is_said_is_kept_with_who_and_shown_as_words(case: Case) -> None:
    assert investigation.say(case, FIXING) == ""
    rows = investigation.verdicts_table(case)
    assert rows.select("verdict", "note", "who").rows() == [("fixing", FIXING["note"], "dana")]
    shown = html.verdicts(rows)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "<script>" not in shown


def test_nothing_is_kept_without_a_name_or_of_a_word_that_is_no_verdict(case: Case) -> None:
    assert investigation.say(case, FIXING | {"who": "  "}) == "Nothing was kept: say who says it."
    assert "whatever" in investigation.say(case, FIXING | {"verdict": "whatever"})
    assert "Only the investigation" in investigation.say(case, None)
    assert investigation.verdicts_table(case).is_empty()


def test_a_window_and_an_opened_case_are_no_spike_to_speak_of(case: Case, tmp_path: Path) -> None:
    assert investigation.is_spike(case)
    assert not investigation.is_spike(cw.open_case(cw.publish(case, tmp_path / "published")).case)


def test_a_day_of_waiting_costs_what_the_last_day_cost(case: Case) -> None:
    """The sum of the ledger's last 24 hours: nights and days, not the last hours times 24."""
    hours = case.ledger.group_by("hour").agg(cost=pl.col("cost_change").sum()).sort("hour")
    assert case.a_day == pytest.approx(hours["cost"].tail(24).sum())
