"""What leaves the notebook: cases frozen with their data, the app that shows them, the write-up that runs again.

Nothing in here opens a lake, but for `publish`, which reads one, and `restated`, which asks one.
"""

from pathlib import Path

from costwhy.case.case import Case
from costwhy.case.opened import open_case, published_cases
from costwhy.publishing.evidence import investigate_frozen, open_frozen
from costwhy.publishing.postmortem import write_postmortem
from costwhy.publishing.publish import publish
from costwhy.publishing.verify import verify

__all__ = ["investigate_again", "open_case", "publish", "published_cases", "verify", "write_postmortem"]


def investigate_again(place: str | Path) -> Case:
    """The case, made anew from its own data alone."""
    return investigate_frozen(open_frozen(place))
