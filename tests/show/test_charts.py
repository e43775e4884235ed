"""Charts as data: what each layer shows, on which axis, in which colours."""

from datetime import timedelta
from typing import Any

import altair as alt
import polars as pl
import pytest
from drawn_case import START, drawn_case, spike

from costwhy import tables
from costwhy.behaviours import BY_KIND, DEMAND, RETRIES
from costwhy.show import chart_data, charts
from costwhy.show.chart_data import chart_specs

HOUR = timedelta(hours=1)
AXIS = (START - HOUR, START + 2 * HOUR)
MILLISECONDS = [time.timestamp() * 1000 for time in AXIS]


def spec(chart: alt.LayerChart) -> dict[str, Any]:
    return chart.to_dict()


def layers(chart: alt.LayerChart) -> list[tuple[str, str | None, str | None]]:
    """Mark, vertical field and colour of each layer, the lowest first."""
    found = []
    for layer in spec(chart)["layer"]:
        mark = layer["mark"]
        found.append((mark["type"], layer["encoding"].get("y", {}).get("field"), mark.get("color")))
    return found


def data(chart: alt.LayerChart, layer: int = 0) -> list[dict[str, Any]]:
    whole = spec(chart)
    source = whole["layer"][layer].get("data", whole.get("data"))
    return whole["datasets"][source["name"]]


def test_the_timeline_has_the_gap_below_and_the_onset_above_the_lines() -> None:
    chart = charts.timeline(drawn_case().timeline, START)
    assert layers(chart) == [
        ("area", "expected_cost", charts.EXCESS),
        ("line", "expected_cost", charts.EXPECTED),
        ("line", "actual_cost", charts.ACTUAL),
        ("line", "actual_cost", charts.ACTUAL),
        ("rule", None, charts.PICKED),
        ("rule", None, None),
    ]
    billed, estimated = spec(chart)["layer"][2:4]
    assert billed["transform"] == [{"filter": "!datum.estimated"}]
    assert estimated["transform"] == [{"filter": "datum.estimated"}]
    assert estimated["mark"]["strokeDash"] == [2, 2]


def test_all_charts_of_a_case_have_one_time_axis() -> None:
    """From the first hour of the timeline to the end of its last, in UTC, to the pixel."""
    case = drawn_case()
    axis = charts.domain_of(case.timeline)
    assert axis == AXIS
    timed = (
        charts.timeline(case.timeline, START),
        charts.ledger(chart_data.ledger(case), axis),
        charts.calls(case.calls, axis, START),
        charts.changes(chart_data.changes(case), axis, None),
        charts.owners(chart_data.lanes(case), axis),
    )
    for chart in timed:
        for layer in spec(chart)["layer"]:
            scale = layer["encoding"]["x"]["scale"]
            assert (scale["domain"], scale["type"], scale["nice"]) == (MILLISECONDS, "utc", False)
    for chart in timed[:3]:
        axes = [layer["encoding"].get("y", {}).get("axis") for layer in spec(chart)["layer"]]
        assert {axis["minExtent"] for axis in axes if axis} == {charts.LEFT}


def test_a_behaviour_has_its_colour_in_every_chart() -> None:
    case = drawn_case()
    bars = spec(charts.moved(chart_data.moved(case)))["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(bars["domain"], bars["range"], strict=True)) == {
        k: b.colour for k, b in BY_KIND.items()
    }
    areas = spec(charts.ledger(chart_data.ledger(case), AXIS))["layer"][0]["encoding"]["color"][
        "scale"
    ]
    assert areas["domain"] == [
        "webhooks’ retries against store",
        "traffic from outside to webhooks",
    ]
    assert areas["range"] == [BY_KIND[RETRIES].colour, BY_KIND[DEMAND].colour]


def test_no_two_behaviours_share_a_colour() -> None:
    assert len({behaviour.colour for behaviour in BY_KIND.values()}) == len(BY_KIND)


def test_what_moved_is_a_bar_for_each_behaviour_in_their_order() -> None:
    chart = charts.moved(chart_data.moved(drawn_case()))
    assert layers(chart) == [("bar", "behaviour", None), ("text", "behaviour", charts.INK)]
    assert [row["dollars"] for row in data(chart)] == [160.0, 50.0]
    order = spec(chart)["layer"][0]["encoding"]["y"]["sort"]
    assert order == [row["behaviour"] for row in data(chart)]
    assert data(chart)[0]["label"] == "webhooks’ retries against store: $160"


def test_calls_show_retries_what_would_have_been_and_what_was() -> None:
    chart = charts.calls(drawn_case().calls, AXIS, START)
    assert layers(chart)[:3] == [
        ("area", "retries", charts.EXCESS),
        ("line", "expected_calls", charts.EXPECTED),
        ("line", "calls", charts.ACTUAL),
    ]


@pytest.mark.parametrize(
    ("picked", "lit"), [("change-1", ["change-1"]), (None, []), ("no such", [])]
)
def test_the_picked_change_is_lit(picked: str | None, lit: list[str]) -> None:
    chart = charts.changes(chart_data.changes(drawn_case()), AXIS, picked)
    marks, light = spec(chart)["layer"]
    assert marks["encoding"]["color"]["scale"]["domain"] == [*charts.CHANGE_COLOURS, "other"]
    found = spec(chart)["datasets"][light["data"]["name"]] if "data" in light else []
    assert [row["change_id"] for row in found] == lit


def test_the_spend_chart_has_a_band_to_click_for_every_spike_short_ones_on_top() -> None:
    hours = [START - 100 * HOUR + k * HOUR for k in range(201)]
    overview = pl.DataFrame(
        {"hour": hours, "actual_cost": 5.0, "expected_cost": 4.0, "estimated": False}
    )
    short = spike(spike_id="short", end=START + HOUR, status="ended")
    listed = pl.DataFrame([vars(short), vars(spike())], schema=tables.SPIKES.schema)
    chart = charts.spend(overview, listed, "short")
    bands = data(chart, 2)
    assert [band["spike_id"] for band in bands] == [spike().spike_id, "short"]
    assert bands[1]["until"] > f"{START + 2 * HOUR:%Y-%m-%dT%H:%M:%S}", "wide enough for a finger"
    assert bands[0]["excess"] == 210.0
    picks = {param["name"]: param for param in spec(chart)["params"]}
    assert picks["pick"]["value"] == [{"spike_id": "short"}]
    assert picks["drag"]["select"]["encodings"] == ["x"]
    assert charts.spend(overview, listed.head(0), None).to_dict()["layer"]


@pytest.mark.parametrize(
    "hours", [1, charts.FEW_POINTS, charts.FEW_POINTS + 1, 3 * charts.FEW_POINTS]
)
def test_a_series_of_any_length_is_thinned_to_what_a_chart_can_hold(hours: int) -> None:
    times = [START + k * HOUR for k in range(hours)]
    frame = pl.DataFrame(
        {
            "hour": times,
            "actual_cost": 1.0,
            "expected_cost": 1.0,
            "estimated": False,
            "state": "final",
        }
    )
    assert 0 < len(data(charts.timeline(frame, START))) <= charts.FEW_POINTS


def test_shares_colour_verdicts_and_no_team() -> None:
    frame = pl.DataFrame(
        {"name": ["Inefficiency", "data"], "dollars": [9.0, 1.0], "now": 0.0, "cases": 1}
    )
    scale = spec(charts.shares(frame, "EUR"))["layer"][0]["encoding"]["color"]["scale"]
    assert scale["domain"] == ["Inefficiency", "data"]
    assert scale["range"] == [charts.EXCESS, charts.ACTUAL]
    assert data(charts.shares(frame, "EUR"))[0]["label"] == "Inefficiency: €9.00"


def test_days_fill_only_what_lies_above_the_expected_line() -> None:
    frame = pl.DataFrame(
        {"hour": [START, START + 24 * HOUR], "actual_cost": [9.0, 3.0], "expected_cost": 5.0}
    )
    assert [row["top"] for row in data(charts.days(frame))] == [9.0, 5.0]


def test_an_estimate_outside_its_interval_is_red() -> None:
    frame = pl.DataFrame(
        {
            "day": [START],
            "estimated_cost": 100.0,
            "billed_cost": 120.0,
            "low": 90.0,
            "high": 110.0,
            "inside": False,
        }
    )
    chart = charts.estimates(frame)
    [row] = data(chart)
    assert (row["off"], row["least"], row["most"]) == (20.0, -10.0, 10.0)
    colour = spec(chart)["layer"][1]["encoding"]["color"]
    assert (colour["condition"]["test"], colour["condition"]["value"]) == (
        "datum.inside",
        charts.ACTUAL,
    )
    assert colour["value"] == charts.EXCESS


def test_a_case_has_a_chart_for_each_edge_and_no_chart_changes_a_global_setting() -> None:
    before = dict(alt.theme.options) if hasattr(alt.theme, "options") else None
    names = set(chart_specs(drawn_case()))
    assert names == {"moved", "timeline", "ledger", "changes", "owners", "calls-0"}
    assert before == (dict(alt.theme.options) if hasattr(alt.theme, "options") else None)
