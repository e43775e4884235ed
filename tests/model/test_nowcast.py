"""Hours without a bill: what they are estimated to cost, how far that may be off, and what became of it (tests/small_company.py draws the company)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from small_company import ALL, FIRST, HOURS, Line, SmallCompany, changed, from_hour

from costwhy import tables
from costwhy.case.investigate import explain, nowcast_ledger, overview
from costwhy.model.baseline import Window, baseline_errors
from costwhy.model.estimates import DAYS, PRIOR_ERROR, Backtest, Cutoff, backtest
from costwhy.model.observe import observe
from costwhy.model.observed import states
from costwhy.model.rates import Model, fit

LAG = 12


def late(lag: int = LAG) -> SmallCompany:
    company = SmallCompany()
    company.lag = lag
    return company


def model_of(company: SmallCompany) -> Model:
    return fit(observe(company.lake()))


def row(model: Model, usage_type: str) -> int:
    return model.observed.meters["x_UsageType"].to_list().index(usage_type)


def looked_back(errors: list[list[float]]) -> Backtest:
    """Days (rows) on which $100 was estimated of each meter and so much more, relative, was billed."""
    said = np.full((len(errors), len(errors[0])), 100.0)
    return Backtest(
        tuple(Cutoff(k, k + LAG) for k in range(len(errors))), said, said * (1 + np.array(errors))
    )


# ---------------------------------------------------------------- the estimate


def test_an_hours_estimate_is_calls_times_usage_per_call_times_price():
    company = late()
    model = model_of(company)
    calls = company.handled("db")[-LAG:]
    assert model.cost[row(model, "ReadRequestUnits"), -LAG:] == pytest.approx(
        calls * 2 * 0.00005
    )  # 2 units a call, 5 cents a thousand


def test_usage_per_call_is_that_after_its_last_step():
    company = late()
    company.lines["db"] = changed(
        company.lines["db"], per_call=2 * from_hour(HOURS - LAG - 8, 1.5)
    )  # 3 units a call, for 8 billed hours
    model = model_of(company)
    assert model.cost[row(model, "ReadRequestUnits"), -LAG:] == pytest.approx(
        company.handled("db")[-LAG:] * 3 * 0.00005
    )


def test_a_price_that_changes_after_the_cut_off_is_not_known():
    company = late()
    usual = company.cost("db")
    company.lines["db"] = changed(company.lines["db"], price=0.00005 * from_hour(HOURS - LAG, 2.0))
    model = model_of(company)
    assert model.cost[row(model, "ReadRequestUnits"), -LAG:].sum() == pytest.approx(
        usual[-LAG:].sum()
    )  # half of what will be billed


def test_a_meter_that_follows_nothing_continues():
    company = late()
    company.lines["disk"] = changed(
        company.lines["disk"], fixed=2 + 0.01 * np.arange(HOURS)
    )  # 0.01 units more each hour, $2 a unit
    model = model_of(company)
    assert model.cost[row(model, "TimedStorage-ByteHrs"), -LAG:] == pytest.approx(
        2 * (2 + 0.01 * np.arange(HOURS - LAG, HOURS))
    )


def test_when_the_bill_has_come_nothing_is_estimated():
    company = late(lag=0)
    assert model_of(company).cost.sum() == pytest.approx(
        sum(company.cost(name).sum() for name in company.lines)
    )
    assert not overview(company.lake())["estimated"].any()
    assert nowcast_ledger(company.lake()).equals(tables.NOWCAST.empty())


def test_a_retry_loop_without_a_billed_hour_is_told_two_hours_after_its_first():
    company = late(lag=18)
    onset = HOURS - 24
    company.retries["db", "api"] *= from_hour(onset, 3.0)
    shown = FIRST + timedelta(
        hours=onset + 1
    )  # the end of its first hour, when the signals show it
    [spike] = explain(company.lake(), as_of=shown + timedelta(hours=2))["spikes"]
    assert spike["behaviour"][0]["kind"] == "retries"
    assert spike["start"] == f"{FIRST + timedelta(hours=onset):%Y-%m-%dT%H:%M:%SZ}"
    assert (spike["actual_cost"], spike["nowcast"]["hours"]) == (0, 3)


# ---------------------------------------------------------------- how far off it may be


def test_an_interval_reaches_to_the_twelfth_smallest_of_fourteen_errors():
    past = looked_back([[0.01 * (k + 1)] for k in range(DAYS)])  # 1 %, 2 %, ... 14 %
    assert past.half_width(np.array([50.0])) == pytest.approx(6.0)  # 0.8 (14 + 1) = 12: 12 % of $50


def test_one_strange_day_does_not_widen_it():
    past = looked_back([[0.01]] * (DAYS - 1) + [[5.0]])
    assert past.half_width(np.array([50.0])) == pytest.approx(0.5)


def test_errors_of_meters_that_offset_each_other_do_not_add_up():
    opposite, alike = looked_back([[0.05, -0.05]] * DAYS), looked_back([[0.05, 0.05]] * DAYS)
    assert opposite.half_width(np.array([50.0, 50.0])) == pytest.approx(0.0)
    assert alike.half_width(np.array([50.0, 50.0])) == pytest.approx(5.0)


def test_without_history_an_estimate_is_held_to_be_off_by_the_prior():
    nothing = Backtest((), np.zeros((0, 1)), np.zeros((0, 1)))
    assert nothing.half_width(np.array([50.0])) == pytest.approx(PRIOR_ERROR * 50)
    half = looked_back([[0.02]] * (DAYS // 2))
    assert half.half_width(np.array([50.0])) == pytest.approx(
        0.5 * 0.02 * 50 + 0.5 * PRIOR_ERROR * 50
    )  # 7 of 14 days have spoken


def test_a_meter_that_did_not_exist_says_nothing_about_itself():
    past = looked_back([[0.02, np.nan]] * DAYS)
    past = Backtest(past.cutoffs, past.estimated * [1, 0], np.nan_to_num(past.billed))
    assert past.half_width(np.array([10.0, 90.0])) == pytest.approx(
        PRIOR_ERROR * 100
    )  # nine tenths of these dollars are new
    assert past.half_width(np.array([90.0, 10.0])) == pytest.approx(
        0.02 * 100
    )  # the known part stands for the rest


def test_past_estimates_know_no_more_than_was_known_then():
    company = late()
    step = HOURS - LAG - 3 * 24  # after the cut-off of three days ago
    company.lines["search"] = changed(company.lines["search"], per_call=from_hour(step - 12, 2.0))
    model = model_of(company)
    past = backtest(model, [row(model, "Search-Units")], slice(None))
    by_day = {
        step - c.billed: error for c, error in zip(past.cutoffs, past.errors[:, 0], strict=True)
    }
    assert by_day[24] == pytest.approx(0.0, abs=1e-9)  # over 12 hours before the step
    assert by_day[0] == pytest.approx(0.0, abs=1e-9)  # 12 hours after it: learned
    assert past.errors[:, 0] == pytest.approx(0.0, abs=1e-9)
    company.lines["search"] = changed(company.lines["search"], per_call=from_hour(step, 2.0))
    model = model_of(company)
    past = backtest(model, [row(model, "Search-Units")], slice(None))
    by_day = {
        step - c.billed: error for c, error in zip(past.cutoffs, past.errors[:, 0], strict=True)
    }
    assert by_day[0] == pytest.approx(1.0)  # twice as much was billed as could be known
    assert by_day[-24] == pytest.approx(0.0, abs=1e-9)


def test_the_interval_widens_with_the_delay_of_the_bill():
    wander = np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, HOURS)))
    relative = []
    for lag in (6, 24, 72):
        company = late(lag)
        company.lines["batch"] = Line(
            None, "Batch-Hours", "Hrs", ALL, fixed=4 * wander / wander.mean(), team=None
        )
        model = model_of(company)
        past = backtest(model, [row(model, "Batch-Hours")], slice(None))
        relative.append(past.half_width(np.array([1.0])))
    assert relative[0] < relative[1] < relative[2]


# ---------------------------------------------------------------- estimate against bill


def test_the_ledger_keeps_the_error_of_each_estimate():
    company = late()
    company.lines["search"] = changed(
        company.lines["search"], price=0.0006 * from_hour(HOURS - LAG - 48, 2.0)
    )
    ledger = nowcast_ledger(company.lake())
    assert ledger["service"].null_count() == DAYS
    search = ledger.filter(service="search").sort("day", descending=True)
    day = FIRST + timedelta(hours=HOURS - LAG - 48)
    [missed] = search.filter(day=day).to_dicts()
    assert missed["billed_cost"] == pytest.approx(
        company.cost("search")[HOURS - LAG - 48 : HOURS - 48].sum()
    )
    assert missed["error"] == pytest.approx(
        -missed["billed_cost"] / 2
    )  # the new price was not known
    assert not missed["inside"]
    assert search.filter(day=day + timedelta(days=1))["error"].to_list() == pytest.approx(
        [0.0], abs=1e-6
    )  # now it is


def test_four_of_five_bills_come_as_the_intervals_said():
    rng = np.random.default_rng(8)
    company = late()
    for name in ("web", "mobile", "api", "db", "search"):
        company.lines[name] = changed(
            company.lines[name],
            per_call=company.lines[name].per_call * rng.lognormal(0, 0.05, HOURS),
        )
    rows = (
        nowcast_ledger(company.lake()).drop_nulls("service").filter(pl.col("service") != "report")
    )
    assert rows.height == 5 * DAYS
    assert 0.65 <= rows["inside"].mean() <= 0.95


# ---------------------------------------------------------------- state of an hour


@pytest.mark.parametrize(
    ("day", "open_from"),
    [(5, datetime(2026, 9, 1, tzinfo=UTC)), (6, datetime(2026, 10, 1, tzinfo=UTC))],
)
def test_a_month_may_be_restated_until_the_fifth_of_the_next(day: int, open_from: datetime):
    o = observe(late().lake(), as_of=datetime(2026, 10, day, tzinfo=UTC))
    said = dict(zip(o.hours, states(o), strict=True))
    assert {state for hour, state in said.items() if hour < open_from} <= {"final"}
    assert {state for hour, state in said.items() if open_from <= hour < o.billed_through} == {
        "provisional"
    }
    assert [state for hour, state in said.items() if hour >= o.billed_through] == [
        "estimated"
    ] * LAG


def test_a_timeline_says_the_state_of_each_hour():
    frame = overview(late().lake())
    assert frame["state"].to_list()[-LAG:] == ["estimated"] * LAG
    assert (frame["state"] == "estimated").equals(frame["estimated"], check_names=False)


def test_a_running_spikes_normal_is_tried_on_earlier_days_without_the_hours_after_them():
    """The oldest of 14 days is as far off whatever came after it: a normal that runs on knows no later hour."""
    model = model_of(late(lag=0))
    [rate] = [r for r in model.rates if r.kind == "demand" and r.service == "web"]
    asked, ahead, quiet = Window(HOURS - 12, HOURS), 24, np.ones(HOURS, dtype=bool)
    oldest = (
        HOURS - 12 - 24 * (ahead // 24 + 14)
    )  # the newest trial ends before the onset, 24 hours before what is asked about
    calls = model.observed.calls.copy()
    calls[rate.row, oldest + 12 :] *= 1.3
    other = replace(model, observed=replace(model.observed, calls=calls))
    off, again = (baseline_errors(m, rate, asked, ahead, quiet) for m in (model, other))
    assert off.size == again.size == 14
    assert off[-1] == pytest.approx(again[-1])
    assert off[0] != pytest.approx(again[0])
