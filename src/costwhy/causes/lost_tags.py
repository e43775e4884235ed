"""TODO causes/lost_tags.py"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.causes.changes import NAME_LEAST, KnownChanges, records_naming
from costwhy.model.observed import Observed
from costwhy.tables import METER

LOST_TOGETHER = timedelta(hours=24)  # meters that are billed once a night lose their tags hours before it shows
UNTAGGED_WITHIN = timedelta(hours=24)


def find_lost_tags(observed: Observed, lake_tables: Mapping[str, pl.DataFrame], recorded: KnownChanges) -> pl.DataFrame:
    """Tags that named an owner and are gone, while the usage goes on: `tables.LOST_TAGS`, most dollars since first."""
    lost: dict[tuple[str | None, str | None], list[tuple[int, int]]] = {}
    for tag in observed.lost_tags:
        key = (observed.meters["service"][tag.meter], observed.meters["team"][tag.meter])
        lost.setdefault(key, []).append((tag.hour, tag.meter))
    rows = [
        _lost_row(observed, lake_tables, recorded, (service, team, together))
        for (service, team), meters in lost.items()
        for together in _together(sorted(meters))
    ]
    frame = tables.LOST_TAGS.fit(pl.DataFrame(rows, schema=tables.LOST_TAGS.schema)) if rows else tables.LOST_TAGS.empty()
    return frame.sort("cost_since", "when", "service", descending=[True, False, False])


def _together(meters: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Meters by the hour in which their tags ended, those of one day together."""
    cuts = [0, *(k + 1 for k, (a, b) in enumerate(pairwise(meters)) if b[0] - a[0] > LOST_TOGETHER / timedelta(hours=1)), len(meters)]
    return [meters[a:b] for a, b in pairwise(cuts)]


def _lost_row(
    observed: Observed,
    lake_tables: Mapping[str, pl.DataFrame],
    recorded: KnownChanges,
    what: tuple[str | None, str | None, list[tuple[int, int]]],
) -> dict[str, object]:
    service, team, meters = what
    when = observed.hours[min(max(hour for hour, _ in meters), len(observed.hours) - 1)]  # the last to show is the first without a doubt
    resources = _resources(observed, lake_tables, [m for _, m in meters], when)
    change = _untagging(recorded, when, resources, service)
    return {
        "when": when,
        "service": service,
        "team": team,
        "resources": resources,
        "cost_since": round(sum(float(observed.cost[m, hour : observed.billed].sum()) for hour, m in meters), 2),
        "age_days": (observed.as_of - when) / timedelta(days=1),
        **{name: change.get(name) for name in ("change_id", "summary", "actor")},
    }


def _resources(observed: Observed, lake_tables: Mapping[str, pl.DataFrame], meters: Sequence[int], when: datetime) -> list[str]:
    """Resources that these meters named in the week before, and that are billed without their tags since."""
    series, daily = lake_tables["series"], lake_tables["daily"].filter(pl.col("ResourceId").is_not_null())
    had = series.join(observed.meters[list(meters)], on=list(METER), how="semi", nulls_equal=True)["series_id"]
    bare = series.filter(pl.col("service").is_null() | pl.col("team").is_null())["series_id"]
    before = pl.col("day").is_between(when - timedelta(days=8), when)
    named = set(daily.filter(before & pl.col("series_id").is_in(had.implode()))["ResourceId"].to_list())
    later = (pl.col("day") >= when - timedelta(days=1)) & pl.col("series_id").is_in(bare.implode())
    return sorted(named & set(daily.filter(later)["ResourceId"].to_list()))


def _untagging(recorded: KnownChanges, when: datetime, resources: Sequence[str], service: str | None) -> dict[str, object]:
    """The record after which the tags were gone: of tags before others, naming the resources before naming the service; the last such."""
    near = recorded.between(when - UNTAGGED_WITHIN, when + timedelta(hours=1))
    rows = recorded.rows[near]
    if rows.is_empty():
        return {}
    tails = [tail for tail in (re.split(r"[:/]", r)[-1] for r in resources) if len(tail) >= NAME_LEAST]
    whole = [r for r in resources if len(r) >= NAME_LEAST]
    naming = rows["change_id"].is_in(records_naming(rows, [*tails, *whole])["change_id"].implode()).to_numpy()
    there = np.array([s is not None and s == service for s in recorded.service[near]], dtype=bool)
    tags = recorded.doing[near] == "tag"
    score = 4 * tags + 2 * naming + there
    fits = (naming | there) & (score > 1)  # of the service alone, and no tag call: any deployment would do
    best = max((k for k in range(rows.height) if fits[k]), key=lambda k: (int(score[k]), k), default=None)
    return {} if best is None else rows.row(best, named=True)
