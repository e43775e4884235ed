"""docs/contract.md agrees with its schema, and both with the code."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from costwhy import behaviours, errors
from costwhy.cli.main import costwhy

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "contract.md").read_text(encoding="utf-8")
SCHEMA = json.loads((DOCS / "explain.schema.json").read_text(encoding="utf-8"))
SPIKE = SCHEMA["properties"]["spikes"]["items"]["properties"]


def example() -> dict:
    return json.loads(re.search(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1])


def rows_below(heading: str) -> dict[str, list[str]]:
    """The first table below a heading: its rows by their first cell, without backticks."""
    table = re.search(rf"^#+ {heading}\n.*?\n((?:\|[^\n]*\n)+)", PAGE, re.MULTILINE | re.DOTALL)[1]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return {row[0].strip(" `|"): row[1:] for row in rows[2:]}


def test_the_example_is_valid_by_the_schema():
    assert [e.message for e in Draft202012Validator(SCHEMA).iter_errors(example())] == []


def test_the_three_sums_hold_in_the_example():
    [spike] = example()["spikes"]
    excess = spike["excess_cost"]
    assert spike["actual_cost"] - spike["expected_cost"] == pytest.approx(excess)
    for part in ("drivers", "behaviour"):
        whole = sum(row["cost_change"] for row in spike[part]) + spike[f"{part}_remainder"]
        assert whole == pytest.approx(excess)


def test_the_example_has_every_field_that_must_be_there():
    [spike] = example()["spikes"]
    assert set(SPIKE) <= set(spike)
    assert set(SCHEMA["properties"]) == set(example())


def test_kinds_are_those_of_the_schema_and_of_the_code():
    kinds = set(SPIKE["behaviour"]["items"]["properties"]["kind"]["enum"])
    assert set(rows_below("Kinds of behaviour")) == kinds == set(behaviours.BY_KIND)


def test_verdicts_are_those_of_the_code():
    words = rows_below("Verdicts")
    assert set(words) == set(behaviours.VERDICT_WORDS) == set(SPIKE["verdict"]["enum"])
    for kind in behaviours.BEHAVIOURS:
        assert kind.verdict == "mixed" or f"`{kind.kind}`" in words[kind.verdict][0], kind


def test_every_command_and_exit_code_is_on_the_page():
    assert [name for name in costwhy.commands if f"`costwhy {name}" not in PAGE] == []
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type)} - {1}
    found = {int(code) for code in re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE)}
    assert found == codes | {0}
