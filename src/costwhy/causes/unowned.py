"""TODO causes/unowned.py"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from costwhy import tables
from costwhy.causes.changes import NAME_LEAST, records_naming
from costwhy.causes.owners import DECIDING, MAJORITY, NOBODY, Directory, entity_of
from costwhy.model.observed import Observed

GAP_DAYS = 30
GAP_ITEMS = 50


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
    kinds = shares.with_columns(usage_type="x_UsageType", account="SubAccountId").group_by("ResourceId", *keys)
    items = kinds.agg(pl.col("cost").sum(), _usual("account"), _usual("usage_type"))
    items = items.filter(pl.col("cost").abs() >= 0.005).sort("cost", descending=True).head(GAP_ITEMS)
    traces = traces_of(lake_tables)
    guesses = [
        likely_team(directory, traces, Unowned(item["ResourceId"], item["account"], item["usage_type"]))
        for item in items.iter_rows(named=True)
    ]
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


def _usual(name: str) -> pl.Expr:
    return pl.col(name).drop_nulls().mode().sort().first()


def _item_where(item: dict[str, object]) -> str:
    if item["ResourceId"]:
        return json.dumps({"ResourceId": item["ResourceId"]})
    return json.dumps({k: item[k] for k in ("ServiceName", "x_UsageType", "SubAccountId") if item[k] is not None})


@dataclass(frozen=True)
class Unowned:
    """Spend without tags: the resource where the bill names one, its account, what is metered."""

    resource: str | None
    account: str | None
    usage_type: str | None = None


@dataclass(frozen=True)
class Traces:
    """What may say whose a resource is: tags that it once had, those like it, who may have created it, services that its name may name."""

    former: Mapping[str, str]
    like: pl.DataFrame  # SubAccountId, x_UsageType, team, n: tagged resources
    changes: pl.DataFrame
    known: Sequence[str]


def traces_of(lake_tables: Mapping[str, pl.DataFrame]) -> Traces:
    """What the lake's daily cost, series and changes say about resources."""
    tagged = (
        lake_tables["daily"]
        .join(lake_tables["series"].filter(pl.col("team").is_not_null()), on="series_id")
        .filter(pl.col("ResourceId").is_not_null())
    )
    former = tagged.sort("day").group_by("ResourceId").agg(pl.col("team").last())
    like = tagged.group_by("SubAccountId", "x_UsageType", "team").agg(n=pl.col("ResourceId").n_unique())
    changes = lake_tables["changes"].filter((pl.col("kind") == "create") & ~pl.col("automated").fill_null(value=False))
    known = sorted(set(lake_tables["series"]["service"].drop_nulls().to_list()), key=lambda name: (-len(name), name))
    return Traces(dict(former.iter_rows()), like, changes, known)


def likely_team(directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    """Who probably owns a resource without tags, and what that rests on; nulls where nothing says.

    The directory's order holds here too. What a name says (a service's name in it) stands before the account, which says least.
    """
    at = directory.order.index("account") if "account" in directory.order else len(directory.order)
    for word in (*directory.order[:at], "name", *directory.order[at:]):
        team, why = _trace(word, directory, traces, what)
        if team is not None:
            return team, why
    return None, None


def _trace(word: str, directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    resource = what.resource or ""
    tail = re.split(r"[:/]", resource)[-1]
    if word == "catalog" and tail:
        entity = entity_of(directory.catalog, "resource", tail)
        return (str(entity["owner"]), "backstage") if entity is not None and entity["owner"] else (None, None)
    if word == "tags" and resource in traces.former:
        return traces.former[resource], "tags before they were lost"
    if word == "creator" and len(tail) >= NAME_LEAST:
        team, actor = directory.creator(records_naming(traces.changes, [tail]))
        return team, f"created by {actor}" if team else None
    if word == "name" and resource:
        named = next((s for s in traces.known if re.search(rf"(^|[^a-z0-9]){re.escape(s.lower())}($|[^a-z0-9])", resource.lower())), None)
        owner = directory.owner(named, asked=DECIDING) if named else NOBODY
        return owner.team, f"named like {named}" if owner.team else None
    if word == "account" and what.account:
        return _neighbours(directory, traces, what)
    return None, None


def _neighbours(directory: Directory, traces: Traces, what: Unowned) -> tuple[str | None, str | None]:
    """The team of most tagged resources of the same usage type in the account; else of most tagged lines of the account."""
    same = traces.like.filter((pl.col("SubAccountId") == what.account) & (pl.col("x_UsageType") == what.usage_type))
    best = same.sort("n", "team", descending=[True, False]).head(1)
    if best.height and best["n"][0] >= MAJORITY * float(same["n"].sum()):
        return best["team"][0], f"most {what.usage_type} of account {what.account} ({best['n'][0] / same['n'].sum():.0%})"
    team, share = directory.most_frequent([str(what.account)])
    return (team, f"most frequent in account {what.account} ({share:.0%})") if share >= MAJORITY else (None, None)
