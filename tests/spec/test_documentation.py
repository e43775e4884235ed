"""The documents say what is so: their commands are understood, their configurations are read, their Python runs, the reference is complete."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from costwhy import errors
from costwhy.cli.main import costwhy
from costwhy.config import read_workspace
from costwhy.lake.lake import Lake

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / f"{name}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def blocks(document: Path, language: str) -> list[str]:
    """What stands in the fences of a language."""
    return re.findall(
        rf"^```{language}\n(.*?)^```",
        document.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )


def each(language: str) -> list[object]:
    return [
        pytest.param(b, id=f"{d.name}-{k}")
        for d in DOCUMENTS
        for k, b in enumerate(blocks(d, language))
    ]


def reference() -> object:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_code_says():
    made = reference()
    assert made.DOCUMENT.read_text(encoding="utf-8") == made.reference(), "run `make reference`"


def test_every_command_table_column_and_error_is_in_the_reference():
    made = reference()
    text = made.DOCUMENT.read_text(encoding="utf-8")
    said = [f"### costwhy {name}\n" for name in made.commands()]
    said += [f"### {table.name}\n" for table in made.all_tables()]
    said += [f"| `{column.name}` |" for table in made.all_tables() for column in table.columns]
    said += [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.CostwhyError)
    ]
    assert len(said) > 200
    assert [words for words in said if words not in text] == []


def test_every_command_and_every_page_is_in_the_readme():
    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    assert [name for name in reference().commands() if f"costwhy {name}" not in readme] == []
    pages = [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")]
    linked = readme + "".join(d.read_text(encoding="utf-8") for d in DOCUMENTS[1:])
    assert [
        page for page in pages if page not in linked and f"({Path(page).name}" not in linked
    ] == []


@pytest.mark.parametrize("block", each("sh"))
def test_every_command_line_is_understood(block):
    lines = block.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    calls = [
        w[w.index("costwhy") + 1 :] for w in words if "costwhy" in w and (w[0] in {"costwhy", "uv"})
    ]
    for call in calls:
        costwhy.commands[call[0]].make_context(call[0], call[1:])


@pytest.mark.parametrize("block", each("toml"))
def test_every_configuration_is_read(block, tmp_path):
    whole = (
        block
        if "[workspace]" in block
        else f'[workspace]\nname = "acme"\ncurrency = "USD"\n{block}'
    )
    (tmp_path / "costwhy.toml").write_text(whole, encoding="utf-8")
    read_workspace(tmp_path)


@pytest.mark.parametrize("block", each("python"))
def test_every_piece_of_python_is_python(block):
    compile(block, "document", "exec")


def test_the_readmes_python_runs_on_the_sample_company(
    sample_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    [block] = blocks(DOCUMENTS[0], "python")
    monkeypatch.chdir(tmp_path)
    exec(compile(block.replace('"acme"', repr(sample_lake.place)), "README.md", "exec"), {})
    assert "$" in capsys.readouterr().out
    assert [*(tmp_path / "published").glob("*/case.json")] != []


def test_every_link_between_the_documents_leads_somewhere():
    for document in DOCUMENTS:
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
