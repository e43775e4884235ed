"""Damaged deliveries of every format: no traceback, nothing in the sums that was not delivered.

COSTWHY_FUZZED=10000 uv run pytest -m "" -n 2 tests/properties/test_fuzzed_deliveries.py
"""

import gzip
import io
import json
import math
import os
import random
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from costwhy.case.bill_facts import facts_of
from costwhy.config import read_workspace
from costwhy.errors import CostwhyError
from costwhy.ingest.ingest import ingest
from costwhy.ingest.reconcile import reconcile
from costwhy.lake.lake import open_lake

BLOCK = 50
BLOCKS = int(os.environ.get("COSTWHY_FUZZED", "400")) // BLOCK
DATA = Path(__file__).parent.parent / "data"
LARGEST = 1e12  # no cost of these files is larger; damage may make a number longer
FOCUS = [
    {
        "ChargePeriodStart": f"2026-09-{day:02}T0{hour}:00:00Z", "ChargePeriodEnd": f"2026-09-{day:02}T0{hour + 1}:00:00Z",
        "BillingPeriodStart": "2026-09-01T00:00:00Z", "BillingCurrency": "USD", "EffectiveCost": 1.25 * day, "BilledCost": 1.5,
        "ListCost": 2.0, "ServiceName": "Amazon S3", "SubAccountId": "42", "ResourceId": f"r-{day}", "SkuId": "sku",
        "ConsumedQuantity": 3.0, "ConsumedUnit": "GB", "ChargeCategory": "Usage", "ProviderName": "AWS", "Tags": '{"service": "web"}',
    }
    for day in range(1, 5) for hour in range(3)
]  # fmt: skip
CUR = [
    {
        "line_item_usage_start_date": f"2026-09-0{day}T00:00:00Z", "line_item_usage_end_date": f"2026-09-0{day}T01:00:00Z",
        "bill_billing_period_start_date": "2026-09-01T00:00:00Z", "line_item_line_item_type": kind, "line_item_currency_code": "USD",
        "line_item_unblended_cost": 2.5, "pricing_public_on_demand_cost": 3.0, "line_item_product_code": "AmazonEC2",
        "line_item_usage_account_id": "42", "line_item_resource_id": "i-1", "line_item_usage_type": "BoxUsage", "resource_tags": '{"user_service": "web"}',
    }
    for day in range(1, 5) for kind in ("Usage", "Tax", "SavingsPlanCoveredUsage", "Credit")
]  # fmt: skip
CHANGES = "id,time,kind,service,actor,before,after\nc-1,2026-09-03T03:00:00Z,deploy,küche,dana,,v2\nc-2,2026-09-03T04:00:00Z,config,web,eve,1,2\n"
SIGNALS = "time,service,caller,metric,value\n2026-09-03T03:00:00Z,web,,calls,100\n2026-09-03T03:00:00Z,db,web,calls,300\n2026-09-03T03:00:00Z,db,web,retries,3\n"
EVENT = {
    "context": {"id": "e-1", "type": "dev.cdevents.service.deployed.0.2.0", "timestamp": "2026-09-03T03:00:00Z", "source": "ci", "version": "0.4.1"},
    "subject": {"id": "web", "content": {"environment": {"id": "prod"}, "artifactId": "pkg:oci/web@sha256:1"}},
}  # fmt: skip
REPORT = {
    "data": [
        {"start_time": 1788307200, "end_time": 1788393600, "results": [{"amount": {"value": 2.5, "currency": "usd"}, "line_item": "gpt-4o, input", "project_id": "p"}]}
    ]
}  # fmt: skip


def table(rows: list[dict[str, object]], kind: str, names: Callable[[str], str] = str) -> bytes:
    frame = pl.DataFrame(rows).rename(names)
    out = io.BytesIO()
    frame.write_csv(out) if kind == "csv" else frame.write_parquet(out)
    return out.getvalue()


def legacy(name: str) -> str:
    """line_item_usage_type as lineItem/UsageType."""
    for group, spelled in (("line_item", "lineItem"), ("bill", "bill"), ("pricing", "pricing"), ("resource_tags", "resourceTags/user:service")):  # fmt: skip
        if name.startswith(group):
            rest = name.removeprefix(group).strip("_").split("_")
            return f"{spelled}/{''.join(map(str.capitalize, rest))}" if rest != [""] else spelled
    return name


def material() -> dict[str, tuple[str, str, list[tuple[str, bytes]]]]:
    """By format: its section of costwhy.toml, its folder, and valid files."""
    trail = [(f.name, f.read_bytes()) for f in sorted((DATA / "cloudtrail").iterdir())][:2]
    catalog = [(f.name, f.read_bytes()) for f in sorted((DATA / "backstage").iterdir())]
    return {
        "focus": ("cost", "f", [("a.csv", table(FOCUS, "csv")), ("b.parquet", table(FOCUS, "parquet"))]),
        "cur2": ("cost", "c2", [("a.csv", table(CUR, "csv")), ("b.parquet", table(CUR, "parquet"))]),
        "cur": ("cost", "c", [("a.csv", table(CUR, "csv", legacy))]),
        "model_costs": ("cost", "m", [("costs.json", json.dumps(REPORT).encode())]),
        "changes": ("changes", "ch", [("a.csv", CHANGES.encode())]),
        "cloudtrail": ("changes", "ct", trail),
        "cdevents": ("changes", "ce", [("a.jsonl", json.dumps(EVENT).encode())]),
        "signals": ("signals", "s", [("a.csv", SIGNALS.encode())]),
        "backstage": ("owners", "o", catalog),
        "codeowners": ("owners", "g", [("CODEOWNERS", b"[Web] @shop\n/services/web/ @web\n* @all\n")]),
    }  # fmt: skip


MATERIAL = material()
BITS = (
    b'"', b"'", b"{", b"}", b"[", b"]", b"\\", b",", b";", b"\t", b"\n", b"\r", b"\0", b"null", b"\\N", b"NaN", b"inf", b"-1e308",
    b"1e999", b"9" * 40, b"\xff\xfe", b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b\x08", b"PK\x03\x04", b"BZh9", b"0001-01-01T00:00:00Z",
    b"9999-12-31T23:59:59Z", b"2026-02-30", b"\xe9", "\u202e".encode(), b"=cmd()", b"<script>", b"EUR", b"1.234,56", b"&a [*a,*a]", b"!!python/object:x ",
)  # fmt: skip


def damage(data: bytes, chance: random.Random) -> bytes:
    """Some bytes fewer, more, moved, or others; now and then in another encoding or packing."""
    changed = bytearray(data)
    for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
        place = chance.randrange(len(changed) + 1)
        way = chance.randrange(5)
        if way == 0:
            del changed[place : place + chance.choice((1, 8, 300))]
        elif way == 1:
            changed[place:place] = chance.choice(BITS)
        elif way == 2:
            changed[place : place + 2] = chance.randbytes(2)
        elif way == 3:
            start = chance.randrange(len(changed) + 1)
            changed[place:place] = changed[start : start + 200]
        else:
            lines = changed.split(b"\n")
            chance.shuffle(lines)
            changed = bytearray(b"\n".join(lines))
    found = bytes(changed)
    if chance.random() < 0.1:
        found = found.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-16-le", "cp1252", "utf-8-sig")), "replace")  # fmt: skip
    if chance.random() < 0.05:
        found = found[: chance.randrange(len(found) + 1)]
    return found


def pack(name: str, data: bytes, chance: random.Random) -> tuple[str, bytes]:
    way = chance.randrange(12)
    if way == 0:
        return name + ".gz", gzip.compress(data)
    if way == 1:
        return name, gzip.compress(data)  # no ending says so
    if way == 2:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(chance.choice((name, f"../{name}", f"deep/{name}", "x" * 300)), data)
        return chance.choice((f"{name}.zip", "all.zip")), damage(out.getvalue(), chance)
    if way == 3:
        return chance.choice((name.upper(), "000000", f"{name} (1)", f".{name}", f"{name}.txt", f"~${name}")), data  # fmt: skip
    return name, data


def deliver(folder: Path, seed: int) -> None:
    """A workspace of one bill at least and some other sources, all of them damaged or not."""
    chance = random.Random(seed)  # noqa: S311 - to be made again
    others = [name for name in MATERIAL if MATERIAL[name][0] != "cost"]
    bills = [name for name in MATERIAL if MATERIAL[name][0] == "cost"]
    chosen = [chance.choice(bills), *chance.sample(others, chance.choice((0, 1, 2)))]
    config = '[workspace]\nname = "a"\ncurrency = "USD"\n'
    for form in chosen:
        section, place, files = MATERIAL[form]
        config += f'[[{section}]]\nformat = "{form}"\npath = "{place}/"\n'
        for _ in range(chance.choice((1, 1, 2, 3))):
            name, data = chance.choice(files)
            name, data = pack(name, damage(data, chance), chance)
            below = chance.choice(("", "", "BILLING_PERIOD=2026-09", "2026-09", "x/20260901-20261001", "month=13", "data/a=b"))  # fmt: skip
            file = folder / place / below / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if chance.random() < 0.02 and not file.exists():
                file.mkdir()  # a folder that is called like a file
            elif not file.is_dir():
                file.write_bytes(data)
        if chance.random() < 0.02:
            (folder / place / "loop").symlink_to(folder / place)
    (folder / "costwhy.toml").write_text(config)


def check(folder: Path) -> None:
    try:
        ingest(read_workspace(folder))
        lake = open_lake(folder)
    except CostwhyError:  # its message is for people
        return
    for name in ("hourly", "daily", "overview"):
        for cost in ("BilledCost", "EffectiveCost", "ListCost"):
            values = lake.table(name)[cost]
            assert not values.is_nan().any()
            assert all(math.isfinite(v) for v in values.drop_nulls())
    whole = {n: lake.table(n)["EffectiveCost"].sum() for n in ("hourly", "daily", "overview")}
    slack = 0.005 + 1e-9 * abs(whole["hourly"])
    assert max(whole.values()) - min(whole.values()) < slack
    reconcile(lake)
    if lake.table("hourly").height and abs(whole["hourly"]) < LARGEST:
        assert facts_of(lake).sentences


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(k, marks=pytest.mark.long) for k in range(1, BLOCKS))]
)
def test_no_damaged_delivery_ends_in_a_traceback(tmp_path: Path, block: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(block * BLOCK, (block + 1) * BLOCK):
            folder = tmp_path / str(seed)
            folder.mkdir()
            deliver(folder, seed)
            try:
                check(folder)
            except Exception as error:
                raise AssertionError(f"delivery {seed}: {type(error).__name__}: {error}") from error
