"""What the wall tells the notebook about who looks. Light: a notebook imports it in every session."""

from dataclasses import dataclass
from typing import Protocol


class Request(Protocol):
    """`mo.app_meta().request`, as far as it matters here."""

    @property
    def meta(self) -> dict[str, object]:
        """What the server says of this session."""


@dataclass(frozen=True)
class Viewer:
    """Who looks, at which published folder, and at which one case (None: all)."""

    published: str
    case: str | None
    who: str

    def sees(self, case: str) -> bool:
        """Whether this viewer may see that case."""
        return self.case is None or self.case == case


def read_viewer(request: Request | None, published: str = "published") -> Viewer:
    """The viewer of this session: `read_viewer(mo.app_meta().request, mo.cli_args().get("published") or "published")`.

    Behind `costwhy serve` everything comes from the server, by session, and nothing from the viewer's browser. Without a
    server (`marimo run`, a script, a test) it is whoever sits at this machine, who sees all cases of `published`.
    """
    meta = getattr(request, "meta", None) or {}
    if "published" not in meta:
        return Viewer(published, None, "this machine")
    case = meta["case"]
    return Viewer(str(meta["published"]), None if case is None else str(case), str(meta["who"]))
