"""The command line: parse, call one function, print.

`--json` prints one JSON document on standard output and nothing else there; progress, messages and errors go to standard
error. What comes from files is stripped of what a terminal would obey.
"""

import argparse
import getpass
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from costwhy.errors import CostwhyError, InputError, LakeError, UsageError

if TYPE_CHECKING:
    import polars as pl

    from costwhy.ingest import IngestReport
    from costwhy.lake import Lake
    from costwhy.served.auth import Auth

_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
ENDED = (0, -signal.SIGINT, -signal.SIGTERM, 130, 143)  # how the app ends when somebody ends it
errors = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)  # a pipe bounds no table


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 command line, 3 input, 4 unreachable, 5 difference."""
    parser = parser_of_all()
    wish = parser.parse_args(words)
    try:
        wish.run(wish)
    except CostwhyError as error:
        _complain(error)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `costwhy spikes | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        _complain(InputError("a file could not be read or written", found=str(error), todo="mend it, and run it again"))
        return InputError.exit_code
    return 0


def _complain(error: CostwhyError) -> None:
    errors.print(f"[bold red]costwhy:[/] {escape(clean(error))}", soft_wrap=True)


def clean(text: object) -> str:
    """External text without what a terminal would obey: control, direction and invisible characters."""
    return _UNSAFE.sub("", str(text))


def _line(text: object) -> str:
    """External text for one line: it cannot pose as a line of ours, and no markup in it counts."""
    return escape(" ".join(clean(text).split()))


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
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


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


# ---------------------------------------------------------------- commands


def run_ingest(wish: argparse.Namespace) -> None:
    """costwhy ingest"""
    report = _ingest(wish.workspace)
    totals, aside = report.totals.to_dicts(), _set_aside(wish.workspace)
    if wish.json:
        print(
            json.dumps(
                {
                    "version": report.version,
                    "files_read": report.read,
                    "files_skipped": report.skipped,
                    "rows": report.rows,
                    "rows_set_aside": report.rows_set_aside,
                    "totals": totals,
                    "messages": report.messages,
                    "set_aside": aside,
                },
                indent=1,
                allow_nan=False,
            )
        )
        return
    out.print(
        f"version {report.version}: {report.read} files read, {report.skipped} unchanged, {report.rows:,} rows, {report.rows_set_aside:,} set aside"
    )
    for row in totals:
        out.print(f"  {_line(row['billing_period'])}  {row['EffectiveCost']:,.2f} effective, {row['BilledCost']:,.2f} billed")
    for row in aside[:10]:
        out.print("  " + _line(f"set aside: {row['records']:,} of {row['file']}: {row['reason']}"))
    if len(aside) > 10:
        out.print(f"  set aside: {sum(row['records'] for row in aside[10:]):,} more, see --json")


def _set_aside(workspace: str) -> list[dict[str, Any]]:
    """What the lake holds of rows and records that could not be read, by file and reason, the most first."""
    import polars as pl  # noqa: PLC0415

    from costwhy.lake import open_lake  # noqa: PLC0415

    rows = open_lake(workspace).table("set_aside").group_by("file", "reason").agg(pl.col("records").sum())
    return rows.sort("records", "file", "reason", descending=[True, False, False]).to_dicts()


def _ingest(workspace: str) -> "IngestReport":
    """With a progress bar on standard error."""
    from costwhy.config import read_workspace  # noqa: PLC0415  each command loads what it needs
    from costwhy.ingest import ingest  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        report = ingest(
            read_workspace(workspace),
            lambda name, done, total: bar.update(task, description=_line(name[-48:]), completed=done, total=total),
        )
    for message in report.messages:
        errors.print(f"[yellow]note:[/] {_line(message)}", soft_wrap=True)
    return report


def _lake_of(workspace: str) -> "Lake":
    """A workspace's lake. Raises ConfigError where there is no such folder, or no costwhy.toml in it, LakeError where nothing was ingested."""
    from costwhy.config import FILE_NAME, absent  # noqa: PLC0415
    from costwhy.lake import has_lake, open_lake  # noqa: PLC0415

    try:
        return open_lake(workspace)
    except LakeError as error:
        if "://" in workspace or (Path(workspace) / FILE_NAME).is_file() or has_lake(workspace):
            raise
        raise absent(workspace) from error


def run_spikes(wish: argparse.Namespace) -> None:
    """costwhy spikes"""
    from costwhy.case import find_spikes  # noqa: PLC0415
    from costwhy.story import money  # noqa: PLC0415

    lake = _lake_of(wish.workspace)
    spikes = find_spikes(lake)
    if wish.json:
        rows = [
            {**r, "where": json.loads(r["where"]), "start": _iso(r["start"]), "end": _iso(r["end"])} for r in spikes.iter_rows(named=True)
        ]
        print(json.dumps({"costwhy": 1, "workspace": lake.workspace, "currency": lake.currency, "spikes": rows}, indent=1))
        return
    _show_rows(
        ("spike", "what", "excess", "an hour now", "kind"),
        [
            (
                r["spike_id"],
                r["title"],
                money(r["excess_cost"] + r["nowcast_excess_cost"], lake.currency),
                money(r["cost_per_hour_now"], lake.currency) if r["status"] == "running" else "ended",
                r["verdict"],
            )
            for r in spikes.iter_rows(named=True)
        ],
        none="no spike",
    )


def _show_rows(names: Sequence[str], rows: Sequence[Sequence[object]], *, none: str) -> None:
    """A table; where the terminal is narrower, each row as its first cell, whole to be copied, and the others below it."""
    cells = [["" if v is None else _line(v) for v in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    numbers = {"excess", "an hour now", "an hour then", "a day", "saved", "of", "values", "masked"}
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    if not rows:
        out.print(none)
    elif Measurement.get(out, out.options.update(max_width=10_000), table).maximum <= out.width:
        out.print(table)
    else:
        for row in cells:
            out.print(row[0])
            told = ", ".join(f"{n} {v}" for n, v in zip(names[1:], row[1:], strict=True) if v)
            out.print(textwrap.fill(told, out.width, initial_indent="  ", subsequent_indent="  "))


def _iso(time: datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def run_explain(wish: argparse.Namespace) -> None:
    """costwhy explain"""
    from costwhy.case import explain, lost_tags  # noqa: PLC0415
    from costwhy.story import gap_lines, lines  # noqa: PLC0415

    if (wish.start is None) != (wish.end is None):
        raise UsageError("--from and --to go together", todo="give both")
    if wish.start is None and (wish.against or wish.where):
        raise UsageError("--against and --where explain a window", todo="give --from and --to as well")
    if wish.start is not None and wish.spike is not None:
        raise UsageError("a spike and a window are two questions", found=f"{wish.spike} and --from", todo="ask one of them")
    window = _window((wish.start, wish.end), "--from and --to") if wish.start is not None else None
    against = _window(wish.against, "--against") if wish.against else None
    workspace, spike = _workspace_and_spike(wish.workspace, wish.spike)
    lake = _lake_of(workspace)
    document = explain(
        lake,
        spike,
        wish.as_of,
        window=window,
        against=against,
        where=dict(wish.where),
    )
    if wish.json:
        print(json.dumps(document, indent=1, allow_nan=False))
        return
    gap = gap_lines(document, lost_tags(lake, wish.as_of).to_dicts()) if spike is None and window is None else []  # the whole company's
    for line in [*lines(document), *gap]:
        out.print(escape(clean(line).replace("\n", " ")))


def _window(times: Sequence[datetime], flag: str) -> tuple[datetime, datetime]:
    start, end = times
    if start >= end:
        raise UsageError(f"{flag}: the window is empty", found=f"{start} to {end}", todo="give the earlier time first")
    return start, end


def _workspace_and_spike(workspace: str, spike: str | None) -> tuple[str, str | None]:
    """`costwhy explain SPIKE` in a workspace's own folder: the one word is the spike."""
    if spike is None and not Path(workspace).exists() and re.match(r"\d{8}T\d{2}-", workspace):
        return ".", workspace
    return workspace, spike


def run_app(wish: argparse.Namespace) -> None:
    """costwhy app"""
    from costwhy.lake import has_lake  # noqa: PLC0415

    if not has_lake(wish.workspace):
        _ingest(wish.workspace)
    _open_app(Path(wish.workspace).resolve(), wish)


def run_demo(wish: argparse.Namespace) -> None:
    """costwhy demo"""
    workspace = demo_workspace()
    report = _ingest(str(workspace))
    if report.read:
        errors.print(f"the sample company is in {escape(str(workspace))}")
    _open_app(workspace, wish)


def demo_workspace() -> Path:
    """A copy of the sample company that a lake can be written beside; a new one where the sample has changed."""
    sample = _shipped("data/sample", "_sample")
    digest = _digest(sample)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "costwhy" / f"demo-{digest}"
    if not (cache / "costwhy.toml").is_file():
        cache.parent.mkdir(parents=True, exist_ok=True)
        draft = cache.with_suffix(f".{os.getpid()}")
        shutil.copytree(sample, draft, ignore=shutil.ignore_patterns("lake"))
        try:
            draft.rename(cache)
        except OSError:  # another demo was faster
            shutil.rmtree(draft)
    return cache


def _digest(folder: Path) -> str:
    """The beginning of SHA-256 over names and contents, a lake aside."""
    whole = hashlib.sha256()
    for file in sorted(f for f in folder.rglob("*") if f.is_file()):
        name = file.relative_to(folder)
        if "lake" not in name.parts:
            whole.update(name.as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()[:12]


def _shipped(in_repository: str, in_wheel: str) -> Path:
    """A folder of the project: in the repository, or inside the installed package."""
    here = Path(__file__).resolve().parent
    places = (here.parent.parent / in_repository, here / in_wheel)
    found = next((p for p in places if p.is_dir()), None)
    if found is None:
        raise UsageError(
            f"{in_repository} is not installed",
            found=f"neither {places[0]} nor {places[1]}",
            todo="install costwhy again",
        )
    return found


def _open_app(workspace: Path, wish: argparse.Namespace) -> None:
    """marimo in run mode on this machine only: nothing editable; no browser where there is no display."""
    notebook = _shipped("notebooks", "_notebooks") / "investigate.py"
    port = wish.port or _free_port()
    errors.print(f"[bold]http://127.0.0.1:{port}[/]  (Ctrl+C ends it)")
    headless = wish.headless or not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in {"darwin", "win32"})
    command = [
        sys.executable,
        "-m",
        "marimo",
        "-q",
        "run",
        str(notebook),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        *(["--headless"] if headless else []),
        "--",
        "--workspace",
        str(workspace),
    ]
    code = _run(command)
    if code not in ENDED:
        found, todo = f"marimo ended with code {code}", f"is port {port} free? try --port"
        raise CostwhyError("the app stopped", found=found, todo=todo)


def _run(command: Sequence[str]) -> int:
    """A program that ends when this one is ended."""
    process = subprocess.Popen(command)  # noqa: S603  our own interpreter and notebook
    former = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        return process.wait()
    except KeyboardInterrupt:  # the terminal has told both
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, former)
        if process.poll() is None:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_publish(wish: argparse.Namespace) -> None:
    """costwhy publish"""
    from costwhy.case import investigate  # noqa: PLC0415
    from costwhy.published.shelf import kinds_of, preview, publish  # noqa: PLC0415

    if len(wish.words) > 2:
        raise UsageError("one workspace and one spike", found=" ".join(wish.words), todo="costwhy publish WORKSPACE SPIKE")
    workspace, spike = wish.words if len(wish.words) == 2 else (".", wish.words[0])
    if len(wish.words) == 1 and Path(spike).is_dir():
        raise UsageError(
            "which spike?", found=f"the workspace {spike} alone", todo=f"costwhy publish {spike} SPIKE, see `costwhy spikes {spike}`"
        )
    case, kinds = investigate(_lake_of(workspace), spike), kinds_of(wish.redact)
    if wish.preview:
        rows = preview(case, kinds).to_dicts()
        if wish.json:
            print(json.dumps({"spike_id": spike, "redacted": sorted(kinds), "leaves": rows}, indent=1))
            return
        cells = [(f"{row['table']}.{row['column']}", row["values"], row["masked"], row["example"]) for row in rows]
        _show_rows(("column", "values", "masked", "example"), cells, none="nothing would leave")
        return
    place = publish(case, wish.to or Path(workspace) / "published", redact=kinds)
    if wish.json:
        print(json.dumps({"case": str(place), "spike_id": place.name, "redacted": sorted(kinds)}, indent=1))
        return
    out.print(_line(place))


def run_postmortem(wish: argparse.Namespace) -> None:
    """costwhy postmortem"""
    from costwhy.published import write_postmortem  # noqa: PLC0415

    place = write_postmortem(wish.case, wish.to)
    for file in sorted(place.glob("postmortem.*")):
        out.print(_line(file))


def run_verify(wish: argparse.Namespace) -> None:
    """costwhy verify"""
    from costwhy.published.verification import restated, verify  # noqa: PLC0415

    place = Path(wish.case)
    place = place / "case" if (place / "case" / "case.json").is_file() else place
    checked = verify(place)
    rows = restated(place, _lake_of(wish.lake)).to_dicts() if wish.lake else []
    if wish.json:
        print(
            json.dumps(
                {"case": str(place), "values": checked.values, "files": checked.files, "notes": checked.notes, "restated": rows}, indent=1
            )
        )
        return
    out.print(f"the same: {checked.values:,} values, {checked.files} files")
    for note in checked.notes:
        out.print(f"note: {_line(note)}")
    for row in rows:
        out.print(
            f"restated: {_line(row['month'])} {_line(row['ServiceName'])} {_line(row['x_UsageType'])} {row['then']:,.2f} -> {row['now']:,.2f}"
        )
    if wish.lake and not rows:
        out.print("nothing was restated since")


def run_serve(wish: argparse.Namespace) -> None:
    """costwhy serve"""
    from costwhy.served.server import ServeOptions, default_state, serve  # noqa: PLC0415

    if wish.add_user:
        _add_user(wish)
        return
    state = wish.state or default_state()
    if wish.link or wish.revoke:
        _link(wish, state)
        return
    options = ServeOptions(_auth(wish), wish.host, wish.port, tuple(wish.site), state, log=wish.log)
    serve(wish.published, _shipped("notebooks", "_notebooks") / "leadership.py", options)


def _auth(wish: argparse.Namespace) -> "Auth":
    from costwhy.served.auth import Auth  # noqa: PLC0415

    token = ""
    if wish.token_env:
        token = os.environ.get(wish.token_env, "")
        if not token:
            raise UsageError(
                f"the environment variable {wish.token_env} is empty", todo="put the token into it; it never belongs on a command line"
            )
    return Auth(token, wish.users, wish.header, tuple(wish.proxy))


def _link(wish: argparse.Namespace, state: Path) -> None:
    """A link that opens one case, or the end of one."""
    from costwhy.served.links import REVOKED, IdList, make_link, read_secret, revoke  # noqa: PLC0415

    key = read_secret(state)
    if wish.revoke:
        folder = state if "://" in wish.published else Path(wish.published)
        out.print(f"revoked: {_line(revoke(key, wish.revoke, IdList(folder / REVOKED)))}")
        return
    if "://" not in wish.published and not (Path(wish.published) / wish.link / "case.json").is_file():
        raise UsageError(f"no case {wish.link!r} is published", found=wish.published, todo="name a folder of the published folder")
    link, text = make_link(key, wish.link, wish.until or datetime.now(UTC) + timedelta(days=14))
    site = wish.site[0].rstrip("/") if wish.site else "SITE"
    out.print(f"{_line(site)}/link/{text}")
    if not wish.site:
        errors.print("SITE stands for the address that viewers type: give it as --site")
    revoking = f"costwhy serve {wish.published} --revoke {link.id}"
    errors.print(f"id {link.id}, until {link.until:%Y-%m-%dT%H:%MZ}; revoke it with `{_line(revoking)}`", soft_wrap=True)


def _add_user(wish: argparse.Namespace) -> None:
    from costwhy.served.auth import hash_line  # noqa: PLC0415

    if not wish.users:
        raise UsageError("--add-user needs the users' file", todo="give it: --users users.txt")
    try:
        warnings.simplefilter("ignore", getpass.GetPassWarning)  # it names lines of Python; the words after it remain
        password = getpass.getpass(f"password of {wish.add_user}: ")
    except EOFError:
        todo = "run it in a terminal, and type the password there"
        raise UsageError("--add-user asks for a password, and nobody answered", found="the end of the input", todo=todo) from None
    line = hash_line(wish.add_user, password)
    with os.fdopen(os.open(wish.users, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as stream:
        stream.write(f"{line}\n")


def run_watch(wish: argparse.Namespace) -> None:
    """costwhy watch"""
    from costwhy.config import read_workspace  # noqa: PLC0415
    from costwhy.story import clock  # noqa: PLC0415
    from costwhy.watch import watch  # noqa: PLC0415

    while True:
        try:
            report = watch(read_workspace(wish.workspace), url=wish.url, dry_run=wish.dry_run)
            for event in report.waiting if wish.dry_run else ():
                out.print("\n".join(map(_line, (event.message.title, *event.message.lines))) + "\n", soft_wrap=True)
            later = f"{len(report.waiting)} would be told" if wish.dry_run else f"{len(report.waiting)} to be told later"
            errors.print(f"{len(report.told)} told, {later}")
            for pause in report.pauses:
                errors.print(f"  waiting: {_line(pause.wrong)}; next try {clock(pause.until)}", soft_wrap=True)
            if report.faults:
                for fault in report.faults[1:]:
                    _complain(fault)
                raise report.faults[0]
        except CostwhyError as error:
            if wish.every is None:
                raise
            _complain(error)  # the next look may go better
        if wish.every is None:
            return
        time.sleep(wish.every)


def run_say(wish: argparse.Namespace) -> None:
    """costwhy say"""
    from costwhy.savings import savings  # noqa: PLC0415
    from costwhy.savings import table as of_savings  # noqa: PLC0415
    from costwhy.verdicts import said, say  # noqa: PLC0415

    workspace, words = _workspace_and(wish, 2, "costwhy say [WORKSPACE] SPIKE VERDICT")
    lake = _lake_of(workspace)
    if wish.list:
        _show_tables({"verdicts": said(lake), "savings": of_savings(savings(lake))}, lake.currency, as_json=wish.json)
        return
    told = say(lake, words[0], words[1], wish.note, wish.who or getpass.getuser())
    if wish.json:
        print(
            json.dumps({"spike_id": told.spike.spike_id, "verdict": told.verdict, "note": told.note, "who": told.who, "at": _iso(told.at)})
        )
        return
    out.print(_line(f"{told.who}: {told.spike.spike_id} is {told.verdict}"))


def run_plan(wish: argparse.Namespace) -> None:
    """costwhy plan"""
    from costwhy.verdicts import nearest_services, plan, planned  # noqa: PLC0415

    workspace, words = _workspace_and(wish, 1, "costwhy plan [WORKSPACE] SERVICE --reason WHY --until TIME")
    lake = _lake_of(workspace)
    if wish.list:
        _show_tables({"plans": planned(lake)}, lake.currency, as_json=wish.json)
        return
    if wish.until is None or not wish.reason:
        raise UsageError("a plan needs a reason and an end", todo="give --reason and --until")
    window = (wish.start or datetime.now(UTC), wish.until)
    made = plan(lake, words[0], wish.reason, window, wish.cost_per_day, wish.who or getpass.getuser())
    nearest = nearest_services(lake, made.service)
    if nearest is not None:
        hint = f"; the nearest: {', '.join(nearest)}" if nearest else ""
        errors.print(
            f"[yellow]note:[/] {_line(f'no signal, bill or catalogue knows the service {made.service!r} yet{hint}')}", soft_wrap=True
        )
    if wish.json:
        times = {"start": _iso(made.start), "until": _iso(made.until), "at": _iso(made.at)}
        print(json.dumps({"service": made.service, "reason": made.reason, **times, "cost_per_day": made.cost_per_day, "who": made.who}))
        return
    out.print(_line(f"{made.who}: {made.service} may cost more until {_iso(made.until)}: {made.reason}"))


def _workspace_and(wish: argparse.Namespace, count: int, usage: str) -> tuple[str, list[str]]:
    """The workspace, this folder where none is named, and the `count` words behind it; none with --list."""
    wanted = 0 if wish.list else count
    if len(wish.words) not in {wanted, wanted + 1}:
        raise UsageError("too many or too few words", found=" ".join(wish.words) or "none", todo=usage)
    return (wish.words[0] if len(wish.words) > wanted else "."), wish.words[len(wish.words) - wanted :]


LISTED = {
    "verdicts": {"spike_id": "spike", "verdict": "verdict", "note": "note", "who": "who", "at": "at", "excess_per_hour": "an hour then"},
    "savings": {"spike_id": "spike", "who": "fixed by", "days": "in the first", "from": "from", "saved": "saved", "possible": "of", "outcome": "outcome"},
    "plans": {"service": "service", "reason": "reason", "start": "from", "until": "until", "cost_per_day": "a day", "who": "who", "at": "at"},
}  # fmt: skip
"""What people see of the tables of owners, column by column; `--json` has them whole."""
HEADINGS = {
    "verdicts": "what was said, newest first",
    "savings": "what fixes saved; the days of a longer look contain those of a shorter one",
    "plans": "what will cost more on purpose, newest first",
}
AMOUNTS = frozenset({"excess_per_hour", "saved", "possible", "cost_per_day"})


def _show_tables(frames: "dict[str, pl.DataFrame]", currency: str, *, as_json: bool) -> None:
    """Frames of owners as one JSON document, or as tables for a terminal, each under its heading."""
    if as_json:
        rows = {
            name: [{k: _iso(v) if isinstance(v, datetime) else v for k, v in r.items()} for r in f.to_dicts()] for name, f in frames.items()
        }
        print(json.dumps(rows, indent=1, allow_nan=False))
        return
    for name, frame in frames.items():
        if frame.height:
            out.print(HEADINGS[name])
        cells = [[_cell(column, row[column], currency) for column in LISTED[name]] for row in frame.iter_rows(named=True)]
        _show_rows(tuple(LISTED[name].values()), cells, none=f"no {name}")


def _cell(column: str, value: Any, currency: str) -> object:
    """A value of a table of owners, in people's words."""
    from costwhy.story import money  # noqa: PLC0415

    if column == "excess_per_hour" and value == 0:
        return "had ended"
    if column in AMOUNTS:
        return "whatever it costs" if value is None else money(value, currency)
    if column == "days":
        return f"{value} days"
    return _iso(value) if isinstance(value, datetime) else value


if __name__ == "__main__":
    sys.exit(main())
