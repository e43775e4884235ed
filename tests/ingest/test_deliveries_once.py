"""One month, however it is delivered, is counted once; what completes it is added; all else is said."""

import csv
import gzip
import io
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import polars as pl
import pytest

from costwhy.config import read_workspace
from costwhy.ingest.batch import IngestReport
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

HEAD = [
    "BilledCost",
    "EffectiveCost",
    "ListCost",
    "BillingCurrency",
    "BillingPeriodStart",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ProviderName",
    "ServiceName",
    "SubAccountId",
    "SkuId",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ResourceId",
    "Tags",
    "x_LineItemId",
]
TOML = (
    '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
)
DAY = 10.25  # dollars of each row
Row = dict[str, object]
ALPHA, BETA = "0f0f0f0f-1111-4222-8333-aaaaaaaaaaaa", "a1a1a1a1-1111-4222-8333-bbbbbbbbbbbb"


def row(day: int, cost: float = DAY, hour: int | None = None, **more: object) -> Row:
    """One row of September: a day of a machine, or an hour of it."""
    start = f"2026-09-{day:02}T{hour or 0:02}:00:00Z"
    end = (
        f"2026-09-{day:02}T{(hour or 0):02}:59:59Z"
        if hour is not None
        else f"2026-09-{day + 1:02}T00:00:00Z"
    )
    same: Row = {
        "BillingCurrency": "USD", "BillingPeriodStart": "2026-09-01T00:00:00Z",
        "ChargePeriodStart": start, "ChargePeriodEnd": end, "ChargeCategory": "Usage",
        "ProviderName": "Microsoft", "ServiceName": "Virtual Machines", "SubAccountId": "sub-1",
        "SkuId": "vm", "ConsumedQuantity": 24, "ConsumedUnit": "Hours", "ResourceId": "vm-0",
        "Tags": '{"service":"web"}', "x_LineItemId": "",
    }  # fmt: skip
    return same | dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost"), cost) | more


def days(first: int, last: int, cost: float = DAY, **more: object) -> list[Row]:
    return [row(day, cost, **more) for day in range(first, last + 1)]


def text_of(rows: Iterable[Row], names: list[str] = HEAD) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class Place:
    """A workspace whose bills are written by path."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.billing = folder, folder / "billing"
        self.billing.mkdir(parents=True)
        (folder / "costwhy.toml").write_text(TOML)

    def write(self, path: str, rows: list[Row]) -> Path:
        file = self.billing / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".parquet"):
            kinds = dict.fromkeys(("BilledCost", "EffectiveCost", "ListCost"), pl.Float64)
            pl.DataFrame(rows, schema_overrides=kinds).write_parquet(file)
        elif path.endswith(".gz"):
            file.write_bytes(gzip.compress(text_of(rows).encode(), mtime=0))
        else:
            file.write_text(text_of(rows))
        return file

    def manifest(self, path: str, content: object) -> None:
        file = self.billing / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))

    def ingest(self) -> IngestReport:
        return ingest(read_workspace(self.folder))

    @property
    def total(self) -> float:
        sums = {
            round(float(open_lake(self.folder).table(name)["EffectiveCost"].sum()), 6)
            for name in ("hourly", "daily", "overview")
        }
        assert len(sums) == 1, "all tables agree"
        return sums.pop()

    @property
    def aside(self) -> pl.DataFrame:
        return open_lake(self.folder).table("set_aside")

    @property
    def rows(self) -> int:
        return int(open_lake(self.folder).table("hourly")["rows"].sum())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def once(place: Place, dollars: float, *said: str) -> IngestReport:
    """The total; every word is said; every row is kept or set aside; a second ingest is idle."""
    report = place.ingest()
    assert place.total == pytest.approx(dollars, abs=0.004)
    reasons = open_lake(place.folder).table("files")["reason"].drop_nulls()
    told = "\n".join([*report.messages, *place.aside["reason"], *reasons])
    for word in said:
        assert word in told, told
    again = place.ingest()
    assert (again.version, again.read) == (report.version, 0), "a second ingest reads nothing"
    return report


# ---------------------------------------------------------------- runs of one export


def azure_run(place: Place, folder: str, rows: list[Row], **run: object) -> None:
    place.write(f"{folder}/part_0_0001.csv", rows)
    if run:
        blobs = [{"blobName": f"exports/{folder}/part_0_0001.csv", "byteCount": 1}]
        place.manifest(f"{folder}/manifest.json", {"runInfo": run, "blobs": blobs})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("costs/20260901-20260930/202609110400/zz", "costs/20260901-20260930/202609210400/aa"),
        ("acme/data/BILLING_PERIOD=2026-09/2026-09-11T04-00-00Z-zz", "acme/data/BILLING_PERIOD=2026-09/2026-09-21T04-00-00Z-aa"),
        ("acme/data/billing_period=2026-09/20260911T040000Z", "acme/data/billing_period=2026-09/20260921T040000Z"),
        ("acme/year=2026/month=9/deep/er/20260911T0400", "acme/year=2026/month=9/deep/er/20260921T0400"),
        ("acme/2026-09/2026-09-11_0400", "acme/2026-09/2026-09-21_0400"),
    ],
)  # fmt: skip
def test_the_newest_run_is_told_by_the_time_in_its_path(place: Place, old: str, new: str) -> None:
    early = place.write(f"{old}/x-00001.csv", days(1, 10))
    late = place.write(f"{new}/x-00001.csv", days(1, 20, cost=11.0))
    os.utime(early, (2_000_000_000, 2_000_000_000))
    os.utime(late, (1_000_000_000, 1_000_000_000))
    once(place, 20 * 11.0, "replaced by the run of 2026-09-21 04:00")
    assert place.aside.is_empty(), "what is replaced is not read"


@pytest.mark.parametrize("parts", [("20260911", "20260921"), ("2026-09-11", "2026-09-21"), ("v1", "v2"), ("run-9", "run-12")])  # fmt: skip
def test_a_date_or_a_number_alone_says_which_is_newer_where_the_rows_are_the_same_charges(
    place: Place, parts: tuple[str, str]
) -> None:
    place.write(f"acme/billing_period=2026-09/{parts[0]}/x-1.csv", days(1, 20))
    place.write(f"acme/billing_period=2026-09/{parts[1]}/x-1.csv", days(1, 20, cost=11.0))
    once(place, 220.0, "newer")
    assert (place.rows, place.aside["records"].sum()) == (20, 20)


def test_folders_of_days_below_a_period_complete_each_other(place: Place) -> None:
    for day in range(1, 5):
        place.write(f"acme/billing_period=2026-09/2026-09-{day:02}/x.csv", days(day, day))
    assert once(place, 4 * DAY).messages == ()


def test_a_manifest_dates_runs_whose_folders_are_ids(place: Place) -> None:
    azure_run(
        place, f"costs/20260901-20260930/{BETA}", days(1, 10), submittedTime="2026-09-11T04:00:00Z"
    )
    azure_run(
        place, f"costs/20260901-20260930/{ALPHA}", days(1, 20), submittedTime="2026-09-21T04:00:00Z"
    )
    once(place, 20 * DAY, "replaced by the run of 2026-09-21 04:00")


def test_runs_that_nothing_dates_are_counted_once_by_their_rows_and_both_sums_are_said(
    place: Place,
) -> None:
    azure_run(place, f"costs/20260901-20260930/{BETA}", days(1, 10, cost=10.0))
    azure_run(place, f"costs/20260901-20260930/{ALPHA}", days(1, 20))
    once(place, 20 * DAY, f"{20 * DAY:.2f} USD", f"{20 * DAY + 100:.2f} USD")


def test_runs_of_two_accounts_in_one_period_folder_do_not_replace_each_other(place: Place) -> None:
    period = "acme/BILLING_PERIOD=2026-09"
    place.write(f"{period}/one/2026-09-21T04-00-00Z-a/x.csv", days(1, 10))
    place.write(f"{period}/two/2026-09-20T04-00-00Z-b/x.csv", days(1, 10, SubAccountId="sub-2"))
    once(place, 20 * DAY)


def test_a_manifest_of_the_period_names_the_run_that_counts(place: Place) -> None:
    data = "acme/data/BILLING_PERIOD=2026-09"
    for run, cost in (("2026-09-11T04-00-00Z-a", 1.0), ("2026-09-21T04-00-00Z-b", 2.0)):
        place.write(f"{data}/{run}/acme-00001.csv.gz", days(1, 10, cost=cost))
        place.write(f"{data}/{run}/acme-00002.csv.gz", days(11, 20, cost=cost))
    names = [
        f"s3://bucket/billing/{data}/2026-09-11T04-00-00Z-a/acme-0000{k}.csv.gz" for k in (1, 2)
    ]
    place.manifest("acme/metadata/BILLING_PERIOD=2026-09/acme-Manifest.json", {"dataFiles": names})
    once(place, 20.0, "does not name it")


@pytest.mark.parametrize("spoilt", ["[]", "{", '{"dataFiles": 3}', '{"blobs": [{"blobName": null}]}', '{"dataFiles": ["elsewhere/x.csv"]}', "[" * 100_000])  # fmt: skip
def test_a_manifest_that_is_none_changes_nothing(place: Place, spoilt: str) -> None:
    place.write("acme/BILLING_PERIOD=2026-09/acme-00001.csv", days(1, 10))
    (place.billing / "acme/BILLING_PERIOD=2026-09/acme-Manifest.json").write_text(spoilt)
    once(place, 10 * DAY)


def test_a_new_run_replaces_the_old_one_whole(place: Place) -> None:
    azure_run(place, "costs/20260901-20260930/202609110400", days(1, 10, ResourceId="vm-9"))
    place.ingest()
    azure_run(place, "costs/20260901-20260930/202609210400", days(1, 20))
    once(place, 20 * DAY)


# ---------------------------------------------------------------- copies


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bill.csv", "bill (1).csv"),
        ("bill.csv", "bill - Copy.csv"),
        ("bill.csv", "copy of bill.csv"),
        ("bill.csv", "old/backup/bill.csv"),
        ("a/BILLING_PERIOD=2026-09/x-1.csv", "b/BILLING_PERIOD=2026-09/x-1.csv"),
        ("BILLING_PERIOD=2026-09/x-1.csv", "BILLING_PERIOD=2026-09/x-1 (1).csv"),
    ],
)
def test_identical_files_are_one_file(place: Place, one: str, other: str) -> None:
    place.write(one, days(1, 20))
    place.write(other, days(1, 20))
    report = once(place, 20 * DAY, f"the same contents as billing/{one}")
    assert (report.read, place.aside.height) == (1, 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("bill.csv", "bill.csv.gz"),
        ("bill.csv", "bill.parquet"),
        ("acme/BILLING_PERIOD=2026-09/x-00001.csv.gz", "acme/BILLING_PERIOD=2026-09/x-00001.snappy.parquet"),
        ("one/BILLING_PERIOD=2026-09/x.csv", "two/billing_period=2026-09/other.parquet"),
        ("bill.csv", "acme/BILLING_PERIOD=2026-09/x.csv.gz"),
    ],
)  # fmt: skip
def test_a_bill_packed_or_encoded_anew_counts_once(place: Place, one: str, other: str) -> None:
    place.write(one, days(1, 20))
    place.write(other, [*reversed(days(1, 20))])
    once(place, 20 * DAY, "the same rows are counted from")
    aside = place.aside
    assert aside["records"].sum() == 20
    assert aside["BilledCost"].sum() == pytest.approx(20 * DAY)
    assert (aside["billing_period"].unique().to_list(), aside.height) == (["2026-09"], 1)


def test_parts_of_one_run_are_never_compared(place: Place) -> None:
    for part in ("part_0_0001", "part_1_0001", "part_2_0001"):
        place.write(f"costs/20260901-20260930/202609210400/{part}.csv", days(1, 5))
    assert once(place, 15 * DAY).messages == ()


# ---------------------------------------------------------------- dumps, windows, exports


def test_of_a_dump_a_day_the_newest_counts(place: Place) -> None:
    for day in range(1, 8):
        place.write(f"focus-2026-09-{day:02}.csv", days(1, day, cost=10.0 + day))
    once(place, 7 * 17.0, "focus-2026-09-07.csv")
    assert (place.rows, place.aside["records"].sum()) == (7, 1 + 2 + 3 + 4 + 5 + 6)
    assert place.aside.height == 6, "one row for each pair of files"


@pytest.mark.parametrize(
    "layout", ["dumps/2026-09-{:02}/focus.csv", "focus_202609{:02}.csv", "dump_v{}.csv"]
)
def test_a_dump_a_day_in_other_layouts(place: Place, layout: str) -> None:
    for day in range(1, 12, 5):
        place.write(layout.format(day), days(1, day))
    once(place, 11 * DAY)


def test_a_dump_whose_tags_and_last_hours_came_later_counts_once(place: Place) -> None:
    def hours(last: int, **more: object) -> list[Row]:
        return [row(k // 24 + 1, 1.0, k % 24, **more) for k in range(last)]

    place.write("focus-2026-09-03.csv", hours(60))
    place.write("focus-2026-09-04.csv", hours(90, Tags='{"service":"shop"}', SubAccountName="Shop"))
    once(place, 90.0)


def test_a_day_a_file_completes(place: Place) -> None:
    for day in range(1, 8):
        place.write(f"focus-2026-09-{day:02}.csv", days(day, day))
    assert once(place, 7 * DAY).messages == ()


def test_rolling_windows_count_each_day_from_the_newest(place: Place) -> None:
    for first in range(1, 4):
        path = (
            f"week/202609{first:02}-202609{first + 6:02}/202609{first + 7:02}0400/part_0_0001.csv"
        )
        place.write(path, days(first, first + 6, cost=10.0 + first))
    # day 1 from the first window, day 2 from the second, days 3 to 9 from the third
    once(place, 11.0 + 12.0 + 7 * 13.0)


def test_a_window_that_begins_at_noon_does_not_replace_the_morning(place: Place) -> None:
    def hours(first: int, last: int, cost: float) -> list[Row]:
        return [row(k // 24 + 1, cost, k % 24) for k in range(first, last)]

    place.write("last-2026-09-03.csv", hours(0, 48, 1.0))
    place.write("last-2026-09-04.csv", hours(12, 60, 2.0))
    # the first day is whole in the older file only, the second is whole in both
    once(place, 24 * 1.0 + 36 * 2.0)


@pytest.mark.parametrize("restated", [DAY, 9.0])
def test_a_one_time_export_beside_the_daily_one_counts_once(place: Place, restated: float) -> None:
    place.write(
        "onetime/20260901-20260909/6f0c/part_0_0001.csv", [*days(1, 7), *days(8, 9, restated)]
    )
    place.write("daily/20260901-20260930/9a1b/part_0_0001.csv", days(1, 20))
    both = 27 * DAY + 2 * restated
    said = (
        ["the same rows are counted from"]
        if restated == DAY
        else [f"{20 * DAY:.2f} USD", f"{both:.2f} USD"]
    )
    once(place, 20 * DAY, "daily/20260901-20260930", *said)
    assert place.aside["records"].sum() == 9


def test_the_covered_delivery_leaves_the_lake_and_comes_back_when_the_other_shrinks(
    place: Place,
) -> None:
    place.write("onetime/20260901-20260909/6f0c/part_0_0001.csv", days(1, 9))
    once(place, 9 * DAY)
    daily = place.write("daily/20260901-20260930/9a1b/part_0_0001.csv", days(1, 20))
    once(place, 20 * DAY)
    daily.write_text(text_of(days(10, 20)))
    once(place, 20 * DAY)
    assert place.aside.is_empty()


def test_windows_that_overlap_add_up_to_the_days_of_both(place: Place) -> None:
    place.write("a.csv", days(1, 20))
    place.write("b.csv", days(15, 30 - 1))
    once(place, 29 * DAY, "the same rows are counted from")
    assert (place.rows, place.aside["records"].sum()) == (29, 6)


def test_a_part_of_the_accounts_in_both_files_counts_once(place: Place) -> None:
    def of(*accounts: int) -> list[Row]:
        return [one for k in accounts for one in days(1, 5, 10.0 * k, SubAccountId=f"sub-{k}")]

    place.write("a.csv", of(1, 2))
    place.write("b.csv", of(2, 3))
    once(place, 5 * (10.0 + 20.0 + 30.0))


def test_a_few_rows_in_both_files_count_once_and_both_sums_are_said(place: Place) -> None:
    def of(*machines: int) -> list[Row]:
        return [one for k in machines for one in days(1, 2, 10.0 + k, ResourceId=f"vm-{k}")]

    place.write("a.csv", of(1, 2, 3, 4, 5))
    place.write("b.csv", of(5, 6, 7, 8, 9))
    whole = 2 * sum(10.0 + k for k in range(1, 10))
    once(place, whole, f"{whole:.2f} USD", f"{whole + 30:.2f} USD")


def test_the_same_bill_by_the_hour_and_by_the_day_counts_once(place: Place) -> None:
    hourly = [row(day, 0.5, hour, ConsumedQuantity=1) for day in range(1, 5) for hour in range(24)]
    place.write("hourly/20260901-20260930/a/x.csv", hourly)
    place.write("daily/20260901-20260930/b/x.csv", days(1, 4, 12.0))
    once(place, 4 * 12.0)
    assert place.rows == 96, "the finer one counts"


# ---------------------------------------------------------------- what is not the same


def test_two_halves_with_the_same_file_names_are_added(place: Place) -> None:
    place.write("onetime/20260901-20260915/6f0c/part_0_0001.csv", days(1, 15))
    place.write("onetime/20260916-20260930/77aa/part_0_0001.csv", days(16, 29))
    assert once(place, 29 * DAY).messages == ()


@pytest.mark.parametrize(
    "other",
    [
        {"SubAccountId": "sub-2"},
        {"SkuId": "disk"},
        {"ResourceId": "vm-1"},
        {"ServiceName": "Storage"},
        {"x_LineItemId": "z"},
        {"Tags": '{"service":"shop"}'},
        {"ConsumedQuantity": 12},
    ],
)
def test_rows_that_differ_in_one_thing_only_are_added(place: Place, other: Row) -> None:
    place.write("a.csv", days(1, 5, x_LineItemId="a"))
    place.write("b.csv", days(1, 5, **({"x_LineItemId": "a"} | other)))
    once(place, 10 * DAY)


def test_equal_rows_inside_one_file_are_two_rows(place: Place) -> None:
    place.write("a.csv", [*days(1, 5), *days(1, 5)])
    place.write("b.csv", days(6, 9))
    once(place, 14 * DAY)


def test_hours_of_one_machine_split_over_two_files_are_added(place: Place) -> None:
    hours = [row(day, 1.0, hour) for day in (1, 2) for hour in range(24)]
    place.write("a.csv", hours[::2])
    place.write("b.csv", hours[1::2])
    once(place, 48.0)


def test_the_same_charges_with_other_costs_in_unrelated_files_are_added_and_said(
    place: Place,
) -> None:
    place.write("payer-a/20260901-20260930/r/x.csv", days(1, 5))
    place.write("payer-b/20260901-20260930/r/x.csv", days(1, 5, cost=3.0))
    once(place, 5 * DAY + 15.0, "both are counted", f"{5 * DAY + 15:.2f} USD")


# ---------------------------------------------------------------- what stays, what goes


def test_a_file_that_cannot_be_read_keeps_the_whole_month_as_it_was(place: Place) -> None:
    place.write("onetime/20260901-20260909/6f0c/part_0_0001.csv", days(1, 9))
    daily = place.write("daily/20260901-20260930/9a1b/part_0_0001.csv", days(1, 20))
    place.ingest()
    daily.write_bytes(b"PAR1 no more")
    place.ingest()
    assert place.total == 20 * DAY, "what the broken file had is not counted from the other one too"
    place.write("daily/20260901-20260930/9a1b/part_0_0001.csv", days(1, 21))
    once(place, 21 * DAY)


def test_a_new_delivery_that_cannot_be_read_does_not_hold_up_the_others(place: Place) -> None:
    place.write("a/20260901-20260930/6f0c/part_0_0001.csv", days(1, 9))
    place.write("b/20260901-20260930/9a1b/part_0_0001.parquet", days(1, 20)).write_bytes(b"PAR1")
    report = place.ingest()
    assert place.total == 9 * DAY
    assert place.ingest().version == report.version


def test_bills_that_move_into_folders_of_periods_do_not_count_twice(place: Place) -> None:
    place.write("x.csv", days(1, 9))
    place.ingest()
    (place.billing / "acme/BILLING_PERIOD=2026-09").mkdir(parents=True)
    shutil.move(place.billing / "x.csv", place.billing / "acme/BILLING_PERIOD=2026-09/x.csv")
    once(place, 9 * DAY)


def test_a_period_that_vanishes_stays(place: Place) -> None:
    place.write("acme/BILLING_PERIOD=2026-09/x.csv", days(1, 9))
    place.write(
        "acme/BILLING_PERIOD=2026-10/x.csv", days(1, 9, BillingPeriodStart="2026-10-01T00:00:00Z")
    )
    place.ingest()
    shutil.rmtree(place.billing / "acme/BILLING_PERIOD=2026-09")
    once(place, 18 * DAY)


def test_one_bill_under_two_entries_is_said_and_both_are_counted(place: Place) -> None:
    more = '[[cost]]\nformat = "focus"\npath = "second/"\n'
    (place.folder / "costwhy.toml").write_text(TOML + more)
    place.write("x.csv", days(1, 9))
    place.write("../second/y.csv", [*reversed(days(1, 9))])
    for _ in range(2):
        told = "\n".join(place.ingest().messages)
        assert (
            "`cost[0]` and `cost[1]` have the same total for sub-1 in 2026-09 (92.25 USD)" in told
        )
    assert place.total == 18 * DAY


def test_windows_that_overlap_within_a_day_count_each_hour_once(place: Place) -> None:
    hours = [row(k // 24 + 1, 1.0, k % 24, ConsumedQuantity=1) for k in range(96)]
    place.write("a/20260901-20260902/x/p.csv", hours[:46])
    place.write("b/20260902-20260905/y/p.csv", hours[22:])
    once(place, 96.0, "the same rows are counted from")
    assert (place.rows, place.aside["records"].sum()) == (96, 24)


def test_windows_compared_by_the_hour_beside_a_file_that_cannot_be_read(place: Place) -> None:
    hours = [row(k // 24 + 1, 1.0, k % 24, ConsumedQuantity=1) for k in range(96)]
    place.write("a/20260901-20260902/x/p.csv", hours[:46])
    place.write("b/20260902-20260905/y/p.csv", hours[22:])
    place.write("c/20260902-20260905/z/p.parquet", hours).write_bytes(b"PAR1")
    report = place.ingest()
    assert place.total == pytest.approx(96.0)
    assert "z/p.parquet" in "\n".join(report.messages)
    assert place.ingest().version == report.version


# ---------------------------------------------------------------- what an attack found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2026-09/Kosten_10.09.2026.csv", "2026-09/Kosten_20.09.2026.csv"),
        ("2026-09/costs-09-10-2026.csv", "2026-09/costs-09-20-2026.csv"),
        ("2026-09/focus-run-1.csv", "2026-09/focus-run-2.csv"),
        ("2026-09/week 36.csv", "2026-09/week 37.csv"),
        ("2026-09/focus-1789000000.csv", "2026-09/focus-1789900000.csv"),
        ("2026-09/export-1.csv", "2026-09/export-2.csv"),
        ("costs_0910.csv", "costs_0920.csv"),
        ("Kosten_10.09.2026.csv", "Kosten_20.09.2026.csv"),
    ],
)
def test_a_month_to_date_is_no_part_whatever_its_number_is(
    place: Place, old: str, new: str
) -> None:
    place.write(old, days(1, 10))
    place.write(new, days(1, 20))
    once(place, 20 * DAY, "counted from")


@pytest.mark.parametrize("name", ["rep-{}.csv", "rep_{}.csv", "{}.csv"])
def test_bare_numbers_of_parts_stay_parts(place: Place, name: str) -> None:
    for k in (1, 2, 3):
        place.write(f"2026-09/{name.format(k)}", days(1, 10, ResourceId=f"vm-{k}"))
    assert once(place, 30 * DAY).messages == ()


@pytest.mark.parametrize("folder", ["123456789012", "2026", "backup 2026-10-09"])
def test_a_folder_does_not_hide_the_date_in_the_name(place: Place, folder: str) -> None:
    place.write(f"{folder}/focus_2026-09-30.csv", days(1, 20))
    place.write(f"{folder}/focus_2026-10-05.csv", days(1, 20, cost=9.0))
    once(place, 180.0, "replaced by what is newer")


def test_folders_of_accounts_are_no_runs(place: Place) -> None:
    place.write("1001/bill.csv", days(1, 10, SubAccountId=""))
    place.write("1002/bill.csv", days(1, 10, cost=3.0, SubAccountId=""))
    once(place, 10 * DAY + 30.0, "both are counted")


@pytest.mark.parametrize(
    "layout", ["f/billing_period=2026-09/dt=2026-09-{:02}T01/x.csv", "f/2026-09/2026-09-{:02}T00-00-00Z/x.csv"]
)  # fmt: skip
def test_folders_of_hours_complete_each_other(place: Place, layout: str) -> None:
    for day in (1, 2, 3):
        place.write(layout.format(day), days(day, day))
    once(place, 3 * DAY)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"ResourceId": "vm-0"}, {"ResourceId": ""}),
        ({"RegionId": "East US"}, {"RegionId": "eastus"}),
        ({"ProviderName": "AWS"}, {"ProviderName": "Amazon Web Services"}),
        ({"ResourceId": "/SUBSCRIPTIONS/A/vm-0"}, {"ResourceId": "/subscriptions/a/vm-0"}),
    ],
)
def test_one_bill_in_two_shapes_counts_once(place: Place, before: Row, after: Row) -> None:
    names = [*HEAD, "RegionId"]
    for name, shape in (("one", before), ("two", after)):
        file = place.write(f"{name}/BILLING_PERIOD=2026-09/a-00001.csv", [])
        file.write_text(text_of(days(1, 20, **shape), names))
    once(place, 20 * DAY, "the same rows are counted from")


def test_hours_with_resources_and_days_without_count_once(place: Place) -> None:
    hours = [
        row(day, 0.5, hour, ResourceId=f"vm-{k}")
        for day in range(1, 6) for hour in range(24) for k in range(2)
    ]  # fmt: skip
    place.write("hourly/BILLING_PERIOD=2026-09/h-00001.csv", hours)
    place.write("daily/BILLING_PERIOD=2026-09/d-00001.csv", days(1, 5, cost=24.0, ResourceId=""))
    once(place, 120.0, "the same rows are counted from")


def test_halves_of_a_bill_one_without_resources_complete_each_other(place: Place) -> None:
    place.write("machines.csv", days(1, 10))
    place.write("support.csv", days(1, 10, ResourceId="", ServiceName="Support"))
    assert once(place, 20 * DAY).messages == ()


def test_a_correction_is_added_to_what_it_corrects(place: Place) -> None:
    place.write("focus-2026-09-30.csv", days(1, 20))
    place.write("focus-2026-10-03.csv", days(3, 7, cost=-3.0))
    once(place, 20 * DAY - 15.0)


def test_an_account_that_a_newer_file_lacks_stays(place: Place) -> None:
    other = days(1, 10, cost=6.0, SubAccountId="sub-2")
    place.write("focus-2026-09-20.csv", [*days(1, 20), *other])
    place.write("focus-2026-09-21.csv", days(1, 20))
    once(place, 20 * DAY + 60.0)


def test_manifests_of_two_exports_in_one_folder_both_count(place: Place) -> None:
    folder = "BILLING_PERIOD=2026-09"
    for name, account in (("acctA", "a"), ("acctB", "b")):
        place.write(f"{folder}/{name}-00001.csv", days(1, 10, SubAccountId=account))
        named = {"dataFiles": [f"s3://bucket/{folder}/{name}-00001.csv"]}
        place.manifest(f"{folder}/{name}-Manifest.json", named)
    once(place, 20 * DAY)


def test_manifests_of_two_months_in_one_flat_folder_both_count(place: Place) -> None:
    for month in ("08", "09"):
        start = {"BillingPeriodStart": f"2026-{month}-01T00:00:00Z"}
        moment = {"ChargePeriodStart": f"2026-{month}-02T00:00:00Z", "ChargePeriodEnd": f"2026-{month}-03T00:00:00Z"}  # fmt: skip
        place.write(f"focus-2026-{month}-00001.csv", [row(2, **start, **moment)])
        named = {"dataFiles": [f"s3://b/BILLING_PERIOD=2026-{month}/focus-2026-{month}-00001.csv"]}
        place.manifest(f"focus-2026-{month}-Manifest.json", named)
    once(place, 2 * DAY)


def test_exports_of_two_subscriptions_with_one_name_both_count(place: Place) -> None:
    for k, (run, account) in enumerate(((ALPHA, "a"), (BETA, "b"))):
        folder = f"costs/20260901-20260930/20260921040{k}/{run}"
        place.write(f"{folder}/part_0_0001.csv", days(1, 10, SubAccountId=account))
        content = {
            "exportConfig": {"exportName": "costs", "resourceId": f"/subscriptions/{account}"},
            "runInfo": {"submittedTime": f"2026-09-21T04:0{k}:00Z"},
            "blobs": [{"blobName": f"exports/{folder}/part_0_0001.csv"}],
        }
        place.manifest(f"{folder}/manifest.json", content)
    once(place, 20 * DAY)


@pytest.mark.parametrize("name", ["bill*.csv", "bill?.csv", "bill[1].csv"])
def test_a_name_is_never_a_pattern(place: Place, name: str) -> None:
    place.write(name, days(1, 5))
    place.write("bill1.csv", days(6, 10, cost=3.0))
    place.write("bill-other.csv", days(11, 15, cost=2.0))
    once(place, 5 * DAY + 15.0 + 10.0)
    assert place.aside.is_empty()


def test_a_link_to_a_folder_or_to_nothing_is_named(place: Place, tmp_path: Path) -> None:
    place.write("111/bill.csv", days(1, 5))
    (tmp_path / "elsewhere").mkdir()
    (place.billing / "222").symlink_to(tmp_path / "elsewhere")
    (place.billing / "august.csv").symlink_to(tmp_path / "gone.csv")
    once(place, 5 * DAY, "a link to a folder", "a link to a file that is not there")


# ---------------------------------------------------------------- spellings


@pytest.mark.parametrize(
    ("written", "cost"),
    [("US$12.50", 12.5), ("USD 12.50", 12.5), ("(USD 3.00)", -3.0), ("-US$1,234.50", -1234.5), ("12.50EUR", 12.5)],
)  # fmt: skip
def test_costs_with_a_currency_are_read(place: Place, written: str, cost: float) -> None:
    place.write("bill.csv", [row(1), row(2, written)])  # type: ignore[arg-type]
    once(place, DAY + cost)


@pytest.mark.parametrize(
    "written", ["9/13/2026, 12:00:00 AM", "20260913T000000Z", "13.09.2026", "9/13/2026 00:00"]
)
def test_times_as_portals_write_them_are_read(place: Place, written: str) -> None:
    file = place.write("bill.csv", [row(1), row(13, ChargePeriodStart=written)])
    once(place, 2 * DAY)
    hours = open_lake(place.folder).table("overview")["hour"]
    assert file.exists()
    assert f"{hours.max():%Y-%m-%d}" == "2026-09-13"


def test_an_export_that_was_renamed_and_restated_counts_once(place: Place) -> None:
    place.write("exp/BILLING_PERIOD=2026-09/x-00001.csv", days(1, 20))
    place.ingest()
    shutil.rmtree(place.billing / "exp")
    place.write("exp2/BILLING_PERIOD=2026-09/x-00001.csv", days(1, 20, cost=12.0))
    once(place, 240.0, "its files are gone")


def test_files_of_a_flat_folder_that_go_away_are_named(place: Place) -> None:
    for day in range(1, 11):
        place.write(f"costs-2026-09-{day:02}.csv", days(day, day))
    place.ingest()
    for day in range(1, 6):
        (place.billing / f"costs-2026-09-{day:02}.csv").unlink()
    once(place, 5 * DAY, "no longer there", "costs-2026-09-01.csv", "and 2 more")
