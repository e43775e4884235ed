"""Where things are, and a lake of the sample company that is read once for the whole session."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from walls import TOKEN, Site, wall

from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import Lake, open_lake
from costwhy.serve.visitors import Auth

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "sample"
SHARED = ROOT.parent / "shared"
CHROMIUM = next(
    (
        p
        for p in (os.environ.get("COSTWHY_CHROMIUM", ""), "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if p and Path(p).exists()
    ),
    None,
)


def cases() -> list[str]:
    """Names of the cases with known answers beside the project; none where they are absent."""
    return sorted(p.name.removesuffix(".truth.json") for p in (SHARED / "cases").glob("*.truth.json"))


@pytest.fixture(scope="session")
def sample_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample company with its lake."""
    folder = tmp_path_factory.mktemp("sample") / "marigold"
    shutil.copytree(SAMPLE, folder, ignore=shutil.ignore_patterns("lake"))
    ingest(read_workspace(folder))
    return folder


@pytest.fixture(scope="session")
def sample_lake(sample_workspace: Path) -> Lake:
    """The sample company's lake."""
    return open_lake(sample_workspace)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium; the test is skipped where there is none, unless COSTWHY_REQUIRE_BROWSER=1."""
    if CHROMIUM is None:
        if os.environ.get("COSTWHY_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium found, and COSTWHY_REQUIRE_BROWSER=1")
        pytest.skip("no Chromium on this machine: install Debian's package `chromium`, or set COSTWHY_CHROMIUM")
    return CHROMIUM


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A wall around the small notebook, that asks for a token."""
    with wall(tmp_path, Auth(token=TOKEN), patience=0.5, watch=0.1) as running:
        yield running
