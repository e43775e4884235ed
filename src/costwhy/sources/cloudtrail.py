"""CloudTrail log files: API calls that change something, who made them, and what they touched."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import msgspec

from costwhy.errors import SourceError
from costwhy.sources.reading import Aside, Reading, aside_frame, change_frame, parse_time, read_text, seen_frame

ENDINGS = (".json.gz", ".json", ".jsonl")
READS = re.compile(r"^(Get|List|Describe|Head|Lookup|BatchGet|Search|Query|Scan|Select|Check|Test|Validate|Simulate|Estimate|Decode|AssumeRole|ConsoleLogin)")
PIPELINE = re.compile(r"(^|[-_/])(ci|cd|deploy|deployer|pipeline|codepipeline|codebuild|github|gitlab|jenkins|terraform|atlantis|argo\w*|spinnaker)($|[-_/])", re.IGNORECASE)
OWN_ROUTINE = re.compile(r"AWSServiceRoleFor|^(autoscaling|ec2|ecs|elasticloadbalancing|rds|lambda|config|guardduty|ssm|health)\.amazonaws\.com$")
MOST_AFTER = 4096  # characters of the request that are kept
KINDS: tuple[tuple[str, str], ...] = (  # the first pattern that matches eventSource:eventName tells the kind
    (r"(CreateSavingsPlan|PurchaseReserved|PurchaseHostReservation|PurchaseScheduled|PurchaseSavings|ModifyReserved|ReturnSavings)", "commitment"),
    (r":(CreateTags|DeleteTags|TagResources?|UntagResources?|AddTags\w*|RemoveTags\w*|Put\w*Tagging|Delete\w*Tagging|TagRole|UntagRole)", "tag"),
    (r"(lambda\S*:UpdateFunctionCode|codedeploy\S*:CreateDeployment|ecs\S*:UpdateService|ecs\S*:RegisterTaskDefinition|ecr\S*:PutImage|elasticbeanstalk\S*:UpdateEnvironment"
     r"|amplify\S*:StartDeployment|cloudformation\S*:(UpdateStack|ExecuteChangeSet)|apprunner\S*:StartDeployment|states\S*:UpdateStateMachine)", "deploy"),
    (r"(application-autoscaling|autoscaling-plans)\S*:(Register|Deregister|Put|Delete|Update|Create)|autoscaling\S*:(Update|Put|Set|Attach|Detach|Resume|Suspend|Terminate|Delete)"
     r"|:(ModifyInstanceAttribute|ModifyDBInstance|ModifyDBCluster|ModifyReplicationGroup\w*|IncreaseReplica\w*|DecreaseReplica\w*|ModifyCacheCluster|PutProvisionedConcurrency\w*"
     r"|PutFunctionConcurrency|UpdateTable|UpdateNodegroup\w*|UpdateCapacityProvider|ModifyVolume|UpdateShardCount|UpdateProvisionedCapacity\w*)", "scaling"),
    (r"(events|scheduler)\S*:(Put|Enable|Disable|Create|Update|Delete)", "schedule"),
    (r"appconfig\S*:StartDeployment|evidently\S*:|:\w*FeatureFlag", "flag"),
    (r":(UpdateFunctionConfiguration|PutParameter|PutSecretValue|RotateSecret|Modify\w*ParameterGroup|Modify\w*Attributes?|PutRetentionPolicy|PutBucketLifecycle\w*|PutLifecycle\w*"
     r"|Put\w*Config\w*|Update\w*Config\w*|Put\w*Policy|PutMetricAlarm|SetQueueAttributes|UpdateEventSourceMapping|UpdateItem|ReplaceRoute|CreateRoute|ModifyListener|ModifyRule)", "config"),
    (r":(Delete|Terminate|Remove|Deregister|Release|Stop)", "delete"),
    (r":(Create|Run|Allocate|Launch|Start|Restore|Copy|Register|Import|Purchase|Request)", "create"),
    (r":(Update|Modify|Put|Set|Enable|Disable|Change)", "config"),
)
DECISIVE = ("scheduleExpression", "state", "minCapacity", "maxCapacity", "minSize", "maxSize", "desiredCapacity", "desiredCount", "memorySize", "timeout", "taskDefinition",
            "instanceType", "dBInstanceClass", "retentionInDays", "provisionedThroughput", "allocatedStorage", "tagKeys", "cpu", "memory", "targetValue")
NAMES = ("functionName", "service", "resourceId", "autoScalingGroupName", "name", "tableName", "bucketName", "logGroupName", "applicationName", "dBInstanceIdentifier", "dBClusterIdentifier",
         "queueName", "queueUrl", "targetGroupArn", "secretId", "alarmName", "roleName", "repositoryName", "dBParameterGroupName", "streamName", "clusterName", "volumeId", "keyId", "groupId",
         "stackName", "resourceArn", "resourceARN", "ruleName", "allocationId", "subnetId")


def read(files: Sequence[Path]) -> Reading:
    """Write calls of these files as changes. Read-only and failed calls are counted as seen, and are no changes."""
    rows: dict[str, dict[str, object]] = {}
    asides: list[Aside] = []
    seen: list[tuple[str | None, datetime]] = []
    for file in files:
        try:
            records = _records(read_text(file))
        except (SourceError, msgspec.DecodeError) as error:
            asides.append(Aside(file.name, "", f"not a CloudTrail log file: {error}".replace("\n", "; ")))
            continue
        delivered = _delivered(file.name)
        for number, record in enumerate(records):
            try:
                time = parse_time(record["eventTime"])
                seen.append((_text(record.get("recipientAccountId")), time))
                if _is_change(record):
                    rows.setdefault(str(record["eventID"]), _row(record, time, delivered))
            except (KeyError, ValueError, TypeError, AttributeError) as error:
                asides.append(Aside(file.name, f"record {number}", f"not a CloudTrail record: {error!r}", json.dumps(record, default=str)))
    return Reading(change_frame(list(rows.values())), aside_frame("cloudtrail", asides), seen_frame("cloudtrail", seen))


def match_service(text: str, services: Collection[str]) -> str | None:
    """The longest known service name in a text, on the boundaries of words: `index-refresh-sync` names `index-refresh`, `cart` is not in `art`."""
    return _match(text.lower(), tuple(sorted(services, key=lambda s: (-len(s), s))))


@lru_cache(maxsize=65536)
def _match(text: str, services: tuple[str, ...]) -> str | None:
    return next((s for s in services if s and s.lower() in text and re.search(rf"(?<![a-z0-9]){re.escape(s.lower())}(?![a-z0-9])", text)), None)


def _records(text: str) -> list[dict[str, object]]:
    if text.lstrip().startswith("{") and '"Records"' in text[:4096]:
        return msgspec.json.decode(text, type=dict[str, list[dict[str, object]]])["Records"]
    if '"digestS3Bucket"' in text[:4096] or '"digestStartTime"' in text[:4096]:
        return []
    return [msgspec.json.decode(line, type=dict[str, object]) for line in text.splitlines() if line.strip()]


def _delivered(name: str) -> datetime | None:
    """When the file was written, from its name: ACCOUNT_CloudTrail_REGION_20260923T1601Z_UNIQUE.json.gz."""
    found = re.search(r"_(\d{8}T\d{4})Z_", name)
    return datetime.strptime(found[1], "%Y%m%dT%H%M").replace(tzinfo=UTC) if found else None


def _is_change(record: Mapping[str, object]) -> bool:
    if record.get("errorCode") or record.get("eventType") in {"AwsCloudTrailInsight", "AwsConsoleSignIn"}:
        return False
    read_only = record.get("readOnly")
    return not read_only if isinstance(read_only, bool) else not READS.match(str(record["eventName"]))


def _row(record: Mapping[str, object], time: datetime, delivered: datetime | None) -> dict[str, object]:
    event = f"{record['eventSource']}:{record['eventName']}"
    asked = record.get("requestParameters")
    asked = asked if isinstance(asked, dict) else {}
    actor, actor_kind, role = _actor(record.get("userIdentity"))
    resource = _resource(record, asked)
    known = delivered if delivered is not None and delivered >= time else None
    return {
        "change_id": str(record["eventID"]), "time": time, "known_at": known, "source": "cloudtrail", "kind": _kind(event, asked), "event": event,
        "service": _service(event, asked), "environment": None, "resource": resource, "account": _text(record.get("recipientAccountId")),
        "region": _text(record.get("awsRegion")), "actor": actor, "actor_kind": actor_kind, "role": role, "automated": _automated(record, actor_kind),
        "summary": _summary(str(record["eventName"]), resource, asked), "url": None, "ticket": None, "path": None, "before": None,
        "after": json.dumps(asked, sort_keys=True)[:MOST_AFTER], "planned_reason": None, "planned_cost_per_day": None, "planned_until": None,
    }


def _kind(event: str, asked: Mapping[str, object]) -> str:
    if "ecs" in event and event.endswith("UpdateService") and "taskDefinition" not in asked and "desiredCount" in asked:
        return "scaling"
    return next((kind for pattern, kind in KINDS if re.search(pattern, event)), "other")


def _service(event: str, asked: Mapping[str, object]) -> str | None:
    """Our service where the call itself names one: an ECS service, or a service tag."""
    if "ecs" in event and isinstance(asked.get("service"), str):
        return str(asked["service"]).rsplit("/", 1)[-1]
    tags = re.findall(r'"key": "(?:service|app|app\.kubernetes\.io/name)", "value": "([^"]+)"', json.dumps(asked, sort_keys=True))
    return tags[0] if tags else None


def _resource(record: Mapping[str, object], asked: Mapping[str, object]) -> str | None:
    for name in NAMES:
        if isinstance(asked.get(name), str):
            return str(asked[name])
    listed = record.get("resources")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict):
        return _text(listed[0].get("ARN") or listed[0].get("arn"))
    answered = json.dumps([asked, record.get("responseElements")], default=str)
    found = re.search(r'"(arn:aws[^"]*|(?:i|vol|nat|eipalloc|snap|ami|vpce|sg|fs|subnet)-[0-9a-f]{6,})"', answered)
    return found[1] if found else None


def _summary(name: str, resource: str | None, asked: Mapping[str, object]) -> str:
    """The call in words, with the values that decide: PutRule index-refresh-sync: scheduleExpression rate(1 minute)."""
    decisive = ", ".join(f"{key} {asked[key]}" for key in DECISIVE if key in asked and not isinstance(asked[key], dict | list))
    plain = re.sub(r"\d{8}(v\d)?$", "", name)
    return f"{plain} {resource or ''}".strip() + (f": {decisive}" if decisive else "")


def _actor(identity: object) -> tuple[str | None, str | None, str | None]:
    """Who: the person where one is named, else user, session or pipeline; what sort; and the role acted through."""
    who = identity if isinstance(identity, dict) else {}
    context = who.get("sessionContext") or {}
    issuer = (context.get("sessionIssuer") or {}).get("userName")
    arn = str(who.get("arn") or "")
    session = arn.rsplit("/", 1)[-1] if "assumed-role" in arn else None
    source = context.get("sourceIdentity")
    if who.get("type") in {"AWSService", "AWSAccount"} or who.get("invokedBy"):
        return _text(who.get("invokedBy") or issuer or session), "service", _text(issuer)
    person = next((str(x) for x in (source, session) if x and "@" in str(x)), None)
    if person is not None:
        return person, "person", _text(issuer)
    if who.get("type") in {"IAMUser", "Root", "IdentityCenterUser", "SAMLUser", "WebIdentityUser"}:
        name = _text(who.get("userName") or who.get("principalId") or "root")
        return name, "pipeline" if PIPELINE.search(name or "") else "person", None
    if issuer and PIPELINE.search(str(issuer)):
        return _text(source or issuer), "pipeline", _text(issuer)
    return _text(source or session or issuer or who.get("principalId")), "role", _text(issuer)


def _automated(record: Mapping[str, object], actor_kind: str | None) -> bool:
    who = record.get("userIdentity")
    who = who if isinstance(who, dict) else {}
    issuer = str(((who.get("sessionContext") or {}).get("sessionIssuer") or {}).get("userName") or "")
    return actor_kind == "service" or bool(OWN_ROUTINE.search(issuer) or OWN_ROUTINE.search(str(who.get("invokedBy") or "")))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
