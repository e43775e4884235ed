"""Tags in every shape that exports have: the service and the team are found, or it is said that they are not."""

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SPOOL

from costwhy.config import Mapping
from costwhy.ingest.billing import reduce_file
from costwhy.sources.cost import cur, focus
from costwhy.sources.cost.tag_text import read_tags
from costwhy.sources.cost.tags import find_keys

ROW = {"EffectiveCost": 10.25, "BilledCost": 10.25, "BillingCurrency": "USD", "ChargePeriodStart": "2026-09-01T05:00:00Z", "ChargeCategory": "Usage"}  # fmt: skip
TEXTS = (
    '{"service": "web", "team": "shop"}',
    '"service": "web","team": "shop"',
    "{service=web, note=a, b, team=shop}",
    "{'service': 'web', 'team': 'shop', 'gone': None}",
    '[{"key": "service", "value": "web"}, {"key": "team", "value": "shop"}]',
    '[{"Key": "service", "Value": "web"}, {"Key": "team", "Value": "shop"}]',
    '[{"service": "web"}, {"team": "shop"}]',
    '[["service", "web"], ["team", "shop"]]',
    '["service:web", "team:shop"]',
    '{"service": ["web"], "team": ["shop"]}',
    '{"key_value": [{"key": "service", "value": "web"}, {"key": "team", "value": "shop"}]}',
    json.dumps('{"service": "web", "team": "shop"}'),
    '{\\"service\\": \\"web\\", \\"team\\": \\"shop\\"}',
    '{""service"": ""web"", ""team"": ""shop""}',
    "service:web;team:shop",
    "service=web,team=shop",
    "user:service:web|user:team:shop",
    '{"SERVICE": "web", "Team": "shop"}',
    '{"user:service": "web", "resourceTags/user:team": "shop"}',
    '{"service": "", "app": "web", "team": "null", "owner": "shop"}',
)


def named(
    file: Path, mapping: Mapping | None = None, form: object = focus
) -> list[tuple[object, ...]]:
    """Service, team and budget of each row of `hourly`."""
    cube = reduce_file(file, form.FORMAT.bill, mapping or Mapping(), "USD", SPOOL)
    rows = cube.scan("hourly").collect().join(cube.series, on="series_id")
    return sorted(rows.select("service", "team", "budget_owner").rows(), key=str)


def bill(
    folder: Path, *tags: object, column: str = "Tags", kind: str = "parquet", **more: object
) -> Path:
    frame = pl.DataFrame([{**ROW, **more, column: one} for one in tags], strict=False)
    file = folder / f"bill.{kind}"
    frame.write_parquet(file) if kind == "parquet" else frame.write_csv(file)
    return file


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tags_written_as_text_name_the_service_and_the_team(
    text: str, kind: str, tmp_path: Path
) -> None:
    assert named(bill(tmp_path, text, kind=kind)) == [("web", "shop", None)]


@pytest.mark.parametrize(
    "tags",
    [
        {"service": "web", "team": "shop"},
        [{"key": "service", "value": "web"}, {"key": "team", "value": "shop"}],
        [{"Key": "service", "Value": "web"}, {"Key": "team", "Value": "shop"}],
        [{"name": "service", "value": "web", "inherited": False}, {"name": "team", "value": "shop", "inherited": True}],
        [{"k": "service", "v": "web"}, {"k": "team", "v": "shop"}],
        {"key_value": [{"key": "service", "value": "web"}, {"key": "team", "value": "shop"}]},
        [{"key": "service", "value": {"string_value": "web"}}, {"key": "team", "value": {"string_value": "shop"}}],
    ],
)  # fmt: skip
def test_structs_and_lists_of_pairs_are_tags(tags: object, tmp_path: Path) -> None:
    assert named(bill(tmp_path, tags)) == [("web", "shop", None)]


@pytest.mark.parametrize(
    "sql",
    [
        "MAP {'service': 'web', 'team': 'shop'}",
        "MAP {'service'::BLOB: 'web'::BLOB, 'team'::BLOB: 'shop'::BLOB}",
        "MAP {'service': ['web'], 'team': ['shop', 'other']}",
        "[MAP {'service': 'web'}, MAP {'team': 'shop'}]",
        "[MAP {'key': 'service', 'value': 'web'}, MAP {'key': 'team', 'value': 'shop'}]",
        "[{'key': 'service', 'value': 'web'}, {'key': NULL, 'value': 'x'}, {'key': 'team', 'value': 'shop'}, {'key': 'team', 'value': 'twice'}]",
        "CAST('{\"service\": \"web\", \"team\": \"shop\"}' AS JSON)",
    ],
)  # fmt: skip
def test_nested_columns_of_parquet_are_tags(sql: str, tmp_path: Path) -> None:
    import duckdb

    duckdb.sql(
        "COPY (SELECT 1.0 AS EffectiveCost, 1.0 AS BilledCost, 'USD' AS BillingCurrency, "
        f"TIMESTAMP '2026-09-01' AS ChargePeriodStart, {sql} AS Tags) TO '{tmp_path / 'b.parquet'}'"
    )
    assert named(tmp_path / "b.parquet") == [("web", "shop", None)]


@pytest.mark.parametrize(
    "columns",
    [
        {"resourceTags/user:service": "web", "resourceTags/user:team": "shop", "resourceTags/user:cost-center": "cc1"},
        {"resource_tags_user_service": "web", "resource_tags_user_team": "shop", "resource_tags_user_cost_center": "cc1"},
        {"Tags/service": "web", "Tags/team": "shop", "Tags/cost-center": "cc1"},
        {"tag_service": "web", "tag_team": "shop", "tag_cost_center": "cc1"},
        {"x_tags_service": "web", "x_tags_team": "shop", "x_Tag_CostCenter": "cc1"},
        {"label_service": "web", "Label: team": "shop", "tags.costcenter": "cc1"},
    ],
)  # fmt: skip
def test_a_column_for_each_tag_is_read(columns: dict[str, str], tmp_path: Path) -> None:
    assert named(bill(tmp_path, "", column="Nothing", kind="csv", **columns)) == [
        ("web", "shop", "cc1")
    ]


PEOPLE = Mapping(
    service_tags=("app.kubernetes.io/name",),
    team_tags=("acme:team",),
    budget_tags=("cost-center", "AppID"),
)
AWS = {"bill_billing_period_start_date": "2026-09-01", "line_item_line_item_type": "Usage", "line_item_usage_start_date": "2026-09-01T00:00:00Z",
       "line_item_currency_code": "USD", "line_item_unblended_cost": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    "columns",
    [
        {"resource_tags_user_app_kubernetes_io_name": "web", "resource_tags_user_acme_team": "shop", "resource_tags_user_cost_center": "cc1"},
        {"resource_tags_user_app_kubernetes_io_name": "web", "resource_tags_user_acme_team": "shop", "resource_tags_user_app_i_d": "cc1"},
        {"resourceTags/user:app.kubernetes.io/name": "web", "resourceTags/user:acme:team": "shop", "resourceTags/user:CostCenter": "cc1"},
    ],
)  # fmt: skip
def test_keys_that_parquet_changed_are_found_by_the_names_that_people_wrote(columns: dict[str, str], tmp_path: Path) -> None:  # fmt: skip
    frame = pl.DataFrame([{**AWS, **columns}])
    frame.write_parquet(tmp_path / "cur.parquet")
    assert named(tmp_path / "cur.parquet", PEOPLE, cur) == [("web", "shop", "cc1")]
    frame.write_csv(tmp_path / "cur.csv")
    assert named(tmp_path / "cur.csv", PEOPLE, cur) == [("web", "shop", "cc1")]


@pytest.mark.parametrize(
    "sql",
    [
        "MAP {'user_app_kubernetes_io_name': 'web', 'user_acme_team': 'shop', 'user_cost_center': 'cc1'}",
        "MAP {'user:app.kubernetes.io/name': 'web', 'user:acme:team': 'shop', 'user:CostCenter': 'cc1'}",
        "MAP {'resourceTags/user:app.kubernetes.io/name': 'web', 'accountTag/acme:team': 'shop', 'resourceTags/user:Cost-Center': 'cc1'}",
        "[{'key': 'user_app_kubernetes_io_name', 'value': 'web'}, {'key': 'user_acme_team', 'value': 'shop'}, {'key': 'user_cost_center', 'value': 'cc1'}]",
        """'{"user_app_kubernetes_io_name": "web", "user_acme_team": "shop", "user_cost_center": "cc1"}'""",
        "'{user_app_kubernetes_io_name=web, user_acme_team=shop, user_cost_center=cc1}'",
    ],
)  # fmt: skip
def test_the_map_of_cur_2_has_them_too(sql: str, tmp_path: Path) -> None:
    import duckdb

    columns = ", ".join(f"{value!r} AS {name}" for name, value in AWS.items())
    duckdb.sql(f"COPY (SELECT {columns}, {sql} AS resource_tags) TO '{tmp_path / 'cur.parquet'}'")
    assert named(tmp_path / "cur.parquet", PEOPLE, cur) == [("web", "shop", "cc1")]


def test_the_nearest_spelling_of_a_key_counts_whatever_the_order() -> None:
    keys = ["Service", "user:service", "service", "SERVICE", "ser_vice", "services"]
    assert find_keys("service", keys) == ("service", "user:service", "SERVICE", "Service", "ser_vice")  # fmt: skip
    assert find_keys("service", reversed(keys)) == find_keys("service", keys)
    assert find_keys("AppID", ["app_i_d"]) == ("app_i_d",)
    assert find_keys("aws:eks:namespace", ["aws_eks_namespace", "namespace"]) == ("aws_eks_namespace",)  # fmt: skip
    assert find_keys("name", ["user_name", "app.kubernetes.io/name"]) == ("user_name",)


@pytest.mark.parametrize("word", ["null", "NULL", "None", "\\N", "N/A", "-", "", "  ", "nan"])
def test_words_for_nothing_name_no_team(word: str, tmp_path: Path) -> None:
    tags = [{"service": "web", "team": word}, {"service": "web", "team": "shop"}]
    assert named(bill(tmp_path, *map(json.dumps, tags), kind="csv")) == [("web", "shop", None), ("web", None, None)]  # fmt: skip
    assert named(bill(tmp_path, *tags)) == [("web", "shop", None), ("web", None, None)]


def test_tags_that_cannot_be_read_are_said_with_their_number_and_an_example(tmp_path: Path) -> None:
    file = bill(tmp_path, '{"service": "web"}', "<tags/>", "see the wiki", "NULL", "", kind="csv")
    cube = reduce_file(file, focus.FORMAT.bill, Mapping(), "USD", SPOOL)
    assert (cube.scan("hourly").collect()["rows"].sum(), cube.set_aside.height) == (5, 0)
    [(note, rows, cost)] = cube.odd.rows()
    assert (rows, cost) == (2, 20.5)
    assert note.startswith("Tags could not be read")
    assert "<tags/>" in note


def test_a_share_has_its_own_tags_before_those_of_its_node(tmp_path: Path) -> None:
    file = bill(
        tmp_path,
        '{"service": "node", "team": "platform"}',
        AllocatedTags='{"app": "web"}',
        AllocatedResourceId="pod-1",
    )
    assert named(file) == [("web", "platform", None)]


def test_the_namespace_names_the_service_where_nothing_else_does(tmp_path: Path) -> None:
    labels = ('{"aws:eks:namespace": "shop"}', '{"aws:eks:namespace": "shop", "aws:eks:deployment": "cart"}', '{"k8s-namespace": "shop", "app": "web"}')  # fmt: skip
    file = bill(tmp_path, "{}", *labels, kind="csv")
    assert [row[0] for row in named(file)] == ["cart", "shop", "web", None]
    off = Mapping(kubernetes_tags=())
    assert {row[0] for row in named(file, off)} == {"web", None}


WORDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(WORDS, WORDS, max_size=4))
def test_each_form_of_the_same_tags_is_read_as_the_same(tags: dict[str, str]) -> None:
    from costwhy.sources.cost.tag_text import NOTHING

    kept = {key: value for key, value in tags.items() if value.lower() not in NOTHING}
    text = json.dumps(tags)
    forms = [text, json.dumps(text), str(tags), json.dumps([{"Key": k, "Value": v} for k, v in tags.items()]),
             "{" + ", ".join(f"{k}={v}" for k, v in tags.items()) + "}"]  # fmt: skip
    assert all(read_tags(form) == kept for form in forms)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40) | st.text("{}[]\":,=;\\' ab", max_size=60))
def test_no_text_makes_an_error(text: str) -> None:
    found = read_tags(text)
    assert found is None or all(isinstance(value, str) and value for value in found.values())


def test_hostile_texts_are_unreadable_and_quick() -> None:
    for text in ("[" * 100_000, '{"a":' * 20_000, "{'a': " * 3_000, "a:" + " " * 60_000 + ":", '"' * 9_999):  # fmt: skip
        read_tags(text)
