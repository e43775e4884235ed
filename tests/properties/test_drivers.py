"""What holds of drivers for any table of leaves, and what noise alone may not do. More of it stands in tests/spec/test_drivers.py."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costwhy.drivers import find_drivers

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
    values = {name: [f"{name[0]}{c}" for c in code] for name, code in zip(DIMENSIONS, codes, strict=True)}
    return pl.DataFrame({**values, "expected_cost": expected, "actual_cost": np.round(actual)})


def lines(found: pl.DataFrame) -> set[tuple[object, ...]]:
    return set(found.select(*DIMENSIONS, "cost_change").rows())


@MANY
@given(seeds, st.integers(0, 4), st.permutations(DIMENSIONS))
def test_the_order_of_the_dimensions_changes_nothing(seed, moved, order):
    leaves = bill(seed, moved)
    assert lines(find_drivers(leaves, order)) == lines(find_drivers(leaves.select(sorted(leaves.columns)), DIMENSIONS))


@MANY
@given(seeds, st.integers(0, 4), seeds)
def test_shuffled_rows_cut_into_unequal_parts_change_nothing(seed, moved, cut):
    leaves = bill(seed, moved)
    shares = np.random.default_rng(cut).integers(0, 5, leaves.height) / 4  # quarters: no cent is rounded
    parts = [leaves.with_columns(pl.col("expected_cost", "actual_cost") * pl.Series(s)) for s in (shares, 1 - shares)]
    assert lines(find_drivers(pl.concat(parts).sample(fraction=1.0, shuffle=True, seed=1), DIMENSIONS)) == lines(
        find_drivers(leaves, DIMENSIONS)
    )


@MANY
@given(seeds, st.integers(0, 4))
def test_drivers_are_disjoint_and_with_the_remainder_exact_to_the_cent(seed, moved):
    leaves = bill(seed, moved)
    found = find_drivers(leaves, DIMENSIONS)
    change = (leaves["actual_cost"] - leaves["expected_cost"]).to_numpy()
    selects = [
        leaves.select(pl.all_horizontal(pl.col(k) == row[k] for k in DIMENSIONS if row[k] is not None)).to_series().to_numpy()
        for row in found.iter_rows(named=True)
    ]
    together = np.any(selects, axis=0) if selects else np.zeros(change.size, dtype=bool)
    assert sum(found["cost_change"]) == change[together].sum()  # every leaf once, though constraints may overlap
    remainder = change.sum() - sum(found["cost_change"])
    assert remainder == change[~together].sum()


@pytest.mark.parametrize(
    "noise",
    [
        pytest.param(lambda rng, n: 1 + 0.1 * rng.standard_t(3, n), id="student_t_3"),
        pytest.param(lambda rng, n: np.exp(0.3 * rng.standard_normal(n)), id="lognormal"),
        pytest.param(lambda rng, n: np.exp(0.2 * rng.standard_t(3, n)), id="log_student_t_3"),
    ],
)
def test_noise_with_heavy_tails_has_no_driver_in_95_of_100_bills(noise):
    silent = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        leaves = bill(seed, 0)
        moved = leaves["expected_cost"].to_numpy() * np.maximum(noise(rng, leaves.height), 0.0)
        silent += find_drivers(leaves.with_columns(actual_cost=pl.Series(moved)), DIMENSIONS).is_empty()
    assert silent >= 0.95 * SEEDS
