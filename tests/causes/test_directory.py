"""Who owns a service, by each source and in their order; and since when: small tables."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from drawn_changes import change, table

from costwhy.causes.owners import Answer, Directory, decided_by, find_owners, owner_then

DAY = datetime(2026, 9, 7, tzinfo=UTC)


def line(service: str, team: str | None, account: str = "1") -> dict[str, Any]:
    """A line of the bill; its id is that of its service, team and account."""
    key = hash((service, team, account)) % 2**60
    return {"series_id": key, "service": service, "team": team, "SubAccountId": account}


def entity(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "name": name, **more}


def directory(
    *entities: dict[str, Any], lines: tuple[dict[str, Any], ...] = (), **more: Any
) -> Directory:
    return Directory(table("catalog", *entities), table("series", *lines), **more)


DANA = entity(
    "user", "dana", email="dana@acme.example", title="Dana Doe", member_of=["shop", "night"]
)
CREATED = change("made", kind="create", service="web", actor="dana@acme.example")


# ---------------------------------------------------------------- the order


EVERYTHING = {
    "catalog": entity("component", "web", owner="by-catalog"),
    "codeowners": entity("path", "/services/web/", owner="by-path", position=1),
}


def asked(
    *words: str, order: tuple[str, ...] = ("catalog", "tags", "codeowners", "creator", "account")
) -> tuple[str | None, str | None]:
    """Team and source, where only these sources know a team."""
    entities = [EVERYTHING[word] for word in words if word in EVERYTHING]
    lines = [line("web", "by-tags")] if "tags" in words else [line("web", None)]
    lines += [line("api", "by-account")] * 2 if "account" in words else []
    people, changes = (
        ([DANA], table("changes", CREATED)) if "creator" in words else ([], table("changes"))
    )
    owner = directory(*entities, *people, lines=tuple(lines), changes=changes, order=order).owner(
        "web"
    )
    return owner.team, owner.source


def test_each_source_is_asked_where_those_before_it_know_nothing():
    words = ["catalog", "tags", "codeowners", "creator", "account"]
    answers = [asked(*words[k:]) for k in range(5)]
    assert answers == [
        ("by-catalog", "backstage"),
        ("by-tags", "tags"),
        ("by-path", "codeowners"),
        ("shop", "cloudtrail"),
        ("by-account", "account"),
    ]
    assert asked() == (None, None)


def test_another_order_is_followed_and_what_is_left_out_is_not_asked():
    assert asked("catalog", "tags", order=("tags", "catalog")) == ("by-tags", "tags")
    assert asked("catalog", "tags", order=("codeowners", "creator")) == (None, None)


def test_only_the_sources_that_are_asked_answer():
    both = directory(EVERYTHING["catalog"], lines=(line("web", "by-tags"),))
    assert both.owner("web", asked=("tags", "codeowners")).source == "tags"
    assert both.owner("web", asked=("codeowners",)) == Answer("web")


def test_of_no_service_nobody_is_the_owner():
    assert directory(EVERYTHING["catalog"]).owner(None) == Answer()


def test_a_component_comes_before_a_resource_of_the_same_name():
    resource = entity("resource", "web", owner="other")
    assert directory(resource, EVERYTHING["catalog"]).owner("web").team == "by-catalog"
    assert directory(resource).owner("web").team == "other"
    assert directory(entity("system", "web", owner="other")).owner("web").team is None


def test_codeowners_are_asked_of_the_changes_path_the_components_the_services():
    paths = [
        entity("path", f"/{name}/", owner=name, position=k)
        for k, name in enumerate(("changed", "own", "services"))
    ]
    component = entity("component", "web", path="own/web/")
    assert directory(*paths, component).owner("web", "changed/x.py").team == "changed"
    assert directory(*paths, component).owner("web").team == "own"
    assert directory(*paths).owner("web").team == "services"


@pytest.mark.parametrize(
    ("lines", "team"),
    [
        ([("api", "a"), ("db", "b")], "a"),  # half: the first of the alphabet
        ([("api", "b"), ("db", "b"), ("x", "a")], "b"),
        ([("api", "a"), ("db", "b"), ("x", "c")], None),  # a third
        ([], None),
    ],
)
def test_an_accounts_team_needs_half_of_its_tagged_lines(
    lines: list[tuple[str, str]], team: str | None
):
    own = [line("web", None), line("far", "z", "2")]
    found = directory(lines=(*own, *(line(*one) for one in lines))).owner("web")
    assert found.team == team


def test_a_published_case_knows_services_and_teams_alone():
    series = pl.DataFrame({"service": ["web", "api"], "team": ["shop", None]})
    kept = Directory(table("catalog"), series)
    assert kept.owner("web").team == "shop"
    assert kept.owner("api").team is None


def test_the_creator_is_the_first_person_whose_team_is_known():
    rows = [
        change("robot", 9.0, kind="create", actor="dana", automated=True),
        change("config", 8.0, kind="config", actor="dana"),
        change("unknown", 7.0, kind="create", actor="somebody"),
        change("first", 6.0, kind="create", actor="Dana Doe"),
        change("second", 5.0, kind="create", actor="lee"),
    ]
    lee = entity("user", "lee", member_of=["night"])
    known = directory(DANA, lee)
    assert known.creator(table("changes", *rows)) == ("shop", "Dana Doe")
    assert known.creator(table("changes", *rows[:3])) == (None, None)


# ---------------------------------------------------------------- people


@pytest.mark.parametrize(
    ("actor", "team"),
    [
        ("dana", "shop"),
        ("DANA@acme.example", "shop"),
        ("dana@other.example", "shop"),
        ("dana doe", "shop"),
        ("lee", None),
        (None, None),
    ],
)
def test_a_person_is_known_by_name_mail_or_display_name(actor: str | None, team: str | None):
    assert directory(DANA).team_of(actor) == team


def test_a_person_without_groups_has_no_team():
    assert directory(entity("user", "dana")).team_of("dana") is None
    assert directory(entity("user", "dana", member_of=[])).team_of("dana") is None


@pytest.mark.parametrize(
    ("actor", "mail"),
    [
        ("dana", "dana@acme.example"),
        ("Dana Doe", "dana@acme.example"),
        ("lee", "lee"),
        ("x@y.example", "x@y.example"),
        (None, None),
    ],
)
def test_a_mail_address_is_found_for_another_spelling(actor: str | None, mail: str | None):
    assert directory(DANA).mail_of(actor) == mail


def test_the_first_member_by_name_speaks_for_a_team_without_contact():
    ann = entity("user", "ann", email="ann@acme.example", member_of=["shop"])
    silent = entity("user", "abe", member_of=["shop"])
    assert directory(DANA, ann, silent).contact("shop") == "ann@acme.example"
    assert directory(DANA, ann, silent).contact("night") == "dana@acme.example"
    assert directory(DANA).contact(None) is None


# ---------------------------------------------------------------- since when


def hourly(*hours: tuple[int, dict[str, Any], float]) -> pl.LazyFrame:
    """Cost by hour: (hour, line of the bill, dollars)."""
    return table(
        "hourly",
        *(
            {"hour": DAY + timedelta(hours=h), "series_id": of["series_id"], "EffectiveCost": cost}
            for h, of, cost in hours
        ),
    ).lazy()


A, B = line("web", "a"), line("web", "b")


def terms(
    *hours: tuple[int, dict[str, Any], float],
) -> list[tuple[str | None, int | None, int | None]]:
    """The teams by the tags, with the hours in which they began and ended."""
    dated = directory(lines=(A, B, line("api", "z")), hourly=hourly(*hours))
    answers = {
        dated.owner("web", at=DAY + timedelta(hours=h, minutes=1)): None for h in range(-5, 15)
    }
    return [
        (x.team, *((t - DAY) // timedelta(hours=1) if t else None for t in (x.since, x.until)))
        for x in answers
    ]


def test_another_team_takes_over_with_sixty_per_cent_of_an_hours_tagged_dollars():
    """a: 100 %   then   b: 59 %   then   b: 60 %"""
    assert terms((0, A, 1.0), (1, A, 41.0), (1, B, 59.0), (2, A, 40.0), (2, B, 60.0)) == [
        ("a", None, 2),
        ("b", 2, None),
    ]


def test_a_service_of_two_teams_does_not_change_hands_every_hour():
    assert terms(
        (0, A, 51.0), (0, B, 49.0), (1, A, 49.0), (1, B, 51.0), (2, A, 51.0), (2, B, 49.0)
    ) == [("a", None, None)]


def test_the_first_hour_names_a_team_however_small_its_share():
    assert terms((0, A, 49.0), (0, B, 51.0)) == [("b", None, None)]
    assert terms((0, A, 49.0), (0, B, 51.0), (5, A, 1.0)) == [("b", None, 5), ("a", 5, None)]


def test_a_team_that_comes_back_has_two_terms():
    assert terms((0, A, 1.0), (3, B, 1.0), (6, A, 1.0)) == [
        ("a", None, 3),
        ("b", 3, 6),
        ("a", 6, None),
    ]


def test_credits_count_by_their_size_and_hours_without_cost_say_nothing():
    assert terms((0, A, -1.0), (1, B, 0.0), (2, B, -1.0)) == [("a", None, 2), ("b", 2, None)]


def test_a_bill_that_dates_nothing_leaves_the_most_frequent_team():
    other = line("api", "z")
    lines = (A, line("web", "b", "1"), line("web", "b", "2"), other)
    assert directory(lines=lines, hourly=hourly((0, other, 1.0))).owner("web") == Answer(
        "web", "b", None, "tags"
    )
    assert directory(lines=lines).owner("web", at=DAY).team == "b"


def test_the_tags_of_a_service_are_looked_up_once():
    dated = directory(lines=(A,), hourly=hourly((0, A, 1.0)))
    assert dated._by_tags("web") is dated._by_tags("web")
    assert (
        replace(dated, order=("tags",)).owner("web").team == "a"
    )  # another directory looks up its own


def catalogs(*teams: str | None) -> dict[str, Any]:
    """A catalogue read once a day, in which web has these owners; the last is the catalogue now."""
    states = [
        table("catalog", *([entity("component", "web", owner=team)] if team != "-" else []))
        for team in teams
    ]
    return {
        "past": tuple((DAY + timedelta(days=k), state) for k, state in enumerate(states)),
        "catalog": states[-1],
    }


def by_catalog(
    day: float | None, *teams: str | None
) -> tuple[str | None, float | None, float | None]:
    owner = replace(directory(), **catalogs(*teams)).owner(
        "web", at=None if day is None else DAY + timedelta(days=day)
    )
    return owner.team, *(
        (t - DAY) / timedelta(days=1) if t else None for t in (owner.since, owner.until)
    )


@pytest.mark.parametrize(
    ("day", "teams", "answer"),
    [
        (None, ("old", "old", "new"), ("new", 2, None)),
        (1.9, ("old", "old", "new"), ("old", None, 2)),
        (2.0, ("old", "old", "new"), ("new", 2, None)),
        (-9, ("old", "new"), ("old", None, 1)),  # what was read first holds before
        (None, ("old", "-"), (None, None, None)),  # it is in the catalogue no more
        (0.5, ("old", "-"), ("old", None, 1)),
        (1.5, ("old", "-", "new"), (None, None, None)),
        (None, ("old", None, "old"), ("old", 2, None)),
    ],
)
def test_the_catalogue_is_dated_by_its_readings(
    day: float | None,
    teams: tuple[str | None, ...],
    answer: tuple[str | None, float | None, float | None],
):
    assert by_catalog(day, *teams) == answer


# ---------------------------------------------------------------- the answers of a case


def test_who_ran_it_then_is_asked_of_the_source_that_names_the_owner_now():
    changed = replace(directory(lines=(B,)), **catalogs("old", "new"))
    then = owner_then(changed, changed.owner("web"), DAY)
    assert then is not None
    assert (then.team, then.source) == ("old", "backstage")  # the tags say b, now and then
    assert owner_then(changed, changed.owner("web"), DAY + timedelta(days=1)) is None


def test_tags_say_who_it_was_before_the_catalogue_was_read_if_they_agree_today():
    bill = {"lines": (A, B), "hourly": hourly((0, A, 1.0), (10, B, 1.0))}
    later = {"past": ((DAY + timedelta(hours=20), table("catalog")),)}
    agreeing, another = (
        directory(entity("component", "web", owner=team), **bill) for team in ("b", "c")
    )
    for known, then in ((agreeing, "a"), (another, None)):
        dated = replace(known, past=((later["past"][0][0], known.catalog),))
        found = owner_then(dated, dated.owner("web"), DAY + timedelta(hours=5))
        assert (found.team if found else None) == then


def test_what_is_not_dated_has_no_owner_then():
    known = directory(entity("path", "/services/", owner="x", position=1))
    assert owner_then(known, known.owner("web"), DAY) is None


def trigger(**columns: Any) -> dict[str, Any]:
    return table(
        "triggers", {"service": "web", "actor": "dana", "source": "cloudtrail", **columns}
    ).row(0, named=True)


def test_a_person_decided_with_the_team_of_the_person_else_of_what_was_changed():
    known = directory(DANA, entity("group", "shop", contact="#shop"), EVERYTHING["catalog"])
    assert decided_by(known, trigger()) == Answer(
        "web", "shop", "#shop", "cloudtrail", "dana@acme.example"
    )
    robot = decided_by(known, trigger(actor="ci"))
    assert (robot.team, robot.contact, robot.actor) == ("by-catalog", None, "ci")
    person = decided_by(directory(), trigger(actor="lee@acme.example"))
    assert (person.team, person.contact) == (None, "lee@acme.example")


def test_the_account_and_the_creator_do_not_say_whose_change_it_was():
    lines = (line("web", None), line("api", "by-account"))
    known = directory(DANA, lines=lines, changes=table("changes", CREATED))
    assert known.owner("web").team == "shop"
    assert decided_by(known, trigger(actor="ci")).team is None


def test_a_role_that_nobody_is_known_for_has_no_row():
    assert find_owners(directory(), "web", None, None).is_empty()
    budget = Answer(team="cc-1", source="tags")
    found = find_owners(directory(DANA, EVERYTHING["catalog"]), "web", trigger(), budget, DAY)
    assert found.select("role", "team", "source").rows() == [
        ("owner", "by-catalog", "backstage"),
        ("decided_by", "shop", "cloudtrail"),
        ("budget_owner", "cc-1", "tags"),
    ]


def test_the_path_of_a_change_counts_for_the_owner_of_its_own_service_only():
    paths = [
        entity("path", f"/{name}/", owner=name, position=k)
        for k, name in enumerate(("changed", "services"))
    ]
    for service, team in (("web", "changed"), ("api", "services")):
        found = find_owners(
            directory(*paths), "web", trigger(service=service, path="changed/x"), None
        )
        assert found.filter(pl.col("role") == "owner")["team"].to_list() == [team]
