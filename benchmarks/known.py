"""Workspaces and companies whose answers are known: where they are, what costwhy says of them, how the scorer counts it."""

import functools
import importlib.util
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from companies import lake_of, plan, truth_of
from generate import Settings, simulate
from incidents import MORE, SORTS

from costwhy.case.investigate import explain
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import open_lake

ROOT = Path(__file__).resolve().parent.parent
SHARED = next(
    (p / "shared" for p in ROOT.parents if (p / "shared" / "cases").is_dir()),
    ROOT.parent / "shared",
)
CASES = SHARED / "cases"


@dataclass(frozen=True)
class Told:
    """One company: what it is called, what costwhy said, what is true, pairs of spike and incident, the scorer's figures."""

    name: str
    answer: dict[str, Any]
    truth: dict[str, Any]
    pairs: list[tuple[dict[str, Any], dict[str, Any]]]
    score: dict[str, Any]


@functools.cache
def scorer() -> ModuleType:
    """shared/cases/score.py as a module."""
    spec = importlib.util.spec_from_file_location("score", CASES / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def told_of_case(name: str) -> Told:
    """One of the workspaces beside the project, read and explained as the commands do it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / name
        shutil.copytree(CASES / name, place, copy_function=shutil.copyfile)
        ingest(read_workspace(place))
        answer = explain(open_lake(place))
    return _told(name, answer, json.loads((CASES / f"{name}.truth.json").read_text()))


def cases() -> list[str]:
    """Their names."""
    return sorted(p.name.removesuffix(".truth.json") for p in CASES.glob("*.truth.json"))


def told_of_company(settings: Settings) -> Told | None:
    """A simulated company; None where it has no place for the incident that was drawn for it."""
    try:
        s = simulate(settings)
    except ValueError:
        return None
    name = f"{settings.seed} {'+'.join(settings.incidents) or 'quiet'}"
    return _told(name, explain(lake_of(s)), json.loads(json.dumps(truth_of(s), default=float)))


def companies(seeds: str) -> list[Settings]:
    """Every sort of incident for each seed of `50-59`, as benchmarks/companies.py plans them."""
    first, _, last = seeds.partition("-")
    return plan(range(int(first), int(last or first) + 1), (*SORTS, *MORE, "quiet"), 0.2, 0.2)


def _told(name: str, answer: dict[str, Any], truth: dict[str, Any]) -> Told:
    return Told(
        name, answer, truth, scorer().pair(answer, truth)[0], scorer().score_case(answer, truth)
    )
