"""Savings: what the fix of a spike is worth, compared with the bill without the fix.

For the days after the fix, the rates that the spike had moved are set to their level during the
spike, and the bill is computed again with the traffic that really came. What it would have cost,
less what it cost, is the money saved. The same with the rates at their baseline is what could be
saved. A fix is evaluated after 7, 14 and 30 billed days.

A rate cannot be set back on what is gone (an edge without a call, a service without one). What
began with the spike and went with its end counts with what it cost an hour while it ran.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.case.analysis import FoundSpike, LakeAnalysis, LakeReader, analyse
from costwhy.feedback.verdicts import Verdict, key_of_spike, newest, verdicts_of
from costwhy.model.baseline import Baseline, Window, cost_with, mean_rate
from costwhy.spikes.dollars import SpikeDollars

DAYS = (7, 14, 30)
VERIFIED, REGRESSED = 0.6, 0.3  # shares of what could be saved: this and more, this and less
LEAST = 1.0  # in the lake's currency: a smaller amount is not evaluated


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
    return [
        saving
        for found in analysis.found
        if (verdict := newest(verdicts, key_of_spike(analysis, found)))
        and verdict.verdict == "fixed"
        for saving in _savings(analysis, found, verdict)
    ]


def _savings(analysis: LakeAnalysis, found: FoundSpike, verdict: Verdict) -> Iterator[Saving]:
    start = _fixed_at(analysis, found.dollars, verdict)
    first = round((start - analysis.observed.hours[0]) / timedelta(hours=1))
    for days in DAYS:
        window = Window(first, first + 24 * days)
        if first > found.dollars.window.start and window.end <= analysis.observed.billed:
            saved, possible = _measured(analysis, found.dollars, window)
            yield Saving(
                verdict=verdict,
                spike_id=found.row.spike_id,
                days=days,
                start=start,
                end=start + timedelta(days=days),
                saved=round(saved, 2),
                possible=round(possible, 2),
                outcome=_outcome(saved, possible),
            )


def _fixed_at(analysis: LakeAnalysis, dollars: SpikeDollars, verdict: Verdict) -> datetime:
    """The spike's end where it ended within two days of the verdict, else the verdict's hour."""
    end = analysis.observed.hours[0] + timedelta(hours=dollars.window.end)
    return (
        end
        if not dollars.running and end <= verdict.at + timedelta(hours=48)
        else verdict.at.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    )


def _outcome(saved: float, possible: float) -> str:
    if possible < LEAST or REGRESSED < saved / possible < VERIFIED:
        return "inconclusive"
    return "verified" if saved / possible >= VERIFIED else "regressed"


def _measured(analysis: LakeAnalysis, dollars: SpikeDollars, window: Window) -> tuple[float, float]:
    """Dollars saved and possible in a window after the fix."""
    model, width = analysis.model, window.end - window.start
    stop = min(dollars.window.end, window.start)
    # the spike's own last week gives the level of its rates
    during = _mask(analysis, Window(max(dollars.window.start, stop - 7 * 24), stop))
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
    with_spike, with_baseline = (
        float(cost_with(model, window, rates).sum()) if rates else paid
        for rates in (as_in_spike, as_in_baseline)
    )
    return with_spike - paid + gone_saved, with_spike - with_baseline + gone_possible


def _mask(analysis: LakeAnalysis, window: Window) -> np.ndarray:
    hours = np.arange(len(analysis.observed.hours))
    return (window.start <= hours) & (hours < window.end)


def savings_table(found: list[Saving]) -> pl.DataFrame:
    """As `tables.SAVINGS`."""
    return tables.SAVINGS.of(
        [{**vars(one), "who": one.verdict.who, "from": one.start, "to": one.end} for one in found]
    )
