"""TODO show/chart_data.py"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import polars as pl

from costwhy.case.case import Case
from costwhy.case.story import behaviour_words
from costwhy.show.charts import CHANGE_COLOURS
from costwhy.text import money

MOST_LANES = 8


def axis_of(case: Case) -> tuple[datetime, datetime]:
    """The one time axis of all charts of the case."""
    first, last = case.timeline["hour"].min(), case.timeline["hour"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last + timedelta(hours=1)


def moved(case: Case) -> pl.DataFrame:
    """behaviour, kind, dollars, label: billed and estimated together, remainder left to the table."""
    rows = [(behaviour_words(r), r["kind"], r["cost_change"] + (r["nowcast_change"] or 0.0)) for r in case.behaviour.iter_rows(named=True)]
    frame = pl.DataFrame(rows, schema={"behaviour": pl.String, "kind": pl.String, "dollars": pl.Float64}, orient="row")
    return frame.with_columns(label=pl.Series([f"{name}: {money(dollars, case.currency)}" for name, _, dollars in rows], dtype=pl.String))


def ledger(case: Case) -> pl.DataFrame:
    """The hourly ledger with behaviours in words and the end of each hour."""
    words = pl.Series([behaviour_words(r) for r in case.ledger.iter_rows(named=True)], dtype=pl.String)
    return case.ledger.with_columns(behaviour=words, until=pl.col("hour") + pl.duration(hours=1))


def edges(case: Case) -> Iterable[tuple[str, pl.DataFrame]]:
    """The calls of each edge of the spike, with its name."""
    for (caller, service), rows in case.calls.partition_by("caller", "service", as_dict=True, maintain_order=True).items():
        yield f"{str(caller).removeprefix('schedule:')} → {service}", rows


def changes(case: Case) -> pl.DataFrame:
    """Changes of the window on the services with most of them, and on those of the triggers; automated ones left out."""
    near = case.changes.filter(~pl.col("automated").fill_null(value=False)).with_columns(
        hour=pl.col("time"),
        kind=pl.when(pl.col("kind").is_in(list(CHANGE_COLOURS))).then("kind").otherwise(pl.lit("other")),
    )
    named = case.triggers.select("change_id", found=pl.col("service"))
    near = near.join(named, on="change_id", how="left").with_columns(service=pl.coalesce("found", "service").fill_null("others"))
    first = case.triggers["service"].drop_nulls().unique(maintain_order=True).to_list()
    most = near.group_by("service").agg(pl.len()).sort("len", "service", descending=[True, False])["service"].to_list()
    lanes = list(dict.fromkeys([*first, *most]))[:MOST_LANES]
    return near.filter(pl.col("service").is_in(lanes)).select("hour", "change_id", "service", "kind", "summary", "actor")


def change_options(case: Case) -> dict[str, str]:
    """Words of each ranked change, and its id."""
    return {f"{r['probability']:.0%}  {r['summary'] or r['change_id']}"[:110]: r["change_id"] for r in case.triggers.iter_rows(named=True)}


ROLES = {"owner": "run by", "owner_then": "ran it then", "decided_by": "changed by", "budget_owner": "paid by"}


def lanes(case: Case) -> pl.DataFrame:
    """Who was involved, and when: a lane for each role."""
    begin, now = axis_of(case)
    start, end = case.spike["start"], case.spike["end"] or now
    rows = []
    for r in case.owners.iter_rows(named=True):
        who = " · ".join(str(x) for x in (r["actor"], r["team"], r["contact"]) if x)
        since = start if r["role"] == "decided_by" else begin
        until = end if r["role"] == "decided_by" else now
        span = (max(begin, r["since"]) if r.get("since") else since, min(now, r["until"]) if r.get("until") else until)
        rows.append((*span, ROLES.get(r["role"], r["role"]), who))
    return pl.DataFrame(
        rows,
        schema={
            "hour": pl.Datetime("us", "UTC"),
            "until": pl.Datetime("us", "UTC"),
            "lane": pl.String,
            "who": pl.String,
        },
        orient="row",
    )
