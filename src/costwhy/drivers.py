"""Drivers: the dimension combinations that carry a change of a sum, disjoint, each with its dollars.

A leaf is the finest combination of the dimensions. Its deviation d = (actual - expected) / max(actual, expected) lies in
[-1, 1] and is alike for all leaves that one cause moved, however large they are. Noise of d falls with the size of a leaf, so
it is estimated by size band. For a set of leaves the scan statistic (log-likelihood ratio of a common shift against none) is

    LLR = (sum w d)^2 / (2 sum w),    w = 1 / noise^2

It is largest for exactly the leaves that moved together: a wider set dilutes the shift, a narrower one leaves evidence out.
From it a description length is taken away: naming a combination costs the logarithm of how many there are to choose from
(Occam). Combinations of every depth compete; the best is taken with its leaves, and so on while one is worth its words.

Related: RiskLoc (Kalander 2022), Squeeze (Li et al. 2019), Adtributor (Bhagwan et al. 2014), Kulldorff's scan statistic (1997).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from costwhy.errors import InputError

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

BANDS = 12  # size bands over which the noise of a deviation is estimated
LEAST_NOISE = 0.004  # of a deviation: money is rounded, and exact zeros of noise would make any cent significant
MOST_WEIGHT = 1 / LEAST_NOISE**2
LEAST_SHARE = 0.02  # of the sum of absolute moves that were found: a smaller one is not worth a line
MOST_DRIVERS = 24
CONSTRAINT_COST = 3.0  # nats for each further constraint: a narrower story must earn its words


@dataclass(frozen=True)
class _Cuboid:
    """One choice of dimensions: the group of each leaf, and how many groups there are."""

    dimensions: tuple[int, ...]
    group: Codes
    size: int


def find_drivers(
    leaves: pl.DataFrame, dimensions: Sequence[str], expected: str = "expected_cost", actual: str = "actual_cost"
) -> pl.DataFrame:
    """The combinations that carry the change from `expected` to `actual`.

    leaves: one row for each leaf; leaves that occur twice are added. A null of a dimension is a leaf's own value, and is never
    a constraint. Returns the dimensions (null: any value) and `cost_change`, largest absolute change first; disjoint: a leaf
    counts for the first combination that was found for it. The remainder is the whole change less their sum.

    Raises InputError for a missing column, or values that are no finite numbers.
    """
    frame = _checked(leaves, dimensions, expected, actual)
    out_schema = {**dict.fromkeys(dimensions, pl.String), "cost_change": pl.Float64}
    before, after = frame[expected].to_numpy(), frame[actual].to_numpy()
    if not frame.height or np.array_equal(before, after):
        return pl.DataFrame(schema=out_schema)
    deviation, weight = _deviations(before, after)
    codes = [_codes(frame[name]) for name in dimensions]
    found = _search(codes, deviation, weight, after - before)
    rows = [_row(frame, dimensions, cuboid, members, float((after - before)[taken].sum())) for cuboid, members, taken in found]
    result = pl.DataFrame(rows, schema=out_schema) if rows else pl.DataFrame(schema=out_schema)
    return result.sort(pl.col("cost_change").abs(), descending=True, maintain_order=True)


def _checked(leaves: pl.DataFrame, dimensions: Sequence[str], expected: str, actual: str) -> pl.DataFrame:
    missing = [name for name in (*dimensions, expected, actual) if name not in leaves.columns]
    if missing:
        raise InputError(
            f"leaves have no column {missing[0]!r}", found=", ".join(leaves.columns), todo="name the dimensions and the two values"
        )
    values = [leaves[name] for name in (expected, actual)]
    wrong = [s.name for s in values if not s.dtype.is_numeric() or s.null_count() or not s.cast(pl.Float64).is_finite().all()]
    if wrong:
        raise InputError(
            f"column {wrong[0]!r} must hold finite numbers",
            found=str(leaves.schema[wrong[0]]),
            todo="fill or drop nulls, NaN and infinities",
        )
    typed = leaves.select(pl.col(list(dimensions)).cast(pl.String), pl.col(expected, actual).cast(pl.Float64))
    return typed.group_by(list(dimensions)).agg(pl.col(expected, actual).sum()).sort(list(dimensions)) if typed.height else typed


def _codes(column: pl.Series) -> Codes:
    """Number of each value; -1 for null."""
    return (
        column.cast(pl.Categorical).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
        if column.null_count()
        else column.rank("dense").cast(pl.Int64).to_numpy() - 1
    )


def _deviations(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """d of each leaf with the common drift taken out, and its weight."""
    both = (before > 0) & (after > 0)
    drift = _weighted_median(np.log(after[both] / before[both]), np.sqrt(before[both])) if both.sum() >= 3 else 0.0
    base = before * np.exp(drift)
    size = np.maximum(np.abs(after), np.abs(base))
    d = np.where(size > 0, (after - base) / np.where(size > 0, size, 1.0), 0.0)
    return np.clip(d, -1.0, 1.0), 1.0 / _noise(d, size) ** 2


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def _noise(d: Floats, size: Floats) -> Floats:
    """Noise of d by size band: the median of |d|, which a minority of moved leaves cannot lift much; never rising with size."""
    order = np.argsort(size, kind="stable")
    bands = np.array_split(order, min(BANDS, max(1, d.size // 8)))
    levels = np.array([1.4826 * np.median(np.abs(d[band])) for band in bands])
    levels = np.maximum(np.minimum.accumulate(levels), LEAST_NOISE) if levels.size > 1 else np.maximum(levels, LEAST_NOISE)
    out = np.empty_like(d)
    for band, level in zip(bands, levels, strict=True):
        out[band] = level
    return out


# ---------------------------------------------------------------- the search


def _search(codes: list[Codes], d: Floats, w: Floats, change: Floats) -> list[tuple[_Cuboid, Codes, npt.NDArray[np.bool_]]]:
    """Combinations taken one after the other, each with all its leaves and those that it takes."""
    cuboids = _cuboids(codes)
    free = np.ones(d.size, dtype=bool)
    found: list[tuple[_Cuboid, Codes, npt.NDArray[np.bool_]]] = []
    top = np.abs(d).max(initial=0.0) > 0
    while top and len(found) < MOST_DRIVERS:
        best = max((_best(c, d, w, free) for c in cuboids), default=(-np.inf, None, -1), key=lambda b: b[0])
        score, cuboid, group = best
        if cuboid is None or score <= 0:
            break
        members = np.flatnonzero(cuboid.group == group)
        taken = free & (cuboid.group == group)
        found.append((cuboid, members, taken))
        free = free & ~taken
    moves = [abs(float(change[taken].sum())) for _, _, taken in found]
    least = LEAST_SHARE * sum(moves)
    return [f for f, move in zip(found, moves, strict=True) if move >= least]


def _cuboids(codes: list[Codes]) -> list[_Cuboid]:
    """Every choice of dimensions, from one to all."""
    out = []
    for depth in range(1, len(codes) + 1):
        out += [_cuboid(codes, chosen) for chosen in combinations(range(len(codes)), depth)]
    return out


def _cuboid(codes: list[Codes], chosen: tuple[int, ...]) -> _Cuboid:
    """Groups numbered densely; leaves with a null among the chosen dimensions belong to none (-1)."""
    key = np.zeros(codes[0].size, dtype=np.int64)
    null = np.zeros(codes[0].size, dtype=bool)
    room = 1
    for k in chosen:
        width = int(codes[k].max()) + 1
        key, room = key * width + np.maximum(codes[k], 0), room * max(width, 1)
        null |= codes[k] < 0
    if room > 4 * key.size:
        _, key = np.unique(key, return_inverse=True)
        room = int(key.max()) + 1 if key.size else 0
    return _Cuboid(chosen, np.where(null, -1, key), room)


def _best(cuboid: _Cuboid, d: Floats, w: Floats, free: npt.NDArray[np.bool_]) -> tuple[float, _Cuboid, int]:
    """The best group of this cuboid by scan statistic less description length."""
    use = free & (cuboid.group >= 0)
    group = cuboid.group[use]
    if not group.size:
        return -np.inf, cuboid, -1
    weights = np.bincount(group, w[use], cuboid.size)
    sums = np.bincount(group, (w * d)[use], cuboid.size)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(weights > 0, sums * sums / (2 * weights), 0.0)
    words = np.log(max(int((weights > 0).sum()), 1)) + CONSTRAINT_COST * len(cuboid.dimensions)
    k = int(np.argmax(ratio))
    return float(ratio[k] - words), cuboid, k


def _row(frame: pl.DataFrame, dimensions: Sequence[str], cuboid: _Cuboid, members: Codes, change: float) -> dict[str, str | float | None]:
    values = frame.row(int(members[0]), named=True)
    return {**{name: (values[name] if k in cuboid.dimensions else None) for k, name in enumerate(dimensions)}, "cost_change": change}
