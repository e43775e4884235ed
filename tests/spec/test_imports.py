"""Imports go one way: a room may use the rooms before it, never those after it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent.parent / "src" / "costwhy"
ORDER = (
    "errors",
    "tables",
    "config",
    "sources",
    "reduce",
    "lake",
    "ingest",
    "observed",
    "segments",
    "rates",
    "behaviour",
    "spikes",
    "drivers",
    "triggers",
    "owners",
    "case",
    "story",
    "charts",
    "fragments",
    "views",
    "publish",
    "watch",
    "cli",
)


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _imported(file: Path) -> list[str]:
    """Rooms that a file imports when it is loaded; what a function imports when it is called is not counted."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("costwhy."):
            names.append(node.module.split(".")[1])
        if isinstance(node, ast.ImportFrom) and node.module == "costwhy":
            names += [alias.name for alias in node.names]
    return names


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {_room(f) for f in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms - set(ORDER) == set(), "name the new room's place in ORDER of this test"


def test_imports_go_one_way() -> None:
    wrong = [
        f"{f.relative_to(PACKAGE)} imports {name}"
        for f in PACKAGE.rglob("*.py")
        if _room(f) != "__init__"
        for name in _imported(f)
        if ORDER.index(name) > ORDER.index(_room(f))
    ]
    assert wrong == []


def test_the_walk_sees_imports() -> None:
    assert "errors" in _imported(PACKAGE / "tables.py")
    assert {"lake", "reduce", "sources"} <= set(_imported(PACKAGE / "ingest.py"))
