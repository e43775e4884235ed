"""Spend that nobody owns: usage without a service or a team, and who probably owns it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl

from costwhy import tables
from costwhy.causes.changes import records_naming
from costwhy.causes.owners import DECIDING, MAJORITY, Directory, entity_of
from costwhy.lake.charges import spread
from costwhy.model.observed import Observed
from costwhy.text import arn_tail, contains_word

GAP_DAYS = 30
GAP_ITEMS = 50
LEAST = 0.005  # dollars of an item
IDENTITY = ("ResourceId", "ServiceName", "x_UsageType", "SubAccountId")
"""What identifies an item: the resource, or the others where the bill names none."""
Guess = tuple[str | None, str | None]
"""The team that probably owns something, and what that rests on."""
NOTHING_SAYS: Guess = (None, None)


@dataclass(frozen=True)
class Traces:
    """What says who owns a resource without tags.

    directory  the owners of services, and the order in which sources are asked
    former     the last team in its tags, by resource
    like       number of tagged resources (n) by SubAccountId, x_UsageType and team
    created    the changes by which something was created
    services   that its name may contain, longest first
    """

    directory: Directory
    former: Mapping[str, str]
    like: pl.DataFrame
    created: pl.DataFrame
    services: Sequence[str]

    def likely_team(
        self, resource: str | None, account: str | None, usage_type: str | None
    ) -> Guess:
        """Who probably owns a resource without tags; resource: null where the bill names none.

        The sources are asked in the directory's order; a service in the resource's name counts
        before the account, which says least.
        """
        words = list(self.directory.order)
        words.insert(words.index("account") if "account" in words else len(words), "name")
        for word in words:
            if word == "account":
                guess = self._by_account(account, usage_type) if account else NOTHING_SAYS
            else:
                guess = self._by_resource(word, resource) if resource else NOTHING_SAYS
            if guess[0] is not None:
                return guess
        return NOTHING_SAYS

    def _by_resource(self, word: str, resource: str) -> Guess:
        directory, tail = self.directory, arn_tail(resource)
        match word:
            case "catalog":
                entity = entity_of(directory.catalog, tail, "resource")
                return entity.get("owner") or None, "backstage"
            case "tags":
                return self.former.get(resource), "tags before they were lost"
            case "creator":
                team, actor = directory.creator(
                    self.created.filter(records_naming(self.created, [tail]))
                )
                return team, f"created by {actor}"
            case "name":
                service = next(
                    (name for name in self.services if contains_word(resource, name)), None
                )
                return directory.owner(service, asked=DECIDING).team, f"named like {service}"
        return NOTHING_SAYS

    def _by_account(self, account: str, usage_type: str | None) -> Guess:
        """The team of most tagged resources of that kind there, else of most tagged lines."""
        like = self.like.filter(
            (pl.col("SubAccountId") == account) & (pl.col("x_UsageType") == usage_type)
        ).sort("n", "team", descending=[True, False])
        share = like["n"][0] / like["n"].sum() if like.height else 0.0
        if share >= MAJORITY:
            return like["team"][0], f"most {usage_type} of account {account} ({share:.0%})"
        team, share = self.directory.most_frequent([account])
        most = f"most frequent in account {account} ({share:.0%})"
        return (team, most) if share >= MAJORITY else NOTHING_SAYS


def ownership_gap(
    observed: Observed, lake_tables: Mapping[str, pl.LazyFrame], directory: Directory
) -> tuple[float, float, pl.DataFrame]:
    """Usage charges of the last 30 billed days with neither service nor team.

    Returns their dollars, their share of all usage charges, and the largest items (tables.GAP).
    """
    end = observed.billed_through
    begin = max(observed.hours[0], end - timedelta(days=GAP_DAYS))
    series = lake_tables["series"].lazy().collect()
    series = series.filter(pl.col("ChargeCategory").fill_null("Usage") == "Usage")
    unowned = series.filter(pl.col("service").is_null() & pl.col("team").is_null())
    charged = (
        lake_tables["hourly"]
        .lazy()
        .filter(pl.col("hour") < end)
        .filter(pl.col("hour") + pl.duration(hours=pl.col("hours").fill_null(1)) > begin)
        .select("series_id", "hour", "hours", "EffectiveCost")
        .join(series.lazy(), on="series_id", how="semi")
        .collect()
    )
    hourly = spread(charged, "hour").filter(pl.col("hour").is_between(begin, end, closed="left"))
    lost = hourly.join(unowned, on="series_id", how="semi")
    cost, total = (float(rows["EffectiveCost"].sum()) for rows in (lost, hourly))
    traces, rows = traces_of(lake_tables, directory), []
    for item in _items(lost, lake_tables["daily"].lazy().join(unowned.lazy(), on="series_id")):
        likely = traces.likely_team(item["ResourceId"], item["account"], item["usage_type"])
        where = {name: item[name] for name in IDENTITY if item[name] is not None}
        rows.append((json.dumps(where), round(item["cost"], 2), *likely))
    return cost, (cost / total if total else 0.0), tables.GAP.of(rows)


def _items(hourly: pl.DataFrame, daily: pl.LazyFrame) -> list[dict[str, Any]]:
    """The largest items: by resource, else by the rest of IDENTITY.

    Resources are billed by the day: of the days at the edges of the window they have the same share
    as their line of the bill.
    """
    day, cost = pl.col("hour").dt.truncate("1d"), pl.col("EffectiveCost")
    part = cost * pl.col("inside") / pl.col("whole")
    unnamed = pl.when(pl.col("ResourceId").is_null())
    most = {
        name: pl.col(column).drop_nulls().mode().sort().first()
        for name, column in (("account", "SubAccountId"), ("usage_type", "x_UsageType"))
    }
    items = (
        daily.with_columns(whole=cost.sum().over("series_id", "day"))
        .join(
            hourly.lazy().group_by("series_id", day=day).agg(inside=cost.sum()),
            on=["series_id", "day"],
        )
        .group_by("ResourceId", *(unnamed.then(name).alias(name) for name in IDENTITY[1:]))
        .agg(cost=pl.when(pl.col("whole") != 0).then(part).otherwise(0.0).sum(), **most)
        .filter(pl.col("cost").abs() >= LEAST)
        .sort(-pl.col("cost").round(2), *IDENTITY)  # equal cents, by name
    )
    return items.head(GAP_ITEMS).collect().to_dicts()


def traces_of(lake_tables: Mapping[str, pl.LazyFrame], directory: Directory) -> Traces:
    """What the lake's daily cost, series and changes say about resources."""
    series, changes = (lake_tables[name].lazy().collect() for name in ("series", "changes"))
    like = ("SubAccountId", "x_UsageType", "team")
    teams = series.filter(pl.col("team").is_not_null()).select("series_id", *like)
    tagged = (
        lake_tables["daily"]
        .lazy()
        .drop_nulls("ResourceId")
        .group_by("ResourceId", "series_id")
        .agg(pl.col("day").max())
        .join(teams.lazy(), on="series_id")
        .sort("day", "ResourceId", "series_id")
        .collect()
    )
    return Traces(
        directory,
        former=dict(tagged.group_by("ResourceId").agg(pl.col("team").last()).iter_rows()),
        like=tagged.group_by(like).agg(n=pl.col("ResourceId").n_unique()),
        created=changes.filter(pl.col("kind") == "create"),
        services=sorted(set(series["service"].drop_nulls()), key=lambda name: (-len(name), name)),
    )
