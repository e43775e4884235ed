"""A small notebook in run mode: the cases of the published folder that its viewer may see. The tests of the wall serve it."""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium", app_title="cases")


@app.cell
def _():
    import html
    import json
    from pathlib import Path

    import altair as alt
    import marimo as mo
    import polars as pl

    return Path, alt, html, json, mo, pl


@app.cell
def _(Path, json, mo):
    request = mo.app_meta().request
    meta = request.meta
    mine = [
        folder
        for folder in sorted(Path(meta["published"]).iterdir())
        if meta["case"] in {None, folder.name} and (folder / "case.json").is_file()
    ]
    cases = {folder.name: json.loads((folder / "case.json").read_text()) for folder in mine}
    return cases, meta, request


@app.cell
def _(cases, html, meta, mo, request):
    _rows = "".join(
        f"<li>{html.escape(case)}: {html.escape(found['title'])}</li>"
        for case, found in cases.items()
    )
    mo.Html(
        f"<h1>{len(cases)} cases for {html.escape(meta['who'])}</h1><ul id='cases'>{_rows}</ul><p id='told'>{len(request.cookies)} cookies</p>"
    )


@app.cell
def _(cases, mo):
    picked = mo.ui.dropdown(options=list(cases), value=next(iter(cases), None), label="case")
    clicks = mo.ui.button(label="count", value=0, on_click=lambda n: n + 1)
    mo.hstack([picked, clicks])
    return clicks, picked


@app.cell
def _(cases, clicks, html, mo, picked):
    _dollars = cases.get(picked.value, {}).get("dollars", [0])
    mo.Html(
        f"<p id='answer'>{html.escape(str(picked.value))}: {sum(_dollars)} dollars, counted {clicks.value}</p>"
    )


@app.cell
def _(alt, cases, mo, picked, pl):
    _frame = pl.DataFrame(
        {
            "hour": range(len(cases[picked.value]["dollars"])),
            "dollars": cases[picked.value]["dollars"],
        }
    )
    _base = alt.Chart(_frame).encode(alt.X("hour:O"), alt.Y("dollars:Q"))
    _pick = alt.selection_point(name="pick", fields=["hour"], on="click", empty=False, toggle=False)
    chart = mo.ui.altair_chart(
        (_base.mark_bar().add_params(_pick) + _base.mark_rule()).properties(width=400),
        chart_selection=False,
        legend_selection=False,
    )
    mo.vstack([chart, mo.ui.table(_frame, pagination=True, page_size=3, selection=None)])
    return (chart,)


@app.cell
def _(chart, mo):
    _hour = ((chart.selections or {}).get("pick") or {}).get("hour")
    mo.Html(f"<p id='hour'>hour {int(_hour[0]) if _hour else 'none'}</p>")


if __name__ == "__main__":
    app.run()
