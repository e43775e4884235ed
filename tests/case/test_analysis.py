"""A lake is analysed once for all who ask; who asks for another lake does not wait for it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from small_company import FIRST, MemoryLake, SmallCompany

from costwhy import tables
from costwhy.cache import Cache
from costwhy.case.analysis import FoundSpike, KeptEvidence, LakeAnalysis, analyse

HOUR = timedelta(hours=1)
WAIT = 30.0  # seconds after which a test gives up


@dataclass(frozen=True)
class GatedLake(MemoryLake):
    """A lake whose tables are read when its gate is open."""

    gate: threading.Event = field(default_factory=threading.Event)
    read: list[str] = field(default_factory=list)

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        self.read.append(name)
        assert self.gate.wait(WAIT)
        return super().table(name, columns)


def gated(lake: MemoryLake, place: str) -> GatedLake:
    return GatedLake(**{**vars(lake), "place": f"{lake.place}:{place}"})


def test_two_who_ask_at_once_get_one_analysis(lake: MemoryLake):
    shared = gated(lake, "shared")
    with ThreadPoolExecutor(2) as viewers:
        both = [viewers.submit(analyse, shared) for _ in range(2)]
        shared.gate.set()
        first, second = (one.result(WAIT) for one in both)
    assert first is second
    assert shared.read.count("catalog") == 1


def test_another_lake_is_analysed_while_one_still_is(lake: MemoryLake):
    slow, quick = gated(lake, "slow"), gated(lake, "quick")
    quick.gate.set()
    with ThreadPoolExecutor(2) as viewers:
        waiting = viewers.submit(analyse, slow)
        try:
            assert viewers.submit(analyse, quick).result(WAIT).lake is quick
            assert not waiting.done()
        finally:
            slow.gate.set()
        assert waiting.result(WAIT).lake is slow


def test_a_lake_is_known_by_its_place_its_version_and_the_time(lake: MemoryLake):
    first = analyse(lake)
    assert analyse(replace(lake, frames={})) is first
    assert analyse(replace(lake, version=2)) is not first
    assert analyse(lake, as_of=FIRST + 900 * HOUR) is not first


# ---------------------------------------------------------------- the cache


def counted() -> tuple[Cache[int], Callable[[str], int], list[str]]:
    cache, made = Cache[int](most=2), list[str]()

    def get(key: str) -> int:
        return cache.get(key, lambda: made.append(key) or len(made))

    return cache, get, made


def test_the_newest_values_are_kept():
    _, get, made = counted()
    assert [get(key) for key in "abab"] == [1, 2, 1, 2]
    assert get("c") == 3
    assert get("b") == 2
    assert get("a") == 4  # the oldest was dropped
    assert made == ["a", "b", "c", "a"]


def test_an_error_is_raised_and_not_kept():
    cache: Cache[int] = Cache(most=2)

    def fails() -> int:
        raise ValueError("once")

    with pytest.raises(ValueError, match="once"):
        cache.get("key", fails)
    assert cache.get("key", lambda: 7) == 7


def test_who_waits_for_a_value_that_fails_makes_it_again():
    cache: Cache[int] = Cache(most=2)
    begun, gate = threading.Event(), threading.Event()

    def fails() -> int:
        begun.set()
        assert gate.wait(WAIT)
        raise ValueError("once")

    with ThreadPoolExecutor(2) as viewers:
        first = viewers.submit(cache.get, "key", fails)
        assert begun.wait(WAIT)
        second = viewers.submit(cache.get, "key", lambda: 1)
        gate.set()
        with pytest.raises(ValueError, match="once"):
            first.result(WAIT)
        assert second.result(WAIT) == 1


# ---------------------------------------------------------------- what an analysis holds


def test_the_largest_rise_comes_first_and_falls_last(analysis: LakeAnalysis):
    sizes = [float(spike.dollars.hourly.sum()) for spike in analysis.found]
    assert sizes == sorted(sizes, reverse=True)
    assert all(isinstance(spike, FoundSpike) for spike in analysis.found)


@pytest.mark.parametrize(
    ("time", "known_at", "known"),
    [
        (-1, None, True),
        (0, None, True),
        (0.1, None, False),  # it had not happened
        (-0.1, 5.0, False),  # its record had not arrived
        (-0.2, -0.1, True),
        (-0.25, 20.0, True),  # a whole day's file: a quarter of an hour after the event
        (-0.24, 20.0, False),
    ],
)
def test_as_of_a_time_only_the_changes_are_known_whose_records_had_arrived(
    lake: MemoryLake, time: float, known_at: float | None, *, known: bool
):
    as_of = FIRST + 900 * HOUR
    row: dict[str, Any] = {
        "change_id": "c",
        "time": as_of + time * HOUR,
        "known_at": None if known_at is None else as_of + known_at * HOUR,
    }
    changes = tables.CHANGES.of([row])
    with_change = replace(
        lake, frames=lake.frames | {"changes": changes}, place=f"{lake.place}:{time}:{known_at}"
    )
    found = analyse(with_change, as_of)
    assert found.frames["changes"].height == found.known_changes.rows.height == known
    assert analyse(with_change).frames["changes"].height == 1


def test_a_change_may_name_a_service_of_the_calls_or_of_the_bill():
    company = SmallCompany()
    company.lines["only-billed"] = replace(company.lines["disk"], service="only-billed")
    rows = [
        {"change_id": name, "time": FIRST, "resource": f"x/{name}"}
        for name in ("only-billed", "mobile", "strange")
    ]
    lake = company.lake()
    found = analyse(replace(lake, frames=lake.frames | {"changes": tables.CHANGES.of(rows)}))
    names = dict(found.known_changes.rows.select("change_id", "service").iter_rows())
    assert names == {"only-billed": "only-billed", "mobile": "mobile", "strange": None}


def test_tags_are_dated_by_billed_hours_and_not_at_all_in_a_published_case(analysis: LakeAnalysis):
    hours = analysis.directory.hourly.collect()["hour"]
    assert hours.max() == analysis.observed.billed_through - HOUR
    kept = KeptEvidence(pl.DataFrame(), frozenset())
    assert replace(analysis, evidence=kept).directory.hourly is None
