"""Spend that nobody owns: usage charges without a service or a team, and who probably owns them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl

from costwhy import tables
from costwhy.causes.changes import records_naming
from costwhy.causes.owners import DECIDING, MAJORITY, Directory, entity_of
from costwhy.model.observed import Observed
from costwhy.text import arn_tail, contains_word

GAP_DAYS = 30
GAP_ITEMS = 50
LEAST = 0.005  # dollars of an item
WITHOUT_RESOURCE = ("ServiceName", "x_UsageType", "SubAccountId")
"""What identifies an item where the bill names no resource."""


@dataclass(frozen=True)
class Unowned:
    """Spend without tags; resource: null where the bill names none."""

    resource: str | None
    account: str | None
    usage_type: str | None = None


@dataclass(frozen=True)
class Traces:
    """What says who owns a resource without tags.

    former    the last team in its tags, by resource
    like      number of tagged resources by account, usage type and team
    changes   by which people created something (tables.CHANGES)
    services  that its name may contain, longest first
    """

    former: Mapping[str, str]
    like: pl.DataFrame  # SubAccountId, x_UsageType, team, n
    changes: pl.DataFrame
    services: Sequence[str]


def ownership_gap(
    observed: Observed, lake_tables: Mapping[str, pl.DataFrame], directory: Directory
) -> tuple[float, float, pl.DataFrame]:
    """Usage charges of the last 30 billed days with neither service nor team.

    Returns their dollars, their share of all usage charges, and the largest items (tables.GAP).
    """
    end = observed.billed_through
    begin = max(observed.hours[0], end - timedelta(days=GAP_DAYS))
    usage = pl.col("ChargeCategory").fill_null("Usage") == "Usage"
    series = lake_tables["series"].filter(usage)
    unowned = series.filter(pl.col("service").is_null() & pl.col("team").is_null())
    inside = pl.col("hour").is_between(begin, end, closed="left")
    hourly = lake_tables["hourly"].filter(inside).join(series, on="series_id", how="semi")
    lost = hourly.join(unowned, on="series_id", how="semi")
    cost, total = (float(rows["EffectiveCost"].sum()) for rows in (lost, hourly))
    traces = traces_of(lake_tables)
    rows = []
    for item in _items(lost, lake_tables["daily"].join(unowned, on="series_id")):
        what = Unowned(item["ResourceId"], item["account"], item["usage_type"])
        team, source = likely_team(directory, traces, what)
        where = {k: item[k] for k in ("ResourceId", *WITHOUT_RESOURCE) if item[k] is not None}
        rows.append((json.dumps(where), round(item["cost"], 2), team, source))
    return cost, (cost / total if total else 0.0), tables.GAP.of(rows)


def _items(hourly: pl.DataFrame, daily: pl.DataFrame) -> list[dict[str, Any]]:
    """The largest items: by resource, else by WITHOUT_RESOURCE.

    Resources are billed by the day: of the days at the edges of the window they have the same share
    as their line of the bill.
    """
    day = pl.col("hour").dt.truncate("1d")
    inside = hourly.group_by("series_id", day=day).agg(inside=pl.col("EffectiveCost").sum())
    whole = pl.col("EffectiveCost").sum().over("series_id", "day")
    shares = daily.with_columns(whole=whole).join(inside, on=["series_id", "day"])
    part = pl.col("EffectiveCost") * pl.col("inside") / pl.col("whole")
    cost = pl.when(pl.col("whole") != 0).then(part).otherwise(0.0)
    keys = [
        pl.when(pl.col("ResourceId").is_null()).then(name).alias(name) for name in WITHOUT_RESOURCE
    ]
    most = {
        name: pl.col(column).drop_nulls().mode().sort().first()
        for name, column in (("account", "SubAccountId"), ("usage_type", "x_UsageType"))
    }
    items = shares.group_by("ResourceId", *keys).agg(cost=cost.sum(), **most)
    items = items.filter(pl.col("cost").abs() >= LEAST)
    order = (-pl.col("cost").round(2), "ResourceId", *WITHOUT_RESOURCE)  # equal cents, by name
    return items.sort(order).head(GAP_ITEMS).to_dicts()


def traces_of(lake_tables: Mapping[str, pl.DataFrame]) -> Traces:
    """What the lake's daily cost, series and changes say about resources."""
    series, created = lake_tables["series"], pl.col("kind") == "create"
    named = lake_tables["daily"].filter(pl.col("ResourceId").is_not_null())
    tagged = named.join(series.filter(pl.col("team").is_not_null()), on="series_id")
    former = tagged.sort("day").group_by("ResourceId").agg(pl.col("team").last())
    like = tagged.group_by("SubAccountId", "x_UsageType", "team").agg(
        n=pl.col("ResourceId").n_unique()
    )
    services = set(series["service"].drop_nulls())
    longest_first = sorted(services, key=lambda name: (-len(name), name))
    changes = lake_tables["changes"].filter(created)
    return Traces(dict(former.iter_rows()), like, changes, longest_first)


def likely_team(
    directory: Directory, traces: Traces, what: Unowned
) -> tuple[str | None, str | None]:
    """Who probably owns a resource without tags, and what that rests on; nulls: nothing says.

    The sources are asked in the directory's order; a service in the resource's name counts before
    the account, which says least.
    """
    words = list(directory.order)
    words.insert(words.index("account") if "account" in words else len(words), "name")
    guesses = (_guess(word, directory, traces, what) for word in words)
    return next((guess for guess in guesses if guess[0] is not None), (None, None))


def _guess(
    word: str, directory: Directory, traces: Traces, what: Unowned
) -> tuple[str | None, str | None]:
    """The team by one source, and what that rests on; nulls: it does not say."""
    resource, tail = what.resource, arn_tail(what.resource or "")
    if word == "account" and what.account:
        return _by_account(directory, traces, what.account, what.usage_type)
    if resource is None:
        return None, None
    if word == "catalog":
        return entity_of(directory.catalog, tail, "resource").get("owner") or None, "backstage"
    if word == "tags":
        return traces.former.get(resource), "tags before they were lost"
    if word == "creator":
        made = traces.changes.filter(records_naming(traces.changes, [tail]))
        team, actor = directory.creator(made)
        return team, f"created by {actor}"
    if word == "name":
        service = next((name for name in traces.services if contains_word(resource, name)), None)
        return directory.owner(service, asked=DECIDING).team, f"named like {service}"
    return None, None


def _by_account(
    directory: Directory, traces: Traces, account: str, usage_type: str | None
) -> tuple[str | None, str | None]:
    """The team of most tagged resources of the usage type there, else of most tagged lines."""
    same = (pl.col("SubAccountId") == account) & (pl.col("x_UsageType") == usage_type)
    like = traces.like.filter(same).sort("n", "team", descending=[True, False])
    share = like["n"][0] / like["n"].sum() if like.height else 0.0
    if share >= MAJORITY:
        return like["team"][0], f"most {usage_type} of account {account} ({share:.0%})"
    team, share = directory.most_frequent([account])
    return team if share >= MAJORITY else None, f"most frequent in account {account} ({share:.0%})"
