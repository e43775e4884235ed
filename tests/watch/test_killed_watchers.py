"""A watcher that is killed anywhere tells neither twice nor never.

Each test kills a real process: `os._exit` at a named step, which is what SIGKILL leaves behind. Only one step leaves it
open whether the channel has the message: between its answer and the note of it. There it comes again, under the same id.
"""

import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from companies_in_time import CHANNELS, HOOK, NOW, known, two_spikes, webhook

from costwhy.config import OutputChannel, SlackChannel, SnsChannel, Watch
from costwhy.watch.channels import send
from costwhy.watch.channels.message import Message
from costwhy.watch.deliver import Pause
from costwhy.watch.watch import tell_all, watch

STEPS = (
    "draft",
    "before pending",
    "after pending",
    "before sending",
    "after sending",
    "before sent",
    "after sent",
)
KILLED = 137
WATCHER = """
import os, sys
from pathlib import Path
sys.path[:0] = {paths!r}
from costwhy.lake import checkpoint
from costwhy.watch.watch import tell_all
from companies_in_time import CHANNELS, HOOK, NOW, known, two_spikes
left = {skip}
def step(name):
    global left
    if name == {step!r}:
        left -= 1
        if left < 0:
            os._exit({killed})
checkpoint.step = step
link = os.link
def linked(*files):
    step("draft")
    link(*files)
os.link = linked
tell_all(known(two_spikes(), Path({place!r})), CHANNELS, None, NOW)
"""
HERE = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]


@pytest.fixture
def told(monkeypatch):
    with webhook() as hook:
        monkeypatch.setenv("HOOK_URL", hook.fake.url)
        monkeypatch.setenv("HOOK_SECRET", "s3cret")
        yield hook


def kill_watcher(place: Path, step: str, skip: int = 0) -> None:
    code = WATCHER.format(paths=HERE, step=step, skip=skip, killed=KILLED, place=str(place))
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=120
    )
    assert done.returncode == KILLED, done.stderr.decode()


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_watcher_tells_neither_twice_nor_never(step, tmp_path, told):
    kill_watcher(tmp_path, step)
    tell_all(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
    assert len(set(told.ids)) == 2  # two spikes
    assert len({m["spike_id"] for m in told.messages}) == 2
    assert len(told.ids) == (3 if step == "before sent" else 2)
    bodies = {heard.body for heard in told.fake.heard}
    assert len(bodies) == 2  # what comes again is the same, letter by letter
    tell_all(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
    assert len(set(told.ids)) == 2
    assert not list(tmp_path.rglob("*.draft"))


def test_killed_at_every_step_one_after_another_it_still_tells_each_once(tmp_path, told):
    for step in (
        "draft",
        "before pending",
        "after pending",
        "before sending",
        "after sending",
        "before sent",
    ):
        kill_watcher(tmp_path, step)
    kill_watcher(tmp_path, "before sent", 1)  # the first is sent now, the second is killed
    tell_all(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
    assert len(set(told.ids)) == 2
    assert len({m["spike_id"] for m in told.messages}) == 2


class KilledError(BaseException):
    """What ends a watcher in the middle of this process."""


def interrupt(monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def step(name: str) -> None:
        if name == at:
            raise KilledError

    monkeypatch.setattr(watch, "_step", step)


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        (SlackChannel(name="it", url_env="HOOK_URL"), True),
        (SnsChannel(name="it", topic="arn:aws:sns:eu-west-1:123456789012:t"), True),
        (SnsChannel(name="it", topic="arn:aws:sns:eu-west-1:123456789012:t.fifo"), True),
        (HOOK, False),
        (OutputChannel(name="it"), True),
    ],
)
def test_where_nobody_knows_a_message_by_its_id_it_says_that_it_may_have_come_before(
    channel, said, tmp_path, monkeypatch
):
    sent = []
    monkeypatch.setattr(watch, "send", lambda _channel, message: sent.append(message))
    lake, channels = known(two_spikes(), tmp_path), Watch(default=channel.name, channels=(channel,))
    interrupt(monkeypatch, "before sent")
    with pytest.raises(KilledError):
        tell_all(lake, channels, None, NOW)
    interrupt(monkeypatch, "never")
    tell_all(lake, channels, None, NOW + timedelta(hours=1))
    assert [m.id for m in sent] == [sent[0].id, sent[0].id, sent[2].id]
    assert ["may have come before" in m.lines[-1] for m in sent] == [False, said, False]


def test_of_two_watchers_whom_no_lock_keeps_apart_one_sends(tmp_path, told, monkeypatch):
    """On S3 a lease may be lost by a writer that slept: then the document that begins a sending decides."""
    lake, real = known(two_spikes(), tmp_path), send.send
    inner = []

    def slow(channel: object, message: Message) -> None:
        if not inner:
            inner.append(message)
            with monkeypatch.context() as no_lock:
                no_lock.setattr(watch, "alone", lambda *_: nullcontext(lambda: None))
                later = Pause(
                    "another one is at it", NOW
                )  # it does not take the other one for dead
                no_lock.setattr(
                    watch, "_pause", lambda _j, _n, tried, _t: later if tried[1] else None
                )
                tell_all(lake, CHANNELS, None, NOW)
        real(channel, message)

    monkeypatch.setattr(watch, "send", slow)
    tell_all(lake, CHANNELS, None, NOW)
    assert sorted(set(told.ids)) == sorted(told.ids)
    assert len(told.ids) == 2
