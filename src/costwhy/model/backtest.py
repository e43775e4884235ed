"""TODO model/backtest.py"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from costwhy import tables
from costwhy.arrays import Array
from costwhy.model.estimates import Basis, Cutoff, estimates
from costwhy.text import HALF_CENT

DAYS = 14  # cut-offs that are looked back on: two of each weekday, and 0.8 (14 + 1) is the 12th
LEAST_HISTORY = 72  # hours before a cut-off: less tells nothing
COVERAGE = 0.8  # share of the intervals that shall hold the bill
PRIOR_ERROR = 0.1  # relative half-width until bills have said otherwise; each day looked back on takes 1/DAYS of its weight


@dataclass(frozen=True)
class Backtest:
    """Past estimates against the bill: dollars of the same hours after each cut-off (D cut-offs, newest first; R meters)."""

    cutoffs: tuple[Cutoff, ...]
    estimated: Array  # D x R
    billed: Array  # D x R

    @cached_property
    def errors(self) -> Array:
        """How much more was billed than estimated, relative to the estimate (D x R); NaN: the meter was not there yet."""
        there = np.abs(self.estimated) > 1e-9
        ratio = self.billed / np.where(there, self.estimated, 1.0) - 1.0
        return np.where(there, ratio, np.where(self.billed == 0.0, 0.0, np.nan))

    def half_width(self, dollars: Array, since: int = 0) -> float:
        """Dollars to each side of an estimate that hold the bill in COVERAGE of the cases.

        dollars (R): what an error of each meter's usage weighs: its estimate, where nothing else is known. since: cut-offs before this
        one of the list are not known yet. A day counts where it tells of half of these dollars.
        """
        errors, weight = self.errors[since : since + DAYS], np.abs(dollars)
        known = np.isfinite(errors) & (self.estimated[since : since + DAYS] != 0.0)
        told = (known * weight).sum(axis=1)
        days = np.flatnonzero(told >= 0.5 * weight.sum()) if weight.any() else np.zeros(0, dtype=int)
        off = (np.where(known, errors, 0.0) * dollars).sum(axis=1)[days] * weight.sum() / told[days]
        prior = PRIOR_ERROR * float(weight.sum())
        return held_by(off, prior)


def held_by(errors: Array, prior: float, independent: float | None = None) -> float:
    """The size of error that the next one stays under in COVERAGE of the cases, from past ones; each that is missing to DAYS counts as `prior`.

    independent: how many of the errors tell something of their own; None: all.
    """
    n = errors.size
    if not n:
        return prior
    telling, share = independent or n, min(1.0, n / DAYS)
    rank = COVERAGE * (telling + 1) / telling * n - 1
    return share * float(np.interp(rank, np.arange(n), np.sort(np.abs(errors)))) + (1.0 - share) * prior


def independent_days(errors: Array) -> float:
    """How many independent errors tell as much as these of consecutive days: n (1 - r) / (1 + r), r the correlation of neighbours (Bartlett 1935)."""
    squares = float(np.square(errors).sum())
    r = float((errors[1:] * errors[:-1]).sum()) / squares if squares > 0 else 0.0
    return max(1.0, errors.size * (1 - max(r, 0.0)) / (1 + max(r, 0.0)))


def backtest(known: Basis, rows: Sequence[int], hours: slice, days: int = DAYS) -> Backtest:
    """The last days' estimates of these hours after the cut-off (0: the first that is not billed), at today's delay, against the bill.

    A cut-off lies at today's hour of the day, so far back that all it estimated is billed now. How meters follow calls is today's
    knowledge; levels, ratios and prices are those known at the cut-off.
    """
    o, lag = known.observed, known.now.until - known.now.billed
    newest = o.billed - 24 * -(-lag // 24)
    places = [newest - 24 * k for k in range(days) if newest - 24 * k >= LEAST_HISTORY] if lag else []
    cutoffs = tuple(Cutoff(c, c + lag) for c in places)
    index = np.asarray(rows, dtype=np.intp)
    estimated = [e.cost[:, hours].sum(axis=1) for e in estimates(known, rows, cutoffs)]
    billed = [o.cost[index, c.billed : c.until][:, hours].sum(axis=1) for c in cutoffs]
    shape = (len(cutoffs), index.size)
    return Backtest(cutoffs, np.array(estimated).reshape(shape), np.array(billed).reshape(shape))


def ledger(known: Basis, rows: Sequence[int]) -> pl.DataFrame:
    """Estimates of the last DAYS days by service, made at today's delay, against the bill: `tables.NOWCAST`, newest day first.

    Each day's interval rests on the errors that were known on that day. rows: meters that count. Empty where every hour is billed.
    """
    o, lag = known.observed, known.now.until - known.now.billed
    past, later = backtest(known, rows, slice(None), 2 * DAYS), -(-lag // 24)
    names = o.meters[list(rows)].select(pl.coalesce("service", "ServiceName", pl.lit("charges")))["service"].to_numpy()
    sets: dict[str | None, np.ndarray] = {None: np.ones(names.size, dtype=bool)} | {n: names == n for n in sorted(set(names))}
    out: list[dict[str, object]] = []
    for d, cutoff in enumerate(past.cutoffs[:DAYS]):
        for name, members in sets.items():
            estimated, billed = (float(dollars[d, members].sum()) for dollars in (past.estimated, past.billed))
            if not estimated and not billed:
                continue
            width = past.half_width(past.estimated[d] * members, d + later)
            low, high = estimated - width, estimated + width
            row = {"day": o.hours[cutoff.billed], "hours": lag, "service": name, "estimated_cost": estimated, "billed_cost": billed}
            out.append(row | {"error": estimated - billed, "low": low, "high": high, "inside": abs(estimated - billed) <= width + HALF_CENT})
    return tables.NOWCAST.fit(pl.DataFrame(out, schema=tables.NOWCAST.schema)) if out else tables.NOWCAST.empty()
