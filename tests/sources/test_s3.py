"""Files on S3 are files: the same answers, fetched once, gone on with after a cut, and no credential anywhere."""

import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from aws_on_loopback import (
    REGION,
    SECRET,
    assert_nothing_planted,
    bucket,
    moto_server,
    proxy,
    upload,
    usual_configuration,
)
from packings import zipped
from places import SAMPLE

from costwhy.case.investigate import explain
from costwhy.config import read_workspace
from costwhy.errors import ConfigError, SourceError, UnreachableError
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import Lake, open_lake
from costwhy.remote import aws as remote_aws
from costwhy.sources import s3_mirror

HEAD = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's address."""
    with (
        pytest.MonkeyPatch.context() as patch,
        moto_server(patch, tmp_path_factory.mktemp("aws")) as address,
    ):
        yield address


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_mirror, "PAUSE", 0.001)


def fresh(request: pytest.FixtureRequest) -> str:
    """A bucket name of the test's own."""
    return request.node.name.replace("_", "-").split("[")[0][:50].strip("-") + "-b"


def files(folder: Path) -> dict[str, bytes]:
    return {
        f.relative_to(folder).as_posix(): f.read_bytes()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and "s3:" in f.parts
    }


def bill(*costs: float, month: str = "2026-10") -> bytes:
    """One row for each cost that is not 0, by the hour."""
    rows = [
        f"{month}-01T{n:02}:00:00Z,,{month}-01T00:00:00Z,USD,{cost},{cost},Amazon S3"
        for n, cost in enumerate(costs)
        if cost
    ]
    return "\n".join([HEAD, *rows, ""]).encode()


def workspace(folder: Path, address: str, form: str = "focus", more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = '[workspace]\nname = "acme"\ncurrency = "USD"\n'
    (folder / "costwhy.toml").write_text(
        f'{head}[[cost]]\nformat = "{form}"\npath = "{address}"\n{more}'
    )
    return folder


def cost(place: Path) -> float:
    return float(open_lake(place).table("hourly")["EffectiveCost"].sum())


# ---------------------------------------------------------------- the mirror


@pytest.mark.usefixtures("aws")
def test_nothing_new_is_not_fetched_again(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bucket(
        fresh(request),
        **{"in/a.csv": b"one", "in/deep/b.csv": b"three", "other/c.csv": b"not asked for"},
    )
    address = f"s3://{fresh(request)}/in/"
    first = s3_mirror.mirror(address, tmp_path)
    assert (first.fetched, first.kept, first.removed, first.bytes) == (2, 0, 0, 3 + 5)
    again = s3_mirror.mirror(address, tmp_path)
    assert (again.fetched, again.kept, again.removed, again.bytes) == (0, 2, 0, 0)
    assert files(tmp_path) == {
        f"s3:/{fresh(request)}/in/a.csv": b"one",
        f"s3:/{fresh(request)}/in/deep/b.csv": b"three",
    }


@pytest.mark.usefixtures("aws")
def test_only_what_changed_is_fetched_and_what_vanished_goes(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    client = bucket(fresh(request), **{"a.csv": b"one", "b.csv": b"two", "old/c.csv": b"gone soon"})
    s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    client.put_object(Bucket=fresh(request), Key="b.csv", Body=b"TWO")  # same size, another ETag
    client.delete_object(Bucket=fresh(request), Key="old/c.csv")
    again = s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    assert (again.fetched, again.kept, again.removed, again.bytes) == (1, 1, 1, 3)
    assert list(files(tmp_path).values()) == [b"one", b"TWO"]
    assert not (tmp_path / "s3:" / fresh(request) / "old").exists()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", ["logs/2026-10.jsonl", "logs/2026-11.jsonl", "logs/a/2026-10.jsonl", "notes.txt"]),
        ("logs", ["logs/2026-10.jsonl", "logs/2026-11.jsonl", "logs/a/2026-10.jsonl"]),
        ("logs/2026-11.jsonl", ["logs/2026-11.jsonl"]),
        ("logs/*-10.jsonl", ["logs/2026-10.jsonl"]),
        ("logs/**/*-10.jsonl", ["logs/2026-10.jsonl", "logs/a/2026-10.jsonl"]),
        ("logs/2026-1[01].jsonl", ["logs/2026-10.jsonl", "logs/2026-11.jsonl"]),
    ],
)
def test_an_address_is_a_bucket_a_prefix_an_object_or_a_glob(
    request: pytest.FixtureRequest, tmp_path: Path, path: str, found: list[str]
) -> None:
    name = f"glob-{abs(hash(path)) % 10**8}"
    keys = ["logs/2026-10.jsonl", "logs/2026-11.jsonl", "logs/a/2026-10.jsonl", "notes.txt"]
    bucket(name, **dict.fromkeys(keys, b"x"))
    s3_mirror.mirror(f"s3://{name}/{path}", tmp_path)
    assert list(files(tmp_path)) == [f"s3:/{name}/{key}" for key in found], request.node.name


@pytest.mark.usefixtures("aws")
def test_a_key_cannot_leave_the_folder(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bucket(
        fresh(request),
        **{
            "in/ok.csv": b"x",
            "in/../../../evil.csv": b"x",
            f"in/{'n' * 300}.csv": b"x",
            "in/ok.csv/part.csv": b"x",
        },
    )
    mirror = s3_mirror.mirror(f"s3://{fresh(request)}/in/", tmp_path / "mirror")
    assert (mirror.fetched, mirror.kept) == (1, 0)
    assert list(files(tmp_path)) == [f"mirror/s3:/{fresh(request)}/in/ok.csv"]
    reasons = "\n".join(mirror.refused)
    assert len(mirror.refused) == 3
    assert "evil.csv: its name would lead out" in reasons
    assert "cannot be the name of a file" in reasons
    assert "same name as a file or as a folder" in reasons


@pytest.mark.usefixtures("aws")
def test_an_archived_object_is_said_and_the_others_come(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(fresh(request), **{"a.csv": b"one", "b.csv": b"cold"})
    real = remote_aws.client

    def cold(service: str, region: str | None = None) -> object:
        client = real(service, region)
        get = client.get_object

        def get_object(**asked: object) -> object:
            if asked["Key"] == "b.csv":
                raise client.exceptions.InvalidObjectState(
                    {"Error": {"Code": "InvalidObjectState"}}, "GetObject"
                )
            return get(**asked)

        client.get_object = get_object
        return client

    monkeypatch.setattr(remote_aws, "client", cold)
    mirror = s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    assert (mirror.fetched, len(mirror.refused)) == (1, 1)
    assert mirror.refused[0].endswith("b.csv: it lies in an archive: restore it first")


# ---------------------------------------------------------------- cuts


def test_a_cut_transfer_goes_on_where_it_was_cut(
    aws: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after 2, then 1, then 3 chunks of 64 KiB: four requests, and every byte is served once."""
    content = os.urandom(9 * s3_mirror.CHUNK + 17)
    bucket(fresh(request), **{"big.bin": content})
    cuts = [2 * s3_mirror.CHUNK, s3_mirror.CHUNK, 3 * s3_mirror.CHUNK, None]
    with proxy(aws, lambda n: cuts[n]) as before:
        monkeypatch.setenv("AWS_ENDPOINT_URL", before.address)
        mirror = s3_mirror.mirror(f"s3://{fresh(request)}/big.bin", tmp_path)
    assert list(files(tmp_path).values()) == [content]
    assert before.bytes == mirror.bytes == len(content), "nothing is read twice"
    assert [first for _, first, _ in before.served] == [
        0,
        2 * s3_mirror.CHUNK,
        3 * s3_mirror.CHUNK,
        6 * s3_mirror.CHUNK,
    ]
    assert (mirror.fetched, list((tmp_path / "partial").iterdir())) == (1, [])


def test_a_cut_anywhere_costs_less_than_a_chunk(
    aws: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(4 * s3_mirror.CHUNK)
    bucket(fresh(request), **{"big.bin": content})
    cuts = [s3_mirror.CHUNK + 1000, 2 * s3_mirror.CHUNK - 1, None]
    with proxy(aws, lambda n: cuts[n]) as before:
        monkeypatch.setenv("AWS_ENDPOINT_URL", before.address)
        s3_mirror.mirror(f"s3://{fresh(request)}/big.bin", tmp_path)
    assert list(files(tmp_path).values()) == [content]
    assert len(content) <= before.bytes < len(content) + 2 * s3_mirror.CHUNK


def test_what_a_killed_run_had_fetched_is_not_fetched_again(
    aws: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run gives up after three chunks; the second one asks for the rest only."""
    content = os.urandom(5 * s3_mirror.CHUNK)
    bucket(fresh(request), **{"big.bin": content, "small.bin": b"small"})
    with proxy(aws, lambda n: 3 * s3_mirror.CHUNK if n == 0 else 0) as before:
        monkeypatch.setenv("AWS_ENDPOINT_URL", before.address)
        with pytest.raises(UnreachableError, match=r"big.bin could not be fetched"):
            s3_mirror.mirror(f"s3://{fresh(request)}/big.bin", tmp_path)
    assert files(tmp_path) == {}, "a part is not under the object's name"
    with proxy(aws) as after:
        monkeypatch.setenv("AWS_ENDPOINT_URL", after.address)
        mirror = s3_mirror.mirror(f"s3://{fresh(request)}/big.bin", tmp_path)
    assert after.served == [
        (f"/{fresh(request)}/big.bin", 3 * s3_mirror.CHUNK, 2 * s3_mirror.CHUNK)
    ]
    assert mirror.bytes == 2 * s3_mirror.CHUNK
    assert list(files(tmp_path).values()) == [content]


def test_a_killed_process_leaves_no_half_file(
    aws: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    content = os.urandom(6 * s3_mirror.CHUNK)
    bucket(fresh(request), **{f"{n}.bin": content for n in range(4)})
    code = f"from pathlib import Path; from costwhy.sources import s3_mirror; s3_mirror.mirror('s3://{fresh(request)}', Path({str(tmp_path)!r}))"
    with proxy(aws) as slow:
        gate = slow.requests
        child = subprocess.Popen(
            [sys.executable, "-c", code], env=os.environ | {"AWS_ENDPOINT_URL": slow.address}
        )
        until = time.monotonic() + 60
        while (
            len([r for r in gate if r[1].endswith(".bin")]) < 2
            and child.poll() is None
            and time.monotonic() < until
        ):
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert all(whole == content for whole in files(tmp_path).values())
    s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    assert list(files(tmp_path).values()) == [content] * 4


def test_an_object_replaced_between_two_cuts_is_not_mixed(
    aws: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If-Match: the rest of a new object is not put behind the beginning of the old one."""
    old, new = os.urandom(3 * s3_mirror.CHUNK), os.urandom(3 * s3_mirror.CHUNK)
    client = bucket(fresh(request), **{"big.bin": old})

    def cut(number: int) -> int | None:
        if number == 0:
            client.put_object(Bucket=fresh(request), Key="big.bin", Body=new)
            return s3_mirror.CHUNK
        return None

    with proxy(aws, cut) as before:
        monkeypatch.setenv("AWS_ENDPOINT_URL", before.address)
        s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    assert list(files(tmp_path).values()) == [new]


@pytest.mark.usefixtures("aws")
def test_a_damaged_transfer_is_not_kept(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(fresh(request), **{"a.bin": b"content"})
    monkeypatch.setattr(s3_mirror, "_is_sound", lambda *_: False)
    with pytest.raises(UnreachableError, match="another checksum"):
        s3_mirror.mirror(f"s3://{fresh(request)}", tmp_path)
    assert files(tmp_path) == {}


# ---------------------------------------------------------------- errors


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no bucket nobody-has-this") as caught:
        s3_mirror.mirror("s3://nobody-has-this/x/", tmp_path)
    assert caught.value.exit_code == 3
    with pytest.raises(SourceError, match="is no address on S3"):
        s3_mirror.mirror("s3://../etc", tmp_path)


@pytest.mark.usefixtures("aws")
def test_an_empty_prefix_is_an_error_and_the_mirror_stays(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    client = bucket(fresh(request), **{"in/a.csv": b"one"})
    s3_mirror.mirror(f"s3://{fresh(request)}/in/", tmp_path)
    client.delete_object(Bucket=fresh(request), Key="in/a.csv")
    with pytest.raises(SourceError, match="there is nothing to read at"):
        s3_mirror.mirror(f"s3://{fresh(request)}/in/", tmp_path)
    assert len(files(tmp_path)) == 1


def test_a_service_that_is_down_is_unreachable_and_keeps_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usual_configuration(monkeypatch, tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:{SECRET.replace('/', '%2F')}@127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(
        remote_aws,
        "CONFIG",
        remote_aws.CONFIG.merge(remote_aws.Config(retries={"total_max_attempts": 1})),
    )
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UnreachableError) as caught:
        s3_mirror.mirror("s3://some-bucket/x/", tmp_path / "mirror")
    assert caught.value.exit_code == 4
    assert_nothing_planted("".join(traceback.format_exception(caught.value)) + caplog.text)
    assert "planted" not in str(caught.value)


def test_no_credentials_is_said_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual_configuration(monkeypatch, tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    with pytest.raises(UnreachableError, match="sign in, or name a profile"):
        s3_mirror.mirror("s3://some-bucket/x/", tmp_path / "mirror")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(UnreachableError, match="nobody"):
        s3_mirror.mirror("s3://some-bucket/x/", tmp_path / "mirror")


def test_a_server_that_echoes_what_it_was_sent_gives_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual_configuration(monkeypatch, tmp_path)
    echo = f"denied: AWS4-HMAC-SHA256 Credential={os.environ['AWS_ACCESS_KEY_ID']}/x, Signature=abc {os.environ['AWS_SESSION_TOKEN']} "
    error = remote_aws.ClientError(
        {
            "Error": {
                "Code": "AccessDenied",
                "Message": echo + SECRET + " https://h/k?X-Amz-Signature=ff",
            }
        },
        "GetObject",
    )
    said = str(remote_aws.unreachable("it failed", error))
    assert_nothing_planted(said)
    assert "docs/aws.md" in said


# ---------------------------------------------------------------- billing exports


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("layout", ["overwrite", "create new", "legacy"])
def test_only_the_newest_delivery_of_a_period_is_fetched(
    request: pytest.FixtureRequest, tmp_path: Path, layout: str
) -> None:
    """Old delivery: 100. New delivery: 3 + 4 = 7, as the manifest names its files."""
    name = f"{fresh(request)[:40]}-{layout.replace(' ', '-')}"
    data = {
        "overwrite": "pre//x/data/BILLING_PERIOD=2026-10/",
        "create new": "pre/x/data/BILLING_PERIOD=2026-10/2026-10-0",
    }.get(layout, "pre/x/20261001-20261101/a")
    old, new = ("", "") if layout == "overwrite" else ("1T-abc/", "2T-def/")
    manifest = {"legacy": "pre/x/20261001-20261101/x-Manifest.json"}.get(
        layout, "pre/x/metadata/BILLING_PERIOD=2026-10/x-Manifest.json"
    )
    named = [f"{data}{new}x-0000{n}.csv" for n in (1, 2)]
    listed = (
        {"reportKeys": named}
        if layout == "legacy"
        else {"dataFiles": [f"s3://{name}/{key}" for key in named]}
    )
    content = {
        named[0]: bill(3),
        named[1]: bill(0, 4),
        f"{data}{old}x-00009.csv": bill(100),
        manifest: json.dumps(listed).encode(),
    }
    bucket(name, **content)
    folder = workspace(tmp_path / "w", f"s3://{name}/pre/")
    ingest(read_workspace(folder))
    assert cost(folder) == 7.0
    here = [f.name for f in (folder / "lake.mirror").rglob("*.csv")]
    assert sorted(here) == ["x-00001.csv", "x-00002.csv"], (
        "the old delivery did not come over the network"
    )


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("place", ["", "s3://another-bucket/other/"])
def test_a_manifest_whose_files_are_not_all_here_leaves_the_month_as_it_was(
    request: pytest.FixtureRequest, tmp_path: Path, place: str
) -> None:
    """Copied while it was delivered, or the second file is elsewhere: October stays 100, and is not 3; then 3 + 4 = 7."""
    name = fresh(request) + ("-2" if place else "")
    key = "x/data/BILLING_PERIOD=2026-10/x-{}.csv".format
    manifest = "x/metadata/BILLING_PERIOD=2026-10/x-Manifest.json"
    named = [f"s3://{name}/{key(1)}", f"{place}x-2.csv" if place else f"s3://{name}/{key(2)}"]
    client = bucket(name, **{key(1): bill(100)})
    folder = workspace(tmp_path, f"s3://{name}/x/")
    ingest(read_workspace(folder))
    client.put_object(Bucket=name, Key=key(1), Body=bill(3))
    client.put_object(
        Bucket=name, Key=manifest, Body=json.dumps({"dataFiles": [*named, named[0]]}).encode()
    )
    client.put_object(
        Bucket=name, Key="x/data/BILLING_PERIOD=2026-11/x-1.csv", Body=bill(1, month="2026-11")
    )
    message, *_ = ingest(read_workspace(folder)).messages
    assert "x-2.csv was set aside" in message
    assert cost(folder) == 100 + 1
    client.put_object(Bucket=name, Key=key(2), Body=bill(0, 4))
    if not place:
        ingest(read_workspace(folder))
        assert cost(folder) == 3 + 4 + 1


@pytest.mark.usefixtures("aws")
def test_a_new_delivery_replaces_its_period_and_names_stay(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    key = "x/data/BILLING_PERIOD=2026-{}/x-1.csv".format
    client = bucket(fresh(request), **{key(10): bill(1, 2), key(11): bill(5, month="2026-11")})
    folder = workspace(tmp_path, f"s3://{fresh(request)}/x/")
    first = ingest(read_workspace(folder))
    names = open_lake(folder).table("deliveries")["delivery"].sort().to_list()
    assert names == [f"focus:s3://{fresh(request)}/x:2026-{month}" for month in (10, 11)]
    again = ingest(read_workspace(folder))
    assert (again.version, again.read, again.messages) == (first.version, 0, ())
    shutil.rmtree(folder / "lake.mirror")
    third = ingest(read_workspace(folder))
    assert (third.version, third.read) == (first.version, 0), (
        "mirrored anew, the names and digests are the same"
    )
    client.put_object(Bucket=fresh(request), Key=key(10), Body=bill(1, 2, 4))
    assert ingest(read_workspace(folder)).read == 1
    assert cost(folder) == 1 + 2 + 4 + 5
    assert open_lake(folder).table("deliveries")["files"].explode().sort().to_list() == [
        f"s3://{fresh(request)}/{key(m)}" for m in (10, 11)
    ]


@pytest.mark.usefixtures("aws")
def test_the_same_money_under_two_addresses_is_refused(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bucket(fresh(request), **{"x/a.csv": bill(1)})
    more = f'[[cost]]\nformat = "focus"\npath = "s3://{fresh(request)}/"\n'
    folder = workspace(tmp_path, f"s3://{fresh(request)}/x/", more=more)
    with pytest.raises(ConfigError, match="name the same"):
        ingest(read_workspace(folder))


@pytest.mark.usefixtures("aws")
def test_a_source_that_is_down_keeps_its_deliveries_and_the_others_are_read(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket(fresh(request), **{"x/a.csv": bill(1, 2)})
    folder = workspace(
        tmp_path,
        f"s3://{fresh(request)}/x/",
        more='[[changes]]\nformat = "cdevents"\npath = "changes/"\n',
    )
    (folder / "changes").mkdir()
    event = {
        "context": {
            "id": "e1",
            "type": "dev.cdevents.service.deployed.0.2.0",
            "timestamp": "2026-10-01T01:00:00Z",
        },
        "subject": {"id": "x"},
    }
    (folder / "changes" / "a.jsonl").write_text(json.dumps(event))
    ingest(read_workspace(folder))
    (folder / "changes" / "a.jsonl").write_text(
        json.dumps(event | {"context": event["context"] | {"id": "e2"}})
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(
        remote_aws,
        "CONFIG",
        remote_aws.CONFIG.merge(remote_aws.Config(retries={"total_max_attempts": 1})),
    )
    report = ingest(read_workspace(folder))
    assert "`cost[0]` could not be reached and stays as it was" in report.messages[0]
    assert cost(folder) == 3.0
    assert open_lake(folder).table("changes")["change_id"].to_list() == ["e2"]
    (folder / "costwhy.toml").write_text(
        (folder / "costwhy.toml").read_text().split("[[changes]]", maxsplit=1)[0]
    )
    with pytest.raises(UnreachableError):  # nothing else is there to be read
        ingest(read_workspace(folder))
    assert cost(folder) == 3.0


# ---------------------------------------------------------------- the whole company


@pytest.fixture(scope="module")
def on_s3(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample company with every source on S3; what was logged meanwhile lies beside it."""
    assert aws
    folder = tmp_path_factory.mktemp("on-s3") / "marigold"
    folder.mkdir()
    upload(bucket("marigold-data"), "marigold-data", SAMPLE, "acme/")
    text = (SAMPLE / "costwhy.toml").read_text()
    body, lake = (
        text.replace('path = "', 'path = "s3://marigold-data/acme/'),
        'path = "s3://marigold-data/acme/lake"',
    )
    (folder / "costwhy.toml").write_text(body.replace(lake, 'path = "lake"'))
    stream = (folder.parent / "log.txt").open("w")
    handler, root = logging.StreamHandler(stream), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        ingest(read_workspace(folder))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        stream.close()
    return folder


def test_the_sample_company_on_s3_gets_the_same_answers(on_s3: Path, sample_lake: Lake) -> None:
    assert json.dumps(explain(open_lake(on_s3)), sort_keys=True) == json.dumps(
        explain(sample_lake), sort_keys=True
    )


def test_the_sample_company_is_fetched_once(on_s3: Path) -> None:
    before = open_lake(on_s3).version
    again = ingest(read_workspace(on_s3))
    assert (again.version, again.read) == (before, 0)
    mirrors = sorted(p.name.rpartition("-")[0] for p in (on_s3 / "lake.mirror").iterdir())
    assert mirrors == ["backstage", "cdevents", "cloudtrail", "codeowners", "focus", "signals"]


def test_no_credential_is_in_the_lake_the_mirror_or_the_log(on_s3: Path) -> None:
    everything = [f for f in on_s3.parent.rglob("*") if f.is_file()]
    assert any(f.name == "log.txt" for f in everything)
    for file in everything:
        assert_nothing_planted(file.read_bytes().decode("latin-1"))
    assert boto3.session.Session().region_name == REGION


@pytest.mark.usefixtures("aws")
def test_on_s3_the_same_files_are_read_as_in_a_folder_and_the_others_are_named(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    content = {
        "in/a.csv": bill(1),
        "in/b.zip": zipped(tmp_path / "z", {"deep/b.csv": bill(0, 2)}).read_bytes(),
        "in/C.CSV.GZ": gzip.compress(bill(0, 0, 4)),
        "in/000000": bill(0, 0, 0, 8),
        "in/notes.md": b"# notes",
        "in/invoice.pdf": b"%PDF" * 1000,
        "in/commitments.csv": b"ContractCommitmentId,ContractId\n1,2\n",
        "in/_SUCCESS": b"",
        "in/.DS_Store": b"\0",
    }
    name = fresh(request)
    bucket(name, **content)
    for key, data in content.items():
        (tmp_path / "local/billing/in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "local/billing" / key).write_bytes(data)
    states = []
    for folder, path in (("s3", f"s3://{name}/in/"), ("local", "billing/in/")):
        place = workspace(tmp_path / folder, path)
        first = ingest(read_workspace(place))
        assert cost(place) == 1 + 2 + 4 + 8
        assert ingest(read_workspace(place)).version == first.version
        table = open_lake(place).table("files").sort("file")
        states.append(
            [
                (row["file"].removeprefix(path), row["bytes"], row["state"], row["reason"])
                for row in table.iter_rows(named=True)
            ]
        )
        assert "invoice.pdf (4 KB): of another kind (.pdf)" in "".join(first.messages)
    assert states[0] == states[1]
    assert [row[0] for row in states[0] if row[2] == "not read"] == [
        "commitments.csv",
        "invoice.pdf",
        "notes.md",
    ]
    here = {f.name for f in (tmp_path / "s3/lake.mirror").rglob("*") if f.is_file()}
    assert not here & {"notes.md", "invoice.pdf", "_SUCCESS", ".DS_Store"}, "never fetched"
