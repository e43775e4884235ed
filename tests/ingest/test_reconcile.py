"""The reconciliation of a lake: rows in the files = rows that count + rows set aside, in money too."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from costwhy import tables
from costwhy.config import read_workspace
from costwhy.ingest.batch import UNREADABLE
from costwhy.ingest.ingest import ingest
from costwhy.ingest.left_out import left_out, left_out_words
from costwhy.ingest.reconcile import reconcile
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import Lake, SnapshotInfo, open_lake, write

HEAD = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName,Tags"
SOURCES = {"sources": [{"key": "cost[0]", "format": "focus", "path": "billing/"},
                       {"key": "cost[1]", "format": "cur", "path": "billing/cur"}]}  # fmt: skip
AMOUNTS = ("BilledCost", "EffectiveCost")


def bill(delivery: str, period: str, rows: int, billed: float) -> dict[str, object]:
    """Facts of one hour; the effective cost is half of what was billed."""
    money = {"BilledCost": billed, "EffectiveCost": billed / 2}
    return {"delivery": delivery, "billing_period": period, "rows": rows, **money}


def aside(delivery: str, reason: str, records: int, **more: object) -> dict[str, object]:
    return {"delivery": delivery, "source": "cost", "file": "a.csv", "reason": reason,
            "records": records, **more}  # fmt: skip


@pytest.fixture
def lake_of(tmp_path: Path) -> Callable[..., Lake]:
    """A lake with these rows, by table."""

    def make(**rows: list[dict[str, object]]) -> Lake:
        changes = {
            name: Replacement(tables.BY_NAME[name].of(found)) for name, found in rows.items()
        }
        write(tmp_path, SnapshotInfo("acme", "USD", SOURCES), changes)
        return open_lake(tmp_path)

    return make


def lines(frame: pl.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return frame.select(columns).rows()


def test_each_source_period_and_currency_is_a_line_and_each_currency_a_total(lake_of) -> None:
    """Of USD: 100 + 50 - 30.10 = 119.90 billed; of EUR what was set aside, 5 rows with 340.10."""
    lake = lake_of(
        hourly=[bill("focus:billing:2026-09", "2026-09", 10, 100.0),
                bill("focus:billing:2026-10", "2026-10", 5, 50.0),
                bill("cur:billing/cur:2026-10", "2026-10", 1, -30.1)],
        deliveries=[{"delivery": "focus:billing:2026-09", "files": ["a.csv", "b.csv"]},
                    {"delivery": "focus:billing:2026-10", "files": ["b.csv"]},
                    {"delivery": "cur:billing/cur:2026-10", "files": ["c.csv"]}],
        set_aside=[aside("focus:billing:2026-09", "in EUR", 5, billing_period="2026-09",
                         BillingCurrency="EUR", BilledCost=340.1, EffectiveCost=340.1)],
    )  # fmt: skip
    sums = reconcile(lake).sums
    names = ("line", "source", "billing_period", "BillingCurrency", "files", "rows", "BilledCost", "rows_set_aside", "BilledCost_set_aside")  # fmt: skip
    assert lines(sums, *names) == [
        ("period", "cur:billing/cur", "2026-10", "USD", 1, 1, -30.1, 0, 0.0),
        ("period", "focus:billing", "2026-09", "USD", 2, 10, 100.0, 0, 0.0),
        ("period", "focus:billing", "2026-09", "EUR", 0, 0, 0.0, 5, 340.1),
        ("period", "focus:billing", "2026-10", "USD", 1, 5, 50.0, 0, 0.0),
        ("total", None, None, "USD", 3, 16, 119.9, 0, 0.0),
        ("total", None, None, "EUR", 0, 0, 0.0, 5, 340.1),
    ]
    assert dict(sums.schema) == dict(tables.RECONCILIATION.schema)


def test_sums_are_in_cents_without_noise_and_zero_is_not_negative(lake_of) -> None:
    """0.1 + 0.2 is 0.30000000000000004 to a computer; -0.001 is nothing to an invoice."""
    one, two = (bill("focus:billing", "2026-09", 1, value) for value in (0.1, 0.2))
    sums = reconcile(lake_of(hourly=[one, two, bill("focus:billing", "2026-10", 1, -0.001)])).sums
    assert sums["BilledCost"].to_list() == [0.3, 0.0, 0.3]
    assert str(sums["BilledCost"][1]) == "0.0"


def test_an_amount_that_is_not_known_is_null_and_its_rows_are_counted(lake_of) -> None:
    """As in a lake of a former version: no period, no currency, no amounts. NaN is not known."""
    nan = dict.fromkeys(AMOUNTS, float("nan"))
    lake = lake_of(
        hourly=[bill("focus:billing", "2026-09", 1, 1.0)],
        set_aside=[aside("focus:billing", "no time", 7), aside("focus:billing", "odd", 2, **nan)],
    )
    row = reconcile(lake).sums.filter(pl.col("BillingCurrency").is_null()).to_dicts()[0]
    assert (row["billing_period"], row["rows_set_aside"], row["rows"]) == (None, 9, 0)
    assert (row["BilledCost_set_aside"], row["EffectiveCost_set_aside"]) == (None, None)
    assert row["BilledCost"] == 0.0


def test_a_row_with_one_known_amount_is_told_with_it(lake_of) -> None:
    known = {"billing_period": "2026-09", "BillingCurrency": "USD", "BilledCost": 4.0}
    lake = lake_of(set_aside=[aside("focus:billing", "EffectiveCost is missing", 3, **known)])
    row = reconcile(lake).sums.to_dicts()[0]
    assert (row["BilledCost_set_aside"], row["EffectiveCost_set_aside"]) == (4.0, None)
    assert row["rows_of_unknown_cost"] == 0
    assert left_out(lake) == "3 rows of the bill, 4.00 USD, were set aside"


def test_files_that_were_not_read_are_no_rows(lake_of) -> None:
    """Of `files`, and of deliveries that cannot be read; one in both is there once."""
    bad = f"focus:billing:2026-09{UNREADABLE}"
    gone = {"source": "focus:billing", "file": "a.csv", "state": "not read", "bytes": 9}
    lake = lake_of(
        set_aside=[aside(bad, "not CSV", 1), aside(bad, "no Parquet", 1, file="b.parquet")],
        files=[gone | {"reason": "not CSV"}, gone | {"file": "c.zip", "reason": "ZIP", "bytes": 80},
               gone | {"file": "d.csv", "state": "read", "reason": "month to date"}],
    )  # fmt: skip
    found = reconcile(lake)
    assert found.sums.is_empty()
    assert found.reasons.is_empty()
    assert lines(found.not_read, "source", "file", "bytes", "reason") == [
        ("focus:billing", "c.zip", 80, "ZIP"),
        ("focus:billing", "a.csv", 9, "not CSV"),
        ("focus:billing", "b.parquet", None, "no Parquet"),
    ]
    assert found.notes == ("d.csv: month to date",)
    assert left_out(lake) == "3 files were not read"


def test_what_is_left_out_in_one_sentence() -> None:
    of_bill = {"source": "cost", "file": "a", "reason": "r", "BillingCurrency": "USD"}
    reasons = tables.REASONS.of([
        of_bill | {"records": 11, "BilledCost": 340.1},
        of_bill | {"records": 1, "BillingCurrency": "EUR", "EffectiveCost": -5.0},
        {"source": "cloudtrail", "file": "b", "reason": "r", "records": 1},
    ])  # fmt: skip
    none = tables.NOT_READ.empty()
    one = tables.NOT_READ.of([("focus:billing", "c.zip", 1, "ZIP")])
    assert left_out_words(reasons, one) == (
        "12 rows of the bill, -5.00 EUR and 340.10 USD, and 1 other record were set aside; "
        "1 file was not read"
    )
    assert left_out_words(reasons[2:], none) == "1 record was set aside"
    assert left_out_words(reasons[:0], none) == ""


# ---------------------------------------------------------------- after an ingest


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """September in a.csv and b.csv, October in b.csv; two rows without a time."""
    (tmp_path / "billing").mkdir()
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    )
    row = '2026-{0}-01T00:00:00Z,,2026-{0}-01T00:00:00Z,USD,1.5,1.5,S3,"{{}}"'.format
    broken = "?,,2026-10-01T00:00:00Z,USD,7,7,S3,"
    for name, rows in {
        "a": [row("09").replace("S3", "EC2")],
        "b": [row("09"), row("10"), broken, broken],
    }.items():
        (tmp_path / "billing" / f"{name}.csv").write_text("\n".join([HEAD, *rows, ""]))
    return tmp_path


def test_rows_in_the_files_are_rows_that_count_and_rows_set_aside(workspace: Path) -> None:
    ingest(read_workspace(workspace))
    total = reconcile(open_lake(workspace)).sums.filter(line="total")
    assert total["rows"].sum() + total["rows_set_aside"].sum() == 5


def test_a_file_counts_in_the_months_that_its_rows_name_and_once_in_the_total(workspace) -> None:
    ingest(read_workspace(workspace))
    sums = reconcile(open_lake(workspace)).sums.filter(
        BillingCurrency="USD", source="focus:billing"
    )
    read = sums.filter(pl.col("rows") > 0)
    assert lines(read, "billing_period", "files") == [("2026-09", 2), ("2026-10", 1)]
    total = reconcile(open_lake(workspace)).sums.filter(line="total", BillingCurrency="USD")
    assert total["files"].to_list() == [2]


def test_what_to_know_of_a_bill_stays_with_it_when_nothing_is_read(workspace: Path) -> None:
    first, again = (ingest(read_workspace(workspace)) for _ in range(2))
    assert (again.read, again.messages) == (0, ())
    assert any("billing/ has no column ChargeCategory" in one for one in first.messages)
    assert reconcile(open_lake(workspace)).notes == first.messages


def test_what_was_mended_is_not_said_again(workspace: Path) -> None:
    ingest(read_workspace(workspace))
    for name in "ab":
        file = workspace / "billing" / f"{name}.csv"
        head, *rows = file.read_text().splitlines()
        rows = [f"{row},Usage" for row in rows]
        file.write_text("\n".join([f"{head},ChargeCategory", *rows, ""]))
    ingest(read_workspace(workspace))
    assert not any("ChargeCategory" in text for text in reconcile(open_lake(workspace)).notes)
