"""The pages that lead through the code name only what exists: every path, every name in a module."""

import re
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path

import pytest

import costwhy

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "costwhy"
PAGES = [
    ROOT / name
    for name in (
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/add-a-source.md",
        "docs/glossary.md",
        "docs/how-it-works.md",
        "docs/triggers.md",
        "docs/owners.md",
    )
    if (ROOT / name).exists()
] + sorted((ROOT / "docs" / "decisions").glob("*.md"))
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*(?:\.(?:py|md|toml|json|png|svg|css|js|html)|/)")
MADE = {"case.json", "company.json", "costwhy.toml", "writer.lock", "catalog-info.yaml"}
"""Files of a user's, or that costwhy writes: not of the repository."""


def inline(page: Path) -> list[str]:
    """What stands between backticks, outside of fences."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return re.findall(r"`([^`\n]+)`", text)


def paths(page: Path) -> list[str]:
    """Paths among these that do not begin elsewhere."""
    found = [word for word in inline(page) if PATH.fullmatch(word)]
    return [word for word in found if word not in MADE and not word.startswith("LAKE/")]


def module_members(page: Path) -> list[tuple[str, str]]:
    """Each `module.py` that is followed by a `name` of it."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"`((?:[\w-]+/)*\w+\.py)`\s+`([A-Za-z_]\w*)`", text)


def exists(path: str, page: Path) -> bool:
    """In the repository, in the package, in the tests, or beside the page."""
    places = (ROOT, SOURCE, ROOT / "tests", page.parent)
    return any((place / path).exists() for place in places)


def has(module: str, name: str) -> bool:
    """Whether a module of the package defines this name, or a class of it has it."""
    found = import_module("costwhy." + module.removesuffix(".py").replace("/", "."))
    own = {
        key: value
        for key, value in vars(found).items()
        if getattr(value, "__module__", found.__name__) == found.__name__
    }
    classes = [kind for kind in own.values() if isinstance(kind, type)]
    known = {f.name for kind in classes if is_dataclass(kind) for f in fields(kind)}
    return name in own or name in known or any(hasattr(kind, name) for kind in classes)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_exists(page):
    assert [path for path in paths(page) if not exists(path, page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_name_is_in_the_module_beside_it(page):
    assert [pair for pair in module_members(page) if not has(*pair)] == []


def test_every_public_name_that_a_page_uses_exists():
    used = [
        name
        for page in PAGES
        for name in re.findall(r"`cw\.(\w+)", page.read_text(encoding="utf-8"))
    ]
    assert used
    assert [name for name in used if name not in costwhy.__all__] == []


def test_every_folder_of_the_package_is_in_the_map():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = [folder.name for folder in SOURCE.iterdir() if (folder / "__init__.py").exists()]
    roots = [file.name for file in SOURCE.glob("*.py") if not file.name.startswith("_")]
    missing = [name for name in packages if f"`src/costwhy/{name}/`" not in text]
    assert missing + [name for name in roots if f"`src/costwhy/{name}`" not in text] == []


def test_every_folder_of_tests_is_in_contributing():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    folders = sorted({file.parent.name for file in (ROOT / "tests").glob("*/test_*.py")})
    assert [name for name in folders if f"`{name}/`" not in text] == []
