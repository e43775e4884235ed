"""What somebody meets who has never seen costwhy: a tiny bill, a narrow terminal, a word that is missing."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from places import SAMPLE

from costwhy.case.investigate import find_spikes
from costwhy.cli.main import main
from costwhy.cli.terminal import out
from costwhy.config import read_workspace
from costwhy.errors import ConfigError
from costwhy.feedback.verdicts import say
from costwhy.lake.lake import open_lake

HEAD = (
    "BilledCost,EffectiveCost,BillingCurrency,ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingPeriodEnd,"
    "ServiceName,ChargeCategory"
)
MONTH = "2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,Amazon EC2,Usage"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two hours of a bill in dollars, one in euros."""
    (tmp_path / "billing").mkdir()
    rows = [
        f"1.0,1.0,{c},2026-11-20T0{h}:00:00Z,2026-11-20T0{h + 1}:00:00Z,{MONTH}"
        for h, c in enumerate(("USD", "USD", "EUR"))
    ]
    (tmp_path / "billing" / "a.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    told = '[workspace]\nname = "tiny"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "billing/"\n'
    (tmp_path / "costwhy.toml").write_text(told)
    return tmp_path


def test_ingest_says_why_rows_were_set_aside(tiny, capsys):
    assert main(["ingest", str(tiny)]) == 0
    said = capsys.readouterr().out
    assert "2 rows, 1 set aside" in said
    assert "  set aside: 1 of a.csv: in EUR, the workspace is in USD" in said
    assert main(["ingest", str(tiny), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["set_aside"] == [
        {"file": "a.csv", "reason": "in EUR, the workspace is in USD", "records": 1}
    ]


def test_a_bill_of_two_hours_has_no_spike_and_no_traceback(tiny, capsys):
    main(["ingest", str(tiny)])
    assert main(["spikes", str(tiny)]) == 0
    assert "no spike" in capsys.readouterr().out
    assert main(["explain", str(tiny)]) == 0
    assert "tiny: 0 spikes" in capsys.readouterr().out


def test_a_wrong_format_names_the_readmes_section_that_exists(tiny, capsys):
    (tiny / "costwhy.toml").write_text(
        (tiny / "costwhy.toml").read_text().replace("focus", "fokus")
    )
    assert main(["ingest", str(tiny)]) == 3
    section = capsys.readouterr().err.split("*")[1]
    assert f"## {section}\n" in (Path(__file__).parents[2] / "README.md").read_text()


@pytest.mark.parametrize(
    ("problem", "advice"),
    [
        (
            '[[cost]]\nformat = "fokus"\npath = "x"',
            "write one of focus, cur2, cur, model_costs (did you mean focus?)",
        ),
        (
            '[[cost]]\nformat = "parquet"\npath = "x"',
            "write one of focus, cur2, cur, model_costs; ",
        ),
        (
            '[mapping]\nowners = ["tag"]',
            "write one of catalog, tags, codeowners, creator, account (did you mean tags?)",
        ),
        ('[[signals]]\nformat = "prometheus"\npreset = "isto"', "(did you mean istio?)"),
        (
            '[[watch.channels]]\nkind = "slak"\nname = "x"',
            "write one of slack, webhook, sns, email, stdout (did you mean slack?)",
        ),
        ("[lake]\npath = 3", "To do: see the README"),
        ("[lake]\npath = 3", "`lake.path`: a whole number, where text in quotes belongs"),
        ("[watch]\ndefault = 3", "a whole number, where text in quotes belongs"),
        ('[cost]\nformat = "focus"', "begin it with two brackets, as in [[cost]]; "),
        ("[[lake]]", "begin it with one bracket, as in [workspace]; "),
        ('[mapping]\nteam_tags = "team"', "text in quotes, where a list belongs"),
    ],
)
def test_a_word_that_is_none_of_the_allowed_ones_is_answered_with_these_and_the_nearest(
    problem, advice, tmp_path, capsys
):
    (tmp_path / "costwhy.toml").write_text(
        f'[workspace]\nname = "a"\ncurrency = "USD"\n{problem}\n'
    )
    assert main(["ingest", str(tmp_path)]) == 3
    assert advice in capsys.readouterr().err


def without(tiny: Path, *names: str) -> None:
    """The tiny bill without these columns."""
    file = tiny / "billing" / "a.csv"
    rows = [line.split(",") for line in file.read_text().splitlines()]
    kept = [k for k, name in enumerate(rows[0]) if name not in names]
    file.write_text("\n".join(",".join(row[k] for k in kept) for row in rows) + "\n")


def test_ingest_says_in_one_line_which_columns_are_absent_and_what_that_costs(tiny, capsys):
    without(tiny, "BilledCost", "ChargePeriodEnd", "ServiceName", "ChargeCategory")
    (tiny / "billing" / "b.csv").write_text((tiny / "billing" / "a.csv").read_text())
    assert main(["ingest", str(tiny)]) == 0
    [said] = [line for line in capsys.readouterr().err.splitlines() if "no column" in line]
    for name in (
        "BilledCost (the effective cost is shown as billed)",
        "ChargePeriodEnd (",
        "ServiceName (",
        "ChargeCategory (tax, ",
    ):
        assert name in said
    assert "EffectiveCost" not in said


def test_of_a_file_that_has_the_columns_nothing_is_said(tmp_path, capsys):
    folder = shutil.copytree(SAMPLE, tmp_path / "marigold", ignore=shutil.ignore_patterns("lake"))
    assert main(["ingest", str(folder)]) == 0
    assert "no column" not in capsys.readouterr().err


WORDS = {
    "say": ["20261014T03-x", "fixed"],
    "plan": ["cart", "--reason", "r", "--until", "2027-01-01"],
    "publish": ["20261014T03-x"],
}


@pytest.mark.parametrize(
    "command", ["spikes", "explain", "app", "watch", "ingest", "say", "plan", "publish"]
)
def test_a_folder_that_is_not_there_is_said_before_anybody_speaks_of_ingest(
    command, tmp_path, capsys
):
    assert main([command, str(tmp_path / "acme"), *WORDS.get(command, [])]) == 3
    said = capsys.readouterr().err
    assert f"there is no folder {tmp_path / 'acme'}" in said.replace("\n", "")
    assert "ingest" not in said
    assert main([command, str(tmp_path), *WORDS.get(command, [])]) == 3
    said = capsys.readouterr().err
    assert "there is no costwhy.toml in" in said
    assert "ingest" not in said


def test_a_plan_for_a_service_that_nobody_knows_is_accepted_and_the_nearest_names_are_said(
    sample_workspace, tmp_path, capsys
):
    folder = shutil.copytree(sample_workspace, tmp_path / "marigold")
    until = ["--until", "2027-01-01", "--reason", "sale", "--cost-per-day", "50"]
    assert main(["plan", str(folder), "cart", *until]) == 0
    assert capsys.readouterr().err == ""
    assert main(["plan", str(folder), "Cartt", *until]) == 0
    said = capsys.readouterr().err
    assert "no signal, bill or catalogue knows the service 'Cartt' yet; did you mean cart?" in said
    assert main(["plan", str(folder), "--list"]) == 0
    listed = capsys.readouterr().out
    assert "Cartt" in listed
    assert "$50.00" in listed


def test_lists_for_people_have_headings_and_no_internal_columns_and_json_has_all(
    sample_workspace, tmp_path, capsys
):
    folder = shutil.copytree(sample_workspace, tmp_path / "marigold")
    lake = open_lake(folder)
    ended = find_spikes(lake).filter(pl.col("status") == "ended").row(0, named=True)
    say(lake, ended["spike_id"], "fixed", "rolled back", "dana", ended["end"])
    assert main(["say", str(folder), "--list"]) == 0
    said = capsys.readouterr().out
    assert (
        said.index("verdicts, newest first")
        < said.index("rolled back")
        < said.index("savings of fixes")
    )
    assert "in the first" in said
    assert "7 days" in said
    assert not {"kind", "usage_type", "caller", "excess_per_hour"} & set(said.split())
    assert main(["say", str(folder), "--list", "--json"]) == 0
    assert {"kind", "usage_type", "excess_per_hour"} <= set(
        json.loads(capsys.readouterr().out)["verdicts"][0]
    )


def test_what_would_leave_is_readable_on_80_columns(sample_workspace, capsys, monkeypatch):
    monkeypatch.setattr(out, "width", 80)
    spike = find_spikes(open_lake(sample_workspace))["spike_id"][0]
    assert main(["publish", str(sample_workspace), spike, "--preview", "--redact", "all"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 80
    assert any(line.startswith(("series.", "meters.")) for line in said)
    assert any(line.startswith("  values ") for line in said)


def test_what_nobody_owns_is_told_of_the_whole_company_and_not_of_one_spike(
    sample_workspace, capsys
):
    spike = find_spikes(open_lake(sample_workspace))["spike_id"][0]
    main(["explain", str(sample_workspace)])
    assert "nobody owns" in capsys.readouterr().out
    main(["explain", str(sample_workspace), spike])
    said = capsys.readouterr().out
    assert spike in said
    assert "nobody owns" not in said


def test_publish_without_a_spike_asks_which(sample_workspace, capsys):
    assert main(["publish", str(sample_workspace)]) == 2
    assert "is not the id of a spike" in capsys.readouterr().err


def test_on_80_columns_each_spike_is_a_whole_id_with_its_numbers_below(
    sample_workspace, capsys, monkeypatch
):
    monkeypatch.setattr(out, "width", 80)
    main(["spikes", str(sample_workspace)])
    said = capsys.readouterr().out.splitlines()
    assert max(map(len, said)) <= 80
    ids = find_spikes(open_lake(sample_workspace))["spike_id"].to_list()
    assert [line for line in said if not line.startswith(" ")] == ids


def test_explain_in_words_says_what_runs_what_ended_and_who_pays(sample_workspace, capsys):
    main(["explain", str(sample_workspace)])
    said = capsys.readouterr().out
    assert "an hour now; by the end of the month $" in said
    assert "ended since" not in said
    assert "  pays: cc-" in said


def test_a_section_that_is_misspelt_is_told_all_that_there_are(tmp_path: Path) -> None:
    head = '[workspace]\nname = "a"\ncurrency = "USD"\n'
    (tmp_path / "costwhy.toml").write_text(f'{head}[[change]]\nformat = "cdevents"\n')
    with pytest.raises(ConfigError) as caught:
        read_workspace(tmp_path)
    assert caught.value.found == "`change` is no key here"
    assert "cost, changes, signals, owners" in caught.value.fix
    assert "did you mean changes?" in caught.value.fix


def test_a_workspace_is_not_served_as_if_nothing_were_published(tmp_path: Path, capsys) -> None:
    (tmp_path / "costwhy.toml").write_text('[workspace]\nname = "a"\ncurrency = "USD"\n')
    assert main(["serve", str(tmp_path), "--state", str(tmp_path.parent / "state")]) == 2
    assert f"costwhy serve {tmp_path}/published" in capsys.readouterr().err
