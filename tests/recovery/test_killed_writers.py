"""A writer that is killed at any point leaves the last good version whole, and the next writer goes on from there.

Each test kills a real process: `os._exit` after a table was written, before the snapshot, or before its link; that is what
SIGKILL leaves behind.
"""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, open_lake, write

ABOUT = SnapshotInfo("acme", "USD")
STEPS = (
    "after hourly",
    "after overview",
    "after deliveries",
    "before the snapshot",
    "before the link",
)
KILLED = 137
WRITER = """
import os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from costwhy.lake import lake
from test_killed_writers import put
def step(name):
    if name == {step!r}:
        {action}
write_table, create_snapshot, link = lake.write_table, lake.create_snapshot, os.link
def written(folder, name, change, base):
    version = write_table(folder, name, change, base)
    step(f"after {{name}}")
    return version
def created(*snapshot):
    step("before the snapshot")
    create_snapshot(*snapshot)
def linked(*files):
    step("before the link")
    link(*files)
lake.write_table, lake.create_snapshot, os.link = written, created, linked
put(Path({place!r}), {cost})
"""


def bill(delivery: str, cost: float) -> dict[str, Replacement]:
    """Three tables that must agree: two series of `cost` each in hourly, their sum in overview, and again in deliveries."""
    hour = datetime(2026, 10, 1, tzinfo=UTC)
    hourly = [
        {"delivery": delivery, "hour": hour, "series_id": n, "EffectiveCost": cost} for n in (1, 2)
    ]
    overview = [{"delivery": delivery, "hour": hour, "EffectiveCost": 2 * cost}]
    read = [{"delivery": delivery, "digest": str(cost), "EffectiveCost": 2 * cost}]
    rows = {"hourly": hourly, "overview": overview, "deliveries": read}
    return {name: Replacement(pl.DataFrame(r), (delivery,)) for name, r in rows.items()}


def put(place: Path, cost: float, delivery: str = "october") -> int:
    return write(place, ABOUT, bill(delivery, cost))


def totals(place: Path, version: int | None = None) -> tuple[float, float, float]:
    lake = open_lake(place, version)
    return tuple(
        float(lake.table(name)["EffectiveCost"].sum())
        for name in ("hourly", "overview", "deliveries")
    )


def kill_writer(place: Path, step: str, cost: float) -> None:
    code = WRITER.format(
        here=str(Path(__file__).parent),
        step=step,
        action=f"os._exit({KILLED})",
        place=str(place),
        cost=cost,
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert done.returncode == KILLED, done.stderr.decode()


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_writer_leaves_the_last_good_version_whole_and_the_next_goes_on_from_it(
    tmp_path, step
):
    put(tmp_path, 1.0)
    put(tmp_path, 10.0, "november")
    kill_writer(tmp_path, step, 50.0)
    assert (
        totals(tmp_path) == (2.0 + 20.0,) * 3
    )  # october 2 x 1.0, november 2 x 10.0, nothing of the 50.0
    assert open_lake(tmp_path).versions() == [1, 2]
    assert put(tmp_path, 3.0) == 3  # what the killed writer left is no version
    assert totals(tmp_path) == (6.0 + 20.0,) * 3
    assert totals(tmp_path, 2) == (2.0 + 20.0,) * 3
    assert totals(tmp_path, 1) == (2.0,) * 3


@pytest.mark.parametrize("step", ["after hourly", "before the link"])
def test_a_first_writer_that_is_killed_leaves_no_lake_and_does_not_hinder_the_second(
    tmp_path, step
):
    kill_writer(tmp_path, step, 50.0)
    assert not list((tmp_path / "snapshots").glob("*.json"))
    assert put(tmp_path, 1.0) == 1
    assert totals(tmp_path) == (2.0, 2.0, 2.0)


def test_two_killed_writers_in_a_row_are_taken_back_as_well(tmp_path):
    put(tmp_path, 1.0)
    kill_writer(tmp_path, "after overview", 50.0)
    kill_writer(tmp_path, "before the snapshot", 60.0)
    assert totals(tmp_path) == (2.0, 2.0, 2.0)
    put(tmp_path, 10.0, "november")  # another delivery: nothing of october is touched
    assert totals(tmp_path) == (22.0, 22.0, 22.0)


def test_a_writer_that_touches_other_tables_does_not_bring_back_what_a_killed_one_left(tmp_path):
    put(tmp_path, 1.0)
    kill_writer(tmp_path, "after hourly", 50.0)
    write(tmp_path, ABOUT, {"seen": Replacement(pl.DataFrame({"delivery": ["x"], "records": [1]}))})
    assert totals(tmp_path) == (2.0, 2.0, 2.0)
    assert put(tmp_path, 4.0) == 3
    assert totals(tmp_path) == (8.0, 8.0, 8.0)


def test_sigkill_frees_the_lock_at_once(tmp_path):
    put(tmp_path, 1.0)
    flag = tmp_path / "holding"
    action = f"Path({str(flag)!r}).touch(); import time; time.sleep(60)"
    code = WRITER.format(
        here=str(Path(__file__).parent),
        step="after hourly",
        action=action,
        place=str(tmp_path),
        cost=50.0,
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    until = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert flag.exists()
    os.kill(writer.pid, signal.SIGKILL)
    assert writer.wait(timeout=30) == -signal.SIGKILL
    before = time.monotonic()
    assert put(tmp_path, 2.0) == 2
    assert time.monotonic() - before < 9  # well below the wait of a second writer
    assert totals(tmp_path) == (4.0, 4.0, 4.0)


def test_drafts_of_killed_writers_are_cleared_away(tmp_path):
    put(tmp_path, 1.0)
    kill_writer(tmp_path, "before the link", 50.0)
    assert list((tmp_path / "snapshots").glob("*.draft"))
    put(tmp_path, 2.0)
    assert not list((tmp_path / "snapshots").glob("*.draft"))
