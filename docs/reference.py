"""docs/reference.md from the code: every command, key of costwhy.toml, table, column and error.

uv run python docs/reference.py         (or: make reference; a test compares the two)
"""

import inspect
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import msgspec

from costwhy import config, errors, tables
from costwhy.cli.main import costwhy
from costwhy.sources.registry import format_of, formats_in


def _source_sections() -> Iterator[tuple[str, type[msgspec.Struct]]]:
    """The keys of each format; formats of a section with the same keys stand together."""
    for section in config.SECTIONS:
        kinds = {name: format_of(name).config for name in formats_in(section)}
        for kind in dict.fromkeys(kinds.values()):
            names = ", ".join(name for name, own in kinds.items() if own is kind)
            yield f"[[{section}]] format {names}", kind


DOCUMENT = Path(__file__).resolve().parent / "reference.md"
SECTIONS = {
    "[workspace]": config.About,
    "[lake]": config.LakePlace,
    **dict(_source_sections()),
    "[mapping]": config.Mapping,
    "[watch]": config.Watch,
    **{
        f"[[watch.channels]] kind {c.__struct_config__.tag!r}": c
        for c in typing.get_args(config.Channel)
    },
}


def reference() -> str:
    """The whole document."""
    parts = (
        "# Reference\n\nMade from the code by `make reference`. Times are UTC, windows half-open, money in the workspace's currency.",
        "## Commands",
        "The workspace is the first word, or the value of `-w`; without either it is this folder.",
        *_commands(),
        "## costwhy.toml",
        *_sections(),
        "## Tables",
        "PascalCase is a column of FOCUS, snake_case is costwhy's own. A null means *not known* where nothing else is said.",
        *_tables(),
        "## Errors",
        f"```text\n{inspect.cleandoc(errors.__doc__ or '')}\n```",
    )
    return "\n\n".join(parts) + "\n"


def commands() -> dict[str, click.Command]:
    """Every command by its name."""
    return costwhy.commands


def _commands() -> Iterator[str]:
    for name, command in commands().items():
        rows = [(f"`{_words(p)}`", _sentence(p.help or "")) for p in command.params]
        about = inspect.cleandoc(command.help or "")
        yield f"### costwhy {name}\n\n{about}\n\n{_table(('', 'what it is'), rows)}"


def _words(parameter: click.Parameter) -> str:
    """`--to FOLDER`, or the name of what stands by itself."""
    names = ", ".join(parameter.opts) if isinstance(parameter, click.Option) else ""
    return " ".join(part for part in (names, parameter.metavar or "") if part)


def _sections() -> Iterator[str]:
    for name, struct in SECTIONS.items():
        said = (
            inspect.cleandoc(struct.__doc__ or "").split(": ", 1)
            if (struct.__doc__ or "").startswith("[")
            else ["", struct.__doc__ or ""]
        )
        words = _sentence(said[1]) if len(said) > 1 else ""
        fields = [f for f in msgspec.structs.fields(struct) if f.name != "format"]
        rows = [(f"`{f.encode_name}`", _kind(f.type), _default(f)) for f in fields]
        table = _table(("key", "type", "default"), rows) if rows else ""
        yield "\n\n".join(part for part in (f"### {name}", words, table) if part)


def _kind(kind: object) -> str:
    """A type as a writer of TOML knows it."""
    if typing.get_origin(kind) is typing.Annotated:
        return _kind(typing.get_args(kind)[0])
    parts = [p for p in typing.get_args(kind) if p is not type(None) and p is not Ellipsis]
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{p}`" for p in parts)
    if typing.get_origin(kind) is tuple:
        return "the channels below" if parts[0] is config.Channel else f"list of {_kind(parts[0])}"
    if typing.get_origin(kind) is dict:
        return "table of texts"
    if parts:
        return _kind(parts[0])
    return {str: "text", int: "whole number", bool: "true, false"}[typing.cast("type", kind)]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "must be given"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()  # type: ignore[operator,misc]
    words = (
        [f"`{v}`" for v in value]
        if isinstance(value, tuple)
        else [f"`{str(value).lower() if isinstance(value, bool) else value}`"]
    )
    return "" if value in (None, (), {}) else ", ".join(words)


def _tables() -> Iterator[str]:
    for table in sorted(all_tables(), key=lambda t: t.name):
        rows = [
            (f"`{c.name}`", _type(str(c.dtype)), c.unit, c.meaning, c.origin) for c in table.columns
        ]
        yield f"### {table.name}\n\n{_sentence(table.meaning)}\n\n{_table(('column', 'type', 'unit', 'meaning', 'origin'), rows)}"


def all_tables() -> list[tables.Table]:
    """Every table of `tables`."""
    return [t for t in vars(tables).values() if isinstance(t, tables.Table)]


def _type(dtype: str) -> str:
    known = {
        "String": "text",
        "Float64": "number",
        "Int64": "whole number",
        "Boolean": "true, false",
        "List(String)": "list of texts",
    }
    return known.get(dtype, "time" if dtype.startswith("Datetime") else dtype.lower())


def _sentence(words: str) -> str:
    words = " ".join(words.split())
    return words[:1].upper() + words[1:].rstrip(".") + "."


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(names)]
    lines += [
        ["---"] * len(lines[0]),
        *([cell.replace("|", "\\|") for cell in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    DOCUMENT.write_text(reference(), encoding="utf-8")
