"""Two windows of unequal length are compared by the hour; the calendar is a line of its own."""

from datetime import UTC, datetime

import pytest

import costwhy as cw
from costwhy.case.analysis import analyse
from costwhy.case.story import sentences
from costwhy.lake.lake import Lake

LONG = (datetime(2026, 10, 22, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC))
SHORT = (datetime(2026, 10, 14, tzinfo=UTC), datetime(2026, 10, 15, tzinfo=UTC))


def test_the_difference_of_two_totals_is_the_excess_and_the_calendar(sample_lake: Lake) -> None:
    """total(72 h) - total(24 h)  =  excess by the hour  +  48 h x the cost an hour of the 24 h"""
    case = cw.investigate_window(sample_lake, LONG, against=SHORT)
    model = analyse(sample_lake).model
    hours = model.observed.hours
    total = {w: model.cost[:, hours.index(w[0]) : hours.index(w[1])].sum() for w in (LONG, SHORT)}
    assert case.calendar == pytest.approx(48 * total[SHORT] / 24, abs=0.01)
    assert total[LONG] - total[SHORT] == pytest.approx(case.total + case.calendar, abs=0.02)
    assert any("The calendar: the window is longer" in s.text for s in sentences(case))


def test_windows_of_one_length_and_spikes_have_no_calendar_line(sample_lake: Lake) -> None:
    same = cw.investigate_window(
        sample_lake,
        (LONG[0], LONG[1]),
        against=(datetime(2026, 10, 11, tzinfo=UTC), datetime(2026, 10, 14, tzinfo=UTC)),
    )
    assert same.calendar == 0
    spike = cw.investigate(sample_lake, cw.find_spikes(sample_lake)["spike_id"][0])
    assert spike.calendar is None
    assert not any("calendar" in s.text for case in (same, spike) for s in sentences(case))
