"""Tables drawn in a test, and what is observed of a company that a few arrays describe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from costwhy.model.observed import Edge, Observed
from costwhy.tables import METER

FIRST = datetime(2026, 9, 7, tzinfo=UTC)  # a Monday
Array = np.ndarray


def rows(drawn: str) -> list[list[str | None]]:
    """The words between the bars of each line after the first, the head; an empty one is None."""
    lines = [line.split("|") for line in drawn.strip("\n").splitlines() if line.strip()]
    return [[word.strip() or None for word in line] for line in lines[1:]]


@dataclass
class Meter:
    """One meter: usage and cost by the hour, or one number for all hours."""

    service: str | None
    usage_type: str | None
    usage: Array | float
    cost: Array | float
    unit: str = "Requests"
    covered: Array | float = 0.0
    covered_cost: Array | float = 0.0
    category: str = "Usage"
    columns: Mapping[str, str | None] = field(default_factory=dict)

    def row(self) -> dict[str, str | None]:
        """Its values of the columns of METER."""
        named = {
            "service": self.service,
            "x_UsageType": self.usage_type,
            "ConsumedUnit": self.unit,
            "ChargeCategory": self.category,
            "ServiceName": "AWS Lambda",
            "SubAccountId": "1",
            "RegionId": "eu-west-1",
        }
        return {name: (named | dict(self.columns)).get(name) for name in METER}


def observed(
    hours: int,
    calls: Mapping[tuple[str, str | None], Array | float],
    meters: Sequence[Meter] = (),
    *,
    retries: Mapping[tuple[str, str | None], Array | float] | None = None,
    capacity: Mapping[str, Array] | None = None,
    billed: int | None = None,
) -> Observed:
    """What is observed: calls by (service, caller), meters, the hours of both."""
    edges = sorted(calls, key=lambda edge: (edge[0], edge[1] or ""))
    services = {service for service, _ in edges}
    services |= {caller for _, caller in edges if caller and not caller.startswith("schedule:")}
    known = hours if billed is None else billed

    def grid(values: Sequence[Array | float], until: int = hours) -> Array:
        out = np.zeros((len(values), hours))
        for row, value in zip(out, values, strict=True):
            row[:until] = np.broadcast_to(value, hours)[:until]
        return out

    return Observed(
        tuple(FIRST + timedelta(hours=k) for k in range(hours)),
        known,
        tuple(sorted(services)),
        tuple(Edge(*edge) for edge in edges),
        grid([calls[edge] for edge in edges]),
        grid([(retries or {}).get(edge, 0.0) for edge in edges]),
        dict(capacity or {}),
        pl.DataFrame([m.row() for m in meters], schema=dict.fromkeys(METER, pl.String)),
        grid([m.usage for m in meters], known),
        grid([m.cost for m in meters], known),
        grid([m.covered for m in meters], known),
        grid([m.covered_cost for m in meters], known),
    )


def day_and_night(hours: int, mean: float = 1000.0) -> Array:
    """Traffic with a day, and with a weekend."""
    hour = np.arange(hours)
    weekend = np.where(hour // 24 % 7 >= 5, 0.8, 1.0)
    return mean * (1 + 0.4 * np.sin(2 * np.pi * hour / 24)) * weekend


def step(hours: int, hour: int, before: float, after: float) -> Array:
    """One number before an hour, another from it on."""
    return np.where(np.arange(hours) < hour, before, after)
