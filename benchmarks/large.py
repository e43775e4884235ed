"""A company too large to be drawn service by service: 2,000 services, 20,000 edges, 6,000 meters; from one seed, in memory.

Services call those of higher number; some are called back by a near one, which makes circles. Traffic has a day and a week.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from scipy import sparse
from scipy.sparse.linalg import splu

from costwhy.arrays import Array
from costwhy.model.observed import Edge, Observed
from costwhy.tables import METER

FIRST = datetime(2026, 9, 1, tzinfo=UTC)
ENTRIES = 40
CALLS_BACK = 0.02  # one edge in fifty is answered by one that calls back
FAINT = 0.2  # and carries so much of the calls that another edge would
KINDS = (
    ("Requests", "Requests", "use"),
    ("GB-Second", "Lambda-GB-Second", "use"),
    ("BoxUsage:m6i.large", "Hrs", "time"),
)


@dataclass(frozen=True)
class Size:
    """How large."""

    services: int = 2000
    edges: int = 20_000
    hours: int = 60 * 24
    seed: int = 1
    circle: int = 20  # services that call back are so near in the order


def observed(size: Size) -> Observed:
    """Everything that is seen of the company; three meters a service, the last half day not billed yet."""
    rng = np.random.default_rng(size.seed)
    names = tuple(f"service-{k:04d}" for k in range(size.services))
    pairs = _pairs(size, rng)
    outside = _outside(size, rng)
    edges = [Edge(names[k], None) for k in range(ENTRIES)] + [
        Edge(names[b], names[a]) for a, b in pairs
    ]
    ratios = rng.uniform(0.05, 0.15, len(pairs)) * np.where(pairs[:, 0] > pairs[:, 1], FAINT, 1.0)
    handled = _handled(size, pairs, ratios, outside)
    calls = np.vstack([outside, handled[pairs[:, 0]] * ratios[:, None]])
    total = np.zeros_like(handled)
    np.add.at(total, np.concatenate([np.arange(ENTRIES), pairs[:, 1]]), calls)
    meters, usage, cost = _bill(names, total, rng)
    hours, billed = tuple(FIRST + timedelta(hours=k) for k in range(size.hours)), size.hours - 12
    usage[:, billed:], cost[:, billed:] = 0.0, 0.0
    nothing = np.zeros_like(usage)
    return Observed(
        hours,
        billed,
        names,
        tuple(edges),
        calls,
        np.zeros_like(calls),
        {},
        meters,
        usage,
        cost,
        nothing,
        nothing,
    )


def _pairs(size: Size, rng: np.random.Generator) -> np.ndarray:
    """Caller and called (edges x 2), each pair once; the services behind the entries are called by at least one."""
    chosen: set[tuple[int, int]] = {
        (int(rng.integers(0, k)), k) for k in range(ENTRIES, size.services)
    }
    while len(chosen) < size.edges - ENTRIES:
        a, b = sorted(int(x) for x in rng.choice(size.services, 2, replace=False))
        chosen.add((a, b))
        if (
            b - a <= size.circle
            and a >= ENTRIES
            and rng.random() < CALLS_BACK * size.services / size.circle / 2
        ):
            chosen.add((b, a))
    return np.array(sorted(chosen))


def _outside(size: Size, rng: np.random.Generator) -> Array:
    hours = np.arange(size.hours)
    day = 1 + 0.4 * np.sin(2 * np.pi * hours / 24) - 0.2 * (hours // 24 % 7 >= 5)
    return (
        rng.lognormal(11, 0.5, (ENTRIES, 1)) * day * rng.lognormal(0, 0.02, (ENTRIES, size.hours))
    )


def _handled(size: Size, pairs: np.ndarray, ratios: Array, outside: Array) -> Array:
    """Calls handled: (I - A) N = d."""
    direct = np.zeros((size.services, size.hours))
    direct[:ENTRIES] = outside
    calls = sparse.csc_matrix(
        (ratios, (pairs[:, 1], pairs[:, 0])), shape=(size.services, size.services)
    )
    return np.asarray(splu(sparse.identity(size.services, format="csc") - calls).solve(direct))


def _bill(
    names: tuple[str, ...], handled: Array, rng: np.random.Generator
) -> tuple[pl.DataFrame, Array, Array]:
    shape = (len(names), handled.shape[1])
    rows, usage, prices = [], [], []
    for usage_type, unit, kind in KINDS:
        per = rng.lognormal(0, 0.5, (len(names), 1))
        noise = rng.lognormal(0, 0.005, shape)
        if kind == "time":
            each = np.maximum(
                handled.mean(axis=1, keepdims=True) / rng.integers(3, 30, (len(names), 1)), 1e-9
            )
            usage.append(np.maximum(2.0, np.ceil(handled / each)))
        else:
            usage.append(per * handled * noise)
        prices.append(
            rng.lognormal(-8, 1, (len(names), 1))
            if kind == "use"
            else np.full((len(names), 1), 0.096)
        )
        common = {
            "SubAccountId": "1",
            "RegionId": "eu-west-1",
            "ServiceName": usage_type,
            "ChargeCategory": "Usage",
        }
        rows += [
            {**common, "x_UsageType": usage_type, "ConsumedUnit": unit, "service": name}
            for name in names
        ]
    frame = pl.DataFrame(
        [{column: row.get(column) for column in METER} for row in rows],
        schema=dict.fromkeys(METER, pl.String),
    )
    whole = np.vstack(usage)
    return frame, whole, whole * np.vstack(prices)
