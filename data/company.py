"""The sample company: services, teams, accounts, a call graph, and what each of them uses; drawn from one seed.

Everything is invented. `Company` says what there is; `run` in `incidents.py` lets it live by the hour.
"""

from dataclasses import dataclass, replace

import numpy as np

NAMES = ("marigold", "thistlewick", "fernhollow", "quillmere", "saltbrook")
TEAMS = (
    ("storefront", "checkout", "logistics", "data-products", "platform"),
    ("web", "orders", "supply", "analytics", "platform"),
    ("growth", "payments-team", "fulfilment", "insight", "infrastructure"),
)
ENTRIES = ("shop-web", "mobile-api", "partner-api", "graphql-gateway", "kiosk-api")
STORES = ("accounts-store", "catalog-store", "order-store", "document-store")
INNER = (
    *(
        "cart",
        "checkout",
        "inventory",
        "pricing",
        "profiles",
        "recommendations",
        "search",
        "shipping",
        "notifications",
        "payments",
    ),
    *(
        "reviews",
        "sessions",
        "fraud-check",
        "image-resizer",
        "ledger",
        "coupons",
        "tracking",
        "media",
        "address-book",
        "receipts",
    ),
    *(
        "loyalty",
        "returns",
        "webhooks",
        "catalog",
        "entitlements",
        "geocoder",
        "tax-rates",
        "messages",
        "subscriptions",
        "thumbnails",
    ),
)
JOBS = (
    ("nightly-export", "index-refresh", "ledger-close", "cold-archive"),
    ("report-builder", "feed-sync", "stock-sync", "price-sync"),
)
NEWCOMERS = ("insights", "audience-sync", "embeddings", "replicator")
PEOPLE = (
    *(
        "mara.lindt",
        "joao.mendes",
        "aiko.tanabe",
        "priya.nair",
        "sam.okoro",
        "lena.voss",
        "tom.arden",
        "ines.roca",
        "yusuf.demir",
    ),
    *(
        "nora.halli",
        "kofi.asante",
        "eva.brandt",
        "liam.corr",
        "chen.wu",
        "olga.petri",
        "ravi.sethi",
        "anna.fjord",
        "diego.luz",
    ),
)
REGIONS = {
    "eu-west-1": "EU",
    "us-east-1": "USE1",
    "eu-central-1": "EUC1",
    "us-west-2": "USW2",
    "ap-southeast-2": "APS2",
}
REGION_PRICE = {
    "eu-west-1": 1.06,
    "us-east-1": 1.0,
    "eu-central-1": 1.1,
    "us-west-2": 1.0,
    "ap-southeast-2": 1.2,
}
PRODUCTS = {  # ServiceName, x_ServiceCode, ServiceCategory
    "lambda": ("AWS Lambda", "AWSLambda", "Compute"),
    "ecs": ("Amazon Elastic Container Service", "AmazonECS", "Compute"),
    "ec2": ("Amazon Elastic Compute Cloud", "AmazonEC2", "Compute"),
    "dynamodb": ("Amazon DynamoDB", "AmazonDynamoDB", "Databases"),
    "s3": ("Amazon Simple Storage Service", "AmazonS3", "Storage"),
    "rds": ("Amazon Relational Database Service", "AmazonRDS", "Databases"),
    "cache": ("Amazon ElastiCache", "AmazonElastiCache", "Databases"),
    "sqs": ("Amazon Simple Queue Service", "AWSQueueService", "Integration"),
    "elb": ("Elastic Load Balancing", "AWSELB", "Networking"),
    "api": ("Amazon API Gateway", "AmazonApiGateway", "Networking"),
    "logs": ("AmazonCloudWatch", "AmazonCloudWatch", "Management and Governance"),
    "transfer": ("AWS Data Transfer", "AWSDataTransfer", "Networking"),
    "ecr": ("Amazon EC2 Container Registry (ECR)", "AmazonECR", "Developer Tools"),
    "dns": ("Amazon Route 53", "AmazonRoute53", "Networking"),
    "guard": ("Amazon GuardDuty", "AmazonGuardDuty", "Security"),
    "config": ("AWS Config", "AWSConfig", "Management and Governance"),
}
LINES = {  # product, usage type, operation, unit, list price in us-east-1
    "lambda-seconds": ("lambda", "Lambda-GB-Second", "Invoke", "Lambda-GB-Second", 1.66667e-5),
    "lambda-requests": ("lambda", "Request", "Invoke", "Requests", 2e-7),
    "vcpu-hours": ("ecs", "Fargate-vCPU-Hours:perCPU", "FargateTask", "hours", 0.04048),
    "gb-hours": ("ecs", "Fargate-GB-Hours", "FargateTask", "hours", 0.004445),
    "large": ("ec2", "BoxUsage:m6i.large", "RunInstances", "Hrs", 0.096),
    "xlarge": ("ec2", "BoxUsage:m6i.xlarge", "RunInstances", "Hrs", 0.192),
    "2xlarge": ("ec2", "BoxUsage:m6i.2xlarge", "RunInstances", "Hrs", 0.384),
    "t3": ("ec2", "BoxUsage:t3.xlarge", "RunInstances", "Hrs", 0.1664),
    "table-reads": ("dynamodb", "ReadRequestUnits", "GetItem", "ReadRequestUnits", 2.5e-7),
    "table-writes": ("dynamodb", "WriteRequestUnits", "PutItem", "WriteRequestUnits", 1.25e-6),
    "table-storage": ("dynamodb", "TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", 0.25),
    "bucket-puts": ("s3", "Requests-Tier1", "PutObject", "Requests", 5e-6),
    "bucket-gets": ("s3", "Requests-Tier2", "GetObject", "Requests", 4e-7),
    "bucket-storage": ("s3", "TimedStorage-ByteHrs", "StandardStorage", "GB-Mo", 0.023),
    "db-hours": ("rds", "InstanceUsage:db.r6g.xlarge", "CreateDBInstance:0021", "Hrs", 0.519),
    "db-io": ("rds", "Aurora:StorageIOUsage", "CreateDBInstance:0021", "IOs", 2e-7),
    "cache-hours": ("cache", "NodeUsage:cache.r6g.large", "CreateCacheCluster:0002", "Hrs", 0.206),
    "queue": ("sqs", "Requests-Tier1", "SendMessage", "Requests", 4e-7),
    "balancer-hours": ("elb", "LoadBalancerUsage", "LoadBalancing:Application", "Hrs", 0.0225),
    "balancer-use": ("elb", "LCUUsage", "LoadBalancing:Application", "LCU-Hrs", 0.008),
    "api-requests": ("api", "ApiGatewayHttpRequest", "ApiGatewayHttpApi", "Requests", 1e-6),
    "log-bytes": ("logs", "DataProcessing-Bytes", "PutLogEvents", "GB", 0.5),
    "zone-bytes": ("ec2", "DataTransfer-Regional-Bytes", "InterZone-Out", "GB", 0.01),
    "out-bytes": ("transfer", "DataTransfer-Out-Bytes", "RunInstances", "GB", 0.09),
    "region-bytes": ("transfer", "{far}-AWS-Out-Bytes", "InterRegion-Out", "GB", 0.02),
    "images": ("ecr", "TimedStorage-ByteHrs", "RegionalStorage", "GB-Mo", 0.1),
    "dns": ("dns", "DNS-Queries", "DNS", "Queries", 4e-7),
    "nat-bytes": ("ec2", "NatGateway-Bytes", "NatGateway", "GB", 0.045),
    "nat-hours": ("ec2", "NatGateway-Hours", "NatGateway", "Hrs", 0.045),
    "guard": ("guard", "PaidEventsAnalyzed", "GuardDuty", "Events", 4e-6),
    "credit": ("config", "Credit", "None", "", 1.0),
    "config": ("config", "ConfigurationItemRecorded", "Record", "ConfigurationItemRecorded", 0.003),
    "p3.2xlarge": ("ec2", "BoxUsage:p3.2xlarge", "RunInstances", "Hrs", 3.06),
    "g5.8xlarge": ("ec2", "BoxUsage:g5.8xlarge", "RunInstances", "Hrs", 2.448),
    "r6i.8xlarge": ("ec2", "BoxUsage:r6i.8xlarge", "RunInstances", "Hrs", 2.016),
}


@dataclass(frozen=True)
class Meter:
    """One thing that is metered. follows: calls, edge, instances, constant, season, office, alone; amount: for each call or instance, or an hour."""

    service: str | None
    team: str | None
    line: str
    usage_type: str
    price: float
    follows: str
    amount: float
    account: str
    region: str
    resource: str | None
    tag_key: str | None = "service"  # None: the resource was never tagged
    covered: float = 0.0  # units an hour under the savings plan
    covered_price: float = 0.0
    caller: str | None = None  # follows "edge": whose calls
    only: str | None = None  # the incident that brings this meter into being

    @property
    def product(self) -> tuple[str, str, str]:
        """ServiceName, x_ServiceCode, ServiceCategory."""
        return PRODUCTS[LINES[self.line][0]]

    @property
    def operation(self) -> str:
        """x_Operation."""
        return LINES[self.line][2]

    @property
    def unit(self) -> str:
        """ConsumedUnit."""
        return LINES[self.line][3]


@dataclass(frozen=True)
class Service:
    """A service: team, where it runs, how, and its autoscaler: at least `floor`, one more for each `load` of its mean calls."""

    name: str
    team: str
    account: str
    region: str
    runtime: str  # lambda, fargate, ec2
    store: str  # dynamodb, s3, rds, none
    floor: int
    load: float
    schedule: str | None = None
    every: int = 0  # hours between two runs of the timer
    queue: bool = False


@dataclass(frozen=True)
class Edge:
    """service handles `first` first attempts for each call that caller handles; a share of them is repeated."""

    caller: str
    service: str
    first: float
    retried: float


@dataclass(frozen=True)
class Company:
    """What there is, before anything happens."""

    name: str
    accounts: tuple[tuple[str, str], ...]
    payer: str
    lags: tuple[int, ...]  # hours that each account's bill is late
    regions: tuple[str, ...]
    discount: float  # what is off the list price, by contract
    teams: tuple[str, ...]
    people: tuple[tuple[str, str], ...]  # person, team
    services: tuple[Service, ...]
    edges: tuple[Edge, ...]
    demand: tuple[tuple[str, float], ...]  # entry, mean calls an hour
    newcomer: str
    meters: tuple[Meter, ...] = ()

    def service(self, name: str) -> Service:
        """The service of that name."""
        return next(s for s in self.services if s.name == name)

    def person_of(self, team: str, n: int = 0) -> str:
        """Somebody of the team."""
        members = [p for p, t in self.people if t == team]
        return members[n % len(members)]


def draw(rng: np.random.Generator, size: int, name: str) -> Company:
    """A company of `size` services: the same state of the generator is the same company."""
    accounts = tuple(
        (f"{rng.integers(10**11, 10**12)}", f"{name}-{part}")
        for part in ("production", "data", "shared", "sandbox")
    )
    regions = tuple(str(r) for r in rng.choice(list(REGIONS), 3, replace=False))
    teams = TEAMS[int(rng.integers(len(TEAMS)))]
    people = tuple(
        (str(p), teams[k % len(teams)]) for k, p in enumerate(rng.choice(PEOPLE, 12, replace=False))
    )
    services = _services(rng, size, (accounts, regions, teams))
    company = Company(
        name=name,
        accounts=accounts,
        payer=f"{rng.integers(10**11, 10**12)}",
        lags=tuple(
            int(h) for h in rng.spawn(1)[0].choice(np.arange(8, 15), len(accounts), replace=False)
        ),
        regions=regions,
        discount=float(np.round(rng.uniform(0.0, 0.12), 3)),
        teams=teams,
        people=people,
        services=services,
        edges=_edges(rng, services),
        demand=tuple(
            (s.name, float(rng.uniform(2.2e5, 5.5e5))) for s in services if s.name in ENTRIES
        ),
        newcomer=str(rng.choice(NEWCOMERS)),
    )
    meters = [m for s in services for m in _meters(rng, company, s)] + _shared(rng, company)
    return replace(company, meters=tuple(_covered(company, meters)))


def _services(
    rng: np.random.Generator,
    size: int,
    world: tuple[tuple[tuple[str, str], ...], tuple[str, ...], tuple[str, ...]],
) -> tuple[Service, ...]:
    """Entries first, then what they call, a store that many share, and two jobs; teams take turns."""
    accounts, regions, teams = world
    entries = list(rng.choice(ENTRIES, 3 if size > 14 else 2, replace=False))
    inner = list(rng.choice(INNER, size - len(entries) - 3, replace=False))
    plain = [*entries, *inner, str(rng.choice(STORES))]
    runtimes = rng.permutation([("fargate", "lambda", "ec2")[k % 3] for k in range(len(plain))])
    stores = [
        *["none"] * len(entries),
        *rng.permutation([("dynamodb", "s3", "rds", "none")[k % 4] for k in range(len(inner))]),
        "dynamodb",
    ]
    out = []
    for k, name in enumerate(plain):
        home = 0 if k < 0.6 * len(plain) or name in STORES else 1 + k % 2
        load = rng.uniform(0.03, 0.06) if runtimes[k] == "fargate" else rng.uniform(0.09, 0.2)
        team, account = teams[k % len(teams)], accounts[1 if home == 2 else 0][0]
        where = (team, account, regions[home], str(runtimes[k]), str(stores[k]))
        out.append(
            Service(
                str(name),
                *where,
                int(rng.integers(2, 4)),
                float(load),
                queue=k >= len(entries) and rng.random() < 0.3,
            )
        )
    for k, every in enumerate((24, 1)):
        name = str(rng.choice(JOBS[k]))
        schedule = f"schedule:{name}-{'nightly' if every == 24 else 'hourly'}"
        out.append(
            Service(
                name,
                teams[3 + k],
                accounts[1][0],
                regions[0],
                "fargate",
                "dynamodb",
                0,
                1.0,
                schedule,
                every,
            )
        )
    return tuple(out)


def _edges(rng: np.random.Generator, services: tuple[Service, ...]) -> tuple[Edge, ...]:
    """Each inner service is called by one to three before it, the store by five; each job calls two of them."""
    plain = [s.name for s in services if s.schedule is None]
    first_inner = sum(name in ENTRIES for name in plain)
    edges = []
    for k, name in enumerate(plain[first_inner:], start=first_inner):
        wanted = 5 if name in STORES else int(rng.integers(1, 4))
        callers = rng.choice(plain[:k], min(wanted, k), replace=False)
        edges += [
            Edge(
                str(c),
                name,
                float(rng.uniform(0.15, 0.9) / len(callers) ** 0.5),
                float(rng.uniform(0.008, 0.03)),
            )
            for c in callers
        ]
    for s in (s for s in services if s.schedule is not None):
        calls = rng.uniform(2e4, 6e4, 2) * (6 if s.every == 24 else 1)
        called = rng.choice(plain[first_inner:], 2, replace=False)
        edges += [
            Edge(s.name, str(c), float(n), float(rng.uniform(0.008, 0.02)))
            for c, n in zip(called, calls, strict=True)
        ]
    return tuple(edges)


def mean_calls(company: Company) -> dict[str, float]:
    """Calls that each service handles in a mean hour."""
    calls = dict(company.demand) | {s.name: 1 / s.every for s in company.services if s.every}
    for edge in ordered(company):
        calls[edge.service] = calls.get(edge.service, 0.0) + calls.get(
            edge.caller, 0.0
        ) * edge.first * (1 + edge.retried)
    return calls


def ordered(company: Company) -> list[Edge]:
    """Edges so that a caller's own calls are known before those that it makes: jobs and newcomers call, and are not called back."""
    rank = {s.name: k for k, s in enumerate(company.services)}
    return sorted(
        company.edges,
        key=lambda e: (e.service != company.newcomer, rank[e.service], rank[e.caller]),
    )


def price_of(company: Company, line: str, region: str) -> float:
    """What the company pays for a unit there."""
    return float(f"{LINES[line][4] * REGION_PRICE[region] * (1 - company.discount):.6g}")


def meter(
    company: Company, line: str, place: tuple[str, str], follows: tuple[str, float], **more: object
) -> Meter:
    """A line of the price list at a place (account, region)."""
    account, region = place
    far = str(more.pop("far", ""))
    usage_type = f"{REGIONS[region]}-{LINES[line][1]}".format(far=far)
    values: dict[str, object] = {
        "service": None,
        "team": None,
        "resource": None,
        "price": price_of(company, line, region),
    } | more
    return Meter(
        line=line,
        usage_type=usage_type,
        follows=follows[0],
        amount=follows[1],
        account=account,
        region=region,
        **values,
    )  # type: ignore[arg-type]


def _meters(rng: np.random.Generator, company: Company, s: Service) -> list[Meter]:
    """What the service uses. By use: so much for each call that the hour costs about so many dollars; by time: instances, storage."""
    calls, key, arn = (
        mean_calls(company)[s.name],
        str(rng.choice(["service", "service", "app", "app.kubernetes.io/name"])),
        f"{s.region}:{s.account}",
    )

    def by_use(line: str, dollars: float, resource: str | None, far: str = "") -> Meter:
        amount = dollars * float(rng.lognormal(0, 0.35)) / price_of(company, line, s.region) / calls
        return named(line, ("calls", float(f"{amount:.4g}")), resource, far=far)

    def named(line: str, follows: tuple[str, float], resource: str | None, **more: object) -> Meter:
        tags = {
            "tag_key": None if line in {"db-hours", "cache-hours"} and rng.random() < 0.3 else key
        }  # machines made by hand, years ago
        return meter(
            company,
            line,
            (s.account, s.region),
            follows,
            service=s.name,
            team=s.team,
            resource=resource,
            **tags,
            **more,
        )

    out = [
        by_use("log-bytes", 0.55, f"arn:aws:logs:{arn}:log-group:/services/{s.name}"),
        by_use("zone-bytes", 0.12, None),
    ]
    size, task, each = (
        float(rng.choice([2, 4])),
        f"arn:aws:ecs:{arn}:service/prod/{s.name}",
        str(rng.choice(["large", "xlarge", "xlarge"])),
    )
    if s.runtime == "lambda":
        fn = f"arn:aws:lambda:{arn}:function:{s.name}-fn"
        out += [by_use("lambda-seconds", 1.9, fn), named("lambda-requests", ("calls", 1.0), fn)]
    elif s.schedule:
        out += [
            named("vcpu-hours", ("calls", size * 2 * s.every**0.5), task),
            named("gb-hours", ("calls", size * 4 * s.every**0.5), task),
        ]
    elif s.runtime == "fargate":
        out += [
            named("vcpu-hours", ("instances", size / 2), task),
            named("gb-hours", ("instances", size), task),
        ]
    else:
        out.append(named(each, ("instances", 1.0), f"asg:{s.name}"))
    if s.store == "dynamodb":
        table = f"arn:aws:dynamodb:{arn}:table/{s.name}-main"
        out += [
            by_use("table-reads", 0.9, table),
            by_use("table-writes", 0.9, table),
            named("table-storage", ("constant", float(rng.uniform(0.4, 2))), table),
        ]
    elif s.store == "s3":
        bucket = f"{company.name}-{s.name}-files"
        out += [
            by_use("bucket-puts", 0.6, bucket),
            by_use("bucket-gets", 0.4, bucket),
            named("bucket-storage", ("constant", float(rng.uniform(8, 40))), bucket),
        ]
    elif s.store == "rds":
        out += [
            named("db-hours", ("constant", 2.0), f"arn:aws:rds:{arn}:db:{s.name}-1"),
            by_use("db-io", 0.6, f"arn:aws:rds:{arn}:cluster:{s.name}"),
        ]
        out.append(
            named(
                "cache-hours", ("constant", 2.0), f"arn:aws:elasticache:{arn}:cluster:{s.name}-001"
            )
        )
    if s.queue:
        out.append(by_use("queue", 0.2, f"arn:aws:sqs:{arn}:{s.name}-inbox"))
    if s.runtime != "lambda" and s.schedule is None:
        balancer = f"arn:aws:elasticloadbalancing:{arn}:loadbalancer/app/{s.name}/1f0c5d2e"
        out += [
            named("balancer-hours", ("constant", 1.0), balancer),
            by_use("balancer-use", 0.15, balancer),
        ]
    if s.name in ENTRIES:
        out += [
            by_use("out-bytes", 0.9, None),
            by_use("api-requests", 0.35, f"arn:aws:apigateway:{s.region}::/apis/{s.name}"),
        ]
    if s.region != company.regions[0] and any(
        company.service(e.caller).region == company.regions[0]
        for e in company.edges
        if e.service == s.name
    ):
        out.append(by_use("region-bytes", 0.12, None, far=REGIONS[company.regions[0]]))
    return out


def _shared(rng: np.random.Generator, company: Company) -> list[Meter]:
    """What no service is named for: registries, DNS, gateways, guards, a staging machine in office hours."""
    home, (prod, _, shared, sandbox) = company.regions[0], (a for a, _ in company.accounts)
    nat = f"arn:aws:ec2:{home}:{shared}:natgateway/nat-0{int(rng.integers(16**8)):08x}"
    lines: tuple[tuple[str, str, tuple[str, float], dict[str, object]], ...] = (
        (
            "images",
            shared,
            ("constant", float(rng.uniform(1, 3))),
            {"resource": f"arn:aws:ecr:{home}:{shared}:repository/base-images"},
        ),
        ("dns", prod, ("season", float(rng.uniform(4e5, 9e5))), {}),
        ("nat-bytes", shared, ("season", float(rng.uniform(2, 5))), {"resource": nat}),
        ("nat-hours", shared, ("constant", 2.0), {"resource": nat}),
        ("guard", prod, ("season", float(rng.uniform(5e4, 9e4))), {"team": company.teams[-1]}),
        ("config", prod, ("season", float(rng.uniform(80, 160))), {"team": company.teams[-1]}),
        (
            "t3",
            sandbox,
            ("office", 4.0),
            {"team": company.teams[3], "resource": f"i-0{int(rng.integers(16**12)):016x}"},
        ),
        (
            "bucket-storage",
            sandbox,
            ("constant", 6.0),
            {"team": company.teams[3], "resource": f"{company.name}-scratch"},
        ),
    )
    return [
        meter(company, line, (account, home), follows, **more)
        for line, account, follows, more in lines
    ]


def _covered(company: Company, meters: list[Meter]) -> list[Meter]:
    """A compute savings plan covers part of the largest Fargate service and of one Lambda."""

    def hourly(name: str, follows: str) -> float:
        return sum(m.price * m.amount for m in meters if m.service == name and m.follows == follows)

    calls = mean_calls(company)
    tasks = sorted(
        (s for s in company.services if s.runtime == "fargate" and not s.schedule),
        key=lambda s: -hourly(s.name, "instances") / s.load,
    )[:1]
    functions = [s for s in company.services if s.runtime == "lambda"][-1:]
    share = {s.name: np.floor(0.7 / s.load) for s in tasks}
    out = []
    for m in meters:
        units = 0.0
        if m.service in share and m.follows == "instances":
            units = float(share[m.service] * m.amount)
        if m.line == "lambda-seconds" and m.service in {s.name for s in functions}:
            units = float(f"{0.6 * calls[m.service] * m.amount:.4g}")
        out.append(
            replace(m, covered=units, covered_price=float(f"{0.52 * m.price:.6g}")) if units else m
        )
    return out
