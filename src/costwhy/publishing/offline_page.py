"""A case as one HTML file that opens without a network: charts that answer to the mouse, text that prints well."""

import functools
import json
from collections.abc import Mapping

import vl_convert

from costwhy.case.case import Case
from costwhy.show import html
from costwhy.show.html import esc
from costwhy.text import clock

VEGA_LITE = "6.4"
CHARTS = (  # name, heading, what it shows
    ("moved", "What moved", "Dollars by behaviour; they add up to the excess."),
    ("timeline", "Spend and what it would have been", ""),
    ("ledger", "Excess by behaviour, hour by hour", ""),
    ("changes", "Recorded changes", ""),
    ("owners", "Who was involved, and when", ""),
)
SHEET = """
:root{color-scheme:light dark}
body{margin:0 auto;padding:28px 22px 60px;max-width:1000px;font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1f2328;background:#fff}
@media (prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}}
.vega-embed{width:100%}.chart{width:100%;margin:2px 0 10px}
.vega-embed summary{display:none}
#vg-tooltip-element{font-size:12px}
.human{border-left:3px solid color-mix(in srgb,currentColor 22%,transparent);padding:2px 0 2px 14px;max-width:60em}
.human table{border-collapse:collapse}.human td,.human th{padding:4px 12px 4px 0;border-bottom:1px solid color-mix(in srgb,currentColor 14%,transparent);text-align:left}
footer{margin-top:40px;font-size:12px;opacity:.7;overflow-wrap:anywhere}
@media print{body{max-width:none;padding:0;color:#000;background:#fff}.cw .change,.chart,table,tr{break-inside:avoid}h2{break-after:avoid}@page{margin:16mm}}
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"


@functools.cache
def chart_scripts() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, made without a network."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE).replace("</script", "<\\/script")


def in_script(value: object) -> str:
    """JSON that cannot end the script that it stands in."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def offline_page(case: Case, specs: Mapping[str, str], human: Mapping[str, str], origin: str) -> str:
    """The whole page. specs: Vega-Lite by name, see shelf.chart_specs; human: HTML of what people wrote, by heading; origin: for the footer."""
    told = "".join(f'{html.section(title)}<div class="human">{text}</div>' for title, text in human.items())
    body = [
        html.STYLE,
        html.top(case.workspace, case),
        html.section("What happened"),
        html.story(case),
        *(_chart(name, title, note) for name, title, note in CHARTS[:1]),
        html.behaviours(case),
        *(_chart(name, title, note) for name, title, note in CHARTS[1:3]),
        *(f"{html.note(name)}{_place(f'calls-{k}')}" for k, name in enumerate(_edges(case)) if f"calls-{k}" in specs),
        *(_chart(name, title, note) for name, title, note in CHARTS[3:4]),
        html.section("The change and the decision"),
        html.triggers(case),
        html.section("When it could be known"),
        html.clocks(case),
        html.section("Who", "Who runs it, who changed it, who pays: three answers, kept apart."),
        html.chain(case),
        _place("owners"),
        html.section("Where in the bill"),
        html.drivers(case),
        html.section("Through which dependencies"),
        html.paths(case),
        html.section("What the sources cover, and what cannot be ruled out"),
        html.coverage(case),
        told,
        f"<footer>{esc(origin)}</footer>",
    ]
    return _document(f"{case.workspace}: {case.spike['title']}, {clock(case.as_of)}", "".join(body), specs)


def _edges(case: Case) -> list[str]:
    pairs = case.calls.select("caller", "service").unique(maintain_order=True).iter_rows()
    return [f"{str(caller).removeprefix('schedule:')} → {service}" for caller, service in pairs]


def _chart(name: str, title: str, note: str) -> str:
    return html.section(title, note) + _place(name)


def _place(name: str) -> str:
    return f'<div class="chart" id="chart-{esc(name)}"></div>'


def _document(title: str, body: str, specs: Mapping[str, str]) -> str:
    charts = in_script({f"chart-{name}": json.loads(spec) for name, spec in specs.items()})
    draw = (
        "const drawn=[];for(const [id,spec] of Object.entries(charts)){const at=document.getElementById(id);"
        "if(at)drawn.push(vegaEmbed(at,spec,{renderer:'svg',actions:false}))}"
        "Promise.all(drawn).then(()=>{document.documentElement.dataset.drawn=drawn.length})"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{SHEET}</style></head><body>{body}"
        f"<script>{chart_scripts()}</script><script>const charts={charts};{draw}</script></body></html>\n"
    )
