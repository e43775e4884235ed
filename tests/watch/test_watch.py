"""Each piece of news is told once: to its owner, whoever watches, however often, and whatever the owner has said."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aws_on_loopback import bucket, use_moto
from companies_in_time import CHANNELS, HOOK, NOW, ONSET, Told, known, storm, two_spikes, webhook
from small_company import FIRST, HOURS, SmallCompany

from costwhy.case.investigate import find_spikes
from costwhy.cli.main import main
from costwhy.config import OutputChannel, Watch
from costwhy.errors import LakeError
from costwhy.feedback.verdicts import plan, say, verdict_table
from costwhy.lake import store
from costwhy.lake.lake import open_lake
from costwhy.remote import http
from costwhy.watch.news import find_news
from costwhy.watch.watch import notify

HOUR = timedelta(hours=1)


@pytest.fixture
def told(monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("HOOK_URL", hook.fake.url)
        monkeypatch.setenv("HOOK_SECRET", "s3cret")
        yield hook


@pytest.fixture
def workspace(sample_workspace: Path, tmp_path: Path, told: Told) -> Path:
    """The sample company with a webhook for all, and a lake of its own."""
    folder = tmp_path / "marigold"
    shutil.copytree(sample_workspace, folder)
    toml = folder / "costwhy.toml"
    channel = '[watch]\ndefault = "hook"\n[[watch.channels]]\nname = "hook"\nkind = "webhook"\nurl_env = "HOOK_URL"\nsecret_env = "HOOK_SECRET"\n'
    toml.write_text(toml.read_text() + channel)
    return folder


def test_watching_twice_tells_each_spike_once(workspace, told, capsys):
    assert main(["watch", str(workspace), "--url", "https://costwhy.acme.example/"]) == 0
    spikes = find_spikes(open_lake(workspace))["spike_id"].to_list()
    assert len(spikes) >= 5
    assert sorted(m["spike_id"] for m in told.messages) == sorted(spikes)
    assert set(told.events) == {"new"}
    assert len(set(told.ids)) == len(spikes)
    first = told.messages[0]
    assert first["url"] == f"https://costwhy.acme.example/?case={first['spike_id']}"
    assert any(
        "a day of waiting costs" in line for message in told.messages for line in message["lines"]
    )
    assert main(["watch", str(workspace)]) == 0
    assert len(told.ids) == len(spikes)
    assert "0 sent" in capsys.readouterr().err


def test_two_watchers_at_once_tell_each_spike_once(workspace, told):
    command = [sys.executable, "-m", "costwhy.cli", "watch", str(workspace)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    ends = [(p.communicate(timeout=120)[1].decode(), p.returncode) for p in both]
    spikes = find_spikes(open_lake(workspace))["spike_id"].to_list()
    assert any(code == 0 for _, code in ends), ends
    assert all(code == 0 or "another costwhy" in words for words, code in ends), ends
    assert sorted(m["spike_id"] for m in told.messages) == sorted(spikes)


def test_a_dry_run_shows_and_leaves_no_trace(workspace, told, capsys):
    assert main(["watch", str(workspace), "--dry-run"]) == 0
    assert "New: " in capsys.readouterr().out
    assert told.messages == []
    assert not (workspace / "lake" / "watch").exists()


def test_day_and_night_are_no_growth(tmp_path, told):
    company = storm()
    for hour in range(ONSET + 12, HOURS + 1, 12):  # looked at by day and by night
        notify(known(company, tmp_path, hour), CHANNELS, None, NOW + hour * HOUR)
    assert told.events == ["new"]


def test_a_spike_that_grows_by_a_quarter_is_told_again_and_its_end_too(tmp_path, told):
    company = storm(2.0, 1.6, ONSET + 120)  # 2.04 attempts become 3.26: 1.0 too many become 2.2
    company.retries["db", "api"][ONSET + 200 :] = 1.02
    for hour in (ONSET + 72, ONSET + 96, ONSET + 168, ONSET + 192, HOURS):
        notify(known(company, tmp_path, hour), CHANNELS, None, NOW + hour * HOUR)
    assert told.events == ["new", "grown", "ended"]
    assert len({m["spike_id"] for m in told.messages}) == 1
    assert "at the last message" in told.messages[1]["lines"][0]


@pytest.mark.parametrize("verdict", ["accepted", "planned"])
def test_what_its_owner_accepts_is_silent_until_it_grows_by_a_quarter(verdict, tmp_path, told):
    first = known(storm(), tmp_path, ONSET + 72)
    say(first, find_spikes(first)["spike_id"][0], verdict, "we know", "dana", NOW)
    notify(first, CHANNELS, None, NOW + HOUR)
    notify(
        known(storm(2.0, 1.1, ONSET + 120), tmp_path, ONSET + 168), CHANNELS, None, NOW + 2 * HOUR
    )  # 1.04 too many become 1.24
    assert told.events == []
    notify(
        known(storm(2.0, 1.3, ONSET + 120), tmp_path, ONSET + 168), CHANNELS, None, NOW + 3 * HOUR
    )  # ... 1.04 become 1.65
    assert len(told.events) == 1
    assert any("dana said" in line for line in told.messages[0]["lines"])


def test_a_spike_within_its_plan_is_not_told_and_one_beyond_it_is(tmp_path, told):
    lake = known(storm(), tmp_path, ONSET + 72)  # about $9 an hour: $216 a day
    window = (FIRST + (ONSET - 24) * HOUR, FIRST + HOURS * HOUR)
    plan(lake, "db", "a load test", window, 200.0, "dana")  # with a quarter more it covers $250
    assert notify(lake, CHANNELS, None, NOW).sent == ()
    beyond = known(storm(3.0), tmp_path, ONSET + 72)  # twice as much
    notify(beyond, CHANNELS, None, NOW + HOUR)
    assert told.events == ["new"]


def test_a_plan_of_another_service_covers_nothing(tmp_path, told):
    lake = known(storm(), tmp_path, ONSET + 72)
    plan(lake, "mobile", "a campaign", (FIRST, FIRST + HOURS * HOUR), None, "dana")
    notify(lake, CHANNELS, None, NOW)
    assert told.events == ["new"]


def test_a_spike_that_is_not_theirs_goes_to_the_default_channel(tmp_path, told):
    lake = known(storm(), tmp_path, ONSET + 72)
    assert [e.message.owner_team for e in find_news(lake, [], None, NOW)] == ["data"]
    channels = Watch(
        default="hook", teams={"data": "terminal"}, channels=(HOOK, OutputChannel(name="terminal"))
    )
    notify(lake, channels, None, NOW)
    assert told.events == []  # the team has it
    say(
        lake,
        find_spikes(lake)["spike_id"][0],
        "not_ours",
        "we only run the table",
        "dana",
        NOW + HOUR,
    )
    notify(lake, channels, None, NOW + 2 * HOUR)
    notify(lake, channels, None, NOW + 3 * HOUR)
    assert told.events == ["new"]


def test_without_a_channel_it_is_standard_output(tmp_path, capsys):
    notify(known(storm(), tmp_path), Watch(), None, NOW)
    assert capsys.readouterr().out.startswith("New: $")


def test_what_a_restated_bill_does_not_show_any_more_is_resolved(tmp_path, told):
    notify(known(storm(), tmp_path, ONSET + 72), CHANNELS, None, NOW)
    for hour in (ONSET + 80, ONSET + 120, HOURS):
        notify(known(SmallCompany(), tmp_path, hour), CHANNELS, None, NOW + hour * HOUR)
    assert told.events == ["new", "resolved"]


def test_what_a_channel_refuses_is_kept_and_sent_later_with_longer_pauses(
    tmp_path, told, monkeypatch
):
    monkeypatch.setattr(http, "wait", lambda _seconds: None)
    lake = known(storm(), tmp_path)
    told.fake.answer = lambda _heard: (403, {}, b"no")
    report = notify(lake, CHANNELS, None, NOW)
    assert (report.sent, len(report.waiting), len(report.faults)) == ((), 1, 1)
    for minutes, tries in (
        (4, 1),
        (5, 2),
        (14, 2),
        (15, 3),
    ):  # five minutes after the first failure, ten after the second
        notify(lake, CHANNELS, None, NOW + timedelta(minutes=minutes))
        assert len(told.ids) == tries
    told.fake.answer = lambda _heard: (200, {}, b"")
    assert len(notify(lake, CHANNELS, None, NOW + timedelta(days=1)).sent) == 1
    assert len(set(told.ids)) == 1
    notify(lake, CHANNELS, None, NOW + timedelta(days=2))
    assert len(told.ids) == 4


@pytest.mark.usefixtures("told")
def test_a_missing_secret_loses_no_message_and_names_the_variable(tmp_path, monkeypatch):
    lake = known(two_spikes(), tmp_path)
    monkeypatch.delenv("HOOK_SECRET")
    report = notify(lake, CHANNELS, None, NOW)
    assert (len(report.waiting), len(report.faults)) == (
        2,
        1,
    )  # said once, however many messages wait for it
    assert "HOOK_SECRET" in str(report.faults[0])
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    assert len(notify(lake, CHANNELS, None, NOW + HOUR).sent) == 2


@pytest.mark.usefixtures("told")
def test_who_watches_within_the_pause_is_told_why_and_until_when(tmp_path, monkeypatch):
    lake = known(two_spikes(), tmp_path)
    monkeypatch.delenv("HOOK_SECRET")
    notify(lake, CHANNELS, None, NOW)
    report = notify(lake, CHANNELS, None, NOW + timedelta(minutes=1))
    assert (len(report.waiting), report.faults) == (2, ())
    [pause] = report.pauses  # two messages, one reason
    assert "secret_env" in pause.problem
    assert pause.until == NOW + timedelta(minutes=5)


def test_the_command_line_says_a_channels_fault_once_and_then_when_it_tries_again(
    workspace, capsys, monkeypatch
):
    monkeypatch.delenv("HOOK_SECRET")
    assert main(["watch", str(workspace)]) == 3
    assert capsys.readouterr().err.count("is not set") == 1
    assert main(["watch", str(workspace)]) == 0
    said = capsys.readouterr().err
    assert re.search(
        r"waiting: `watch\.channels\.hook\.secret_env` .* is not set; next try \d+ \w+ \d\d:\d\d UTC",
        said,
    )


def test_hostile_names_in_a_spike_are_letters_in_its_message(tmp_path, told, capsys):
    evil = "db\n<!channel> \x1b[2J\u202e<script>"
    company = SmallCompany()
    company.lines["disk"].price[ONSET:] = 20.0  # $4 an hour become $40
    company.lines["disk"].service = evil
    company.fan_out[evil, "web"] = 1 + 0 * company.demand["web"]
    company.retries[evil, "web"] = 1.02 + 0 * company.demand["web"]
    lake = known(company, tmp_path)
    spike = find_spikes(lake)["spike_id"][0]
    say(lake, spike, "fixing", "on it\x1b[2J\n<!here>", "eve\nroot")
    notify(lake, CHANNELS, None, NOW)
    notify(known(company, tmp_path / "b"), Watch(), None, NOW)
    body = told.fake.heard[0].body.decode()
    assert "<" not in body
    assert "\\u001b" not in body
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\u202e"}


def test_the_command_line_says_and_lists(workspace, capsys):
    spike = find_spikes(open_lake(workspace))["spike_id"][0]
    assert (
        main(["say", str(workspace), spike, "fixing", "--note", "rolling back", "--who", "dana"])
        == 0
    )
    assert main(["say", str(workspace), spike, "bogus"]) == 2
    assert main(["say", str(workspace), "20260101T00-nothing", "fixed"]) == 2
    until = "2027-01-01T00:00Z"
    assert (
        main(
            [
                "plan",
                str(workspace),
                "cart",
                "--reason",
                "sale",
                "--until",
                until,
                "--cost-per-day",
                "50",
                "--who",
                "dana",
            ]
        )
        == 0
    )
    assert main(["plan", str(workspace), "cart"]) == 2
    capsys.readouterr()
    assert main(["say", str(workspace), "--list"]) == 0
    assert main(["plan", str(workspace), "--list", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "rolling back" in shown
    assert '"reason": "sale"' in shown


def test_on_an_interval_a_fault_does_not_end_it(workspace, told, capsys, monkeypatch):
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            (workspace / "costwhy.toml").write_text("not TOML")
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("costwhy.cli.workspace.time.sleep", sleep)
    assert main(["watch", str(workspace), "--every", "15m"]) == 130
    assert pauses == [900.0, 900.0]
    assert "is not TOML" in capsys.readouterr().err
    assert len(told.ids) > 0


@pytest.mark.parametrize("text", ["15", "0m", "-5m", "1d"])
def test_an_interval_that_is_none_is_refused(text):
    assert main(["watch", ".", "--every", text]) == 2


def test_a_source_that_cannot_be_read_hinders_nobody_from_being_told(workspace, told, capsys):
    toml = workspace / "costwhy.toml"
    toml.write_text(toml.read_text().replace('path = "billing/"', 'path = "gone/"'))
    assert main(["watch", str(workspace)]) == 3
    assert "gone/" in capsys.readouterr().err
    assert len(told.ids) >= 5


def test_a_lake_on_s3_keeps_what_was_sent_and_said(tmp_path, told, monkeypatch, moto_apart):
    use_moto(monkeypatch, tmp_path, moto_apart)
    bucket("lakes-of-tests")
    lake = replace(known(two_spikes(), tmp_path), place="s3://lakes-of-tests/acme/lake")
    spike = find_spikes(lake)["spike_id"][0]
    say(lake, spike, "accepted", "we know", "dana", NOW)
    for _ in range(2):
        notify(lake, CHANNELS, None, NOW)
    assert len(told.ids) == 1  # of two spikes one is accepted
    assert verdict_table(lake)["verdict"].to_list() == ["accepted"]
    assert not list(tmp_path.rglob("*.json"))


# ---------------------------------------------------------------- clocks, and documents that are none


def test_a_clock_that_was_set_back_tells_an_end_once(tmp_path, told):
    """The spike was told on a machine whose clock was a year ahead; then the clock was set right."""
    notify(known(storm(), tmp_path, ONSET + 72), CHANNELS, None, NOW + timedelta(days=400))
    over = storm(2.0, 0.5, ONSET + 100)  # twice as many, and half of that: as ever
    for hour in range(4):
        notify(known(over, tmp_path), CHANNELS, None, NOW + hour * HOUR)
    assert told.events == ["new", "ended"]


def test_a_clock_that_was_set_back_keeps_no_message_waiting(tmp_path, told, monkeypatch):
    monkeypatch.setattr(http, "wait", lambda _seconds: None)
    lake = known(storm(), tmp_path)
    told.fake.answer = lambda _heard: (403, {}, b"no")
    notify(lake, CHANNELS, None, NOW + timedelta(days=400))
    told.fake.answer = lambda _heard: (200, {}, b"")
    assert len(notify(lake, CHANNELS, None, NOW).sent) == 1


def test_what_is_said_last_counts_whoever_s_clock_was_ahead(tmp_path):
    lake = known(storm(), tmp_path)
    spike = find_spikes(lake)["spike_id"][0]
    ahead = datetime.now(UTC) + timedelta(hours=3)
    say(lake, spike, "accepted", "", "dana", ahead)
    assert say(lake, spike, "fixing", "", "li").at > ahead
    assert verdict_table(lake)["verdict"].to_list() == ["fixing", "accepted"]


@pytest.mark.parametrize(
    ("folder", "name"), [("watch", "x.pending"), ("verdicts", "x"), ("plans", "x")]
)
@pytest.mark.parametrize("content", ["{}", '{"spike": 1, "message": {}, "start": "soon"}'])
def test_a_document_that_says_nothing_is_named_with_what_to_do(folder, name, content, tmp_path):
    (tmp_path / folder).mkdir()
    (tmp_path / folder / f"{name}.json").write_text(content)
    with pytest.raises(
        LakeError,
        match=rf"{folder}/{name}\.json in the lake is no document of costwhy(.|\n)*To do: restore the file",
    ):
        notify(known(storm(), tmp_path), CHANNELS, None, NOW)


def test_a_verdict_whose_time_has_no_zone_is_of_utc(tmp_path):
    lake = known(storm(), tmp_path)
    spike = find_spikes(lake)["spike_id"][0]
    say(lake, spike, "accepted", "", "dana", NOW)
    (file,) = (tmp_path / "verdicts").iterdir()
    file.write_text(file.read_text().replace("+00:00", ""))
    say(lake, spike, "fixing", "", "dana", NOW + HOUR)
    assert verdict_table(lake)["at"].to_list() == [NOW + HOUR, NOW]


def test_a_disk_that_is_full_after_sending_sends_the_same_news_under_the_same_id(
    tmp_path, told, monkeypatch
):
    """Nobody can know then that it was sent: the id tells the webhook."""
    lake, create = known(two_spikes(), tmp_path), store.create_once

    def full(file: Path, content: bytes) -> bool:
        if file.name.endswith(".sent.json"):
            raise OSError(28, "No space left on device")
        return create(file, content)

    monkeypatch.setattr(store, "create_once", full)
    report = notify(lake, CHANNELS, None, NOW)
    assert (report.sent, len(report.waiting)) == ((), 2)
    assert all("No space left" in str(fault) for fault in report.faults)
    monkeypatch.setattr(store, "create_once", create)
    assert len(notify(lake, CHANNELS, None, NOW + HOUR).sent) == 2
    assert told.ids[:2] == told.ids[2:]


def test_the_log_has_a_line_for_each_message_and_no_secret(tmp_path, told, monkeypatch, caplog):
    monkeypatch.setattr(http, "wait", lambda _seconds: None)
    lake = known(two_spikes(), tmp_path)
    with caplog.at_level("INFO", "costwhy.watch"):
        told.fake.answer = lambda _heard: (403, {}, b"no " + told.fake.url.encode())
        notify(lake, CHANNELS, None, NOW)
        told.fake.answer = lambda _heard: (200, {}, b"")
        notify(lake, CHANNELS, None, NOW + HOUR)
    lines = [record.getMessage() for record in caplog.records if record.name == "costwhy.watch"]
    assert [line.rpartition("new ")[2] for line in lines] == ["to hook failed"] * 2 + [
        "sent to hook"
    ] * 2
    assert not any("s3cret" in line or "http" in line for line in lines)
