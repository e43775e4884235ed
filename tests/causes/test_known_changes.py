"""Which changes are known, whose they are, what kind they are, and how usual: small tables."""

from datetime import timedelta
from typing import Any

import pytest
from drawn_changes import ONSET, change, known

from costwhy import tables
from costwhy.causes.changes import find_known_changes, records_naming
from costwhy.text import arn_tail, contains_word


def test_they_are_in_the_order_of_time_and_one_id_counts_once():
    made = known(change("b", 1.0), change("a", 2.0), change("b", 1.0))
    assert made.rows["change_id"].to_list() == ["a", "b"]
    assert made.hours[1] - made.hours[0] == pytest.approx(1.0)


def test_what_a_machine_did_by_itself_is_left_out():
    made = known(
        change("robot", automated=True), change("person", automated=False), change("not known")
    )
    assert made.rows["change_id"].to_list() == ["not known", "person"]


def test_a_span_holds_its_first_moment_and_not_its_last():
    made = known(change("first", 2.0), change("last", 1.0))
    near = made.between(ONSET - timedelta(hours=2), ONSET - timedelta(hours=1))
    assert made.rows["change_id"][near].to_list() == ["first"]


def test_a_lake_without_changes_has_none():
    made = find_known_changes(tables.CHANGES.empty(), frozenset({"checkout"}))
    assert (made.rows.height, made.usual.size, made.outside_production.size) == (0, 0, 0)
    assert made.between(ONSET, ONSET) == slice(0, 0)


@pytest.mark.parametrize(
    ("columns", "service"),
    [
        ({"service": "checkout"}, "checkout"),
        (
            {"service": None, "resource": "arn:aws:ecs:eu-west-1:1:service/prod/checkout"},
            "checkout",
        ),
        (
            {"service": None, "resource": "arn:aws:ecs:eu-west-1:1:service/prod/Checkout"},
            "checkout",
        ),
        ({"service": None, "resource": "checkouts-table"}, None),  # part of a longer word
        ({"service": None, "resource": "checkout-api-table"}, "checkout-api"),  # the longest name
        ({"service": None, "after": '{"name":"checkout_x"}'}, "checkout"),
        ({"service": None, "path": "services/checkout/main.py"}, "checkout"),
        (
            {"service": None, "resource": "x/checkout", "path": "services/web/"},
            "checkout",
        ),  # before the path
        ({"service": "web-7f9c", "resource": "x/checkout"}, "web"),  # its own name is asked first
        ({"service": "strange", "resource": "x/checkout"}, "checkout"),
        ({"service": "strange"}, "strange"),  # nothing that is known: as it was recorded
        ({"service": None}, None),
    ],
)
def test_a_change_is_of_the_known_service_that_it_names(
    columns: dict[str, Any], service: str | None
):
    made = known(change(**columns), services=frozenset({"checkout", "checkout-api", "web"}))
    assert made.service.tolist() == [service] == made.rows["service"].to_list()


def test_where_no_service_is_known_each_record_keeps_what_it_says():
    assert known(change(), services=frozenset()).service.tolist() == ["checkout"]


@pytest.mark.parametrize(
    ("kind", "event", "doing", "call"),
    [
        ("deploy", "dev.cdevents.service.deployed.0.2.0", "deploy", "deployed"),
        ("config", "ssm.amazonaws.com:PutParameter", "config", "PutParameter"),
        ("config", "iam.amazonaws.com:PutRolePolicy", "watching", "PutRolePolicy"),
        ("config", "monitoring.amazonaws.com:PutMetricAlarm", "watching", "PutMetricAlarm"),
        ("config", "s3.amazonaws.com:PutBucketLifecycle", "keeping", "PutBucketLifecycle"),
        ("config", "dynamodb.amazonaws.com:UpdateTimeToLive", "keeping", "UpdateTimeToLive"),
        ("config", "lambda.amazonaws.com:UpdateFunctionCode20150331v2", "config", "v"),
        (None, None, "other", ""),
    ],
)
def test_its_kind_is_what_the_call_does(kind: str | None, event: str | None, doing: str, call: str):
    made = known(change(kind=kind, event=event))
    assert (made.doing.tolist(), made.call.tolist()) == ([doing], [call])


def test_what_is_usual_is_counted_by_service_and_call_a_day():
    """two days:   checkout x 3 deployments, 1 parameter;   search x 1 deployment"""
    rows = [change(f"d{k}", 48.0 - 24 * k) for k in range(3)]
    rows += [
        change("p", 1.0, event="ssm.amazonaws.com:PutParameter"),
        change("s", 1.0, service="search"),
    ]
    made = known(*rows)
    usual = dict(zip(made.rows["change_id"], made.usual.tolist(), strict=True))
    assert usual == pytest.approx(
        {"d0": 1.25, "d1": 1.25, "d2": 1.25, "p": 0.25, "s": 0.25}
    )  # (n - 1/2) / 2


def test_of_changes_without_a_service_what_is_usual_is_counted_by_account():
    rows = [change("one", service=None, account="1"), change("two", service=None, account="1")]
    rows += [change("other", service=None, account="2")]
    assert sorted(known(*rows).usual.tolist()) == [0.5, 1.5, 1.5]
    rows = [change("one", account="1"), change("two", account="2")]
    assert known(*rows).usual.tolist() == [1.5, 1.5]  # of one service: in whatever account


@pytest.mark.parametrize(
    ("environment", "outside"),
    [("production", False), ("prod", False), (None, False), ("staging", True), ("dev", True)],
)
def test_production_is_what_is_called_so_or_not_said(environment: str | None, *, outside: bool):
    assert known(change(environment=environment)).outside_production.tolist() == [outside]


def test_records_name_a_resource_in_their_resource_or_their_values():
    rows = known(
        change("a", 4.0, resource="arn:aws:ec2:eu-west-1:1:instance/i-0abc1234"),
        change("b", 3.0, after='{"id":"i-0abc1234"}'),
        change("c", 2.0, resource="i-0ffff999", before="i-0abc1234"),
        change("d", 1.0),
    ).rows
    assert records_naming(rows, ["i-0abc1234", "i-0ab"]).tolist() == [True, True, False, False]
    assert records_naming(rows, ["i-0ab"]).tolist() == [False] * 4  # too short to tell
    assert records_naming(rows, []).tolist() == [False] * 4
    assert records_naming(rows.head(0), ["i-0abc1234"]).tolist() == []


@pytest.mark.parametrize(
    ("text", "tail"),
    [("arn:aws:s3:::bucket", "bucket"), ("a/b:c/d", "d"), ("plain", "plain"), ("", "")],
)
def test_the_tail_of_an_arn_follows_its_last_colon_or_slash(text: str, tail: str):
    assert arn_tail(text) == tail


@pytest.mark.parametrize(
    ("text", "word", "holds"),
    [
        ("prod-web-1", "web", True),
        ("PROD/WEB", "web", True),
        ("web", "Web", True),
        ("webhook", "web", False),
        ("cobweb", "web", False),
        ("web2", "web", False),
        ("web_2", "web", True),
        ("a.c", "a.c", True),
        ("abc", "a.c", False),
    ],
)
def test_a_word_stands_between_other_characters_than_letters_and_digits(
    text: str, word: str, *, holds: bool
):
    assert contains_word(text, word) is holds
