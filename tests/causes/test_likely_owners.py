"""Who probably owns what has no tags, and tags that were lost together: small tables."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from drawn_changes import change, known, table

from costwhy import tables
from costwhy.causes.lost_tags import find_lost_tags
from costwhy.causes.owners import ORDER, Directory
from costwhy.causes.unowned import ownership_gap, traces_of
from costwhy.model.observed import LostTag, Observed

DAY = datetime(2026, 9, 7, tzinfo=UTC)
MACHINE = "arn:aws:ec2:eu-west-1:1:instance/i-0abc1234"
DANA = {"kind": "user", "name": "dana", "member_of": ["by-creator"]}


def line(key: int, **columns: Any) -> dict[str, Any]:
    return {
        "series_id": key,
        "SubAccountId": "1",
        "x_UsageType": "BoxUsage",
        "ChargeCategory": "Usage",
        "ServiceName": "EC2",
        **columns,
    }


def day(key: int, resource: str | None, cost: float = 1.0, days: int = 0) -> dict[str, Any]:
    return {
        "day": DAY + timedelta(days=days),
        "series_id": key,
        "ResourceId": resource,
        "EffectiveCost": cost,
    }


# ---------------------------------------------------------------- one resource

SOURCES = {
    "catalog": ("by-catalog", "backstage"),
    "tags": ("by-former-tags", "tags before they were lost"),
    "creator": ("by-creator", "created by dana"),
    "name": ("by-name", "named like web"),
    "kind": ("by-kind", "most BoxUsage of account 1 (50%)"),
    "account": ("by-account", "most frequent in account 1 (50%)"),
}


def likely(
    *words: str, order: tuple[str, ...] = ORDER, resource: str | None = f"{MACHINE}/prod-web-0001"
) -> tuple[str | None, str | None]:
    """The guess for a machine where only these sources know a team."""
    tail = (resource or "").split("/")[-1]
    catalog = (
        [{"kind": "resource", "name": tail, "owner": "by-catalog"}] if "catalog" in words else []
    )
    lines = [
        line(0),
        line(1, team="by-former-tags", SubAccountId="9"),
        line(2, team="by-kind"),
        line(3, team="x"),
    ]
    lines += [
        line(4, team="by-account", x_UsageType="other"),
        line(5, team="y", SubAccountId="8", service="web" if "name" in words else None),
    ]
    days = [day(0, resource)]
    days += [day(1, resource)] if "tags" in words else []
    days += [day(2, "i-2"), day(3, "i-3")] if "kind" in words else []
    if "account" not in words:
        lines = [
            one
            for one in lines
            if one["series_id"] not in {2, 3, 4} or ("kind" in words and one["series_id"] != 4)
        ]
    else:
        lines = [one for one in lines if one["series_id"] not in {2, 3}] + [
            line(6, team="zz", x_UsageType="more")
        ]
    if "name" in words:
        catalog += [{"kind": "component", "name": "web", "owner": "by-name"}]
    made = (
        [change(kind="create", service=None, resource=resource, actor="dana")]
        if "creator" in words
        else []
    )
    frames = {
        "series": table("series", *lines),
        "daily": table("daily", *days),
        "changes": table("changes", *made),
    }
    directory = Directory(table("catalog", DANA, *catalog), frames["series"], order)
    return traces_of(frames, directory).likely_team(resource, "1", "BoxUsage")


@pytest.mark.parametrize("word", SOURCES)
def test_each_trace_names_a_team_and_says_what_it_rests_on(word: str):
    assert likely(word) == SOURCES[word]


def test_the_traces_are_asked_in_the_order_of_the_sources_and_the_name_before_the_account():
    assert likely("catalog", "tags", "creator", "name", "kind") == SOURCES["catalog"]
    assert likely("tags", "creator", "name", "kind") == SOURCES["tags"]
    assert likely("creator", "name", "kind") == SOURCES["creator"]
    assert likely("name", "kind") == SOURCES["name"]
    assert likely() == (None, None)


def test_another_order_holds_for_resources_too():
    assert likely("catalog", "tags", order=("tags", "catalog")) == SOURCES["tags"]
    assert (
        likely("name", "kind", order=("account", "catalog")) == SOURCES["name"]
    )  # before the account, wherever
    assert likely("kind", order=("catalog",)) == (None, None)
    assert likely("name", order=("catalog",)) == SOURCES["name"]


def test_what_has_no_resource_is_asked_of_its_account_alone():
    assert likely("name", "creator", "kind", resource=None) == SOURCES["kind"]


def test_a_tag_that_was_there_last_is_the_former_one():
    lines = [line(0), line(1, team="first"), line(2, team="last")]
    days = [day(2, MACHINE, days=1), day(1, MACHINE), day(0, MACHINE, days=2)]
    frames = {
        "series": table("series", *lines),
        "daily": table("daily", *days),
        "changes": table("changes"),
    }
    traces = traces_of(frames, Directory(table("catalog"), frames["series"]))
    assert traces.likely_team(MACHINE, None, None) == ("last", "tags before they were lost")


# ---------------------------------------------------------------- the sum


def observed(
    hours: int, meters: list[dict[str, Any]] | None = None, cost: Any = None, **more: Any
) -> Observed:
    """A company without signals, all of whose hours are billed."""
    rows = table("series", *(meters or [])).select(tables.METER)
    cost = np.zeros((rows.height, hours)) if cost is None else np.asarray(cost, dtype=float)
    calls = np.zeros((0, hours))
    axis = tuple(DAY + timedelta(hours=h) for h in range(hours))
    return Observed(
        axis, hours, (), (), calls, calls, {}, rows, cost, cost, 0 * cost, 0 * cost, **more
    )


def gap(
    hours: int,
    lines: list[dict[str, Any]],
    hourly: list[tuple[int, int, float]],
    days: list[dict[str, Any]],
) -> tuple[float, float, pl.DataFrame]:
    """hourly: line, hour, dollars."""
    frames = {
        "series": table("series", *lines),
        "hourly": table(
            "hourly",
            *(
                {"series_id": k, "hour": DAY + timedelta(hours=h), "EffectiveCost": c}
                for k, h, c in hourly
            ),
        ),
        "daily": table("daily", *days),
        "changes": table("changes"),
    }
    return ownership_gap(observed(hours), frames, Directory(table("catalog"), frames["series"]))


def test_the_gap_is_what_has_neither_service_nor_team_and_its_share_of_all_usage():
    """nobody $3 + $1, a team $2, a service $5; tax is no usage, and hour 24 is not billed for all"""
    lines = [
        line(0),
        line(1, team="a"),
        line(2, service="web"),
        line(3, ChargeCategory="Tax"),
        line(4, ChargeCategory=None),
    ]
    cost, share, items = gap(
        24,
        lines,
        [(0, 1, 3.0), (1, 1, 2.0), (2, 1, 5.0), (3, 1, 90.0), (4, 2, 1.0), (0, 24, 7.0)],
        [day(0, "i-1", 3.0), day(4, "i-2", 1.0)],
    )
    assert (cost, share) == (4.0, pytest.approx(4 / 11))
    assert items.select("where", "cost").rows() == [
        ('{"ResourceId": "i-1"}', 3.0),
        ('{"ResourceId": "i-2"}', 1.0),
    ]


def test_only_the_last_thirty_billed_days_count_and_a_days_resources_share_its_hours():
    """31 days and 6 h: the window begins at hour 30; i-1 has 3/4 of each day's line, i-2 has 1/4"""
    hours = 31 * 24 + 6
    hourly = [(0, h, 1.0) for h in range(48)]
    days = [
        day(0, "i-1", 18.0),
        day(0, "i-2", 6.0),
        day(0, "i-1", 18.0, days=1),
        day(0, "i-2", 6.0, days=1),
    ]
    cost, _, items = gap(hours, [line(0)], hourly, days)
    assert cost == 18.0  # hours 30 to 47
    assert items.select("where", "cost").rows() == [
        ('{"ResourceId": "i-1"}', 13.5),
        ('{"ResourceId": "i-2"}', 4.5),
    ]


def test_what_names_no_resource_is_an_item_by_what_it_is_and_the_largest_come_first():
    lines = [line(0), line(1, x_UsageType="DNS"), line(2, x_UsageType="DNS", SubAccountId="2")]
    days = [day(0, None, 1.0), day(1, None, 2.0), day(2, None, 4.0), day(2, "i-1", 0.004)]
    _, _, items = gap(24, lines, [(0, 1, 1.0), (1, 1, 2.0), (2, 1, 4.004)], days)
    assert items.select("where", "cost").rows() == [
        ('{"ServiceName": "EC2", "x_UsageType": "DNS", "SubAccountId": "2"}', 4.0),
        ('{"ServiceName": "EC2", "x_UsageType": "DNS", "SubAccountId": "1"}', 2.0),
        ('{"ServiceName": "EC2", "x_UsageType": "BoxUsage", "SubAccountId": "1"}', 1.0),
    ]


def test_fifty_items_are_listed_and_items_of_the_same_cents_stand_by_name():
    days = [day(0, f"i-{k:02}", 1.0) for k in reversed(range(60))]
    cost, _, items = gap(24, [line(0)], [(0, 1, 60.0)], days)
    assert cost == 60.0
    assert items["where"].to_list() == [f'{{"ResourceId": "i-{k:02}"}}' for k in range(50)]


def test_a_company_without_a_bill_has_no_gap():
    cost, share, items = gap(24, [line(0)], [], [])
    assert (cost, share, items.height) == (0.0, 0.0, 0)


# ---------------------------------------------------------------- lost tags


def lost(
    *tags: tuple[int, int],
    changes: list[dict[str, Any]] | None = None,
    teams: tuple[str, ...] = ("a", "a", "b"),
) -> list[dict[str, Any]]:
    """Lost tags (meter, hour) of three meters of web, each a dollar an hour, over four days."""
    meters = [
        line(k, service="web", team=team, x_UsageType=f"u{k}") for k, team in enumerate(teams)
    ]
    bare = [line(10 + k, x_UsageType=f"u{k}") for k in range(3)]
    days = [day(k, f"machine-{k}", days=0) for k in range(3)] + [
        day(10 + k, f"machine-{k}", days=3) for k in range(2)
    ]
    frames = {"series": table("series", *meters, *bare), "daily": table("daily", *days)}
    seen = observed(
        96,
        meters,
        np.ones((3, 96)),
        lost_tags=tuple(LostTag(meter, hour, 0) for meter, hour in tags),
    )
    return find_lost_tags(
        seen, frames, known(*(changes or []), services=frozenset({"web"}))
    ).to_dicts()


def test_meters_of_one_owner_that_lose_their_tags_within_a_day_lose_them_together():
    [row] = lost((1, 54), (0, 30))
    assert row["when"] == DAY + timedelta(hours=54)  # the last to show it
    assert (row["service"], row["team"], row["resources"]) == (
        "web",
        "a",
        ["machine-0", "machine-1"],
    )
    assert row["cost_since"] == (96 - 30) + (96 - 54)
    assert row["age_days"] == pytest.approx((96 - 54) / 24)


def test_a_day_and_an_hour_apart_or_of_another_owner_they_are_lost_apart():
    assert [r["when"] for r in lost((0, 30), (1, 55))] == [
        DAY + timedelta(hours=h) for h in (30, 55)
    ]
    assert [(r["team"], r["cost_since"]) for r in lost((0, 40), (2, 30))] == [
        ("b", 66.0),
        ("a", 56.0),
    ]  # most dollars first


def test_only_a_resource_that_is_still_billed_without_tags_lost_them():
    [row] = lost((2, 72))
    assert row["resources"] == []  # machine-2 is gone since


def untagging(*changes: tuple[str, float, dict[str, Any]]) -> str | None:
    """The change that removed the tags of machine-0 in hour 72; changes: name, hours before."""
    rows = [
        change(
            name,
            **(
                {"service": None, "event": "tagging.amazonaws.com:UntagResources", "kind": "tag"}
                | columns
            ),
        )
        | {"time": DAY + timedelta(hours=72 - before)}
        for name, before, columns in changes
    ]
    [row] = lost((0, 72), changes=rows)
    return row["change_id"]


NAMES, OF_SERVICE = {"resource": "machine-0"}, {"service": "web"}
DEPLOY = {"kind": "deploy", "event": "dev.cdevents.service.deployed.0.2.0"}


@pytest.mark.parametrize(
    ("changes", "best"),
    [
        ([("names", 1.0, NAMES)], "names"),
        ([("service", 1.0, OF_SERVICE)], "service"),
        ([("elsewhere", 1.0, {})], None),
        ([("deploy", 1.0, OF_SERVICE | DEPLOY)], None),  # any deployment would do
        ([("deploy", 1.0, NAMES | DEPLOY)], "deploy"),
        ([("names", 5.0, NAMES), ("service", 1.0, OF_SERVICE)], "names"),
        (
            [("service", 5.0, OF_SERVICE), ("deploy", 1.0, NAMES | DEPLOY)],
            "service",
        ),  # of tags before others
        ([("first", 5.0, NAMES), ("last", 1.0, NAMES)], "last"),
        ([("early", 24.1, NAMES)], None),
        ([("late", -0.9, NAMES)], "late"),  # in the hour that shows it
        ([("later", -1.1, NAMES)], None),
    ],
)
def test_the_change_that_removed_them_touches_tags_or_names_the_resource(
    changes: list[tuple[str, float, dict[str, Any]]], best: str | None
):
    assert untagging(*changes) == best


def test_a_company_that_lost_no_tags_has_no_rows():
    assert lost() == []
