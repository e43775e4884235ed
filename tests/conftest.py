"""Where things are, and what the tests share: the sample company, the cases, one browser."""

import bytecode  # noqa: F401  before anything large is imported

# isort: split
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from aws_on_loopback import moto_process
from filelock import FileLock
from places import SAMPLE, SHARED, copied
from playwright.sync_api import Browser, sync_playwright
from shelves import fill
from walls import TOKEN, Site, await_walls, wall
from xdist.scheduler import LoadScopeScheduling

from costwhy.case.investigate import explain
from costwhy.config import read_workspace
from costwhy.ingest.ingest import ingest
from costwhy.lake.lake import Lake, open_lake
from costwhy.serve.auth import Auth

CHROMIUM_PLACES = (
    os.environ.get("COSTWHY_CHROMIUM", ""),
    *("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"),
)
CHROMIUM_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


ANSWER = "said.json"
# ---------------------------------------------------------------- which worker runs what

TOGETHER = {
    *("test_investigate_in_a_browser.py", "test_leadership_in_a_browser.py", "test_postmortem.py"),
    *("test_prometheus.py", "test_s3.py", "test_served_notebook.py"),
}
"""Files whose tests share a server, or something else that is dear to make."""


class Rooms(LoadScopeScheduling):
    """Tests of such a file stay on one worker; any other test goes where there is time."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).name in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Rooms:
    """Instead of xdist's own `loadgroup`, which does not work with pytest 9.2."""
    return Rooms(config, log)


# ---------------------------------------------------------------- what ran, and what did not


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what needs SHARED where it is absent."""
    if not SHARED.is_dir():
        absent = pytest.mark.skip(reason=f"external: there is no {SHARED}")
        for item in items:
            if item.get_closest_marker("external"):
                item.add_marker(absent)


def pytest_deselected(items: list[pytest.Item]) -> None:
    """Count what a marker leaves out; a worker tells its count to the controller."""
    if items:
        config = items[0].config
        told = getattr(config, "workeroutput", config.stash.setdefault(LEFT_OUT, {}))
        told["left_out"] = told.get("left_out", 0) + len(items)


LEFT_OUT = pytest.StashKey[dict[str, int]]()


class Workers:
    """The controller's side of the count; every worker leaves out the same tests."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take the count over."""
        said = getattr(node, "workeroutput", {}).get("left_out", 0)
        node.config.stash.setdefault(LEFT_OUT, {})["left_out"] = said


def pytest_configure(config: pytest.Config) -> None:
    """Listen to the workers, where there are some."""
    config.pluginmanager.register(Workers())


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many external tests ran, and how many long ones were left out."""
    ran = skipped = 0
    for name, reports in terminalreporter.stats.items():
        for report in reports if name else ():
            if "external" in getattr(report, "keywords", ()):
                skipped += name == "skipped"
                ran += name != "skipped" and getattr(report, "when", "") == "call"
    left_out = config.stash.get(LEFT_OUT, {}).get("left_out", 0)
    terminalreporter.write_line(
        f"external: {ran} ran, {skipped} skipped; left out by markers: {left_out}"
        + (' (`uv run pytest -m ""` runs all)' if left_out else "")
    )


# ---------------------------------------------------------------- made once


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first worker to ask for it fills for all of them. Nobody may change it."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place, done = base / "shared" / name, base / "shared" / f"{name}.done"
    place.parent.mkdir(exist_ok=True)
    with FileLock(base / "shared" / f"{name}.lock"):
        if not done.exists():
            shutil.rmtree(place, ignore_errors=True)
            make(place)
            done.touch()
    return place


def _answered(source: Path, place: Path) -> None:
    """The company with its lake, and what costwhy says of it, as JSON."""
    ingest(read_workspace(copied(source, place)))
    (place / ANSWER).write_text(json.dumps(explain(open_lake(place)), allow_nan=False))


@pytest.fixture(scope="session")
def answer_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], dict[str, Any]]:
    """What costwhy says of a company, through the same steps as the commands; made once."""

    def answer(company: Path) -> dict[str, Any]:
        make = functools.partial(_answered, company)
        place = made_once(tmp_path_factory, f"company-{company.name}", make)
        return json.loads((place / ANSWER).read_text())

    return answer


@pytest.fixture(scope="session")
def sample_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sample company with its lake, of this worker's own."""
    make = functools.partial(_answered, SAMPLE)
    made = made_once(tmp_path_factory, f"company-{SAMPLE.name}", make)
    return shutil.copytree(
        made, tmp_path_factory.mktemp("sample") / "marigold", ignore=shutil.ignore_patterns(ANSWER)
    )


@pytest.fixture(scope="session")
def sample_lake(sample_workspace: Path) -> Lake:
    """The sample company's lake."""
    return open_lake(sample_workspace)


@pytest.fixture(scope="session")
def shelf(sample_lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every spike of the sample company, published. Who changes it makes a copy."""
    return made_once(tmp_path_factory, "published", functools.partial(fill, sample_lake))


# ---------------------------------------------------------------- AWS


@pytest.fixture(scope="session", autouse=True)
def _read_aws_models_once() -> Iterator[None]:
    """Let all sessions of botocore share what they read of its own JSON: 0.1 s for each client."""
    with pytest.MonkeyPatch.context() as patch:
        shared = functools.cache(botocore.session.create_loader)
        patch.setattr(botocore.session, "create_loader", shared)
        yield


@pytest.fixture(scope="session")
def moto_apart() -> Iterator[str]:
    """The address of a moto in its own process; who uses it empties it first (`use_moto`)."""
    with moto_process() as address:
        yield address


# ---------------------------------------------------------------- servers and a browser


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium.

    The test is skipped where there is none, unless COSTWHY_REQUIRE_BROWSER=1.
    """
    for place in CHROMIUM_PLACES:
        if place and Path(place).exists():
            return place
    if os.environ.get("COSTWHY_REQUIRE_BROWSER") == "1":
        pytest.fail("no Chromium found, and COSTWHY_REQUIRE_BROWSER=1")
    pytest.skip("no Chromium here: install Debian's package `chromium`, or set COSTWHY_CHROMIUM")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One Chromium for all tests of this worker; each test opens a context of its own in it."""
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session", autouse=True)
def _await_walls() -> Iterator[None]:
    yield
    await_walls()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A wall around the small notebook, that asks for a token."""
    with wall(tmp_path, Auth(token=TOKEN), patience=0.5, watch=0.1) as running:
        yield running
