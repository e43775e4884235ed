"""costwhy: why did the cloud bill move? Which behaviour, which change, whose decision, and is it still running."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costwhy.case.case import Case
    from costwhy.case.document import explain
    from costwhy.case.investigate import find_spikes, investigate, investigate_window, lost_tags, nobody_owns, nowcast_ledger, overview
    from costwhy.case.opened import open_case
    from costwhy.lake.lake import Lake, open_lake
    from costwhy.publishing import investigate_again
    from costwhy.publishing.postmortem import write_postmortem
    from costwhy.publishing.publish import publish
    from costwhy.publishing.verify import verify
    from costwhy.spikes.drivers import find_drivers


_ROOMS = {
    "case": (
        "Case",
        "explain",
        "find_spikes",
        "investigate",
        "investigate_window",
        "lost_tags",
        "nobody_owns",
        "nowcast_ledger",
        "overview",
    ),
    "drivers": ("find_drivers",),
    "lake": ("Lake", "open_lake"),
    "published": ("investigate_again", "open_case", "publish", "verify", "write_postmortem"),
}

__all__ = [
    "Case",
    "Lake",
    "explain",
    "find_drivers",
    "find_spikes",
    "investigate",
    "investigate_again",
    "investigate_window",
    "lost_tags",
    "nobody_owns",
    "nowcast_ledger",
    "open_case",
    "open_lake",
    "overview",
    "publish",
    "verify",
    "write_postmortem",
]


def __getattr__(name: str) -> object:
    """The API's names, each imported when it is first used: `costwhy --help` need not load DuckDB."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"costwhy.{room}"), name)
    raise AttributeError(f"module 'costwhy' has no attribute {name!r}; it has {', '.join(__all__)}")
