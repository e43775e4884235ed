"""TODO cli/terminal.py"""

import json
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from costwhy.errors import CostwhyError
from costwhy.text import clean, money, plain_value

if TYPE_CHECKING:
    import polars as pl


errors = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 200)  # a pipe bounds no table


def complain(error: CostwhyError) -> None:
    message = clean(error, keep="\n\t")
    errors.print(f"[bold red]costwhy:[/] {escape(message)}", soft_wrap=True)


def one_line_of(text: object) -> str:
    """External text for one line: it cannot pose as a line of ours, and no markup in it counts."""
    return escape(" ".join(clean(text).split()))


def show_rows(names: Sequence[str], rows: Sequence[Sequence[object]], *, none: str) -> None:
    """A table; where the terminal is narrower, each row as its first cell, whole to be copied, and the others below it."""
    cells = [["" if v is None else one_line_of(v) for v in row] for row in rows]
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


def show_tables(frames: "dict[str, pl.DataFrame]", currency: str, *, as_json: bool) -> None:
    """Frames of owners as one JSON document, or as tables for a terminal, each under its heading."""
    if as_json:
        rows = {
            name: [{k: plain_value(v) for k, v in r.items()} for r in f.to_dicts()]
            for name, f in frames.items()
        }
        print(json.dumps(rows, indent=1, allow_nan=False))
        return
    for name, frame in frames.items():
        if frame.height:
            out.print(HEADINGS[name])
        cells = [[_cell(column, row[column], currency) for column in LISTED[name]] for row in frame.iter_rows(named=True)]
        show_rows(tuple(LISTED[name].values()), cells, none=f"no {name}")


def _cell(column: str, value: Any, currency: str) -> object:
    """A value of a table of owners, in people's words."""
    if column == "excess_per_hour" and value == 0:
        return "had ended"
    if column in AMOUNTS:
        return "whatever it costs" if value is None else money(value, currency)
    if column == "days":
        return f"{value} days"
    return plain_value(value)
