"""Servers that do not keep to S3's word, full disks and mirrors touched by hand: no byte that is not the object's is kept."""

import errno
import io
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType

import pytest
from aws_on_loopback import usual_configuration
from loopback import Fake, Heard, Reply, http_server

from costwhy.errors import UnreachableError
from costwhy.remote import aws
from costwhy.sources import s3_mirror
from costwhy.sources.changes import autoscaling, cloudtrail
from costwhy.sources.format import Request
from costwhy.sources.signals import cloudwatch, xray

ETAG = '"deadbeefdeadbeefdeadbeefdeadbeef-3"'
"""Of a multipart upload: no checksum of the content, so that nothing but care protects it."""
CUT = s3_mirror.CHUNK + 1000


@pytest.fixture(autouse=True)
def _usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usual_configuration(monkeypatch, tmp_path)
    once = aws.CONFIG.merge(aws.Config(retries={"total_max_attempts": 1, "mode": "standard"}))
    monkeypatch.setattr(aws.client, "__defaults__", (None, once))
    monkeypatch.setattr(s3_mirror, "PAUSE", 0.001)


def listing(**sizes: int) -> bytes:
    entry = "<Contents><Key>in/{}</Key><LastModified>2026-10-10T00:00:00.000Z</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>"
    entries = "".join(entry.format(name, ETAG, size) for name, size in sizes.items())
    return (
        f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>".encode()
    )


@contextmanager
def bucket_of(
    monkeypatch: pytest.MonkeyPatch, listed: bytes, give: Callable[[Heard], Reply]
) -> Iterator[Fake]:
    """A server that lists this, and gives objects by `give`."""
    with http_server(
        lambda heard: (200, {}, listed) if "list-type" in heard.path else give(heard)
    ) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def first(heard: Heard) -> int:
    """The first byte that was asked for; -1: all of it."""
    return (
        int(heard.headers["range"].removeprefix("bytes=").rstrip("-"))
        if "range" in heard.headers
        else -1
    )


def here(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in sorted((folder / "s3:").rglob("*")) if file.is_file()]


@pytest.mark.parametrize("problem", ["another range", "the whole", "no range"])
def test_bytes_of_another_range_are_never_put_behind_the_beginning(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut once; the rest is then answered with other bytes than asked for, as many as are missing or all."""
    content = os.urandom(3 * s3_mirror.CHUNK)

    def give(heard: Heard) -> Reply:
        start = first(heard)
        if start < 0 and len([h for h in server.heard if "list-type" not in h.path]) == 1:
            return 200, {"ETag": ETAG, "Content-Length": str(len(content))}, content[:CUT]
        if start < 0:
            return 200, {"ETag": ETAG}, content
        last = len(content) if problem == "the whole" else len(content) - start
        said = (
            {} if problem == "no range" else {"Content-Range": f"bytes 0-{last - 1}/{len(content)}"}
        )
        return 206, {"ETag": ETAG} | said, content[:last]

    with bucket_of(monkeypatch, listing(big=len(content)), give) as server:
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert here(tmp_path) == [content]


def test_a_server_that_does_not_heed_if_match_cannot_mix_two_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes is of another ETag than was listed, and as long."""
    other = {"ETag": ETAG.replace("dead", "cafe")}
    with (
        bucket_of(monkeypatch, listing(big=5), lambda _: (200, other, b"other")),
        pytest.raises(UnreachableError, match="replaced while they were read"),
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert here(tmp_path) == []


def test_a_body_that_goes_on_for_ever_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listed with 5 bytes, given with 40 chunks: no more than a chunk of each attempt is taken."""
    with (
        bucket_of(
            monkeypatch,
            listing(big=5),
            lambda _: (200, {"ETag": ETAG}, b"x" * 40 * s3_mirror.CHUNK),
        ),
        pytest.raises(UnreachableError, match="bytes arrived of 5"),
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert here(tmp_path) == []


def test_transfers_that_are_cut_and_damaged_in_turn_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every second request is cut, every rest is of another range: it begins anew five times, not for ever."""
    content = os.urandom(3 * s3_mirror.CHUNK)

    def give(heard: Heard) -> Reply:
        if len(server.heard) > 40:
            return 403, {}, b""
        if first(heard) < 0:
            return 200, {"ETag": ETAG, "Content-Length": str(len(content))}, content[:CUT]
        return 206, {"ETag": ETAG, "Content-Range": f"bytes 0-9/{len(content)}"}, content[:10]

    with (
        bucket_of(monkeypatch, listing(big=len(content)), give) as server,
        pytest.raises(UnreachableError, match="could not be fetched"),
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert len(server.heard) < 12


def test_the_one_object_that_is_refused_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    with (
        bucket_of(
            monkeypatch,
            listing(a=1, b=1),
            lambda h: (403, {}, denied) if h.path.endswith("b") else (200, {"ETag": ETAG}, b"x"),
        ),
        pytest.raises(
            UnreachableError, match=r"S3 refused to give s3://some-bucket/in/b"
        ) as caught,
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert "AccessDenied" in caught.value.found


def test_a_listing_without_etags_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = b"<ListBucketResult><Contents><Key>in/a</Key></Contents></ListBucketResult>"
    with (
        bucket_of(monkeypatch, half, lambda _: (500, {}, b"")),
        pytest.raises(UnreachableError, match="could not be listed"),
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)


@contextmanager
def disk_with(size: int) -> Iterator[None]:
    """No file can become longer than this: the system takes a part of a write, then refuses."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def test_a_full_disk_is_said_at_once_and_what_had_arrived_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk takes one and a half chunks of three; the next run asks for the rest only."""
    content = os.urandom(3 * s3_mirror.CHUNK)
    room = s3_mirror.CHUNK + s3_mirror.CHUNK // 2

    def give(heard: Heard) -> Reply:
        start = max(first(heard), 0)
        span = (
            {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        )
        return 206 if start else 200, {"ETag": ETAG} | span, content[start:]

    with bucket_of(monkeypatch, listing(big=len(content)), give) as server:
        with (
            disk_with(room),
            pytest.raises(UnreachableError, match="in/big could not be stored") as caught,
        ):
            s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
        assert os.strerror(errno.EFBIG) in caught.value.found
        assert caught.value.fix.startswith("free space")
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
        assert [first(heard) for heard in server.heard if "list-type" not in heard.path] == [
            -1,
            room,
        ]
    assert here(tmp_path) == [content]


def test_a_write_that_takes_only_a_part_leaves_no_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is nearly full and becomes free again: every write takes 1,000 bytes at most."""

    class Reluctant(io.FileIO):
        def write(self, content: memoryview) -> int:  # type: ignore[override]
            return super().write(content[:1000])

    content = os.urandom(s3_mirror.CHUNK)
    monkeypatch.setattr(
        s3_mirror, "_opened", lambda partial, *_: io.BufferedWriter(Reluctant(partial, "a"))
    )
    with bucket_of(
        monkeypatch, listing(big=len(content)), lambda _: (200, {"ETag": ETAG}, content)
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert here(tmp_path) == [content]


def test_a_mirrored_file_that_somebody_altered_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as before, so that the size does not give it away."""
    with bucket_of(monkeypatch, listing(a=5), lambda _: (200, {"ETag": ETAG}, b"right")):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
        (file,) = (f for f in (tmp_path / "s3:").rglob("a"))
        file.write_bytes(b"wrong")
        again = s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
        assert (again.fetched, here(tmp_path)) == (1, [b"right"])
        assert s3_mirror.mirror("s3://some-bucket/in/", tmp_path).fetched == 0


def test_a_process_killed_before_the_checksum_does_not_get_past_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes are in the part, and wrong: the next run looks before it takes them. MD5 of `right` is the ETag."""
    etag = '"7c4f29407893c334a6cb7a87bf045c0d"'
    (tmp_path / "partial").mkdir()
    (tmp_path / "partial" / sha256(f"some-bucket\0in/a\0{etag}".encode()).hexdigest()).write_bytes(
        b"wrong"
    )
    with bucket_of(
        monkeypatch,
        listing(a=5).replace(ETAG.encode(), etag.encode()),
        lambda _: (200, {"ETag": etag}, b"right"),
    ):
        s3_mirror.mirror("s3://some-bucket/in/", tmp_path)
    assert here(tmp_path) == [b"right"]


@pytest.mark.parametrize("reader", [cloudtrail, xray, cloudwatch, autoscaling])
def test_a_login_page_in_place_of_an_answer_is_no_day_without_events(
    reader: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes with 200 OK; days that were read as empty would not be asked again."""
    now = datetime(2026, 10, 15, tzinfo=UTC)
    page: Reply = (
        200,
        {"Content-Type": "text/html; charset=utf-8"},
        b"<!doctype html><body>sign in<br></body>",
    )
    with http_server(lambda _: page) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(UnreachableError, match="a web page came in place of AWS's answer"):
            list(
                getattr(reader, "read_api", reader.read)(
                    Request("eu-west-1", (now.date(),), now.replace(hour=2))
                )
            )


def test_an_answer_that_is_no_xml_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime(2026, 10, 15, tzinfo=UTC)
    with http_server(lambda _: (200, {}, b"oops")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        with pytest.raises(
            UnreachableError, match="scaling activities in eu-west-1 could not be read"
        ):
            list(autoscaling.read_api(Request("eu-west-1", (now.date(),), now.replace(hour=2))))
