# /// script
# requires-python = ">=3.11"
# dependencies = ["costwhy", "marimo>=0.25.2,<0.26", "polars>=2.1,<3"]
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="costwhy")


@app.cell
def _():
    import marimo as mo
    import polars as pl

    import costwhy as cw
    from costwhy.show import chart_data, charts, html, investigation
    from costwhy.show.list_rows import position

    return chart_data, charts, cw, html, investigation, mo, pl, position


@app.cell
def _(cw, mo):
    lake = cw.open_lake(mo.cli_args().get("workspace") or ".")
    spikes, spend = cw.find_spikes(lake), cw.overview(lake)
    return lake, spend, spikes


@app.cell
def _(investigation, mo, spikes):
    # what is shown lives in the URL: a spike's id, or the two times of a window
    query = mo.query_params()
    get_shown, set_shown = mo.state(investigation.read_shown(query.get("show"), spikes))

    def show(shown):
        if shown is not None and shown != get_shown():
            set_shown(shown)
            query["show"] = shown

    return get_shown, show


@app.cell
def _(get_shown, investigation, lake):
    case = investigation.case_of(lake, get_shown())
    return (case,)


@app.cell
def _(case, html, lake, mo):
    mo.Html(html.STYLE + html.top(lake.workspace, case))
    return


@app.cell
def _(charts, get_shown, investigation, mo, show, spend, spikes):
    # the chart keeps its own highlight when it is clicked; it is drawn again when the list picks
    chart = mo.ui.altair_chart(
        charts.spend(spend, spikes, get_shown()),
        chart_selection=False,
        legend_selection=False,
        on_change=lambda _: show(investigation.clicked(chart.selections, spikes)),
    )
    chart
    return


@app.cell
def _(get_shown, investigation, mo, position, show, spikes):
    listed = mo.ui.table(
        investigation.spike_list(spikes),
        selection="single",
        initial_selection=position(get_shown(), spikes["spike_id"].to_list()),
        pagination=False,
        show_column_summaries=False,
        show_data_types=False,
        show_download=False,
        show_search=False,
        max_columns=8,
        text_justify_columns={"excess": "right", "an hour now": "right"},
        on_change=lambda rows: show(investigation.listed(rows, spikes)),
    )

    def button(label, by):
        go = lambda _: show(investigation.neighbour(get_shown(), spikes, by))
        return mo.ui.button(label=label, on_click=go)

    step = mo.hstack([button("← previous", -1), button("next →", 1)], justify="start")
    mo.vstack([listed, step])
    return


@app.cell
def _(case, chart_data, charts, html, mo):
    mo.stop(case is None)
    mo.vstack([
        mo.Html(html.section("What moved", "Dollars by behaviour; they add up to the excess.")),
        mo.as_html(charts.moved(chart_data.moved(case))),
        mo.Html(html.behaviours(case)),
        mo.accordion({
            "Where in the bill": mo.Html(html.drivers(case)),
            "Through which dependencies": mo.Html(html.paths(case)),
        }),
    ])
    return


@app.cell
def _(case, chart_data, charts, html, mo):
    mo.stop(case is None)
    axis, start = chart_data.axis_of(case), case.spike.start
    words = "Spend and what it would have been; excess by behaviour; calls, what they would have been, and retries."
    calls = [
        mo.vstack([mo.Html(html.note(name)), mo.as_html(charts.calls(rows, axis, start))])
        for name, rows in chart_data.edges(case)
    ]
    mo.vstack([
        mo.Html(html.section("Traffic or inefficiency", words)),
        mo.as_html(charts.timeline(case.timeline, start)),
        mo.as_html(charts.ledger(chart_data.ledger(case), axis)),
        *calls,
    ])
    return (axis,)


@app.cell
def _(case, chart_data, mo):
    mo.stop(case is None)
    options = chart_data.change_options(case)
    lit = mo.ui.dropdown(options, value=next(iter(options), None), label="light up", full_width=True)
    return (lit,)


@app.cell
def _(axis, case, chart_data, charts, html, lit, mo):
    mo.stop(case is None)
    words = "Recorded changes, weighed; the rest of the certainty belongs to changes that are not listed."
    mo.vstack([
        mo.Html(html.section("What changed", words)),
        mo.as_html(charts.changes(chart_data.changes(case), axis, lit.value)),
        lit,
        mo.Html(html.triggers(case)),
        mo.accordion({"What the sources cover, and what cannot be ruled out": mo.Html(html.coverage(case))}),
    ])
    return


@app.cell
def _(axis, case, chart_data, charts, html, mo):
    mo.stop(case is None)
    mo.vstack([
        mo.Html(html.section("Who", "Who runs it, who changed it, who pays: three answers, kept apart.")),
        mo.Html(html.chain(case)),
        mo.as_html(charts.owners(chart_data.lanes(case), axis)),
        mo.Html(html.section("Is it still running")),
        mo.Html(html.story(case)),
    ])
    return


@app.cell
def _(mo):
    get_kept, set_kept = mo.state(0)
    get_reply, set_reply = mo.state("", allow_self_loops=True)

    def keep(reply: str) -> None:
        """What is kept empties the fields; what is not says why."""
        set_reply(reply)
        set_kept(lambda kept: kept + (not reply))

    return get_kept, get_reply, keep


@app.cell
def _(case, get_kept, investigation, mo):
    mo.stop(case is None or not investigation.is_spike(case))
    get_kept()
    words = ("planned", "accepted", "fixing", "fixed", "not ours")
    verdict = mo.md("{verdict} {note} {who}").batch(
        verdict=mo.ui.dropdown({w: w.replace(" ", "_") for w in words}, value="fixing", label="It is"),
        note=mo.ui.text(label="because", max_length=1000),
        who=mo.ui.text(label="says", placeholder="your name", max_length=200),
    )
    return (verdict,)


@app.cell
def _(case, get_reply, html, investigation, keep, mo, verdict):
    save = mo.ui.button(
        label="say it", on_click=lambda _: keep(investigation.say(case, verdict.value))
    )
    words = "Kept in the lake with who and when; what is reported later follows it."
    mo.vstack([
        mo.Html(html.section("What owners say", words)),
        mo.Html(html.verdicts(investigation.verdicts_table(case))),
        mo.hstack([verdict, save], justify="start", align="center", wrap=True),
        mo.Html(html.note(get_reply())),
    ])
    return


@app.cell
def _(charts, cw, html, lake, mo, pl):
    past = cw.nowcast_ledger(lake)
    whole = past.filter(pl.col("service").is_null())
    words = "Hours without a bill, estimated as they would have been on each day, and the bill that came."
    mo.vstack([
        mo.Html(html.section("How good the estimates were", words)),
        mo.Html(html.estimates(past, lake.currency)),
        *([] if past.is_empty() else [mo.as_html(charts.estimates(whole))]),
    ])
    return


@app.cell
def _(cw, html, lake, mo):
    mo.vstack([
        mo.Html(html.section("What nobody owns")),
        mo.Html(html.lost_tags(cw.lost_tags(lake), lake.currency)),
        mo.Html(html.gap(*cw.nobody_owns(lake), lake.currency)),
    ])
    return


if __name__ == "__main__":
    app.run()
