"""Who runs it, who ran it then, who changed it, who pays; and what nobody owns: promises on companies that fit on a page."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_company import DAYS, FIRST, MemoryLake, SmallCompany, changed, from_hour

from costwhy import tables
from costwhy.case.analysis import analyse
from costwhy.case.investigate import explain, find_spikes, investigate, lost_tags, nobody_owns
from costwhy.case.opened import open_case
from costwhy.case.story import gap_lines, lost_sentence, sentences
from costwhy.causes.owners import ORDER, Directory, owner_then
from costwhy.config import read_workspace
from costwhy.errors import ConfigError
from costwhy.lake.delta import Replacement
from costwhy.lake.lake import SnapshotInfo, open_lake, write
from costwhy.publishing.publish import publish
from costwhy.publishing.verify import verify
from costwhy.show import html

ONSET = 720  # hour 0 of day 31
BEGAN = FIRST + timedelta(hours=ONSET)
TABLE = "arn:aws:dynamodb:eu-west-1:1:table/db-main"


def entity(kind: str, name: str, **more: object) -> dict[str, object]:
    return {
        "delivery": "test",
        "source": "backstage",
        "kind": kind,
        "name": name,
        "depends_on": [],
        "member_of": [],
        **more,
    }


def line(pattern: str, owner: str) -> dict[str, object]:
    return entity("path", pattern, owner=owner, position=1, source="codeowners")


def change(name: str, time: datetime, **more: object) -> dict[str, object]:
    said = {
        "delivery": "test",
        "change_id": name,
        "time": time,
        "source": "cloudtrail",
        "kind": "deploy",
        "environment": "production",
    }
    return {
        **said,
        "account": "1",
        "actor": "dana@acme.example",
        "actor_kind": "person",
        "automated": False,
        "summary": name,
        **more,
    }


def with_records(
    lake: MemoryLake,
    catalog: list[dict[str, Any]] | None = None,
    changes: list[dict[str, Any]] | None = None,
) -> MemoryLake:
    """The lake with these catalogue entities and changes; each line of the bill gets one resource: TABLE on those of db."""
    series = lake.frames["series"]
    names = series.select(
        "series_id",
        ResourceId=pl.when(pl.col("x_UsageType") == "ReadRequestUnits").then(pl.lit(TABLE)),
    )
    daily = lake.frames["daily"].drop("ResourceId").join(names, on="series_id")
    frames = {
        **lake.frames,
        "daily": tables.DAILY.fit(daily),
        "catalog": tables.CATALOG.fit(pl.DataFrame(catalog or [], schema=tables.CATALOG.schema)),
        "changes": tables.CHANGES.fit(pl.DataFrame(changes or [], schema=tables.CHANGES.schema)),
    }
    return replace(lake, frames=frames)


def asked(lake: MemoryLake, **more: Any) -> Directory:
    """The directory of a lake, in another order where one is given."""
    return replace(analyse(lake).directory, **more)


def untagged() -> tuple[SmallCompany, list[dict[str, Any]]]:
    """db's table loses its tags at ONSET; the call that took them came seven minutes into that hour."""
    company = SmallCompany()
    company.lines["db"] = changed(company.lines["db"], tagged_until=ONSET)
    call = change("untag-1", BEGAN + timedelta(minutes=7), kind="tag", event="tagging.amazonaws.com:UntagResources", resource=TABLE,
                  summary="UntagResources db-main")  # fmt: skip
    other = change(
        "tag-2",
        BEGAN - timedelta(hours=2),
        kind="tag",
        event="tagging.amazonaws.com:TagResources",
        resource="elsewhere-main",
    )
    return company, [other, call]


# ---------------------------------------------------------------- one order


def test_the_catalogue_comes_before_tags():
    lake = with_records(
        SmallCompany().lake(),
        [
            entity("component", "db", owner="storage"),
            entity("group", "storage", contact="#storage"),
        ],
    )
    owner = asked(lake).owner("db")
    assert (owner.team, owner.contact, owner.source) == (
        "storage",
        "#storage",
        "backstage",
    )  # the tags say data
    assert (asked(lake).owner("api").team, asked(lake).owner("api").source) == (
        "shop",
        "tags",
    )  # which the catalogue does not know


def test_each_source_answers_where_those_before_it_are_silent():
    company = SmallCompany()
    company.lines["search"] = changed(company.lines["search"], team=None)
    made = change(
        "made-1",
        FIRST + timedelta(days=1),
        kind="create",
        service="search",
        event="ecs.amazonaws.com:CreateService",
    )
    people = [entity("user", "dana", email="dana@acme.example", member_of=["finders"])]
    paths = [line("/services/search/", "code-team")]

    def answer(
        catalog: list[dict[str, Any]], changes: list[dict[str, Any]]
    ) -> tuple[str | None, str | None]:
        owner = asked(with_records(company.lake(), catalog, changes)).owner("search")
        return owner.team, owner.source

    assert answer([*people, *paths], [made]) == ("code-team", "codeowners")
    assert answer(people, [made]) == ("finders", "cloudtrail")
    # six lines in account 1 keep a team: db, disk and report are data's, which is half; web and api are shop's, mobile is app's
    assert answer(people, []) == ("data", "account")


def test_the_most_frequent_team_of_an_account_needs_half_of_its_lines():
    company = SmallCompany()
    company.lines["search"] = changed(company.lines["search"], team=None)
    company.lines["report"] = changed(company.lines["report"], team="night")  # data: 2 of 6 lines
    assert asked(with_records(company.lake())).owner("search").team is None


def test_a_resource_without_tags_is_asked_of_its_creator():
    company = SmallCompany()
    company.lines["db"] = changed(
        company.lines["db"], service=None, team=None, fixed=1e5 * from_hour(0, 1.0)
    )
    made = [
        change(
            "late",
            FIRST + timedelta(days=3),
            kind="create",
            resource=TABLE,
            actor="lee@acme.example",
        ),
        change(
            "made",
            FIRST + timedelta(days=1),
            kind="create",
            resource=TABLE,
            event="dynamodb.amazonaws.com:CreateTable",
        ),
        change(
            "machine",
            FIRST,
            kind="create",
            resource=TABLE,
            actor="lee@acme.example",
            automated=True,
        ),
    ]
    people = [
        entity("user", name, email=f"{name}@acme.example", member_of=[team])
        for name, team in (("dana", "makers"), ("lee", "others"))
    ]
    _, _, items = nobody_owns(with_records(company.lake(), people, made))
    [item] = [r for r in items.to_dicts() if TABLE in r["where"]]
    assert (item["likely_team"], item["source"]) == (
        "makers",
        "created by dana@acme.example",
    )  # the first person, no machine


WORKSPACE = '[workspace]\nname = "acme"\ncurrency = "USD"\n[mapping]\nowners = {order}\n'


def test_the_order_can_be_set_in_costwhy_toml(tmp_path: Path):
    (tmp_path / "costwhy.toml").write_text(WORKSPACE.format(order='["tags", "catalog"]'))
    mapping = read_workspace(tmp_path).mapping
    lake = with_records(
        SmallCompany().lake(),
        [entity("component", "db", owner="storage"), entity("component", "new", owner="storage")],
    )

    config = {"mapping": {"owners": list(mapping.owners)}}
    ordered = analyse(replace(lake, place=f"{lake.place}:ordered", config=config)).directory
    assert ordered.order == ("tags", "catalog")
    assert ordered.owner("db").source == "tags"
    assert ordered.owner("new").source == "backstage"
    assert analyse(lake).directory.order == ORDER  # a lake without configuration


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ('["tags", "gossip"]', "gossip"),
        ('["tags", "tags"]', "twice"),
        ('"tags"', "text in quotes, where a list belongs"),
        ('[["tags"]]', "a list, where text in quotes belongs"),
    ],
)
def test_a_word_that_is_no_source_is_one_clear_error(tmp_path: Path, order: str, said: str):
    (tmp_path / "costwhy.toml").write_text(WORKSPACE.format(order=order))
    with pytest.raises(ConfigError) as error:
        read_workspace(tmp_path)
    assert said in str(error.value)
    assert "mapping" in str(error.value)


def test_a_contact_is_the_teams_then_the_services_then_a_members():
    group = entity("group", "data", contact="#data", email="data@acme.example")
    mail = entity("group", "data", email="data@acme.example")
    service = entity("component", "db", owner="data", contact="PDB1")
    member = entity("user", "kim", email="kim@acme.example", member_of=["data"])
    said = [
        asked(with_records(SmallCompany().lake(), catalog)).owner("db").contact
        for catalog in (
            [group, service, member],
            [mail, service, member],
            [service, member],
            [member],
            [],
        )
    ]
    assert said == ["#data", "data@acme.example", "PDB1", "kim@acme.example", None]


# ---------------------------------------------------------------- then and now


def moved_house() -> SmallCompany:
    """db makes more reads for each call from ONSET on; five days later its tags pass from data to storage."""
    company = SmallCompany()
    company.lines["db"] = changed(company.lines["db"], per_call=2 * from_hour(ONSET, 2.0))
    return company


def retagged(lake: MemoryLake, hour: datetime, team: str) -> MemoryLake:
    """The lake with other team tags on db from an hour on."""
    series, hourly = lake.frames["series"], lake.frames["hourly"]
    mine = series.filter(pl.col("service") == "db")
    twins = mine.with_columns(series_id=pl.col("series_id") ^ 1, team=pl.lit(team))
    later = pl.col("series_id").is_in(mine["series_id"].implode()) & (pl.col("hour") >= hour)
    hourly = hourly.with_columns(
        series_id=pl.when(later).then(pl.col("series_id") ^ 1).otherwise("series_id")
    )
    return replace(
        lake, frames={**lake.frames, "series": pl.concat([series, twins]), "hourly": hourly}
    )


def test_who_owned_it_then_and_who_owns_it_now_are_two_answers():
    handed = BEGAN + timedelta(days=5)
    lake = retagged(moved_house().lake(), handed, "storage")
    directory = analyse(lake).directory
    then, now = directory.owner("db", at=BEGAN), directory.owner("db")
    assert (then.team, then.since, then.until) == (
        "data",
        None,
        handed,
    )  # since before the first bill
    assert (now.team, now.since, now.until) == ("storage", handed, None)
    changed_hands = owner_then(directory, now, BEGAN)
    assert changed_hands is not None
    assert changed_hands.team == "data"
    assert owner_then(directory, now, handed) is None  # the same team: no second row


def test_a_case_tells_who_ran_it_when_it_began():
    lake = moved_house().lake()
    [spike] = find_spikes(lake)["spike_id"].to_list()
    case = investigate(lake, spike)
    assert case.who.get("owner_then") is None
    past = tables.OWNERS.fit(
        pl.DataFrame(
            [
                {
                    "role": "owner_then",
                    "service": "db",
                    "team": "<b>old",
                    "source": "tags",
                    "until": BEGAN,
                }
            ],
            schema_overrides={"until": tables.TIME},
        )
    )
    told = replace(case, owners=pl.concat([case.owners, past]))
    assert told.who.get("owner_then") is not None
    assert [s.text for s in sentences(told) if "when it began it was <b>old" in s.text]
    assert "&lt;b&gt;old" in html.chain(told)
    assert "<b>old" not in html.chain(told)


def test_the_catalogue_of_that_time_says_who_owned_it_then():
    before, after = (
        tables.CATALOG.fit(
            pl.DataFrame([entity("component", "db", owner=o)], schema=tables.CATALOG.schema)
        )
        for o in ("old", "new")
    )
    first, second = BEGAN - timedelta(days=20), BEGAN + timedelta(days=2)
    directory = asked(SmallCompany().lake(), catalog=after, past=((first, before), (second, after)))
    now = directory.owner("db")
    assert (now.team, now.since) == ("new", second)
    then = owner_then(directory, now, BEGAN)
    assert then is not None
    assert (then.team, then.source, then.until) == ("old", "backstage", second)
    assert owner_then(directory, now, second + timedelta(hours=1)) is None


def test_a_catalogue_that_came_later_is_no_proof_that_the_owner_changed():
    state = tables.CATALOG.fit(
        pl.DataFrame([entity("component", "db", owner="storage")], schema=tables.CATALOG.schema)
    )
    directory = asked(
        SmallCompany().lake(), catalog=state, past=((BEGAN + timedelta(days=3), state),)
    )
    assert (
        owner_then(directory, directory.owner("db"), BEGAN) is None
    )  # tags said data then, and say data still


def test_a_lake_tells_what_its_catalogue_said_before(tmp_path: Path):
    about = SnapshotInfo("acme", "USD")
    for owner in ("old", "old", "new"):
        rows = tables.CATALOG.fit(
            pl.DataFrame([entity("component", "db", owner=owner)], schema=tables.CATALOG.schema)
        )
        seen = tables.SEEN.fit(
            pl.DataFrame([{"delivery": f"{owner}", "source": "cost", "records": 1}])
        )
        write(tmp_path, about, {"catalog": Replacement(rows), "seen": Replacement(seen)})
    history = open_lake(tmp_path).history("catalog")
    assert [state["owner"].to_list() for _, state in history][-1] == ["new"]
    assert history[0][1]["owner"].to_list() == ["old"]
    assert history == sorted(history, key=lambda said: said[0])


# ---------------------------------------------------------------- three people


def test_who_runs_it_who_changed_it_and_who_pays_are_kept_apart():
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.5)
    people = [
        entity("user", "dana", email="dana@acme.example", member_of=["payments"]),
        entity("group", "payments", contact="#pay"),
    ]
    deployed = change(
        "deploy-1",
        BEGAN - timedelta(minutes=20),
        service="api",
        source="cdevents",
        event="dev.cdevents.service.deployed",
    )
    lake = with_records(company.lake(), people, [deployed])
    paying = lake.frames["series"].with_columns(budget_owner=pl.lit("cc-4711"))
    [spike] = explain(replace(lake, frames={**lake.frames, "series": paying}))["spikes"]
    assert (spike["owner"]["service"], spike["owner"]["team"], spike["owner"]["source"]) == (
        "db",
        "data",
        "tags",
    )
    assert spike["decided_by"] == {
        "service": "api",
        "actor": "dana@acme.example",
        "team": "payments",
        "contact": "#pay",
    }
    assert spike["budget_owner"] == {"name": "cc-4711", "source": "tags"}


# ---------------------------------------------------------------- what nobody owns


def test_unowned_spend_is_still_shown():
    company = SmallCompany()
    company.lines["db"] = changed(
        company.lines["db"], service=None, team=None, fixed=1e5 * from_hour(0, 1.0)
    )  # $5 an hour, 1e5 x $0.00005
    gap = explain(with_records(company.lake()))["ownership_gap"]
    assert gap["cost"] == pytest.approx(5 * 24 * 30, abs=0.01)
    assert [item["where"] for item in gap["items"]] == [{"ResourceId": TABLE}]
    assert gap["items"][0]["cost"] == pytest.approx(gap["cost"], abs=0.01)


def test_tags_lost_say_when_after_which_change_and_how_much_since():
    company, changes = untagged()
    lake = with_records(company.lake(), changes=changes)
    [row] = lost_tags(lake).to_dicts()
    assert (row["when"], row["service"], row["team"], row["resources"]) == (
        BEGAN,
        "db",
        "data",
        [TABLE],
    )
    assert (row["change_id"], row["actor"]) == ("untag-1", "dana@acme.example")
    assert row["cost_since"] == pytest.approx(company.cost("db")[ONSET:].sum(), abs=0.01)
    assert row["age_days"] == DAYS - ONSET / 24  # 42 - 30 = 12
    said = lost_sentence(row, "USD")
    assert said.text.startswith(
        "Ownership of 1 resource of data (db) disappeared at 00:00 on 7 October, after this change (UntagResources"
    )
    assert said.text.endswith("since, 12 days ago.")
    assert said.evidence == "untag-1"
    assert any("untag-1" in text for text in gap_lines(explain(lake), [row]))


def test_tags_lost_without_a_record_are_still_told():
    company, _ = untagged()
    [row] = lost_tags(with_records(company.lake())).to_dicts()
    assert row["change_id"] is None
    assert "after no recorded change" in lost_sentence(row, "USD").text


def test_a_company_that_lost_no_tags_is_told_of_none():
    lake = with_records(SmallCompany().lake())
    assert lost_tags(lake).is_empty()
    assert html.lost_tags(lost_tags(lake), "USD") == ""
    assert gap_lines(explain(lake), []) == []


def test_hostile_names_are_escaped():
    evil = "<script>alert(1)</script>\u202e"
    company, changes = untagged()
    company.lines["db"] = changed(company.lines["db"], team=evil)
    lake = with_records(
        company.lake(), changes=[{**c, "summary": evil, "actor": evil} for c in changes]
    )
    shown = html.lost_tags(lost_tags(lake), "USD") + html.gap(*nobody_owns(lake), "USD")
    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert "\u202e" not in shown


def test_a_published_case_keeps_who_ran_it_then(tmp_path: Path):
    lake = retagged(moved_house().lake(), BEGAN + timedelta(days=5), "storage")
    case = next(
        c
        for c in (investigate(lake, s) for s in find_spikes(lake)["spike_id"].to_list())
        if "owner_then" in c.who
    )
    folder = publish(case, tmp_path)
    assert verify(folder)
    kept = open_case(folder).case.owners
    assert kept.filter(pl.col("role") == "owner_then")["team"].to_list() == ["data"]
    assert kept.filter(pl.col("role") == "owner")["team"].to_list() == ["storage"]
