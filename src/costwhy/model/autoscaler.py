"""The rule of an autoscaler, learned from usage and calls.

    instances = max(floor, ceil((calls + spare) / each)), the highest of the last `hold` + 1 hours
    usage     = per_instance x instances

Of a bill by the hour the rule is exact: usage moves in steps of one instance. Of a bill by the day
only sums are known. Then the rule is learned without steps: usage is in proportion to the calls of
the hour (and some spare ones), but not under a floor.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import maximum_filter1d

from costwhy.arrays import Array, Ints
from costwhy.model.levels import robust_spread

LEAST_MATCH = 0.5  # a rule must reproduce this share of the hours
LEAST_FIRST = 0.2  # and without a wait, on coarse candidates, this share: else none is looked for
DAILY_NOISE = 0.05  # relative: sums by the day that a rule explains lie this close to it
DAILY_BETTER = 0.5  # and have at most this share of the noise of the sums themselves
STILL = 0.01  # relative noise of sums that do not move with anything
LEAST_DAYS = 10
FINE = 1000  # instances of a rule without steps, in a mean hour
SPARE = (0.0, 0.03, 0.1, 0.2, 0.4)  # of the median calls of an hour


@dataclass(frozen=True)
class AutoscalerRule:
    """How many instances an autoscaler keeps for the calls, and the usage of each."""

    floor: float
    each: float  # calls that one instance takes
    per_instance: float
    hold: int  # hours that it waits before it scales in
    match: float = 0.0  # share of hours whose instance count the rule reproduces
    spare: float = 0.0  # calls for which it keeps instances beside those that come

    def instances(self, calls: Array, each: Array | float | None = None) -> Array:
        """Instances that this rule keeps for these calls (... x T), or with another `each`."""
        wanted = np.ceil((calls + self.spare) / (self.each if each is None else each) - 1e-9)
        wanted, half = np.maximum(self.floor, wanted), self.hold // 2
        if not self.hold:
            return np.asarray(wanted)
        return np.asarray(maximum_filter1d(wanted, self.hold + 1, mode="nearest", origin=half))

    def usage(self, calls: Array) -> Array:
        """Usage that this rule keeps for these calls (T)."""
        return self.instances(calls) * self.per_instance


def learn_rule(usage: Array, calls: Array) -> AutoscalerRule | None:
    """The rule that reproduces most hours.

    None where usage has no steps, or does not move with the calls.
    """
    levels, counts = np.unique(np.round(usage[usage > 0], 6), return_counts=True)
    common = levels[counts >= max(2, 0.002 * usage.size)]
    if common.size < 2:
        return None
    step = float(np.min(np.diff(common)))
    instances = np.round(usage / step)
    if np.median(np.abs(instances * step - usage)) > 0.01 * step or common[0] < 0.5 * step:
        return None
    rules = []
    for floor in np.unique(instances[instances > 0])[:3].tolist():
        above = (instances > floor) & (calls > 0)
        if above.sum() < 10:
            continue
        coarse = np.quantile(calls[above] / instances[above], np.linspace(0.1, 1.0, 46))
        for hold in (0, 1, 2):
            rule = AutoscalerRule(floor, 1.0, step, hold)
            rules.append(_best_each(rule, coarse, instances, calls))
            if hold == 0 and rules[-1].match < LEAST_FIRST:
                break
            rules.append(
                _best_each(rule, rules[-1].each * np.linspace(0.97, 1.03, 61), instances, calls)
            )
    best = max(rules, key=lambda rule: rule.match, default=None)
    return best if best is not None and best.match >= LEAST_MATCH else None


def _best_each(
    rule: AutoscalerRule, candidates: Array, instances: Array, calls: Array
) -> AutoscalerRule:
    """The rule with the calls per instance that reproduce most hours; of equals the middle one."""
    match = (np.abs(rule.instances(calls, candidates[:, None]) - instances) < 0.5).mean(axis=1)
    ties = np.flatnonzero(match == match.max())
    best = ties[ties.size // 2]
    return replace(rule, each=float(candidates[best]), match=float(match[best]))


def learn_rule_by_day(usage: Array, calls: Array, days: Ints) -> AutoscalerRule | None:
    """The rule without steps that explains the sums by the day; None where none does.

    usage, calls: by the hour (T), of usage only the sums by the day are used; days: T, the number
    of the day of each hour
    """
    total, size = np.bincount(days, usage), np.bincount(days)
    known = (size == 24) & (total > 0)
    if known.sum() < LEAST_DAYS or not np.any(calls > 0):
        return None
    by_day = np.log(total[known])
    moves = float(robust_spread(by_day))
    if moves < STILL:
        return None
    median, rules = float(np.median(calls[calls > 0])), []
    for spare in SPARE:
        load = calls + spare * median
        for floor in np.quantile(load, np.linspace(0.0, 0.95, 20)):
            kept = np.bincount(days, np.maximum(load, floor))[known]
            if kept.min() > 0:
                ratio = by_day - np.log(kept)
                noise = float(robust_spread(ratio))
                rules.append((noise, float(floor), spare * median, float(np.exp(np.median(ratio)))))
    noise, floor, spare, per_call = min(rules, default=(np.inf, 0.0, 0.0, 0.0))
    if noise > DAILY_NOISE or noise > DAILY_BETTER * moves:
        return None
    per_instance = float(usage.mean()) / FINE
    each = per_instance / per_call
    return AutoscalerRule(floor / each, each, per_instance, 0, match=1.0, spare=spare)
