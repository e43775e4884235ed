"""Drivers: the dimension combinations that carry a change of a sum, each with its dollars.

A leaf is the finest combination of the dimensions. Its deviation, once the drift that all leaves
share is taken out,

    d = (actual - expected) / max(actual, expected)        between -1 (gone) and 1 (new)

is alike for all leaves that one cause moved, however large they are. The noise s of d falls with
the size of a leaf, so it is estimated by size band. For a set of n leaves the scan statistic is the
log-likelihood ratio of one common shift against none, in units of that noise (w = 1 / s^2):

    shift = (sum w d)^2 / sum w        rest = sum w d^2 - shift
    score = (n + P) / 2 * log(1 + shift / (P + rest + U^2 * shift))
            - log(n) / 2 - log(cells) - C * constraints

It is largest for exactly the leaves that moved together: in a wider set the unmoved leaves are
`rest`, a narrower one leaves evidence out. P (PRIOR_LEAVES) says how far the band's noise is
trusted against the set's own, U (UNEVEN) how unequally one cause may move its leaves. What is
subtracted is the length of the description (Occam): the shift, the cell among the cells of its
cuboid, the constraints. Every combination of every depth competes; the best is taken with its
leaves, then the next.

Where three of five parts moved, their sum scores too. So a combination is split where a finer
choice of dimensions, naming only the parts that moved, describes the same leaves in fewer nats.

Related: Kulldorff's scan statistic (1997); Rissanen's description length (1978); Adtributor
(Bhagwan et al. 2014); Squeeze (Li et al. 2019), whose leaves of one cause share one deviation;
AutoRoot (Jing et al. 2021); RiskLoc (Kalander 2022).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import polars as pl

from costwhy.arrays import Array, Ints, Mask
from costwhy.errors import InputError

Dims = tuple[int, ...]
Combination = tuple[Dims, int]  # dimensions, and a leaf that has its values in them

PRIOR_LEAVES = 100.0  # P: of more leaves the own spread counts more than the band's noise
UNEVEN = 0.5  # U: one cause moves its leaves by shift +- half of it (whole units, minimum charges)
CONSTRAINT_COST = 3.0  # C, nats: each further constraint must make the change 20 times as likely
BANDS = 12  # of size, for noise: two for each power of ten of a bill from a cent to $10,000
LEAST_BAND = 50  # leaves in a band: its noise is known to 10 %
FEW = 10  # with fewer leaves there is no drift and no noise: every move above LEAST_NOISE counts
LEAST_NOISE = 0.005  # of a deviation, so that unmoved leaves do not make every cent significant
LEAST_SHIFT = 0.25  # of a leaf's noise: under it four leaves in ten moved the other way
TAIL, TAIL_OF_NORMAL = 2.5, 0.0124  # noises where a tail begins, and the share of a normal in it
LEAST_RARE = 0.05  # leaves of noise expected as far out: with fewer a single leaf is a driver
LEAST_SHARE = 0.001  # of all absolute moves found: a smaller driver is not worth a line
MOST_DRIVERS = 24  # the rest goes to the remainder
MOST_DIMENSIONS = 12  # 4,095 cuboids
QUARTER_OF_NORMAL, HALF_OF_NORMAL = 0.3186, 0.6745  # so much of a standard normal is within +- this
COUNT, WEIGHT, WEIGHTED, SQUARES, MONEY, SIZE = range(6)  # rows of the sums of a cuboid


@dataclass(frozen=True)
class _Leaves:
    """Leaves ascending by size."""

    codes: Ints  # dimensions x leaves; the highest code is null where `nulls`
    nulls: Mask  # dimensions
    before: Array
    after: Array
    deviation: Array  # d, without the common drift (the median ratio)
    size: Array  # the larger cost


@dataclass(frozen=True)
class _Cuboid:
    """One choice of dimensions, and its cells."""

    parent: Dims | None  # the cuboid from which its sums are added up
    cell: Ints  # the cell of each cell of the parent
    leaf: Ints  # one leaf of each cell
    named: Mask  # cells without a null
    nats: float  # the length of a cell's description


@dataclass(frozen=True)
class _Round:
    """Sums (6 x cells) and scores of every cuboid over the leaves that are still free."""

    leaves: _Leaves
    cuboids: dict[Dims, _Cuboid]
    sums: dict[Dims | None, Array]  # None: by leaf
    scores: dict[Dims, Array]


def find_drivers(
    leaves: pl.DataFrame,
    dimensions: Sequence[str],
    expected: str = "expected_cost",
    actual: str = "actual_cost",
) -> pl.DataFrame:
    """The combinations that carry the change from `expected` to `actual`, with their dollars.

    leaves: one row for each leaf, those that did not move too: from ten leaves on, what all of them
    share is drift. Leaves that occur twice are added. A null of a dimension is a value of its own
    there, and never a constraint, so that null in the result always means *any value*.

    Returns the dimensions (their types kept; null: any value) and `cost_change` in the unit of the
    input, largest absolute change first. Disjoint: a leaf counts for the first combination that was
    found for it, so where two overlap the later one counts only what the earlier left.
    remainder = (sum actual - sum expected) - sum cost_change; whole numbers (cents) add up without
    rounding up to 2^53. A general rise of all leaves is drift: it stays in the remainder.

    Raises InputError for no, repeated, missing or more than 12 dimensions, and for values that are
    no finite numbers.
    """
    _check(leaves, dimensions, expected, actual)
    merged = leaves.group_by(dimensions, maintain_order=True).agg(
        pl.col(expected, actual).cast(pl.Float64).sum()
    )
    if merged.is_empty():
        return _result(merged, dimensions, [])
    ordered, row = _ordered(merged, dimensions, expected, actual)
    moves = _moves(ordered, _beyond_noise(ordered, list(_search(ordered))))
    # Of absolute moves, so that a rise and a fall that cancel stay. A full list means that leaves
    # come and go as a rule: then more than an equal share.
    share = LEAST_SHARE if len(moves) < MOST_DRIVERS else 1 / MOST_DRIVERS
    least = share * math.fsum(abs(move) for _, move in moves)
    found = [combination for combination, move in moves if abs(move) >= least]
    lines = [(dims, int(row[leaf]), move) for (dims, leaf), move in _moves(ordered, found) if move]
    return _result(merged, dimensions, sorted(lines, key=lambda line: -abs(line[2])))


def _check(leaves: pl.DataFrame, dimensions: Sequence[str], expected: str, actual: str) -> None:
    missing = [name for name in (*dimensions, expected, actual) if name not in leaves.columns]
    if missing:
        raise InputError(
            f"leaves have no column {missing[0]!r}",
            found=", ".join(leaves.columns),
            fix="name the dimensions and the two values",
        )
    reserved = {expected, actual, "cost_change"}
    repeated = len({*dimensions, *reserved}) < len(dimensions) + len(reserved)
    if repeated or not 0 < len(dimensions) <= MOST_DIMENSIONS:
        raise InputError(
            "these dimensions cannot be searched",
            found=", ".join(dimensions) or "none",
            fix=f"name 1 to {MOST_DIMENSIONS} dimensions, each once, none of them a value or"
            " cost_change",
        )
    for column in (leaves[expected], leaves[actual]):
        numeric = column.dtype.is_numeric()
        if not numeric or column.null_count() or not column.cast(pl.Float64).is_finite().all():
            raise InputError(
                f"column {column.name!r} must hold finite numbers",
                found=str(column.dtype),
                fix="fill or drop nulls, NaN and infinities",
            )


def _moves(leaves: _Leaves, found: list[Combination]) -> list[tuple[Combination, float]]:
    """Dollars of each combination: of its leaves that no earlier one took, exactly rounded."""
    out, free = [], np.ones(leaves.size.size, dtype=bool)
    for combination in found:
        taken = free & _inside(leaves.codes, combination)
        free &= ~taken
        move = math.fsum([*leaves.after[taken].tolist(), *(-leaves.before[taken]).tolist()])
        out.append((combination, move))
    return out


def _beyond_noise(leaves: _Leaves, found: list[Combination]) -> list[Combination]:
    """Drops single-leaf drivers that a heavy tail of the noise explains.

    Where more leaves lie beyond TAIL than of a normal, the outermost (as many as the root of all)
    are taken as a power law (Hill 1975): free leaves, and the single ones in question.
    """
    free, single = np.ones(leaves.size.size, dtype=bool), dict[Combination, int]()
    for combination in found:
        inside = free & _inside(leaves.codes, combination)
        if inside.sum() == 1:
            single[combination] = int(inside.argmax())
        free &= ~inside
    centre, noise = _noise(leaves.deviation[free])
    far = np.abs(leaves.deviation[free] - centre) / noise
    far = far[far > TAIL]
    if not single or far.size < max(FEW, 1.5 * TAIL_OF_NORMAL * noise.size):
        return found
    alone = list(single.values())
    near = np.searchsorted(np.flatnonzero(free), alone).clip(max=noise.size - 1)
    noises = np.maximum(np.abs(leaves.deviation[alone]) / noise[near], TAIL)
    tail = np.sort(np.concatenate([far, noises]))[-max(FEW, math.isqrt(noise.size)) :]
    power = tail.size / float(np.log(tail / tail[0]).sum())
    expected = tail.size * (np.maximum(noises, tail[0]) / tail[0]) ** -power
    explained = {c for c, n in zip(single, expected, strict=True) if n > LEAST_RARE}
    return [combination for combination in found if combination not in explained]


def _result(
    leaves: pl.DataFrame, dimensions: Sequence[str], lines: list[tuple[Dims, int, float]]
) -> pl.DataFrame:
    """One line for each driver: the values of one of its leaves in its dimensions, else null."""
    named = (
        pl.when(pl.Series([k in dims for dims, *_ in lines], dtype=pl.Boolean)).then(name)
        for k, name in enumerate(dimensions)
    )
    return leaves[[row for _, row, _ in lines]].select(
        *named, cost_change=pl.Series([move for *_, move in lines], dtype=pl.Float64)
    )


# ---------------------------------------------------------------- leaves


def _ordered(
    merged: pl.DataFrame, dimensions: Sequence[str], expected: str, actual: str
) -> tuple[_Leaves, Ints]:
    """The leaves, and the row of each: neither names nor the order of rows matter."""
    ranks = (
        merged.select(dimensions)
        .with_columns(pl.col(pl.String).cast(pl.Categorical).to_physical())
        .select(pl.all().rank("dense"))
    )
    ranks = ranks.select(pl.all().fill_null(pl.all().max().fill_null(0) + 1).cast(pl.Int64) - 1)
    before, after = (merged[name].to_numpy() for name in (expected, actual))
    both = (before > 0) & (after > 0)
    base = before * (float(np.median(after[both] / before[both])) if both.sum() >= FEW else 1.0)
    size = np.maximum(np.abs(after), np.abs(base))
    deviation = np.clip((after - base) / np.where(size > 0, size, 1.0), -1.0, 1.0)
    row = np.argsort(size)
    new = np.diff(size[row], prepend=-1.0) > 0
    if not new.all():  # equals by deviation
        row = row[np.argsort(4 * np.cumsum(new) + deviation[row], kind="stable")]
    return _Leaves(
        ranks.to_numpy().T[:, row],
        np.array([merged[name].null_count() > 0 for name in dimensions]),
        *(array[row] for array in (before, after, deviation, size)),
    ), row


def _cells(codes: Ints, widths: Ints) -> tuple[Ints, int]:
    """Cell of each column of codes (dimensions x columns), from 0 without gaps; and their count."""
    key, size = codes[0], int(widths[0])
    for code, width in zip(codes[1:], widths[1:].tolist(), strict=True):
        if size * width >= 2**62:  # would overflow: close the gaps first
            key, size = _without_gaps(key, size)
        key, size = key * width + code, size * width
    return _without_gaps(key, size)


def _without_gaps(key: Ints, size: int) -> tuple[Ints, int]:
    if size > 4 * key.size:  # sparse: sorting is cheaper than a table of all possible keys
        values, cell = np.unique(key, return_inverse=True)
        return cell, values.size
    exists = np.zeros(size, dtype=np.int64)
    exists[key] = 1
    rank = np.cumsum(exists) - 1
    return rank[key], int(rank[-1]) + 1


def _noise(deviation: Array) -> tuple[Array, Array]:
    """Centre and noise of each leaf's d, by size band; noise never falls towards small leaves."""
    count, largest = deviation.size, LEAST_NOISE
    centre, noise = np.zeros(count), np.full(count, LEAST_NOISE)
    if count < FEW:
        return centre, noise
    for band in reversed(np.array_split(np.arange(count), min(BANDS, max(1, count // LEAST_BAND)))):
        centre[band], level = _at_rest(deviation[band])
        largest = max(largest, level)
        noise[band] = largest
    return centre, noise


def _at_rest(deviation: Array) -> tuple[float, float]:
    """Mean and noise of the leaves that did not move.

    First from the quarter nearest to zero; then, twice, from all within three times its noise.
    """
    rising, nearest = np.sort(deviation), np.sort(np.abs(deviation))[deviation.size // 4]
    middle, level = 0.0, max(float(nearest) / QUARTER_OF_NORMAL, LEAST_NOISE)
    for _ in range(2):
        near = _within(rising, middle, 3 * level)
        low, middle, high = (float(near[k * near.size // 4]) for k in (1, 2, 3))
        level = max((high - low) / 2 / HALF_OF_NORMAL, LEAST_NOISE)
    return float(_within(rising, middle, 3 * level).mean()), level


def _within(rising: Array, middle: float, reach: float) -> Array:
    return rising[(rising >= middle - reach) & (rising <= middle + reach)]


# ---------------------------------------------------------------- cuboids


def _cuboids(leaves: _Leaves) -> dict[Dims, _Cuboid]:
    """Every choice of dimensions, deepest first, each added up from its smallest parent."""
    every, out = tuple(range(len(leaves.codes))), dict[Dims, _Cuboid]()
    widths, cells = leaves.codes.max(axis=1) + 1, leaves.size.size
    parent: Dims | None = None
    cell = np.arange(cells)
    for dims in chain.from_iterable(
        combinations(every, depth) for depth in range(len(every), 0, -1)
    ):
        if dims != every:
            parents = (tuple(sorted((*dims, k))) for k in every if k not in dims)
            parent = min(parents, key=lambda above: out[above].leaf.size)
            cell, cells = _cells(leaves.codes[list(dims)][:, out[parent].leaf], widths[list(dims)])
        leaf, named = np.zeros(cells, dtype=np.int64), np.ones(cells, dtype=bool)
        np.maximum.at(leaf, cell, out[parent].leaf if parent else cell)
        for k in (k for k in dims if leaves.nulls[k]):
            named &= leaves.codes[k, leaf] < leaves.codes[k].max()
        out[dims] = _Cuboid(
            parent, cell, leaf, named, math.log(cells) + CONSTRAINT_COST * len(dims)
        )
    return out


# ---------------------------------------------------------------- the search


def _search(leaves: _Leaves) -> Iterator[Combination]:
    cuboids, free = _cuboids(leaves), np.ones(leaves.size.size, dtype=bool)
    for _ in range(MOST_DRIVERS):
        centre, noise = _noise(leaves.deviation[free])
        d, w, size = leaves.deviation[free] - centre, 1 / (noise * noise), leaves.size[free]
        by_leaf = np.zeros((6, free.size))
        by_leaf[:, free] = [np.ones_like(d), w, w * d, w * d * d, d * size, size]
        least = float(np.median(np.abs(d * size))) if d.size >= FEW else 0.0
        sums: dict[Dims | None, Array] = {None: by_leaf}
        for dims, c in cuboids.items():
            sums[dims] = np.array([np.bincount(c.cell, r, c.leaf.size) for r in sums[c.parent]])
        scored = {dims: _scores(cuboid, sums[dims], least) for dims, cuboid in cuboids.items()}
        state = _Round(leaves, cuboids, sums, scored)
        # Of equals the wider one. Rounded: equal sums may differ in the last bit.
        highest = {dims: round(float(scores.max()), 6) for dims, scores in scored.items()}
        dims = max(highest, key=lambda c: (highest[c], -len(c)))
        cell = _leading(state, dims, np.arange(scored[dims].size))
        if not scored[dims][cell] > 0:
            return
        while True:  # split, as long as that makes the description shorter
            splits = [
                (*_saved(state, dims, cell, c), c)
                for c in cuboids
                if len(c) > len(dims) and set(dims) < set(c)
            ]
            saved, parts, part = max(splits, default=(0.0, None, dims), key=lambda split: split[0])
            if parts is None or saved <= 0:
                break
            dims, cell = part, _leading(state, part, parts)
        combination = dims, int(cuboids[dims].leaf[cell])
        yield combination
        free &= ~_inside(leaves.codes, combination)


def _inside(codes: Ints, combination: Combination) -> Mask:
    values = codes[list(combination[0])]
    return np.asarray((values == values[:, combination[1], None]).all(axis=0))


def _scores(cuboid: _Cuboid, sums: Array, least: float) -> Array:
    """Score of each cell; -inf where it may not be named, is not above zero, or moves too little.

    least: money that the median leaf moves by noise
    """
    count, weight, weighted = sums[COUNT], sums[WEIGHT], sums[WEIGHTED]
    shift = weighted * weighted / np.maximum(weight, np.finfo(float).tiny)
    # log(1 + x) <= x: other cells cannot pay for their description
    fits = shift * (count + PRIOR_LEAVES) > 2 * PRIOR_LEAVES * cuboid.nats
    fits &= cuboid.named & (shift >= LEAST_SHIFT**2 * count) & (np.abs(sums[MONEY]) >= least)
    k = np.flatnonzero(fits)
    n, shift = count[k], shift[k]
    rest = PRIOR_LEAVES + np.maximum(sums[SQUARES, k] - shift, 0.0) + UNEVEN**2 * shift
    score = (n + PRIOR_LEAVES) / 2 * np.log1p(shift / rest) - np.log(n) / 2 - cuboid.nats
    out = np.full(count.size, -np.inf)
    out[k] = np.where(score > 0, score, -np.inf)
    return out


def _leading(state: _Round, dims: Dims, cells: Ints) -> int:
    """Of these cells the one with the highest score; of equals the one with the larger leaf."""
    scores = state.scores[dims][cells]
    equal = cells[scores >= scores.max() - 1e-6]
    return int(equal[np.argmax(state.cuboids[dims].leaf[equal])])


def _saved(state: _Round, dims: Dims, cell: int, finer: Dims) -> tuple[float, Ints | None]:
    """Nats saved by naming only the parts in `finer` that moved; and these parts."""
    cuboid, codes = state.cuboids[finer], state.leaves.codes[list(dims)]
    whole, leaf = state.sums[dims][:, cell], state.cuboids[dims].leaf[cell]
    parts = np.flatnonzero(
        (codes[:, cuboid.leaf] == codes[:, leaf, None]).all(axis=0) & (state.sums[finer][COUNT] > 0)
    )
    sums = state.sums[finer][:, parts]
    moved = _moved(sums)
    if moved.all() or not np.isfinite(state.scores[finer][parts[moved]]).any():
        return 0.0, None
    before, after = (_rest(whole[SQUARES], s) for s in (whole, sums[:, moved].sum(axis=1)))
    nats = int(moved.sum()) * cuboid.nats - state.cuboids[dims].nats
    return (whole[COUNT] + PRIOR_LEAVES) / 2 * math.log(before / after) - nats, parts[moved]


def _rest(squares: float, sums: Array) -> float:
    """What is left of the squares once the shift of these sums is described."""
    shift = sums[WEIGHTED] ** 2 / sums[WEIGHT]
    return float(PRIOR_LEAVES + max(squares - shift, 0.0) + UNEVEN**2 * shift)


def _moved(sums: Array) -> Mask:
    """Parts whose money moved by more than half of what the moved ones move.

    Two means, one of them fixed at zero. By money, since a cause that is rounded to whole units
    leaves small leaves at rest or gone, and only their sum is right.
    """
    moved = np.ones(sums.shape[1], dtype=bool)
    ratio = sums[MONEY] / np.where(sums[SIZE] > 0, sums[SIZE], 1.0)
    for _ in range(4):  # a fixed point after two or three
        mean = sums[MONEY, moved].sum() / max(sums[SIZE, moved].sum(), np.finfo(float).tiny)
        again = ratio * np.sign(mean) > abs(mean) / 2
        if not again.any() or np.array_equal(again, moved):
            break
        moved = again
    return moved
