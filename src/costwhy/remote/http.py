"""Requests to other hosts, and the secrets for them that costwhy.toml names.

They have time limits, bounded answers and bounded retries, and follow no redirects.

A request may carry a secret in its headers or in its address: the path of a webhook is one. So
messages name only the host, answers are shown without the secret, and in the log of httpx2
addresses are cut down to the host.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx2
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
)
from tenacity.retry import RetryBaseT

from costwhy.errors import ConfigError, UnreachableError
from costwhy.text import shown

# Statuses after which the same request may succeed a moment later.
BUSY = frozenset({429, 500, 502, 503, 504})
wait = time.sleep


class TooLargeError(UnreachableError):
    """The answer is larger than the limit: ask for less."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a request.

    seconds       for one attempt as a whole
    longest_wait  seconds between two attempts
    repeatable    a second delivery of the same request does no harm
    """

    seconds: float = 30.0
    connect_seconds: float = 5.0
    bytes: int = 2**20
    attempts: int = 4
    first_wait: float = 0.5
    longest_wait: float = 20.0
    repeatable: bool = False


@dataclass(frozen=True)
class Post:
    """A POST request. `headers` makes them anew for each attempt: a signature contains its time."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    headers: Callable[[], Mapping[str, str]] = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Reply:
    """What came back, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def asked_pause(self) -> float:
        """Seconds of Retry-After, a number or a date; 0 where it is missing or neither."""
        asked = self.headers.get("retry-after", "").strip()
        try:
            if asked.isdigit():
                return min(float(asked), 1e9)
            return (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return 0.0


class _BrokenError(Exception):
    """An attempt without an answer. sent: the other side may have acted on the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        self.reason, self.sent = reason, sent


def retrying(limits: Limits, retry: RetryBaseT) -> Retrying:
    """Repeat a call while `retry` holds; each pause is twice as long as the one before.

    After the last attempt its result is returned, or its error raised.
    """
    return Retrying(
        retry=retry,
        stop=stop_after_attempt(limits.attempts),
        wait=wait_exponential(limits.first_wait, limits.longest_wait),
        sleep=wait,
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )


def post(request: Post, limits: Limits) -> Reply:
    """Send a request until there is an answer, at most `limits.attempts` times.

    Raises UnreachableError where there is none, or where the other side redirects us or asks for a
    longer pause than `limits.longest_wait`; TooLargeError.
    """

    def pause(state: RetryCallState) -> float:
        """Ours, or the longer one that the answer asks for."""
        outcome = state.outcome
        asked = 0.0 if outcome is None or outcome.failed else outcome.result().asked_pause
        return max(retries.wait(state), asked)

    retries = retrying(
        limits,
        retry_if_exception(
            lambda error: isinstance(error, _BrokenError) and (limits.repeatable or not error.sent)
        )
        | retry_if_result(
            lambda reply: reply.status in BUSY and reply.asked_pause <= limits.longest_wait
        ),
    )
    with _client(limits) as client:
        try:
            reply: Reply = retries.copy(wait=pause)(_attempt, client, request, limits)
        except _BrokenError as error:
            raise _unreachable(request, error.reason) from None
    if reply.status in BUSY and (asked := reply.asked_pause) > limits.longest_wait:
        raise _unreachable(request, f"{reply.status}, and it asks to wait {asked:,.0f} seconds")
    if 300 <= reply.status < 400:  # no other host gets our credentials
        raise UnreachableError(
            f"{host(request.url)} redirects to another address, which is not followed",
            found=f"{reply.status} to {host(reply.headers.get('location', '')) or 'another path'}",
            fix="use the final address, and check that it is the right one",
        )
    return reply


def _client(limits: Limits) -> httpx2.Client:
    try:
        return httpx2.Client(
            follow_redirects=False,
            timeout=httpx2.Timeout(limits.seconds, connect=limits.connect_seconds),
            headers={"Accept-Encoding": "gzip, deflate"},
        )
    except (OSError, ValueError, ImportError, httpx2.InvalidURL) as error:
        raise UnreachableError(
            "the environment names a proxy or certificates that cannot be used",
            found=type(error).__name__,  # the text may quote a proxy's password
            fix="correct HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE or SSL_CERT_DIR",
        ) from None


def _attempt(client: httpx2.Client, request: Post, limits: Limits) -> Reply:
    streams: list[Any] = []

    def trace(event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            streams.append(info["return_value"])

    late = _BrokenError(f"no whole answer within {limits.seconds:g} seconds", sent=True)
    with deadline(
        limits.seconds, lambda: streams[-1].get_extra_info("socket") if streams else None
    ) as over:
        try:
            with client.stream(
                "POST",
                request.url,
                content=request.body,
                headers=dict(request.headers()),
                extensions={"trace": trace},
            ) as response:
                body = _body(request, response, limits)
            if over.is_set():
                raise late
            return Reply(response.status_code, dict(response.headers), body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise _BrokenError(str(error) or type(error).__name__, sent=False) from None
        except UnicodeError:  # a label of the host is empty or too long
            raise _BrokenError("the host's name is not valid", sent=False) from None
        except httpx2.TimeoutException:
            raise late from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:  # its text may quote the request
            broken = _BrokenError(type(error).__name__, sent=True)
            raise late if over.is_set() else broken from None


def _body(request: Post, response: httpx2.Response, limits: Limits) -> bytes:
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in {"", "identity", "gzip", "deflate"}:  # nested ones unpack to gigabytes
        raise _BrokenError("the answer has an encoding that was not asked for", sent=True)
    body = bytearray()
    for part in response.iter_bytes():  # a few bytes may unpack to many
        body += part
        if len(body) > limits.bytes:
            raise TooLargeError(
                f"the answer of {host(request.url)} is too large",
                found=f"more than {limits.bytes:,} bytes",
                fix="ask for less at once",
            )
    return bytes(body)


@contextmanager
def deadline(
    seconds: float, find_socket: Callable[[], socket.socket | None]
) -> Iterator[threading.Event]:
    """Cut the connection when the time of a whole exchange is over; yields the event of that.

    A limit for a single read would not notice a host that sends a byte now and then.
    """
    over, done = threading.Event(), threading.Event()

    def watch() -> None:
        # again and again: the socket may be another one by now
        while not done.wait(0.2 if over.is_set() else seconds):
            over.set()
            with suppress(OSError):
                if (connection := find_socket()) is not None:
                    # not the method of TLS, which would first send its own farewell
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    thread = threading.Thread(target=watch, name="costwhy deadline", daemon=True)
    thread.start()
    try:
        yield over
    finally:
        done.set()
        thread.join()


def _unreachable(request: Post, reason: str) -> UnreachableError:
    return UnreachableError(
        f"{host(request.url)} could not be reached",
        found=shown(reason, request.secrets),
        fix="check the address, the network and the service, and run it again",
    )


def host(url: str) -> str:
    """Host and port of an address, without what may be secret; empty where it has none."""
    try:
        return shown(httpx2.URL(url).netloc.decode("ascii", "replace"))
    except (httpx2.InvalidURL, ValueError, TypeError):
        return ""


def secret_of_variable(name: str, key: str) -> str:
    """A secret from an environment variable; `key`: where costwhy.toml names it.

    Raises ConfigError.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(
            f"`{key}` names an environment variable that is not set", found=name, fix=f"set {name}"
        )
    return _printable(value, key)


def secret_of_file(file: Path, key: str) -> str:
    """A secret from a file, such as one that Kubernetes mounts. Raises ConfigError."""
    try:
        value = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"`{key}` names a file that cannot be read",
            found=f"{file}: {type(error).__name__}",
            fix="fix the path or its permissions",
        ) from None
    if not value:
        raise ConfigError(f"`{key}` names an empty file", found=str(file), fix="write it there")
    return _printable(value, key)


def _printable(value: str, key: str) -> str:
    if not value.isprintable():
        raise ConfigError(
            f"the secret of `{key}` is not one line of text",
            found="a control character in it",
            fix="set it again",
        )
    return value


class _HostOnly(logging.Filter):
    """httpx2 logs whole addresses; that of a webhook is its secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                host(str(arg)) if isinstance(arg, httpx2.URL) else arg for arg in record.args
            )
        return True


logging.getLogger("httpx2").addFilter(_HostOnly())
