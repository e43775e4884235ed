"""The benchmarks and the scripts of the documents load: no name that they use has moved away."""

import importlib.util
import sys

import pytest
from places import ROOT

SCRIPTS = sorted(
    f.relative_to(ROOT).as_posix()
    for folder in ("benchmarks", "docs", "data")
    for f in (ROOT / folder).glob("*.py")
)


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_loads(script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / script
    monkeypatch.syspath_prepend(str(file.parent))
    spec = importlib.util.spec_from_file_location(f"script_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    assert module.__doc__, "a script says what it does"
