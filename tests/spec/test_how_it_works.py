"""docs/how-it-works.md: its numbers are what costwhy computes from the inputs that stand in the page."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_company import ALL, HOURS, Line, SmallCompany

from costwhy.behaviours import verdict
from costwhy.case.investigate import find_spikes, investigate
from costwhy.model.baseline import Baseline, Window, baseline, cost_with, split
from costwhy.model.observe import observe
from costwhy.model.rates import Model, fit

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-it-works.md"
DAY = Window(35 * 24, 36 * 24)
"""The day on which two things move; five ordinary weeks lie before it."""
BUSY = np.where(np.arange(HOURS) % 24 >= 12, 1.5, 0.5) / 24
"""Share of a day's calls in each hour: an afternoon has three times those of a morning."""
Rows = list[list[str]]


def tables() -> list[Rows]:
    """The tables of the page without their headings; bold cells as plain ones."""
    text = re.sub(r"\*\*", "", PAGE.read_text(encoding="utf-8"))
    found = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        for table in found
    ]


LETTERS, USUAL_CALLS, USUAL_BILL, CALLS, BILL, ORDERS, SPLIT = tables()


def number(cell: str) -> float:
    """A cell of a table as a number; an empty one is nothing."""
    return float(re.sub("[$,]", "", cell) or 0)


def day_of(usual: float, today: float) -> np.ndarray:
    """By the hour: `usual`, and `today` on the day."""
    hours = usual * ALL
    hours[DAY.hours] = today
    return hours


@dataclass(frozen=True)
class Company:
    """The company of the page: what was observed of it, its model, and the two rates set back."""

    small: SmallCompany
    model: Model
    demand: Baseline
    retries: Baseline

    def dollars(self, line: str, cost: np.ndarray) -> float:
        """Of a line of the page, summed over the hours. cost: meters x hours."""
        usage_types = self.model.observed.meters["x_UsageType"].to_list()
        return float(cost[usage_types.index(line)].sum())


@pytest.fixture(scope="module")
def company() -> Company:
    small = SmallCompany()
    usual, today = ({row[0]: row for row in table} for table in (USUAL_CALLS, CALLS))
    internal = [(service, row[1]) for service, row in usual.items() if row[1] != "outside"]
    small.demand = {
        service: day_of(number(row[2]), number(today[service][2])) * BUSY
        for service, row in usual.items()
        if row[1] == "outside"
    }
    small.fan_out, small.retries = (
        {edge: day_of(number(usual[edge[0]][k]), number(today[edge[0]][k])) for edge in internal}
        for k in (3, 4)
    )
    small.runs = {}
    small.lines = {
        line: Line(
            service,
            line,
            "Units",
            number(price) * ALL,
            number(each) * ALL,
            number(fixed) / 24 * ALL,
        )
        for line, service, each, fixed, price, *_ in USUAL_BILL[:-1]
    }
    model = fit(observe(small.lake()))
    demand, retries = (
        next(r for r in model.rates if (r.kind, r.service) == name)
        for name in (("demand", "shop"), ("retries", "stock"))
    )
    return Company(
        small, model, *(baseline(model, rate, DAY, outside_the_day()) for rate in (demand, retries))
    )


def outside_the_day() -> np.ndarray:
    """Hours that may serve as a baseline."""
    return np.arange(HOURS) < DAY.start


@pytest.mark.parametrize(
    ("table", "day"), [(USUAL_CALLS, Window(DAY.start - 24, DAY.start)), (CALLS, DAY)]
)
def test_calls_handled_are_those_of_the_page(company, table, day):
    handled = {
        s: company.model.handled[k, day.hours].sum()
        for k, s in enumerate(company.model.observed.services)
    }
    assert {row[0]: number(row[5]) for row in table} == pytest.approx(handled)


def test_the_bills_are_those_of_the_page(company):
    before, today = slice(DAY.start - 24, DAY.start), DAY.hours
    o = company.model.observed
    for row, usual in zip(BILL, USUAL_BILL, strict=True):
        if row[0] == "total":
            costs = [float(o.cost[:, hours].sum()) for hours in (before, today)]
        else:
            costs = [company.dollars(row[0], o.cost[:, hours]) for hours in (before, today)]
            usage = [company.dollars(row[0], o.usage[:, hours]) for hours in (before, today)]
            assert [number(usual[5]), number(row[1])] == pytest.approx(usage)
        assert [number(usual[6]), number(row[2]), number(row[3])] == pytest.approx(
            [*costs, costs[1] - costs[0]]
        )


def test_the_baseline_is_learned_as_the_page_gives_it(company):
    assert company.demand.values.sum() == pytest.approx(number(USUAL_CALLS[0][2]))
    assert company.retries.values == pytest.approx(number(USUAL_CALLS[2][4]))


def test_both_orders_and_their_mean_are_those_of_the_page(company):
    model, resets = company.model, {"demand": company.demand, "retries": company.retries}
    for first, then, *money in ORDERS[:2]:
        bills = [
            float(cost_with(model, DAY, [resets[name] for name in names]).sum())
            for names in ((), (first,), (first, then))
        ]
        dollars = {first: bills[0] - bills[1], then: bills[1] - bills[2]}
        assert [number(cell) for cell in money] == pytest.approx(
            [*bills, dollars["demand"], dollars["retries"]]
        )
    means = [float(part.sum()) for part in split(model, DAY, list(resets.values()))]
    assert [number(cell) for cell in ORDERS[2][5:]] == pytest.approx(means)


def test_the_split_by_line_is_that_of_the_page_and_adds_up(company):
    parts = split(company.model, DAY, [company.demand, company.retries])
    for line, *cells in SPLIT:
        dollars = [
            float(part.sum()) if line == "total" else company.dollars(line, part) for part in parts
        ]
        assert [number(cell) for cell in cells] == pytest.approx([*dollars, sum(dollars)], abs=1e-6)
    assert (
        number(SPLIT[-1][3]) == number(BILL[-1][3]) == sum(number(cell) for cell in SPLIT[-1][1:3])
    )


def test_costwhy_finds_the_day_and_says_the_same(company):
    lake = company.small.lake()
    [spike] = find_spikes(lake).iter_rows(named=True)
    case = investigate(lake, spike["spike_id"])
    rows = {
        (kind, service): dollars for kind, service, _, _, dollars, _ in case.behaviour.iter_rows()
    }
    demand, retries, together = (number(cell) for cell in SPLIT[-1][1:])
    assert spike["excess_cost"] == pytest.approx(together, abs=0.01)
    assert rows == pytest.approx(
        {("retries", "stock"): retries, ("demand", "shop"): demand}, abs=0.01
    )
    assert spike["verdict"] == verdict([("demand", demand), ("retries", retries)]) == "inefficiency"


def test_the_numbers_in_the_text_follow_from_the_tables():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    demand, retries, together = (number(cell) for cell in SPLIT[-1][1:])
    reads = next(row for row in SPLIT if row[0] == "reads")
    assert f"{demand:.0f} + {retries:.0f} = {together:.0f}" in text
    assert f"Retries are {retries / together:.0%} of the change".replace("%", " %") in text
    assert (
        f"of the ${number(reads[3]):.0f} that the database costs more, ${number(reads[2]):.0f} are the retries"
        in text
    )
    storage = next(row for row in USUAL_BILL if row[0] == "storage")
    grown = number(CALLS[0][2]) / number(USUAL_CALLS[0][2]) - 1
    assert f"would find ${grown * number(storage[6]):.2f} of demand on it" in text
