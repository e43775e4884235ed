"""Any bill, delivered in any way: rows in = rows kept + rows set aside, sums to the cent."""

import csv
import io
import json
import random
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from packings import PACKINGS

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.ingest.reconcile import reconcile
from costwhy.lake.lake import open_lake

Row = dict[str, Any]
PERIOD = datetime(2026, 9, 1)  # UTC
NAMES = {  # of each column in the three formats
    "start": ("ChargePeriodStart", "line_item_usage_start_date", "lineItem/UsageStartDate"),
    "end": ("ChargePeriodEnd", "line_item_usage_end_date", "lineItem/UsageEndDate"),
    "period": ("BillingPeriodStart", "bill_billing_period_start_date", "bill/BillingPeriodStartDate"),
    "currency": ("BillingCurrency", "line_item_currency_code", "lineItem/CurrencyCode"),
    "cost": ("EffectiveCost", "line_item_unblended_cost", "lineItem/UnblendedCost"),
    "list": ("ListCost", "pricing_public_on_demand_cost", "pricing/publicOnDemandCost"),
    "product": ("ServiceName", "line_item_product_code", "lineItem/ProductCode"),
    "account": ("SubAccountId", "line_item_usage_account_id", "lineItem/UsageAccountId"),
    "resource": ("ResourceId", "line_item_resource_id", "lineItem/ResourceId"),
    "meter": ("SkuId", "line_item_usage_type", "lineItem/UsageType"),
}  # fmt: skip
FORMATS = ("focus", "cur2", "cur")
TAGS = ("Tags", "resource_tags", "resourceTags/user:service")


@dataclass(frozen=True)
class Way:
    """How a bill is delivered.

    parts  files of one run; packing, table: of each; again: how it comes a second time
    """

    form: str
    parts: int
    table: str
    packing: str
    again: str
    encoding: str
    delimiter: str
    comma: bool
    title: bool
    end: str
    tags: str
    seed: int


ways = st.builds(
    Way,
    st.sampled_from(FORMATS),
    st.integers(1, 3),
    st.sampled_from(["csv", "csv", "parquet"]),
    st.sampled_from(["", "", "gz", "bz2", "zst", "zip", "tar.gz"]),
    st.sampled_from(["", "", "copy", "packed", "month to date", "run"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "windows-1252"]),
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["JSON", "bare", "nested"]),
    st.integers(0, 99),
)
bills = st.lists(
    st.tuples(
        st.integers(1, 28),
        st.integers(0, 23),
        st.sampled_from(["p", "q"]),
        st.sampled_from(["m-1", "m-2", None]),
        st.integers(-(10**7), 10**8),
        st.sampled_from(["good", "good", "good", "good", "EUR", "no time"]),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda row: row[:4],
)


def rows_of(bill: Sequence[tuple[Any, ...]], daily: bool) -> list[Row]:  # noqa: FBT001
    """Rows whose costs all differ, the first one good."""
    rows = []
    for n, (day, hour, account, resource, cents, kind) in enumerate(bill):
        good = kind == "good" or n == 0
        start = PERIOD + timedelta(days=day - 1, hours=0 if daily else hour)
        amount = (cents * 100 + n) / 10_000
        rows.append({
            "start": None if kind == "no time" and not good else start, "end": start + timedelta(hours=24 if daily else 1), "period": PERIOD,
            "currency": "EUR" if kind == "EUR" and not good else "USD", "cost": amount, "list": abs(amount) + 0.01, "product": f"Café {hour}",
            "account": account, "resource": resource, "meter": f"{day}-{hour}-{n}", "good": good,
        })  # fmt: skip
    return rows


def frame_of(rows: Sequence[Row], way: Way) -> pl.DataFrame:
    """In the format's columns, in any order; times as they are, tags in the way's shape."""
    place, shuffled = FORMATS.index(way.form), random.Random(way.seed)  # noqa: S311 - no secret
    columns = {names[place]: [row[key] for row in rows] for key, names in NAMES.items()}
    if way.form == "focus":
        columns["BilledCost"] = columns["EffectiveCost"]
        columns["ChargeCategory"] = ["Usage" for _ in rows]
    else:
        columns["line_item_line_item_type" if place == 1 else "lineItem/LineItemType"] = ["Usage" for _ in rows]  # fmt: skip
    tags = [{"service": f"s-{row['account']}"} for row in rows]
    if way.form == "cur":
        columns[TAGS[2]] = [one["service"] for one in tags]
    elif way.table == "parquet" and way.tags == "nested":
        columns[TAGS[place]] = tags
    else:
        cut = slice(1, -1) if way.tags == "bare" and way.form == "focus" else slice(None)
        columns[TAGS[place]] = [json.dumps(one)[cut] for one in tags]
    order = [*columns]
    shuffled.shuffle(order)
    frame = pl.DataFrame(columns).select(order)
    return frame.sample(fraction=1, shuffle=True, seed=way.seed)


def table_bytes(frame: pl.DataFrame, way: Way) -> bytes:
    if way.table == "parquet":
        out = io.BytesIO()
        frame.write_parquet(out)
        return out.getvalue()
    text = io.StringIO()
    writer = csv.writer(text, delimiter=way.delimiter, lineterminator=way.end)
    writer.writerow(frame.columns)
    for row in frame.iter_rows():
        writer.writerow([cell_text(value, way) for value in row])
    return (f"Export{way.end}" * way.title + text.getvalue()).encode(way.encoding)


def cell_text(value: object, way: Way) -> str:
    if isinstance(value, float):
        return f"{value:.4f}".replace(".", "," if way.comma else ".")
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value or "")


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, data)
    return out.getvalue()


def packed(name: str, data: bytes, packing: str) -> bytes:
    archives = {"": lambda _name, data: data, "zip": zipped, "tar.gz": tarred}
    return archives[packing](name, data) if packing in archives else PACKINGS[packing](data)


def put(folder: Path, stem: str, frame: pl.DataFrame, way: Way, packing: str) -> None:
    name = f"{stem}.{way.table}"
    file = folder / (f"{name}.{packing}" if packing else name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed(name, table_bytes(frame, way), packing))


def deliver(folder: Path, rows: list[Row], way: Way) -> bool:
    """Writes the bill below a folder; whether each row was delivered once."""
    if way.again == "run":  # the older run of two has only a part of the month
        for moment, some in (
            ("20260911T0000Z", rows[: len(rows) // 2 + 1]),
            ("20260912T0000Z", rows),
        ):
            put(folder / f"BILLING_PERIOD=2026-09/{moment}", "bill-1", frame_of(some, way), way, way.packing)  # fmt: skip
        return False
    if way.again == "month to date":
        for day in (10, 20, 30):
            some = [row for row in rows if row["end"] <= PERIOD + timedelta(days=day) or day == 30]
            if some:
                put(folder, f"bill-2026-09-{day}", frame_of(some, way), way, way.packing)
        return False
    for part in range(way.parts):
        some = rows[part :: way.parts]
        if not some:
            continue
        frame = frame_of(some, way)
        put(folder, f"bill-part-{part}", frame, way, way.packing)
        if way.again == "copy":
            put(folder, f"bill-part-{part} (1)", frame, way, way.packing)
        if way.again == "packed":
            put(folder / "packed", f"bill-part-{part}", frame, way, "gz" if way.packing == "" else "")  # fmt: skip
    return way.again == ""


def check(bill: list[tuple[Any, ...]], daily: bool, way: Way) -> None:  # noqa: FBT001
    rows = rows_of(bill, daily)
    good = [row for row in rows if row["good"]]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "costwhy.toml").write_text(
            f'[workspace]\nname = "a"\ncurrency = "USD"\n[[cost]]\nformat = "{way.form}"\npath = "bills/"\n'
        )
        once = deliver(folder / "bills", rows, way)
        ingest(read_workspace(folder))
        lake = open_lake(folder)
        hourly = lake.table("hourly")
        assert int(hourly["rows"].sum()) == len(good)
        for cost in ("BilledCost", "EffectiveCost"):
            assert hourly[cost].sum() == pytest.approx(sum(row["cost"] for row in good), abs=0.004)
        assert hourly["ListCost"].sum() == pytest.approx(
            sum(row["list"] for row in good), abs=0.004
        )
        assert set(hourly["hours"]) == ({24} if daily else {1})
        total = reconcile(lake).sums.filter(line="total")
        told = int(total["rows"].sum() + total["rows_set_aside"].sum())
        assert told == len(rows) if once else told >= len(rows)


EVERY = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # to shrink files takes minutes
)


@settings(EVERY, max_examples=40)
@given(bills, st.booleans(), ways)
def test_any_way_of_delivering_a_bill(bill, daily, way):
    check(bill, daily, way)


@pytest.mark.long
@settings(EVERY, max_examples=150)
@given(ways, st.booleans(), bills)
def test_many_ways_of_delivering_a_bill(way, daily, bill):
    check(bill, daily, way)
