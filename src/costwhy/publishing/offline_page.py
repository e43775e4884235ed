"""A case as one HTML file: opens without a network, charts that answer to the mouse, prints."""

import functools
import json
from collections.abc import Mapping

import vl_convert
from markupsafe import Markup

from costwhy.case.case import Case
from costwhy.show import chart_data, html
from costwhy.templates import environment
from costwhy.text import clock

VEGA_LITE = "6.4"
TEMPLATES = environment("costwhy.publishing").overlay(finalize=html.printable)


@functools.cache
def chart_scripts() -> Markup:
    """Vega, Vega-Lite and Vega-Embed as one script, made without a network."""
    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE)
    return Markup(script.replace("</script", "<\\/script"))  # noqa: S704 -- our own libraries


def in_script(value: object) -> Markup:
    """JSON that cannot end the script that it stands in."""
    text = json.dumps(value).replace("<", "\\u003c")
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Markup(text)  # noqa: S704 -- without < it cannot leave the script


def offline_page(
    case: Case, specs: Mapping[str, str], written: Mapping[str, Markup], origin: str
) -> str:
    """The whole page.

    specs: Vega-Lite by name, as `chart_specs` makes it; written: what people wrote, by heading;
    origin: what the footer says.
    """
    return TEMPLATES.get_template("offline_page.html").render(
        title=f"{case.workspace}: {case.spike.title}, {clock(case.as_of)}",
        case=case,
        part=html,
        edges=[name for name, _ in chart_data.edges(case)],
        written=written,
        origin=origin,
        scripts=chart_scripts(),
        charts=in_script({f"chart-{name}": json.loads(spec) for name, spec in specs.items()}),
    )
