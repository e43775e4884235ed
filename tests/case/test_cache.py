"""A value is made once for all who ask for it; nobody waits for another one."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from costwhy.cache import Cache

PATIENCE = 30


def test_many_who_ask_at_once_get_the_one_that_is_made() -> None:
    cache: Cache[object] = Cache(most=4)
    made: list[int] = []
    begin = threading.Barrier(8)

    def ask(_: int) -> object:
        begin.wait(PATIENCE)
        return cache.get("page", lambda: made.append(1) or object())

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert len(made) == 1
    assert len(set(map(id, found))) == 1


def test_another_value_does_not_wait() -> None:
    cache: Cache[str] = Cache(most=4)
    go_on = threading.Event()

    def slow() -> str:
        assert go_on.wait(PATIENCE)
        return "slow"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(cache.get, "slow", slow)
        assert cache.get("fast", lambda: "fast") == "fast"
        assert not waiting.done()
        go_on.set()
        assert waiting.result(PATIENCE) == "slow"


def test_an_error_is_not_kept() -> None:
    cache: Cache[str] = Cache(most=4)

    def fail() -> str:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        cache.get("page", fail)
    assert cache.get("page", lambda: "made") == "made"


def test_only_the_newest_values_are_kept() -> None:
    cache: Cache[int] = Cache(most=2)
    for key in range(3):
        cache.get(key, lambda key=key: key)
    assert cache.get(2, lambda: 99) == 2
    assert cache.get(1, lambda: 99) == 1
    assert cache.get(0, lambda: 99) == 99
