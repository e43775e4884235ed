"""What holds of drivers for any table of leaves, and what noise alone may not do. More of it stands in tests/spec/test_drivers.py."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costwhy.spikes.drivers import find_drivers

DIMENSIONS = ["region", "service", "team"]
MANY = settings(max_examples=40, deadline=None)
SEEDS = 100
seeds = st.integers(0, 2**32 - 1)


def bill(seed: int, moved: int) -> pl.DataFrame:
    """8 x 10 x 4 leaves in cents, 3 % of noise, `moved` combinations of one to three dimensions raised or lowered."""
    rng = np.random.default_rng(seed)
    shape = (8, 10, 4)
    codes = np.indices(shape).reshape(3, -1)
    expected = np.round(rng.lognormal(8, 1.5, codes.shape[1]))
    actual = expected * np.exp(0.03 * rng.standard_normal(codes.shape[1]))
    for _ in range(moved):
        dims = rng.choice(3, int(rng.integers(1, 4)), replace=False)
        inside = np.all([codes[k] == rng.integers(shape[k]) for k in dims], axis=0)
        actual[inside] *= rng.choice([0.4, 1.8, 3.0])
    values = {
        name: [f"{name[0]}{c}" for c in code] for name, code in zip(DIMENSIONS, codes, strict=True)
    }
    return pl.DataFrame({**values, "expected_cost": expected, "actual_cost": np.round(actual)})


def lines(found: pl.DataFrame) -> set[tuple[object, ...]]:
    return set(found.select(*DIMENSIONS, "cost_change").rows())


@MANY
@given(seeds, st.integers(0, 4), st.permutations(DIMENSIONS))
def test_the_order_of_the_dimensions_changes_nothing(seed, moved, order):
    leaves = bill(seed, moved)
    assert lines(find_drivers(leaves, order)) == lines(
        find_drivers(leaves.select(sorted(leaves.columns)), DIMENSIONS)
    )


@MANY
@given(seeds, st.integers(0, 4), seeds)
def test_shuffled_rows_cut_into_unequal_parts_change_nothing(seed, moved, cut):
    leaves = bill(seed, moved)
    shares = (
        np.random.default_rng(cut).integers(0, 5, leaves.height) / 4
    )  # quarters: no cent is rounded
    parts = [
        leaves.with_columns(pl.col("expected_cost", "actual_cost") * pl.Series(s))
        for s in (shares, 1 - shares)
    ]
    assert lines(
        find_drivers(pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=1), DIMENSIONS)
    ) == lines(find_drivers(leaves, DIMENSIONS))


@MANY
@given(seeds, st.integers(0, 4))
def test_drivers_are_disjoint_and_with_the_remainder_exact_to_the_cent(seed, moved):
    leaves = bill(seed, moved)
    found = find_drivers(leaves, DIMENSIONS)
    change = (leaves["actual_cost"] - leaves["expected_cost"]).to_numpy()
    selects = [
        leaves.select(
            pl.all_horizontal(pl.col(k) == row[k] for k in DIMENSIONS if row[k] is not None)
        )
        .to_series()
        .to_numpy()
        for row in found.iter_rows(named=True)
    ]
    together = np.any(selects, axis=0) if selects else np.zeros(change.size, dtype=bool)
    assert (
        sum(found["cost_change"]) == change[together].sum()
    )  # every leaf once, though constraints may overlap
    remainder = change.sum() - sum(found["cost_change"])
    assert remainder == change[~together].sum()


def student(rng: np.random.Generator, leaves: int) -> np.ndarray:
    return np.maximum(1 + 0.1 * rng.standard_t(3, leaves), 0.0)


def lognormal(rng: np.random.Generator, leaves: int) -> np.ndarray:
    return np.exp(0.3 * rng.standard_normal(leaves))


def log_student(rng: np.random.Generator, leaves: int) -> np.ndarray:
    return np.exp(0.1 * rng.standard_t(3, leaves))


SMALL, LARGE = (8, 10, 4), (30, 40, 10)  # 320 and 12,000 leaves
TOO_FEW = "of 320 leaves some ten lie in a tail, which do not tell how far it reaches: 13 bills of 100 have a driver of one leaf, often one that vanished"


@pytest.mark.parametrize(
    ("noise", "shape"),
    [
        (lognormal, SMALL),
        pytest.param(lognormal, LARGE, marks=pytest.mark.long),
        pytest.param(student, LARGE, marks=pytest.mark.long),
        (log_student, LARGE),
        pytest.param(student, SMALL, marks=pytest.mark.xfail(strict=True, reason=TOO_FEW)),
    ],
)
def test_noise_with_heavy_tails_has_no_driver_in_95_of_100_bills(noise, shape):
    codes, silent = np.indices(shape).reshape(3, -1), 0
    values = {
        name: [f"{name[0]}{c}" for c in code] for name, code in zip(DIMENSIONS, codes, strict=True)
    }
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        expected = np.round(rng.lognormal(8, 1.5, codes.shape[1]))
        leaves = pl.DataFrame(
            {
                **values,
                "expected_cost": expected,
                "actual_cost": expected * noise(rng, expected.size),
            }
        )
        silent += find_drivers(leaves, DIMENSIONS).is_empty()
    assert silent >= 0.95 * SEEDS


def test_a_leaf_far_beyond_heavy_tails_is_a_driver():
    codes = np.indices(LARGE).reshape(3, -1)
    values = {
        name: [f"{name[0]}{c}" for c in code] for name, code in zip(DIMENSIONS, codes, strict=True)
    }
    rng = np.random.default_rng(1)
    expected = rng.lognormal(6, 0.5, codes.shape[1])
    actual = expected * np.exp(0.003 * rng.standard_t(3, expected.size))
    expected[5], actual[5] = (
        1000.0,
        2000.0,
    )  # a move of a half, where the noise is of 0.3 %: even t with 3 degrees has 0.002 such leaves in 12,000
    found = find_drivers(
        pl.DataFrame({**values, "expected_cost": expected, "actual_cost": actual}), DIMENSIONS
    )
    assert found.rows() == [("r0", "s0", "t5", 1000.0)]
