"""Requests to other hosts: with time limits, bounded answers, bounded retries, and never on to another address.

A request may carry a secret in its headers or in its address (a webhook's path is one). So messages name the host alone,
texts of the other side are shown without the secret, and what httpx writes into logs is cut down to the host.
"""

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx

from costwhy.errors import UnreachableError
from costwhy.remote.secrets import secret_of_file, secret_of_variable
from costwhy.text import one_line, shown

BUSY = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same request may succeed a moment later."""
_CODINGS = frozenset(
    {"", "identity", "gzip", "deflate"}
)  # one within the other unpacks a few bytes to gigabytes
wait = time.sleep


class TooLargeError(UnreachableError):
    """The answer is larger than the limit: ask for less."""


@dataclass(frozen=True)
class Limits:
    """seconds: for one attempt as a whole; longest_wait: between two attempts; repeatable: doing it twice does no harm."""

    seconds: float = 30.0
    connect_seconds: float = 5.0
    bytes: int = 2**20
    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 20.0
    repeatable: bool = False


@dataclass(frozen=True)
class Request:
    """A POST. `headers` make the headers anew for each attempt: a signature holds its time."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Callable[[], Mapping[str, str]] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _Broken(Exception):
    """An attempt without an answer. sent: the other side may have acted on it."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.reason, self.sent = reason, sent
        super().__init__(reason)


def post(request: Request, limits: Limits) -> Answer:
    """Send it until there is an answer, at most `limits.attempts` times. Redirects are not followed.

    Raises UnreachableError where there is none, or where the other side stays busy; TooLargeError.
    """
    with _client(limits) as client:
        for attempt in range(1, limits.attempts + 1):
            try:
                answer = _attempt(client, request, limits)
            except _Broken as broken:
                if attempt == limits.attempts or (broken.sent and not limits.repeatable):
                    raise _unreachable(request, broken.reason) from None
                pause = _backoff(attempt, limits)
            else:
                if answer.status not in BUSY or attempt == limits.attempts:
                    return _followed(request, answer)
                pause = _asked_pause(answer, limits, _backoff(attempt, limits))
                if pause > limits.longest_wait:
                    reason = f"{answer.status}, and it asks to wait {pause:,.0f} seconds"
                    raise _unreachable(request, reason)
            wait(pause)
    raise AssertionError("the last attempt returns or raises")  # pragma: no cover


def _client(limits: Limits) -> httpx.Client:
    """Raises UnreachableError where the environment names a proxy or certificates that are none."""
    timeout = httpx.Timeout(limits.seconds, connect=limits.connect_seconds)
    try:
        return httpx.Client(
            follow_redirects=False, timeout=timeout, headers={"Accept-Encoding": "gzip, deflate"}
        )
    except (
        OSError,
        ValueError,
        ImportError,
        httpx.InvalidURL,
    ) as error:  # whose text may quote a proxy's password
        fix = "correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE or SSL_CERT_DIR"
        problem = "the environment names a proxy or certificates that cannot be used"
        raise UnreachableError(problem, found=type(error).__name__, fix=fix) from None


def _attempt(client: httpx.Client, request: Request, limits: Limits) -> Answer:
    streams: list[Any] = []

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            streams.append(info["return_value"])

    deadline = Deadline(
        limits.seconds, lambda: streams[-1].get_extra_info("socket") if streams else None
    )
    try:
        with (
            deadline,
            client.stream(
                "POST",
                request.url,
                content=request.body,
                headers=dict(request.headers()),
                extensions={"trace": trace},
            ) as response,
        ):
            body = _body(request, response, limits, deadline)
            return Answer(response.status_code, dict(response.headers), body)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise _Broken(str(error) or type(error).__name__, sent=False) from None
    except UnicodeError:  # a label of the host is empty or too long
        raise _Broken("the host's name is none", sent=False) from None
    except httpx.TimeoutException:
        raise _Broken(f"no whole answer within {limits.seconds:g} seconds", sent=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:  # whose text may quote the request
        reason = (
            f"no whole answer within {limits.seconds:g} seconds"
            if deadline.over
            else type(error).__name__
        )
        raise _Broken(reason, sent=True) from None


def _body(
    request: Request, response: httpx.Response, limits: Limits, deadline: "Deadline"
) -> bytes:
    if response.headers.get("content-encoding", "").strip().lower() not in _CODINGS:
        raise _Broken("the answer is packed in a way that was not asked for", sent=True)
    body = bytearray()
    for part in response.iter_bytes():  # as it arrives: who sends a byte a second is noticed
        body += part
        if len(body) > limits.bytes:
            found = f"more than {limits.bytes:,} bytes"
            raise TooLargeError(
                f"the answer of {host(request.url)} is too large",
                found=found,
                fix="ask for less at once",
            )
        if deadline.over:
            break
    if deadline.over:
        raise _Broken(f"no whole answer within {limits.seconds:g} seconds", sent=True)
    return bytes(body)


class Deadline:
    """Cuts a connection when the time of the whole exchange is over: who dribbles never meets the limit of a single read.

    find: the socket of the moment; over: whether it was cut.
    """

    def __init__(self, seconds: float, find: Callable[[], socket.socket | None]) -> None:
        self.over = False
        self._seconds, self._find, self._done = seconds, find, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="costwhy deadline", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        pause = self._seconds
        while not self._done.wait(pause):  # again and again: the socket may be another one by now
            self.over, pause = True, 0.2
            with suppress(OSError):
                if (held := self._find()) is not None:
                    socket.socket.shutdown(
                        held, socket.SHUT_RDWR
                    )  # not that of TLS, which would first say good-bye


def _followed(request: Request, answer: Answer) -> Answer:
    """The answer, unless it sends us elsewhere: nobody else gets our credentials."""
    if not 300 <= answer.status < 400:
        return answer
    target = host(answer.headers.get("location", "")) or "another path"
    problem = f"{host(request.url)} sends us on to another address, which is not followed"
    raise UnreachableError(
        problem,
        found=f"{answer.status} to {target}",
        fix="name the final address, and check that it is the right one",
    )


def _unreachable(request: Request, reason: str) -> UnreachableError:
    fix = "check the address, the network and the service, and run it again"
    return UnreachableError(
        f"{host(request.url)} could not be reached", found=shown(reason, request.secrets), fix=fix
    )


def _backoff(attempt: int, limits: Limits) -> float:
    return min(limits.first_wait * 2.0 ** (attempt - 1), limits.longest_wait)


def _asked_pause(answer: Answer, limits: Limits, otherwise: float) -> float:
    """Seconds of Retry-After (a number, or a date), no less than our own pause."""
    asked = answer.headers.get("retry-after", "").strip()
    try:
        seconds = (
            float(asked)
            if asked.isdigit()
            else (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):
        return otherwise
    return max(otherwise, seconds) if seconds < 1e9 else limits.longest_wait + 1


# ---------------------------------------------------------------- what may be shown


def host(url: str) -> str:
    """Host and port of an address, without anything that may be secret; empty where it has none."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError):
        return ""
    return shown(parsed.netloc.decode("ascii", "replace"))


class _HostOnly(logging.Filter):
    """httpx logs whole addresses; of a webhook that is its secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                host(str(a)) if isinstance(a, httpx.URL) else a for a in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HostOnly())


__all__ = [
    "Answer",
    "Deadline",
    "Limits",
    "Request",
    "TooLargeError",
    "host",
    "one_line",
    "post",
    "secret_of_file",
    "secret_of_variable",
    "shown",
]
