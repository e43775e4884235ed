"""CODEOWNERS: the last pattern that matches wins."""

from pathlib import Path

import pytest
from places import COMPANIES

from costwhy.errors import SourceError
from costwhy.sources.inventory import find_files
from costwhy.sources.owners import codeowners
from costwhy.sources.owners.codeowners import owner_of, repository_path
from costwhy.tables import CATALOG


def put(folder: Path, text: str) -> Path:
    file = folder / "CODEOWNERS"
    file.write_text(text)
    return file


def rows(folder: Path, text: str):
    return codeowners.read([put(folder, text)]).rows


def test_patterns_owners_and_their_order_are_read(tmp_path):
    text = "# comment\n\n*  @lumen/supply @lumen/other # why\n/docs/ docs@acme.example\n*.js @jane\n/apps/ plain-team\n/free/\nmy\\ file @x\n"
    frame = rows(tmp_path, text)
    assert frame.columns == [name for name in CATALOG.schema if name != "delivery"]
    assert frame.select("kind", "name", "owner").rows() == [
        ("path", "*", "supply"),
        ("path", "/docs/", "docs@acme.example"),
        ("path", "*.js", "jane"),
        ("path", "/apps/", "plain-team"),
        ("path", "/free/", None),
        ("path", "my\\ file", "x"),
    ]
    assert frame["position"].is_sorted()


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/services/inventory/", "supply"),
        ("/services/inventory/a/b.py", "supply"),
        ("services/inventory/a.py", "supply"),
        ("/services/inventory-api/", "everyone"),
        ("/web/app.js", "frontend"),
        ("/docs/intro.md", "writers"),
        ("/docs/build/how.md", "everyone"),  # docs/* does not reach further down
        ("/deep/logs/x/y", "ops"),
        ("/apps/github/x", None),  # explicitly nobody
        ("/apps/x", "octo"),
        ("/other", "everyone"),
        ("/", "everyone"),
    ],
)
def test_the_last_pattern_that_matches_wins(tmp_path, path, owner):
    frame = rows(tmp_path, """\
* @acme/everyone
*.js @acme/frontend
/services/inventory/ @acme/supply
docs/* @acme/writers
**/logs @acme/ops
/apps/ @acme/octo
/apps/github
""")  # fmt: skip
    assert owner_of(path, frame) == owner


def test_without_patterns_nobody_owns_a_path(tmp_path):
    assert owner_of("/x", rows(tmp_path, "# nothing\n")) is None


def test_lines_that_are_no_patterns_are_set_aside(tmp_path):
    text = (
        "!x @a\n[a-z]x @b\n^[Broken\n"
        + "y" * 501
        + " @c\n"
        + "*a" * 13
        + " @d\n<script> @<b>x\x1b[0m\n"
    )
    reading = codeowners.read([put(tmp_path, text)])
    assert reading.rows.select("name", "owner").rows() == [("<script>", "<b>x [0m")]
    assert reading.set_aside["place"].to_list() == [f"line {n}" for n in (1, 2, 3, 4, 5)]


GITLAB = """\
* @default-owner
docs/*.md @writers
/nobody/
[Documentation] @docs-team @more # who writes
docs/
README.md @readers
^[Database][2] @db-team @dba
/services/db/
/services/cache/ @cache-team # inline
!/services/db/tests/
/services/db/tests/deep/ @late
[Web Section] @acme/group/web-team
/services/web/
my\\ file\\#1
[documentation] @again
/handbook/
[No defaults]
/services/lonely/
/services/roles/ @@maintainer
/services/mixed/ @@developer @mixed-team
^[Compliance] @auditors
*
"""


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        ("/services/db/", "db-team"),
        ("/services/cache/", "cache-team"),
        ("/services/web/x/y.py", "web-team"),
        ("/deep/docs/x.txt", "docs-team"),
        ("/deep/README.md", "readers"),
        ("/my file#1", "web-team"),
        ("/handbook/", "again"),  # the same section again has other owners
        ("/services/db/tests/", "default-owner"),  # taken out of its section, not of the others
        ("/services/db/tests/deep/", "default-owner"),  # and not to be taken back
        ("/services/lonely/", "default-owner"),
        ("/services/roles/", "default-owner"),
        ("/services/mixed/", "mixed-team"),
        ("/nobody/", "auditors"),
        ("/other/x", "default-owner"),  # not the optional section
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "crlf", "cr"])
def test_sections_of_gitlab_have_their_own_owners(tmp_path, path, owner, encoding):
    end = {"crlf": "\r\n", "cr": "\r"}.get(encoding, "\n")
    code = encoding if encoding.startswith("utf") else "utf-8"
    (tmp_path / "CODEOWNERS").write_bytes(GITLAB.replace("\n", end).encode(code))
    reading = codeowners.read([tmp_path / "CODEOWNERS"])
    assert reading.set_aside.is_empty()
    assert owner_of(path, reading.rows) == owner


def test_lines_below_a_section_without_owners_are_not_explicitly_nobodys(tmp_path):
    frame = rows(tmp_path, "* @a\n[Docs]\ndocs/\n")
    assert owner_of("/docs/", frame) == "a"
    assert frame.select("name", "owner", "section").rows() == [
        ("*", "a", ""),
        ("docs/", None, "Docs"),
    ]


def test_a_header_that_cannot_be_read_is_set_aside(tmp_path):
    text = "[Docs] @a\ndocs/\n[Broken @b\n[]\n[Two][x] @c\n/x/\n"
    reading = codeowners.read([put(tmp_path, text)])
    assert reading.rows.select("name", "owner").rows() == [("docs/", "a"), ("/x/", "a")]
    assert reading.set_aside["place"].to_list() == ["line 3", "line 4", "line 5"]


def test_names_in_latin_1_are_read(tmp_path):
    (tmp_path / "CODEOWNERS").write_bytes("/straße/ @müller\n".encode("latin-1"))
    assert owner_of("/straße/", codeowners.read([tmp_path / "CODEOWNERS"]).rows) == "müller"


def test_stars_do_not_take_exponential_time(tmp_path):
    frame = rows(tmp_path, "*a" * 12 + "b @a\n")
    assert owner_of("a" * 200, frame) is None


def test_several_files_are_one_order_and_folders_are_searched(tmp_path):
    (tmp_path / ".github").mkdir()
    file = put(tmp_path / ".github", "* @a\n")
    assert find_files(".", tmp_path, codeowners.FORMAT.files) == (file,)
    other = put(tmp_path, "* @b\n")
    assert owner_of("/x", codeowners.read([file, other]).rows) == "b"
    with pytest.raises(SourceError):
        find_files("CODEOWNER", tmp_path, codeowners.FORMAT.files)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://git.acme.example/platform/services/inventory/pulls/7333", "/services/inventory/"),
        ("https://git.acme.example/platform/services/inventory/", "/services/inventory/"),
        ("https://github.com/acme/shop/pull/12", None),
        ("https://github.com/acme/shop/tree/main/services/cart", "/services/cart/"),
        (
            "https://github.com/acme/shop/blob/main/services/cart/catalog-info.yaml",
            "/services/cart/",
        ),
        ("https://gitlab.com/acme/group/shop/-/merge_requests/3", None),
        ("https://gitlab.acme.example/acme/shop/-/tree/main/services/cart", "/services/cart/"),
        ("https://git.acme.example/acme/shop/pulls/3", None),
        ("https://git.acme.example/a/b/../../etc", None),
        ("https://[broken", None),
        ("javascript:alert(1)", None),
        (None, None),
    ],
)
def test_the_path_in_the_repository_is_taken_from_a_link(url, path):
    assert repository_path(url) == path


@pytest.mark.parametrize("company", COMPANIES)
def test_every_line_of_the_sample_companies_is_read(company):
    [file] = company.glob("CODEOWNERS")
    reading = codeowners.read([file])
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    assert reading.rows.height == len(lines) > 0
    assert reading.set_aside.height == 0
