"""costwhy: why did the cloud bill move?

Which behaviour, which change, whose decision, and is it still running.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from costwhy.case.case import Case
    from costwhy.case.investigate import (
        explain,
        find_spikes,
        investigate,
        investigate_window,
        lost_tags,
        nobody_owns,
        nowcast_ledger,
        overview,
    )
    from costwhy.case.opened import open_case
    from costwhy.lake.lake import Lake, open_lake
    from costwhy.publishing.evidence import investigate_again
    from costwhy.publishing.postmortem import write_postmortem
    from costwhy.publishing.publish import publish
    from costwhy.publishing.verify import verify
    from costwhy.spikes.drivers import find_drivers

_MODULES = {
    "Case": "case.case",
    "Lake": "lake.lake",
    "explain": "case.investigate",
    "find_drivers": "spikes.drivers",
    "find_spikes": "case.investigate",
    "investigate": "case.investigate",
    "investigate_again": "publishing.evidence",
    "investigate_window": "case.investigate",
    "lost_tags": "case.investigate",
    "nobody_owns": "case.investigate",
    "nowcast_ledger": "case.investigate",
    "open_case": "case.opened",
    "open_lake": "lake.lake",
    "overview": "case.investigate",
    "publish": "publishing.publish",
    "verify": "publishing.verify",
    "write_postmortem": "publishing.postmortem",
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
    """Import a public name when it is first used, so that `costwhy --help` need not load DuckDB."""
    if name not in _MODULES:
        raise AttributeError(
            f"module 'costwhy' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(import_module(f"costwhy.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """The public names, for tab completion."""
    return __all__
