"""One incident for the tests of cases: api repeats its calls to db, and more people come to web."""

from datetime import timedelta

import pytest
from small_company import FIRST, MemoryLake, SmallCompany, from_hour

from costwhy.case.analysis import LakeAnalysis, analyse

ONSET = 720  # hour 0 of day 31
LAG = 12  # hours at the end that are not billed yet
BEGAN = FIRST + timedelta(hours=ONSET)


def incident() -> SmallCompany:
    company = SmallCompany()
    company.retries["db", "api"] *= from_hour(ONSET, 2.5)
    company.demand["web"] *= from_hour(ONSET, 1.4)
    company.lag = LAG
    return company


@pytest.fixture(scope="module")
def company() -> SmallCompany:
    return incident()


@pytest.fixture(scope="module")
def lake(company: SmallCompany) -> MemoryLake:
    return company.lake()


@pytest.fixture(scope="module")
def analysis(lake: MemoryLake) -> LakeAnalysis:
    return analyse(lake)
