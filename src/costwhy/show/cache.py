"""Values that are made once for all viewers, who are threads of one process."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """The newest values by key. While one is made, only those who ask for the same one wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, Future[Value]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of the key, made where it is not there. An error of `make` is not kept."""
        with self._lock:
            known = self._made.get(key)
            future = self._made.setdefault(key, Future())
            while len(self._made) > self._most:
                self._made.popitem(last=False)
        if known is None:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._made.pop(key, None)
                future.set_exception(error)
        return future.result()
