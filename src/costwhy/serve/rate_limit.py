"""Attempts, counted and limited."""

import time

_MOST_KEYS = 20_000  # whose attempts are counted at once


class RateLimit:
    """At most `most` attempts of each key within `seconds`. A success resets the key."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._counts: dict[str, tuple[float, int]] = {}  # start of the period, attempts in it

    def take(self, key: str) -> float:
        """Count an attempt before it is checked. Returns the seconds to wait; 0 allows it."""
        now = time.monotonic()
        if len(self._counts) >= _MOST_KEYS:
            self._counts = {k: v for k, v in self._counts.items() if now - v[0] < self._seconds}
        start, count = self._counts.get(key, (now, 0))
        if now - start >= self._seconds:
            start, count = now, 0
        is_full = key not in self._counts and len(self._counts) >= _MOST_KEYS
        if is_full or count >= self._most:
            return start + self._seconds - now
        self._counts[key] = (start, count + 1)
        return 0.0

    def reset(self, key: str) -> None:
        self._counts.pop(key, None)
