"""Signals are summed to the hour."""

import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from places import COMPANIES

from costwhy.errors import SourceError
from costwhy.sources.inventory import find_files
from costwhy.sources.signals import long_table
from costwhy.tables import SIGNALS

HEAD = "time,service,caller,metric,value\n"
THREE = datetime(2026, 10, 14, 3, tzinfo=UTC)


def csv(folder: Path, text: str, name: str = "s.csv") -> Path:
    file = folder / name
    file.write_bytes(
        gzip.compress((HEAD + text).encode()) if name.endswith(".gz") else (HEAD + text).encode()
    )
    return file


def frame(**columns: object) -> pl.DataFrame:
    whole = {
        "time": [THREE],
        "service": ["cart"],
        "caller": [None],
        "metric": ["calls"],
        "value": [5.0],
    } | columns
    return pl.DataFrame(whole, schema_overrides={"caller": pl.String})


def parquet(folder: Path, rows: pl.DataFrame, name: str = "s.parquet") -> Path:
    rows.write_parquet(folder / name)
    return folder / name


def reasons(reading) -> list[tuple]:
    return reading.set_aside.select("place", "reason", "records").rows()


def test_finer_buckets_are_summed_to_the_hour_and_capacity_is_their_mean(tmp_path):
    file = csv(tmp_path, """\
2026-10-14T03:00:00Z,cart,,calls,10
2026-10-14T03:30:00Z,cart,,calls,20
2026-10-14T04:00:00Z,cart,,calls,40
2026-10-14T03:00:00Z,cart,,capacity,2
2026-10-14T03:30:00Z,cart,,capacity,5
2026-10-14 03:15:00+00:00,cart,schedule:sync,calls,7
2026-10-14T05:15+0200,cart,web,retries,1.5
""")  # fmt: skip
    reading = long_table.read([file])
    four = datetime(2026, 10, 14, 4, tzinfo=UTC)
    assert reading.rows.rows() == [
        (THREE, "cart", None, "calls", 30.0, 2),  # 10 + 20
        (THREE, "cart", None, "capacity", 3.5, 2),  # (2 + 5) / 2
        (THREE, "cart", "schedule:sync", "calls", 7.0, 1),
        (THREE, "cart", "web", "retries", 1.5, 1),
        (four, "cart", None, "calls", 40.0, 1),
    ]
    assert reading.rows.schema == {
        name: kind for name, kind in SIGNALS.schema.items() if name != "delivery"
    }
    assert reading.seen.select("hour", "records").rows() == [(THREE, 6), (four, 1)]
    assert reasons(reading) == []


def test_an_hour_that_is_split_over_files_is_one_hour(tmp_path):
    first = csv(tmp_path, "2026-10-14T03:00:00Z,cart,,calls,10\n", "a.csv")
    second = csv(tmp_path, "2026-10-14T03:30:00Z,cart,,calls,20\n", "b.csv.gz")
    third = parquet(tmp_path, frame(time=[datetime(2026, 10, 14, 3, 45, tzinfo=UTC)]))
    assert long_table.read([first, second, third]).rows.rows() == [
        (THREE, "cart", None, "calls", 35.0, 3)
    ]


def test_a_bucket_that_is_given_twice_counts_once(tmp_path):
    text = "2026-10-14T03:00:00Z,cart,,calls,10\n2026-10-14T03:30:00Z,cart,,calls,1\n"
    files = [csv(tmp_path, text, "a.csv"), csv(tmp_path, text, "b.csv")]
    reading = long_table.read(files)
    assert reading.rows.rows() == [(THREE, "cart", None, "calls", 11.0, 2)]
    assert reading.set_aside.select("file", "place", "records").rows() == [
        (str(files[1]), "row 1", 2)
    ]
    assert reading.seen["records"].sum() == 4


def test_rows_that_make_no_sense_are_set_aside_with_their_reason(tmp_path):
    file = csv(tmp_path, """\
2026-10-14T03:00:00,cart,,calls,1
never,cart,,calls,1
2026-10-14T03:00:00Z,,,calls,1
2026-10-14T03:00:00Z,cart,,latency,1
2026-10-14T03:00:00Z,cart,,latency,1
2026-10-14T03:00:00Z,cart,,calls,-1
2026-10-14T03:00:00Z,cart,,calls,NaN
2026-10-14T03:00:00Z,cart,,calls,inf
2026-10-14T03:00:00Z,cart,,calls,
2026-10-14T03:00:00Z,cart,,calls,many
2026-10-14T03:00:00Z,cart,,calls,1,234
2026-10-14T03:00:00Z,ca\x1brt,,calls,1
2026-10-14Tx3:00:00Z,cart,,calls,1
2026-10-14T03:00:00Z,<script>,,calls,8
""")  # fmt: skip
    reading = long_table.read([file])
    assert reading.rows.rows() == [(THREE, "<script>", None, "calls", 8.0, 1)]
    assert reasons(reading) == [
        ("row 1", "the time has no zone: write UTC as a final Z", 2),
        ("row 3", "there is no service", 1),
        ("row 4", "the metric is none of calls, retries, errors, bytes, capacity", 2),
        ("row 6", "the value is negative", 1),
        ("row 7", "the value is not finite", 2),
        ("row 9", "the value is no number", 2),
        ("row 11", "the line has more fields than the header", 1),
        ("row 12", "a name has control characters or more than 1000 bytes", 1),
        ("row 13", "the time is no ISO 8601 time", 1),
    ]
    assert reading.set_aside["record"][2] == "2026-10-14T03:00:00Z, cart, latency, 1"


def test_a_file_that_cannot_be_used_is_set_aside_whole_and_the_others_are_read(tmp_path):
    naive = parquet(tmp_path, frame(time=[datetime(2026, 10, 14, 3)]), "naive.parquet")
    numbers = parquet(tmp_path, frame(time=[True]), "numbers.parquet")
    lacking = parquet(tmp_path, frame().drop("caller"), "lacking.parquet")
    no_parquet, empty, cut = (
        tmp_path / "no.parquet",
        tmp_path / "empty.csv",
        tmp_path / "cut.csv.gz",
    )
    no_parquet.write_bytes(b"PAR1 no")
    empty.write_bytes(b"")
    cut.write_bytes(gzip.compress(HEAD.encode() * 9)[:-9])
    good = parquet(tmp_path, frame(), "good.parquet")
    reading = long_table.read([naive, numbers, lacking, no_parquet, empty, cut, good])
    assert reading.rows.rows() == [(THREE, "cart", None, "calls", 5.0, 1)]
    said = [row[1] for row in reasons(reading)]
    assert "its times have no zone: write `time` as a timestamp in UTC" in said[0]
    assert "timestamp in UTC" in said[1]
    assert "no column 'caller'" in said[2]
    assert [row[0] for row in reasons(reading)] == [None] * 6


def test_a_file_that_breaks_in_the_middle_does_not_take_the_others_with_it(tmp_path):
    rows = pl.concat([frame(service=[f"s{n}"]) for n in range(5000)])
    broken = parquet(tmp_path, rows, "broken.parquet")
    data = bytearray(broken.read_bytes())
    data[4:2000] = b"\xff" * 1996
    broken.write_bytes(bytes(data))
    reading = long_table.read([broken, parquet(tmp_path, frame(), "good.parquet")])
    assert reading.rows["service"].to_list() == ["cart"]
    assert reading.set_aside.select("file", "records").rows() == [(str(broken), 1)]


def test_times_in_another_zone_and_whole_numbers_are_understood(tmp_path):
    oslo = (
        pl.Series([THREE])
        .dt.convert_time_zone("Europe/Oslo")
        .cast(pl.Datetime("ns", "Europe/Oslo"))
    )
    file = parquet(
        tmp_path,
        frame(time=oslo, value=[5], caller=pl.Series([None], dtype=pl.Null), row=[9], extra=["x"]),
    )
    assert long_table.read([file]).rows.rows() == [(THREE, "cart", None, "calls", 5.0, 1)]


def test_a_csv_that_decompresses_beyond_the_limit_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(long_table, "MAX_CSV_BYTES", 2**20)
    reading = long_table.read(
        [csv(tmp_path, "2026-10-14T03:00:00Z,cart,,calls,1\n" * 100_000, "bomb.csv.gz")]
    )
    assert "when decompressed" in reading.set_aside["reason"][0]


def test_no_rows_is_no_error(tmp_path):
    assert long_table.read([]).rows.columns == long_table.read([csv(tmp_path, "")]).rows.columns
    with pytest.raises(SourceError, match="nothing to read"):
        find_files("signals/", tmp_path, long_table.FORMAT.files)


@pytest.mark.parametrize("company", COMPANIES)
def test_the_signals_of_the_sample_companies_add_up(company):
    reading = long_table.read(find_files("signals/", company, long_table.FORMAT.files))
    raw = pl.read_parquet(company / "signals/*.parquet")
    assert reading.set_aside.height == 0
    counted = pl.col("metric") != "capacity"  # capacity is a mean
    sums = [f.filter(counted)["value"].sum() for f in (reading.rows, raw)]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)
    assert reading.seen["records"].sum() == raw.height
