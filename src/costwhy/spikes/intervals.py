"""Intervals: how far off a spike's excess may be, from its 10 % to its 90 % quantile.

Three errors that are independent of each other:

    baseline    of calls, how far off it was on earlier days; of other rates, their noise
    autoscaler  hours in which a rule kept an instance too many or too few
    estimate    of unbilled hours, how far off such estimates were (`model/backtest.py`)
"""

import numpy as np

from costwhy.behaviours import OF_USAGE, ON_EDGES
from costwhy.model.backtest import COVERAGE, backtest, half_width, independent_days
from costwhy.model.baseline import Window, baseline_errors
from costwhy.model.levels import WEEK
from costwhy.model.rates import Model
from costwhy.spikes.dollars import SpikeDollars

QUANTILE_90 = 1.2816  # of a standard normal


def unbilled_half_width(model: Model, spike: SpikeDollars) -> float:
    """Half-width of the interval of the unbilled excess: estimate error and baseline error.

    For rates of usage an estimate error scales with the cost, as their baseline does not depend on
    the estimate; for all other rates it scales with the excess.
    """
    if spike.billed == spike.window.width:
        return 0.0
    begin, meters = spike.window.start + spike.billed, list(spike.moved_meters)
    billed = model.observed.billed
    ahead = slice(begin - billed, spike.window.end - billed)
    of_usage = {b.rate.row for b in spike.baselines if b.rate.kind in OF_USAGE}
    cost = model.cost[meters, begin : spike.window.end].sum(axis=1)
    excess = spike.excess[meters, spike.billed :].sum(axis=1)
    weight = np.where([row in of_usage for row in meters], cost, excess)
    estimate = backtest(model, meters, ahead).half_width(weight)
    return float(
        np.hypot(estimate, excess_half_width(model, spike, spike.billed, spike.window.width))
    )


def excess_half_width(model: Model, spike: SpikeDollars, first: int, last: int) -> float:
    """Half-width of the interval of the excess in hours [first, last) of the spike."""
    widths = [_of_baseline(model, spike, k, first, last) for k in range(len(spike.baselines))]
    widths.append(_of_autoscalers(model, spike, last - first))
    return float(np.sqrt(np.square(widths).sum()))


def _of_baseline(model: Model, spike: SpikeDollars, k: int, first: int, last: int) -> float:
    """The part that is the baseline of the `k`-th rate."""
    usual, dollars = spike.baselines[k], float(spike.dollars[k][:, first:last].sum())
    by_noise = QUANTILE_90 * spike.relative_errors[k] * abs(dollars)
    if spike.spike is None or usual.rate.kind not in ON_EDGES:
        return by_noise
    hours = Window(spike.window.start + first, spike.window.start + last)
    calls, of = (part[hours.hours] for part in model.parts(usual.rate.kind, usual.rate.row))
    expected = float((usual.values[first:last] * of).sum())
    more = float(calls.sum()) - expected
    if not expected or not more:
        return by_noise
    baseline_hours = spike.spike.episodes[k].baseline_hours
    errors = baseline_errors(model, usual.rate, hours, first, baseline_hours)
    in_dollars = errors * abs(dollars * expected / more)
    return half_width(in_dollars, by_noise, independent_days(errors))


def _of_autoscalers(model: Model, spike: SpikeDollars, hours: int) -> float:
    """The part that is autoscalers' rules: an hour that one gets wrong is one instance off.

    How often a rule is wrong is counted in the week before the spike, plus half an hour. Zero where
    it is likelier than COVERAGE that no hour at all is wrong.
    """
    wrong_hours, variance = 0.0, 0.0
    before = min(spike.since, model.observed.billed)
    week = slice(max(0, before - WEEK), before)
    for row in spike.moved_meters:
        rule = model.meters[row].rule
        if rule is None:
            continue
        gap = (model.usage[row] - model.predicted_usage[row])[week]
        off = np.abs(gap - np.median(gap)) > rule.per_instance / 2 if gap.size else gap
        problem = hours * (float(off.sum()) + 0.5) / (gap.size + 1)
        wrong_hours += problem
        variance += problem * float(rule.per_instance * model.price[row, spike.window.start]) ** 2
    return QUANTILE_90 * float(np.sqrt(variance)) if np.exp(-wrong_hours) < COVERAGE else 0.0
