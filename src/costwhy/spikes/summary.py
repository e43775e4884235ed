"""TODO spikes/summary.py"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from costwhy.behaviours import BY_KIND, verdict
from costwhy.model.levels import WEEK
from costwhy.model.observed import Observed
from costwhy.model.rates import Model, Rate
from costwhy.spikes.dollars import SpikeDollars
from costwhy.spikes.intervals import half_width, late_half_width
from costwhy.text import cents

NOW_HOURS = 3  # the last hours, whose mean is *an hour now*
WHERE_ORDER = ("service", "ServiceName", "x_UsageType", "team", "RegionId", "SubAccountId")
WHERE_SHARE = 0.97  # of the spike's dollars that a value of `where` must hold


@dataclass(frozen=True)
class SpikeRow:
    """One row of `tables.SPIKES`: the same names in the same order; money in the lake's currency."""

    spike_id: str
    title: str
    start: datetime
    end: datetime | None
    status: str
    shape: str
    where: str
    expected_cost: float
    actual_cost: float
    excess_cost: float
    excess_low: float
    excess_high: float
    nowcast_hours: int
    nowcast_excess_cost: float
    nowcast_low: float
    nowcast_high: float
    cost_per_hour_now: float
    month_end_excess_cost: float
    verdict: str

    def __getitem__(self, name: str) -> Any:
        """Until every caller uses the attribute."""
        return getattr(self, name)


def spike_row(model: Model, a: SpikeDollars) -> SpikeRow:
    """The row of `tables.SPIKES`."""
    o, hours, billed = model.observed, a.hourly, a.billed
    own = list(a.moved_meters)
    excess = cents(float(hours[:billed].sum()))
    actual = cents(float(model.cost[own, a.window.start : a.window.start + billed].sum()))
    late, late_width = float(hours[billed:].sum()), late_half_width(model, a)
    running = a.running
    now = _now(model, a) if running else 0.0
    where = _where(o, a)
    start = o.hours[a.window.start]
    lead = a.baselines[0].rate if a.baselines else None
    spread = half_width(model, a, (0, billed)) if billed else 0.0
    return SpikeRow(
        spike_id=_spike_id(start, where, lead),
        title=_title(lead, where),
        start=start,
        end=None if running else o.hours[0] + timedelta(hours=a.window.end),
        status="running" if running else "ended",
        shape=a.shape,
        where=json.dumps(where),
        expected_cost=cents(actual - excess),
        actual_cost=actual,
        excess_cost=excess,
        excess_low=cents(excess - spread),
        excess_high=cents(excess + spread),
        nowcast_hours=int(hours.size - billed),
        nowcast_excess_cost=cents(late),
        nowcast_low=cents(late - late_width),
        nowcast_high=cents(late + late_width),
        cost_per_hour_now=cents(now),
        month_end_excess_cost=cents(_month_end(model, a)),
        verdict=_verdict(a),
    )


def _now(model: Model, a: SpikeDollars) -> float:
    """Dollars an hour now: of the last hours, of the last day where the bill does not name each of these hours."""
    last = slice(max(a.window.start, a.window.end - NOW_HOURS), a.window.end)
    named = (model.cost[list(a.moved_meters), last] != 0).any(axis=0).all()
    return float(a.hourly[-(NOW_HOURS if named else 24) :].mean())


def _month_end(model: Model, a: SpikeDollars) -> float:
    """Excess from the start to the end of the month of as-of if nothing is done: the rate of whole days goes on."""
    whole = float(a.hourly.sum())
    if not a.running:
        return whole
    o = model.observed
    end = (o.as_of.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
    left = (end - o.as_of) / timedelta(hours=1)
    size = a.hourly.size
    if size >= 24:
        days = min(size // 24, 7) * 24
        return whole + float(a.hourly[-days:].mean()) * left
    service = next((m.service for m in (model.meters[k] for k in a.moved_meters) if m.service is not None), None)
    if service is None:
        return whole + float(a.hourly.mean()) * left
    weight = model.handled[service]
    week, inside = (
        weight[max(0, a.window.start - WEEK) : a.window.start],
        weight[max(0, a.window.start - WEEK) : max(1, a.window.end - WEEK)],
    )
    usual = float(week.mean()) / float(inside.mean()) if inside.size and inside.mean() > 0 and week.size >= WEEK else 1.0
    return whole + float(a.hourly.mean()) * float(np.clip(usual, 0.3, 3.0)) * left


def _where(o: Observed, a: SpikeDollars) -> dict[str, str]:
    """What the spike's rows have in common, values exact; empty where they have nothing."""
    cost = np.abs(a.excess).sum(axis=1)[list(a.moved_meters)]
    rows = o.meters[list(a.moved_meters)].with_columns(weight=cost)
    where: dict[str, str] = {}
    for name in WHERE_ORDER:
        by_value = rows.group_by(name).agg(pl.col("weight").sum()).sort("weight", name, descending=[True, False])
        if by_value.height and by_value[name][0] is not None and by_value["weight"][0] >= WHERE_SHARE * cost.sum():
            where[name] = by_value[name][0]
    return where


def _spike_id(start: datetime, where: Mapping[str, str], rate: Rate | None) -> str:
    parts = [
        where.get("service") or (rate.service if rate else None) or "",
        where.get("ServiceName") or (rate.usage_type or rate.kind if rate else "window"),
    ]
    words = ["".join(ch if ch.isalnum() else "-" for ch in part.lower()).strip("-") for part in parts if part]
    return "-".join([f"{start:%Y%m%dT%H}", *words])[:100]


def _title(rate: Rate | None, where: Mapping[str, str]) -> str:
    if rate is None:
        return "nothing moved"
    return f"{BY_KIND[rate.kind].title} {rate.service or rate.usage_type or where.get('ServiceName', '')}".strip()


def _verdict(a: SpikeDollars) -> str:
    return verdict([(r.rate.kind, float(d.sum())) for r, d in zip(a.baselines, a.dollars, strict=True)])
