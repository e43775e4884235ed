"""The sample company's run in the real formats: FOCUS as AWS Data Exports write it, CloudTrail, CDEvents, signals, Backstage, CODEOWNERS."""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from company import Company, Meter
from incidents import NEW_SERVICE, Incident, Run

FOCUS = (
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountStatus",
    "ConsumedQuantity",
    "ConsumedUnit",
    "EffectiveCost",
    "ListCost",
    "PricingCategory",
    "ProviderName",
    "RegionId",
    "ResourceId",
    "ServiceCategory",
    "ServiceName",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Operation",
    "x_ServiceCode",
    "x_UsageType",
)
PAYER = "104729331806"
SUMMARIES = (
    "Bump base image",
    "Upgrade runtime",
    "Refactor handlers",
    "Move configuration into one file",
    "Translate new pages",
    "Rotate signing key",
    "Fix flaky test",
    "Add dashboard",
    "Tidy logging",
    "Update dependencies",
    "Rename fields",
    "Cache headers",
    "Small speed-up",
    "Feature toggle clean-up",
    "<img src=x onerror=alert(1)>",
    "Drop old endpoint",
)


def ident(*parts: object) -> str:
    """A made-up identifier that the same parts always give."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def uuid(*parts: object) -> str:
    """The same, spelt as a UUID."""
    h = ident(*parts)
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:32]}"


# ---------------------------------------------------------------- billing


def billing(company: Company, run: Run, axis: tuple[datetime, int], lost: Incident | None) -> pl.DataFrame:
    """Line items of the billed hours. axis: first hour and how many are billed."""
    first, billed = axis
    frames = []
    for k, meter in enumerate(run.meters):
        on = np.flatnonzero(run.usage[k, :billed] > 0)
        if on.size:
            frames += _lines(company, meter, (on, run.usage[k, on], run.covered[k, on]), (first, lost))
    rows = pl.concat([*frames, _fees(company, first, billed)], how="diagonal_relaxed")
    month = pl.col("ChargePeriodStart").dt.truncate("1mo")
    rows = rows.with_columns(
        BillingAccountId=pl.lit(PAYER),
        BillingCurrency=pl.lit("USD"),
        BillingPeriodStart=month,
        BillingPeriodEnd=month.dt.offset_by("1mo"),
        ProviderName=pl.lit("AWS"),
        ChargePeriodEnd=pl.when(pl.col("ChargeCategory").is_in(["Tax", "Fee"]))
        .then(month.dt.offset_by("1mo"))
        .otherwise(pl.col("ChargePeriodStart") + pl.duration(hours=1)),
        ChargeCategory=pl.col("ChargeCategory").replace("Fee", "Purchase"),
    )
    return rows.with_columns(pl.col("Tags").cast(pl.String)).select(FOCUS)


def _lines(
    company: Company, m: Meter, values: tuple[np.ndarray, np.ndarray, np.ndarray], context: tuple[datetime, Incident | None]
) -> list[pl.DataFrame]:
    on, usage, covered = values
    first, lost = context
    names = dict(company.accounts)
    base = {
        "ServiceCategory": m.category,
        "ServiceName": m.product,
        "SubAccountId": m.account,
        "SubAccountName": names[m.account],
        "x_Operation": m.operation,
        "x_ServiceCode": m.code,
        "x_UsageType": m.usage_type,
        "RegionId": m.region,
        "ConsumedUnit": m.unit,
    }
    tags = [_tags(m, lost is not None and lost.service == m.service and t >= lost.start) for t in on]
    hours = pl.Series([first + timedelta(hours=int(t)) for t in on], dtype=pl.Datetime("ms"))

    def frame(quantity: np.ndarray, price: float, category: str, paid: bool) -> pl.DataFrame:
        cost = np.round(quantity * price, 10)
        return (
            pl.DataFrame(
                {
                    "ChargePeriodStart": hours,
                    "ConsumedQuantity": quantity,
                    "EffectiveCost": cost,
                    "BilledCost": cost if paid else np.zeros_like(cost),
                    "ListCost": np.round(quantity * m.price, 10),
                    "Tags": tags,
                }
            )
            .filter(pl.col("ConsumedQuantity") > 0)
            .with_columns(
                [pl.lit(v).alias(k) for k, v in base.items()]
                + [
                    pl.lit("Usage").alias("ChargeCategory"),
                    pl.lit(category).alias("PricingCategory"),
                    pl.lit("Used" if category == "Committed" else None, dtype=pl.String).alias("CommitmentDiscountStatus"),
                ]
            )
        )

    out = [_instances(frame(usage - covered, m.price, "Standard", paid=True), m)]
    if covered.any():
        part = frame(covered, m.covered_price, "Committed", paid=False)
        fee = part.with_columns(
            BilledCost=pl.col("EffectiveCost"),
            EffectiveCost=pl.lit(0.0),
            ListCost=pl.lit(0.0),
            ConsumedQuantity=pl.lit(None, dtype=pl.Float64),
            ConsumedUnit=pl.lit(None, dtype=pl.String),
            ChargeCategory=pl.lit("Purchase"),
            CommitmentDiscountStatus=pl.lit(None, dtype=pl.String),
            PricingCategory=pl.lit("Standard"),
            x_UsageType=pl.lit("ComputeSP:1yrNoUpfront"),
            x_Operation=pl.lit(None, dtype=pl.String),
        )
        out += [_instances(part, m), fee]
    return out


def _instances(rows: pl.DataFrame, m: Meter) -> pl.DataFrame:
    """One row for each instance where machines are billed by name; they are replaced every night."""
    if m.resource is None or not m.resource.startswith("asg:"):
        return rows.with_columns(ResourceId=pl.lit(m.resource, dtype=pl.String))
    count = pl.col("ConsumedQuantity").round().cast(pl.Int64).clip(1)
    each = [pl.col(c) / pl.col("n") for c in ("ConsumedQuantity", "EffectiveCost", "BilledCost", "ListCost")]
    spread = rows.with_columns(n=count, i=pl.int_ranges(0, count)).explode("i").with_columns(each)
    day = pl.col("ChargePeriodStart").dt.date().cast(pl.String)
    name = pl.concat_str([pl.lit(f"{m.service}-"), day, pl.lit("-"), pl.col("i").cast(pl.String)])
    keys = spread.select(name.alias("k")).unique(maintain_order=True)["k"].to_list()
    ids = {k: f"i-0{ident(k)[:16]}" for k in keys}
    return spread.with_columns(ResourceId=name.replace_strict(ids, return_dtype=pl.String)).drop("n", "i")


def _tags(m: Meter, lost: bool) -> str:
    if lost or (m.service is None and m.team is None):
        return "{}"
    tags = {"env": "prod", **({m.tag_key: m.service} if m.service else {}), **({"team": m.team} if m.team else {})}
    if m.team in {"checkout", "storefront"}:
        tags["cost-center"] = f"cc-{4700 + len(m.team)}"
    return json.dumps(tags, sort_keys=True)


def _fees(company: Company, first: datetime, billed: int) -> pl.DataFrame:
    """Tax and support at the start of each month, a refund, and a small credit every hour."""
    last, rows = first + timedelta(hours=billed), []
    prod, name = company.accounts[0]
    for month in sorted({(first + timedelta(hours=t)).replace(day=1, hour=0) for t in range(billed)}):
        at = max(month, first)
        for service, category, cost in (
            ("AWS Support (Business)", "Fee", 1240.0),
            ("Amazon Elastic Compute Cloud", "Tax", 610.4),
            ("AWS Lambda", "Tax", 212.9),
        ):
            rows.append((at, service, category, cost))
    rows.append((first + timedelta(days=19, hours=5), "Amazon Relational Database Service", "Adjustment", -84.2))
    rows += [(first + timedelta(hours=t), "Amazon Simple Storage Service", "Credit", -0.31) for t in range(billed)]
    frame = pl.DataFrame(
        [r for r in rows if r[0] < last],
        schema={"ChargePeriodStart": pl.Datetime("ms"), "ServiceName": pl.String, "ChargeCategory": pl.String, "BilledCost": pl.Float64},
        orient="row",
    )
    return frame.with_columns(
        EffectiveCost="BilledCost",
        ListCost="BilledCost",
        SubAccountId=pl.lit(prod),
        SubAccountName=pl.lit(name),
        Tags=pl.lit("{}"),
        ServiceCategory=pl.lit("Other"),
    )


def write_billing(rows: pl.DataFrame, folder: Path) -> None:
    """AWS Data Exports' overwrite layout, Parquet, with the manifest of each period."""
    for (month,), part in sorted(rows.partition_by("BillingPeriodStart", as_dict=True).items()):
        period = f"BILLING_PERIOD={month:%Y-%m}"
        file = folder / "data" / period / "marigold-focus-00001.snappy.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        ordered = part.sort(
            "SubAccountId",
            "ServiceName",
            "x_UsageType",
            "ResourceId",
            "ChargePeriodStart",
            "PricingCategory",
            "ChargeCategory",
            nulls_last=False,
        )
        _parquet(ordered, file)
        manifest = folder / "metadata" / period / "marigold-focus-Manifest.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(
            json.dumps(
                {
                    "billingPeriod": f"{month:%Y-%m}",
                    "contentType": "Parquet",
                    "columns": list(FOCUS),
                    "dataFiles": [f"billing/data/{period}/{file.name}"],
                },
                indent=1,
            )
            + "\n"
        )


def _parquet(rows: pl.DataFrame, file: Path) -> None:
    """Tags as a map, as AWS writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows.drop("Tags").to_arrow()
    maps = pa.array([list(json.loads(t).items()) for t in rows["Tags"].to_list()], type=pa.map_(pa.string(), pa.string()))
    pq.write_table(table.append_column("Tags", maps), file, compression="zstd", compression_level=19, use_dictionary=True)


# ---------------------------------------------------------------- signals


def signals(run: Run, axis: tuple[datetime, int], errors: dict[str, float]) -> pl.DataFrame:
    """calls, retries, errors, bytes by edge, capacity by service."""
    first, hours = axis
    times = pl.Series([first + timedelta(hours=t) for t in range(hours)], dtype=pl.Datetime("us")).dt.replace_time_zone("UTC")
    parts = []
    for (caller, service), calls in sorted(run.calls.items(), key=lambda x: (x[0][1], x[0][0] or "")):
        again = run.retries.get((caller, service))
        rows = {"calls": calls}
        if again is not None:
            rows |= {"retries": again, "errors": np.round(again * 1.05), "bytes": np.round(calls * errors.get(service, 900.0))}
        parts += [
            pl.DataFrame({"time": times, "value": v})
            .with_columns(service=pl.lit(service), caller=pl.lit(caller, dtype=pl.String), metric=pl.lit(m))
            .filter(pl.col("value") > 0)
            for m, v in rows.items()
        ]
    parts += [
        pl.DataFrame({"time": times, "value": v}).with_columns(
            service=pl.lit(name), caller=pl.lit(None, dtype=pl.String), metric=pl.lit("capacity")
        )
        for name, v in sorted(run.instances.items())
    ]
    return pl.concat(parts).select("time", "service", "caller", "metric", "value")


# ---------------------------------------------------------------- changes


def deployed(company: Company, service: str, time: datetime, actor: str, summary: str, **more: object) -> dict[str, object]:
    """A CDEvents service event."""
    verb = str(more.pop("verb", "deployed"))
    custom = {
        "actor": f"{actor}@{company.name}.example",
        "summary": summary,
        "url": f"https://git.{company.name}.example/platform/services/{service}/pulls/{int(ident(service, time)[:4], 16)}",
        **more,
    }
    return {
        "context": {
            "version": "0.4.1",
            "id": f"evt-{ident(service, time, summary)[:12]}",
            "source": f"/{company.name}/delivery",
            "type": f"dev.cdevents.service.{verb}.0.2.0",
            "timestamp": f"{time:%Y-%m-%dT%H:%M:%SZ}",
        },
        "subject": {
            "id": service,
            "source": f"/{company.name}/services/{service}",
            "type": "service",
            "content": {
                "environment": {"id": str(custom.pop("environment", "production")), "source": f"/{company.name}/environments"},
                "artifactId": f"pkg:oci/{service}@sha256:{ident(service, time)}",
            },
        },
        "customData": custom,
        "customDataContentType": "application/json",
    }


def called(company: Company, source: str, event: str, time: datetime, who: tuple[str, str], **more: object) -> dict[str, object]:
    """A CloudTrail record. who: (person, role); a person of no role is a machine's routine."""
    person, role = who
    account, region = str(more.pop("account", company.accounts[0][0])), str(more.pop("region", "eu-west-1"))
    mail = f"{person}@{company.name}.example" if "." in person else person
    arn = f"arn:aws:sts::{account}:assumed-role/{role}/{mail}"
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": f"AROA{ident(role)[:16].upper()}:{mail}",
            "arn": arn,
            "accountId": account,
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{account}:role/{role}", "accountId": account, "userName": role}
            },
        },
        "eventTime": f"{time:%Y-%m-%dT%H:%M:%SZ}",
        "eventSource": f"{source}.amazonaws.com",
        "eventName": event,
        "awsRegion": region,
        "sourceIPAddress": "198.51.100.20",
        "userAgent": "aws-cli/2.17.9",
        "requestParameters": more.pop("asked", {}),
        "responseElements": None,
        "requestID": uuid("r", event, time),
        "eventID": uuid(event, time, person),
        "readOnly": bool(more.pop("read", False)),
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }


def ordinary(company: Company, axis: tuple[datetime, int], seed: int) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Hundreds of changes that cost nothing, and reads that change nothing: CDEvents and CloudTrail records."""
    first, hours = axis
    rng = np.random.default_rng([seed, 5])
    people = [p for p, _ in company.people]
    events, records = [], []
    for s in company.services:
        for t in np.flatnonzero(rng.random(hours) < 0.32 / 24):
            time = _working(first + timedelta(hours=int(t), minutes=int(rng.integers(60))))
            where = {"environment": "staging"} if rng.random() < 0.2 else {}
            events.append(deployed(company, s.name, time, str(rng.choice(people)), str(rng.choice(SUMMARIES)), **where))
        calls = (
            ("logs", "PutRetentionPolicy", {"logGroupName": f"/services/{s.name}", "retentionInDays": 30}),
            ("monitoring", "PutMetricAlarm", {"alarmName": f"{s.name}-errors"}),
            ("iam", "PutRolePolicy", {"roleName": f"{s.name}-role", "policyName": "access"}),
            ("secretsmanager", "RotateSecret", {"secretId": f"{s.name}/db"}),
            ("application-autoscaling", "PutScalingPolicy", {"resourceId": f"service/prod/{s.name}", "policyName": f"{s.name}-cpu"}),
        )
        for t in np.flatnonzero(rng.random(hours) < 0.12 / 24):
            source, event, asked = calls[int(rng.integers(len(calls)))]
            records.append(
                called(
                    company,
                    source,
                    event,
                    _working(first + timedelta(hours=int(t), minutes=int(rng.integers(60)))),
                    (str(rng.choice(people)), "AWSReservedSSO_PowerUser"),
                    account=s.account,
                    region=s.region,
                    asked=asked,
                )
            )
    for t in range(0, hours, 7):
        records.append(
            called(company, "ec2", "DescribeInstances", first + timedelta(hours=t, minutes=3), ("scanner", "inventory-scanner"), read=True)
        )
        if t % 14 == 0:
            records.append(
                called(
                    company,
                    "ec2",
                    "RunInstances",
                    first + timedelta(hours=t, minutes=11),
                    ("autoscaling", "AWSServiceRoleForAutoScaling"),
                    asked={"instancesSet": {"items": [{"minCount": 1, "maxCount": 1}]}},
                )
            )
    return events, records


def _working(time: datetime) -> datetime:
    """Most people change things by day."""
    return time if 7 <= time.hour <= 18 else time.replace(hour=8 + time.hour % 10)


def of_incident(
    company: Company, i: Incident, first: datetime
) -> tuple[list[dict[str, object]], list[dict[str, object]], list[str], str | None]:
    """The records that an incident leaves: events, API calls, the ids of the decision, and who took it."""
    begin = first + timedelta(hours=i.start, minutes=max(0, i.minute - 6))
    end = None if i.end is None else first + timedelta(hours=i.end, minutes=-4)
    home = next((s for s in company.services if s.name == i.service), company.services[0])
    person = next(p for p, team in company.people if team == (next((s.team for s in company.services if s.name == i.caller), home.team)))
    events, records = [], []
    if i.sort in {"retry_loop", "fan_out"}:
        summary = "Retry failed calls without a limit" if i.sort == "retry_loop" else "Load details of each item in the list"
        events.append(deployed(company, str(i.caller), begin, person, summary, ticket=f"MG-{1000 + i.start}"))
        if end is not None:
            events.append(deployed(company, str(i.caller), end, person, f"Revert: {summary}", verb="rolledback"))
    if i.sort == "autoscaler":
        records.append(
            called(
                company,
                "application-autoscaling",
                "RegisterScalableTarget",
                begin,
                (person, "AWSReservedSSO_PowerUser"),
                account=home.account,
                region=home.region,
                asked={"serviceNamespace": "ecs", "resourceId": f"service/prod/{i.service}", "minCapacity": 24, "maxCapacity": 40},
            )
        )
    if i.sort == "cron_frequency":
        records.append(
            called(
                company,
                "events",
                "PutRule",
                begin,
                (person, "AWSReservedSSO_PowerUser"),
                account=home.account,
                region=home.region,
                asked={"name": str(i.caller).removeprefix("schedule:"), "scheduleExpression": "rate(10 minutes)", "state": "ENABLED"},
            )
        )
    if i.sort == "cross_region":
        person = next(p for p, team in company.people if team == "data-products")
        events.append(deployed(company, NEW_SERVICE, begin, person, "First version"))
        records.append(
            called(
                company,
                "lambda",
                "CreateFunction20150331",
                begin - timedelta(minutes=2),
                (person, "terraform-apply"),
                account=company.accounts[1][0],
                asked={"functionName": f"{NEW_SERVICE}-handler", "memorySize": 512},
            )
        )
    if i.sort == "planned_launch":
        until = first + timedelta(hours=(i.end or i.start) + 24)
        events.append(
            deployed(
                company,
                i.service,
                begin,
                person,
                "Autumn launch",
                planned={"reason": "autumn launch", "expected_cost_per_day": 520.0, "until": f"{until:%Y-%m-%dT%H:%M:%SZ}"},
            )
        )
    if i.sort == "tag_loss":
        records.append(
            called(
                company,
                "tagging",
                "UntagResources",
                begin,
                (person, "terraform-apply"),
                account=home.account,
                region=home.region,
                asked={
                    "resourceARNList": [m.resource for m in company.meters if m.service == i.service and m.resource],
                    "tagKeys": ["service", "team"],
                },
            )
        )
    if i.sort == "unowned":
        person = "tom.arden"
        records.append(
            called(
                company,
                "ec2",
                "RunInstances",
                begin,
                (person, "AWSReservedSSO_PowerUser"),
                account=company.accounts[3][0],
                asked={"instanceType": "p3.2xlarge", "instancesSet": {"items": [{"instanceId": "i-0f9c3be1177aa42d0"}]}},
            )
        )
    ids = [str(e["context"]["id"]) for e in events[:1]] + [str(r["eventID"]) for r in records]  # type: ignore[index]
    return events, records, ids, f"{person}@{company.name}.example" if ids else None


def write_changes(events: Sequence[dict[str, object]], records: Sequence[dict[str, object]], folder: Path) -> None:
    """CDEvents by month; CloudTrail by account, region and day, as it is delivered."""
    by_month, by_file = defaultdict(list), defaultdict(list)
    for e in events:
        by_month[str(e["context"]["timestamp"])[:7]].append(e)  # type: ignore[index]
    for r in records:
        by_file[r["recipientAccountId"], r["awsRegion"], str(r["eventTime"])[:10]].append(r)
    (folder / "changes").mkdir(parents=True, exist_ok=True)
    for month, part in sorted(by_month.items()):
        lines = [json.dumps(e, separators=(",", ":")) for e in sorted(part, key=lambda e: (e["context"]["timestamp"], e["context"]["id"]))]
        (folder / "changes" / f"{month}.jsonl").write_text("\n".join(lines) + "\n")
    for (account, region, day), part in sorted(by_file.items()):
        place = folder / "cloudtrail" / "AWSLogs" / account / "CloudTrail" / region / day[:4] / day[5:7] / day[8:]
        place.mkdir(parents=True, exist_ok=True)
        name = f"{account}_CloudTrail_{region}_{day.replace('-', '')}T2355Z_{ident(account, region, day)[:16].upper()}.json.gz"
        body = json.dumps({"Records": sorted(part, key=lambda r: (r["eventTime"], r["eventID"]))}, separators=(",", ":")).encode()
        with (place / name).open("wb") as stream, gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            packed.write(body)


# ---------------------------------------------------------------- catalogue


def write_catalog(company: Company, folder: Path) -> None:
    """A catalogue of most services, groups and people; CODEOWNERS of all."""
    (folder / "catalog").mkdir(parents=True, exist_ok=True)
    entities = []
    for team in company.teams:
        entities.append(
            f"apiVersion: backstage.io/v1alpha1\nkind: Group\nmetadata:\n  name: {team}\n  annotations:\n    slack.com/channel: '#{team}-oncall'\nspec:\n  type: team\n  children: []\n"
            f"  profile:\n    displayName: {team.title()}\n    email: {team}@{company.name}.example\n"
        )
    for person, team in company.people:
        entities.append(
            f"apiVersion: backstage.io/v1alpha1\nkind: User\nmetadata:\n  name: {person}\nspec:\n  profile:\n    displayName: {person.replace('.', ' ').title()}\n"
            f"    email: {person}@{company.name}.example\n  memberOf:\n  - {team}\n"
        )
    (folder / "catalog" / "org.yaml").write_text("---\n".join(entities))
    components = []
    for s in (s for k, s in enumerate(company.services) if k % 6 != 5):
        deps = "".join(f"  - component:default/{e.service}\n" for e in company.edges if e.caller == s.name)
        components.append(
            f"apiVersion: backstage.io/v1alpha1\nkind: Component\nmetadata:\n  name: {s.name}\n  annotations:\n"
            f"    backstage.io/source-location: url:https://git.{company.name}.example/platform/services/{s.name}/\nspec:\n  type: service\n  lifecycle: production\n"
            f"  owner: group:default/{s.team}\n" + (f"  dependsOn:\n{deps}" if deps else "")
        )
    (folder / "catalog" / "catalog-info.yaml").write_text("---\n".join(components))
    lines = [
        "# the last line that matches wins",
        f"* @{company.name}/platform",
        *(f"/services/{s.name}/ @{company.name}/{s.team}" for s in company.services),
    ]
    (folder / "CODEOWNERS").write_text("\n".join(lines) + "\n")


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

__all__ = ["CONFIG", "UTC", "billing", "of_incident", "ordinary", "signals", "write_billing", "write_catalog", "write_changes"]
