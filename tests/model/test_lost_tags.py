"""Lost tags: usage that goes on without its tags stays on the meter that had them."""

import numpy as np
import polars as pl
import pytest
from drawn import rows, step

from costwhy.model.observed import LostTag
from costwhy.model.untagged import restore_lost_tags
from costwhy.tables import METER, PHYSICAL

HOURS = 300
END = 200  # the first hour without the tag
ONE_LINE = """
    region  | service | team
    eu      | shop    | web
    eu      |         |
"""
NAMES = ("usage", "cost", "covered", "covered_cost")


def restored(drawn: str, *usage: np.ndarray, billed: int = HOURS):
    """Lost tags, and usage by meter, at $2 a unit; half of it is covered at $1."""
    meters = pl.DataFrame(
        [dict(zip(("RegionId", "service", "team"), row, strict=True)) for row in rows(drawn)],
        schema=dict.fromkeys(METER, pl.String),
    )
    whole = np.array(usage)
    arrays = dict(zip(NAMES, (whole, 2 * whole, whole / 2, whole / 2), strict=True))
    found = restore_lost_tags(meters, arrays, billed)
    for name, times in zip(NAMES, (1, 2, 0.5, 0.5), strict=True):
        assert arrays[name] == pytest.approx(times * arrays["usage"])
    assert arrays["usage"].sum(axis=0) == pytest.approx(np.array(usage).sum(axis=0))
    return found, arrays["usage"]


def test_meters_of_one_physical_key_are_alike_but_for_their_tags():
    assert {"service", "team"} <= set(METER) - set(PHYSICAL)


def test_usage_that_loses_its_tag_goes_back_to_it():
    lost, usage = restored(ONE_LINE, step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, 8.0))
    assert lost == (LostTag(meter=0, hour=END, successor=1),)
    assert usage[0].tolist() == [8.0] * HOURS
    assert usage[1].tolist() == [0.0] * HOURS


def test_what_the_untagged_meter_had_before_stays_with_it():
    _, usage = restored(ONE_LINE, step(HOURS, END, 8.0, 0.0), step(HOURS, END, 5.0, 12.0))
    assert usage[0] == pytest.approx(step(HOURS, END, 8.0, 7.0))
    assert usage[1] == pytest.approx(np.full(HOURS, 5.0))


def test_a_gap_of_three_hours_is_no_end():
    for gap, found in ((3, 1), (80, 0)):
        lost, _ = restored(ONE_LINE, step(HOURS, END, 8.0, 0.0), step(HOURS, END + gap, 0.0, 8.0))
        assert len(lost) == found


def test_a_meter_takes_over_half_of_the_usage_or_more():
    for gain, found in ((3.9, 0), (4.0, 1)):
        lost, _ = restored(ONE_LINE, step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, gain))
        assert len(lost) == found


def test_another_region_is_no_successor():
    elsewhere = """
        region  | service | team
        eu      | shop    | web
        us      |         |
    """
    lost, _ = restored(elsewhere, step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, 8.0))
    assert lost == ()


def test_a_meter_with_both_tags_is_no_successor():
    moved = """
        region  | service | team
        eu      | shop    | web
        eu      | cart    | web
        eu      | cart    |
    """
    before, after = step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, 8.0)
    assert restored(moved, before, after, np.zeros(HOURS))[0] == ()
    assert restored(moved, before, np.zeros(HOURS), after)[0] == (LostTag(0, END, 2),)


def test_an_untagged_meter_that_ends_lost_no_tag():
    lost, _ = restored(ONE_LINE, step(HOURS, END, 0.0, 8.0), step(HOURS, END, 8.0, 0.0))
    assert lost == ()


def test_a_meter_with_less_than_two_days_is_too_young_to_lose_its_tag():
    for begin, found in ((END - 47, 0), (END - 48, 1)):
        usage = step(HOURS, END, 8.0, 0.0)
        usage[:begin] = 0.0
        lost, _ = restored(ONE_LINE, usage, step(HOURS, END, 0.0, 8.0))
        assert len(lost) == found


def test_the_last_hours_of_a_bill_show_no_end():
    before, after = step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, 8.0)
    for billed, found in ((END, 0), (END + 3, 0), (END + 4, 1)):
        assert len(restored(ONE_LINE, before, after, billed=billed)[0]) == found


def test_two_meters_that_lose_their_tags_share_by_what_each_had():
    two = """
        region  | service | team
        eu      | shop    | web
        eu      | cart    | web
        eu      |         |
    """
    lost, usage = restored(
        two,
        step(HOURS, END, 6.0, 0.0),
        step(HOURS, END, 2.0, 0.0),
        step(HOURS, END, 0.0, 8.0),
    )
    assert [tag.meter for tag in lost] == [0, 1]
    assert usage[0] == pytest.approx(np.full(HOURS, 6.0))
    assert usage[1] == pytest.approx(np.full(HOURS, 2.0))


def test_the_first_of_two_has_all_new_usage_until_the_second_loses_its_tag_too():
    two = """
        region  | service | team
        eu      | shop    | web
        eu      | cart    | web
        eu      |         |
    """
    later = END + 50
    untagged = np.where(np.arange(HOURS) < END, 0.0, np.where(np.arange(HOURS) < later, 6.0, 8.0))
    lost, usage = restored(two, step(HOURS, END, 6.0, 0.0), step(HOURS, later, 4.0, 0.0), untagged)
    assert [(tag.meter, tag.hour) for tag in lost] == [(0, END), (1, later)]
    assert usage[0, END:later] == pytest.approx(np.full(50, 6.0))
    # then 6 / 10 and 4 / 10 of eight
    assert usage[0, later:] == pytest.approx(np.full(HOURS - later, 4.8))
    assert usage[1, later:] == pytest.approx(np.full(HOURS - later, 3.2))
    assert usage[2] == pytest.approx(np.zeros(HOURS))


def test_of_several_successors_the_one_that_gained_most_has_it():
    three = """
        region  | service | team
        eu      | shop    | web
        eu      |         |
        eu      |         | web
    """
    before, after = step(HOURS, END, 8.0, 0.0), step(HOURS, END, 0.0, 8.0)
    assert restored(three, before, after, 0.9 * after)[0] == (LostTag(0, END, 1),)
    assert restored(three, before, 0.9 * after, after)[0] == (LostTag(0, END, 2),)
