"""What happens to the company: demand by the hour, incidents, and the bill with and without each of them.

The noise is drawn once, before anything happens: the same hour has the same noise whether an incident is there or not, so the
difference of two runs is the incident's dollars, exactly.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from company import Company, Edge, Meter, Service

Array = npt.NDArray[np.float64]
SORTS = (
    "retry_loop",
    "autoscaler",
    "cron_frequency",
    "cross_region",
    "fan_out",
    "commitment_lapse",
    "traffic_growth",
    "planned_launch",
    "tag_loss",
    "unowned",
)
NEW_SERVICE = "insights"


@dataclass(frozen=True)
class Incident:
    """One thing that goes wrong, or is meant to be. Hours [start, end) of the axis; `minute`: of the first hour in which it begins; end None: goes on."""

    sort: str
    start: int
    end: int | None
    minute: int
    size: float
    service: str
    caller: str | None = None


@dataclass(frozen=True)
class Noise:
    """All that chance decides, drawn once."""

    demand: dict[str, Array]
    edges: dict[tuple[str, str], Array]
    meters: Array
    season: Array
    holidays: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """A company by the hour. usage, cost, covered: meters x hours; calls, retries: by (caller, service); instances, handled: by service."""

    meters: tuple[Meter, ...]
    usage: Array
    cost: Array
    covered: Array
    calls: dict[tuple[str | None, str], Array]
    retries: dict[tuple[str | None, str], Array]
    handled: dict[str, Array]
    instances: dict[str, Array]


def draw_noise(company: Company, hours: int, first_weekday: int, first_hour: int, seed: int) -> Noise:
    """Seasons, bursts, holidays and small noise of everything."""
    rng = np.random.default_rng([seed, 2])
    clock = np.arange(hours) + first_hour
    hour, weekday = clock % 24, (first_weekday + clock // 24) % 7
    season = (1 + 0.42 * np.sin((hour - 9) / 24 * 2 * np.pi) + 0.1 * np.sin((hour - 3) / 12 * 2 * np.pi)) * np.where(
        weekday >= 5, 0.86, 1.0
    )
    holidays = tuple(int(h) for h in rng.choice(np.arange(5, hours // 24 - 3), 1))
    demand = {}
    for entry, mean in company.demand:
        wander = np.zeros(hours)
        steps = rng.normal(0, 0.006, hours)
        for t in range(1, hours):
            wander[t] = 0.985 * wander[t - 1] + steps[t]
        level = mean * season * np.exp(wander + rng.normal(0, 0.018, hours)) * (1 + 0.00004 * np.arange(hours))
        for day in holidays:
            level[(clock // 24) == day] *= 0.72
        burst = int(rng.integers(100, hours - 100))
        level[burst : burst + int(rng.integers(2, 6))] *= 1.35
        demand[entry] = level
    edges = {(e.caller, e.service): np.exp(rng.normal(0, 0.014, hours)) for e in company.edges}
    edges |= {(NEW_SERVICE, s.name): np.exp(rng.normal(0, 0.014, hours)) for s in company.services}
    return Noise(demand, edges, np.exp(rng.normal(0, 0.017, (len(company.meters) + 8, hours))), season, holidays)


def schedule_of(company: Company, hours: int, seed: int, sorts: tuple[str, ...]) -> tuple[Incident, ...]:
    """Where and when: spread over the weeks, each on services of its own as far as there are enough."""
    rng = np.random.default_rng([seed, 3])
    plain = [s for s in company.services if s.schedule is None]
    jobs = [s for s in company.services if s.schedule is not None]
    inner = [e for e in company.edges if e.caller in {s.name for s in plain}]
    big = sorted(inner, key=lambda e: -_edge_weight(company, e))
    scaled = sorted(
        (s for s in plain if s.runtime != "lambda"),
        key=lambda s: -sum(m.price * m.amount for m in company.meters if m.service == s.name and m.follows == "instances"),
    )
    entries = [name for name, _ in company.demand]
    plan = {  # day of the start and of the end; None: goes on
        "retry_loop": (12.4, 15.2),
        "tag_loss": (17.6, None),
        "autoscaler": (20.45, 24.1),
        "cron_frequency": (27.4, 30.6),
        "planned_launch": (33.3, 40.0),
        "commitment_lapse": (39.0, None),
        "unowned": (42.6, None),
        "traffic_growth": (46.1, None),
        "cross_region": (50.6, None),
        "fan_out": (53.4, None),
    }
    place = {
        "retry_loop": (big[0].service, big[0].caller, 2.6),
        "fan_out": (big[1].service, big[1].caller, 2.4),
        "autoscaler": (scaled[0].name, None, 2.6),
        "cron_frequency": (jobs[-1].name, jobs[-1].schedule, 6.0),
        "cross_region": (plain[-1].name, jobs[-1].name, 1.0),
        "commitment_lapse": (scaled[1].name, None, 1.0),
        "traffic_growth": (entries[1], None, 1.24),
        "planned_launch": (entries[0], None, 1.27),
        "tag_loss": (plain[4].name, None, 1.0),
        "unowned": ("", None, 8.0),
    }
    if len(sorts) == 1:  # alone in its company: near the end, still going on, as a pager would meet it
        day = float(rng.uniform(0.86, 0.94)) * hours / 24
        plan = {sorts[0]: (day, None)}
    out = []
    for sort in (s for s in SORTS if s in sorts):
        (first, last), (service, caller, size) = plan[sort], place[sort]
        out.append(
            Incident(
                sort,
                int(first * 24),
                None if last is None else int(last * 24),
                int(rng.integers(4, 50)),
                size * float(rng.uniform(0.95, 1.05)),
                service,
                caller,
            )
        )
    return tuple(out)


def _edge_weight(company: Company, e: Edge) -> float:
    calls = dict(company.demand)
    for edge in company.edges:
        calls[edge.service] = calls.get(edge.service, 0.0) + calls.get(edge.caller, 0.0) * edge.first
    own = sum(m.price * m.amount for m in company.meters if m.service == e.service and m.follows == "calls")
    return calls.get(e.caller, 0.0) * e.first * own


def with_incident_meters(company: Company, incidents: tuple[Incident, ...]) -> Company:
    """The company with the meters, the service and the edges that incidents bring into being."""
    new: list[Meter] = []
    services, edges = list(company.services), list(company.edges)
    for incident in incidents:
        if incident.sort == "cross_region":
            far = next(s for s in company.services if s.name == incident.service)
            home = ("us-east-1", "USE1") if far.region != "us-east-1" else ("eu-west-1", "EU")
            services.append(Service(NEW_SERVICE, "data-products", company.accounts[1][0], home[0], "lambda", "none", 1, 1.0))
            fn = f"arn:aws:lambda:{home[0]}:{company.accounts[1][0]}:function:{NEW_SERVICE}-handler"
            short = {"eu-west-1": "EU", "us-east-1": "USE1", "eu-central-1": "EUC1"}[far.region]
            new += [
                Meter(
                    NEW_SERVICE,
                    "data-products",
                    "AWS Lambda",
                    "AWSLambda",
                    "Compute",
                    f"{home[1]}-Lambda-GB-Second",
                    "Invoke",
                    "Lambda-GB-Second",
                    1.66667e-5,
                    "calls",
                    0.2,
                    company.accounts[1][0],
                    home[0],
                    fn,
                    only="cross_region",
                ),
                Meter(
                    far.name,
                    far.team,
                    "AWS Data Transfer",
                    "AWSDataTransfer",
                    "Networking",
                    f"{short}-{home[1]}-AWS-Out-Bytes",
                    "InterRegion-Out",
                    "GB",
                    0.02,
                    "far",
                    4.6e-3,
                    far.account,
                    far.region,
                    f"arn:aws:s3:::marigold-{far.name}-store",
                    only="cross_region",
                ),
            ]
            edges += [Edge(incident.caller or "", NEW_SERVICE, 9.0e3, 0.004), Edge(NEW_SERVICE, far.name, 5.0, 0.006)]
        if incident.sort == "unowned":
            new.append(
                Meter(
                    None,
                    None,
                    "Amazon Elastic Compute Cloud",
                    "AmazonEC2",
                    "Compute",
                    "EU-BoxUsage:p3.2xlarge",
                    "RunInstances",
                    "Hrs",
                    3.305,
                    "alone",
                    1.0,
                    company.accounts[3][0],
                    "eu-west-1",
                    "i-0f9c3be1177aa42d0",
                    only="unowned",
                )
            )
        if incident.sort == "commitment_lapse":
            company = replace(
                company,
                meters=tuple(_commit(m) if m.service == incident.service and m.follows == "instances" else m for m in company.meters),
            )
    return replace(company, services=tuple(services), edges=tuple(edges), meters=company.meters + tuple(new))


def _commit(m: Meter) -> Meter:
    return replace(m, covered=8.0 * m.amount, covered_price=0.45 * m.price)


def run(company: Company, incidents: tuple[Incident, ...], noise: Noise) -> Run:
    """The company by the hour with these incidents."""
    hours = noise.season.size
    active = {i.sort: (i, _when(i, hours)) for i in incidents}
    calls, retries, handled = _traffic(company, active, noise)
    instances = {s.name: _instances(s, handled[s.name], active) for s in company.services if s.runtime != "lambda" and s.schedule is None}
    usage = np.array([_usage(m, k, (calls, handled, instances), active, noise) for k, m in enumerate(company.meters)])
    usage = np.round(usage, 6)
    covered = np.array(
        [
            np.minimum(u, m.covered * (1 - active["commitment_lapse"][1]) if "commitment_lapse" in active else m.covered)
            for u, m in zip(usage, company.meters, strict=True)
        ]
    )
    price = np.array([m.price for m in company.meters])[:, None]
    cost = (usage - covered) * price + covered * np.array([m.covered_price for m in company.meters])[:, None]
    return Run(company.meters, usage, cost, covered, calls, retries, handled, instances)


def _when(i: Incident, hours: int) -> Array:
    """Share of each hour in which it is on; the first hour in part."""
    on = np.zeros(hours)
    on[i.start : i.end] = 1.0
    on[i.start] = 1 - i.minute / 60
    return on


def _traffic(
    company: Company, active: dict[str, tuple[Incident, Array]], noise: Noise
) -> tuple[dict[tuple[str | None, str], Array], dict[tuple[str | None, str], Array], dict[str, Array]]:
    hours = noise.season.size
    handled = {s.name: np.zeros(hours) for s in company.services}
    calls: dict[tuple[str | None, str], Array] = {}
    retries: dict[tuple[str | None, str], Array] = {}
    for entry, _ in company.demand:
        level = noise.demand[entry].copy()
        for sort in ("traffic_growth", "planned_launch"):
            if sort in active and active[sort][0].service == entry:
                level *= 1 + (active[sort][0].size - 1) * np.convolve(active[sort][1], np.ones(4) / 4)[:hours]
        calls[None, entry] = np.round(level)
        handled[entry] += calls[None, entry]
    for s in (s for s in company.services if s.schedule is not None):
        calls[s.schedule, s.name] = _ticks(s, active, hours)
        handled[s.name] += calls[s.schedule, s.name]
    for e in _ordered(company):
        first, repeated = _rates(e, active)
        if NEW_SERVICE in {e.caller, e.service}:
            if "cross_region" not in active:
                continue
            first = first * active["cross_region"][1]
        firsts = handled[e.caller] * first * noise.edges.get((e.caller, e.service), 1.0)
        made = np.round(firsts * (1 + repeated))
        calls[e.caller, e.service], retries[e.caller, e.service] = made, np.round(made - made / (1 + repeated))
        handled[e.service] = handled[e.service] + made
    return calls, retries, handled


def _ticks(s: Service, active: dict[str, tuple[Incident, Array]], hours: int) -> Array:
    """Runs of a timer: every hour, or at two in the night (the axis begins at six)."""
    runs = np.ones(hours) if s.schedule and s.schedule.endswith("hourly") else ((np.arange(hours) + 6) % 24 == 2).astype(float)
    if "cron_frequency" in active and active["cron_frequency"][0].service == s.name:
        incident, on = active["cron_frequency"]
        runs = runs + np.floor(runs * (round(incident.size) - 1) * on)
    return runs


def _ordered(company: Company) -> list[Edge]:
    """Callers before the services that they call: services are listed in that order, jobs are called by timers alone."""
    order = {s.name: k for k, s in enumerate(company.services)}
    return sorted(company.edges, key=lambda e: (e.service != NEW_SERVICE, order[e.service]))


def _rates(e: Edge, active: dict[str, tuple[Incident, Array]]) -> tuple[Array | float, Array | float]:
    first: Array | float = e.first
    repeated: Array | float = e.retried
    if "fan_out" in active and (active["fan_out"][0].caller, active["fan_out"][0].service) == (e.caller, e.service):
        first = e.first * (1 + (active["fan_out"][0].size - 1) * active["fan_out"][1])
    if "retry_loop" in active and (active["retry_loop"][0].caller, active["retry_loop"][0].service) == (e.caller, e.service):
        repeated = e.retried + active["retry_loop"][0].size * active["retry_loop"][1]
    return first, repeated


def _instances(s: Service, handled: Array, active: dict[str, tuple[Incident, Array]]) -> Array:
    """max(floor, calls / what one takes), the higher of the last two hours; a wrong floor lifts it."""
    each = max(1.0, float(np.mean(handled[:240])) * s.load)
    wanted = np.maximum(s.floor, np.ceil(handled / each))
    kept = np.maximum(wanted, np.concatenate([wanted[:1], wanted[:-1]]))
    if "autoscaler" in active and active["autoscaler"][0].service == s.name:
        incident, on = active["autoscaler"]
        floor = np.ceil(incident.size * float(np.mean(kept[:240])))
        kept = np.maximum(kept, np.where(on > 0, np.where(on < 1, np.ceil(floor * on), floor), 0))
    return kept


def _usage(
    m: Meter,
    k: int,
    state: tuple[dict[tuple[str | None, str], Array], dict[str, Array], dict[str, Array]],
    active: dict[str, tuple[Incident, Array]],
    noise: Noise,
) -> Array:
    calls, handled, instances = state
    hours, small = noise.season.size, noise.meters[k % noise.meters.shape[0]]
    zero = np.zeros(hours)
    if m.only is not None and m.only not in active:
        return zero
    if m.follows == "calls" and m.service is not None:
        return np.asarray(handled[m.service] * m.amount * small)
    if m.follows == "far" and m.service is not None:
        return np.asarray(calls.get((NEW_SERVICE, m.service), zero) * m.amount * small)
    if m.follows == "instances" and m.service is not None:
        return np.asarray(instances[m.service] * m.amount)
    if m.follows == "job":
        return np.full(hours, 2.0 * m.amount)
    if m.follows == "season":
        return np.asarray(noise.season * m.amount * small)
    if m.follows == "office":
        return np.where((noise.season > 1.0), m.amount, 0.0)
    if m.follows == "alone":
        return np.asarray(active["unowned"][1] * m.amount)
    return np.asarray(m.amount * (1 + 0.0001 * np.arange(hours) / 24) * np.ones(hours))
