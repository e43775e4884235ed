"""Every part of a page that costwhy shows, of the drawn case: what the golden files hold."""

from datetime import timedelta
from pathlib import Path

import polars as pl
from drawn_case import START, drawn_case, rows, spike
from markupsafe import Markup

from costwhy import tables
from costwhy.case.case import Case
from costwhy.case.opened import Published
from costwhy.ingest.reconcile import Reconciliation
from costwhy.show import html, leadership
from costwhy.show.html import Fact

GAP = {
    "where": '{"RegionId": "eu-west-1"}',
    "cost": 12.5,
    "likely_team": "data",
    "source": "account",
}
LOST = {
    "when": START,
    "service": "store",
    "team": "data",
    "resources": ["table"],
    "cost_since": 30.0,
    "age_days": 3.0,
    "change_id": "change-9",
    "summary": "Untag",
    "actor": "dana",
}
VERDICT = {
    "spike_id": "one",
    "verdict": "not_ours",
    "note": "see search",
    "who": "dana",
    "at": START,
}


def board(*cases: Case, company: dict[str, object] | None = None) -> leadership.Board:
    """A board over these cases."""
    about = {"currency": "USD", "workspace": "Marigold", "published_at": "now"}
    opened = (Published(Path(case.spike.spike_id), about, case) for case in cases)
    return leadership.Board(tuple(opened), company or {})


def reconciliation(case: Case) -> Reconciliation:
    """Two sources and what they lack. The hostile case's texts are the names of files and reasons."""
    text, unit = case.workspace, case.currency
    cost = dict(zip(("BilledCost", "EffectiveCost"), (100.0, 90.5), strict=True))
    lost = {"rows_set_aside": 3, "BilledCost_set_aside": -1.5, "rows_of_unknown_cost": 1}
    one = {"line": "period", "source": text, "billing_period": "2026-10", "BillingCurrency": unit}
    one |= {"files": 2, "rows": 1200, "rows_set_aside": 0, **cost}
    total = {**one, "line": "total", "source": None, "billing_period": None, **lost}
    lines = (one | lost, one | {"source": f"{text} two", "billing_period": "2026-09"}, total)
    row = {"source": "cost", "file": text, "reason": text, "place": text, "records": 3}
    return Reconciliation(
        rows(tables.RECONCILIATION, *lines),
        rows(tables.REASONS, row | {"BillingCurrency": unit, "BilledCost": -1.5}, row),
        rows(tables.NOT_READ, {"file": text, "reason": text, "bytes": 12_345}),
        (text,),
    )


def nowcast(service: str | None, error: float) -> dict[str, object]:
    """A day whose bill was $100."""
    values = {"estimated_cost": 100 + error, "billed_cost": 100.0, "error": error}
    interval = {"low": 90.0, "high": 110.0, "inside": True}
    return {"day": START, "hours": 30, "service": service, **values, **interval}


def parts(case: Case | None = None) -> dict[str, Markup]:
    """The parts by name."""
    case = case or drawn_case()
    over = Case(
        **{
            **vars(case),
            "spike": spike(end=START + timedelta(hours=2), status="ended", nowcast_hours=0),
        }
    )
    unknown = Case(**{
        **vars(case),
        "triggers": tables.TRIGGERS.empty(),
        "owners": tables.OWNERS.empty(),
        "behaviour": tables.BEHAVIOUR.empty(),
        "dependencies": tables.DEPENDENCIES.empty(),
    })  # fmt: skip
    currency = case.currency
    company = {
        "nobody_owns": {"cost": 12.5, "share": 0.02, "items": [GAP]},
        "saved": {"dollars": 99.0, "fixes": 2},
        "currency": currency,
    }
    everything = board(case, company=company)
    return {
        "top": html.top(case.workspace, case),
        "top-over": html.top(case.workspace, over),
        "top-none": html.top(case.workspace, None),
        "story": html.story(case),
        "triggers": html.triggers(case),
        "triggers-none": html.triggers(unknown),
        "chain": html.chain(case),
        "chain-unknown": html.chain(unknown),
        "drivers": html.drivers(case),
        "behaviours": html.behaviours(case),
        "paths": html.paths(case),
        "paths-none": html.paths(unknown),
        "coverage": html.coverage(case),
        "clocks": html.clocks(case),
        "verdicts": html.verdicts(rows(tables.VERDICTS, VERDICT)),
        "verdicts-none": html.verdicts(tables.VERDICTS.empty()),
        "estimates": html.estimates(
            rows(tables.NOWCAST, nowcast(None, -2.0), nowcast("store", 3.0), nowcast("web", 0.0)),
            currency,
        ),
        "estimates-none": html.estimates(tables.NOWCAST.empty(), currency),
        "lost-tags": html.lost_tags(rows(tables.LOST_TAGS, LOST), currency),
        "gap": html.gap(12.5, 0.02, pl.DataFrame([GAP]), currency),
        "board": html.board(
            "Marigold", leadership.headline(everything), leadership.facts(everything)
        ),
        "facts": html.board("Marigold", "words", [Fact("name", "value", "note")]),
        "not-published": html.not_published(others=True),
        "nothing-published": html.not_published(others=False),
        "section": html.section("A title", "A line"),
        "section-bare": html.section("A title"),
        "note": html.note("a small line"),
        "columns": html.columns(html.note("left"), html.note("right")),
        "reconciliation": html.reconciliation(reconciliation(case)),
        "reconciliation-whole": html.reconciliation(
            Reconciliation(
                rows(tables.RECONCILIATION, {"line": "total", "files": 1, "rows": 1}),
                tables.REASONS.empty(),
                tables.NOT_READ.empty(),
                (),
            )
        ),
        "folded": html.folded("A title", html.note("inside")),
        "chart": html.chart('{"data": "$x \\\\ <b>"}'),
    }
