"""The row of a spike: its id and title, where it is, what it costs now and by the end of the month."""

import json
from dataclasses import asdict, replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from drawn import FIRST, Meter, day_and_night, observed, step

from costwhy import tables
from costwhy.behaviours import BEHAVIOURS
from costwhy.model.baseline import Baseline, Window
from costwhy.model.rates import Model, Rate, fit
from costwhy.spikes.dollars import SpikeDollars, spike_row

HOURS = 21 * 24
ONSET = 15 * 24 + 3
TRAFFIC = day_and_night(HOURS)
NAMES = ("Batch", "Other", "Third")


def model_of(*meters: Meter, billed: int = HOURS) -> Model:
    return fit(observed(HOURS, {("web", None): TRAFFIC}, meters, billed=billed))


def three(**columns: tuple[str | None, ...]) -> Model:
    """Three meters at $10 an hour; columns: a value of each."""
    return model_of(
        *(
            Meter(None, name, 10.0, 10.0, columns={k: v[i] for k, v in columns.items()})
            for i, name in enumerate(NAMES)
        )
    )


def rate(kind: str, service: str | None = "web", usage_type: str | None = "Request") -> Rate:
    return Rate("ratio", np.zeros(HOURS), 0.0, 0.0, kind, 0, service, None, usage_type, None)


def spike(
    model: Model,
    dollars: list[float] | np.ndarray,
    *rates: tuple[Rate, float],
    start: int = ONSET,
    end: int = HOURS,
    running: bool = True,
    shape: str = "step",
) -> SpikeDollars:
    """A spike with so many dollars an hour on each meter; rates with their share of them."""
    window = Window(start, end)
    excess = np.broadcast_to(np.array(dollars, dtype=float).reshape(len(model.meters), -1),
                             (len(model.meters), window.width)).copy()  # fmt: skip
    parts = rates or ((rate("unlinked_usage", None, "Batch"), 1.0),)
    return SpikeDollars(
        window=window,
        since=start,
        running=running,
        shape=shape,
        baselines=tuple(Baseline(r, np.zeros(window.width)) for r, _ in parts),
        relative_errors=(0.0,) * len(parts),
        dollars=tuple(share * excess for _, share in parts),
        excess=excess,
        moved_meters=tuple(np.flatnonzero(np.abs(excess).sum(axis=1)).tolist()),
        billed=int(np.clip(model.observed.billed - start, 0, window.width)),
    )


def row_of(model: Model, found: SpikeDollars) -> dict[str, object]:
    return asdict(spike_row(model, found))


def row(model: Model, *args, **more) -> dict[str, object]:
    return row_of(model, spike(model, *args, **more))


# ---------------------------------------------------------------- money and time


def test_expected_and_excess_add_up_to_what_was_paid():
    found = row(three(), [2.0, 1.0, 0.0])
    hours = HOURS - ONSET
    assert found["excess_cost"] == pytest.approx(3 * hours)
    assert found["actual_cost"] == pytest.approx(20 * hours)  # of the two meters that moved
    assert found["expected_cost"] == pytest.approx(17 * hours)
    assert (found["excess_low"], found["excess_high"]) == (3 * hours, 3 * hours)  # no noise


def test_an_interval_lies_around_the_excess():
    model = three()
    noisy = replace(spike(model, [2.0, 0.0, 0.0]), relative_errors=(0.1,))
    found = row_of(model, noisy)
    width = round(1.2816 * 0.1 * 2 * (HOURS - ONSET), 2)
    assert found["excess_high"] - found["excess_cost"] == pytest.approx(width, abs=0.011)
    assert found["excess_cost"] - found["excess_low"] == pytest.approx(width, abs=0.011)


def test_unbilled_hours_are_counted_apart():
    model = model_of(Meter(None, "Batch", 10.0, 10.0), billed=HOURS - 10)
    found = row(model, [2.0])
    assert found["nowcast_hours"] == 10
    assert found["nowcast_excess_cost"] == pytest.approx(20.0)
    assert found["excess_cost"] == pytest.approx(2.0 * (HOURS - ONSET - 10))
    assert found["actual_cost"] == pytest.approx(10.0 * (HOURS - ONSET - 10))
    assert found["nowcast_low"] <= 20 <= found["nowcast_high"]


def test_without_a_billed_hour_nothing_was_paid():
    model = model_of(Meter(None, "Batch", 10.0, 10.0), billed=ONSET - 1)
    found = row(model, [2.0])
    assert (found["actual_cost"], found["excess_cost"], found["excess_high"]) == (0.0, 0.0, 0.0)
    assert found["nowcast_hours"] == HOURS - ONSET


def test_a_spike_that_runs_has_no_end():
    found = row(three(), [2.0, 1.0, 0.0])
    assert (found["status"], found["end"]) == ("running", None)
    assert found["start"] == FIRST + timedelta(hours=ONSET)


def test_a_spike_that_is_over_costs_nothing_now_and_no_more_by_the_end_of_the_month():
    found = row(three(), [2.0, 1.0, 0.0], end=ONSET + 30, running=False, shape="pulse")
    assert (found["status"], found["shape"]) == ("ended", "pulse")
    assert found["end"] == FIRST + timedelta(hours=ONSET + 30)
    assert found["cost_per_hour_now"] == 0.0
    assert found["month_end_excess_cost"] == pytest.approx(90.0)


def test_an_hour_now_is_the_mean_of_the_last_three():
    hourly = np.where(np.arange(HOURS - ONSET) < HOURS - ONSET - 3, 1.0, 4.0)
    model = model_of(Meter(None, "Batch", 10.0, 10.0))
    assert row(model, hourly)["cost_per_hour_now"] == 4.0


def test_an_hour_now_is_that_of_the_last_day_where_hours_have_no_cost():
    hourly = np.where(np.arange(HOURS - ONSET) % 24 == (HOURS - ONSET - 2) % 24, 48.0, 0.0)
    nightly = np.concatenate([np.ones(ONSET), hourly])
    model = model_of(Meter(None, "Batch", nightly, nightly))
    assert row(model, hourly)["cost_per_hour_now"] == 2.0


# ---------------------------------------------------------------- the end of the month
# As-of is 28 September 00:00: three days, 72 hours, are left.


def test_by_the_end_of_the_month_the_last_whole_days_go_on():
    hours = HOURS - ONSET  # five days and 21 hours
    hourly = np.where(np.arange(hours) < hours - 5 * 24, 9.0, 2.0)
    found = row(model_of(Meter(None, "Batch", 10.0, 10.0)), hourly)
    assert found["month_end_excess_cost"] == pytest.approx(hourly.sum() + 2.0 * 72)


def test_only_the_last_seven_days_go_on():
    start = 5 * 24
    hourly = np.where(np.arange(HOURS - start) < HOURS - start - 7 * 24, 9.0, 2.0)
    found = row(model_of(Meter(None, "Batch", 10.0, 10.0)), hourly, start=start)
    assert found["month_end_excess_cost"] == pytest.approx(hourly.sum() + 2.0 * 72)


def test_less_than_a_day_goes_on_by_the_week_of_its_service():
    start = HOURS - 6
    model = model_of(Meter("web", "Request", TRAFFIC, TRAFFIC))
    found = row(model, [2.0], start=start)
    week, same = TRAFFIC[start - 168 : start].mean(), TRAFFIC[start - 168 : HOURS - 168].mean()
    assert found["month_end_excess_cost"] == pytest.approx(12 + 2.0 * week / same * 72, abs=0.01)
    assert not 0.99 < week / same < 1.01


def test_less_than_a_day_of_no_service_goes_on_as_it_is():
    found = row(model_of(Meter(None, "Batch", 10.0, 10.0)), [2.0], start=HOURS - 6)
    assert found["month_end_excess_cost"] == pytest.approx(12 + 2.0 * 72)


def test_a_week_scales_by_three_at_most():
    burst = np.where(np.arange(HOURS) % 168 >= 162, 1.0, 1000.0)  # hardly a call at these hours
    model = fit(observed(HOURS, {("web", None): burst}, [Meter("web", "X", burst, burst)]))
    found = row(model, [2.0], start=HOURS - 6)
    assert found["month_end_excess_cost"] == pytest.approx(12 + 2.0 * 3 * 72)
    model = fit(observed(HOURS, {("web", None): 1001 - burst}, [Meter("web", "X", burst, burst)]))
    found = row(model, [2.0], start=HOURS - 6)
    assert found["month_end_excess_cost"] == pytest.approx(12 + 2.0 * 0.3 * 72)


def test_with_less_than_a_week_before_it_a_spike_goes_on_as_it_is():
    model = fit(observed(7 * 24, {("web", None): TRAFFIC[: 7 * 24]},
                         [Meter("web", "X", TRAFFIC[: 7 * 24], 10.0)]))  # fmt: skip
    found = row(model, [2.0], start=7 * 24 - 6, end=7 * 24)
    left = 30 * 24 - 6 * 24 - 7 * 24  # to the end of September, from the 14th
    assert found["month_end_excess_cost"] == pytest.approx(12 + 2.0 * left)


# ---------------------------------------------------------------- where, id, title


def test_where_is_what_nearly_all_dollars_have_in_common():
    model = three(team=("a", "a", "b"), RegionId=("eu", "us", "eu"), service=("s", None, None))
    # team a has 97 of 100 dollars, region eu 68; nothing else differs
    found = json.loads(str(row(model, [65.0, 32.0, 3.0])["where"]))
    assert found == {"ServiceName": "AWS Lambda", "team": "a", "SubAccountId": "1"}
    found = json.loads(str(row(model, [65.0, 31.9, 3.1])["where"]))
    assert found == {"ServiceName": "AWS Lambda", "SubAccountId": "1"}


def test_where_has_what_a_fall_has_in_common_too():
    found = json.loads(str(row(three(), [-5.0, 0.0, 0.0])["where"]))
    assert found["x_UsageType"] == "Batch"
    assert list(found) == ["ServiceName", "x_UsageType", "RegionId", "SubAccountId"]


def test_where_is_empty_where_all_is_unknown():
    nothing = dict.fromkeys(("ServiceName", "RegionId", "SubAccountId"), (None,) * 3)
    assert row(three(**nothing), [1.0, 1.0, 1.0])["where"] == "{}"


@pytest.mark.parametrize(
    ("rates", "service", "spike_id"),
    [
        ((rate("retries", "Check Out!"), 1.0), None, "20260922T03-check-out-aws-lambda"),
        ((rate("demand"), 1.0), "web", "20260922T03-web-aws-lambda"),
        ((rate("unlinked_usage", None, "EU-Box:x"), 1.0), None, "20260922T03-aws-lambda"),
    ],
)
def test_an_id_has_the_hour_the_service_and_the_providers_service(rates, service, spike_id):
    model = three(service=(service,) * 3)
    assert row(model, [1.0, 1.0, 1.0], rates)["spike_id"] == spike_id


def test_without_a_providers_service_an_id_has_the_usage_type_or_the_kind():
    model = three(ServiceName=("A", "B", None))
    usage = (rate("unlinked_usage", None, "EU-Box:x"), 1.0)
    assert row(model, [1.0, 1.0, 1.0], usage)["spike_id"] == "20260922T03-eu-box-x"
    kind = (rate("unmetered", None, None), 1.0)
    assert row(model, [1.0, 1.0, 1.0], kind)["spike_id"] == "20260922T03-unmetered"
    nothing = replace(spike(model, [1.0, 1.0, 1.0]), baselines=(), dollars=(), relative_errors=())
    assert row_of(model, nothing)["spike_id"] == "20260922T03-window"
    long = (rate("retries", "x" * 200, None), 1.0)
    assert len(str(row(model, [1.0, 1.0, 1.0], long)["spike_id"])) == 100


def test_a_title_is_the_largest_behaviour_and_its_service():
    model = three()
    assert row(model, [1, 1, 1], (rate("retries", "db"), 1.0))["title"] == "retries against db"
    usage = (rate("unlinked_usage", None, "Batch"), 1.0)
    assert row(model, [1, 1, 1], usage)["title"] == "usage of Batch"
    charges = (rate("unmetered", None, None), 1.0)
    assert row(model, [1, 1, 1], charges)["title"] == "charges AWS Lambda"
    nothing = replace(spike(model, [1, 1, 1]), baselines=(), dollars=(), relative_errors=())
    assert row_of(model, nothing)["title"] == "nothing moved"


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize("behaviour", BEHAVIOURS, ids=lambda b: b.kind)
def test_a_spike_of_one_kind_has_its_verdict(behaviour):
    assert row(three(), [1, 1, 1], (rate(behaviour.kind), 1.0))["verdict"] == behaviour.verdict


@pytest.mark.parametrize(
    ("shares", "verdict"),
    [
        ({"demand": 0.61, "retries": 0.39}, "growth"),
        ({"demand": 0.59, "retries": 0.41}, "mixed"),
        ({"fan_out": 0.31, "retries": 0.3, "demand": 0.39}, "inefficiency"),
        ({"unit_price": 1.5, "demand": -0.5}, "price"),  # a fall beside a rise does not count
        ({"unlinked_usage": 0.7, "demand": 0.3}, "mixed"),
    ],
)
def test_a_verdict_needs_three_fifths_of_the_dollars(shares, verdict):
    rates = [(rate(kind), share) for kind, share in shares.items()]
    assert row(three(), [1, 1, 1], *rates)["verdict"] == verdict


def test_the_row_fits_its_table():
    model = model_of(Meter("web", "Request", TRAFFIC * step(HOURS, ONSET, 1.0, 2.0), TRAFFIC))
    frame = pl.DataFrame([row(model, [2.0])])
    assert tables.SPIKES.fit(frame).height == 1
