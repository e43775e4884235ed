"""The command line: parse, call one function, print.

`--json` prints one JSON document on standard output and nothing else there; progress, messages and errors go to standard
error. What comes from files is stripped of what a terminal would obey.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from costwhy.errors import CostwhyError, InputError, UsageError

if TYPE_CHECKING:
    from costwhy.ingest import IngestReport

LATER = ("serve", "watch")
_UNSAFE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]")
ENDED = (0, -signal.SIGINT, -signal.SIGTERM, 130, 143)  # how the app ends when somebody ends it
errors = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)  # a pipe bounds no table


def main(words: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 command line, 3 input, 4 unreachable, 5 difference."""
    parser = _parser()
    wish, strange = parser.parse_known_args(words)
    if strange and wish.name not in LATER:  # whose options are not known yet
        parser.error(f"unrecognized arguments: {' '.join(strange)}")
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="costwhy",
        description="Why did the cloud bill move? Which behaviour, which change, whose decision, and is it still running.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = _command(commands, "demo", run_demo, "open the investigation on the sample company")
    ingest = _command(commands, "ingest", run_ingest, "read every source of a workspace into its lake; safe to run again")
    spikes = _command(commands, "spikes", run_spikes, "the spikes, largest excess first")
    explain = _command(commands, "explain", run_explain, "the whole answer; all spikes where none is named")
    app = _command(commands, "app", run_app, "the investigation notebook as an app")
    _publishing(commands)
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
    for name in LATER:
        _command(commands, name, run_later, "not in this version yet").add_argument("rest", nargs=argparse.REMAINDER)
    return parser


def _publishing(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """publish, postmortem, verify: what leaves the notebook."""
    publish = _command(commands, "publish", run_publish, "freeze a spike's case into the published folder")
    publish.add_argument(
        "words", nargs="+", metavar="[WORKSPACE] SPIKE", help="folder with costwhy.toml (default: this folder), and a spike's id"
    )
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
    for command in (publish, verify):
        command.add_argument("--json", action="store_true", help="one JSON document on standard output")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, run: object, words: str
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=words, description=words)
    command.set_defaults(run=run, name=name)
    return command


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write 2026-10-14T03:00Z") from error
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is no KEY=VALUE")
    return key, value


# ---------------------------------------------------------------- commands


def run_ingest(wish: argparse.Namespace) -> None:
    """costwhy ingest"""
    report = _ingest(wish.workspace)
    totals = report.totals.to_dicts()
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


def run_spikes(wish: argparse.Namespace) -> None:
    """costwhy spikes"""
    from costwhy.case import find_spikes  # noqa: PLC0415
    from costwhy.lake import open_lake  # noqa: PLC0415
    from costwhy.story import money  # noqa: PLC0415

    lake = open_lake(wish.workspace)
    spikes = find_spikes(lake)
    if wish.json:
        rows = [
            {**r, "where": json.loads(r["where"]), "start": _iso(r["start"]), "end": _iso(r["end"])} for r in spikes.iter_rows(named=True)
        ]
        print(json.dumps({"costwhy": 1, "workspace": lake.workspace, "currency": lake.currency, "spikes": rows}, indent=1))
        return
    table = Table(box=None, pad_edge=False)
    for name, side in (
        ("spike", "left"),
        ("what", "left"),
        ("excess", "right"),
        ("an hour now", "right"),
        ("kind", "left"),
    ):
        table.add_column(name, justify=side, overflow="fold", no_wrap=name == "spike")  # type: ignore[arg-type]  # an id is copied whole
    for r in spikes.iter_rows(named=True):
        now = money(r["cost_per_hour_now"], lake.currency) if r["status"] == "running" else "ended"
        table.add_row(
            _line(r["spike_id"]),
            _line(r["title"]),
            money(r["excess_cost"] + r["nowcast_excess_cost"], lake.currency),
            now,
            _line(r["verdict"]),
        )
    out.print(table if spikes.height else "no spike")


def _iso(time: datetime | None) -> str | None:
    return None if time is None else f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def run_explain(wish: argparse.Namespace) -> None:
    """costwhy explain"""
    from costwhy.case import explain, lost_tags  # noqa: PLC0415
    from costwhy.lake import open_lake  # noqa: PLC0415
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
    lake = open_lake(workspace)
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
    for line in [*lines(document), *gap_lines(document, lost_tags(lake, wish.as_of).to_dicts())]:
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
    from costwhy.lake import open_lake  # noqa: PLC0415
    from costwhy.published.shelf import kinds_of, preview, publish  # noqa: PLC0415

    if len(wish.words) > 2:
        raise UsageError("one workspace and one spike", found=" ".join(wish.words), todo="costwhy publish WORKSPACE SPIKE")
    workspace, spike = wish.words if len(wish.words) == 2 else (".", wish.words[0])
    case, kinds = investigate(open_lake(workspace), spike), kinds_of(wish.redact)
    if wish.preview:
        rows = preview(case, kinds).to_dicts()
        if wish.json:
            print(json.dumps({"spike_id": spike, "redacted": sorted(kinds), "leaves": rows}, indent=1))
            return
        table = Table("table", "column", "values", "masked", "example", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*(_line(row[name]) for name in ("table", "column", "values", "masked", "example")))
        out.print(table)
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
    from costwhy.lake import open_lake  # noqa: PLC0415
    from costwhy.published.verification import restated, verify  # noqa: PLC0415

    place = Path(wish.case)
    place = place / "case" if (place / "case" / "case.json").is_file() else place
    checked = verify(place)
    rows = restated(place, open_lake(wish.lake)).to_dicts() if wish.lake else []
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


def run_later(wish: argparse.Namespace) -> None:
    """Commands of the contract that this version does not have."""
    raise UsageError(f"`costwhy {wish.name}` is not in this version yet", todo="see `costwhy --help` for what is")


if __name__ == "__main__":
    sys.exit(main())
