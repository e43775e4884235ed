"""CDEvents become changes."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from places import CASES, COMPANIES, SHARED

from costwhy.errors import SourceError
from costwhy.sources import records
from costwhy.sources.changes import cdevents
from costwhy.sources.inventory import find_files
from costwhy.tables import CHANGES

PLAN = {"reason": "market launch", "expected_cost_per_day": 45, "until": "2026-10-20T00:00:00Z"}
PULL = "https://git.acme.example/platform/services/inventory/pulls/7333"


def event(
    ident: str = "evt-1", what: str = "service.deployed", custom: object = None, **more: object
) -> dict:
    time = more.pop("time", "2026-10-14T03:00:30Z")
    kind = f"dev.cdevents.{what}.0.2.0"
    return {
        "context": {"version": "0.4.1", "id": ident, "source": "/acme", "type": kind, "timestamp": time},
        "subject": {"id": "inventory", "type": what.split(".", maxsplit=1)[0], "content": {"environment": {"id": "production"}}} | more,
        "customData": custom,
    }  # fmt: skip


def put(folder: Path, *events: object, name: str = "2026-10.jsonl") -> Path:
    file = folder / name
    file.write_text(
        "\n".join(text if isinstance(text, str) else json.dumps(text) for text in events) + "\n"
    )
    return file


def one(folder: Path, *args: object, **more: object) -> dict:
    rows = cdevents.read([put(folder, event(*args, **more))]).rows  # type: ignore[arg-type]
    assert rows.height == 1
    return rows.row(0, named=True)


def test_a_deployment_says_what_changed_where_and_who_did_it(tmp_path):
    custom = {
        "actor": "dana@acme.example",
        "summary": "Raise retries",
        "url": PULL,
        "ticket": "STO-1",
        "planned": PLAN,
    }
    row = one(tmp_path, custom=custom)
    assert {name: value for name, value in row.items() if value is not None} == {
        "change_id": "evt-1",
        "time": datetime(2026, 10, 14, 3, 0, 30, tzinfo=UTC),
        "source": "cdevents",
        "kind": "deploy",
        "event": "dev.cdevents.service.deployed.0.2.0",
        "service": "inventory",
        "environment": "production",
        "resource": "inventory",
        "actor": "dana@acme.example",
        "actor_kind": "person",
        "automated": False,
        "summary": "Raise retries",
        "url": PULL,
        "ticket": "STO-1",
        "path": "/services/inventory/",
        "planned_reason": "market launch",
        "planned_cost_per_day": 45.0,
        "planned_until": datetime(2026, 10, 20, tzinfo=UTC),
    }
    assert list(row) == [name for name in CHANGES.schema if name != "delivery"]


@pytest.mark.parametrize(
    ("what", "kind", "service"),
    [
        ("service.deployed", "deploy", "inventory"),
        ("service.upgraded", "deploy", "inventory"),
        ("service.published", "deploy", "inventory"),
        ("service.rolledback", "rollback", "inventory"),
        ("service.removed", "delete", "inventory"),
        ("change.merged", "other", None),
        ("pipelinerun.finished", "other", None),
    ],
)
def test_the_type_says_the_kind_of_change(tmp_path, what, kind, service):
    row = one(tmp_path, what=what)
    assert (row["kind"], row["service"]) == (kind, service)


def test_events_without_custom_data_or_content_are_changes_too(tmp_path):
    bare = event()
    del bare["customData"], bare["subject"]["content"]
    wrapped = {"specversion": "1.0", "data": event("evt-2", custom="bm8gb2JqZWN0")}
    reading = cdevents.read([put(tmp_path, bare, wrapped)])
    assert reading.rows["service"].to_list() == ["inventory", "inventory"]
    assert reading.set_aside.height == 0


@pytest.mark.parametrize(
    ("planned", "why"),
    [
        ({**PLAN, "reason": " "}, "reason is missing"),
        ({**PLAN, "expected_cost_per_day": "lots"}, "expected_cost_per_day is no number"),
        ({**PLAN, "expected_cost_per_day": True}, "expected_cost_per_day is no number"),
        ({"reason": "launch", "expected_cost_per_day": 1}, "until is missing"),
        ({**PLAN, "until": "2026-10-20"}, "has no zone"),
        ("yes", "reason is missing"),
    ],
)
def test_an_incomplete_plan_is_set_aside_and_the_change_stays(tmp_path, planned, why):
    reading = cdevents.read([put(tmp_path, event(custom={"planned": planned}))])
    assert reading.rows.select(
        "planned_reason", "planned_cost_per_day", "planned_until"
    ).rows() == [(None, None, None)]
    assert reading.set_aside["place"].to_list() == ["line 1"]
    assert why in reading.set_aside["reason"][0]


def test_the_same_event_twice_is_one_change_and_another_under_its_id_is_set_aside(tmp_path):
    reading = cdevents.read(
        [put(tmp_path, event("a"), event("a"), event("a", what="service.removed"), event("b"))]
    )
    assert reading.rows["change_id"].to_list() == ["a", "b"]
    assert reading.set_aside.select("place", "reason").rows() == [
        ("line 3", "another event has the same context.id: the first one counts")
    ]
    assert reading.seen["records"].sum() == 4


def test_times_are_converted_to_utc_and_a_clock_without_a_zone_is_set_aside(tmp_path):
    reading = cdevents.read(
        [
            put(
                tmp_path,
                event("a", time="2026-10-14T05:00:30.5+02:00"),
                event("b", time="2026-10-01T08:42:31"),
            )
        ]
    )
    assert reading.rows["time"].to_list() == [datetime(2026, 10, 14, 3, 0, 30, 500_000, tzinfo=UTC)]
    assert reading.set_aside["reason"][0].startswith("time 2026-10-01T08:42:31 has no zone")


def test_a_broken_line_does_not_take_the_others_with_it(tmp_path):
    lines = ["{broken", "[1]", '{"context": 5}', "", '"\\ud800"', "[" * 100_000, event("", what="x.y"), event("k", what="nothing"),
             event("s", id=" "), event("t", time="0001-01-01T00:00:00+14:00"), event("good")]  # fmt: skip
    reading = cdevents.read([put(tmp_path, *lines)])
    assert reading.rows["change_id"].to_list() == ["good"]
    assert reading.set_aside["records"].sum() == 9
    assert reading.set_aside["place"].to_list() == [
        f"line {n}" for n in (1, "2, record 1", 3, 5, 6, 7, 8, 9, 10)
    ]


def test_long_texts_are_cut_and_markup_stays_text(tmp_path):
    row = one(
        tmp_path,
        custom={
            "summary": "<script>x</script>\x00" + "y" * 5_000_000,
            "actor": ["dana"],
            "ticket": 17,
        },
    )
    assert row["summary"].startswith("<script>x</script> yyy")
    assert len(row["summary"]) == 1001
    assert (row["actor"], row["actor_kind"], row["ticket"]) == (None, None, "17")


def test_a_line_beyond_the_limit_is_set_aside_without_being_held(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 2**20)
    reading = cdevents.read([put(tmp_path, event("a"), "x" * (3 * 2**20 + 5), event("b"))])
    assert reading.rows["change_id"].to_list() == ["a", "b"]
    assert reading.set_aside.select("place", "reason").rows() == [
        ("line 2", "the line is longer than 1 MB")
    ]


def test_a_link_that_is_no_web_address_is_left_out_and_counted(tmp_path):
    reading = cdevents.read([put(tmp_path, event(custom={"url": "javascript:alert(1)"}))])
    assert reading.rows["url"].to_list() == [None]
    assert "no web address" in reading.set_aside["reason"][0]


def test_what_comes_before_the_end_of_a_cut_file_is_kept(tmp_path):
    whole = gzip.compress(
        b"".join(json.dumps(event(f"e{n}")).encode() + b"\n" for n in range(20_000))
    )
    file = tmp_path / "cut.jsonl.gz"
    file.write_bytes(whole[: len(whole) // 2])
    reading = cdevents.read([file])
    assert reading.rows.height > 100
    assert "cannot be read further" in reading.set_aside["reason"][0]


def test_where_there_are_no_files_the_message_says_so(tmp_path):
    with pytest.raises(SourceError, match=r"changes/\*\.jsonl"):
        find_files("changes/*.jsonl", tmp_path, cdevents.FORMAT.files)


@pytest.mark.parametrize("company", COMPANIES)
def test_every_event_of_the_sample_companies_can_be_read(company):
    files = find_files("changes/*.jsonl", company, cdevents.FORMAT.files)
    reading = cdevents.read(files)
    assert reading.set_aside.height == 0
    assert reading.rows.height == sum(len(f.read_text().splitlines()) for f in files) > 0
    assert reading.rows["path"].null_count() == 0


@pytest.mark.external
def test_the_events_of_all_cases_are_counted():
    places = [SHARED / "cases" / name for name in CASES]
    found = [
        cdevents.read(find_files("changes/*.jsonl", place, cdevents.FORMAT.files))
        for place in places
    ]
    assert (
        sum(reading.rows.height for reading in found) == 1863 + 474 + 30
    )  # deployed, upgraded, rolledback
