"""A reader beside a writer sees one version whole, never a mix of two."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from test_killed_writers import put, totals

from costwhy.lake.lake import open_lake

ROUNDS = 12
WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_killed_writers import put
for cost in range({first}, {last}):
    put(Path({place!r}), float(cost), {delivery!r})
"""


def writer(place: Path, first: int, last: int, delivery: str) -> subprocess.Popen[bytes]:
    code = WRITER.format(
        here=str(Path(__file__).parent), first=first, last=last, place=str(place), delivery=delivery
    )
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)


def test_a_reader_never_sees_half_of_a_replaced_period(tmp_path):
    put(tmp_path, 1.0)
    seen: set[tuple[float, float, float]] = set()
    with writer(tmp_path, 2, 2 + ROUNDS, "october") as other:
        while other.poll() is None:
            seen.add(totals(tmp_path))
        assert other.returncode == 0, other.stderr.read().decode() if other.stderr else ""
    seen.add(totals(tmp_path))
    assert seen <= {
        (2.0 * cost,) * 3 for cost in range(1, 2 + ROUNDS)
    }  # all three tables agree, whatever was caught
    assert totals(tmp_path) == (2.0 * (1 + ROUNDS),) * 3
    assert len(seen) > 1


def test_a_reader_keeps_the_version_that_it_opened(tmp_path):
    put(tmp_path, 1.0)
    held = open_lake(tmp_path)
    with writer(tmp_path, 2, 2 + ROUNDS, "october") as other:
        while other.poll() is None:
            assert float(held.table("hourly")["EffectiveCost"].sum()) == 2.0
        assert other.returncode == 0
    assert float(held.table("overview")["EffectiveCost"].sum()) == 2.0


def test_two_writers_at_once_lose_nothing(tmp_path):
    with writer(tmp_path, 1, 5, "october") as one, writer(tmp_path, 11, 15, "november") as two:
        assert (one.wait(timeout=120), two.wait(timeout=120)) == (0, 0)
    assert totals(tmp_path) == (2 * 4.0 + 2 * 14.0,) * 3
    assert open_lake(tmp_path).versions() == list(range(1, 9))  # 4 + 4 versions, no gap


def test_two_threads_that_write_the_same_delivery_count_it_once(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda cost: put(tmp_path, cost), [1.0, 1.0, 1.0, 1.0]))
    assert totals(tmp_path) == (2.0, 2.0, 2.0)
