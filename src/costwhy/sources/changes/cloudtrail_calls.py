"""What an AWS API call did: its kind, what it touched, and the call in words."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from costwhy.behaviours import SCHEDULE  # also the kind of a change
from costwhy.sources.reading import clean, to_mapping, to_text

MAX_JSON = 4096  # Bytes of JSON that are kept of the values before or after a change
MAX_NAMES = 50  # Names that one call can touch
_DEEPEST = 8

_KINDS = {
    "deploy": """
        UpdateFunctionCode PublishVersion UpdateAlias CreateDeployment StartDeployment PutImage
        RegisterTaskDefinition CreateTaskSet StartPipelineExecution CreateStack UpdateStack
        ExecuteChangeSet CreateStackInstances UpdateStackInstances UpdateStackSet
        CreateApplicationVersion UpdateEnvironment StartInstanceRefresh UpdateNodegroupVersion
    """,
    "rollback": """
        StopDeployment RollbackStack CancelUpdateStack ContinueUpdateRollback
        RollbackInstanceRefresh RollbackApplication
    """,
    "scaling": """
        RegisterScalableTarget DeregisterScalableTarget PutScalingPolicy DeleteScalingPolicy
        PutScheduledAction DeleteScheduledAction PutScheduledUpdateGroupAction
        UpdateAutoScalingGroup SetDesiredCapacity ModifyVolume StartInstances StopInstances
        PutFunctionConcurrency DeleteFunctionConcurrency PutProvisionedConcurrencyConfig
        DeleteProvisionedConcurrencyConfig UpdateShardCount
        ModifyReplicationGroupShardConfiguration IncreaseReplicaCount DecreaseReplicaCount
        UpdateNodegroupConfig ModifyFleet ModifySpotFleetRequest UpdateBrokerStorage
        UpdateBrokerCount SuspendProcesses ResumeProcesses ResizeCluster PutWarmPool
    """,
    SCHEDULE: """
        CreateSchedule UpdateSchedule DeleteSchedule EnableRule DisableRule
        UpdateEventSourceMapping
    """,
    "commitment": """
        CreateSavingsPlan DeleteQueuedSavingsPlan ReturnSavingsPlan ModifyReservedInstances
        DeleteQueuedReservedInstances AcceptReservedInstancesExchangeQuote
        CreateReservedInstancesListing CancelReservedInstancesListing PurchaseHostReservation
        PurchaseScheduledInstances
    """,
    "tag": "PutBucketTagging DeleteBucketTagging PutObjectTagging ChangeTagsForResource",
    "flag": "UpdateFeature CreateFeature UpdateLaunch StartLaunch StopLaunch",
    "other": """
        UpdateInstanceInformation PutInventory PutComplianceItems UpdateInstanceAssociationStatus
        UpdateInstanceAssociation CreateLogStream PutLogEvents
    """,
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names.split()}
_VERBS = (
    ("commitment", ("PurchaseReserved",)),
    ("tag", (
        "CreateTag", "DeleteTag", "Tag", "Untag", "AddTags", "RemoveTags", "CreateOrUpdateTags",
    )),
    ("create", ("Create", "Run", "Allocate", "Import", "Copy", "Restore", "Request")),
    ("delete", ("Delete", "Terminate", "Release", "Deregister", "Destroy")),
    ("config", (
        "Put", "Update", "Modify", "Set", "Enable", "Disable", "Authorize", "Revoke", "Attach",
        "Detach", "Associate", "Disassociate", "Add", "Remove", "Rotate", "Change", "Configure",
        "Replace", "Reset", "Apply",
    )),
)  # fmt: skip
_SIZES = {
    "dBInstanceClass",
    "dbInstanceClass",
    "allocatedStorage",
    "cacheNodeType",
    "instanceType",
    "numCacheNodes",
    "nodeType",
    "iops",
}
_MAIN = (
    "resourceId", "resourceArn", "functionName", "autoScalingGroupName", "serviceName",
    "applicationName", "dBInstanceIdentifier", "dBClusterIdentifier", "dBParameterGroupName",
    "tableName", "bucketName", "queueName", "queueUrl", "repositoryName", "logGroupName",
    "roleName", "stackName", "alarmName", "secretId", "instanceId", "volumeId", "groupId",
    "targetGroupArn", "name",
)  # fmt: skip
_NAMING = re.compile(
    r"(name|id|ids|arn|arns|identifier|resource|resources|service|cluster|url|arnlist|"
    r"resourcearnlist|taskdefinition)$"
)
_NOT_NAMING = re.compile(r"token|tagkeys|request|accountid|host|runtime|handler")
_QUIET = re.compile(
    r"token|^host$|^x-amz|namespace$|scalabledimension|^type$|^policytype$|^overwrite$|^tier$|"
    r"^publish$|^dryrun$|^cluster$|pattern$|predefinedmetrictype|document$|^xmlns$|description$|"
    r"^tag|^key$|^value$|certificate|hash$|^partition$|^path$"
)
_NAMING_TAGS = {
    "name",
    "service",
    "app",
    "app.kubernetes.io/name",
    "aws:autoscaling:groupname",
    "aws:cloudformation:stack-name",
}
_HIDDEN = ("HIDDEN_DUE_TO_SECURITY_REASONS", "<sensitiveDataRemoved>", "***")


def plain_name(event: str) -> str:
    """The API operation without its version: UpdateFunctionCode20150331v2 -> UpdateFunctionCode."""
    return re.sub(r"\d{8}(_?v\d+)?$|\d{4}_\d{2}_\d{2}(v\d+)?$", "", event)


def parameters_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """requestParameters; empty where there are none."""
    return to_mapping(record.get("requestParameters"))


def find_kind(record: Mapping[str, Any]) -> str:
    """The kind of change, as `tables.CHANGES` names them."""
    event, asked = plain_name(str(record.get("eventName"))), parameters_of(record)
    source = str(record.get("eventSource"))
    if source.startswith("appconfig") and event.endswith("Deployment"):
        return "flag"
    if event == "UpdateService" and source.startswith("ecs"):
        return (
            "deploy"
            if (asked.get("taskDefinition") or asked.get("forceNewDeployment"))
            or "desiredCount" not in asked
            else "scaling"
        )
    if event == "PutRule":
        return SCHEDULE if asked.get("scheduleExpression") else "config"
    if event in {"UpdateTable", "ModifyTable"}:
        return (
            "scaling"
            if ({"provisionedThroughput", "billingMode", "onDemandThroughput"}) & asked.keys()
            else "config"
        )
    if event.startswith("Modify") and _SIZES & asked.keys():
        return "scaling"
    return _KIND_OF.get(
        event, next((kind for kind, verbs in _VERBS if event.startswith(verbs)), "other")
    )


def touched_names(record: Mapping[str, Any]) -> tuple[str, ...]:
    """All names and ARNs that a CloudTrail record says it touched, in order, each once."""
    parts = ("requestParameters", "responseElements", "resources", "additionalEventData")
    return tuple(
        islice(
            dict.fromkeys(name for part in parts for name in _names_in(record.get(part), "", 0)),
            MAX_NAMES,
        )
    )


def _inside(part: object, key: str) -> Iterator[tuple[str, object]]:
    """What is in an object or a list, each with its key; of a list it is the list's own."""
    if isinstance(part, dict):
        yield from ((str(name), value) for name, value in part.items())
    elif isinstance(part, list):
        yield from ((key, value) for value in part)


def _names_in(part: object, key: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(part, str) and _NAMING.search(key) and not _NOT_NAMING.search(key):
        yield from (text for text in [to_text(part)] if text and text not in _HIDDEN)
    tag = to_mapping(part)
    names_it = str(tag.get("key", tag.get("Key"))).lower() in _NAMING_TAGS
    for name, value in _inside(part, key):
        label = "name" if names_it and name in {"value", "Value"} else name.lower()
        yield from _names_in(value, label, depth + 1)


def find_resource(record: Mapping[str, Any]) -> str | None:
    """The resource that the call is about: `service/prod/cart` for ECS, else a name or an ARN."""
    asked = parameters_of(record)
    service = to_text(asked.get("service"))
    if service and str(record.get("eventSource")).startswith("ecs"):
        cluster = (to_text(asked.get("cluster")) or "default").rsplit("/", 1)[-1]
        return service if ":" in service else f"service/{cluster}/{service}"
    main = (text for key in _MAIN if (text := to_text(asked.get(key))))
    return next(main, None) or next(iter(touched_names(record)), None)


def find_service(record: Mapping[str, Any], tag_names: Collection[str]) -> str | None:
    """Our service, where the call names it: an ECS service, or a tag of the request."""
    asked, source = parameters_of(record), str(record.get("eventSource"))
    resource = find_resource(record) or ""
    if (source.startswith("ecs") and "service/" in resource) or asked.get(
        "serviceNamespace"
    ) == "ecs":
        return resource.rsplit("/", 1)[-1] or None
    if source.startswith("ecs") and plain_name(str(record.get("eventName"))) == "CreateService":
        return to_text(asked.get("serviceName"))
    tags = dict(_tags_in(asked, 0))
    return next((tags[name] for name in tag_names if name in tags), None)


def _tags_in(part: object, depth: int) -> Iterator[tuple[str, str]]:
    """Tags wherever the request has them: {key, value} pairs, or a map named `tags`."""
    if depth > _DEEPEST:
        return
    tag = to_mapping(part)
    key = tag.get("key", tag.get("Key", tag.get("tagKey")))
    value = to_text(tag.get("value", tag.get("Value", tag.get("tagValue"))))
    if isinstance(key, str) and value:
        yield key, value
    for name, inner in _inside(part, ""):
        if name.lower() in {"tags", "tagset"} and isinstance(inner, dict):
            yield from ((str(k), text) for k, v in inner.items() if (text := to_text(v)))
        yield from _tags_in(inner, depth + 1)


def summarise(record: Mapping[str, Any]) -> str:
    """The call in words with its decisive values: `PutRule index-refresh-sync: rate(1 minute)`."""
    resource = find_resource(record)
    head = plain_name(str(record.get("eventName"))) + (f" {resource}" if resource else "")
    values = islice(dict.fromkeys(_decisive(parameters_of(record), "", 0, resource)), 8)
    return clean(": ".join(filter(None, (head, ", ".join(values)))), 500)


def _decisive(part: object, key: str, depth: int, resource: str | None) -> Iterator[str]:
    """Values that say what was asked for; names, tags, tokens and hidden values are left out."""
    low = key.lower()
    if depth > 4 or _QUIET.search(low):
        return
    for name, value in islice(_inside(part, key), 5 if isinstance(part, list) else None):
        yield from _decisive(value, name, depth + 1, resource)
    if isinstance(part, bool):
        yield f"{key} {str(part).lower()}"
    elif (text := to_text(part)) and text not in (*_HIDDEN, resource, "ENABLED"):
        short = clean(text.rsplit("/", 1)[-1] if text.startswith("arn:") else text, 100)
        if low == "scheduleexpression":
            yield short
        elif low == "taskdefinition" or not _NAMING.search(low):
            yield f"{key} {short}"


def short_json(values: object) -> str:
    """JSON of at most MAX_JSON bytes; long texts and lists are cut where it must be."""
    for longest, most in ((10_000, 1_000), (200, 20), (60, 5)):
        text = msgspec.json.encode(_shorten(values, longest, most, 0))
        if len(text) <= MAX_JSON:
            return text.decode()
    plain = {
        clean(key, 60): value
        for key, value in to_mapping(values).items()
        if isinstance(value, bool | int | float)
    }
    return msgspec.json.encode({**dict(islice(plain.items(), 20)), "cut": True}).decode()


def _shorten(part: object, longest: int, most: int, depth: int) -> object:
    if isinstance(part, str):
        return part if len(part) <= longest else part[:longest] + "…"
    if isinstance(part, dict | list) and depth > _DEEPEST:
        return "…"
    if isinstance(part, dict):
        return {
            key[:longest]: _shorten(value, longest, most, depth + 1)
            for key, value in islice(part.items(), most)
        }
    return (
        [_shorten(value, longest, most, depth + 1) for value in part[:most]]
        if isinstance(part, list)
        else part
    )
