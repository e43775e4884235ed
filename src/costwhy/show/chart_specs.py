"""TODO show/chart_specs.py"""

from datetime import datetime

from costwhy.case.case import Case
from costwhy.show import charts
from costwhy.show.chart_data import axis_of, changes, edges, lanes, ledger, moved


def chart_specs(case: Case) -> dict[str, str]:
    """Vega-Lite of the case's charts, by name."""
    axis, start = axis_of(case), case.spike["start"]
    assert isinstance(start, datetime)
    out = {
        "moved": charts.moved(moved(case)),
        "timeline": charts.timeline(case.timeline, start),
        "ledger": charts.ledger(ledger(case), axis),
        "changes": charts.changes(changes(case), axis, None),
        "owners": charts.owners(lanes(case), axis),
    }
    out |= {f"calls-{k}": charts.calls(rows, axis, start) for k, (_, rows) in enumerate(edges(case))}
    return {name: chart.to_json(indent=None) for name, chart in out.items()}
