"""Savings: what the fix of a spike is worth, compared with the bill without the fix.

For the days after the fix, the rates that the spike had moved are set to their level during the
spike, and the bill is computed again with the traffic that really came. What it would have cost,
less what it cost, is the money saved. The same with the rates at their baseline is what could be
saved. A fix is evaluated after 7, 14 and 30 billed days.

A rate cannot be set back on what is gone (an edge without a call, a service without one). What
began with the spike and went with its end counts with what it cost an hour while it ran.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import LakeAnalysis, LakeReader, analyse
from costwhy.feedback.verdicts import Verdict, key_of_spike, newest, verdicts_of
from costwhy.model.baseline import Baseline, Window, cost_with, mean_rate
from costwhy.spikes.dollars import SpikeDollars

DAYS = (7, 14, 30)
# A spike that ends within this time after the verdict `fixed` was ended by the fix.
END_BY_FIX = timedelta(hours=48)
VERIFIED, REGRESSED = 0.6, 0.3  # shares of what could be saved: this and more, this and less
LEAST = 1.0  # in the lake's currency: a smaller amount is not evaluated
LEVEL_HOURS = 7 * 24  # the spike's own last week gives the level of its rates


@dataclass(frozen=True)
class Saving:
    """A fix, evaluated after some days.

    verdict   what the owner said
    saved     what it would have cost less what it cost, in these days
    possible  what would have been saved with all rates at their baseline
    outcome   verified, regressed, inconclusive
    """

    verdict: Verdict
    spike_id: str
    days: int
    start: datetime
    end: datetime
    saved: float
    possible: float
    outcome: str


def savings(lake: LakeReader) -> list[Saving]:
    """Every spike whose newest verdict is `fixed`, after each of `DAYS` that is billed."""
    analysis, verdicts = analyse(lake), verdicts_of(lake.place)
    made = []
    for found in analysis.found:
        spike = key_of_spike(analysis, found)
        verdict = newest(verdicts, spike)
        if verdict is not None and verdict.verdict == "fixed":
            after = (saving(analysis, found.dollars, verdict, spike.spike_id, n) for n in DAYS)
            made += [one for one in after if one is not None]
    return made


def saving(
    analysis: LakeAnalysis, dollars: SpikeDollars, verdict: Verdict, spike_id: str, days: int
) -> Saving | None:
    """One spike after so many days; None: they are not billed yet."""
    start = fixed_at(analysis, dollars, verdict)
    first = round((start - analysis.observed.hours[0]) / timedelta(hours=1))
    window = Window(first, first + 24 * days)
    if first <= dollars.window.start or window.end > analysis.observed.billed:
        return None
    saved, possible = _measured(analysis, dollars, window)
    return Saving(
        verdict=verdict,
        spike_id=spike_id,
        days=days,
        start=start,
        end=start + timedelta(days=days),
        saved=round(saved, 2),
        possible=round(possible, 2),
        outcome=_outcome(saved, possible),
    )


def fixed_at(analysis: LakeAnalysis, dollars: SpikeDollars, verdict: Verdict) -> datetime:
    """The spike's end where it ended by then or soon after, else the hour of the verdict."""
    end = analysis.observed.hours[0] + timedelta(hours=dollars.window.end)
    if not dollars.running and end <= verdict.at + END_BY_FIX:
        return end
    return verdict.at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def _outcome(saved: float, possible: float) -> str:
    share = saved / possible if possible >= LEAST else None
    if share is None or REGRESSED < share < VERIFIED:
        return "inconclusive"
    return "verified" if share >= VERIFIED else "regressed"


def _measured(analysis: LakeAnalysis, dollars: SpikeDollars, window: Window) -> tuple[float, float]:
    """Dollars saved and possible in a window after the fix."""
    model, width = analysis.model, window.end - window.start
    stop = min(dollars.window.end, window.start)
    during = _mask(analysis, Window(max(dollars.window.start, stop - LEVEL_HOURS), stop))
    as_in_spike, as_in_baseline = [], []
    gone_saved, gone_possible = 0.0, 0.0
    for baseline, amounts in zip(dollars.baselines, dollars.dollars, strict=True):
        rate = baseline.rate
        level = mean_rate(model, rate, during)
        if level is None:
            continue
        if rate.first_hour is not None:
            hours = stop - dollars.window.start
            cost = float(amounts[:, :hours].sum()) / max(1, hours) * width
            left = mean_rate(model, rate, _mask(analysis, window)) or 0.0
            gone_saved += cost * (1 - min(1.0, max(0.0, left / level))) if level else 0.0
            gone_possible += cost
            continue
        as_in_spike.append(Baseline(rate, np.full(width, level)))
        as_in_baseline.append(Baseline(rate, np.full(width, float(baseline.values.mean()))))
    paid = float(model.cost[:, window.hours].sum())
    with_spike = float(cost_with(model, window, as_in_spike).sum()) if as_in_spike else paid
    with_baseline = float(cost_with(model, window, as_in_baseline).sum()) if as_in_spike else paid
    return with_spike - paid + gone_saved, with_spike - with_baseline + gone_possible


def _mask(analysis: LakeAnalysis, window: Window) -> np.ndarray:
    inside = np.zeros(len(analysis.observed.hours), dtype=bool)
    inside[window.hours] = True
    return inside


def savings_table(found: list[Saving]) -> pl.DataFrame:
    """As `tables.SAVINGS`."""
    rows = [
        {**vars(one), "who": one.verdict.who, "from": one.start, "to": one.end} for one in found
    ]
    return tables.SAVINGS.fit(pl.DataFrame(rows, schema=tables.SAVINGS.schema))
