"""Drivers: the dimension combinations that carry a change of a sum, disjoint, each with its dollars.

A leaf is the finest combination of the dimensions. Once the drift that all leaves share is taken out, its deviation

    d = (actual - expected) / max(actual, expected)        between -1 (gone) and 1 (new)

is alike for all leaves that one cause moved, however large they are. The noise s of d falls with the size of a leaf, so it
is estimated by size band. For a set of n leaves the scan statistic is the log-likelihood ratio of one common shift against
none, in units of that noise (w = 1 / s^2):

    shift = (sum w d)^2 / sum w        rest = sum w d^2 - shift
    score = (n + P) / 2 * log(1 + shift / (P + rest + U^2 * shift))  -  log(n) / 2  -  log(cells) - C * constraints

It is largest for exactly the leaves that moved together: in a wider set the unmoved leaves are `rest`, a narrower one leaves
evidence out. P (PRIOR_LEAVES) says how far the band's noise is trusted against the set's own, U (UNEVEN) how unequally one
cause may move its leaves. What is subtracted is the length of the description (Occam): the shift, the cell among the cells of
its cuboid, the constraints. Every combination of every depth competes; the best is taken with its leaves, then the next.

One sum can hide what its parts say: where three of five parts moved, their parent scores too. A combination is therefore
split where a finer choice of dimensions, naming only the parts that moved, describes the same leaves in fewer nats.

Related: Kulldorff's scan statistic (1997); Rissanen's description length (1978); Adtributor (Bhagwan et al. 2014); Squeeze (Li
et al. 2019), whose leaves of one cause share one deviation; AutoRoot (Jing et al. 2021); RiskLoc (Kalander 2022).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt
import polars as pl

from costwhy.errors import InputError

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Dims = tuple[int, ...]
_Place = tuple[Dims, int]  # dimensions, and a leaf whose values in them are meant

PRIOR_LEAVES = 100.0  # leaves from which a set's own spread counts more than its band's noise: a spread of 100 is known to 7 %
UNEVEN = 0.5  # one cause moves its leaves by shift +- half of it (whole units, minimum charges): agreement beyond that is no further evidence
CONSTRAINT_COST = 3.0  # nats: each further constraint must make the change 20 times as likely, the usual one in twenty
BANDS = 12  # size bands of equal count for noise: two for each power of ten of a bill from a cent to $10,000
LEAST_BAND = 50  # leaves in a band; fewer make no noise level (10 % off at best)
FEW = 10  # fewer leaves tell no drift and no noise: then every move above LEAST_NOISE counts
LEAST_NOISE = 0.005  # of a deviation: half a per cent, so that unmoved leaves do not make every cent significant
LEAST_SHIFT = 0.25  # of one leaf's noise: under it four leaves in ten moved the other way, and a shift is a baseline's bias
TAIL, TAIL_OF_NORMAL = (
    2.5,
    0.0124,
)  # noises from the centre at which a tail begins, and the share of a normal that lies beyond
LEAST_RARE = (
    0.05  # leaves of noise that are expected as far out: fewer, and a single leaf is a driver
)
LEAST_SHARE = 0.001  # of the sum of absolute moves found: a smaller driver is not worth a line
MOST_DRIVERS = 24  # a longer list is read by nobody; what is left goes to the remainder
MOST_DIMENSIONS = 12  # 4,095 cuboids
QUARTER_OF_NORMAL, HALF_OF_NORMAL = (
    0.3186,
    0.6745,
)  # a quarter, a half of all x of a standard normal lie within +- this
COUNT, WEIGHT, WEIGHTED, SQUARES, MONEY, SIZE = range(6)  # rows of the sums of a cuboid


@dataclass(frozen=True)
class _Leaves:
    """Leaves ascending by size: codes (dimensions x leaves; the highest code is null where `nulls`), and what each moved."""

    codes: Codes
    nulls: Flags
    deviation: Floats
    size: Floats


@dataclass(frozen=True)
class _Cuboid:
    """One choice of dimensions: the cell of each cell of `parent`, one leaf of each cell, cells that may be named."""

    dims: Dims
    parent: Dims | None
    cell: Codes
    leaf: Codes
    named: Flags
    words: float


@dataclass(frozen=True)
class _Round:
    """Sums (6 x cells) and scores of every cuboid over the leaves that are still free."""

    leaves: _Leaves
    cuboids: dict[Dims, _Cuboid]
    sums: dict[Dims, Floats]
    scores: dict[Dims, Floats]


def find_drivers(
    leaves: pl.DataFrame,
    dimensions: Sequence[str],
    expected: str = "expected_cost",
    actual: str = "actual_cost",
) -> pl.DataFrame:
    """The combinations that carry the change from `expected` to `actual`, each with its own dollars.

    leaves: one row for each leaf, those that did not move too: from ten leaves on, what all of them share is drift. Leaves that
    occur twice are added. A null of a dimension is a value of its own there, and
    never a constraint, so that null in the result always means *any value*.

    Returns the dimensions (their types kept; null: any value) and `cost_change` in the unit of the input, largest absolute
    change first. Disjoint: a leaf counts for the first combination that was found for it, so where two overlap the later one
    counts only what the earlier left. remainder = (sum actual - sum expected) - sum cost_change; whole numbers (cents) add up
    without rounding up to 2^53. A general rise of all leaves is drift, not a driver: it stays in the remainder.

    Raises InputError for no, repeated, missing or more than 12 dimensions, and for values that are no finite numbers.
    """
    _check(leaves, dimensions, expected, actual)
    if leaves.is_empty():
        return _result(leaves, dimensions, [])
    codes, nulls = _codes(leaves, dimensions)
    row, before, after = _merged(
        codes, *(leaves[name].cast(pl.Float64).to_numpy() for name in (expected, actual))
    )
    deviation, size = _deviations(before, after)
    order = _order(size, deviation)
    row, costs = row[order], (before[order], after[order])
    leaf = _Leaves(codes.take(row, axis=1), nulls, deviation[order], size[order])
    moves = _moves(
        leaf, costs, _worth_a_line(leaf, costs, _clear_of_the_tail(leaf, list(_search(leaf))))
    )
    lines = [(dims, int(row[lead]), move) for (dims, lead), move in moves if move != 0]
    return _result(leaves, dimensions, sorted(lines, key=lambda line: -abs(line[2])))


def _moves(
    leaves: _Leaves, costs: tuple[Floats, Floats], found: list[_Place]
) -> list[tuple[_Place, float]]:
    """Dollars of each combination in the order found: those of its leaves that no earlier one took, exactly rounded."""
    out, free = [], np.ones(leaves.size.size, dtype=bool)
    for dims, lead in found:
        taken = free & _inside(leaves.codes, dims, lead)
        free &= ~taken
        out.append(
            ((dims, lead), math.fsum(np.concatenate((costs[1][taken], -costs[0][taken])).tolist()))
        )
    return out


def _clear_of_the_tail(leaves: _Leaves, found: list[_Place]) -> list[_Place]:
    """Without drivers of a single leaf where the noise of the others would bring forth as much: noise may have heavier tails than a normal one.

    Where more leaves lie beyond TAIL than of a normal, the outermost (as many as the root of all) are taken as a power law (Hill 1975): those
    that no driver holds, and the single ones that are in question.
    """
    free = np.ones(leaves.size.size, dtype=bool)
    single: dict[_Place, int] = {}
    for dims, lead in found:
        inside = free & _inside(leaves.codes, dims, lead)
        if inside.sum() == 1:
            single[dims, lead] = int(np.flatnonzero(inside)[0])
        free &= ~inside
    centre, noise = _noise(leaves.deviation[free])
    far = np.abs(leaves.deviation[free] - centre) / noise
    far = far[far > TAIL]
    if not single or far.size < max(FEW, 1.5 * TAIL_OF_NORMAL * noise.size):
        return found
    place = np.searchsorted(np.flatnonzero(free), list(single.values())).clip(max=noise.size - 1)
    alone = np.maximum(np.abs(leaves.deviation[list(single.values())]) / noise[place], TAIL)
    tail = np.sort(np.concatenate([far, alone]))[-max(FEW, math.isqrt(noise.size)) :]
    power = tail.size / float(np.log(tail / tail[0]).sum())
    likely = {
        which
        for which, z in zip(single, alone, strict=True)
        if tail.size * (max(z, tail[0]) / tail[0]) ** -power > LEAST_RARE
    }
    return [which for which in found if which not in likely]


def _worth_a_line(
    leaves: _Leaves, costs: tuple[Floats, Floats], found: list[_Place]
) -> list[_Place]:
    """By the sum of absolute moves, so that a rise and a fall that cancel both stay; of a full list only the larger ones.

    A list that fills up says that leaves come and go as a rule (churn): then a driver must hold more than an equal share.
    """
    moves = _moves(leaves, costs, found)
    share = LEAST_SHARE if len(moves) < MOST_DRIVERS else 1 / MOST_DRIVERS
    least = share * math.fsum(abs(move) for _, move in moves)
    return [place for place, move in moves if abs(move) >= least]


def _check(leaves: pl.DataFrame, dimensions: Sequence[str], expected: str, actual: str) -> None:
    missing = [name for name in (*dimensions, expected, actual) if name not in leaves.columns]
    if missing:
        raise InputError(
            f"leaves have no column {missing[0]!r}",
            found=", ".join(leaves.columns),
            todo="name the dimensions and the two values",
        )
    names = {*dimensions, expected, actual, "cost_change"}
    if not 0 < len(dimensions) <= MOST_DIMENSIONS or len(names) < len(dimensions) + 2 + (
        "cost_change" not in (expected, actual)
    ):
        todo = f"name 1 to {MOST_DIMENSIONS} dimensions, each once, none of them a value or cost_change"
        raise InputError(
            "these dimensions cannot be searched", found=", ".join(dimensions) or "none", todo=todo
        )
    for column in (leaves[expected], leaves[actual]):
        if (
            not column.dtype.is_numeric()
            or column.null_count()
            or not column.cast(pl.Float64).is_finite().all()
        ):
            raise InputError(
                f"column {column.name!r} must hold finite numbers",
                found=str(column.dtype),
                todo="fill or drop nulls, NaN and infinities",
            )


def _result(
    leaves: pl.DataFrame, dimensions: Sequence[str], lines: list[tuple[Dims, int, float]]
) -> pl.DataFrame:
    """One line for each driver: the values of a leaf's row in the driver's own dimensions, null elsewhere."""
    rows, moves = [row for _, row, _ in lines], [move for _, _, move in lines]
    columns = {}
    for k, name in enumerate(dimensions):
        named = pl.Series([k in dims for dims, _, _ in lines], dtype=pl.Boolean)
        columns[name] = (
            leaves[name]
            .gather(rows)
            .zip_with(named, pl.Series([None] * len(rows), dtype=leaves.schema[name]))
        )
    return pl.DataFrame({**columns, "cost_change": pl.Series(moves, dtype=pl.Float64)})


# ---------------------------------------------------------------- leaves


def _codes(leaves: pl.DataFrame, dimensions: Sequence[str]) -> tuple[Codes, Flags]:
    """Values as numbers from 0, (dimensions x rows), null the highest; and which dimensions have nulls."""
    numbers = leaves.select(
        (
            pl.col(name).cast(pl.Categorical).to_physical()
            if leaves.schema[name] == pl.String
            else pl.col(name).rank("dense")
        ).cast(pl.Int64)
        for name in dimensions
    )
    tops = [int(numbers[name].fill_null(-1).to_numpy().max()) for name in dimensions]
    filled = [
        numbers[name].fill_null(top + 1).to_numpy()
        for name, top in zip(dimensions, tops, strict=True)
    ]
    codes = np.array(
        [_without_gaps(key, top + 2)[0] for key, top in zip(filled, tops, strict=True)]
    )
    return codes, np.array([numbers[name].null_count() > 0 for name in dimensions])


def _merged(codes: Codes, before: Floats, after: Floats) -> tuple[Codes, Floats, Floats]:
    """Leaves that occur twice added: first row, expected and actual of each leaf."""
    cell, cells = _cells(codes, codes.max(axis=1) + 1)
    if cells == before.size:
        return np.arange(cells), before, after
    row = np.empty(cells, dtype=np.int64)
    row[cell[::-1]] = np.arange(before.size)[::-1]
    return row, _added(cell, before, cells), _added(cell, after, cells)


def _added(cell: Codes, values: Floats, cells: int) -> Floats:
    return np.asarray(np.bincount(cell, values, cells), dtype=np.float64)


def _cells(codes: Codes, widths: Codes) -> tuple[Codes, int]:
    """Cell of each column of codes (dimensions x columns), numbered without gaps, and how many cells there are."""
    key, room = codes[0], int(widths[0])
    for code, width in zip(codes[1:], widths[1:].tolist(), strict=True):
        if room * width >= 2**62:  # would overflow: close the gaps first
            key, room = _without_gaps(key, room)
        key, room = key * width + code, room * width
    return _without_gaps(key, room)


def _without_gaps(key: Codes, room: int) -> tuple[Codes, int]:
    if room > 4 * key.size:  # sparse: sorting is cheaper than a table of all possible keys
        values, cell = np.unique(key, return_inverse=True)
        return cell, values.size
    seen = np.zeros(room, dtype=np.int64)
    seen[key] = 1
    rank = np.cumsum(seen) - 1
    return rank[key], int(rank[-1]) + 1


def _deviations(before: Floats, after: Floats) -> tuple[Floats, Floats]:
    """d of each leaf with the common drift (the median ratio) taken out, and its size, the larger of both costs."""
    both = (before > 0) & (after > 0)
    drift = float(np.median(after[both] / before[both])) if both.sum() >= FEW else 1.0
    base = before * drift
    size = np.maximum(np.abs(after), np.abs(base))
    return np.clip((after - base) / np.where(size > 0, size, 1.0), -1.0, 1.0), size


def _order(size: Floats, deviation: Floats) -> Codes:
    """Ascending by size, equals by deviation: by value, not by name, so that renaming or shuffling rows changes nothing."""
    order = np.argsort(size)
    new = np.diff(size[order], prepend=-1.0) > 0
    return (
        order
        if new.all()
        else order[np.argsort(4 * np.cumsum(new) + deviation[order], kind="stable")]
    )


def _noise(d: Floats) -> tuple[Floats, Floats]:
    """Centre and noise of each leaf's d, leaves ascending by size: noise never falls towards the small ones."""
    centre, noise, largest = np.zeros(d.size), np.full(d.size, LEAST_NOISE), LEAST_NOISE
    if d.size < FEW:
        return centre, noise
    for band in reversed(
        np.array_split(np.arange(d.size), min(BANDS, max(1, d.size // LEAST_BAND)))
    ):
        part = slice(int(band[0]), int(band[-1]) + 1)
        centre[part], level = _rest(d[part])
        largest = max(largest, level)
        noise[part] = largest
    return centre, noise


def _rest(d: Floats) -> tuple[float, float]:
    """Mean and noise of the leaves at rest: the quarter nearest to zero, then twice all within three times its noise."""
    rising, nearest = np.sort(d), np.partition(np.abs(d), d.size // 4)[d.size // 4]
    middle, level = 0.0, max(float(nearest) / QUARTER_OF_NORMAL, LEAST_NOISE)
    for _ in range(2):
        near = _within(rising, middle, 3 * level)
        low, middle, high = (float(near[k * near.size // 4]) for k in (1, 2, 3))
        level = max((high - low) / 2 / HALF_OF_NORMAL, LEAST_NOISE)
    return float(_within(rising, middle, 3 * level).mean()), level


def _within(rising: Floats, middle: float, reach: float) -> Floats:
    low, high = (
        np.searchsorted(rising, middle - reach),
        np.searchsorted(rising, middle + reach, side="right"),
    )
    return rising[low:high]


# ---------------------------------------------------------------- cuboids


def _cuboids(leaves: _Leaves) -> dict[Dims, _Cuboid]:
    """Every choice of dimensions, deepest first, each rolled up from its smallest parent (one dimension more)."""
    every = tuple(range(len(leaves.codes)))
    one, widths = np.arange(leaves.size.size), leaves.codes.max(axis=1) + 1
    out = {every: _cuboid(leaves, every, None, (one, one.size))}
    for depth in range(len(every) - 1, 0, -1):
        for dims in combinations(every, depth):
            parents = (tuple(sorted((*dims, k))) for k in every if k not in dims)
            parent = out[min(parents, key=lambda p: out[p].leaf.size)]
            chosen = list(dims)
            codes = (
                leaves.codes if parent.parent is None else leaves.codes.take(parent.leaf, axis=1)
            )
            out[dims] = _cuboid(leaves, dims, parent, _cells(codes[chosen], widths[chosen]))
    return out


def _cuboid(
    leaves: _Leaves, dims: Dims, parent: _Cuboid | None, cells: tuple[Codes, int]
) -> _Cuboid:
    cell, count = cells
    leaf = np.zeros(count, dtype=np.int64)
    np.maximum.at(leaf, cell, cell if parent is None else parent.leaf)
    named = np.ones(count, dtype=bool)
    for k in dims:
        if leaves.nulls[k]:
            named &= leaves.codes[k, leaf] < leaves.codes[k].max()
    return _Cuboid(
        dims,
        parent.dims if parent else None,
        cell,
        leaf,
        named,
        math.log(count) + CONSTRAINT_COST * len(dims),
    )


# ---------------------------------------------------------------- the search


def _search(leaves: _Leaves) -> Iterator[_Place]:
    """Combinations one after the other, each by its dimensions and the leaf that leads it."""
    cuboids = _cuboids(leaves)
    free = np.ones(leaves.size.size, dtype=bool)
    for _ in range(MOST_DRIVERS):
        state = _round(leaves, cuboids, free)
        best = _best(state)
        if best is None:
            return
        dims, cell = _split_while_shorter(state, *best)
        lead = int(cuboids[dims].leaf[cell])
        yield dims, lead
        free &= ~_inside(leaves.codes, dims, lead)


def _inside(codes: Codes, dims: Dims, lead: int) -> Flags:
    """Columns of codes that agree with the column `lead` in these dimensions."""
    out = np.ones(codes.shape[1], dtype=bool)
    for k in dims:
        out &= codes[k] == codes[k, lead]
    return out


def _round(leaves: _Leaves, cuboids: dict[Dims, _Cuboid], free: Flags) -> _Round:
    """Noise of the free leaves, sums rolled up from cuboid to cuboid, and scores."""
    where = np.flatnonzero(free)
    centre, noise = _noise(leaves.deviation[where])
    d, w, size = leaves.deviation[where] - centre, 1 / (noise * noise), leaves.size[where]
    values: tuple[Floats, ...] = (np.ones_like(d), w, w * d, w * d * d, d * size, size)
    first = np.zeros((len(values), free.size))
    for row, value in zip(first, values, strict=True):
        row[where] = value
    least = float(np.median(np.abs(d * size))) if d.size >= FEW else 0.0
    sums: dict[Dims, Floats] = {}
    for dims, c in cuboids.items():
        sums[dims] = (
            first
            if c.parent is None
            else np.array([_added(c.cell, s, c.leaf.size) for s in sums[c.parent]])
        )
    return _Round(
        leaves, cuboids, sums, {dims: _scores(cuboids[dims], s, least) for dims, s in sums.items()}
    )


def _scores(cuboid: _Cuboid, sums: Floats, least: float) -> Floats:
    """Score of each cell; -inf where it is not above zero, may not be named, or moves less money than the median leaf by noise."""
    count, weight, weighted = sums[COUNT], sums[WEIGHT], sums[WEIGHTED]
    shift = weighted * weighted / np.maximum(weight, np.finfo(float).tiny)
    fits = (
        shift * (count + PRIOR_LEAVES) > 2 * PRIOR_LEAVES * cuboid.words
    )  # log(1 + x) <= x: the others cannot pay for their words
    fits &= cuboid.named & (shift >= LEAST_SHIFT**2 * count) & (np.abs(sums[MONEY]) >= least)
    k = np.flatnonzero(fits)
    n, shift, rest = count[k], shift[k], np.maximum(sums[SQUARES, k] - shift[k], 0.0)
    score = (
        (n + PRIOR_LEAVES) / 2 * np.log1p(shift / (PRIOR_LEAVES + rest + UNEVEN**2 * shift))
        - np.log(n) / 2
        - cuboid.words
    )
    out = np.full(count.size, -np.inf)
    out[k] = np.where(score > 0, score, -np.inf)
    return out


def _best(state: _Round) -> tuple[Dims, int] | None:
    """The cuboid and cell of the highest score above zero; ties go to the one with the larger leaf."""
    tops = {
        dims: round(float(scores.max()), 6) for dims, scores in state.scores.items()
    }  # equal sums may differ in the last bit
    dims = max(tops, key=lambda c: (tops[c], -len(c)))
    return (
        (dims, _leading(state, dims, np.arange(state.scores[dims].size)))
        if tops[dims] > 0
        else None
    )


def _leading(state: _Round, dims: Dims, cells: Codes) -> int:
    """Of these cells the one with the highest score; of equals the one with the larger leaf, whatever their names."""
    scores = state.scores[dims][cells]
    equal = cells[scores >= scores.max() - 1e-6]
    return int(equal[np.argmax(state.cuboids[dims].leaf[equal])])


def _split_while_shorter(state: _Round, dims: Dims, cell: int) -> tuple[Dims, int]:
    """The combination, or the part of it that leads once splitting it makes the description no shorter."""
    while True:
        finer = [c for c in state.cuboids if len(c) > len(dims) and set(dims) < set(c)]
        saved, parts, part = max(
            ((*_saved(state, (dims, cell), c), c) for c in finer),
            default=(0.0, None, dims),
            key=lambda s: s[0],
        )
        if parts is None or saved <= 0:
            return dims, cell
        dims, cell = part, _leading(state, part, parts)


def _saved(state: _Round, whole: tuple[Dims, int], finer: Dims) -> tuple[float, Codes | None]:
    """Nats saved by naming only those parts in `finer` that moved, the others being at rest; and these parts."""
    dims, cell = whole
    all_sums, cuboid = state.sums[dims][:, cell], state.cuboids[finer]
    lead, codes = state.cuboids[dims].leaf[cell], state.leaves.codes
    inside = state.sums[finer][COUNT] > 0
    for k in dims:
        inside &= codes[k, cuboid.leaf] == codes[k, lead]
    parts = np.flatnonzero(inside)
    sums = state.sums[finer][:, parts]
    moved = _moved(sums)
    if moved.all() or not np.isfinite(state.scores[finer][parts[moved]]).any():
        return 0.0, None
    named = sums[:, moved].sum(axis=1)
    before, after = (_rest_after(all_sums[SQUARES], s) for s in (all_sums, named))
    words = int(moved.sum()) * cuboid.words - state.cuboids[dims].words
    return (all_sums[COUNT] + PRIOR_LEAVES) / 2 * math.log(before / after) - words, parts[moved]


def _rest_after(squares: float, sums: Floats) -> float:
    """What is left of the squares once the shift of these sums is told."""
    shift = sums[WEIGHTED] ** 2 / sums[WEIGHT]
    return float(PRIOR_LEAVES + max(squares - shift, 0.0) + UNEVEN**2 * shift)


def _moved(sums: Floats) -> Flags:
    """Parts whose money moved by more than half of what the moved ones move: two means, one of them held at zero.

    By money, since a cause that is rounded to whole units leaves small leaves at rest or gone, and only their sum is right.
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
