"""A notebook served as `costwhy serve` does it, and looked at in a real Chromium through the wall."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from visits import Visit, visiting
from walls import NOTEBOOK, TOKEN, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from costwhy.serve.guard import methods
from costwhy.serve.links import REVOKED, IdList, make_link, revoke
from costwhy.serve.secret_key import read_secret

DOLLARS = {"alpha": [1, 2, 3, 4], "beta": [10, 20, 30, 40]}
SERVE = """
import sys
from pathlib import Path
from costwhy.serve.auth import Auth
from costwhy.serve.server import ServeOptions, serve
published, notebook, state, log, token = sys.argv[1:]
serve(published, Path(notebook), ServeOptions(Auth(token=token), state=Path(state), log=Path(log)))
"""


@dataclass
class Served:
    """A running server, and where its things are."""

    address: str
    folder: Path

    @property
    def key(self) -> bytes:
        return read_secret(self.folder / "state")

    @property
    def revoked(self) -> IdList:
        return IdList(self.folder / "published" / REVOKED)

    def get(self, path: str) -> tuple[int, str]:
        request = urllib.request.Request(
            self.address + path, headers={"Authorization": f"Bearer {TOKEN}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.read().decode()

    def link(self, case: str) -> str:
        return make_link(self.key, case, datetime.now(UTC) + timedelta(hours=1), "the board")[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    for case, dollars in DOLLARS.items():
        (folder / "published" / case).mkdir(parents=True)
        (folder / "published" / case / "case.json").write_text(
            json.dumps({"title": f"title of {case}", "dollars": dollars})
        )
    words = [
        str(folder / "published"),
        str(NOTEBOOK),
        str(folder / "state"),
        str(folder / "access.jsonl"),
        TOKEN,
    ]
    said = folder / "said.txt"
    with (
        said.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVE, *words], stderr=errors, stdout=errors
        ) as server,
    ):
        try:
            until(lambda: server.poll() is not None or "(Ctrl+C ends it)" in said.read_text(), 60)
            found = re.search(r"http://\S+", said.read_text())
            assert found, said.read_text()
            until(lambda: server.poll() is not None or _answers(found[0]), 60)
            yield Served(found[0], folder)
        finally:
            server.terminate()
            server.wait(20)
            assert TOKEN not in said.read_text()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address + "/health", timeout=5) as reply:
            return bool(reply.read() == b"ok\n")
    except OSError:
        return False


# ---------------------------------------------------------------- without a browser


def test_the_page_tells_no_path_and_no_code(served: Served) -> None:
    status, page = served.get("/")
    assert status == 200
    for place in (*NOTEBOOK.parents, served.folder, Path(sys.prefix), Path.home()):
        if len(place.parts) > 2:
            assert str(place) not in page
            assert str(place).replace("/", "%2F") not in page
    assert "read_text" not in page


def test_the_session_sends_no_code_and_no_path(served: Served) -> None:
    address = served.address.replace("http", "ws") + "/ws?session_id=s_plain1"
    with connect(
        address,
        origin=served.address,
        additional_headers={"Authorization": f"Bearer {TOKEN}"},
        proxy=None,
    ) as page:
        messages = []
        while not messages or not (
            "completed-run" in messages[-1] and "hour none" in "".join(messages)
        ):
            messages.append(str(page.recv(timeout=60)))
    said = "".join(messages)
    assert "2 cases for viewer" in said
    assert "0 cookies" in said
    for secret in ("iterdir", "read_text", str(served.folder), str(NOTEBOOK.parent), TOKEN):
        assert secret not in said


@pytest.mark.parametrize(
    "path",
    [
        "/small_notebook.py",
        "/api/kernel/read_code",
        "/api/export/html",
        "/api/home/workspace_files",
        "/api/files/list_files",
        "/api/version",
        "/api/status/connections",
        "/og/thumbnail",
        "/public/x",
        "/assets/../index.html",
    ],
)
def test_no_source_and_no_file_is_served(served: Served, path: str) -> None:
    assert served.get(path) in {(404, "Not Found\n"), (405, "Method Not Allowed\n")}


def test_every_asset_of_marimo_has_a_name_that_the_wall_knows(served: Served) -> None:
    import marimo

    files = [
        file
        for file in (Path(marimo.__file__).parent / "_static" / "assets").rglob("*")
        if file.is_file()
    ]
    assert len(files) > 100
    assert [
        file.name
        for file in files
        if not methods(f"/assets/{file.name}") or file.parent.name != "assets"
    ] == []
    assert served.get("/assets/none.js") == (404, "Not Found\n")


def test_an_answer_of_another_session_is_not_to_be_had(served: Served) -> None:
    """A link's holder who knows the id of a viewer's session, which marimo would let him take over."""
    holder = _opened(served, served.link("alpha"))
    address = served.address.replace("http", "ws") + "/ws?session_id=s_viewer"
    with connect(
        address,
        origin=served.address,
        additional_headers={"Authorization": f"Bearer {TOKEN}"},
        proxy=None,
    ) as page:
        page.recv(timeout=60)
        with pytest.raises(Exception, match="403"):
            connect(
                address, origin=served.address, additional_headers={"Cookie": holder}, proxy=None
            )


def test_a_holders_session_never_names_another_case(served: Served) -> None:
    address = (
        served.address.replace("http", "ws") + "/ws?session_id=s_holder&case=beta&published=/etc"
    )
    holder, said = _opened(served, served.link("alpha")), ""
    with connect(
        address, origin=served.address, additional_headers={"Cookie": holder}, proxy=None
    ) as page:
        while "hour none" not in said:
            said += str(page.recv(timeout=60))
        chosen = json.dumps({"objectIds": _dropdown(said), "values": [["beta"]]}).encode()
        call = urllib.request.Request(served.address + "/api/kernel/set_ui_element_value", chosen)
        token = re.search(r'"serverToken": "([^"]*)"', served.get("/")[1])
        assert token
        for name, value in {
            "Cookie": holder,
            "Origin": served.address,
            "Marimo-Session-Id": "s_holder",
            "Marimo-Server-Token": token[1],
            "Content-Type": "application/json",
        }.items():
            call.add_header(name, value)
        with urllib.request.urlopen(call, timeout=20) as reply:
            assert reply.status == 200
        try:
            while True:
                said += str(page.recv(timeout=3))
        except (TimeoutError, ConnectionClosed):
            pass
    assert "1 cases for link: the board" in said
    assert "title of beta" not in said
    assert "100 dollars" not in said, "10 + 20 + 30 + 40"


def _dropdown(said: str) -> list[str]:
    found = re.search(r"object-id='([^']+)'[^>]*>\s*<marimo-dropdown", said)
    assert found
    return [found[1]]


def _opened(served: Served, link: str) -> str:
    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_args: object) -> None:
            return None

    with pytest.raises(urllib.error.HTTPError) as reply:
        urllib.request.build_opener(Stay).open(f"{served.address}/link/{link}", timeout=20)
    with reply.value:
        return str(reply.value.headers["Set-Cookie"]).partition(";")[0]


# ---------------------------------------------------------------- in Chromium


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    whole_page = {"width": 1200, "height": 1400}  # nothing is scrolled to
    with visiting(browser, served.address, viewport=whole_page) as seen:
        yield seen


def says(page: Page, where: str, text: str) -> None:
    page.wait_for_function(
        "([w, t]) => (document.querySelector(w)?.innerText || '').includes(t)", arg=[where, text]
    )


@pytest.mark.browser
def test_a_viewer_logs_in_with_the_token_and_everything_on_the_page_works(
    visit: Visit, served: Served
) -> None:
    page = visit.page
    page.goto(served.address + "/?case=alpha")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    says(page, "#cases", "title of beta")
    assert page.url == served.address + "/?case=alpha"
    says(page, "#answer", "alpha: 10 dollars, counted 0")  # 1 + 2 + 3 + 4
    page.get_by_role("button", name="count").click()
    says(page, "#answer", "counted 1")
    page.locator(
        "marimo-vega canvas, marimo-vega svg.marks"
    ).first.wait_for()  # its data are gone once another chart takes its place
    page.locator("select").first.select_option("beta")
    says(page, "#answer", "beta: 100 dollars")
    _click_a_bar(page)
    says(page, "#hour", "hour ")
    page.get_by_test_id("next-page-button").click()
    page.get_by_role("cell", name="40").wait_for()
    assert (visit.complaints, visit.elsewhere, visit.refused) == ([], [], [])
    assert page.evaluate("document.cookie") == "", "scripts do not see the cookie"


def _click_a_bar(page: Page) -> None:
    """Click over the chart's width until a bar is met."""
    chart = page.locator("marimo-vega canvas, marimo-vega svg.marks").first
    for _ in range(6):
        page.wait_for_timeout(800)
        box = chart.bounding_box()
        for share in (0.2, 0.4, 0.6, 0.8):
            if box is not None:
                page.mouse.click(box["x"] + share * box["width"], box["y"] + 0.8 * box["height"])
            page.wait_for_timeout(300)
            if "none" not in page.locator("#hour").inner_text():
                return
    pytest.fail("no click met a bar")


@pytest.mark.browser
def test_the_token_after_a_hash_logs_in_and_leaves_the_address(
    visit: Visit, served: Served
) -> None:
    visit.page.goto(f"{served.address}/login#{TOKEN}")
    says(visit.page, "#cases", "title of alpha")
    assert TOKEN not in visit.page.url
    assert TOKEN not in (served.folder / "access.jsonl").read_text()
    assert (visit.complaints, visit.refused) == ([], [])


@pytest.mark.browser
def test_a_links_holder_sees_one_case_until_it_is_revoked(visit: Visit, served: Served) -> None:
    page, link = visit.page, served.link("beta")
    page.goto(f"{served.address}/link/{link}")
    says(page, "h1", "1 cases for link: the board")
    says(page, "#answer", "beta: 100 dollars")
    page.get_by_role("button", name="count").click()
    says(page, "#answer", "counted 1")
    assert "alpha" not in page.content()
    assert page.url == served.address + "/?case=beta"
    page.goto(served.address + "/?case=alpha")
    says(page, "h1", "1 cases for link: the board")
    says(page, "#answer", "beta: 100 dollars")
    assert (visit.complaints, visit.elsewhere, visit.refused) == ([], [], [])
    revoke(served.key, link, served.revoked)
    until(lambda: '"status": 3000' in (served.folder / "access.jsonl").read_text(), 30)
    page.goto(served.address + "/")
    assert page.url.startswith(served.address + "/login")


@pytest.mark.browser
def test_a_script_that_comes_in_with_a_case_does_not_run(visit: Visit, served: Served) -> None:
    """Only the page's own inline scripts are allowed, by their hashes."""
    page = visit.page
    page.goto(f"{served.address}/login#{TOKEN}")
    says(page, "#cases", "title of alpha")
    page.evaluate(
        """() => { const into = document.createElement('div'); document.body.append(into);
        into.innerHTML = '<img src=x onerror="window.ran=1"><iframe srcdoc="<script>parent.ran=2</' + 'script>"></iframe>';
        const script = document.createElement('script'); script.textContent = 'window.ran=3'; into.append(script); }"""
    )
    page.wait_for_timeout(1000)
    assert page.evaluate("window.ran ?? null") is None
    assert any("Content Security Policy" in text for text in visit.complaints)


@pytest.mark.browser
def test_a_page_of_another_origin_opens_no_websocket(visit: Visit, served: Served) -> None:
    page = visit.page
    page.goto(f"{served.address}/login#{TOKEN}")
    says(page, "#cases", "title of alpha")
    port = served.address.rpartition(":")[2]
    page.goto(f"http://localhost:{port}/health")  # another origin
    opened = page.evaluate(
        """async address => await new Promise(done => { const s = new WebSocket(address.replace('http', 'ws') + '/ws?session_id=s_evil01');
        s.onopen = () => done('open'); s.onerror = () => done('refused'); })""",
        served.address,
    )
    assert opened == "refused"
