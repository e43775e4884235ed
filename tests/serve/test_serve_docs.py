"""The examples of docs/serve.md run as they stand."""

import re
from pathlib import Path

import pytest
from walls import PASSWORD, users_file

from costwhy.serve import server
from costwhy.serve.server import ServeOptions, create_app

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLES = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "published").mkdir()
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "leadership.py").write_text(
        (Path(__file__).parent.parent / "small_notebook.py").read_text()
    )
    users_file(tmp_path, "ada")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COSTWHY_TOKEN", PASSWORD)
    served: list[ServeOptions] = []

    def instead(published: str, notebook: Path, options: ServeOptions) -> None:
        create_app(published, notebook, options, options.port or 8080)
        served.append(options)

    monkeypatch.setattr(server, "serve", instead)
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {})
    if "make_link" in EXAMPLES[number]:
        assert re.match(
            r"https://costs\.example\.com/link/[\w.-]+   \(id [\w-]+\)", capsys.readouterr().out
        )
        assert len((tmp_path / "published" / "revoked-links.txt").read_text().splitlines()) == 1
    else:
        assert len(served) == 1


def test_every_way_to_log_in_has_its_example() -> None:
    assert len(EXAMPLES) == 5
    assert all(
        any(words in example for example in EXAMPLES)
        for words in ("ServeOptions())", "token=", "users=", "header=", "make_link(")
    )
