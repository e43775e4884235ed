"""Tables of a case in the words and columns of its charts, and all its charts as Vega-Lite."""

from collections.abc import Iterable

import polars as pl

from costwhy.case.case import Case
from costwhy.case.story import behaviour_cost, behaviour_words
from costwhy.show import charts
from costwhy.text import money

MOST_LANES = 8
ROLES = {
    "owner": "run by",
    "owner_then": "ran it then",
    "decided_by": "changed by",
    "budget_owner": "paid by",
}
LANES = pl.Schema(
    {
        "hour": pl.Datetime("us", "UTC"),
        "until": pl.Datetime("us", "UTC"),
        "lane": pl.String(),
        "who": pl.String(),
    }
)


def moved(case: Case) -> pl.DataFrame:
    """behaviour, kind, dollars, label: billed and estimated together, without the remainder."""
    rows = [(behaviour_words(r), r["kind"], behaviour_cost(r)) for r in case.behaviour.to_dicts()]
    return pl.DataFrame(
        [(*row, f"{row[0]}: {money(row[2], case.currency)}") for row in rows],
        schema={
            "behaviour": pl.String,
            "kind": pl.String,
            "dollars": pl.Float64,
            "label": pl.String,
        },
        orient="row",
    )


def ledger(case: Case) -> pl.DataFrame:
    """The hourly ledger with behaviours in words and the end of each hour."""
    return case.ledger.with_columns(
        behaviour=pl.Series(
            [behaviour_words(row) for row in case.ledger.iter_rows(named=True)], dtype=pl.String
        ),
        until=pl.col("hour") + pl.duration(hours=1),
    )


def edges(case: Case) -> Iterable[tuple[str, pl.DataFrame]]:
    """The calls of each edge of the spike, with its name."""
    for (caller, service), rows in case.calls.partition_by(
        "caller", "service", as_dict=True, maintain_order=True
    ).items():
        yield f"{str(caller).removeprefix('schedule:')} → {service}", rows


def changes(case: Case) -> pl.DataFrame:
    """Changes that people made, on the services of the triggers and on those with most changes."""
    kind = pl.when(pl.col("kind").is_in(list(charts.CHANGE_COLOURS))).then("kind")
    near = (
        case.changes.filter(~pl.col("automated").fill_null(value=False))
        .with_columns(hour=pl.col("time"), kind=kind.otherwise(pl.lit("other")))
        .join(
            case.triggers.select("change_id", found=pl.col("service")), on="change_id", how="left"
        )
        .with_columns(service=pl.coalesce("found", "service").fill_null("others"))
    )
    first = case.triggers["service"].drop_nulls().unique(maintain_order=True)
    most = (
        near.group_by("service")
        .agg(pl.len())
        .sort("len", "service", descending=[True, False])["service"]
    )
    shown = list(dict.fromkeys([*first, *most]))[:MOST_LANES]
    return near.filter(pl.col("service").is_in(shown)).select(
        "hour", "change_id", "service", "kind", "summary", "actor"
    )


def change_options(case: Case) -> dict[str, str]:
    """Words of each ranked change, and its id."""
    return {
        f"{row['probability']:.0%}  {row['summary'] or row['change_id']}"[:110]: row["change_id"]
        for row in case.triggers.iter_rows(named=True)
    }


def lanes(case: Case) -> pl.DataFrame:
    """Who was involved, and when: a lane for each role."""
    begin, now = charts.domain_of(case.timeline)
    start, end = case.spike.start, case.spike.end or now
    rows = []
    for row in case.owners.iter_rows(named=True):
        first, last = (start, end) if row["role"] == "decided_by" else (begin, now)
        first = max(begin, row["since"]) if row.get("since") else first
        last = min(now, row["until"]) if row.get("until") else last
        rows.append(
            (
                first,
                last,
                ROLES.get(row["role"], row["role"]),
                " · ".join(str(row[name]) for name in ("actor", "team", "contact") if row[name]),
            )
        )
    return pl.DataFrame(rows, schema=LANES, orient="row")


def chart_specs(case: Case) -> dict[str, str]:
    """Vega-Lite of the case's charts, by name."""
    axis, start = charts.domain_of(case.timeline), case.spike.start
    out = {
        "moved": charts.moved(moved(case)),
        "timeline": charts.timeline(case.timeline, start, by_day=case.by_day),
        "ledger": charts.ledger(ledger(case), axis),
        "changes": charts.changes(changes(case), axis, None),
        "owners": charts.owners(lanes(case), axis),
    }
    for number, (_, rows) in enumerate(edges(case)):
        out[f"calls-{number}"] = charts.calls(rows, axis, start)
    return {name: chart.to_json(indent=None) for name, chart in out.items()}
