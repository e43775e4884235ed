"""Change points: the same as another library finds, and what a cut must pay for."""

import numpy as np
import pytest

from costwhy.model.change_points import change_points


def cuts(values: np.ndarray, spread: float = 1.0, **more) -> list[int]:
    return change_points([values], [spread], **more)[0]


@pytest.mark.parametrize("seed", range(40))
def test_cuts_are_those_of_pelt(seed):
    ruptures = pytest.importorskip("ruptures")
    rng = np.random.default_rng(seed)
    lengths = rng.integers(7, 40, rng.integers(1, 9))  # short ones may be taken for outliers
    heights = np.cumsum(rng.choice([-1, 1], lengths.size) * rng.uniform(4, 12, lengths.size))
    values = np.repeat(heights, lengths) + rng.uniform(-1, 1, lengths.sum())
    pelt = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(values)
    assert cuts(values, penalty=25.0) == [0, *pelt.predict(pen=25.0)[:-1]]
    wide = ruptures.Pelt(model="l2", min_size=3, jump=1).fit(values / 2.5)
    assert cuts(values, 2.5, penalty=9.0) == [0, *wide.predict(pen=9.0)[:-1]]


def test_a_cut_must_save_more_than_its_penalty():
    # ten at 0 and ten at h: one mean leaves 20 (h / 2)^2 = 5 h^2
    for height, found in ((2.2, [0]), (2.3, [0, 10])):
        assert cuts(np.repeat([0.0, height], 10), penalty=25.0) == found
        assert cuts(np.repeat([0.0, 3 * height], 10), spread=3.0, penalty=25.0) == found


def test_an_outlier_is_no_segment():
    values = np.zeros(30)
    values[[10, 11]] = 100.0
    assert cuts(values) == [0]
    values[12] = 100.0
    assert cuts(values) == [0, 10, 13]


def test_an_outlier_is_cut_to_four_spreads():
    values = np.zeros(30)
    values[10] = 100.0
    # 4^2 of thirty: one mean leaves less than a penalty of 25
    assert cuts(values, penalty=25.0, shortest=1) == [0]
    assert cuts(values, penalty=7.0, shortest=1) == [0, 10, 11]


def test_a_segment_is_as_long_as_the_shortest():
    values = np.repeat([0.0, 9.0, 0.0], [10, 3, 10])
    assert cuts(values, shortest=3) == [0, 10, 13]
    starts = [*cuts(values, shortest=5), values.size]
    assert min(np.diff(starts)) >= 5


def test_what_is_too_short_for_two_segments_is_one():
    assert cuts(np.array([0.0, 0, 0, 9, 9])) == [0]
    assert cuts(np.array([0.0, 0, 0, 9, 9, 9])) == [0, 3]
    assert change_points([], []) == []


def test_series_of_any_lengths_are_cut_in_their_order():
    series = [np.repeat([0.0, 9.0], n) for n in (8, 5, 8, 2)]
    assert change_points(series, [1.0] * 4) == [[0, 8], [0, 5], [0, 8], [0]]
