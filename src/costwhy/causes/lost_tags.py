"""Tags that named an owner and are gone, and the recorded change that probably removed them.

Meters of one service and team that lose their tags within a day lose them together. The change is
a record of the 24 hours before that touches tags, or that names the resources as well.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.causes.changes import KnownChanges, records_naming
from costwhy.model.observed import LostTag, Observed
from costwhy.text import arn_tail

# A meter that is billed once a night loses its tags up to a day before the next bill shows it.
TOGETHER_HOURS = 24
UNTAGGED_WITHIN = timedelta(hours=24)


# ---------------------------------------------------------------- tags that were lost


def find_lost_tags(
    observed: Observed, lake_tables: Mapping[str, pl.LazyFrame], changes: KnownChanges
) -> pl.DataFrame:
    """Tags that are gone while the usage goes on (tables.LOST_TAGS), most dollars since first."""
    rows = []
    for tags in _losses(observed):
        # the last meter to show it dates the loss: a change before it may have touched all of them
        when = observed.hours[min(tags[-1].hour, len(observed.hours) - 1)]
        meters = observed.meters[[tag.meter for tag in tags]]
        service, team = meters.select("service", "team").row(0)
        resources = _resources(lake_tables, meters, when)
        change = _untagging(changes, when, resources, service)
        cost = (float(observed.cost[tag.meter, tag.hour : observed.billed].sum()) for tag in tags)
        rows.append(
            {
                "when": when,
                "service": service,
                "team": team,
                "resources": resources,
                "cost_since": round(sum(cost), 2),
                "age_days": (observed.as_of - when) / timedelta(days=1),
                **{name: change.get(name) for name in ("change_id", "summary", "actor")},
            }
        )
    return tables.LOST_TAGS.of(rows).sort(
        ("cost_since", "when", "service"), descending=[True, False, False]
    )


def _losses(observed: Observed) -> list[list[LostTag]]:
    last: dict[object, list[LostTag]] = {}
    losses: list[list[LostTag]] = []
    for tag in sorted(observed.lost_tags, key=lambda tag: (tag.hour, tag.meter)):
        owner = observed.meters.select("service", "team").row(tag.meter)
        if owner not in last or tag.hour - last[owner][-1].hour > TOGETHER_HOURS:
            last[owner] = []
            losses.append(last[owner])
        last[owner].append(tag)
    return losses


def _resources(
    lake_tables: Mapping[str, pl.LazyFrame], meters: pl.DataFrame, when: datetime
) -> list[str]:
    """Resources that had the tags in the week before, and are billed without them since."""
    series, daily = lake_tables["series"].lazy().collect(), lake_tables["daily"].lazy()
    tagged = series.join(meters, on=list(tables.METER), how="semi", nulls_equal=True)
    untagged = series.filter(pl.col("service").is_null() | pl.col("team").is_null())
    before = pl.col("day").is_between(when - timedelta(days=8), when)
    since = pl.col("day") >= when - timedelta(days=1)
    had, lost = (
        {
            *daily.filter(days)
            .join(lines.lazy(), on="series_id", how="semi")
            .select(pl.col("ResourceId").drop_nulls().unique())
            .collect()["ResourceId"]
        }
        for days, lines in ((before, tagged), (since, untagged))
    )
    return sorted(had & lost)


def _untagging(
    changes: KnownChanges, when: datetime, resources: Sequence[str], service: str | None
) -> dict[str, object]:
    """The change that probably removed the tags; empty: none is recorded.

    A change of tags counts before others, one that names the resources before one of the service,
    a later one before an earlier one. Any other change of the service alone does not count.
    """
    near = changes.between(when - UNTAGGED_WITHIN, when + timedelta(hours=1))
    rows = changes.rows[near]
    naming = records_naming(rows, [*map(arn_tail, resources), *resources])
    same = np.isin(changes.service[near], [service] if service is not None else [])
    score = 4 * (changes.doing[near] == "tag") + 2 * naming + same
    score = np.where(naming | same, score, 0)
    best = max(range(rows.height), key=lambda k: (int(score[k]), k), default=None)
    return {} if best is None or score[best] <= 1 else rows.row(best, named=True)
