"""Each delivery counts once, is replaced whole, and is never half a month, whatever becomes of its files."""

import gzip
import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from places import COMPANIES, copied

from costwhy.config import read_workspace
from costwhy.errors import ConfigError, InputError, SourceError
from costwhy.ingest import batch
from costwhy.ingest.batch import IngestReport
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import has_lake, open_lake

TOML = (
    '[workspace]\nname = "acme"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
)
CHANGES = '\n[[changes]]\nformat = "cdevents"\npath = "changes/*.jsonl"\n'
SIGNALS = '\n[[signals]]\nformat = "signals"\npath = "signals/"\n'
CATALOG = '\n[[owners]]\nformat = "backstage"\npath = "catalog/"\n'
COST_TABLES = ("hourly", "daily", "overview")


def workspace(folder: Path, more: str = "", toml: str = TOML) -> Path:
    (folder / "costwhy.toml").write_text(toml + more)
    return folder


def bill(file: Path, month: str, *costs: float, currency: str = "USD") -> Path:
    """One line item an hour from the first of the month."""
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    same = {
        "BillingPeriodStart": first,
        "BillingPeriodEnd": first + timedelta(days=30),
        "BillingCurrency": currency,
        "ProviderName": "AWS",
    }
    same |= {
        "ServiceName": "AWS Lambda",
        "ChargeCategory": "Usage",
        "SubAccountId": "1",
        "x_UsageType": "Request",
    }
    same |= {
        "ConsumedQuantity": 1.0,
        "ConsumedUnit": "Requests",
        "Tags": json.dumps({"service": "checkout", "squad": "blue"}),
    }
    names = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
    hours = [first + timedelta(hours=n) for n in range(len(costs) + 1)]
    rows = [
        same
        | {"ChargePeriodStart": hours[n], "ChargePeriodEnd": hours[n + 1]}
        | dict.fromkeys(names, cost)
        for n, cost in enumerate(costs)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame(rows)
    frame.write_parquet(file) if file.suffix == ".parquet" else frame.write_csv(file)
    return file


def period(folder: Path, month: str, *costs: float, part: int = 1, export: str = "") -> Path:
    return bill(
        folder
        / "billing"
        / export
        / "data"
        / f"BILLING_PERIOD={month}"
        / f"acme-{part:05d}.snappy.parquet",
        month,
        *costs,
    )


def run(folder: Path) -> IngestReport:
    return ingest(read_workspace(folder))


def total(folder: Path, table: str = "hourly", version: int | None = None) -> float:
    return float(open_lake(folder, version).table(table)["EffectiveCost"].sum())


def by_delivery(folder: Path, table: str = "hourly") -> dict[str, float]:
    return dict(
        open_lake(folder)
        .table(table)
        .group_by("delivery")
        .agg(pl.col("EffectiveCost").sum())
        .iter_rows()
    )


def event(identity: str) -> str:
    context = {
        "version": "0.4.1",
        "id": identity,
        "source": "/ci",
        "type": "dev.cdevents.service.deployed.0.2.0",
    }
    content = {"environment": {"id": "production"}}
    return json.dumps(
        {
            "context": context | {"timestamp": "2026-10-01T01:00:00Z"},
            "subject": {"id": "checkout", "content": content},
        }
    )


def write(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n")
    return file


def signal_file(file: Path, *rows: tuple[str, float]) -> Path:
    return write(
        file,
        "time,service,caller,metric,value",
        *(f"{time},checkout,,calls,{value}" for time, value in rows),
    )


# ---------------------------------------------------------------- bills


def test_each_period_is_a_delivery_in_every_cost_table(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-09", 1.0, 2.0)
    period(tmp_path, "2026-10", 10.0)
    report = run(tmp_path)
    wanted = {"focus:billing:2026-09": 3.0, "focus:billing:2026-10": 10.0}
    for table in (*COST_TABLES, "deliveries"):
        assert by_delivery(tmp_path, table) == wanted, table
    assert set(open_lake(tmp_path).table("seen")["delivery"]) == set(wanted)
    assert (report.version, report.read, report.skipped, report.rows) == (1, 2, 0, 3)
    assert report.totals.select("billing_period", "EffectiveCost").rows() == [
        ("2026-09", 3.0),
        ("2026-10", 10.0),
    ]


def test_the_same_input_of_every_sort_twice_changes_nothing(tmp_path):
    workspace(tmp_path, CHANGES + SIGNALS)
    period(tmp_path, "2026-10", 10.0)
    write(tmp_path / "changes" / "a.jsonl", event("e1"))
    signal_file(tmp_path / "signals" / "a.csv", ("2026-10-01T00:00:00Z", 5))
    run(tmp_path)
    again = run(tmp_path)
    assert (again.version, again.read, again.skipped, again.rows) == (1, 0, 3, 0)
    assert open_lake(tmp_path).versions() == [1]


def test_a_period_delivered_again_is_replaced_whole_and_who_reads_keeps_the_old_numbers(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-09", 1.0)
    period(tmp_path, "2026-10", 10.0, 10.0, part=1)
    second = period(tmp_path, "2026-10", 5.0, part=2)
    run(tmp_path)
    reader = open_lake(tmp_path)
    period(tmp_path, "2026-10", 7.0, part=1)
    second.unlink()
    report = run(tmp_path)
    assert (report.read, report.skipped) == (1, 1)
    for table in COST_TABLES:
        assert total(tmp_path, table) == 1.0 + 7.0, table
        assert total(tmp_path, table, version=1) == 1.0 + 10.0 + 10.0 + 5.0, table
    assert reader.table("hourly")["EffectiveCost"].sum() == 26.0


def test_a_period_that_vanishes_from_the_folder_stays_in_the_lake(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-09", 1.0)
    period(tmp_path, "2026-10", 10.0)
    run(tmp_path)
    shutil.rmtree(tmp_path / "billing/data/BILLING_PERIOD=2026-09")
    run(tmp_path)
    assert total(tmp_path) == 11.0


def test_files_without_a_period_in_their_path_are_grouped_by_the_period_of_their_rows(tmp_path):
    workspace(tmp_path)
    old = bill(tmp_path / "billing/september.csv", "2026-09", 1.0, 2.0)
    bill(tmp_path / "billing/october.csv", "2026-10", 10.0)
    run(tmp_path)
    for table in COST_TABLES:
        assert by_delivery(tmp_path, table) == {
            "focus:billing:2026-09": 3.0,
            "focus:billing:2026-10": 10.0,
        }, table
    seen = open_lake(tmp_path).table("seen").group_by("delivery").agg(pl.col("records").sum())
    assert dict(seen.iter_rows()) == {"focus:billing:2026-09": 2, "focus:billing:2026-10": 1}
    old.unlink()
    bill(tmp_path / "billing/october.csv", "2026-10", 20.0)
    run(tmp_path)
    assert by_delivery(tmp_path) == {"focus:billing:2026-09": 3.0, "focus:billing:2026-10": 20.0}
    assert run(tmp_path).version == 2


def test_two_exports_of_the_same_month_do_not_replace_each_other(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 1.0, export="payer-a")
    period(tmp_path, "2026-10", 10.0, export="payer-b")
    run(tmp_path)
    period(tmp_path, "2026-10", 2.0, export="payer-a")
    run(tmp_path)
    assert by_delivery(tmp_path) == {
        "focus:billing:payer-a/2026-10": 2.0,
        "focus:billing:payer-b/2026-10": 10.0,
    }


def test_another_mapping_of_tags_reads_the_bills_anew(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 1.0)
    run(tmp_path)
    workspace(tmp_path, '\n[mapping]\nservice_tags = ["squad"]\n')
    run(tmp_path)
    lake = open_lake(tmp_path)
    assert lake.table("hourly").join(lake.table("series"), on="series_id")["service"].to_list() == [
        "blue"
    ]
    assert lake.config["mapping"]["service_tags"] == ["squad"]


def test_a_source_that_moves_to_another_path_does_not_count_twice(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 1.0)
    run(tmp_path)
    (tmp_path / "billing").rename(tmp_path / "bills")
    workspace(tmp_path, toml=TOML.replace("billing/", "bills/"))
    report = run(tmp_path)
    assert by_delivery(tmp_path) == {"focus:bills:2026-10": 1.0}
    assert "left out" in report.messages[0]


@pytest.mark.parametrize("spelling", ["billing", "./billing/"])
def test_another_spelling_of_the_same_path_is_the_same_source(tmp_path, spelling):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 1.0)
    run(tmp_path)
    workspace(tmp_path, toml=TOML.replace("billing/", spelling))
    assert run(tmp_path).read == 0
    assert total(tmp_path) == 1.0


# ---------------------------------------------------------------- what cannot be read


def test_a_period_with_a_file_that_cannot_be_read_stays_as_it_was_delivered_before(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 10.0, part=1)
    bad = period(tmp_path, "2026-10", 5.0, part=2)
    run(tmp_path)
    period(
        tmp_path, "2026-10", 100.0, part=1
    )  # a restatement, of which the second file is truncated
    bad.write_bytes(bad.read_bytes()[:200])
    period(tmp_path, "2026-11", 1.0)
    report = run(tmp_path)
    assert (
        total(tmp_path) == 15.0 + 1.0
    )  # October as before, November new; never 100 + 1, half a month
    assert "acme-00002.snappy.parquet" in report.messages[0]
    assert open_lake(tmp_path).table("set_aside")["delivery"].to_list() == [
        "focus:billing:2026-10:unreadable"
    ]


def test_a_file_that_still_cannot_be_read_makes_no_new_version_is_said_again_and_is_healed_by_a_good_one(
    tmp_path,
):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 10.0)
    period(tmp_path, "2026-11", 5.0).write_bytes(b"PAR1 no more")
    for _ in range(2):
        report = run(tmp_path)
        assert (report.version, len(report.messages)) == (1, 1)
    period(tmp_path, "2026-11", 5.0)
    report = run(tmp_path)
    assert (total(tmp_path), report.messages) == (15.0, ())
    assert open_lake(tmp_path).table("set_aside").is_empty()
    assert not [
        name for name in open_lake(tmp_path).table("deliveries")["delivery"] if "unreadable" in name
    ]


def test_where_nothing_of_a_source_can_be_read_no_other_source_is_written_either(tmp_path):
    workspace(tmp_path, CHANGES)
    period(tmp_path, "2026-10", 10.0)
    write(tmp_path / "changes" / "a.jsonl", event("e1"))
    run(tmp_path)
    period(tmp_path, "2026-10", 99.0).write_bytes(b"no Parquet at all")
    write(tmp_path / "changes" / "b.jsonl", event("e2"))
    with pytest.raises(SourceError, match=r"cost\[0\].path"):
        run(tmp_path)
    assert open_lake(tmp_path).versions() == [1]


def test_a_first_ingest_that_reads_nothing_makes_no_lake(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 99.0).write_bytes(b"no Parquet at all")
    with pytest.raises(SourceError):
        run(tmp_path)
    assert not has_lake(tmp_path)


def test_a_delivery_all_in_another_currency_does_not_empty_the_month(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-09", 1.0)
    file = period(tmp_path, "2026-10", 10.0)
    run(tmp_path)
    bill(file, "2026-10", 9.0, currency="EUR")
    report = run(tmp_path)
    assert total(tmp_path) == 11.0
    assert "EUR" in report.messages[0]


def test_a_changes_file_that_breaks_keeps_what_it_said_before(tmp_path):
    workspace(tmp_path, '\n[[changes]]\nformat = "cloudtrail"\npath = "trail/"\n')
    period(tmp_path, "2026-10", 10.0)
    record = {
        "eventTime": "2026-10-01T01:00:00Z",
        "eventSource": "lambda.amazonaws.com",
        "eventName": "UpdateX",
        "readOnly": False,
    }
    record |= {"recipientAccountId": "1", "userIdentity": {"type": "IAMUser", "userName": "dana"}}
    (tmp_path / "trail").mkdir()
    for name in ("a", "b"):
        packed = gzip.compress(json.dumps({"Records": [record | {"eventID": name}]}).encode())
        (tmp_path / "trail" / f"{name}.json.gz").write_bytes(packed)
    run(tmp_path)
    (tmp_path / "trail" / "b.json.gz").write_bytes(packed[:40])
    report = run(tmp_path)
    assert sorted(open_lake(tmp_path).table("changes")["change_id"]) == ["a", "b"]
    assert "trail/b.json.gz" in report.messages[0]


# ---------------------------------------------------------------- changes, signals, catalogues


def test_a_changed_file_of_changes_replaces_its_rows_and_no_others(tmp_path):
    workspace(tmp_path, CHANGES)
    period(tmp_path, "2026-10", 10.0)
    write(tmp_path / "changes" / "a.jsonl", event("a1"), event("a2"))
    write(tmp_path / "changes" / "b.jsonl", event("b1"))
    run(tmp_path)
    write(tmp_path / "changes" / "a.jsonl", event("a1"), event("a3"))
    write(tmp_path / "changes" / "c.jsonl", event("c1"))
    report = run(tmp_path)
    assert sorted(open_lake(tmp_path).table("changes")["change_id"]) == ["a1", "a3", "b1", "c1"]
    assert (report.read, report.skipped) == (2, 2)


def test_a_signal_bucket_that_two_files_give_counts_once(tmp_path):
    workspace(tmp_path, SIGNALS)
    period(tmp_path, "2026-10", 10.0)
    signal_file(
        tmp_path / "signals/a.csv", ("2026-10-01T22:00:00Z", 5), ("2026-10-01T23:00:00Z", 7)
    )
    run(tmp_path)
    signal_file(
        tmp_path / "signals/b.csv", ("2026-10-01T23:00:00Z", 7), ("2026-10-02T00:00:00Z", 9)
    )
    run(tmp_path)
    assert open_lake(tmp_path).table("signals")["value"].sum() == 5 + 7 + 9


def test_days_of_signals_that_vanish_from_the_folder_stay_in_the_lake(tmp_path):
    workspace(tmp_path, SIGNALS)
    period(tmp_path, "2026-10", 10.0)
    old = signal_file(tmp_path / "signals/a.csv", ("2026-10-01T00:00:00Z", 5))
    signal_file(tmp_path / "signals/b.csv", ("2026-10-02T00:00:00Z", 7))
    run(tmp_path)
    old.unlink()
    signal_file(tmp_path / "signals/b.csv", ("2026-10-02T00:00:00Z", 8))
    run(tmp_path)
    assert sorted(open_lake(tmp_path).table("signals")["value"]) == [5.0, 8.0]


def test_a_user_s_groups_are_found_in_other_files_and_a_component_that_is_deleted_goes(tmp_path):
    workspace(tmp_path, CATALOG)
    period(tmp_path, "2026-10", 10.0)
    head = "apiVersion: backstage.io/v1alpha1\nkind: {}\nmetadata: {{name: {}}}\nspec: {}\n"
    write(tmp_path / "catalog/user.yaml", head.format("User", "dana", "{}"))
    write(
        tmp_path / "catalog/group.yaml",
        head.format("Group", "supply", "{type: team, children: [], members: [dana]}"),
    )
    old = write(
        tmp_path / "catalog/old.yaml",
        head.format("Component", "old", "{type: service, lifecycle: production, owner: supply}"),
    )
    run(tmp_path)
    catalog = open_lake(tmp_path).table("catalog")
    assert catalog.filter(pl.col("name") == "dana")["member_of"].to_list() == [["supply"]]
    old.unlink()
    run(tmp_path)
    assert sorted(open_lake(tmp_path).table("catalog")["name"]) == ["dana", "supply"]


# ---------------------------------------------------------------- the configuration


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ('\n[[cost]]\nformat = "focus"\npath = "missing/"\n', r"cost\[1\].path"),
        ('\n[[cost]]\nformat = "focus"\npath = "empty/"\n', r"cost\[1\].path"),
        (
            '\n[[cost]]\nformat = "focus"\npath = "billing/data/"\n',
            r"cost\[1\].path",
        ),  # the same files twice
        ('\n[[cost]]\nformat = "focus"\npath = "gs://bucket/x"\n', r"cost\[1\].path"),
        ('\n[[changes]]\nformat = "cloudtrail"\npath = "missing/"\n', r"changes\[0\].path"),
        ('\n[[signals]]\nformat = "signals"\n', r"signals\[0\].path"),
        ('\n[[signals]]\nformat = "xray"\ndays = 31\n', r"signals\[0\]"),
        ('\n[[owners]]\nformat = "codeowners"\npath = "CODEOWNERS"\n', r"owners\[0\].path"),
    ],
)
def test_a_wrong_source_is_one_error_that_names_the_key_and_nothing_is_written(tmp_path, more, key):
    workspace(tmp_path, more)
    period(tmp_path, "2026-10", 10.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=key):
        run(tmp_path)
    assert not (tmp_path / "lake").exists()


def test_period_folders_beside_loose_files_are_read_together(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 10.0)
    run(tmp_path)
    bill(tmp_path / "billing/loose.csv", "2026-11", 1.0)
    run(tmp_path)
    assert by_delivery(tmp_path) == {"focus:billing:2026-10": 10.0, "focus:billing:2026-11": 1.0}


def test_a_lake_in_another_currency_is_refused(tmp_path):
    workspace(tmp_path)
    period(tmp_path, "2026-10", 10.0)
    run(tmp_path)
    workspace(tmp_path, toml=TOML.replace("USD", "EUR"))
    with pytest.raises(ConfigError, match=r"workspace.currency"):
        run(tmp_path)


# ---------------------------------------------------------------- how it goes


def test_progress_counts_every_file_once_and_ends_at_the_whole(tmp_path):
    workspace(tmp_path, CHANGES + '\n[[owners]]\nformat = "tags"\n')
    period(tmp_path, "2026-09", 1.0)
    period(tmp_path, "2026-10", 1.0)
    write(tmp_path / "changes" / "a.jsonl", event("e1"))
    told: list[tuple[str, int, int]] = []
    ingest(read_workspace(tmp_path), lambda *step: told.append(step))
    assert [(done, whole) for _, done, whole in told] == [(1, 3), (2, 3), (3, 3)]


def test_large_frames_wait_on_disk_and_arrive_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "SPOOLED", 2)
    workspace(tmp_path)
    period(tmp_path, "2026-09", 1.0, 2.0, 3.0)
    period(tmp_path, "2026-10", 10.0)
    run(tmp_path)
    period(tmp_path, "2026-09", 1.0, 2.0, 4.0)
    run(tmp_path)
    assert by_delivery(tmp_path) == {"focus:billing:2026-09": 7.0, "focus:billing:2026-10": 10.0}


def test_a_thousand_small_files_take_seconds(tmp_path):
    workspace(tmp_path, CHANGES)
    period(tmp_path, "2026-10", 10.0)
    for n in range(1000):
        write(tmp_path / "changes" / f"{n:04d}.jsonl", event(f"e{n}"))
    began = os.times()
    assert run(tmp_path).read == 1001
    ended = os.times()
    assert open_lake(tmp_path).table("changes")["change_id"].n_unique() == 1000
    assert (
        ended.user + ended.system - began.user - began.system < 20
    )  # CPU seconds; about 3 when this was written


@pytest.mark.parametrize("company", COMPANIES[:2])
def test_a_company_is_read_to_the_cent_in_every_cost_table(tmp_path, company):
    folder = tmp_path / "company"
    copied(company, folder)
    assert run(folder).rows_set_aside == 0
    wanted = sum(
        float(pl.read_parquet(file)["EffectiveCost"].sum())
        for file in (folder / "billing").rglob("*.parquet")
    )
    for table in COST_TABLES:
        assert total(folder, table) == pytest.approx(wanted, abs=0.01), table
