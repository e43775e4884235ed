"""Changes and onsets that fit on a page: what a test does not name is the same for all."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from costwhy import tables
from costwhy.causes.changes import KnownChanges, MovedRate, Onset, find_known_changes

ONSET = datetime(2026, 10, 14, 3, tzinfo=UTC)
SERVICES = frozenset({"checkout", "inventory", "search", "jobs"})


def change(name: str = "c", hours_before: float = 0.0, **columns: Any) -> dict[str, Any]:
    """A deployment of checkout by dana in production, `hours_before` the onset."""
    return {
        "delivery": "test",
        "change_id": name,
        "time": ONSET - timedelta(hours=hours_before),
        "source": "cdevents",
        "kind": "deploy",
        "event": "dev.cdevents.service.deployed.0.2.0",
        "service": "checkout",
        "environment": "production",
        "account": "1",
        "actor": "dana@acme.example",
        "actor_kind": "person",
        "summary": name,
        **columns,
    }


def known(*changes: dict[str, Any], services: frozenset[str] = SERVICES) -> KnownChanges:
    """These changes and no others."""
    return find_known_changes(tables.CHANGES.of(changes), services)


def rate(kind: str = "retries", service: str | None = "inventory", **more: Any) -> MovedRate:
    """checkout's retries against inventory, which are the whole spike."""
    caller = more.pop("caller", "checkout" if kind in {"retries", "fan_out"} else None)
    return MovedRate(kind, service, caller, more.pop("usage_type", None), more.pop("share", 1.0))


def onset(*rates: MovedRate, **more: Any) -> Onset:
    """It began within the hour of ONSET and goes on; search calls checkout calls inventory."""
    drawn = {
        "since": ONSET,
        "start": ONSET,
        "blur": timedelta(hours=1),
        "end": None,
        "callers_of": {"inventory": frozenset({"checkout"}), "checkout": frozenset({"search"})},
        "newborn": frozenset(),
        "accounts": frozenset({"1"}),
    }
    return Onset(rates or (rate(),), **(drawn | more))


def table(name: str, *rows: dict[str, Any]) -> pl.DataFrame:
    """These rows of a table of `tables.py`; what they do not name is null."""
    return next(t for t in vars(tables).values() if getattr(t, "name", "") == name).of(rows)
