"""What `costwhy ingest` ends with: read, set aside and not read, by period and currency."""

import json
import re
import shutil
from pathlib import Path

import pytest
from rich.cells import cell_len

from costwhy import tables
from costwhy.cli import ingest as command
from costwhy.cli.main import main
from costwhy.cli.terminal import aligned, with_workspace
from costwhy.ingest.reconcile import Reconciliation
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, open_lake, write

EVIL = "\x1b]0;owned\x07\u202e[red]a.csv"
KEYS = ("version", "files_read", "files_skipped", "rows", "rows_set_aside", "totals", "messages", "set_aside")  # fmt: skip
TABLE = """\
bills    currency                files   rows     billed  effective
2026-09  USD       read              2  1,200  12,345.60  12,300.00
2026-09  USD       set aside                7      71.75     -71.75
2026-09  USD       in the files         1,207  12,417.35  12,228.25
2026-09  EUR       set aside                5     340.10  not known
unknown            set aside                2  not known  not known
2026-10  USD       read              1    800   9,000.00   9,000.00
total    USD       read              3  2,000  21,345.60  21,300.00
""".splitlines()


def line(
    period: str | None,
    unit: str | None,
    rows: int,
    aside: int,
    *money: float | None,
    kind: str = "period",
) -> tuple[object, ...]:
    """A row of RECONCILIATION: files are rows / 600 and one more; money of four kinds."""
    files = 0 if not rows else 1 + rows // 1200 + rows // 2000
    unknown = aside if money[2:] == (None, None) else 0
    return (kind, "focus:billing" if kind == "period" else None, period, unit, files, rows,
            *money[:2], aside, *money[2:], unknown)  # fmt: skip


def test_each_period_is_told_as_read_set_aside_and_both_together() -> None:
    sums = tables.RECONCILIATION.of([
        line("2026-09", "USD", 1200, 7, 12345.6, 12300.0, 71.75, -71.75),
        line("2026-09", "EUR", 0, 5, 0.0, 0.0, 340.1, None),
        line(None, None, 0, 2, 0.0, 0.0, None, None),
        line("2026-10", "USD", 800, 0, 9000.0, 9000.0, 0.0, 0.0),
        line(None, "USD", 2000, 0, 21345.6, 21300.0, 0.0, 0.0, kind="total"),
        line(None, "EUR", 0, 5, 0.0, 0.0, 340.1, None, kind="total"),
    ])  # fmt: skip
    assert command._table(sums, "") == TABLE
    assert max(map(len, TABLE)) < 80


def test_many_periods_show_the_newest_and_how_to_see_the_others() -> None:
    months = [f"20{y}-{m:02}" for y in (24, 25, 26) for m in range(1, 13)]
    rows = [line(month, "USD", 1, 0, 1.0, 1.0, 0.0, 0.0) for month in months]
    shown = command._table(tables.RECONCILIATION.of(rows), "`x` lists all")
    assert [text[:7] for text in shown[1:13]] == months[-12:]
    assert shown[13:] == ["  24 earlier lines: `x` lists all"]


def test_many_reasons_and_files_are_cut_at_ten_and_the_rest_is_counted() -> None:
    reasons = tables.REASONS.of([
        {"source": "cost", "file": f"{k}.csv", "reason": "no time", "place": "line 7", "records": 2,
         "BillingCurrency": "USD", "BilledCost": 1.0} for k in range(13)
    ])  # fmt: skip
    files = tables.NOT_READ.of(
        [("focus:billing", f"{k}.zip", 12_345_678, "ZIP") for k in range(22)]
    )
    found = Reconciliation(tables.RECONCILIATION.empty(), reasons, files, ())
    lines = [*command._details(found, "`x` lists all")]
    assert lines[0] == "set aside: 2 of 0.csv: no time (1.00 USD, line 7)"
    assert lines[10] == "set aside: 6 more: `x` lists all"
    assert lines[11] == "not read: 0.zip, 12.3 MB: ZIP"
    assert lines[21:] == ["not read: 12 more: `x` lists all"]


def test_wide_characters_stay_in_their_columns() -> None:
    rows = aligned([("a", "1"), ("価格", "22"), "a text"], right=1)
    assert [cell_len(text) for text in rows] == [8, 8, 6]
    assert rows[2] == "a text"


# ---------------------------------------------------------------- a workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two rows of dollars, one of euros, one without a time; the file has a hostile name."""
    folder = tmp_path / "my bills"
    (folder / "billing").mkdir(parents=True)
    (folder / "costwhy.toml").write_text(
        '[workspace]\nname = "a"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    )
    head = "ChargePeriodStart,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost"
    rows = (f"{t},2026-10-01T00:00:00Z,{unit},1.5,1.5" for t, unit in (
        ("2026-10-01T00:00:00Z", "USD"), ("2026-10-01T01:00:00Z", "USD"),
        ("2026-10-01T01:00:00Z", "EUR"), ("?", "USD")))  # fmt: skip
    (folder / "billing" / EVIL).write_text("\n".join([head, *rows, ""]))
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr()


def test_the_second_ingest_reads_nothing_and_says_the_same(workspace, capsys) -> None:
    first, again = (said(capsys, "ingest", workspace) for _ in range(2))
    assert "1 files read" in first[0]
    assert "0 files read, 1 unchanged\n" in again[0]
    assert first[0].splitlines()[1:] == again[0].splitlines()[1:]
    assert first[1] == again[1]
    assert "no column" in again[1]


def test_nothing_hostile_and_no_empty_line_is_printed(workspace, capfd) -> None:
    for stream in said(capfd, "ingest", workspace):
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", stream)
        assert all(stream.splitlines())
        assert stream[0] != "\n"


def test_the_json_has_what_it_had_and_the_reconciliation(workspace, capsys) -> None:
    document = json.loads(said(capsys, "ingest", workspace, "--json")[0])
    assert tuple(document)[: len(KEYS)] == KEYS
    sums = document["reconciliation"]
    assert set(sums[0]) == set(tables.RECONCILIATION.schema)
    total = [row for row in sums if row["line"] == "total"]
    assert sum(row["rows"] + row["rows_set_aside"] for row in total) == 4
    assert {row["reason"] for row in document["set_aside_reasons"]} == {
        row["reason"] for row in document["set_aside"]
    }
    assert document["not_read"] == []
    assert any("no column" in note for note in document["notes"])


@pytest.mark.parametrize("question", ["spikes", "explain"])
def test_an_answer_says_in_one_line_what_its_sums_lack(question, workspace, capsys) -> None:
    said(capsys, "ingest", workspace)
    last = said(capsys, question, workspace)[0].splitlines()[-1]
    assert re.match(
        r"2 rows of the bill(, .*,)? were set aside: `costwhy ingest '.*my bills'`", last
    )


def test_a_whole_bill_needs_no_such_line(sample_workspace, capsys) -> None:
    for question in ("spikes", "explain"):
        assert "set aside" not in said(capsys, question, sample_workspace)[0]


def test_a_file_that_was_not_read_is_named_with_its_size(
    sample_workspace, tmp_path, capsys
) -> None:
    place = shutil.copytree(sample_workspace, tmp_path / "marigold")
    lake, gone = open_lake(place), "focus:gone:2026-10"
    file = {"delivery": gone, "source": "focus:billing", "file": EVIL, "bytes": 12_345,
            "state": "not read", "reason": "a ZIP archive with a password"}  # fmt: skip
    info = SnapshotInfo(lake.workspace, lake.currency, lake.config)
    write(place, info, {"files": Replacement(tables.FILES.of([file]))})
    last = said(capsys, "spikes", place)[0].splitlines()[-1]
    assert last.startswith("1 file was not read: `costwhy ingest ")


# ---------------------------------------------------------------- the workspace in advice


def test_advice_names_the_workspace_that_was_named(sample_workspace, capsys) -> None:
    assert main(["explain", str(sample_workspace), "20010101T00-nothing"]) == 2
    assert f"see `costwhy spikes {sample_workspace}`" in capsys.readouterr().err
    assert main(["explain", "-w", str(sample_workspace), "20010101T00-nothing"]) == 2
    assert f"see `costwhy spikes {sample_workspace}`" in capsys.readouterr().err


def test_advice_in_this_folder_names_none(sample_workspace, capsys, monkeypatch) -> None:
    monkeypatch.chdir(sample_workspace)
    assert main(["explain", "20010101T00-nothing"]) == 2
    assert "see `costwhy spikes`\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (None, "`costwhy ingest`"),
        ("acme", "`costwhy ingest acme`"),
        ("my bills", "`costwhy ingest 'my bills'`"),
        ("a\\1", "`costwhy ingest 'a\\1'`"),
    ],
)
def test_a_workspace_is_quoted_for_a_shell(place, text) -> None:
    assert with_workspace("`costwhy ingest`", place) == text
