"""TODO behaviours.py"""

from collections.abc import Sequence

FOLLOWS_NOTHING = frozenset({"unlinked_usage", "unmetered"})
OF_CALLS = frozenset({"demand", "schedule", "fan_out", "retries"})  # kinds whose row is an edge; the row of the others is a meter
FROM_OUTSIDE = frozenset({"demand", "schedule"})
LOOSE = frozenset({"demand", "unlinked_usage", "unmetered"})  # what has noise of its own that wanders
VERDICT_SHARE = 0.6  # of the positive change, by the contract
OF_USAGE = frozenset({"usage_per_call", "capacity", "cross_region", "unlinked_usage", "unmetered"})  # rates of a meter's own amount
INEFFICIENT = frozenset({"schedule", "fan_out", "retries", "usage_per_call", "capacity", "cross_region"})


def verdict(rows: Sequence[tuple[str, float]]) -> str:
    """The contract's word for what moved the money: 60 % of the positive change (of the negative, for a fall)."""
    sign = 1.0 if sum(d for _, d in rows) >= 0 else -1.0
    gains = [(kind, max(0.0, sign * d)) for kind, d in rows]
    whole = sum(d for _, d in gains) or 1.0
    share = {
        name: sum(d for kind, d in gains if kind in kinds) / whole
        for name, kinds in (
            ("growth", {"demand"}),
            ("price", {"unit_price"}),
            ("accounting", {"unmetered"}),
            ("inefficiency", INEFFICIENT),
        )
    }
    return next((name for name, value in share.items() if value >= VERDICT_SHARE), "mixed")


KIND_WORDS = {
    "demand": "more traffic",
    "schedule": "a timer that runs more often",
    "fan_out": "more calls for each call",
    "retries": "retries",
    "usage_per_call": "more usage for each call",
    "capacity": "capacity out of step with the calls",
    "cross_region": "bytes between regions",
    "unit_price": "a higher price",
    "unlinked_usage": "usage that no signal is linked to",
    "unmetered": "charges without usage",
}
VERDICT_WORDS = {
    "growth": "Traffic growth",
    "inefficiency": "Inefficiency",
    "price": "Price",
    "accounting": "Accounting",
    "mixed": "Other causes",
}
