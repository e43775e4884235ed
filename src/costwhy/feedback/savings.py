"""Savings: what the fix of a spike is worth, measured against the bill that there would have been without it.

For the days after the fix, the rates that the spike had moved are set back to where the spike held them, and the bill is
reckoned again with the traffic that really came: what it would have cost less what it cost is the money saved. The same with
the rates at normal is all that could be saved. A fix is looked at after 7, 14 and 30 billed days.

A rate cannot be set back on what is gone (an edge without a call, a service without one). What began with the spike and
went with its end is measured by what it cost an hour while it ran.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import Lake, LakeAnalysis, analyse
from costwhy.feedback.known_spike import key_of_spike
from costwhy.feedback.verdicts import Said, history, newest
from costwhy.model.baseline import Baseline, Window, mean_rate
from costwhy.model.counterfactual import cost_with
from costwhy.spikes.dollars import SpikeDollars

DAYS = (7, 14, 30)
HELD = timedelta(hours=48)  # a spike that ends so long after its fix was said ended by it
VERIFIED, REGRESSED = 0.6, 0.3  # of what could be saved: this share and more; this share and less
LEAST = 1.0  # in currency: less cannot be told from nothing
LEVEL_HOURS = 7 * 24  # the spike's own last week says where it held its rates


@dataclass(frozen=True)
class Saving:
    """A fix, looked at after some days.

    saved     what it would have cost less what it cost, in these days
    possible  what would have been saved had all rates been normal
    outcome   verified, regressed, inconclusive
    """

    said: Said
    spike_id: str
    days: int
    start: datetime
    end: datetime
    saved: float
    possible: float
    outcome: str


def savings(lake: Lake) -> list[Saving]:
    """Every spike whose owner said `fixed`, after each of `DAYS` that is billed."""
    s, verdicts = analyse(lake), history(lake.place)
    out = []
    for a, row in s.found:
        spike = key_of_spike(s, a, row)
        last = newest(verdicts, spike)
        if last is not None and last.verdict == "fixed":
            out += [
                x for days in DAYS if (x := saving(s, a, last, spike.spike_id, days)) is not None
            ]
    return out


def saving(s: LakeAnalysis, a: SpikeDollars, last: Said, spike_id: str, days: int) -> Saving | None:
    """One spike after so many days; None: they are not billed yet."""
    o = s.observed
    start = fixed_at(s, a, last)
    first = round((start - o.hours[0]) / timedelta(hours=1))
    window = Window(first, first + 24 * days)
    if first <= a.window.start or window.end > o.billed:
        return None
    saved, possible = _measured(s, a, window)
    end = start + timedelta(days=days)
    return Saving(
        last,
        spike_id,
        days,
        start,
        end,
        round(saved, 2),
        round(possible, 2),
        _outcome(saved, possible),
    )


def fixed_at(s: LakeAnalysis, a: SpikeDollars, last: Said) -> datetime:
    """The spike's end where it ended by then or soon after, else the hour in which the owner said so."""
    end = s.observed.hours[0] + timedelta(hours=a.window.end)
    if not a.running and end <= last.at + HELD:
        return end
    return last.at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _outcome(saved: float, possible: float) -> str:
    if possible < LEAST:
        return "inconclusive"
    share = saved / possible
    return (
        "verified" if share >= VERIFIED else "regressed" if share <= REGRESSED else "inconclusive"
    )


def _measured(s: LakeAnalysis, a: SpikeDollars, window: Window) -> tuple[float, float]:
    """Dollars saved and possible in a window after the fix."""
    model, width = s.model, window.end - window.start
    during = np.zeros(len(s.observed.hours), dtype=bool)
    stop = min(a.window.end, window.start)
    during[max(a.window.start, stop - LEVEL_HOURS) : stop] = True
    held, normal, gone = [], [], 0.0
    for reset, dollars in zip(a.baselines, a.dollars, strict=True):
        level = mean_rate(model, reset.rate, during)
        if level is None:
            continue
        if reset.rate.first_hour is not None:
            mine = float(dollars[:, : stop - a.window.start].sum()) / max(1, stop - a.window.start)
            left = mean_rate(model, reset.rate, _mask(s, window)) or 0.0
            gone += mine * width * (1 - min(1.0, max(0.0, left / level))) if level else 0.0
            normal.append(mine * width)
            continue
        held.append(
            (
                Baseline(reset.rate, np.full(width, level)),
                Baseline(reset.rate, np.full(width, float(reset.values.mean()))),
            )
        )
    paid = float(model.cost[:, window.hours].sum())
    with_spike = float(cost_with(model, window, [x for x, _ in held]).sum()) if held else paid
    with_normal = float(cost_with(model, window, [x for _, x in held]).sum()) if held else paid
    return with_spike - paid + gone, with_spike - with_normal + sum(normal)


def _mask(s: LakeAnalysis, window: Window) -> np.ndarray:
    inside = np.zeros(len(s.observed.hours), dtype=bool)
    inside[window.hours] = True
    return inside


def table(found: list[Saving]) -> pl.DataFrame:
    """As `tables.SAVINGS`."""
    rows = [
        {"spike_id": x.spike_id, "who": x.said.who, "days": x.days, "from": x.start, "to": x.end}
        | {"saved": x.saved, "possible": x.possible, "outcome": x.outcome}
        for x in found
    ]
    return tables.SAVINGS.fit(pl.DataFrame(rows)) if rows else tables.SAVINGS.empty()
