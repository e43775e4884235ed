"""The ten behaviours that move a bill, one record each.

Whatever depends on the kind of a behaviour is derived from its record.

To add a kind: add its name and its record, then its arithmetic: the rate in `model/rates.py`, its
baseline in `model/baseline.py`, the bill with it set back in `model/baseline.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

DEMAND = "demand"
SCHEDULE = "schedule"
FAN_OUT = "fan_out"
RETRIES = "retries"
USAGE_PER_CALL = "usage_per_call"
CAPACITY = "capacity"
CROSS_REGION = "cross_region"
UNIT_PRICE = "unit_price"
UNLINKED_USAGE = "unlinked_usage"
UNMETERED = "unmetered"

Place = Literal["edge", "usage", "price"]
Verdict = Literal["growth", "inefficiency", "price", "accounting", "mixed"]
VERDICT_SHARE = 0.6  # of the positive change that makes a verdict
VERDICT_WORDS: dict[str, str] = {
    "growth": "Traffic growth",
    "inefficiency": "Inefficiency",
    "price": "Price",
    "accounting": "Accounting",
    "mixed": "Other causes",
}

CHANGE_KINDS = (
    *("deploy", "config", "flag", "rollback", "scaling", SCHEDULE, "create", "delete"),
    *("commitment", "keeping", "watching", "tag", "other"),
)


@dataclass(frozen=True)
class Behaviour:
    """One kind of behaviour.

    kind        its name in the JSON and the tables
    place       what its rate belongs to: an edge of the call graph, a meter's usage or price
    season      it follows the hours of the week, so it has more noise and must last longer to count
    verdict     the verdict that its dollars count for; "mixed": for none
    label       a few words for charts and lists
    title       first words of a spike's title; the service or usage type follows
    phrase      a noun phrase; fields: service, caller, callers, services (possessive), timer, usage
    colour      in charts, readable on light and dark
    mechanism   how well each of CHANGE_KINDS fits as its cause: 1 ordinary, towards 0 hardly ever
    linked      its usage is tied to a signal of calls, or it needs none
    entry       its calls come from outside the call graph: from users or from a timer
    amplified   the caller causes it, not the service that is called
    shared      several services move together: all that begin at the same time are one incident
    by_account  a change in the same account may cause it without touching a service
    """

    kind: str
    place: Place
    verdict: Verdict
    label: str
    title: str
    phrase: str
    colour: str
    mechanism: tuple[float, ...]
    season: bool = False
    linked: bool = True
    entry: bool = False
    amplified: bool = False
    shared: bool = False
    by_account: bool = False


BEHAVIOURS = (
    Behaviour(
        DEMAND,
        place="edge",
        verdict="growth",
        label="more traffic",
        title="traffic to",
        phrase="traffic from outside to {service}",
        colour="#4c8dd6",
        mechanism=(0.06, 0.02, 0.06, 0.02, 0.01, 0.01, 0.02, 0.01, 0.01, 0.01, 0.01, 0.01, 0.02),
        season=True,
        entry=True,
        shared=True,
    ),
    Behaviour(
        SCHEDULE,
        place="edge",
        verdict="inefficiency",
        label="a timer that runs more often",
        title="runs of",
        phrase="the timer {timer} of {service}",
        colour="#b57edc",
        mechanism=(0.35, 0.40, 0.20, 0.10, 0.02, 1.00, 0.30, 0.05, 0.01, 0.01, 0.02, 0.01, 0.10),
        entry=True,
    ),
    Behaviour(
        FAN_OUT,
        place="edge",
        verdict="inefficiency",
        label="more calls for each call",
        title="calls to",
        phrase="{callers} calls to {service}",
        colour="#e0a030",
        mechanism=(1.00, 0.70, 0.90, 0.30, 0.05, 0.10, 0.50, 0.05, 0.01, 0.01, 0.03, 0.01, 0.10),
        amplified=True,
    ),
    Behaviour(
        RETRIES,
        place="edge",
        verdict="inefficiency",
        label="retries",
        title="retries against",
        phrase="{callers} retries against {service}",
        colour="#e5734f",
        mechanism=(1.00, 1.00, 0.80, 0.30, 0.15, 0.02, 0.10, 0.05, 0.01, 0.01, 0.05, 0.01, 0.10),
        amplified=True,
    ),
    Behaviour(
        USAGE_PER_CALL,
        place="usage",
        verdict="inefficiency",
        label="more usage for each call",
        title="usage per call of",
        phrase="{services} {usage} for each call",
        colour="#d66a9b",
        mechanism=(1.00, 1.00, 0.70, 0.30, 0.10, 0.05, 0.30, 0.10, 0.01, 0.10, 0.05, 0.01, 0.15),
    ),
    Behaviour(
        CAPACITY,
        place="usage",
        verdict="inefficiency",
        label="capacity out of step with the calls",
        title="capacity of",
        phrase="{services} {usage}, out of step with its calls",
        colour="#3fa37a",
        mechanism=(0.30, 0.35, 0.10, 0.15, 1.00, 0.10, 0.60, 0.20, 0.02, 0.05, 0.03, 0.01, 0.10),
    ),
    Behaviour(
        CROSS_REGION,
        place="usage",
        verdict="inefficiency",
        label="bytes between regions",
        title="bytes between regions from",
        phrase="{services} {usage}, bytes between regions",
        colour="#2aa6b8",
        mechanism=(1.00, 0.70, 0.50, 0.20, 0.05, 0.10, 0.90, 0.10, 0.01, 0.10, 0.03, 0.01, 0.20),
    ),
    Behaviour(
        UNIT_PRICE,
        place="price",
        verdict="price",
        label="a higher price",
        title="price of",
        phrase="the price of {service} {usage}",
        colour="#9a8c62",
        mechanism=(0.02, 0.10, 0.01, 0.01, 0.05, 0.01, 0.05, 0.02, 1.00, 0.01, 0.01, 0.02, 0.02),
        shared=True,
        by_account=True,
    ),
    Behaviour(
        UNLINKED_USAGE,
        place="usage",
        verdict="mixed",
        label="usage that no signal is linked to",
        title="usage of",
        phrase="usage of {usage}",
        colour="#8b949e",
        mechanism=(0.30, 0.50, 0.10, 0.10, 0.40, 0.20, 0.80, 0.15, 0.02, 0.30, 0.03, 0.02, 0.15),
        season=True,
        linked=False,
        by_account=True,
    ),
    Behaviour(
        UNMETERED,
        place="usage",
        verdict="accounting",
        label="charges without usage",
        title="charges",
        phrase="charges without usage",
        colour="#6e7681",
        mechanism=(0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.01, 0.50, 0.01, 0.01, 0.01, 0.02),
        season=True,
        linked=False,
        shared=True,
        by_account=True,
    ),
)
BY_KIND = {b.kind: b for b in BEHAVIOURS}

ON_EDGES = frozenset(b.kind for b in BEHAVIOURS if b.place == "edge")
OF_USAGE = frozenset(b.kind for b in BEHAVIOURS if b.place == "usage")
LINKED_USAGE = frozenset(b.kind for b in BEHAVIOURS if b.place == "usage" and b.linked)
SEASONAL = frozenset(b.kind for b in BEHAVIOURS if b.season)
UNLINKED = frozenset(b.kind for b in BEHAVIOURS if not b.linked)
ENTRIES = frozenset(b.kind for b in BEHAVIOURS if b.entry)
AMPLIFIED = frozenset(b.kind for b in BEHAVIOURS if b.amplified)
SHARED = frozenset(b.kind for b in BEHAVIOURS if b.shared)
BY_ACCOUNT = frozenset(b.kind for b in BEHAVIOURS if b.by_account)


def verdict(rows: Sequence[tuple[str, float]]) -> str:
    """The verdict on a spike: the one that VERDICT_SHARE of its change counts for, else "mixed".

    rows: kind and dollars of each behaviour. Of a rise the positive dollars count, of a fall
    the negative.
    """
    sign = 1.0 if sum(dollars for _, dollars in rows) >= 0 else -1.0
    shares: dict[str, float] = {}
    for kind, dollars in rows:
        name = BY_KIND[kind].verdict
        shares[name] = shares.get(name, 0.0) + max(0.0, sign * dollars)
    whole = sum(shares.values()) or 1.0
    return next((v for v in VERDICT_WORDS if shares.get(v, 0.0) / whole >= VERDICT_SHARE), "mixed")
