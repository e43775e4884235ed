"""Ingest: safe to run again, restatements, and bad input that costs nothing."""

import gzip
import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest
from places import SAMPLE

from costwhy.config import read_workspace
from costwhy.errors import ConfigError, CostwhyError, SourceError
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake
from costwhy.sources import packed

TOML = """[workspace]
name = "acme"
currency = "USD"
[[cost]]
format = "focus"
path = "billing/"
"""
HEAD = "ChargePeriodStart,ChargePeriodEnd,BillingPeriodStart,BillingCurrency,EffectiveCost,BilledCost,ServiceName,Tags"


def row(hour: str = "2026-10-01T00:00:00Z", cost: str = "1.5", currency: str = "USD") -> str:
    return f'{hour},,2026-10-01T00:00:00Z,{currency},{cost},{cost},Amazon S3,"{{""service"":""cart""}}"'


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two good rows of 1.50, and a file for each of the other sources to spoil."""
    (tmp_path / "billing").mkdir()
    (tmp_path / "costwhy.toml").write_text(TOML)
    (tmp_path / "billing" / "a.csv").write_text(
        "\n".join([HEAD, row(), row("2026-10-01 01:00:00")]) + "\n"
    )
    return tmp_path


def cost(place: Path) -> float:
    return open_lake(place).table("hourly")["EffectiveCost"].sum()


def test_the_same_input_read_twice_changes_nothing(workspace: Path) -> None:
    first = ingest(read_workspace(workspace))
    again = ingest(read_workspace(workspace))
    assert (again.version, again.read, again.skipped) == (first.version, 0, 1)
    assert open_lake(workspace).versions() == [1]


def test_a_changed_file_restates_its_period(workspace: Path) -> None:
    ingest(read_workspace(workspace))
    before = open_lake(workspace)
    (workspace / "billing" / "a.csv").write_text("\n".join([HEAD, row(cost="4")]) + "\n")
    assert ingest(read_workspace(workspace)).version == 2
    assert cost(workspace) == 4.0
    assert before.table("hourly")["EffectiveCost"].sum() == 3.0


def test_what_nobody_reads_any_more_is_removed_and_its_bytes_are_told(workspace: Path) -> None:
    ingest(read_workspace(workspace))
    (workspace / "billing" / "a.csv").write_text("\n".join([HEAD, row(cost="4")]) + "\n")
    assert ingest(read_workspace(workspace)).freed > 0
    assert open_lake(workspace).versions() == [2]
    assert ingest(read_workspace(workspace)).freed == 0


def test_with_keep_versions_stay_readable(workspace: Path) -> None:
    toml = workspace / "costwhy.toml"
    toml.write_text(toml.read_text() + '\n[lake]\nkeep = "7d"\n')
    ingest(read_workspace(workspace))
    (workspace / "billing" / "a.csv").write_text("\n".join([HEAD, row(cost="4")]) + "\n")
    assert ingest(read_workspace(workspace)).freed == 0
    assert open_lake(workspace, version=1).table("hourly")["EffectiveCost"].sum() == 3.0


def test_a_row_in_another_currency_is_set_aside_and_never_summed(workspace: Path) -> None:
    (workspace / "billing" / "a.csv").write_text(
        "\n".join([HEAD, row(), row(cost="7", currency="EUR")]) + "\n"
    )
    report = ingest(read_workspace(workspace))
    assert (cost(workspace), report.rows_set_aside) == (1.5, 1)
    assert open_lake(workspace).table("set_aside")["reason"].to_list() == [
        "in EUR, the workspace is in USD"
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("not a time,,2026-10-01,USD,1,1,S3,", "the charge period is missing or no time"),
        (
            "2026-10-01T00:00:00Z,,2026-10-01,USD,many,1,S3,",
            "EffectiveCost is missing or no number",
        ),
        ("2026-10-01T00:00:00Z,,2026-10-01,USD,nan,1,S3,", "EffectiveCost is missing or no number"),
    ],
)
def test_a_row_that_cannot_be_read_is_set_aside_with_its_reason(
    workspace: Path, bad: str, reason: str
) -> None:
    (workspace / "billing" / "a.csv").write_text(f"{HEAD}\n{row()}\n{bad}\n")
    assert ingest(read_workspace(workspace)).rows_set_aside == 1
    assert cost(workspace) == 1.5
    assert open_lake(workspace).table("set_aside")["reason"].to_list() == [reason]


def test_an_empty_folder_is_one_clear_error_and_nothing_is_written(workspace: Path) -> None:
    (workspace / "billing" / "a.csv").unlink()
    with pytest.raises(
        ConfigError,
        match=r"`cost\[0\].path`: there is nothing to read at path 'billing/'\nFound: no file that ends",
    ) as caught:
        ingest(read_workspace(workspace))
    assert caught.value.exit_code == 3
    assert not (workspace / "lake").exists()


def test_a_missing_column_is_named(workspace: Path) -> None:
    (workspace / "billing" / "a.csv").write_text(
        "ChargePeriodStart,BillingCurrency\n2026-10-01,USD\n"
    )
    with pytest.raises(SourceError, match="column EffectiveCost is missing"):
        ingest(read_workspace(workspace))


def test_a_truncated_parquet_file_leaves_the_lake_as_before(workspace: Path) -> None:
    good = pl.DataFrame(
        {
            "ChargePeriodStart": ["2026-11-01T00:00:00Z"],
            "BillingCurrency": ["USD"],
            "EffectiveCost": [2.0],
            "BilledCost": [2.0],
        }
    )
    good.write_parquet(workspace / "billing" / "b.parquet")
    ingest(read_workspace(workspace))
    whole = (workspace / "billing" / "b.parquet").read_bytes()
    (workspace / "billing" / "b.parquet").write_bytes(whole[: len(whole) // 2])
    report = ingest(read_workspace(workspace))
    assert "b.parquet was set aside" in report.messages[0]
    assert cost(workspace) == 5.0, "the money of the last good delivery"
    (workspace / "billing" / "b.parquet").write_bytes(whole)
    assert not ingest(read_workspace(workspace)).messages


def test_a_file_that_is_only_broken_is_an_input_error(workspace: Path) -> None:
    (workspace / "billing" / "a.csv").unlink()
    (workspace / "billing" / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SourceError, match="nothing at billing/ could be read"):
        ingest(read_workspace(workspace))
    assert not (workspace / "lake" / "snapshots").exists()


@pytest.mark.parametrize(
    ("name", "form", "spoil", "reason"),
    [
        (
            "changes/a.jsonl",
            "cdevents",
            b'{"context":{"id":"1","type":"dev.cdevents.service.deployed.0.2.0","timestamp":"2026-10-01T08:42:31"},"subject":{"id":"x"}}',
            "zone",
        ),
        ("changes/a.jsonl", "cdevents", b"{not json", ""),
        (
            "catalog/a.yaml",
            "backstage",
            b"a: &a [x,x]\n"
            + b"".join(
                b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % (98 + k, 98 + k, *[97 + k] * 8)
                for k in range(12)
            ),
            "",
        ),
    ],
    ids=["clock without zone", "no JSON", "YAML bomb"],
)
def test_hostile_records_are_set_aside_and_the_rest_goes_on(
    workspace: Path, name: str, form: str, spoil: bytes, reason: str
) -> None:
    section = "owners" if form == "backstage" else "changes"
    (workspace / "costwhy.toml").write_text(
        TOML + f'[[{section}]]\nformat = "{form}"\npath = "{name.split("/", maxsplit=1)[0]}/"\n'
    )
    (workspace / name).parent.mkdir()
    (workspace / name).write_bytes(spoil)
    report = ingest(read_workspace(workspace))
    assert cost(workspace) == 3.0
    assert report.rows_set_aside >= 1
    assert reason in " ".join(open_lake(workspace).table("set_aside")["reason"].to_list())


def test_a_line_without_end_is_refused_before_it_fills_the_memory(workspace: Path) -> None:
    (workspace / "costwhy.toml").write_text(
        TOML + '[[changes]]\nformat = "cloudtrail"\npath = "trail/"\n'
    )
    (workspace / "trail").mkdir()
    (workspace / "trail" / "a.json.gz").write_bytes(
        gzip.compress(b'{"Records":[' + b" " * (300 << 20))
    )
    report = ingest(read_workspace(workspace))
    assert any("larger than 256 MB" in message for message in report.messages)
    assert cost(workspace) == 3.0, "the bill is read all the same"


@pytest.mark.parametrize(
    ("section", "form", "name", "content"),
    [
        ("changes", "cloudtrail", "a.json", b"no JSON"),
        ("changes", "changes", "a.csv", b"nothing,of,it"),
        ("changes", "autoscaling", "a.json", b'{"Activities": ['),
        ("signals", "signals", "a.csv", b"nothing,of,it"),
        ("signals", "signals", "a.parquet", b"PAR1 not really"),
    ],
)
def test_a_source_of_which_nothing_can_be_read_does_not_take_the_bill_with_it(
    workspace: Path, section: str, form: str, name: str, content: bytes
) -> None:
    (workspace / "costwhy.toml").write_text(
        TOML + f'[[{section}]]\nformat = "{form}"\npath = "other/"\n'
    )
    (workspace / "other").mkdir()
    (workspace / "other" / name).write_bytes(content)
    for _ in range(2):  # it is told every time
        report = ingest(read_workspace(workspace))
        assert cost(workspace) == 3.0
        assert any(
            f"`{section}[0].path`: nothing at other/ could be read" in message
            for message in report.messages
        )
        assert report.rows_set_aside == 1
        assert open_lake(workspace).table("set_aside")["file"].to_list() == [f"other/{name}"]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (
            TOML.replace('currency = "USD"', "currency = 5"),
            "`workspace.currency`: a whole number, where text in quotes belongs",
        ),
        (
            TOML.replace("USD", "usd"),
            "`workspace.currency` is 'usd': write the three capital letters of ISO 4217",
        ),
        (
            TOML.replace("format", "fromat"),
            r"`cost\[0\].format` is missing; there are fromat, path",
        ),
        (
            TOML.replace("path", "pth"),
            r"`cost\[0\].pth` is no key here\nTo do: write one of format, path \(did you mean path",
        ),
        (TOML.replace('path = "billing/"', ""), r"`cost\[0\].path` is missing"),
        (
            TOML + "[mapping]\nteam_tag = []",
            r"`mapping.team_tag` is no key here\nTo do: write one of service_tags, team_tags",
        ),
        (TOML + "[[changes]]\nformat = 3", r"`changes\[0\].format` is 3"),
        ("changes = 3\n" + TOML, "`changes`: a whole number, where a list belongs"),
        (
            TOML.replace('"focus"', '"fokus"'),
            r"`cost\[0\].format` is .fokus.\nTo do: write one of focus, cur2, cur",
        ),
        ("[workspace", "not TOML"),
    ],
)
def test_a_wrong_configuration_names_the_key(workspace: Path, text: str, path: str) -> None:
    (workspace / "costwhy.toml").write_text(text)
    with pytest.raises(ConfigError, match=path):
        read_workspace(workspace)


def test_money_is_exact_for_each_period_and_cost_column(sample_workspace: Path) -> None:
    lake = open_lake(sample_workspace)
    files = pl.concat(
        [
            pl.read_parquet(f).select(
                "BillingPeriodStart", "EffectiveCost", "BilledCost", "ListCost"
            )
            for f in SAMPLE.glob("billing/data/*/*.parquet")
        ]
    )
    true = (
        files.group_by(billing_period=pl.col("BillingPeriodStart").dt.strftime("%Y-%m"))
        .agg(pl.all().exclude("BillingPeriodStart").sum())
        .sort("billing_period")
    )
    for table in ("hourly", "daily"):
        cube = (
            lake.table(table)
            .group_by("billing_period")
            .agg(pl.col("EffectiveCost", "BilledCost", "ListCost").sum())
            .sort("billing_period")
        )
        for name in ("EffectiveCost", "BilledCost", "ListCost"):
            assert (cube[name] - true[name]).abs().max() < 0.005
    assert lake.table("overview")["EffectiveCost"].sum() == pytest.approx(
        true["EffectiveCost"].sum(), abs=0.005
    )


def test_every_error_is_one_of_the_tree() -> None:
    assert issubclass(ConfigError, CostwhyError)
    assert json.dumps(str(ConfigError("a", found="b", fix="c"))) == '"a\\nFound: b\\nTo do: c"'
    assert shutil.which("python3")


def test_unchanged_files_are_not_opened_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sizes and times tell; `rehash` opens each file, and finds what they hide."""
    for file in workspace.rglob("*"):
        os.utime(file, (1, 1))
    ingest(read_workspace(workspace))
    opened: list[Path] = []
    digest = packed.digest_of
    monkeypatch.setattr(packed, "digest_of", lambda file: opened.append(file) or digest(file))
    assert ingest(read_workspace(workspace)).read == 0
    assert not opened
    assert ingest(read_workspace(workspace), rehash=True).read == 0
    assert opened
