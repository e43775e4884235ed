"""What leaves the notebook: cases frozen with their data, the app that shows them, the write-up that runs again.

Nothing in here opens a lake, but for `publish`, which reads one, and `restated`, which asks one.
"""

from pathlib import Path

from costwhy.case import Case
from costwhy.published.frozen import investigate_frozen
from costwhy.published.postmortem import write_postmortem
from costwhy.published.shelf import open_case, open_frozen, publish, published_cases
from costwhy.published.verification import verify

__all__ = ["investigate_again", "open_case", "publish", "published_cases", "verify", "write_postmortem"]


def investigate_again(place: str | Path) -> Case:
    """The case, made anew from its own data alone."""
    return investigate_frozen(open_frozen(place))
