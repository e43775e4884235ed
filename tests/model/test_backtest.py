"""How far off past estimates were, and what interval follows from that."""

import numpy as np
import pytest
from drawn import Meter, day_and_night, observed, step

from costwhy.model.estimates import (
    DAYS,
    PRIOR_ERROR,
    Backtest,
    Cutoff,
    backtest,
    half_width,
    independent_days,
    past_estimates,
)
from costwhy.model.rates import Model, fit

LAG = 12
HOURS = 24 * 24 + LAG
BILLED = HOURS - LAG
TRAFFIC = day_and_night(HOURS)


def model_of(*meters: Meter, billed: int = BILLED) -> Model:
    return fit(observed(HOURS, {("web", None): TRAFFIC}, meters, billed=billed))


def dollars_of_day(day: int) -> float:
    """Traffic of the twelve hours after the cut-off, some days back."""
    cutoff = BILLED - 24 * day
    return float(TRAFFIC[cutoff : cutoff + LAG].sum())


# ---------------------------------------------------------------- the interval


def test_without_errors_the_interval_is_the_prior():
    assert half_width(np.zeros(0), prior=7.0) == 7.0


def test_of_fourteen_errors_the_interval_reaches_to_the_twelfth():
    errors = np.arange(1.0, 15.0) * np.where(np.arange(14) % 2, 1, -1)
    assert half_width(errors, prior=100.0) == pytest.approx(12.0)  # 0.8 x 15 = 12


def test_between_two_errors_the_interval_lies_between_them():
    # 0.8 x 8 = 6.4: four tenths from the 6th to the 7th; half of the days are missing
    errors = np.arange(1.0, 8.0)
    assert half_width(errors, prior=100.0) == pytest.approx(0.5 * 6.4 + 0.5 * 100)


def test_fewer_independent_errors_widen_the_interval():
    # 0.8 x (7 + 1) / 7 x 14 = 12.8
    errors = np.arange(1.0, 15.0)
    assert half_width(errors, prior=100.0, independent=7.0) == pytest.approx(12.8)
    assert half_width(errors, prior=100.0, independent=1.0) == pytest.approx(14.0)  # the largest


def test_errors_that_change_their_sign_each_day_are_all_independent():
    assert independent_days(np.array([1.0, -1.0, 1.0, -1.0])) == 4.0


def test_errors_that_stay_are_worth_fewer():
    # r = (4 + 4 + 4) / 16 = 0.75; 4 x 0.25 / 1.75 is under one
    assert independent_days(np.array([2.0, 2.0, 2.0, 2.0])) == 1.0
    # r = (2 x 1 + 1 x 0 + 0 x 1) / (4 + 1 + 0 + 1) = 1/3; 4 x (2/3) / (4/3)
    assert independent_days(np.array([2.0, 1.0, 0.0, 1.0])) == pytest.approx(2.0)
    assert independent_days(np.zeros(3)) == 3.0


def test_an_error_is_the_bill_over_the_estimate():
    past = Backtest(
        (Cutoff(0, 1),), np.array([[10.0, 0.0, 0.0, 8.0]]), np.array([[12.0, 0.0, 3.0, 8.0]])
    )
    assert past.errors[0, [0, 1, 3]] == pytest.approx([0.2, 0.0, 0.0])
    assert np.isnan(past.errors[0, 2])  # billed, and not known when it was estimated


def test_cut_offs_that_are_not_known_yet_do_not_count():
    estimated = np.full((3, 1), 100.0)
    past = Backtest((Cutoff(0, 1),) * 3, estimated, estimated * [[1.5], [1.01], [1.01]])
    later = (2 * 0.01 + (DAYS - 2) * PRIOR_ERROR) / DAYS * 50
    assert past.half_width(np.array([50.0]), since=1) == pytest.approx(later)
    assert past.half_width(np.array([50.0])) > later
    assert past.half_width(np.array([50.0]), since=3) == pytest.approx(PRIOR_ERROR * 50)
    assert past.half_width(np.array([0.0])) == 0.0


def test_a_negative_weight_errs_the_other_way():
    past = Backtest((Cutoff(0, 1),) * DAYS, np.full((DAYS, 2), 100.0), np.full((DAYS, 2), 110.0))
    assert past.half_width(np.array([50.0, -50.0])) == pytest.approx(0.0)
    assert past.half_width(np.array([50.0, -20.0])) == pytest.approx(3.0)  # 10 % of $30


# ---------------------------------------------------------------- past estimates


def test_past_estimates_are_of_the_same_hours_of_earlier_days():
    past = backtest(model_of(Meter("web", "Request", TRAFFIC, TRAFFIC)), [0], slice(None))
    assert [c.billed for c in past.cutoffs] == [BILLED - 24 * k for k in range(1, DAYS + 1)]
    assert all(c.until == c.billed + LAG for c in past.cutoffs)
    expected = [dollars_of_day(k) for k in range(1, DAYS + 1)]
    assert past.billed[:, 0] == pytest.approx(expected)
    assert past.estimated[:, 0] == pytest.approx(expected)  # usage per call stands still


def test_past_estimates_of_some_hours_are_of_those_hours():
    past = backtest(model_of(Meter("web", "Request", TRAFFIC, TRAFFIC)), [0], slice(2, 4))
    cutoff = BILLED - 24
    assert past.billed[0, 0] == pytest.approx(TRAFFIC[cutoff + 2 : cutoff + 4].sum())


def test_a_cut_off_has_three_days_before_it():
    short = fit(observed(6 * 24, {("web", None): TRAFFIC[: 6 * 24]},
                         [Meter("web", "X", TRAFFIC[: 6 * 24], 1.0)], billed=6 * 24 - 12))  # fmt: skip
    past = backtest(short, [0], slice(None))
    assert [c.billed for c in past.cutoffs] == [108, 84]  # 132 less one and two days; 60 < 72


def test_a_lag_of_more_than_a_day_goes_back_two():
    past = backtest(
        model_of(Meter("web", "Request", TRAFFIC, TRAFFIC), billed=HOURS - 30), [0], slice(None)
    )
    assert past.cutoffs[0] == Cutoff(HOURS - 30 - 48, HOURS - 48)


def test_when_all_is_billed_there_is_nothing_to_look_back_on():
    model = model_of(Meter("web", "Request", TRAFFIC, TRAFFIC), billed=HOURS)
    past = backtest(model, [0], slice(None))
    assert past.cutoffs == ()
    assert past.errors.shape == (0, 1)
    assert past_estimates(model, [0]).is_empty()


def test_the_table_has_the_whole_bill_and_each_service():
    meters = (
        Meter("web", "Request", TRAFFIC, TRAFFIC),
        Meter(None, "Batch", 7.0, 7.0),
        Meter("web", "Gone", 0.0, 0.0),
    )
    table = past_estimates(model_of(*meters), [0, 1, 2])
    newest = table.filter(table["day"] == table["day"].max())
    assert newest["service"].to_list() == [None, "AWS Lambda", "web"]
    web, batch = dollars_of_day(1), 7.0 * LAG
    assert newest["billed_cost"].to_list() == pytest.approx([web + batch, batch, web])
    assert newest["hours"].to_list() == [LAG] * 3
    assert table.height == 3 * DAYS
    assert table["day"].is_sorted(descending=True)
    assert past_estimates(model_of(*meters), [2]).is_empty()


def test_each_days_interval_knows_only_errors_of_days_before():
    # usage per call doubles in the hours after yesterday's cut-off
    usage = TRAFFIC * step(HOURS, BILLED - 24, 1.0, 2.0)
    table = past_estimates(model_of(Meter("web", "Request", usage, usage)), [0])
    first = table.row(0, named=True)
    dollars = dollars_of_day(1)
    assert first["estimated_cost"] == pytest.approx(dollars)
    assert first["billed_cost"] == pytest.approx(2 * dollars)
    assert first["error"] == pytest.approx(-dollars)
    assert not first["inside"]
    # of 28 days that could be looked back on, 21 have three days before them; all were right
    assert (first["low"], first["high"]) == pytest.approx((dollars, dollars))
    assert table.row(2, named=True)["inside"]


def test_an_estimate_that_agrees_to_the_cent_is_inside():
    meter = Meter(None, "Batch", 7.0, 7.0)
    table = past_estimates(model_of(meter), [0])
    assert table["inside"].all()


def test_a_charge_that_names_nothing_is_called_charges():
    meter = Meter(None, "Batch", 7.0, 7.0, columns={"ServiceName": None})
    assert set(past_estimates(model_of(meter), [0])["service"]) == {None, "charges"}
