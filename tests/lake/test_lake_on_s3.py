"""A lake on S3 keeps the promises of a lake in a folder: whole versions, one writer, what a killed writer left is taken back."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import boto3
import polars as pl
import pytest
from aws_on_loopback import assert_nothing_planted, bucket, proxy, use_moto
from places import ROOT

from costwhy.config import read_workspace
from costwhy.errors import LakeError, UnreachableError
from costwhy.ingest.ingest import ingest
from costwhy.lake import lake, lock
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import (
    SnapshotInfo,
    create_snapshot,
    has_lake,
    open_lake,
    read_snapshot,
    write,
)
from costwhy.lake.store import store_of
from costwhy.remote import aws
from costwhy.tables import BY_NAME

ABOUT = SnapshotInfo("acme", "USD")
PLACE = "s3://lakes-of-tests/acme/lake"


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moto_apart: str) -> None:
    use_moto(monkeypatch, tmp_path, moto_apart)
    bucket("lakes-of-tests")


def bill(delivery: str, *costs: float) -> pl.DataFrame:
    hour = datetime(2026, 10, 1, tzinfo=UTC)
    return BY_NAME["hourly"].fit(
        pl.DataFrame(
            {"delivery": delivery, "hour": [hour] * len(costs), "EffectiveCost": list(costs)}
        )
    )


def total(version: int | None = None) -> float:
    return float(open_lake(PLACE, version).table("hourly")["EffectiveCost"].sum())


def names() -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="lakes-of-tests").get("Contents", [])
    return [content["Key"].removeprefix("acme/lake/") for content in listed]


def test_a_delivery_is_replaced_whole_and_older_versions_stay_readable() -> None:
    assert not has_lake(PLACE)
    assert write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 1.0, 2.0))}) == 1
    assert write(PLACE + "/", ABOUT, {"hourly": Replacement(bill("november", 4.0))}) == 2
    assert write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 10.0))}) == 3
    assert write(PLACE, ABOUT, {}) == 3, "nothing new, no version"
    assert (total(1), total(2), total()) == (3.0, 7.0, 14.0)
    assert open_lake(PLACE).versions() == [1, 2, 3]
    assert "writer.lock" not in names()


def test_what_a_killed_writer_left_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before the snapshot: rows are in Delta, the lease stays, nobody sees either."""
    write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    code = (
        "import os, signal; from costwhy.lake import lake; "
        "lake.create_snapshot = lambda *_: os.kill(os.getpid(), signal.SIGKILL); "
        f"from costwhy.lake.lake import *; from costwhy.lake.delta import Replacement; from costwhy.tables import BY_NAME; import polars as pl; write({PLACE!r}, SnapshotInfo('acme', 'USD'), "
        "{'hourly': Replacement(BY_NAME['hourly'].fit(pl.DataFrame({'delivery': ['october'], 'EffectiveCost': [99.0]})))})"
    )
    child = subprocess.run([sys.executable, "-c", code], env=dict(os.environ), check=False)
    assert child.returncode == -signal.SIGKILL
    assert "writer.lock" in names()
    assert total() == 1.0
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.2)
    with pytest.raises(LakeError, match="is being written by another costwhy"):
        write(PLACE, ABOUT, {"hourly": Replacement(bill("november", 2.0))})
    monkeypatch.setattr(lock, "LEASE", -1.0)  # its time is over
    assert write(PLACE, ABOUT, {"hourly": Replacement(bill("november", 2.0))}) == 2
    assert (total(1), total()) == (1.0, 3.0)


def test_a_writer_that_lost_his_lease_names_no_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 1.0))})

    write_table = lake.write_table

    def taken_over(*table: object) -> int | None:
        boto3.client("s3").put_object(
            Bucket="lakes-of-tests", Key="acme/lake/writer.lock", Body=b"mine now"
        )
        return write_table(*table)

    monkeypatch.setattr(lake, "write_table", taken_over)
    with pytest.raises(LakeError, match="was taken over by another costwhy"):
        write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 99.0))})
    assert open_lake(PLACE).versions() == [1]
    assert total() == 1.0
    assert "writer.lock" in names(), "the lease of the other one is not deleted"


def test_a_writer_who_lives_keeps_his_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewed every few milliseconds: the lease that is there is never the one that was taken."""
    monkeypatch.setattr(lock, "RENEWAL", 0.005)
    with lock.lease(PLACE, 1.0) as still_ours:
        first, until = (
            boto3.client("s3").head_object(Bucket="lakes-of-tests", Key="acme/lake/writer.lock")[
                "ETag"
            ],
            time.monotonic() + 20,
        )
        while (
            boto3.client("s3").head_object(Bucket="lakes-of-tests", Key="acme/lake/writer.lock")[
                "ETag"
            ]
            == first
        ):
            assert time.monotonic() < until
            time.sleep(0.005)
        still_ours()
    assert names() == []


def _action(method: str, query: str) -> str:
    """What IAM calls a request."""
    if method in {"GET", "HEAD"}:
        return "s3:ListBucket" if "list-type" in query else "s3:GetObject"
    return "s3:DeleteObject" if method == "DELETE" or query.startswith("delete") else "s3:PutObject"


def test_the_policy_allows_what_reading_and_writing_ask_for_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seen on the wire, for Delta asks S3 itself."""
    block = re.search(
        r"```json\n((?:(?!```).)*CostwhyLake.*?)```",
        (ROOT / "docs" / "aws.md").read_text(),
        re.DOTALL,
    )
    assert block
    stated = {s["Sid"]: s["Action"] for s in json.loads(block[1])["Statement"]}
    reading = {stated["CostwhyLakeList"], stated["CostwhyLakeRead"]}
    with proxy(os.environ["AWS_ENDPOINT_URL"]) as wire:
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.address)
        for cost in (1.0, 2.0):
            write(PLACE, ABOUT, {"hourly": Replacement(bill("october", cost))})
        written, wire.requests = wire.requests, []
        assert total() == 2.0
    assert {_action(method, query) for method, _, query in written} == reading | set(
        stated["CostwhyLakeWrite"]
    )
    assert {_action(method, query) for method, _, query in wire.requests} == reading


def test_a_version_is_created_once() -> None:
    store = store_of(PLACE)
    create_snapshot(store, 7, {"a": 1})
    with pytest.raises(LakeError, match="is being written by another costwhy"):
        create_snapshot(store, 7, {"a": 2})
    assert read_snapshot(store, 7)["a"] == 1


def test_a_lake_that_cannot_be_reached_is_exit_code_4_and_a_missing_bucket_3(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(LakeError, match="there is no bucket nobody-has-it"):
        open_lake("s3://nobody-has-it/lake")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(
        aws, "CONFIG", aws.CONFIG.merge(aws.Config(retries={"total_max_attempts": 1}))
    )
    with pytest.raises(UnreachableError) as caught:
        open_lake(PLACE)
    assert_nothing_planted(str(caught.value))


def test_a_workspace_with_sources_and_lake_on_s3(tmp_path: Path) -> None:
    head = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName"
    line = "2026-10-01T00:00:00Z,,2026-10-01T00:00:00Z,USD,1.5,1.5,Amazon S3"
    client = boto3.client("s3")
    client.put_object(Bucket="lakes-of-tests", Key="bills/a.csv", Body=f"{head}\n{line}\n".encode())
    text = f'[workspace]\nname = "acme"\ncurrency = "USD"\n[lake]\npath = "{PLACE}"\n'
    (tmp_path / "costwhy.toml").write_text(
        text + '[[cost]]\nformat = "focus"\npath = "s3://lakes-of-tests/bills/"\n'
    )
    first = ingest(read_workspace(tmp_path))
    again = ingest(read_workspace(tmp_path))
    assert (first.version, again.version, again.read) == (1, 1, 0)
    assert open_lake(tmp_path).place == PLACE
    assert total() == 1.5
    for key in names():
        content = client.get_object(
            Bucket="lakes-of-tests", Key=key if key.startswith("bills") else f"acme/lake/{key}"
        )["Body"].read()
        assert_nothing_planted(content.decode("latin-1"))
    assert not (tmp_path / "s3:").exists()


def test_a_server_that_ignores_conditions_gets_no_lake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers could not be kept apart there: the second version of a snapshot would be put over the first."""
    real = aws.client

    def forget(params: dict[str, dict[str, str]], **_: object) -> None:
        params["headers"].pop("If-None-Match", None)

    def careless(*asked: str) -> object:
        client = real(*asked)
        client.meta.events.register("before-call.s3.PutObject", forget)
        return client

    monkeypatch.setattr(aws, "client", careless)
    with pytest.raises(LakeError, match="does not heed If-None-Match"):
        write(PLACE, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    assert names() == []
