"""A lake's currency is an ISO 4217 code: whoever shows its money can rely on it."""

import json
import shutil
from pathlib import Path

import pytest

from costwhy.errors import InputError
from costwhy.lake.lake import Lake, open_lake
from costwhy.text import currency_code


def test_a_code_is_three_capital_letters() -> None:
    assert [currency_code(code, "here") for code in ("USD", "EUR", "XXX")] == ["USD", "EUR", "XXX"]
    with pytest.raises(InputError, match="the currency in here is not a code of ISO 4217"):
        currency_code("dollars", "here")


def test_a_snapshot_with_another_currency_is_not_opened(sample_lake: Lake, tmp_path: Path) -> None:
    lake = Path(shutil.copytree(sample_lake.place, tmp_path / "lake"))
    snapshots = [f for f in lake.rglob("*.json") if "currency" in f.read_text(encoding="utf-8")]
    assert snapshots
    for file in snapshots:
        content = json.loads(file.read_text(encoding="utf-8"))
        file.chmod(0o644)
        file.write_text(json.dumps(content | {"currency": "<img src=x>"}), encoding="utf-8")
    with pytest.raises(InputError, match="ISO 4217"):
        open_lake(lake)
