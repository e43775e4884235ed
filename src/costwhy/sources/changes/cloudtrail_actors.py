"""Who acted, from a CloudTrail record's userIdentity: a person, a pipeline, a role, AWS itself.

Source: AWS, *CloudTrail userIdentity element*.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from costwhy.sources.reading import to_mapping, to_text

_PIPELINE_PARTS = (
    "github", "gitlab", "bitbucket", "jenkins", "circleci", "buildkite", "teamcity", "spinnaker",
    "argocd", "terraform", "atlantis", "spacelift", "pulumi", "cloudformation", "codepipeline",
    "codebuild", "codedeploy", "deploy", "pipeline",
)  # fmt: skip
_PIPELINE_WORDS = {
    "ci", "cd", "cicd", "cdk", "cfn", "argo", "flux", "release", "releaser", "drone", "harness",
    "bot", "bot]", "automation",
}  # fmt: skip
# Services that carry out what a person or a pipeline decided: it is not their own routine
_ORCHESTRATORS = (
    "cloudformation.",
    "codepipeline.",
    "codebuild.",
    "codedeploy.",
    "codestar.",
    "servicecatalog.",
    "amplify.",
    "proton.",
)


@dataclass(frozen=True)
class Actor:
    """Who acted.

    kind       person, pipeline, role, service
    automated  a machine's routine, not a decision
    """

    name: str | None
    kind: str | None
    role: str | None = None
    automated: bool = False


def is_pipeline(name: str) -> bool:
    """Whether a name is like that of a delivery pipeline: `ci-deployer`, `github-actions`."""
    is_word = not _PIPELINE_WORDS.isdisjoint(re.split(r"[^a-z0-9\]]+", name.lower()))
    return is_word or any(part in name.lower() for part in _PIPELINE_PARTS)


def kind_of(name: str | None) -> str | None:
    """`pipeline` where a name looks like one and is no mail address, else `person`."""
    if name is None:
        return None
    return "pipeline" if "@" not in name and is_pipeline(name) else "person"


def find_actor(record: Mapping[str, Any]) -> Actor:
    """The actor of a CloudTrail record."""
    identity = to_mapping(record.get("userIdentity"))
    actor = _named(identity)
    return replace(
        actor,
        name=actor.name or to_text(identity.get("invokedBy")),
        kind=actor.kind or "service",
        automated=actor.automated or _is_routine(record, identity),
    )


def _is_routine(record: Mapping[str, Any], identity: Mapping[str, Any]) -> bool:
    """AWS itself acts: a service event, or a call by a service that carries out no order."""
    services = [
        caller
        for caller in [to_text(identity.get("invokedBy")), to_text(record.get("sourceIPAddress"))]
        if caller and caller.endswith(".amazonaws.com")
    ]
    is_order = any(service.startswith(_ORCHESTRATORS) for service in services)
    return not is_order and (bool(services) or record.get("eventType") == "AwsServiceEvent")


def _named(identity: Mapping[str, Any]) -> Actor:
    match identity.get("type"):
        case "Root":
            return Actor("root", "person")
        case "AssumedRole" | "FederatedUser" | "Role":
            return _assumed(identity)
        case "IAMUser":
            user = to_text(identity.get("userName")) or _tail(identity.get("arn"))
            return Actor(user, kind_of(user) or "person")
        case "IdentityCenterUser" | "SAMLUser" | "WebIdentityUser" | "Directory":
            user = to_text(identity.get("userName")) or to_text(identity.get("principalId"))
            return Actor(user, kind_of(user) or "person")
        case "AWSAccount":
            return Actor(to_text(identity.get("arn")) or to_text(identity.get("accountId")), "role")
        case _:
            return Actor(None, None)


def _assumed(identity: Mapping[str, Any]) -> Actor:
    """A role's session: the person where one is named, else the pipeline, else the session."""
    context = to_mapping(identity.get("sessionContext"))
    # arn:aws:sts::1:assumed-role/ROLE/SESSION
    in_arn = re.fullmatch("[^/]*assumed-role/([^/]+)/[^/]*", to_text(identity.get("arn")) or "")
    role = to_text(to_mapping(context.get("sessionIssuer")).get("userName")) or (
        in_arn[1] if in_arn else None
    )
    session = _tail(identity.get("arn")) or _tail(identity.get("principalId"), ":")
    source = to_text(context.get("sourceIdentity"))
    if role and role.startswith("AWSServiceRoleFor"):
        return Actor(to_text(identity.get("invokedBy")) or role, "service", role, automated=True)
    if session and re.fullmatch("i-[0-9a-f]{8,17}", session):
        return Actor(session, "role", role, automated=True)
    if person := _person(source, session, role or ""):
        return Actor(person, "person", role)
    is_delivery = role and is_pipeline(role)
    return Actor(
        *((role, "pipeline") if is_delivery else (source or session or role, "role")), role
    )


def _person(source: str | None, session: str | None, role: str) -> str | None:
    """The person whom a session names: a mail address, an SSO session, or `dana.lee`."""
    for name in (source, session):
        if name and "@" in name:
            return name
    if role.startswith("AWSReservedSSO_"):
        return session
    is_name = source and re.fullmatch(r"[^\W\d_]+([._ -][^\W\d_]+)+", source)
    return source if source and is_name and not is_pipeline(source) else None


def _tail(value: object, mark: str = "/") -> str | None:
    text = to_text(value) or ""
    return text.rsplit(mark, 1)[-1] or None if mark in text else None
