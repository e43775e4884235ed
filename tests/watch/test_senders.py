"""What the owners get, by each channel; and that hostile text in it is only text."""

import email
import email.policy
import gzip
import io
import json
import logging
import re
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import boto3
import msgspec
import pytest
from loopback import Reply, free_port, http_server
from moto.server import ThreadedMotoServer
from places import ROOT

from costwhy.config import (
    EmailChannel,
    OutputChannel,
    SlackChannel,
    SnsChannel,
    Watch,
    WebhookChannel,
    read_workspace,
)
from costwhy.errors import ConfigError, CostwhyError, SendError
from costwhy.remote import http
from costwhy.remote.http import Limits
from costwhy.watch import channels
from costwhy.watch.channels import LIMITS, Message, send


def limit(monkeypatch: pytest.MonkeyPatch, limits: Limits) -> None:
    """Every channel obeys these limits."""
    monkeypatch.setattr(channels, "LIMITS", limits)


SECRET = "T000/B000/correct-horse-battery"
HOSTILE = "pay\r\nBcc: all@acme.example\n<!channel> <@U1> @channel @here <script>alert(1)</script> \x1b[2J\u202eevil [ok](http://x.example)"
MESSAGE = Message(
    id="20261014T03-inventory:new",
    event="new",
    spike_id="20261014T03-inventory-amazondynamodb",
    title="inventory: DynamoDB up 3,120 USD",
    lines=("retries by checkout: 2,701 USD", "decided by dana@acme.example & co"),
    dollars=3120.22,
    currency="USD",
    url="https://costwhy.acme.example/case/20261014T03-inventory?a=1&b=2",
    owner_team="supply",
)
BAD = replace(
    MESSAGE,
    title=HOSTILE,
    lines=(HOSTILE, "fine"),
    spike_id=HOSTILE,
    owner_team=HOSTILE,
    url='https://x.example/a|b> <!channel>"',
)
OK: Reply = (200, {}, b"ok")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are noted, not waited."""
    noted: list[float] = []
    monkeypatch.setattr(http, "wait", noted.append)
    return noted


def slack(url: str, monkeypatch: pytest.MonkeyPatch) -> SlackChannel:
    monkeypatch.setenv("SLACK_URL", f"{url}/services/{SECRET}")
    return SlackChannel(name="slack-supply", url_env="SLACK_URL")


def webhook(url: str, monkeypatch: pytest.MonkeyPatch) -> WebhookChannel:
    monkeypatch.setenv("HOOK_URL", f"{url}/hook")
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    return WebhookChannel(name="finops", url_env="HOOK_URL", secret_env="HOOK_SECRET")


# ---------------------------------------------------------------- Slack


def test_slack_gets_a_heading_the_lines_and_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda _: OK) as fake:
        send(slack(fake.url, monkeypatch), MESSAGE)
    body = json.loads(fake.heard[0].body)
    assert fake.heard[0].path == f"/services/{SECRET}"
    assert [block["text"]["text"] for block in body["blocks"]] == [
        "inventory: DynamoDB up 3,120 USD",
        "retries by checkout: 2,701 USD\ndecided by dana@acme.example &amp; co\n<https://costwhy.acme.example/case/20261014T03-inventory?a=1&amp;b=2|Open the case>",
    ]
    assert body["text"].split("\n")[0] == "inventory: DynamoDB up 3,120 USD"
    assert body["text"].endswith("|Open the case>")


def test_no_text_mentions_links_or_breaks_a_line_in_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda _: OK) as fake:
        send(slack(fake.url, monkeypatch), BAD)
    body = json.loads(fake.heard[0].body)
    texts = [body["text"], *(block["text"]["text"] for block in body["blocks"])]
    link = "<https://x.example/a%7Cb%3E%20%3C!channel%3E%22|Open the case>"
    for text in texts:
        rest = text.replace(link, "")
        assert not set("<>\r\x1b\u202e") & set(rest)
        assert not re.search(r"(?<!\w)@\w", rest), "a mention that a service would obey"
        assert "](" not in rest
    assert body["text"].count("\n") == 3, "title, two lines, the link"
    assert (
        "pay Bcc: all@acme.example &lt;!channel&gt; &lt;@\u200bU1&gt; @\u200bchannel"
        in body["text"]
    )
    assert (body["link_names"], body["parse"]) == (False, "none")
    assert all(block["text"].get("verbatim", True) for block in body["blocks"])


def test_slack_s_limits_are_kept_however_long_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda _: OK) as fake:
        send(
            slack(fake.url, monkeypatch),
            replace(MESSAGE, title="<" * 9000, lines=("&" * 9000,) * 100),
        )
    body = json.loads(fake.heard[0].body)
    assert len(body["blocks"]) <= 50
    assert len(body["blocks"][0]["text"]["text"]) <= 150
    assert all(len(block["text"]["text"]) <= 3000 for block in body["blocks"])
    assert body["blocks"][0]["text"]["text"] == "&lt;" * 37 + "…"
    assert "(60 more lines)" in body["text"]


def test_the_address_of_a_webhook_is_in_no_log_and_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with http_server(lambda heard: (403, {}, f"no {heard.path} here\x1b[2J".encode())) as fake:
        channel = slack(fake.url, monkeypatch)
        with pytest.raises(SendError) as caught:
            send(channel, MESSAGE)
    dead = slack(f"http://127.0.0.1:{free_port()}", monkeypatch)
    with pytest.raises(SendError, match="could not be reached") as gone:
        send(dead, MESSAGE)
    assert (
        caught.value.problem
        == f"channel 'slack-supply': {fake.url.removeprefix('http://')} refused the message"
    )
    assert caught.value.found == "403: no (secret) here [2J"
    assert caught.value.exit_code == 4
    assert "HTTP Request" in caplog.text
    for text in (caplog.text, str(caught.value), str(gone.value), repr(channel)):
        assert "correct-horse" not in text


def test_a_busy_service_is_tried_again_as_late_as_it_says(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=12), usegmt=True)
    replies: list[Reply] = [
        (429, {"Retry-After": "3"}, b""),
        (503, {"Retry-After": later}, b""),
        (500, {"Retry-After": "soon"}, b""),
        OK,
    ]
    with http_server(lambda _: replies.pop(0)) as fake:
        send(slack(fake.url, monkeypatch), MESSAGE)
    assert len(fake.heard) == 4
    assert pauses[0] == 3.0
    assert pauses[1] == pytest.approx(11.5, abs=1.5)
    assert pauses[2] == 2.0  # 0.5 doubled twice


def test_a_service_that_stays_busy_is_given_up(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    with http_server(lambda _: (503, {}, b"")) as fake, pytest.raises(SendError, match="503"):
        send(slack(fake.url, monkeypatch), MESSAGE)
    assert (len(fake.heard), pauses) == (4, [0.5, 1.0, 2.0])


def test_a_service_that_wants_an_hour_s_rest_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, pauses: list[float]
) -> None:
    with (
        http_server(lambda _: (429, {"Retry-After": "3600"}, b"")) as fake,
        pytest.raises(SendError, match="asks to wait 3,600 seconds"),
    ):
        send(slack(fake.url, monkeypatch), MESSAGE)
    assert (len(fake.heard), pauses) == (1, [])


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        http_server(lambda _: OK) as other,
        http_server(lambda _: (307, {"Location": other.url + "/steal"}, b"")) as fake,
    ):
        with pytest.raises(SendError, match="redirects to another address"):
            send(webhook(fake.url, monkeypatch), MESSAGE)
        assert other.heard == []


def test_a_service_that_does_not_answer_is_not_told_twice_unless_it_can_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit(monkeypatch, replace(LIMITS, seconds=0.2, attempts=2))
    released = threading.Event()

    def silent(_: object) -> Reply:
        released.wait(10)
        return OK

    with http_server(silent) as fake:
        try:
            with pytest.raises(SendError, match=r"no whole answer within 0\.2 seconds"):
                send(slack(fake.url, monkeypatch), MESSAGE)
            assert len(fake.heard) == 1, "Slack may have shown it already"
            with pytest.raises(SendError):
                send(webhook(fake.url, monkeypatch), MESSAGE)
            assert len(fake.heard) == 3, "the idempotency key tells the webhook"
        finally:
            released.set()


def test_a_service_that_answers_a_byte_at_a_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()

    class Drip(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
            with suppress(OSError):
                while not ended.wait(0.02):
                    self.wfile.write(b"x")

    limit(monkeypatch, replace(LIMITS, seconds=0.3))
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with pytest.raises(SendError, match=r"no whole answer within 0\.3 seconds"):
            send(slack(f"http://127.0.0.1:{server.server_address[1]}", monkeypatch), MESSAGE)
        ended.set()
        server.shutdown()
        thread.join()


# ---------------------------------------------------------------- webhook


def page_function() -> object:
    """The function of docs/watch-channels.md."""
    page = (ROOT / "docs/watch-channels.md").read_text()
    names: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    return names["is_genuine"]


def test_a_webhook_is_signed_as_the_page_verifies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda _: OK) as fake:
        send(webhook(fake.url, monkeypatch), MESSAGE)
    heard = fake.heard[0]
    signature, genuine = heard.headers["x-costwhy-signature"], page_function()
    assert genuine(SECRET, signature, heard.body)
    assert not genuine("another", signature, heard.body)
    assert not genuine(SECRET, signature, heard.body.replace(b"3120", b"9"))
    assert not genuine(SECRET, signature, heard.body, now=time.time() + 301)
    assert not genuine(SECRET, re.sub(r"t=\d+", "t=1", signature), heard.body, now=1)
    for forged in ("", "t=1", "v1=abc", "t=x,v1=y", "t=1,v1=é", "nonsense"):
        assert not genuine(SECRET, forged, heard.body, now=1)
    assert heard.headers["idempotency-key"] == MESSAGE.id
    assert json.loads(heard.body) == {"costwhy": 1} | json.loads(msgspec.json.encode(MESSAGE))


def test_an_attempt_again_has_the_same_key_and_body(monkeypatch: pytest.MonkeyPatch) -> None:
    replies: list[Reply] = [(502, {}, b""), OK]
    with http_server(lambda _: replies.pop(0)) as fake:
        send(webhook(fake.url, monkeypatch), MESSAGE)
    first, again = fake.heard
    assert (first.body, first.headers["idempotency-key"]) == (
        again.body,
        again.headers["idempotency-key"],
    )


def test_hostile_text_in_a_webhook_is_one_line_of_text_and_no_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http_server(lambda _: OK) as fake:
        send(webhook(fake.url, monkeypatch), BAD)
    body = fake.heard[0].body
    assert not {b"<", b">", b"&"} & {bytes([b]) for b in body}
    parsed = json.loads(body)
    assert parsed["title"].startswith("pay Bcc: all@acme.example <!channel>")
    assert not re.search(
        r"[\r\n\x1b\u202e]",
        parsed["title"] + parsed["owner_team"] + parsed["spike_id"] + "".join(parsed["lines"]),
    )


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://",
        "http://me:pw@x.example/",
        "data:text/html,x",
        "\x00",
        None,
    ],
)
def test_what_is_no_plain_web_address_is_left_out(
    url: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    send(OutputChannel(name="terminal"), replace(MESSAGE, url=url, lines=()))
    assert capsys.readouterr().out == "inventory: DynamoDB up 3,120 USD\n\n"


@pytest.mark.parametrize("name", ["", "a b", "a\r\nX-Evil: 1", "é", "x" * 129])
def test_an_id_that_could_not_be_a_header_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        replace(MESSAGE, id=name)


def test_a_secret_that_is_missing_or_no_address_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SLACK_URL", raising=False)
    channel = SlackChannel(name="s", url_env="SLACK_URL")
    with pytest.raises(
        ConfigError,
        match=r"`watch.channels.s.url_env` names an environment variable that is not set\nFound: SLACK_URL",
    ):
        send(channel, MESSAGE)
    monkeypatch.setenv("SLACK_URL", f"hooks.slack.com/{SECRET}")
    with pytest.raises(ConfigError, match="without an http address") as caught:
        send(channel, MESSAGE)
    assert "correct-horse" not in str(caught.value)


# ---------------------------------------------------------------- standard output


def test_standard_output_shows_plain_lines_that_no_terminal_obeys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    send(OutputChannel(name="terminal"), BAD)
    title, first, second, _, between = capsys.readouterr().out.splitlines()
    assert between == "", "an empty line tells where the next message begins"
    assert (
        title
        == first
        == "pay Bcc: all@acme.example <!channel> <@U1> @channel @here <script>alert(1)</script> [2J evil [ok](http://x.example)"
    )
    assert second == "fine"


# ---------------------------------------------------------------- SNS


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Amazon on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
    }
    for name, value in (settings | {"AWS_DEFAULT_REGION": "eu-west-1"}).items():
        monkeypatch.setenv(name, value)
    yield
    server.stop()


def queue_behind(topic: str, **options: str) -> tuple[object, str]:
    """A queue that shows what a topic delivers."""
    sqs, sns = boto3.client("sqs"), boto3.client("sns")
    url = sqs.create_queue(QueueName=f"seen{'.fifo' if options else ''}", Attributes=options)[
        "QueueUrl"
    ]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return sqs, url


@pytest.mark.usefixtures("aws")
def test_a_topic_gets_the_json_with_attributes_to_filter_by() -> None:
    topic = boto3.client("sns").create_topic(Name="cost-spikes")["TopicArn"]
    sqs, url = queue_behind(topic)
    send(SnsChannel(name="topic", topic=topic), MESSAGE)
    envelope = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert envelope["Subject"] == MESSAGE.title
    assert json.loads(envelope["Message"]) == {"costwhy": 1} | json.loads(
        msgspec.json.encode(MESSAGE)
    )
    attributes = {name: value["Value"] for name, value in envelope["MessageAttributes"].items()}
    assert attributes == {
        "id": MESSAGE.id,
        "event": "new",
        "spike_id": MESSAGE.spike_id,
        "owner_team": "supply",
    }


@pytest.mark.usefixtures("aws")
def test_a_topic_takes_hostile_and_foreign_text() -> None:
    topic = boto3.client("sns").create_topic(Name="cost-spikes")["TopicArn"]
    sqs, url = queue_behind(topic)
    send(
        SnsChannel(name="topic", topic=topic), replace(BAD, title="größer\n" * 50, owner_team=None)
    )
    envelope = json.loads(sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"])
    assert envelope["Subject"] == ("gr??er " * 50)[:99].strip()
    assert json.loads(envelope["Message"])["lines"][1] == "fine"
    assert "owner_team" not in envelope["MessageAttributes"]


@pytest.mark.usefixtures("aws")
def test_a_fifo_topic_drops_what_is_sent_twice() -> None:
    topic = boto3.client("sns").create_topic(
        Name="cost-spikes.fifo", Attributes={"FifoTopic": "true"}
    )["TopicArn"]
    sqs, url = queue_behind(topic, FifoQueue="true")
    for _ in range(2):
        send(SnsChannel(name="topic", topic=topic), MESSAGE)
    assert len(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]) == 1


@pytest.mark.usefixtures("aws")
def test_a_topic_that_is_not_there_says_so() -> None:
    with pytest.raises(
        SendError, match=r"channel 'topic': Amazon SNS did not take the message\nFound: .*NotFound"
    ):
        send(SnsChannel(name="topic", topic="arn:aws:sns:eu-west-1:123456789012:gone"), MESSAGE)


# ---------------------------------------------------------------- email


@dataclass
class Mailbox:
    """What a mail server was told, and how it answers: lines that take the place of its own, by command."""

    replies: dict[str, list[str]] = field(default_factory=dict)
    mails: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    connections: int = 0
    tls: ssl.SSLContext | None = None
    starttls: bool = True
    port: int = 0


class Dialogue(socketserver.StreamRequestHandler):
    """Enough of SMTP (RFC 5321) for one mail at a time."""

    def handle(self) -> None:
        box: Mailbox = self.server.box
        box.connections += 1
        self.secure = False
        self.say("220 loopback")
        while line := self.rfile.readline(2000):
            word = line.decode().strip().partition(" ")[0].upper()
            waiting = box.replies.get(word)
            if waiting:
                self.say(waiting.pop(0))
            elif not self.obey(word, line.decode().strip(), box):
                return

    def finish(self) -> None:
        super().finish()
        self.connection.close()

    def say(self, *lines: str) -> None:
        for line in lines[:-1]:
            self.wfile.write(f"{line[:3]}-{line[4:]}\r\n".encode())
        self.wfile.write(f"{lines[-1]}\r\n".encode())

    def obey(self, word: str, line: str, box: Mailbox) -> bool:
        if word == "EHLO":
            offer = ["250 STARTTLS"] if box.starttls and not self.secure else []
            self.say("250 loopback", *offer, "250 AUTH PLAIN")
        elif word == "STARTTLS":
            self.say("220 go ahead")
            self.connection = box.tls.wrap_socket(self.connection, server_side=True)
            self.rfile, self.wfile, self.secure = (
                self.connection.makefile("rb"),
                self.connection.makefile("wb", buffering=0),
                True,
            )
        elif word == "AUTH":
            box.logins.append(line)
            self.say("235 welcome")
        elif word == "RCPT":
            box.recipients.append(line)
            self.say("250 ok")
        elif word == "DATA":
            self.say("354 go on")
            box.mails.append(self.text())
            box.encrypted.append(self.secure)
            self.say("250 taken")
        else:
            self.say("221 bye" if word == "QUIT" else "250 ok")
        return word != "QUIT"

    def text(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) != b".\r\n":
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signs itself, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
    (folder / "both.pem").write_text(
        (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
    )
    return folder / "both.pem"


@pytest.fixture
def mailbox(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    """A mail server on loopback, whose certificate is trusted."""
    box = Mailbox(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    box.tls.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    monkeypatch.setenv("SMTP_PASSWORD", SECRET)
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dialogue)
    server.box, box.port, server.handle_error = box, server.server_address[1], lambda *_: None
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield box
    server.shutdown()
    server.server_close()
    thread.join()


def by_mail(box: Mailbox, **options: object) -> EmailChannel:
    plain = {
        "name": "mail",
        "kind": "email",
        "host": "localhost",
        "port": box.port,
        "sender": "costwhy@acme.example",
        "to": ["supply@acme.example"],
    }
    return msgspec.convert(plain | options, EmailChannel)


ACCOUNT = {"user": "costwhy", "password_env": "SMTP_PASSWORD"}


def test_a_mail_goes_over_tls_to_every_recipient(mailbox: Mailbox) -> None:
    send(by_mail(mailbox, to=["supply@acme.example", "finops@acme.example"], **ACCOUNT), MESSAGE)
    mail = email.message_from_bytes(mailbox.mails[0], policy=email.policy.default)
    assert mailbox.encrypted == [True]
    assert len(mailbox.logins) == 1
    assert mailbox.recipients == ["rcpt TO:<supply@acme.example>", "rcpt TO:<finops@acme.example>"]
    assert (mail["Subject"], mail["From"], mail["X-Costwhy-Event"]) == (
        MESSAGE.title,
        "costwhy@acme.example",
        "new",
    )
    assert mail.get_content().splitlines() == [MESSAGE.title, *MESSAGE.lines, MESSAGE.url]
    assert mail["Date"].datetime.utcoffset() == timedelta(0)


def test_hostile_text_adds_no_header_and_no_recipient_to_a_mail(mailbox: Mailbox) -> None:
    send(by_mail(mailbox, **ACCOUNT), replace(BAD, lines=(HOSTILE, ".", "größer")))
    mail = email.message_from_bytes(mailbox.mails[0], policy=email.policy.default)
    assert mail["Bcc"] is None
    assert mail["Subject"].startswith("pay Bcc: all@acme.example <!channel>")
    assert mailbox.recipients == ["rcpt TO:<supply@acme.example>"]
    assert mail.get_content_type() == "text/plain", "no mail program runs <script>"
    assert mail.get_content().splitlines()[2:4] == [".", "größer"]


def test_the_same_news_has_the_same_message_id(mailbox: Mailbox) -> None:
    for news in (MESSAGE, MESSAGE, replace(MESSAGE, id="other")):
        send(by_mail(mailbox), news)
    first, again, other = (email.message_from_bytes(mail)["Message-ID"] for mail in mailbox.mails)
    assert first == again != other


def test_a_server_without_starttls_gets_neither_password_nor_mail(mailbox: Mailbox) -> None:
    mailbox.starttls = False
    with pytest.raises(SendError, match="STARTTLS extension not supported"):
        send(by_mail(mailbox, **ACCOUNT), MESSAGE)
    assert (mailbox.logins, mailbox.mails) == ([], [])


def test_a_certificate_that_nobody_vouches_for_is_refused(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(SendError, match="CERTIFICATE_VERIFY_FAILED"):
        send(by_mail(mailbox, **ACCOUNT), MESSAGE)
    assert (mailbox.logins, mailbox.mails) == ([], [])


def test_a_server_that_is_busy_is_tried_again_and_one_that_says_no_is_not(
    mailbox: Mailbox, pauses: list[float]
) -> None:
    mailbox.replies["RCPT"] = ["450 grey list"]
    send(by_mail(mailbox), MESSAGE)
    assert (len(mailbox.mails), pauses) == (1, [0.5])
    mailbox.replies["AUTH"] = [f"535 no such password: {SECRET}"]
    with pytest.raises(
        SendError,
        match=r"channel 'mail': localhost did not take the mail\nFound: 535 no such password: \(secret\)",
    ) as caught:
        send(by_mail(mailbox, **ACCOUNT), MESSAGE)
    assert SECRET not in str(caught.value)
    assert len(mailbox.mails) == 1
    mailbox.replies["RCPT"] = ["550 unknown"]
    with pytest.raises(SendError, match="1 of 1 recipients were refused"):
        send(by_mail(mailbox), MESSAGE)


def test_a_recipient_who_is_refused_is_said_though_the_others_got_it(mailbox: Mailbox) -> None:
    mailbox.replies["RCPT"] = ["450 later"]
    with pytest.raises(SendError, match="1 of 2 recipients were refused"):
        send(by_mail(mailbox, to=["gone@acme.example", "supply@acme.example"]), MESSAGE)
    assert len(mailbox.mails) == 1, "and nobody gets it twice"


# ---------------------------------------------------------------- costwhy.toml

HEAD = '[workspace]\nname = "acme"\ncurrency = "USD"\n'
MAIL = 'kind = "email"\nhost = "h"\nsender = "a@acme.example"\n'


def test_the_page_s_example_is_read_and_teams_find_their_channel() -> None:
    page = (ROOT / "docs/watch-channels.md").read_text()
    watch = msgspec.convert(
        tomllib.loads(re.findall(r"```toml\n(.*?)```", page, re.DOTALL)[0])["watch"], Watch
    )
    assert [type(channel).__name__ for channel in watch.channels] == [
        "SlackChannel", "WebhookChannel", "SnsChannel", "EmailChannel", "OutputChannel",
    ]  # fmt: skip
    names = {team: watch.channel_for(team).name for team in ("payments", "supply", "others", None)}
    assert names == {
        "payments": "slack-payments",
        "supply": "mail-supply",
        "others": "finops",
        None: "finops",
    }
    assert Watch().channel_for("payments") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[[watch.channels]]\nname = "a"\nkind = "slak"\n',
            r"`watch.channels\[0\].kind`: 'slak' is not allowed",
        ),
        (
            '[[watch.channels]]\nname = "a"\nkind = "slack"\n',
            r"`watch.channels\[0\].url_env` is missing",
        ),
        (
            '[[watch.channels]]\nname = "a"\nkind = "slack"\nurl_env = "A"\ntopic = "x"\n',
            r"`watch.channels\[0\].topic` is no key",
        ),
        (
            f'[[watch.channels]]\nname = "a"\nkind = "slack"\nurl_env = "https://hooks/{SECRET}"\n',
            r"`watch.channels\[0\].url_env`: Expected",
        ),
        (
            '[[watch.channels]]\nname = "a"\nkind = "webhook"\nurl_env = "A"\n',
            r"`watch.channels\[0\].secret_env` is missing",
        ),
        (
            '[[watch.channels]]\nname = "a"\nkind = "sns"\ntopic = "spikes"\n',
            r"`watch.channels\[0\].topic`: Expected",
        ),
        (f'[[watch.channels]]\nname = "a"\n{MAIL}to = []\n', r"`watch.channels\[0\].to`: Expected"),
        (
            f'[[watch.channels]]\nname = "a"\n{MAIL}to = ["a@b.example\\r\\nRCPT TO:x"]\n',
            r"`watch.channels\[0\].to\[0\]`: Expected",
        ),
        (
            f'[[watch.channels]]\nname = "a"\n{MAIL}to = ["a@b"]\nuser = "u"\n',
            r"`watch.channels\[0\].user` and `password_env` belong together",
        ),
        (
            f'[[watch.channels]]\nname = "a"\n{MAIL}to = ["a@b"]\nuser = "u"\npassword_env = "P"\nsecurity = "none"\n',
            "without TLS",
        ),
        (
            '[watch]\ndefault = "b"\n[[watch.channels]]\nname = "a"\nkind = "stdout"\n',
            r"`watch.default` names the channel 'b', there is 'a'",
        ),
        (
            '[watch]\nteams = {pay = "b"}\n',
            r"`watch.teams.pay` names the channel 'b', there is none",
        ),
        (
            '[[watch.channels]]\nname = "a"\nkind = "stdout"\n[[watch.channels]]\nname = "a"\nkind = "stdout"\n',
            "two channels are named 'a'",
        ),
        ("[watch]\nevery = 5\n", "`watch.every` is no key"),
    ],
)
def test_a_wrong_channel_is_one_clear_error_without_its_secret(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "costwhy.toml").write_text(HEAD + text)
    with pytest.raises(CostwhyError, match=said) as caught:
        read_workspace(tmp_path)
    assert "correct-horse" not in str(caught.value)


# ---------------------------------------------------------------- what attacks found


@pytest.mark.parametrize(
    "title",
    [
        "up =?utf-8?q?a=0D=0ABcc:_all@acme.example?=",
        "=?utf-8?b?YQ0KQmNjOiBhbGxAYWNtZS5leGFtcGxl?=",
        "=?utf-8?q?=00=1b[31m?=",
    ],
)
def test_an_encoded_word_in_a_title_is_not_unpacked_into_a_header(
    title: str, mailbox: Mailbox
) -> None:
    send(by_mail(mailbox), replace(MESSAGE, title=title))
    assert mailbox.recipients == ["rcpt TO:<supply@acme.example>"]
    mail = email.message_from_bytes(mailbox.mails[0], policy=email.policy.default)
    assert mail["Bcc"] is None
    assert mail["Subject"] == title.replace("=?", "= ?")


@contextmanager
def dribbling(beginning: bytes, word: bytes) -> Iterator[int]:
    """A server that says the word four times a second for ten seconds, and so never stays silent. Yields its port."""
    over = threading.Event()

    class Dribble(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                self.request.sendall(beginning)
                for _ in range(40):
                    self.request.sendall(word)
                    if over.wait(0.25):
                        return

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dribble)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("beginning", "word"),
    [(b"HTTP/1.1 200 OK\r\nX: ", b"a"), (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n")],
)
def test_a_service_whose_headers_never_end_is_given_up(
    beginning: bytes, word: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, replace(LIMITS, seconds=0.5, attempts=1))
    began = time.monotonic()
    with (
        dribbling(beginning, word) as port,
        pytest.raises(SendError, match=r"no whole answer within 0\.5 seconds"),
    ):
        send(slack(f"http://127.0.0.1:{port}/x", monkeypatch), MESSAGE)
    assert time.monotonic() - began < 5.0, "the answer would have taken ten"


def test_a_mail_server_whose_greeting_never_ends_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channels, "MAIL_SECONDS", 0.5)
    began = time.monotonic()
    with dribbling(b"", b"220-wait\r\n") as port:
        channel = EmailChannel(
            name="mail",
            host="127.0.0.1",
            port=port,
            security="none",
            sender="a@acme.example",
            to=("b@acme.example",),
        )
        with pytest.raises(SendError, match="did not take the mail"):
            send(channel, MESSAGE)
    assert time.monotonic() - began < 5.0, "the greeting would have taken ten"


def test_an_answer_packed_twice_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some hundred bytes of gzip in gzip become gigabytes."""
    body = gzip.compress(gzip.compress(b"ok"))
    with http_server(lambda _: (200, {"Content-Encoding": "gzip, gzip"}, body)) as fake:
        with pytest.raises(SendError, match="encoding that was not asked for"):
            send(slack(fake.url, monkeypatch), MESSAGE)
        assert fake.heard[0].headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("url", ["https://hooks..example/x", f"https://{'a' * 64}.example/x"])
def test_a_host_whose_name_is_none_is_one_clear_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SendError, match="the host's name is not valid"):
        send(slack(url, monkeypatch), MESSAGE)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", f"ftp://user:{SECRET}@proxy"), ("SSL_CERT_FILE", "/nowhere/ca.pem")],
)
def test_a_wrong_proxy_or_certificate_is_named_without_its_password(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SendError, match=name) as caught:
        send(slack("https://hooks.example/x", monkeypatch), MESSAGE)
    assert SECRET not in str(caught.value)


def test_a_password_beyond_ascii_is_said_and_not_shown(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "grüße")
    with pytest.raises(SendError, match="characters that SMTP does not know") as caught:
        send(by_mail(mailbox, **ACCOUNT), MESSAGE)
    assert "grüße" not in str(caught.value)


def test_standard_output_that_knows_ascii_only_gets_escapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cron job in the C locale of an old system."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    send(OutputChannel(name="out"), replace(MESSAGE, title="café up"))
    assert stream.buffer.getvalue().startswith(b"caf\\xe9 up\n")  # type: ignore[attr-defined]


def test_standard_output_that_is_full_is_a_message_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(SendError, match="No space left"):
        send(OutputChannel(name="out"), MESSAGE)


def test_a_topic_that_quotes_the_request_shows_no_credential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """AWS's SignatureDoesNotMatch quotes what should have been signed, the session token in it."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, f"planted-{name}")
    said = "The Canonical String should have been x-amz-security-token:planted-AWS_SESSION_TOKEN Credential=planted-AWS_ACCESS_KEY_ID/20261124"
    body = f"<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>{said}</Message></Error></ErrorResponse>".encode()
    with http_server(lambda _: (403, {"Content-Type": "text/xml"}, body)) as fake:
        monkeypatch.setenv("AWS_ENDPOINT_URL", fake.url)
        with pytest.raises(SendError, match="SignatureDoesNotMatch") as caught:
            send(
                SnsChannel(name="topic", topic="arn:aws:sns:eu-west-1:123456789012:spikes"), MESSAGE
            )
    assert "planted" not in str(caught.value)


def test_an_endpoint_of_aws_that_is_no_address_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "localhost:4566")
    with pytest.raises(SendError, match="Invalid endpoint"):
        send(SnsChannel(name="topic", topic="arn:aws:sns:eu-west-1:123456789012:spikes"), MESSAGE)


def test_slack_s_plain_text_stays_below_forty_thousand_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """40 lines of 500 ampersands are 40 x 500 x 5 = 100,000 characters once they are escaped."""
    with http_server(lambda _: OK) as fake:
        send(slack(fake.url, monkeypatch), replace(MESSAGE, lines=("&" * 500,) * 60))
    text = json.loads(fake.heard[0].body)["text"]
    assert 30_000 < len(text) < 40_000
    assert text.endswith("|Open the case>")
