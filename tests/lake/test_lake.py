"""The lake's promises: versions that agree, money that is replaced whole, one writer at a time."""

import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from costwhy.errors import LakeError
from costwhy.lake import lock
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import Lake, SnapshotInfo, has_lake, open_lake, write
from costwhy.tables import BY_NAME

ABOUT = SnapshotInfo("acme", "USD", {"sources": [{"format": "focus", "path": "billing"}]})
HOUR = datetime(2026, 10, 1, tzinfo=UTC)


def bill(delivery: str, *costs: float) -> pl.DataFrame:
    rows = [
        {
            "delivery": delivery,
            "billing_period": "2026-10",
            "hour": HOUR,
            "series_id": n,
            "EffectiveCost": c,
        }
        for n, c in enumerate(costs)
    ]
    return pl.DataFrame(rows)


def total(lake: Lake) -> float:
    return float(lake.table("hourly")["EffectiveCost"].sum())


def test_what_is_written_is_read_back_with_the_table_s_types(tmp_path):
    version = write(
        tmp_path, ABOUT, {"hourly": Replacement(bill("focus:billing:2026-10", 1.5, 2.5))}
    )
    lake = open_lake(tmp_path)
    assert (version, lake.version, lake.workspace, lake.currency) == (1, 1, "acme", "USD")
    assert lake.table("hourly").schema == BY_NAME["hourly"].schema
    assert total(lake) == 1.5 + 2.5
    assert lake.config["sources"] == [{"format": "focus", "path": "billing"}]
    assert lake.created_at.tzinfo is not None


@pytest.mark.parametrize("name", ["my bills", "Größe", "50 % #1+1?"])
def test_a_folder_may_have_any_name(tmp_path, name):
    """Delta's names of files are quoted as in a URL; the folders are not."""
    texts = pl.DataFrame({"delivery": ["d"], "files": [["a.csv", "b.csv"]]})
    changes = {"hourly": Replacement(bill("d", 1.5, 2.5)), "deliveries": Replacement(texts)}
    write(tmp_path / name, ABOUT, changes)
    write(tmp_path / name, ABOUT, {"hourly": Replacement(bill("e", 4.0))})
    lake = open_lake(tmp_path / name)
    assert total(lake) == 1.5 + 2.5 + 4.0
    for table in ("hourly", "deliveries"):
        assert lake.table(table).schema == BY_NAME[table].schema
    assert lake.table("deliveries")["files"].to_list() == [["a.csv", "b.csv"]]
    assert all(Path(file).is_file() for file in lake.files("hourly"))


def test_a_table_that_was_never_written_is_empty_and_typed(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("d", 1.0))})
    assert open_lake(tmp_path).table("changes").schema == BY_NAME["changes"].schema
    assert open_lake(tmp_path).files("changes") == []


def test_a_delivery_is_replaced_whole_and_others_stay(tmp_path):
    write(
        tmp_path,
        ABOUT,
        {"hourly": Replacement(pl.concat([bill("october", 1.0, 2.0), bill("november", 10.0)]))},
    )
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 5.0), ("october",))})
    assert total(open_lake(tmp_path)) == 5.0 + 10.0


def test_a_pinned_version_still_reads_the_old_numbers(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    held = open_lake(tmp_path)
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 7.0), ("october",))})
    assert total(held) == total(open_lake(tmp_path, version=1)) == 1.0
    assert total(open_lake(tmp_path)) == 7.0
    assert held.versions() == [1, 2]


def test_one_write_replaces_one_delivery_and_adds_another(tmp_path):
    write(
        tmp_path,
        ABOUT,
        {"hourly": Replacement(pl.concat([bill("october", 1.0), bill("gone", 100.0)]))},
    )
    both = pl.concat([bill("october", 2.0), bill("november", 10.0)])
    write(tmp_path, ABOUT, {"hourly": Replacement(both, ("gone",))})
    assert total(open_lake(tmp_path)) == 2.0 + 10.0


@pytest.mark.parametrize(
    "name", ["o'hara's bill", "a'); DELETE --", 'say "x"', "ü/名:2026-10", "back\\slash", "100%_"]
)
def test_a_delivery_s_name_is_never_read_as_sql(tmp_path, name):
    write(
        tmp_path, ABOUT, {"hourly": Replacement(pl.concat([bill(name, 1.0), bill("other", 10.0)]))}
    )
    write(tmp_path, ABOUT, {"hourly": Replacement(bill(name, 2.0), (name,))})
    assert total(open_lake(tmp_path)) == 2.0 + 10.0


def test_a_delivery_written_twice_by_two_who_did_not_know_of_each_other_counts_once(tmp_path):
    for _ in range(2):
        write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0), ("october",))})
    assert total(open_lake(tmp_path)) == 1.0


def test_a_series_is_kept_once(tmp_path):
    for ids in ([1, 2], [2, 3]):
        write(tmp_path, ABOUT, {"series": Replacement(pl.DataFrame({"series_id": ids}))})
    assert sorted(open_lake(tmp_path).table("series")["series_id"]) == [1, 2, 3]


def test_rows_may_wait_in_parquet_files(tmp_path):
    files = []
    for n in range(3):
        file = tmp_path / f"{n}.parquet"
        BY_NAME["hourly"].fit(bill(f"d{n}", float(n))).write_parquet(file)
        files.append(pl.scan_parquet(file))
    write(tmp_path / "lake", ABOUT, {"hourly": Replacement(tuple(files), ("d0",))})
    assert total(open_lake(tmp_path / "lake")) == 0.0 + 1.0 + 2.0


def test_nothing_new_makes_no_version(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    again = write(tmp_path, ABOUT, {"hourly": Replacement(BY_NAME["hourly"].empty(), ("absent",))})
    assert again == 1
    assert open_lake(tmp_path).versions() == [1]


def test_a_table_without_changes_keeps_its_delta_version(tmp_path):
    write(
        tmp_path,
        ABOUT,
        {
            "hourly": Replacement(bill("a", 1.0)),
            "series": Replacement(pl.DataFrame({"series_id": [1]})),
        },
    )
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("b", 1.0))})
    first, second = (
        json.loads((tmp_path / "snapshots" / f"{n:012d}.json").read_text())["tables"]
        for n in (1, 2)
    )
    assert first["series"] == second["series"]
    assert first["hourly"] < second["hourly"]


def test_old_versions_stay_readable_past_delta_s_checkpoints(tmp_path):
    for n in range(12):
        write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", float(n)), ("october",))})
    assert [total(open_lake(tmp_path, version=n + 1)) for n in range(12)] == [
        float(n) for n in range(12)
    ]


def test_duckdb_gets_the_files_of_the_version(tmp_path):
    duckdb = pytest.importorskip("duckdb")
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0, 2.0))})
    with duckdb.connect() as connection:
        row = connection.execute(
            "SELECT sum(EffectiveCost) FROM read_parquet(?)", [open_lake(tmp_path).files("hourly")]
        ).fetchone()
    assert row == (3.0,)


def test_a_workspace_its_toml_and_the_lake_s_folder_open_the_same_lake(tmp_path):
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "acme"\ncurrency = "USD"\n[lake]\npath = "deep/lake"\n'
    )
    write(tmp_path / "deep" / "lake", ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    places = [tmp_path, tmp_path / "costwhy.toml", tmp_path / "deep" / "lake", str(tmp_path)]
    assert {open_lake(place).place for place in places} == {str(tmp_path / "deep" / "lake")}


def test_a_missing_lake_says_what_to_do_and_makes_no_folder(tmp_path):
    with pytest.raises(LakeError, match="costwhy ingest"):
        open_lake(tmp_path / "nowhere")
    assert not has_lake(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_not_there_names_those_that_are(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    with pytest.raises(LakeError, match="versions 1 to 1"):
        open_lake(tmp_path, version=9)


def test_a_table_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    with pytest.raises(LakeError, match="hourly"):
        open_lake(tmp_path).table("hourlies")


@pytest.mark.parametrize("content", ['{"costwhy_lake": 2}', "[]", "{", ""])
def test_a_snapshot_of_another_format_is_refused(tmp_path, content):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    (tmp_path / "snapshots" / "000000000002.json").write_text(content)
    with pytest.raises(LakeError):
        open_lake(tmp_path)
    assert total(open_lake(tmp_path, version=1)) == 1.0


def test_an_address_is_refused_and_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LakeError, match="gs://"):
        write("gs://bucket/lake", ABOUT, {})
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_gone_are_one_clear_error(tmp_path):
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    for file in (tmp_path / "tables" / "hourly").glob("*.parquet"):
        file.unlink()
    with pytest.raises(LakeError, match="hourly"):
        open_lake(tmp_path).table("hourly")


def test_a_second_writer_waits_a_little_and_then_says_who_is_in_the_way(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_WAIT", 0.1)
    with Path(tmp_path, "writer.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(LakeError, match="being written by another"):
            write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})
    assert write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))}) == 1


def test_a_snapshot_is_never_written_over_another(tmp_path, monkeypatch):
    """Should the lock fail (some network file systems), the exclusive link still lets only one win."""
    write(tmp_path, ABOUT, {"hourly": Replacement(bill("october", 1.0))})

    link = os.link

    def overtaken(draft: Path, file: Path) -> None:
        (tmp_path / "snapshots" / "000000000002.json").write_text("theirs")
        link(draft, file)

    monkeypatch.setattr(os, "link", overtaken)
    with pytest.raises(LakeError, match="being written by another"):
        write(tmp_path, ABOUT, {"hourly": Replacement(bill("november", 1.0))})
    assert (tmp_path / "snapshots" / "000000000002.json").read_text() == "theirs"
    assert not list((tmp_path / "snapshots").glob("*.draft"))
