"""Backstage entities become rows of the catalogue."""

import json
from pathlib import Path

import pytest
import yaml
from places import COMPANIES, DATA

from costwhy.errors import SourceError
from costwhy.sources.inventory import find_files
from costwhy.sources.owners import backstage
from costwhy.tables import CATALOG


def entity(kind: str, name: str = "cart", spec: str = "{}", metadata: str = "") -> str:
    return f"---\napiVersion: backstage.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n{metadata}spec: {spec}\n"


def put(folder: Path, *texts: str, name: str = "catalog-info.yaml") -> Path:
    file = folder / name
    file.write_text("".join(texts))
    return file


def one(folder: Path, *args: str, **more: str) -> dict:
    rows = backstage.read([put(folder, entity(*args, **more))]).rows
    assert rows.height == 1
    return rows.row(0, named=True)


def test_a_component_says_who_owns_it_and_what_it_depends_on(tmp_path):
    notes = "  annotations:\n    backstage.io/source-location: url:https://git.acme.example/platform/services/cart/\n"
    spec = "{owner: 'group:default/data-products', lifecycle: production, dependsOn: ['component:default/ledger', 'resource:db']}"
    row = one(tmp_path, "Component", spec=spec, metadata=notes)
    assert row == {
        "source": "backstage",
        "kind": "component",
        "name": "cart",
        "owner": "data-products",
        "title": None,
        "email": None,
        "contact": None,
        "depends_on": ["ledger", "db"],
        "member_of": [],
        "path": "/services/cart/",
        "position": None,
        "lifecycle": "production",
        "section": None,
    }
    assert list(row) == [name for name in CATALOG.schema if name != "delivery"]


@pytest.mark.parametrize(
    ("owner", "team"),
    [
        ("team-a", "team-a"),
        ("default/team-a", "team-a"),
        ("user:guest", "guest"),
        ("~", None),
        ("[x]", None),
    ],
)
def test_owner_references_are_plain_names(tmp_path, owner, team):
    assert one(tmp_path, "System", spec=f"{{owner: {owner!s}}}")["owner"] == team


@pytest.mark.parametrize(
    ("notes", "mail", "contact"),
    [
        ("slack.com/channel: '#supply'", "s@a.example", "#supply"),
        ("acme.example/slack-channel: '#supply'", "s@a.example", "#supply"),
        ("pagerduty.com/service-id: PABC12", "s@a.example", "s@a.example"),
        ("pagerduty.com/service-id: PABC12", "", "PABC12"),
        (
            "pagerduty.com/integration-key: deadbeef",
            "",
            "PagerDuty",
        ),  # the key itself can open incidents
        ("other: x", "", None),
    ],
)
def test_the_contact_is_slack_then_mail_then_pagerduty(tmp_path, notes, mail, contact):
    spec = f"{{profile: {{displayName: Supply, email: '{mail}'}}}}"
    row = one(tmp_path, "Group", spec=spec, metadata=f"  annotations:\n    {notes}\n")
    assert (row["contact"], row["title"]) == (contact, "Supply")


def test_users_are_in_the_groups_that_either_side_names(tmp_path):
    users = entity(
        "User", "dana", "{memberOf: ['group:default/a'], profile: {email: d@a.example}}"
    ) + entity("User", "eli")
    groups = entity("Group", "a", "{members: [dana]}") + entity(
        "Group", "b", "{members: ['user:default/dana']}"
    )
    rows = backstage.read([put(tmp_path, groups, users)]).rows
    assert rows.filter(kind="user").select("name", "member_of").rows() == [
        ("dana", ["a", "b"]),
        ("eli", []),
    ]


def test_every_kind_has_its_place_and_locations_none(tmp_path):
    kinds = [
        "Component",
        "API",
        "System",
        "Domain",
        "Resource",
        "Group",
        "User",
        "Location",
        "Template",
    ]
    reading = backstage.read([put(tmp_path, *(entity(kind) for kind in kinds))])
    assert reading.rows["kind"].to_list() == [
        "component",
        "api",
        "system",
        "domain",
        "resource",
        "group",
        "user",
    ]
    assert reading.set_aside.height == reading.seen.height == 0


def test_what_is_no_usable_entity_is_set_aside_and_the_others_are_read(tmp_path):
    texts = [
        entity("Component", "good"),
        entity("Component", "invalid component"),
        entity("Component", "x" * 64),
        entity("Component", "'-x'"),
        entity("Component", "123"),
        entity("Widget"),
        "---\nkind: Deployment\napiVersion: apps/v1\n",
        "---\n- just\n- a list\n",
        "---\nbroken: [\n",
        "---\n\n",
        entity("Component", "good", "{owner: other}"),
        entity("Component", "good"),
        entity("Component", "also-good"),
    ]
    reading = backstage.read([put(tmp_path, *texts)])
    assert reading.rows["name"].to_list() == ["good", "also-good"]
    said = reading.set_aside["reason"].to_list()
    assert reading.set_aside["records"].sum() == len(said) == 9
    assert sum("breaks Backstage's rule" in reason for reason in said) == 4
    assert "the kind 'widget' is not used" in said
    assert "component 'good' is defined twice: the first one counts" in said


YAML = """\
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: cart
spec:
  owner: team-ü
---
apiVersion: backstage.io/v1alpha1
kind: Component
metadata:
  name: ledger
spec:
  owner: ledger-team
"""
ENTITIES = [yaml.safe_load(text) for text in YAML.split("---")]
SPELLED = {
    "YAML": YAML,
    "JSON list": json.dumps(ENTITIES, ensure_ascii=False),
    "items": json.dumps({"items": ENTITIES, "totalItems": 2}, indent="\t", ensure_ascii=False),
    "JSON Lines": "\n".join(json.dumps(one, ensure_ascii=False) for one in ENTITIES),
    "one after another": "".join(json.dumps(one, indent=2) for one in ENTITIES),
}


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize(
    ("encoding", "end"),
    [
        ("utf-8", "\n"),
        ("utf-8-sig", "\n"),
        ("utf-16", "\n"),
        ("utf-16-be", "\n"),
        ("latin-1", "\n"),
        ("utf-8", "\r\n"),
        ("utf-8", "\r"),
    ],
)
def test_entities_are_read_as_yaml_and_as_json_in_any_encoding(tmp_path, spelled, encoding, end):
    file = tmp_path / "catalog-info.yaml"
    file.write_bytes(SPELLED[spelled].replace("\n", end).encode(encoding))
    reading = backstage.read([file])
    assert reading.set_aside.is_empty()
    assert reading.rows.select("name", "owner").rows() == [
        ("cart", "team-ü"),
        ("ledger", "ledger-team"),
    ]


def test_a_tab_is_one_message_and_the_other_documents_are_read(tmp_path):
    reading = backstage.read([put(tmp_path, YAML.replace("  name: ledger", "\tname: ledger"))])
    assert reading.rows["name"].to_list() == ["cart"]
    assert reading.set_aside.select("place", "reason", "records").rows() == [
        ("line 7", "a tab indents line 5 of the document: YAML takes spaces", 1)
    ]


def test_a_billion_laughs_are_refused_before_anything_is_built(tmp_path):
    lines = ["---", "l0: &l0 lol"] + [
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 11)
    ]
    reading = backstage.read([put(tmp_path, "\n".join(lines) + "\n", entity("Component"))])
    assert reading.rows["name"].to_list() == ["cart"]
    assert "aliases followed" in reading.set_aside["reason"][0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("---\nx: !!python/object/apply:os.system ['touch /tmp/owned']\n", "is not allowed"),
        ("---\nx: !custom y\n", "is not allowed"),
        ("---\nx: " + "[" * 200 + "]" * 200 + "\n", "levels"),
        ("---\nx: " + "[" * 200_000 + "\n", "levels"),
        ("---\nx: '" + "y" * 5_000_000 + "'\n", "larger than 1024 kB"),
        ("---\nx: [" + "1," * 30_000 + "]\n", "nodes"),
        ("---\nx: " + "9" * 10_000 + "\n", "limit"),
        ("---\nx: a\x00b\n", "no YAML"),
        ("---\n{? [a]: b}\n", "no YAML"),
        ("---\n&a [*a]\n", "no Backstage entity"),
    ],
)
def test_hostile_yaml_is_set_aside(tmp_path, text, why):
    reading = backstage.read([put(tmp_path, text, entity("Component"))])
    assert reading.rows["name"].to_list() == ["cart"]
    assert why in reading.set_aside["reason"][0]


def test_harmless_aliases_are_followed_and_markup_stays_text(tmp_path):
    text = entity("Component", spec="{x: &t '<script>alert(1)</script>', owner: *t}")
    assert backstage.read([put(tmp_path, text)]).rows["owner"].to_list() == ["script>"]
    title = one(tmp_path, "Component", metadata='  title: "<b>x</b>\\e[31m"\n')["title"]
    assert title == "<b>x</b> [31m"


def test_catalogues_are_found_in_folders(tmp_path):
    (tmp_path / "services/cart").mkdir(parents=True)
    file = put(tmp_path / "services/cart", entity("Component"))
    assert find_files("services/", tmp_path, backstage.FORMAT.files) == (file,)
    with pytest.raises(SourceError):
        find_files("catalog/", tmp_path, backstage.FORMAT.files)


def test_backstages_own_examples_are_read():
    reading = backstage.read(find_files(".", DATA / "backstage", backstage.FORMAT.files))
    owners = dict(reading.rows.filter(kind="component").select("name", "owner").iter_rows())
    assert owners == {"artist-lookup": "team-a", "different-namespace": "team-a"}
    assert reading.rows.filter(kind="user")["member_of"].to_list() == [["team-a"]] * 3
    assert reading.set_aside["file"].str.ends_with("invalid-component.yaml").to_list() == [True]


@pytest.mark.parametrize("company", COMPANIES)
def test_every_entity_of_the_sample_companies_is_read(company):
    reading = backstage.read(find_files("catalog/", company, backstage.FORMAT.files))
    assert reading.set_aside.height == 0
    groups = reading.rows.filter(kind="group")
    assert groups.height > 0
    assert groups["contact"].null_count() == 0
