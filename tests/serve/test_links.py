"""Signed links: one case, until a date, until they are revoked."""

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from walls import TOKEN, Site, kept_cookie, until, wall
from websockets.exceptions import ConnectionClosedError

from costwhy.errors import UsageError
from costwhy.serve.auth import Auth
from costwhy.serve.links import REVOKED, IdList, make_link, read_link, revoke
from costwhy.serve.requests import Site as GuardedSite
from costwhy.serve.secret_key import signer

SESSION = "session_id=s_abc123"


def _tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def _forged(key: bytes, **changes: object) -> str:
    return str(
        signer(key, "link").dumps(
            {"i": "abcdefgh", "c": "alpha", "u": int(time.time()) + 60, "n": "board", **changes}
        )
    )


def test_a_link_opens_its_one_case_and_says_for_whom_it_was_made(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow(), "the board")
    reply = site.ask("GET", f"/link/{text}")
    assert (reply.status, reply.headers["Location"]) == (303, "/?case=alpha")
    holder = kept_cookie(reply)
    assert site.ask("GET", "/?case=beta", holder).status == 200
    with site.socket(SESSION + "&case=beta", holder) as page:
        assert page.recv().endswith(" of alpha")
        assert (
            site.ask(
                "POST",
                "/api/kernel/function_call",
                {**holder, "Marimo-Session-Id": "s_abc123"},
                b'{"case": "beta"}',
            ).status
            == 200
        )
    metas = [scope["meta"] for scope in site.app.scopes]
    assert len(metas) == 3
    assert all((meta["case"], meta["who"]) == ("alpha", "link: the board") for meta in metas), (
        "whatever the browser asks for"
    )


def test_a_link_can_be_opened_again_until_its_date(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    first, second = (kept_cookie(site.ask("GET", f"/link/{text}")) for _ in range(2))
    assert first != second
    with site.socket(SESSION, first):
        assert site.opening(SESSION, second) == 403, "two who open one link do not share a session"


def test_a_link_replayed_after_its_date_is_refused(site: Site) -> None:
    text = _forged(site.key, u=int(time.time()) + 2)
    holder = kept_cookie(site.ask("GET", f"/link/{text}"))
    with site.socket(SESSION, holder) as page:
        page.recv()
        with pytest.raises(ConnectionClosedError):
            page.recv(timeout=10)
    assert site.ask("GET", f"/link/{text}").status == 403
    assert site.ask("GET", "/", holder).status == 303


def test_an_altered_link_is_refused(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    _, beta = make_link(site.key, "beta", _tomorrow())
    body, _, signature = text.rpartition(".")
    problem = [
        beta.rpartition(".")[0] + "." + signature,  # another case under this signature
        body + "." + signature[:-2] + "AA",
        body,
        body[:-4] + "." + signature,
        text + "x",
        text.swapcase(),
        str(
            signer(b"another key of 32 bytes or more..", "link").dumps(
                {"i": "abcdefgh", "c": "beta", "u": 9999999999, "n": ""}
            )
        ),
        str(
            signer(site.key, "cookie").dumps(
                {"i": "abcdefgh", "c": "beta", "u": 9999999999, "n": ""}
            )
        ),
    ]
    for link in problem:
        reply = site.ask("GET", f"/link/{link}")
        assert (reply.status, reply.headers["Set-Cookie"]) == (403, None), link
    assert site.app.reached == []


def test_revoking_ends_the_link_its_cookies_and_open_pages_and_nobody_elses(site: Site) -> None:
    link, text = make_link(site.key, "alpha", _tomorrow())
    _, other = make_link(site.key, "alpha", _tomorrow())
    holder, remaining = (kept_cookie(site.ask("GET", f"/link/{t}")) for t in (text, other))
    with (
        site.socket(SESSION, holder) as page,
        site.socket("session_id=s_other1", remaining) as second,
    ):
        page.recv(), second.recv()
        assert revoke(site.key, f"https://costs.example.com/link/{text}", site.revoked) == link.id
        with pytest.raises(ConnectionClosedError) as ended:
            page.recv(timeout=10)
        assert ended.value.rcvd.code == 3000
        with pytest.raises(TimeoutError):
            second.recv(timeout=0.5)
        assert (
            site.ask(
                "POST",
                "/api/kernel/function_call",
                {**holder, "Marimo-Session-Id": "s_abc123"},
                b"{}",
            ).status
            == 401
        )
    assert [site.ask("GET", "/", who).status for who in (holder, remaining)] == [303, 200]
    assert site.ask("GET", f"/link/{text}").status == 403
    until(lambda: site.app.open == 0)
    ended_line = [
        json.loads(line) for line in site.log.read_text().splitlines() if '"status": 3000' in line
    ]
    assert [line["who"] for line in ended_line] == ["link: link"]


def test_by_default_an_open_page_ends_within_half_a_minute_of_its_revocation() -> None:
    assert GuardedSite({}, "", Path()).watch <= 30


def test_the_list_is_a_text_file_that_a_person_may_write(tmp_path: Path) -> None:
    file = tmp_path / REVOKED
    ids = IdList(file)
    assert "abcdefgh" not in ids
    file.write_text("# gone\n\nabcdefgh 2026-11-24T00:00:00Z")  # the last line left open
    assert "abcdefgh" in ids
    ids.add("ijklmnop")
    assert all(name in IdList(file) for name in ("abcdefgh", "ijklmnop"))
    assert "# gone" in file.read_text()
    file.unlink()
    assert "abcdefgh" not in ids


def test_a_list_that_cannot_be_read_refuses_every_link(site: Site, tmp_path: Path) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    (tmp_path / "published" / REVOKED).mkdir()
    assert site.ask("GET", f"/link/{text}").status == 403
    assert read_link(site.key, text, IdList(tmp_path / "elsewhere")) is not None


def test_who_sees_all_cases_stays_so_when_opening_a_link(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    reply = site.ask("GET", f"/link/{text}", site.viewer())
    assert (reply.status, reply.headers["Location"], reply.headers["Set-Cookie"]) == (
        303,
        "/?case=alpha",
        None,
    )


def test_a_link_holder_may_log_in_for_more(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    holder = kept_cookie(site.ask("GET", f"/link/{text}"))
    assert site.ask("GET", "/login", holder).status == 200
    assert site.ask("POST", "/login", holder, f"secret={TOKEN}".encode()).status == 303


def test_a_links_cookie_lives_no_longer_than_the_link_nor_than_a_login(site: Site) -> None:
    for seconds, least, most in ((100, 95, 100), (10**7, 12 * 3600 - 5, 12 * 3600)):
        _, text = make_link(site.key, "alpha", datetime.now(UTC) + timedelta(seconds=seconds))
        age = (
            site.ask("GET", f"/link/{text}")
            .headers["Set-Cookie"]
            .partition("Max-Age=")[2]
            .partition(";")[0]
        )
        assert least <= int(age) <= most


def test_links_work_beside_a_proxys_login(tmp_path: Path) -> None:
    with wall(tmp_path, Auth(header="X-User", proxies=("127.0.0.1",))) as site:
        _, text = make_link(site.key, "alpha", _tomorrow())
        holder = kept_cookie(site.ask("GET", f"/link/{text}"))
        assert site.ask("GET", "/", holder).status == 200
        assert site.app.scopes[-1]["meta"]["case"] == "alpha"
        site.ask("GET", "/", {**holder, "X-User": "ada"})
        assert site.app.scopes[-1]["meta"]["case"] is None, (
            "the proxy's word counts before the cookie"
        )


@pytest.mark.parametrize("case", ["", "../x", "a/b", "a b", ".hidden", "a" * 201, "x\n"])
def test_a_link_names_a_case(case: str) -> None:
    with pytest.raises(UsageError):
        make_link(b"k" * 32, case, _tomorrow())


@pytest.mark.parametrize("days", [0, -1])
def test_a_link_ends_in_time_to_come(days: int) -> None:
    with pytest.raises(UsageError):
        make_link(b"k" * 32, "alpha", datetime.now(UTC) + timedelta(days=days))
    with pytest.raises(UsageError):
        make_link(b"k" * 32, "alpha", (datetime.now(UTC) + timedelta(days=1)).replace(tzinfo=None))


def test_only_a_link_or_its_id_is_revoked(tmp_path: Path) -> None:
    for text in ("", "x", "https://costs.example.com/", "a b c d e f g h"):
        with pytest.raises(UsageError) as error:
            revoke(b"k" * 32, text, IdList(tmp_path / "list"))
        assert text == "" or len(text) < 12 or text not in str(error.value)
    assert not (tmp_path / "list").exists()


def test_the_link_is_not_in_the_access_log(site: Site) -> None:
    _, text = make_link(site.key, "alpha", _tomorrow())
    for path in (
        f"/link/{text}",
        f"/links/{text}",
        f"//link/{text}",
        f"/{text}",
        f"/link/{text}/x",
        f"/?link={text}",
    ):
        site.ask("GET", path)
    written = site.log.read_text()
    assert text.rpartition(".")[2] not in written
    assert text[:30] not in written
    assert written.count("\n") == 6
