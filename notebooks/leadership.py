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

    from costwhy.serve.viewer import read_viewer
    from costwhy.show import html, leadership
    from costwhy.show.notebook import LIST, element, position, section

    return LIST, element, html, leadership, mo, position, read_viewer, section


@app.cell
def _(leadership, mo, read_viewer):
    # what a viewer may see comes from the server, by session: all cases, or the one of a link
    viewer = read_viewer(mo.app_meta().request, str(mo.cli_args().get("published") or "published"))
    board = leadership.open_board(viewer.published, viewer.case)
    return board, viewer


@app.cell
def _(board, leadership, mo, viewer):
    query = mo.query_params()
    wanted = viewer.case or query.get("case")
    get_shown, set_shown = mo.state(leadership.first_case(board, wanted))

    def show(name):
        if name is not None and name != get_shown():
            set_shown(name)
            query["case"] = name

    return get_shown, show


@app.cell
def _(board, element, html, leadership, viewer):
    # pages are finished HTML, made once for all viewers
    overview = leadership.overview_page(board) if viewer.case is None else ""
    element(f"{html.STYLE}{overview}")
    return


@app.cell
def _(LIST, board, get_shown, leadership, mo, position, section, show, viewer):
    mo.stop(viewer.case is not None)
    listed = mo.ui.table(
        leadership.listed(board),
        **LIST,
        initial_selection=position(get_shown(), board.names),
        text_justify_columns={"cost so far": "right", "an hour now": "right"},
        on_change=lambda rows: show(leadership.picked(rows, board)),
    )
    section("Cases", "Open ones first, by dollars an hour. Pick one to read it.", listed)
    return


@app.cell
def _(board, element, get_shown, html, leadership):
    published = board.find(get_shown())
    if published:
        page = leadership.case_page(published)
    else:
        page = html.not_published(others=bool(board.cases))
    element(page)
    return


@app.cell
def _(board, html, leadership, mo, section):
    gap = leadership.gap(board)
    mo.stop(gap is None)
    section("What nobody owns", "", html.gap(*gap, board.currency))
    return


if __name__ == "__main__":
    app.run()
