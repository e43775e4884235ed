"""Where things are: the repository, the sample company, public data, the cases with known answers."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
DATA = ROOT / "tests" / "data"
"""Public records, small enough to be kept here: see its README."""
SHARED = Path(os.environ.get("COSTWHY_SHARED", ROOT.parent / "shared"))
"""More public data and the cases with known answers. Tests that read it are marked `external`."""
CASES = (
    *("autoscaler-1002", "brownout-1102", "cron_frequency-1003", "cross_region-1004"),
    *("fan_out-1103", "late_bill-1007", "offsetting-1101", "planned_launch-1006", "ramp-1101"),
    *("retry_loop-1001", "retry_loop-1102", "seasonal_only-1008", "traffic_growth-1005"),
    *("two_at_once-1101", "unowned_resource-1102", "usage_per_call-1103"),
)
"""Names of the cases in SHARED / "cases": written down, so that they are counted where absent."""

SPOOL = Path(tempfile.mkdtemp(prefix="costwhy-tests-"))
"""Where the facts of bills that tests reduce lie until the process ends."""
atexit.register(shutil.rmtree, SPOOL, ignore_errors=True)


def external(*values: object, id: str | None = None) -> Any:  # noqa: A002  pytest's own word
    """A parameter that lies in SHARED."""
    return pytest.param(*values, id=id, marks=pytest.mark.external)


COMPANIES = [
    pytest.param(SAMPLE, id="sample"),
    *(external(SHARED / "cases" / name, id=name) for name in CASES),
]
"""Folders of whole companies: the sample company everywhere, the cases where they are."""


def copied(source: Path, place: Path) -> Path:
    """The files of a company, without a lake, writable whatever they were."""
    for file in source.rglob("*"):
        name = file.relative_to(source)
        if file.is_file() and name.parts[0] != "lake":
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place / name)
    return place
