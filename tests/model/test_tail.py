"""The tail of a bill, folded: its sums, what stands alone, and what is found in it."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_company import ALL, FIRST, HOURS, Line, MemoryLake, SmallCompany, from_hour

from costwhy.case.analysis import LakeAnalysis, analyse
from costwhy.case.investigate import explain, investigate, investigate_window
from costwhy.model.observe import observe
from costwhy.model.observed import Observed
from costwhy.model.tail import ALWAYS, FOLD_BY, Folding

ONSET = 30 * 24
DAY = timedelta(days=1)


def company(lines: int = 40, seed: int = 1) -> SmallCompany:
    """Beside its seven lines, small ones of api: each at $0.0002 to $0.02 a thousand calls."""
    found, rng = SmallCompany(seed), np.random.default_rng(seed)
    for k in range(lines):
        price = float(10 ** rng.uniform(-7, -5))
        found.lines[f"small-{k}"] = Line(
            "api", f"Small-{k}", "Requests", price * ALL, per_call=rng.uniform(0.5, 2) * ALL
        )
    return found


def observed(
    lake: MemoryLake, few: int = 0, least: float = 0.01, by: Sequence[str] = ()
) -> Observed:
    return observe(lake, folding=Folding(few, least, by))


def sums(found: Observed, by: Sequence[str]) -> pl.DataFrame:
    """Dollars by these columns and hour."""
    frame = found.meters.select(by).with_columns(
        cost=pl.Series(found.cost.tolist(), dtype=pl.List(pl.Float64))
    )
    return (
        frame.with_columns(t=pl.int_ranges(0, len(found.hours)))
        .explode("cost", "t")
        .group_by(*by, "t")
        .agg(pl.col("cost").sum())
        .sort(*by, "t", nulls_last=True)
    )


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-6, 1.0), st.integers(0, 100))
def test_the_dollars_of_each_hour_are_the_same_at_any_threshold(least: float, few: int) -> None:
    lake = company(lines=20).lake()
    whole, folded = observed(lake, few=10**9), observed(lake, few, least)
    assert folded.cost.sum(axis=0) == pytest.approx(whole.cost.sum(axis=0), abs=1e-9)
    by = list(ALWAYS)
    one, other = sums(whole, by), sums(folded, by)
    assert one.select(by).equals(other.select(by))
    assert other["cost"].to_numpy() == pytest.approx(one["cost"].to_numpy(), abs=1e-9)


def test_few_meters_all_stand_alone() -> None:
    lake = company().lake()
    assert observe(lake).folded is None
    assert observed(lake, few=47).folded is None
    assert observed(lake, few=46).folded is not None


def test_the_small_lines_of_a_service_are_one_meter() -> None:
    found = observed(company().lake())
    assert found.folded is not None
    rows = found.folded["row"].unique().to_list()
    assert len(rows) == 1
    meter = found.meters.row(rows[0], named=True)
    assert {name for name, value in meter.items() if value is not None} <= set(FOLD_BY)
    assert (meter["service"], meter["ConsumedUnit"]) == ("api", "Requests")
    assert found.meters.height == 7 + 1 + 40 - found.folded.height


def test_what_is_still_small_is_one_meter_of_the_service_over_all_products() -> None:
    found = SmallCompany()
    for product in ("Amazon SQS", "Amazon SNS", "Amazon S3"):
        found.lines[product] = Line(
            "api", f"{product}-Requests", "Requests", 1e-8 * ALL, per_call=ALL, product=product
        )
    one = observed(found.lake())
    assert one.folded is not None
    assert one.folded.height == 3
    [row] = one.folded["row"].unique().to_list()
    meter = one.meters.row(row, named=True)
    assert (meter["service"], meter["ServiceName"]) == ("api", None)
    assert one.cost[row] == pytest.approx(3e-8 * found.handled("api"))


def test_a_line_that_becomes_large_stands_alone() -> None:
    grows = company()
    grows.lines["small-3"].per_call = grows.lines["small-3"].per_call * (
        1 + 1e5 * from_hour(40 * 24, 1.0) * (np.arange(HOURS) >= 40 * 24)
    )
    names = [observed(one.lake()).meters["x_UsageType"].to_list() for one in (company(), grows)]
    assert "Small-3" not in names[0]
    assert "Small-3" in names[1]


def test_a_shift_from_cheap_lines_to_dear_ones_is_usage_and_no_price() -> None:
    found = SmallCompany()
    later = np.arange(HOURS) >= ONSET
    for name, price, on in (("cheap", 1e-7, ~later), ("dear", 1e-6, later)):
        found.lines[name] = Line("api", name, "Requests", price * ALL, per_call=1.0 * on)
    one = observed(found.lake(), least=0.01)
    assert one.folded is not None
    [row] = one.folded["row"].unique().to_list()
    price = one.cost[row] / one.usage[row]
    assert price == pytest.approx(np.full(HOURS, price[0]))
    calls = found.handled("api")
    steps = one.usage[row] / calls
    assert steps[later].mean() / steps[~later].mean() == pytest.approx(10.0)


def test_columns_that_are_asked_for_are_kept() -> None:
    found = observed(company().lake(), by=["x_UsageType"])
    assert found.folded is not None
    assert found.meters["x_UsageType"].null_count() == 0
    assert found.meters.height == 47


@pytest.fixture
def folds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every meter under 1 % of the cost of a mean day is folded."""
    monkeypatch.setattr(Folding.__init__, "__defaults__", (0, 0.01, ()))


def moved(many: int = 10) -> MemoryLake:
    """Of the small lines of api some cost 400 times as much from day 30 on, together $3 an hour."""
    found = company(lines=0)
    for k in range(30):
        found.lines[f"small-{k}"] = Line(
            "api", f"Small-{k}", "Requests", 1e-8 * ALL,
            per_call=ALL * (from_hour(ONSET, 400.0) if k < many else 1.0),
        )  # fmt: skip
    return found.lake()


@pytest.mark.usefixtures("folds")
def test_a_spike_of_folded_lines_is_found_and_its_drivers_are_the_lines() -> None:
    lake = moved()
    found: LakeAnalysis = analyse(lake)
    assert found.observed.folded is not None
    [spike] = found.found
    case = investigate(lake, spike.row.spike_id)
    assert case.behaviour.select("kind", "service").rows() == [("usage_per_call", "api")]
    true = 10 * 399 * 1e-8 * SmallCompany().handled("api")[ONSET:].sum()
    assert spike.row.excess_cost == pytest.approx(true, rel=0.02)
    whole = case.drivers["cost_change"].sum() + case.drivers_remainder
    assert whole == pytest.approx(spike.row.excess_cost, abs=0.01)
    for k in range(10):
        assert any(f'"Small-{k}"' in where for where in case.drivers["where"])
    assert not any('"Small-12"' in where for where in case.drivers["where"])


@pytest.mark.usefixtures("folds")
def test_a_window_of_folded_lines_is_asked_by_any_column() -> None:
    lake = moved()
    window = (FIRST + 31 * DAY, FIRST + 33 * DAY)
    case = investigate_window(lake, window, where={"x_UsageType": "Small-3"})
    calls = SmallCompany().handled("api")[31 * 24 : 33 * 24]
    assert case.spike.actual_cost == pytest.approx(4e-6 * calls.sum(), abs=0.01)


@pytest.mark.usefixtures("folds")
def test_the_document_says_what_is_folded() -> None:
    document = explain(moved())
    assert any("30 small lines" in one for one in document["bill"]["sentences"])  # type: ignore[index]
