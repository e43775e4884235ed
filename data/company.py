"""The sample company: services, teams, accounts, a call graph, and what each of them uses; drawn from one seed.

Everything is invented. `Company` says what there is; `simulate` in `incidents.py` lets it run by the hour.
"""

from dataclasses import dataclass

import numpy as np

TEAMS = ("storefront", "checkout", "logistics", "data-products", "platform")
ENTRIES = ("shop-web", "mobile-api", "partner-api", "graphql-gateway", "kiosk-api")
INNER = (
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
)
JOBS = ("nightly-export", "index-refresh", "report-builder", "feed-sync")
PEOPLE = (
    "mara.lindt",
    "joao.mendes",
    "aiko.tanabe",
    "priya.nair",
    "sam.okoro",
    "lena.voss",
    "tom.arden",
    "ines.roca",
    "yusuf.demir",
    "nora.halli",
    "kofi.asante",
    "eva.brandt",
)
REGIONS = (("eu-west-1", "EU"), ("us-east-1", "USE1"), ("eu-central-1", "EUC1"))


@dataclass(frozen=True)
class Meter:
    """One thing that is metered. follows: calls, instances, constant, season (of nothing), job; amount: per call, per instance, or an hour."""

    service: str | None
    team: str | None
    product: str
    code: str
    category: str
    usage_type: str
    operation: str
    unit: str
    price: float
    follows: str
    amount: float
    account: str
    region: str
    resource: str | None
    tag_key: str = "service"
    covered: float = 0.0  # units an hour under a commitment
    covered_price: float = 0.0
    only: str | None = None  # the incident that brings this meter into being


@dataclass(frozen=True)
class Service:
    """A service: team, where it runs, how, and the autoscaler that keeps its instances."""

    name: str
    team: str
    account: str
    region: str
    runtime: str  # lambda, fargate, ec2
    store: str  # dynamodb, s3, rds, none
    floor: int
    load: float  # calls an instance takes, as a share of the service's mean calls
    schedule: str | None = None


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
    teams: tuple[str, ...]
    people: tuple[tuple[str, str], ...]  # person, team
    services: tuple[Service, ...]
    edges: tuple[Edge, ...]
    demand: tuple[tuple[str, float], ...]  # entry, mean calls an hour
    meters: tuple[Meter, ...]


def draw(seed: int, name: str = "marigold") -> Company:
    """A company of 15 or so services. The same seed is the same company."""
    rng = np.random.default_rng([seed, 1])
    accounts = tuple((f"{rng.integers(10**11, 10**12)}", f"{name}-{part}") for part in ("production", "data", "shared", "sandbox"))
    services = _services(rng, accounts)
    entries = [s.name for s in services if s.name in ENTRIES]
    edges = _edges(rng, services)
    demand = tuple((entry, float(rng.uniform(2.2e5, 5.5e5))) for entry in entries)
    people = tuple((person, TEAMS[k % len(TEAMS)]) for k, person in enumerate(PEOPLE))
    meters = tuple(m for s in services for m in _meters(rng, s)) + _shared_meters(rng, accounts)
    return Company(name, accounts, TEAMS, people, services, edges, demand, meters)


def _services(rng: np.random.Generator, accounts: tuple[tuple[str, str], ...]) -> tuple[Service, ...]:
    entries = list(rng.choice(ENTRIES, 2, replace=False))
    inner = list(rng.choice(INNER, 10, replace=False))
    out = []
    for k, name in enumerate([*entries, *inner]):
        runtime = ("fargate", "lambda", "ec2")[(k + int(rng.integers(3))) % 3]
        store = ("none", "dynamodb", "s3", "rds")[0 if name in entries else 1 + (k % 3)]
        region = REGIONS[0] if k < 8 else REGIONS[1 + k % 2]
        account = accounts[0] if k < 9 else accounts[1]
        out.append(
            Service(
                str(name),
                TEAMS[k % len(TEAMS)],
                account[0],
                region[0],
                runtime,
                store,
                int(rng.integers(2, 4)),
                float(rng.uniform(0.09, 0.2)),
            )
        )
    for k, name in enumerate(rng.choice(JOBS, 2, replace=False)):
        out.append(
            Service(
                str(name),
                TEAMS[(k + 3) % len(TEAMS)],
                accounts[1][0],
                REGIONS[0][0],
                "fargate",
                "dynamodb",
                4 + 4 * k,
                1.0,
                f"schedule:{name}-{'hourly' if k else 'nightly'}",
            )
        )
    return tuple(out)


def _edges(rng: np.random.Generator, services: tuple[Service, ...]) -> tuple[Edge, ...]:
    """Each inner service is called by one to three services before it; each job calls two of them."""
    plain = [s.name for s in services if s.schedule is None]
    edges = []
    for k, name in enumerate(plain[2:], start=2):
        callers = rng.choice(plain[: min(k, 8)], min(int(rng.integers(1, 4)), k, 8), replace=False)
        edges += [Edge(str(c), name, float(rng.uniform(0.15, 0.9)), float(rng.uniform(0.004, 0.03))) for c in callers]
    for job in (s.name for s in services if s.schedule is not None):
        edges += [
            Edge(job, str(c), float(rng.uniform(2e4, 9e4)), float(rng.uniform(0.004, 0.02)))
            for c in rng.choice(plain[2:], 2, replace=False)
        ]
    return tuple(edges)


def _short(region: str) -> str:
    return dict(REGIONS)[region]


def _meters(rng: np.random.Generator, s: Service) -> list[Meter]:
    key = str(rng.choice(["service", "service", "app", "app.kubernetes.io/name"]))
    short, arn = _short(s.region), f"{s.region}:{s.account}"

    def meter(
        product: str, code: str, category: str, what: tuple[str, str, str], price: float, follows: str, amount: float, resource: str | None
    ) -> Meter:
        usage_type, operation, unit = what
        return Meter(
            s.name,
            s.team,
            product,
            code,
            category,
            f"{short}-{usage_type}",
            operation,
            unit,
            price,
            follows,
            amount,
            s.account,
            s.region,
            resource,
            key,
        )

    logs = meter(
        "AmazonCloudWatch",
        "AmazonCloudWatch",
        "Management and Governance",
        ("DataProcessing-Bytes", "PutLogEvents", "GB"),
        0.57,
        "calls",
        float(rng.uniform(0.6e-6, 2.4e-6)),
        f"arn:aws:logs:{arn}:log-group:/services/{s.name}",
    )
    zone = meter(
        "Amazon Elastic Compute Cloud",
        "AmazonEC2",
        "Compute",
        ("DataTransfer-Regional-Bytes", "InterZone-Out", "GB"),
        0.01,
        "calls",
        float(rng.uniform(1e-5, 6e-5)),
        None,
    )
    out = [logs, zone]
    if s.runtime == "lambda":
        fn = f"arn:aws:lambda:{arn}:function:{s.name}-handler"
        out += [
            meter(
                "AWS Lambda",
                "AWSLambda",
                "Compute",
                ("Lambda-GB-Second", "Invoke", "Lambda-GB-Second"),
                1.66667e-5,
                "calls",
                float(rng.uniform(0.08, 0.3)),
                fn,
            ),
            meter("AWS Lambda", "AWSLambda", "Compute", ("Request", "Invoke", "Requests"), 2e-7, "calls", 1.0, fn),
        ]
    elif s.runtime == "fargate":
        task, size = f"arn:aws:ecs:{arn}:service/prod/{s.name}", float(rng.choice([2, 4, 8]))
        kind = "job" if s.schedule else "instances"
        out += [
            meter(
                "Amazon Elastic Container Service",
                "AmazonECS",
                "Compute",
                ("Fargate-vCPU-Hours:perCPU", "FargateTask", "hours"),
                0.04048,
                kind,
                size,
                task,
            ),
            meter(
                "Amazon Elastic Container Service",
                "AmazonECS",
                "Compute",
                ("Fargate-GB-Hours", "FargateTask", "hours"),
                0.004445,
                kind,
                2 * size,
                task,
            ),
        ]
    else:
        size, price = str(rng.choice(["large", "xlarge", "2xlarge"])), {"large": 0.107, "xlarge": 0.214, "2xlarge": 0.428}
        out.append(
            meter(
                "Amazon Elastic Compute Cloud",
                "AmazonEC2",
                "Compute",
                (f"BoxUsage:m6i.{size}", "RunInstances", "Hrs"),
                price[size],
                "instances",
                1.0,
                f"asg:{s.name}",
            )
        )
    if s.store == "dynamodb":
        table = f"arn:aws:dynamodb:{arn}:table/{s.name}-main"
        out += [
            meter(
                "Amazon DynamoDB",
                "AmazonDynamoDB",
                "Databases",
                ("ReadRequestUnits", "GetItem", "ReadRequestUnits"),
                2.83e-7,
                "calls",
                float(rng.uniform(1, 9)),
                table,
            ),
            meter(
                "Amazon DynamoDB",
                "AmazonDynamoDB",
                "Databases",
                ("WriteRequestUnits", "PutItem", "WriteRequestUnits"),
                1.41e-6,
                "calls",
                float(rng.uniform(0.2, 1.2)),
                table,
            ),
            meter(
                "Amazon DynamoDB",
                "AmazonDynamoDB",
                "Databases",
                ("TimedStorage-ByteHrs", "StandardStorage", "GB-Mo"),
                0.283,
                "constant",
                float(rng.uniform(0.4, 2)),
                table,
            ),
        ]
    elif s.store == "s3":
        bucket = f"marigold-{s.name}-store"
        out += [
            meter(
                "Amazon Simple Storage Service",
                "AmazonS3",
                "Storage",
                ("Requests-Tier1", "PutObject", "Requests"),
                5e-6,
                "calls",
                float(rng.uniform(0.1, 0.5)),
                bucket,
            ),
            meter(
                "Amazon Simple Storage Service",
                "AmazonS3",
                "Storage",
                ("Requests-Tier2", "GetObject", "Requests"),
                4e-7,
                "calls",
                float(rng.uniform(0.5, 3)),
                bucket,
            ),
            meter(
                "Amazon Simple Storage Service",
                "AmazonS3",
                "Storage",
                ("TimedStorage-ByteHrs", "StandardStorage", "GB-Mo"),
                0.023,
                "constant",
                float(rng.uniform(8, 40)),
                bucket,
            ),
        ]
    elif s.store == "rds":
        out += [
            meter(
                "Amazon Relational Database Service",
                "AmazonRDS",
                "Databases",
                ("InstanceUsage:db.r6g.xlarge", "CreateDBInstance:0021", "Hrs"),
                0.58,
                "constant",
                2.0,
                f"arn:aws:rds:{arn}:db:{s.name}-1",
            ),
            meter(
                "Amazon Relational Database Service",
                "AmazonRDS",
                "Databases",
                ("Aurora:StorageIOUsage", "CreateDBInstance:0021", "IOs"),
                2.2e-7,
                "calls",
                float(rng.uniform(4, 14)),
                f"arn:aws:rds:{arn}:cluster:{s.name}",
            ),
        ]
    if s.name in ENTRIES:
        out.append(
            meter(
                "AWS Data Transfer",
                "AWSDataTransfer",
                "Networking",
                ("DataTransfer-Out-Bytes", "Out", "GB"),
                0.09,
                "calls",
                float(rng.uniform(4e-6, 1.2e-5)),
                f"arn:aws:elasticloadbalancing:{arn}:loadbalancer/app/{s.name}/1f0c",
            )
        )
    return out


def _shared_meters(rng: np.random.Generator, accounts: tuple[tuple[str, str], ...]) -> tuple[Meter, ...]:
    """What no service is named for: registries, DNS, gateways, guards, a staging machine in office hours."""

    def meter(
        team: str | None,
        product: str,
        code: str,
        what: tuple[str, str, str],
        price: float,
        follows: tuple[str, float],
        account: str,
        resource: str | None,
    ) -> Meter:
        usage_type, operation, unit = what
        return Meter(
            None,
            team,
            product,
            code,
            "Other",
            f"EU-{usage_type}",
            operation,
            unit,
            price,
            follows[0],
            follows[1],
            account,
            "eu-west-1",
            resource,
        )

    shared, prod, sandbox = accounts[2][0], accounts[0][0], accounts[3][0]
    return (
        meter(
            None,
            "Amazon EC2 Container Registry (ECR)",
            "AmazonECR",
            ("TimedStorage-ByteHrs", "Storage", "GB-Mo"),
            0.1,
            ("constant", float(rng.uniform(4, 8))),
            shared,
            f"arn:aws:ecr:eu-west-1:{shared}:repository/base-images",
        ),
        meter(None, "Amazon Route 53", "AmazonRoute53", ("DNS-Queries", "Query", "Queries"), 4e-7, ("season", 1.4e6), prod, None),
        meter(
            None,
            "Amazon Elastic Compute Cloud",
            "AmazonEC2",
            ("NatGateway-Bytes", "NatGateway", "GB"),
            0.048,
            ("season", 9.0),
            shared,
            f"arn:aws:ec2:eu-west-1:{shared}:natgateway/nat-0a41be55",
        ),
        meter(
            "platform",
            "Amazon GuardDuty",
            "AmazonGuardDuty",
            ("PaidEventsAnalyzed", "Analyze", "Events"),
            4e-6,
            ("season", 9e4),
            prod,
            None,
        ),
        meter(
            "platform",
            "AWS Config",
            "AWSConfig",
            ("ConfigurationItemRecorded", "Record", "ConfigurationItemRecorded"),
            0.003,
            ("season", 160.0),
            prod,
            None,
        ),
        meter(
            "data-products",
            "Amazon Elastic Compute Cloud",
            "AmazonEC2",
            ("BoxUsage:t3.xlarge", "RunInstances", "Hrs"),
            0.1824,
            ("office", 6.0),
            sandbox,
            "i-0staging77a1",
        ),
    )
