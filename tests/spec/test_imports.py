"""Imports go one way: a room may use the rooms before it, never those after it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent.parent / "src" / "costwhy"
ORDER = (
    "errors",
    "tables",
    "config",
    "outbound",
    "sources",
    "reduce",
    "s3_lake",
    "lake",
    "journal",
    "ingest",
    "graph",
    "observed",
    "segments",
    "levels",
    "shifts",
    "meters",
    "commitments",
    "nowcast",
    "rates",
    "behaviour",
    "spikes",
    "drivers",
    "recorded",
    "triggers",
    "owners",
    "accounts",
    "case",
    "verdicts",
    "savings",
    "story",
    "charts",
    "fragments",
    "views",
    "published",
    "leadership",
    "served",
    "senders",
    "watch",
    "cli",
)


def _room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


LATE = {("case", "story"): "a case's repr borrows its first sentence from the story, when it is asked for"}
"""Imports against the order that a function makes when it is called, each beside its reason."""


def _imported(file: Path, *, called: bool = False) -> list[str]:
    """Rooms that a file imports when it is loaded or type-checked; `called`: those that its functions import later."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    inside = {id(n) for f in ast.walk(tree) if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef) for n in ast.walk(f)}
    return [name for node in ast.walk(tree) if (id(node) in inside) == called for name in _names(node, file)]


def _names(node: ast.AST, file: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[1] for alias in node.names if alias.name.startswith("costwhy.")]
    if not isinstance(node, ast.ImportFrom):
        return []
    assert node.level == 0, f"{file} line {node.lineno}: write `from costwhy...`, which this test can follow"
    if node.module == "costwhy":
        return [alias.name for alias in node.names]
    return [node.module.split(".")[1]] if node.module and node.module.startswith("costwhy.") else []


def _against(*, called: bool) -> set[tuple[str, str]]:
    files = [file for file in PACKAGE.rglob("*.py") if _room(file) != "__init__"]
    pairs = {(_room(file), name) for file in files for name in _imported(file, called=called)}
    return {(room, name) for room, name in pairs if ORDER.index(name) > ORDER.index(room)}


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {_room(f) for f in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms - set(ORDER) == set(), "name the new room's place in ORDER of this test"


def test_imports_go_one_way() -> None:
    assert _against(called=False) == set()


def test_what_functions_import_goes_one_way_too_but_for_named_exceptions() -> None:
    assert _against(called=True) == set(LATE)


def test_the_walk_sees_imports() -> None:
    assert "errors" in _imported(PACKAGE / "tables.py")
    assert {"lake", "reduce", "sources"} <= set(_imported(PACKAGE / "ingest.py"))
