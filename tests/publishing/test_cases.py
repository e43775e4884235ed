"""Published cases: what is written, what is taken out, and that every number can be made again."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from shelves import published_cases

import costwhy as cw
from costwhy.case.investigate import document
from costwhy.case.opened import FRAMES, SUMS, digests
from costwhy.cli.main import main
from costwhy.errors import DifferenceError, UsageError
from costwhy.lake.lake import Lake
from costwhy.publishing.evidence import investigate_again
from costwhy.publishing.publish import preview
from costwhy.publishing.redact import Redaction, redaction_of
from costwhy.publishing.verify import restated


@pytest.fixture
def one(shelf: Path, tmp_path: Path) -> Path:
    """A copy of one case, to be spoilt."""
    place = next(p for p in sorted(shelf.iterdir()) if (p / "case.json").is_file())
    return Path(shutil.copytree(place, tmp_path / place.name))


def test_a_published_case_says_what_the_investigation_said(shelf: Path, sample_lake: Lake) -> None:
    for published in published_cases(shelf):
        assert published.about["document"] == json.loads(
            json.dumps(document(cw.investigate(sample_lake, published.name)))
        )


def test_every_number_is_made_again_from_the_cases_own_data_alone(shelf: Path) -> None:
    for published in published_cases(shelf):
        checked = cw.verify(published.folder)
        assert checked.values > 1000
        assert checked.notes == ()


def test_opening_a_case_needs_no_lake(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "costwhy.lake.lake.open_lake", lambda *_: pytest.fail("a case opened a lake")
    )
    opened, again = cw.open_case(one).case, investigate_again(one)
    assert opened.spike == again.spike
    for name in FRAMES:
        assert getattr(opened, name).equals(getattr(again, name)), name


def test_a_case_keeps_its_part_of_the_data_and_not_the_company(
    shelf: Path, sample_lake: Lake
) -> None:
    company = sample_lake.table("series").height
    smallest = min(
        pl.read_parquet(p.folder / "inputs" / "meters.parquet").height
        for p in published_cases(shelf)
    )
    assert smallest == 1, "the machine that nobody owns is one meter"
    assert all(
        pl.read_parquet(p.folder / "inputs" / "meters.parquet").height < company
        for p in published_cases(shelf)
    )


def test_publishing_again_replaces_the_case_whole(one: Path, sample_lake: Lake) -> None:
    (one / "stray.txt").write_text("left by somebody")
    again = cw.publish(cw.investigate(sample_lake, one.name), one.parent)
    assert again == one
    assert not (one / "stray.txt").exists()
    assert [p.name for p in one.parent.iterdir() if p.name.startswith(".")] == []


def test_a_window_cannot_be_published(sample_lake: Lake, tmp_path: Path) -> None:
    start, end = (datetime.fromisoformat(f"2026-10-{day}T00:00:00+00:00") for day in ("10", "12"))
    with pytest.raises(UsageError, match="only a spike can be published"):
        cw.publish(cw.investigate_window(sample_lake, (start, end)), tmp_path)


# ---------------------------------------------------------------- verify


def _files(folder: Path) -> list[str]:
    return sorted(digests(folder))


def test_one_byte_changed_in_any_file_is_found(one: Path) -> None:
    for name in _files(one):
        file = one / name
        whole = file.read_bytes()
        spoilt = bytearray(whole)
        spoilt[len(spoilt) // 2] ^= 1
        file.write_bytes(bytes(spoilt))
        with pytest.raises(DifferenceError):
            cw.verify(one)
        file.write_bytes(whole)
    cw.verify(one)


def test_a_number_changed_with_all_its_digests_is_found_by_running_it_again(one: Path) -> None:
    """excess_cost + 1 in case.json, and SHA256SUMS made to match: the sums agree, the arithmetic does not."""
    about = json.loads((one / "case.json").read_text())
    about["document"]["excess_cost"] += 1
    (one / "case.json").write_text(json.dumps(about, indent=1))
    (one / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests(one).items()))
    with pytest.raises(DifferenceError, match=r"case\.json document excess_cost"):
        cw.verify(one)


def test_data_changed_with_all_their_digests_are_found_by_running_them_again(one: Path) -> None:
    hours = one / "inputs" / "meter_hours.parquet"
    pl.read_parquet(hours).with_columns(
        pl.col("cost") * 1.01, pl.col("usage") * 1.01
    ).write_parquet(hours)
    (one / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests(one).items()))
    with pytest.raises(DifferenceError, match="comes out"):
        cw.verify(one)


def test_a_file_that_is_missing_is_named(one: Path) -> None:
    (one / "tables" / "ledger.parquet").unlink()
    with pytest.raises(DifferenceError, match=r"tables/ledger\.parquet"):
        cw.verify(one)


def test_verify_exits_5_on_a_difference_3_on_no_case_and_0_else(
    one: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(one)]) == 0
    assert main(["verify", str(one / "nowhere")]) == 3
    (one / "case.md").write_text("something else")
    assert main(["verify", str(one)]) == 5
    assert "case.md" in capsys.readouterr().err


def test_what_the_provider_restated_since_is_told_by_month(one: Path, sample_lake: Lake) -> None:
    """All costs of the case ten per cent higher then than now: the bill of today is 1 / 1.1 of what is written."""
    assert restated(one, sample_lake).is_empty()
    hours = one / "inputs" / "meter_hours.parquet"
    pl.read_parquet(hours).with_columns(pl.col("cost") * 1.1).write_parquet(hours)
    rows = restated(one, sample_lake)
    assert rows.height > 0
    assert rows.select((pl.col("then") / pl.col("now")).mean()).item() == pytest.approx(
        1.1, rel=1e-3
    )


# ---------------------------------------------------------------- names taken out


def test_no_name_that_was_taken_out_is_left_anywhere(sample_lake: Lake, tmp_path: Path) -> None:
    spikes = cw.find_spikes(sample_lake)["spike_id"].to_list()
    people = (
        sample_lake.table("catalog")
        .filter(pl.col("kind") == "user")["email"]
        .drop_nulls()
        .to_list()
    )
    accounts = sample_lake.table("series")["SubAccountId"].drop_nulls().unique().to_list()
    for spike in spikes[:4]:
        place = cw.publish(
            cw.investigate(sample_lake, spike), tmp_path, redact=("accounts", "resources", "people")
        )
        texts = [f.read_bytes() for f in place.rglob("*") if f.suffix in {".json", ".md"}]
        texts += [pl.read_parquet(f).write_ndjson().encode() for f in place.rglob("*.parquet")]
        whole = b"\n".join(texts).lower()
        assert [
            x
            for x in (*people, *accounts, *(p.split("@")[0] for p in people))
            if x.lower().encode() in whole
        ] == []
        assert b"arn:aws" not in whole


def test_what_one_publication_took_out_the_next_does_not_bring_back(
    sample_lake: Lake, tmp_path: Path
) -> None:
    first, second, third = cw.find_spikes(sample_lake)["spike_id"].to_list()[:3]
    people = (
        sample_lake.table("catalog")
        .filter(pl.col("kind") == "user")["email"]
        .drop_nulls()
        .to_list()
    )

    def named() -> list[str]:
        return [p for p in people if p in (tmp_path / "company.json").read_text(encoding="utf-8")]

    cw.publish(cw.investigate(sample_lake, first), tmp_path)
    assert named() != []  # one of them created what nobody owns
    cw.publish(
        cw.investigate(sample_lake, second, as_of=datetime(2026, 11, 18, tzinfo=UTC)),
        tmp_path,
        redact=("people",),
    )
    assert named() == []  # an older look, which replaces nothing else
    cw.publish(cw.investigate(sample_lake, third), tmp_path)
    assert named() == []


def test_taking_names_out_changes_no_number(sample_lake: Lake, tmp_path: Path) -> None:
    spike = cw.find_spikes(sample_lake)["spike_id"][2]
    plain = cw.open_case(cw.publish(cw.investigate(sample_lake, spike), tmp_path / "plain")).about[
        "document"
    ]
    masked = cw.open_case(
        cw.publish(
            cw.investigate(sample_lake, spike), tmp_path / "masked", redact=("accounts", "people")
        )
    ).about["document"]
    for key in (
        "excess_cost",
        "nowcast",
        "behaviour_remainder",
        "no_recorded_change",
        "cost_per_hour_now",
    ):
        assert plain[key] == masked[key], key
    assert [t["probability"] for t in plain["triggers"]] == [
        t["probability"] for t in masked["triggers"]
    ]
    cw.verify(tmp_path / "masked" / spike)


def test_the_same_name_has_the_same_mask_and_another_key_gives_another() -> None:
    """dana@acme.example and dana are one person; an ARN and its last part are one resource."""
    one = Redaction(frozenset({"people", "resources"}), b"key", people=frozenset({"dana"}))
    assert one.text("by dana@acme.example") == one.text("by dana")
    assert one.text("i-0abc12345678").endswith(
        one.text("arn:aws:ec2:eu-west-1:1:instance/i-0abc12345678")
    )
    assert one.text("dana") != Redaction(
        frozenset({"people"}), b"other", people=frozenset({"dana"})
    ).text("dana")
    assert one.text("bandana") == "bandana"


def test_an_unknown_kind_of_name_is_refused() -> None:
    with pytest.raises(UsageError, match="no kind of name 'secrets'"):
        redaction_of(("secrets",), {}, ())


def test_the_preview_says_what_leaves_and_writes_nothing(sample_lake: Lake, tmp_path: Path) -> None:
    rows = preview(
        cw.investigate(sample_lake, cw.find_spikes(sample_lake)["spike_id"][2]), ("people",)
    )
    actors = rows.filter((pl.col("table") == "changes") & (pl.col("column") == "actor")).row(
        0, named=True
    )
    assert 0 < actors["masked"] <= actors["values"]
    assert actors["example"].startswith("person-")
    assert list(tmp_path.iterdir()) == []
