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

    return chart_data, charts, cw, html, investigation, mo, pl


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
    # the chart keeps its own highlight when it is clicked; it is drawn anew only when the list picked
    chart = mo.ui.altair_chart(
        charts.spend(spend, spikes, get_shown()), chart_selection=False, legend_selection=False,
        on_change=lambda _: show(investigation.clicked(chart.selections, spikes)))
    chart
    return


@app.cell
def _(get_shown, investigation, mo, show, spikes):
    listed = mo.ui.table(
        investigation.spike_list(spikes), selection="single", initial_selection=investigation.position(get_shown(), spikes), pagination=False, show_column_summaries=False,
        show_data_types=False, show_download=False, show_search=False, max_columns=8, text_justify_columns={"excess": "right", "an hour now": "right"},
        on_change=lambda rows: show(investigation.listed(rows, spikes)))
    step = mo.hstack(
        [mo.ui.button(label="← previous", on_click=lambda _: show(investigation.neighbour(get_shown(), spikes, -1))),
         mo.ui.button(label="next →", on_click=lambda _: show(investigation.neighbour(get_shown(), spikes, 1)))], justify="start")
    mo.vstack([listed, step])
    return


@app.cell
def _(case, chart_data, charts, html, mo):
    mo.stop(case is None)
    mo.vstack([
        mo.Html(html.section("What moved", "Dollars by behaviour; they add up to the excess.")),
        mo.as_html(charts.moved(chart_data.moved(case))), mo.Html(html.behaviours(case)),
        mo.accordion({"Where in the bill": mo.Html(html.drivers(case)), "Through which dependencies": mo.Html(html.paths(case))}),
    ])
    return


@app.cell
def _(case, chart_data, charts, html, mo):
    mo.stop(case is None)
    axis = chart_data.axis_of(case)
    mo.vstack([
        mo.Html(html.section("Traffic or inefficiency", "Spend and what it would have been; excess by behaviour; calls, what they would have been, and retries.")),
        mo.as_html(charts.timeline(case.timeline, case.spike["start"])), mo.as_html(charts.ledger(chart_data.ledger(case), axis)),
        *[mo.vstack([mo.Html(html.note(name)), mo.as_html(charts.calls(rows, axis, case.spike["start"]))]) for name, rows in chart_data.edges(case)],
    ])
    return (axis,)


@app.cell
def _(case, chart_data, mo):
    mo.stop(case is None)
    lit = mo.ui.dropdown(options=chart_data.change_options(case), value=next(iter(chart_data.change_options(case)), None), label="light up", full_width=True)
    return (lit,)


@app.cell
def _(axis, case, chart_data, charts, html, lit, mo):
    mo.stop(case is None)
    mo.vstack([
        mo.Html(html.section("What changed", "Recorded changes, weighed; the rest of the certainty belongs to changes that are not listed.")),
        mo.as_html(charts.changes(chart_data.changes(case), axis, lit.value)), lit, mo.Html(html.triggers(case)),
        mo.accordion({"What the sources cover, and what cannot be ruled out": mo.Html(html.coverage(case))}),
    ])
    return


@app.cell
def _(axis, case, chart_data, charts, html, mo):
    mo.stop(case is None)
    mo.vstack([
        mo.Html(html.section("Who", "Who runs it, who changed it, who pays: three answers, kept apart.")),
        mo.Html(html.chain(case)), mo.as_html(charts.owners(chart_data.lanes(case), axis)),
        mo.Html(html.section("Is it still running")), mo.Html(html.story(case)),
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
    mo.stop(case is None or case.analysis is None or not investigation.is_spike(case))
    get_kept()
    said = mo.md("{verdict} {note} {who}").batch(
        verdict=mo.ui.dropdown(options={"planned": "planned", "accepted": "accepted", "fixing": "fixing", "fixed": "fixed", "not ours": "not_ours"}, value="fixing", label="It is"),
        note=mo.ui.text(label="because", max_length=1000), who=mo.ui.text(label="says", placeholder="your name", max_length=200),
    )
    return (said,)


@app.cell
def _(case, get_reply, html, investigation, keep, mo, said):
    tell = mo.ui.button(label="say it", on_click=lambda _: keep(investigation.say(case, said.value)))
    mo.vstack([
        mo.Html(html.section("What owners say", "Kept in the lake with who and when; it changes what is told.")),
        mo.Html(html.verdicts(investigation.verdicts_table(case))),
        mo.hstack([said, tell], justify="start", align="center", wrap=True),
        mo.Html(html.note(get_reply())),
    ])
    return


@app.cell
def _(charts, cw, html, lake, mo, pl):
    past = cw.nowcast_ledger(lake)
    mo.vstack([
        mo.Html(html.section("How good the estimates were", "Hours without a bill, estimated as they would have been on each day, and the bill that came.")),
        mo.Html(html.estimates(past, lake.currency)), *([] if past.is_empty() else [mo.as_html(charts.estimates(past.filter(pl.col("service").is_null())))]),
    ])
    return


@app.cell
def _(cw, html, lake, mo):
    mo.vstack([
        mo.Html(html.section("What nobody owns")), mo.Html(html.lost_tags(cw.lost_tags(lake), lake.currency)),
        mo.Html(html.gap(*cw.nobody_owns(lake), lake.currency)),
    ])
    return


if __name__ == "__main__":
    app.run()
