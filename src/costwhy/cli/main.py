"""The command line: parse, call one function, print.

`--json` prints one JSON document on standard output and nothing else there; progress, messages and errors go to standard
error. What comes from files is stripped of what a terminal would obey.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from costwhy.cli.app import run_app, run_demo
from costwhy.cli.explain import run_explain, run_ingest, run_spikes
from costwhy.cli.publish import run_postmortem, run_publish, run_verify
from costwhy.cli.serve import run_serve
from costwhy.cli.terminal import complain
from costwhy.cli.watch import run_plan, run_say, run_watch
from costwhy.errors import CostwhyError, InputError
from costwhy.text import to_utc


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 command line, 3 input, 4 unreachable, 5 difference."""
    parser = parser_of_all()
    wish = parser.parse_args(words)
    try:
        wish.run(wish)
    except CostwhyError as error:
        complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `costwhy spikes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        complain(InputError("a file could not be read or written", found=str(error), todo="mend it, and run it again"))
        return InputError.exit_code
    return 0


def parser_of_all() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="costwhy",
        description="Why did the cloud bill move? Which behaviour, which change, whose decision, and is it still running.",
    )
    parser.add_argument("--version", action="version", version=f"costwhy {version('costwhy')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = _command(commands, "demo", run_demo, "open the investigation on the sample company")
    ingest = _command(commands, "ingest", run_ingest, "read every source of a workspace into its lake; safe to run again")
    spikes = _command(commands, "spikes", run_spikes, "the spikes, largest excess first")
    explain = _command(commands, "explain", run_explain, "the whole answer; all spikes where none is named")
    app = _command(commands, "app", run_app, "the investigation notebook as an app")
    _publishing(commands)
    _watching(commands)
    for command in (ingest, spikes, explain, app):
        command.add_argument(
            "workspace",
            nargs="?",
            default=".",
            metavar="WORKSPACE",
            help="folder with costwhy.toml (default: this folder)",
        )
    for command in (spikes, explain, ingest):
        command.add_argument("--json", action="store_true", help="one JSON document on standard output")
    explain.add_argument("spike", nargs="?", metavar="SPIKE", help="a spike's id, see `costwhy spikes`")
    explain.add_argument("--as-of", type=_time, metavar="TIME", help="the answer as it could have been given then")
    explain.add_argument("--from", dest="start", type=_time, metavar="TIME", help="explain this window, from")
    explain.add_argument("--to", dest="end", type=_time, metavar="TIME", help="... to")
    explain.add_argument("--against", nargs=2, type=_time, metavar=("FROM", "TO"), help="against another window, by the hour")
    explain.add_argument("--where", action="append", default=[], type=_pair, metavar="KEY=VALUE", help="only cost rows with this value")
    for command in (app, demo):
        command.add_argument("--port", type=int, default=0, help="of the app on 127.0.0.1 (default: a free one)")
        command.add_argument("--headless", action="store_true", help="do not open a browser")
    return parser


def _publishing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """publish, postmortem, verify: what leaves the notebook."""
    publish = _command(commands, "publish", run_publish, "freeze a spike's case into the published folder")
    _words(publish, "[WORKSPACE] SPIKE", "+", "folder with costwhy.toml (default: this folder), and a spike's id")
    publish.add_argument("--to", metavar="FOLDER", help="the published folder (default: published, in the workspace)")
    publish.add_argument(
        "--redact", action="append", default=[], metavar="KINDS", help="names to take out: accounts, resources, people, or all"
    )
    publish.add_argument("--preview", action="store_true", help="show what would leave, and write nothing")
    postmortem = _command(commands, "postmortem", run_postmortem, "a self-contained write-up that runs again")
    postmortem.add_argument("case", metavar="CASE", help="folder of a published case")
    postmortem.add_argument(
        "--to", metavar="FOLDER", help="where to write it (default: postmortem-NAME here); what people wrote there is kept"
    )
    verify = _command(commands, "verify", run_verify, "run a published case again, compare every number and digest")
    verify.add_argument("case", metavar="CASE", help="folder of a published case, or of a postmortem")
    verify.add_argument("--lake", metavar="WORKSPACE", help="also show what the provider has restated since, by this workspace's lake")
    _serving(_command(commands, "serve", run_serve, "the read-only app over published cases"))
    for command in (publish, verify):
        command.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _serving(serve: argparse.ArgumentParser) -> None:
    """serve: who may come in, from where, and the links that open one case."""
    serve.add_argument(
        "published", nargs="?", default="published", metavar="PUBLISHED", help="the published folder (default: published), or s3://"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    serve.add_argument("--port", type=int, default=0, help="(default: a free one)")
    serve.add_argument(
        "--site", action="append", default=[], metavar="URL", help="address that viewers type, such as https://costs.example.com"
    )
    serve.add_argument("--token-env", metavar="NAME", help="one secret for all viewers, in this environment variable")
    serve.add_argument("--users", type=Path, metavar="FILE", help="users and their scrypt hashes, see --add-user")
    serve.add_argument("--header", default="", metavar="NAME", help="request header in which a proxy names the viewer")
    serve.add_argument("--proxy", action="append", default=[], metavar="ADDRESS", help="address or network of a proxy that is believed")
    serve.add_argument("--state", type=Path, metavar="FOLDER", help="folder of the secret key, outside the published folder")
    serve.add_argument("--log", type=Path, metavar="FILE", help="access log (default: standard error)")
    serve.add_argument("--link", metavar="CASE", help="print a link that opens this case alone, and end")
    serve.add_argument("--until", type=_time, metavar="TIME", help="end of that link (default: in 14 days)")
    serve.add_argument("--revoke", metavar="LINK", help="revoke a link, and end")
    serve.add_argument("--add-user", metavar="NAME", help="ask for a password, add NAME to --users, and end")


def _watching(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """watch, say, plan: who is told, and what they answer."""
    watch = _command(commands, "watch", run_watch, "pull, look, tell the owners; once or on an interval")
    watch.add_argument("workspace", nargs="?", default=".", metavar="WORKSPACE", help="folder with costwhy.toml (default: this folder)")
    watch.add_argument("--every", type=_interval, metavar="TIME", help="again and again: 15m, 1h (default: once, for cron)")
    watch.add_argument("--dry-run", action="store_true", help="show what would be told of the lake as it is; pull, write and send nothing")
    watch.add_argument("--url", metavar="ADDRESS", help="where `costwhy serve` answers: messages link to the case there")
    say = _command(commands, "say", run_say, "what you say of a spike: planned, accepted, fixing, fixed, not_ours")
    _words(say, "[WORKSPACE] SPIKE VERDICT", "*", "folder with costwhy.toml (default: this folder), a spike's id, and the verdict")
    say.add_argument("--note", default="", help="why, in your own words")
    say.add_argument("--list", action="store_true", help="what was said, and what fixes saved: [WORKSPACE] alone")
    plan = _command(commands, "plan", run_plan, "register what is going to cost more on purpose")
    _words(plan, "[WORKSPACE] SERVICE", "*", "folder with costwhy.toml (default: this folder), and the service")
    plan.add_argument("--reason", default="", help="why it will cost more")
    plan.add_argument("--from", dest="start", type=_time, metavar="TIME", help="when it begins (default: now)")
    plan.add_argument("--until", type=_time, metavar="TIME", help="when the plan ends")
    plan.add_argument("--cost-per-day", type=float, metavar="AMOUNT", help="what it may cost more a day (default: whatever it costs)")
    plan.add_argument("--list", action="store_true", help="the plans: [WORKSPACE] alone")
    for command in (say, plan):
        command.add_argument("--who", metavar="NAME", help="who says so (default: the user of this machine)")
        command.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: object, words: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=words, description=words)
    command.set_defaults(run=run, name=name)
    return command


def _words(command: argparse.ArgumentParser, words: str, count: str, meaning: str) -> None:
    """Words of which the first may be left out: argparse would show them twice, `[WORKSPACE] SPIKE [[WORKSPACE] SPIKE ...]`."""
    command.usage = f"%(prog)s {words} [options]"
    command.add_argument("words", nargs=count, metavar=words, help=meaning)


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2026-10-14T03:00Z") from error
    return to_utc(time)


def _interval(text: str) -> float:
    """Seconds of 90s, 15m, 1h."""
    found = re.fullmatch(r"(\d{1,6})([smh])", text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no interval; write 15m")
    return int(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    return key, value
