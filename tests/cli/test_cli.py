"""The command line's promises: exit codes, one JSON document and nothing else, and no text that a terminal obeys."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest

from costwhy.cli import serve
from costwhy.cli.main import costwhy, main
from costwhy.cli.serve import demo_workspace, shipped
from costwhy.cli.terminal import split_words
from costwhy.errors import CostwhyError, UsageError
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, open_lake, write
from costwhy.text import clean

COMMANDS = (
    "demo",
    "ingest",
    "spikes",
    "explain",
    "app",
    "publish",
    "serve",
    "postmortem",
    "verify",
    "watch",
)
EVIL = "a\x1b]0;owned\x07b\x1b[31m[red]c[/red]\r\n\u202ed"


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "costwhy.cli", *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, timeout=120
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_contract_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["explain", ".", "--from", "yesterday"],
        ["spikes", "--nonsense"],
        ["explain", "--where", "x"],
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_nothing_on_standard_output(words, capsys):
    assert main(words) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert "costwhy" in written.err


def test_an_error_of_the_command_line_has_the_three_parts_of_every_error(capsys):
    assert main(["explain", "--from", "yesterday"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "costwhy: Invalid value for '--from': 'yesterday' is not a time; write 2026-10-14T03:00Z",
        "To do: see `costwhy explain --help`",
    ]


def test_help_loads_no_engine_and_no_notebook():
    """It answers at once: nothing is imported that only an analysis needs."""
    code = "import sys; from costwhy.cli.main import main; main(['--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert not loaded & {
        "polars",
        "duckdb",
        "numpy",
        "scipy",
        "altair",
        "marimo",
        "boto3",
        "msgspec",
        "starlette",
        "jinja2",
    }


def test_every_command_of_the_contract_is_there(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command}\b", said, re.MULTILINE), command


def test_a_published_folder_that_is_not_there_is_one_clear_error(tmp_path, capsys):
    assert main(["serve", str(tmp_path / "nowhere"), "--state", str(tmp_path / "state")]) == 3
    assert "the published folder is missing" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "postmortem", "serve", "spikes"])
def test_a_folder_that_is_missing_is_wrong_input_whoever_is_asked_for_it(command, tmp_path, capsys):
    assert (
        main(
            [
                command,
                str(tmp_path / "nowhere"),
                *(["--state", str(tmp_path / "state")] if command == "serve" else []),
            ]
        )
        == 3
    )
    assert "nowhere" in capsys.readouterr().err.replace("\n", "")


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"costwhy {version('costwhy')}\n"


def test_a_password_that_nobody_types_is_an_error_and_no_traceback(tmp_path, monkeypatch, capsys):
    def ended(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr(serve.getpass, "getpass", ended)
    assert main(["serve", "--add-user", "dana", "--users", str(tmp_path / "users.txt")]) == 2
    assert "in a terminal" in capsys.readouterr().err
    assert not (tmp_path / "users.txt").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("spikes", "[WORKSPACE]"),
        ("explain", "[WORKSPACE] [SPIKE]"),
        ("publish", "[WORKSPACE] SPIKE"),
        ("say", "[WORKSPACE] SPIKE VERDICT"),
        ("plan", "[WORKSPACE] SERVICE"),
    ],
)
def test_the_usage_shows_each_word_once(command, words, capsys):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"Usage: costwhy {command} [OPTIONS] {words}"


# ---------------------------------------------------------------- which word is the workspace

ID = "20261014T03-inventory"


@pytest.mark.parametrize(
    ("line", "workspace", "own"),
    [
        ("spikes", ".", []),
        ("spikes acme", "acme", []),
        ("spikes -w acme", "acme", []),
        ("explain", ".", []),
        ("explain acme", "acme", []),
        (f"explain {ID}", ".", [ID]),
        (f"explain acme {ID}", "acme", [ID]),
        (f"explain -w acme {ID}", "acme", [ID]),
        (f"explain {ID} --workspace {ID}", ID, [ID]),
        ("explain acme dynamodb", "acme", ["dynamodb"]),
        ("explain -w acme dynamodb", "acme", ["dynamodb"]),
        (f"publish {ID}", ".", [ID]),
        (f"publish acme {ID}", "acme", [ID]),
        (f"publish -w acme {ID}", "acme", [ID]),
        (f"say {ID} fixed", ".", [ID, "fixed"]),
        (f"say acme {ID} fixed", "acme", [ID, "fixed"]),
        (f"say {ID} -w acme fixed", "acme", [ID, "fixed"]),
        ("say --list", ".", []),
        ("say acme --list", "acme", []),
        ("say -w acme --list", "acme", []),
        ("plan cart --reason sale --until 2099-01-01", ".", ["cart"]),
        ("plan acme cart --reason sale --until 2099-01-01", "acme", ["cart"]),
        ("plan cart -w acme --reason sale --until 2099-01-01", "acme", ["cart"]),
        ("plan acme --list", "acme", []),
    ],
)
def test_which_word_is_the_workspace(line, workspace, own, monkeypatch):
    class WordsReadError(Exception):
        """The command has read its words."""

    def note_words(words: object, option: str | None, names: object = ()) -> None:
        raise WordsReadError(*split_words(words, option, names))

    for module in ("cases", "workspace"):
        monkeypatch.setattr(f"costwhy.cli.{module}.split_words", note_words)
    name, *rest = line.split()
    command = costwhy.commands[name]
    with command.make_context(name, rest) as context, pytest.raises(WordsReadError) as read:
        command.invoke(context)
    assert (read.value.args[0], list(read.value.args[1])) == (workspace, own)


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("spikes acme other", "spikes -w WORKSPACE`"),
        ("spikes acme -w acme", "spikes -w WORKSPACE`"),
        ("explain -w acme a b", "explain -w WORKSPACE SPIKE`"),
        (f"explain a b {ID}", "explain -w WORKSPACE SPIKE`"),
        ("publish", "publish -w WORKSPACE SPIKE`"),
        ("publish a b c", "publish -w WORKSPACE SPIKE`"),
        (f"say {ID}", "say -w WORKSPACE SPIKE VERDICT`"),
        ("plan", "plan -w WORKSPACE SERVICE`"),
        ("plan acme cart --list", "plan -w WORKSPACE`"),
    ],
)
def test_words_that_do_not_fit_end_with_2_and_the_form_that_leaves_no_doubt(line, fix, capsys):
    assert main(line.split()) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert f"To do: write `costwhy {fix}" in written.err


def test_a_public_address_without_a_login_is_refused(tmp_path, capsys):
    assert (
        main(
            [
                "serve",
                str(tmp_path),
                "--host",
                "192.0.2.7",
                "--state",
                str(tmp_path.parent / "state"),
            ]
        )
        == 2
    )
    assert "costwhy:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--from", "2026-10-01"],
        ["--against", "2026-10-01", "2026-10-02"],
        ["--where", "service=a"],
        ["--from", "2026-10-02", "--to", "2026-10-01"],
        ["--from", "2026-10-01", "--to", "2026-10-01"],
        ["a-spike", "--from", "2026-10-01", "--to", "2026-10-02"],
    ],
)
def test_a_question_that_makes_no_sense_ends_with_2_before_anything_is_read(
    words, tmp_path, capsys
):
    assert main(["explain", str(tmp_path), *words]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["spikes", "explain"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_without_a_lake_the_error_says_what_to_do(command, more, tmp_path, capsys):
    (tmp_path / "costwhy.toml").write_text('[workspace]\nname = "a"\ncurrency = "USD"\n')
    assert main([command, str(tmp_path), *more]) == 3
    said = capsys.readouterr()
    assert "costwhy ingest" in said.err
    assert said.out == ""


def test_a_wrong_configuration_ends_with_3_and_names_the_key(tmp_path, capsys):
    (tmp_path / "costwhy.toml").write_text(
        '[workspace]\nname = "a"\ncurrency = "USD"\n[[cost]]\nformat = "focus"\npath = "gone/"\n'
    )
    assert main(["ingest", str(tmp_path)]) == 3
    assert "cost[0].path" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def test_a_folder_that_may_not_be_written_is_an_error_and_no_traceback(
    sample_workspace, capsys, monkeypatch
):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/lake")

    monkeypatch.setattr("costwhy.ingest.ingest.write", refuse)
    assert main(["ingest", str(sample_workspace)]) == 3
    assert "Permission denied" in capsys.readouterr().err


def test_json_is_one_document_on_standard_output_and_nothing_else(sample_workspace, capfd):
    for command in ("spikes", "explain", "ingest"):
        assert main([command, str(sample_workspace), "--json"]) == 0
        said = capfd.readouterr().out
        assert isinstance(json.loads(said), dict)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)


def test_the_workspace_is_this_folder_where_none_is_named(sample_workspace):
    """As a process of its own, as a person starts it."""
    done = run("ingest", folder=sample_workspace)
    assert done.returncode == 0, done.stderr
    assert "unchanged" in done.stdout


def test_a_spike_may_be_named_alone_in_its_own_workspace(sample_workspace, capfd, monkeypatch):
    monkeypatch.chdir(sample_workspace)
    assert main(["spikes", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)["spikes"]
    assert listed, "the sample company has spikes"
    assert main(["explain", listed[0]["spike_id"], "--json"]) == 0
    said = json.loads(capfd.readouterr().out)["spikes"]
    assert [s["spike_id"] for s in said] == [listed[0]["spike_id"]]


def test_the_workspace_may_be_an_option_of_every_command_that_has_one(sample_workspace, capsys):
    for words in (["spikes"], ["explain"], ["say", "--list"], ["plan", "--list"], ["ingest"]):
        assert main([*words, "--json", "-w", str(sample_workspace)]) == 0
        assert json.loads(capsys.readouterr().out)


def test_an_unknown_spike_ends_with_2(sample_workspace, capsys):
    assert main(["explain", str(sample_workspace), "20010101T00-nothing"]) == 2
    assert capsys.readouterr().out == ""


# ---------------------------------------------------------------- what a terminal would obey


@pytest.mark.parametrize(
    "text", [EVIL, "\x9b31m", "\x07", "\u2066x\u2069", "\u200b", "\ud800", "\u2028"]
)
def test_no_external_text_reaches_the_terminal_as_a_command(text):
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202e\u2066\u2069\ud800]", clean(text)
    )


def test_ordinary_text_of_any_language_is_left_alone():
    text = "Größe 価格 €1,048 → +3 %\tnächste\nZeile 🙂"
    assert clean(text, keep="\n\t") == text


def test_names_from_files_are_shown_without_escapes_or_markup(tmp_path, monkeypatch, capsys):
    row = {
        "spike_id": "20261014T03-x",
        "title": EVIL,
        "excess_cost": 1.0,
        "nowcast_excess_cost": 0.0,
        "status": "ended",
    }
    frame = pl.DataFrame([row | {"cost_per_hour_now": 0.0, "verdict": EVIL, "where": "{}"}])
    monkeypatch.setattr("costwhy.case.investigate.find_spikes", lambda _lake: frame)
    write(
        tmp_path,
        SnapshotInfo(EVIL, "USD"),
        {"hourly": Replacement(pl.DataFrame({"delivery": ["d"]}))},
    )
    assert main(["spikes", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "[red]c" in said  # the rest of it is on the next line of a narrow terminal


def test_an_error_that_quotes_a_file_is_shown_without_escapes_or_markup(
    monkeypatch, tmp_path, capsys
):
    def fail(_place: object) -> None:
        raise CostwhyError(EVIL, found=EVIL)

    monkeypatch.setattr("costwhy.lake.lake.open_lake", fail)
    assert main(["spikes", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "\x1b]" not in said
    assert "[red]c[/red]" in said


# ---------------------------------------------------------------- demo and app


def sample(folder: Path, content: str = "one") -> Path:
    (folder / "lake").mkdir(parents=True, exist_ok=True)
    (folder / "lake" / "left-over").write_text("x")
    (folder / "costwhy.toml").write_text(content)
    return folder


def test_the_demo_works_on_a_copy_in_the_user_s_cache_and_a_new_sample_makes_a_new_one(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(serve, "shipped", lambda *_: tmp_path / "sample")
    sample(tmp_path / "sample")
    first = demo_workspace()
    assert first.parent == tmp_path / "cache" / "costwhy"
    assert not (first / "lake").exists()
    (first / "mark").touch()
    assert demo_workspace() == first
    assert (first / "mark").exists()
    sample(tmp_path / "sample", "two")  # of the same length
    assert demo_workspace() != first


def test_what_is_not_installed_is_one_clear_error():
    with pytest.raises(UsageError, match="not installed"):
        shipped("data/nowhere", "_nowhere")


def wait_for(port: int, process: subprocess.Popen[bytes]) -> int:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
                return int(answer.status)
        except OSError:
            time.sleep(0.2)
    return 0


def test_the_app_ingests_first_answers_on_this_machine_and_ends_with_its_parent(
    sample_workspace, tmp_path
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    bare = tmp_path / "bare"
    shutil.copytree(sample_workspace, bare, ignore=shutil.ignore_patterns("lake"))
    environment = {k: v for k, v in os.environ.items() if k not in {"DISPLAY", "WAYLAND_DISPLAY"}}
    command = [sys.executable, "-m", "costwhy.cli", "app", str(bare), "--port", str(port)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as app:
        try:
            assert wait_for(port, app) == 200
            assert open_lake(bare).version == 1
        finally:
            app.send_signal(signal.SIGTERM)
        _, said = app.communicate(timeout=60)
    assert f"http://127.0.0.1:{port}" in said.decode()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the app outlived its parent"


HEAVY = ("boto3", "httpx2", "scipy.stats", "marimo", "altair", "polars", "duckdb")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import costwhy", HEAVY),
        ("from costwhy.cli.main import main; main(['--help'])", HEAVY),
        ("import costwhy.lake.lake", ("boto3", "botocore", "httpx2")),
        ("import costwhy.case.investigate", ("boto3", "botocore", "httpx2", "scipy.stats")),
        ("import costwhy.serve.server", ("boto3", "marimo", "polars", "scipy")),
    ],
)
def test_what_is_dear_to_import_waits_until_it_is_used(statement, absent):
    asked = f"{statement}\nimport sys; print(sorted(set({absent}) & set(sys.modules)))"
    said = subprocess.run(
        [sys.executable, "-c", asked], check=True, capture_output=True, text=True, timeout=60
    )
    assert said.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_app_says_its_address_when_it_answers_and_ends_cleanly(sample_workspace, end):
    command = [sys.executable, "-m", "costwhy.cli", "app", str(sample_workspace), "--headless"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as app:
        address = re.search(r"http://127\.0\.0\.1:\d+", app.stderr.readline())[0]
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.status == 200
        rebound = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(rebound, timeout=10)
        app.send_signal(end)
        _, said = app.communicate(timeout=20)
    assert said == ""
    assert app.returncode == (130 if end == signal.SIGINT else -signal.SIGTERM)
