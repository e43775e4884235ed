"""Logins: by token, by password, by a proxy's word; what ends them, and what does not pass for one."""

import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import quote

import pytest
from walls import PASSWORD, TOKEN, Site, kept_cookie, until, users_file, wall
from websockets.exceptions import ConnectionClosedError

from costwhy.errors import ConfigError, InputError, UsageError
from costwhy.serve.auth import (
    Auth,
    check_address,
    check_auth,
    hash_line,
    is_password,
    network_of,
    read_users,
)
from costwhy.serve.authenticator import Visitor
from costwhy.serve.links import make_link
from costwhy.serve.rate_limit import RateLimit
from costwhy.serve.secret_key import read_secret
from costwhy.serve.server import ServeOptions, create_app, read_sites, serve

SESSION = "session_id=s_abc123"
PROXY = Auth(header="X-Forwarded-User", proxies=("127.0.0.1",))


# ---------------------------------------------------------------- the token


def test_the_token_opens_and_its_cookie_is_kept_from_scripts(site: Site) -> None:
    reply = site.log_in(TOKEN, there="/?case=alpha")
    assert (reply.status, reply.headers["Location"]) == (303, "/?case=alpha")
    value, *attributes = reply.headers["Set-Cookie"].split("; ")
    assert re.fullmatch(r"costwhy=[\w.-]+", value)
    [seconds] = [
        int(text.removeprefix("Max-Age=")) for text in attributes if text.startswith("Max-Age=")
    ]
    assert 43_190 <= seconds <= 43_200, "12 hours are 43,200 seconds"
    assert set(attributes) == {f"Max-Age={seconds}", "Path=/", "HttpOnly", "SameSite=lax"}
    assert TOKEN not in reply.headers["Set-Cookie"]
    assert site.ask("GET", "/", kept_cookie(reply)).status == 200


def test_under_https_the_cookie_is_sent_over_https_only(site: Site) -> None:
    reply = site.ask(
        "POST",
        "/login",
        {"Host": "costs.example.com", "Origin": "https://costs.example.com"},
        f"secret={TOKEN}".encode(),
    )
    assert reply.status == 303
    assert {"HttpOnly", "SameSite=lax", "Secure"} <= set(reply.headers["Set-Cookie"].split("; "))
    assert reply.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_bearer_token_opens_without_a_cookie(site: Site) -> None:
    assert site.ask("GET", "/", {"Authorization": f"Bearer {TOKEN}"}).status == 200
    assert site.opening(SESSION, {"Authorization": f"Bearer {TOKEN}"}) == 101


@pytest.mark.parametrize(
    "secret", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "ü" * 20, "\x00"]
)
def test_another_token_does_not_open(site: Site, secret: str) -> None:
    reply = site.log_in(secret)
    assert reply.status == 401
    assert reply.headers["Set-Cookie"] is None
    assert b"That is not right" in reply.body
    assert site.ask("GET", "/", {"Authorization": f"Basic {secret.encode().hex()}"}).status == 303


def test_guessing_is_slowed_down_also_when_all_guesses_come_at_once(site: Site) -> None:
    with ThreadPoolExecutor(16) as crowd:
        replies = list(crowd.map(lambda n: site.log_in(f"guess number {n}").status, range(40)))
    assert (replies.count(401), replies.count(429)) == (30, 10)
    assert site.log_in(TOKEN).status == 429, "who has guessed waits, also with the right one"
    guesses = [
        site.ask("GET", "/", {"Authorization": f"Bearer guess-{n}"}).status for n in range(31)
    ]
    assert guesses == [303] * 31
    assert site.ask("GET", "/", {"Authorization": f"Bearer {TOKEN}"}).status == 303


def test_guessers_are_told_when_to_come_back(site: Site) -> None:
    replies = [site.log_in("wrong") for _ in range(31)]
    assert 0 < int(replies[-1].headers["Retry-After"]) <= 301


@pytest.mark.parametrize(
    "there",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/%2f/evil.example",
        "javascript:alert(1)",
        "/login",
        "\\\\evil",
        "/?a\r\nSet-Cookie: x=y",
        "/?<script>",
        "/#x",
    ],
)
def test_a_login_leads_nowhere_else(site: Site, there: str) -> None:
    assert site.log_in(TOKEN, there=there).headers["Location"] == "/"
    form = site.ask("GET", "/login?next=" + quote(there)).body.decode()
    assert 'name="next" value="/"' in form


def test_the_login_page_cannot_be_written_into(site: Site) -> None:
    reply = site.ask("GET", "/login?next=" + quote("/?x='\"><script>alert(1)</script>"))
    assert reply.body.count(b"<script") == 1, "its own, which takes a token out of the address"
    assert "unsafe" not in reply.headers["Content-Security-Policy"]


def test_an_altered_cookie_is_nobodys(site: Site) -> None:
    cookie = site.viewer()["Cookie"]
    body, _, signature = cookie.rpartition(".")
    problem = [
        body + "." + signature[::-1],
        body + "x." + signature,
        body + ".",
        body,
        "costwhy=",
        f"costwhy={TOKEN}",
        cookie + "; " + cookie.replace("costwhy=", "costwhy=x"),
    ]
    for text in problem:
        assert site.ask("GET", "/", {"Cookie": text}).status == 303, text


def test_a_link_is_no_cookie_and_a_cookie_no_link(site: Site) -> None:
    _, text = make_link(site.key, "alpha", datetime.now(UTC) + timedelta(days=1))
    assert site.ask("GET", "/", {"Cookie": f"costwhy={text}"}).status == 303
    assert (
        site.ask("GET", "/link/" + site.viewer()["Cookie"].removeprefix("costwhy=")).status == 403
    )


def test_a_cookie_ends_at_its_time_and_its_page_with_it(site: Site) -> None:
    ada = site.recognise(site.viewer())
    assert ada is not None
    soon = site.cookie(replace(ada, until=time.time() + 1.2))  # until is cut to whole seconds
    with site.socket(SESSION, soon) as page:
        page.recv()
        with pytest.raises(ConnectionClosedError) as ended:
            page.recv(timeout=10)
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (3000, "MARIMO_UNAUTHORIZED")
    assert site.ask("GET", "/", soon).status == 303
    until(lambda: site.app.open == 0)


def test_logging_out_ends_copies_of_the_cookie_and_open_pages(site: Site) -> None:
    ada, bob = site.viewer(), site.viewer()
    assert b"You are viewer" in site.ask("GET", "/logout", ada).body
    with site.socket(SESSION, ada) as page, site.socket("session_id=s_bob123", bob) as other:
        page.recv(), other.recv()
        reply = site.ask("POST", "/logout", ada, b"")
        assert (reply.status, reply.headers["Location"]) == (303, "/login")
        assert "Max-Age=0" in reply.headers["Set-Cookie"]
        with pytest.raises(ConnectionClosedError):
            page.recv(timeout=10)
        with pytest.raises(TimeoutError):
            other.recv(timeout=0.5)
    assert [site.ask("GET", "/", who).status for who in (ada, bob)] == [303, 200]


def test_two_processes_of_one_state_folder_share_logins_and_logouts(
    site: Site, tmp_path: Path
) -> None:
    with wall(tmp_path, Auth(token=TOKEN)) as other:
        cookie = site.viewer()
        assert other.ask("GET", "/", cookie).status == 200
        site.ask("POST", "/logout", cookie, b"")
        assert other.ask("GET", "/", cookie).status == 303


def test_a_new_token_or_another_secret_ends_old_cookies(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = site.viewer()
    with wall(tmp_path, Auth(token=TOKEN)) as again:
        assert again.ask("GET", "/", cookie).status == 200, "a restart ends nobody"
    with wall(tmp_path, Auth(token=TOKEN[::-1])) as new:
        assert new.ask("GET", "/", cookie).status == 303
    monkeypatch.setenv("COSTWHY_SECRET", "s" * 32)
    with wall(tmp_path, Auth(token=TOKEN)) as other:
        assert other.ask("GET", "/", cookie).status == 303


# ---------------------------------------------------------------- users


def test_users_log_in_by_name_and_password(tmp_path: Path) -> None:
    with wall(tmp_path, Auth(users=users_file(tmp_path, "ada", "bob")), watch=0.1) as site:
        assert b'name="name"' in site.ask("GET", "/login").body
        problem = [
            ("ada", "wrong password"),
            ("bob", ""),
            ("eve", PASSWORD),
            ("", PASSWORD),
            ("ada\n", PASSWORD),
            ("# who may look", PASSWORD),
        ]
        assert [site.log_in(secret, name).status for name, secret in problem] == [401] * 6
        reply = site.log_in(PASSWORD, "ada")
        assert reply.status == 303
        assert site.ask("GET", "/", kept_cookie(reply)).status == 200
        assert site.app.scopes[-1]["meta"]["who"] == "ada"
        assert site.ask("GET", "/", {"Authorization": f"Bearer {PASSWORD}"}).status == 303


def test_who_is_taken_out_of_the_file_or_has_a_new_password_is_out_at_once(tmp_path: Path) -> None:
    file = users_file(tmp_path, "ada", "bob", "cyd")
    with wall(tmp_path, Auth(users=file), watch=0.1) as site:
        cookies = {name: kept_cookie(site.log_in(PASSWORD, name)) for name in ("ada", "bob", "cyd")}
        lines = [
            line for line in file.read_text().splitlines() if not line.startswith(("ada:", "bob:"))
        ]
        with site.socket(SESSION, cookies["ada"]) as page:
            page.recv()
            file.write_text("\n".join([*lines, hash_line("bob", "another password")]) + "\n")
            with pytest.raises(ConnectionClosedError):
                page.recv(timeout=10)
        assert [site.ask("GET", "/", cookie).status for cookie in cookies.values()] == [
            303,
            303,
            200,
        ]
        file.write_text("broken")
        assert site.ask("GET", "/", cookies["cyd"]).status == 303, (
            "a file that cannot be read lets nobody in"
        )


def test_an_unknown_name_takes_as_long_as_a_wrong_password(tmp_path: Path) -> None:
    """Both compute one hash of the same cost: the medians of 5, taken in turn, lie within a factor of 2.

    In CPU seconds, for the machine does other things too.
    """
    with wall(tmp_path, Auth(users=users_file(tmp_path, "ada"))) as site:
        pairs = [(_seconds(site, "ada"), _seconds(site, "eve")) for _ in range(5)]
    known, unknown = (median(seconds) for seconds in zip(*pairs, strict=True))
    assert 0.5 < known / unknown < 2


def _seconds(site: Site, name: str) -> float:
    """Of this process: the site runs in it."""
    begin = time.process_time()
    assert site.log_in("wrong password", name).status == 401
    return time.process_time() - begin


def test_a_hash_line_is_salted_and_belongs_to_one_password() -> None:
    one, two = hash_line("ada", PASSWORD), hash_line("ada", PASSWORD)
    assert one != two
    assert one.startswith("ada:scrypt:32768:8:3:")
    assert PASSWORD not in one
    assert is_password(one, PASSWORD)
    assert not is_password(one, PASSWORD + " ")
    for name, password in (("a:b", PASSWORD), ("", PASSWORD), ("a b", PASSWORD), ("ada", "short")):
        with pytest.raises(UsageError):
            hash_line(name, password)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nobody\n",
        "ada:plain:secret\n",
        "ada:scrypt:1024:8:1:AAAAAAAAAAAAAAAAAAAAAA==:AAAA\n",
        "ada:scrypt:1073741824:8:1:" + "A" * 22 + "==:" + "A" * 43 + "=\n",
        "twice",
    ],
)
def test_a_users_file_with_a_wrong_line_is_refused_by_its_number(tmp_path: Path, text: str) -> None:
    file = tmp_path / "users.txt"
    file.write_text(
        hash_line("ada", PASSWORD) + "\n" + hash_line("ada", PASSWORD) + "\n"
        if text == "twice"
        else text
    )
    with pytest.raises(ConfigError) as error:
        read_users(file)
    assert (
        "line 2" if text == "twice" else "line 1" if text.startswith("ada") else "users.txt"
    ) in str(error.value)
    assert "secret" not in str(error.value)


def test_attempts_are_counted_by_name_over_all_addresses_too() -> None:
    attempts = RateLimit(3, 0.2)
    assert [attempts.take("ada") == 0 for _ in range(5)] == [True, True, True, False, False]
    assert attempts.take("bob") == 0
    attempts.reset("ada")
    assert attempts.take("ada") == 0
    until(
        lambda: (
            attempts.take("ada") == 0 and attempts.take("ada") == 0 and attempts.take("ada") == 0
        ),
        5,
    )


def test_one_guesser_has_one_network() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("10.0.0.1") != network_of("10.0.0.2")


# ---------------------------------------------------------------- a proxy that has logged the viewer in


def test_a_listed_proxy_says_who_it_is(tmp_path: Path) -> None:
    with wall(tmp_path, PROXY) as site:
        sent = {
            "X-Forwarded-User": "ada@example.com",
            "X-Forwarded-For": "6.6.6.6, 10.1.2.3",
            "X-Forwarded-Proto": "https",
        }
        assert site.ask("GET", "/", sent).status == 200
        assert site.opening(SESSION, sent) == 101
        assert {scope["meta"]["who"] for scope in site.app.scopes} == {"ada@example.com"}
        assert site.app.scopes[0]["client"][0] == "10.1.2.3", (
            "what the proxy saw, not what its client claimed"
        )
        assert site.ask("GET", "/").status == 401
        assert site.ask("GET", "/login").status == 401
        assert site.log_in(TOKEN).status == 404


@pytest.mark.parametrize(
    "name", ["X-Forwarded-User", "x-forwarded-user", "X_Forwarded_User", "X-FORWARDED-USER"]
)
def test_the_proxys_header_from_another_address_is_nobodys_word(tmp_path: Path, name: str) -> None:
    with wall(tmp_path, replace(PROXY, proxies=("10.9.8.7", "192.168.0.0/16"))) as site:
        for extra in (
            {},
            {"X-Forwarded-For": "10.9.8.7"},
            {"Forwarded": "for=10.9.8.7"},
            {"X-Real-IP": "10.9.8.7"},
            {"X-Forwarded-Proto": "https"},
        ):
            assert site.ask("GET", "/", {name: "ada", **extra}).status == 401
            assert site.opening(SESSION, {name: "ada", **extra}) == 403
        assert site.app.reached == []
        assert '"127.0.0.1"' in site.log.read_text()
        assert "10.9.8.7" not in site.log.read_text()


def test_a_doubled_empty_or_unprintable_name_is_nobodys(tmp_path: Path) -> None:
    with wall(tmp_path, PROXY) as site:
        for name in (" ", "a" * 201, "\u202eada".encode().decode("latin-1"), "\xff"):
            assert site.ask("GET", "/", {"X-Forwarded-User": name}).status == 401
        assert (
            site.ask("GET", "/", {"X-Forwarded-User": "ada", "x-forwarded-user": "root"}).status
            == 401
        )
        assert site.app.reached == []


def test_of_a_token_the_header_is_no_part(site: Site) -> None:
    assert site.ask("GET", "/", {"X-Forwarded-User": "ada"}).status == 303


# ---------------------------------------------------------------- nobody is asked


def test_without_a_way_to_log_in_everybody_on_this_machine_is_a_viewer(tmp_path: Path) -> None:
    with wall(tmp_path, Auth()) as site:
        assert site.ask("GET", "/").status == 200
        assert site.ask("GET", "/login").headers["Location"] == "/"
        assert site.ask("GET", "/", {"Host": "rebound.example"}).status == 403, (
            "no other name is this machine"
        )
        assert site.opening(SESSION, {}, origin="https://evil.example") == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "costs.example.com", ""])
def test_a_public_address_is_refused_where_nobody_is_asked(host: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nobody would be asked") as error:
        check_address(host, Auth())
    assert "To do: give one of them, or serve on 127.0.0.1" in str(error.value)
    with pytest.raises(UsageError):
        serve(str(tmp_path), tmp_path / "x.py", ServeOptions(host=host))
    check_address(host, Auth(token=TOKEN))


def test_this_machines_own_addresses_need_no_login() -> None:
    for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"):
        check_address(host, Auth())
    with pytest.raises(UsageError, match="public site"):
        read_sites(ServeOptions(sites=("https://costs.example.com",)), 80)


@pytest.mark.parametrize(
    ("auth", "words"),
    [
        (Auth(token=TOKEN, header="X-User", proxies=("10.0.0.1",)), "token and header"),
        (Auth(token="short"), "5 characters"),
        (Auth(header="X-User"), "no proxy is listed"),
        (Auth(header="X User", proxies=("10.0.0.1",)), "not a valid header name"),
        (Auth(header="X-User", proxies=("0.0.0.0/0",)), "every address"),
        (Auth(header="X-User", proxies=("proxy.example.com",)), "listed by its address"),
        (Auth(token=TOKEN, hours=0), "0 hours"),
        (Auth(users=Path("/nowhere/users.txt")), "/nowhere/users.txt"),
    ],
)
def test_an_unclear_record_is_refused_in_plain_words(auth: Auth, words: str) -> None:
    with pytest.raises((UsageError, ConfigError)) as error:
        check_auth(auth)
    assert words in str(error.value)
    assert TOKEN not in str(error.value) + repr(auth)


# ---------------------------------------------------------------- sites and the secret key


def test_sites_are_written_as_browsers_write_them() -> None:
    options = ServeOptions(
        Auth(token=TOKEN),
        "0.0.0.0",
        sites=("HTTPS://Costs.Example.com:443/", "http://[2001:db8::1]:8080"),
    )
    assert read_sites(options, 8080) == {
        "costs.example.com": "https://costs.example.com",
        "[2001:db8::1]:8080": "http://[2001:db8::1]:8080",
    }
    assert read_sites(ServeOptions(), 8080)["localhost:8080"] == "http://localhost:8080"
    for site in (
        "costs.example.com",
        "https://",
        "https://a.example/costs/",
        "ftp://a.example",
        "https://u:p@a.example",
        "https://a.example:port",
    ):
        with pytest.raises(UsageError):
            read_sites(replace(options, sites=(site,)), 8080)
    with pytest.raises(UsageError, match="under which name"):
        read_sites(replace(options, sites=()), 8080)


def test_the_secret_key_is_made_once_and_only_its_owner_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COSTWHY_SECRET", raising=False)
    state = tmp_path / "deep" / "state"
    with ThreadPoolExecutor(8) as crowd:
        keys = set(crowd.map(read_secret, [state] * 8))
    assert len(keys) == 1
    assert [file.name for file in state.iterdir()] == ["secret"]
    assert stat.S_IMODE((state / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    (state / "secret").chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        read_secret(state)
    (state / "secret").chmod(0o600)
    (state / "secret").write_text("short")
    with pytest.raises(InputError, match="too short"):
        read_secret(state)
    monkeypatch.setenv("COSTWHY_SECRET", "x" * 31)
    with pytest.raises(UsageError, match="31 characters"):
        read_secret(state)
    monkeypatch.setenv("COSTWHY_SECRET", "x" * 32)
    assert read_secret(state) == b"x" * 32


def test_the_secret_key_never_lies_in_the_published_folder(tmp_path: Path) -> None:
    notebook = Path(__file__).parent.parent / "small_notebook.py"
    with pytest.raises(UsageError, match="secret key would lie"):
        create_app(str(tmp_path), notebook, ServeOptions(state=tmp_path / "state"), 80)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="published folder is missing"):
        create_app(str(tmp_path / "none"), notebook, ServeOptions(state=tmp_path), 80)


def test_a_visitor_of_a_proxy_cannot_be_made_by_a_cookie(tmp_path: Path) -> None:
    """A cookie of the time when a token was asked for says nothing once a proxy is asked."""
    with wall(tmp_path, Auth(token=TOKEN)) as site:
        cookie = site.viewer()
    with wall(tmp_path, PROXY) as site:
        assert site.ask("GET", "/", cookie).status == 401
        assert (
            site.ask(
                "GET", "/", site.cookie(Visitor("ada", None, "k" * 16, time.time() + 60, proof="x"))
            ).status
            == 401
        )
