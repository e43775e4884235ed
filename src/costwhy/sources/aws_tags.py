"""Tags of resources: which service a load balancer, a queue or a table belongs to.

Source: AWS, *GetResources*; a resource is known by the service and the last part of its ARN:
`arn:aws:sqs:eu-west-1:111:orders` is ("sqs", "orders").
"""

from collections.abc import Mapping, Sequence

from costwhy.remote import aws
from costwhy.sources.reading import to_text

CALLS = ("tag:GetResources",)
Resource = tuple[str, str]  # AWS's short name of the service, and the resource part of the ARN


def read(region: str, kinds: Sequence[str] = ()) -> dict[Resource, dict[str, str]]:
    """Tags of every resource of a region that ever had one.

    kinds: `sqs`, `ecs:service`; empty: all.

    Raises UnreachableError where AWS does not answer.
    """
    found: dict[Resource, dict[str, str]] = {}
    try:
        pages = aws.client("resourcegroupstaggingapi", region).get_paginator("get_resources")
        for page in pages.paginate(ResourcesPerPage=100, ResourceTypeFilters=sorted(set(kinds))):
            for resource in page.get("ResourceTagMappingList", []):
                tags = {tag["Key"]: tag["Value"] for tag in resource.get("Tags", [])}
                found[resource_of(resource["ResourceARN"])] = tags
    except aws.FAULTS as error:
        raise aws.unreachable(f"tags in {region} could not be read", error) from None
    return found


def resource_of(arn: str) -> Resource:
    """arn:aws:lambda:eu-west-1:111:function:resize -> ("lambda", "function:resize")."""
    parts = arn.split(":", 5)
    return (parts[2], parts[5]) if len(parts) == 6 else ("", arn)


def service_of(tags: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Our service: the first of the tags that is present and says something; null: none."""
    return next((text for name in names if (text := to_text(tags.get(name)))), None)
