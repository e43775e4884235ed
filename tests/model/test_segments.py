"""Segments: the quick search over many series finds what the plain one finds in each."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from costwhy.model.change_points import NEAR, change_points
from costwhy.model.levels import Level, levels_of
from costwhy.spikes.shifts import find_shifts


def plainly(values: np.ndarray, spread: float, penalty: float, shortest: int) -> list[int]:
    """Optimal partitioning as the paper tells it: for each possible end the cheapest start, cost as squares about the mean."""
    n = values.size
    padded = np.pad(values, 2, mode="edge")
    middle = np.array([np.median(padded[k : k + 5]) for k in range(n)])
    z = np.clip(values, middle - 4 * spread, middle + 4 * spread) / spread
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (z, z * z))
    best = {0: (-penalty, [])}
    for end in [*possible(sums, shortest), n]:
        choices = [
            (cost - squares[a] - (sums[end] - sums[a]) ** 2 / (end - a), [*cuts, a])
            for a, (cost, cuts) in best.items()
            if end - a >= shortest
        ]
        cost, cuts = min(choices, key=lambda c: c[0], default=(np.inf, [0]))
        best[end] = cost + squares[end] + penalty, cuts
    return best[n][1]


def possible(sums: np.ndarray, shortest: int) -> list[int]:
    n = sums.size - 1
    steps = {}
    for t in range(shortest, n - shortest + 1):
        a, b = max(t - NEAR, 0), min(t + NEAR, n)
        steps[t] = abs((sums[b] - sums[t]) / (b - t) - (sums[t] - sums[a]) / (t - a))
    return [
        t
        for t, step in steps.items()
        if step >= max(steps.get(u, -1.0) for u in range(t - NEAR + 1, t + NEAR))
    ]


@st.composite
def many(draw) -> list[np.ndarray]:
    """Up to eight noisy series of few lengths, whole numbers and constant ones among them, with steps and pulses."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    out = []
    for _ in range(draw(st.integers(1, 8))):
        values = rng.normal(
            0,
            draw(st.sampled_from([0.0, 0.5, 1.0])),
            draw(st.sampled_from([1, 5, 6, 7, 30, 90, 90, 90])),
        )
        begin, length = draw(st.integers(0, 90)), draw(st.integers(1, 90))
        values[begin : begin + length] += draw(st.sampled_from([0.0, -3.0, 10.0]))
        out.append(np.round(values) if draw(st.booleans()) else values)
    return out


@settings(max_examples=80, deadline=None)
@given(many(), st.sampled_from([2, 3]), st.sampled_from([0.1, 1.0]))
def test_series_searched_together_are_cut_where_the_plain_search_cuts_each(
    series, shortest, spread
):
    found = change_points(series, [spread] * len(series), penalty=20.0, shortest=shortest)
    assert found == [
        change_points([values], [spread], penalty=20.0, shortest=shortest)[0] for values in series
    ]
    for values, starts in zip(series, found, strict=True):
        assert starts == (
            [0] if values.size < 2 * shortest else plainly(values, spread, 20.0, shortest)
        )
        assert all(
            b - a >= shortest
            for a, b in pairwise([*starts, values.size])
            if values.size >= 2 * shortest
        )


def test_levels_looked_at_together_have_the_shifts_that_each_has_alone():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.01, (70, 500))
    values[7, 300:] += 0.2
    values[9, 100:200] -= 0.1
    values[11, rng.random(500) < 0.4] = np.nan  # fewer defined hours than the others
    values[13, :495] = np.nan  # too few
    values[15, rng.random(500) < 0.9] = np.nan  # a job that seldom runs
    traces = levels_of("ratio", values, np.zeros(70, dtype=bool))
    together = list(find_shifts(traces))
    assert together == [next(iter(find_shifts([t]))) for t in traces]
    assert [(s.start, s.end) for s in together[7]] == [(300, None)]
    assert [(s.start, s.end) for s in together[9]] == [(100, 200)]
    assert together[13] == []


def test_a_swinging_flow_has_the_spread_around_its_running_median():
    rng = np.random.default_rng(4)
    values = rng.normal(0, 0.05, 400) + np.sin(np.arange(400) / 30)
    [found] = levels_of(
        "flow", values[None, :], np.ones(1, dtype=bool)
    )  # fresh: no season taken out
    padded = np.pad(values, 36, mode="edge")
    rest = values - np.array(
        [np.median(padded[k : k + 73]) for k in range(400)]
    )  # three days and an hour
    assert isinstance(found, Level)
    assert found.spread == 1.4826 * np.median(np.abs(rest - np.median(rest)))
