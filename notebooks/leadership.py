# /// script
# requires-python = ">=3.11"
# dependencies = ["costwhy", "marimo>=0.25.2,<0.26", "polars>=2.1,<3"]
# [tool.marimo.display]
# theme = "system"
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="costwhy: published cases")


@app.cell
def _():
    import marimo as mo

    from costwhy import charts, fragments, leadership, views
    from costwhy.served.viewer import read_viewer

    return charts, fragments, leadership, mo, read_viewer, views


@app.cell
def _(leadership, mo, read_viewer):
    # what a viewer may see comes from the server, by session: all cases, or the one of a link
    viewer = read_viewer(mo.app_meta().request, str(mo.cli_args().get("published") or "published"))
    board = leadership.open_board(viewer.published, viewer.case)
    return board, viewer


@app.cell
def _(board, leadership, mo):
    query = mo.query_params()
    get_shown, set_shown = mo.state(leadership.first_case(board, query.get("case")))

    def show(name):
        if name is not None and name != get_shown():
            set_shown(name)
            query["case"] = name

    return get_shown, show


@app.cell
def _(board, fragments, leadership, mo, viewer):
    mo.stop(viewer.case is not None, mo.Html(fragments.STYLE))
    mo.Html(fragments.STYLE + fragments.board_top(board.workspace, leadership.headline(board), leadership.facts(board)))
    return


@app.cell
def _(board, charts, fragments, leadership, mo, viewer):
    mo.stop(viewer.case is not None or not leadership.days(board).height)
    mo.vstack([
        mo.Html(fragments.section("Spend against expected", "The whole company by day; red is what the spikes cost, the last day is not over.")),
        mo.as_html(charts.days(leadership.days(board))),
    ])
    return


@app.cell
def _(board, charts, fragments, leadership, mo, viewer):
    mo.stop(viewer.case is not None or not board.cases)
    mo.Html(fragments.columns(*[
        fragments.section(title) + mo.as_html(charts.shares(leadership.shares(board, by), board.currency)).text
        for title, by in (("Growth or inefficiency", "verdict"), ("Planned or not", "plan"), ("By who runs it", "owner"))
    ]))
    return


@app.cell
def _(board, fragments, get_shown, leadership, mo, show, viewer):
    mo.stop(viewer.case is not None)
    listed = mo.ui.table(
        leadership.listed(board), selection="single", initial_selection=leadership.position(board, get_shown()), pagination=False,
        show_column_summaries=False, show_data_types=False, show_download=False, show_search=False, max_columns=8,
        text_justify_columns={"cost so far": "right", "an hour now": "right"}, on_change=lambda rows: show(leadership.picked(rows, board)))
    mo.vstack([mo.Html(fragments.section("Cases", "Open ones first, by dollars an hour. Pick one to read it.")), listed])
    return


@app.cell
def _(board, charts, fragments, get_shown, mo, views):
    published = board.find(get_shown())
    mo.stop(published is None, mo.Html(fragments.page("<h1>No case is published here.</h1>")))
    case = published.case
    mo.vstack([
        mo.Html(fragments.top(board.workspace, case)), mo.Html(fragments.story(case)),
        mo.Html(fragments.section("What moved", "Dollars by behaviour; they add up to the excess.")), mo.as_html(charts.moved(views.moved(case))),
        mo.Html(fragments.section("Timeline", "The same that engineering sees: spend and what it would have been; excess by behaviour; recorded changes.")),
        mo.as_html(charts.timeline(case.timeline, case.spike["start"])), mo.as_html(charts.ledger(views.ledger(case), views.axis(case))),
        mo.as_html(charts.changes(views.changes(case), views.axis(case), None)),
        mo.Html(fragments.section("The change and the decision")), mo.Html(fragments.chain(case)), mo.Html(fragments.triggers(case)),
        mo.accordion({"When it could be known": mo.Html(fragments.clocks(case)), "What cannot be ruled out": mo.Html(fragments.coverage(case))}),
    ])
    return


@app.cell
def _(board, fragments, leadership, mo):
    gap = leadership.gap(board)
    mo.stop(gap is None)
    mo.vstack([mo.Html(fragments.section("What nobody owns")), mo.Html(fragments.gap(*gap, board.currency))])
    return


if __name__ == "__main__":
    app.run()
