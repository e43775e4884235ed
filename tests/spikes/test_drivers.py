"""Drivers: which combinations of dimensions carry a change, each with its dollars, what is left stated."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costwhy.errors import InputError
from costwhy.spikes.drivers import find_drivers


def drawn(table: str) -> pl.DataFrame:
    """A drawn table: one line for each row, columns apart by blanks, `-` for null, numbers where all are."""
    head, *lines = (line.split() for line in table.strip().splitlines())
    columns = {
        name: [None if line[k] == "-" else line[k] for line in lines] for k, name in enumerate(head)
    }
    frame = pl.DataFrame(columns, schema=dict.fromkeys(head, pl.String))
    return frame.with_columns(pl.col("^.*_cost$", "^cost_.*$").cast(pl.Float64))


def grid(factor, regions: int = 6, services: int = 8, *, noise: float = 0.0) -> pl.DataFrame:
    """A bill of regions x services: $100 and more a leaf, `factor(region, service)` times that afterwards."""
    rng = np.random.default_rng(7)
    rows = [
        (f"r{r}", f"s{s}", 100.0 + 7 * r + 13 * s) for r in range(regions) for s in range(services)
    ]
    frame = pl.DataFrame(rows, schema=["region", "service", "expected_cost"], orient="row")
    times = [factor(r, s) * (1 + noise * rng.normal()) for r, s, _ in rows]
    return frame.with_columns(actual_cost=pl.col("expected_cost") * pl.Series(times))


def named(found: pl.DataFrame) -> list[dict[str, str]]:
    """The constraints of each driver, in order."""
    return [
        {k: v for k, v in row.items() if v is not None and k != "cost_change"}
        for row in found.iter_rows(named=True)
    ]


def test_one_service_that_doubled_in_one_region_is_named_with_both():
    leaves = drawn("""
        region  service  expected_cost  actual_cost
        eu      db       100            200
        eu      web      100            100
        us      db       100            100
        us      web      100            100
        ap      db       100            100
        ap      web      100            100
    """)
    found = find_drivers(leaves, ["region", "service"])
    assert found.equals(drawn("""
        region  service  cost_change
        eu      db       100
    """))  # fmt: skip  # 200 - 100


def test_what_moved_in_every_region_is_named_by_the_service_alone():
    leaves = drawn("""
        region  service  expected_cost  actual_cost
        eu      db       100            150
        us      db       40             60
        ap      db       10             15
        eu      web      100            100
        us      web      40             40
        ap      web      10             10
    """)
    found = find_drivers(leaves, ["region", "service"])
    assert found.equals(drawn("""
        region  service  cost_change
        -       db       75
    """))  # fmt: skip  # 50 + 20 + 5


def test_a_rise_and_a_fall_that_cancel_both_survive():
    leaves = drawn("""
        region  service  expected_cost  actual_cost
        eu      db       100            170
        us      db       100            170
        eu      web      100            30
        us      web      100            30
        eu      mail     100            100
        us      mail     100            100
        eu      logs     100            100
        us      logs     100            100
    """)
    found = find_drivers(leaves, ["region", "service"])
    assert leaves["actual_cost"].sum() == leaves["expected_cost"].sum()  # the total is flat
    assert named(found) == [{"service": "db"}, {"service": "web"}] or named(found) == [
        {"service": "web"},
        {"service": "db"},
    ]
    assert sorted(found["cost_change"]) == [-140, 140]  # 2 x 70


def test_a_general_drift_is_not_a_driver():
    assert find_drivers(
        grid(lambda _r, _s: 1.1), ["region", "service"]
    ).is_empty()  # everything 10 % up


def test_a_driver_above_a_general_drift_keeps_all_its_dollars():
    leaves = grid(lambda r, _s: 1.5 if r == "r2" else 1.1)
    found = find_drivers(leaves, ["region", "service"])
    assert named(found) == [{"region": "r2"}]
    assert found["cost_change"][0] == pytest.approx(
        0.5 * sum(100 + 7 * 2 + 13 * s for s in range(8))
    )


def test_noise_alone_has_no_driver():
    leaves = grid(lambda _r, _s: 1.0, 30, 40, noise=0.1)
    assert find_drivers(leaves, ["region", "service"]).is_empty()


def test_noise_hides_no_driver():
    leaves = grid(
        lambda r, s: 2.0 if (r, s) in {("r3", "s5"), ("r3", "s6")} or r == "r9" else 1.0,
        30,
        40,
        noise=0.05,
    )
    found = find_drivers(leaves, ["region", "service"])
    assert named(found)[0] == {"region": "r9"}
    assert {tuple(d.values()) for d in named(found)[1:]} == {("r3", "s5"), ("r3", "s6")}


def test_three_regions_of_five_are_three_drivers_not_their_sum():
    leaves = grid(
        lambda r, s: 0.5 if s == "s1" and r in {"r0", "r1", "r2"} else 1.0, 5, 30, noise=0.01
    )
    found = find_drivers(leaves, ["region", "service"])
    assert {tuple(d.values()) for d in named(found)} == {("r0", "s1"), ("r1", "s1"), ("r2", "s1")}


def test_new_and_vanished_leaves_are_found():
    leaves = drawn("""
        service  type   expected_cost  actual_cost
        db       read   0              80
        db       write  0              20
        web      read   60             0
        web      write  40             0
        mail     read   50             50
        mail     write  50             50
        logs     read   50             50
        logs     write  50             50
    """)
    found = find_drivers(leaves, ["service", "type"])
    assert {(d["service"], c) for d, c in zip(named(found), found["cost_change"], strict=True)} == {
        ("db", 100.0),
        ("web", -100.0),
    }


def test_drivers_are_disjoint_and_with_the_remainder_exact():
    leaves = drawn("""
        region  service  expected_cost  actual_cost
        eu      db       10000          19999
        us      db       10000          20000
        ap      db       10000          20001
        eu      web      10000          5000
        us      web      10000          10001
        ap      web      10000          9999
        eu      mail     10000          5000
        us      mail     10000          10003
        ap      mail     10000          10000
        eu      logs     10000          5000
        us      logs     10000          10000
        ap      logs     10000          10000
    """)  # cents
    found = find_drivers(leaves, ["region", "service"])
    assert found.equals(drawn("""
        region  service  cost_change
        -       db       30000
        eu      -        -15000
    """))  # fmt: skip  # db 9999 + 10000 + 10001; eu without db 3 x -5000
    whole = leaves["actual_cost"].sum() - leaves["expected_cost"].sum()
    assert whole - found["cost_change"].sum() == 3  # us: +1 web, +3 mail; ap: -1 web


def test_leaves_that_occur_twice_are_added():
    once = grid(lambda r, _s: 2.0 if r == "r1" else 1.0)
    halves = once.with_columns(pl.col("expected_cost", "actual_cost") / 2)
    assert find_drivers(pl.concat([halves, halves]), ["region", "service"]).equals(
        find_drivers(once, ["region", "service"])
    )


def test_a_null_is_never_a_constraint_since_null_means_any_value():
    leaves = drawn("""
        team  service  expected_cost  actual_cost
        -     db       100            200
        -     web      100            100
        red   db       100            100
        red   web      100            100
        blue  db       100            100
        blue  web      100            100
    """)  # what moved is db without a team: no words for it, so it stays in the remainder
    assert all(
        "team" not in d or d["team"] is not None
        for d in named(find_drivers(leaves, ["team", "service"]))
    )
    every = leaves.with_columns(
        team=pl.lit(None, dtype=pl.String), service=pl.lit(None, dtype=pl.String)
    )
    assert find_drivers(every, ["team", "service"]).is_empty()


def test_credits_are_drivers_too():
    leaves = drawn("""
        service  kind    expected_cost  actual_cost
        db       usage   100            100
        db       credit  -50            0
        web      usage   100            100
        web      credit  -50            -50
        mail     usage   100            100
        mail     credit  -50            -50
    """)
    found = find_drivers(leaves, ["service", "kind"])
    assert named(found) == [{"service": "db", "kind": "credit"}]
    assert found["cost_change"].to_list() == [50]  # a credit of 50 ended


def test_no_leaves_and_no_change_have_no_drivers():
    leaves = grid(lambda _r, _s: 1.0)
    for frame in (leaves, leaves.head(0)):
        found = find_drivers(frame, ["region", "service"])
        assert found.is_empty()
        assert found.schema == {
            "region": pl.String,
            "service": pl.String,
            "cost_change": pl.Float64,
        }


def test_dimensions_keep_their_types():
    leaves = grid(lambda r, _s: 3.0 if r == "r1" else 1.0).with_columns(
        pl.col("region").cast(pl.Categorical), service=pl.col("service").str.slice(1).cast(pl.Int32)
    )
    found = find_drivers(leaves, ["region", "service"])
    assert found.schema == {**leaves.select("region", "service").schema, "cost_change": pl.Float64}
    assert found["region"].cast(pl.String).to_list() == ["r1"]


@pytest.mark.parametrize("problem", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_finite_number_is_refused_by_its_column(problem):
    leaves = grid(lambda _r, _s: 1.0).with_columns(actual_cost=pl.lit(problem, dtype=pl.Float64))
    with pytest.raises(InputError, match="'actual_cost' must hold finite numbers"):
        find_drivers(leaves, ["region", "service"])


def test_text_in_place_of_numbers_is_refused():
    leaves = grid(lambda _r, _s: 1.0).with_columns(expected_cost=pl.lit("ten"))
    with pytest.raises(InputError, match="'expected_cost' must hold finite numbers"):
        find_drivers(leaves, ["region", "service"])


def test_a_missing_column_is_named_with_those_that_are_there():
    with pytest.raises(InputError, match=r"no column 'zone'\nFound: region, service"):
        find_drivers(grid(lambda _r, _s: 1.0), ["region", "zone"])


@pytest.mark.parametrize("dimensions", [[], ["region", "region"], ["region", "actual_cost"]])
def test_dimensions_that_cannot_be_searched_are_refused(dimensions):
    with pytest.raises(InputError, match="cannot be searched"):
        find_drivers(grid(lambda _r, _s: 1.0), dimensions)


# ---------------------------------------------------------------- what holds for any table

DIMENSIONS = ["region", "service", "team"]
TABLES = settings(max_examples=60, deadline=None)


@st.composite
def bills(draw) -> pl.DataFrame:
    """Up to 6 x 6 x 3 leaves in whole cents, noisy; up to three combinations raised, lowered, new or gone; some nulls."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    region, service, team = np.indices(
        (draw(st.integers(1, 6)), draw(st.integers(1, 6)), draw(st.integers(1, 3)))
    ).reshape(3, -1)
    expected = np.round(np.exp(rng.normal(8, draw(st.sampled_from([0.1, 2.0])), region.size)))
    actual = expected * (1 + draw(st.sampled_from([0.0, 0.02, 0.2])) * rng.normal(size=region.size))
    for _ in range(draw(st.integers(0, 3))):
        chosen = (region == draw(st.integers(0, 5))) | draw(st.booleans())
        chosen &= (service == draw(st.integers(0, 5))) | draw(st.booleans())
        actual[chosen] *= draw(st.sampled_from([0.0, 0.5, 1.5, 4.0]))
    names = [f"t{t}" if t or draw(st.booleans()) else None for t in range(3)]
    values = [[f"r{r}" for r in region], [f"s{s}" for s in service], [names[t] for t in team]]
    frame = pl.DataFrame(values, schema=dict.fromkeys(DIMENSIONS, pl.String), orient="col")
    return frame.with_columns(
        expected_cost=pl.Series(expected), actual_cost=pl.Series(np.round(np.abs(actual)))
    )


def find(leaves: pl.DataFrame) -> pl.DataFrame:
    return find_drivers(leaves, DIMENSIONS)


def lines(found: pl.DataFrame) -> set[tuple]:
    return set(found.rows())


def claimed(leaves: pl.DataFrame, found: pl.DataFrame) -> np.ndarray:
    """Drivers x leaves: which leaves each driver's constraints select."""
    said = [
        {k: v for k, v in row.items() if k != "cost_change" and v is not None}
        for row in found.iter_rows(named=True)
    ]
    return np.array(
        [
            leaves.select(
                pl.all_horizontal(pl.col(k).eq_missing(v) for k, v in d.items())
            ).to_series()
            for d in said
        ],
        dtype=bool,
    )


@TABLES
@given(bills())
def test_every_driver_has_a_constraint_and_dollars_and_the_largest_is_first(leaves):
    found = find(leaves)
    assert not any(
        all(row[name] is None for name in DIMENSIONS) for row in found.iter_rows(named=True)
    )
    assert all(math.isfinite(c) and c != 0 for c in found["cost_change"])
    assert found["cost_change"].abs().is_sorted(descending=True)


@TABLES
@given(bills())
def test_dollars_are_those_of_disjoint_leaves(leaves):
    """Some order of taking the drivers gives each exactly what the earlier ones left of its leaves, to the cent."""
    found = find(leaves)
    change = (leaves["actual_cost"] - leaves["expected_cost"]).to_numpy()
    selects, left = claimed(leaves, found), set(range(found.height))
    assert explained(
        selects, change, found["cost_change"].to_numpy(), left, np.ones(change.size, dtype=bool)
    )


def explained(selects, change, said, left, free) -> bool:
    """Depth first over the orders; most bills have drivers that do not overlap, and need one."""
    if not left:
        return True
    fits = [k for k in left if change[free & selects[k]].sum() == said[k]]
    return any(explained(selects, change, said, left - {k}, free & ~selects[k]) for k in fits)


@TABLES
@given(bills(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(leaves, random):
    order = list(range(leaves.height))
    random.shuffle(order)
    assert lines(find(leaves[order])) == lines(find(leaves))


@TABLES
@given(bills())
def test_renaming_values_renames_the_drivers_and_nothing_else(leaves):
    new = {
        f"{kind}{k}": f"{chr(122 - k)}-{kind}" for kind in "rst" for k in range(6)
    }  # the order of the names is reversed
    renamed = leaves.with_columns(pl.col(DIMENSIONS).replace(new))
    assert lines(find(renamed)) == lines(find(leaves).with_columns(pl.col(DIMENSIONS).replace(new)))


@TABLES
@given(bills(), st.sampled_from([2.0**-7, 0.5, 8.0]))
def test_another_currency_scales_the_dollars(leaves, rate):
    scaled = leaves.with_columns(pl.col("expected_cost", "actual_cost") * rate)
    assert lines(find(scaled)) == lines(find(leaves).with_columns(pl.col("cost_change") * rate))


@TABLES
@given(bills())
def test_splitting_rows_changes_nothing(leaves):
    quarter, rest = (
        leaves.with_columns(pl.col("expected_cost", "actual_cost") * part) for part in (0.25, 0.75)
    )
    assert lines(find(pl.concat([rest, quarter]))) == lines(find(leaves))
