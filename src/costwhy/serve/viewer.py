"""Who looks at the notebook, as the guard says. It loads fast: each notebook session imports it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Viewer:
    """Who looks at which published folder, and at which one case of it (None: all)."""

    published: str
    case: str | None
    who: str


def read_workspace(request: object, workspace: str = ".") -> str:
    """The workspace that `costwhy app` shows, where `request` is `mo.app_meta().request`.

    Without it (`marimo edit`, a script, a test) it is `workspace`.
    """
    return str((getattr(request, "meta", None) or {}).get("workspace", workspace))


def read_viewer(request: object, published: str = "published") -> Viewer:
    """The viewer of this session, where `request` is `mo.app_meta().request`.

    Behind `costwhy serve` everything comes from the server, by session, and nothing from the
    viewer's browser. Without a server (`marimo run`, a script, a test) it is the user of this
    machine, who sees all cases of `published`.
    """
    meta = getattr(request, "meta", None) or {}
    return (
        Viewer(meta["published"], meta["case"], meta["who"])
        if "published" in meta
        else Viewer(published, None, "this machine")
    )
