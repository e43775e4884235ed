"""The sample company's run in the real formats: FOCUS as AWS Data Exports write it, CloudTrail, CDEvents, signals, Backstage, CODEOWNERS."""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from company import LINES, Company, Meter, Service
from incidents import Incident, Run

FOCUS = (
    *(
        "AvailabilityZone",
        "BilledCost",
        "BillingAccountId",
        "BillingAccountName",
        "BillingCurrency",
        "BillingPeriodEnd",
        "BillingPeriodStart",
    ),
    *(
        "ChargeCategory",
        "ChargeClass",
        "ChargeDescription",
        "ChargeFrequency",
        "ChargePeriodEnd",
        "ChargePeriodStart",
    ),
    *(
        "CommitmentDiscountCategory",
        "CommitmentDiscountId",
        "CommitmentDiscountName",
        "CommitmentDiscountStatus",
        "CommitmentDiscountType",
    ),
    *(
        "ConsumedQuantity",
        "ConsumedUnit",
        "ContractedCost",
        "ContractedUnitPrice",
        "EffectiveCost",
        "InvoiceIssuerName",
        "ListCost",
    ),
    *(
        "ListUnitPrice",
        "PricingCategory",
        "PricingQuantity",
        "PricingUnit",
        "ProviderName",
        "PublisherName",
        "RegionId",
        "RegionName",
    ),
    *(
        "ResourceId",
        "ResourceName",
        "ResourceType",
        "ServiceCategory",
        "ServiceName",
        "SkuId",
        "SkuPriceId",
        "SubAccountId",
    ),
    *(
        "SubAccountName",
        "Tags",
        "x_CostCategories",
        "x_Discounts",
        "x_Operation",
        "x_ServiceCode",
        "x_UsageType",
    ),
)
NUMBERS = {
    *(
        "BilledCost",
        "ConsumedQuantity",
        "ContractedCost",
        "ContractedUnitPrice",
        "EffectiveCost",
        "ListCost",
        "ListUnitPrice",
    ),
    "PricingQuantity",
}
ISSUER = "Amazon Web Services, Inc."
REGION_NAMES = {
    "eu-west-1": "EU (Ireland)",
    "us-east-1": "US East (N. Virginia)",
    "eu-central-1": "EU (Frankfurt)",
    "us-west-2": "US West (Oregon)",
    "ap-southeast-2": "Asia Pacific (Sydney)",
}
SUMMARIES = (
    *(
        "Bump base image",
        "Upgrade runtime",
        "Refactor handlers",
        "Move configuration into one file",
        "Translate new pages",
    ),
    *(
        "Rotate signing key",
        "Fix flaky test",
        "Add dashboard",
        "Tidy logging",
        "Update dependencies",
        "Rename fields",
        "Cache headers",
    ),
    *(
        "Small speed-up",
        "Feature toggle clean-up",
        "Drop old endpoint",
        "Validate postcodes",
        "Raise connection pool to 40",
        "Typo",
    ),
    *(
        "Log order ids",
        "Retry webhook once on 502",
        "Warm cache after start",
        "Support new address form",
        "Add idempotency key",
    ),
)
HOSTILE = (  # what a stranger can write into a title; the app has to show it as text
    "<img src=x onerror=alert(1)>",
    '"><script>alert(document.domain)</script>',
    "[release notes](javascript:alert(1)) {{7*7}} ${7*7}",
    '=HYPERLINK("https://marigold.example","open")',
)


def ident(*parts: object) -> str:
    """A made-up identifier that the same parts always give."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def uuid(*parts: object) -> str:
    """The same, spelt as a UUID."""
    h = ident(*parts)
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"


# ---------------------------------------------------------------- billing


def billing(
    company: Company, run: Run, axis: tuple[datetime, int], lost: Incident | None
) -> pl.DataFrame:
    """Line items, one account's up to its own last billed hour. axis: first hour and how many hours there are."""
    first, hours = axis
    billed = {
        account: hours - lag
        for (account, _), lag in zip(company.accounts, company.lags, strict=True)
    }
    frames = []
    for k, m in enumerate(run.meters):
        on = np.flatnonzero(run.usage[k, : billed[m.account]] > 0)
        if on.size:
            frames += _lines(
                company,
                m,
                (on, run.usage[k, on], run.covered[k, on], run.price[k, on]),
                (first, lost),
            )
    rows = pl.concat(
        [*frames, _fees(company, first, billed[company.accounts[0][0]])], how="diagonal_relaxed"
    )
    month = pl.col("ChargePeriodStart").dt.truncate("1mo")
    whole_month = pl.col("ChargeFrequency") == "Recurring"
    rows = rows.with_columns(
        BillingAccountId=pl.lit(company.payer),
        BillingAccountName=pl.lit(f"{company.name}-payer"),
        BillingCurrency=pl.lit("USD"),
        BillingPeriodStart=month,
        BillingPeriodEnd=month.dt.offset_by("1mo"),
        ProviderName=pl.lit("AWS"),
        PublisherName=pl.lit(ISSUER),
        InvoiceIssuerName=pl.lit(ISSUER),
        ChargePeriodEnd=pl.when(whole_month)
        .then(month.dt.offset_by("1mo"))
        .otherwise(pl.col("ChargePeriodStart") + pl.duration(hours=1)),
        PricingQuantity=pl.col("ConsumedQuantity"),
        PricingUnit=pl.col("ConsumedUnit"),
        ContractedCost=pl.when(pl.col("ChargeCategory") == "Usage")
        .then(pl.col("ConsumedQuantity") * pl.col("ContractedUnitPrice"))
        .otherwise(pl.col("BilledCost")),
        RegionName=pl.col("RegionId").replace(REGION_NAMES),
    )
    missing = [
        pl.lit(None, dtype=pl.Float64 if c in NUMBERS else pl.String).alias(c)
        for c in FOCUS
        if c not in rows.columns
    ]
    return rows.with_columns(missing).with_columns(pl.col(sorted(NUMBERS)).round(9)).select(FOCUS)


def _lines(
    company: Company,
    m: Meter,
    values: tuple[np.ndarray, ...],
    context: tuple[datetime, Incident | None],
) -> list[pl.DataFrame]:
    """A meter's hours: on demand, under the savings plan, and the plan's own fee."""
    on, usage, covered, demanded = values
    first, lost = context
    tags = _tags(m)
    gone = (
        lost.start if lost is not None and m.service in {lost.service, *lost.also} else on[-1] + 1
    )
    hours = pl.Series([first + timedelta(hours=int(t)) for t in on], dtype=pl.Datetime("ms"))
    out = []
    for quantity, price, plan in (
        (usage - covered, demanded, False),
        (covered, m.covered_price, True),
    ):
        cost = np.round(quantity * price, 9)
        frame = pl.DataFrame(
            {
                "ChargePeriodStart": hours,
                "ConsumedQuantity": quantity,
                "EffectiveCost": cost,
                "BilledCost": np.zeros_like(cost) if plan else cost,
                "ListCost": np.round(quantity * demanded / (1 - company.discount), 9),
                "Tags": np.where(on >= gone, "{}", tags),
            }
        ).filter(pl.col("ConsumedQuantity") > 1e-9)
        if frame.height:
            used = _instances(frame.with_columns(**_columns(company, m, plan=plan)), m)
            if m.follows == "credit":  # a credit is money without a quantity
                used = used.with_columns(
                    ChargeCategory=pl.lit("Credit"), ConsumedQuantity=pl.lit(None, dtype=pl.Float64)
                )
            out += [used, _plan_fee(used)] if plan else [used]
    return out


def _columns(company: Company, m: Meter, *, plan: bool) -> dict[str, pl.Expr]:
    """What is the same in each hour."""
    product, code, category = m.product
    sku = ident(m.line, m.region)[:12].upper()
    listed = float(f"{m.price / (1 - company.discount):.6g}")
    texts = {
        "AvailabilityZone": f"{m.region}{'abc'[len(m.service or '') % 3]}"
        if m.line in {"large", "xlarge", "2xlarge", "t3"}
        else None,
        "ChargeCategory": "Usage",
        "ChargeDescription": f"${listed:.6g} per {m.unit} - {m.usage_type}",
        "ChargeFrequency": "Usage-Based",
        "ConsumedUnit": m.unit,
        "PricingCategory": "Committed" if plan else "Standard",
        "RegionId": m.region,
        "ResourceType": LINES[m.line][0] if m.resource else None,
        "ServiceCategory": category,
        "ServiceName": product,
        "SkuId": sku,
        "SkuPriceId": f"{sku}.JRTCKXETXF",
        "SubAccountId": m.account,
        "SubAccountName": dict(company.accounts)[m.account],
        "x_Operation": m.operation,
        "x_ServiceCode": code,
        "x_UsageType": m.usage_type,
        "CommitmentDiscountCategory": "Spend" if plan else None,
        "CommitmentDiscountId": _plan(company) if plan else None,
        "CommitmentDiscountStatus": "Used" if plan else None,
        "CommitmentDiscountType": "Compute Savings Plan" if plan else None,
    }
    numbers = {"ListUnitPrice": listed, "ContractedUnitPrice": m.price}
    return {k: pl.lit(v, dtype=pl.String) for k, v in texts.items()} | {
        k: pl.lit(v) for k, v in numbers.items()
    }


def _plan(company: Company) -> str:
    return f"arn:aws:savingsplans::{company.payer}:savingsplan/{uuid(company.name, 'plan')}"


def _plan_fee(used: pl.DataFrame) -> pl.DataFrame:
    """What was paid for the plan in the hour: billed, and no cost of its own, for the covered rows carry it."""
    keep = (
        "ChargePeriodStart",
        "SubAccountId",
        "SubAccountName",
        "CommitmentDiscountId",
        "CommitmentDiscountCategory",
        "CommitmentDiscountType",
    )
    texts = {
        "ChargeCategory": "Purchase",
        "ChargeDescription": "1 year No Upfront Compute Savings Plan",
        "ChargeFrequency": "Usage-Based",
        "PricingCategory": "Standard",
        "ServiceCategory": "Other",
        "ServiceName": "Savings Plans for AWS Compute usage",
        "Tags": "{}",
        "x_ServiceCode": "ComputeSavingsPlans",
        "x_UsageType": "ComputeSP:1yrNoUpfront",
    }
    return used.select(
        *keep,
        BilledCost="EffectiveCost",
        EffectiveCost=pl.lit(0.0),
        ListCost=pl.lit(0.0),
        **{k: pl.lit(v) for k, v in texts.items()},
    )


def _instances(rows: pl.DataFrame, m: Meter) -> pl.DataFrame:
    """One row for each instance where machines are billed by name; they are replaced every night."""
    if m.resource is None or not m.resource.startswith("asg:"):
        return rows.with_columns(ResourceId=pl.lit(m.resource, dtype=pl.String))
    count = pl.col("ConsumedQuantity").round().cast(pl.Int64).clip(1)
    each = [
        pl.col(c) / pl.col("n")
        for c in ("ConsumedQuantity", "EffectiveCost", "BilledCost", "ListCost")
    ]
    spread = rows.with_columns(n=count, i=pl.int_ranges(0, count)).explode("i").with_columns(each)
    day = pl.col("ChargePeriodStart").dt.date().cast(pl.String)
    name = pl.concat_str([pl.lit(f"{m.service}-"), day, pl.lit("-"), pl.col("i").cast(pl.String)])
    keys = spread.select(name.alias("k")).unique(maintain_order=True)["k"].to_list()
    ids = {k: f"i-0{ident(k)[:16]}" for k in keys}
    return spread.with_columns(ResourceId=name.replace_strict(ids, return_dtype=pl.String)).drop(
        "n", "i"
    )


def _tags(m: Meter) -> str:
    if m.tag_key is None or (m.service is None and m.team is None):
        return "{}"
    tags = {
        "env": "prod",
        **({m.tag_key: m.service} if m.service else {}),
        **({"team": m.team} if m.team else {}),
    }
    centre = int(ident(m.team or "")[:4], 16)
    if m.team is not None and centre % 5:
        tags["cost-center" if centre % 2 else "CostCenter"] = f"cc-{4100 + centre % 900}"
    return json.dumps(tags, sort_keys=True)


def _fees(company: Company, first: datetime, billed: int) -> pl.DataFrame:
    """Tax and support at the start of each month, a refund, and a small credit every hour."""
    last, rows = first + timedelta(hours=billed), []
    for month in sorted(
        {(first + timedelta(hours=t)).replace(day=1, hour=0) for t in range(billed)}
    ):
        monthly = (
            ("AWS Support (Business)", "Purchase", 1240.0),
            ("Amazon Elastic Compute Cloud", "Tax", 610.4),
            ("AWS Lambda", "Tax", 212.9),
        )
        rows += [
            (max(month, first), service, category, None, "Recurring", cost)
            for service, category, cost in monthly
        ]
    refund = first + timedelta(hours=int(0.35 * billed))
    rows.append(
        (
            refund,
            "Amazon Relational Database Service",
            "Adjustment",
            "Correction",
            "One-Time",
            -84.2,
        )
    )
    rows += [
        (
            first + timedelta(hours=t),
            "Amazon Simple Storage Service",
            "Credit",
            None,
            "Usage-Based",
            -0.31,
        )
        for t in range(billed)
    ]
    names = ("ServiceName", "ChargeCategory", "ChargeClass", "ChargeFrequency")
    schema: dict[str, pl.DataType] = {
        "ChargePeriodStart": pl.Datetime("ms"),
        **{n: pl.String() for n in names},
        "BilledCost": pl.Float64(),
    }
    frame = pl.DataFrame([r for r in rows if r[0] < last], schema=schema, orient="row")
    account, name = company.accounts[0]
    texts = {
        "SubAccountId": account,
        "SubAccountName": name,
        "Tags": "{}",
        "ServiceCategory": "Other",
    }
    return frame.with_columns(
        EffectiveCost="BilledCost",
        ListCost="BilledCost",
        **{k: pl.lit(v) for k, v in texts.items()},
    )


ORDER = (
    "SubAccountId",
    "ServiceName",
    "x_UsageType",
    "ResourceId",
    "Tags",
    "PricingCategory",
    "ChargeCategory",
    "ChargePeriodStart",
    "BilledCost",
)


def write_billing(rows: pl.DataFrame, folder: Path, name: str) -> None:
    """AWS Data Exports' overwrite layout, Parquet, with the manifest of each period."""
    for (month,), part in sorted(rows.partition_by("BillingPeriodStart", as_dict=True).items()):
        period = f"BILLING_PERIOD={month:%Y-%m}"
        file = folder / "data" / period / f"{name}-focus-00001.snappy.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        _parquet(part.sort(ORDER, nulls_last=False), file)
        manifest = folder / "metadata" / period / f"{name}-focus-Manifest.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        said = {
            "billingPeriod": f"{month:%Y-%m}",
            "contentType": "Parquet",
            "columns": list(FOCUS),
            "dataFiles": [f"billing/data/{period}/{file.name}"],
        }
        manifest.write_text(json.dumps(said, indent=1) + "\n")


def _parquet(rows: pl.DataFrame, file: Path) -> None:
    """Tags as a map, as AWS writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows.to_arrow()
    texts = {t: list(json.loads(t).items()) for t in rows["Tags"].unique().to_list()}
    words, numbers = pa.map_(pa.string(), pa.string()), pa.map_(pa.string(), pa.float64())
    maps = {
        "Tags": pa.array([texts[t] for t in rows["Tags"].to_list()], type=words),
        "x_CostCategories": pa.array([[]] * rows.height, type=words),
        "x_Discounts": pa.array([[]] * rows.height, type=numbers),
    }
    for column, values in maps.items():
        table = table.set_column(table.schema.get_field_index(column), column, values)
    pq.write_table(table, file, compression="zstd", compression_level=12, use_dictionary=True)


# ---------------------------------------------------------------- signals


def signals(run: Run, axis: tuple[datetime, int]) -> pl.DataFrame:
    """calls, retries, errors, bytes by edge, capacity by service, up to the end."""
    first, hours = axis
    times = pl.Series(
        [first + timedelta(hours=t) for t in range(hours)], dtype=pl.Datetime("us")
    ).dt.replace_time_zone("UTC")

    def column(service: str, caller: str | None, metric: str, values: np.ndarray) -> pl.DataFrame:
        names = {
            "service": pl.lit(service),
            "caller": pl.lit(caller, dtype=pl.String),
            "metric": pl.lit(metric),
        }
        return (
            pl.DataFrame({"time": times, "value": values})
            .with_columns(**names)
            .filter(pl.col("value") > 0)
        )

    parts = []
    for (caller, service), calls in sorted(
        run.calls.items(), key=lambda x: (x[0][1], x[0][0] or "")
    ):
        again = run.retries.get((caller, service))
        rows = {"calls": calls}
        if again is not None:
            size = 400 + int(ident(caller, service)[:3], 16)
            rows |= {
                "retries": again,
                "errors": np.round(again * 1.05),
                "bytes": np.round(calls * size),
            }
        elif caller is None:
            rows["errors"] = np.round(calls * 0.002)
        parts += [column(service, caller, metric, values) for metric, values in rows.items()]
    parts += [
        column(name, None, "capacity", values) for name, values in sorted(run.instances.items())
    ]
    return pl.concat(parts).select("time", "service", "caller", "metric", "value")


# ---------------------------------------------------------------- changes

Records = list[dict[str, object]]


def deployed(
    company: Company, service: str, time: datetime, actor: str, summary: str, **more: object
) -> dict[str, object]:
    """A CDEvents service event."""
    verb = str(more.pop("verb", "deployed"))
    custom = {
        "actor": f"{actor}@{company.name}.example",
        "summary": summary,
        "url": f"https://git.{company.name}.example/platform/services/{service}/pulls/{int(ident(service, time)[:3], 16)}",
        **more,
    }
    environment = str(custom.pop("environment", "production"))
    return {
        "context": {
            "version": "0.4.1",
            "id": f"evt-{ident(company.name, service, time, summary)[:12]}",
            "source": f"/{company.name}/delivery",
            "type": f"dev.cdevents.service.{verb}.0.2.0",
            "timestamp": f"{time:%Y-%m-%dT%H:%M:%SZ}",
        },
        "subject": {
            "id": service,
            "source": f"/{company.name}/services/{service}",
            "type": "service",
            "content": {
                "environment": {"id": environment, "source": f"/{company.name}/environments"},
                "artifactId": f"pkg:oci/{service}@sha256:{ident(service, time)}",
            },
        },
        "customData": custom,
        "customDataContentType": "application/json",
    }


def called(
    company: Company, what: tuple[str, str], time: datetime, who: tuple[str, str], **more: object
) -> dict[str, object]:
    """A CloudTrail record. what: (service, API call); who: (person or session, role)."""
    (source, event), (session, role) = what, who
    account, region = (
        str(more.pop("account", company.accounts[0][0])),
        str(more.pop("region", company.regions[0])),
    )
    name = (
        f"{session}@{company.name}.example"
        if session in {p for p, _ in company.people}
        else session
    )
    principal = f"AROA{ident(company.name, role)[:16].upper()}"
    agent = {
        "terraform-apply": "APN/1.0 HashiCorp/1.0 Terraform/1.9.5",
        "github-actions-deploy": "Boto3/1.35.10",
    }
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"{principal}:{name}",
            "arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "accountId": account,
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": principal,
                    "arn": f"arn:aws:iam::{account}:role/{role}",
                    "accountId": account,
                    "userName": role,
                },
                "attributes": {
                    "creationDate": f"{time:%Y-%m-%dT%H:%M:%SZ}",
                    "mfaAuthenticated": "false",
                },
            },
        },
        "eventTime": f"{time:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": event,
        "awsRegion": region,
        "sourceIPAddress": f"198.51.100.{int(ident(session)[:2], 16)}",
        "userAgent": agent.get(role, "AWS Internal"),
        "requestParameters": more.pop("asked", {}),
        "responseElements": more.pop("answered", None),
        "requestID": uuid("request", company.name, event, time, session),
        "eventID": uuid(company.name, event, time, session, account, region),
        "readOnly": bool(more.pop("read", False)),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }


SSO = "AWSReservedSSO_PowerUserAccess_41c7be02"


def released(company: Company, s: Service, time: datetime) -> dict[str, object]:
    """What a deployment's pipeline leaves in CloudTrail."""
    what: tuple[str, str]
    what, asked = (
        ("lambda", "UpdateFunctionCode20150331v2"),
        {"functionName": f"{s.name}-fn", "publish": True},
    )
    if s.runtime == "fargate":
        what, asked = (
            ("ecs", "UpdateService"),
            {"cluster": "prod", "service": s.name, "forceNewDeployment": True},
        )
    if s.runtime == "ec2":
        what, asked = (
            ("codedeploy", "CreateDeployment"),
            {"applicationName": s.name, "deploymentGroupName": "prod"},
        )
    who = (f"run-{int(ident(s.name, time)[:8], 16)}", "github-actions-deploy")
    return called(company, what, time, who, account=s.account, region=s.region, asked=asked)


def ordinary(
    company: Company, axis: tuple[datetime, int], rng: np.random.Generator
) -> tuple[Records, Records]:
    """Hundreds of changes that cost nothing, and reads that change nothing: CDEvents and CloudTrail records."""
    first, hours = axis
    events, records = _deployments(company, axis, rng)
    for s in (s for s in company.services if s.name != company.newcomer):
        for t in np.flatnonzero(rng.random(hours) < 0.11 / 24):
            what, asked = _routine(s, int(rng.integers(9)))
            time, who = (
                _working(first, int(t), rng),
                (_person(company, s.team, rng), SSO if rng.random() < 0.7 else "terraform-apply"),
            )
            records.append(
                called(company, what, time, who, account=s.account, region=s.region, asked=asked)
            )
    reads = (
        ("ec2", "DescribeInstances"),
        ("ce", "GetCostAndUsage"),
        ("logs", "DescribeLogGroups"),
        ("s3", "ListBuckets"),
    )
    for t in np.flatnonzero(rng.random(hours) < 0.09):
        time, n = (
            first + timedelta(hours=int(t), minutes=int(rng.integers(60))),
            int(rng.integers(len(reads))),
        )
        records.append(
            called(company, reads[n], time, (_person(company, None, rng), SSO), read=True)
        )
    groups = [s for s in company.services if s.runtime == "ec2"]
    for t in np.flatnonzero(rng.random(hours) < 0.07 * bool(groups)):
        s, time = (
            groups[int(rng.integers(len(groups)))],
            first + timedelta(hours=int(t), minutes=int(rng.integers(60))),
        )
        tag = {
            "resourceType": "instance",
            "tags": [{"key": "aws:autoscaling:groupName", "value": f"{s.name}-nodes"}],
        }
        asked = {
            "instancesSet": {"items": [{"minCount": 1, "maxCount": 1}]},
            "tagSpecificationSet": {"items": [tag]},
        }
        answered = {"instancesSet": {"items": [{"instanceId": f"i-0{ident(s.name, time)[:16]}"}]}}
        who = ("AutoScaling", "AWSServiceRoleForAutoScaling")
        records.append(
            called(
                company,
                ("ec2", "RunInstances"),
                time,
                who,
                account=s.account,
                region=s.region,
                asked=asked,
                answered=answered,
            )
        )
    return events, records


def _deployments(
    company: Company, axis: tuple[datetime, int], rng: np.random.Generator
) -> tuple[Records, Records]:
    """Each service ships every few days; half of the deployments leave a CloudTrail record too."""
    first, hours = axis
    events, records, titles = Records(), Records(), 0
    for s in (s for s in company.services if s.name != company.newcomer):
        for t in np.flatnonzero(rng.random(hours) < 0.26 / 24):
            time, title = _working(first, int(t), rng), str(rng.choice(SUMMARIES))
            if rng.random() < 0.04 or (titles < len(HOSTILE) and len(events) % 23 == 11):
                title, titles = HOSTILE[titles % len(HOSTILE)], titles + 1
            staging = rng.random() < 0.15
            more = (
                {"environment": "staging"}
                if staging
                else {"ticket": f"{s.team[:3].upper()}-{int(rng.integers(1000, 9999))}"}
            )
            events.append(
                deployed(company, s.name, time, _person(company, s.team, rng), title, **more)
            )
            if not staging and rng.random() < 0.5:
                records.append(released(company, s, time - timedelta(minutes=1)))
    return events, records


def _routine(s: Service, n: int) -> tuple[tuple[str, str], dict[str, object]]:
    """What people do to a service on an ordinary day."""
    fn, group = f"{s.name}-fn", f"/services/{s.name}"
    calls: tuple[tuple[tuple[str, str], dict[str, object]], ...] = (
        (("logs", "PutRetentionPolicy"), {"logGroupName": group, "retentionInDays": 30}),
        (("monitoring", "PutMetricAlarm"), {"alarmName": f"{s.name}-errors", "threshold": 5}),
        (("iam", "PutRolePolicy"), {"roleName": f"{s.name}-role", "policyName": "access"}),
        (("secretsmanager", "RotateSecret"), {"secretId": f"{s.name}/db"}),
        (("ssm", "PutParameter"), {"name": f"/prod/{s.name}/feature", "overwrite": True}),
        (("ec2", "AuthorizeSecurityGroupIngress"), {"groupId": f"sg-0{ident(s.name)[:8]}"}),
        (
            ("lambda", "UpdateFunctionConfiguration20150331v2"),
            {"functionName": fn, "environment": {}},
        )
        if s.runtime == "lambda"
        else (
            ("application-autoscaling", "PutScalingPolicy"),
            {"resourceId": f"service/prod/{s.name}", "policyName": f"{s.name}-cpu"},
        ),
        (
            ("tagging", "TagResources"),
            {
                "resourceARNList": [f"arn:aws:logs:{s.region}:{s.account}:log-group:{group}"],
                "tags": {"env": "prod"},
            },
        ),
        (("ec2", "CreateSnapshot"), {"volumeId": f"vol-0{ident(s.name, 'v')[:12]}"}),
    )
    return calls[n]


def _person(company: Company, team: str | None, rng: np.random.Generator) -> str:
    members = (
        [p for p, t in company.people if t == team]
        if team is not None and rng.random() < 0.8
        else [p for p, _ in company.people]
    )
    return members[int(rng.integers(len(members)))]


def _working(first: datetime, t: int, rng: np.random.Generator) -> datetime:
    """Most people change things by day."""
    time = first + timedelta(hours=t, minutes=int(rng.integers(60)), seconds=int(rng.integers(60)))
    return time if 7 <= time.hour <= 18 else time.replace(hour=8 + time.hour % 10)


# ---------------------------------------------------------------- what incidents leave


USUAL_LAG = 6  # minutes; the sample company's records do not leave the hour of what they did


def of_incident(
    company: Company, i: Incident, first: datetime
) -> tuple[Records, Records, list[str]]:
    """The records that an incident leaves: events, API calls, and the ids of the decision (not of what ended it)."""
    if i.person is None:
        return [], [], []
    begin = first + timedelta(
        hours=i.start,
        minutes=max(0, i.minute - 6) if i.lag == USUAL_LAG else i.minute - i.lag,
        seconds=17,
    )
    events, records = _begins(company, i, begin)
    ids = [str(e["context"]["id"]) for e in events] + [str(r["eventID"]) for r in records]  # type: ignore[index]
    if i.end is not None:
        more = _ends(company, i, first + timedelta(hours=i.end, minutes=-4, seconds=9))
        events, records = events + more[0], records + more[1]
    return events, records, ids


TITLES = {
    "retry_loop": "Retry failed calls in the HTTP client by default",
    "fan_out": "Load the details of each item of the list",
    "log_level": "Log request and response bodies",
    "payload": "Return the whole document in each answer",
    "scan": "Filter orders by status",
}


def _begins(company: Company, i: Incident, begin: datetime) -> tuple[Records, Records]:
    """The decision."""
    person, home = str(i.person), company.service(i.service)
    if i.sort in TITLES:
        caller = company.service(i.caller or i.service)
        event = deployed(
            company, caller.name, begin, person, TITLES[i.sort], ticket=f"MG-{1000 + i.start}"
        )
        return [event], [released(company, caller, begin - timedelta(minutes=1))]
    if i.sort == "planned_launch":
        return [
            deployed(
                company,
                i.service,
                begin,
                person,
                "Open the winter catalogue",
                planned=_plan_of(i, begin),
            )
        ], []
    if i.sort == "cross_region":
        new = company.service(company.newcomer)
        asked = {"functionName": f"{new.name}-fn", "memorySize": 1024, "runtime": "python3.12"}
        made = called(
            company,
            ("lambda", "CreateFunction20150331"),
            begin - timedelta(minutes=2),
            (person, "terraform-apply"),
            account=new.account,
            region=new.region,
            asked=asked,
        )
        return [deployed(company, new.name, begin, person, f"First version of {new.name}")], [made]
    return [], [_api_call(company, i, home, begin)]


def _plan_of(i: Incident, begin: datetime) -> dict[str, object]:
    until = begin + timedelta(days=28)
    return {
        "reason": "winter catalogue",
        "expected_cost_per_day": float(round(i.dollars * i.foreseen, -1)),
        "until": f"{until:%Y-%m-%dT%H:%M:%SZ}",
    }


def _api_call(
    company: Company, i: Incident, home: Service, time: datetime, *, undone: bool = False
) -> dict[str, object]:
    """A decision that only CloudTrail saw; undone: the call that takes it back."""
    place: dict[str, object] = {"account": home.account, "region": home.region}
    person = str(i.person)
    if i.sort == "autoscaler":
        asked: dict[str, object] = {
            "minCapacity": home.floor if undone else int(i.size),
            "maxCapacity": 2 * int(i.size),
        }
        what = ("application-autoscaling", "RegisterScalableTarget")
        target = {
            "serviceNamespace": "ecs",
            "resourceId": f"service/prod/{i.service}",
            "scalableDimension": "ecs:service:DesiredCount",
        }
        if home.runtime == "ec2":
            what, target = (
                ("autoscaling", "UpdateAutoScalingGroup"),
                {"autoScalingGroupName": f"{i.service}-nodes"},
            )
            asked = {"minSize": asked["minCapacity"], "maxSize": asked["maxCapacity"]}
        return called(company, what, time, (person, SSO), asked={**target, **asked}, **place)
    if i.sort in {"memory", "nodes", "target", "storage_ramp"}:
        what, asked = _setting(company, i, undone=undone)
        return called(company, what, time, (person, SSO), asked=asked, **place)
    if i.sort == "cron_frequency":
        rate = _rate(home.every, 1 if undone else round(i.size))
        asked = {
            "name": str(i.caller).removeprefix("schedule:"),
            "scheduleExpression": rate,
            "state": "ENABLED",
        }
        return called(company, ("events", "PutRule"), time, (person, SSO), asked=asked, **place)
    if i.sort == "tag_loss":
        lost = [
            m.resource
            for m in company.meters
            if m.service in {i.service, *i.also} and m.resource and m.resource.startswith("arn:")
        ]
        asked = {
            "resourceARNList": sorted(set(lost)),
            "tagKeys": [
                "service",
                "app",
                "app.kubernetes.io/name",
                "team",
                "cost-center",
                "CostCenter",
            ],
        }
        return called(
            company,
            ("tagging", "UntagResources"),
            time,
            (person, "terraform-apply"),
            asked=asked,
            **place,
        )
    machine = next(m for m in company.meters if m.only == "unowned")
    asked = {
        "instanceType": machine.usage_type.split(":")[1],
        "instancesSet": {"items": [{"minCount": 1, "maxCount": 1}]},
    }
    answered = {"instancesSet": {"items": [{"instanceId": machine.resource}]}}
    where = {"account": machine.account, "region": machine.region}
    return called(
        company,
        ("ec2", "RunInstances"),
        time,
        (person, SSO),
        asked=asked,
        answered=answered,
        **where,
    )


def _setting(
    company: Company, i: Incident, *, undone: bool
) -> tuple[tuple[str, str], dict[str, object]]:
    """A setting of one service that somebody changed by hand: the API call and its parameters."""
    s = company.service(i.service)
    if i.sort == "memory":
        return ("lambda", "UpdateFunctionConfiguration20150331v2"), {
            "functionName": f"{s.name}-fn",
            "memorySize": 512 if undone else 128 * round(4 * i.size),
        }
    if i.sort == "nodes":
        m = next(m for m in company.meters if m.service == s.name and m.line == i.line)
        what = (
            ("rds", "CreateDBInstance")
            if i.line == "db-hours"
            else ("elasticache", "ModifyReplicationGroupShardConfiguration")
        )
        named = "dBInstanceIdentifier" if i.line == "db-hours" else "replicationGroupId"
        return what, {
            named: str(m.resource).split(":")[-1],
            "nodeGroupCount": 2 if undone else int(i.size),
        }
    if i.sort == "storage_ramp":
        if i.line == "bucket-storage":
            return ("s3", "DeleteBucketLifecycle"), {"bucketName": f"{company.name}-{s.name}-files"}
        return ("dynamodb", "UpdateTimeToLive"), {
            "tableName": f"{s.name}-main",
            "timeToLiveSpecification": {"enabled": False},
        }
    asked = {
        "policyName": f"{s.name}-cpu",
        "policyType": "TargetTrackingScaling",
        "targetValue": 70.0 if undone else round(70 / i.size, 1),
    }
    if s.runtime == "ec2":
        return ("autoscaling", "PutScalingPolicy"), {
            "autoScalingGroupName": f"{s.name}-nodes",
            **asked,
        }
    return ("application-autoscaling", "PutScalingPolicy"), {
        "serviceNamespace": "ecs",
        "resourceId": f"service/prod/{s.name}",
        **asked,
    }


def _rate(every: int, times: int) -> str:
    if every == 24:
        return (
            "cron(0 2 * * ? *)"
            if times == 1
            else f"rate({24 // times} hours)"
            if times < 24
            else "rate(1 hour)"
        )
    return "rate(1 hour)" if times == 1 else f"rate({60 // times} minutes)"


def _ends(company: Company, i: Incident, time: datetime) -> tuple[Records, Records]:
    """How it is taken back: a rollback, the former value; a launch just ends."""
    if i.sort in TITLES or i.sort == "cross_region":
        name = company.newcomer if i.sort == "cross_region" else i.caller or i.service
        title = f"Revert: {TITLES.get(i.sort, 'first version')}"
        return [deployed(company, name, time, str(i.person), title, verb="rolledback")], [
            released(company, company.service(name), time)
        ]
    return (
        ([], [])
        if i.sort == "planned_launch"
        else ([], [_api_call(company, i, company.service(i.service), time, undone=True)])
    )


def write_changes(
    events: Sequence[dict[str, object]], records: Sequence[dict[str, object]], folder: Path
) -> None:
    """CDEvents by month; CloudTrail by account, region and day, as it is delivered."""
    by_month, by_file = defaultdict(list), defaultdict(list)
    for e in events:
        by_month[str(e["context"]["timestamp"])[:7]].append(e)  # type: ignore[index]
    for r in records:
        by_file[r["recipientAccountId"], r["awsRegion"], str(r["eventTime"])[:10]].append(r)
    (folder / "changes").mkdir(parents=True, exist_ok=True)
    for month, part in sorted(by_month.items()):
        lines = [
            json.dumps(e, separators=(",", ":"))
            for e in sorted(part, key=lambda e: (e["context"]["timestamp"], e["context"]["id"]))
        ]
        (folder / "changes" / f"{month}.jsonl").write_text("\n".join(lines) + "\n")
    for (account, region, day), part in sorted(by_file.items()):
        place = (
            folder
            / "cloudtrail"
            / "AWSLogs"
            / account
            / "CloudTrail"
            / region
            / day[:4]
            / day[5:7]
            / day[8:]
        )
        place.mkdir(parents=True, exist_ok=True)
        name = f"{account}_CloudTrail_{region}_{day.replace('-', '')}T2355Z_{ident(account, region, day)[:16].upper()}.json.gz"
        body = json.dumps(
            {"Records": sorted(part, key=lambda r: (r["eventTime"], r["eventID"]))},
            separators=(",", ":"),
        ).encode()
        with (
            (place / name).open("wb") as stream,
            gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed,
        ):
            packed.write(body)


# ---------------------------------------------------------------- catalogue


def write_catalog(company: Company, folder: Path) -> None:
    """A catalogue of most services, groups and people; CODEOWNERS of all."""
    (folder / "catalog").mkdir(parents=True, exist_ok=True)
    mail, kinds = f"@{company.name}.example", "apiVersion: backstage.io/v1alpha1\nkind: "
    entities = []
    for k, team in enumerate(company.teams):
        notes = f"\n    slack.com/channel: '#{team}-oncall'" if k != 3 else " {}"
        profile = f"spec:\n  type: team\n  children: []\n  profile:\n    displayName: {team.title()}\n    email: {team}{mail}\n"
        entities.append(
            f"{kinds}Group\nmetadata:\n  name: {team}\n  annotations:{notes}\n{profile}"
        )
    for person, team in company.people:
        profile = f"profile:\n    displayName: {person.replace('.', ' ').title()}\n    email: {person}{mail}\n"
        entities.append(
            f"{kinds}User\nmetadata:\n  name: {person}\nspec:\n  {profile}  memberOf:\n  - {team}\n"
        )
    (folder / "catalog" / "org.yaml").write_text("---\n".join(entities))
    components = []
    for s in (s for k, s in enumerate(company.services) if k % 6 != 5):
        deps = "".join(
            f"  - component:default/{e.service}\n" for e in company.edges if e.caller == s.name
        )
        source = f"backstage.io/source-location: url:https://git.{company.name}.example/platform/services/{s.name}/"
        spec = f"spec:\n  type: service\n  lifecycle: production\n  owner: group:default/{s.team}\n"
        depends = f"  dependsOn:\n{deps}" if deps else ""
        components.append(
            f"{kinds}Component\nmetadata:\n  name: {s.name}\n  annotations:\n    {source}\n{spec}{depends}"
        )
    (folder / "catalog" / "catalog-info.yaml").write_text("---\n".join(components))
    owners = [f"/services/{s.name}/ @{company.name}/{s.team}" for s in company.services]
    (folder / "CODEOWNERS").write_text(
        "\n".join(
            ["# the last line that matches wins", f"* @{company.name}/{company.teams[-1]}", *owners]
        )
        + "\n"
    )


CONFIG = """[workspace]
name = "{name}"
currency = "USD"

[lake]
path = "lake"

[[cost]]
format = "focus"
path = "billing/"

[[changes]]
format = "cloudtrail"
path = "cloudtrail/"

[[changes]]
format = "cdevents"
path = "changes/*.jsonl"

[[signals]]
format = "signals"
path = "signals/"

[[owners]]
format = "backstage"
path = "catalog/"

[[owners]]
format = "codeowners"
path = "CODEOWNERS"

[mapping]
service_tags = ["service", "app", "app.kubernetes.io/name"]
team_tags = ["team", "owner"]
budget_tags = ["cost-center", "CostCenter"]
"""
