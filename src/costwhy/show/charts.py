"""Charts: frames in, Altair chart out. One time axis, colours that hold on light and on dark, nothing global is set."""

from datetime import datetime, timedelta

import altair as alt
import polars as pl

from costwhy.text import money

INK = "#7d8590"  # axes and words: readable on white and on near-black
GRID = "#8b949e33"
ACTUAL = "#4c8dd6"
EXPECTED = "#8b949e"
EXCESS = "#e5734f"
SAVED = "#3fa37a"
PICKED = "#e5734f"
KIND_COLOURS = {
    "demand": "#4c8dd6",
    "schedule": "#b57edc",
    "fan_out": "#e0a030",
    "retries": "#e5734f",
    "usage_per_call": "#d66a9b",
    "capacity": "#3fa37a",
    "cross_region": "#2aa6b8",
    "unit_price": "#9a8c62",
    "unlinked_usage": "#8b949e",
    "unmetered": "#6e7681",
}
CHANGE_COLOURS = {
    "deploy": "#4c8dd6",
    "rollback": "#e5734f",
    "scaling": "#3fa37a",
    "schedule": "#b57edc",
    "config": "#e0a030",
    "create": "#2aa6b8",
}
LEFT = 62  # pixels of every left axis, so that stacked charts share their time axis to the pixel
LEAST_BAND = 0.012  # of the axis: narrower bands cannot be hit with a finger
FEW_POINTS = 6000

Domain = tuple[datetime, datetime]


def _x(domain: Domain, *, labels: bool = True) -> alt.X:
    axis = alt.Axis(
        title=None,
        labels=labels,
        ticks=labels,
        grid=True,
        tickCount="day" if domain[1] - domain[0] < timedelta(days=12) else "week",
        format="%d %b",
        labelOverlap=True,
    )
    return alt.X("hour:T", scale=alt.Scale(type="utc", domain=[_ms(domain[0]), _ms(domain[1])], nice=False), axis=axis)


def _ms(time: datetime) -> dict[str, int] | float:
    return time.timestamp() * 1000


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


def _finish(chart: alt.LayerChart, height: int) -> alt.LayerChart:
    finished: alt.LayerChart = (
        chart.properties(
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


def _layer(*charts: alt.Chart) -> alt.LayerChart:
    return alt.LayerChart(layer=list(charts))


def _money_tip(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, title=title, format="$,.2f")


HOUR_TIP = alt.Tooltip("hour:T", title="hour (UTC)", format="%d %b %Y %H:%M", formatType="utc")


def _thin(frame: pl.DataFrame) -> pl.DataFrame:
    """Every k-th row where there are too many points for a browser to draw at once."""
    step = max(1, frame.height // FEW_POINTS)
    return frame.gather_every(step) if step > 1 else frame


def spend(overview: pl.DataFrame, spikes: pl.DataFrame, picked: str | None) -> alt.LayerChart:
    """The company's spend and what it would have been, with a band to click for every spike.

    overview: hour, actual_cost, expected_cost, estimated. The selection `pick` has the spike_id, `drag` the hours of a window.
    """
    domain = (overview["hour"].min(), overview["hour"].max())
    assert isinstance(domain[0], datetime)
    assert isinstance(domain[1], datetime)
    least = (domain[1] - domain[0]) * LEAST_BAND
    bands = (
        spikes.with_columns(
            hour=pl.col("start"),
            until=pl.max_horizontal(pl.col("end").fill_null(domain[1]), pl.col("start") + least),
            excess=pl.col("excess_cost") + pl.col("nowcast_excess_cost"),
        )
        .select("spike_id", "title", "hour", "until", "excess", "status")
        .sort(pl.col("until") - pl.col("hour"), descending=True)
    )  # short ones on top
    pick = alt.selection_point(
        name="pick",
        fields=["spike_id"],
        on="click",
        empty=False,
        toggle=False,
        value=[{"spike_id": picked}] if picked else [],
    )
    drag = alt.selection_interval(
        name="drag",
        encodings=["x"],
        empty=False,
        mark=alt.BrushConfig(fill=ACTUAL, fillOpacity=0.12, stroke=ACTUAL, strokeOpacity=0.5),
    )
    x = _x((domain[0], domain[1]))
    area = (
        alt.Chart(bands)
        .mark_rect(cursor="pointer")
        .encode(
            x=x,
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
    rows = _thin(overview)
    lines = alt.Chart(rows).encode(x=x, tooltip=[HOUR_TIP, _money_tip("actual_cost:Q", "spend"), _money_tip("expected_cost:Q", "expected")])
    expected = lines.mark_line(color=EXPECTED, strokeWidth=1, strokeDash=[4, 3]).encode(y=_y("", "expected_cost:Q"))
    actual = lines.mark_line(color=ACTUAL, strokeWidth=1.4).encode(y=_y("an hour", "actual_cost:Q"))
    # bands on top: a finger hits them, not the line
    return _finish(_layer(expected, actual.add_params(drag), area), 230)


def timeline(frame: pl.DataFrame, start: datetime) -> alt.LayerChart:
    """The spike's own rows: spend, what it would have been, and the gap between them; estimated hours dashed."""
    domain = _domain(frame)
    x = _x(domain, labels=False)
    base = alt.Chart(_thin(frame)).encode(
        x=x,
        tooltip=[
            HOUR_TIP,
            _money_tip("actual_cost:Q", "spend"),
            _money_tip("expected_cost:Q", "expected"),
            alt.Tooltip("state:N", title="bill"),
        ],
    )
    gap = base.mark_area(color=EXCESS, opacity=0.28).encode(y=_y("an hour", "expected_cost:Q"), y2="actual_cost:Q")
    expected = base.mark_line(color=EXPECTED, strokeDash=[4, 3], strokeWidth=1.2).encode(y="expected_cost:Q")
    billed = base.transform_filter("!datum.estimated").mark_line(color=ACTUAL, strokeWidth=1.6).encode(y="actual_cost:Q")
    late = base.transform_filter("datum.estimated").mark_line(color=ACTUAL, strokeWidth=1.6, strokeDash=[2, 2]).encode(y="actual_cost:Q")
    everywhere = base.mark_rule(opacity=0, strokeWidth=6)  # over the whole height: an hour answers wherever it is pointed at
    return _finish(_layer(gap, expected, billed, late, _onset(start, domain), everywhere), 170)


def estimates(frame: pl.DataFrame) -> alt.LayerChart:
    """How far the bill lay off past estimates, and how far they said it might. frame: tables.NOWCAST of the whole bill."""
    off = {"off": "billed_cost", "least": "low", "most": "high"}
    shown = frame.rename({"day": "hour"}).with_columns((pl.col(of) - pl.col("estimated_cost")).alias(name) for name, of in off.items())
    margin, (first, last) = timedelta(hours=12), _domain(shown)
    tips = [
        alt.Tooltip("hour:T", title="unbilled from (UTC)", format="%d %b %Y %H:%M", formatType="utc"),
        *(_money_tip(f"{name}:Q", name.split("_")[0]) for name in ("estimated_cost", "billed_cost", "low", "high")),
    ]
    base = alt.Chart(shown).encode(x=_x((first - margin, last + margin)), tooltip=tips)
    reach = base.mark_rule(color=EXPECTED, strokeWidth=8, opacity=0.45).encode(y=_y("bill less estimate", "least:Q"), y2="most:Q")
    inside = alt.condition("datum.inside", alt.value(ACTUAL), alt.value(EXCESS))
    billed = base.mark_point(filled=True, size=42, opacity=1).encode(y="off:Q", color=inside)
    return _finish(_layer(reach, billed), 130)


def ledger(frame: pl.DataFrame, domain: Domain) -> alt.LayerChart:
    """Excess by behaviour over time, stacked. frame: hour, behaviour (words), kind, cost_change."""
    kinds = frame.unique("behaviour", maintain_order=True).select("behaviour", "kind")
    colours = [KIND_COLOURS.get(kind, EXPECTED) for kind in kinds["kind"]]
    scale = alt.Scale(domain=kinds["behaviour"].to_list(), range=colours)
    chart = (
        alt.Chart(_thin(frame))
        .mark_area(interpolate="step-after", opacity=0.8)
        .encode(
            x=_x(domain, labels=False),
            y=_y("excess an hour", "cost_change:Q"),
            color=alt.Color("behaviour:N", scale=scale, legend=alt.Legend(columns=1, orient="top-left", offset=0)),
            tooltip=[HOUR_TIP, alt.Tooltip("behaviour:N"), _money_tip("cost_change:Q", "excess")],
        )
    )
    return _finish(_layer(chart), 130)


def calls(frame: pl.DataFrame, domain: Domain, start: datetime) -> alt.LayerChart:
    """Calls, what they would have been, and retries among them. frame: tables.CALLS of one edge."""
    x = _x(domain, labels=False)
    base = alt.Chart(_thin(frame)).encode(
        x=x,
        tooltip=[
            HOUR_TIP,
            alt.Tooltip("calls:Q", format=",.0f"),
            alt.Tooltip("retries:Q", format=",.0f"),
            alt.Tooltip("expected_calls:Q", title="expected", format=",.0f"),
        ],
    )
    retries = base.mark_area(color=EXCESS, opacity=0.4).encode(y=_y("calls an hour", "retries:Q", "~s"))
    expected = base.mark_line(color=EXPECTED, strokeDash=[4, 3], strokeWidth=1.2).encode(y="expected_calls:Q")
    made = base.mark_line(color=ACTUAL, strokeWidth=1.5).encode(y="calls:Q")
    return _finish(_layer(retries, expected, made, _onset(start, domain)), 120)


def changes(frame: pl.DataFrame, domain: Domain, picked: str | None) -> alt.LayerChart:
    """Recorded changes as marks, one lane for each service; the picked one is lit. frame: hour, change_id, service, kind, summary, actor."""
    lanes = frame["service"].unique().sort().to_list()
    lit = frame.filter(pl.col("change_id") == picked) if picked else frame.head(0)
    y = alt.Y(
        "service:N",
        title=None,
        sort=lanes,
        axis=alt.Axis(minExtent=LEFT, maxExtent=LEFT, labelLimit=LEFT - 4, domain=False, ticks=False),
    )
    tips = [
        alt.Tooltip("hour:T", title="time (UTC)", format="%d %b %Y %H:%M", formatType="utc"),
        alt.Tooltip("service:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("summary:N"),
        alt.Tooltip("actor:N"),
    ]
    colour = alt.Color(
        "kind:N",
        legend=alt.Legend(columns=6),
        scale=alt.Scale(domain=[*CHANGE_COLOURS, "other"], range=[*CHANGE_COLOURS.values(), EXPECTED]),
    )
    marks = alt.Chart(frame).mark_tick(thickness=2, height=12).encode(x=_x(domain), y=y, color=colour, tooltip=tips)
    light = alt.Chart(lit).mark_point(size=170, filled=False, strokeWidth=2.4, color=PICKED).encode(x=_x(domain), y=y, tooltip=tips)
    return _finish(_layer(marks, light), max(46, 20 * len(lanes)))


def owners(frame: pl.DataFrame, domain: Domain) -> alt.LayerChart:
    """Who is involved and for how long: a lane for each. frame: hour, until, lane, who."""
    lanes = frame["lane"].unique(maintain_order=True).to_list()
    bars = (
        alt.Chart(frame)
        .mark_bar(height=14, cornerRadius=3, color=ACTUAL, opacity=0.22)
        .encode(
            x=_x(domain),
            x2="until:T",
            y=alt.Y(
                "lane:N",
                title=None,
                sort=lanes,
                axis=alt.Axis(minExtent=LEFT, maxExtent=LEFT, domain=False, ticks=False, labelLimit=LEFT - 4),
            ),
            tooltip=[alt.Tooltip("lane:N", title="role"), alt.Tooltip("who:N")],
        )
    )
    words = (
        alt.Chart(frame)
        .mark_text(align="left", dx=6, color=INK, fontSize=11)
        .encode(x=_x(domain), y=alt.Y("lane:N", sort=lanes), text="who:N")
    )
    return _finish(_layer(bars, words), 22 * max(1, len(lanes)))


def moved(frame: pl.DataFrame) -> alt.LayerChart:
    """What moved: a bar for each behaviour, its dollars at its end. frame: behaviour (words), kind, dollars."""
    order = frame["behaviour"].to_list()
    y = alt.Y("behaviour:N", title=None, sort=order, axis=alt.Axis(labels=False, ticks=False, domain=False))
    colours = alt.Color("kind:N", legend=None, scale=alt.Scale(domain=list(KIND_COLOURS), range=list(KIND_COLOURS.values())))
    base = alt.Chart(frame)
    bars = base.mark_bar(height=12, cornerRadius=2, yOffset=8).encode(
        x=alt.X("dollars:Q", title=None, axis=alt.Axis(format="$,.0f", tickCount=4, grid=True)),
        y=y,
        color=colours,
        tooltip=[alt.Tooltip("behaviour:N"), _money_tip("dollars:Q", "dollars")],
    )
    words = base.mark_text(align="left", yOffset=-7, fontSize=12, color=INK).encode(x=alt.value(2), y=y, text="label:N")
    return _finish(_layer(bars, words), 40 * max(1, frame.height))


def days(frame: pl.DataFrame) -> alt.LayerChart:
    """Spend by day against what it would have been. frame: hour (start of the day), actual_cost, expected_cost, estimated."""
    domain = _domain(frame)
    over = alt.Chart(frame.with_columns(top=pl.max_horizontal("actual_cost", "expected_cost"))).mark_area(
        color=EXCESS, opacity=0.35, interpolate="step-after"
    )
    lines = alt.Chart(frame).encode(x=_x(domain))
    tips = [
        alt.Tooltip("hour:T", title="day (UTC)", format="%d %b %Y", formatType="utc"),
        _money_tip("actual_cost:Q", "spent"),
        _money_tip("expected_cost:Q", "expected"),
    ]
    return _finish(
        _layer(
            over.encode(x=_x(domain), y=_y("a day", "expected_cost:Q"), y2="top:Q"),
            lines.mark_line(color=EXPECTED, strokeDash=[3, 3], interpolate="step-after", strokeWidth=1.3).encode(
                y=_y("a day", "expected_cost:Q")
            ),
            lines.mark_line(color=ACTUAL, interpolate="step-after", strokeWidth=1.8).encode(y=_y("a day", "actual_cost:Q")),
            lines.mark_point(opacity=0, size=200).encode(y=_y("a day", "actual_cost:Q"), tooltip=tips),
        ),
        190,
    )


VERDICT_COLOURS = {
    "Traffic growth": ACTUAL,
    "Inefficiency": EXCESS,
    "Price": "#9a8c62",
    "Accounting": "#6e7681",
    "Other causes": "#b57edc",
}


def shares(frame: pl.DataFrame, currency: str) -> alt.LayerChart:
    """A bar for each name, its dollars beside it. frame: name, dollars, now, cases."""
    told = frame.with_columns(
        label=pl.Series([f"{n}: {money(d, currency)}" for n, d in frame.select("name", "dollars").iter_rows()], dtype=pl.String)
    )
    y = alt.Y("name:N", title=None, sort=frame["name"].to_list(), axis=alt.Axis(labels=False, ticks=False, domain=False))
    colours = alt.Color(
        "name:N",
        legend=None,
        scale=alt.Scale(domain=frame["name"].to_list(), range=[VERDICT_COLOURS.get(n, ACTUAL) for n in frame["name"]]),
    )
    tips = [alt.Tooltip("name:N"), _money_tip("dollars:Q", "cost so far"), _money_tip("now:Q", "an hour now"), alt.Tooltip("cases:Q")]
    base = alt.Chart(told)
    bars = base.mark_bar(height=10, cornerRadius=2, yOffset=8).encode(
        x=alt.X("dollars:Q", title=None, axis=None), y=y, color=colours, tooltip=tips
    )
    words = base.mark_text(align="left", yOffset=-6, fontSize=12, color=INK).encode(x=alt.value(2), y=y, text="label:N")
    return _finish(_layer(bars, words), 36 * max(1, frame.height))


def _onset(start: datetime, domain: Domain) -> alt.Chart:
    rule: alt.Chart = (
        alt.Chart(pl.DataFrame({"hour": [start]}, schema={"hour": pl.Datetime("us", "UTC")}))
        .mark_rule(color=PICKED, strokeDash=[2, 2], strokeWidth=1.2)
        .encode(x=_x(domain, labels=False))
    )
    return rule


def _domain(frame: pl.DataFrame) -> Domain:
    first, last = frame["hour"].min(), frame["hour"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last + timedelta(hours=1)
