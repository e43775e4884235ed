"""What happens to the company: demand by the hour, incidents, and the bill with and without each of them.

The noise is drawn once, before anything happens: the same hour has the same noise whether an incident is there or not, so the
difference of two runs is the incident's dollars, exactly.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from company import REGIONS, Company, Edge, Meter, Service, mean_calls, meter, ordered, price_of

Array = npt.NDArray[np.float64]
Active = dict[str, tuple["Incident", Array]]
SORTS = (
    *("retry_loop", "autoscaler", "cron_frequency", "cross_region", "fan_out"),
    *("commitment_lapse", "traffic_growth", "planned_launch", "tag_loss", "unowned"),
)
MORE = (  # what the sample company is spared, for companies with one or two incidents
    *(
        "memory",
        "log_level",
        "payload",
        "scan",
        "nodes",
        "target",
        "storage_ramp",
        "price_rise",
        "credit_end",
    ),
)
GROWN = {  # lines of which a service uses more for each call that it handles
    "memory": ("lambda-seconds",),
    "log_level": ("log-bytes",),
    "payload": ("out-bytes", "zone-bytes"),
    "scan": ("table-reads", "db-io", "bucket-gets"),
}
STORED = ("bucket-storage", "table-storage")
LATE = frozenset(
    {"retry_loop", "fan_out", "autoscaler", "target"}
)  # what signals tell before the bill
PLAN = {  # of 56 days: day of the start and of the end; None: goes on
    "retry_loop": (12, 15),
    "tag_loss": (17, None),
    "autoscaler": (20, 24),
    "cron_frequency": (27, 30),
    "planned_launch": (33, 39),
    "commitment_lapse": (40, None),
    "unowned": (43, None),
    "traffic_growth": (46, None),
    "cross_region": (50, None),
    "fan_out": (53, None),
}
DOLLARS = {  # a day
    "retry_loop": (210, 330),
    "autoscaler": (90, 150),
    "cron_frequency": (200, 420),
    "cross_region": (80, 160),
    "fan_out": (230, 360),
    "traffic_growth": (90, 150),
    "planned_launch": (110, 170),
    **dict.fromkeys(MORE, (80, 260)),
}
FEW = 9.0e3  # calls that a run of the job makes to the newcomer
RAMP = {"traffic_growth": 24, "planned_launch": 4}  # hours until the new level is reached
MACHINES = ("p3.2xlarge", "g5.8xlarge", "r6i.8xlarge")


@dataclass(frozen=True)
class Incident:
    """One thing that goes wrong, or is meant to be. Hours [start, end) of the axis; `minute`: of the first hour in which it begins; end None: goes on.

    size: attempts repeated for each first one (retry_loop), instances (autoscaler), runs for one (cron_frequency), GB a call (cross_region),
    machines (unowned), times as many (fan_out, traffic_growth, planned_launch, memory, log_level, payload, scan, target, price_rise),
    nodes (nodes), dollars a day more each day (storage_ramp), dollars an hour (credit_end).
    """

    sort: str
    start: int
    end: int | None
    minute: int
    size: float
    service: str
    caller: str | None = None
    also: tuple[str, ...] = ()  # further services that it touches
    person: str | None = None
    dollars: float = 0.0  # a day, about
    line: str | None = None  # of the price list, where it is one line that moves
    foreseen: float = 1.0  # of its dollars, what its plan expects
    lag: int = 6  # minutes from the decision to what it does


@dataclass(frozen=True)
class Burst:
    """A few hours of more traffic, or a holiday of less, that nobody is to blame for."""

    service: str
    start: int
    end: int
    times: float


@dataclass(frozen=True)
class Noise:
    """All that chance decides, drawn once."""

    demand: dict[str, Array]
    edges: dict[tuple[str, str], Array]
    meters: Array
    season: Array
    clock: Array  # hour of the day
    weekend: npt.NDArray[np.bool_]
    bursts: tuple[Burst, ...]


@dataclass(frozen=True)
class Run:
    """A company by the hour. usage, price (on demand), cost, covered: meters x hours; calls, retries: by (caller, service); instances, handled: by service."""

    meters: tuple[Meter, ...]
    usage: Array
    price: Array
    cost: Array
    covered: Array
    calls: dict[tuple[str | None, str], Array]
    retries: dict[tuple[str | None, str], Array]
    handled: dict[str, Array]
    instances: dict[str, Array]


# ---------------------------------------------------------------- chance


def draw_noise(
    company: Company, hours: int, axis: tuple[int, int], rng: np.random.Generator
) -> Noise:
    """Seasons, bursts, a holiday and small noise of everything. axis: weekday and hour at which it begins."""
    clock = np.arange(hours) + axis[1]
    hour, weekend = clock % 24, (axis[0] + clock // 24) % 7 >= 5
    swing, second, quiet = rng.uniform(0.34, 0.45), rng.uniform(0.06, 0.12), rng.uniform(0.82, 0.95)
    season = (
        1
        + swing * np.sin((hour - 9) / 24 * 2 * np.pi)
        + second * np.sin((hour - 3) / 12 * 2 * np.pi)
    )
    season = season * np.where(weekend, quiet, 1.0)
    bursts = _bursts(company, hours, axis[1], rng)
    growth = rng.uniform(0.00001, 0.00004)
    demand = {}
    for entry, mean in company.demand:
        steps, wander = rng.normal(0, 0.005, hours), np.zeros(hours)
        for t in range(1, hours):
            wander[t] = 0.985 * wander[t - 1] + steps[t]
        level = (
            mean
            * season
            * np.exp(wander + rng.normal(0, 0.016, hours))
            * (1 + growth * np.arange(hours))
        )
        for b in (b for b in bursts if b.service == entry):
            level[b.start : b.end] *= b.times
        demand[entry] = level
    edges = {(e.caller, e.service): np.exp(rng.normal(0, 0.012, hours)) for e in company.edges}
    return Noise(
        demand,
        edges,
        np.exp(rng.normal(0, 0.014, (len(company.meters), hours))),
        season,
        hour.astype(float),
        weekend,
        bursts,
    )


def _bursts(
    company: Company, hours: int, first_hour: int, rng: np.random.Generator
) -> tuple[Burst, ...]:
    """One for each entry, and one quiet holiday for all."""
    out = []
    for entry, _ in company.demand:
        start = int(rng.integers(min(100, hours // 3), hours - 40))
        out.append(
            Burst(
                entry,
                start,
                start + int(rng.integers(2, 6)),
                float(np.round(rng.uniform(1.2, 1.4), 2)),
            )
        )
    day = int(rng.integers(5, max(6, hours // 24 - 6))) * 24 - first_hour
    return (*out, *(Burst(entry, day, day + 24, 0.75) for entry, _ in company.demand))


# ---------------------------------------------------------------- where, when, how much


def schedule_of(
    company: Company,
    hours: int,
    axis: tuple[int, int],
    rng: np.random.Generator,
    sorts: tuple[str, ...],
) -> tuple[Incident, ...]:
    """Where, when and how much. All sorts together are spread over the weeks, each on services of its own as far as there are enough.

    axis: the hour at which it begins, and how many services of a team lose their tags.
    """
    first_hour, lose = axis
    taken = (
        {str(m.service) for m in company.meters if m.covered}
        if "commitment_lapse" in sorts
        else set[str]()
    )
    out: list[Incident] = []
    for sort in (s for s in (*SORTS, *MORE) if s in sorts):
        place = _place(company, sort, rng, taken)
        if place is None:
            continue  # a company without functions has no function to give more memory
        service, caller = place
        alone = len(sorts) < len(SORTS) // 2
        line = _line(company, sort, service, rng)
        start, end = _time(sort, hours, first_hour, rng, alone=alone)
        dollars = float(rng.uniform(*DOLLARS.get(sort, (0, 1))))
        also: tuple[str, ...] = ()
        if sort == "tag_loss":
            also = _untagged(company, service, taken)[: lose - 1]
        if sort == "commitment_lapse":
            also = tuple(sorted({str(m.service) for m in company.meters if m.covered} - {service}))
        team = company.service(
            caller if caller and not caller.startswith("schedule:") else service
        ).team
        nobody = {"traffic_growth", "commitment_lapse", "price_rise", "credit_end"}
        person = None if sort in nobody else company.person_of(team, int(rng.integers(4)))
        minute = 0 if sort in nobody else int(rng.integers(7, 50))
        size = _size(company, sort, (service, caller, line), dollars)
        foreseen = 0.45 if alone and sort == "planned_launch" and rng.random() < 0.25 else 1.0
        lag = _lag(sort, rng) if alone else 6
        out.append(
            Incident(
                sort,
                start,
                end,
                minute,
                size,
                service,
                caller,
                also,
                person,
                dollars,
                line,
                foreseen,
                lag,
            )
        )
        taken |= {service, *also} | ({caller} if caller else set())
    return tuple(out)


def _lag(sort: str, rng: np.random.Generator) -> int:
    """Minutes from a decision to what it does: an API call acts at once; code rolls out, caches fill, people come."""
    if sort in {"autoscaler", "cron_frequency", "unowned", "nodes", "target"}:
        return int(rng.integers(0, 12))
    if sort == "planned_launch":
        return int(rng.integers(5, 240))
    return int(
        rng.choice(
            [rng.integers(2, 15), rng.integers(15, 90), rng.integers(90, 480)], p=[0.6, 0.33, 0.07]
        )
    )


def _time(
    sort: str, hours: int, first_hour: int, rng: np.random.Generator, *, alone: bool
) -> tuple[int, int | None]:
    """By day, as people change things; alone in its company: in the second half, still going on or not."""
    if alone:
        day, length = int(rng.uniform(0.6, 0.93) * hours / 24), int(rng.integers(2, 7))
        stays = sort in {
            "tag_loss",
            "unowned",
            "commitment_lapse",
            "price_rise",
            "credit_end",
            "storage_ramp",
        }
        last = (
            None if rng.random() < 0.6 or day + length > hours / 24 - 1 or stays else day + length
        )
        if sort in LATE and rng.random() < 0.15:  # so late that no hour of it is billed
            return hours - int(rng.integers(4, 8)), None
    else:
        day, last = (None if d is None else int(d * hours / 24 / 56) for d in PLAN[sort])
    start = int(day or 0) * 24 + int(rng.integers(8, 16)) - first_hour
    return start, None if last is None else last * 24 + int(rng.integers(8, 16)) - first_hour


def _place(
    company: Company, sort: str, rng: np.random.Generator, taken: set[str]
) -> tuple[str, str | None] | None:
    """One of the likeliest places that no other incident has; None: the company has none."""

    def free(places: Iterable[tuple[str, str | None]], best: int) -> tuple[str, str | None]:
        known = list(places)
        left = (
            [p for p in known if p[0] not in taken and p[1] not in taken]
            or [p for p in known if p[0] not in taken]
            or known
        )
        return left[int(rng.integers(min(best, len(left))))]

    plain = [s for s in company.services if s.schedule is None]
    if sort in {"retry_loop", "fan_out"}:
        inner = sorted(
            (e for e in company.edges if not company.service(e.caller).schedule),
            key=lambda e: -edge_dollars(company, e),
        )
        return free(((e.service, e.caller) for e in inner), 3)
    if sort == "autoscaler":
        return free(
            (
                (s.name, None)
                for s in plain
                if s.runtime != "lambda"
                and not any(m.covered for m in company.meters if m.service == s.name)
            ),
            3,
        )
    if sort == "cron_frequency":
        every = (
            24 if not taken and rng.random() < 0.3 else 1
        )  # the nightly one only where nothing else happens
        job = next(s for s in company.services if s.every == every)
        return job.name, job.schedule
    if sort == "cross_region":
        job = next((s for s in company.services if s.every == 1), plain[0])
        return free(
            ((s.name, job.name) for s in reversed(plain) if s.store in {"s3", "dynamodb"}), 4
        )[0], job.name
    if sort == "commitment_lapse":
        return max(
            (m for m in company.meters if m.covered),
            key=lambda m: m.covered * (m.price - m.covered_price),
        ).service or "", None
    if sort == "traffic_growth":
        return company.demand[-1][0], None
    if sort == "planned_launch":
        return company.demand[0][0], None
    if sort == "tag_loss":
        return max(
            (s.name for s in plain),
            key=lambda n: (n not in taken, len(_untagged(company, n, taken))),
        ), None
    if sort in {*GROWN, "nodes", "storage_ramp", "price_rise"}:
        lines = {
            "nodes": ("cache-hours", "db-hours"),
            "storage_ramp": STORED,
            "price_rise": ("table-reads", "lambda-seconds", "db-hours"),
        }
        usual = sorted(
            (
                m
                for m in company.meters
                if m.service and m.tag_key and m.line in {**GROWN, **lines}[sort]
            ),
            key=lambda m: -hourly(company, m),
        )
        return free(((str(m.service), None) for m in usual), 3) if usual else None
    if sort == "target":
        return _place(company, "autoscaler", rng, taken)
    return plain[int(rng.integers(len(plain)))].name, None


def _line(company: Company, sort: str, service: str, rng: np.random.Generator) -> str | None:
    """The line that moves: of those that the sort may move, one that the service has."""
    lines = {
        **GROWN,
        "nodes": ("cache-hours", "db-hours"),
        "storage_ramp": STORED,
        "price_rise": ("table-reads", "lambda-seconds", "db-hours"),
    }
    own = sorted(
        {
            m.line
            for m in company.meters
            if m.service == service and m.tag_key and m.line in lines.get(sort, ())
        }
    )
    return own[int(rng.integers(len(own)))] if own else None


def hourly(company: Company, m: Meter) -> float:
    """What a meter costs in a mean hour, for meters by call and constant ones."""
    return (
        m.price * m.amount * (mean_calls(company)[str(m.service)] if m.follows == "calls" else 1.0)
    )


def _untagged(company: Company, service: str, taken: set[str]) -> tuple[str, ...]:
    """The services of the same team in the same account whose tags go with it: those that no other incident needs."""
    home = company.service(service)
    return tuple(
        s.name
        for s in company.services
        if s.team == home.team
        and s.account == home.account
        and s.name != service
        and s.name not in taken
    )


def unit_dollars(company: Company) -> dict[str, float]:
    """What one call more costs in the end, by service: its own use, its share of an instance, and what it calls."""
    calls, out = mean_calls(company), dict[str, float]()
    plain = [s for s in company.services if s.schedule is None]
    for s in (
        *reversed(plain),
        *(s for s in company.services if s.schedule),
    ):  # what is called before what calls it
        own = sum(
            m.price * m.amount
            for m in company.meters
            if m.service == s.name and m.follows == "calls"
        )
        own += sum(
            m.price * m.amount
            for m in company.meters
            if m.service == s.name and m.follows == "instances"
        ) / (calls[s.name] * s.load)
        out[s.name] = own + sum(
            e.first * (1 + e.retried) * out[e.service] for e in company.edges if e.caller == s.name
        )
    return out


def edge_dollars(company: Company, e: Edge) -> float:
    """What an edge's first attempts cost an hour, with all that they cause."""
    return mean_calls(company)[e.caller] * e.first * unit_dollars(company)[e.service]


def _size(
    company: Company, sort: str, place: tuple[str, str | None, str | None], dollars: float
) -> float:
    """How far the cause has to move for so many dollars a day."""
    service, caller, line = place
    more_an_hour, unit = dollars / 24, unit_dollars(company)
    if sort in {"retry_loop", "fan_out"}:
        edge = next(e for e in company.edges if (e.caller, e.service) == (caller, service))
        more = more_an_hour / edge_dollars(company, edge)
        return (
            float(np.clip(more, 0.3, 5.0))
            if sort == "retry_loop"
            else 1 + float(np.clip(more, 0.5, 8.0))
        )
    if sort in {"traffic_growth", "planned_launch"}:
        return 1 + float(
            np.clip(more_an_hour / (dict(company.demand)[service] * unit[service]), 0.12, 0.7)
        )
    if sort == "autoscaler":
        s = company.service(service)
        each = sum(
            m.price * m.amount
            for m in company.meters
            if m.service == service and m.follows == "instances"
        )
        return float(np.ceil(1 / s.load + more_an_hour / each))
    if sort == "target":
        s = company.service(service)
        each = sum(
            m.price * m.amount
            for m in company.meters
            if m.service == service and m.follows == "instances"
        )
        return 1 + float(np.clip(more_an_hour / (each / s.load), 0.4, 3.0))
    if sort in {*GROWN, "price_rise"}:
        moved = (
            m
            for m in company.meters
            if m.line == line and (m.service == service or sort == "price_rise")
        )
        return 1 + float(np.clip(more_an_hour / sum(hourly(company, m) for m in moved), 0.35, 12.0))
    if sort == "nodes":
        m = next(m for m in company.meters if m.service == service and m.line == line)
        return float(np.ceil(m.amount + more_an_hour / m.price))
    if sort == "storage_ramp":
        return dollars / 4
    if sort == "credit_end":
        return more_an_hour
    if sort == "cron_frequency":
        every = company.service(service).every
        times = (2, 3, 4, 6, 12) if every == 1 else (4, 6, 8, 12, 24)
        return float(min(times, key=lambda k: abs((k - 1) * unit[service] / every - more_an_hour)))
    if sort == "cross_region":
        price = price_of(company, "region-bytes", company.service(service).region)
        return float(f"{more_an_hour / price / (FEW * 5):.4g}")
    return 1.0


# ---------------------------------------------------------------- what incidents bring into being


def with_incident_meters(company: Company, incidents: tuple[Incident, ...]) -> Company:
    """The company with the meters, the service and the edges that incidents bring into being."""
    for incident in incidents:
        if incident.sort == "cross_region":
            company = _with_newcomer(company, incident)
        if incident.sort == "unowned":
            account, region = company.accounts[3][0], company.regions[0]
            line = MACHINES[(incident.start + incident.minute) % len(MACHINES)]
            more = {
                "resource": f"i-0f9c3be1{incident.start * 7919:09x}",
                "tag_key": None,
                "only": "unowned",
            }
            company = replace(
                company,
                meters=(
                    *company.meters,
                    meter(company, line, (account, region), ("alone", 1.0), **more),
                ),
            )
        if incident.sort == "credit_end":
            place, follows = (company.accounts[0][0], company.regions[0]), ("credit", incident.size)
            company = replace(
                company,
                meters=(*company.meters, meter(company, "credit", place, follows, price=-1.0)),
            )
    return company


def _with_newcomer(company: Company, incident: Incident) -> Company:
    """A new service in another region that reads a lot from where the data is."""
    far, account = company.service(incident.service), company.accounts[1][0]
    home = next(r for r in (*company.regions[1:], company.regions[0]) if r != far.region)
    team = company.service(incident.caller or "").team
    new = Service(company.newcomer, team, account, home, "lambda", "none", 1, 1.0)
    fn = f"arn:aws:lambda:{home}:{account}:function:{new.name}-fn"
    made = {"service": new.name, "team": team, "only": "cross_region"}
    logs = f"arn:aws:logs:{home}:{account}:log-group:/services/{new.name}"
    source = (
        f"{company.name}-{far.name}-files"
        if far.store == "s3"
        else f"arn:aws:dynamodb:{far.region}:{far.account}:table/{far.name}-main"
    )
    meters = (
        meter(company, "lambda-seconds", (account, home), ("calls", 0.6), resource=fn, **made),
        meter(company, "lambda-requests", (account, home), ("calls", 1.0), resource=fn, **made),
        meter(company, "log-bytes", (account, home), ("calls", 2e-6), resource=logs, **made),
        meter(
            company,
            "region-bytes",
            (far.account, far.region),
            ("edge", incident.size),
            service=far.name,
            team=far.team,
            resource=source,
            far=REGIONS[home],
            caller=new.name,
            only="cross_region",
        ),
    )
    edges = (Edge(incident.caller or "", new.name, FEW, 0.01), Edge(new.name, far.name, 5.0, 0.01))
    return replace(
        company,
        services=(*company.services, new),
        edges=company.edges + edges,
        meters=company.meters + meters,
    )


# ---------------------------------------------------------------- by the hour


def run(company: Company, incidents: tuple[Incident, ...], noise: Noise) -> Run:
    """The company by the hour with these incidents."""
    active = {i.sort: (i, _when(i, noise.season.size)) for i in incidents}
    calls, retries, handled = _traffic(company, active, noise)
    scaled = (s for s in company.services if s.runtime != "lambda" and s.schedule is None)
    usual = mean_calls(company)
    instances = {s.name: _instances(s, usual[s.name], handled[s.name], active) for s in scaled}
    usage = np.array(
        [
            _usage(m, k, (calls, handled, instances), active, noise)
            for k, m in enumerate(company.meters)
        ]
    )
    usage = _short(usage)
    still = (
        1 - active["commitment_lapse"][1]
        if "commitment_lapse" in active
        else np.ones(noise.season.size)
    )
    covered = np.array(
        [np.minimum(u, m.covered * still) for u, m in zip(usage, company.meters, strict=True)]
    )
    price, less = (
        np.array([getattr(m, name) for m in company.meters])[:, None]
        for name in ("price", "covered_price")
    )
    if "price_rise" in active:
        rise, dearer = active["price_rise"]
        dear = np.where(
            [[m.line == rise.line] for m in company.meters], 1 + (rise.size - 1) * dearer, 1.0
        )
        price = price * dear
    price = np.broadcast_to(price, usage.shape)
    return Run(
        company.meters,
        usage,
        price,
        (usage - covered) * price + covered * less,
        covered,
        calls,
        retries,
        handled,
        instances,
    )


def _short(usage: Array) -> Array:
    """Six digits, as meters count."""
    digits = 10.0 ** (5 - np.floor(np.log10(np.maximum(np.abs(usage), 1e-9))))
    return np.asarray(np.where(usage > 0, np.round(usage * digits) / digits, 0.0))


def _when(i: Incident, hours: int) -> Array:
    """Share of each hour in which it is on; the first hour in part."""
    on = np.zeros(hours)
    on[i.start : i.end] = 1.0
    on[i.start] = 1 - i.minute / 60
    return on


def _traffic(
    company: Company, active: Active, noise: Noise
) -> tuple[
    dict[tuple[str | None, str], Array], dict[tuple[str | None, str], Array], dict[str, Array]
]:
    handled = {s.name: np.zeros(noise.season.size) for s in company.services}
    calls: dict[tuple[str | None, str], Array] = {}
    retries: dict[tuple[str | None, str], Array] = {}
    for entry, _ in company.demand:
        calls[None, entry] = np.round(noise.demand[entry] * _growth(entry, active))
        handled[entry] += calls[None, entry]
    for s in (s for s in company.services if s.schedule is not None):
        calls[s.schedule, s.name] = _ticks(s, active, noise.clock)
        handled[s.name] += calls[s.schedule, s.name]
    for e in ordered(company):
        first, repeated = _rates(e, active, company.newcomer)
        firsts = handled[e.caller] * first * noise.edges[e.caller, e.service]
        made = np.round(firsts * (1 + repeated))
        calls[e.caller, e.service], retries[e.caller, e.service] = (
            made,
            np.round(made - made / (1 + repeated)),
        )
        handled[e.service] = handled[e.service] + made
    return calls, retries, handled


def _growth(entry: str, active: Active) -> Array | float:
    """How many times as many calls come from outside."""
    level: Array | float = 1.0
    for sort, ramp in RAMP.items():
        if sort in active and active[sort][0].service == entry:
            on = active[sort][1]
            level = level * (
                1 + (active[sort][0].size - 1) * np.convolve(on, np.ones(ramp) / ramp)[: on.size]
            )
    return level


def _ticks(s: Service, active: Active, clock: Array) -> Array:
    """Runs of a timer: every hour, or at two in the night; more of them while the rule is wrong."""
    runs = np.ones(clock.size) if s.every == 1 else (clock == 2).astype(float)
    if "cron_frequency" in active and active["cron_frequency"][0].service == s.name:
        incident, on = active["cron_frequency"]
        times = round(incident.size)
        wrong = (
            np.floor(times * on)
            if s.every == 1
            else ((clock - 2) % (24 // times) == 0).astype(float)
        )
        runs = np.where(on > 0, np.maximum(runs, wrong), runs)
    return runs


def _rates(e: Edge, active: Active, newcomer: str) -> tuple[Array | float, Array | float]:
    first: Array | float = e.first
    repeated: Array | float = e.retried
    if newcomer in {e.caller, e.service}:
        first = first * (active["cross_region"][1] if "cross_region" in active else 0.0)
    if "fan_out" in active and (active["fan_out"][0].caller, active["fan_out"][0].service) == (
        e.caller,
        e.service,
    ):
        first = e.first * (1 + (active["fan_out"][0].size - 1) * active["fan_out"][1])
    if "retry_loop" in active and (
        active["retry_loop"][0].caller,
        active["retry_loop"][0].service,
    ) == (e.caller, e.service):
        repeated = e.retried + active["retry_loop"][0].size * active["retry_loop"][1]
    return first, repeated


def _instances(s: Service, usual: float, handled: Array, active: Active) -> Array:
    """max(floor, calls / what one takes), the higher of the last two hours; a wrong floor lifts it."""
    tight = 1.0
    if "target" in active and active["target"][0].service == s.name:
        tight = 1 + (active["target"][0].size - 1) * active["target"][1]
    wanted = np.maximum(s.floor, np.ceil(handled * tight / max(1.0, usual * s.load)))
    kept = np.maximum(wanted, np.concatenate([wanted[:1], wanted[:-1]]))
    if "autoscaler" in active and active["autoscaler"][0].service == s.name:
        incident, on = active["autoscaler"]
        kept = np.where(on > 0, np.maximum(kept, np.ceil(incident.size * on)), kept)
    return np.asarray(kept)


def _usage(
    m: Meter,
    k: int,
    state: tuple[dict[tuple[str | None, str], Array], dict[str, Array], dict[str, Array]],
    active: Active,
    noise: Noise,
) -> Array:
    (calls, handled, instances), hours, small = state, noise.season.size, noise.meters[k]
    if m.only is not None and m.only not in active:
        return np.zeros(hours)
    if m.follows == "calls" and m.service is not None:
        small = small * _grown(m, active)
        exact = (
            m.line == "lambda-requests" or handled[m.service].max() < 1000
        )  # requests are the calls; a job's tasks are whole
        return np.asarray(handled[m.service] * m.amount * (1.0 if exact else small))
    if m.follows == "edge" and m.service is not None:
        return np.asarray(calls[m.caller, m.service] * m.amount * small)
    if m.follows == "instances" and m.service is not None:
        return np.asarray(instances[m.service] * m.amount)
    if m.follows == "season":
        return np.asarray(noise.season * m.amount * small)
    if m.follows == "office":
        return np.where((noise.clock >= 7) & (noise.clock < 19) & ~noise.weekend, m.amount, 0.0)
    if m.follows == "alone":
        return np.asarray(active["unowned"][1] * m.amount)
    if m.follows == "credit":
        return m.amount * (
            1 - active["credit_end"][1] if "credit_end" in active else np.ones(hours)
        )
    still = (
        m.amount * (1 + 0.0001 * (np.arange(hours) // 24) * (m.unit == "GB-Mo")) * np.ones(hours)
    )
    if "nodes" in active and (active["nodes"][0].service, active["nodes"][0].line) == (
        m.service,
        m.line,
    ):
        return np.asarray(still + (active["nodes"][0].size - m.amount) * active["nodes"][1])
    if "storage_ramp" in active and (
        active["storage_ramp"][0].service,
        active["storage_ramp"][0].line,
    ) == (m.service, m.line):
        ramp, on = active["storage_ramp"]
        return np.asarray(still + ramp.size / 24 / 24 / m.price * np.cumsum(on))
    return np.asarray(still)


def _grown(m: Meter, active: Active) -> Array | float:
    """How many times as much it uses for each call."""
    times: Array | float = 1.0
    for sort in GROWN:
        if sort in active and (active[sort][0].service, active[sort][0].line) == (
            m.service,
            m.line,
        ):
            times = times * (1 + (active[sort][0].size - 1) * active[sort][1])
    return times
