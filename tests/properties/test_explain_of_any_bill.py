"""What the whole answer does not depend on: names, the currency, how the bill is cut into rows."""

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_company import HOURS, MemoryLake, SmallCompany, changed, from_hour

from costwhy import tables
from costwhy.case.investigate import explain

FEW = settings(max_examples=6, deadline=None)
MONEY = (
    "expected_cost",
    "actual_cost",
    "excess_cost",
    "cost_per_hour_now",
    "month_end_excess_cost",
)


def company(seed: int) -> SmallCompany:
    """One incident of a kind, an hour and a size by chance."""
    rng = np.random.default_rng(seed)
    made, times = (
        SmallCompany(seed),
        from_hour(int(rng.integers(400, HOURS - 30)), float(rng.uniform(1.6, 3.0))),
    )
    match int(rng.integers(4)):
        case 0:
            made.retries["db", "api"] *= times
        case 1:
            made.fan_out["search", "web"] *= times
        case 2:
            made.lines["search"] = changed(made.lines["search"], per_call=times)
        case _:
            made.lines["db"] = changed(made.lines["db"], price=made.lines["db"].price * times)
    return made


def other(lake: MemoryLake, **frames: pl.DataFrame) -> MemoryLake:
    """The lake with other tables, as another lake."""
    return replace(lake, frames=lake.frames | frames, place=lake.place + "/other")


def rows_of(document: dict[str, Any]) -> list[tuple[object, ...]]:
    return [
        (s["start"], s["end"], s["verdict"], b["kind"], b["service"], b["caller"], b["usage_type"])
        for s in document["spikes"]
        for b in s["behaviour"]
    ]


@FEW
@given(st.integers(0, 10_000))
def test_rows_of_the_bill_cut_in_two_change_nothing(seed):
    lake = company(seed).lake()
    hourly = lake.table("hourly")
    halves = [hourly.with_columns(pl.col(tables.MEASURE_NAMES) * part) for part in (0.25, 0.75)]
    one, two = explain(lake), explain(other(lake, hourly=pl.concat(halves)))
    assert rows_of(two) == rows_of(one)
    assert [s["excess_cost"] for s in two["spikes"]] == [s["excess_cost"] for s in one["spikes"]]


@FEW
@given(st.integers(0, 10_000), st.sampled_from([0.25, 150.0]))
def test_in_another_currency_the_same_is_found_and_every_amount_scales(seed, rate):
    lake = company(seed).lake()
    money = ("EffectiveCost", "BilledCost", "ListCost")
    one, two = (
        explain(lake),
        explain(other(lake, hourly=lake.table("hourly").with_columns(pl.col(money) * rate))),
    )
    assert one["spikes"]
    assert rows_of(two) == rows_of(one)
    for mine, theirs in zip(one["spikes"], two["spikes"], strict=True):
        assert [theirs[name] for name in MONEY] == pytest.approx(
            [mine[name] * rate for name in MONEY], abs=0.011 * max(1.0, rate)
        )


@FEW
@given(st.integers(0, 10_000), st.permutations(["web", "mobile", "api", "db", "search", "report"]))
def test_services_of_other_names_are_told_by_their_names_and_nothing_else_changes(seed, order):
    lake = company(seed).lake()
    names = {
        old: f"zz-{new}"
        for old, new in zip(["web", "mobile", "api", "db", "search", "report"], order, strict=True)
    }
    signals = lake.table("signals").with_columns(pl.col("service", "caller").replace(names))
    renamed = other(
        lake,
        signals=signals,
        series=lake.table("series").with_columns(pl.col("service").replace(names)),
    )
    expected = [
        (*r[:4], names.get(r[4], r[4]), names.get(r[5], r[5]), r[6]) for r in rows_of(explain(lake))
    ]
    assert rows_of(explain(renamed)) == expected
