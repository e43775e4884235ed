"""What the commands share: the words and options that they read, and what they show."""

import json
import re
import shlex
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from costwhy.errors import CostwhyError, UsageError
from costwhy.text import clean, iso_time, to_utc

Function = TypeVar("Function", bound=Callable[..., Any])

# headings of columns that are aligned to the right
_NUMBERS = frozenset(
    {"excess", "an hour now", "an hour then", "a day", "saved", "of", "values", "masked"}
)
WORKSPACE = "costwhy.workspace"  # where a command's context keeps the workspace that was named
errors = Console(stderr=True, highlight=False)
out = Console(  # a pipe has no width: tables are not folded there
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON document on standard output."
)
who_option = click.option(
    "--who", metavar="NAME", help="Who says so (default: the user of this machine)."
)
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), default=0, metavar="PORT", help="Default: a free one."
)
headless_option = click.option("--headless", is_flag=True, help="Do not open a browser.")


def words_argument(own: str = "", meaning: str = "") -> Callable[[Function], Function]:
    """`[WORKSPACE] OWN...` and -w/--workspace, to be told apart by `split_words`."""
    argument = click.argument(
        "words",
        nargs=-1,
        metavar=f"[WORKSPACE] {own}".strip(),
        help=f"Folder with costwhy.toml (default: this folder){meaning and f', {meaning}'}.",
    )
    option = click.option(
        "-w", "--workspace", metavar="WORKSPACE", help="The workspace, instead of the first word."
    )
    return lambda function: argument(option(function))


def split_words(
    words: Sequence[str], workspace: str | None, own: Sequence[str] = ()
) -> tuple[str, Sequence[str]]:
    """The workspace, and the words that a command needs of its own.

    One rule: -w names the workspace. Without it, one word more than the command needs comes first
    and is the workspace. Without either, the workspace is this folder.

    `words`: the command line without options; `workspace`: the value of -w; `own`: names of the
    words that the command needs, such as SPIKE. Raises UsageError where there are more or fewer.
    """
    run = click.get_current_context()
    if workspace is None and len(words) == len(own) + 1:
        run.meta[WORKSPACE] = words[0]
        return words[0], words[1:]
    if len(words) != len(own):
        command = run.command_path
        raise UsageError(
            "too many words" if len(words) > len(own) else "a word is missing",
            found=" ".join(words) or "none",
            fix=f"write `{' '.join([command, '-w WORKSPACE', *own])}`",
        )
    run.meta[WORKSPACE] = workspace
    return workspace or ".", words


def with_workspace(text: str, place: str | None) -> str:
    """Commands in a text, such as `costwhy spikes`, with the workspace that was named."""
    named = "" if place in {None, "."} else f" {shlex.quote(str(place))}"
    return re.sub(r"costwhy (ingest|spikes)(?=`| --)", lambda found: found[0] + named, text)


def is_spike_id(word: str) -> bool:
    """Whether a word has the form of a spike's id: 20261014T03-inventory-amazondynamodb."""
    return re.match(r"\d{8}T\d{2}\b", word) is not None


def time(text: str) -> datetime:
    """A time of the command line, in UTC where it names no zone."""
    try:
        return to_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time; write 2026-10-14T03:00Z") from error


def interval(text: str) -> float:
    """Seconds of 90s, 15m, 1h."""
    found = re.fullmatch(r"(\d{1,6})([smh])", text)
    if found is None or int(found[1]) == 0:
        raise ValueError(f"{text!r} is not an interval; write 15m")
    return int(found[1]) * {"s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def key_and_value(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise ValueError(f"{text!r} is not KEY=VALUE")
    return key, value


def complain(error: CostwhyError, place: str | None = None) -> int:
    """Show an error; returns its exit code. place: the workspace that was named."""
    text = with_workspace(clean(error, keep="\n\t"), place)
    errors.print("[bold red]costwhy:[/]", escape(text), soft_wrap=True)
    return error.exit_code


def note(text: object) -> None:
    """Show a remark on standard error."""
    errors.print(f"[yellow]note:[/] {one_line_of(text)}", soft_wrap=True)


def one_line_of(text: object) -> str:
    """External text on one line, with Rich's markup escaped."""
    return escape(" ".join(clean(text).split()))


def print_json(document: object) -> None:
    print(json.dumps(document, indent=1, allow_nan=False, default=iso_time))


def show_rows(names: Sequence[str], rows: Sequence[Sequence[object]], *, none: str) -> None:
    """Show a table; a terminal too narrow for it gets each row as its first cell and a paragraph.

    `names`: the heading of each column; `rows`: the cells, where None is empty; `none`: the text
    where there is no row.
    """
    cells = [["" if value is None else one_line_of(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name in _NUMBERS else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    if not rows:
        out.print(none)
    elif Measurement.get(out, out.options.update(max_width=10_000), table).maximum <= out.width:
        out.print(table)
    else:
        for row in cells:
            out.print(row[0])
            pairs = zip(names[1:], row[1:], strict=True)
            text = ", ".join(f"{name} {value}" for name, value in pairs if value)
            out.print(textwrap.indent(textwrap.fill(text, out.width - 2), "  "))


def aligned(lines: Iterable[str | Sequence[str]], right: int) -> list[str]:
    """Rows of cells as lines in columns, from column `right` on to the right; texts as they are."""
    known = list(lines)
    columns = zip(*(line for line in known if not isinstance(line, str)), strict=True)
    widths = [max(map(cell_len, column)) for column in columns]

    def in_columns(cells: Sequence[str]) -> str:
        gaps = [" " * (width - cell_len(cell)) for width, cell in zip(widths, cells, strict=True)]
        placed = enumerate(zip(gaps, cells, strict=True))
        return "  ".join(g + c if k >= right else c + g for k, (g, c) in placed).rstrip()

    return [line if isinstance(line, str) else in_columns(line) for line in known]
