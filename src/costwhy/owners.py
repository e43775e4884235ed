"""Who runs it, who changed it, who pays: three answers, kept apart; and the spend that nobody owns.

Who runs a service, first answer that is there: the catalogue, the team tags of its cost, the CODEOWNERS line of its
path, who created the resource, the account's most frequent team. Each answer says which of them it came from.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from costwhy import tables
from costwhy.observed import Observed
from costwhy.sources import codeowners

GAP_DAYS = 30
GAP_ITEMS = 50


@dataclass(frozen=True)
class Answer:
    """A team with its contact and where the answer came from; nulls: not known."""

    service: str | None
    team: str | None
    contact: str | None
    source: str | None
    actor: str | None = None


@dataclass(frozen=True)
class Directory:
    """The catalogue and the tags, ready to be asked."""

    catalog: pl.DataFrame
    series: pl.DataFrame

    def owner(self, service: str | None, path: str | None = None) -> Answer:
        """Who runs this service now."""
        if service is None:
            return Answer(None, None, None, None)
        entity = self._entity("component", service) or self._entity("resource", service)
        if entity is not None and entity["owner"]:
            return Answer(service, str(entity["owner"]), self.contact(str(entity["owner"])), "backstage")
        tagged = self.series.filter((pl.col("service") == service) & pl.col("team").is_not_null())["team"].mode().sort()
        if tagged.len():
            return Answer(service, tagged[0], self.contact(tagged[0]), "tags")
        team = codeowners.owner_of(path or f"/services/{service}/", self._paths())
        return Answer(service, team, self.contact(team), "codeowners" if team else None)

    def contact(self, team: str | None) -> str | None:
        """How to reach a team."""
        entity = self._entity("group", team) if team else None
        return None if entity is None else entity["contact"] or entity["email"]

    def team_of(self, actor: str | None) -> str | None:
        """The first team of a person, by entity name, mail address or display name."""
        if not actor:
            return None
        person = actor.split("@")[0].lower()
        users = self.catalog.filter(
            (pl.col("kind") == "user")
            & (
                (pl.col("name").str.to_lowercase() == person)
                | (pl.col("email").str.to_lowercase() == actor.lower())
                | (pl.col("title").str.to_lowercase() == actor.lower())
            )
        )
        groups = users["member_of"][0] if users.height else None
        return None if groups is None or not len(groups) else str(groups[0])

    def person(self, actor: str | None) -> str | None:
        """Mail address of a person known by another spelling; the actor as given otherwise."""
        if not actor or "@" in actor:
            return actor
        users = self.catalog.filter((pl.col("kind") == "user") & ((pl.col("name") == actor) | (pl.col("title") == actor)))
        return users["email"][0] or actor if users.height else actor

    def _entity(self, kind: str, name: str) -> dict[str, str] | None:
        rows = self.catalog.filter((pl.col("kind") == kind) & (pl.col("name") == name))
        return rows.row(0, named=True) if rows.height else None

    def _paths(self) -> pl.DataFrame:
        return self.catalog.filter(pl.col("kind") == "path").sort("position")


def find_owners(directory: Directory, service: str | None, trigger: dict[str, object] | None, budget: Answer | None) -> pl.DataFrame:
    """The three answers as rows of `tables.OWNERS`; a role that nobody is known for has no row."""
    rows = []
    owner = directory.owner(service)
    if owner.team is not None:
        rows.append(_row("owner", owner))
    decided = decided_by(directory, trigger) if trigger else None
    if decided is not None:
        rows.append(_row("decided_by", decided))
    if budget is not None:
        rows.append(_row("budget_owner", budget))
    return tables.OWNERS.fit(pl.DataFrame(rows, schema=tables.OWNERS.schema)) if rows else tables.OWNERS.empty()


def decided_by(directory: Directory, change: dict[str, object]) -> Answer:
    """Who made a change: the person and their team; the team of what was changed where the person's is not known."""
    service, actor, path = (change.get(name) for name in ("service", "actor", "path"))
    person = directory.person(str(actor)) if actor else None
    by_service = directory.owner(str(service) if service else None, str(path) if path else None)
    team = directory.team_of(person) or by_service.team
    return Answer(str(service) if service else None, team, directory.contact(team), str(change.get("source") or ""), person)


def budget_owner(observed: Observed, meters: Sequence[int]) -> Answer | None:
    """Who pays: the budget tag of most of these meters, else the name of their account."""
    rows = observed.meters[list(meters)]
    tagged = rows["budget_owner"].drop_nulls().mode().sort()
    if tagged.len():
        return Answer(None, tagged[0], None, "tags")
    account = rows.select(pl.coalesce("SubAccountName", "SubAccountId")).to_series().drop_nulls().mode().sort()
    return Answer(None, account[0], None, "account") if account.len() else None


def _row(role: str, answer: Answer) -> dict[str, str | None]:
    return {
        "role": role,
        "service": answer.service,
        "team": answer.team,
        "actor": answer.actor,
        "contact": answer.contact,
        "source": answer.source,
    }


# ---------------------------------------------------------------- what nobody owns


def ownership_gap(observed: Observed, lake_tables: dict[str, pl.DataFrame], directory: Directory) -> tuple[float, float, pl.DataFrame]:
    """Usage charges of the last 30 billed days with neither service nor team: dollars, share of all usage, items (tables.GAP).

    Items are resources where the bill names them, else the provider's service and usage type; their dollars are by the day,
    the first day in proportion to its hours inside the window.
    """
    end = observed.billed_through
    begin = max(observed.hours[0], end - timedelta(days=GAP_DAYS))
    series = lake_tables["series"].filter(pl.col("ChargeCategory").fill_null("Usage") == "Usage")
    hourly = lake_tables["hourly"].filter(pl.col("hour").is_between(begin, end, closed="left")).join(series, on="series_id")
    nobody = pl.col("service").is_null() & pl.col("team").is_null()
    whole = float(hourly["EffectiveCost"].sum())
    lost = float(hourly.filter(nobody)["EffectiveCost"].sum())
    inside = hourly.filter(nobody).group_by("series_id", day=pl.col("hour").dt.truncate("1d")).agg(inside=pl.col("EffectiveCost").sum())
    daily = (
        lake_tables["daily"]
        .join(series.filter(nobody), on="series_id")
        .with_columns(whole=pl.col("EffectiveCost").sum().over("series_id", "day"))
    )
    shares = daily.join(inside, on=["series_id", "day"]).with_columns(
        cost=pl.when(pl.col("whole") != 0).then(pl.col("EffectiveCost") * pl.col("inside") / pl.col("whole")).otherwise(0.0)
    )
    named = pl.col("ResourceId").is_not_null()
    keys = [pl.when(named).then(None).otherwise(pl.col(name)).alias(name) for name in ("ServiceName", "x_UsageType", "SubAccountId")]
    items = shares.group_by("ResourceId", *keys).agg(pl.col("cost").sum())
    items = items.filter(pl.col("cost").abs() >= 0.005).sort("cost", descending=True).head(GAP_ITEMS)
    guesses = _guesses(lake_tables, directory, items)
    rows = [
        {
            "where": _item_where(item),
            "cost": round(item["cost"], 2),
            "likely_team": guesses[k][0],
            "source": guesses[k][1],
        }
        for k, item in enumerate(items.iter_rows(named=True))
    ]
    return (
        lost,
        (lost / whole if whole else 0.0),
        pl.DataFrame(rows, schema=tables.GAP.schema) if rows else tables.GAP.empty(),
    )


def _item_where(item: dict[str, object]) -> str:
    if item["ResourceId"]:
        return json.dumps({"ResourceId": item["ResourceId"]})
    return json.dumps({k: item[k] for k in ("ServiceName", "x_UsageType", "SubAccountId") if item[k] is not None})


def _guesses(lake_tables: dict[str, pl.DataFrame], directory: Directory, items: pl.DataFrame) -> list[tuple[str | None, str | None]]:
    """A likely team for each item: the tags it once had, who created it, the service that its name names."""
    tagged = (
        lake_tables["daily"]
        .join(lake_tables["series"].filter(pl.col("team").is_not_null()), on="series_id")
        .filter(pl.col("ResourceId").is_not_null())
        .sort("day")
        .group_by("ResourceId")
        .agg(pl.col("team").last())
    )
    former = dict(tagged.iter_rows())
    changes = lake_tables["changes"].filter(pl.col("kind").is_in(["create", "tag"]) & ~pl.col("automated").fill_null(value=False))
    known = sorted(set(lake_tables["series"]["service"].drop_nulls().to_list()), key=len, reverse=True)
    return [_guess(item, former, changes, (directory, known)) for item in items.iter_rows(named=True)]


def _guess(
    item: dict[str, object], former: dict[str, str], changes: pl.DataFrame, context: tuple[Directory, list[str]]
) -> tuple[str | None, str | None]:
    directory, known = context
    resource = str(item["ResourceId"] or "")
    if not resource:
        return None, None
    if resource in former:
        return former[resource], "tags before they were lost"
    tail = re.split(r"[:/]", resource)[-1]
    made = (
        changes.filter(pl.col("resource").str.contains(tail, literal=True) | pl.col("after").str.contains(tail, literal=True))
        if len(tail) > 5
        else changes.head(0)
    )
    for actor in made.filter(pl.col("kind") == "create").sort("time")["actor"].drop_nulls().to_list():
        team = directory.team_of(actor)
        if team is not None:
            return team, f"created by {actor}"
    named = next((s for s in known if re.search(rf"(^|[^a-z0-9]){re.escape(s)}($|[^a-z0-9])", resource.lower())), None)
    owner = directory.owner(named) if named else None
    return (owner.team, f"named like {named}") if owner is not None and owner.team is not None else (None, None)
