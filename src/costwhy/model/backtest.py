"""Backtest: how far off past estimates of unbilled hours were, measured against the bill.

On each of the last days the same hours are estimated as they would have been then, and compared
with the bill that has come since. Meters of one service err together, so errors are kept by day and
added up for each set of meters. With n past errors, the interval that holds the next one in 80 % of
the cases reaches to the 0.8 (n + 1)-th smallest of their sizes (the order statistics of split
conformal prediction, Lei et al. 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array, Mask
from costwhy.model.estimates import Basis, Cutoff, estimates
from costwhy.text import HALF_CENT

DAYS = 14  # cut-offs: two of each weekday, and 0.8 (14 + 1) is the 12th error
LEAST_HISTORY = 72  # billed hours before a cut-off
COVERAGE = 0.8  # share of the intervals that hold the bill
PRIOR_ERROR = 0.1  # relative half-width without any past error; each missing day has 1/DAYS of it


@dataclass(frozen=True)
class Backtest:
    """Past estimates and the bill, in dollars (D cut-offs, newest first; R meters)."""

    cutoffs: tuple[Cutoff, ...]
    estimated: Array  # D x R
    billed: Array  # D x R

    @cached_property
    def errors(self) -> Array:
        """Bill over estimate, less 1 (D x R); NaN: the meter did not exist yet."""
        exists = np.abs(self.estimated) > 1e-9
        ratio = self.billed / np.where(exists, self.estimated, 1.0) - 1.0
        return np.where(exists, ratio, np.where(self.billed == 0.0, 0.0, np.nan))

    def half_width(self, dollars: Array, since: int = 0) -> float:
        """Half-width of the COVERAGE interval of an estimate, in dollars.

        dollars  (R) what an error of each meter's usage weighs, as a rule its estimate
        since    cut-offs before this one of the list are not known yet

        A day counts if its errors are known for half of these dollars.
        """
        part, weight = slice(since, since + DAYS), np.abs(dollars)
        known = np.isfinite(self.errors[part]) & (self.estimated[part] != 0.0)
        share = (known * weight).sum(axis=1)
        enough = share >= 0.5 * weight.sum() if weight.any() else np.zeros(len(share), dtype=bool)
        off = (np.where(known, self.errors[part], 0.0) * dollars).sum(axis=1)[enough]
        off = off * weight.sum() / share[enough]
        return half_width(off, PRIOR_ERROR * float(weight.sum()))


def half_width(errors: Array, prior: float, independent: float | None = None) -> float:
    """Half-width of the COVERAGE interval from past errors; each missing day counts as `prior`.

    independent: how many of the errors are independent; None: all
    """
    n = errors.size
    if not n:
        return prior
    telling, share = independent or n, min(1.0, n / DAYS)
    rank = COVERAGE * (telling + 1) / telling * n - 1
    size = float(np.interp(rank, np.arange(n), np.sort(np.abs(errors))))
    return share * size + (1.0 - share) * prior


def independent_days(errors: Array) -> float:
    """How many independent errors tell as much as these of consecutive days.

    n (1 - r) / (1 + r), r the correlation of neighbours (Bartlett 1935)
    """
    squares = float(np.square(errors).sum())
    r = max(0.0, float((errors[1:] * errors[:-1]).sum()) / squares if squares > 0 else 0.0)
    return max(1.0, errors.size * (1 - r) / (1 + r))


def backtest(basis: Basis, rows: Sequence[int], hours: slice, days: int = DAYS) -> Backtest:
    """The last days' estimates of these hours after the cut-off, at today's delay.

    hours: 0 is the first that is not billed at the cut-off

    A cut-off lies at today's hour of the day, so far back that all it estimated is billed now. How
    meters follow calls is today's knowledge; levels, ratios and prices are those of the cut-off.
    """
    observed, lag = basis.observed, basis.now.until - basis.now.billed
    newest = observed.billed - 24 * -(-lag // 24)
    ends = [newest - 24 * k for k in range(days)] if lag else []
    cutoffs = tuple(Cutoff(end, end + lag) for end in ends if end >= LEAST_HISTORY)
    index, shape = np.asarray(rows, dtype=np.int64), (len(cutoffs), len(rows))
    estimated = [e.cost[:, hours].sum(axis=1) for e in estimates(basis, rows, cutoffs)]
    billed = [observed.cost[index, c.hours][:, hours].sum(axis=1) for c in cutoffs]
    return Backtest(cutoffs, np.array(estimated).reshape(shape), np.array(billed).reshape(shape))


def past_estimates(basis: Basis, rows: Sequence[int]) -> pl.DataFrame:
    """Estimates of the last DAYS days by service, and the bill: `tables.NOWCAST`, newest first.

    Made at today's delay; each day's interval rests on the errors that were known on that day.
    Empty where every hour is billed.

    rows: meters that count
    """
    observed, lag = basis.observed, basis.now.until - basis.now.billed
    past = backtest(basis, rows, slice(None), 2 * DAYS)
    service = pl.coalesce("service", "ServiceName", pl.lit("charges"))
    names = observed.meters[list(rows)].select(service)["service"].to_numpy()
    sets: dict[str | None, Mask] = {None: np.ones(names.size, dtype=bool)}
    sets |= {name: names == name for name in sorted(set(names))}
    out: list[dict[str, object]] = []
    for day, cutoff in enumerate(past.cutoffs[:DAYS]):
        for name, members in sets.items():
            estimated = float(past.estimated[day, members].sum())
            billed = float(past.billed[day, members].sum())
            if not estimated and not billed:
                continue
            known = day + -(-lag // 24)
            width = past.half_width(past.estimated[day] * members, known)
            out.append(
                {
                    "day": observed.hours[cutoff.billed],
                    "hours": lag,
                    "service": name,
                    "estimated_cost": estimated,
                    "billed_cost": billed,
                    "error": estimated - billed,
                    "low": estimated - width,
                    "high": estimated + width,
                    "inside": abs(estimated - billed) <= width + HALF_CENT,
                }
            )
    return tables.NOWCAST.fit(pl.DataFrame(out, schema=tables.NOWCAST.schema))
