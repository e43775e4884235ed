"""TODO spikes/intervals.py"""

import numpy as np

from costwhy.behaviours import OF_USAGE, ON_EDGES
from costwhy.model.backtest import COVERAGE, backtest, held_by, independent_days
from costwhy.model.baseline import Window, baseline_errors, calls_of
from costwhy.model.levels import WEEK
from costwhy.model.rates import Model
from costwhy.spikes.dollars import SpikeDollars

QUANTILE_90 = 1.2816


def late_half_width(model: Model, a: SpikeDollars) -> float:
    """From the estimated excess of the hours that are not billed yet to its 10 % and its 90 % quantile.

    Part is the estimate of these hours, as far off as such estimates were on the last days; part is each rate's normal. A rate of the
    usage itself is set back to a normal that the estimate does not move: an error there weighs as the whole cost, elsewhere as the excess.
    """
    if a.billed == a.hourly.size:
        return 0.0
    begin = a.window.start + a.billed
    ahead = slice(begin - model.observed.billed, a.window.end - model.observed.billed)
    own = list(a.moved_meters)
    of_usage = {r.rate.row for r in a.baselines if r.rate.kind in OF_USAGE}
    cost, excess = model.cost[own, begin : a.window.end].sum(axis=1), a.excess[own, a.billed :].sum(axis=1)
    weighs = np.where([m in of_usage for m in own], cost, excess)
    return float(np.hypot(backtest(model.basis, own, ahead).half_width(weighs), half_width(model, a, (a.billed, a.hourly.size))))


def _normal_width(model: Model, a: SpikeDollars, k: int, part: tuple[int, int]) -> float:
    """The part of a width which is the normal of the `k`-th rate: of calls by how far off it was on earlier days, else by its noise.

    part: hours [first, last) of the spike that are asked about.
    """
    inside = slice(*part)
    reset, dollars = a.baselines[k], float(a.dollars[k][:, inside].sum())
    by_noise = QUANTILE_90 * a.relative_errors[k] * abs(dollars)
    if a.spike is None or reset.rate.kind not in ON_EDGES:
        return by_noise
    window = Window(a.window.start + part[0], a.window.start + part[1])
    calls, of = calls_of(model, reset.rate)
    usual = float((reset.values[inside] * of[window.hours]).sum())
    more = float(calls[window.hours].sum()) - usual
    if not usual or not more:
        return by_noise
    off = baseline_errors(model, reset.rate, window, part[0], a.spike.episodes[k].baseline_hours)
    return held_by(off * abs(dollars * usual / more), by_noise, independent_days(off))  # traffic that is high today is high tomorrow


def half_width(model: Model, a: SpikeDollars, part: tuple[int, int]) -> float:
    """From the excess of these hours of the spike to its 10 % and its 90 % quantile: every rate's normal, and what autoscalers would have kept."""
    normals = [_normal_width(model, a, k, part) for k in range(len(a.baselines))]
    return float(np.sqrt(np.square([*normals, _steps_width(model, a, part)]).sum()))


def _steps_width(model: Model, a: SpikeDollars, part: tuple[int, int]) -> float:
    """The part of a width which is autoscalers' rules: an hour that one tells wrong is a step of instances too many or too few.

    How often a rule tells wrong is seen in the week before the spike; nothing seen counts as half an hour. Nothing is added where it is
    likelier than COVERAGE that no hour at all is told wrong.
    """
    missed, square = 0.0, 0.0
    for m in a.moved_meters:
        rule, service = model.meters[m].rule, model.meters[m].service
        if rule is None or service is None:
            continue
        week = slice(max(0, min(a.since, model.observed.billed) - WEEK), min(a.since, model.observed.billed))
        gap = model.usage[m, week] - rule.usage(model.handled[service])[week]
        wrong = float((np.abs(gap - np.median(gap)) > rule.per_instance / 2).sum()) + 0.5 if gap.size else 0.5
        hours = (part[1] - part[0]) * wrong / (gap.size + 1)
        missed += hours
        square += hours * float(rule.per_instance * model.price[m, a.window.start]) ** 2
    return QUANTILE_90 * float(np.sqrt(square)) if np.exp(-missed) < COVERAGE else 0.0
