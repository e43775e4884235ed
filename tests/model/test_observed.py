"""What is read from the lake's tables: one axis of hours, calls by edge, usage and cost by meter."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from costwhy import tables
from costwhy.errors import LakeError
from costwhy.model.observe import observe
from costwhy.model.observed import Edge, Observed, states

FIRST = datetime(2026, 9, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class DrawnLake:
    """Tables in memory."""

    frames: dict[str, pl.DataFrame]

    def table(self, name: str, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """The table of that name, or these columns of it."""
        return self.frames[name].select(columns or pl.all())


def cost(hours, **columns) -> list[dict]:
    """Hours of one line of the bill: two units and $3 in each, but for these columns."""
    line = {"SubAccountId": "1", "PricingCategory": "Standard", "service": "web", "rows": 1,
            "ConsumedQuantity": 2.0, "EffectiveCost": 3.0} | columns  # fmt: skip
    line |= {"x_UsageType": "Request", "billing_period": "2026-09"}
    line["series_id"] = (
        hash((line["SubAccountId"], line["PricingCategory"], line["service"])) % 2**31
    )
    hours = [FIRST + hour * HOUR if isinstance(hour, int) else hour for hour in hours]
    return [line | {"hour": hour} for hour in hours]


def signal(hour: int, service: str, caller: str | None, value: float, metric="calls", *, buckets=1):
    return {
        "hour": FIRST + hour * HOUR,
        "service": service,
        "caller": caller,
        "metric": metric,
        "value": value,
        "buckets": buckets,
    }


def lake(*bill: list[dict], signals: list[dict] = ()) -> DrawnLake:
    rows = pl.DataFrame([row for line in bill for row in line])
    if rows.is_empty():
        return DrawnLake({"series": tables.SERIES.empty(), "hourly": tables.HOURLY.empty(),
                          "signals": tables.SIGNALS.empty()})  # fmt: skip
    names = ["series_id", *(name for name in tables.DIMENSION_NAMES if name in rows.columns)]
    hourly = [name for name in rows.columns if name in tables.HOURLY.schema.names()]
    schema = tables.SIGNALS.schema
    return DrawnLake(
        {
            "series": tables.SERIES.fit(
                rows.select(names).unique("series_id", maintain_order=True)
            ),
            "hourly": tables.HOURLY.fit(rows.select(hourly)),
            "signals": tables.SIGNALS.fit(pl.DataFrame(list(signals), schema=schema)),
        }
    )


def seen(*bill: list[dict], signals: list[dict] = (), as_of: int | None = None) -> Observed:
    at = None if as_of is None else FIRST + as_of * HOUR
    return observe(lake(*bill, signals=signals), at)


# ---------------------------------------------------------------- the axis of hours


def test_without_a_billed_hour_nothing_is_observed():
    with pytest.raises(LakeError, match="no billed hour"):
        seen()


def test_the_axis_goes_from_the_first_bill_to_the_newest_hour_of_any_source():
    found = seen(cost(range(48)), signals=[signal(50, "web", None, 7.0)])
    assert (found.hours[0], found.as_of) == (FIRST, FIRST + 51 * HOUR)
    assert (len(found.hours), found.billed) == (51, 48)
    assert found.billed_through == FIRST + 48 * HOUR


def test_what_is_billed_is_billed_for_all_regular_accounts():
    found = seen(cost(range(48)), cost(range(40), SubAccountId="2"))
    assert (len(found.hours), found.billed) == (48, 40)
    assert found.cost[:, 40:].sum() == 0.0  # of the other account's later hours no part
    # an account with a charge now and then is not waited for
    rare = cost(range(0, 40, 3), SubAccountId="2")
    assert seen(cost(range(48)), rare).billed == 48
    short = cost(range(10), SubAccountId="2")  # every hour, but of a tenth of the time
    assert seen(cost(range(48)), short).billed == 48


def test_in_the_past_bills_are_as_late_as_they_are_today():
    signals = [signal(60, "web", None, 7.0)]
    assert seen(cost(range(48)), signals=signals).billed == 48  # 13 hours late
    found = seen(cost(range(48)), signals=signals, as_of=40)
    assert (len(found.hours), found.billed) == (40, 27)
    assert seen(cost(range(48)), signals=signals, as_of=90).billed == 48  # no more is known


def test_a_charge_dated_years_away_is_left_out():
    far = cost([datetime(9999, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)])
    found = seen(cost(range(48)), far)
    assert (found.hours[0], len(found.hours)) == (FIRST, 48)
    late = [signal(24 * 800, "web", None, 1.0)]
    assert len(seen(cost(range(48)), signals=late).hours) == 48


def test_a_fee_dated_before_regular_billing_does_not_begin_it():
    fee = cost([FIRST - 70 * HOUR], service="fee")
    assert seen(fee, cost(range(48))).hours[0] == FIRST
    near = cost([FIRST - 20 * HOUR], service="fee")
    assert seen(near, cost(range(48))).hours[0] == FIRST - 20 * HOUR
    few = cost([FIRST - 20 * HOUR], service="fee", rows=1)  # a quarter of the usual rows counts
    assert seen(few, cost(range(48), rows=9)).hours[0] == FIRST


# ---------------------------------------------------------------- signals


def test_an_edge_is_a_caller_and_a_service():
    rows = [signal(3, "api", "web", 20.0), signal(3, "api", "web", 4.0, "retries"),
            signal(5, "api", "web", 10.0), signal(3, "web", None, 10.0),
            signal(4, "job", "schedule:n", 2.0)]  # fmt: skip
    found = seen(cost(range(48)), signals=rows)
    assert found.edges == (Edge("api", "web"), Edge("job", "schedule:n"), Edge("web", None))
    assert found.services == ("api", "job", "web")
    assert found.calls[0, [3, 4, 5]].tolist() == [20.0, 0.0, 10.0]
    assert found.retries[0, [3, 5]].tolist() == [4.0, 0.0]
    assert found.handled[found.service_rows["web"], 3] == 10.0
    assert [(e.internal, e.scheduled) for e in found.edges] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_a_caller_that_nobody_calls_is_a_service_too():
    found = seen(cost(range(48)), signals=[signal(3, "api", "web", 20.0)])
    assert found.services == ("api", "web")
    assert found.path("web", "api") == ["web", "api"]
    assert found.path("api", "web") == found.path("web", "mail") == found.path("x", "api") == []
    assert found.reach({"web", "mail"}) == {"web", "api"}
    assert found.reach(set()) == set()


def test_a_counter_that_shows_nearly_only_retries_counts_something_else():
    for retries, counted in ((95.0, 95.0), (96.0, 0.0)):
        rows = [signal(3, "api", "web", 100.0), signal(3, "api", "web", retries, "retries")]
        assert seen(cost(range(48)), signals=rows).retries[0, 3] == counted


def test_capacity_is_the_mean_of_its_buckets():
    rows = [signal(3, "web", None, 4.0, "capacity", buckets=3),
            signal(3, "web", "pool", 8.0, "capacity", buckets=1),
            signal(3, "web", None, 1.0)]  # fmt: skip
    found = seen(cost(range(48)), signals=rows).capacity["web"]
    assert found[3] == 5.0  # (3 x 4 + 8) / 4
    assert np.isnan(found[[2, 4]]).all()


# ---------------------------------------------------------------- meters


def test_covered_and_on_demand_usage_are_one_meter():
    bought = cost(range(48), ConsumedQuantity=2.0)
    covered = cost(range(48), ConsumedQuantity=5.0, EffectiveCost=1.0, PricingCategory="Committed")
    found = seen(bought, covered)
    assert found.meters.height == 1
    measures = (found.usage, found.cost, found.covered, found.covered_cost)
    assert [grid[0, 7] for grid in measures] == [7.0, 4.0, 5.0, 1.0]


def test_a_charge_without_a_quantity_has_no_usage():
    found = seen(cost(range(48), ConsumedQuantity=None, EffectiveCost=-2.0))
    assert (found.usage[0, 7], found.cost[0, 7]) == (0.0, -2.0)


# ---------------------------------------------------------------- states


def state(as_of: datetime, billed: int) -> list[str]:
    hours = [as_of - k * HOUR for k in range(24 * 20, 0, -1)]
    none = np.zeros((0, len(hours)))
    meters = pl.DataFrame()
    o = Observed(tuple(hours), billed, (), (), none, none, {}, meters, none, none, none, none)
    return states(o)


def test_an_hour_is_final_once_its_month_is_closed():
    found = state(datetime(2026, 10, 6, tzinfo=UTC), 470)
    # 16 September to 6 October; October's 120 hours are open, the last ten have no bill
    assert found == ["final"] * 360 + ["provisional"] * 110 + ["estimated"] * 10


def test_until_the_fifth_the_month_before_may_still_be_restated():
    assert set(state(datetime(2026, 10, 5, tzinfo=UTC), 480)) == {"provisional"}
    assert "final" in state(datetime(2026, 10, 6, tzinfo=UTC), 480)
