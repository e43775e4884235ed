"""Every format that costwhy.toml may name: one line each. docs/add-a-source.md"""

from functools import cache
from importlib import import_module

from costwhy.sources.format import Format

# Format: its module, imported when the format is named; the folder is the section
FORMATS = {
    "focus": "cost.focus",
    "cur2": "cost.cur",
    "cur": "cost.cur",
    "model_costs": "cost.model_costs",
    "changes": "changes.long_table",
    "cloudtrail": "changes.cloudtrail",
    "cdevents": "changes.cdevents",
    "autoscaling": "changes.autoscaling",
    "signals": "signals.long_table",
    "prometheus": "signals.prometheus",
    "cloudwatch": "signals.cloudwatch",
    "xray": "signals.xray",
    "backstage": "owners.backstage",
    "codeowners": "owners.codeowners",
    "tags": "owners.tags",
}


@cache
def format_of(name: str) -> Format:
    """The format of this name. Raises KeyError where there is none."""
    found: Format = import_module(f"costwhy.sources.{FORMATS[name]}").FORMAT
    return found


def formats_in(section: str) -> tuple[str, ...]:
    """The names that the entries of a section may give as `format`."""
    return tuple(name for name, module in FORMATS.items() if module.startswith(f"{section}."))


@cache
def format_behind(source: str) -> Format | None:
    """The format of a `source` as the lake's tables name it; null: of none that is known here."""
    return next(
        (format_of(name) for name in (source, *formats_in(source)) if name in FORMATS), None
    )
