"""Versions that were replaced long ago are removed; what a version needs that stays never is."""

import gc
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from costwhy.config import read_workspace
from costwhy.errors import ConfigError, LakeError
from costwhy.lake import lake, vacuum
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, open_lake, write

ABOUT, START = SnapshotInfo("acme", "USD"), datetime(2026, 10, 1, tzinfo=UTC)
KEEP = timedelta(hours=6)


@pytest.fixture
def clock(monkeypatch):
    """Sets the time of writers."""

    def put(now: datetime) -> None:
        class Clock(datetime):
            @classmethod
            def now(cls, _zone=None):
                return now

        monkeypatch.setattr(lake, "datetime", Clock)
        monkeypatch.setattr(vacuum, "datetime", Clock)

    return put


def deliver(place: Path, hours: int, cost: float = 1.0) -> None:
    random = np.random.default_rng(1)
    rows = [START + timedelta(hours=n) for n in range(hours) for _ in range(100)]
    costs = random.random(len(rows)) * cost
    frame = pl.DataFrame({"delivery": "october", "hour": rows, "EffectiveCost": costs})
    write(place, ABOUT, {"hourly": Replacement(frame)})


def size(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def test_ninety_deliveries_of_a_month_stay_under_twice_the_month(tmp_path, clock):
    for n in range(1, 91):
        clock(START + timedelta(hours=8 * n))
        deliver(tmp_path / "lake", 8 * n)
        assert (vacuum.vacuum(tmp_path / "lake", timedelta()) > 0) == (n > 1)
    deliver(tmp_path / "once", 720)
    assert open_lake(tmp_path / "lake").versions() == [90]
    assert vacuum.vacuum(tmp_path / "lake", timedelta()) == 0
    assert size(tmp_path / "lake") < 1.1 * size(tmp_path / "once")
    assert open_lake(tmp_path / "lake").table("hourly").height == 72_000


def test_a_version_stays_for_keep_and_is_then_said_to_be_removed(tmp_path, clock):
    clock(START)
    deliver(tmp_path, 1)
    forgotten = replace(open_lake(tmp_path), _held=None)  # as on S3, where nothing is held
    clock(START + timedelta(days=9))
    deliver(tmp_path, 2)
    assert vacuum.vacuum(tmp_path, KEEP) == 0, "replaced just now"
    assert forgotten.table("hourly").height == 100
    clock(START + timedelta(days=9, hours=7))
    assert vacuum.vacuum(tmp_path, KEEP) > 0
    for read in (lambda: forgotten.table("hourly"), lambda: open_lake(tmp_path, 1)):
        with pytest.raises(LakeError, match="version 1 of the lake was removed"):
            read()


def test_a_version_stays_as_long_as_somebody_has_it_open(tmp_path):
    deliver(tmp_path, 1)
    held = open_lake(tmp_path)
    for hours in (2, 3):
        deliver(tmp_path, hours)
        vacuum.vacuum(tmp_path, timedelta())
    assert held.table("hourly").height == 100
    assert held.versions() == [1, 3], "nobody had version 2"
    del held
    gc.collect()
    assert vacuum.vacuum(tmp_path, timedelta()) > 0
    assert open_lake(tmp_path).versions() == [3]


def test_a_reader_in_another_process_holds_its_version_until_it_ends(tmp_path):
    deliver(tmp_path, 1)
    code = (
        "import sys; from costwhy.lake.lake import open_lake; lake = open_lake(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read(); print(lake.table('hourly').height)"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as reader:
        assert reader.stdout.readline() == "open\n"
        deliver(tmp_path, 2)
        assert vacuum.vacuum(tmp_path, timedelta()) == 0
        assert reader.communicate("")[0] == "100\n"
    assert vacuum.vacuum(tmp_path, timedelta()) > 0


def test_catalogues_of_removed_versions_stay(tmp_path, clock):
    for n, owner in enumerate("aabb"):
        clock(START + timedelta(days=n))
        catalog = pl.DataFrame({"delivery": ["c"], "owner": [owner]})
        changes = {"catalog": Replacement(catalog)} if n in (0, 2) else {}
        hourly = pl.DataFrame({"delivery": ["o"], "hour": [START], "EffectiveCost": [float(n)]})
        write(tmp_path, ABOUT, {"hourly": Replacement(hourly), **changes})
    before = open_lake(tmp_path).history("catalog")
    clock(START + timedelta(days=9))
    vacuum.vacuum(tmp_path, KEEP)
    after = open_lake(tmp_path).history("catalog")
    assert open_lake(tmp_path).versions() == [4]
    assert [at for at, _ in after] == [at for at, _ in before]
    assert len(after) == 2
    assert all(a.equals(b) for (_, a), (_, b) in zip(after, before, strict=True))


class Killed(BaseException):
    """Ends a vacuum as a signal would."""


def test_killed_at_any_removal_the_lake_is_whole_and_the_next_run_ends_the_work(
    tmp_path, clock, monkeypatch
):
    unlink, left = Path.unlink, [0]

    def dying(file, *, missing_ok=False):
        if "draft" not in file.name and "lock" not in file.name:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        unlink(file, missing_ok=missing_ok)

    for step in range(40):
        place = tmp_path / str(step)
        for n in range(13):
            clock(START + timedelta(days=n))
            deliver(place, n + 1)
        clock(START + timedelta(days=14))
        left[0] = step
        monkeypatch.setattr(Path, "unlink", dying)
        try:
            vacuum.vacuum(place, KEEP)
        except Killed:
            done = False
        else:
            done = True
        monkeypatch.setattr(Path, "unlink", unlink)
        assert open_lake(place).table("hourly").height == 1300
        vacuum.vacuum(place, KEEP)
        assert open_lake(place).table("hourly").height == 1300
        assert len(list((place / "tables/hourly").glob("*.parquet"))) == 1
        assert [file.name for file in (place / "snapshots").iterdir()] == ["000000000013.json"]
        if done:
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("keep", ['"0h"', '"soon"', '"7"', "7"])
def test_a_wrong_keep_is_one_clear_error(tmp_path, keep):
    toml = f'[workspace]\nname = "a"\ncurrency = "USD"\n[lake]\nkeep = {keep}\n'
    (tmp_path / "costwhy.toml").write_text(toml)
    with pytest.raises(ConfigError, match="keep"):
        read_workspace(tmp_path)
