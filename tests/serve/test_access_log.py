"""Lines of the access log."""

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from costwhy.serve.access_log import AccessLog, harmless_path, line

NOON = datetime(2026, 11, 24, 12, 0, 0, 120_000, tzinfo=UTC)


def test_a_line_says_when_who_what_and_the_answer() -> None:
    text = line(NOON, "GET", "/?token=abc", 200, "10.0.0.7", "ada")
    assert json.loads(text) == {
        "time": "2026-11-24T12:00:00.120Z",
        "address": "10.0.0.7",
        "who": "ada",
        "method": "GET",
        "path": "/",
        "status": 200,
    }


def test_what_a_terminal_obeys_is_not_in_a_line() -> None:
    text = line(NOON, "GET\n", "/\x1b[2J\r\n\u202e/x", 404, "10.0.0.7\n", "ada\x9b\u2028mallory")
    assert text.isascii()
    assert text.count("\n") == 0
    said = json.loads(text)
    assert all(str(value).isprintable() for value in said.values())
    assert said["who"] == "ada??mallory"


def test_long_lines_are_cut() -> None:
    said = json.loads(line(NOON, "X" * 99, "/a" * 999, 404, "1" * 99, "w" * 999))
    assert [len(said[key]) for key in ("method", "path", "address", "who")] == [16, 200, 64, 100]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/link/abc.def?x=1", "/link/..."),
        ("/link", "/link/..."),
        ("/x/" + "s" * 49, "/x/..."),
        ("/assets/index.js", "/assets/index.js"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(path: str, shown: str) -> None:
    assert harmless_path(path) == shown


def test_the_file_is_its_owners(tmp_path: Path) -> None:
    log = AccessLog(tmp_path / "access.jsonl")
    for status in (200, 404):
        log.write("GET", "/", status, "::1")
    assert [
        json.loads(text)["status"] for text in (tmp_path / "access.jsonl").read_text().splitlines()
    ] == [200, 404]
    assert stat.S_IMODE((tmp_path / "access.jsonl").stat().st_mode) == 0o600


def test_a_log_that_cannot_be_written_is_told_of_and_ends_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AccessLog(tmp_path / "nowhere" / "access.jsonl").write("GET", "/", 200, "::1")
    assert "could not be written (No such file or directory)" in capsys.readouterr().err
    AccessLog().write("GET", "/", 200, "::1")
    assert json.loads(capsys.readouterr().err)["status"] == 200
