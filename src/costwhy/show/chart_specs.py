"""All charts of a case as Vega-Lite."""

from costwhy.case.case import Case
from costwhy.show import chart_data, charts


def chart_specs(case: Case) -> dict[str, str]:
    """Vega-Lite of the case's charts, by name."""
    axis, start = chart_data.axis_of(case), case.spike.start
    out = {
        "moved": charts.moved(chart_data.moved(case)),
        "timeline": charts.timeline(case.timeline, start),
        "ledger": charts.ledger(chart_data.ledger(case), axis),
        "changes": charts.changes(chart_data.changes(case), axis, None),
        "owners": charts.owners(chart_data.lanes(case), axis),
    }
    for number, (_, rows) in enumerate(chart_data.edges(case)):
        out[f"calls-{number}"] = charts.calls(rows, axis, start)
    return {name: chart.to_json(indent=None) for name, chart in out.items()}
