"""A watcher that is killed anywhere tells neither twice nor never.

Each test kills a real process: `os._exit` before or after a document of a message is created, which is what SIGKILL leaves
behind. Only one step leaves it open whether the channel has the message: between its answer and the document `sent`. There
the message comes again, under the same id.
"""

import subprocess
import sys
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from companies_in_time import CHANNELS, HOOK, NOW, known, two_spikes, webhook

from costwhy.config import OutputChannel, SlackChannel, SnsChannel, Watch
from costwhy.lake.store import Journal, Record
from costwhy.watch import channels as watch_channels
from costwhy.watch import watch as watching
from costwhy.watch.channels import Message
from costwhy.watch.watch import Delivery, Pause, notify

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
from costwhy.lake.store import Journal
from costwhy.watch.watch import notify
from companies_in_time import CHANNELS, HOOK, NOW, known, two_spikes
left = {skip}
def step(name):
    global left
    if name == {step!r}:
        left -= 1
        if left < 0:
            os._exit({killed})
link, create = os.link, Journal.create
def linked(*files):
    step("draft")
    link(*files)
def created(journal, name, record):
    state = name.rpartition(".")[2].partition("-")[0]
    step(f"before {{state}}")
    made = create(journal, name, record)
    step(f"after {{state}}")
    return made
os.link, Journal.create = linked, created
notify(known(two_spikes(), Path({place!r})), CHANNELS, None, NOW)
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
    notify(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
    assert len(set(told.ids)) == 2  # two spikes
    assert len({m["spike_id"] for m in told.messages}) == 2
    assert len(told.ids) == (3 if step == "before sent" else 2)
    bodies = {heard.body for heard in told.fake.heard}
    assert len(bodies) == 2  # what comes again is the same, letter by letter
    notify(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
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
    notify(known(two_spikes(), tmp_path), CHANNELS, None, NOW)
    assert len(set(told.ids)) == 2
    assert len({m["spike_id"] for m in told.messages}) == 2


CREATE = Journal.create


class KilledError(BaseException):
    """What ends a watcher in the middle of this process."""


def die_before_sent(journal: Journal, name: str, record: Record) -> bool:
    if name.endswith(".sent"):
        raise KilledError
    return CREATE(journal, name, record)


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
    monkeypatch.setattr(watching, "send", lambda _channel, message: sent.append(message))
    lake, channels = known(two_spikes(), tmp_path), Watch(default=channel.name, channels=(channel,))
    with monkeypatch.context() as killed:
        killed.setattr(Journal, "create", die_before_sent)
        with pytest.raises(KilledError):
            notify(lake, channels, None, NOW)
    notify(lake, channels, None, NOW + timedelta(hours=1))
    assert [m.id for m in sent] == [sent[0].id, sent[0].id, sent[2].id]
    assert ["may have come before" in m.lines[-1] for m in sent] == [False, said, False]


def test_of_two_watchers_whom_no_lock_keeps_apart_one_sends(tmp_path, told, monkeypatch):
    """On S3 a lease may be lost by a writer that slept: then the document that begins a sending decides."""
    lake, real = known(two_spikes(), tmp_path), watch_channels.send
    inner = []

    def slow(channel: object, message: Message) -> None:
        if not inner:
            inner.append(message)
            with monkeypatch.context() as no_lock:
                no_lock.setattr(watching, "lock", lambda *_: nullcontext(lambda: None))
                later = Pause(
                    "another one is at it", NOW
                )  # it does not take the other one for dead
                no_lock.setattr(
                    Delivery,
                    "_pause",
                    lambda _self, _event, tries, _names: later if tries else None,
                )
                notify(lake, CHANNELS, None, NOW)
        real(channel, message)

    monkeypatch.setattr(watching, "send", slow)
    notify(lake, CHANNELS, None, NOW)
    assert sorted(set(told.ids)) == sorted(told.ids)
    assert len(told.ids) == 2
