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
    from costwhy.case.bill_facts import facts_of
    from costwhy.ingest.reconcile import reconcile
    from costwhy.serve.viewer import read_workspace
    from costwhy.show import chart_data, charts, html, investigation
    from costwhy.show.notebook import LIST, element, position, section

    return (
        LIST, chart_data, charts, cw, element, facts_of, html, investigation, mo, pl, position,
        read_workspace, reconcile, section,
    )


@app.cell
def _(cw, facts_of, mo, read_workspace):
    lake = cw.open_lake(read_workspace(mo.app_meta().request, mo.cli_args().get("workspace") or "."))
    spikes, spend, bill = cw.find_spikes(lake), cw.overview(lake), facts_of(lake)
    return bill, lake, spend, spikes


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
def _(bill, element, get_shown, html, investigation, lake):
    case = investigation.case_of(lake, get_shown())
    element(html.STYLE + html.top(lake.workspace, case, bill))
    return (case,)


@app.cell
def _(bill, charts, get_shown, investigation, mo, show, spend, spikes):
    # the chart keeps its own highlight when it is clicked; it is drawn again when the list picks
    chart = mo.ui.altair_chart(
        charts.spend(spend, spikes, get_shown(), by_day=bill.is_by_day), chart_selection=False, legend_selection=False,
        on_change=lambda _: show(investigation.clicked(chart.selections, spikes)),
    )
    chart
    return


@app.cell
def _(LIST, get_shown, investigation, mo, position, show, spikes):
    listed = mo.ui.table(
        investigation.spike_list(spikes), **LIST,
        initial_selection=position(get_shown(), spikes["spike_id"].to_list()),
        text_justify_columns={"excess": "right", "an hour now": "right"},
        on_change=lambda rows: show(investigation.listed(rows, spikes)),
    )
    step = lambda by: lambda _: show(investigation.neighbour(get_shown(), spikes, by))
    buttons = [
        mo.ui.button(label="← previous", on_click=step(-1)),
        mo.ui.button(label="next →", on_click=step(1)),
    ]
    mo.vstack([listed, mo.hstack(buttons, justify="start")])
    return


@app.cell
def _(case, chart_data, charts, element, html, mo, section):
    mo.stop(case is None)
    _parts = {"Where in the bill": html.drivers, "Through which dependencies": html.paths}
    section(
        "What moved", "Dollars by behaviour; they add up to the excess.",
        charts.moved(chart_data.moved(case)), html.behaviours(case),
        mo.accordion(
            {title: lambda part=part: element(part(case)) for title, part in _parts.items()}, lazy=True,
        ),
    )
    return


@app.cell
def _(case, chart_data, charts, html, mo, section):
    mo.stop(case is None)
    axis, start = charts.domain_of(case.timeline), case.spike.start
    calls = []
    for name, rows in chart_data.edges(case):
        calls += [html.note(name), charts.calls(rows, axis, start)]
    section(
        "Traffic or inefficiency", "Spend and what it would have been; excess by behaviour; "
        "calls, what they would have been, and retries.",
        charts.timeline(case.timeline, start, by_day=case.by_day),
        charts.ledger(chart_data.ledger(case), axis), *calls,
    )
    return (axis,)


@app.cell
def _(case, chart_data, mo):
    mo.stop(case is None)
    options = chart_data.change_options(case)
    lit = mo.ui.dropdown(options, next(iter(options), None), label="light up", full_width=True)
    return (lit,)


@app.cell
def _(axis, case, chart_data, charts, element, html, lit, mo, section):
    mo.stop(case is None)
    _title = "What the sources cover, and what cannot be ruled out"
    section(
        "What changed", "Recorded changes and the probability that each of them did it.",
        charts.changes(chart_data.changes(case), axis, lit.value), lit,
        html.triggers(case), mo.accordion({_title: lambda: element(html.coverage(case))}, lazy=True),
    )
    return


@app.cell
def _(axis, case, chart_data, charts, html, mo, section):
    mo.stop(case is None)
    section(
        "Who", "Who runs it, who changed it, who pays: three answers, kept apart.",
        html.chain(case), charts.owners(chart_data.lanes(case), axis),
        html.section("Is it still running"), html.story(case),
    )
    return


@app.cell
def _(mo):
    get_kept, set_kept = mo.state(0)
    get_reply, set_reply = mo.state("", allow_self_loops=True)

    def keep(reply):  # an empty reply: it was kept, so the fields are emptied
        set_reply(reply)
        set_kept(lambda kept: kept + (not reply))

    return get_kept, get_reply, keep


@app.cell
def _(case, get_kept, investigation, mo):
    mo.stop(case is None or not investigation.is_spike(case))
    get_kept()
    states = ("planned", "accepted", "fixing", "fixed", "not ours")
    verdict = mo.md("{verdict} {note} {who}").batch(
        verdict=mo.ui.dropdown({w: w.replace(" ", "_") for w in states}, "fixing", label="It is"),
        note=mo.ui.text(label="because", max_length=1000),
        who=mo.ui.text(label="says", placeholder="your name", max_length=200),
    )
    return (verdict,)


@app.cell
def _(case, get_reply, html, investigation, keep, mo, section, verdict):
    say = lambda _: keep(investigation.say(case, verdict.value))
    form = [verdict, mo.ui.button(label="say it", on_click=say)]
    section(
        "What owners say", "Kept in the lake with who and when; what is reported later follows it.",
        html.verdicts(investigation.verdicts_table(case)),
        mo.hstack(form, justify="start", align="center", wrap=True), html.note(get_reply()),
    )
    return


@app.cell
def _(charts, cw, html, lake, mo, pl, section):
    # what stands far below is made when it comes into view
    def estimates():
        past = cw.nowcast_ledger(lake)
        whole = past.filter(pl.col("service").is_null())
        return section(
            "How good the estimates were",
            "Hours without a bill, estimated as on each day, and the bill that came.",
            html.estimates(past, lake.currency), *([charts.estimates(whole)] if whole.height else []),
        )

    mo.lazy(estimates)
    return


@app.cell
def _(cw, html, lake, mo, section):
    def unowned():
        lost, gap = html.lost_tags(cw.lost_tags(lake), lake.currency), cw.nobody_owns(lake)
        return section("What nobody owns", "", lost, html.gap(*gap, lake.currency))

    mo.lazy(unowned)
    return


@app.cell
def _(html, lake, reconcile, section):
    section(
        "What was read", "Rows in the files are rows that count and rows that were set aside.",
        html.reconciliation(reconcile(lake)),
    )
    return


if __name__ == "__main__":
    app.run()
