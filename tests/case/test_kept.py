"""The model that is kept beside a lake: the same answers, and never those of another lake."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from costwhy import own_code
from costwhy.cache import Cache
from costwhy.case import analysis, kept
from costwhy.case.analysis import analyse
from costwhy.case.investigate import explain
from costwhy.lake.lake import Lake, open_lake

Workspace = Callable[[], Lake]


@pytest.fixture
def workspace(sample_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Opens a copy of the sample company as another process would."""
    place = tmp_path / "sample"
    shutil.copytree(sample_workspace, place)
    shutil.rmtree(place / "lake" / kept.FOLDER, ignore_errors=True)

    def opened() -> Lake:
        monkeypatch.setattr(analysis, "_ANALYSES", Cache(4))
        return open_lake(place)

    return opened


def files(lake: Lake) -> list[Path]:
    return sorted(Path(lake.place, kept.FOLDER).glob("*"))


def never(*_: object) -> None:
    pytest.fail("it was learned again")


def test_the_second_opening_learns_nothing_and_answers_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = explain(workspace())
    monkeypatch.setattr(analysis, "fit", never)
    assert explain(workspace()) == first


def test_every_array_is_the_one_that_was_learned(workspace: Workspace) -> None:
    one, other = analyse(workspace()).model, analyse(workspace()).model
    for name in ("usage", "cost", "covered", "price", "handled", "holidays"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name))
    assert [rate.name for rate in other.rates] == [rate.name for rate in one.rates]
    assert other.observed.hours == one.observed.hours
    assert other.observed.meters.equals(one.observed.meters)


def test_other_code_learns_anew_and_replaces_what_was_kept(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = workspace()
    analyse(lake)
    [before] = files(lake)
    monkeypatch.setattr(own_code, "digest", lambda: "another")
    analyse(workspace())
    [after] = files(lake)
    assert before != after


@pytest.mark.parametrize("damage", [b"", b"\x10" + 7 * b"\0" + b"nonsense", None])
def test_a_damaged_file_is_learned_anew(workspace: Workspace, damage: bytes | None) -> None:
    lake = workspace()
    first = explain(lake)
    [file] = files(lake)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert explain(workspace()) == first


def test_a_lake_that_cannot_be_written_is_read_without(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> bool:
        raise OSError("no space left on device")

    lake = workspace()
    monkeypatch.setattr(kept, "create_once", full)
    assert explain(lake)["spikes"]
    assert files(lake) == []


def test_a_past_time_is_not_kept(workspace: Workspace) -> None:
    lake = workspace()
    newest = analyse(lake).observed.hours[-48]
    [file] = files(lake)
    changed = file.stat().st_mtime_ns
    analyse(lake, newest)
    assert [f.stat().st_mtime_ns for f in files(lake)] == [changed]
