"""Servers of the tests' own, on free loopback ports: an HTTP server that is told what to answer, and a real Prometheus."""

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Fake:
    """Answers each request by `answer`, and keeps what it heard."""

    answer: Callable[[Heard], Reply]
    heard: list[Heard] = field(default_factory=list)
    url: str = ""


@contextmanager
def http_server(answer: Callable[[Heard], Reply]) -> Iterator[Fake]:
    """A server that answers POST and GET by `answer(heard)`."""
    fake = Fake(answer)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            heard = Heard(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            fake.heard.append(heard)
            status, headers, reply = fake.answer(heard)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(reply))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Nothing on the tests' output."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def as_json(content: object, status: int = 200, **headers: str) -> Reply:
    """A JSON reply."""
    return status, {"Content-Type": "application/json"} | headers, json.dumps(content).encode()


def free_port() -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Sample = tuple[str, dict[str, str], Iterable[tuple[int, float]]]
"""Name of a metric, labels, and values at seconds since 1970."""


def open_metrics(samples: Iterable[Sample]) -> str:
    """OpenMetrics text of samples; all samples of a metric stand together."""
    families: dict[str, list[str]] = {}
    for name, labels, values in samples:
        quoted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        families.setdefault(name, []).extend(
            f"{name}{{{quoted}}} {value!r} {at}" for at, value in values
        )
    return "\n".join(line for lines in families.values() for line in lines) + "\n# EOF\n"


@contextmanager
def prometheus_server(folder: Path, text: str, *more: str) -> Iterator[str]:
    """A real Prometheus over back-filled OpenMetrics text. Yields its address."""
    (folder / "metrics.txt").write_text(text)
    (folder / "prometheus.yml").write_text("global: {}\n")
    fill = [
        "promtool",
        "tsdb",
        "create-blocks-from",
        "openmetrics",
        "--quiet",
        str(folder / "metrics.txt"),
        str(folder / "data"),
    ]
    subprocess.run(fill, check=True, capture_output=True, timeout=120)
    port = free_port()
    command = [
        "prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", "--storage.tsdb.retention.time=100y",
        f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", *more,
    ]  # fmt: skip
    with (
        (folder / "log.txt").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            _await_ready(url, process, folder / "log.txt")
            yield url
        finally:
            process.terminate()


def _await_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            if httpx2.get(f"{url}/-/ready").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not become ready: {log.read_text()}")
