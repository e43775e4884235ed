"""TODO serve/attempts.py"""

import ipaddress
import time

_MOST_GUESSERS = 20_000  # remembered at once


class Attempts:
    """Counts attempts by address and by name: after `most` within `seconds` the next must wait. A success forgets them."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._since: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> float:
        """Count one attempt before it is looked at; returns 0 where it may be made, or the seconds to wait."""
        now = time.monotonic()
        if key not in self._since and len(self._since) >= _MOST_GUESSERS:
            self._since = {k: v for k, v in self._since.items() if now - v[0] < self._seconds}
            if len(self._since) >= _MOST_GUESSERS:
                return self._seconds
        begin, count = self._since.get(key, (now, 0))
        if now - begin >= self._seconds:
            begin, count = now, 0
        if count >= self._most:
            return begin + self._seconds - now
        self._since[key] = (begin, count + 1)
        return 0.0

    def forget(self, key: str) -> None:
        """The attempt was right."""
        self._since.pop(key, None)


def neighbourhood(address: str) -> str:
    """What one guesser has at hand: an IPv4 address, or the /64 network of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{ip}/64", strict=False)) if ip.version == 6 else str(ip)
