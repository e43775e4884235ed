"""AWS on this machine: moto's server, a proxy before it that counts and cuts, and credentials that must never be seen."""

import http.client
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

KEY_ID = "AKIAPLANTEDKEYID0001"
SECRET = "planted/SECRET+0123456789abcdefghijklmnop"
TOKEN = "planted-session-token-FwoGZXIvYXdzEXAMPLE=="
REGION = "eu-west-1"


@contextmanager
def moto_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """The address of a fresh moto, and an environment in which boto3 finds it and nothing else."""
    server = pytest.importorskip(
        "moto.server", reason="moto is a development dependency and is absent"
    )
    usual_configuration(monkeypatch, folder)
    moto = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        host, port = moto.get_host_and_port()
        address = f"http://{host}:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        _reset(address)
        yield address
    finally:
        moto.stop()


def _reset(address: str) -> None:
    """Let moto forget everything."""
    reset = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    reset.request("POST", "/moto-api/reset")
    assert reset.getresponse().read()
    reset.close()


APART = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("http://%s:%s" % server.get_host_and_port(), flush=True)
sys.stdin.read()
server.stop()
"""


@contextmanager
def moto_process() -> Iterator[str]:
    """A moto in a process of its own: some calls of Delta hold the interpreter while they wait for S3."""
    pytest.importorskip("moto.server", reason="moto is a development dependency and is absent")
    with subprocess.Popen(
        [sys.executable, "-c", APART],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(20)


def use_moto(monkeypatch: pytest.MonkeyPatch, folder: Path, address: str) -> None:
    """An empty moto at this address, and an environment in which boto3 and Delta find it and nothing else."""
    usual_configuration(monkeypatch, folder)
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    _reset(address)


def usual_configuration(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Planted credentials in the environment; no file and no metadata service of this machine counts."""
    for name in (
        "AWS_PROFILE",
        "AWS_DEFAULT_PROFILE",
        "AWS_ROLE_ARN",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


def bucket(name: str, **objects: bytes) -> Any:
    """A bucket with these objects; returns the S3 client."""
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    for key, content in objects.items():
        s3.put_object(Bucket=name, Key=key, Body=content)
    return s3


def upload(s3: Any, name: str, folder: Path, prefix: str = "") -> int:
    """Every file of a folder under its own path. Returns how many."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    for file in files:
        s3.put_object(
            Bucket=name, Key=prefix + file.relative_to(folder).as_posix(), Body=file.read_bytes()
        )
    return len(files)


@dataclass
class Proxy:
    """Before another server. cut: how many bytes of the body of the n-th GET of an object are let through; null: all."""

    target: str
    cut: Callable[[int], int | None] = lambda _n: None
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, path, query
    served: list[tuple[str, int, int]] = field(
        default_factory=list
    )  # path, first byte, bytes of the body
    address: str = ""

    @property
    def bytes(self) -> int:
        """Bytes of objects that went out."""
        return sum(count for _, _, count in self.served)


@contextmanager
def proxy(target: str, cut: Callable[[int], int | None] = lambda _n: None) -> Iterator[Proxy]:
    """A proxy that forwards everything, counts what it serves of objects, and breaks the connection where it is told."""
    state = Proxy(target, cut)
    guard = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            upstream = http.client.HTTPConnection(target.removeprefix("http://"), timeout=20)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream.request(self.command, self.path, body=body, headers=dict(self.headers))
            answer = upstream.getresponse()
            content = answer.read()
            upstream.close()
            path, _, query = self.path.partition("?")
            is_object = (
                self.command == "GET"
                and path.count("/") > 1
                and "list-type" not in query
                and answer.status in {200, 206}
            )
            with guard:
                state.requests.append((self.command, path, query))
                most = state.cut(len(state.served)) if is_object else None
                kept = content if most is None else content[:most]
                if is_object:
                    first = (
                        (self.headers.get("Range") or "bytes=0-")
                        .removeprefix("bytes=")
                        .partition("-")[0]
                    )
                    state.served.append((path, int(first), len(kept)))
            self.send_response_only(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "content-length", "connection"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(kept)
            self.close_connection = len(kept) < len(content)

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def assert_nothing_planted(text: str) -> None:
    """No credential, whole or the half that would be enough."""
    for planted in (KEY_ID, SECRET, TOKEN, SECRET[8:24], "X-Amz-Signature", "X-Amz-Credential"):
        assert planted not in text, f"{planted} is in what was written"
