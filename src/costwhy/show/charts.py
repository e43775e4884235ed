"""Charts: frames in, Altair chart out.

One time axis, colours for light and for dark, no global setting of Altair is changed.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import altair as alt
import polars as pl

from costwhy.behaviours import BY_KIND, SCHEDULE, VERDICT_WORDS
from costwhy.text import money

INK = "#7d8590"  # axes and words: readable on white and on near-black
GRID = "#8b949e33"
ACTUAL = "#4c8dd6"
EXPECTED = "#8b949e"
USUAL: dict[str, Any] = {"color": EXPECTED, "strokeDash": [4, 3], "strokeWidth": 1.2}
EXCESS = "#e5734f"
PICKED = "#e5734f"
KIND_COLOURS = {kind: behaviour.colour for kind, behaviour in BY_KIND.items()}
CHANGE_COLOURS = {
    "deploy": "#4c8dd6",
    "rollback": "#e5734f",
    "scaling": "#3fa37a",
    SCHEDULE: BY_KIND[SCHEDULE].colour,  # a change of a timer is called as what it does
    "config": "#e0a030",
    "create": "#2aa6b8",
}
VERDICT_COLOURS = {
    VERDICT_WORDS["growth"]: ACTUAL,
    VERDICT_WORDS["inefficiency"]: EXCESS,
    VERDICT_WORDS["price"]: "#9a8c62",
    VERDICT_WORDS["accounting"]: "#6e7681",
    VERDICT_WORDS["mixed"]: "#b57edc",
}
LEFT = 62  # pixels of every left axis, so that stacked charts share their time axis to the pixel
BESIDE = {"minExtent": LEFT, "maxExtent": LEFT, "labelLimit": LEFT - 4}  # names of lanes
LEAST_BAND = 0.012  # of the axis: narrower bands cannot be hit with a finger
FEW_POINTS = 5000  # Altair writes no more into a chart

Domain = tuple[datetime, datetime]


# ---------------------------------------------------------------- what all charts share


def _x(domain: Domain, *, labels: bool = True) -> alt.X:
    ends: list[dict[str, Any] | float] = [time.timestamp() * 1000 for time in domain]
    return alt.X(
        "hour:T",
        scale=alt.Scale(type="utc", domain=ends, nice=False),
        axis=alt.Axis(
            title=None,
            labels=labels,
            ticks=labels,
            grid=True,
            tickCount="day" if domain[1] - domain[0] < timedelta(days=12) else "week",
            format="%d %b",
            labelOverlap=True,
        ),
    )


def _y(title: str, field: str, fmt: str = "$,.0f") -> alt.Y:
    return alt.Y(
        field,
        title=None,
        axis=alt.Axis(
            format=fmt,
            tickCount=4,
            minExtent=LEFT,
            maxExtent=LEFT,
            title=title,
            titleAlign="left",
            titleAngle=0,
            titleAnchor="end",
            titleY=-8,
            titleX=-LEFT,
            titleFontWeight="normal",
        ),
    )


def _names(field: str, order: Sequence[str], **axis: Any) -> alt.Y:
    return alt.Y(
        field, title=None, sort=list(order), axis=alt.Axis(domain=False, ticks=False, **axis)
    )


def _layers(height: int, *layers: alt.Chart) -> alt.LayerChart:
    finished: alt.LayerChart = (
        alt.LayerChart(layer=list(layers))
        .properties(
            width="container",
            height=height,
            background="transparent",
            padding={"left": 2, "right": 8, "top": 16, "bottom": 2},
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=INK,
            gridColor=GRID,
            domainColor=GRID,
            tickColor=GRID,
            labelFontSize=11,
            titleFontSize=11,
        )
        .configure_legend(
            labelColor=INK,
            titleColor=INK,
            orient="top",
            direction="horizontal",
            title=None,
            labelLimit=240,
            symbolType="square",
            padding=0,
            offset=4,
        )
    )
    return finished


def _money_tip(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, title=title, format="$,.2f")


def _time_tip(title: str, fmt: str = "%d %b %Y %H:%M") -> alt.Tooltip:
    return alt.Tooltip("hour:T", title=title, format=fmt, formatType="utc")


HOUR_TIP = _time_tip("hour (UTC)")


def _thin(frame: pl.DataFrame) -> pl.DataFrame:
    """Every k-th row where there are more than FEW_POINTS."""
    return frame.gather_every(max(1, math.ceil(frame.height / FEW_POINTS)))


def whole_days(frame: pl.DataFrame) -> pl.DataFrame:
    """Hours added up to days (UTC), of a bill that knows no hours. frame: as tables.TIMELINE."""
    costs = pl.col("actual_cost", "expected_cost").sum()
    rest = pl.col("estimated", "state").last()
    return frame.group_by(pl.col("hour").dt.truncate("1d"), maintain_order=True).agg(costs, rest)


def _grain(*, by_day: bool) -> tuple[str, alt.Tooltip, dict[str, Any]]:
    """Title of the axis, tooltip of the time, and how lines go on, by the hour or by the day."""
    if by_day:
        return "a day", _time_tip("day (UTC)", "%d %b %Y"), {"interpolate": "step-after"}
    return "an hour", HOUR_TIP, {}


def _onset(start: datetime, domain: Domain) -> alt.Chart:
    rows = pl.DataFrame({"hour": [start]}, schema={"hour": pl.Datetime("us", "UTC")})
    rule: alt.Chart = (
        alt.Chart(rows)
        .mark_rule(color=PICKED, strokeDash=[2, 2], strokeWidth=1.2)
        .encode(x=_x(domain, labels=False))
    )
    return rule


def domain_of(frame: pl.DataFrame) -> Domain:
    """From the first hour of the frame to the end of its last."""
    hour = pl.col("hour")
    first, last = frame.select(hour.min(), last=hour.max()).row(0)
    return first, last + timedelta(hours=1)


# ---------------------------------------------------------------- the company


def spend(
    overview: pl.DataFrame, spikes: pl.DataFrame, picked: str | None, *, by_day: bool = False
) -> alt.LayerChart:
    """The company's spend and what it would have been, with a band to click for every spike.

    overview: hour, actual_cost, expected_cost, estimated. spikes: tables.SPIKES. The selection
    `pick` has the spike_id, `drag` the hours of a window. by_day: the bill knows no hours.
    """
    first, end = domain_of(overview)
    title, tip, how = _grain(by_day=by_day)
    overview = whole_days(overview) if by_day else overview
    last = end - timedelta(hours=1)
    lines = alt.Chart(_thin(overview)).encode(
        x=_x((first, last)),
        tooltip=[
            tip,
            _money_tip("actual_cost:Q", "spend"),
            _money_tip("expected_cost:Q", "expected"),
        ],
    )
    drag = alt.selection_interval(
        name="drag",
        encodings=["x"],
        empty=False,
        mark=alt.BrushConfig(fill=ACTUAL, fillOpacity=0.12, stroke=ACTUAL, strokeOpacity=0.5),
    )
    return _layers(
        230,
        lines.mark_line(**USUAL | {"strokeWidth": 1} | how).encode(y=_y("", "expected_cost:Q")),
        lines.mark_line(color=ACTUAL, strokeWidth=1.4, **how)
        .encode(y=_y(title, "actual_cost:Q"))
        .add_params(drag),
        _spike_bands(spikes, (first, last), picked),  # on top: a finger hits them
    )


def _spike_bands(spikes: pl.DataFrame, domain: Domain, picked: str | None) -> alt.Chart:
    """A band for each spike, short ones last, which is on top."""
    least = (domain[1] - domain[0]) * LEAST_BAND
    until = pl.max_horizontal(pl.col("end").fill_null(domain[1]), pl.col("start") + least)
    excess = pl.col("excess_cost") + pl.col("nowcast_excess_cost")
    bands = spikes.select("spike_id", "title", "status", hour="start", until=until, excess=excess)
    pick = alt.selection_point(
        name="pick",
        fields=["spike_id"],
        on="click",
        empty=False,
        toggle=False,
        value=[{"spike_id": picked}] if picked else [],
    )
    area: alt.Chart = (
        alt.Chart(bands.sort(pl.col("until") - pl.col("hour"), descending=True))
        .mark_rect(cursor="pointer")
        .encode(
            x=_x(domain),
            x2="until:T",
            color=alt.condition(pick, alt.value(PICKED), alt.value(EXPECTED)),
            opacity=alt.condition(pick, alt.value(0.34), alt.value(0.13)),
            tooltip=[
                alt.Tooltip("title:N", title="spike"),
                _money_tip("excess:Q", "excess"),
                alt.Tooltip("status:N", title="status"),
            ],
        )
        .add_params(pick)
    )
    return area


def days(frame: pl.DataFrame) -> alt.LayerChart:
    """Spend by day against what it would have been.

    frame: hour (the start of the day), actual_cost, expected_cost.
    """
    x = _x(domain_of(frame))
    tips = [
        _time_tip("day (UTC)", "%d %b %Y"),
        _money_tip("actual_cost:Q", "spent"),
        _money_tip("expected_cost:Q", "expected"),
    ]
    lines = alt.Chart(frame).encode(x=x)
    top = frame.with_columns(top=pl.max_horizontal("actual_cost", "expected_cost"))
    return _layers(
        190,
        alt.Chart(top)
        .mark_area(color=EXCESS, opacity=0.35, interpolate="step-after")
        .encode(x=x, y=_y("a day", "expected_cost:Q"), y2="top:Q"),
        lines.mark_line(
            color=EXPECTED, strokeDash=[3, 3], strokeWidth=1.3, interpolate="step-after"
        ).encode(y=_y("a day", "expected_cost:Q")),
        lines.mark_line(color=ACTUAL, strokeWidth=1.8, interpolate="step-after").encode(
            y=_y("a day", "actual_cost:Q")
        ),
        lines.mark_point(opacity=0, size=200).encode(y=_y("a day", "actual_cost:Q"), tooltip=tips),
    )


def shares(frame: pl.DataFrame, currency: str) -> alt.LayerChart:
    """A bar for each name, its dollars beside it. frame: name, dollars, now, cases."""
    names = frame["name"].to_list()
    labels = [f"{n}: {money(d, currency)}" for n, d in frame.select("name", "dollars").iter_rows()]
    base = alt.Chart(frame.with_columns(label=pl.Series(labels, dtype=pl.String)))
    scale = alt.Scale(domain=names, range=[VERDICT_COLOURS.get(n, ACTUAL) for n in names])
    y = _names("name:N", names, labels=False)
    return _layers(
        36 * max(1, frame.height),
        base.mark_bar(height=10, cornerRadius=2, yOffset=8).encode(
            x=alt.X("dollars:Q", title=None, axis=None),
            y=y,
            color=alt.Color("name:N", legend=None, scale=scale),
            tooltip=[
                alt.Tooltip("name:N"),
                _money_tip("dollars:Q", "cost so far"),
                _money_tip("now:Q", "an hour now"),
                alt.Tooltip("cases:Q"),
            ],
        ),
        base.mark_text(align="left", yOffset=-6, fontSize=12, color=INK).encode(
            x=alt.value(2), y=y, text="label:N"
        ),
    )


def estimates(frame: pl.DataFrame) -> alt.LayerChart:
    """Bill less estimate of past days, and the interval around each.

    frame: tables.NOWCAST of the whole bill.
    """
    off = {"off": "billed_cost", "least": "low", "most": "high"}
    shown = frame.rename({"day": "hour"}).with_columns(
        (pl.col(column) - pl.col("estimated_cost")).alias(name) for name, column in off.items()
    )
    margin, (first, end) = timedelta(hours=12), domain_of(shown)
    names = ("estimated_cost", "billed_cost", "low", "high")
    tips = [
        _time_tip("unbilled from (UTC)"),
        *(_money_tip(f"{name}:Q", name.split("_")[0]) for name in names),
    ]
    base = alt.Chart(shown).encode(x=_x((first - margin, end + margin)), tooltip=tips)
    return _layers(
        130,
        base.mark_rule(color=EXPECTED, strokeWidth=8, opacity=0.45).encode(
            y=_y("bill less estimate", "least:Q"), y2="most:Q"
        ),
        base.mark_point(filled=True, size=42, opacity=1).encode(
            y="off:Q",
            color=alt.condition("datum.inside", alt.value(ACTUAL), alt.value(EXCESS)),
        ),
    )


# ---------------------------------------------------------------- one case


def moved(frame: pl.DataFrame) -> alt.LayerChart:
    """What moved: a bar for each behaviour, its words above it.

    frame: behaviour (words), kind, dollars, label.
    """
    y = _names("behaviour:N", frame["behaviour"].to_list(), labels=False)
    scale = alt.Scale(domain=list(KIND_COLOURS), range=list(KIND_COLOURS.values()))
    base = alt.Chart(frame)
    return _layers(
        40 * max(1, frame.height),
        base.mark_bar(height=12, cornerRadius=2, yOffset=8).encode(
            x=alt.X("dollars:Q", title=None, axis=alt.Axis(format="$,.0f", tickCount=4, grid=True)),
            y=y,
            color=alt.Color("kind:N", legend=None, scale=scale),
            tooltip=[alt.Tooltip("behaviour:N"), _money_tip("dollars:Q", "dollars")],
        ),
        base.mark_text(align="left", yOffset=-7, fontSize=12, color=INK).encode(
            x=alt.value(2), y=y, text="label:N"
        ),
    )


def timeline(frame: pl.DataFrame, start: datetime, *, by_day: bool = False) -> alt.LayerChart:
    """The spike's own rows: spend, what it would have been, the gap; estimated hours dashed.

    frame: tables.TIMELINE. by_day: the bill of these rows knows no hours.
    """
    domain = domain_of(frame)
    title, tip, how = _grain(by_day=by_day)
    frame = whole_days(frame) if by_day else frame
    base = alt.Chart(_thin(frame)).encode(
        x=_x(domain, labels=False),
        tooltip=[
            tip,
            _money_tip("actual_cost:Q", "spend"),
            _money_tip("expected_cost:Q", "expected"),
            alt.Tooltip("state:N", title="bill"),
        ],
    )
    return _layers(
        170,
        base.mark_area(color=EXCESS, opacity=0.28, **how).encode(
            y=_y(title, "expected_cost:Q"), y2="actual_cost:Q"
        ),
        base.mark_line(**USUAL | how).encode(y="expected_cost:Q"),
        base.transform_filter("!datum.estimated")
        .mark_line(color=ACTUAL, strokeWidth=1.6, **how)
        .encode(y="actual_cost:Q"),
        base.transform_filter("datum.estimated")
        .mark_line(color=ACTUAL, strokeWidth=1.6, strokeDash=[2, 2], **how)
        .encode(y="actual_cost:Q"),
        _onset(start, domain),
        base.mark_rule(opacity=0, strokeWidth=6),  # shows its tooltip over the whole height
    )


def ledger(frame: pl.DataFrame, domain: Domain) -> alt.LayerChart:
    """Excess by behaviour over time, stacked. frame: hour, behaviour (words), kind, cost_change."""
    kinds = frame.unique("behaviour", maintain_order=True).select("behaviour", "kind")
    scale = alt.Scale(
        domain=kinds["behaviour"].to_list(),
        range=[KIND_COLOURS.get(kind, EXPECTED) for kind in kinds["kind"]],
    )
    legend = alt.Legend(columns=1, orient="top-left", offset=0)
    area = alt.Chart(_thin(frame)).mark_area(interpolate="step-after", opacity=0.8)
    return _layers(
        130,
        area.encode(
            x=_x(domain, labels=False),
            y=_y("excess an hour", "cost_change:Q"),
            color=alt.Color("behaviour:N", scale=scale, legend=legend),
            tooltip=[HOUR_TIP, alt.Tooltip("behaviour:N"), _money_tip("cost_change:Q", "excess")],
        ),
    )


def calls(frame: pl.DataFrame, domain: Domain, start: datetime) -> alt.LayerChart:
    """Calls, what they would have been, and retries among them. frame: tables.CALLS of one edge."""
    base = alt.Chart(_thin(frame)).encode(
        x=_x(domain, labels=False),
        tooltip=[
            HOUR_TIP,
            alt.Tooltip("calls:Q", format=",.0f"),
            alt.Tooltip("retries:Q", format=",.0f"),
            alt.Tooltip("expected_calls:Q", title="expected", format=",.0f"),
        ],
    )
    return _layers(
        120,
        base.mark_area(color=EXCESS, opacity=0.4).encode(y=_y("calls an hour", "retries:Q", "~s")),
        base.mark_line(**USUAL).encode(y="expected_calls:Q"),
        base.mark_line(color=ACTUAL, strokeWidth=1.5).encode(y="calls:Q"),
        _onset(start, domain),
    )


def changes(frame: pl.DataFrame, domain: Domain, picked: str | None) -> alt.LayerChart:
    """Recorded changes as marks, one lane for each service; the picked one is lit.

    frame: hour, change_id, service, kind, summary, actor.
    """
    services = frame["service"].unique().sort().to_list()
    x, y = _x(domain), _names("service:N", services, **BESIDE)
    tips = [
        _time_tip("time (UTC)"),
        *(alt.Tooltip(f"{name}:N") for name in ("service", "kind", "summary", "actor")),
    ]
    scale = alt.Scale(domain=[*CHANGE_COLOURS, "other"], range=[*CHANGE_COLOURS.values(), EXPECTED])
    colour = alt.Color("kind:N", legend=alt.Legend(columns=6), scale=scale)
    lit = alt.Chart(frame.filter(pl.col("change_id") == (picked or "")))
    return _layers(
        max(46, 20 * len(services)),
        alt.Chart(frame)
        .mark_tick(thickness=2, height=12)
        .encode(x=x, y=y, color=colour, tooltip=tips),
        lit.mark_point(size=170, filled=False, strokeWidth=2.4, color=PICKED).encode(
            x=x, y=y, tooltip=tips
        ),
    )


def owners(frame: pl.DataFrame, domain: Domain) -> alt.LayerChart:
    """Who is involved and for how long: a lane for each. frame: hour, until, lane, who."""
    roles, base = frame["lane"].unique(maintain_order=True).to_list(), alt.Chart(frame)
    return _layers(
        22 * max(1, len(roles)),
        base.mark_bar(height=14, cornerRadius=3, color=ACTUAL, opacity=0.22).encode(
            x=_x(domain),
            x2="until:T",
            y=_names("lane:N", roles, **BESIDE),
            tooltip=[alt.Tooltip("lane:N", title="role"), alt.Tooltip("who:N")],
        ),
        base.mark_text(align="left", dx=6, color=INK, fontSize=11).encode(
            x=_x(domain), y=alt.Y("lane:N", sort=roles), text="who:N"
        ),
    )
