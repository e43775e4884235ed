"""What somebody meets who has never seen costwhy: a tiny bill, a narrow terminal, a word that is missing."""

import json
from pathlib import Path

import pytest

from costwhy import cli
from costwhy.case import find_spikes
from costwhy.lake import open_lake

HEAD = (
    "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd,"
    "ServiceName,ChargeCategory"
)
MONTH = "2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,Amazon EC2,Usage"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two hours of a bill in dollars, one in euros."""
    (tmp_path / "billing").mkdir()
    rows = [f"1.0,1.0,{c},2026-11-20T0{h}:00:00Z,2026-11-20T0{h + 1}:00:00Z,{MONTH}" for h, c in enumerate(("USD", "USD", "EUR"))]
    (tmp_path / "billing" / "a.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    told = '[workspace]\nname = "tiny"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    (tmp_path / "costwhy.toml").write_text(told)
    return tmp_path


def test_ingest_says_why_rows_were_set_aside(tiny, capsys):
    assert cli.main(["ingest", str(tiny)]) == 0
    said = capsys.readouterr().out
    assert "2 rows, 1 set aside" in said
    assert "  set aside: 1 of a.csv: in EUR, the workspace is in USD" in said
    assert cli.main(["ingest", str(tiny), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["set_aside"] == [
        {"file": "a.csv", "reason": "in EUR, the workspace is in USD", "records": 1}
    ]


def test_a_bill_of_two_hours_has_no_spike_and_no_traceback(tiny, capsys):
    cli.main(["ingest", str(tiny)])
    assert cli.main(["spikes", str(tiny)]) == 0
    assert "no spike" in capsys.readouterr().out
    assert cli.main(["explain", str(tiny)]) == 0
    assert "tiny: 0 spikes" in capsys.readouterr().out


def test_a_wrong_format_names_the_readmes_section_that_exists(tiny, capsys):
    (tiny / "costwhy.toml").write_text((tiny / "costwhy.toml").read_text().replace("focus", "fokus"))
    assert cli.main(["ingest", str(tiny)]) == 3
    section = capsys.readouterr().err.split("*")[1]
    assert f"## {section}\n" in (Path(__file__).parents[2] / "README.md").read_text()


def test_publish_without_a_spike_asks_which(sample_workspace, capsys):
    assert cli.main(["publish", str(sample_workspace)]) == 2
    assert "which spike?" in capsys.readouterr().err


def test_on_80_columns_each_spike_is_a_whole_id_with_its_numbers_below(sample_workspace, capsys, monkeypatch):
    monkeypatch.setattr(cli.out, "width", 80)
    cli.main(["spikes", str(sample_workspace)])
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 80
    ids = find_spikes(open_lake(sample_workspace))["spike_id"].to_list()
    assert [line for line in said if not line.startswith(" ")] == ids


def test_explain_in_words_says_what_runs_what_ended_and_who_pays(sample_workspace, capsys):
    cli.main(["explain", str(sample_workspace)])
    said = capsys.readouterr().out
    assert "an hour now; by the end of the month $" in said
    assert "ended since" not in said
    assert "  pays: cc-" in said
