"""What a commitment holds, from bills that say only the lesser of it and what was used."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costwhy.model.meters import committed, on_demand

HOURS = 200
seeds = st.integers(0, 2**32 - 1)


def bill(seed: int, holds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Usage that wanders around what is held, and the part of it that is covered (3 x T)."""
    rng = np.random.default_rng(seed)
    usage = rng.lognormal(0, 1) * holds.mean() * rng.lognormal(0, 0.5, (3, HOURS))
    return usage, np.minimum(usage, holds)


@given(seeds)
def test_the_lesser_of_what_is_held_and_used_is_what_was_covered(seed: int) -> None:
    steps = np.repeat(np.random.default_rng(seed).lognormal(2, 1, 10), HOURS // 10)
    usage, covered = bill(seed, steps)
    assert np.minimum(committed(usage, covered), usage) == pytest.approx(covered)


@given(seeds)
def test_a_commitment_that_stands_still_is_one_number_however_usage_moves(seed: int) -> None:
    usage, covered = bill(seed, np.full(HOURS, 10.0))
    for found, beside, most in zip(
        committed(usage, covered), on_demand(usage, covered), covered.max(axis=1), strict=True
    ):
        assert np.ptp(found) == 0
        assert found[0] == (
            10.0 if beside.any() else most
        )  # never outgrown: no more is known than that it held the highest hour


@given(seeds, st.integers(24, HOURS - 24))
def test_a_commitment_that_ends_is_seen_to_end(seed: int, end: int) -> None:
    usage, covered = bill(seed, np.where(np.arange(HOURS) < end, 10.0, 0.0))
    found = committed(usage, covered)
    assert (found[:, end:] == 0).all()
    assert (np.ptp(found[:, :end], axis=1) == 0).all()
