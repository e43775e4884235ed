"""Commitments, from what a bill shows: the lesser of usage and commitment."""

import numpy as np

from costwhy.model.meters import committed, on_demand


def found(usage: list[float], covered: list[float]) -> list[float]:
    return committed(np.array([usage], dtype=float), np.array([covered], dtype=float))[0].tolist()


def test_an_hour_with_on_demand_usage_tells_the_commitment_of_all():
    assert found(usage=[5, 8, 12, 15, 9], covered=[5, 8, 10, 10, 9]) == [10] * 5


def test_a_commitment_that_was_never_outgrown_is_its_highest_hour():
    assert found(usage=[5, 8, 6], covered=[5, 8, 6]) == [8, 8, 8]


def test_a_commitment_that_ends_is_zero_from_then_on():
    assert found(usage=[12, 12, 12, 12], covered=[10, 10, 0, 0]) == [10, 10, 0, 0]


def test_a_second_commitment_begins_where_one_quantity_no_longer_fits():
    # 10 with on-demand usage in hour 1, and 14 covered in hour 2
    assert found(usage=[8, 12, 14, 13], covered=[8, 10, 14, 13]) == [10, 10, 14, 14]


def test_two_per_cent_more_or_less_is_one_commitment():
    # hours that tell exactly keep what they tell; the third is between
    assert found(usage=[20, 20, 9], covered=[10, 10.2, 9]) == [10, 10.2, 10]
    assert found(usage=[20, 20, 9], covered=[10, 10.21, 9]) == [10, 10.21, 10.21]
    assert found(usage=[20, 20, 9], covered=[10, 9.79, 9]) == [10, 9.79, 9.79]
    assert found(usage=[9, 20, 20], covered=[9, 10, 9.8]) == [9.8, 10, 9.8]


def test_what_nothing_covers_has_no_commitment():
    usage = np.array([[3.0, 4.0], [5.0, 6.0]])
    covered = np.array([[0.0, 0.0], [2.0, 2.0]])
    assert committed(usage, covered).tolist() == [[0, 0], [2, 2]]


def test_on_demand_usage_is_more_than_a_rounding_error():
    usage, covered = np.array([1e6, 1e6, 0.0]), np.array([1e6 - 1e-4, 1e6 - 1.0, 0.0])
    assert on_demand(usage, covered).tolist() == [False, True, False]
