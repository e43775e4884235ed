"""Documents beside the tables: written once, whole; and those that earlier versions wrote are still read."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from costwhy.errors import LakeError
from costwhy.feedback.verdicts import plans_of, verdicts_of
from costwhy.lake.store import Journal, Record, create_once
from costwhy.watch.news import read_events
from costwhy.watch.watch import Attempt

SPIKE = {
    "spike_id": "20261007T00-db",
    "start": "2026-10-07T00:00:00+00:00",
    "kind": "retries",
    "service": "db",
    "caller": "api",
    "usage_type": None,
    "running": True,
    "per_hour": 12,
    "share": 1.02,
}
MESSAGE = {
    "id": "costwhy-1",
    "event": "new",
    "spike_id": "20261007T00-db",
    "title": "New: db",
    "lines": ["retries"],
    "dollars": 100.0,
    "currency": "USD",
    "url": None,
    "owner_team": "shop",
}
TIME = "2026-10-20T00:00:00.000001+00:00"
AT = datetime(2026, 10, 20, 0, 0, 0, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Note(Record):
    text: str
    at: datetime


def old(folder: Path, name: str, **content: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"costwhy": 1} | content))


def test_documents_of_before_are_read(tmp_path):
    old(
        tmp_path / "verdicts",
        "1",
        spike=SPIKE,
        verdict="fixed",
        note="rolled back",
        who="dana",
        at=TIME,
    )
    plan = {"service": "db", "reason": "sale", "start": TIME, "until": TIME, "cost_per_day": None}
    old(tmp_path / "plans", "1", **plan, who="dana", at=TIME)
    event = {
        "key": "20261007T00-db",
        "event": "new",
        "step": "1",
        "spike": SPIKE,
        "message": MESSAGE,
    }
    old(tmp_path / "watch", "costwhy-1.pending", **event, by_default=False, at=TIME, as_of=TIME)
    old(tmp_path / "watch", "costwhy-1.sending-0001", at=TIME, channel="hook")
    old(tmp_path / "watch", "costwhy-1.failed-0001", at=TIME, channel="hook", problem="it is busy")
    [verdict], [plan] = verdicts_of(str(tmp_path)), plans_of(str(tmp_path))
    watch = Journal(str(tmp_path), "watch")
    [event] = read_events(watch)
    assert (verdict.spike.behaviour, verdict.at) == (("retries", "db", "api", None), AT)
    assert (plan.service, plan.cost_per_day, plan.until) == ("db", None, AT)
    assert (event.id, event.message.lines, event.spike) == (
        "costwhy-1",
        ("retries",),
        verdict.spike,
    )
    assert watch.read("costwhy-1.failed-0001", Attempt) == Attempt(AT, "hook", "it is busy")
    assert watch.read("costwhy-1.sending-0001", Attempt).problem == ""


def test_a_document_is_written_as_before_and_read_back(tmp_path):
    notes = Journal(str(tmp_path), "notes")
    assert notes.create("a", Note("hello", AT))
    assert json.loads((tmp_path / "notes" / "a.json").read_text()) == {
        "costwhy": 1,
        "text": "hello",
        "at": TIME,
    }
    assert notes.all(Note) == [Note("hello", AT)]


def test_of_two_who_write_one_name_the_first_stays(tmp_path):
    notes = Journal(str(tmp_path), "notes")
    assert [notes.create("a", Note(text, AT)) for text in ("first", "second")] == [True, False]
    assert notes.read("a", Note).text == "first"
    assert [file.name for file in (tmp_path / "notes").iterdir()] == ["a.json"]


def test_a_time_without_a_zone_is_utc(tmp_path):
    old(tmp_path / "notes", "a", text="", at="2026-10-20T00:00:00.000001")
    assert Journal(str(tmp_path), "notes").read("a", Note).at == AT


@pytest.mark.parametrize(
    "content", ["{", "[]", "7", '{"text": 1, "at": "2026-10-20T00:00:00Z"}', '{"text": ""}']
)
def test_what_is_no_record_is_named_with_what_to_do(content, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.json").write_text(content)
    with pytest.raises(
        LakeError,
        match=r"notes/a\.json in the lake is no document of costwhy(.|\n)*restore the file",
    ):
        Journal(str(tmp_path), "notes").all(Note)


def test_a_file_is_created_whole_once_and_with_its_mode(tmp_path):
    file = tmp_path / "deep" / "secret"
    assert [create_once(file, content, 0o600) for content in (b"one", b"two")] == [True, False]
    assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"one", 0o600)
    assert list(file.parent.iterdir()) == [file]
