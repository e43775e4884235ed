"""A long file of changes: one row a change, in CSV, JSON Lines or Parquet."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake
from costwhy.sources import records
from costwhy.sources.changes import long_table
from costwhy.tables import CHANGES

PLAN = {"reason": "launch", "expected_cost_per_day": 45, "until": "2026-10-20T00:00:00Z"}
ROW = {
    "time": "2026-10-14T05:00:30+02:00",
    "kind": "deploy",
    "service": "inventory",
    "change_id": "c-1",
    "actor": "dana@acme.example",
    "summary": "Raise retries",
    "url": "https://git.acme.example/platform/services/inventory/pulls/7333",
    "ticket": "STO-1",
    "environment": "production",
    "resource": "inventory-v7",
    "account": "111",
    "before": {"retries": 1},
    "after": {"retries": 5},
    "planned": PLAN,
}
READ = {
    "change_id": "c-1",
    "time": datetime(2026, 10, 14, 3, 0, 30, tzinfo=UTC),
    "source": "changes",
    "kind": "deploy",
    "event": "deploy",
    "service": "inventory",
    "environment": "production",
    "resource": "inventory-v7",
    "account": "111",
    "actor": "dana@acme.example",
    "actor_kind": "person",
    "automated": False,
    "summary": "Raise retries",
    "url": ROW["url"],
    "ticket": "STO-1",
    "path": "/services/inventory/",
    "before": '{"retries":1}',
    "after": '{"retries":5}',
    "planned_reason": "launch",
    "planned_cost_per_day": 45.0,
    "planned_until": datetime(2026, 10, 20, tzinfo=UTC),
}


def flat(row: dict) -> dict:
    """JSON as text, as CSV has it."""
    return {
        name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()
    }


def put(folder: Path, *rows: dict | str, name: str = "changes.jsonl") -> Path:
    file, kind = folder / name, name.split(".")[1]
    if kind == "parquet":
        pl.DataFrame(rows).write_parquet(file)
        return file
    if kind == "csv":
        text = pl.DataFrame([flat(row) for row in rows]).write_csv()
    else:
        text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


def read(folder: Path, *rows: dict | str, **more: str):
    return long_table.read([put(folder, *rows, **more)])


def reasons(reading) -> list[tuple]:
    return reading.set_aside.select("place", "reason").rows()


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz", "c.csv", "c.csv.gz", "c.parquet"])
def test_every_kind_of_file_gives_the_same_row(tmp_path, name):
    reading = read(tmp_path, ROW, name=name)
    [row] = reading.rows.iter_rows(named=True)
    assert {column: value for column, value in row.items() if value is not None} == READ
    assert list(row) == [column for column in CHANGES.schema if column != "delivery"]
    assert reading.seen.select("source", "hour", "records").rows() == [
        ("changes", datetime(2026, 10, 14, 3, tzinfo=UTC), 1)
    ]
    assert reasons(reading) == []
    assert reading.notes == ()


def test_times_and_structs_of_parquet_are_read_as_they_are(tmp_path):
    until = datetime(2026, 10, 20, tzinfo=UTC)
    typed = ROW | {"time": READ["time"], "planned": PLAN | {"until": until}}
    [row] = read(tmp_path, typed, name="c.parquet").rows.iter_rows(named=True)
    assert {column: value for column, value in row.items() if value is not None} == READ


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_missing_id_is_made_of_the_content_and_is_the_same_everywhere(tmp_path, name):
    bare = {k: v for k, v in ROW.items() if k != "change_id"}
    ids = (
        read(tmp_path, bare, bare, bare | {"summary": "other"}, name=name)
        .rows["change_id"]
        .to_list()
    )
    assert ids[0] == "row-2aea6a636c73bf80298ea90457873732", (
        "it never changes: triggers and verdicts cite it"
    )
    assert len(ids) == len(set(ids)) == 2, "the same row twice is one change"
    again = read(tmp_path, bare | {"time": "2026-10-14T03:00:30Z"}, name="again.jsonl")
    assert again.rows["change_id"].to_list() == ids[:1], "another spelling of the same time"


def test_another_row_under_the_same_id_is_set_aside(tmp_path):
    reading = read(tmp_path, ROW, ROW, ROW | {"kind": "rollback"})
    assert reading.rows["kind"].to_list() == ["deploy"]
    assert reasons(reading) == [
        ("line 3", "another row has the same change_id: the first one counts")
    ]
    assert reading.seen["records"].sum() == 3


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": "2026-10-14T03:00:30"}, "has no zone: write UTC as a final Z"),
        ({"time": "yesterday"}, "is not ISO 8601"),
        ({"time": None}, "is not ISO 8601"),
        ({"kind": " "}, "there is no kind"),
    ],
)
@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_row_that_cannot_be_read_is_set_aside_and_the_others_stay(tmp_path, change, reason, name):
    reading = read(
        tmp_path, ROW, ROW | {"change_id": "c-2"} | change, ROW | {"change_id": "c-3"}, name=name
    )
    assert reading.rows["change_id"].to_list() == ["c-1", "c-3"]
    [(place, said)] = reasons(reading)
    assert place == {"jsonl": "line 2", "csv": "line 3", "parquet": "row 2"}[name[2:]]
    assert reason in said


@pytest.mark.parametrize(
    ("change", "reason", "lost"),
    [
        (
            {"url": "javascript:alert(1)"},
            "url is no web address: the change is kept without it",
            "url",
        ),
        (
            {"planned": {"reason": "launch"}},
            "planned is incomplete, the change is kept without it",
            "planned_reason",
        ),
        (
            {"planned": "{broken"},
            "planned is incomplete, the change is kept without it",
            "planned_reason",
        ),
        ({"kind": "upgrade"}, "the kind is none of deploy, config", None),
    ],
)
def test_a_part_that_cannot_be_used_is_left_out_and_the_change_stays(
    tmp_path, change, reason, lost
):
    reading = read(tmp_path, ROW | change)
    [row] = reading.rows.iter_rows(named=True)
    assert lost is None or row[lost] is None
    assert row["kind"] == ("other" if "kind" in change else "deploy")
    [(_, said)] = reasons(reading)
    assert said.startswith(reason)


def test_broken_lines_do_not_take_the_others_with_them(tmp_path):
    lines = ["{broken", "[1]", "5", '"\\ud800"', "[" * 100_000, '{"time": 3}']
    reading = read(tmp_path, *lines, ROW)
    assert reading.rows["change_id"].to_list() == ["c-1"]
    assert [place for place, _ in reasons(reading)] == [
        f"line {n}" for n in (1, "2, record 1", 3, 4, 5, 6)
    ]


def test_columns_that_are_not_known_are_named(tmp_path):
    reading = read(
        tmp_path,
        ROW | {"squad": "blue", "re\x1bgion": "eu"},
        ROW | {"squad": "red", "change_id": "c-2"},
    )
    assert reading.notes == ("columns that are not known were left out: squad, re gion",)
    assert reading.rows.height == 2


@pytest.mark.parametrize("missing", ["time", "kind", "service"])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet"])
def test_a_table_without_a_needed_column_is_set_aside_whole(tmp_path, missing, name):
    reading = read(tmp_path, {k: v for k, v in ROW.items() if k != missing}, name=name)
    assert reading.rows.is_empty()
    [(place, said)] = reasons(reading)
    assert place is None
    assert said.startswith(f"the file has no column {missing!r}; its columns are")


def test_parquet_times_without_a_zone_are_set_aside_whole(tmp_path):
    reading = read(tmp_path, ROW | {"time": datetime(2026, 10, 14, 3)}, name="c.parquet")
    assert reasons(reading) == [
        (None, "its times have no zone: write `time` as a timestamp in UTC")
    ]


def test_a_csv_line_with_more_fields_than_the_header_is_set_aside(tmp_path):
    file = tmp_path / "c.csv"
    file.write_text(
        "time,kind,service\n2026-10-14T03:00:00Z,deploy,cart,more\n2026-10-14T04:00:00Z,config,\n"
    )
    reading = long_table.read([file])
    assert reading.rows.select("kind", "service").rows() == [("config", None)]
    assert reasons(reading) == [("line 2", "the line has more fields than the header")]


def test_hostile_text_is_cut_and_cleaned(tmp_path):
    big = {"a": "x" * 5_000, "b": list(range(5_000))}
    reading = read(
        tmp_path,
        ROW | {"summary": "<b>\x00\u202e" + "y" * 100_000, "actor": ["dana"], "after": big},
    )
    [row] = reading.rows.iter_rows(named=True)
    assert row["summary"].startswith("<b>  y")
    assert len(row["summary"]) == 1001
    assert row["actor"] is None
    assert len(row["after"]) <= 4096
    assert json.loads(row["after"])["b"][:3] == [0, 1, 2]


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_file_beyond_the_limit_is_refused(tmp_path, name, monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 500)
    rows = [ROW | {"change_id": f"c-{n}"} for n in range(100)]
    assert any("larger than" in said for _, said in reasons(read(tmp_path, *rows, name=name)))


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", b"time\x00kind"])
@pytest.mark.parametrize("name", ["c.csv", "c.parquet", "c.csv.gz"])
def test_a_file_that_is_none_is_set_aside(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert [place for place, _ in reasons(long_table.read([tmp_path / name]))] == [None]


def test_ingest_reads_it_by_its_format_and_says_what_it_left_out(tmp_path):
    (tmp_path / "bill.csv").write_text(
        "ChargePeriodStart,BillingCurrency,EffectiveCost\n2026-10-14T00:00:00Z,USD,1\n"
    )
    (tmp_path / "changes").mkdir()
    put(tmp_path / "changes", ROW | {"squad": "blue"})
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "bill.csv"\n'
        '[[changes]]\nformat = "changes"\npath = "changes/"\n'
    )
    report = ingest(read_workspace(tmp_path))
    lake = open_lake(tmp_path)
    assert lake.table("changes").select("change_id", "source", "delivery").rows() == [
        ("c-1", "changes", "changes:changes/changes.jsonl")
    ]
    assert "changes/: columns that are not known were left out: squad" in report.messages
    assert ingest(read_workspace(tmp_path)).version == lake.version
