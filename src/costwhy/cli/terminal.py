"""What a terminal shows: text without control characters, tables that fit, JSON documents."""

import json
import sys
import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from costwhy.errors import CostwhyError
from costwhy.text import clean, iso_time

_NUMBERS = frozenset(
    {"excess", "an hour now", "an hour then", "a day", "saved", "of", "values", "masked"}
)
"""Headings of columns that are aligned to the right."""
errors = Console(stderr=True, highlight=False)
out = Console(  # a pipe has no width: tables are not folded there
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200
)


def complain(error: CostwhyError) -> int:
    """Show an error; returns its exit code."""
    errors.print("[bold red]costwhy:[/]", escape(clean(error, keep="\n\t")), soft_wrap=True)
    return error.exit_code


def note(text: object) -> None:
    """Show a remark on standard error."""
    errors.print(f"[yellow]note:[/] {one_line_of(text)}", soft_wrap=True)


def one_line_of(text: object) -> str:
    """External text on one line, with Rich's markup escaped."""
    return escape(" ".join(clean(text).split()))


def print_json(document: object) -> None:
    """Print the one JSON document of --json."""
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
