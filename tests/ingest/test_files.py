"""Nothing passed over: every file below a source is read, or named as not read with its size."""

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from packings import PACKINGS, protected, tarred, zipped

from costwhy.config import read_workspace
from costwhy.errors import ConfigError, CostwhyError, SourceError
from costwhy.ingest.batch import IngestReport
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

TOML = """[workspace]
name = "acme"
currency = "USD"
[[cost]]
format = "{}"
path = "billing/"
"""
HEAD = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName,Tags"
# FOCUS 1.3's second data set
COMMITMENT = (
    "ContractCommitmentId,ContractCommitmentCategory,ContractCommitmentCost,ContractId,"
    "ContractCommitmentPeriodStart,ContractPeriodStart,BillingCurrency\n"
    "c-1,Spend,5000,k-1,2026-01-01T00:00:00Z,2026-01-01T00:00:00Z,USD\n"
)
CUR = "lineItem/UsageStartDate,bill/BillingPeriodStartDate,lineItem/LineItemType,lineItem/UnblendedCost,lineItem/CurrencyCode,lineItem/ProductCode"


def bill(cost: float, month: str = "2026-10", day: int = 1) -> bytes:
    return (
        f"{HEAD}\n{month}-{day:02}T00:00:00Z,,{month}-01T00:00:00Z,USD,{cost},{cost},S3,\n".encode()
    )


def cur(cost: float, month: str) -> bytes:
    return f"{CUR}\n{month}-01T00:00:00Z,{month}-01T00:00:00Z,Usage,{cost},USD,AmazonEC2\n".encode()


@pytest.fixture
def billing(tmp_path: Path) -> Path:
    (tmp_path / "costwhy.toml").write_text(TOML.format("focus"))
    (tmp_path / "billing").mkdir()
    return tmp_path / "billing"


def run(billing: Path) -> IngestReport:
    return ingest(read_workspace(billing.parent))


def money(billing: Path) -> dict[str, float]:
    rows = open_lake(billing.parent).table("hourly").group_by("billing_period")
    return dict(rows.agg(pl.col("EffectiveCost").sum()).sort("billing_period").iter_rows())


def listed(billing: Path, *columns: str) -> dict[str, tuple[object, ...]]:
    frame = open_lake(billing.parent).table("files").sort("file")
    return {
        row["file"].removeprefix("billing/"): tuple(row[c] for c in columns or ("state",))
        for row in frame.iter_rows(named=True)
    }


def again(billing: Path, first: IngestReport) -> None:
    """A second ingest reads nothing, writes nothing, and says what was not read once more."""
    second = run(billing)
    assert (second.version, second.read) == (first.version, 0)
    assert [m for m in second.messages if "not read" in m] == [
        m for m in first.messages if "not read" in m
    ]


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("packing", ["", *PACKINGS])
@pytest.mark.parametrize(
    "name", ["bill.csv", "BILL.CSV", "bill", "000000", "bill.txt", "bill.csv.gz", "bill.parquet"]
)
def test_a_bill_is_read_whatever_it_is_packed_in_and_whatever_its_name(
    billing: Path, packing: str, name: str
) -> None:
    pack = PACKINGS.get(packing, bytes)
    (billing / name).write_bytes(pack(bill(3)))
    report = run(billing)
    assert (money(billing), report.messages) == ({"2026-10": 3.0}, report.messages)
    assert not [m for m in report.messages if "not read" in m]
    assert listed(billing, "state", "bytes", "rows", "rows_set_aside", "EffectiveCost") == {
        name: ("read", (billing / name).stat().st_size, 1, 0, 3.0)
    }
    again(billing, report)


@pytest.mark.parametrize(
    "name", ["part-0.snappy.parquet", "B.PARQUET", "000000_0", "x.csv", "x.pq"]
)
def test_parquet_is_known_by_its_content(billing: Path, name: str) -> None:
    frame = pl.read_csv(bill(4), infer_schema=False).cast({"EffectiveCost": pl.Float64})
    frame.write_parquet(billing / name)
    run(billing)
    assert money(billing) == {"2026-10": 4.0}


@pytest.mark.parametrize("name", ["a.zip", "A.ZIP", "a.csv", "a.tar", "a.tgz", "a"])
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_an_archive_is_a_folder(
    billing: Path, name: str, pack: Callable[[Path, dict[str, bytes]], Path]
) -> None:
    members = {
        "one.csv": bill(1),
        "deep/two.csv.gz": gzip.compress(bill(2)),
        "__MACOSX/._one.csv": b"\0\1",
        "deep/.DS_Store": b"\0\1",
        "readme.md": b"# The bills",
    }
    pack(billing / name, members)
    first = run(billing)
    assert money(billing) == {"2026-10": 3.0}
    assert listed(billing) == {
        f"{name}/one.csv": ("read",),
        f"{name}/deep/two.csv.gz": ("read",),
        f"{name}/readme.md": ("not read",),
    }
    again(billing, first)


def legacy(billing: Path, files: dict[str, bytes], keys: list[str], month: str) -> None:
    """A month of a legacy Cost and Usage Report with its manifest."""
    year, number = month.split("-")
    folder = billing / f"cur/{year}{number}01-{year}{int(number) + 1:02}01"
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    named = [f"pre/cur/{folder.name}/{key}" for key in keys]
    (folder / "cur-Manifest.json").write_text(json.dumps({"reportKeys": named}))


def zip_bytes(name: str, data: bytes, place: Path) -> bytes:
    return zipped(place / "z", {name: data}).read_bytes()


def test_a_month_that_aws_delivered_as_zip_is_the_one_that_its_manifest_names(
    billing: Path, tmp_path: Path
) -> None:
    (tmp_path / "costwhy.toml").write_text(TOML.format("cur"))
    one, two = (zip_bytes(f"cur-{n}.csv", cur(n, "2026-08"), tmp_path) for n in (1, 2))
    stale = zip_bytes("cur-9.csv", cur(900, "2026-08"), tmp_path)
    legacy(
        billing,
        {"cur-1.csv.zip": one, "cur-2.csv.zip": two, "cur-9.csv.zip": stale},
        ["cur-1.csv.zip", "cur-2.csv.zip"],
        "2026-08",
    )
    legacy(billing, {"cur-1.csv.gz": gzip.compress(cur(7, "2026-09"))}, ["cur-1.csv.gz"], "2026-09")
    first = run(billing)
    assert money(billing) == {"2026-08": 3.0, "2026-09": 7.0}
    assert listed(billing)["cur/20260801-20260901/cur-9.csv.zip/cur-9.csv"] == ("not read",)
    again(billing, first)


@pytest.mark.parametrize("bad", ["cut", "locked", "absent"])
def test_a_month_is_never_half_a_month(billing: Path, tmp_path: Path, bad: str) -> None:
    (tmp_path / "costwhy.toml").write_text(TOML.format("cur"))
    one, two = (zip_bytes(f"cur-{n}.csv", cur(n, "2026-08"), tmp_path) for n in (1, 2))
    keys = ["cur-1.csv.zip", "cur-2.csv.zip"]
    legacy(billing, {keys[0]: one, keys[1]: two}, keys, "2026-08")
    legacy(billing, {"cur-1.csv": cur(7, "2026-09")}, ["cur-1.csv"], "2026-09")
    run(billing)
    legacy(
        billing, {keys[0]: zip_bytes("cur-1.csv", cur(50, "2026-08"), tmp_path)}, keys, "2026-08"
    )
    second = billing / "cur/20260801-20260901" / keys[1]
    if bad == "cut":
        second.write_bytes(two[:60])
    elif bad == "locked":
        protected(second, {"cur-2.csv": cur(2, "2026-08")})
    else:
        second.unlink()
    report = run(billing)
    assert money(billing) == {"2026-08": 3.0, "2026-09": 7.0}
    assert "cur-2.csv" in "".join(report.messages)
    assert "stays as it was" in "".join(report.messages)


# ---------------------------------------------------------------- what is not read


def test_what_is_not_read_is_named_with_its_size_and_the_reason(
    billing: Path, tmp_path: Path
) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    zipped(billing / "costs.xlsx", {"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"})
    (billing / "b.orc").write_bytes(b"ORC\0\1" * 300)
    (billing / "c.avro").write_bytes(b"Obj\1" * 300)
    (billing / "d.json").write_text("[{}]")
    (billing / "invoice.pdf").write_bytes(b"%PDF-1.4")
    protected(billing / "locked.zip", {"m.csv": bill(9)})
    (billing / "cut.zip").write_bytes(zip_bytes("m.csv", bill(9), tmp_path)[:80])
    zipped(billing / "nested.zip", {"in.zip": zip_bytes("m.csv", bill(9), tmp_path)})
    (billing / "a.csv.bak").write_bytes(bill(3))
    (billing / "_draft.csv").write_bytes(bill(3))
    for silent in (".hidden.csv", ".DS_Store", "_SUCCESS", ".a.csv.crc", "a.csv.crc", "Thumbs.db"):
        (billing / silent).write_bytes(b"\0\1")
    report = run(billing)
    assert money(billing) == {"2026-10": 3.0}
    state = listed(billing, "state", "bytes")
    sizes = {f.name: f.stat().st_size for f in billing.iterdir()}
    inside = {"locked.zip": "locked.zip/m.csv", "nested.zip": "nested.zip/in.zip"}
    for name in ("costs.xlsx", "b.orc", "c.avro", "d.json", "invoice.pdf", "cut.zip", "a.csv.bak", "_draft.csv"):  # fmt: skip
        assert state[name] == ("not read", sizes[name])
        assert any(name in m and "not read" in m for m in report.messages)
    for name in inside.values():
        assert state[name][0] == "not read"
    said = "\n".join(report.messages)
    for word in ("Excel", "ORC", "Avro", "password", "cut off", "archive within", "1.5 KB", "2 KB"):
        assert word in said, word
    assert len(state) == 11
    again(billing, report)


def test_many_of_one_reason_share_a_line(billing: Path) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    for number in range(15):
        (billing / f"note-{number:02}.md").write_bytes(b"x" * 1000)
    [message] = [m for m in run(billing).messages if "not read" in m]
    assert message == (
        "not read: billing/note-00.md (1 KB), billing/note-01.md (1 KB), billing/note-02.md (1 KB) "
        "and 12 more (12 KB): of another kind (.md)"
    )


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_companion_data_set_is_set_aside_and_blocks_nothing(
    billing: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(COMMITMENT.encode())
    month = billing / "BILLING_PERIOD=2026-10"
    month.mkdir()
    (month / "cost.csv").write_bytes(bill(3))
    (month / "commitments.csv").write_bytes(data)
    (billing / "commitments.csv").write_bytes(data)  # outside of the months
    pl.DataFrame({"sku": ["x"], "unit_price": [1.0]}).write_parquet(month / "prices.parquet")
    report = run(billing)
    assert money(billing) == {"2026-10": 3.0}
    said = "\n".join(report.messages)
    assert "not a bill (FOCUS): its columns are ContractCommitmentId, " in said
    assert "prices.parquet" in said
    assert listed(billing)["BILLING_PERIOD=2026-10/commitments.csv"] == ("not read",)
    again(billing, report)


def test_a_bill_that_lacks_a_column_is_no_companion(billing: Path) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    (billing / "b.csv").write_text("ChargePeriodStart,BillingCurrency\n2026-10-01,USD\n")
    with pytest.raises(SourceError, match="column EffectiveCost is missing"):
        run(billing)


def test_a_line_above_the_header_makes_no_bill_a_companion(billing: Path) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    (billing / "b.csv").write_bytes(b"Cost export, October\n\n" + bill(3).replace(b",", b";"))
    try:
        said = "".join(run(billing).messages)
    except CostwhyError as error:
        said = str(error)
    assert "not a bill" not in said


def test_where_nothing_is_a_bill_the_error_names_what_was_found(billing: Path) -> None:
    (billing / "commitments.csv").write_text(COMMITMENT)
    with pytest.raises(SourceError, match=r"column ChargePeriodStart is missing"):
        run(billing)
    (billing / "commitments.csv").unlink()
    (billing / "notes.xlsx").write_bytes(zip_bytes("xl/workbook.xml", b"", billing.parent))
    with pytest.raises(ConfigError, match=r"notes.xlsx: an Excel workbook: save it as CSV"):
        run(billing)


def test_what_goes_away_is_no_longer_listed_and_what_can_be_read_now_is_read(
    billing: Path, tmp_path: Path
) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    (billing / "b.zip").write_bytes(b"PK\3\4 cut")
    (billing / "c.md").write_text("x")
    run(billing)
    assert set(listed(billing)) == {"a.csv", "b.zip", "c.md"}
    zipped(billing / "b.zip", {"b.csv": bill(4, day=2)})
    (billing / "c.md").unlink()
    report = run(billing)
    assert (listed(billing), money(billing)) == (
        {"a.csv": ("read",), "b.zip/b.csv": ("read",)},
        {"2026-10": 7.0},
    )
    assert not report.messages or "not read" not in "".join(report.messages)
    shutil.rmtree(billing)
    (tmp_path / "costwhy.toml").write_text(TOML.format("focus").replace("billing/", "bills/"))
    (tmp_path / "bills").mkdir()
    (tmp_path / "bills/a.csv").write_bytes(bill(5))
    run(billing)
    assert list(listed(billing)) == ["bills/a.csv"], "the files of a source that is gone"


def test_the_lake_is_no_bill(tmp_path: Path) -> None:
    (tmp_path / "costwhy.toml").write_text(TOML.format("focus").replace("billing/", "."))
    (tmp_path / "a.csv").write_bytes(bill(3))
    first = run(tmp_path / "x")
    second = run(tmp_path / "x")
    assert (first.version, second.version) == (1, 1)
    assert open_lake(tmp_path).table("files")["file"].to_list() == ["a.csv"]


# ---------------------------------------------------------------- the other sources


EVENT = {
    "eventTime": "2026-10-01T01:00:00Z",
    "eventSource": "lambda.amazonaws.com",
    "eventName": "UpdateX",
    "readOnly": False,
    "recipientAccountId": "1",
    "userIdentity": {"type": "IAMUser", "userName": "dana"},
}


def trail(*names: str) -> bytes:
    return json.dumps({"Records": [EVENT | {"eventID": name} for name in names]}).encode()


def test_changes_are_read_from_every_packing_and_the_rest_is_named(billing: Path) -> None:
    folder = billing.parent / "trail"
    folder.mkdir()
    (billing / "a.csv").write_bytes(bill(3))
    with (billing.parent / "costwhy.toml").open("a") as file:
        file.write('[[changes]]\nformat = "cloudtrail"\npath = "trail/"\n')
    (folder / "a.json").write_bytes(trail("a"))
    (folder / "000000.gz").write_bytes(gzip.compress(trail("b")))
    (folder / "stream-1-2026-10-01-01-00-00").write_bytes(trail("c"))
    zipped(folder / "more.zip", {"d.json": trail("d"), "e.json.gz": gzip.compress(trail("e"))})
    tarred(folder / "more.tgz", {"f.json": trail("f")})
    (folder / "aws-logs-write-test").write_text("Permission Check Successful")
    (folder / "flow.log.gz").write_bytes(gzip.compress(b"2 111 eni-1\n"))
    (folder / "table.csv").write_text("a,b\n")
    first = run(billing)
    lake = open_lake(billing.parent)
    assert sorted(lake.table("changes")["change_id"]) == [*"abcdef"]
    files = lake.table("files").filter(pl.col("source") == "cloudtrail:trail")
    assert dict(files.filter(state="not read").select("file", "reason").iter_rows()) == {
        "trail/flow.log.gz": "it is a text without columns",
        "trail/table.csv": "not CloudTrail records: its columns are a, b",
    }
    assert files.filter(state="read")["rows"].sum() == 6
    again(billing, first)


def test_signals_and_owners_are_read_from_archives_and_other_tables_block_nothing(
    billing: Path,
) -> None:
    place = billing.parent
    (billing / "a.csv").write_bytes(bill(3))
    with (place / "costwhy.toml").open("a") as file:
        file.write('[[signals]]\nformat = "signals"\npath = "signals/"\n')
        file.write('[[owners]]\nformat = "backstage"\npath = "catalog/"\n')
        file.write('[[owners]]\nformat = "codeowners"\npath = "code/"\n')
    for name in ("signals", "catalog", "code"):
        (place / name).mkdir()
    text = "time,service,caller,metric,value\n2026-10-01T03:00:00Z,{},,calls,5\n"
    zipped(place / "signals/s.zip", {"s.csv": text.format("cart").encode()})
    (place / "signals/t.csv.bz2").write_bytes(PACKINGS["bz2"](text.format("web").encode()))
    (place / "signals/notes.csv").write_text("who,what\nme,a note\n")
    entity = "apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: cart\nspec:\n  owner: shop\n"
    zipped(place / "catalog/all.zip", {"cart.yaml": entity.encode(), "x.json": b"{}"})
    (place / "code/CODEOWNERS.gz").write_bytes(gzip.compress(b"* @a/web\n"))
    (place / "code/main.py").write_text("pass")
    first = run(billing)
    lake = open_lake(place)
    assert sorted(lake.table("signals")["service"]) == ["cart", "web"]
    assert sorted(lake.table("catalog")["name"]) == ["*", "cart"]
    unread = lake.table("files").filter(state="not read")
    assert unread.select("file", "reason").rows() == [
        ("signals/notes.csv", "not signals: its columns are who, what")
    ]
    again(billing, first)


def test_hostile_names_are_shown_on_one_line(billing: Path) -> None:
    (billing / "a.csv").write_bytes(bill(3))
    with zipfile.ZipFile(billing / "b.zip", "w") as archive:
        archive.writestr("x\n\x1b[31mgone.md", b"x")
        archive.writestr("../../etc/cron.csv", bill(9))
    report = run(billing)
    assert money(billing) == {"2026-10": 3.0}
    assert not any("\n" in m or "\x1b" in m for m in report.messages)
    assert "its name would lead out of the archive" in "".join(report.messages)
