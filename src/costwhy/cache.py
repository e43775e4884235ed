"""Values that are made once for all viewers, who are threads of one process."""

import threading
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Cache(Generic[Value]):
    """The newest values by key. While one is made, only those who ask for the same one wait."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[Hashable, Value] = {}
        self._locks: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of the key, made where it is not there. An error of `make` is not kept."""
        with self._locks.setdefault(key, threading.Lock()):
            value = self._made[key] if key in self._made else make()
            self._made[key] = value
        for oldest in list(self._made)[: -self._most]:
            self._made.pop(oldest, None)
            self._locks.pop(oldest, None)
        return value
